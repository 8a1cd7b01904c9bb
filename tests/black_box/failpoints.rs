//! A real server that fails at a place of our choice: see `beaver_actors::internals::base::failpoint`.

use serde_json::json;

use crate::harness::{Place, Server, wait};

/// A server that fails where `points` say, and jobs that were acknowledged before.
fn failing(place: &Place, points: &str, flags: &[&str]) -> Server {
    let kinds = [&["--default-kind", "later"], flags].concat();
    place.start_under(&format!("export BEAVER_FAILPOINTS='{points}'"), &kinds)
}

/// Adds jobs one at a time until one is not acknowledged; returns the ids that were.
fn acknowledged_until_it_fails(server: &Server) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0..1_000 {
        let id = format!("job-{number}");
        let address = server.address().to_owned();
        let body = json!({ "id": id }).to_string();
        let answer = crate::http_client::request(&address, "POST", "/api/v1/jobs", body.as_bytes());
        match answer {
            Ok(answer) if answer.status == 201 => acknowledged.push(id),
            _ => return acknowledged,
        }
    }
    panic!("it never failed");
}

fn all_are_there(place: &Place, acknowledged: &[String]) {
    assert!(!acknowledged.is_empty());
    let server = place.start(&["--default-kind", "later"]);
    for id in acknowledged {
        assert_eq!(server.job(id)["status"], "pending", "{id}");
    }
    server.terminate();
}

/// Row 11: no acknowledgement for that batch or a later one, and no second try.
#[test]
fn a_failed_fsync_ends_the_server_with_74_and_what_was_acknowledged_is_there() {
    let place = Place::new();
    let mut server = failing(&place, "wal.sync=eio@20", &[]);
    let acknowledged = acknowledged_until_it_fails(&server);
    assert_eq!(server.ended().code(), Some(74));
    assert!(place.log().contains("cannot sync"), "{}", place.log());
    all_are_there(&place, &acknowledged);
}

/// Rows 39 and 40: never a half-applied state; the process ends, and the next one replays.
#[test]
fn a_panic_of_the_manager_or_of_the_log_ends_the_server_and_what_was_acknowledged_is_there() {
    for point in ["manager.record=panic@15", "wal.flush=panic@15"] {
        let place = Place::new();
        let mut server = failing(&place, point, &[]);
        let acknowledged = acknowledged_until_it_fails(&server);
        assert_eq!(server.ended().code(), Some(1), "{point}");
        assert!(place.log().contains("panicked"), "{}", place.log());
        all_are_there(&place, &acknowledged);
    }
}

/// Row 41.
#[test]
fn a_panic_of_the_snapshot_actor_is_survived_and_one_of_the_supervisor_ends_the_process() {
    let place = Place::new();
    let server = failing(&place, "snapshot.take=panic@1", &["--snapshot-interval", "1s"]);
    server.enqueue([json!({ "id": "first" })]);
    wait("restart of the snapshot actor", None, || {
        let metrics = server.get("/metrics").body;
        let restarted = metrics.contains("queue_actor_restarts_total{actor=\"snapshot\"} 1");
        (restarted && metrics.contains("queue_snapshots_total 1")).then_some(())
    });
    server.terminate();

    let place = Place::new();
    let points = "snapshot.take=panic@1;supervisor.exit=panic@1";
    let mut server = failing(&place, points, &["--snapshot-interval", "1s"]);
    server.enqueue([json!({ "id": "first" })]);
    assert_eq!(server.ended().code(), Some(1));
    all_are_there(&place, &["first".to_owned()]);
}

/// Rows 17 and 19: nobody hears "yes" before it is there, the log says why it takes its time, and it goes on.
#[test]
fn a_write_without_space_and_a_slow_fsync_are_waited_for_and_told() {
    let troubles = [
        // The tenth write may be a mark, which is let be instead of being tried again.
        ("wal.write=enospc@10", "disk is full"),
        ("wal.sync=sleep:1500@10", "the log's disk is slow"),
    ];
    for (point, told) in troubles {
        let place = Place::new();
        let server = failing(&place, point, &[]);
        let ids: Vec<_> = (0..20).map(|number| format!("job-{number}")).collect();
        ids.iter().for_each(|id| server.enqueue([json!({ "id": id })]));
        assert!(place.log().contains(told), "{point}: {}", place.log());
        server.kill9();
        all_are_there(&place, &ids);
    }
}

/// Row 72: what is in the log's way is told, and a server that is asked to stop does not wait for space.
#[test]
fn while_nothing_can_be_confirmed_the_server_is_not_ready_and_still_stops_when_it_is_told_to() {
    let place = Place::new();
    let mut server = failing(&place, "wal.write=enospc@10+", &["--request-timeout", "1s"]);
    acknowledged_until_it_fails(&server);
    let ready = server.get("/readyz");
    assert_eq!(ready.status, 503, "{}", ready.body);
    assert!(ready.body.contains("the disk of the log is full"), "{}", ready.body);
    server.post("{}").refuses(507, "disk_full", &[]);
    let status = server.status();
    assert_eq!(status["log"]["accepts_jobs"], false, "{status}");
    let began = std::time::Instant::now();
    server.signal(rustix::process::Signal::TERM);
    let ended = server.ended();
    // It would be half a minute, and a second one for the log.
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(ended.code(), Some(74), "{}", place.log());
}

/// Row 69: beside those that it starts with, it needs none.
#[test]
fn when_the_system_has_no_more_threads_to_give_everything_is_done_all_the_same() {
    let place = Place::new();
    let server = place.start(&["--workers", "1"]);
    // Enough for a start to want two threads for the log, and for a snapshot of its own thread.
    let jobs = |from: u32| {
        (from..from + 6_000).map(
            |number| json!({"id": format!("job-{number}"), "kind": "noop", "run_at": "2100-01-01T00:00:00Z"}),
        )
    };
    server.enqueue(jobs(0));
    server.enqueue(jobs(6_000));
    server.kill9();
    let points = "thread.start=eagain@1+";
    let flags = ["--workers", "1", "--snapshot-interval", "100ms"];
    let server = failing(&place, points, &flags);
    // Segments are a MiB: several of them, each sealed, and each with a snapshot.
    let payload = "wool ".repeat(60_000);
    for number in 0..9 {
        server.enqueue([json!({"id": format!("large-{number}"), "kind": "noop", "payload": payload})]);
        server.until_job_is(&format!("large-{number}"), "completed");
    }
    let seq = server.status()["log"]["seq"].as_u64();
    server.until("a snapshot of all that", |status| status["snapshot"]["seq"].as_u64() >= seq);
    assert!(place.log().contains("the system has no thread to give"), "it asked for none");
    server.terminate();
    let server = failing(&place, points, &flags);
    assert_eq!((server.count("scheduled"), server.count("completed")), (12_000, 9));
    server.terminate();
}
