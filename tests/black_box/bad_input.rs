//! What clients should not send: each gets a clear error, nobody else notices, and nothing is lost.

use std::io::Write;

use serde_json::json;

use crate::harness::{Place, Server, wait};
use crate::http_client::{connect, receive, send};

/// A server with one job, of which it must still know at the end.
fn server(place: &Place, flags: &[&str]) -> Server {
    let server = place.start(&[&["--workers", "1"], flags].concat());
    server.enqueue([json!({"id": "kept", "kind": "nobody"})]);
    server
}

/// Asserts that the server still takes jobs and has lost and gained none.
fn is_well(server: &Server) {
    assert_eq!(server.status()["log"]["seq"], 2, "nothing was added to its start and the job");
    assert_eq!(server.job("kept")["status"], "pending");
    server.enqueue([json!({"id": "works", "kind": "noop"})]);
    server.until_job_is("works", "completed");
}

#[test]
fn a_body_of_100_mb_is_refused_announced_or_not() {
    const BYTES: usize = 100_000_000;
    let place = Place::new();
    let server = server(&place, &["--body-bytes-max", "64MiB"]);
    let payload = vec![b'x'; BYTES];
    let body = [b"{\"kind\": \"noop\", \"payload\": \"", payload.as_slice(), b"\"}"].concat();
    server.post(&body).refuses(413, "body_too_large", &["67108864", "body_bytes_max"]);

    let mut stream = connect(server.address()).unwrap();
    stream.write_all(b"POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n").unwrap();
    stream.write_all(b"transfer-encoding: chunked\r\n\r\n").unwrap();
    for piece in body.chunks(1 << 20) {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
        stream.write_all(piece).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    receive(&mut stream).unwrap().refuses(413, "body_too_large", &[]);

    // Below the limit for bodies, but not for payloads.
    let payload = format!("{{\"payload\": \"{}\"}}", "x".repeat(2 << 20));
    server.post(payload).refuses(413, "payload_too_large", &["1048576", "payload_bytes_max"]);
    let file = place.write("large", &body);
    server.beaver(&place, &["enqueue", "--file", &file]).exits(5).says(&["body_bytes_max"]);
    is_well(&server);
    server.terminate();
    // With the limits that a server has by itself, too.
    let server = place.start(&[]);
    assert_eq!(server.post(&body).status, 413);
    assert_eq!(server.job("kept")["status"], "pending");
}

#[test]
fn a_payload_nested_10000_deep_is_refused() {
    const DEPTH: usize = 10_000;
    let place = Place::new();
    let server = server(&place, &[]);
    let nested = format!("{}1{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    let objects = format!("{}1{}", "{\"a\":".repeat(DEPTH), "}".repeat(DEPTH));
    for payload in [&nested, &objects] {
        for body in [format!("{{\"payload\": {payload}}}"), format!("[{{\"payload\": {payload}}}]")] {
            let answer = server.post(&body);
            assert_eq!(answer.status, 400, "{}", answer.body);
            assert!(
                answer.body.contains("deep") || answer.body.contains("recursion limit"),
                "{}",
                answer.body
            );
            let file = place.write("deep", &body);
            server.beaver(&place, &["enqueue", "--file", &file]).exits(5);
        }
    }
    assert_eq!(server.post(&nested).status, 400);
    server.beaver(&place, &["enqueue", "--kind", "a", "--payload", &nested]).exits(2).says(&["deep"]);
    is_well(&server);
}

#[test]
fn an_id_of_10_kb_is_refused_everywhere() {
    let place = Place::new();
    let server = server(&place, &[]);
    let id = "x".repeat(10_000);
    let answer = server.post(json!({"id": id}).to_string());
    answer.refuses(400, "bad_job", &["\"id\"", "1024"]);
    assert!(answer.body.len() < 500, "it is not repeated at length: {}", answer.body);
    server.get(&format!("/api/v1/jobs/{id}")).refuses(400, "bad_id", &["1024"]);
    server.request("DELETE", &format!("/api/v1/jobs/{id}"), "").refuses(400, "bad_id", &[]);
    for args in [&["status", &id][..], &["cancel", &id], &["enqueue", "--kind", "a", "--id", &id]] {
        server.beaver(&place, args).exits(2).says(&["1024"]);
    }
    is_well(&server);
}

#[test]
fn what_is_not_a_job_is_refused_by_line_and_field() {
    let place = Place::new();
    let server = server(&place, &[]);
    for (body, code, texts) in [
        (r#"{"kind": "a", "colour": 1}"#, "bad_job", &["unknown field \"colour\"", "a job has id"][..]),
        (r#"{"kind": "a", "prioritty": 1}"#, "bad_job", &["\"prioritty\"", "did you mean \"priority\"?"]),
        (r#"{"kind": "a", "kind": "b"}"#, "bad_job", &["\"kind\" is given twice"]),
        (r#"{"priority": 10}"#, "bad_job", &["\"priority\"", "0 to 9"]),
        (r#"{"priority": -1}"#, "bad_job", &["\"priority\""]),
        (r#"{"delay": "1s", "run_at": "2030-01-01T00:00:00Z"}"#, "bad_job", &["run_at or delay"]),
        (r#"{"run_at": "tomorrow"}"#, "bad_job", &["\"run_at\""]),
        (r#"{"timeout": "0s"}"#, "bad_job", &["\"timeout\""]),
        (r#"{"max_retry": 1e9}"#, "bad_job", &["\"max_retry\""]),
        (r#"{"queue": "a b"}"#, "bad_job", &["\"queue\""]),
        (r#"{"id": ""}"#, "bad_job", &["\"id\""]),
        (r#"{"id": "a\u0000b"}"#, "bad_job", &["\"id\""]),
        ("{\"kind\": \"a\"}\n{\"id\": 7}", "bad_job", &["line 2", "\"id\""]),
        ("[{\"kind\": \"a\"}, 7]", "bad_job", &["a job"]),
        ("not json", "bad_json", &["line 1"]),
        ("{\"payload\": ", "bad_json", &["line 1"]),
        ("", "bad_job", &["no jobs"]),
        ("[]", "bad_job", &["no jobs"]),
        ("7", "bad_job", &["a job"]),
    ] {
        server.post(body).refuses(400, code, texts);
    }
    server.post(b"{\"id\": \"\xff\"}").refuses(400, "bad_json", &["UTF-8"]);
    is_well(&server);
}

#[test]
fn a_wrong_path_or_method_is_told_as_such() {
    let place = Place::new();
    let server = server(&place, &[]);
    server.get("/api/v2/jobs").refuses(404, "not_found", &["/api/v2/jobs"]);
    server.get("/api/v1/jobs/nobody").refuses(404, "not_found", &["nobody"]);
    for (method, path) in
        [("PUT", "/api/v1/jobs"), ("GET", "/api/v1/queues/a/pause"), ("POST", "/api/v1/status")]
    {
        server.request(method, path, "{}").refuses(405, "method_not_allowed", &[method]);
    }
    let mut stream = connect(server.address()).unwrap();
    stream.write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n").unwrap();
    assert_eq!(receive(&mut stream).map_or(400, |answer| answer.status), 400);
    let long = format!("x-long: {}", "x".repeat(1 << 20));
    let told = send(server.address(), "GET", "/livez", &[&long], b"");
    assert!(told.is_err() || told.unwrap().status == 431);
    is_well(&server);
}

#[test]
fn half_a_request_and_then_silence_is_cut_off() {
    let place = Place::new();
    let server = server(&place, &["--header-timeout", "200ms", "--request-timeout", "300ms"]);
    // Closed without a word: there is no request to answer.
    for half in ["", "POST /api/v1/jobs HT", "POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\n"] {
        let mut stream = connect(server.address()).unwrap();
        stream.write_all(half.as_bytes()).unwrap();
        assert!(receive(&mut stream).is_err(), "{half:?}");
    }
    let mut stream = connect(server.address()).unwrap();
    let half =
        "POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{\"id\": \"half\"";
    stream.write_all(half.as_bytes()).unwrap();
    receive(&mut stream).unwrap().refuses(408, "request_timeout", &["nothing was done"]);
    is_well(&server);
}

#[test]
fn clients_that_only_hold_connections_are_got_rid_of() {
    let place = Place::new();
    let server = server(&place, &["--header-timeout", "500ms", "--connections-max", "8"]);
    let mut idle = Vec::new();
    let turned_away = wait("a surplus connection", None, || {
        // Some more each time: on a slow machine the first ones may have been got rid of before all are there.
        idle.extend((0..8).map(|_| connect(server.address()).unwrap()));
        send(server.address(), "GET", "/livez", &[], b"").ok().filter(|answer| answer.status == 503)
    });
    turned_away.refuses(503, "busy", &["connections_max"]);
    for mut stream in idle {
        // Closed without a word, or turned away itself.
        let _ = receive(&mut stream);
    }
    wait("a place", None, || {
        send(server.address(), "GET", "/livez", &[], b"").ok().filter(|answer| answer.status == 200)
    });
    is_well(&server);
}

#[test]
fn a_full_queue_refuses_more_and_takes_jobs_again_when_some_are_done() {
    let place = Place::new();
    let server = place.start(&["--workers", "0", "--jobs-max", "3"]);
    server.enqueue(["a", "b"].map(|id| json!({"id": id, "kind": "noop"})));
    // All or nothing: one of the two would fit.
    server.post("{\"id\":\"c\",\"kind\":\"a\"}\n{\"id\":\"d\",\"kind\":\"a\"}\n").refuses(
        429,
        "too_many_jobs",
        &["jobs_max"],
    );
    assert_eq!(server.count("pending"), 2);
    server.enqueue([json!({"id": "c", "kind": "noop"})]);
    server.post(r#"{"id": "d", "kind": "noop"}"#).refuses(429, "too_many_jobs", &["3"]);
    assert_eq!(server.request("DELETE", "/api/v1/jobs/a", "").status, 200);
    server.enqueue([json!({"id": "d", "kind": "noop"})]);
    server.terminate();
}

/// Row 96.
#[test]
fn a_job_without_a_kind_is_refused_with_both_ways_out_unless_there_is_a_default() {
    let place = Place::new();
    let server = server(&place, &[]);
    let before = server.status()["log"]["seq"].clone();
    for (body, line) in [
        ("{}", "line 1"),
        (r#"{"id": "a", "payload": {"to": "ben"}}"#, "line 1"),
        (r#"{"id": "a", "kind": null}"#, "line 1"),
        ("{\"id\": \"a\", \"kind\": \"noop\"}\n{\"id\": \"b\"}", "line 2"),
        ("[{\"id\": \"a\", \"kind\": \"noop\"},\n {\"id\": \"b\"}]", "line 2"),
    ] {
        server.post(body).refuses(400, "bad_job", &[line, "no kind", "add \"kind\"", "default_kind"]);
    }
    let ran = server.beaver(&place, &["enqueue", "--payload", "{}"]).exits(2);
    ran.says(&["no kind", "--kind", "default_kind"]);
    assert_eq!(server.status()["log"]["seq"], before);
    drop(server);
    let server = place.start(&["--workers", "0", "--default-kind", "mail"]);
    assert_eq!(server.post(r#"{"id": "a"}"#).status, 201);
    assert_eq!(server.job("a")["kind"], "mail");
}
