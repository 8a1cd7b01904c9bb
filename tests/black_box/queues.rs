//! Queues and sets of jobs: paused ones, retries by a job's own rules, and what is done to many jobs at once.

use serde_json::{Value, json};

use crate::fwp_client::{Fwp, job, start};
use crate::harness::{Place, Server, wait};
use crate::http_client::send;

/// A server that keeps what it gets.
fn keeper(place: &Place) -> Server {
    place.start(&["--workers", "0"])
}

fn fails(id: &str) -> Value {
    json!({"id": id, "kind": "simulate", "payload": {"sleep_ms": 0, "fail_rate": 1}, "max_retry": 0})
}

fn queue(server: &Server, name: &str) -> Value {
    let queues = server.get("/api/v1/queues").json();
    let found = queues.as_array().unwrap().iter().find(|queue| queue["queue"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {queues}")).clone()
}

fn ids(list: &Value) -> Vec<&str> {
    list["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect()
}

#[test]
fn a_paused_queue_keeps_its_jobs_through_a_kill_until_it_is_resumed() {
    let place = Place::new();
    let server = place.start(&["--workers", "2"]);
    server.enqueue([json!({"id": "first", "kind": "noop", "queue": "mail"})]);
    server.until_job_is("first", "completed");
    let paused = server.request("POST", "/api/v1/queues/mail/pause", "");
    assert_eq!((paused.status, paused.json()), (200, json!({"queue": "mail", "paused": true})));
    server.enqueue([
        json!({"id": "kept", "kind": "noop", "queue": "mail"}),
        json!({"id": "other", "kind": "noop", "queue": "other"}),
    ]);
    server.until_job_is("other", "completed");
    assert_eq!(server.job("kept")["status"], "pending");
    server.kill9();

    let server = place.start(&["--workers", "2"]);
    server.enqueue([json!({"id": "after", "kind": "noop", "queue": "other"})]);
    server.until_job_is("after", "completed");
    assert_eq!(server.job("kept")["status"], "pending");
    let mail = wait("some latency", None, || {
        Some(queue(&server, "mail")).filter(|mail| mail["latency_ms"].as_u64().unwrap() > 0)
    });
    assert_eq!((&mail["paused"], &mail["jobs"]["pending"]), (&json!(true), &json!(1)));
    let told = server.beaver(&place, &["status"]).exits(0).stdout;
    assert!(told.contains("mail (paused)") && told.contains("3 ended, 0 failed"), "{told}");

    server.request("POST", "/api/v1/queues/mail/resume", "");
    server.until_job_is("kept", "completed");
    assert_eq!(queue(&server, "mail")["paused"], false);
    assert_eq!(server.status()["totals"], json!({"processed": 4, "failed": 0}));
}

#[test]
fn queues_are_paused_resumed_and_removed_by_name_on_the_command_line() {
    let place = Place::new();
    let server = keeper(&place);
    server.enqueue([
        json!({"id": "a", "kind": "noop", "queue": "mail"}),
        json!({"id": "b", "kind": "noop", "queue": "mail"}),
        json!({"id": "c", "kind": "noop", "queue": "mail", "delay": "1h"}),
        json!({"id": "d", "kind": "noop", "queue": "reports"}),
    ]);
    let ran = server.beaver(&place, &["queues", "pause", "mail", "reports"]).exits(0);
    assert_eq!(ran.stdout, "paused mail\npaused reports\n");
    let ran = server.beaver(&place, &["queues", "resume", "reports", "--json"]).exits(0);
    assert_eq!(ran.json(), json!({"queue": "reports", "paused": false}));
    let told = server.beaver(&place, &["queues"]).exits(0).stdout;
    assert!(told.contains("mail (paused)") && !told.contains("reports (paused)"), "{told}");
    let listed = server.beaver(&place, &["queues", "list", "mail", "--json"]).exits(0).json_lines();
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0]["paused"], &listed[0]["jobs"]["scheduled"]), (&json!(true), &json!(1)));

    // One that does not exist: none of them is touched.
    server.beaver(&place, &["queues", "pause", "reports", "mal"]).exits(3).says(&["did you mean mail?"]);
    assert_eq!(queue(&server, "reports")["paused"], false);
    server.beaver(&place, &["queues", "remove", "mail"]).exits(2).says(&["--yes"]);
    let ran = server.beaver(&place, &["queues", "remove", "mail", "--yes"]).exits(0);
    assert_eq!(ran.stdout, "removed mail with 2 pending jobs\n");
    server.get("/api/v1/jobs/a").refuses(404, "not_found", &["no job a"]);
    let gone = server.request("DELETE", "/api/v1/queues/reports", "");
    assert_eq!(gone.json(), json!({"queue": "reports", "discarded": 1}));
    server.request("POST", "/api/v1/queues/reports/pause", "").refuses(
        404,
        "not_found",
        &["no queue reports"],
    );
    server.request("DELETE", "/api/v1/queues/a%20b", "").refuses(400, "bad_request", &["may only use"]);
}

/// Row 75.
#[test]
fn thousands_of_empty_queues_leave_a_status_readable_are_removed_by_a_pattern_and_go_by_themselves() {
    let place = Place::new();
    let server = place.start(&["--workers", "0", "--queue-idle-timeout", "3s"]);
    let job = |queue: String| json!({"kind": "noop", "queue": queue});
    server.enqueue((0..900).map(|number| job(format!("customer-{number}"))));
    server.enqueue([job("kept".to_owned()), job("paused".to_owned())]);
    server.beaver(&place, &["queues", "pause", "paused"]).exits(0);
    let told = server.beaver(&place, &["status"]).exits(0).stdout;
    assert!(told.lines().count() < 130 && told.contains("and 802 further queues"), "{told}");
    assert!(told.contains("paused (paused)"), "{told}");
    assert_eq!(server.get("/api/v1/status?queues=2").json()["left_out"]["queues"], 900);
    let page = server.get("/api/v1/queues?match=customer-1*&after=customer-10&limit=2").json();
    assert_eq!((&page[0]["queue"], &page[1]["queue"]), (&json!("customer-100"), &json!("customer-101")));
    assert_eq!(server.beaver(&place, &["queues", "--json"]).exits(0).json_lines().len(), 902);

    server.request("DELETE", "/api/v1/queues", "").refuses(400, "bad_request", &["?match=PATTERN"]);
    server.beaver(&place, &["queues", "remove", "nobody-*", "--yes"]).exits(3).says(&["no queue matches"]);
    let ran = server.beaver(&place, &["queues", "remove", "customer-?", "--yes"]).exits(0);
    assert_eq!(ran.stdout, "removed 10 queues (customer-?) with 10 pending jobs\n");
    let gone = server.request("DELETE", "/api/v1/queues?match=customer-[1-4]*", "").json();
    assert_eq!(gone, json!({"removed": 440, "discarded": 440}));

    // The others go by themselves when nobody uses them, and what is paused or has a job stays.
    let discard = ["jobs", "discard", "--status", "pending", "--match", "*customer*", "--yes"];
    assert_eq!(server.beaver(&place, &discard).exits(0).stdout, "discarded 450 jobs\n");
    let queues = |server: &Server| server.get("/api/v1/queues").json().as_array().unwrap().len();
    wait("the empty queues to be forgotten", None, || (queues(&server) == 2).then_some(()));
    server.kill9();
    assert_eq!(queues(&keeper(&place)), 2);
}

/// Row 75.
#[test]
fn every_door_names_the_limit_on_names_and_its_key_and_nothing_is_lost() {
    let place = Place::new();
    let server = start(&place, &["--queues-max", "2", "--kinds-max", "2"]);
    server.enqueue([
        json!({"id": "a", "kind": "some", "queue": "one"}),
        json!({"id": "b", "kind": "other", "queue": "two"}),
    ]);
    let queues = ["at most 2 queues", "queues_max"];
    let kinds = ["at most 2 kinds", "kinds_max"];
    let jobs = r#"[{"kind":"noop","queue":"two"},{"kind":"noop","queue":"three"}]"#;
    let refused = server.request("POST", "/api/v1/jobs", jobs);
    refused.refuses(429, "too_many_queues", &queues);
    assert_eq!(refused.json()["error"]["index"], 2);
    let fax = r#"{"kind":"fax","queue":"one"}"#;
    server.request("POST", "/api/v1/jobs", fax).refuses(429, "too_many_kinds", &kinds);
    let moved = r#"{"action":"move","status":"pending","to":"three"}"#;
    server.request("POST", "/api/v1/jobs/actions", moved).refuses(429, "too_many_queues", &queues);
    let enqueue = ["enqueue", "--kind", "noop", "--queue", "three"];
    server.beaver(&place, &enqueue).exits(5).says(&queues);
    server.beaver(&place, &["enqueue", "--kind", "fax", "--queue", "one"]).exits(5).says(&kinds);
    let mut fwp = Fwp::producer(&place);
    for command in ["PUSH", "PUSHB"] {
        let mut pushed = job("job-in-three");
        pushed["queue"] = json!("three");
        let pushed = if command == "PUSHB" { json!([pushed]) } else { pushed };
        let told = fwp.ask(&format!("{command} {pushed}"));
        assert!(told.starts_with("-ERR") && queues.iter().all(|text| told.contains(text)), "{told}");
    }
    assert_eq!(server.get("/api/v1/jobs?status=pending").json()["jobs"].as_array().unwrap().len(), 2);
    // The way out that it names.
    server.beaver(&place, &["queues", "remove", "two", "--yes"]).exits(0);
    server.beaver(&place, &enqueue).exits(0);
}

#[test]
fn without_a_server_queues_and_sets_are_changed_in_the_directory_itself() {
    let place = Place::new();
    let server = keeper(&place);
    server.enqueue([
        json!({"id": "a", "kind": "noop", "queue": "mail"}),
        json!({"id": "b", "kind": "noop", "queue": "other"}),
    ]);
    server.terminate();
    place.beaver(&["queues", "pause", "mail", "--offline", "--data-dir", "data"]).exits(0);
    let kill = ["jobs", "kill", "--status", "pending", "--queue", "other", "--offline", "--data-dir", "data"];
    assert_eq!(place.beaver(&kill).exits(0).stdout, "killed 1 job\n");
    let list = ["jobs", "list", "--status", "dead", "--json", "--offline", "--data-dir", "data"];
    assert_eq!(place.beaver(&list).exits(0).json()["id"], "b");
    place.beaver(&["workers", "--offline", "--data-dir", "data"]).exits(4).says(&["running server"]);
    let server = keeper(&place);
    assert_eq!(queue(&server, "mail")["paused"], true);
    assert_eq!(server.job("b")["status"], "dead");
}

#[test]
fn a_job_is_tried_again_by_its_own_rules() {
    let place = Place::new();
    // The server's own pauses would outlast the test.
    let server = place.start(&["--workers", "2", "--retry-backoff", "1h", "--retry-backoff-max", "1h"]);
    let fails = r#"{"sleep_ms":0,"fail_rate":1}"#;
    let fixed = r#"{"kind":"fixed","delay":"20ms"}"#;
    let args = ["enqueue", "--kind", "simulate", "--payload", fails, "--max-retry", "2", "--id"];
    let more = ["fixed", "--backoff", fixed, "--custom", r#"{"trace": [1]}"#];
    server.beaver(&place, &[&args[..], &more].concat()).exits(0);
    let more = ["dropped", "--backoff", fixed, "--exhausted", "drop"];
    server.beaver(&place, &[&args[..], &more].concat()).exits(0);
    server.beaver(&place, &[&args[..], &["quartic", "--backoff", "quartic"]].concat()).exits(0);

    let fixed = server.until_job_is("fixed", "dead");
    assert_eq!((&fixed["attempt"], &fixed["failed"]), (&json!(3), &json!(3)));
    assert_eq!(fixed["backoff"], json!({"kind": "fixed", "delay_ms": 20}));
    assert_eq!(fixed["custom"], json!({"trace": [1]}));
    let dropped = server.until_job_is("dropped", "cancelled");
    assert_eq!((dropped["attempt"].as_u64(), dropped["errors"].as_array().unwrap().len()), (Some(3), 3));
    let quartic = server.until_job_is("quartic", "retrying");
    assert_eq!(quartic["backoff"], json!({"kind": "quartic"}));
    let told = server.beaver(&place, &["status", "fixed"]).exits(0).stdout;
    for text in ["back-off", "custom", "trace", "simulated failure"] {
        assert!(told.contains(text), "{text} is missing in {told}");
    }
    server.kill9();
    let server = keeper(&place);
    assert_eq!(server.job("quartic")["backoff"], json!({"kind": "quartic"}));
    assert_eq!(server.job("fixed")["custom"], json!({"trace": [1]}));
    assert_eq!(server.job("dropped")["exhausted"], "drop");
    assert_eq!(server.status()["totals"], json!({"processed": 7, "failed": 7}));
}

#[test]
fn dead_jobs_are_listed_by_filter_and_made_to_run_again() {
    let place = Place::new();
    let server = place.start(&["--workers", "2"]);
    server.enqueue((0..5).map(|number| fails(&format!("dead-{number}"))));
    server.until("five dead jobs", |status| status["jobs"]["dead"] == 5);
    let list = server.get("/api/v1/jobs?status=dead&kind=simulate&queue=default").json();
    assert_eq!((ids(&list).len(), &list["more"]), (5, &json!(false)));
    let first = server.get("/api/v1/jobs?status=dead&limit=2").json();
    assert_eq!((ids(&first).len(), &first["more"]), (2, &json!(true)));
    let matched = server.get("/api/v1/jobs?status=dead&match=*%22jid%22%3A%22dead-3%22*").json();
    assert_eq!(ids(&matched), ["dead-3"]);
    assert!(ids(&server.get("/api/v1/jobs?status=dead&kind=mail").json()).is_empty());

    let ran = server.beaver(&place, &["jobs", "list", "--status", "dead", "--limit", "3"]).exits(0);
    assert!(ran.stdout.contains("dead-0") && ran.stdout.contains("simulated failure"), "{}", ran.told());
    assert!(ran.stderr.contains("there are more"), "{}", ran.told());
    let ran =
        server.beaver(&place, &["jobs", "list", "--status", "dead", "--id", "dead-4", "--json"]).exits(0);
    assert_eq!(ran.json(), server.job("dead-4"));

    let again = ["jobs", "run-now", "--status", "dead", "--match", "*\"jid\":\"dead-[12]\"*", "--json"];
    assert_eq!(server.beaver(&place, &again).exits(0).json(), json!({"changed": 2}));
    server.until("they have died again", |status| status["totals"]["processed"] == 7);
    assert_eq!(server.job("dead-1")["attempt"], 2);
    assert_eq!(server.job("dead-3")["attempt"], 1);
}

#[test]
fn what_is_done_to_a_set_is_done_to_those_jobs_and_to_no_other() {
    let place = Place::new();
    let server = keeper(&place);
    server.enqueue((0..3_000).map(|number| {
        let queue = if number % 3 == 0 { "a" } else { "b" };
        json!({"id": format!("job-{number}"), "kind": "mail", "queue": queue, "payload": {"to": number}})
    }));
    server.enqueue([json!({"id": "later", "kind": "mail", "delay": "1h"})]);
    let act = |body: Value| server.request("POST", "/api/v1/jobs/actions", body.to_string());
    let kill = act(json!({"action": "kill", "status": "pending", "filter": {"queue": "a"}}));
    assert_eq!((kill.status, kill.json()), (200, json!({"changed": 1_000})));
    let to = json!({"action": "move", "status": "dead", "filter": {"match": "*\"args\":\\[{\"to\":300}\\]*"}, "to": "c"});
    assert_eq!(act(to).json(), json!({"changed": 1}));
    assert_eq!(queue(&server, "c")["jobs"]["dead"], 1);
    let cancel =
        json!({"action": "cancel", "status": "pending", "filter": {"ids": ["job-1", "job-3", "nobody"]}});
    assert_eq!(act(cancel).json(), json!({"changed": 1}));
    assert_eq!(act(json!({"action": "run_now", "status": "scheduled"})).json(), json!({"changed": 1}));
    assert_eq!(act(json!({"action": "discard", "status": "dead"})).json(), json!({"changed": 1_000}));
    server.get("/api/v1/jobs/job-300").refuses(404, "not_found", &[]);
    let expected = [("pending", 2_000), ("dead", 0), ("cancelled", 1), ("scheduled", 0)];
    for (state, jobs) in expected {
        assert_eq!(server.count(state), jobs, "{state}");
    }
    server.kill9();
    let server = keeper(&place);
    for (state, jobs) in expected {
        assert_eq!(server.count(state), jobs, "{state} after a restart");
    }
}

#[test]
fn a_job_may_be_named_like_a_part_of_an_address() {
    let place = Place::new();
    let server = keeper(&place);
    server.enqueue([json!({"id": "actions", "kind": "noop"})]);
    assert_eq!(server.job("actions")["kind"], "noop");
    server.request("POST", "/api/v1/jobs/other", "{}").refuses(405, "method_not_allowed", &["POST"]);
    assert_eq!(server.request("DELETE", "/api/v1/jobs/actions", "").status, 200);
}

#[test]
fn requests_that_make_no_sense_are_refused_with_what_would() {
    let place = Place::new();
    let server = keeper(&place);
    server.enqueue([json!({"id": "a", "kind": "noop"})]);
    for (query, told) in [
        ("", "status is missing"),
        ("?status=ded", "did you mean \"dead\"?"),
        ("?status=dead&limt=1", "did you mean \"limit\"?"),
        ("?status=dead&limit=0", "1 to 1000"),
        ("?status=dead&queue=a%20b", "may only use"),
        ("?status=%FF", ""),
    ] {
        server.get(&format!("/api/v1/jobs{query}")).refuses(400, "bad_request", &[told]);
    }
    for (body, told) in [
        ("", "an object"),
        ("[]", "an object"),
        ("{", "EOF"),
        (r#"{"action":"kil","status":"pending"}"#, "did you mean \"kill\"?"),
        (r#"{"action":"discard","status":"dead","filtr":{}}"#, "unknown field `filtr`"),
        (r#"{"action":"kill","status":"completed"}"#, "cannot be killed"),
        (r#"{"action":"discard","status":"pending","filter":{"ids":[]}}"#, "ids is empty"),
        (r#"{"action":"move","status":"dead"}"#, "to is missing"),
    ] {
        server.request("POST", "/api/v1/jobs/actions", body).refuses(400, "bad_request", &[told]);
    }
    let origin = ["origin: https://example.org"];
    let all = br#"{"action":"discard","status":"pending"}"#;
    let answer = send(server.address(), "POST", "/api/v1/jobs/actions", &origin, all).unwrap();
    answer.refuses(403, "from_a_web_page", &[]);
    let answer = send(server.address(), "DELETE", "/api/v1/queues/default", &origin, b"").unwrap();
    answer.refuses(403, "from_a_web_page", &[]);
    for (args, told) in [
        (&["jobs", "discard", "--status", "pending"][..], "add --yes"),
        (&["jobs", "kill", "--status", "dead", "--yes"], "cannot be killed"),
        (&["jobs", "move", "--status", "dead"], "--to is missing"),
        (&["jobs", "list"], "--status"),
        (&["jobs", "lst", "--status", "dead"], "list"),
        (&["queues", "pause"], "no queue is named"),
        (&["workers", "quiet"], "no worker is named"),
        (&["enqueue", "--kind", "a", "--backoff", "quartik"], "did you mean \"quartic\"?"),
        (&["enqueue", "--kind", "a", "--exhausted", "dropp"], "did you mean \"drop\"?"),
        (&["enqueue", "--kind", "a", "--custom", "[1]"], "not an object"),
    ] {
        place.beaver(args).exits(2).says(&[told]);
    }
    for command in ["queues", "jobs", "workers"] {
        let help = place.beaver(&[command, "--help"]).exits(0).stdout;
        assert!(help.contains("Examples:") && help.contains("--json"), "{help}");
    }
    assert_eq!(server.count("pending"), 1);
}

#[test]
fn a_list_ends_where_it_becomes_too_long_and_says_so() {
    let place = Place::new();
    let server = keeper(&place);
    let text = "x".repeat(1_000_000);
    for number in 0..11 {
        server.enqueue([json!({"id": format!("job-{number}"), "kind": "noop", "payload": text})]);
    }
    let list = server.get("/api/v1/jobs?status=pending").json();
    assert_eq!((ids(&list).len(), &list["more"]), (9, &json!(true)));
}

#[test]
fn a_remote_worker_is_shown_as_a_connection_and_asked_to_stop() {
    let place = Place::new();
    let server = start(&place, &[]);
    let mut worker = Fwp::worker(&place, "w1");
    worker.push(&job("held0001"));
    assert_eq!(worker.fetch("default"), "held0001");
    let told = server.beaver(&place, &["workers"]).exits(0).stdout;
    assert!(told.contains("w1") && told.contains("running") && told.contains("test"), "{told}");
    let told = server.beaver(&place, &["status"]).exits(0).stdout;
    for text in ["1 worker, 1 job running; 1 connection, not actors", "remote[w1]", "process 7"] {
        assert!(told.contains(text), "{text} is missing in {told}");
    }
    let told = server.beaver(&place, &["status", "held0001"]).exits(0).stdout;
    assert!(told.contains("remote[w1]") && told.contains("quartic"), "{told}");
    let metrics = server.get("/metrics").body;
    for line in ["queue_remote_connections 1", "queue_remote_workers 1"] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} is missing in\n{metrics}");
    }

    let ran = server.beaver(&place, &["workers", "quiet", "w1"]).exits(0);
    assert_eq!(ran.stdout, "asked w1 to take no more jobs\n");
    assert_eq!(worker.json(r#"BEAT {"wid":"w1"}"#), json!({"state": "quiet"}));
    let ran = server.beaver(&place, &["workers", "terminate", "w1", "--json"]).exits(0);
    assert_eq!(ran.json(), json!({"wid": "w1", "state": "terminate"}));
    assert_eq!(worker.json(r#"BEAT {"wid":"w1","current_state":"quiet"}"#), json!({"state": "terminate"}));
    let ran = server.beaver(&place, &["workers", "--json"]).exits(0).json();
    assert_eq!((&ran["connections"], &ran["workers"][0]["state"]), (&json!(1), &json!("terminate")));
}

#[test]
fn a_set_that_remote_workers_fetch_from_can_be_paused_and_moved() {
    let place = Place::new();
    let server = start(&place, &[]);
    let mut worker = Fwp::worker(&place, "w1");
    worker.push(&job("kept0001"));
    worker.push(&job("moved001"));
    server.beaver(&place, &["queues", "pause", "default"]).exits(0);
    let moved =
        ["jobs", "move", "--status", "pending", "--match", "*\"args\":\\[\"moved001\",7\\]*", "--to", "slow"];
    assert_eq!(server.beaver(&place, &moved).exits(0).stdout, "moved 1 job\n");
    assert_eq!(worker.fetch("default slow"), "moved001");
    worker.ack("moved001");
    assert_eq!(server.job("kept0001")["status"], "pending");
    server.beaver(&place, &["queues", "resume", "default"]).exits(0);
    assert_eq!(worker.fetch("default slow"), "kept0001");
}

#[test]
fn remote_workers_that_are_not_there_cannot_be_asked_for_anything() {
    let place = Place::new();
    let server = keeper(&place);
    assert_eq!(server.get("/api/v1/workers").json(), json!({"connections": 0, "workers": []}));
    assert_eq!(server.status()["remote"], json!({"connections": 0, "workers": []}));
    let refused = server.request("POST", "/api/v1/workers/w1/quiet", "");
    refused.refuses(404, "not_found", &["no remote worker \"w1\" is connected"]);
    server.beaver(&place, &["workers", "terminate", "w1"]).exits(3).says(&["w1"]);
    assert_eq!(server.beaver(&place, &["workers"]).exits(0).stdout, "no workers; 0 connections\n");
    let metrics = server.get("/metrics").body;
    for line in ["queue_remote_connections 0", "queue_remote_workers 0"] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} is missing in\n{metrics}");
    }
}

/// Row 93.
#[test]
fn a_job_that_waits_says_why_it_waits() {
    let place = Place::new();
    let server = place.start(&["--workers", "1"]);
    server.enqueue([json!({"id": "first", "kind": "noop", "queue": "paused"})]);
    server.until_completed(1);
    server.beaver(&place, &["queues", "pause", "paused"]).exits(0);
    server.enqueue([
        json!({"id": "runs-long", "kind": "simulate", "payload": {"sleep_ms": 600_000}}),
        json!({"id": "parked", "kind": "letter", "queue": "paused"}),
        json!({"id": "foreign", "kind": "letter"}),
        json!({"id": "later", "kind": "noop", "delay": "1h"}),
    ]);
    server.until_job_is("runs-long", "in_flight");
    server.enqueue([json!({"id": "next", "kind": "noop"})]);
    let mut producer = Fwp::producer(&place);
    producer.push(&json!({"jid": "runs-long", "jobtype": "simulate", "args": [], "queue": "default"}));
    let waits = |id: &str| {
        let told = server.beaver(&place, &["status", id]).exits(0).stdout;
        let line = told.lines().find(|line| line.trim_start().starts_with("waits ")).unwrap_or_default();
        line.trim_start().trim_start_matches("waits").trim().to_owned()
    };
    assert!(waits("parked").starts_with("queue paused is paused"), "{}", waits("parked"));
    assert!(waits("foreign").contains("nobody takes jobs of kind \"letter\""), "{}", waits("foreign"));
    assert!(waits("later").starts_with("for its time, "), "{}", waits("later"));
    assert_eq!((waits("next").as_str(), waits("runs-long").as_str()), ("the only worker is busy", ""));
    assert!(server.beaver(&place, &["status", "runs-long"]).exits(0).stdout.contains("followed by"));
    let told = server.beaver(&place, &["status"]).exits(0).stdout;
    for reason in [
        "1 job waits: queue paused is paused",
        "1 job of kind \"letter\" waits: no worker here handles it",
        "1 job waits: the only worker is busy",
        "1 job waits for its time",
    ] {
        assert!(told.contains(reason), "{reason:?} is missing in {told}");
    }
    // While it drains, it starts nothing more; nobody can ask then but the same engine.
    server.kill9();
    let told = place.beaver(&["status", "next", "--offline", "--data-dir", "data"]).exits(0).stdout;
    assert!(told.contains("no server runs"), "{told}");
}
