//! What happens to servers in the wild: stopped and continued, told to end at the worst moment, started twice on
//! one directory, given jobs that kill, asked by clients whose connections break.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::sync::Mutex;
use std::thread;

use beaver_actors::base::clock::{Clock, SystemClock};
use beaver_actors::ids::Timestamp;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::files::snapshots;
use crate::harness::{Place, count, wait};
use crate::http_client::{connect, request};

fn simulate(id: &str, sleep_ms: u64) -> Value {
    json!({"id": id, "kind": "simulate", "payload": {"sleep_ms": sleep_ms, "fail_rate": 0}})
}

/// When the last of all leases in the log expires.
fn last_deadline(place: &Place) -> Timestamp {
    let (rows, _) = place.inspect("wal");
    let deadlines = rows.iter().filter_map(|row| row["data"]["deadline"].as_str());
    deadlines.map(|deadline| deadline.parse().unwrap()).max().expect("jobs are running")
}

/// Asserts that at most one lease at a time was valid in the log, that only its token ended it, and that nothing
/// was completed twice. Returns how often each job was handed out.
fn leases(place: &Place) -> BTreeMap<String, u32> {
    let (rows, _) = place.inspect("wal");
    let (mut held, mut runs, mut completed) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    for row in &rows {
        let Some(id) = row["job_id"].as_str() else { continue };
        match row["type"].as_str().unwrap() {
            "DISPATCH" => {
                assert!(!completed.contains(id), "it had been completed: {row}");
                assert_eq!(
                    held.insert(id.to_owned(), row["data"]["token"].clone()),
                    None,
                    "a second lease: {row}"
                );
                *runs.entry(id.to_owned()).or_default() += 1;
            }
            end @ ("ACK" | "RETRY" | "REQUEUE" | "EXHAUST") => {
                assert_eq!(held.remove(id).as_ref(), Some(&row["data"]["token"]), "a stale token: {row}");
                assert!(end != "ACK" || completed.insert(id.to_owned()), "completed twice: {row}");
            }
            _ => {}
        }
    }
    runs
}

/// Row 31: and the one that was there first goes on undisturbed.
#[test]
fn a_second_server_is_refused_also_when_the_lock_file_was_removed() {
    let place = Place::new();
    let server = place.start(&["--workers", "1"]);
    server.enqueue([json!({"id": "before", "kind": "noop"})]);
    server.until_job_is("before", "completed");
    let refused = || {
        place.run_to_its_end(&["--workers", "1"]).exits(1).says(&["another beaver is using"]);
        let enqueue = ["enqueue", "--offline", "--data-dir", "data", "--kind", "noop"];
        place.beaver(&enqueue).exits(4).says(&["holds the lock of data"]);
    };
    refused();
    fs::remove_file(place.data("lock")).unwrap();
    refused();
    // The attempt has made a new file, which changes nothing.
    refused();
    server.enqueue([json!({"id": "after", "kind": "noop"})]);
    server.until_job_is("after", "completed");
    server.kill9();
    let server = place.start(&["--workers", "1"]);
    assert_eq!(server.count("completed"), 2);
    server.terminate();
}

/// Rows 33 and 34: the worker is in the server, so it stands still with it, and reports when the lease has run out.
#[test]
fn a_server_that_stood_still_for_longer_than_its_leases_loses_no_job_and_accepts_no_stale_report() {
    let place = Place::new();
    let flags = ["--workers", "4", "--task-timeout", "1500ms", "--retry-backoff", "20ms"];
    let server = place.start(&flags);
    // Some of them would end in time, some not; each may be run again as often as need be.
    let jobs = (0..12).map(|number| {
        let mut job = simulate(&format!("job-{number:02}"), 150 * (number % 4 + 1));
        job["max_retry"] = 100.into();
        job
    });
    server.enqueue(jobs);
    server.until("four running jobs", |status| count(status, "in_flight") == 4);
    server.signal(Signal::STOP);
    let last = last_deadline(&place);
    wait("the end of its leases", None, || (SystemClock::default().now() > last).then_some(()));
    server.signal(Signal::CONT);
    let end = server.until_completed(12);
    assert_eq!(count(&end, "dead"), 0, "{end}");
    server.enqueue([simulate("after", 1)]);
    server.until_job_is("after", "completed");
    server.kill9();
    let runs = leases(&place);
    assert_eq!(runs.len(), 13);
    let server = place.start(&flags);
    assert_eq!(server.count("completed"), 13);
}

/// Rows 35, 36 and 51, for HTTP: there is no other way to report a completion yet than from inside the server.
#[test]
fn a_request_whose_connection_broke_is_done_once_however_often_it_is_sent() {
    const JOBS: usize = 40;
    let place = Place::new();
    let server = place.start(&["--workers", "2"]);
    let cut = |method: &str, path: &str, body: &str, sent: usize| {
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
        let bytes = (head + body).into_bytes();
        let mut stream = connect(server.address()).unwrap();
        stream.write_all(&bytes[..sent.min(bytes.len())]).unwrap();
        // Half of them say goodbye, half just go.
        if sent.is_multiple_of(2) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    };
    for number in 0..JOBS {
        let body = json!({"id": format!("job-{number}"), "kind": "noop", "max_retry": 100}).to_string();
        // Everything and more than half; the connection ends before any answer is read.
        for sent in [usize::MAX, 60 + number, usize::MAX - 1] {
            cut("POST", "/api/v1/jobs", &body, sent);
        }
        let answer = server.post(&body);
        assert!(matches!(answer.status, 200 | 201), "{}", answer.body);
    }
    server.until_completed(JOBS as u64);
    // And the same for what ends a job.
    server.enqueue([json!({"id": "withdrawn", "kind": "nobody"})]);
    // A request whose sender has gone before the server looks at it may be passed over, so it is sent until it counts.
    wait("a withdrawn job", None, || {
        cut("DELETE", "/api/v1/jobs/withdrawn", "", usize::MAX);
        (server.job("withdrawn")["status"] == "cancelled").then_some(())
    });
    server.kill9();
    let (rows, _) = place.inspect("wal");
    let of = |name: &str| rows.iter().filter(|row| row["type"] == name).count();
    assert_eq!((of("ENQUEUE"), of("ACK"), of("CANCEL")), (JOBS + 1, JOBS, 1));
    assert_eq!(leases(&place).len(), JOBS);
}

/// Row 44; `crash.rs` has the job that kills its server.
#[test]
fn jobs_that_always_fail_or_are_killed_end_dead_after_their_attempts_while_others_get_done() {
    let place = Place::new();
    let server = place.start(&["--workers", "2", "--allow-exec", "--retry-backoff", "10ms"]);
    let poison = |id: &str, script: &str| {
        let payload = json!({"command": ["sh", "-c", script]});
        json!({"id": id, "kind": "exec", "payload": payload, "max_retry": 3, "priority": 9})
    };
    // As the kernel does to a program that takes too much memory: SIGKILL, to it alone or to its whole group.
    let scripts = [
        ("exits", "exit 1"),
        ("killed", "kill -9 $$"),
        ("group-killed", "kill -9 0"),
        ("aborts", "kill -6 $$"),
    ];
    server.enqueue(scripts.map(|(id, script)| poison(id, script)));
    server.enqueue((0..40).map(|number| simulate(&format!("good-{number}"), 1)));
    server.until_completed(40);
    for (id, _) in scripts {
        let job = server.until_job_is(id, "dead");
        assert_eq!((&job["attempt"], job["errors"].as_array().unwrap().len()), (&json!(4), 4), "{job}");
        assert_eq!(job["errors"][3]["failure"]["kind"], "error", "{job}");
    }
    server.terminate();
    let server = place.start(&["--workers", "2"]);
    assert_eq!((server.count("dead"), server.count("completed")), (4, 40));
}

/// Row 53; `lifecycle.rs` has an idle server's SIGTERM, and two of them.
#[test]
fn sigterm_under_load_and_amid_snapshots_keeps_all_that_was_accepted() {
    const ROUNDS: usize = 4;
    let place = Place::new();
    let flags = ["--workers", "4", "--snapshot-interval", "20ms", "--segment-bytes", "64KiB"];
    let accepted = Mutex::new(Vec::new());
    for round in 0..ROUNDS {
        // Jobs that come while it drains are kept, or refused: also in the last round.
        let refuses = if round % 2 == 1 { &["--refuse-while-draining"][..] } else { &[] };
        let mut server = place.start(&[&flags[..], refuses].concat());
        let enough = accepted.lock().unwrap().len() + 100;
        thread::scope(|scope| {
            for client in 0..3 {
                let (accepted, address) = (&accepted, server.address().to_owned());
                scope.spawn(move || {
                    for number in 0.. {
                        let id = format!("{round}-{client}-{number}");
                        let job =
                            json!({"id": id, "kind": "simulate", "payload": {"sleep_ms": 2, "fail_rate": 0}});
                        match request(&address, "POST", "/api/v1/jobs", job.to_string().as_bytes()) {
                            Ok(answer) if answer.status == 201 => accepted.lock().unwrap().push(id),
                            // It is stopping, or gone.
                            _ => return,
                        }
                    }
                });
            }
            wait("enough accepted jobs", None, || (accepted.lock().unwrap().len() >= enough).then_some(()));
            server.signal(Signal::TERM);
            assert_eq!(server.ended().code(), Some(0), "{}", place.log());
        });
        assert!(!snapshots(&place).is_empty());
    }
    let server = place.start(&flags);
    assert_eq!(server.status()["recovery"]["events"], 0, "the last snapshot holds everything");
    let accepted = accepted.into_inner().unwrap();
    server.until("no unfinished jobs", |status| {
        ["pending", "scheduled", "in_flight", "retrying"].iter().all(|state| count(status, state) == 0)
    });
    for id in &accepted {
        assert_eq!(server.job(id)["status"], "completed", "{id}");
    }
    server.terminate();
}
