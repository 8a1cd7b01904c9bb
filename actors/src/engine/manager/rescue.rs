//! What the manager does while the state is written out anew: it stands still, shows its jobs a few milliseconds at a time, and
//! answers what is only asked. What would change the state is handled when it moves on.

use std::time::Duration;

use actix::{Context, Handler, Message};
use tokio::sync::oneshot;

use crate::engine::manager::{JobManagerActor, duties};
use crate::engine::messages::RescueStep;
use crate::ids::{Seq, Timestamp};
use crate::jobs::table::copy::{JobCopy, Outline};
use crate::jobs::table::list::Slot;
use crate::jobs::{Command, Failure, FailureKind};
use crate::snapshot::rescue::LostPayload;

/// Others wait for the manager this long at most while it shows its jobs.
const SLICE: Duration = Duration::from_millis(3);
/// Slots that are looked at before it looks at the clock.
const SLOTS_AT_ONCE: usize = 1_024;
/// A slice of jobs ends when their payloads in memory are this large together, in bytes.
const SLICE_BYTES: u64 = 1 << 20;

impl JobManagerActor {
    /// Gives a message back, unless the state stands still: then it is handled later.
    pub(super) fn unless_still<M>(&mut self, message: M) -> Option<M>
    where
        M: Message + 'static,
        JobManagerActor: Handler<M>,
    {
        if !self.stillness.holds() {
            return Some(message);
        }
        let waiting = move |manager: &mut JobManagerActor, ctx: &mut Context<JobManagerActor>| {
            drop(manager.handle(message, ctx));
        };
        self.stillness.hold_back(Box::new(waiting));
        None
    }

    /// Says so as soon as nothing is under way any more.
    pub(super) fn tell_if_still(&mut self) {
        let is_settled = self.stillness.holds() && self.ledger.all_is_told();
        if let Some(still) = self.stillness.stand_still(is_settled) {
            // The snapshot actor may have died; the next one asks again.
            let _ = still.send(self.ledger.table.outline());
        }
    }

    fn stand_still(&mut self, still: oneshot::Sender<Outline>) {
        self.ledger.is_damaged = true;
        self.tell_intake();
        // The image that is made now is of a position of its own, and the log says what it must sum up to.
        let digest = self.ledger.table.digest_now();
        self.ledger.record(digest);
        self.stillness.settle(still);
    }

    fn numbers_from(&self, from: usize) -> (Vec<(Seq, Slot)>, usize) {
        let begun = self.settings.clock.ticks();
        let (mut numbers, mut next) = (Vec::new(), from);
        loop {
            numbers.extend(self.ledger.table.numbers_in(next..next + SLOTS_AT_ONCE));
            next += SLOTS_AT_ONCE;
            let is_over = self.settings.clock.ticks().saturating_sub(begun) >= SLICE;
            if is_over || next >= self.ledger.table.slots() {
                return (numbers, next);
            }
        }
    }

    fn jobs_in(&self, slots: &[Slot]) -> Vec<JobCopy> {
        let begun = self.settings.clock.ticks();
        let mut bytes = 0;
        let mut jobs = Vec::with_capacity(slots.len());
        for (nth, copy) in slots.iter().map_while(|slot| self.ledger.table.copy_of(*slot)).enumerate() {
            bytes += copy.1.resident_bytes();
            jobs.push(copy);
            let is_time = nth % 64 == 63 && self.settings.clock.ticks().saturating_sub(begun) >= SLICE;
            if is_time || bytes >= SLICE_BYTES {
                break;
            }
        }
        jobs
    }

    fn move_on(&mut self, mended: Option<Vec<LostPayload>>, ctx: &mut Context<JobManagerActor>) {
        let waiting = self.stillness.move_on();
        let now = self.begin_turn();
        // Nobody could report meanwhile.
        duties::after_standstill(&mut self.ledger, now);
        if let Some(lost) = mended {
            self.ledger.is_damaged = false;
            self.settings.metrics.payloads_lost.add(lost.len() as u64);
            for lost in lost {
                self.lose_payload(lost, now);
            }
        }
        for handle in waiting {
            handle(self, ctx);
        }
        if std::mem::take(&mut self.stillness.bulk_waits) {
            self.step_bulk(ctx);
        }
    }

    fn lose_payload(&mut self, LostPayload { job, problem }: LostPayload, now: Timestamp) {
        let failure = Failure::new(FailureKind::PayloadLost, problem);
        // It waited when the state stood still, so this is not rejected.
        let _ = self.ledger.execute(Command::LosePayload { job, token: None, failure }, now);
        if self.ledger.commit.is_large() {
            self.send_group();
        }
    }
}

impl Handler<RescueStep> for JobManagerActor {
    type Result = ();

    fn handle(&mut self, step: RescueStep, ctx: &mut Context<JobManagerActor>) {
        // Where the asker has gone, nobody wants the answer.
        match step {
            RescueStep::StandStill { still } => self.stand_still(still),
            RescueStep::ShowNumbers { from, shown } => return drop(shown.send(self.numbers_from(from))),
            RescueStep::ShowJobs { slots, shown } => return drop(shown.send(self.jobs_in(&slots))),
            RescueStep::MoveOn { mended } => self.move_on(mended, ctx),
        }
        self.end_turn(ctx);
    }
}
