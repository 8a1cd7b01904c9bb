//! A clock that may be wrong, as people see it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::Place;

/// A store whose last event is from the first day of 2026.
fn place_from_long_ago() -> Place {
    let place = Place::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("actors/tests/fixtures/format-1/small");
    for dir in ["", "wal", "snapshots"] {
        fs::create_dir_all(place.data(dir)).unwrap();
        for entry in fs::read_dir(fixture.join(dir)).unwrap().flatten() {
            if entry.path().is_file() {
                fs::copy(entry.path(), place.data(dir).join(entry.file_name())).unwrap();
            }
        }
    }
    place
}

/// Row 67.
#[test]
fn a_clock_that_nobody_vouches_for_is_told_everywhere_and_forgets_nothing_until_it_is_confirmed() {
    let place = place_from_long_ago();
    let flags = ["--workers", "0", "--dead-retention-age", "1d"];
    let unsynchronised = "export BEAVER_FAILPOINTS='clock.synchronised=eio@1+'";
    for start in 1..=2 {
        let server = place.start_under(unsynchronised, &flags);
        assert!(server.status()["clock"]["doubted_since"].as_str().unwrap().starts_with("2026-01-01T"));
        server.beaver(&place, &["clock"]).exits(0).prints(&["DOUBTED", "beaver clock confirm"]);
        server.beaver(&place, &["status"]).exits(0).prints(&["DOUBTED"]);
        assert!(server.get("/metrics").body.contains("\nqueue_clock_doubted 1\n"));
        assert_eq!(server.job("dead-0")["status"], json!("dead"), "start {start}");
        assert!(place.log().contains("`beaver clock confirm`"));
        assert_eq!(server.get("/readyz").status, 200, "new jobs are accepted");
        server.terminate();
    }
    let server = place.start_under(unsynchronised, &flags);
    let confirmed = server.beaver(&place, &["clock", "confirm", "--json"]).exits(0).json();
    assert_eq!(confirmed, json!({"was_doubted": true}));
    server.until("that it is forgotten", |status| status["jobs"]["dead"] == json!(0));
    server.beaver(&place, &["clock"]).exits(0).prints(&["believed"]);
    server.beaver(&place, &["clock", "confirm"]).exits(0).prints(&["nobody doubts the clock"]);
    assert_eq!(server.status()["clock"]["doubted_since"], Value::Null);
    assert!(server.get("/metrics").body.contains("\nqueue_clock_doubted 0\n"));
    server.terminate();
}
