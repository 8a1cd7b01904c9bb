//! A server that is not given enough: file descriptors, memory, and clients that hold on to what there is.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::fwp_client::{Fwp, job, start};
use crate::harness::{Place, Server, cpu_ticks_in, wait};
use crate::http_client::{connect, request};

/// What the server has open.
fn open_files(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

/// Row 18: it says so, does not spin, keeps its jobs, and answers again when there are some.
#[test]
fn without_file_descriptors_a_server_waits_without_spinning_and_goes_on_after() {
    const WINDOW: Duration = Duration::from_secs(2);
    let place = Place::new();
    let server = place.start(&["--workers", "2", "--faktory-port", "off"]);
    server.enqueue((0..20).map(|number| json!({"id": format!("job-{number}"), "kind": "noop"})));
    server.until_completed(20);
    // It keeps back enough for itself, so this takes somebody who has taken them away.
    server.may_open(Some(40));
    // The kernel takes them all into its queue; the server has descriptors for some.
    let held: Vec<TcpStream> = (0..60).map(|_| connect(server.address()).unwrap()).collect();
    wait("a server that says so", None, || place.log().contains("cannot accept connections").then_some(()));
    let used = cpu_ticks_in(server.pid(), WINDOW);
    assert!(used <= 20, "{used} ticks of 10 ms in {WINDOW:?}: it spins");
    drop(held);
    server.may_open(None);
    let answered = wait("an answer", None, || request(server.address(), "GET", "/api/v1/status", b"").ok());
    assert_eq!(answered.status, 200, "{}", answered.body);
    server.enqueue([json!({"id": "after", "kind": "noop"})]);
    server.until_job_is("after", "completed");
    server.terminate();
}

/// Rows 18 and 62, where it cannot even start.
#[test]
fn with_far_too_few_file_descriptors_a_server_refuses_to_start_and_says_why() {
    let place = Place::new();
    for files in [4, 12, 18, 26, 127] {
        let ran = place.run_to_its_end_under(&format!("ulimit -n {files}"), &["--workers", "1"]);
        let told = format!("{files} file descriptors are too few");
        ran.exits(2).says(&[&told, "at least 128", "ulimit -Hn", "LimitNOFILE="]);
    }
    assert!(!place.data("lock").exists(), "nothing was begun");
    let server = place.start(&["--workers", "1"]);
    assert_eq!(server.status()["log"]["seq"], 1, "only its start is in the log");
}

/// Row 62: texts are read back from as many segments as there are, of which few stay open.
#[test]
fn however_many_segments_are_read_from_few_of_them_are_open() {
    const JOBS: usize = 60;
    let place = Place::new();
    let flags =
        ["--workers", "0", "--segment-bytes", "64KiB", "--payload-memory", "0", "--snapshot-interval", "1h"];
    let server = place.start(&flags);
    let fleece = "wool ".repeat(10_000);
    let ids: Vec<_> = (0..JOBS).map(|number| format!("fleece-{number}")).collect();
    for id in &ids {
        server.enqueue([json!({"id": id, "kind": "noop", "payload": fleece})]);
    }
    let segments = crate::files::segments(&place).len();
    assert!(segments > JOBS / 2, "{segments} segments");
    let before = open_files(&server);
    for id in ids.iter().chain(&ids) {
        assert_eq!(server.job(id)["payload"], json!(fleece), "{id}");
    }
    let after = open_files(&server);
    assert!(after <= before + 15, "{before} open files, and {after} after {segments} segments were read");
    server.terminate();
}

/// Row 49: half requests, one byte at a time, and answers that nobody reads.
#[test]
fn two_hundred_slow_clients_hold_up_nobody_and_are_got_rid_of() {
    const SLOW: usize = 200;
    /// Far more than a request takes here, and far less than a slow client would make others wait.
    const PROMPT: Duration = Duration::from_secs(2);
    let place = Place::new();
    let flags = ["--workers", "2", "--header-timeout", "2s", "--request-timeout", "2s"];
    let server = place.start(&flags);
    let at_rest = open_files(&server);
    let mut slow: Vec<TcpStream> = (0..SLOW).map(|_| connect(server.address()).unwrap()).collect();
    let starts = [
        "",
        "GET /api/v1/st",
        "POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{\"id\": ",
        // A whole request, the answer of which is never read.
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ];
    for (number, stream) in slow.iter_mut().enumerate() {
        stream.write_all(starts[number % starts.len()].as_bytes()).unwrap();
    }
    let started = Instant::now();
    let mut number = 0;
    while started.elapsed() < Duration::from_secs(3) {
        // One more byte each; who was cut off already is no longer interested.
        for stream in &mut slow {
            let _ = stream.write_all(b"x");
        }
        for _ in 0..10 {
            let asked = Instant::now();
            server.enqueue([json!({"id": format!("job-{number}"), "kind": "noop"})]);
            assert!(asked.elapsed() < PROMPT, "job {number} took {:?}", asked.elapsed());
            number += 1;
        }
    }
    server.until_completed(number);
    wait("the end of slow connections", None, || (open_files(&server) <= at_rest + 2).then_some(()));
    for mut stream in slow {
        // It may have been told something or not; the other side has closed, so this ends.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    server.terminate();
}

/// Row 54: the allocator may fail, and what was acknowledged is there.
#[test]
fn a_server_that_runs_out_of_memory_has_lost_nothing_at_its_next_start() {
    /// In KiB of addresses, of which a server that starts takes most (and uses few).
    const MEMORY: u64 = 500_000;
    let place = Place::new();
    // More than there is: else payloads would stay on disk, and memory would last.
    let flags = ["--workers", "0", "--segment-bytes", "8MiB", "--payload-memory", "1GiB"];
    let mut server = place.start_under(&format!("ulimit -v {MEMORY}"), &flags);
    let filler = "x".repeat(1_000_000);
    let mut acknowledged = 0;
    // Jobs wait in memory with their payloads: at the latest with this many of them there is none left.
    let ended = (0..MEMORY / 900).find_map(|number| {
        let job = json!({"id": format!("job-{number}"), "kind": "noop", "payload": filler}).to_string();
        match request(server.address(), "POST", "/api/v1/jobs", job.as_bytes()) {
            Ok(answer) if answer.status == 201 => {
                acknowledged += 1;
                None
            }
            other => Some(other),
        }
    });
    let ended = ended.expect("a server without memory cannot accept everything");
    println!("{acknowledged} acknowledged, then {ended:?}");
    if ended.is_err() {
        let status = server.ended();
        assert!(!status.success(), "{status}");
        let log = place.log();
        assert!(log.contains("memory"), "it says why: {log}");
    }
    drop(server);
    let server = place.start(&flags);
    let known = server.count("pending");
    // One more may be there: it was on its way when the end came.
    assert!((acknowledged..=acknowledged + 1).contains(&known), "{acknowledged} acknowledged, {known} known");
    assert!(acknowledged > 0, "there was memory for some");
}

/// Row 56. How much memory a replay takes does not depend on how long the log is; and that is not longer than what is
/// written until a snapshot is due, and is taken.
#[test]
fn replay_takes_far_less_memory_than_the_log_is_long_also_when_it_was_cut_off_half_way() {
    const MEMORY_MAX: u64 = 40 << 20;
    const JOBS: u64 = 140;
    let place = Place::new();
    // Jobs that are done are forgotten at once, so that what stays in memory is next to nothing.
    let flags = ["--workers", "2", "--segment-bytes", "8MiB", "--completed-retention-count", "0"];
    let flags = [&flags[..], &["--snapshot-interval", "1h"]].concat();
    let server = place.start(&flags);
    let filler = "x".repeat(1_000_000);
    for number in 0..JOBS {
        server.enqueue([json!({"id": format!("job-{number}"), "kind": "noop", "payload": filler})]);
    }
    let is_idle =
        |status: &serde_json::Value| status["jobs"]["pending"] == 0 && status["jobs"]["in_flight"] == 0;
    server.until("all jobs done", is_idle);
    server.kill9();
    let log: u64 = crate::files::segments(&place).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!((60_000_000..200_000_000).contains(&log), "{log} bytes of log");
    let started = Instant::now();

    // The address is left once the replay has begun.
    fs::remove_file(place.data("http.addr")).unwrap();
    let mut child = place.start_in_passing(&flags, Stdio::null());
    wait("a replay that has begun", None, || place.data("http.addr").exists().then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();

    let server = place.start(&flags);
    let took = started.elapsed();
    let status = server.status();
    assert!(status["recovery"]["events"].as_u64().unwrap() >= JOBS, "{status}");
    let peak = server.memory("VmHWM");
    println!("{log} bytes of log, {peak} bytes of memory at most, {took:.1?} until it serves");
    assert!(peak < MEMORY_MAX, "{peak} bytes of memory for {log} bytes of log");
    server.enqueue([json!({"id": "after", "kind": "noop"})]);
    server.until("the job after it done", is_idle);
    server.terminate();
}

/// What a slow consumer holds is its own: those that never read, never end their line or never report.
#[test]
fn slow_workers_hold_up_no_other_and_hold_little_memory() {
    const EACH: usize = 10;
    const MEMORY_MAX: u64 = 80 << 20;
    /// Far more than a request takes here, and far less than any of them would make others wait.
    const PROMPT: Duration = Duration::from_secs(5);
    let place = Place::new();
    let server = start(&place, &[]);
    let mut polite = Fwp::worker(&place, "polite");
    for number in 0..EACH {
        polite.push(&job(&format!("taken-{number:03}")));
    }
    let greeted = || {
        let mut stream = Fwp::stream(&place);
        stream.write_all(b"HELLO {\"v\":2}\r\n").unwrap();
        stream
    };
    let (asks, mut held) = ("INFO\r\n".repeat(10_000), Vec::new());
    for number in 0..EACH {
        let mut silent = Fwp::worker(&place, &format!("silent-{number}"));
        silent.fetch("default");
        let (mut half, mut deaf) = (greeted(), greeted());
        half.write_all(b"PUSH {\"jid\":\"").unwrap();
        // Until it is not read any more, for it does not read either.
        deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        while deaf.write_all(asks.as_bytes()).is_ok() {}
        held.push((silent, half, deaf));
    }
    for number in 0..20 {
        let asked = Instant::now();
        polite.push(&job(&format!("polite-{number}")));
        assert_eq!(polite.fetch("default"), format!("polite-{number}"));
        polite.ack(&format!("polite-{number}"));
        assert!(asked.elapsed() < PROMPT, "{number}: {:?}", asked.elapsed());
    }
    let peak = server.memory("VmHWM");
    assert!(peak < MEMORY_MAX, "{peak} bytes of memory");
    server.terminate();
}
