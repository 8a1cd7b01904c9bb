//! Judges one disk after a crash: what it holds, what boot makes of it, and how the queue ends when it is drained.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::ids::{Epoch, Holder, Seq, Token, WorkerId};
use crate::jobs::job::Lease;
use crate::jobs::record::JobRecord;
use crate::jobs::sections::Sections;
use crate::jobs::{Command, EventKind, Failure, FailureKind, JobState, JobTable};
use crate::recovery::boot::QUARANTINE;
use crate::snapshot::SnapshotError;
use crate::snapshot::store::{Loaded, SnapshotStore};
use crate::testing::explorer::workload::{REMOTE_QUEUES, Story, options};
use crate::testing::explorer::{Effort, ExplorerReport, has_file, some};
use crate::testing::{SimStorage, StepEngine, StepError};
use crate::tools::oracle::{Oracle, Outcome};

/// Crashes on top of each other.
const DEPTH_MAX: usize = 3;
/// Later than every position, which serve as times before the crash.
const AFTER_THE_CRASH: u64 = 1 << 32;

/// Judges disks, and remembers those that it has seen.
pub struct Judge {
    /// What came of it so far.
    pub report: ExplorerReport,
    pub(super) effort: Effort,
    pub(super) dice: fastrand::Rng,
    seen: HashSet<(u64, u64)>,
    visits: u64,
}

impl Judge {
    /// One that has seen nothing.
    #[must_use]
    pub fn new(effort: Effort) -> Judge {
        Judge {
            report: ExplorerReport { seed: effort.seed, ..ExplorerReport::default() },
            effort,
            dice: fastrand::Rng::with_seed(effort.seed),
            seen: HashSet::new(),
            visits: 0,
        }
    }

    pub(super) fn has_enough(&self) -> bool {
        self.report.findings.len() >= self.effort.findings_max
    }

    /// Recovers a disk on which `story` was played and everything up to `acked` acknowledged, after `depth` other
    /// recoveries that were crashed.
    pub fn visit(&mut self, disk: &SimStorage, story: &Story, acked: u64, depth: usize, label: &str) {
        if self.has_enough() || !self.seen.insert((disk.fingerprint(), acked)) {
            return;
        }
        self.visits += 1;
        self.report.recoveries += 1;
        self.report.depths[depth.min(DEPTH_MAX)] += 1;
        if let Err(finding) = self.recover(disk, story, acked, depth, label) {
            self.report.findings.push(format!("{label}: {finding}"));
        }
    }

    fn recover(
        &mut self,
        disk: &SimStorage,
        story: &Story,
        acked: u64,
        depth: usize,
        label: &str,
    ) -> Result<(), String> {
        let before = read(disk, story, acked)?;
        let whole = disk.fork();
        let is_deep = depth < DEPTH_MAX && (depth > 0 || self.visits.is_multiple_of(self.effort.deep_every));
        if is_deep && depth == 0 {
            whole.start_tape();
        }
        let calls_before = whole.calls();
        let booted = StepEngine::with(whole.clone(), options(), self.effort.seed ^ self.visits);
        let mut engine = booted.map_err(|error| format!("it does not boot: {error}"))?;
        let tape = if is_deep && depth == 0 { whole.take_tape() } else { Vec::new() };
        let boot_calls = whole.calls() - calls_before;
        let after = settled(&engine, &before)?;
        self.power_cut_after_boot(&whole, &after)?;
        if has_file(&whole, &options().data_dir.join(QUARANTINE), ".snap") {
            return Err("a snapshot was moved to quarantine, though nothing was damaged".to_owned());
        }

        if has_file(&whole, &options().snapshot_dir, ".partial") {
            return Err("boot has left an unfinished snapshot".to_owned());
        }

        for frame in tape {
            for (what, disk) in self.crashes(&frame.disk) {
                let label = format!("{label}; boot, after call {} {what}", frame.calls);
                self.visit(&disk, &after, acked, depth + 1, &label);
            }
        }
        if is_deep && depth > 0 {
            self.crash_boot_somewhere(disk, &after, acked, depth, boot_calls, label);
        }
        self.drain(&mut engine, story, acked)
    }

    /// Deeper down, one call of boot and a few ways are drawn: the machine stops there, and boot must say so.
    fn crash_boot_somewhere(
        &mut self,
        disk: &SimStorage,
        story: &Story,
        acked: u64,
        depth: usize,
        calls: u64,
        label: &str,
    ) {
        let stopped = disk.fork();
        let call = stopped.calls() + self.dice.u64(1..=calls.max(1));
        stopped.crash_at(call);
        // What the process does while it dies changes nothing any more.
        drop(StepEngine::with(stopped.clone(), options(), self.effort.seed ^ self.visits));
        let (items, names) = stopped.unsynced();
        let open = Story { is_open: true, ..story.clone() };
        self.report.crashes += 3;
        for kept in some(items.len(), names, &mut self.dice, 1) {
            let cut = stopped.fork();
            cut.cut_power_keeping(&kept);
            self.visit(&cut, &open, acked, depth + 1, &format!("{label}; stopped at call {call}, {kept:?}"));
        }
    }

    /// Everything that boot handed over is durable.
    fn power_cut_after_boot(&self, disk: &SimStorage, after: &Story) -> Result<(), String> {
        let cut = disk.fork();
        cut.cut_power();
        let all = after.events.len() as u64;
        read(&cut, after, all).map(|_| ()).map_err(|finding| format!("power cut after boot: {finding}"))
    }

    /// Runs every job to its end and asks the oracle.
    fn drain(&mut self, engine: &mut StepEngine, story: &Story, acked: u64) -> Result<(), String> {
        let mut oracle = told(story, acked);
        let failed = |error: StepError| format!("while it is drained: {error}");
        let mut at = AFTER_THE_CRASH;
        // A worker that was given a job before the crash may report on it afterwards; the others report nothing.
        for (job, token) in engine.table().in_flight(|_| true) {
            if token.seq.0 <= acked && self.visits.is_multiple_of(2) {
                engine.ack(&job, token).map_err(failed)?;
                at += 1;
                oracle.completed(&job.to_string(), at);
            }
        }
        engine.clock.advance(Duration::from_secs(3_600));
        for (job, token) in engine.table().expired(engine.clock.now(), usize::MAX) {
            let failure = Failure::new(FailureKind::Timeout, "expired");
            engine.execute(Command::Fail { job, token, failure, result: None }).map_err(failed)?;
        }
        for queue in engine.overview().queues.into_iter().filter(|queue| queue.paused) {
            engine.execute(Command::SetPaused { queue: queue.name, paused: false }).map_err(failed)?;
        }
        engine.clock.advance(Duration::from_secs(3_600));
        while engine.execute(Command::Promote).map_err(failed)?.is_some() {}
        loop {
            let token = match engine.execute(Command::Dispatch { worker: WorkerId(0) }).map_err(failed)? {
                Some(seq) => engine.token(seq),
                None => match engine.reserve(&REMOTE_QUEUES, "ada").map_err(failed)? {
                    Some((_, token)) => token,
                    None => break,
                },
            };
            let Some((_, event)) = engine.history.last() else { break };
            let EventKind::Dispatch { job, attempt, .. } = event.kind.clone() else { break };
            at += 1;
            oracle.began(&job.to_string(), attempt.0, token, at);
            engine.ack(&job, token).map_err(failed)?;
            at += 1;
            oracle.completed(&job.to_string(), at);
        }
        engine.log().sync().map_err(|error| format!("while it is drained: {error}"))?;
        for job in engine.image() {
            oracle.ended(&job.id.to_string(), job.life.state.status());
        }
        let verdict = oracle.verdict();
        self.report.acknowledged += verdict.acknowledged;
        self.report.lost += verdict.lost.len() as u64;
        self.report.duplicated += verdict.duplicated;
        match verdict.holds() {
            true => Ok(()),
            false => Err(format!("the oracle says: {verdict}")),
        }
    }
}

/// What the clients and workers of the story know: only what was acknowledged was told to anybody.
fn told(story: &Story, acked: u64) -> Oracle {
    let mut oracle = Oracle::new();
    let mut current = Epoch::default();
    for (seq, event) in (1..).zip(&story.events) {
        if let EventKind::Term { epoch, .. } = &event.kind {
            current = *epoch;
        }
        let Some(job) = event.kind.job().map(ToString::to_string) else { continue };
        match &event.kind {
            EventKind::Enqueue(_) => {
                oracle.asked(&job);
                let outcome = if seq <= acked { Outcome::Acknowledged } else { Outcome::Unknown };
                oracle.answered(&job, outcome);
            }
            EventKind::Dispatch { attempt, .. } if seq <= acked => {
                oracle.began(&job, attempt.0, Token { epoch: current, seq: Seq(seq) }, seq);
            }
            EventKind::Discard { .. } => {
                let outcome = if seq <= acked { Outcome::Acknowledged } else { Outcome::Unknown };
                oracle.discarded(&job, outcome);
            }
            EventKind::Ack { .. } if seq <= acked => oracle.completed(&job, seq),
            _ => {}
        }
    }
    oracle
}

/// What snapshot and log of a disk hold, which must be a prefix of the story with everything acknowledged.
fn read(disk: &SimStorage, story: &Story, acked: u64) -> Result<Story, String> {
    let options = options();
    let copy = Arc::new(disk.fork());
    let quarantine = options.data_dir.join(QUARANTINE);
    let store = SnapshotStore::new(copy, &options.snapshot_dir, &quarantine);
    let (covered, held) = match store
        .load(|header, sections, jobs| Ok((header.last, (jobs.collect::<Vec<_>>(), sections.clone()))))
    {
        Ok(Loaded { value, corrupted, .. }) if corrupted.is_empty() => value,
        Ok(Loaded { corrupted, .. }) => return Err(format!("a snapshot is damaged: {corrupted:?}")),
        Err((SnapshotError::NotFound { .. }, corrupted)) if corrupted.is_empty() => {
            (Seq::ZERO, Image::default())
        }
        Err((error, corrupted)) => return Err(format!("no snapshot can be read: {error}; {corrupted:?}")),
    };
    let known = usize::try_from(covered.0).unwrap_or(usize::MAX);
    let Some(before) = story.events.get(..known) else {
        return Err(format!("a snapshot covers event {covered}, and {} were proposed", story.events.len()));
    };
    let mut found = Story { events: before.to_vec(), ..Story::default() };
    if image_of(&found)? != held {
        return Err(format!("the snapshot at {covered} is not what the events up to there give"));
    }
    found.read_on(disk, &options).map_err(|error| format!("the log cannot be read: {error}"))?;
    let last = found.events.len();
    if (last as u64) < acked {
        return Err(format!("event {acked} was acknowledged, but only {last} are there"));
    }
    for (seq, (event, proposed)) in (1..).zip(found.events.iter().zip(&story.events)) {
        if event != proposed {
            return Err(format!("event {seq} is {event:?}, and {proposed:?} was proposed"));
        }
    }
    let more = found.events.get(story.events.len()..).unwrap_or_default();
    let is_boots = |kind: &EventKind| {
        matches!(
            kind,
            EventKind::Term { .. }
                | EventKind::Requeue { .. }
                | EventKind::Exhaust { .. }
                | EventKind::Lead { .. }
                | EventKind::SetClock { .. }
        )
    };
    let is_permitted = more.is_empty() || (story.is_open && more.iter().all(|event| is_boots(&event.kind)));
    if !is_permitted {
        return Err(format!("nobody proposed {more:?}"));
    }
    if more.is_empty() && last > 0 && !story.ends.contains(&(last as u64)) {
        return Err(format!("only half of the operation is there that event {last} belongs to"));
    }
    let ends = story.ends.range(..=last as u64).copied().chain([last as u64]).collect();
    Ok(Story { ends, ..found })
}

/// Every job, and what belongs beside them.
type Image = (Vec<JobRecord>, Sections);

/// The state after replaying all events of a story from the first one.
fn image_of(story: &Story) -> Result<Image, String> {
    let mut table = JobTable::new(options().policy, &StepEngine::kinds());
    for (seq, event) in (1..).zip(&story.events) {
        table.apply(Seq(seq), event.clone()).map_err(|misfit| misfit.to_string())?;
    }
    Ok((table.records(), table.sections().clone()))
}

/// The story after boot: what was there, and the leases of the dead process settled, each once, and nothing else.
fn settled(engine: &StepEngine, before: &Story) -> Result<Story, String> {
    // Those of remote workers run on, and get back the time in which nobody heard them.
    let of_the_dead = |lease: &Lease| matches!(lease.holder, Holder::Local(_));
    let held = image_of(before)?.0.into_iter().filter_map(|job| match job.life.state {
        JobState::InFlight(lease) => Some((job.id.to_string(), of_the_dead(&lease))),
        _ => None,
    });
    let (dead, afar): (Vec<_>, Vec<_>) = held.partition(|(_, of_the_dead)| *of_the_dead);
    let in_flight: BTreeSet<String> = dead.into_iter().map(|(job, _)| job).collect();
    let mut spared = 0;
    let mut after = before.clone();
    after.read_on(&engine.storage, &engine.options).map_err(|error| format!("after boot: {error}"))?;
    let mut ended = BTreeSet::new();
    for (nth, event) in after.events[before.events.len()..].iter().enumerate() {
        match &event.kind {
            EventKind::SetClock { .. } if nth == 0 => {}
            EventKind::Term { .. } if nth <= 1 => {}
            EventKind::Requeue { job, .. } | EventKind::Exhaust { job, .. }
                if nth > 0 && ended.insert(job.to_string()) => {}
            EventKind::Lead { .. } if nth > 0 => spared += 1,
            EventKind::Digest { .. } => {}
            kind => return Err(format!("boot has decided {kind:?}")),
        }
    }
    if after.events.len() == before.events.len() {
        return Err("boot has begun no term".to_owned());
    }
    if ended != in_flight {
        return Err(format!("{in_flight:?} were in flight, and boot has settled {ended:?}"));
    }
    if spared != usize::from(!afar.is_empty()) {
        return Err(format!("{afar:?} are in flight afar, and boot has spared leases {spared} times"));
    }
    if image_of(&after)? != (engine.image(), engine.table().sections().clone()) {
        return Err("the table is not what the events give when they are replayed from the first".to_owned());
    }
    after.ends.insert(after.events.len() as u64);
    Ok(after)
}
