//! The whole log at boot: what is there, what of it counts, and where appending goes on.
//!
//! The rules are the table in [`crate::wal`]. Reading changes nothing on disk; only [`settle`] does, and
//! each of its steps may be cut off by a crash and is done again by the next boot.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::base::bugs::{self, Bug};
use crate::ids::Seq;
use crate::jobs::Event;
use crate::storage::{Storage, unused, write_whole};
use crate::wal::batch::Batch;
use crate::wal::codec::Decoder;
use crate::wal::format::{
    BATCH_HEADER_BYTES, BatchHeader, SEGMENT_HEADER_BYTES, SegmentEnd, SegmentHeader, StoreId, segment_name,
    segment_number,
};
use crate::wal::reader::{SegmentReader, Stop, events, read_header};
use crate::wal::tail_scan::TailScan;
use crate::wal::witness::Testimony;
use crate::wal::{Group, WalError};

/// What the log holds, and where it ends.
#[derive(Debug)]
pub struct LogScan {
    /// Whose log it is.
    pub store: StoreId,
    /// Where the part of the last segment that is proven durable ends.
    pub end: SegmentEnd,
    /// Valid batches behind that: appended again before serving.
    pub unproven: Vec<Group>,
    /// An unfinished last write.
    pub torn: Option<TornTail>,
}

/// An unfinished last write: expected after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment that it is the end of.
    pub path: PathBuf,
    /// Where in the segment it begins.
    pub offset: u64,
    /// What is there, without the zeros at the end.
    pub bytes: Vec<u8>,
    /// Why it is not a batch.
    pub problem: String,
}

/// What is known before the log is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayFrom {
    /// The snapshot's position: events up to it are not visited, and it was durable. Zero without a snapshot.
    pub covered: Seq,
    /// Whose snapshot it is.
    pub store: Option<StoreId>,
    /// What the witness says that must be there.
    pub witness: Option<Testimony>,
}

/// Gets what is read, in order.
pub trait Visitor {
    /// The segment that the next batches are in.
    fn segment(&mut self, _: &SegmentHeader) {}

    /// A batch that holds events behind `covered`.
    ///
    /// # Errors
    /// One of its events cannot be read, or does not fit.
    fn batch(&mut self, path: &Path, batch: Batch<'_>, covered: Seq) -> Result<(), WalError>;
}

/// Gets every event with its position and the header of its batch; says in words what is wrong with it.
pub type Visit<'a> = &'a mut dyn FnMut(Seq, Event, &BatchHeader) -> Result<(), String>;

/// A visitor that wants to see one event at a time.
pub struct EachEvent<'a>(pub Visit<'a>);

impl Visitor for EachEvent<'_> {
    fn batch(&mut self, path: &Path, batch: Batch<'_>, covered: Seq) -> Result<(), WalError> {
        for event in events(path, batch, &mut Decoder::default()) {
            let (seq, event) = event?;
            if seq > covered {
                (self.0)(seq, event, &batch.header).map_err(|problem| misfit(path, problem))?;
            }
        }
        Ok(())
    }
}

/// An event does not fit.
pub(crate) fn misfit(path: &Path, problem: String) -> WalError {
    WalError::Misfit { path: path.to_owned(), problem }
}

/// The segments of a log in order, with their headers.
///
/// # Errors
/// One cannot be read, is misnamed, or is missing between two others.
pub fn segments(storage: &dyn Storage, dir: &Path) -> Result<Vec<SegmentFile>, WalError> {
    let names = storage.list(dir).map_err(WalError::io(dir, "list"))?;
    let mut found: Vec<SegmentFile> = Vec::new();
    for (name, number) in names.iter().filter_map(|name| Some((name, segment_number(name)?))) {
        let path = dir.join(name);
        let header = read_header(storage, &path)?;
        if header.number != number {
            let problem = format!("it says that it is segment {}: was it renamed or copied?", header.number);
            return Err(WalError::Misplaced { path, problem });
        }
        if let Some(previous) = found.last() {
            if header.store != previous.header.store {
                let problem = format!(
                    "it belongs to store {}, the segment before it to {}",
                    header.store, previous.header.store
                );
                return Err(WalError::Misplaced { path, problem });
            }
            if number != previous.header.number + 1 || header.predecessor.number != previous.header.number {
                let problem = format!("segment {} is missing before it", number - 1);
                return Err(WalError::Misplaced { path, problem });
            }
        }
        found.push(SegmentFile { path, header });
    }
    Ok(found)
}

/// A segment on disk.
#[derive(Clone, Debug)]
pub struct SegmentFile {
    /// The file, with its directory.
    pub path: PathBuf,
    /// What it says about itself.
    pub header: SegmentHeader,
}

/// Reads the log behind `known.covered` and hands every batch to `visitor`, in order.
///
/// `progress` is told the bytes read so far and in all. Returns `None` if there is no log.
///
/// # Errors
/// Damage, a gap, a foreign or newer file, or an error of `visitor`. Nothing on disk was changed.
pub fn recover(
    storage: &dyn Storage,
    dir: &Path,
    known: ReplayFrom,
    visitor: &mut dyn Visitor,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<LogScan>, WalError> {
    let segments = segments(storage, dir)?;
    let Some(first) = segments.first() else {
        return Ok(None);
    };
    if let Some(store) = known.store.filter(|store| *store != first.header.store) {
        let problem = format!("it belongs to store {}, the snapshot to {store}", first.header.store);
        return Err(WalError::Misplaced { path: first.path.clone(), problem });
    }
    if let Some(witness) = known.witness.filter(|witness| witness.store != first.header.store) {
        let problem =
            format!("it belongs to store {}, its witness to store {}", first.header.store, witness.store);
        return Err(WalError::Misplaced { path: first.path.clone(), problem });
    }
    let needed = known.covered.next();
    if first.header.first > needed {
        let problem =
            format!("the log begins with event {}, but event {needed} is needed", first.header.first);
        return Err(WalError::Misplaced { path: first.path.clone(), problem });
    }
    // Segments that end before the snapshot's position need not be read.
    let start = segments.iter().rposition(|segment| segment.header.first <= needed).unwrap_or(0);
    let total: u64 = segments[start..].iter().map(|segment| file_len(storage, &segment.path)).sum();
    let mut read = 0;
    for pair in segments[start..].windows(2) {
        let mut reader = SegmentReader::open(storage, &pair[0].path)?;
        read += reader.file_len();
        read_sealed(&mut reader, pair[1].header.predecessor, known.covered, visitor)?;
        progress(read, total);
    }
    let last = segments.last().expect("there is a first one");
    let mut reader = SegmentReader::open(storage, &last.path)?;
    let tail = read_last(&mut reader, known, visitor)?;
    let read_alone = start + 1 == segments.len();
    if let [.., before, _] = segments.as_slice()
        && read_alone
        && tail.end.number == before.header.number
    {
        // A snapshot covers it, so it was not read; but the log goes on from where it is said to end, and the seal
        // there would overwrite what lies behind a wrong end.
        let mut reader = SegmentReader::open(storage, &before.path)?;
        ends_at(&mut reader, tail.end)?;
    }
    progress(total, total);
    Ok(Some(LogScan { store: first.header.store, end: tail.end, unproven: tail.unproven, torn: tail.torn }))
}

/// Reads the sealed segments behind `after` up to `through`, for folding them into a snapshot.
///
/// # Errors
/// Damage, a gap, a foreign or newer file, or an error of `visitor`. Nothing on disk was changed.
pub fn replay_sealed(
    storage: &dyn Storage,
    dir: &Path,
    after: Seq,
    through: Seq,
    visitor: &mut dyn Visitor,
) -> Result<(), WalError> {
    let segments = segments(storage, dir)?;
    let begins = segments.first().map_or(Seq(u64::MAX), |segment| segment.header.first);
    if begins > after.next() {
        let problem = format!("the log begins with event {begins}, but event {} is needed", after.next());
        return Err(WalError::Misplaced { path: dir.to_owned(), problem });
    }
    for pair in segments.windows(2) {
        let end = pair[1].header.predecessor;
        if end.last <= after || pair[0].header.first > through {
            continue;
        }
        let mut reader = SegmentReader::open(storage, &pair[0].path)?;
        read_sealed(&mut reader, end, after, visitor)?;
    }
    Ok(())
}

/// Reads a segment that has a successor: up to exactly where the successor says that it ended.
fn read_sealed(
    reader: &mut SegmentReader,
    end: SegmentEnd,
    covered: Seq,
    visitor: &mut dyn Visitor,
) -> Result<(), WalError> {
    let path = reader.path().to_owned();
    visitor.segment(&reader.header);
    while reader.end().len < end.len {
        match reader.next_batch() {
            Ok(batch) => visit_batch(&path, batch, covered, visitor)?,
            Err(Stop::End) => return Err(reader.damaged("a batch is missing: only zeros follow")),
            Err(Stop::Sealed) => return Err(reader.damaged("it is sealed here, before its end")),
            Err(Stop::Invalid(problem)) => return Err(reader.damaged(problem)),
            Err(Stop::Unreadable(problem)) => return Err(reader.unreadable(problem)),
        }
    }
    if reader.end() != end {
        let problem = format!("it ends as {:?}, but its successor expects {end:?}", reader.end());
        return Err(reader.damaged(problem));
    }
    Ok(())
}

/// Whether a segment that has a successor can be read up to exactly this end.
///
/// # Errors
/// It cannot.
pub(super) fn ends_at(reader: &mut SegmentReader, end: SegmentEnd) -> Result<(), WalError> {
    read_sealed(reader, end, end.last, &mut Nobody)
}

struct Tail {
    end: SegmentEnd,
    unproven: Vec<Group>,
    torn: Option<TornTail>,
}

/// Reads the segment without a successor: up to its last valid batch, and decides what the rest is.
fn read_last(
    reader: &mut SegmentReader,
    known: ReplayFrom,
    visitor: &mut dyn Visitor,
) -> Result<Tail, WalError> {
    let ReplayFrom { covered, witness, .. } = known;
    let path = reader.path().to_owned();
    visitor.segment(&reader.header);
    // Its existence proves what its predecessor held; the snapshot proves what it covers.
    let mut proven = covered.max(reader.header.predecessor.last);
    proven = proven.max(witness.map_or(Seq::ZERO, |witness| witness.synced));
    let mut of_segment = witness
        .filter(|witness| (witness.segment, witness.salt) == (reader.header.number, reader.header.salt));
    let mut ends = vec![reader.end()];
    // Where batches begin and end that are not proven durable.
    let mut batches: Vec<(BatchHeader, Range<usize>)> = Vec::new();
    let stop = loop {
        let batch = match reader.next_batch() {
            Ok(batch) => batch,
            Err(stop) => break stop,
        };
        proven = proven.max(batch.header.durable);
        let has_events = batch.header.count > 0;
        if has_events {
            let start = batch.offset as usize + BATCH_HEADER_BYTES;
            batches.push((batch.header, start..start + batch.payload.len()));
        }
        visit_batch(&path, batch, covered, visitor)?;
        if let Some(witness) = of_segment.take_if(|witness| witness.len <= reader.end().len)
            && (witness.len, witness.chain) != (reader.end().len, reader.end().chain)
            && witness.len > SEGMENT_HEADER_BYTES as u64
        {
            let problem = format!("another batch ended at byte {} when the witness saw it", witness.len);
            return Err(reader.damaged(problem));
        }
        // A mark behind the last proven events was perhaps never synced: the segment ends before it.
        if has_events {
            ends.push(reader.end());
        }
        // Only the place behind the last proven batch is of interest, and what follows it.
        if let Some(at) = ends.iter().rposition(|end| end.last <= proven) {
            ends.drain(..at);
        }
        batches.retain(|(header, _)| header.last() > proven);
    };
    if let Stop::Unreadable(problem) = stop {
        return Err(reader.unreadable(problem));
    }
    if stop == Stop::Sealed {
        let problem = format!("segment {} is missing: this one was sealed", reader.header.number + 1);
        return Err(WalError::Misplaced { path, problem });
    }
    let next = reader.end().last.next();
    let rest = match stop {
        Stop::Invalid(_) => Some(reader.rest()?),
        _ => None,
    };
    proven = proven.max(rest.as_ref().map_or(Seq::ZERO, TailScan::durable));
    let written = witness.map_or(Seq::ZERO, |witness| witness.written);
    if proven.max(written) >= next && !bugs::has(Bug::TruncateOnAnyError) {
        let found = match &stop {
            Stop::Invalid(problem) => problem.as_str(),
            _ => "only zeros follow",
        };
        let was = if proven >= next { "durable" } else { "written since the machine was started" };
        return Err(reader.damaged(format!("event {next} was {was} and cannot be read: {found}")));
    }
    let torn = match (stop, rest) {
        (Stop::Invalid(problem), Some(rest)) => {
            Some(TornTail { path, offset: reader.end().len, bytes: rest.bytes().to_vec(), problem })
        }
        _ => None,
    };
    let unproven = batches.into_iter().filter(|(header, _)| header.last() > proven);
    let unproven = unproven.map(|(header, payload)| {
        let bytes = reader.read_again(&header, payload)?;
        Ok(Group { first: header.first, count: header.count, bytes })
    });
    let unproven = unproven.collect::<Result<_, WalError>>()?;
    let mut end = ends.into_iter().rfind(|end| end.last <= proven).expect("the oldest end kept is proven");
    if end.last == reader.header.predecessor.last {
        // Nothing proven is in it: the next segment takes its number and its place, so that starting again and
        // again leaves no trail of empty segments.
        end = reader.header.predecessor;
    }
    Ok(Tail { end, unproven, torn })
}

fn visit_batch(
    path: &Path,
    batch: Batch<'_>,
    covered: Seq,
    visitor: &mut dyn Visitor,
) -> Result<(), WalError> {
    if batch.is_control_only() {
        return Err(batch.surplus(path, batch.payload));
    }
    match batch.header.last() <= covered {
        true => Ok(()),
        false => visitor.batch(path, batch, covered),
    }
}

/// The newest of the sealed segments, the last of which ends so, that is not as it was written, or whose successor is not.
///
/// # Errors
/// The storage reported an error.
pub(super) fn newest_damaged(
    storage: &dyn Storage,
    dir: &Path,
    mut end: SegmentEnd,
) -> Result<Option<u64>, WalError> {
    let names = storage.list(dir).map_err(WalError::io(dir, "list"))?;
    let newest = end.number;
    let numbers = names.iter().rev().filter_map(|name| segment_number(name));
    for number in numbers.filter(|number| *number <= newest) {
        if number != end.number {
            return Ok(Some(number));
        }
        let path = dir.join(segment_name(number));
        let whole = SegmentReader::open(storage, &path).and_then(|mut reader| {
            ends_at(&mut reader, end)?;
            Ok(reader.header)
        });
        match whole {
            Ok(header) if header.number == number => end = header.predecessor,
            Err(error) if !error.is_damage() => return Err(error),
            Ok(_) | Err(_) => return Ok(Some(number)),
        }
    }
    Ok(None)
}

/// Where only the batches themselves are of interest.
struct Nobody;

impl Visitor for Nobody {
    fn batch(&mut self, _: &Path, _: Batch<'_>, _: Seq) -> Result<(), WalError> {
        Ok(())
    }
}

/// Copies the torn tail to quarantine and removes files that a crash left unfinished, before a new segment is begun.
///
/// # Errors
/// The storage reported an error. It may be done again.
pub fn settle(
    storage: &dyn Storage,
    dir: &Path,
    quarantine: &Path,
    torn: Option<&TornTail>,
) -> Result<(), WalError> {
    if let Some(torn) = torn {
        storage.create_dir(quarantine).map_err(WalError::io(quarantine, "create"))?;
        let segment = torn.path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{segment}-at-{}.torn", torn.offset);
        let path = unused(storage, quarantine, &name).map_err(WalError::io(quarantine, "list"))?;
        write_whole(storage, &path, &torn.bytes).map_err(WalError::io(&path, "write"))?;
    }
    for name in storage.list(dir).map_err(WalError::io(dir, "list"))? {
        if name.ends_with(".partial") {
            let path = dir.join(name);
            storage.remove(&path).map_err(WalError::io(&path, "remove"))?;
        }
    }
    Ok(())
}

fn file_len(storage: &dyn Storage, path: &Path) -> u64 {
    // Only for showing progress.
    storage.open_to_read(path).and_then(|file| file.len()).unwrap_or(0)
}
