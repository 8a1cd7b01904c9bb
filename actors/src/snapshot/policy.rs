//! The policy of compaction and retention: when a layer is written as a whole, when layers are put together, and which
//! states stay to fall back to.
//!
//! It decides from figures alone, and opens no file: [`Layering`] has the table.

use std::ops::Range;

/// States that an operator keeps without asking for more: the newest, and one to fall back to if that is damaged.
const SNAPSHOTS_KEPT_MIN: usize = 2;
/// Changes beyond one part in this many make a new full layer due, so that less on disk is outdated than is not.
const MERGE_ALL_PARTS: u64 = 2;
/// The same where the disk is tight: old and new layers lie beside each other while they are put together.
const MERGE_ALL_PARTS_IF_TIGHT: u64 = 5;
/// Changes beyond one part in this many end the time of the state to fall back to: at half of what makes a new full layer
/// due, early enough to have its space back by then.
const DROP_FALLBACK_PARTS: u64 = 2 * MERGE_ALL_PARTS;
/// The same where the disk is tight: at a quarter, as there is less space to wait in.
const DROP_FALLBACK_PARTS_IF_TIGHT: u64 = 4 * MERGE_ALL_PARTS_IF_TIGHT;
/// The disk should never hold more than this many times what is alive.
const DISK_TIMES_ALIVE: u64 = 2;
/// It counts as reached when one part in this many of what is alive is left: layers grow between two decisions.
const DISK_SLACK_PARTS: u64 = 8;
/// Changes that are left even if `layers_max` is lower: the newest stays by itself, and it takes two others to have
/// something to put together.
const CHANGES_LEFT_MIN: usize = 2;
/// A layer of changes is put together with all later ones if it is at most this many times as large: a larger one would
/// mostly be written again for little.
const MERGE_TIMES_LATER: u64 = 2;

/// When layers are written, put together and given up. Tests set the thresholds smaller, to get to every edge quickly.
///
/// | there is | what is done | why |
/// |---|---|---|
/// | **log to be folded** | | |
/// | `log_bytes` of it, or more | a layer is written, and the rest goes into the next | folding takes memory, and a long log makes a start slow |
/// | **a state that a snapshot follows** | | |
/// | none, or one below `changes_from_bytes` | `Full` | it is cheap, and each snapshot stands by itself |
/// | any other | `Changes` | what is written depends on what changed, not on what there is |
/// | **a full layer and changes** | | |
/// | no changes | `Leave` | nothing is outdated |
/// | changes of more than a half | `MergeAll` | less on disk is outdated than not |
/// | of more than a fifth, and the disk is tight | `MergeAll` | old and new layers are on disk together |
/// | more than `layers_max` changes, and more than two | `MergeChanges` | a start opens each of them |
/// | anything else | `Leave` | merging writes again what is on disk already |
/// | **a state to fall back to** | | |
/// | `snapshots_kept` above 2 | `Keep` | the operator has space for it |
/// | a newest full layer below `checked_whole_bytes` | `Keep` | three of this size cost little |
/// | no changes upon the newest full layer | `Keep` | nothing else is there to fall back to |
/// | changes of more than a quarter | `Drop` | the disk would have to hold it and the next full layer as well |
/// | of more than a twentieth, and the disk is tight | `Drop` | the same, with less space to wait in |
/// | nearly twice what is alive on disk, or more | `Drop` | what is alive became less: a queue is worked off |
/// | anything else | `Keep` | the newest may be damaged |
/// | **states before that** | | |
/// | one beyond `snapshots_kept`, or older than `snapshot_age_max` | it goes | the operator says so |
/// | **a start** | | |
/// | a state below `checked_whole_bytes` | its payloads are confirmed, too | that takes milliseconds, and the fallback and the log are still there |
///
/// *Changes* of more than a part: the layers upon the full one come to more than this part of its bytes, or the jobs
/// that they say are gone to more than this part of all jobs. *Alive* is the part of the contents, not compressed, that
/// belongs to jobs that are not gone. The disk is *tight* if it would hold nearly twice that while all layers become a new
/// one: payloads hardly compress, or many jobs are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layering {
    /// Snapshots smaller than this are always written as a whole, so that each stands by itself.
    pub changes_from_bytes: u64,
    /// Log that goes into one layer, in bytes; what takes more memory to fold becomes several.
    pub log_bytes: usize,
    /// More layers than this upon the one that holds everything are put together; two are never too many.
    pub layers_max: usize,
    /// Bytes that are read and written a second while layers are put together.
    pub bytes_per_second: u64,
    /// Of a state of fewer bytes, payloads are checked at boot as well, which takes some milliseconds: while the one
    /// before it and the log are there to fall back to, and before a job needs what is damaged.
    pub checked_whole_bytes: u64,
}

impl Default for Layering {
    fn default() -> Layering {
        Layering {
            changes_from_bytes: 4 << 20,
            log_bytes: 64 << 20,
            layers_max: 8,
            bytes_per_second: 64 << 20,
            checked_whole_bytes: 32 << 20,
        }
    }
}

/// How the next snapshot is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextLayer {
    /// As one layer that holds everything.
    Full,
    /// As a layer that tells only of what changed.
    Changes,
}

/// What is done with the layers of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CompactionAction {
    /// They stay as they are.
    Leave,
    /// All of them become a new full one.
    MergeAll,
    /// Those at these indices become one; the full one is not among them.
    MergeChanges(Range<usize>),
}

/// What becomes of the state before the newest full layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fallback {
    /// It stays.
    Keep,
    /// It goes before its time.
    Drop,
}

/// What the policy knows of a layer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LayerFigures {
    /// Size of the file.
    pub bytes: u64,
    /// Bytes that its contents would take without compression.
    pub raw_bytes: u64,
    /// Jobs in it.
    pub jobs: u64,
    /// Jobs of the state before that it says are gone.
    pub gone: u64,
}

impl Layering {
    /// Whether this much log, or memory to fold it, is enough for a layer.
    pub(crate) fn is_enough_log(&self, bytes: u64) -> bool {
        bytes >= self.log_bytes as u64
    }

    /// How the snapshot is written that follows a state of this size, if there is one.
    pub(super) fn next_layer(&self, state_bytes: Option<u64>) -> NextLayer {
        match state_bytes {
            Some(bytes) if bytes >= self.changes_from_bytes => NextLayer::Changes,
            _ => NextLayer::Full,
        }
    }

    /// What is done with the layers of a state, the oldest first.
    pub(super) fn compaction(&self, layers: &[LayerFigures]) -> CompactionAction {
        let Some(sums) = Sums::of(layers) else { return CompactionAction::Leave };
        if sums.changes_exceed(MERGE_ALL_PARTS)
            || sums.changes_exceed(MERGE_ALL_PARTS_IF_TIGHT) && sums.is_tight()
        {
            return CompactionAction::MergeAll;
        }
        let changes = layers.len() - 1;
        if changes <= self.layers_max || changes <= CHANGES_LEFT_MIN {
            return CompactionAction::Leave;
        }
        // The newest stays by itself: the log behind the one before it is kept, so that it can be lost.
        let end = layers.len() - 1;
        let mut start = end - 2;
        let mut later: u64 = layers[start..end].iter().map(|layer| layer.bytes).sum();
        while start > 1 && layers[start - 1].bytes <= later * MERGE_TIMES_LATER {
            start -= 1;
            later += layers[start].bytes;
        }
        CompactionAction::MergeChanges(start..end)
    }

    /// What becomes of the state before the newest full layer, where `layers` are the newest state's, the oldest first,
    /// and all layers that are there take `bytes_on_disk`.
    pub(super) fn fallback(
        &self,
        snapshots_kept: usize,
        layers: &[LayerFigures],
        bytes_on_disk: u64,
    ) -> Fallback {
        let Some(sums) = Sums::of(layers) else { return Fallback::Keep };
        if snapshots_kept > SNAPSHOTS_KEPT_MIN || sums.full_bytes < self.checked_whole_bytes {
            return Fallback::Keep;
        }
        let is_in_the_way = sums.changes_exceed(DROP_FALLBACK_PARTS)
            || sums.changes_exceed(DROP_FALLBACK_PARTS_IF_TIGHT) && sums.is_tight()
            || sums.is_too_little_for(bytes_on_disk);
        if is_in_the_way { Fallback::Drop } else { Fallback::Keep }
    }

    /// Whether the state stays upon a full layer of which there are this many newer ones.
    pub(super) fn keeps(
        newer: usize,
        fallback: Fallback,
        snapshots_kept: usize,
        is_old: impl FnOnce() -> bool,
    ) -> bool {
        match newer {
            0 => true,
            1 => fallback == Fallback::Keep,
            _ => newer < snapshots_kept && !is_old(),
        }
    }

    /// Whether the payloads of a state of this size are confirmed at a start.
    pub(super) fn confirms_payloads(&self, state_bytes: u64) -> bool {
        state_bytes < self.checked_whole_bytes
    }
}

/// What the layers of a state come to.
struct Sums {
    full_bytes: u64,
    all: LayerFigures,
}

impl Sums {
    /// None if there are no changes.
    fn of(layers: &[LayerFigures]) -> Option<Sums> {
        let (full, changes) = layers.split_first()?;
        let all = changes.iter().fold(*full, |sum, layer| LayerFigures {
            bytes: sum.bytes + layer.bytes,
            raw_bytes: sum.raw_bytes + layer.raw_bytes,
            jobs: sum.jobs + layer.jobs,
            gone: sum.gone + layer.gone,
        });
        (!changes.is_empty()).then_some(Sums { full_bytes: full.bytes, all })
    }

    /// Whether the changes come to more than one part in `parts`.
    fn changes_exceed(&self, parts: u64) -> bool {
        self.all.bytes - self.full_bytes > self.full_bytes / parts || self.all.gone > self.all.jobs / parts
    }

    /// Whether the disk would be full of what is not alive while all layers become a new one, which takes what the
    /// part of them that is alive takes now.
    fn is_tight(&self) -> bool {
        self.is_too_little_for(self.all.bytes + self.alive(self.all.bytes))
    }

    /// Whether what is alive is too little for this many bytes on disk.
    fn is_too_little_for(&self, bytes_on_disk: u64) -> bool {
        let alive = self.alive(self.all.raw_bytes);
        bytes_on_disk > DISK_TIMES_ALIVE * alive - alive / DISK_SLACK_PARTS
    }

    /// The part of something that belongs to jobs that are not gone.
    fn alive(&self, bytes: u64) -> u64 {
        let jobs = u128::from(self.all.jobs.max(1));
        (u128::from(bytes) * jobs.saturating_sub(u128::from(self.all.gone)) / jobs) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CompactionAction::{Leave, MergeAll, MergeChanges};

    /// Compresses to a tenth: the disk is not tight.
    fn layer(bytes: u64) -> LayerFigures {
        LayerFigures { bytes, raw_bytes: 10 * bytes, jobs: 0, gone: 0 }
    }

    fn layers<const N: usize>(bytes: [u64; N]) -> [LayerFigures; N] {
        bytes.map(layer)
    }

    /// Does not compress at all.
    fn noise(bytes: u64) -> LayerFigures {
        LayerFigures { raw_bytes: bytes, ..layer(bytes) }
    }

    /// A full layer, and one that has nothing but a few jobs and says that some are gone, of 100 in all.
    fn with_gone(full: LayerFigures, gone: u64) -> [LayerFigures; 2] {
        [LayerFigures { jobs: 60, ..full }, LayerFigures { jobs: 40, gone, ..layer(0) }]
    }

    fn policy() -> Layering {
        Layering { checked_whole_bytes: 1_000, layers_max: 3, ..Layering::default() }
    }

    fn compaction(layers: &[LayerFigures]) -> CompactionAction {
        policy().compaction(layers)
    }

    /// Where two are kept, and not much else is on disk.
    fn fallback(layers: &[LayerFigures]) -> Fallback {
        policy().fallback(2, layers, 0)
    }

    #[test]
    fn log_of_the_size_of_one_layer_becomes_one() {
        let policy = Layering { log_bytes: 100, ..policy() };
        assert!(!policy.is_enough_log(99));
        assert!(policy.is_enough_log(100));
    }

    #[test]
    fn a_full_layer_comes_first_and_follows_a_small_state() {
        let policy = Layering { changes_from_bytes: 100, ..policy() };
        assert_eq!(policy.next_layer(None), NextLayer::Full);
        assert_eq!(policy.next_layer(Some(99)), NextLayer::Full);
        assert_eq!(Layering { changes_from_bytes: 0, ..policy }.next_layer(None), NextLayer::Full);
    }

    #[test]
    fn a_state_from_the_threshold_on_is_followed_by_changes() {
        let policy = Layering { changes_from_bytes: 100, ..policy() };
        assert_eq!(policy.next_layer(Some(100)), NextLayer::Changes);
        assert_eq!(Layering { changes_from_bytes: 0, ..policy }.next_layer(Some(0)), NextLayer::Changes);
    }

    #[test]
    fn a_full_layer_alone_is_left() {
        assert_eq!(compaction(&[]), Leave);
        assert_eq!(compaction(&[noise(1_000)]), Leave);
    }

    #[test]
    fn changes_of_more_than_half_make_all_a_new_layer() {
        assert_eq!(compaction(&layers([1_000, 200, 300])), Leave);
        assert_eq!(compaction(&layers([1_000, 200, 301])), MergeAll);
        assert_eq!(compaction(&with_gone(layer(1_000), 50)), Leave);
        assert_eq!(compaction(&with_gone(layer(1_000), 51)), MergeAll);
    }

    #[test]
    fn changes_of_more_than_a_fifth_make_all_a_new_layer_where_the_disk_is_tight() {
        assert_eq!(compaction(&[noise(1_000), noise(200)]), Leave);
        assert_eq!(compaction(&[noise(1_000), noise(201)]), MergeAll);
        assert_eq!(compaction(&with_gone(noise(1_000), 20)), Leave);
        assert_eq!(compaction(&with_gone(noise(1_000), 21)), MergeAll);
    }

    #[test]
    fn the_disk_is_tight_if_an_eighth_of_what_is_alive_is_left_of_twice_that() {
        // Old and new layers take 3,000 bytes, of which 1,600 are alive before they are compressed.
        let full = LayerFigures { raw_bytes: 1_000, ..noise(1_200) };
        let changes = |bytes| LayerFigures { raw_bytes: 600, ..noise(bytes) };
        assert_eq!(compaction(&[full, changes(300)]), Leave);
        assert_eq!(compaction(&[full, changes(301)]), MergeAll);
    }

    #[test]
    fn changes_beyond_the_most_are_put_together_but_for_the_newest() {
        assert_eq!(compaction(&layers([10_000, 1, 1, 1])), Leave);
        assert_eq!(compaction(&layers([10_000, 1, 1, 1, 1])), MergeChanges(1..4));
    }

    #[test]
    fn a_change_of_more_than_twice_all_later_ones_is_not_written_again() {
        assert_eq!(compaction(&layers([10_000, 40, 10, 10, 99])), MergeChanges(1..4));
        assert_eq!(compaction(&layers([10_000, 41, 10, 10, 99])), MergeChanges(2..4));
        // What is behind it stays as well, however small.
        assert_eq!(compaction(&layers([10_000, 1, 41, 10, 10, 99])), MergeChanges(3..5));
    }

    #[test]
    fn two_changes_are_never_too_many() {
        let policy = Layering { layers_max: 0, ..policy() };
        assert_eq!(policy.compaction(&layers([10_000, 1])), Leave);
        assert_eq!(policy.compaction(&layers([10_000, 1, 1])), Leave);
        assert_eq!(policy.compaction(&layers([10_000, 1, 1, 1])), MergeChanges(1..3));
    }

    #[test]
    fn a_full_layer_is_not_put_together_with_some_changes_even_if_it_is_as_small_as_they_are() {
        assert_eq!(compaction(&layers([1_000, 200, 200, 100, 0])), MergeChanges(1..4));
    }

    #[test]
    fn few_small_changes_are_left() {
        assert_eq!(compaction(&layers([1_000, 100, 100, 100])), Leave);
    }

    #[test]
    fn the_state_before_stays_if_more_than_two_are_to_be_kept() {
        let layers = layers([1_000, 1_000]);
        assert_eq!(policy().fallback(3, &layers, u64::MAX), Fallback::Keep);
        assert_eq!(policy().fallback(2, &layers, u64::MAX), Fallback::Drop);
    }

    #[test]
    fn the_state_before_stays_under_a_full_layer_that_is_small() {
        assert_eq!(fallback(&layers([999, 999])), Fallback::Keep);
        assert_eq!(fallback(&layers([1_000, 999])), Fallback::Drop);
    }

    #[test]
    fn the_state_before_stays_until_there_are_changes() {
        assert_eq!(policy().fallback(2, &layers([1_000]), u64::MAX), Fallback::Keep);
    }

    #[test]
    fn changes_of_more_than_a_quarter_replace_the_state_before() {
        assert_eq!(fallback(&layers([1_000, 100, 150])), Fallback::Keep);
        assert_eq!(fallback(&layers([1_000, 100, 151])), Fallback::Drop);
        assert_eq!(fallback(&with_gone(layer(1_000), 25)), Fallback::Keep);
        assert_eq!(fallback(&with_gone(layer(1_000), 26)), Fallback::Drop);
    }

    #[test]
    fn changes_of_more_than_a_twentieth_replace_the_state_before_where_the_disk_is_tight() {
        assert_eq!(fallback(&[noise(1_000), noise(50)]), Fallback::Keep);
        assert_eq!(fallback(&[noise(1_000), noise(51)]), Fallback::Drop);
        assert_eq!(fallback(&with_gone(noise(1_000), 5)), Fallback::Keep);
        assert_eq!(fallback(&with_gone(noise(1_000), 6)), Fallback::Drop);
    }

    #[test]
    fn the_state_before_goes_when_the_disk_holds_nearly_twice_what_is_alive() {
        // 80 of 100 jobs are alive, and so 8,000 of 10,000 bytes.
        let layers = with_gone(layer(1_000), 20);
        assert_eq!(policy().fallback(2, &layers, 15_000), Fallback::Keep);
        assert_eq!(policy().fallback(2, &layers, 15_001), Fallback::Drop);
    }

    #[test]
    fn the_state_before_stays_while_changes_are_small_and_the_disk_has_space() {
        assert_eq!(policy().fallback(2, &layers([1_000, 100]), 2_000), Fallback::Keep);
    }

    #[test]
    fn older_states_go_by_count_and_by_age_but_the_newest_stays_and_so_does_the_fallback() {
        let kept = |fallback, snapshots_kept, is_old| {
            (0..9).take_while(|newer| Layering::keeps(*newer, fallback, snapshots_kept, || is_old)).count()
        };
        assert_eq!([0, 1, 2, 3].map(|snapshots| kept(Fallback::Keep, snapshots, false)), [2, 2, 2, 3]);
        assert_eq!([0, 1, 2, 3].map(|snapshots| kept(Fallback::Keep, snapshots, true)), [2, 2, 2, 2]);
        assert_eq!([0, 1, 2, 3].map(|snapshots| kept(Fallback::Drop, snapshots, false)), [1, 1, 1, 1]);
    }

    #[test]
    fn payloads_of_a_small_state_are_confirmed_at_a_start() {
        assert!(policy().confirms_payloads(999));
        assert!(!policy().confirms_payloads(1_000));
    }
}
