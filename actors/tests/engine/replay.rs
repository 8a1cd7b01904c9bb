//! Logs that are long enough to be read on one thread and applied on another.

use beaver_actors::engine::FailCause;
use beaver_actors::ids::{Seq, Timestamp, Token, WorkerId};
use beaver_actors::internals::wal::{Group, codec};
use beaver_actors::jobs::{Command, Event, EventKind, Payload};
use beaver_actors::testing::{SimStorage, StepEngine, times};

use crate::harness::queue;

/// More events than one thread does alone.
const EVENTS: usize = 12_000;

fn long_log(dice: &mut fastrand::Rng) -> StepEngine {
    let mut options = StepEngine::on(SimStorage::new()).options;
    options.segment_bytes = 1 << 20;
    let mut beaver = StepEngine::with(SimStorage::new(), options, 1).unwrap();
    while beaver.history.len() < EVENTS {
        // Some batches are longer than what is handed over at a time, and many are much shorter.
        let jobs = if dice.u8(..8) == 0 { 2_000 } else { dice.usize(1..500) };
        let enqueues = (0..jobs).map(|_| {
            let mut spec = StepEngine::spec(dice.choice(["mail", "noop"]).unwrap());
            spec.payload = Payload::from_value(&"x".repeat(dice.usize(..200))).unwrap();
            spec.id = dice.bool().then(|| format!("job-{:016x}", dice.u64(..)).parse().unwrap());
            Command::Enqueue(Box::new(spec))
        });
        let enqueues = enqueues.collect();
        beaver.execute_together(enqueues).unwrap();
        let begun = beaver.history.len();
        let started = (0..jobs / 2).map(|_| Command::Dispatch { worker: WorkerId(1) }).collect();
        beaver.execute_together(started).unwrap();
        let epoch = beaver.table().epoch();
        let ack = |(seq, event): &(Seq, Event)| match &event.kind {
            EventKind::Dispatch { job, .. } => {
                Command::Ack { job: job.clone(), token: Token { epoch, seq: *seq }, result: None }
            }
            other => panic!("{} is no DISPATCH", other.name()),
        };
        let acks = beaver.history[begun..].iter().map(ack).collect();
        beaver.execute_together(acks).unwrap();
        beaver.sync();
    }
    beaver
}

#[test]
fn a_long_log_gives_the_state_of_who_wrote_it() {
    for seed in 0..2 * times() {
        let mut beaver = long_log(&mut fastrand::Rng::with_seed(seed));
        assert!(beaver.storage.paths("/data/wal").len() > 2, "in several segments, with seed {seed}");
        let (image, overview, last) = (beaver.image(), beaver.overview(), beaver.table().last());
        beaver.crash_keeping_only_synced_bytes();
        // And the start's own event.
        assert_eq!(
            (beaver.table().last(), beaver.recovery.events),
            (last.next(), last.0),
            "with seed {seed}"
        );
        let found = beaver.overview();
        assert_eq!((found.queues, found.totals), (overview.queues, overview.totals), "with seed {seed}");
        assert!(beaver.image() == image, "with seed {seed}");
    }
}

/// The thread that reads is ahead of the one that applies, and says nothing of what it saw there.
#[test]
fn what_is_wrong_far_behind_in_a_long_log_is_told_with_its_event_and_its_segment() {
    let unknown = |bytes: &mut Vec<u8>, event: &Event| {
        codec::encode(event, bytes);
        bytes[0] = 77;
    };
    let again = |bytes: &mut Vec<u8>, event: &Event| codec::encode(event, bytes);
    let too_long = |bytes: &mut Vec<u8>, event: &Event| {
        let kind = EventKind::SetPaused { queue: queue("default"), paused: true };
        codec::encode(&Event { kind, job_seq: Seq::ZERO, ..event.clone() }, bytes);
        bytes.extend([0; 20]);
    };
    type Writes = dyn Fn(&mut Vec<u8>, &Event);
    let ways: [(&Writes, &str); 3] = [
        (&unknown, "unknown event type 77 version"),
        (&again, "(ENQUEUE) does not fit: job"),
        (&too_long, "a batch of 1 events has more in it"),
    ];
    for (write, told) in ways {
        let mut beaver = long_log(&mut fastrand::Rng::with_seed(1));
        let first = beaver.table().last().next();
        let (_, event) =
            beaver.history.iter().rfind(|(_, event)| matches!(event.kind, EventKind::Enqueue(_))).unwrap();
        let mut bytes = Vec::new();
        write(&mut bytes, event);
        beaver.log().append(&[Group { first, count: 1, bytes }], Timestamp(1)).1.unwrap();
        beaver.sync();
        let segments = beaver.storage.paths("/data/wal");
        let segment = segments.iter().rfind(|path| path.extension().is_some_and(|end| end == "wal")).unwrap();
        let error = beaver.boot().unwrap_err();
        assert_eq!(error.cause, FailCause::Damaged);
        let names = |what: &str| error.message.contains(what);
        assert!(names(told) && names(&segment.display().to_string()), "{error}");
    }
}
