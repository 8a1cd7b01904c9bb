//! Memory that clients can make the server take: each part has its limit, the limits hold, and what was taken comes back.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::fwp_client::{Fwp, start};
use crate::harness::{Place, Server, wait};
use crate::http_client::request;

const MIB: u64 = 1 << 20;
/// What a small machine has for all of it.
const ALL: u64 = 256 * MIB;
/// A machine with that sets its limits lower.
const SMALL: [&str; 16] = [
    "--body-bytes-max",
    "16MiB",
    "--bodies-bytes-max",
    "24MiB",
    "--answer-bytes-max",
    "24MiB",
    "--request-bytes-max",
    "24MiB",
    "--payload-memory",
    "16MiB",
    "--faktory-line-bytes-max",
    "1MiB",
    "--queues-max",
    "5000",
    "--request-timeout",
    "5s",
];

/// What is taken of a part, and its limit.
fn part(server: &Server, name: &str) -> (u64, u64) {
    let status = server.status();
    let part = status["memory"].as_array().unwrap().iter().find(|part| part["part"] == name).unwrap();
    (part["bytes"].as_u64().unwrap(), part["limit_bytes"].as_u64().unwrap())
}

fn large_jobs(server: &Server, count: usize) {
    let payload = json!({"text": "granite ".repeat(110_000)});
    for number in 0..count {
        server.enqueue([
            json!({"id": format!("tome-{number}"), "kind": "read", "queue": "shelf", "payload": payload}),
        ]);
    }
}

/// Asks and does not read.
fn ask(server: &Server, head: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let host = server.address();
    stream.write_all(format!("{head} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    stream
}

/// The memory that it had comes back: within half as much again, half a minute later.
fn comes_back(place: &Place, server: &Server, before: u64) {
    let freed = Instant::now();
    wait("its memory", Some(&place.path("server.log")), || {
        (server.memory("VmRSS") <= before + before / 2).then_some(())
    });
    assert!(freed.elapsed() < Duration::from_secs(30), "{:?}", freed.elapsed());
}

/// Row 68.
#[test]
fn clients_that_read_nothing_hold_no_more_than_the_limit_for_answers_and_give_it_back() {
    let place = Place::new();
    let server = start(&place, &SMALL);
    large_jobs(&server, 8);
    let before = server.memory("VmRSS");
    let unread: Vec<_> =
        (0..40).map(|_| ask(&server, "GET /api/v1/jobs?status=pending&queue=shelf", b"")).collect();
    let (_, limit) = part(&server, "answers");
    assert_eq!(limit, 18 * MIB);
    wait("answers that nobody reads", None, || (part(&server, "answers").0 >= 14 * MIB).then_some(()));
    assert!(server.get("/metrics").body.contains("queue_memory_limit_bytes{part=\"answers\"} 18874368\n"));
    let told = server.beaver(&place, &["status"]).exits(0).stdout;
    let told: Vec<_> = told.split_whitespace().collect();
    assert!(told.join(" ").contains("answers"), "{told:?}");
    // Short answers need no room, and one that finds none in time says so.
    assert_eq!(server.get("/readyz").status, 200);
    let long = server.get("/api/v1/jobs?status=pending&queue=shelf");
    assert!(
        long.status == 200 || (long.status == 429 && long.body.contains("answer_bytes_max")),
        "{}",
        long.status
    );
    assert!(part(&server, "answers").0 <= limit);
    let peak = server.memory("VmHWM");
    assert!(peak < before + 2 * limit + 32 * MIB, "{before} bytes before, {peak} at most");
    drop(unread);
    wait("all answers to be gone", None, || (part(&server, "answers").0 == 0).then_some(()));
    comes_back(&place, &server, before);
    server.terminate();
}

/// Row 68: the same over the work protocol. The system takes some megabytes of what nobody reads, so each worker asks for more.
#[test]
fn workers_that_do_not_read_their_jobs_are_given_up_beyond_the_limit_and_others_get_theirs() {
    const MUTE: u64 = 12;
    let place = Place::new();
    let server = start(&place, &["--answer-bytes-max", "16MiB"]);
    large_jobs(&server, 121);
    let mute: Vec<_> = (0..MUTE)
        .map(|number| {
            let mut worker = Fwp::worker(&place, &format!("mute-{number}"));
            (0..10).for_each(|_| worker.send("FETCH shelf"));
            worker
        })
        .collect();
    wait("some that are given up", Some(&place.path("server.log")), || {
        let (held, limit) = part(&server, "replies");
        assert!(held <= limit, "{held} of {limit}");
        let connections = server.status()["remote"]["connections"].as_u64().unwrap();
        (2..MUTE).contains(&connections).then_some(())
    });
    assert!(part(&server, "replies").0 > MIB, "those that fit are kept");
    drop(mute);
    server.enqueue([json!({"id": "last", "kind": "read", "queue": "last"})]);
    assert!(Fwp::worker(&place, "able").ask("FETCH last").contains("\"last\""));
    wait("all replies to be gone", None, || (part(&server, "replies").0 == 0).then_some(()));
    server.terminate();
}

/// Row 68: those who wait for room over HTTP have nothing to do with it.
#[test]
fn a_worker_gets_its_job_while_clients_that_read_nothing_hold_all_the_memory_for_answers() {
    let place = Place::new();
    let flags = ["--answer-bytes-max", "32MiB", "--payload-bytes-max", "8MiB"];
    let server = start(&place, &flags);
    large_jobs(&server, 8);
    let unread: Vec<_> =
        (0..20).map(|_| ask(&server, "GET /api/v1/jobs?status=pending&queue=shelf", b"")).collect();
    wait("answers that nobody reads", None, || (part(&server, "answers").0 >= 14 * MIB).then_some(()));
    let payload = "basalt ".repeat(700_000);
    server.enqueue([json!({"id": "huge", "kind": "read", "queue": "other", "payload": payload})]);
    let mut worker = Fwp::worker(&place, "able");
    assert!(worker.ask("FETCH other").len() > 4 << 20);
    assert_eq!(worker.ask(r#"ACK {"jid":"huge"}"#), "+OK");
    drop(unread);
    server.terminate();
}

/// Row 68.
#[test]
fn a_body_without_an_end_takes_no_more_than_it_may() {
    let place = Place::new();
    let server = start(&place, &SMALL);
    let before = server.memory("VmHWM");
    let head = "POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut streams: Vec<_> = (0..6)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    let mut chunk = format!("{:x}\r\n", MIB).into_bytes();
    chunk.extend(vec![b' '; MIB as usize]);
    chunk.extend(b"\r\n");
    for _ in 0..24 {
        for stream in &mut streams {
            // One that was refused is closed at some time.
            let _ = stream.write_all(&chunk);
        }
        let (held, limit) = part(&server, "bodies");
        assert!(held <= limit, "{held} of {limit}");
    }
    let peak = server.memory("VmHWM");
    assert!(peak < before + 24 * MIB + 48 * MIB, "{before} bytes before, {peak} at most");
    for stream in &mut streams {
        let mut answer = [0; 12];
        // One that is closed while it still sends may not hear why.
        let is_refused =
            stream.read_exact(&mut answer).is_err() || [&b"413"[..], b"429"].contains(&&answer[9..]);
        assert!(is_refused, "it is longer than any may be: {answer:?}");
    }
    drop(streams);
    wait("all bodies to be gone", None, || (part(&server, "bodies").0 == 0).then_some(()));
    server.terminate();
}

/// Rows 68, 74 and 75: what comes in, what goes out, payloads, failures, names, one after the other on the same small machine.
#[test]
fn each_part_is_driven_to_its_limit_in_256_mib_and_the_server_goes_on() {
    let place = Place::new();
    // Addresses are more than memory: those of a server that has just started, and as much again as there is.
    let fresh = start(&place, &SMALL);
    let addresses = fresh.memory("VmSize") + ALL;
    fresh.terminate();
    let flags = [&["--workers", "0"][..], &SMALL].concat();
    let server = place.start_under(&format!("ulimit -v {}", addresses >> 10), &flags);
    // Names.
    for thousand in 0..5 {
        let jobs = (0..1_000).map(|n| json!({"kind": "k", "queue": format!("customer-{thousand}-{n}")}));
        server.enqueue(jobs);
    }
    server.post(r#"{"kind":"k","queue":"one-more"}"#).refuses(429, "too_many_queues", &["queues_max"]);
    assert!(server.get("/metrics").body.contains("queue_names{part=\"queues\"} 5000\n"));
    server.beaver(&place, &["queues", "remove", "customer-*", "--yes"]).exits(0);
    // Payloads: beyond the limit they are read back from disk.
    large_jobs(&server, 60);
    wait("payloads to leave memory", None, || {
        let (held, limit) = part(&server, "texts");
        (held <= limit).then_some(())
    });
    // What attempts leave behind.
    let mut worker = Fwp::worker(&place, "w1");
    let lines = json!(vec!["at some place in the program, deep inside".repeat(20); 900]);
    for _ in 0..30 {
        let fetched = worker.ask("FETCH shelf");
        let jid = fetched.split("\"jid\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let fail = json!({"jid": jid, "errtype": "E", "message": "no", "backtrace": lines});
        assert_eq!(worker.ask(&format!("FAIL {fail}")), "+OK");
    }
    let before = server.memory("VmRSS");
    // Long lines that do not end, beside answers that nobody reads.
    let half = format!("PUSH {{\"jid\":\"{}", "x".repeat(1_000_000));
    let lines: Vec<_> = (0..30)
        .map(|_| {
            let mut stream = Fwp::stream(&place);
            let mut client = Fwp::over(stream.try_clone().unwrap());
            assert_eq!(client.reply(), "+HI {\"v\":2}");
            assert_eq!(client.ask("HELLO {\"v\":2}"), "+OK");
            // One without room is told so and closed.
            let _ = stream.write_all(half.as_bytes());
            stream
        })
        .collect();
    wait("long lines without an end", None, || (part(&server, "long_lines").0 > 14 * MIB).then_some(()));
    let unread: Vec<_> =
        (0..20).map(|_| ask(&server, "GET /api/v1/jobs?status=pending&queue=shelf", b"")).collect();
    let body = json!([{"kind": "k", "queue": "in", "payload": "y".repeat(900_000)}]).to_string();
    std::thread::scope(|scope| {
        let post = || {
            let answer = request(server.address(), "POST", "/api/v1/jobs", body.as_bytes()).unwrap();
            assert!([201, 429].contains(&answer.status), "{}", answer.status);
        };
        (0..40).for_each(|_| _ = scope.spawn(post));
    });
    for name in ["bodies", "long_lines", "answers", "replies", "requests"] {
        let (held, limit) = part(&server, name);
        assert!(held <= limit, "{name}: {held} of {limit}");
    }
    let peak = server.memory("VmHWM");
    assert!(peak < ALL, "{} MiB at most", peak / MIB);
    drop((lines, unread));
    server.enqueue([json!({"id": "last", "kind": "k", "queue": "last"})]);
    assert!(worker.ask("FETCH last").contains("\"last\""));
    comes_back(&place, &server, before);
    server.terminate();
}
