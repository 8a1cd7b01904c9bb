//! Where in the log an event is, for reading a job's texts back.
//!
//! A text that is not in memory is found by the position of its event alone: reading starts at the mark before it. Marks are
//! close enough together for that to be short, and far enough apart to take next to no memory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::Seq;
use crate::jobs::{Event, Payload, TextAt, TextPart, UnreadablePayload};
use crate::storage::{Storage, StoredFile};
use crate::wal::WalError;
use crate::wal::codec::{self, Decoder};
use crate::wal::format::{BATCH_HEADER_BYTES, BatchHeader, SegmentHeader, segment_name};
use crate::wal::reader::{SegmentReader, Stop, events};
use crate::wal::recovery::{misfit, segments};

/// Marks are about this many bytes apart.
const SPACING: u32 = 16 << 10;
/// Set in a mark's place when it is that of an event inside of a batch; else it is that of a batch's header.
const INSIDE: u32 = 1 << 31;

/// Segments that are kept open at a time, for the next text from them.
const OPEN_MAX: usize = 8;

/// The marks of every segment that is there.
pub struct LogIndex {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    segments: Mutex<Vec<Segment>>,
    /// What was read last: jobs are mostly wanted in the order in which they came.
    window: Mutex<Option<Window>>,
}

struct Segment {
    number: u64,
    first: Seq,
    salt: u32,
    marks: Vec<Mark>,
    /// Where what is known of it ends.
    end: u32,
    file: Option<Arc<dyn StoredFile>>,
}

#[derive(Clone, Copy)]
struct Mark {
    /// Position of the event that begins here, counted from the segment's first.
    after: u32,
    /// Offset in the file, and [`INSIDE`].
    place: u32,
}

impl Mark {
    fn offset(self) -> u32 {
        self.place & !INSIDE
    }

    fn is_inside(self) -> bool {
        self.place & INSIDE != 0
    }
}

/// The bytes from one mark to the next.
#[derive(Clone)]
struct Window {
    segment: u64,
    from: Mark,
    first: Seq,
    salt: u32,
    bytes: Arc<[u8]>,
}

impl LogIndex {
    /// Of the log in `dir`, without any mark yet.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>, dir: PathBuf) -> LogIndex {
        LogIndex { storage, dir, segments: Mutex::default(), window: Mutex::default() }
    }

    /// A segment begins, in place of all from its number on.
    pub(crate) fn begin(&self, header: &SegmentHeader) {
        let mut segments = self.segments();
        segments.retain(|segment| segment.number < header.number);
        segments.push(Segment {
            number: header.number,
            first: header.first,
            salt: header.salt,
            marks: Vec::new(),
            end: 0,
            file: None,
        });
    }

    /// A batch was written, or read, at `offset` of the newest segment. `payload` may come in pieces that end where
    /// events end.
    pub(crate) fn note<'a>(&self, offset: u64, first: Seq, payload: impl Iterator<Item = &'a [u8]>) {
        let mut segments = self.segments();
        let Some(segment) = segments.last_mut() else { return };
        // A segment is far smaller: see SEGMENT_BYTES_MAX.
        let Ok(offset) = u32::try_from(offset) else { return };
        let after = |seq: u64| u32::try_from(seq.wrapping_sub(segment.first.0)).ok();
        let Some(mut next) = after(first.0) else { return };
        // A walk from a mark inside of a batch never leaves that batch.
        let is_due =
            segment.marks.last().is_none_or(|mark| mark.is_inside() || offset - mark.offset() >= SPACING);
        if is_due {
            segment.marks.push(Mark { after: next, place: offset });
        }
        let mut last = offset;
        let mut at = offset + BATCH_HEADER_BYTES as u32;
        for piece in payload {
            let mut rest = piece;
            while let Some(len) = codec::record_len(rest) {
                if at - last >= SPACING {
                    segment.marks.push(Mark { after: next, place: at | INSIDE });
                    last = at;
                }
                rest = &rest[len..];
                at += len as u32;
                next += 1;
            }
        }
        segment.end = at;
    }

    /// Segments up to this number are gone.
    pub(crate) fn forget_through(&self, number: u64) {
        self.segments().retain(|segment| segment.number > number);
    }

    /// The text that is at this place; none if no segment that is there holds it.
    ///
    /// # Errors
    /// It is not there as it was written.
    pub fn read(&self, at: TextAt) -> Result<Option<Payload>, UnreadablePayload> {
        let Some(window) = self.window(at)? else { return self.read_unmarked(at) };
        let found = find_in(&window, at);
        if found.is_err() {
            // The disk is asked anew next time.
            *self.held_window() = None;
        }
        found.map(Some)
    }

    /// Looks for it in segments that boot did not read, since a snapshot covers them. Nobody needs them unless that
    /// snapshot is damaged, so this may take its time.
    fn read_unmarked(&self, at: TextAt) -> Result<Option<Payload>, UnreadablePayload> {
        let unreadable = |error: WalError| UnreadablePayload {
            at,
            problem: error.to_string(),
            is_lost: error.is_damage(),
        };
        let segments = segments(&*self.storage, &self.dir).map_err(unreadable)?;
        let behind = segments.partition_point(|segment| segment.header.first <= at.seq);
        let Some(segment) = behind.checked_sub(1).map(|index| &segments[index]) else { return Ok(None) };
        let mut reader = SegmentReader::open(&*self.storage, &segment.path).map_err(unreadable)?;
        loop {
            let batch = match reader.next_batch() {
                Ok(batch) if batch.header.last() < at.seq => continue,
                Ok(batch) => batch,
                Err(Stop::Unreadable(problem)) => return Err(unreadable(reader.unreadable(problem))),
                Err(Stop::Invalid(problem)) => return Err(unreadable(reader.damaged(problem))),
                Err(Stop::End | Stop::Sealed) => return Ok(None),
            };
            for event in events(&segment.path, batch, &mut Decoder::default()) {
                let (seq, event) = event.map_err(unreadable)?;
                if seq == at.seq {
                    let text = text_of(&event, at).map(Some);
                    return text.map_err(|problem| unreadable(misfit(&segment.path, problem)));
                }
            }
            return Ok(None);
        }
    }

    fn window(&self, at: TextAt) -> Result<Option<Window>, UnreadablePayload> {
        let number = at.seq;
        let segments = self.segments();
        let behind = segments.partition_point(|segment| segment.first <= number);
        let Some(segment) = behind.checked_sub(1).and_then(|index| segments.get(index)) else {
            return Ok(None);
        };
        let Ok(after) = u32::try_from(number.0 - segment.first.0) else { return Ok(None) };
        let behind = segment.marks.partition_point(|mark| mark.after <= after);
        let Some(from) = behind.checked_sub(1).map(|index| segment.marks[index]) else { return Ok(None) };
        let end = segment.marks.get(behind).map_or(segment.end, |mark| mark.offset());
        let mut window = Window {
            segment: segment.number,
            from,
            first: segment.first,
            salt: segment.salt,
            bytes: Arc::new([]),
        };
        let file = segment.file.clone();
        // An append must not wait for what follows.
        drop(segments);
        let len = (end - from.offset()) as usize;
        let mut held = self.held_window();
        if let Some(held) = held.as_ref().filter(|held| held.is(&window, len)) {
            return Ok(Some(held.clone()));
        }
        let path = self.dir.join(segment_name(window.segment));
        let unreadable = |error: std::io::Error| UnreadablePayload {
            at,
            problem: format!("{}: cannot be read: {error}", path.display()),
            is_lost: false,
        };
        let file = match file {
            Some(file) => file,
            None => self.open(&path, window.segment).map_err(unreadable)?,
        };
        let mut bytes = vec![0; len];
        let read = file.read_at(u64::from(from.offset()), &mut bytes).map_err(unreadable)?;
        bytes.truncate(read);
        window.bytes = bytes.into();
        Ok(Some(held.insert(window).clone()))
    }

    fn open(&self, path: &Path, number: u64) -> std::io::Result<Arc<dyn StoredFile>> {
        let file: Arc<dyn StoredFile> = self.storage.open_to_read(path)?.into();
        let mut segments = self.segments();
        let open = segments.iter().filter(|segment| segment.file.is_some());
        // Jobs are mostly wanted in the order in which they came: the oldest has been read through.
        let (count, oldest) = (open.clone().count(), open.map(|segment| segment.number).min());
        for segment in segments.iter_mut() {
            if segment.number == number {
                segment.file = Some(file.clone());
            } else if count >= OPEN_MAX && Some(segment.number) == oldest {
                segment.file = None;
            }
        }
        Ok(file)
    }

    fn held_window(&self) -> MutexGuard<'_, Option<Window>> {
        // Nothing here can be left half done.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn segments(&self) -> MutexGuard<'_, Vec<Segment>> {
        // Nothing here can be left half done.
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find_in(window: &Window, at: TextAt) -> Result<Payload, UnreadablePayload> {
    let lost = |problem: String| {
        let problem = format!("{}: {problem}", segment_name(window.segment));
        UnreadablePayload { at, problem, is_lost: true }
    };
    let record = window
        .find(at.seq)
        .ok_or_else(|| lost(format!("no event {} behind byte {}", at.seq, window.from.offset())))?;
    let event = codec::decode(&mut &record[..]).map_err(|error| lost(error.to_string()))?;
    text_of(&event, at).map_err(lost)
}

/// The text of an event that was found at its position.
fn text_of(event: &Event, at: TextAt) -> Result<Payload, String> {
    let is_about_it = match at.part {
        TextPart::Payload | TextPart::Custom => at.seq == at.job,
        TextPart::Result | TextPart::Failure => event.job_seq == at.job,
    };
    let text = event.kind.text(at.part).filter(|_| is_about_it);
    text.ok_or_else(|| format!("event {} is {} and does not bring it", at.seq, event.kind.name()))
}

impl Window {
    /// Whether it is what `wanted` says, which has no bytes yet. A segment that was replaced had another salt.
    fn is(&self, wanted: &Window, len: usize) -> bool {
        let this = (self.segment, self.salt, self.from.place, self.bytes.len());
        this == (wanted.segment, wanted.salt, wanted.from.place, len)
    }

    /// The record of the event at `number`.
    fn find(&self, number: Seq) -> Option<&[u8]> {
        let mut at = Seq(self.first.0 + u64::from(self.from.after));
        let mut rest = &self.bytes[..];
        if !self.from.is_inside() {
            loop {
                let (header, _) = BatchHeader::decode(rest, self.salt).ok()?;
                let (batch, behind) =
                    rest[BATCH_HEADER_BYTES..].split_at_checked(header.payload_len as usize).unwrap_or((
                        // Of a large batch, the window has only the beginning.
                        &rest[BATCH_HEADER_BYTES..],
                        &[],
                    ));
                at = header.first;
                if number.0 < at.0 + u64::from(header.count) {
                    rest = batch;
                    break;
                }
                rest = behind;
            }
        }
        for _ in at.0..number.0 {
            rest = rest.get(codec::record_len(rest)?..)?;
        }
        rest.get(..codec::record_len(rest)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, Timestamp};
    use crate::jobs::EventKind;
    use crate::storage::DiskStorage;
    use crate::wal::Group;
    use crate::wal::codec::tests::samples;
    use crate::wal::format::{SEGMENT_HEADER_BYTES, SegmentEnd, StoreId};
    use crate::wal::writer::{LogPlace, LogWriter};

    #[test]
    fn a_text_in_a_segment_without_marks_is_read_or_told_with_what_is_wrong_there() {
        let dir = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(DiskStorage::default());
        let index = || Arc::new(LogIndex::new(storage.clone(), dir.path().join("wal")));
        let place = LogPlace {
            storage: storage.clone(),
            dir: dir.path().join("wal"),
            segment_bytes: 1 << 20,
            store: StoreId([1; 16]),
            witness: dir.path().join("witness"),
            epoch: Epoch::default(),
            dice: fastrand::Rng::with_seed(1),
            index: index(),
        };
        let is_new = |event: &Event| matches!(event.kind, EventKind::Enqueue(_));
        let event = samples().into_iter().find(is_new).expect("every type is among them");
        let mut group = Group { first: Seq(1), count: 1, bytes: Vec::new() };
        codec::encode(&event, &mut group.bytes);
        let mut writer = LogWriter::begin(place, SegmentEnd::default(), &[], Timestamp(0)).unwrap();
        writer.append(&[group], Timestamp(0)).1.unwrap();
        writer.close(Timestamp(0)).unwrap();

        let at = TextAt::payload(Seq(1));
        assert_eq!(index().read(at).unwrap(), event.kind.text(TextPart::Payload));
        assert_eq!(index().read(TextAt::payload(Seq(2))).unwrap(), None, "nothing wrong, and nothing there");
        let path = dir.path().join("wal").join(segment_name(1));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES + 20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = index().read(at).unwrap_err().to_string();
        assert!(error.contains("0000000001.wal: payload checksum"), "{error}");
    }
}
