//! The slots of the jobs that were used last, by their ids.
//!
//! Deciding, logging and applying one event looks the same job up several times, and a worker mostly reports soon on the
//! job that it was given. An answer from here saves the hash and the look into the index of ids, which misses the
//! processor's cache where there are many jobs (`docs/decisions/0021-slots-used-last.md`). It is a guess: the caller checks
//! that the job has that id.

use std::cell::Cell;

use crate::ids::JobId;
use crate::jobs::table::list::Slot;

/// About as many as there are jobs in flight, and few enough for the nearest cache.
const PLACES: usize = 1024;

#[derive(Clone, Copy, Debug, Default)]
struct Guess {
    tag: u32,
    slot: Slot,
}

#[derive(Debug)]
pub(crate) struct Recent(Box<[Cell<Guess>; PLACES]>);

impl Default for Recent {
    fn default() -> Recent {
        Recent(Box::new([const { Cell::new(Guess { tag: 0, slot: 0 }) }; PLACES]))
    }
}

impl Recent {
    /// Where the job with this id was, unless another has taken its place here.
    #[inline]
    pub fn guess(&self, id: &JobId) -> Option<Slot> {
        let (place, tag) = placed(id);
        let guess = self.0[place].get();
        (guess.tag == tag).then_some(guess.slot)
    }

    /// Notes where the job with this id is.
    #[inline]
    pub fn note(&self, id: &JobId, slot: Slot) {
        let (place, tag) = placed(id);
        self.0[place].set(Guess { tag, slot });
    }
}

/// Ids that share a place and a tag, even if they are chosen to, cost no more than if there were no guesses.
#[inline]
fn placed(id: &JobId) -> (usize, u32) {
    // Both halves of the product: of texts that differ in one letter, one half alone is the same.
    let product = u128::from(id.last_bytes()) * 0x9e37_79b9_7f4a_7c15;
    let bits = (product >> 64) as u64 ^ product as u64;
    (bits as usize % PLACES, (bits >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Timestamp;

    #[test]
    fn a_job_is_found_where_it_was_noted_last_and_no_other_instead_of_it() {
        let recent = Recent::default();
        let ids =
            ["1", "2", "job-00000001", "job-00000002", "an id that is too long to be kept in its place"];
        let generated = (1..100).map(|number| JobId::generate(Timestamp(7), number));
        let ids: Vec<_> = ids.map(|id| JobId::parse(id).unwrap()).into_iter().chain(generated).collect();
        for (slot, id) in (1..).zip(&ids) {
            assert_eq!(recent.guess(id), None);
            recent.note(id, slot);
            assert_eq!(recent.guess(id), Some(slot));
            recent.note(id, slot + 1);
            assert_eq!(recent.guess(id), Some(slot + 1));
        }
    }
}
