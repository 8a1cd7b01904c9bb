//! Somebody moves or removes a server's files while it runs.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::harness::{Place, wait};
use crate::http_client::request;

const DURABILITIES: [&[&str]; 3] =
    [&[], &["--durability", "interval", "--sync-interval", "50ms"], &["--durability", "never"]];

/// What can be taken away, by its path in the data directory.
const TAKEN: [&str; 3] = ["", "wal", "wal/0000000001.wal"];

/// Row 70: in each of its modes, and whether it is removed or moved to where the next start would not look.
#[test]
fn a_server_whose_log_was_taken_away_says_no_and_ends_instead_of_accepting_jobs_into_nothing() {
    for durability in DURABILITIES {
        for taken in TAKEN {
            let place = Place::new();
            let mut server = place.start(&[&["--workers", "0"], durability].concat());
            server.enqueue([json!({"id": "before", "kind": "noop"})]);
            let path: PathBuf = if taken.is_empty() { place.path("data") } else { place.data(taken) };
            match path.is_dir() {
                true => fs::remove_dir_all(&path).unwrap(),
                false => fs::rename(&path, place.path("elsewhere")).unwrap(),
            }
            // With `always`, the first one is not accepted any more; else the log notices within a second.
            let mut accepted = 0;
            wait("its end", Some(&place.path("server.log")), || {
                let answer = request(server.address(), "POST", "/api/v1/jobs", br#"{"kind":"noop"}"#);
                accepted += u32::from(answer.as_ref().is_ok_and(|answer| answer.status == 201));
                answer.is_err().then_some(())
            });
            let ended = server.ended();
            assert_eq!(ended.code(), Some(74), "{durability:?} {taken:?}: {}", place.log());
            assert!(!durability.is_empty() || accepted == 0, "{taken:?}: {accepted} accepted");
            let told = place.log();
            assert!(
                told.contains("the server's log is not there any more"),
                "{durability:?} {taken:?}: {told}"
            );
        }
    }
}

/// Row 70: its files go with their directory, and nothing of it comes into what has the name now.
#[test]
fn a_server_whose_directory_was_moved_goes_on_in_it_and_leaves_the_one_in_its_place_alone() {
    let place = Place::new();
    let flags = ["--workers", "0", "--snapshot-interval", "100ms"];
    let first = place.start(&flags);
    first.enqueue([json!({"id": "first", "kind": "noop"})]);
    fs::rename(place.path("data"), place.path("moved")).unwrap();
    let second = place.start(&flags);
    // Segments are a MiB: each of them begins some.
    let payload = "granite ".repeat(60_000);
    for number in 0..4 {
        for (server, name) in [(&first, "old"), (&second, "new")] {
            server.enqueue([json!({"id": format!("{name}-{number}"), "kind": "noop", "payload": payload})]);
        }
    }
    for server in [&first, &second] {
        server.until("a snapshot of them", |status| status["snapshot"]["seq"].as_u64() > Some(4));
    }
    first.kill9();
    second.kill9();
    let pending = || {
        let server = place.start(&["--workers", "0"]);
        let pending = server.count("pending");
        server.terminate();
        pending
    };
    assert_eq!(pending(), 4);
    fs::rename(place.path("data"), place.path("looked-at")).unwrap();
    fs::rename(place.path("moved"), place.path("data")).unwrap();
    assert_eq!(pending(), 5);
}
