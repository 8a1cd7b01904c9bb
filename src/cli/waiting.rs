//! Why jobs wait: the reason that holds now, the first in the way before the others.

use super::queues::CountsByStatus;
use super::status_view::{JobAnswer, LeftOutRows, QueueAnswer};
use super::table::count;
use crate::plain::plain;
use crate::wire::answers::OFFLINE;

/// Why the jobs of all queues wait, a line for each reason.
pub(super) fn told_of_all(answer: &QueueAnswer) -> Vec<String> {
    let mut told = Vec::new();
    let pending = of(&answer.jobs, "pending");
    let mut elsewhere = 0;
    for queue in answer.queues.iter().filter(|queue| queue.paused) {
        let waiting = of(&queue.jobs, "pending");
        elsewhere += waiting;
        if waiting > 0 {
            told.push(format!("{}: {}", waits(waiting, ""), paused(&queue.queue)));
        }
    }
    let LeftOutRows { paused_pending, kinds, kinds_pending, .. } = answer.left_out;
    if paused_pending > 0 {
        elsewhere += paused_pending;
        told.push(format!("{}: their queues are paused, too (beaver queues)", waits(paused_pending, "")));
    }
    if answer.phase == OFFLINE {
        return told;
    }
    if answer.phase == DRAINING && pending > elsewhere {
        told.push(format!("{}: {STOPS}", waits(pending - elsewhere, "")));
        return told;
    }
    for waiting in &answer.waiting_for_worker {
        elsewhere += waiting.pending;
        let of_kind = format!(" of kind \"{}\"", plain(&waiting.kind));
        told.push(format!("{}: {}", waits(waiting.pending, &of_kind), nobody(answer, None)));
    }
    if kinds_pending > 0 {
        elsewhere += kinds_pending;
        let of_kinds = format!(" of {}", count(kinds, "further kind"));
        told.push(format!("{}: {}", waits(kinds_pending, &of_kinds), nobody(answer, None)));
    }
    let handled = pending.saturating_sub(elsewhere);
    if handled > 0 && answer.workers.idle == 0 {
        told.push(format!("{}: {}", waits(handled, ""), busy(answer)));
    }
    for (status, why) in [("scheduled", "time"), ("retrying", "next attempt, as the last one failed")] {
        let waiting = of(&answer.jobs, status);
        if waiting > 0 {
            let whose = if waiting == 1 { "its" } else { "their" };
            told.push(format!("{} for {whose} {why}", waits(waiting, "")));
        }
    }
    told
}

/// Why this job waits, if it does. A pending one waits for what is `around` it.
pub(super) fn told_of(job: &JobAnswer, around: Option<&QueueAnswer>) -> Option<String> {
    let until = || job.run_at.map(|moment| moment.to_string()).unwrap_or_default();
    match job.status.as_str() {
        "scheduled" => return Some(format!("for its time, {}", until())),
        "retrying" => {
            // Not every attempt that ended has begun.
            let last = job.errors.last().filter(|last| last.postponed_for_ms().is_some());
            return Some(match last {
                Some(last) => {
                    format!("for {}, as it could not begin: {}", until(), plain(&last.failure.message))
                }
                None => format!("for {}, as attempt {} failed", until(), job.attempt),
            });
        }
        "pending" => {}
        _ => return None,
    }
    let answer = around?;
    if answer.queues.iter().any(|queue| queue.paused && queue.queue == job.queue) {
        return Some(paused(&job.queue));
    }
    if answer.phase == OFFLINE {
        return Some("no server runs".to_owned());
    }
    if answer.phase == DRAINING {
        return Some(STOPS.to_owned());
    }
    if answer.workers.count > 0 && answer.workers.kinds.contains(&job.kind) {
        return (answer.workers.idle == 0).then(|| busy(answer));
    }
    Some(format!("nobody takes jobs of kind \"{}\": {}", plain(&job.kind), nobody(answer, Some(&job.queue))))
}

const DRAINING: &str = "draining";
const STOPS: &str = "the server is stopping and starts no more jobs";

fn of(jobs: &CountsByStatus, status: &str) -> u64 {
    jobs.get(status).copied().unwrap_or_default()
}

fn waits(jobs: u64, which: &str) -> String {
    format!("{}{which} {}", count(jobs, "job"), if jobs == 1 { "waits" } else { "wait" })
}

fn paused(queue: &str) -> String {
    let queue = plain(queue);
    format!("queue {queue} is paused (beaver queues resume {queue})")
}

fn busy(answer: &QueueAnswer) -> String {
    match answer.workers.busy {
        0 => "no worker is up".to_owned(),
        1 => "the only worker is busy".to_owned(),
        workers => format!("all {workers} workers are busy"),
    }
}

/// Why nobody takes a job that no worker here takes.
fn nobody(answer: &QueueAnswer, queue: Option<&str>) -> String {
    let here = match answer.workers.count {
        0 => "this server runs none itself (worker_count: 0)",
        _ => "no worker here handles it",
    };
    let remote = answer.remote.as_ref().map_or(0, |remote| remote.workers.len());
    let queue = queue.map_or_else(|| "its queue".to_owned(), |queue| format!("queue {}", plain(queue)));
    match remote {
        0 => format!("{here}, and none elsewhere is connected"),
        1 => format!("{here}, and the one elsewhere does not ask for {queue} now"),
        remote => format!("{here}, and none of the {remote} elsewhere asks for {queue} now"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::answer::answer_of;

    /// A server with a paused queue and one that is not.
    fn server(phase: &str, busy: u64, idle: u64, remote: usize) -> QueueAnswer {
        let worker = json!({"wid": "w", "hostname": "h", "pid": 1, "labels": [], "state": "", "connections": 1,
                            "last_beat": "2030-01-01T00:00:00Z", "running": 0});
        answer_of(json!({
            "phase": phase, "version": "0.1.0",
            "jobs": {"pending": 20, "scheduled": 3, "retrying": 1},
            "queues": [{"queue": "out", "paused": true, "latency_ms": 0, "jobs": {"pending": 12}},
                       {"queue": "in", "paused": false, "latency_ms": 0, "jobs": {"pending": 8}}],
            "totals": {"processed": 0, "failed": 0},
            "waiting_for_worker": [{"kind": "mail", "pending": 1}],
            "left_out": {"queues": 0, "paused_pending": 0, "kinds": 0, "kinds_pending": 0},
            "workers": {"count": busy + idle, "busy": busy, "idle": idle, "restarts": 0,
                        "kinds": if busy + idle > 0 { json!(["noop"]) } else { json!([]) }},
            "log": {"seq": 9, "durable_seq": 9, "accepts_jobs": true},
            "snapshot": null,
            "clock": {"doubted_since": null, "set_back_to": null},
            "recovery": {"duration_ms": 1.25, "snapshot_jobs": 1, "events": 2, "interrupted": 0, "torn_bytes": 0},
            "remote": {"connections": remote, "workers": vec![worker; remote]},
        }))
        .unwrap()
    }

    fn job(status: &str, queue: &str, kind: &str) -> JobAnswer {
        answer_of(json!({
            "id": "a", "status": status, "queue": queue, "kind": kind, "priority": 5, "attempt": 2, "max_retry": 3,
            "timeout_ms": 1, "created_at": "2030-01-01T00:00:00Z", "run_at": "2030-01-01T00:00:00Z", "errors": [],
            "payload": Value::Null,
        }))
        .unwrap()
    }

    /// Row 93.
    #[test]
    fn every_job_that_waits_has_its_true_reason() {
        let told =
            |status, queue, kind, answer: &QueueAnswer| told_of(&job(status, queue, kind), Some(answer));
        let paused = Some("queue out is paused (beaver queues resume out)".to_owned());
        for phase in ["serving", "draining", OFFLINE] {
            assert_eq!(told("pending", "out", "mail", &server(phase, 0, 2, 0)), paused);
            assert_eq!(told("pending", "out", "noop", &server(phase, 2, 0, 0)), paused);
        }
        for (kind, answer, expected) in [
            (
                "mail",
                server("serving", 0, 2, 0),
                "no worker here handles it, and none elsewhere is connected",
            ),
            ("mail", server("serving", 0, 2, 1), "the one elsewhere does not ask for queue in now"),
            ("mail", server("serving", 0, 2, 3), "none of the 3 elsewhere asks for queue in now"),
            ("noop", server("serving", 0, 0, 0), "this server runs none itself (worker_count: 0)"),
            ("noop", server("serving", 2, 0, 0), "all 2 workers are busy"),
            ("noop", server("draining", 0, 2, 0), "the server is stopping"),
            ("noop", server(OFFLINE, 0, 0, 0), "no server runs"),
        ] {
            let told = told("pending", "in", kind, &answer).unwrap();
            assert!(told.contains(expected), "{told}");
        }
        assert_eq!(told("pending", "in", "noop", &server("serving", 0, 2, 0)), None, "it starts now");
        let serving = server("serving", 0, 2, 0);
        assert_eq!(
            told("scheduled", "out", "noop", &serving).unwrap(),
            "for its time, 2030-01-01T00:00:00.000Z"
        );
        assert!(told("retrying", "in", "noop", &serving).unwrap().ends_with("as attempt 2 failed"));
        assert_eq!(told("in_flight", "in", "noop", &serving), None);
        let mut postponed = job("retrying", "in", "exec");
        let failure = json!({"kind": "undelivered", "message": "no descriptor is left"});
        let ended = json!({"attempt": 2, "at": "2030-01-01T00:00:00Z", "next_at": "2030-01-01T00:00:01Z",
                           "counted": false, "failure": failure});
        postponed.errors = serde_json::from_value(json!([ended])).unwrap();
        let told = told_of(&postponed, Some(&serving)).unwrap();
        assert!(told.ends_with("as it could not begin: no descriptor is left"), "{told}");
    }

    /// Row 93.
    #[test]
    fn the_overview_counts_each_waiting_job_under_one_reason() {
        assert_eq!(
            told_of_all(&server("serving", 2, 0, 0)),
            [
                "12 jobs wait: queue out is paused (beaver queues resume out)",
                "1 job of kind \"mail\" waits: no worker here handles it, and none elsewhere is connected",
                "7 jobs wait: all 2 workers are busy",
                "3 jobs wait for their time",
                "1 job waits for its next attempt, as the last one failed",
            ]
        );
        assert_eq!(told_of_all(&server("draining", 2, 0, 0))[1], format!("8 jobs wait: {STOPS}"));
        assert_eq!(
            told_of_all(&server(OFFLINE, 0, 0, 0)).len(),
            1,
            "what only a server could tell is not told"
        );
    }
}
