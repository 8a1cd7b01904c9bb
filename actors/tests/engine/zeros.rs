//! How much of a segment is filled with zeros before it is used, and what the log makes of that.

use beaver_actors::ids::Timestamp;
use beaver_actors::internals::wal::Group;
use beaver_actors::testing::{Call, SimStorage, StepEngine};

const SEGMENT_BYTES: u64 = 8 << 20;
/// This many zeros are written at a time.
const PIECE_BYTES: u64 = 256 << 10;

struct Log {
    beaver: StepEngine,
    /// Bytes since the last segment was begun.
    bytes: u64,
}

impl Log {
    fn new() -> Log {
        let mut options = StepEngine::on(SimStorage::new()).options;
        options.segment_bytes = SEGMENT_BYTES;
        Log { beaver: StepEngine::with(SimStorage::new(), options, 1).unwrap(), bytes: 0 }
    }

    /// Appends a batch, and says what is known if that begins a segment: how long the one before it became, and how
    /// many zeros the next one gets.
    fn append(&mut self, bytes: usize) -> Option<(u64, u64)> {
        let disk = self.beaver.storage.clone();
        let files = || [Call::Create, Call::Write].map(|call| disk.calls_of(call));
        let [created, written] = files();
        let log = self.beaver.log();
        let first = log.last().next();
        log.append(&[Group { first, count: 1, bytes: vec![7; bytes] }], Timestamp(1)).1.unwrap();
        log.sync().unwrap();
        log.room();
        let before = self.bytes;
        self.bytes += bytes as u64;
        let [now_created, now_written] = files();
        if now_created == created {
            return None;
        }
        self.bytes = bytes as u64;
        // Beside zeros: the batch, the header of its segment, the seal of the one before, the witness.
        Some((before, (now_written - written - 4) * PIECE_BYTES))
    }

    /// Begins a segment after next to nothing, and says how many zeros the next one gets.
    fn rotate(&mut self) -> u64 {
        self.append(10);
        let before = self.beaver.storage.calls_of(Call::Write);
        self.beaver.log().rotate(Timestamp(1)).unwrap();
        self.beaver.log().room();
        self.bytes = 0;
        // Beside them: a header, a seal, and the witness.
        (self.beaver.storage.calls_of(Call::Write) - before - 3) * PIECE_BYTES
    }

    fn append_until_the_next_segment(&mut self, bytes: usize) -> (u64, u64) {
        std::iter::repeat_with(|| self.append(bytes)).find_map(|begun| begun).unwrap()
    }
}

#[test]
fn small_batches_go_on_in_the_next_segment_where_their_zeros_end_and_get_more() {
    let mut log = Log::new();
    let (bytes, zeros) = log.append_until_the_next_segment(1_000);
    assert!((200 << 10..PIECE_BYTES).contains(&bytes), "{bytes}: a few zeros are there at once");
    assert_eq!(zeros, SEGMENT_BYTES);
    let (bytes, _) = log.append_until_the_next_segment(20_000);
    assert!(bytes > SEGMENT_BYTES - 100_000, "{bytes}: the whole segment is zeros");
}

#[test]
fn a_quiet_log_gets_fewer_zeros_each_time_and_more_again_when_it_uses_them_up() {
    let mut log = Log::new();
    log.append_until_the_next_segment(1_000);
    let zeros: Vec<_> = std::iter::repeat_with(|| log.rotate()).take(5).collect();
    assert!(zeros.is_sorted_by(|one, other| one >= other) && zeros[4] == 1 << 20, "{zeros:?}");
    let (bytes, zeros) = log.append_until_the_next_segment(1_000);
    assert!((900 << 10..1 << 20).contains(&bytes), "{bytes}");
    assert_eq!(zeros, 2 << 20);
}

#[test]
fn large_batches_fill_a_segment_whatever_its_zeros_and_the_next_one_has_more() {
    let mut log = Log::new();
    // Down to as few as there can be.
    for _ in 0..8 {
        log.rotate();
    }
    for zeros in [2 << 20, 4 << 20, 8 << 20] {
        let (bytes, next) = log.append_until_the_next_segment(100_000);
        assert!(bytes > SEGMENT_BYTES - 200_000, "{bytes}");
        assert_eq!(next, zeros);
    }
}
