//! What events do to the table: to its jobs, each by [`crate::jobs::apply`], and to what follows from them.

use crate::base::bugs;
use crate::ids::{JobId, QueueName, Seq, Timestamp};
use crate::jobs::apply::{SetBackLimits, Stamp};
use crate::jobs::event::{ClockStep, Event, EventKind, EventType, NewJob};
use crate::jobs::intern::QueueKey;
use crate::jobs::model::job::{Misfit, Status};
use crate::jobs::model::payload::PayloadRef;
use crate::jobs::table::list::Slot;
use crate::jobs::table::packed_job::{PackedJob, occupied_mut};
use crate::jobs::table::profiles::JobProfile;
use crate::jobs::table::{FINISHED, JobTable, finished_index};

impl JobTable {
    /// Changes the table by the next event of the log.
    ///
    /// # Errors
    /// The event does not follow the last one, or does not fit the job it names. The table must not be used
    /// after that: log and state disagree.
    pub fn apply(&mut self, seq: Seq, event: Event) -> Result<(), Misfit> {
        if seq != self.last.next() {
            let problem = format!("it should follow event {}", self.last);
            return Err(Misfit { seq, event: event.kind.name(), problem });
        }
        self.sections.apply((seq, event.at), &event.kind);
        match event.kind {
            EventKind::Enqueue(new) => self.add(seq, event.at, event.job_seq, new)?,
            EventKind::Promote { due, through } => self.promote(seq, event.at, (due, through))?,
            EventKind::Forget { completed, dead, cancelled } => {
                for (status, through) in FINISHED.into_iter().zip([completed, dead, cancelled]) {
                    self.forget(status, through);
                }
            }
            EventKind::SetPaused { queue, paused } => self.set_reachable(&queue, !paused),
            EventKind::RemoveQueue { queue } => {
                self.set_reachable(&queue, true);
                self.queue_was_removed();
            }
            EventKind::Digest { digest } if digest != self.digest() => {
                let problem = format!(
                    "the state sums up to {:016x}, but the log says {digest:016x}: they were not made by the same rules",
                    self.digest()
                );
                return Err(Misfit { seq, event: "DIGEST", problem });
            }
            EventKind::Digest { .. } | EventKind::Term { .. } => {}
            EventKind::Lead { grace_ms, margin_ms } => {
                self.spare_leases(seq, event.at, &EventKind::Lead { grace_ms, margin_ms })?;
            }
            EventKind::SetClock { step, margin_ms, backoff_max_ms, .. } => {
                if let ClockStep::Back { .. } = step {
                    self.set_back(event.at, margin_ms, backoff_max_ms);
                }
            }
            // What is bound here would be copied first, and it is not small.
            _ => {
                let job = event.kind.job();
                let found = self.decided_slot(&event).or_else(|| self.slot_of(job?));
                let slot = found.ok_or_else(|| Misfit {
                    seq,
                    event: event.kind.name(),
                    problem: format!("there is no job {}", job.map_or(String::new(), JobId::to_string)),
                })?;
                let found = self.job(slot).enqueued_seq;
                if event.job_seq != found {
                    let problem = format!("its job has number {found}, but it means {}", event.job_seq);
                    return Err(Misfit { seq, event: event.kind.name(), problem });
                }
                self.change(seq, event.at, slot, event.kind)?;
            }
        }
        self.last = seq;
        self.last_at = self.last_at.max(event.at);
        Ok(())
    }

    /// Whether workers may get the jobs of a queue, after the section of queues has changed.
    fn set_reachable(&mut self, queue: &QueueName, reachable: bool) {
        if let Some(key) = self.sections.queues.find(queue) {
            self.ready.set_paused(key, !reachable);
        }
    }

    fn spare_leases(&mut self, seq: Seq, at: Timestamp, lead: &EventKind) -> Result<(), Misfit> {
        let held: Vec<Slot> = self.leases.iter(&self.links, &self.jobs).collect();
        held.into_iter().try_for_each(|slot| self.change(seq, at, slot, lead.clone()))
    }

    /// The clock went back to `at`: see [`PackedJob::set_back`].
    fn set_back(&mut self, at: Timestamp, margin_ms: u64, backoff_max_ms: u64) {
        let retrying = self.waiting.iter().map(|(_, _, slot)| *slot);
        let retrying = retrying.filter(|slot| self.job(*slot).status() == Status::Retrying);
        let touched: Vec<Slot> = self.leases.iter(&self.links, &self.jobs).chain(retrying).collect();
        for slot in touched {
            self.unlink(slot);
            let job = occupied_mut(&mut self.jobs, slot);
            let JobProfile { timeout_ms, backoff, .. } = *self.profiles.get(job.profile);
            job.set_back(at, SetBackLimits { timeout_ms, margin_ms, backoff, backoff_max_ms });
            self.link(slot);
        }
        self.last_at = at;
        self.restored_at = self.restored_at.min(at);
        self.queue_used_at.iter_mut().for_each(|used_at| *used_at = (*used_at).min(at));
    }

    fn add(&mut self, seq: Seq, at: Timestamp, gives_way: Seq, mut new: Box<NewJob>) -> Result<(), Misfit> {
        let misfit = |problem| Misfit { seq, event: "ENQUEUE", problem };
        self.reclaim_names_if_many();
        let place = self.ids.place(&new.id);
        let older = self.ids.find_at(place, |slot| self.job(slot).id == new.id);
        let number = older.map_or(Seq::ZERO, |slot| self.job(slot).enqueued_seq);
        if gives_way != number {
            let problem = format!("job {} has number {number}, but it means {gives_way}", new.id);
            return Err(misfit(problem));
        }
        if let Some(slot) = older {
            if !self.job(slot).status().is_finished() {
                return Err(misfit(format!("job {} is there already", new.id)));
            }
            // A finished job gives way to a new one of its name.
            self.unlink(slot);
            self.drop_job(slot);
        }
        let profile = self.join_named(&new.profile);
        self.queue_was_used(self.profiles.get(profile).queue, at);
        let id = std::mem::replace(&mut new.id, JobId::NOBODY);
        let payload = std::mem::replace(&mut new.content.payload, PayloadRef::Stored { bytes: 0 });
        let mut job = PackedJob::accepted(id, seq, at, new.run_at, payload, profile);
        job.set_custom(new.content.custom.take());
        self.emptied = Some(new);
        let resident = job.resident_bytes();
        let slot = self.next_slot();
        self.ids.insert_at(place, slot);
        self.fill(slot, job, resident);
        if resident > 0 {
            self.fresh.push_back((seq, slot));
        }
        self.link(slot);
        Ok(())
    }

    fn promote(&mut self, seq: Seq, at: Timestamp, through: (Timestamp, Seq)) -> Result<(), Misfit> {
        let due = self.waiting.range(..=(through.0, through.1, Slot::MAX));
        let mut due: Vec<Slot> = due.map(|(_, _, slot)| *slot).collect();
        // They join the line in the order in which they were accepted, so that the place in line of each can be
        // told from the job alone.
        due.sort_unstable_by_key(|slot| self.job(*slot).enqueued_seq);
        for &slot in &due {
            let line_seq = Seq(seq.0 - bugs::disorder(due.len()));
            self.change(line_seq, at, slot, EventKind::Promote { due: through.0, through: through.1 })?;
        }
        Ok(())
    }

    fn forget(&mut self, status: Status, through: Seq) {
        while let Some(slot) = self.finished[finished_index(status)].head() {
            if self.finish_of(slot).seq > through {
                break;
            }
            self.unlink(slot);
            self.drop_job(slot);
        }
    }

    fn change(&mut self, seq: Seq, at: Timestamp, slot: Slot, kind: EventKind) -> Result<(), Misfit> {
        let event_type = kind.event_type();
        // A finished job that is moved keeps its place among the others, which are in the order in which they ended.
        let keeps_its_place =
            matches!(event_type, EventType::Move | EventType::Output) && self.job(slot).finish().is_some();
        match keeps_its_place {
            true => self.count_out(slot),
            false => self.unlink(slot),
        }
        match &kind {
            EventKind::Discard { .. } => {
                self.drop_job(slot);
                return Ok(());
            }
            EventKind::Move { queue, .. } => {
                self.reclaim_names_if_many();
                let queue = self.sections.queues.intern(queue);
                self.move_to(slot, queue);
                self.queue_was_used(queue, at);
            }
            _ => {}
        }
        let stamp = Stamp { seq, at, epoch: self.sections.epoch() };
        let job = occupied_mut(&mut self.jobs, slot);
        let timeout_ms = self.profiles.get(job.profile).timeout_ms;
        job.apply(stamp, timeout_ms, kind, &mut self.boxes)?;
        let is_report = matches!(
            event_type,
            EventType::Ack
                | EventType::Retry
                | EventType::Requeue
                | EventType::Exhaust
                | EventType::Kill
                | EventType::Output
        );
        if is_report && job.rare().is_some() {
            self.reports.push_back((seq, job.enqueued_seq, slot));
        }
        // What has run is on disk, and is seldom wanted again.
        if matches!(event_type, EventType::Ack | EventType::Exhaust) {
            self.leave_content(slot);
        }
        match keeps_its_place {
            true => self.count_in(slot),
            false => self.link(slot),
        }
        Ok(())
    }

    fn move_to(&mut self, slot: Slot, queue: QueueKey) {
        let before = self.job(slot).profile;
        let profile = JobProfile { queue, ..*self.profiles.get(before) };
        let profile = self.join(profile);
        self.profiles.leave(before);
        occupied_mut(&mut self.jobs, slot).profile = profile;
    }
}
