//! One event of every type goes through bytes and back.

use crate::ids::{Attempt, KindName, Priority, QueueName, RemoteName, WorkerId};
use crate::jobs::{Backoff, FailureKind, PayloadRef};
use crate::wal::codec::*;

/// One event of every type.
pub(crate) fn samples() -> Vec<Event> {
    let job = JobId::parse("order-17").unwrap();
    let generated = JobId::generate(Timestamp(1_000), 7);
    let failure = Box::new(Failure::new(FailureKind::Panic, "no"));
    let result = Some(Payload::parse(r#"{"a":[1,2]}"#).unwrap());
    let token = Token(3);
    let new = NewJob {
        id: generated.clone(),
        queue: QueueName::parse("default").unwrap(),
        kind: KindName::parse("mail").unwrap(),
        payload: PayloadRef::Here(Payload::parse(r#"{"to":"é"}"#).unwrap()),
        priority: Priority::new(9).unwrap(),
        run_at: Some(Timestamp(5_000)),
        timeout_ms: 30_000,
        max_retry: 3,
        backoff: Backoff::Server,
        exhausted: Exhausted::Dead,
        custom: None,
        backtrace_lines: 0,
    };
    let at_once = NewJob { id: job.clone(), run_at: None, ..new.clone() };
    let unlike = |backoff| NewJob {
        backoff,
        exhausted: Exhausted::Drop,
        custom: Some(Payload::parse(r#"{"locale":"fr"}"#).unwrap()),
        backtrace_lines: 12,
        ..new.clone()
    };
    let full =
        Box::new(failure.clone().of_type("IOError").with_backtrace(["a:1".to_owned(), "b:2".to_owned()]));
    let queue = QueueName::parse("mail").unwrap();
    let fixed = unlike(Backoff::Fixed { delay_ms: 5 });
    let doubling = unlike(Backoff::Exponential { first_ms: 1, max_ms: 9, jitter_percent: 30 });
    let changes = vec![
        EventKind::Enqueue(Box::new(unlike(Backoff::Quartic))),
        EventKind::Enqueue(Box::new(fixed)),
        EventKind::Enqueue(Box::new(doubling)),
        EventKind::Reserve {
            job: job.clone(),
            worker: RemoteName::parse("9a8b").unwrap(),
            attempt: Attempt(4),
            deadline: Timestamp(9),
        },
        EventKind::Reserve {
            job: job.clone(),
            worker: RemoteName::anonymous(),
            attempt: Attempt(5),
            deadline: Timestamp(9),
        },
        EventKind::Retry {
            job: job.clone(),
            token,
            failure: full.clone(),
            retry_at: Timestamp(7),
            result: result.clone(),
        },
        EventKind::Timeout {
            job: job.clone(),
            token,
            failure: full.clone(),
            retry_at: Timestamp(7),
            result: None,
        },
        EventKind::Requeue { job: job.clone(), token, failure: full.clone(), counted: true },
        EventKind::Requeue { job: job.clone(), token, failure: failure.clone(), counted: false },
        EventKind::Dead { job: job.clone(), token, failure: full.clone(), result: result.clone() },
        EventKind::Drop { job: job.clone(), token, failure: full, result: result.clone() },
        EventKind::Drop { job: job.clone(), token, failure: failure.clone(), result: None },
        EventKind::Kill { job: job.clone() },
        EventKind::RunNow { job: job.clone() },
        EventKind::Discard { job: job.clone() },
        EventKind::Move { job: job.clone(), queue: queue.clone() },
        EventKind::Pause { queue: queue.clone() },
        EventKind::Resume { queue: queue.clone() },
        EventKind::RemoveQueue { queue },
        EventKind::Enqueue(Box::new(new)),
        EventKind::Enqueue(Box::new(at_once)),
        EventKind::Dispatch {
            job: job.clone(),
            worker: WorkerId(2),
            attempt: Attempt(1),
            deadline: Timestamp(9),
        },
        EventKind::Ack { job: job.clone(), token, result: result.clone() },
        EventKind::Ack { job: generated, token, result: None },
        EventKind::Retry {
            job: job.clone(),
            token,
            failure: failure.clone(),
            retry_at: Timestamp(7),
            result: None,
        },
        EventKind::Timeout {
            job: job.clone(),
            token,
            failure: failure.clone(),
            retry_at: Timestamp(7),
            result: result.clone(),
        },
        EventKind::Requeue { job: job.clone(), token, failure: failure.clone(), counted: true },
        EventKind::Dead { job: job.clone(), token, failure, result },
        EventKind::Extend { job: job.clone(), token, deadline: Timestamp(99) },
        EventKind::Cancel { job },
        EventKind::Promote { due: Timestamp(8), number: Seq(2) },
        EventKind::Digest { digest: u64::MAX },
        EventKind::Forget { completed: Seq(1), dead: Seq(2), cancelled: Seq(3) },
    ];
    let events = changes.into_iter().map(|change| {
        let number = if change.job().is_some() { Seq(300) } else { Seq::ZERO };
        Event { at: Timestamp(1_234), number, change }
    });
    events.collect()
}

#[test]
fn every_event_reads_back_as_written() {
    let mut bytes = Vec::new();
    samples().iter().for_each(|event| encode(event, &mut bytes));
    let mut rest = bytes.as_slice();
    for event in samples() {
        assert_eq!(decode(&mut rest), Ok(event));
    }
    assert!(rest.is_empty());
}

#[test]
fn an_unknown_type_or_version_is_named() {
    let mut bytes = Vec::new();
    encode(&samples()[1], &mut bytes);
    for (at, expected) in [(0, (100, V2)), (1, (1, 100))] {
        let mut changed = bytes.clone();
        changed[at] = 100;
        let expected = CodecError::Unknown { kind: expected.0, version: expected.1 };
        assert_eq!(decode(&mut changed.as_slice()), Err(expected));
    }
}

#[test]
fn a_cut_or_prolonged_event_is_refused_at_every_length() {
    for event in samples() {
        let mut bytes = Vec::new();
        encode(&event, &mut bytes);
        for len in 0..bytes.len() {
            assert!(decode(&mut &bytes[..len]).is_err());
        }
        let len = (bytes.len() - ENVELOPE_BYTES + 1) as u32;
        bytes[2..6].copy_from_slice(&len.to_le_bytes());
        bytes.push(0xc0);
        let error = decode(&mut bytes.as_slice()).unwrap_err().to_string();
        assert!(error.contains("more bytes follow") || error.contains("checksum"), "{error}");
    }
}
