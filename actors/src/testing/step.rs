//! The engine without its actors: the same table, log, snapshots and boot, one step at a time, on one thread.

use std::sync::Arc;
use std::time::Duration;

use crate::api::options::EngineOptions;
use crate::api::status::RecoveryStatus;
use crate::base::bugs::{self, Bug};
use crate::base::clock::Clock;
use crate::ids::{JobId, KindName, QueueName, RemoteName, Seq, Token, WorkerId};
use crate::jobs::record::JobRecord;
use crate::jobs::sections::Overview;
use crate::jobs::{
    Command, Event, EventKind, Failure, FailureKind, JobSpec, JobTable, JobView, Payload, PayloadStore,
    Rejection, Status, TextAt, UnreadablePayload,
};
use crate::recovery::boot::{Boot, BootError, QUARANTINE, Recovered};
use crate::recovery::journal;
use crate::recovery::sealed_log::read_sealed_log;
use crate::snapshot::SnapshotError;
use crate::snapshot::compact::{Compaction, CompactionStep};
use crate::snapshot::rescue::{LostPayload, Rescue, Rescued};
use crate::snapshot::store::{SnapshotInfo, SnapshotStore};
use crate::snapshot::taking::{Visit, take_next};
use crate::snapshot::texts::TextPages;
use crate::storage::Storage;
use crate::storage::lying::lying_if_planted;
use crate::testing::{ManualClock, SimStorage};
use crate::wal::codec;
use crate::wal::writer::LogWriter;
use crate::wal::{Group, WalError};

/// An engine that does nothing by itself.
pub struct StepEngine {
    /// The disk under it.
    pub storage: SimStorage,
    /// Stands still unless a test moves it.
    pub clock: Arc<ManualClock>,
    /// Its options; changes count from the next boot.
    pub options: EngineOptions,
    /// Of the seed that it was made with.
    pub dice: fastrand::Rng,
    /// What the last boot found.
    pub recovery: RecoveryStatus,
    /// Every event that was written since this value was created, with its position.
    pub history: Vec<(Seq, Event)>,
    running: Option<Recovered>,
}

impl StepEngine {
    /// One on this disk, booted, with segments of 64 KiB and the seed 1.
    ///
    /// # Panics
    /// It does not boot.
    #[must_use]
    pub fn on(storage: SimStorage) -> StepEngine {
        let mut options = EngineOptions::in_dir("/data");
        options.segment_bytes = 64 << 10;
        options.policy.jobs_max = 1_000_000;
        StepEngine::with(storage, options, 1).expect("it boots")
    }

    /// One with options and a seed.
    ///
    /// # Errors
    /// It does not boot.
    pub fn with(storage: SimStorage, options: EngineOptions, seed: u64) -> Result<StepEngine, BootError> {
        let mut engine = StepEngine {
            storage,
            clock: Arc::default(),
            options,
            dice: fastrand::Rng::with_seed(seed),
            recovery: RecoveryStatus::default(),
            history: Vec::new(),
            running: None,
        };
        engine.boot()?;
        Ok(engine)
    }

    /// The kinds that this engine's workers would handle.
    #[must_use]
    pub fn kinds() -> Vec<KindName> {
        ["mail", "noop"].iter().map(|kind| KindName::parse(kind).expect("a good name")).collect()
    }

    /// Boots on what the disk holds now.
    ///
    /// # Errors
    /// As the real one.
    pub fn boot(&mut self) -> Result<(), BootError> {
        self.running = None;
        let boot = Boot {
            options: self.options.clone(),
            storage: self.disk(),
            clock: self.clock.clone(),
            kinds: StepEngine::kinds(),
            dice: self.dice.fork(),
        };
        let recovered = boot.run(&mut |_| {})?;
        self.recovery = recovered.status;
        let (mut seq, mut bytes) = (recovered.begun.first, recovered.begun.bytes.as_slice());
        while let Ok(event) = codec::decode(&mut bytes) {
            self.history.push((seq, event));
            seq = seq.next();
        }
        self.running = Some(recovered);
        Ok(())
    }

    /// The disk under it, which may lie.
    fn disk(&self) -> Arc<dyn Storage> {
        lying_if_planted(Arc::new(self.storage.clone()))
    }

    fn running(&mut self) -> &mut Recovered {
        self.running.as_mut().expect("the engine has booted")
    }

    /// Its table.
    ///
    /// # Panics
    /// It is not running.
    #[must_use]
    pub fn table(&self) -> &JobTable {
        &self.running.as_ref().expect("the engine has booted").table
    }

    /// The writer, for tests that append or seal by themselves.
    pub fn log(&mut self) -> &mut LogWriter {
        &mut self.running().writer
    }

    /// Every job as an image would hold it: two engines in the same state give the same. Texts that are not in
    /// memory are read back from the disk.
    ///
    /// # Panics
    /// One cannot be read.
    #[must_use]
    pub fn image(&self) -> Vec<JobRecord> {
        let payload_store = &self.running.as_ref().expect("the engine has booted").payload_store;
        let mut records = self.table().records();
        for record in &mut records {
            let filled = record.fill(|text| payload_store.read(text).map(Some));
            filled.expect("what was acknowledged is on disk");
        }
        records
    }

    /// The payload of the job with this number, as it is read back from the disk.
    ///
    /// # Errors
    /// As the real one.
    ///
    /// # Panics
    /// It is not running.
    pub fn payload_of(&self, number: Seq) -> Result<Payload, UnreadablePayload> {
        self.text(TextAt::payload(number))
    }

    /// A text of a job, as it is read back from the disk.
    ///
    /// # Errors
    /// As the real one.
    ///
    /// # Panics
    /// It is not running.
    pub fn text(&self, at: TextAt) -> Result<Payload, UnreadablePayload> {
        self.running.as_ref().expect("the engine has booted").payload_store.read(at)
    }

    /// A job that is there, as people see it.
    ///
    /// # Panics
    /// It is not there.
    #[must_use]
    pub fn whole_view(&self, job: &JobId) -> JobView {
        let running = self.running.as_ref().expect("the engine has booted");
        let view = running.table.whole_view(job, &*running.payload_store);
        view.expect("it is there")
    }

    /// What an image would hold beside the jobs.
    #[must_use]
    pub fn overview(&self) -> Overview {
        self.table().overview()
    }

    /// Decides a command; applies and writes the event that follows, without a sync. Checks all invariants.
    ///
    /// # Errors
    /// A rejection, or what the log says.
    ///
    /// # Panics
    /// An invariant is broken.
    pub fn execute(&mut self, command: Command) -> Result<Option<Seq>, StepError> {
        if bugs::has(Bug::RequeueAsTwoRecords)
            && let Command::Requeue { job, .. } = &command
        {
            let mut spec = StepEngine::spec("mail");
            spec.id = Some(job.clone());
            self.execute_together(vec![Command::Cancel { job: job.clone() }])?;
            return Ok(self.execute_together(vec![Command::Enqueue(Box::new(spec))])?.pop().flatten());
        }
        Ok(self.execute_together(vec![command])?.pop().flatten())
    }

    /// Decides commands one after the other and writes what follows as one batch, without a sync.
    ///
    /// # Errors
    /// The first rejection (the commands before it were executed, those after it were not), or what the log says.
    ///
    /// # Panics
    /// An invariant is broken.
    pub fn execute_together(&mut self, commands: Vec<Command>) -> Result<Vec<Option<Seq>>, StepError> {
        let now = self.clock.now();
        let running = self.running.as_mut().expect("the engine has booted");
        let mut group = Group { first: running.table.last().next(), ..Group::default() };
        let (mut done, mut rejected) = (Vec::new(), None);
        for command in commands {
            match running.table.decide(command, now, &mut self.dice.fork()) {
                Ok(event) => done.push(event.map(|event| {
                    let seq = journal::record(&mut running.table, &mut group, event.clone());
                    self.history.push((seq, event));
                    seq
                })),
                Err(rejection) => {
                    rejected = Some(rejection);
                    break;
                }
            }
        }
        if group.count > 0 {
            running.writer.append(&[group], now).1?;
            let broken = running.table.check();
            assert!(broken.is_empty(), "after event {}: {broken:#?}", running.table.last());
        }
        match rejected {
            Some(rejection) => Err(rejection.into()),
            None => Ok(done),
        }
    }

    /// Adds a job of a kind and returns its id.
    ///
    /// # Panics
    /// It is rejected.
    pub fn enqueue(&mut self, kind: &str) -> JobId {
        let spec = StepEngine::spec(kind);
        self.execute(Command::Enqueue(Box::new(spec))).expect("accepted").expect("a new job");
        match &self.history.last().expect("just recorded").1.kind {
            EventKind::Enqueue(new) => new.id.clone(),
            other => panic!("expected ENQUEUE, found {}", other.name()),
        }
    }

    /// A job of a kind, with a small payload.
    ///
    /// # Panics
    /// The kind is not a good name.
    #[must_use]
    pub fn spec(kind: &str) -> JobSpec {
        let payload = Payload::parse(r#"{"to":"ada@example.org"}"#).expect("JSON");
        JobSpec::new(
            QueueName::parse("default").expect("a good name"),
            KindName::parse(kind).expect("a good name"),
            payload,
        )
    }

    /// Gives the next ready job to a worker.
    ///
    /// # Panics
    /// It is rejected.
    pub fn dispatch(&mut self, worker: u32) -> Option<(JobId, Token)> {
        let seq = self.execute(Command::Dispatch { worker: WorkerId(worker) }).expect("never rejected")?;
        let (_, event) = self.history.last().expect("just recorded");
        Some((event.kind.job().expect("DISPATCH names its job").clone(), self.token(seq)))
    }

    /// Gives the next job of the first of these queues that has one to a remote worker.
    ///
    /// # Errors
    /// What the log says.
    ///
    /// # Panics
    /// A name of a queue or of the worker is not a good one.
    pub fn reserve(&mut self, queues: &[&str], worker: &str) -> Result<Option<(JobId, Token)>, StepError> {
        let queues = queues.iter().map(|name| QueueName::parse(name).expect("a good name")).collect();
        let worker = RemoteName::parse(worker).expect("a good name");
        let seq = self.execute(Command::Reserve { queues, worker })?;
        let job = self.history.last().and_then(|(_, event)| event.kind.job().cloned());
        Ok(seq.zip(job).map(|(seq, job)| (job, self.token(seq))))
    }

    /// The token of a lease that the event with this number has given in the present term.
    #[must_use]
    pub fn token(&self, seq: Seq) -> Token {
        Token { epoch: self.table().epoch(), seq }
    }

    /// Reports success.
    ///
    /// # Errors
    /// A stale token, among others.
    pub fn ack(&mut self, job: &JobId, token: Token) -> Result<(), StepError> {
        self.execute(Command::Ack { job: job.clone(), token, result: None }).map(|_| ())
    }

    /// Reports failure.
    ///
    /// # Errors
    /// A stale token, among others.
    pub fn fail(&mut self, job: &JobId, token: Token) -> Result<(), StepError> {
        let failure = Failure::new(FailureKind::Error, "no");
        self.execute(Command::Fail { job: job.clone(), token, failure, result: None }).map(|_| ())
    }

    /// Dispatches the next job, which must be `job`, and acknowledges it.
    ///
    /// # Panics
    /// Another job is next.
    pub fn dispatch_and_ack(&mut self, job: &JobId) {
        let (next, token) = self.dispatch(0).expect("a job is ready");
        assert_eq!(next, *job, "another job is next");
        self.ack(job, token).expect("the lease is held");
    }

    /// Lets time pass and does what is due then.
    ///
    /// # Panics
    /// The log fails.
    pub fn advance(&mut self, time: Duration) {
        self.clock.advance(time);
        for (job, token) in self.table().expired(self.clock.now(), usize::MAX) {
            let failure = Failure::new(FailureKind::Timeout, "expired");
            self.execute(Command::Fail { job, token, failure, result: None }).expect("the lease is held");
        }
        while self.execute(Command::Succeed).expect("never rejected").is_some() {}
        while self.execute(Command::Promote).expect("never rejected").is_some() {}
        while self.execute(Command::Forget).expect("never rejected").is_some() {}
    }

    /// Makes everything durable, and leaves on disk only what is so then; returns up to where.
    ///
    /// # Panics
    /// The sync fails.
    pub fn sync(&mut self) -> Seq {
        let durable = self.log().sync().expect("the disk works");
        let payload_bytes_max = self.options.payload_memory_bytes;
        self.running().table.leave_payloads(durable, payload_bytes_max);
        durable
    }

    /// Seals the log and folds it into a snapshot.
    ///
    /// # Errors
    /// As the real one. The log stays as it is then.
    ///
    /// # Panics
    /// The log cannot be sealed.
    pub fn snapshot(&mut self) -> Result<SnapshotInfo, SnapshotError> {
        let now = self.clock.now();
        let sealed = self.log().rotate(now).expect("the disk works");
        self.fold(sealed)
    }

    /// Folds the log up to `sealed`, where it was rotated, into a snapshot; puts layers together if that is due then.
    ///
    /// # Errors
    /// As the real one. [`SnapshotError::NotFound`] if there is no snapshot and nothing to make one of.
    pub fn fold(&mut self, sealed: Seq) -> Result<SnapshotInfo, SnapshotError> {
        let now = self.clock.now();
        let store_id = self.running().store.0;
        let store = self.snapshots();
        let (storage, wal_dir) = (self.storage.clone(), self.options.wal_dir.clone());
        let log = move |after, through, visit: &mut Visit<'_>| {
            read_sealed_log(&storage, &wal_dir, after, through, visit)
        };
        let mut newest = None;
        while let Some(taken) = take_next(&store, &log, sealed, store_id, now)? {
            newest = Some(taken.info);
            self.show_and_retain()?;
        }
        while let Some(mut compaction) = Compaction::begin_if_due(&store, now)? {
            while compaction.step()? != CompactionStep::Published {}
            self.show_and_retain()?;
        }
        match newest {
            Some(info) => Ok(info),
            // The one that is there holds everything already.
            None => store
                .load(|_, _, jobs| Ok(jobs.count()))
                .map(|loaded| loaded.info)
                .map_err(|(error, _)| error),
        }
    }

    /// Writes the state out anew from memory, as the engine does when what is on disk turns out to be damaged; then moves the
    /// damaged files to quarantine. Returns the jobs that wait and whose payload is lost, and lets them be dead.
    ///
    /// # Errors
    /// As the real one.
    pub fn rescue(&mut self) -> Result<Vec<JobId>, SnapshotError> {
        let now = self.clock.now();
        let log_error = |error: WalError| SnapshotError::Log(error.to_string());
        let running = self.running.as_mut().expect("the engine has booted");
        let mut group = Group { first: running.table.last().next(), ..Group::default() };
        let digest = running.table.digest_now();
        let seq = journal::record(&mut running.table, &mut group, digest.clone());
        self.history.push((seq, digest));
        running.writer.append(&[group], now).1.map_err(log_error)?;
        let sealed = running.writer.rotate(now).map_err(log_error)?;
        let outline = running.table.outline();
        assert_eq!(sealed, outline.last, "all is sealed");
        let store = self.snapshots();
        let running = self.running.as_mut().expect("the engine has booted");
        let mut numbers: Vec<_> = running.table.numbers_in(0..outline.slots).collect();
        numbers.sort_unstable();
        let mut rescue = Rescue::begin(&store, running.store.0, outline, now)?;
        for (profile, job) in numbers.iter().filter_map(|(_, slot)| running.table.copy_of(*slot)) {
            rescue.add(&*running.payload_store, &profile, job)?;
        }
        let Rescued { lost, .. } = rescue.publish()?;
        store.set_aside_damaged(sealed)?;
        let (tell, told) = std::sync::mpsc::channel();
        let quarantine = self.options.data_dir.join(QUARANTINE);
        running
            .writer
            .set_aside_damaged(quarantine, move |moved| tell.send(moved).expect("it is waited for"));
        told.recv().expect("this disk has no background").map_err(log_error)?;
        self.show_and_retain()?;
        let mut jobs = Vec::new();
        for LostPayload { job, problem } in lost {
            jobs.push(job.clone());
            let failure = Failure::new(FailureKind::PayloadLost, problem);
            self.execute(Command::LosePayload { job, token: None, failure })
                .map_err(|error| SnapshotError::Log(error.to_string()))?;
        }
        Ok(jobs)
    }

    fn show_and_retain(&mut self) -> Result<(), SnapshotError> {
        let store = self.snapshots();
        let Some(newest) = store.newest_without(&[])? else { return Ok(()) };
        let payloads = TextPages::new(newest.layers().to_vec());
        self.running().payload_store.set_images(Arc::new(payloads));
        let (kept, age_max) = (self.options.snapshots_kept, self.options.snapshot_age_max);
        if let Some(through) = store.retain(&newest, kept, age_max, self.clock.now())? {
            let (tell, told) = std::sync::mpsc::channel();
            self.log().delete_through(through, move |deleted| tell.send(deleted).expect("it is waited for"));
            let deleted = told.recv().expect("this disk has no background");
            deleted.map_err(|error| SnapshotError::Log(error.to_string()))?;
        }
        Ok(())
    }

    /// The store of snapshots on its disk.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotStore {
        let quarantine = self.options.data_dir.join(QUARANTINE);
        SnapshotStore::new(self.disk(), &self.options.snapshot_dir, &quarantine).with(self.options.layering)
    }

    /// Closes the log in good order, and ends.
    ///
    /// # Panics
    /// The disk fails.
    pub fn close(&mut self) {
        self.try_close().expect("the disk works");
    }

    /// Closes the log in good order, and ends.
    ///
    /// # Errors
    /// What the log says; it ends all the same.
    ///
    /// # Panics
    /// It is not running.
    pub fn try_close(&mut self) -> Result<Seq, WalError> {
        let now = self.clock.now();
        let running = self.running.take().expect("the engine has booted");
        running.writer.close(now)
    }

    /// Cuts the power and boots again.
    ///
    /// # Panics
    /// It does not boot.
    pub fn crash_keeping_only_synced_bytes(&mut self) {
        self.running = None;
        self.storage.cut_power();
        self.boot().expect("it boots");
    }

    /// Kills the process and boots again: what was written is there, synced or not.
    ///
    /// # Panics
    /// It does not boot.
    pub fn crash_keeping_everything(&mut self) {
        self.running = None;
        self.storage.kill_process();
        self.boot().expect("it boots");
    }

    /// Where a job is in its life.
    #[must_use]
    pub fn status_of(&self, job: &JobId) -> Option<Status> {
        self.table().view(job).map(|view| view.status)
    }
}

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The table said no.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The log said no.
    #[error(transparent)]
    Log(#[from] WalError),
}
