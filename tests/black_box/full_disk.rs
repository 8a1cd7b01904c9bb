//! A disk without space: new jobs are refused, accepted ones are done, and it goes on when there is space again.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{Place, run, wait};

/// A small file system of its own; unmounted when dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where this user may not mount; that is said in the test's output.
    pub(crate) fn mount_at(dir: PathBuf, size: &str) -> Option<SmallDisk> {
        fs::create_dir(&dir).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "beaver-test"]).arg(&dir);
        let is_mounted = mount.output().is_ok_and(|output| output.status.success());
        if !is_mounted {
            // Past the capture of the test's output: nobody shall think that this was tested.
            let told = "SKIPPED: a full disk, which needs a tmpfs that this user may not mount";
            let _ = writeln!(std::io::stderr(), "{told}");
        }
        is_mounted.then_some(SmallDisk(dir))
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut ballast = File::create(&path).unwrap();
        for piece in [1 << 16, 1 << 12, 1] {
            while ballast.write_all(&vec![1; piece]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that a failed test left may not be gone yet.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

const JOBS: u64 = 40;

#[test]
fn a_full_disk_refuses_new_jobs_finishes_accepted_ones_and_takes_jobs_again_after() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount_at(place.path("disk"), "16m") else { return };
    let flags = ["--data-dir", "disk/data", "--segment-bytes", "2MiB", "--snapshot-interval", "1h"];
    fs::create_dir(place.path("disk/data")).unwrap();
    std::os::unix::fs::symlink("disk/data", place.path("data")).unwrap();
    let server = place.start(&[&flags[..], &["--workers", "2"]].concat());
    let payload = json!({"sleep_ms": 50, "fail_rate": 0});
    server.enqueue(
        (0..JOBS).map(
            |number| json!({"id": format!("accepted-{number}"), "kind": "simulate", "payload": payload}),
        ),
    );
    let ballast = disk.fill();

    // What the log has reserved is used up first; then jobs are refused before they take the last space.
    let filler = "x".repeat(100_000);
    let mut accepted_late = 0;
    let refused = wait("a full disk", None, || {
        let id = format!("late-{accepted_late}");
        let answer = server.post(json!({"id": id, "kind": "noop", "payload": filler}).to_string());
        match answer.status {
            201 => accepted_late += 1,
            _ => return Some(answer),
        }
        None
    });
    refused.refuses(507, "disk_full", &["disk", "full"]);
    // Row 72: who asks whether it takes jobs hears the truth.
    let ready = server.get("/readyz");
    assert_eq!(ready.status, 503, "{}", ready.body);
    assert!(ready.body.contains("the disk of the log is full"), "{}", ready.body);
    assert!(server.get("/metrics").body.contains("\nqueue_accepts_jobs 0\n"));
    server.beaver(&place, &["enqueue", "--kind", "noop"]).exits(5).says(&["disk of the log is full"]);
    let status = server.status();
    assert_eq!(status["log"]["accepts_jobs"], false, "{status}");
    assert!(server.beaver(&place, &["status"]).exits(0).stdout.contains("THE DISK IS FULL"));
    // Everything that was accepted is done all the same.
    server.until_completed(JOBS + accepted_late);
    assert_eq!(server.get("/livez").status, 200);

    fs::remove_file(ballast).unwrap();
    wait("jobs taken again", None, || {
        let answer = server.post(r#"{"id": "after", "kind": "noop"}"#);
        (answer.status != 507).then(|| assert_eq!(answer.status, 201, "{}", answer.body))
    });
    assert_eq!(server.get("/readyz").status, 200);
    server.until_job_is("after", "completed");
    server.kill9();
    let server = place.start(&flags);
    assert_eq!(server.count("completed"), JOBS + accepted_late + 1);
    server.terminate();
}

/// Row 72.
#[test]
fn a_request_that_is_larger_than_what_the_disk_has_left_is_refused_and_holds_up_nobody() {
    let place = Place::new();
    let Some(_disk) = SmallDisk::mount_at(place.path("disk"), "20m") else { return };
    fs::create_dir(place.path("disk/data")).unwrap();
    std::os::unix::fs::symlink("disk/data", place.path("data")).unwrap();
    let flags = ["--data-dir", "disk/data", "--segment-bytes", "4MiB", "--snapshot-interval", "1h"];
    let server = place.start(&[&flags[..], &["--workers", "0"]].concat());
    let boulder = json!({"kind": "noop", "payload": "boulder ".repeat(100_000)});
    let request = |jobs: usize| server.post(vec![boulder.to_string(); jobs].join("\n"));
    for _ in 0..3 {
        request(35).refuses(507, "disk_full", &["full"]);
        // What does fit is taken, and the server is as ready as before.
        server.enqueue([json!({"kind": "noop", "payload": "pebble"})]);
        assert_eq!(server.get("/readyz").status, 200);
    }
    // More than a segment, and there is space for it.
    assert_eq!(request(6).status, 201);
    server.terminate();
    let server = place.start(&[&flags[..], &["--workers", "0"]].concat());
    assert_eq!(server.count("pending"), 9);
    server.terminate();
}

#[test]
fn a_disk_too_full_to_start_on_is_a_storage_failure_that_says_so() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount_at(place.path("disk"), "4m") else { return };
    let flags = ["--data-dir", "disk/data", "--segment-bytes", "1MiB"];
    let enqueue = ["enqueue", "--offline", "--data-dir", "disk/data", "--kind", "noop"];
    let mut server = place.start_in_passing(&[&flags[..], &["--workers", "0"]].concat(), Stdio::null());
    wait("a server", None, || fs::read(place.path("disk/data/http.addr")).ok());
    server.kill().unwrap();
    server.wait().unwrap();
    run(place.command().args(enqueue).args(["--id", "a"]).env("BEAVER_SEGMENT_BYTES", "1MiB"), b"").exits(0);
    let ballast = disk.fill();
    place.run_to_its_end(&flags).exits(74).says(&["disk/data", "full"]);
    fs::remove_file(ballast).unwrap();
    let mut status = place.command();
    status.args(["status", "a", "--offline", "--data-dir", "disk/data"]).env("BEAVER_SEGMENT_BYTES", "1MiB");
    run(&mut status, b"").exits(0);
}

#[test]
fn a_limit_on_file_sizes_is_a_storage_failure_that_says_so() {
    let place = Place::new();
    place.make_store();
    let enqueue = ["enqueue", "--offline", "--data-dir", "data", "--kind", "noop", "--id", "a"];
    place.beaver(&enqueue).exits(0);
    // Below the size of a segment, whether the shell's blocks have 512 bytes or 1 KiB.
    let limit = "ulimit -f 1000";
    for ran in [place.run_to_its_end_under(limit, &[]), place.beaver_under(limit, &enqueue)] {
        ran.exits(74).says(&["data/wal/", "File too large"]);
    }
    // A question writes nothing.
    place.beaver_under(limit, &["status", "--offline", "--data-dir", "data"]).exits(0);
    let server = place.start(&["--workers", "1"]);
    server.until_job_is("a", "completed");
}
