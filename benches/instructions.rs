//! Instructions per job, counted by valgrind: a busy machine cannot hide a regression.
//!
//! `cargo bench --bench instructions`. It needs valgrind (`apt-get install valgrind`) and the runner of
//! exactly the library's version: `cargo install --locked gungraun-runner --version 0.20.0`; without them it
//! says so and fails. Where the runner is not in `PATH`, `GUNGRAUN_RUNNER` names it at build time.
//!
//! Counts differ by less than 0.1 % from run to run, so a machine that checks every change can hold them: it
//! installs both, and this bench ends with an exit code that is not 0.
//!
//! Each bench does a thousand of its kind; preparing them, and dropping the results, is not counted.
//! The count has a hard limit, 3 % above what it was when the limit was set: above it, the bench fails and
//! says by how much. A change that costs more on purpose raises its number in [`per_job`], one that saves
//! lowers it: that list is the record. Counts depend on the compiler: after an update of Rust all of
//! them are set anew.
//!
//! | bench | of one job |
//! |---|---|
//! | enqueue, dispatch, ack | decide, encode for the log, apply, with 10,000 other jobs pending |
//! | replay | decode and apply its enqueue, dispatch and ack, as a boot does |
//! | image_write, image_read | a new job into an image (folded, serialised, compressed, verified), and back into a table |
//! | read_push | a line of the work protocol into a job |

#![expect(missing_docs, reason = "the macros of the counting library make public items that nobody sees")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use beaver_actors::ids::{KindName, Seq, Timestamp, Token, WorkerId};
use beaver_actors::internals::jobs::sections::Sections;
use beaver_actors::internals::recovery::journal;
use beaver_actors::internals::snapshot::fold::Delta;
use beaver_actors::internals::snapshot::store::SnapshotStore;
use beaver_actors::internals::wal::{Group, codec};
use beaver_actors::jobs::{Command, EventKind, JobSpec, JobTable, Policy};
use beaver_actors::testing::SimStorage;
use beaver_bench_kit::allocator::Allocator;
use beaver_bench_kit::jobs::Jobs;
use gungraun::{
    Callgrind, EventKind as Measure, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

const JOBS: usize = 1_000;
/// Other jobs in the table: without them it would fit the nearest cache, and grow its indexes all the time.
const OTHERS: usize = 10_000;
const KIND: &str = "mail";
const NOW: Timestamp = Timestamp(1_000);

/// Instructions per job when the limits were set: x86-64, rustc 1.95.
mod per_job {
    pub const ENQUEUE: u64 = 2_393;
    pub const DISPATCH: u64 = 1_770;
    pub const ACK: u64 = 1_642;
    pub const REPLAY: u64 = 4_363;
    pub const IMAGE_WRITE: u64 = 5_680;
    pub const IMAGE_READ: u64 = 2_229;
    pub const READ_PUSH: u64 = 4_918;
}

/// Fails above 3 % more than `per_job` instructions per job.
fn at_most(per_job: u64) -> LibraryBenchmarkConfig {
    let limit = per_job * JOBS as u64 * 103 / 100;
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(Measure::Ir, limit)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

/// A job table, and the log that its events are encoded for.
struct LoggedTable {
    table: JobTable,
    dice: fastrand::Rng,
    group: Group,
}

impl LoggedTable {
    fn new(others: usize) -> LoggedTable {
        let kind = KindName::parse(KIND).expect("a good name");
        let table = JobTable::new(Policy::default(), &[kind]);
        let mut logged = LoggedTable { table, dice: fastrand::Rng::with_seed(1), group: Group::default() };
        // In line before those that are measured.
        logged.enqueue(Jobs::of(KIND).take(others));
        logged
    }

    fn record(&mut self, command: Command) -> (Seq, Option<EventKind>) {
        let event = self.table.decide(command, NOW, &mut self.dice);
        let event = event.expect("accepted").expect("something happens");
        let dispatched = matches!(event.kind, EventKind::Dispatch { .. }).then(|| event.kind.clone());
        (journal::record(&mut self.table, &mut self.group, event), dispatched)
    }

    fn enqueue(&mut self, specs: Vec<JobSpec>) {
        for spec in specs {
            self.record(Command::Enqueue(Box::new(spec)));
        }
    }

    /// Gives `jobs` jobs to workers, and returns the command that acks each.
    fn dispatch(&mut self, jobs: usize) -> Vec<Command> {
        let epoch = self.table.epoch();
        let ack = |(seq, dispatched): (Seq, Option<EventKind>)| match dispatched {
            Some(EventKind::Dispatch { job, .. }) => {
                Command::Ack { job, token: Token { epoch, seq }, result: None }
            }
            other => panic!("{other:?} is no dispatch"),
        };
        (0..jobs).map(|_| ack(self.record(Command::Dispatch { worker: WorkerId(0) }))).collect()
    }

    fn ack(&mut self, acks: Vec<Command>) {
        for ack in acks {
            self.record(ack);
        }
    }
}

fn to_enqueue() -> (LoggedTable, Vec<JobSpec>) {
    let mut source = Jobs::of(KIND);
    source.take(OTHERS);
    (LoggedTable::new(OTHERS), source.take(JOBS))
}

fn to_ack() -> (LoggedTable, Vec<Command>) {
    let mut logged = LoggedTable::new(OTHERS + JOBS);
    let acks = logged.dispatch(JOBS);
    (logged, acks)
}

#[library_benchmark(config = at_most(per_job::ENQUEUE))]
#[bench::thousand(to_enqueue())]
fn enqueue((mut logged, specs): (LoggedTable, Vec<JobSpec>)) -> LoggedTable {
    logged.enqueue(specs);
    logged
}

#[library_benchmark(config = at_most(per_job::DISPATCH))]
#[bench::thousand(LoggedTable::new(OTHERS + JOBS))]
fn dispatch(mut logged: LoggedTable) -> (LoggedTable, Vec<Command>) {
    let acks = logged.dispatch(JOBS);
    (logged, acks)
}

#[library_benchmark(config = at_most(per_job::ACK))]
#[bench::thousand(to_ack())]
fn ack((mut logged, acks): (LoggedTable, Vec<Command>)) -> LoggedTable {
    logged.ack(acks);
    logged
}

/// The log of a thousand lives, and an empty table.
fn log_of_lives() -> (JobTable, Group) {
    let mut logged = LoggedTable::new(0);
    logged.enqueue(Jobs::of(KIND).take(JOBS));
    let acks = logged.dispatch(JOBS);
    logged.ack(acks);
    (LoggedTable::new(0).table, logged.group)
}

#[library_benchmark(config = at_most(per_job::REPLAY))]
#[bench::thousand(log_of_lives())]
fn replay((mut table, group): (JobTable, Group)) -> (JobTable, Group) {
    let mut rest = group.bytes.as_slice();
    let mut decoder = codec::Decoder::leaving_payloads();
    while !rest.is_empty() {
        let seq = table.last().next();
        let applied = decoder.decode_for(&mut rest, |event| table.apply(seq, event));
        applied.expect("it was encoded just now").expect("it fits");
        if let Some(emptied) = table.take_emptied() {
            decoder.give_back(emptied);
        }
    }
    (table, group)
}

fn store() -> SnapshotStore {
    SnapshotStore::new(Arc::new(SimStorage::new()), Path::new("/snapshots"), Path::new("/quarantine"))
}

/// What a thousand accepted jobs change in a snapshot.
fn accepted() -> (SnapshotStore, Delta) {
    let mut logged = LoggedTable::new(0);
    logged.enqueue(Jobs::of(KIND).take(JOBS));
    let mut delta = Delta::after(Seq::ZERO, Timestamp::default(), Sections::default());
    let (mut rest, mut last) = (logged.group.bytes.as_slice(), Seq::ZERO);
    while !rest.is_empty() {
        let event = codec::decode(&mut rest).expect("it was encoded just now");
        last = last.next();
        delta.take(last, event).expect("it fits");
    }
    (store(), delta)
}

#[library_benchmark(config = at_most(per_job::IMAGE_WRITE))]
#[bench::thousand(accepted())]
fn image_write((store, delta): (SnapshotStore, Delta)) -> SnapshotStore {
    write(store, delta)
}

fn write(store: SnapshotStore, delta: Delta) -> SnapshotStore {
    store.write(None, delta, [0; 16], NOW).expect("the simulated disk works");
    store
}

fn written() -> SnapshotStore {
    let (store, delta) = accepted();
    write(store, delta)
}

#[library_benchmark(config = at_most(per_job::IMAGE_READ))]
#[bench::thousand(written())]
fn image_read(store: SnapshotStore) -> (SnapshotStore, JobTable) {
    let loaded = store.load(|header, sections, jobs| {
        let through = (header.last, header.last_at);
        JobTable::restore(Policy::default(), &[], through, sections.clone(), jobs)
            .map_err(|misfit| misfit.to_string())
    });
    let table = loaded.expect("it is whole").value;
    (store, table)
}

fn lines() -> (beaver::internals::JobReader, Vec<String>) {
    let line = |number: usize| {
        let payload = format!("customer-{number:06}@example.org");
        format!(
            r#"PUSH {{"jid":"job-{number:08}","jobtype":"{KIND}","queue":"default","args":["{payload}","order-confirmation","de-DE",{number}]}}"#
        )
    };
    (beaver::internals::JobReader::new(1 << 20), (0..JOBS).map(line).collect())
}

#[library_benchmark(config = at_most(per_job::READ_PUSH))]
#[bench::thousand(lines())]
fn read_push(
    (mut reader, lines): (beaver::internals::JobReader, Vec<String>),
) -> (Vec<JobSpec>, Vec<String>) {
    let mut specs = Vec::with_capacity(lines.len());
    for line in &lines {
        let beaver::internals::FwpCommand::Push(text) = beaver::internals::FwpCommand::parse(black_box(line))
        else {
            panic!("{line} is a PUSH");
        };
        specs.push(reader.one(text).expect("a good job"));
    }
    (specs, lines)
}

library_benchmark_group!(
    name = lives;
    benchmarks = enqueue, dispatch, ack, replay
);
library_benchmark_group!(
    name = images;
    benchmarks = image_write, image_read
);
library_benchmark_group!(
    name = protocol;
    benchmarks = read_push
);
main!(library_benchmark_groups = lives, images, protocol);
