//! `beaver inspect`: the log and the snapshot as JSON lines, live and stopped, whole, torn and damaged.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::files::{batches, edit, event_batches, flip, segments, snapshots, tear};
use crate::harness::{Place, wait};

/// A directory with ten completed jobs, left by a kill.
fn killed() -> Place {
    let place = Place::new();
    let server = place.start(&["--workers", "1"]);
    for number in 0..10 {
        server.enqueue([json!({"id": format!("job-{number}"), "kind": "noop"})]);
    }
    server.until_completed(10);
    // Idle for a moment, the log leaves a mark of what is durable; without it, the last batch is not proven.
    let segment = segments(&place).pop().unwrap();
    wait("mark in the log", None, || {
        let bytes = std::fs::read(&segment).unwrap();
        (batches(&bytes).last() != event_batches(&bytes).last()).then_some(())
    });
    server.kill9();
    place
}

#[test]
fn every_event_has_its_place_type_job_moment_and_checksum() {
    let place = Place::new();
    let server = place.start(&["--workers", "1", "--retry-backoff", "1ms"]);
    let fails = json!({"sleep_ms": 0, "fail_rate": 1});
    let sleeps = json!({"sleep_ms": 600_000});
    server.enqueue([
        json!({"id": "fails", "kind": "simulate", "payload": fails, "max_retry": 1}),
        json!({"id": "slow", "kind": "simulate", "payload": sleeps, "timeout": "20ms", "max_retry": 1}),
        json!({"id": "done", "kind": "noop"}),
        json!({"id": "cancelled", "kind": "nobody"}),
    ]);
    assert_eq!(server.request("DELETE", "/api/v1/jobs/cancelled", "").status, 200);
    server.until_job_is("fails", "dead");
    server.until_job_is("slow", "dead");
    server.until_job_is("done", "completed");

    // Live first, then what the kill left, then what a clean stop left.
    let (live, summary) = place.inspect("wal");
    assert_eq!(summary["verdict"], "whole", "{summary}");
    server.kill9();
    let (left, summary) = place.inspect("wal");
    assert_eq!((live, &summary["events"]), (left.clone(), &json!(left.len())));
    place.start(&["--workers", "1"]).terminate();
    // What a start adds is that it was one.
    let (mut after, _) = place.inspect("wal");
    assert_eq!(after.pop().unwrap()["type"], "TERM");
    assert_eq!(after, left);

    for (index, row) in left.iter().enumerate() {
        assert_eq!(row["seq"], index + 1, "{row}");
        row["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let checksum = row["checksum"].as_str().unwrap();
        assert!(checksum.len() == 8 && u32::from_str_radix(checksum, 16).is_ok(), "{row}");
        assert!(row["data"].is_object(), "{row}");
    }
    let types = |job: &str| -> Vec<&Value> {
        left.iter().filter(|row| row["job_id"] == job).map(|row| &row["type"]).collect()
    };
    assert_eq!(types("done"), ["ENQUEUE", "DISPATCH", "ACK"]);
    assert_eq!(types("fails"), ["ENQUEUE", "DISPATCH", "RETRY", "DISPATCH", "EXHAUST"]);
    assert_eq!(types("slow"), ["ENQUEUE", "DISPATCH", "RETRY", "DISPATCH", "EXHAUST"]);
    let reasons: Vec<_> = left
        .iter()
        .filter(|row| row["job_id"] == "slow" && row["data"].get("reason").is_some())
        .map(|row| &row["data"]["reason"])
        .collect();
    assert_eq!(reasons, ["timeout"; 2]);
    assert_eq!(types("cancelled"), ["ENQUEUE", "CANCEL"]);
    let all: BTreeSet<_> = left.iter().map(|row| row["type"].as_str().unwrap()).collect();
    assert!(all.contains("PROMOTE"), "{all:?}");
}

#[test]
fn a_snapshot_shows_every_job() {
    let place = killed();
    place.start(&["--workers", "1"]).terminate();
    let (rows, summary) = place.inspect("snapshot");
    assert_eq!((rows.len(), &summary["jobs"], &summary["verdict"]), (10, &json!(10), &json!("whole")));
    assert_eq!((&rows[3]["job_id"], &rows[3]["status"]), (&json!("job-3"), &json!("completed")));

    let snapshot = snapshots(&place).remove(0);
    flip(&snapshot, 100);
    let ran = place.beaver(&["inspect", "snapshot", "--data-dir", "data"]).exits(65);
    let told = ran.json_lines().pop().unwrap();
    assert_eq!(told["summary"]["verdict"], "damaged");
    ran.says(&["damaged", snapshot.file_name().unwrap().to_str().unwrap()]);
}

#[test]
fn an_unfinished_last_write_is_a_torn_tail_and_no_damage() {
    let place = killed();
    let segment = segments(&place).pop().unwrap();
    let (at, torn) = tear(&segment);
    let (rows, summary) = place.inspect("wal");
    assert_eq!((rows.len(), &summary["verdict"]), (31, &json!("torn_tail")), "{summary}");
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(summary["problem"].as_str().unwrap().contains(&format!("{name} at byte {at}")), "{summary}");

    let server = place.start(&["--workers", "1"]);
    let status = server.status();
    assert_eq!(
        (&status["recovery"]["torn_bytes"], &status["jobs"]["completed"]),
        (&json!(torn.len()), &json!(10))
    );
    assert_eq!(std::fs::read(place.data(&format!("quarantine/{name}-at-{at}.torn"))).unwrap(), torn);
    server.kill9();
    assert_eq!(place.inspect("wal").1["verdict"], "whole", "the tail was cut off for good");
}

#[test]
fn a_log_cut_in_its_last_batch_is_torn_and_one_cut_before_is_damaged() {
    let place = killed();
    let segment = segments(&place).pop().unwrap();
    let bytes = std::fs::read(&segment).unwrap();
    let all = event_batches(&bytes);
    let [.., before, last] = &all[..] else { panic!("{all:?}") };
    edit(&segment, |bytes| bytes.truncate(last.end - 1));
    let (rows, summary) = place.inspect("wal");
    assert_eq!(summary["verdict"], "torn_tail", "{summary}");
    assert!(rows.len() < 31);
    // The last batch says that the one before it was durable.
    edit(&segment, |cut| {
        bytes.clone_into(cut);
        cut[before.start..before.end].fill(0);
    });
    place.beaver(&["inspect", "wal", "--data-dir", "data"]).exits(65).says(&["damaged", "cannot be read"]);
}

#[test]
fn a_flipped_bit_in_what_was_durable_is_damage_wherever_it_is() {
    let place = killed();
    let segment = segments(&place).pop().unwrap();
    let bytes = std::fs::read(&segment).unwrap();
    let name = segment.file_name().unwrap().to_str().unwrap();
    let all = event_batches(&bytes);
    // First, last but one, last; magic, length, count, checksum, payload.
    for batch in [&all[0], &all[all.len() - 2], &all[all.len() - 1]] {
        for offset in [0, 5, 33, 41, 60] {
            edit(&segment, |damaged| {
                bytes.clone_into(damaged);
                damaged[batch.start + offset] ^= 0x10;
            });
            let ran = place.beaver(&["inspect", "wal", "--data-dir", "data"]).exits(65);
            let summary = ran.json_lines().pop().unwrap();
            assert_eq!(summary["summary"]["verdict"], "damaged");
            ran.says(&["damaged", name, &format!("at byte {}", batch.start)]);
        }
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_inspection_quietly() {
    let place = Place::new();
    let server = place.start(&["--workers", "0"]);
    server.enqueue((0..5_000).map(|number| json!({"id": format!("job-{number}"), "kind": "noop"})));
    let mut command = place.command();
    command.args(["inspect", "wal", "--data-dir", "data"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The start of the server, and the first job.
    let first: Vec<_> = BufReader::new(child.stdout.take().unwrap()).lines().take(2).collect();
    let output = child.wait_with_output().unwrap();
    assert!(first[1].as_ref().unwrap().contains("job-0"));
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
