//! `beaver doctor` on a real disk: what it says of damage, and a repair after which the server starts.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::damage::with_segments;
use crate::files::{durable_files, event_batches, files, flip, segments, snapshots, tear};
use crate::harness::{Place, Ran, run};

const DAMAGED: i32 = 65;
const DOCTOR: [&str; 3] = ["doctor", "--data-dir", "data"];

fn doctor(place: &Place, flags: &[&str]) -> Ran {
    place.beaver(&[&DOCTOR, flags].concat())
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// The files that repairs have put into quarantine, with their bytes.
fn quarantine(place: &Place) -> Vec<(String, Vec<u8>)> {
    let dirs = files(&place.data("quarantine"), "").into_iter().filter(|path| path.is_dir());
    let kept = dirs.flat_map(|dir| files(&dir, ""));
    kept.map(|path| (name(&path).to_owned(), fs::read(&path).unwrap())).collect()
}

#[test]
fn a_directory_left_by_a_kill_is_healthy_and_a_repair_leaves_it_as_it_is() {
    let place = with_segments();
    let before = durable_files(&place);
    let ran = doctor(&place, &[]).exits(0);
    assert!(ran.stdout.ends_with("\nhealthy\n"), "{}", ran.told());
    assert!(ran.stdout.contains("whole, sealed"), "{}", ran.told());
    let report = doctor(&place, &["--json"]).exits(0).json();
    assert_eq!(report["verdict"], json!({"is": "healthy"}));
    assert_eq!(report["segments"].as_array().unwrap().len(), segments(&place).len());
    for flags in [&["--repair"][..], &["--repair", "--accept-data-loss"]] {
        let ran = doctor(&place, flags).exits(0);
        assert!(ran.stdout.contains("there is nothing to repair"), "{}", ran.told());
    }
    assert_eq!(durable_files(&place), before);
    assert!(!place.data("quarantine").exists());

    let (at, torn) = tear(&segments(&place).pop().unwrap());
    let ran = doctor(&place, &[]).exits(0);
    let bytes = torn.len();
    let told = format!(
        "healthy after a crash: the next start will move {bytes} bytes to quarantine that were never synced"
    );
    assert!(ran.stdout.contains(&told), "{}", ran.told());
    assert!(ran.stdout.contains(&format!("torn tail at byte {at}")), "{}", ran.told());
}

#[test]
fn no_file_of_beavers_is_foreign_where_the_log_is_in_the_data_directory() {
    let place = Place::new();
    let server = place.start(&["--workers", "1", "--allow-exec", "--wal-path", "data"]);
    server.enqueue([json!({"id": "a", "kind": "noop"})]);
    server.kill9();
    for file in ["http.addr", "fwp.addr", "exec-id", "witness"] {
        assert!(place.data(file).exists(), "{file}");
    }
    fs::write(place.data("notes.txt"), "not beaver's").unwrap();
    let ran = run(place.command().args(DOCTOR).arg("--json").env("BEAVER_WAL_PATH", "data"), b"").exits(0);
    assert_eq!(ran.json()["foreign"], json!(["data/notes.txt"]), "{}", ran.told());
}

/// Row 20, and what comes after.
#[test]
fn a_flipped_byte_costs_what_the_doctor_says_and_the_rest_serves_again() {
    for sealed in [true, false] {
        let place = with_segments();
        let all = segments(&place);
        let damaged = if sealed { &all[1] } else { all.last().unwrap() };
        let batch = event_batches(&fs::read(damaged).unwrap())[1].clone();
        flip(damaged, batch.start + 100);
        let before = durable_files(&place);
        place.run_to_its_end(&["--workers", "1"]).exits(DAMAGED);

        let ran = doctor(&place, &[]).exits(DAMAGED).says(&["damaged"]);
        let at = format!("{}: event", name(damaged));
        let told = format!("DAMAGED at byte {}: payload checksum", batch.start);
        assert!(ran.stdout.contains(&at) && ran.stdout.contains(&told), "{}", ran.told());
        let report = doctor(&place, &["--json"]).exits(DAMAGED).json();
        let loss = &report["verdict"]["loss"];
        let (kept, events) = (count(loss, "jobs_kept"), count(loss, "events"));
        assert_eq!((kept + events, count(loss, "events_unreadable")), (12, 1), "one event a job: {loss}");

        let ran = doctor(&place, &["--repair"]).exits(DAMAGED).says(&["nothing was changed"]);
        assert!(ran.stdout.contains(&format!("you would lose {events} event")), "{}", ran.told());
        assert!(ran.stdout.contains("a repair would"), "{}", ran.told());
        assert_eq!(durable_files(&place), before);
        assert!(quarantine(&place).is_empty());

        let ran = doctor(&place, &["--repair", "--accept-data-loss"]).exits(0);
        assert!(
            ran.stdout.contains("repaired in ") && ran.stdout.contains("the originals are in"),
            "{}",
            ran.told()
        );
        let after = durable_files(&place);
        let originals = quarantine(&place);
        let mut changed = 0;
        for (path, original) in before.iter().filter(|(path, bytes)| after.get(*path) != Some(bytes)) {
            assert!(originals.contains(&(name(path).to_owned(), original.clone())), "{}", path.display());
            changed += 1;
        }
        assert!(changed > 0);
        assert_eq!(originals.len(), changed);
        doctor(&place, &[]).exits(0);

        let server = place.start(&["--workers", "1"]);
        server.until_completed(kept);
        for number in 0..kept {
            assert_eq!(server.job(&format!("job-{number}"))["status"], "completed");
        }
        assert_eq!(server.get(&format!("/api/v1/jobs/job-{kept}")).status, 404);
        server.enqueue([json!({"id": "after", "kind": "noop"})]);
        server.until_job_is("after", "completed");
        server.terminate();
        doctor(&place, &[]).exits(0);
    }
}

fn count(loss: &Value, what: &str) -> u64 {
    loss[what].as_u64().unwrap_or_else(|| panic!("no {what} in {loss}"))
}

#[test]
fn a_corrupted_snapshot_is_damage_that_costs_nothing() {
    let place = Place::new();
    let server = place.start(&["--workers", "1"]);
    server.enqueue((0..5).map(|number| json!({"id": format!("job-{number}"), "kind": "noop"})));
    server.until_completed(5);
    server.terminate();
    let snapshot = snapshots(&place).remove(0);
    flip(&snapshot, 100);
    let ran = doctor(&place, &[]).exits(DAMAGED);
    assert!(ran.stdout.contains("CORRUPTED") && ran.stdout.contains("nothing is lost"), "{}", ran.told());
    let ran = doctor(&place, &["--repair", "--accept-data-loss"]).exits(0);
    assert!(ran.stdout.contains("nothing was changed"), "{}", ran.told());
    assert_eq!(place.start(&["--workers", "1"]).count("completed"), 5);
}

#[test]
fn a_log_that_is_gone_comes_back_from_a_snapshot_or_not_at_all() {
    let place = Place::new();
    let server = place.start(&["--workers", "1"]);
    server.enqueue((0..5).map(|number| json!({"id": format!("job-{number}"), "kind": "noop"})));
    server.until_completed(5);
    server.terminate();
    fs::remove_dir_all(place.data("wal")).unwrap();
    doctor(&place, &["--repair", "--accept-data-loss"]).exits(0);
    let server = place.start(&["--workers", "1"]);
    assert_eq!(server.count("completed"), 5);
    server.enqueue([json!({"id": "after", "kind": "noop"})]);
    server.until_job_is("after", "completed");
    server.kill9();
    assert_eq!(place.start(&["--workers", "1"]).count("completed"), 6);

    let place = with_segments();
    fs::remove_dir_all(place.data("wal")).unwrap();
    doctor(&place, &["--repair", "--accept-data-loss"]).exits(DAMAGED).says(&["restore a backup"]);
}

#[test]
fn a_live_directory_and_an_empty_one_are_refused() {
    let place = Place::new();
    doctor(&place, &[]).exits(3).says(&["neither a log nor a snapshot"]);
    assert!(!place.data("lock").exists());
    doctor(&place, &["--accept-data-loss"]).exits(2).says(&["--repair"]);
    let server = place.start(&["--workers", "0"]);
    doctor(&place, &[]).exits(1).says(&["another beaver", "stop the server first"]);
    server.terminate();
    doctor(&place, &[]).exits(0);
}

/// Row 61: behind the damage stand jobs that nothing has ended. They are offered, and no others.
#[test]
fn jobs_of_whole_segments_behind_the_damage_can_be_added_again_unless_something_ended_them() {
    let place = with_segments();
    let server = place.start(&["--workers", "0", "--segment-bytes", "64KiB"]);
    let (late, gone) = ("late", "withdrawn-later");
    server.enqueue([
        json!({"id": late, "kind": "noop", "payload": [1.50, "\\u00e9"], "priority": 7, "timeout": "5s"}),
    ]);
    server.enqueue([json!({"id": gone, "kind": "noop"})]);
    assert_eq!(server.request("DELETE", &format!("/api/v1/jobs/{gone}"), "").status, 200);
    assert_eq!(server.request("DELETE", "/api/v1/jobs/job-11", "").status, 200);
    server.kill9();
    flip(&segments(&place)[0], 10_000);
    let ran = doctor(&place, &["--save-jobs", "saved"]).exits(DAMAGED);
    let saved = fs::read_to_string(place.path("saved")).unwrap();
    let jobs: Vec<Value> = saved.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let offered = format!("; {} jobs can be added again", jobs.len());
    assert!(ran.stdout.contains(&offered), "{}", ran.told());
    let ids: Vec<&str> = jobs.iter().map(|job| job["id"].as_str().unwrap()).collect();
    // What the damaged segment itself holds behind the damage is not offered.
    assert!(ids.len() > 3 && !ids.contains(&"job-0"), "{ids:?}");
    assert!(ids.contains(&"job-10") && !ids.contains(&"job-11") && !ids.contains(&gone), "{ids:?}");
    // It is never written over what is there.
    doctor(&place, &["--save-jobs", "saved"]).exits(1).says(&["saved", "exists"]);

    doctor(&place, &["--repair", "--accept-data-loss"]).exits(0);
    let server = place.start(&["--workers", "0"]);
    place.beaver(&["enqueue", "--url", &server.url(), "--file", "saved"]).exits(0);
    let again = server.job(late);
    assert_eq!((&again["priority"], &again["timeout_ms"]), (&json!(7), &json!(5_000)), "{again}");
    assert!(server.get(&format!("/api/v1/jobs/{late}")).body.contains(r#"[1.5"#));
    ids.iter().for_each(|id| assert_eq!(server.job(id)["status"], "pending", "{id}"));
}
