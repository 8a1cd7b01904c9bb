//! Whether the state may change, and what waits until it may.

use tokio::sync::oneshot;

use crate::jobs::table::copy::Outline;

/// Whether the state may change.
#[derive(Default)]
enum Stand {
    #[default]
    Moves,
    /// Nothing new begins; the snapshot actor is told when all is confirmed.
    Settling(oneshot::Sender<Outline>),
    Still,
}

/// Whether the state may change, and what waits until it may, in the order in which it came.
pub(super) struct Stillness<W> {
    stand: Stand,
    waiting: Vec<W>,
    /// Whether the next step of what is done to many jobs waits, too.
    pub bulk_waits: bool,
}

impl<W> Default for Stillness<W> {
    fn default() -> Stillness<W> {
        Stillness { stand: Stand::Moves, waiting: Vec::new(), bulk_waits: false }
    }
}

impl<W> Stillness<W> {
    /// Nothing new may change the state; who asked is told when all is confirmed.
    pub fn settle(&mut self, still: oneshot::Sender<Outline>) {
        self.stand = Stand::Settling(still);
    }

    /// Whether nothing may change the state, or soon nothing will.
    pub fn holds(&self) -> bool {
        !matches!(self.stand, Stand::Moves)
    }

    /// All is confirmed if `is_settled`; who is to be told, if somebody waits for that.
    pub fn stand_still(&mut self, is_settled: bool) -> Option<oneshot::Sender<Outline>> {
        if !is_settled || !matches!(self.stand, Stand::Settling(_)) {
            return None;
        }
        match std::mem::replace(&mut self.stand, Stand::Still) {
            Stand::Settling(still) => Some(still),
            Stand::Moves | Stand::Still => None,
        }
    }

    /// This waits.
    pub fn hold_back(&mut self, waiting: W) {
        self.waiting.push(waiting);
    }

    /// The state may change again: what has waited.
    pub fn move_on(&mut self) -> Vec<W> {
        self.stand = Stand::Moves;
        std::mem::take(&mut self.waiting)
    }
}
