//! The command line against a running server: what goes in, what comes out, how it ends.

use serde_json::{Value, json};

use crate::harness::{Place, Server, count};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

fn server(place: &Place) -> Server {
    place.start(&["--workers", "2"])
}

/// A server that keeps what it gets.
fn keeper(place: &Place) -> Server {
    place.start(&["--workers", "0"])
}

#[test]
fn a_file_may_hold_an_array_an_object_or_one_object_a_line() {
    let place = Place::new();
    let server = keeper(&place);
    let files = [
        (r#"[{"id": "a1", "kind": "noop"}, {"id": "a2", "kind": "noop"}]"#, "a1\na2\n"),
        ("{\n  \"id\": \"b1\",\n  \"kind\": \"noop\"\n}\n", "b1\n"),
        ("{\"id\": \"c1\", \"kind\": \"noop\"}\n\n{\"id\": \"c2\", \"kind\": \"noop\"}\n", "c1\nc2\n"),
    ];
    for (content, ids) in files {
        let file = place.write("jobs", content);
        let ran = server.beaver(&place, &["enqueue", "--file", &file]).exits(0);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (ids, ""));
    }
    let args = ["enqueue", "--url", &server.url(), "--file", "-", "--json"];
    let ran = place
        .beaver_with(&args, "{\"id\": \"d1\", \"kind\": \"noop\"}\n{\"id\": \"a1\", \"kind\": \"noop\"}\n")
        .exits(0);
    let told = [json!({"id": "d1", "created": true}), json!({"id": "a1", "created": false})];
    assert_eq!(ran.json_lines(), told);
    assert_eq!(server.count("pending"), 6);
}

#[test]
fn thousands_of_lines_from_stdin_get_an_id_each() {
    let place = Place::new();
    let server = keeper(&place);
    let lines = "{\"kind\": \"noop\", \"payload\": {\"a\": [1, 2, 3]}}\n".repeat(5_000);
    let ran = place.beaver_with(&["enqueue", "--url", &server.url(), "--file", "-"], &lines).exits(0);
    let ids: std::collections::BTreeSet<_> = ran.stdout.lines().collect();
    assert_eq!(ids.len(), 5_000);
    assert_eq!(server.count("pending"), 5_000);
    assert_eq!(server.job(ids.first().unwrap())["payload"], json!({"a": [1, 2, 3]}));
}

#[test]
fn a_bad_line_is_named_and_nothing_of_its_file_is_enqueued() {
    let place = Place::new();
    let server = keeper(&place);
    for (content, told) in [
        (
            "{\"id\": \"a\", \"kind\": \"noop\"}\n{\"id\": \"b\", \"kind\": \"noop\"}\n{\"id\": 3}\n",
            &["jobs: line 3", "\"id\"", "not a string"][..],
        ),
        (
            "{\"id\": \"a\", \"kind\": \"noop\"}\n\n{\"id\": \"b\", \"kind\": \"noop\", \"prioritty\": 3}\n",
            &["line 3", "prioritty", "did you mean \"priority\"?"],
        ),
        (
            "{\"id\": \"a\", \"kind\": \"noop\"}\n{\"id\": \"b\", \"kind\": \"noop\"\n{\"id\": \"c\", \"kind\": \"noop\"}\n",
            &["line 2"],
        ),
        (
            "[{\"id\": \"a\", \"kind\": \"noop\"},\n {\"id\": \"b\", \"kind\": \"noop\", \"priority\": 10}]",
            &["line 2", "priority", "0 to 9"],
        ),
        ("{\"id\": \"a\", \"kind\": \"noop\"}\nnot json\n", &["line 2"]),
        ("", &["no jobs"]),
    ] {
        let file = place.write("jobs", content);
        server
            .beaver(&place, &["enqueue", "--file", &file])
            .exits(5)
            .says(told)
            .says(&["nothing was enqueued"]);
    }
    let file = place.write("jobs", b"{\"id\": \"a\", \"kind\": \"noop\"}\n\xff\n");
    server.beaver(&place, &["enqueue", "--file", &file]).exits(5).says(&["line 2", "not UTF-8"]);
    // What only the server can refuse is all or nothing as well.
    let too_large =
        format!("{{\"kind\":\"a\"}}\n{{\"kind\":\"a\",\"payload\":\"{}\"}}\n", "x".repeat(2 << 20));
    let file = place.write("jobs", too_large);
    server.beaver(&place, &["enqueue", "--file", &file]).exits(5).says(&["payload_bytes_max"]);
    assert_eq!(server.status()["log"]["seq"], 1, "only its start is in the log");
}

#[test]
fn flags_describe_one_job_and_a_program_becomes_an_exec_job() {
    let place = Place::new();
    let server = keeper(&place);
    let args =
        ["enqueue", "--kind", "mail", "--payload", r#"{"to":"ann"}"#, "--id", "order-17", "--queue", "out"];
    let more = ["--priority", "9", "--delay", "5m", "--max-retry", "7", "--timeout", "90s"];
    let ran = server.beaver(&place, &[&args[..], &more].concat()).exits(0);
    assert_eq!(ran.stdout, "order-17\n");
    let job = server.job("order-17");
    let expected = json!({
        "kind": "mail", "payload": {"to": "ann"}, "queue": "out", "priority": 9, "max_retry": 7,
        "timeout_ms": 90_000, "status": "scheduled", "attempt": 0,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&job[key], value, "{key} of {job}");
    }
    // Again with the same id: nothing is added.
    let ran = server.beaver(&place, &[&args[..], &["--json"]].concat()).exits(0);
    assert_eq!(ran.json(), json!({"id": "order-17", "created": false}));

    let args = ["enqueue", "--id", "x", "--env", "A=b", "--cwd", "sub", "--", "ls", "-l", "--file"];
    server.beaver(&place, &args).exits(0);
    let cwd = place.path("sub");
    let payload = json!({"command": ["ls", "-l", "--file"], "env": {"A": "b"}, "cwd": cwd});
    assert_eq!((&server.job("x")["kind"], &server.job("x")["payload"]), (&json!("exec"), &payload));
}

#[test]
fn status_shows_the_queue_and_single_jobs_for_people_and_programs() {
    let place = Place::new();
    let server = server(&place);
    let fails = json!({"sleep_ms": 0, "fail_rate": 1});
    server.enqueue([
        json!({"id": "done", "kind": "noop"}),
        json!({"id": "dead", "kind": "simulate", "payload": fails, "max_retry": 0, "queue": "other"}),
        json!({"id": "later", "kind": "noop", "delay": "1h"}),
    ]);
    server.until_completed(1);
    server.until_job_is("dead", "dead");
    let status = server.beaver(&place, &["status", "--json"]).exits(0).json();
    let jobs = json!({
        "pending": 0, "scheduled": 1, "in_flight": 0, "retrying": 0, "completed": 1, "dead": 1, "cancelled": 0,
    });
    assert_eq!(status["jobs"], jobs);
    assert_eq!((&status["workers"]["count"], &status["phase"]), (&json!(2), &json!("serving")));
    assert_eq!(status["queues"].as_array().unwrap().len(), 2);
    let told = server.beaver(&place, &["status"]).exits(0).stdout;
    for text in ["other", "(all)", "workers", "snapshot", "log", "recovery"] {
        assert!(told.contains(text), "{text} is missing in {told}");
    }
    let told = server.beaver(&place, &["status", "dead"]).exits(0).stdout;
    for text in ["dead", "simulated failure", "attempt 1", "fail_rate"] {
        assert!(told.contains(text), "{text} is missing in {told}");
    }
    let job = server.beaver(&place, &["status", "done", "--json"]).exits(0).json();
    assert_eq!(job, server.job("done"));
    server.beaver(&place, &["status", "nobody"]).exits(3).says(&["no job nobody"]);
}

#[test]
fn cancel_withdraws_what_has_not_ended() {
    let place = Place::new();
    let server = server(&place);
    server.enqueue([
        json!({"id": "done", "kind": "noop"}),
        json!({"id": "waits", "kind": "nobody"}),
        json!({"id": "runs", "kind": "simulate", "payload": {"sleep_ms": 600_000}}),
    ]);
    server.until_job_is("runs", "in_flight");
    server.until_job_is("done", "completed");
    let ran = server.beaver(&place, &["cancel", "waits", "--json"]).exits(0);
    assert_eq!(ran.json(), json!({"id": "waits", "status": "cancelled"}));
    server.beaver(&place, &["cancel", "runs"]).exits(0);
    server.beaver(&place, &["cancel", "done"]).exits(5).says(&["already completed"]);
    server.beaver(&place, &["cancel", "nobody"]).exits(3);
    assert_eq!(server.count("cancelled"), 2);
    server.until("free workers", |status| status["workers"]["idle"] == 2);
}

#[test]
fn a_url_that_does_not_answer_is_exit_4_and_nothing_is_written() {
    let place = Place::new();
    for args in [
        &["enqueue", "--kind", "noop", "--url", NOWHERE][..],
        &["enqueue", "--kind", "noop", "--url", NOWHERE, "--data-dir", "data"],
        &["status", "--url", NOWHERE],
        &["cancel", "x", "--url", NOWHERE],
    ] {
        place.beaver(args).exits(4).says(&["no server at http://127.0.0.1:1"]);
    }
    let mut command = place.command();
    command.args(["enqueue", "--kind", "noop"]).env("BEAVER_URL", NOWHERE);
    crate::harness::run(&mut command, b"").exits(4);
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 0);
}

#[test]
fn a_server_is_found_by_its_variable_and_by_its_directory() {
    let place = Place::new();
    let server = keeper(&place);
    let mut command = place.command();
    command.args(["enqueue", "--kind", "noop", "--id", "a"]).env("BEAVER_URL", server.url());
    crate::harness::run(&mut command, b"").exits(0);
    place.beaver(&["enqueue", "--kind", "noop", "--id", "b", "--data-dir", "data"]).exits(0);
    assert_eq!(
        count(&place.beaver(&["status", "--json", "--data-dir", "data"]).exits(0).json(), "pending"),
        2
    );
}

#[test]
fn a_command_line_that_makes_no_sense_is_exit_2_and_says_what_would() {
    let place = Place::new();
    for (args, told) in [
        (&[][..], "Usage: beaver"),
        (&["enqueue"], "--file"),
        (&["enqueue", "--kind", "a", "--file", "b"], "cannot be used with"),
        (&["enqueue", "--kind", "a", "--priority", "10"], "0..=9"),
        (&["enqueue", "--kind", "a", "--payload", "{"], "--payload"),
        (&["enqueue", "--kind", "a", "--delay", "soon"], "delay"),
        (&["enqueue", "--kind", "a", "--id", "bad\nid"], "id"),
        (&["enqueue", "--kind", "a", "--url", "ftp://x"], "http://"),
        (&["status", "--url", "x", "--offline"], "cannot be used with"),
        (&["run", "--workers", "many"], "worker"),
        (&["run", "--task-timeout", "5 parsecs"], "task"),
        (&["frobnicate"], "unrecognized subcommand"),
    ] {
        place.beaver(args).exits(2).says(&[told]);
    }
    for args in [&["--help"][..], &["--version"], &["run", "--help"], &["enqueue", "--help"]] {
        let ran = place.beaver(args).exits(0);
        assert!(ran.stderr.is_empty() && !ran.stdout.is_empty(), "{}", ran.told());
    }
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 0);
}

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let place = Place::new();
    place.write("beaver.yaml", "worker_count: 2\nmax_retry: 2\ntask_timeout: 2s\n");
    let mut command = place.command();
    command.args(["config", "--json", "--workers", "4"]);
    command.env("BEAVER_WORKER_COUNT", "3").env("BEAVER_MAX_RETRY", "3");
    let config = crate::harness::run(&mut command, b"").exits(0).json();
    let entry = |key: &str| {
        let entry = &config["values"][key];
        (entry["value"].clone(), entry["origin"].as_str().unwrap().to_owned())
    };
    assert_eq!(entry("worker_count"), (json!(4), "flag --workers".into()));
    assert_eq!(entry("max_retry"), (json!(3), "env BEAVER_MAX_RETRY".into()));
    let (task_timeout, origin) = entry("task_timeout");
    assert_eq!(task_timeout, "2s");
    assert!(origin.ends_with("beaver.yaml:3"), "{origin}");
    assert_eq!(entry("snapshot_interval"), (json!("1m"), "default".into()));

    place.write("beaver.yaml", "worker_count: 2\nmax_retri: 2\n");
    place.beaver(&["run"]).exits(2).says(&["beaver.yaml", "2", "max_retri", "max_retry"]);
    place.write("beaver.yaml", "task_timeout: soon\n");
    place.beaver(&["run"]).exits(2).says(&["beaver.yaml", "1", "task_timeout", "soon"]);
}

#[test]
fn jobs_of_a_queue_run_by_priority_and_then_in_their_order() {
    let place = Place::new();
    let server = place.start(&["--workers", "1"]);
    let priorities = [5, 0, 9, 5, 9, 0];
    server.enqueue(priorities.iter().enumerate().map(|(number, priority)| {
        json!({"id": format!("{priority}-{number}"), "kind": "noop", "priority": priority})
    }));
    server.until_completed(6);
    server.kill9();
    let (rows, _) = place.inspect("wal");
    let started: Vec<&Value> =
        rows.iter().filter(|row| row["type"] == "DISPATCH").map(|row| &row["job_id"]).collect();
    assert_eq!(started, ["9-2", "9-4", "5-0", "5-3", "0-1", "0-5"]);
}
