//! One event of every type goes through bytes and back.

use std::collections::BTreeSet;

use crate::ids::{
    Attempt, Epoch, Holder, JobId, KindName, Priority, QueueName, RemoteName, Seq, Term, Timeline, Timestamp,
    TokenRef, WorkerId,
};
use crate::jobs::event::{ClockStep, Event, EventKind, EventType, NewJob};
use crate::jobs::model::payload::Content;
use crate::jobs::model::profile::Profile;
use crate::jobs::{Backoff, Exhausted, Failure, FailureKind, Payload, PayloadRef, TextPart};
use crate::wal::codec::*;

/// At least one event of every type, in every form that one has.
pub(crate) fn samples() -> Vec<Event> {
    let job = JobId::parse("order-17").unwrap();
    let generated = JobId::generate(Timestamp(1_000), 7);
    let brief = Box::new(Failure::new(FailureKind::Panic, "no"));
    let full = Box::new(
        Failure::new(FailureKind::Timeout, "late")
            .of_type("IOError")
            .with_backtrace(["a:1".to_owned(), "b:2".to_owned()]),
    );
    let text = Payload::parse(r#"{"a":[1,2]}"#).unwrap();
    let result = Some(text.clone());
    let epoch = Epoch { timeline: Timeline(u32::MAX), term: Term(2) };
    let token = TokenRef { seq: Seq(3), other: None };
    let old = TokenRef { seq: Seq(400), other: Some(epoch) };
    let queue = QueueName::parse("mail").unwrap();
    let new = NewJob {
        id: generated.clone(),
        profile: Profile {
            queue: QueueName::parse("default").unwrap(),
            kind: KindName::parse("mail").unwrap(),
            priority: Priority::new(9).unwrap(),
            backoff: Backoff::Server,
            exhausted: Exhausted::Dead,
            timeout_ms: 30_000,
            max_retry: 3,
            backtrace_lines: 0,
        },
        content: Content {
            payload: PayloadRef::Here(Payload::parse(r#"{"to":"é"}"#).unwrap()),
            custom: None,
        },
        run_at: Some(Timestamp(5_000)),
    };
    let at_once = NewJob { id: job.clone(), run_at: None, ..new.clone() };
    let unlike = |backoff| NewJob {
        profile: Profile { backoff, exhausted: Exhausted::Drop, backtrace_lines: 12, ..new.profile.clone() },
        content: Content {
            custom: Some(Payload::parse(r#"{"locale":"fr"}"#).unwrap()),
            ..new.content.clone()
        },
        ..new.clone()
    };
    let fixed = unlike(Backoff::Fixed { delay_ms: 5 });
    let doubling = unlike(Backoff::Exponential { first_ms: 1, max_ms: 9, jitter_percent: 30 });
    let dispatch = |holder| EventKind::Dispatch {
        job: generated.clone(),
        holder,
        attempt: Attempt(1),
        deadline: Timestamp(9_999_999_999_999),
    };
    let requeue = |counted, fenced, not_before| EventKind::Requeue {
        job: job.clone(),
        token,
        failure: full.clone(),
        counted,
        fenced,
        not_before,
    };
    let exhaust = |end| EventKind::Exhaust {
        job: job.clone(),
        token,
        failure: full.clone(),
        result: result.clone(),
        end,
    };
    let kinds = vec![
        EventKind::Enqueue(Box::new(new.clone())),
        EventKind::Enqueue(Box::new(at_once)),
        EventKind::Enqueue(Box::new(unlike(Backoff::Quartic))),
        EventKind::Enqueue(Box::new(fixed)),
        EventKind::Enqueue(Box::new(doubling)),
        dispatch(Holder::Local(WorkerId(0))),
        dispatch(Holder::Remote(RemoteName::parse("9a8b").unwrap())),
        dispatch(Holder::Remote(RemoteName::anonymous())),
        EventKind::Ack { job: job.clone(), token, result: result.clone() },
        EventKind::Ack { job: generated.clone(), token: old, result: None },
        EventKind::Retry {
            job: job.clone(),
            token: old,
            failure: brief,
            result: None,
            retry_at: Timestamp(1_300),
        },
        EventKind::Retry {
            job: job.clone(),
            token,
            failure: full.clone(),
            result: result.clone(),
            retry_at: Timestamp(1_300),
        },
        requeue(true, false, None),
        requeue(false, true, None),
        requeue(false, false, Some(Timestamp(2_000))),
        exhaust(Exhausted::Dead),
        exhaust(Exhausted::Drop),
        EventKind::Extend { job: job.clone(), token, deadline: Timestamp(1) },
        EventKind::Cancel { job: job.clone() },
        EventKind::Kill { job: job.clone(), failure: None },
        EventKind::Kill { job: job.clone(), failure: Some(full.clone()) },
        EventKind::RunNow { job: job.clone() },
        EventKind::Discard { job: job.clone() },
        EventKind::Move { job: job.clone(), queue: queue.clone() },
        EventKind::Follow {
            job: job.clone(),
            next: Box::new(NewJob { id: job.clone(), ..unlike(Backoff::Quartic) }),
        },
        EventKind::Follow {
            job: job.clone(),
            next: Box::new(NewJob { id: job.clone(), run_at: None, ..new }),
        },
        EventKind::Output { job, token: old, result: text },
        EventKind::SetPaused { queue: queue.clone(), paused: true },
        EventKind::SetPaused { queue: queue.clone(), paused: false },
        EventKind::RemoveQueue { queue },
        EventKind::Promote { due: Timestamp(8), through: Seq(2) },
        EventKind::Forget { completed: Seq(1), dead: Seq(2), cancelled: Seq(3) },
        EventKind::Digest { digest: u64::MAX },
        EventKind::Term { epoch, parent: Timeline(1), branched_at: Seq(9) },
        EventKind::Lead { grace_ms: 60_000, margin_ms: 10_000 },
        EventKind::SetClock {
            step: ClockStep::Back { from: Timestamp(u64::MAX) },
            doubted_since: None,
            margin_ms: 10_000,
            backoff_max_ms: 600_000,
        },
        EventKind::SetClock {
            step: ClockStep::Again,
            doubted_since: Some(Timestamp(3)),
            margin_ms: 0,
            backoff_max_ms: u64::MAX,
        },
    ];
    let events = kinds.into_iter().map(|kind| {
        let job_seq = if kind.job().is_some() { Seq(300) } else { Seq::ZERO };
        Event { at: Timestamp(1_234), job_seq, kind }
    });
    events.collect()
}

#[test]
fn there_is_a_sample_of_every_type() {
    let types: BTreeSet<_> = samples().iter().map(|event| event.kind.event_type()).collect();
    assert_eq!(types, EventType::ALL.iter().copied().collect());
}

#[test]
fn every_event_reads_back_as_written() {
    let mut bytes = Vec::new();
    samples().iter().for_each(|event| encode(event, &mut bytes));
    let mut rest = bytes.as_slice();
    let mut decoder = Decoder::default();
    for event in samples() {
        assert_eq!(decoder.decode(&mut rest), Ok(event));
    }
    assert!(rest.is_empty());
}

#[test]
fn a_job_that_is_read_into_the_box_of_another_has_nothing_of_that() {
    let mut bytes = Vec::new();
    let new: Vec<_> =
        samples().into_iter().filter(|event| matches!(event.kind, EventKind::Enqueue(_))).collect();
    // From the one that has most to the one that has least.
    new.iter().rev().for_each(|event| encode(event, &mut bytes));
    let mut rest = bytes.as_slice();
    let mut decoder = Decoder::default();
    for event in new.iter().rev() {
        let read = decoder.decode(&mut rest).unwrap();
        assert_eq!(read, *event);
        let EventKind::Enqueue(emptied) = read.kind else { panic!("no job") };
        decoder.give_back(emptied);
    }
}

#[test]
fn what_carries_a_text_has_a_checksum_of_its_own() {
    for event in samples() {
        let mut bytes = Vec::new();
        encode(&event, &mut bytes);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let error = decode(&mut bytes.as_slice());
        let is_noticed = error.is_err_and(|error| error.to_string().contains("checksum"));
        let has_text = TextPart::ALL.into_iter().any(|part| event.kind.text(part).is_some());
        assert_eq!(is_noticed, has_text, "{event:?}");
    }
}

#[test]
fn an_unknown_type_or_version_is_named() {
    let mut bytes = Vec::new();
    encode(&samples()[5], &mut bytes);
    for (at, expected) in [(0, (100, 1)), (1, (2, 100))] {
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
        assert!(error.contains("cannot be read") || error.contains("checksum"), "{error}");
    }
}
