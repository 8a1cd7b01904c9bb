//! The HTTP interface as programs meet it: health, metrics, answers.

use std::io::Write;

use serde_json::json;

use crate::harness::{Place, Server};
use crate::http_client::{Answer, connect, receive, send};

#[test]
fn health_and_metrics_have_their_promised_names() {
    let place = Place::new();
    let server = place.start(&["--workers", "2", "--snapshot-interval", "20ms"]);
    server.enqueue((0..10).map(|number| json!({"id": format!("job-{number}"), "kind": "noop"})));
    let fails = json!({"sleep_ms": 0, "fail_rate": 1});
    server.enqueue([
        json!({"id": "dead", "kind": "simulate", "payload": fails, "max_retry": 0}),
        json!({"id": "waits", "kind": "nobody"}),
    ]);
    server.until_completed(10);
    server.until_job_is("dead", "dead");
    server.until("a snapshot", |status| status["snapshot"].is_object());
    assert_eq!((server.get("/livez").status, server.get("/livez").body.as_str()), (200, "ok"));
    assert_eq!(server.get("/readyz").json(), json!({"ready": true, "phase": "serving"}));
    let metrics = server.get("/metrics");
    assert!(metrics.head.contains("application/openmetrics-text"), "{}", metrics.head);
    let value = |name: &str| -> f64 {
        let line = metrics.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is missing in\n{}", metrics.body)).parse().unwrap()
    };
    for (name, expected) in [
        ("queue_jobs_enqueued_total", 12.0),
        ("queue_jobs_dispatched_total", 11.0),
        ("queue_jobs_completed_total", 10.0),
        ("queue_jobs_failed_total", 1.0),
        ("queue_jobs_dead_total", 1.0),
        ("queue_jobs_pending", 1.0),
        ("queue_jobs_in_flight", 0.0),
        ("queue_job_latency_seconds_count", 10.0),
        ("queue_actor_restarts_total{actor=\"worker\"}", 0.0),
        ("queue_actor_restarts_total{actor=\"snapshot\"}", 0.0),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    for name in [
        "queue_recovery_time_seconds",
        "queue_log_fsync_seconds_count",
        "queue_log_batch_events_count",
        "queue_snapshot_bytes",
        "queue_snapshot_seconds",
    ] {
        assert!(value(name) > 0.0, "{name}");
    }
}

#[test]
fn an_answer_has_the_shape_of_its_request() {
    let place = Place::new();
    let server = place.start(&["--workers", "0"]);
    let one = server.post(r#"{"id": "a", "kind": "noop"}"#);
    assert_eq!((one.status, &one.json()["id"], &one.json()["created"]), (201, &json!("a"), &json!(true)));
    let again = server.post(r#"{"id": "a", "kind": "other"}"#);
    assert_eq!((again.status, &again.json()["created"]), (200, &json!(false)));
    let array = server.post(r#"[{"id": "a", "kind": "noop"}, {"id": "b", "kind": "noop"}]"#);
    assert_eq!((array.status, array.json().as_array().unwrap().len()), (201, 2));
    let lines =
        server.post("{\"id\": \"c\", \"kind\": \"noop\"}\n{\"id\": \"c\", \"kind\": \"noop\"}\n").json();
    assert_eq!((&lines[0]["created"], &lines[1]["created"]), (&json!(true), &json!(false)));
    // An id may be any text; a path takes it encoded.
    assert_eq!(server.post(r#"{"id": "café/1 ?", "kind": "noop"}"#).status, 201);
    assert_eq!(server.job("caf%C3%A9%2F1%20%3F")["id"], "café/1 ?");
    assert_eq!(server.count("pending"), 4);
    assert_eq!(server.job("a")["kind"], "noop");
}

#[test]
fn a_web_page_may_look_but_not_change_anything() {
    let place = Place::new();
    let server = place.start(&["--workers", "0"]);
    let origin = ["origin: https://example.org"];
    for (method, path) in [
        ("POST", "/api/v1/jobs"),
        ("DELETE", "/api/v1/jobs/a"),
        ("POST", "/api/v1/jobs/actions"),
        ("DELETE", "/api/v1/queues/default"),
        ("POST", "/api/v1/queues/default/pause"),
        ("POST", "/api/v1/queues/default/resume"),
        ("POST", "/api/v1/workers/w/quiet"),
        ("POST", "/api/v1/workers/w/terminate"),
    ] {
        let answer = send(server.address(), method, path, &origin, b"{}").unwrap();
        answer.refuses(403, "from_a_web_page", &[]);
    }
    assert_eq!(send(server.address(), "GET", "/api/v1/status", &origin, b"").unwrap().status, 200);
    assert_eq!(server.status()["log"]["seq"], 1, "only its start is in the log");
}

/// Asks as a browser does that was made to believe that `host` is here.
fn asked_as(server: &Server, host: &str, more: &str) -> Answer {
    let mut stream = connect(server.address()).unwrap();
    let head = format!("{more} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    receive(&mut stream).unwrap()
}

/// Row 81.
#[test]
fn on_loopback_only_known_hosts_are_served_and_the_refusal_names_the_key_for_more() {
    let place = Place::new();
    let server = place.start(&["--workers", "0", "--http-hosts", "queue.example.org"]);
    server.enqueue([json!({"id": "diary", "kind": "noop", "payload": {"secret": "under the stone"}})]);
    let paths = ["/api/v1/jobs/diary", "/api/v1/jobs?status=pending", "/api/v1/status", "/metrics", "/livez"];
    for path in paths {
        for host in ["rebound.example:9090", "queue.example.org.example", ""] {
            let answer = asked_as(&server, host, &format!("GET {path}"));
            answer.refuses(421, "unknown_host", &["http_hosts"]);
            assert!(!answer.body.contains("stone"), "{}", answer.body);
        }
        for host in ["localhost:1", "127.0.0.1", "[::1]:9090", "QUEUE.example.org"] {
            assert_eq!(asked_as(&server, host, &format!("GET {path}")).status, 200, "{host}{path}");
        }
    }
}

/// Row 81.
#[test]
fn a_page_of_the_server_itself_may_write_and_what_browsers_mark_as_foreign_may_not() {
    let place = Place::new();
    let server = place.start(&["--workers", "0"]);
    let own = format!("origin: http://{}", server.address());
    let ask = |headers: &[&str]| {
        send(server.address(), "POST", "/api/v1/jobs", headers, br#"{"kind":"noop"}"#).unwrap()
    };
    assert_eq!(ask(&[&own, "sec-fetch-site: same-origin"]).status, 201);
    assert_eq!(ask(&[&own]).status, 201);
    assert_eq!(ask(&["sec-fetch-site: none"]).status, 201);
    for foreign in [
        &["sec-fetch-site: cross-site", "sec-fetch-mode: no-cors"][..],
        &["sec-fetch-site: same-site", "origin: http://127.0.0.1:1"],
        &["origin: null"],
    ] {
        ask(foreign).refuses(403, "from_a_web_page", &["Sec-Fetch-Site"]);
    }
    assert_eq!(server.count("pending"), 3);
}
