//! State before + sealed log = next layer, one job at a time.
//!
//! Memory is taken by what the log changes, never by the state: a layer that holds everything is written while the
//! state streams by, and one that tells only of changes reads the pages that they are about and no others. This works
//! because every event either names its job by its number, or tells for each job alone whether it is meant (`Promote`
//! up to a moment, `Forget` up to a position). What is known of queues is carried along beside the jobs.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{JobId, QueueName, Seq, Timestamp};
use crate::jobs::model::job::{JobState, Misfit};
use crate::jobs::record::JobRecord;
use crate::jobs::sections::queues::{Overview, QueueRecord, Totals};
use crate::jobs::{Event, EventKind, Payload, PayloadRef};
use crate::snapshot::SnapshotError;
use crate::snapshot::format::{LayerMeta, Summary};
use crate::snapshot::layer::PageReader;
use crate::snapshot::page::{PagedJob, ProfileRecord, joined, parted};
use crate::snapshot::payloads::PayloadPages;
use crate::snapshot::state::{Finder, State};
use crate::snapshot::writer::LayerWriter;

/// What an event takes in memory beside its payload, roughly.
const EVENT_BYTES: usize = 256;

/// What a stretch of the log changes, gathered job by job.
#[derive(Debug, Default)]
pub struct Delta {
    /// What it follows.
    after: Seq,
    /// Jobs accepted in it, in the order of their numbers; none where a later job of the same id took the place.
    added: Vec<(Seq, Option<JobRecord>)>,
    /// What happens to jobs of the state before, by number.
    older: BTreeMap<Seq, Older>,
    promotions: Vec<Promotion>,
    /// The last position up to which completed, dead and cancelled jobs were forgotten.
    forgotten: [Seq; 3],
    /// What the events say of queues: by name, whether it exists and whether it is paused.
    queues: BTreeMap<QueueName, QueueChange>,
    totals: Totals,
    last: Seq,
    last_at: Timestamp,
    bytes: usize,
}

/// What happens to a job of the state before.
#[derive(Debug)]
struct Older {
    id: JobId,
    events: Vec<(Seq, Event)>,
    /// It had finished, and a later one of its id took its place.
    gave_way: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct QueueChange {
    exists: Option<bool>,
    paused: Option<bool>,
}

#[derive(Debug)]
struct Promotion {
    seq: Seq,
    at: Timestamp,
    through: (Timestamp, Seq),
}

impl Delta {
    /// Nothing yet, behind the event at `last`.
    #[must_use]
    pub fn after(last: Seq, last_at: Timestamp) -> Delta {
        Delta { after: last, last, last_at, ..Delta::default() }
    }

    /// Takes in the next event.
    ///
    /// # Errors
    /// It does not follow the last one, or does not fit its job.
    pub fn take(&mut self, seq: Seq, event: Event) -> Result<(), Misfit> {
        if seq != self.last.next() {
            let problem = format!("it should follow event {}", self.last);
            return Err(Misfit { seq, change: event.change.name(), problem });
        }
        self.last = seq;
        self.last_at = self.last_at.max(event.at);
        self.bytes += EVENT_BYTES;
        let Event { at, number, change } = event;
        match change {
            EventKind::Enqueue(new) => {
                self.bytes += new.payload.len();
                self.queue_exists(&new.queue);
                self.give_way(seq, number, &new.id)?;
                self.added.push((seq, Some(JobRecord::accepted(seq, at, *new))));
            }
            EventKind::Promote { due, number } => {
                self.promotions.push(Promotion { seq, at, through: (due, number) });
            }
            EventKind::Forget { completed, dead, cancelled } => {
                for (through, so_far) in [completed, dead, cancelled].into_iter().zip(&mut self.forgotten) {
                    *so_far = through.max(*so_far);
                }
            }
            EventKind::Pause { queue } => {
                self.queues.insert(queue, QueueChange { exists: Some(true), paused: Some(true) });
            }
            EventKind::Resume { queue } => self.queues.entry(queue).or_default().paused = Some(false),
            EventKind::RemoveQueue { queue } => {
                self.queues.insert(queue, QueueChange { exists: Some(false), paused: Some(false) });
            }
            // Of the whole state, which is not in memory here; boot compares it.
            EventKind::Digest { .. } => {}
            change => self.take_change(seq, at, number, change)?,
        }
        Ok(())
    }

    /// Memory that it takes, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A job is accepted: nothing remains of the finished one of its id, which `number` names, if there is one.
    fn give_way(&mut self, seq: Seq, number: Seq, id: &JobId) -> Result<(), Misfit> {
        match number {
            Seq::ZERO => {}
            number if number <= self.after => self.older(number, id).gave_way = true,
            number => {
                let index = self
                    .index_of(number)
                    .filter(|index| self.added[*index].1.as_ref().is_some_and(|job| job.id == *id));
                let index = index.ok_or_else(|| Misfit {
                    seq,
                    change: "ENQUEUE",
                    problem: format!("number {number} is no job {id} that could give way"),
                })?;
                self.added[index].1 = None;
            }
        }
        Ok(())
    }

    fn older(&mut self, number: Seq, id: &JobId) -> &mut Older {
        let older = || Older { id: id.clone(), events: Vec::new(), gave_way: false };
        self.older.entry(number).or_insert_with(older)
    }

    fn index_of(&self, number: Seq) -> Option<usize> {
        self.added.binary_search_by_key(&number, |(number, _)| *number).ok()
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

    fn take_change(&mut self, seq: Seq, at: Timestamp, number: Seq, change: EventKind) -> Result<(), Misfit> {
        let Some(id) = change.job().cloned() else { return Ok(()) };
        self.totals.take(&change);
        if let EventKind::Move { queue, .. } = &change {
            self.queue_exists(queue);
        }
        let name = change.name();
        let missing = || Misfit { seq, change: name, problem: format!("there is no job {id}") };
        if number <= self.after {
            self.older(number, &id).events.push((seq, Event { at, number, change }));
            return Ok(());
        }
        let index = self.index_of(number).ok_or_else(missing)?;
        let record = self.added[index].1.take().filter(|record| record.id == id).ok_or_else(missing)?;
        if !matches!(change, EventKind::Discard { .. }) {
            let record = promoted(record, seq, &self.promotions)?;
            self.added[index].1 = Some(record.change(seq, at, change)?);
        }
        Ok(())
    }

    /// Position of the last event taken in.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.last
    }

    /// Latest moment of an event taken in.
    #[must_use]
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// Writes a layer that holds everything: the state before, if there is one, with this delta applied.
    pub(super) fn write_full(
        mut self,
        before: Option<State>,
        layer: &mut LayerWriter,
    ) -> Result<LayerMeta, SnapshotError> {
        let mut meta = LayerMeta::default();
        if let Some(before) = before {
            meta = before.layers.last().expect("a state has a layer").meta().clone();
            let payloads = PayloadPages::new(before.layers.clone());
            let mut pages = before.into_pages();
            while let Some(page) = pages.next_page()? {
                for job in page.jobs {
                    let profile = &page.profiles[job.profile as usize];
                    match self.touches(&job) {
                        false => add(layer, profile, job, &payloads)?,
                        true => {
                            if let Some(record) = self.fold_older(joined(profile, job)).map_err(misfit)? {
                                let (profile, job) = parted(record);
                                add(layer, &profile, job, &payloads)?;
                            }
                        }
                    }
                }
            }
        }
        if !self.older.is_empty() {
            let left = self.older.len();
            return Err(SnapshotError::Log(format!("{left} of the jobs it names are in neither")));
        }
        self.write_added(layer)?;
        Ok(LayerMeta { jobs: layer.jobs_total(), ..self.meta_after(meta) })
    }

    /// Writes a layer that tells only of what this delta changes in the state before.
    pub(super) fn write_changes(
        mut self,
        before: &State,
        layer: &mut LayerWriter,
    ) -> Result<LayerMeta, SnapshotError> {
        let newest = before.layers.last().expect("a state has a layer").meta();
        let mut jobs = newest.jobs;
        let mut numbers = self.candidates(before, newest)?;
        numbers.extend(self.older.keys().copied());
        let mut finder = Finder::new(&before.layers);
        for number in numbers {
            let is_named = self.older.contains_key(&number);
            let Some(record) = finder.find(number)? else {
                match is_named {
                    true => {
                        let problem = format!("job number {number} is in neither");
                        return Err(SnapshotError::Log(problem));
                    }
                    // A newer layer knows that it is gone.
                    false => continue,
                }
            };
            let (profile, job) = parted(record);
            if !self.touches(&job) {
                continue;
            }
            match self.fold_older(joined(&profile, job)).map_err(misfit)? {
                Some(record) => {
                    let (profile, job) = parted(record);
                    layer.add(&profile, job, None)?;
                }
                None => {
                    layer.gone(number)?;
                    jobs = jobs.saturating_sub(1);
                }
            }
        }
        let so_far = layer.jobs_total();
        self.write_added(layer)?;
        jobs += layer.jobs_total() - so_far;
        let meta = newest.clone();
        Ok(LayerMeta { jobs, ..self.meta_after(meta) })
    }

    /// Jobs of the state before that a promotion or a forgetting may be about: pages that neither can touch are not
    /// read. Those that one before did touch already are left out as far as their page tells.
    fn candidates(&self, before: &State, newest: &LayerMeta) -> Result<BTreeSet<Seq>, SnapshotError> {
        let mut found = BTreeSet::new();
        let mut reader = PageReader::default();
        let promoted = self.promotions.last().map(|promotion| (newest.promoted.0.0, promotion.through.0.0));
        let mut ranges = [promoted, None, None, None];
        for (range, (from, through)) in
            ranges[1..].iter_mut().zip(newest.forgotten.into_iter().zip(self.forgotten))
        {
            *range = (through > from).then_some((from.0, through.0));
        }
        type Range = Option<(u64, u64)>;
        let is_touched = |(range, part): (&Range, &Range)| match (range, part) {
            (Some((from, through)), Some((least, greatest))) => least <= through && greatest >= from,
            _ => false,
        };
        for layer in &before.layers {
            for block in &layer.jobs {
                let Summary(parts) = &block.summary;
                if ranges.iter().zip(parts).any(is_touched) {
                    let page = layer.page(&mut reader, block)?;
                    let touched = page.jobs.iter().filter(|job| self.touches_all(job));
                    found.extend(touched.map(|job| job.number));
                }
            }
        }
        Ok(found)
    }

    fn write_added(&mut self, layer: &mut LayerWriter) -> Result<(), SnapshotError> {
        for (_, record) in std::mem::take(&mut self.added) {
            let Some(record) = record else { continue };
            let record = promoted(record, Seq(u64::MAX), &self.promotions).map_err(misfit)?;
            if !self.is_forgotten(&record.state) {
                let (profile, job) = parted(record);
                layer.add(&profile, job, None)?;
            }
        }
        Ok(())
    }

    fn meta_after(&self, before: LayerMeta) -> LayerMeta {
        let mut forgotten = before.forgotten;
        for (so_far, through) in forgotten.iter_mut().zip(self.forgotten) {
            *so_far = through.max(*so_far);
        }
        LayerMeta {
            promoted: self.promotions.last().map_or(before.promoted, |promotion| promotion.through),
            forgotten,
            jobs: before.jobs,
            overview: self.changed(before.overview),
        }
    }

    /// Whether anything in it is about this job of the state before.
    fn touches(&self, job: &PagedJob) -> bool {
        self.touches_all(job) || self.older.contains_key(&job.number)
    }

    /// Whether an event that is about many jobs is about this one, as it is.
    fn touches_all(&self, job: &PagedJob) -> bool {
        let is_due = |due| {
            let last = self.promotions.last();
            last.is_some_and(|promotion| (due, job.number) <= promotion.through)
        };
        job.state.due().is_some_and(is_due) || self.is_forgotten(&job.state)
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

    /// What becomes of a job of the state before; none if it is gone.
    fn fold_older(&mut self, mut record: JobRecord) -> Result<Option<JobRecord>, Misfit> {
        let mut events = Vec::new();
        if let Some(older) = self.older.remove(&record.number) {
            if older.id != record.id {
                let seq = older.events.first().map_or(self.last, |(seq, _)| *seq);
                let problem = format!("number {} is job {}, not {}", record.number, record.id, older.id);
                return Err(Misfit { seq, change: "event", problem });
            }
            if older.gave_way {
                return Ok(None);
            }
            events = older.events;
        }
        for (seq, event) in events {
            if let EventKind::Discard { .. } = event.change {
                return Ok(None);
            }
            record = promoted(record, seq, &self.promotions)?;
            record = record.change(seq, event.at, event.change)?;
        }
        let record = promoted(record, Seq(u64::MAX), &self.promotions)?;
        Ok((!self.is_forgotten(&record.state)).then_some(record))
    }

    fn is_forgotten(&self, state: &JobState) -> bool {
        let (finish, through) = match state {
            JobState::Completed(finish) => (finish, self.forgotten[0]),
            JobState::Dead(finish) => (finish, self.forgotten[1]),
            JobState::Cancelled(finish) => (finish, self.forgotten[2]),
            _ => return false,
        };
        finish.seq <= through
    }
}

/// Adds a job of the state before, with its payload if the layer must have it.
fn add(
    layer: &mut LayerWriter,
    profile: &ProfileRecord,
    job: PagedJob,
    payloads: &PayloadPages,
) -> Result<(), SnapshotError> {
    let payload: Option<Payload> = match job.payload {
        PayloadRef::Stored { .. } if layer.owns(job.number) => Some(payloads.get(job.number)?),
        _ => None,
    };
    layer.add(profile, job, payload.as_ref())
}

/// The job after those promotions before `before` that cover it.
///
/// Each promotion reaches further than the one before it, and a job only begins to wait for a moment beyond all
/// promotions so far; so the first that reaches it is the one, and none before it did.
fn promoted(mut record: JobRecord, before: Seq, promotions: &[Promotion]) -> Result<JobRecord, Misfit> {
    let Some(due) = record.state.due() else { return Ok(record) };
    let key = (due, record.number);
    let first = promotions.partition_point(|promotion| promotion.through < key);
    if let Some(promotion) = promotions.get(first).filter(|promotion| promotion.seq < before) {
        let (due, number) = promotion.through;
        record = record.change(promotion.seq, promotion.at, EventKind::Promote { due, number })?;
    }
    Ok(record)
}

fn misfit(misfit: Misfit) -> SnapshotError {
    SnapshotError::Log(misfit.to_string())
}
