//! Previous image + sealed log = next image, one job at a time.
//!
//! Memory is taken by what the log changes, never by the image: the previous image streams through. This works
//! because every event either names its job, or tells for each job alone whether it is meant (`Promote` up to a
//! moment, `Forget` up to a position). What is known of queues is carried along beside the jobs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::SnapshotError;
use super::format::{ImageReader, ImageWriter};
use crate::ids::{JobId, Lsn, QueueName, Timestamp};
use crate::jobs::job::{Misfit, Status};
use crate::jobs::queues::{Overview, QueueRecord, Totals};
use crate::jobs::record::JobRecord;
use crate::jobs::{Change, Event};

/// What a stretch of the log changes, gathered job by job.
#[derive(Debug, Default)]
pub struct Delta {
    /// Jobs accepted in it, by number; none where a later job of the same id took the place.
    added: Vec<Option<JobRecord>>,
    /// Where the events of an id go now.
    current: HashMap<JobId, Changes>,
    promotions: Vec<Promotion>,
    /// The last position up to which completed, dead and cancelled jobs were forgotten.
    forgotten: [Lsn; 3],
    /// What the events say of queues: by name, whether it exists and whether it is paused.
    queues: BTreeMap<QueueName, QueueChange>,
    totals: Totals,
    last: Lsn,
    last_at: Timestamp,
}

#[derive(Clone, Copy, Debug, Default)]
struct QueueChange {
    exists: Option<bool>,
    paused: Option<bool>,
}

/// What happens to the current job of an id.
#[derive(Debug)]
enum Changes {
    /// It is this one of `added`.
    Added(usize),
    /// It is in the previous image; these are to be applied when it streams by.
    Older(Vec<(Lsn, Event)>),
    /// There was one, and it was discarded.
    Gone,
}

#[derive(Debug)]
struct Promotion {
    lsn: Lsn,
    at: Timestamp,
    through: (Timestamp, Lsn),
}

impl Delta {
    /// Nothing yet, behind the event at `last`.
    #[must_use]
    pub fn after(last: Lsn, last_at: Timestamp) -> Delta {
        Delta { last, last_at, ..Delta::default() }
    }

    /// Takes in the next event.
    ///
    /// # Errors
    /// It does not follow the last one, or does not fit its job.
    pub fn take(&mut self, lsn: Lsn, event: Event) -> Result<(), Misfit> {
        if lsn != self.last.next() {
            let problem = format!("it should follow event {}", self.last);
            return Err(Misfit { lsn, change: event.change.name(), problem });
        }
        self.last = lsn;
        self.last_at = self.last_at.max(event.at);
        match event.change {
            Change::Enqueue(new) => {
                self.queue_exists(&new.queue);
                let id = new.id.clone();
                // A job that gives way has finished; nothing of it remains.
                if let Some(Changes::Added(older)) = self.current.insert(id, Changes::Added(self.added.len()))
                {
                    self.added[older] = None;
                }
                self.added.push(Some(JobRecord::accepted(lsn, event.at, *new)));
            }
            Change::Promote { due, number } => {
                self.promotions.push(Promotion { lsn, at: event.at, through: (due, number) });
            }
            Change::Forget { completed, dead, cancelled } => {
                for (through, so_far) in [completed, dead, cancelled].into_iter().zip(&mut self.forgotten) {
                    *so_far = through.max(*so_far);
                }
            }
            Change::Pause { queue } => {
                self.queues.insert(queue, QueueChange { exists: Some(true), paused: Some(true) });
            }
            Change::Resume { queue } => self.queues.entry(queue).or_default().paused = Some(false),
            Change::RemoveQueue { queue } => {
                self.queues.insert(queue, QueueChange { exists: Some(false), paused: Some(false) });
            }
            // Of the whole state, which is not in memory here; boot compares it.
            Change::Digest { .. } => {}
            change => self.take_change(lsn, event.at, event.number, change)?,
        }
        Ok(())
    }

    fn queue_exists(&mut self, queue: &QueueName) {
        match self.queues.get_mut(queue) {
            Some(change) => change.exists = Some(true),
            None => {
                let change = QueueChange { exists: Some(true), paused: None };
                self.queues.insert(queue.clone(), change);
            }
        }
    }

    fn take_change(
        &mut self,
        lsn: Lsn,
        at: Timestamp,
        number: Option<Lsn>,
        change: Change,
    ) -> Result<(), Misfit> {
        let Some(id) = change.job().cloned() else { return Ok(()) };
        self.totals.take(&change);
        if let Change::Move { queue, .. } = &change {
            self.queue_exists(queue);
        }
        let current = self.current.entry(id).or_insert_with(|| Changes::Older(Vec::new()));
        match current {
            Changes::Older(events) => events.push((lsn, Event { at, number, change })),
            Changes::Added(index) => {
                let record = self.added[*index].take().expect("the current job of an id was not replaced");
                if let Change::Discard { .. } = change {
                    // If there was an older one of the id, it has given way before.
                    *current = Changes::Gone;
                    return Ok(());
                }
                let record = promoted(record, lsn, &self.promotions)?;
                self.added[*index] = Some(record.change(lsn, at, change)?);
            }
            Changes::Gone => {
                let problem =
                    format!("there is no job {}", change.job().map_or(String::new(), JobId::to_string));
                return Err(Misfit { lsn, change: change.name(), problem });
            }
        }
        Ok(())
    }

    /// Position of the last event taken in.
    #[must_use]
    pub fn last(&self) -> Lsn {
        self.last
    }

    /// Latest moment of an event taken in.
    #[must_use]
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// Writes the next image: the previous one with this delta applied. Returns what belongs beside the jobs.
    ///
    /// # Errors
    /// The previous image is corrupted or does not fit, or the storage reported an error.
    pub fn write(
        mut self,
        previous: Option<ImageReader>,
        image: &mut ImageWriter,
    ) -> Result<Overview, SnapshotError> {
        let mut overview = Overview::default();
        if let Some(mut previous) = previous {
            let mut seen = BTreeSet::new();
            while let Some(records) = previous.next_chunk()? {
                for record in records {
                    if !seen.contains(&record.queue) {
                        seen.insert(record.queue.clone());
                    }
                    if let Some(record) = self.fold_older(record).map_err(misfit)? {
                        image.add(&record)?;
                    }
                }
            }
            // Images of the first schema say nothing of queues: there, those that have jobs exist.
            overview = previous.overview().cloned().unwrap_or_else(|| Overview {
                queues: seen.into_iter().map(|name| QueueRecord { name, paused: false }).collect(),
                totals: Totals::default(),
            });
        }
        let left = self.current.values().filter(|changes| matches!(changes, Changes::Older(_))).count();
        if left > 0 {
            return Err(SnapshotError::Log(format!("{left} of the jobs it names are in neither")));
        }
        for record in std::mem::take(&mut self.added).into_iter().flatten() {
            let record = promoted(record, Lsn(u64::MAX), &self.promotions).map_err(misfit)?;
            if !self.is_forgotten(&record) {
                image.add(&record)?;
            }
        }
        Ok(self.changed(overview))
    }

    fn changed(&self, before: Overview) -> Overview {
        let mut queues: BTreeMap<_, _> =
            before.queues.into_iter().map(|queue| (queue.name, queue.paused)).collect();
        for (name, change) in &self.queues {
            match change.exists {
                Some(false) => drop(queues.remove(name)),
                Some(true) => drop(queues.entry(name.clone()).or_insert(false)),
                None => {}
            }
            if let (Some(paused), Some(queue)) = (change.paused, queues.get_mut(name)) {
                *queue = paused;
            }
        }
        let totals = Totals {
            processed: before.totals.processed + self.totals.processed,
            failed: before.totals.failed + self.totals.failed,
        };
        let queues = queues.into_iter().map(|(name, paused)| QueueRecord { name, paused }).collect();
        Overview { queues, totals }
    }

    /// What becomes of a job of the previous image; none if it is gone.
    fn fold_older(&mut self, mut record: JobRecord) -> Result<Option<JobRecord>, Misfit> {
        let events = match self.current.get_mut(&record.id) {
            // One of its id was accepted later, so this one had finished and gave way.
            Some(Changes::Added(_) | Changes::Gone) => return Ok(None),
            Some(Changes::Older(events)) => std::mem::take(events),
            None => Vec::new(),
        };
        self.current.remove(&record.id);
        for (lsn, event) in events {
            if let Change::Discard { .. } = event.change {
                return Ok(None);
            }
            record = promoted(record, lsn, &self.promotions)?;
            record = record.change(lsn, event.at, event.change)?;
        }
        let record = promoted(record, Lsn(u64::MAX), &self.promotions)?;
        Ok((!self.is_forgotten(&record)).then_some(record))
    }

    fn is_forgotten(&self, record: &JobRecord) -> bool {
        let through = match record.state.status() {
            Status::Completed => self.forgotten[0],
            Status::Dead => self.forgotten[1],
            Status::Cancelled => self.forgotten[2],
            _ => return false,
        };
        record.state.finish().is_some_and(|finish| finish.lsn <= through)
    }
}

/// The job after those promotions before `before` that cover it.
///
/// Each promotion reaches further than the one before it, and a job only begins to wait for a moment beyond all
/// promotions so far; so the first that reaches it is the one, and none before it did.
fn promoted(mut record: JobRecord, before: Lsn, promotions: &[Promotion]) -> Result<JobRecord, Misfit> {
    let Some(due) = record.state.due() else { return Ok(record) };
    let key = (due, record.number);
    let first = promotions.partition_point(|promotion| promotion.through < key);
    if let Some(promotion) = promotions.get(first).filter(|promotion| promotion.lsn < before) {
        let (due, number) = promotion.through;
        record = record.change(promotion.lsn, promotion.at, Change::Promote { due, number })?;
    }
    Ok(record)
}

fn misfit(misfit: Misfit) -> SnapshotError {
    SnapshotError::Log(misfit.to_string())
}
