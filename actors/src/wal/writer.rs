//! Appending to the log: one write a batch, one fdatasync for all that gathered, a new segment when one is full.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::failpoint;
use crate::ids::{Epoch, Seq, Timestamp};
use crate::storage::{FileIdentity, Storage, StoredFile, partial_of, publish};
use crate::wal::format::{
    BATCH_HEADER_BYTES, BatchHeader, BatchKind, PAYLOAD_BYTES_MAX, SEGMENT_BYTES_SET_MAX,
    SEGMENT_HEADER_BYTES, SegmentEnd, SegmentHeader, StoreId, checksum_of_parts, segment_name,
};
use crate::wal::index::LogIndex;
use crate::wal::maintenance::{self, Maintenance};
use crate::wal::next_segment::{self, NextSegment, ZEROED_AT_FIRST, ZEROED_MIN, ZEROS_AT_ONCE};
use crate::wal::witness::{Testimony, Witness};
use crate::wal::{Group, WalError};

/// Groups are written together up to about this many bytes; a larger one is written alone.
const BATCH_BYTES_TARGET: usize = 8 << 20;
/// Batches of more bytes stay in a segment that has no zeros left: to give its space back would cost them more than they
/// gain from zeros.
const SMALL_BATCH_BYTES: usize = 32 << 10;

/// Where a log is and whose it is.
pub struct LogPlace {
    /// The machine's disk, or a simulated one.
    pub storage: Arc<dyn Storage>,
    /// The directory of its segments.
    pub dir: PathBuf,
    /// Size of one segment, in bytes; at most [`SEGMENT_BYTES_SET_MAX`].
    pub segment_bytes: u64,
    /// The data directory's identity.
    pub store: StoreId,
    /// The file of the second witness, in the data directory.
    pub witness: PathBuf,
    /// The term that the state is in, for headers.
    pub epoch: Epoch,
    /// Where salts come from.
    pub dice: fastrand::Rng,
    /// Is told where events are.
    pub index: Arc<LogIndex>,
}

/// The end of the log that grows. One owner, one thread.
pub struct LogWriter {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    segment_bytes: u64,
    dice: fastrand::Rng,
    index: Arc<LogIndex>,
    header: SegmentHeader,
    file: Box<dyn StoredFile>,
    path: PathBuf,
    offset: u64,
    /// Bytes of the current segment that are allocated.
    capacity: u64,
    /// Up to where it was filled with zeros before it was used.
    zeroed: u64,
    next: Seq,
    chain: u32,
    durable: Seq,
    /// What the last mark or batch said to be durable.
    marked: Seq,
    poisoned: bool,
    /// The term that what is written now is of.
    epoch: Epoch,
    next_segment: NextSegment,
    maintenance: Maintenance,
    /// None where the file could not be opened.
    witness: Option<Witness>,
    /// Where the segment ended when it was synced last, and the chain value there.
    synced_end: (u64, u32),
    /// Which file `file` is.
    identity: FileIdentity,
}

/// How much the log can still take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that can be written without asking the file system for space.
    pub bytes: u64,
    /// False when the next segment could not be allocated: what is left is for jobs accepted before.
    pub accepts_jobs: bool,
    /// What was sent to be written waits for space: nothing is confirmed.
    pub is_stuck: bool,
}

impl LogWriter {
    /// Begins the log's next segment behind `end` (`SegmentEnd::default()` for a new log), with `unproven`
    /// appended again. It replaces one of its number that holds nothing else. Everything is durable when it
    /// returns.
    ///
    /// # Errors
    /// The storage reported an error. What was there before is untouched, so it may be tried again.
    pub fn begin(
        place: LogPlace,
        end: SegmentEnd,
        unproven: &[Group],
        now: Timestamp,
    ) -> Result<LogWriter, WalError> {
        let LogPlace { storage, dir, segment_bytes, store, witness, epoch, mut dice, index } = place;
        let dir = dir.as_path();
        let segment_bytes = segment_bytes.min(SEGMENT_BYTES_SET_MAX);
        storage.create_dir(dir).map_err(WalError::io(dir, "create"))?;
        let header = SegmentHeader {
            salt: dice.u32(..),
            store,
            number: end.number + 1,
            first: end.last.next(),
            predecessor: end,
            created_at: now,
            epoch,
        };
        let path = dir.join(segment_name(header.number));
        let partial = partial_of(&path);
        let needed: usize = unproven.iter().map(|group| group.bytes.len() + BATCH_HEADER_BYTES).sum();
        let capacity = segment_bytes.max((SEGMENT_HEADER_BYTES + needed) as u64);
        let mut file = storage.create(&partial).map_err(WalError::io(&partial, "create"))?;
        file.allocate(capacity).map_err(WalError::io(&partial, "allocate"))?;
        // A few zeros only: the next segment, which has more, is soon there.
        let zeroed = capacity.min(ZEROS_AT_ONCE as u64);
        let identity = file.identity().map_err(WalError::io(&partial, "look at"))?;
        let mut start = vec![0; zeroed as usize];
        start[..SEGMENT_HEADER_BYTES].copy_from_slice(&header.encode());
        file.write_at(0, &start).map_err(WalError::io(&partial, "write"))?;
        let witness = Witness::open(&*storage, &witness);
        if let Err(error) = &witness {
            tracing::warn!(%error, "the log goes on without its second witness");
        }
        let mut writer = LogWriter {
            witness: witness.ok(),
            synced_end: (SEGMENT_HEADER_BYTES as u64, header.chain()),
            identity,
            dir: dir.to_owned(),
            segment_bytes,
            file,
            path: path.clone(),
            offset: SEGMENT_HEADER_BYTES as u64,
            capacity,
            zeroed,
            next: header.first,
            chain: header.chain(),
            durable: end.last,
            marked: end.last,
            poisoned: false,
            epoch,
            next_segment: NextSegment::Missing,
            maintenance: Maintenance::new(storage.clone()),
            storage,
            dice,
            index,
            header,
        };
        writer.index.begin(&writer.header);
        // A witness of another store must not stand beside this log. What follows is proven once it is published: a power
        // cut before that leaves the segment before.
        writer.testify();
        for group in unproven {
            writer.write_batch(std::slice::from_ref(group), now)?;
        }
        writer.sync_file()?;
        writer.leave_mark(now);
        publish(&*writer.storage, &partial, &path).map_err(WalError::io(&path, "publish"))?;
        writer.testify();
        writer.seal(end, None, now);
        writer.seal_what_was_left(now);
        writer.prepare_next_segment(ZEROED_AT_FIRST);
        Ok(writer)
    }

    /// A new term has begun: headers say so from here on.
    pub fn begin_term(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// Writes `groups`, which must follow the last one, as few batches. They are in the kernel, not yet on the
    /// disk: call [`LogWriter::sync`] before telling anyone. Cost: one write a batch.
    ///
    /// Returns how many of the groups were written: all, unless there is an error.
    ///
    /// # Errors
    /// [`WalError::Full`]: the first group not written may be tried again when there is space. Any other error
    /// is final: nothing more may be appended.
    pub fn append(&mut self, groups: &[Group], now: Timestamp) -> (usize, Result<(), WalError>) {
        let mut written = 0;
        let mut together = usize::MAX;
        while written < groups.len() {
            let mut bytes = 0;
            let fits = |group: &&Group| {
                let first = bytes == 0;
                bytes += group.bytes.len();
                first || bytes <= BATCH_BYTES_TARGET
            };
            let count = groups[written..].iter().take(together).take_while(fits).count();
            match self.append_batch(&groups[written..written + count], now) {
                Ok(()) => written += count,
                // What does not fit together may still fit one by one.
                Err(WalError::Full { .. }) if count > 1 => together = 1,
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    fn append_batch(&mut self, groups: &[Group], now: Timestamp) -> Result<(), WalError> {
        if self.poisoned {
            return Err(WalError::Poisoned);
        }
        let payload: usize = groups.iter().map(|group| group.bytes.len()).sum();
        let needed = (BATCH_HEADER_BYTES + payload) as u64;
        let has_events = self.next > self.header.first;
        if !self.fits(payload) && has_events {
            self.rotate(now)?;
        }
        if self.offset + needed > self.capacity {
            // One batch larger than a segment: the segment grows for it.
            let capacity = self.offset + needed + BATCH_HEADER_BYTES as u64;
            self.file.allocate(capacity).map_err(WalError::io(&self.path, "allocate"))?;
            self.capacity = capacity;
        }
        let result = self.write_batch(groups, now);
        if let Err(error) = &result {
            // What a failed write left behind is unknown. Without space, the same place is written again later.
            if !matches!(error, WalError::Full { .. }) {
                self.poison();
            }
        }
        result
    }

    fn write_batch(&mut self, groups: &[Group], now: Timestamp) -> Result<(), WalError> {
        let mut count = 0;
        for group in groups {
            let expected = self.next.plus(u64::from(count));
            assert!(group.first == expected, "group begins with {}, expected {expected}", group.first);
            count += group.count;
        }
        let payload: Vec<&[u8]> = groups.iter().map(|group| group.bytes.as_slice()).collect();
        self.write_frame(BatchKind::Events, &payload, count, now)
    }

    /// Writes a header and `payload` at the end of the log, in one call and without copying them together.
    fn write_frame(
        &mut self,
        kind: BatchKind,
        payload: &[&[u8]],
        count: u32,
        now: Timestamp,
    ) -> Result<(), WalError> {
        // The parts are written from where they lie; why: docs/decisions/0003-how-a-batch-is-written.md.
        let payload_len: usize = payload.iter().map(|part| part.len()).sum();
        assert!(payload_len <= PAYLOAD_BYTES_MAX, "requests are bounded far below {PAYLOAD_BYTES_MAX} bytes");
        let header = BatchHeader {
            kind,
            term: self.epoch.term,
            payload_len: payload_len as u32,
            first: self.next,
            durable: self.durable,
            written_at: now,
            count,
            chain: self.chain,
            payload_crc: checksum_of_parts(self.header.salt, payload),
        };
        let (bytes, chain) = header.encode(self.header.salt);
        let frame: Vec<&[u8]> = std::iter::once(bytes.as_slice()).chain(payload.iter().copied()).collect();
        failpoint::pass("wal.write")
            .and_then(|()| self.file.write_parts_at(self.offset, &frame))
            .map_err(WalError::io(&self.path, "write"))?;
        self.index.note(self.offset, self.next, payload.iter().copied());
        self.offset += (BATCH_HEADER_BYTES + payload_len) as u64;
        self.chain = chain;
        self.marked = self.durable;
        self.next = self.next.plus(u64::from(count));
        Ok(())
    }

    /// Makes everything appended durable and returns the position up to which it is.
    ///
    /// # Errors
    /// Any error poisons the log for good: a second fdatasync would report success for pages that the kernel
    /// has dropped. The way on is recovery from disk.
    pub fn sync(&mut self) -> Result<Seq, WalError> {
        // Before anything is confirmed: what is in a file that nobody finds any more is not on disk.
        self.sync_file().and_then(|durable| self.check_name().map(|()| durable))
    }

    /// Whether the next start would find the segment: somebody may move or remove it, or its directory.
    ///
    /// # Errors
    /// [`WalError::Vanished`], which poisons the log for good.
    pub fn check_name(&mut self) -> Result<(), WalError> {
        let found = match self.storage.identity(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // A look that fails for another reason proves nothing.
            Err(_) => return Ok(()),
            Ok(found) => Some(found),
        };
        if found == Some(self.identity) {
            return Ok(());
        }
        self.poison();
        Err(WalError::Vanished { path: self.path.clone() })
    }

    fn sync_file(&mut self) -> Result<Seq, WalError> {
        if self.poisoned {
            return Err(WalError::Poisoned);
        }
        let result = failpoint::pass("wal.sync").and_then(|()| self.file.sync());
        if let Err(source) = result {
            self.poison();
            return Err(WalError::Io { path: self.path.clone(), action: "sync", source });
        }
        self.durable = self.last();
        self.synced_end = (self.offset, self.chain);
        Ok(self.durable)
    }

    /// Leaves a note of what is durable, if the log does not hold it yet, so that damage to the last batch cannot
    /// pass for a torn tail; the witness says it, too. Not synced: it is evidence, not data.
    pub fn mark(&mut self, now: Timestamp) {
        self.leave_mark(now);
        self.testify();
    }

    fn leave_mark(&mut self, now: Timestamp) {
        if let Err(error) = self.try_to_mark(now) {
            tracing::warn!(%error, "the log's mark was not written");
        }
    }

    /// Lets the witness say how far the log has got. Not synced.
    pub fn testify(&mut self) {
        let testimony = self.testimony();
        if let Some(witness) = &mut self.witness
            && let Err(error) = witness.say(&testimony)
        {
            tracing::warn!(%error, "the log's second witness was not written");
        }
    }

    fn testimony(&self) -> Testimony {
        let (len, chain) = self.synced_end;
        let SegmentHeader { store, number: segment, salt, .. } = self.header;
        let boot_id = self.storage.boot_id();
        // Once the log is poisoned, only what was synced can be relied upon.
        let written = if self.poisoned { self.durable } else { self.last() };
        Testimony { store, boot_id, segment, salt, len, chain, synced: self.durable, written }
    }

    /// Nothing may be appended any more. What was written and not synced may vanish now, so nobody must miss it.
    fn poison(&mut self) {
        self.poisoned = true;
        self.testify();
        self.sync_witness();
    }

    fn sync_witness(&mut self) {
        if let Some(witness) = &mut self.witness
            && let Err(error) = witness.sync()
        {
            tracing::warn!(%error, "the log's second witness was not synced");
        }
    }

    fn try_to_mark(&mut self, now: Timestamp) -> Result<(), WalError> {
        let has_room = self.offset + (BATCH_HEADER_BYTES as u64) <= self.capacity;
        if self.poisoned || self.marked == self.durable || !has_room {
            return Ok(());
        }
        self.write_frame(BatchKind::Mark, &[], 0, now)
    }

    /// Ends the current segment and begins the next. The old one is durable when it returns.
    ///
    /// Returns the position up to which segments are sealed.
    ///
    /// # Errors
    /// [`WalError::Full`] when there is no space for a segment: the current one goes on. Others are final.
    pub fn rotate(&mut self, now: Timestamp) -> Result<Seq, WalError> {
        if self.next == self.header.first {
            return Ok(self.header.predecessor.last);
        }
        self.sync()?;
        let end = self.end();
        let header = SegmentHeader {
            salt: self.dice.u32(..),
            number: end.number + 1,
            first: end.last.next(),
            predecessor: end,
            created_at: now,
            epoch: self.epoch,
            ..self.header
        };
        let path = self.dir.join(segment_name(header.number));
        let partial = partial_of(&path);
        let (mut file, capacity, zeroed) = self.take_next_segment(&partial)?;
        let result = file.write_at(0, &header.encode()).and_then(|()| file.sync());
        let identity = match result.and_then(|()| file.identity()) {
            Ok(identity) => identity,
            Err(source) => {
                self.poison();
                return Err(WalError::Io { path: partial, action: "write", source });
            }
        };
        if let Err(source) = publish(&*self.storage, &partial, &path) {
            self.poison();
            return Err(WalError::Io { path, action: "publish", source });
        }
        let old = std::mem::replace(&mut self.file, file);
        self.seal(end, Some(old), now);
        self.identity = identity;
        self.path = path;
        self.offset = SEGMENT_HEADER_BYTES as u64;
        self.capacity = capacity;
        self.chain = header.chain();
        self.header = header;
        self.synced_end = (self.offset, self.chain);
        self.testify();
        self.index.begin(&self.header);
        let before = std::mem::replace(&mut self.zeroed, zeroed);
        // A log that uses its zeros gets twice as many; one that does not gets fewer and fewer.
        self.prepare_next_segment(match end.len > before / 2 {
            true => 2 * before.max(zeroed),
            false => (2 * end.len).min(zeroed / 2),
        });
        Ok(end.last)
    }

    /// How much the log can still take. Asks again for the next segment if there was no space for it.
    pub fn room(&mut self) -> Room {
        self.next_segment.look();
        let (bytes, accepts_jobs) = match self.next_segment {
            NextSegment::Ready(_) => (self.left() + self.segment_bytes, true),
            NextSegment::Coming(..) => (self.left(), true),
            NextSegment::Missing => (self.left(), false),
        };
        Room { bytes, accepts_jobs, is_stuck: false }
    }

    /// Tries again to allocate the next segment, if that has failed.
    pub fn retry_next_segment(&mut self) {
        if matches!(self.next_segment, NextSegment::Missing) {
            self.prepare_next_segment(ZEROED_MIN);
        }
    }

    /// Deletes the sealed segments whose events all lie at or before `through`, in the background. `done` is told how
    /// many, or that the storage reported an error; the rest goes another time.
    pub fn delete_through(
        &mut self,
        through: Seq,
        done: impl FnOnce(Result<usize, WalError>) + Send + 'static,
    ) {
        let (dir, index) = (self.dir.clone(), self.index.clone());
        self.maintenance.add(move |storage| done(maintenance::prune(storage, &dir, &index, through)));
    }

    /// Moves the segments before the current one that are not as they were written to `quarantine`, and with them those before,
    /// in the background: a snapshot holds what they held. `done` is told what was moved.
    pub fn set_aside_damaged(
        &mut self,
        quarantine: PathBuf,
        done: impl FnOnce(Result<Vec<PathBuf>, WalError>) + Send + 'static,
    ) {
        let (dir, index, end) = (self.dir.clone(), self.index.clone(), self.header.predecessor);
        self.maintenance.add(move |storage| {
            done(maintenance::set_aside_damaged(storage, &dir, &index, end, &quarantine));
        });
    }

    /// Closes the log: everything durable, and a mark and the witness that say so.
    ///
    /// # Errors
    /// As [`LogWriter::sync`]; or the mark could not be left, and the error's action says so: every event is durable
    /// all the same, but damage to the last ones may pass for a torn tail.
    pub fn close(mut self, now: Timestamp) -> Result<Seq, WalError> {
        let durable = self.sync()?;
        let marked = self.try_to_mark(now).and_then(|()| self.sync());
        self.testify();
        self.sync_witness();
        match marked {
            Ok(_) => Ok(durable),
            Err(error) => Err(self.unmarked(error)),
        }
    }

    fn unmarked(&self, error: WalError) -> WalError {
        let source = match error {
            WalError::Io { source, .. } => source,
            other => io::Error::other(other.to_string()),
        };
        let action = "leave the mark of a clean stop (everything before it is on disk)";
        WalError::Io { path: self.path.clone(), action, source }
    }

    /// Position of the last event that was appended.
    #[must_use]
    pub fn last(&self) -> Seq {
        Seq(self.next.0 - 1)
    }

    /// Everything up to here is on disk.
    #[must_use]
    pub fn durable(&self) -> Seq {
        self.durable
    }

    /// Whether a batch of groups of this size still goes into the current segment. A small one that would lie behind
    /// the segment's zeros goes into the next, if that has some.
    #[must_use]
    pub fn fits(&self, bytes: usize) -> bool {
        // Room for the closing mark is kept free.
        let needed = (2 * BATCH_HEADER_BYTES + bytes) as u64;
        let is_beyond = bytes <= SMALL_BATCH_BYTES && self.offset + needed > self.zeroed;
        needed <= self.left() && !(is_beyond && matches!(self.next_segment, NextSegment::Ready(_)))
    }

    fn left(&self) -> u64 {
        self.capacity.saturating_sub(self.offset)
    }

    fn end(&self) -> SegmentEnd {
        SegmentEnd { number: self.header.number, len: self.offset, last: self.last(), chain: self.chain }
    }

    /// The file for the next segment, prepared or made on the spot; how long it is, and how much of it zeros.
    fn take_next_segment(&mut self, path: &Path) -> Result<(Box<dyn StoredFile>, u64, u64), WalError> {
        if let Some((file, zeroed)) = self.next_segment.take() {
            return Ok((file, self.segment_bytes, zeroed));
        }
        let mut file = self.storage.create(path).map_err(WalError::io(path, "create"))?;
        if let Err(error) = file.allocate(self.segment_bytes) {
            drop(file);
            next_segment::remove(&*self.storage, path);
            return Err(WalError::io(path, "allocate")(error));
        }
        Ok((file, self.segment_bytes, 0))
    }

    fn prepare_next_segment(&mut self, zeroed: u64) {
        let path = partial_of(&self.dir.join(segment_name(self.header.number + 1)));
        self.next_segment = NextSegment::prepare(&self.storage, path, self.segment_bytes, zeroed);
    }

    fn seal_what_was_left(&mut self, now: Timestamp) {
        let dir = self.dir.clone();
        self.maintenance.add(move |storage| {
            if let Err(error) = maintenance::seal_what_was_left(storage, &dir, now) {
                tracing::warn!(dir = %dir.display(), %error, "not every earlier segment was looked at");
            }
        });
    }

    /// Sees to the segment before, if there is one.
    fn seal(&mut self, end: SegmentEnd, file: Option<Box<dyn StoredFile>>, now: Timestamp) {
        if end.number > 0 {
            let path = self.dir.join(segment_name(end.number));
            self.maintenance.add(move |storage| maintenance::seal(storage, &path, file, end, now));
        }
    }
}

impl Drop for LogWriter {
    /// Waits for the next segment, and gives its space back. As `maintenance` waits for what it has begun, nothing writes in
    /// this directory any more.
    fn drop(&mut self) {
        if self.next_segment.take().is_some() {
            let path = partial_of(&self.dir.join(segment_name(self.header.number + 1)));
            next_segment::remove(&*self.storage, &path);
        }
    }
}
