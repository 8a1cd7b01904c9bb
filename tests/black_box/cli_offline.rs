//! The command line without a server: the data directory itself, under its lock.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::json;

use crate::harness::{Place, count, run};

#[test]
fn jobs_enqueued_offline_run_when_a_server_comes() {
    let place = Place::new();
    place.make_store();
    let args = ["enqueue", "--offline", "--data-dir", "data", "--kind", "noop"];
    let ran = place.beaver(&[&args[..], &["--id", "a"]].concat()).exits(0);
    assert_eq!(ran.stdout, "a\n");
    ran.says(&["no server was asked: working on data directly"]);
    let ran = place.beaver_with(
        &["enqueue", "--offline", "--data-dir", "data", "--file", "-", "--json"],
        "{\"id\": \"a\", \"kind\": \"noop\"}\n{\"id\": \"b\", \"kind\": \"noop\"}\n",
    );
    let told = [json!({"id": "a", "created": false}), json!({"id": "b", "created": true})];
    assert_eq!(ran.exits(0).json_lines(), told);

    let status = place.beaver(&["status", "--offline", "--data-dir", "data", "--json"]).exits(0).json();
    assert_eq!((count(&status, "pending"), &status["phase"]), (2, &json!("offline")));
    let job = place.beaver(&["status", "b", "--offline", "--data-dir", "data", "--json"]).exits(0).json();
    assert_eq!((&job["id"], &job["status"]), (&json!("b"), &json!("pending")));
    place.beaver(&["status", "c", "--offline", "--data-dir", "data"]).exits(3);
    place.beaver(&["cancel", "b", "--offline", "--data-dir", "data"]).exits(0);

    let server = place.start(&["--workers", "1"]);
    server.until_job_is("a", "completed");
    assert_eq!(server.job("b")["status"], "cancelled");
}

#[test]
fn without_a_url_and_a_server_the_directory_itself_is_used_and_that_is_said() {
    let place = Place::new();
    place.make_store();
    // A configured port that nobody listens on, so that no server of this machine is found by chance.
    place.write("beaver.yaml", "data_dir: data\nmetrics_port: 1\n");
    let status = place.beaver(&["status", "--json"]).exits(0).says(&["reading data directly"]).json();
    assert_eq!(count(&status, "pending"), 0);
    let ran = place.beaver(&["enqueue", "--kind", "noop", "--data-dir", "data"]).exits(0);
    ran.says(&["working on data directly"]);
}

/// Row 82.
#[test]
fn what_changes_something_makes_no_store_and_writes_to_none_that_was_not_named() {
    let place = Place::new();
    place.write("beaver.yaml", "metrics_port: 1\n");
    fs::create_dir(place.path("empty")).unwrap();
    let changes = [
        &["enqueue", "--kind", "noop"][..],
        &["enqueue", "--", "ls"],
        &["cancel", "x"],
        &["queues", "pause", "x"],
        &["queues", "resume", "x"],
        &["queues", "remove", "x", "--yes"],
        &["jobs", "run-now", "--status", "dead"],
        &["jobs", "kill", "--status", "pending", "--yes"],
        &["jobs", "discard", "--status", "dead", "--yes"],
        &["jobs", "move", "--status", "dead", "--to", "x"],
        &["workers", "quiet", "x"],
        &["output", "x"],
        &["status", "x"],
    ];
    let before = content(&place.path(""));
    for args in changes {
        for target in
            [&[][..], &["--offline"], &["--data-dir", "empty"], &["--offline", "--data-dir", "none"]]
        {
            let ran = place.beaver(&[args.split_at(1).0, target, args.split_at(1).1].concat()).exits(4);
            assert!(ran.stdout.is_empty() && ran.stderr.contains("hint: "), "{}", ran.told());
        }
    }
    assert!(content(&place.path("")) == before, "something was made");

    // One that is there is written to only when it is meant: the server may be restarting elsewhere.
    place.write("beaver.yaml", "data_dir: data\nmetrics_port: 1\n");
    place.make_store();
    let before = content(&place.path("data"));
    let enqueue = ["enqueue", "--kind", "noop"];
    place.beaver(&enqueue).exits(4).says(&["nothing was changed", "--offline works on data"]);
    assert!(content(&place.path("data")) == before);
    place.beaver(&[&enqueue[..], &["--offline"]].concat()).exits(0);
    place.beaver(&[&enqueue[..], &["--data-dir", "data"]].concat()).exits(0);
}

/// Row 82.
#[test]
fn a_variable_that_is_no_text_is_told_and_not_taken_for_one_that_is_not_set() {
    let place = Place::new();
    for (name, args) in [
        ("BEAVER_URL", &["enqueue", "--kind", "noop"][..]),
        ("BEAVER_URL", &["status"]),
        ("BEAVER_LOG", &["config"]),
        ("BEAVER_LOG_FORMAT", &["run"]),
        ("BEAVER_DATA_DIR", &["doctor"]),
    ] {
        let mut command = place.command();
        command.args(args).env(name, OsStr::from_bytes(b"http://b\xe8ver.example:1"));
        run(&mut command, b"").exits(2).says(&[name, "not UTF-8"]);
    }
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 0);
}

#[test]
fn asking_after_a_directory_that_is_not_there_creates_none() {
    let place = Place::new();
    for args in [&["status"][..], &["status", "x"], &["cancel", "x"]] {
        place.beaver(&[args, &["--data-dir", "data"]].concat()).exits(4).says(&["there is no data in data"]);
    }
    place.beaver(&["inspect", "wal", "--data-dir", "data"]).exits(3).says(&["not found"]);
    place.beaver(&["inspect", "snapshot", "--data-dir", "data"]).exits(3).says(&["not found"]);
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 0);
}

/// Every file and directory below, with its bytes and when it was last changed.
fn content(dir: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let changed = path.metadata().unwrap().modified().unwrap();
        if path.is_dir() {
            found.append(&mut content(&path));
        }
        found.insert(path.clone(), (changed, fs::read(&path).unwrap_or_default()));
    }
    found
}

/// Row 82.
#[test]
fn questions_after_a_kill_leave_every_byte_as_it_was_and_a_change_settles_what_was_interrupted() {
    let place = Place::new();
    let server = place.start(&["--workers", "1"]);
    server.enqueue([json!({"id": "slow", "kind": "simulate", "payload": {"sleep_ms": 600_000}})]);
    server.until_job_is("slow", "in_flight");
    server.enqueue([json!({"id": "next", "kind": "noop"})]);
    server.kill9();
    // It names an address where nobody answers any more.
    fs::remove_file(place.data("http.addr")).unwrap();
    let before = content(&place.path("data"));
    let ask = |args: &[&str]| place.beaver(&[args, &["--data-dir", "data"]].concat());
    let status = ask(&["status", "--json"]).exits(0).says(&["reading data directly"]).json();
    assert_eq!((count(&status, "in_flight"), &status["recovery"]["interrupted"]), (1, &json!(1)));
    ask(&["status"]).exits(0);
    assert_eq!(ask(&["status", "slow", "--json"]).exits(0).json()["status"], "in_flight");
    ask(&["status", "nobody"]).exits(3);
    assert_eq!(ask(&["jobs", "list", "--status", "pending", "--json"]).exits(0).json()["id"], "next");
    ask(&["queues"]).exits(0);
    ask(&["queues", "list", "nowhere"]).exits(3);
    ask(&["workers"]).exits(4);
    assert!(content(&place.path("data")) == before, "a question has changed something");

    ask(&["cancel", "next"]).exits(0).says(&["working on data directly"]);
    assert_eq!(ask(&["status", "slow", "--json"]).exits(0).json()["status"], "pending");
}

/// Row 82.
#[test]
fn a_question_makes_no_store_of_a_directory_that_is_none() {
    let place = Place::new();
    place.write("letter.txt", "dear");
    let here = place.path("");
    let before = content(&here);
    for args in [&["status"][..], &["status", "x"], &["jobs", "list", "--status", "dead"], &["queues"]] {
        place.beaver(&[args, &["--data-dir", "."]].concat()).exits(4).says(&["there is no data in ."]);
    }
    assert!(content(&here) == before);
}

#[test]
fn a_directory_that_a_server_holds_is_not_touched_behind_its_back() {
    let place = Place::new();
    let server = place.start(&["--workers", "0"]);
    let offline = ["enqueue", "--kind", "noop", "--offline", "--data-dir", "data"];
    place.beaver(&offline).exits(4).says(&["holds the lock of data", "--url"]);
    // Nor when its address is not known.
    fs::remove_file(place.data("http.addr")).unwrap();
    place
        .beaver(&["enqueue", "--kind", "noop", "--data-dir", "data"])
        .exits(4)
        .says(&["holds the lock of data"]);
    place.beaver(&["status", "--data-dir", "data"]).exits(4).says(&["holds the lock of data"]);
    assert_eq!(server.status()["log"]["seq"], 1, "only its start is in the log");
}

#[test]
fn a_second_server_on_the_same_directory_is_refused_and_the_first_serves_on() {
    let place = Place::new();
    let server = place.start(&["--workers", "1"]);
    let ran = place.run_to_its_end(&["--workers", "1"]).exits(1);
    ran.says(&["data: another beaver is using this data directory", "choose another --data-dir"]);
    server.enqueue([json!({"id": "a", "kind": "noop"})]);
    server.until_completed(1);
    assert!(place.data("http.addr").exists(), "the first server can still be found");
    place.beaver(&["status", "a", "--data-dir", "data"]).exits(0);
}

#[test]
fn a_port_in_use_is_told_before_anything_is_written() {
    let place = Place::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let ran = place.run_to_its_end(&["--metrics-port", &port]).exits(1);
    ran.says(&[&format!("cannot listen on 127.0.0.1:{port}"), "--metrics-port"]);
    assert!(!place.path("data").exists());
}

#[test]
fn a_directory_that_cannot_be_made_is_a_storage_failure_that_names_it() {
    let place = Place::new();
    // Not by permissions: they do not stop root, who may run these tests.
    place.write("file", "not a directory");
    place.run_to_its_end(&["--data-dir", "file/data"]).exits(74).says(&["file/data", "cannot create"]);
    let offline = ["enqueue", "--kind", "noop", "--offline", "--data-dir", "file/data"];
    place.beaver(&offline).exits(4).says(&["no data in file/data"]);
    let (ran, proc) = (place.run_to_its_end(&["--data-dir", "/proc/beaver"]), "/proc/beaver");
    ran.exits(74).says(&[proc]);
    assert_eq!(fs::read_to_string(place.path("file")).unwrap(), "not a directory");
}
