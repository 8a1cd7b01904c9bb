//! Files are damaged under a server that runs: what it has said yes to is there, and service resumes by itself.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::json;

use crate::files::{files, flip, segments, snapshots};
use crate::harness::{Place, Server, wait};

const FLAGS: [&str; 6] = ["--workers", "0", "--segment-bytes", "64KiB", "--snapshot-interval", "200ms"];

/// Adds jobs one by one until the server has found the damage and got over it; how many it has said yes to in all.
fn add_until_mended(place: &Place, server: &Server, payload_bytes: usize, mut damage: impl FnMut()) -> u64 {
    let mut accepted = 0;
    wait("the state to be written out anew", Some(&place.path("server.log")), || {
        let job = json!({"id": format!("job-{accepted}"), "kind": "bell", "payload": {"tone": "x".repeat(payload_bytes)}});
        let answer = server.post(job.to_string());
        match answer.status {
            201 => accepted += 1,
            status => {
                assert_eq!(status, 503, "{}", answer.body);
                assert!(answer.body.contains("damaged"), "{}", answer.body);
            }
        }
        damage();
        (counted(server, "queue_rescues_total") > 0).then_some(())
    });
    wait("it to be ready again", None, || (server.get("/readyz").status == 200).then_some(()));
    accepted
}

/// A counter of the server's metrics.
fn counted(server: &Server, name: &str) -> u64 {
    let page = server.get("/metrics").body;
    let mut values = page.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    values.next().unwrap_or_else(|| panic!("no {name} in {page}"))
}

fn quarantined(place: &Place, ending: &str) -> Vec<PathBuf> {
    files(&place.data("quarantine"), ending)
}

/// Row 61.
#[test]
fn a_sealed_segment_that_is_damaged_under_a_running_server_costs_nothing() {
    let place = Place::new();
    // Three jobs fill a segment, and a snapshot folds several.
    let flags = ["--workers", "0", "--segment-bytes", "64KiB", "--snapshot-interval", "2s"];
    let server = place.start(&flags);
    let mut next_flip = 0;
    let accepted = add_until_mended(&place, &server, 20_000, || {
        // If a snapshot had just read it, nobody reads it again: two snapshots later it is another one's turn.
        let taken = counted(&server, "queue_snapshots_total");
        if let [.., newest, _] = segments(&place).as_slice()
            && taken >= next_flip
        {
            flip(newest, 200);
            next_flip = taken + 2;
        }
    });
    assert_eq!(server.count("pending"), accepted);
    assert!(!quarantined(&place, ".wal").is_empty(), "what was damaged is kept");
    server.terminate();
    assert_eq!(place.start(&flags).count("pending"), accepted);
}

/// Row 61.
#[test]
fn snapshots_that_are_all_damaged_under_a_running_server_cost_nothing() {
    for is_killed in [false, true] {
        let place = Place::new();
        let server = place.start(&FLAGS);
        let mut early = 0;
        wait("two snapshots", None, || {
            server.enqueue([json!({"id": format!("early-{early}"), "kind": "bell"})]);
            early += 1;
            (snapshots(&place).len() >= 2).then_some(())
        });
        // In their headers.
        snapshots(&place).iter().for_each(|path| flip(path, 20));
        let accepted = add_until_mended(&place, &server, 10, || {});
        assert!(!quarantined(&place, ".snap").is_empty(), "what was damaged is kept");
        match is_killed {
            true => server.kill9(),
            false => server.terminate(),
        }
        assert_eq!(place.start(&FLAGS).count("pending"), early + accepted);
    }
}

/// Row 61: what cannot be mended is told as long as the server runs, and by its exit code.
#[test]
fn damage_that_cannot_be_mended_keeps_the_server_unready_and_ends_it_with_65() {
    let place = Place::new();
    let mut server = place.start(&FLAGS);
    wait("two snapshots", None, || {
        server.enqueue([json!({"kind": "bell"})]);
        (snapshots(&place).len() >= 2).then_some(())
    });
    snapshots(&place).iter().for_each(|path| flip(path, 20));
    // Every file that it could write its state to is a directory already.
    let status = server.status();
    let seq = status["log"]["seq"].as_u64().unwrap();
    for last in seq..seq + 400 {
        fs::create_dir_all(place.data(&format!("snapshots/{last:020}.snap.partial"))).unwrap();
    }
    let refused = wait("new jobs to be refused", None, || {
        let answer = server.post(json!({"kind": "bell"}).to_string());
        (answer.status == 503 && answer.body.contains("damaged")).then_some(answer)
    });
    assert!(refused.body.contains("written out anew"), "{}", refused.body);
    assert_eq!(server.get("/readyz").status, 503);
    assert_eq!(server.status()["log"]["refusal"], "damaged");
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(65), "{}", place.log());
}
