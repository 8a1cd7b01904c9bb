//! What jobs came with and what their attempts left behind: the same from log, snapshot and memory.

use std::convert::Infallible;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use beaver_actors::ids::{JobId, Token};
use beaver_actors::internals::jobs::filter::ListRoom;
use beaver_actors::internals::jobs::record::JobRecord;
use beaver_actors::jobs::{
    Command, Failure, FailureKind, Filter, JobTable, Payload, PayloadStore, Retention, Start, Status, TextAt,
    TextPart, TextRef, UnreadablePayload,
};
use beaver_actors::testing::{SimStorage, StepEngine};

/// An engine that keeps no text in memory that it need not.
fn engine(seed: u64) -> StepEngine {
    let mut options = StepEngine::on(SimStorage::new()).options;
    options.payload_memory_bytes = 0;
    let few = Retention { count: 5, age: Duration::from_secs(120) };
    (options.policy.completed, options.policy.dead, options.policy.cancelled) = (few, few, few);
    StepEngine::with(SimStorage::new(), options, seed).unwrap()
}

/// Some are kept in memory, others are not.
fn text(dice: &mut fastrand::Rng) -> String {
    let len = dice.usize(0..150);
    std::iter::repeat_with(|| dice.alphanumeric()).take(len).collect()
}

fn payload(dice: &mut fastrand::Rng) -> Payload {
    Payload::from_value(&text(dice)).unwrap()
}

/// Does something at random that brings a text, or takes a job on to where the next one can be brought.
fn step(beaver: &mut StepEngine, dice: &mut fastrand::Rng, held: &mut Vec<(JobId, Token)>) {
    let result = dice.bool().then(|| payload(dice));
    let command = match dice.u32(0..10) {
        0..=1 => {
            let mut spec = StepEngine::spec("mail");
            spec.id = Some(JobId::parse(&format!("job-{}", dice.u32(0..40))).unwrap());
            spec.max_retry = Some(dice.u32(0..9));
            spec.payload = payload(dice);
            spec.custom = dice.bool().then(|| payload(dice));
            spec.follows_running = dice.bool();
            spec.start = Start::After(Duration::from_secs(dice.u64(0..20) * u64::from(dice.bool())));
            Command::Enqueue(Box::new(spec))
        }
        2..=4 => {
            held.extend(beaver.dispatch(dice.u32(0..4)));
            return;
        }
        5..=8 if !held.is_empty() => {
            let (job, token) = held[dice.usize(0..held.len())].clone();
            let failure = Failure::new(FailureKind::Error, text(dice)).with_backtrace([text(dice)]);
            match dice.u32(0..7) {
                0..=2 => Command::Fail { job, token, failure, result },
                6 => Command::Postpone { job, token, failure },
                3 => Command::Requeue { job, token, failure, counts: dice.bool(), fences: dice.bool() },
                4 => Command::Ack { job, token, result },
                _ => Command::Output { job, token, result: payload(dice) },
            }
        }
        _ => {
            beaver.advance(Duration::from_millis(dice.u64(1..30_000)));
            return;
        }
    };
    // Its lease may have ended in the meantime.
    let _ = beaver.execute(command);
}

fn are_on_disk(jobs: &[JobRecord]) -> [usize; 4] {
    let mut found = [0; 4];
    for job in jobs {
        let counted = job.clone().fill(|text| {
            found[text.part as usize] += 1;
            Ok::<_, Infallible>(None)
        });
        counted.unwrap();
    }
    found
}

#[test]
fn every_text_reads_back_the_same_from_the_log_from_snapshots_and_after_a_restart() {
    let mut on_disk = [0; 4];
    for seed in 0..40 {
        let mut beaver = engine(seed);
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut held = Vec::new();
        // A table that follows the same events; its texts are those of the events themselves.
        let mut whole = JobTable::new(beaver.options.policy.clone(), &StepEngine::kinds());
        for round in 0..10 {
            (0..60).for_each(|_| step(&mut beaver, &mut dice, &mut held));
            beaver.sync();
            match dice.u32(0..4) {
                0 => beaver.crash_keeping_only_synced_bytes(),
                1..=2 => drop(beaver.snapshot().unwrap()),
                _ => {}
            }
            let follows = beaver.history.partition_point(|(seq, _)| *seq <= whole.last());
            for (seq, event) in &beaver.history[follows..] {
                // The history has those digests only that a start wrote.
                if whole.last().next() < *seq {
                    whole.apply(whole.last().next(), whole.due_digest().unwrap()).unwrap();
                }
                whole.apply(*seq, event.clone()).unwrap();
            }
            let (found, mut expected) = (beaver.image(), whole.records());
            assert_eq!(found.len(), expected.len(), "seed {seed} round {round}");
            for (found, expected) in found.iter().zip(&mut expected) {
                let of_event = |at: TextAt| {
                    let nth = beaver.history.binary_search_by_key(&at.seq, |(seq, _)| *seq).unwrap();
                    beaver.history[nth].1.kind.text(at.part)
                };
                expected.fill(|at| Ok::<_, Infallible>(of_event(at))).unwrap();
                assert_eq!(found, expected, "seed {seed} round {round}");
            }
            for (sum, found) in on_disk.iter_mut().zip(are_on_disk(&beaver.table().records())) {
                *sum += found;
            }
        }
    }
    assert!(on_disk.iter().all(|count| *count > 100), "payloads, custom, results, failures: {on_disk:?}");
}

/// A job with a long result and a long failure, which are on disk only.
fn finished() -> (StepEngine, JobId, Failure, Payload) {
    let mut beaver = engine(1);
    let job = beaver.enqueue("mail");
    let (failure, result) = (
        Failure::new(FailureKind::Error, "no route to host ".repeat(9)).of_type("IOError"),
        Payload::from_value(&"done ".repeat(30)).unwrap(),
    );
    let (_, token) = beaver.dispatch(0).unwrap();
    beaver
        .execute(Command::Fail { job: job.clone(), token, failure: failure.clone(), result: None })
        .unwrap();
    beaver.advance(Duration::from_secs(600));
    let (_, token) = beaver.dispatch(0).unwrap();
    beaver.execute(Command::Ack { job: job.clone(), token, result: Some(result.clone()) }).unwrap();
    beaver.sync();
    (beaver, job, failure, result)
}

#[test]
fn what_a_finished_job_left_behind_takes_no_memory_and_is_shown_whole() {
    let (mut beaver, job, failure, result) = finished();
    for from in ["log", "snapshot", "log that was read by a start", "snapshot that was read by a start"] {
        match from {
            "log" => {}
            "snapshot" => drop(beaver.snapshot().unwrap()),
            _ if from.starts_with("log") => {
                (beaver, ..) = finished();
                beaver.crash_keeping_only_synced_bytes();
            }
            _ => {
                beaver.snapshot().unwrap();
                beaver.crash_keeping_only_synced_bytes();
            }
        }
        let record = beaver.table().records().remove(0);
        assert!(
            matches!(record.life.result.unwrap().text, TextRef::Stored { bytes } if bytes == 152),
            "{from}"
        );
        assert!(matches!(record.life.failures[0].failure.text, TextRef::Stored { .. }), "{from}");
        let view = beaver.whole_view(&job);
        assert_eq!((view.status, view.result.as_ref()), (Status::Completed, Some(&result)), "{from}");
        assert_eq!(view.errors[0].failure, failure, "{from}");
    }
}

/// Reads results, and counts how many.
struct Results(Payload, AtomicUsize);

impl PayloadStore for Results {
    fn read(&self, at: TextAt) -> Result<Payload, UnreadablePayload> {
        let is_result = at.part == TextPart::Result;
        self.1.fetch_add(usize::from(is_result), Relaxed);
        Ok(if is_result { self.0.clone() } else { Payload::null() })
    }
}

/// Row 74.
#[test]
fn a_list_reads_what_jobs_left_behind_only_if_it_is_to_show_it() {
    let (beaver, job, _, result) = finished();
    for reads_results in [false, true] {
        let store = Results(result.clone(), AtomicUsize::new(0));
        let filter = Filter { reads_results, ..Filter::default() };
        let statuses = [Status::Completed];
        let mut members = beaver.table().members(&statuses, &filter, usize::MAX);
        let mut room = ListRoom::of_jobs(10);
        let listed = beaver.table().examine_whole(&mut members, &statuses, &filter, 10, &mut room, &store);
        assert_eq!((listed.len(), &listed[0].id), (1, &job));
        assert_eq!(listed[0].result, reads_results.then(|| result.clone()));
        assert_eq!(store.1.into_inner(), usize::from(reads_results));
    }
}

#[test]
fn a_failure_that_cannot_be_read_back_is_told_and_hides_nothing_else() {
    let (mut beaver, job, failure, result) = finished();
    let seq = beaver.table().records()[0].life.failures[0].failure.seq;
    beaver.storage.clone().tamper(&beaver.storage.paths("/data/wal")[0], |bytes| {
        let at = bytes.windows(9).position(|text| text == &failure.message.as_bytes()[..9]).unwrap();
        bytes[at] ^= 1;
    });
    let view = beaver.whole_view(&job);
    assert_eq!(view.result, Some(result));
    let told = &view.errors[0].failure.message;
    assert!(told.contains(&format!("from event {seq}")) && told.contains("checksum"), "{told}");
    let at = TextAt { job: beaver.table().records()[0].enqueued_seq, seq, part: TextPart::Result };
    let other = beaver.text(at).unwrap_err().to_string();
    assert!(other.contains("the result of job number"), "{other}");
    assert_eq!(beaver.sync(), beaver.table().last());
}
