//! State before + sealed log = next layer, one job at a time.
//!
//! Memory is taken by what the log changes, never by the state: a layer that holds everything is written while the
//! state streams by, and one that tells only of changes reads the pages that they are about and no others. This works
//! because every event either names its job by its number, or tells for each job alone whether it is meant (`Promote`
//! up to a moment, `Forget` up to a position, `Lead` and `SetClock` before an event). What is not a job is a section, which changes by the events alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::ids::{Epoch, JobId, QueueName, Seq, Timestamp};
use crate::jobs::apply::{SetBackLimits, Stamp};
use crate::jobs::event::ClockStep;
use crate::jobs::model::job::Misfit;
use crate::jobs::model::profile::Profile;
use crate::jobs::sections::Sections;
use crate::jobs::table::finished_index;
use crate::jobs::table::packed_job::{EmptyBoxes, PackedJob, ProfileId};
use crate::jobs::{Event, EventKind, Status};
use crate::snapshot::SnapshotError;
use crate::snapshot::format::{LayerMeta, PageSummary};
use crate::snapshot::layer::PageReader;
use crate::snapshot::state::{Finder, State};
use crate::snapshot::texts::TextPages;
use crate::snapshot::writer::LayerWriter;

/// What an event takes in memory beside its payload, roughly.
const EVENT_BYTES: usize = 256;

/// What a stretch of the log changes, gathered job by job.
#[derive(Debug, Default)]
pub struct Delta {
    /// The last event that the state before it covers.
    after: Seq,
    /// Jobs accepted in it, in the order of their numbers; none where a later job of the same id took the place.
    added: Vec<(Seq, Option<PackedJob>)>,
    /// What they have in common, by the numbers that they say.
    profiles: Vec<Profile>,
    numbers: HashMap<Profile, ProfileId>,
    /// What happens to jobs of the state before, by number.
    older: BTreeMap<Seq, Older>,
    /// What happens to many jobs at once.
    bounds: Bounds,
    /// What the state holds beside jobs, as it is behind the last event taken in.
    sections: Sections,
    boxes: EmptyBoxes,
    /// Position of the last event taken in.
    pub(super) last: Seq,
    /// Latest moment of an event taken in.
    pub(super) last_at: Timestamp,
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

/// Events that give a bound by which each job alone can tell whether it is meant, and what else each job must know.
#[derive(Debug, Default)]
struct Bounds {
    /// Stretches of the log in which time ran forwards: one, and one more for each time that the clock was set back.
    runs: Vec<TimeRun>,
    /// The last position up to which completed, dead and cancelled jobs were forgotten.
    forgotten: [Seq; 3],
    /// From which event on the state is in which term.
    epochs: Vec<(Seq, Epoch)>,
}

/// A stretch of the log in which time ran forwards.
#[derive(Debug, Default)]
struct TimeRun {
    /// The step back of the clock that it begins with; the first begins with none.
    set_back: Option<ClockSetBack>,
    /// Each reaches further than the one before it.
    promotions: Vec<Promotion>,
    /// Events that let all leases last longer, and when they happened.
    leads: Vec<(Seq, Timestamp, EventKind)>,
}

#[derive(Debug)]
struct ClockSetBack {
    seq: Seq,
    at: Timestamp,
    margin_ms: u64,
    backoff_max_ms: u64,
}

impl ClockSetBack {
    fn apply(&self, job: &mut PackedJob, profile: &Profile) {
        let ClockSetBack { at, margin_ms, backoff_max_ms, .. } = *self;
        let Profile { timeout_ms, backoff, .. } = *profile;
        job.set_back(at, SetBackLimits { timeout_ms, margin_ms, backoff, backoff_max_ms });
    }
}

impl TimeRun {
    /// The event that it begins with.
    fn first(&self) -> Seq {
        self.set_back.as_ref().map_or(Seq::ZERO, |set_back| set_back.seq)
    }
}

#[derive(Debug)]
struct Promotion {
    seq: Seq,
    at: Timestamp,
    through: (Timestamp, Seq),
}

impl Bounds {
    fn stamp(&self, seq: Seq, at: Timestamp) -> Stamp {
        let nth = self.epochs.partition_point(|(from, _)| *from <= seq);
        let epoch = nth.checked_sub(1).map_or_else(Epoch::default, |nth| self.epochs[nth].1);
        Stamp { seq, at, epoch }
    }

    /// The stretch that the log is in.
    fn run(&mut self) -> &mut TimeRun {
        self.runs.last_mut().expect("there is one from the beginning")
    }

    /// Applies to a job, which is as the event at `after` left it, the events about many jobs that come before `before`.
    ///
    /// While time runs forwards, each promotion reaches further than the one before it, and a job only begins to wait for a
    /// moment beyond all promotions so far; so of each such stretch the first that reaches it is the one, and none before
    /// it did.
    fn catch_up(
        &self,
        job: &mut PackedJob,
        profile: &Profile,
        (after, before): (Seq, Seq),
        boxes: &mut EmptyBoxes,
    ) -> Result<(), Misfit> {
        let timeout_ms = profile.timeout_ms;
        let over = self.runs.iter().skip(1).take_while(|next| next.first() <= after).count();
        for run in self.runs.iter().skip(over).take_while(|run| run.first() < before) {
            if let Some(set_back) = run.set_back.as_ref().filter(|set_back| set_back.seq > after) {
                set_back.apply(job, profile);
            }
            if let Some(due) = job.due() {
                let key = (due, job.enqueued_seq);
                let first = run.promotions.partition_point(|promotion| promotion.through < key);
                if let Some(promotion) = run.promotions.get(first).filter(|promotion| promotion.seq < before)
                {
                    let (due, through) = promotion.through;
                    let stamp = self.stamp(promotion.seq, promotion.at);
                    job.apply(stamp, timeout_ms, EventKind::Promote { due, through }, boxes)?;
                }
            } else if job.status() == Status::InFlight {
                for (seq, at, lead) in run.leads.iter().filter(|(seq, ..)| *seq < before) {
                    job.apply(self.stamp(*seq, *at), timeout_ms, lead.clone(), boxes)?;
                }
            }
        }
        Ok(())
    }

    fn is_forgotten(&self, job: &PackedJob) -> bool {
        job.finish().is_some_and(|finish| finish.seq <= self.forgotten[finished_index(job.status())])
    }

    /// Whether an event that is about many jobs is about this one, as it is.
    fn touches(&self, job: &PackedJob) -> bool {
        let is_due = |due| self.promoted().is_some_and(|through| (due, job.enqueued_seq) <= through);
        job.due().is_some_and(is_due)
            || self.is_forgotten(job)
            || (job.status() == Status::InFlight && self.changes_leases())
            || (job.status() == Status::Retrying && self.sets_back())
    }

    /// Up to where any promotion reaches.
    fn promoted(&self) -> Option<(Timestamp, Seq)> {
        self.runs.iter().filter_map(|run| Some(run.promotions.last()?.through)).max()
    }

    fn sets_back(&self) -> bool {
        self.runs.len() > 1
    }

    fn changes_leases(&self) -> bool {
        self.sets_back() || self.runs.iter().any(|run| !run.leads.is_empty())
    }
}

impl Delta {
    /// Nothing yet, behind the event at `last`, where the state holds this beside its jobs.
    #[must_use]
    pub fn after(last: Seq, last_at: Timestamp, sections: Sections) -> Delta {
        let epochs = vec![(Seq::ZERO, sections.epoch())];
        let bounds = Bounds { epochs, runs: vec![TimeRun::default()], ..Bounds::default() };
        Delta { after: last, last, last_at, sections, bounds, ..Delta::default() }
    }

    /// Takes in the next event.
    ///
    /// # Errors
    /// It does not follow the last one, or does not fit its job.
    pub fn take(&mut self, seq: Seq, event: Event) -> Result<(), Misfit> {
        if seq != self.last.next() {
            let problem = format!("it should follow event {}", self.last);
            return Err(Misfit { seq, event: event.kind.name(), problem });
        }
        self.last = seq;
        self.last_at = match event.kind {
            EventKind::SetClock { step: ClockStep::Back { .. }, .. } => event.at,
            _ => self.last_at.max(event.at),
        };
        let id_bytes = event.kind.job().map_or(0, JobId::text_len);
        self.bytes += EVENT_BYTES + id_bytes + event.kind.text_bytes();
        self.sections.apply((seq, event.at), &event.kind);
        let Event { at, job_seq, kind } = event;
        match kind {
            EventKind::Enqueue(new) => {
                self.give_way(seq, job_seq, &new.id)?;
                let profile = self.number_of(&new.profile);
                let mut job = PackedJob::accepted(new.id, seq, at, new.run_at, new.content.payload, profile);
                job.set_custom(new.content.custom);
                self.added.push((seq, Some(job)));
            }
            EventKind::Promote { due, through } => {
                self.bounds.run().promotions.push(Promotion { seq, at, through: (due, through) });
            }
            EventKind::Forget { completed, dead, cancelled } => {
                let so_far = &mut self.bounds.forgotten;
                for (through, so_far) in [completed, dead, cancelled].into_iter().zip(so_far) {
                    *so_far = through.max(*so_far);
                }
            }
            EventKind::Term { epoch, .. } => self.bounds.epochs.push((seq, epoch)),
            lead @ EventKind::Lead { .. } => self.bounds.run().leads.push((seq, at, lead)),
            EventKind::SetClock { step: ClockStep::Back { .. }, margin_ms, backoff_max_ms, .. } => {
                self.set_back(ClockSetBack { seq, at, margin_ms, backoff_max_ms })?;
            }
            EventKind::SetClock { .. } => {}
            EventKind::SetPaused { .. } | EventKind::RemoveQueue { .. } => {}
            // Of the whole state, which is not in memory here; boot compares it.
            EventKind::Digest { .. } => {}
            kind => self.take_change(seq, at, job_seq, kind)?,
        }
        Ok(())
    }

    /// The clock was set back. Jobs that were accepted in this delta are brought up to here, so that of them nobody needs to
    /// know since when they are as they are.
    fn set_back(&mut self, set_back: ClockSetBack) -> Result<(), Misfit> {
        let Delta { added, bounds, profiles, boxes, .. } = self;
        let span = (bounds.run().first(), set_back.seq);
        for job in added.iter_mut().filter_map(|(_, job)| job.as_mut()) {
            let profile = &profiles[job.profile.0 as usize];
            bounds.catch_up(job, profile, span, boxes)?;
            set_back.apply(job, profile);
        }
        bounds.runs.push(TimeRun { set_back: Some(set_back), ..TimeRun::default() });
        Ok(())
    }

    /// Memory that it takes, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn number_of(&mut self, profile: &Profile) -> ProfileId {
        if let Some(number) = self.numbers.get(profile) {
            return *number;
        }
        let number = ProfileId(self.profiles.len() as u32);
        self.profiles.push(profile.clone());
        self.numbers.insert(profile.clone(), number);
        number
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
                    event: "ENQUEUE",
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

    fn take_change(&mut self, seq: Seq, at: Timestamp, job_seq: Seq, kind: EventKind) -> Result<(), Misfit> {
        let Some(id) = kind.job().cloned() else { return Ok(()) };
        let event = kind.name();
        let missing = || Misfit { seq, event, problem: format!("there is no job {id}") };
        if job_seq <= self.after {
            self.older(job_seq, &id).events.push((seq, Event { at, job_seq, kind }));
            return Ok(());
        }
        let index = self.index_of(job_seq).ok_or_else(missing)?;
        let mut job = self.added[index].1.take().filter(|job| job.id == id).ok_or_else(missing)?;
        if matches!(kind, EventKind::Discard { .. }) {
            return Ok(());
        }
        let profile = &self.profiles[job.profile.0 as usize];
        let (timeout_ms, after) = (profile.timeout_ms, self.bounds.run().first());
        self.bounds.catch_up(&mut job, profile, (after, seq), &mut self.boxes)?;
        if let EventKind::Move { queue, .. } = &kind {
            let profile = moved(&self.profiles[job.profile.0 as usize], queue);
            job.profile = self.number_of(&profile);
        }
        job.apply(self.bounds.stamp(seq, at), timeout_ms, kind, &mut self.boxes)?;
        self.added[index].1 = Some(job);
        Ok(())
    }

    /// Writes a layer that holds everything: the state before, if there is one, with this delta applied.
    pub(super) fn write_full(
        mut self,
        before: Option<State>,
        layer: &mut LayerWriter,
    ) -> Result<LayerMeta, SnapshotError> {
        let mut meta = LayerMeta::default();
        if let Some(before) = before {
            meta = before.meta().clone();
            let texts = TextPages::new(before.layers().to_vec());
            let mut pages = before.into_pages();
            while let Some(page) = pages.next_page()? {
                for job in page.jobs {
                    let profile = &page.profiles[job.profile.0 as usize];
                    match self.touches(&job) {
                        false => layer.add_from(&texts, profile, job)?,
                        true => {
                            if let Some((profile, job)) =
                                self.fold_older(profile.clone(), job).map_err(misfit)?
                            {
                                layer.add_from(&texts, &profile, job)?;
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
        Ok(LayerMeta { jobs: layer.jobs_total(), ..self.meta_after(&meta) })
    }

    /// Writes a layer that tells only of what this delta changes in the state before.
    pub(super) fn write_changes(
        mut self,
        before: &State,
        layer: &mut LayerWriter,
    ) -> Result<LayerMeta, SnapshotError> {
        let newest = before.meta();
        let mut jobs = newest.jobs;
        let mut numbers = self.candidates(before, newest)?;
        numbers.extend(self.older.keys().copied());
        let mut finder = Finder::new(before.layers());
        for number in numbers {
            let is_named = self.older.contains_key(&number);
            let Some((profile, job)) = finder.find(number)? else {
                match is_named {
                    true => {
                        let problem = format!("job number {number} is in neither");
                        return Err(SnapshotError::Log(problem));
                    }
                    // A newer layer knows that it is gone.
                    false => continue,
                }
            };
            if !self.touches(&job) {
                continue;
            }
            match self.fold_older(profile, job).map_err(misfit)? {
                Some((profile, job)) => layer.add(&profile, job)?,
                None => {
                    layer.gone(number)?;
                    jobs = jobs.saturating_sub(1);
                }
            }
        }
        let so_far = layer.jobs_total();
        self.write_added(layer)?;
        jobs += layer.jobs_total() - so_far;
        Ok(LayerMeta { jobs, ..self.meta_after(newest) })
    }

    /// Jobs of the previous state that an event about many jobs may change. Pages that no such event can touch are not
    /// read; jobs that an earlier one has changed already are left out where their page shows it.
    fn candidates(&self, before: &State, newest: &LayerMeta) -> Result<BTreeSet<Seq>, SnapshotError> {
        let mut found = BTreeSet::new();
        let mut reader = PageReader::default();
        let promoted = self.bounds.promoted().map(|(due, _)| (newest.promoted.0.0, due.0));
        // Everything that was waited for when the clock was set back, and a lease that was given at any time before.
        let promoted = if self.bounds.sets_back() { Some((0, u64::MAX)) } else { promoted };
        let spared = self.bounds.changes_leases().then_some((0, u64::MAX));
        let mut ranges = [promoted, None, None, None, spared];
        for (range, (from, through)) in
            ranges[1..4].iter_mut().zip(newest.forgotten.into_iter().zip(self.bounds.forgotten))
        {
            *range = (through > from).then_some((from.0, through.0));
        }
        type Range = Option<(u64, u64)>;
        let is_touched = |(range, part): (&Range, &Range)| match (range, part) {
            (Some((from, through)), Some((least, greatest))) => least <= through && greatest >= from,
            _ => false,
        };
        for layer in before.layers() {
            for block in &layer.jobs {
                let PageSummary(parts) = &block.summary;
                if ranges.iter().zip(parts).any(is_touched) {
                    let page = layer.page(&mut reader, block)?;
                    let touched = page.jobs.iter().filter(|job| self.bounds.touches(job));
                    found.extend(touched.map(|job| job.enqueued_seq));
                }
            }
        }
        Ok(found)
    }

    fn write_added(&mut self, layer: &mut LayerWriter) -> Result<(), SnapshotError> {
        for (_, job) in std::mem::take(&mut self.added) {
            let Some(mut job) = job else { continue };
            let profile = &self.profiles[job.profile.0 as usize];
            let span = (self.bounds.run().first(), Seq(u64::MAX));
            let caught_up = self.bounds.catch_up(&mut job, profile, span, &mut self.boxes);
            caught_up.map_err(misfit)?;
            if !self.bounds.is_forgotten(&job) {
                layer.add(profile, job)?;
            }
        }
        Ok(())
    }

    fn meta_after(self, before: &LayerMeta) -> LayerMeta {
        let Bounds { runs, forgotten: through, .. } = self.bounds;
        // What was promoted before the clock was set back says nothing about jobs that came later.
        let before_it = if runs.len() > 1 { (Timestamp(0), Seq::ZERO) } else { before.promoted };
        let promotion = runs.last().and_then(|run| run.promotions.last());
        let mut forgotten = before.forgotten;
        for (so_far, through) in forgotten.iter_mut().zip(through) {
            *so_far = through.max(*so_far);
        }
        LayerMeta {
            promoted: promotion.map_or(before_it, |promotion| promotion.through),
            forgotten,
            jobs: before.jobs,
            sections: self.sections,
        }
    }

    /// Whether anything in it is about this job of the state before.
    fn touches(&self, job: &PackedJob) -> bool {
        self.bounds.touches(job) || self.older.contains_key(&job.enqueued_seq)
    }

    /// What becomes of a job of the state before; none if it is gone.
    fn fold_older(
        &mut self,
        mut profile: Profile,
        mut job: PackedJob,
    ) -> Result<Option<(Profile, PackedJob)>, Misfit> {
        let mut events = Vec::new();
        if let Some(older) = self.older.remove(&job.enqueued_seq) {
            if older.id != job.id {
                let seq = older.events.first().map_or(self.last, |(seq, _)| *seq);
                let problem = format!("number {} is job {}, not {}", job.enqueued_seq, job.id, older.id);
                return Err(Misfit { seq, event: "event", problem });
            }
            if older.gave_way {
                return Ok(None);
            }
            events = older.events;
        }
        let Delta { bounds, boxes, after, .. } = self;
        let mut after = *after;
        for (seq, Event { at, kind, .. }) in events {
            if let EventKind::Discard { .. } = kind {
                return Ok(None);
            }
            bounds.catch_up(&mut job, &profile, (after, seq), boxes)?;
            if let EventKind::Move { queue, .. } = &kind {
                profile = moved(&profile, queue);
            }
            job.apply(bounds.stamp(seq, at), profile.timeout_ms, kind, boxes)?;
            after = seq;
        }
        bounds.catch_up(&mut job, &profile, (after, Seq(u64::MAX)), boxes)?;
        Ok((!bounds.is_forgotten(&job)).then_some((profile, job)))
    }
}

fn moved(profile: &Profile, queue: &QueueName) -> Profile {
    Profile { queue: queue.clone(), ..profile.clone() }
}

fn misfit(misfit: Misfit) -> SnapshotError {
    SnapshotError::Log(misfit.to_string())
}
