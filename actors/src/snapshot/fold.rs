//! Previous image + sealed log = next image, one job at a time.
//!
//! Memory is taken by what the log changes, never by the image: the previous image streams through. This works
//! because every event either names its job, or tells for each job alone whether it is meant (`Promote` up to a
//! moment, `Forget` up to a position).

use std::collections::HashMap;

use super::SnapshotError;
use super::format::{ImageReader, ImageWriter};
use crate::ids::{JobId, Lsn, Timestamp};
use crate::jobs::job::{Misfit, Status};
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
    last: Lsn,
    last_at: Timestamp,
}

/// What happens to the current job of an id.
#[derive(Debug)]
enum Changes {
    /// It is this one of `added`.
    Added(usize),
    /// It is in the previous image; these are to be applied when it streams by.
    Older(Vec<(Lsn, Event)>),
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
            // Of the whole state, which is not in memory here; boot compares it.
            Change::Digest { .. } => {}
            change => self.take_change(lsn, event.at, change)?,
        }
        Ok(())
    }

    fn take_change(&mut self, lsn: Lsn, at: Timestamp, change: Change) -> Result<(), Misfit> {
        let Some(id) = change.job().cloned() else { return Ok(()) };
        match self.current.entry(id).or_insert_with(|| Changes::Older(Vec::new())) {
            Changes::Older(events) => events.push((lsn, Event { at, change })),
            Changes::Added(index) => {
                let record = self.added[*index].take().expect("the current job of an id was not replaced");
                let record = promoted(record, lsn, &self.promotions)?;
                self.added[*index] = Some(record.change(lsn, at, change)?);
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

    /// Writes the next image: the previous one with this delta applied.
    ///
    /// # Errors
    /// The previous image is corrupted or does not fit, or the storage reported an error.
    pub fn write(
        mut self,
        previous: Option<ImageReader>,
        image: &mut ImageWriter,
    ) -> Result<(), SnapshotError> {
        if let Some(mut previous) = previous {
            while let Some(records) = previous.next_chunk()? {
                for record in records {
                    if let Some(record) = self.fold_older(record).map_err(misfit)? {
                        image.add(&record)?;
                    }
                }
            }
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
        Ok(())
    }

    /// What becomes of a job of the previous image; none if it is gone.
    fn fold_older(&mut self, mut record: JobRecord) -> Result<Option<JobRecord>, Misfit> {
        let events = match self.current.get_mut(&record.id) {
            // One of its id was accepted later, so this one had finished and gave way.
            Some(Changes::Added(_)) => return Ok(None),
            Some(Changes::Older(events)) => std::mem::take(events),
            None => Vec::new(),
        };
        self.current.remove(&record.id);
        for (lsn, event) in events {
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
