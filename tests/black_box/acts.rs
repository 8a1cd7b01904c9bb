//! What the server's log says of jobs that die and of what operators do.

use serde_json::json;

use crate::fwp_client::{Fwp, job, start};
use crate::harness::{Place, wait};

/// Row 92.
#[test]
fn the_log_tells_of_dead_jobs_and_of_each_thing_an_operator_does_with_who_asked_for_it() {
    let place = Place::new();
    let server = start(&place, &[]);
    let told = |what: &str, words: &[&str]| {
        wait(what, None, || {
            let log = place.log();
            log.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        })
    };
    let mut worker = Fwp::worker(&place, "w-1");
    let mut dead = job("job-that-dies");
    dead["retry"] = json!(0);
    worker.push(&dead);
    worker.fetch("default");
    let fail = json!({"jid": "job-that-dies", "errtype": "E", "message": "no such file\nsecond line", "backtrace": []});
    assert_eq!(worker.ask(&format!("FAIL {fail}")), "+OK");

    server.enqueue((0..3).map(|number| json!({"id": format!("j-{number}"), "kind": "a", "queue": "toast"})));
    let client = "\"by\":\"127.0.0.1:";
    for (args, words) in [
        (&["queues", "pause", "toast"][..], &["queue paused: toast"][..]),
        (&["queues", "resume", "toast"], &["queue resumed: toast"]),
        (&["cancel", "j-0"], &["job cancelled: j-0"]),
        (&["jobs", "kill", "--status", "pending", "--id", "j-1"], &["jobs changed: 1", "kill", "j-1"]),
        (&["jobs", "run-now", "--status", "dead", "--id", "j-1"], &["jobs changed: 1", "run_now"]),
        (
            &["jobs", "move", "--status", "pending", "--id", "j-1", "--to", "jam"],
            &["jobs changed: 1", "move", "jam"],
        ),
        (&["jobs", "discard", "--status", "pending", "--id", "j-1"], &["jobs changed: 1", "discard"]),
        (&["queues", "remove", "toast", "--yes"], &["queue removed: toast with 1 pending"]),
        (&["workers", "quiet", "w-1"], &["worker asked: w-1 to quiet"]),
        (&["workers", "terminate", "w-1"], &["worker asked: w-1 to terminate"]),
    ] {
        server.beaver(&place, args).exits(0);
        told("a line of an operator's act", &[words, &[client]].concat());
    }
    let mut producer = Fwp::producer(&place);
    for (line, words) in [
        (
            r#"MUTATE {"cmd":"discard","target":"retries","filter":{"jobtype":"x"}}"#,
            &["jobs changed: ", "retries"][..],
        ),
        ("QUEUE PAUSE default", &["queue paused: "]),
        ("FLUSH", &["flushed: all"]),
    ] {
        assert_eq!(producer.ask(line), "+OK", "{line}");
        told(line, &[words, &[client]].concat());
    }
    let refused = place.log().lines().count();
    server.beaver(&place, &["queues", "pause", "nowhere"]).exits(3);
    assert_eq!(place.log().lines().count(), refused, "what was refused is not told as done");
}

/// Row 92.
#[test]
fn a_job_that_used_up_its_attempts_is_told_with_its_error_and_a_thousand_of_a_kind_by_their_number() {
    let place = Place::new();
    let server = place.start(&["--workers", "4"]);
    let fails = json!({"sleep_ms": 0, "fail_rate": 1});
    server.enqueue((0..1_200).map(
        |number| json!({"id": format!("d-{number}"), "kind": "simulate", "payload": fails, "max_retry": 0}),
    ));
    server.until("all dead", |status| status["jobs"]["dead"] == 1_200);
    server.terminate();
    let log = place.log();
    let deaths: Vec<_> = log.lines().filter(|line| line.contains("a job is dead")).collect();
    let first: serde_json::Value = serde_json::from_str(deaths[0]).unwrap();
    assert_eq!((&first["level"], &first["kind"]), (&json!("WARN"), &json!("simulate")), "{first}");
    assert_eq!((&first["queue"], &first["attempts"]), (&json!("default"), &json!(1)), "{first}");
    assert!(first["job"].as_str().unwrap().starts_with("d-"), "{first}");
    assert_eq!(first["error"], "simulated failure (fail_rate 1)");
    // Several windows on a slow machine; not a line for each in any case.
    assert!((8..200).contains(&deaths.len()), "{}", deaths.len());
    assert!(deaths.iter().any(|line| line.contains("\"left_out\":100")), "{deaths:?}");
}
