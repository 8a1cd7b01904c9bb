//! `kill -9`: what was acknowledged is there, what was completed stays completed, and it comes back at once.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Place, Server, count, wait};
use crate::http_client::request;

/// The promise about recovery, in milliseconds.
const RECOVERY_MS_MAX: f64 = 3_000.0;
/// The promise about speed.
const JOBS_PER_SECOND_MIN: f64 = 200.0;
/// Without jitter and long waits, so that failed jobs come back soon.
const SOON: [&str; 4] = ["--retry-backoff", "20ms", "--retry-backoff-max", "100ms"];

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("job-{number:05}")).collect()
}

fn recovery_ms(status: &Value) -> f64 {
    status["recovery"]["duration_ms"].as_f64().unwrap()
}

/// Jobs as somebody sees them from outside.
fn views(server: &Server, ids: &[String]) -> Vec<Value> {
    ids.iter().map(|id| server.job(id)).collect()
}

#[test]
fn of_100_jobs_killed_half_way_none_is_lost_and_none_runs_again_after_its_completion() {
    let place = Place::new();
    let flags = [&["--workers", "4"], &SOON[..]].concat();
    let ids = ids(100);
    let server = place.start(&flags);
    server.enqueue(ids.iter().map(|id| {
        let payload = json!({"sleep_ms": 40, "fail_rate": 0.1});
        json!({"id": id, "kind": "simulate", "payload": payload, "max_retry": 30})
    }));
    server.until_completed(50);
    let seen = views(&server, &ids);
    let completed: Vec<_> = seen.into_iter().filter(|job| job["status"] == "completed").collect();
    server.kill9();
    assert!((50..100).contains(&completed.len()), "the kill came half way: {} of 100", completed.len());

    let server = place.start(&flags);
    let status = server.status();
    assert!(recovery_ms(&status) < RECOVERY_MS_MAX, "{status}");
    assert!(count(&status, "completed") >= completed.len() as u64, "{status}");
    let end = server.until_completed(100);
    for state in ["pending", "scheduled", "in_flight", "retrying", "dead", "cancelled"] {
        assert_eq!(count(&end, state), 0, "{end}");
    }
    for before in completed {
        let after = server.job(before["id"].as_str().unwrap());
        assert_eq!(after, before, "it had been completed");
    }
    server.terminate();
}

#[test]
fn replaying_the_log_twice_gives_the_same_state() {
    let place = Place::new();
    let server = place.start(&[&["--workers", "2"], &SOON[..]].concat());
    let mut jobs = ids(20);
    server.enqueue(jobs.iter().map(|id| json!({"id": id, "kind": "noop", "payload": {"of": id}})));
    server.enqueue([
        json!({"id": "dead", "kind": "simulate", "payload": {"sleep_ms": 0, "fail_rate": 1}, "max_retry": 2}),
        json!({"id": "cancelled", "kind": "nobody"}),
        json!({"id": "waits", "kind": "nobody", "priority": 9, "queue": "other"}),
        json!({"id": "later", "kind": "noop", "delay": "1h"}),
    ]);
    assert_eq!(server.request("DELETE", "/api/v1/jobs/cancelled", "").status, 200);
    jobs.extend(["dead", "cancelled", "waits", "later"].map(ToOwned::to_owned));
    server.until_job_is("dead", "dead");
    server.until_completed(20);
    // And one that is in somebody's hands.
    server.enqueue([json!({"id": "runs", "kind": "simulate", "payload": {"sleep_ms": 600_000}})]);
    server.until_job_is("runs", "in_flight");
    let before = views(&server, &jobs);
    server.kill9();

    let replay = || {
        let server = place.start(&["--workers", "0"]);
        let (views, run) = (views(&server, &jobs), server.job("runs"));
        server.kill9();
        (views, run)
    };
    let (first, second) = (replay(), replay());
    assert_eq!(first, second);
    assert_eq!(first.0, before);
    assert_eq!(first.1["status"], "pending");
    assert_eq!(first.1["errors"][0]["failure"]["kind"], "lost");

    // And so does a snapshot.
    place.start(&["--workers", "0"]).terminate();
    let (rows, _) = place.inspect("snapshot");
    assert_eq!(rows.len(), jobs.len() + 1);
    let server = place.start(&["--workers", "0"]);
    assert_eq!(server.status()["recovery"]["events"], 0);
    assert_eq!((views(&server, &jobs), server.job("runs")), second);
}

#[test]
fn eight_workers_get_200_short_jobs_done_in_a_second_and_more() {
    const JOBS: usize = 2_000;
    let place = Place::new();
    let server = place.start(&["--workers", "8"]);
    let started = Instant::now();
    server.enqueue(ids(JOBS).iter().map(|id| {
        let payload = json!({"sleep_ms": 1, "fail_rate": 0});
        json!({"id": id, "kind": "simulate", "payload": payload})
    }));
    server.until_completed(JOBS as u64);
    let jobs_per_second = JOBS as f64 / started.elapsed().as_secs_f64();
    println!("{jobs_per_second:.0} jobs/s");
    assert!(jobs_per_second >= JOBS_PER_SECOND_MIN, "{jobs_per_second:.0} jobs/s");
}

#[test]
fn what_any_client_was_answered_survives_eight_kills_and_exists_once() {
    const CLIENTS: usize = 6;
    const KILLS: usize = 8;
    /// Accepted jobs between two kills.
    const ACCEPTED: usize = 40;

    let place = Place::new();
    let mut server = place.start(&["--workers", "4"]);
    let address = RwLock::new(server.address().to_owned());
    let (accepted, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (server, all) = thread::scope(|scope| {
        let client = |client: usize| {
            let (address, accepted, is_over) = (&address, &accepted, &is_over);
            move || {
                let mut mine = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let id = format!("client-{client}-{}", mine.len());
                    enqueue_until_answered(address, &id);
                    accepted.fetch_add(1, Ordering::Relaxed);
                    mine.push(id);
                }
                mine
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(client(number))).collect();
        // However this ends, the clients must hear of it, or the scope would wait for ever.
        let _over = SetOnDrop(&is_over);
        for _ in 0..KILLS {
            let enough = accepted.load(Ordering::Relaxed) + ACCEPTED;
            wait("further accepted jobs", None, || {
                (accepted.load(Ordering::Relaxed) >= enough).then_some(())
            });
            server.kill9();
            server = place.start(&["--workers", "4"]);
            address.write().unwrap().replace_range(.., server.address());
            let status = server.status();
            assert!(recovery_ms(&status) < RECOVERY_MS_MAX, "{status}");
        }
        is_over.store(true, Ordering::Relaxed);
        let ids = clients.into_iter().flat_map(|client| client.join().unwrap());
        (server, ids.collect::<BTreeSet<_>>())
    });

    assert!(all.len() >= KILLS * ACCEPTED);
    // Every id was sent until it was answered, so that there is nothing else either.
    let end = server.until_completed(all.len() as u64);
    assert_eq!(count(&end, "completed"), all.len() as u64, "{end}");
    for id in &all {
        assert_eq!(server.job(id)["status"], "completed");
    }
    server.terminate();
    let (rows, _) = place.inspect("snapshot");
    let known: BTreeSet<_> = rows.iter().map(|row| row["job_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((known, rows.len()), (all.clone(), all.len()));
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends one job again and again, under the same id, to the server that is up.
fn enqueue_until_answered(address: &RwLock<String>, id: &str) {
    let job = json!({"id": id, "kind": "noop"}).to_string();
    wait(&format!("answer to the enqueue of {id}"), None, || {
        let address = address.read().unwrap().clone();
        let answer = request(&address, "POST", "/api/v1/jobs", job.as_bytes()).ok()?;
        match answer.status {
            200 | 201 => {
                assert_eq!(answer.json()["id"], id);
                Some(())
            }
            503 => None,
            status => panic!("{status}: {}", answer.body),
        }
    });
}

#[test]
fn without_fdatasync_a_kill_loses_nothing_either() {
    for durability in [&["--durability", "never"][..], &["--durability", "interval", "--sync-interval", "1h"]]
    {
        let place = Place::new();
        let flags = [&["--workers", "2"], durability].concat();
        let server = place.start(&flags);
        let jobs = ids(50);
        server.enqueue(jobs.iter().map(|id| json!({"id": id, "kind": "noop"})));
        server.kill9();
        let server = place.start(&flags);
        server.until_completed(50);
    }
}

#[test]
fn a_job_that_kills_the_server_again_and_again_is_dead_in_the_end_and_the_others_are_done() {
    let place = Place::new();
    // The parent of a program is its keeper, and the server is the keeper's.
    let payload = json!({"command": ["sh", "-c", "kill -9 $(cut -d' ' -f4 /proc/$PPID/stat)"]});
    let poison = json!({"id": "poison", "kind": "exec", "payload": payload, "max_retry": 2, "priority": 9});
    let others = ids(10).into_iter().map(|id| json!({"id": id, "kind": "noop"}));
    let jobs: String = [poison].into_iter().chain(others).map(|job| format!("{job}\n")).collect();
    place.make_store();
    place.beaver_with(&["enqueue", "--offline", "--data-dir", "data", "--file", "-"], &jobs).exits(0);
    let flags = ["--workers", "1", "--allow-exec"];
    for run in 1..=3 {
        let ran = place.run_to_its_end(&flags);
        assert_eq!(ran.code, None, "run {run} was killed: {}", ran.told());
    }
    let server = place.start(&flags);
    let poison = server.until_job_is("poison", "dead");
    assert_eq!((&poison["attempt"], poison["errors"].as_array().unwrap().len()), (&json!(3), 3), "{poison}");
    server.until_completed(10);
}

#[test]
fn a_server_killed_while_it_starts_starts_all_the_same() {
    let place = Place::new();
    let server = place.start(&["--workers", "0"]);
    server.enqueue(ids(2_000).iter().map(|id| json!({"id": id, "kind": "noop", "payload": {"x": id}})));
    server.kill9();
    // The kill hits another moment each time: before it says anything, while it recovers, while its actors start.
    for said in 0..8 {
        let mut child = place.start_in_passing(&["--faktory-port", "off"], Stdio::piped());
        // Open until after the kill: a closed one would stop the server first.
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        assert_eq!(log.by_ref().take(said).map(Result::unwrap).count(), said);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let server = place.start(&["--workers", "8"]);
    let end = server.until_completed(2_000);
    assert_eq!(count(&end, "completed"), 2_000, "{end}");
}
