//! The texts of jobs: which there are, where each is found again, and leaving on disk what takes memory that it need not.

use std::convert::Infallible;

use crate::ids::Seq;
use crate::jobs::model::text::{AnyText, TextAt, TextPart};
use crate::jobs::table::JobTable;
use crate::jobs::table::list::Slot;
use crate::jobs::table::packed_job::{PackedJob, occupied_mut};

impl PackedJob {
    /// Hands each text beside the payload to `visit`, with the place where it is found again.
    ///
    /// # Errors
    /// The first error of `visit`; the texts behind it are not visited.
    pub fn each_further_text<E>(
        &mut self,
        mut visit: impl FnMut(TextAt, &mut dyn AnyText) -> Result<(), E>,
    ) -> Result<(), E> {
        let job = self.enqueued_seq;
        let Some(rare) = &mut self.rare else { return Ok(()) };
        if let Some(custom) = &mut rare.custom {
            visit(TextAt::custom(job), custom)?;
        }
        if let Some(result) = &mut rare.result {
            visit(result.place(job, TextPart::Result), &mut result.text)?;
        }
        for failure in rare.failures.iter_mut().map(|attempt| &mut attempt.failure) {
            visit(failure.place(job, TextPart::Failure), &mut failure.text)?;
        }
        Ok(())
    }

    /// Leaves on disk what its attempts left behind and what went wrong, up to the event at `through`: it is seldom wanted
    /// again.
    pub fn leave_reports(&mut self, through: Seq) {
        let leave = |at: TextAt, text: &mut dyn AnyText| {
            if at.seq > at.job && at.seq <= through {
                text.leave();
            }
            Ok::<(), Infallible>(())
        };
        let Ok(()) = self.each_further_text(leave);
    }

    /// Leaves on disk what the job came with; says how many bytes that frees.
    #[inline]
    pub fn leave_content(&mut self) -> u64 {
        let bytes = self.payload.leave_bytes();
        match self.rare.as_mut().and_then(|rare| rare.custom.as_mut()) {
            Some(custom) => bytes + custom.leave_bytes(),
            None => bytes,
        }
    }

    /// Bytes that what it came with takes in memory and need not: all but small texts.
    #[inline]
    pub fn resident_bytes(&self) -> u64 {
        let custom = self.rare.as_ref().and_then(|rare| rare.custom.as_ref());
        self.payload.resident_bytes() + custom.map_or(0, |custom| custom.resident_bytes())
    }
}

impl JobTable {
    /// Leaves on disk only what is durable up to `through`: reports on jobs, and, as long as more than `bytes_max` of it
    /// are in memory, what jobs came with. Those that came first stay: they are wanted first.
    pub fn leave_payloads(&mut self, through: Seq, bytes_max: u64) {
        while let Some((number, slot)) = self.fresh.pop_front_if(|(number, _)| *number <= through) {
            if self.resident > bytes_max && self.is_in(slot, number) {
                self.leave_content(slot);
            }
        }
        while let Some((_, number, slot)) = self.reports.pop_front_if(|(seq, ..)| *seq <= through) {
            if self.is_in(slot, number) {
                occupied_mut(&mut self.jobs, slot).leave_reports(through);
            }
        }
    }

    /// Whether the job with this number is still in the slot.
    fn is_in(&self, slot: Slot, number: Seq) -> bool {
        self.jobs[slot as usize].as_ref().is_some_and(|job| job.enqueued_seq == number)
    }

    pub(super) fn leave_content(&mut self, slot: Slot) {
        self.resident -= occupied_mut(&mut self.jobs, slot).leave_content();
    }
}
