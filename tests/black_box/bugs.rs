//! These tests are tested themselves: a real server with a deliberate bug, which the environment plants into it (see
//! `beaver_actors::testing::Bug`), must be complained of. Each story is told twice, without the bug and with it.

use std::fs;
use std::thread;

use serde_json::{Value, json};

use crate::damage::with_segments;
use crate::files::{flip, segments, snapshots};
use crate::harness::{Place, Server, run, wait};

/// A server with a bug, or with none if its name is empty.
fn start(place: &Place, bug: &str, flags: &[&str]) -> Server {
    place.start_under(&format!("export BEAVER_BUG='{bug}'"), flags)
}

/// Starts the engine of a stopped server once more, for one job more; says why if it refuses.
fn starts_again(place: &Place, bug: &str) -> Result<(), String> {
    let mut command = place.command();
    command.env("BEAVER_BUG", bug);
    command.args(["enqueue", "--offline", "--data-dir", "data", "--kind", "later", "--id", "one-more"]);
    let ran = run(&mut command, b"");
    if ran.code == Some(0) { Ok(()) } else { Err(ran.told()) }
}

/// Asserts that the story has a good end without the bug, and a complaint with it.
#[track_caller]
fn is_noticed(bug: &str, told: &str, story: impl Fn(&str) -> Result<(), String> + Sync) {
    let (bad, good) = thread::scope(|scope| {
        let good = scope.spawn(|| story(""));
        (story(bug), good.join().expect("the story is told to its end"))
    });
    assert_eq!(good, Ok(()), "there is no bug in it");
    let complaint = bad.expect_err("the bug went unnoticed");
    assert!(complaint.contains(told), "{complaint}");
}

/// Row 58.
#[test]
fn cutting_the_log_at_any_error_is_noticed() {
    is_noticed("TruncateOnAnyError", "started on a damaged log", |bug| {
        let place = with_segments();
        flip(&segments(&place).pop().unwrap(), 200);
        match starts_again(&place, bug) {
            Ok(()) => Err("it started on a damaged log".to_owned()),
            Err(refused) if refused.contains("nothing was changed") => Ok(()),
            Err(other) => Err(other),
        }
    });
}

/// Row 58.
#[test]
fn a_log_that_is_deleted_too_early_is_noticed() {
    is_noticed("LogDeletedTooEarly", "is needed", |bug| {
        let place = Place::new();
        let filler = "x".repeat(20_000);
        for round in 0..3 {
            let server = start(&place, bug, &["--workers", "0", "--segment-bytes", "64KiB"]);
            server.enqueue((0..8).map(
                |number| json!({"id": format!("job-{round}-{number}"), "kind": "noop", "payload": filler}),
            ));
            server.terminate();
        }
        flip(&snapshots(&place).pop().unwrap(), 70);
        starts_again(&place, bug)
    });
}

/// Row 58: a program that ignores SIGTERM for longer than its lease reports when its job is in other hands.
#[test]
fn reports_under_stale_tokens_are_noticed() {
    is_noticed("NoTokenCheck", "under a stale token", |bug| {
        let place = Place::new();
        let flags = ["--workers", "2", "--allow-exec", "--stop-grace", "1m", "--retry-backoff", "20ms"];
        let with_debug = format!("export RUST_LOG=debug BEAVER_BUG='{bug}'");
        let server = place.start_under(&with_debug, &flags);
        // A lease lasts 10 s beyond the timeout, so the second attempt begins while the first one goes on, and waits for
        // its end.
        let payload = json!({"command": ["sh", "-c", "trap '' TERM; sleep 13"]});
        server.enqueue([
            json!({"id": "tough", "kind": "exec", "payload": payload, "timeout": "2s", "max_retry": 3}),
        ]);
        wait("report of the first attempt", None, || {
            let is_rejected = place.log().contains("came too late and changed nothing");
            let is_accepted = server.job("tough")["errors"].as_array().is_some_and(|errors| errors.len() > 1);
            (is_rejected || is_accepted).then_some(())
        });
        server.kill9();
        let (rows, _) = place.inspect("wal");
        let mut held = &Value::Null;
        for row in &rows {
            match row["type"].as_str() {
                Some("DISPATCH") => held = &row["data"]["token"],
                Some("RETRY" | "EXHAUST") if row["data"]["token"] != *held => {
                    return Err(format!("a report under a stale token was accepted: {row}"));
                }
                _ => {}
            }
        }
        Ok(())
    });
}

/// Row 58: a server that was killed when nothing was on its way leaves no torn tail.
#[test]
fn a_recycled_segment_without_a_salt_is_noticed() {
    is_noticed("RecycledWithoutSalt", "torn tail", |bug| {
        // Three times as much as a segment holds, so that old bytes are behind the end of the last one.
        let place = Place::new();
        let flags = ["--workers", "0", "--segment-bytes", "64KiB"];
        let server = start(&place, bug, &flags);
        let filler = "x".repeat(9_000);
        for number in 0..20 {
            server.enqueue([json!({"id": format!("job-{number}"), "kind": "noop", "payload": filler})]);
        }
        server.kill9();
        starts_again(&place, bug)?;
        match fs::read_dir(place.data("quarantine")).map_or(0, Iterator::count) {
            0 => Ok(()),
            _ => Err("it moved a torn tail to quarantine, and nothing was torn".to_owned()),
        }
    });
}

/// Rows 57 and 58: every 256 events the log says what the state sums up to.
#[test]
fn the_order_of_a_hash_map_is_noticed() {
    is_noticed("HashMapOrder", "(DIGEST) does not fit", |bug| {
        let place = Place::new();
        let server = start(&place, bug, &["--workers", "0"]);
        let delayed =
            (0..1_000).map(|number| json!({"id": format!("late-{number}"), "kind": "noop", "delay": 100}));
        server.enqueue(delayed);
        server.until("all jobs due", |status| status["jobs"]["pending"] == 1_000);
        server.enqueue((0..3_500).map(|number| json!({"id": format!("job-{number}"), "kind": "noop"})));
        server.kill9();
        starts_again(&place, bug)
    });
}
