//! The server's own shortage, of descriptors, threads, processes and space, while far more connections are held open than it
//! can serve: nothing is lost, nothing dies that was not run, and service is back by itself.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use beaver_actors::testing::times;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::full_disk::SmallDisk;
use crate::fwp_client::{Fwp, address};
use crate::harness::{Place, Server, count, wait};
use crate::http_client::{connect, request};

/// Connections of a flood, half of them of workers: under the largest limit, and with `BEAVER_TORTURE` under all.
const IDLE: usize = 2_000;
/// Else these, which are more than twice what the smaller limits leave room for.
const IDLE_IN_SHORT: usize = 600;
/// Rounds of work beside them; times `BEAVER_TORTURE`.
const ROUNDS: u64 = 12;
/// What this process needs beside a flood.
const OTHERS: usize = 500;
const FLAGS: [&str; 7] =
    ["--workers", "2", "--allow-exec", "--snapshot-interval", "500ms", "--header-timeout", "2s"];

/// Connections that nobody says anything more on.
struct Flood {
    workers: Vec<TcpStream>,
    browsers: Vec<TcpStream>,
}

/// What became of a flood.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fates {
    served: usize,
    told: usize,
    /// Closed without a word.
    silent: usize,
}

impl Flood {
    fn begin(place: &Place, server: &Server, connections: usize) -> Flood {
        let half = may_open(if times() > 1 { IDLE } else { connections }) / 2;
        let workers = address(place);
        let greeted = |_| {
            let mut stream = connect(&workers).unwrap();
            // One that is surplus may be closed already.
            let _ = stream.write_all(b"HELLO {\"v\":2}\r\n");
            stream
        };
        Flood {
            workers: (0..half).map(greeted).collect(),
            browsers: (0..half).map(|_| connect(server.address()).unwrap()).collect(),
        }
    }

    /// They all leave, and the server has a place for somebody else.
    fn leave(self, server: &Server) {
        drop(self);
        let asked = || request(server.address(), "GET", "/livez", b"");
        wait("a place after a flood", None, || {
            asked().is_ok_and(|answer| answer.status == 200).then_some(())
        });
    }

    /// How the server has treated those of workers.
    fn fates(&self) -> Fates {
        let mut fates = Fates::default();
        for stream in &self.workers {
            let mut said = BufReader::new(stream);
            let mut line = String::new();
            let fate = loop {
                line.clear();
                match said.read_line(&mut line) {
                    Ok(0) | Err(_) => break &mut fates.silent,
                    Ok(_) if line.starts_with("-ERR too many connections") => break &mut fates.told,
                    Ok(_) if line.starts_with("+OK") => {
                        // A surplus one is greeted first, and told then.
                        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                        line.clear();
                        match said.read_line(&mut line) {
                            Ok(_) if line.starts_with("-ERR") => break &mut fates.told,
                            _ => break &mut fates.served,
                        }
                    }
                    Ok(_) => {}
                }
            };
            *fate += 1;
        }
        fates
    }

    /// Those over HTTP that were told that there is no place for them, and those that were told something else. The others
    /// were served for as long as the head of a request may take, and closed then.
    fn refused_browsers(&self) -> (usize, usize) {
        let answers = self.browsers.iter().filter_map(|mut stream| {
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            (!text.is_empty()).then_some(text)
        });
        let is_told = |text: &String| text.starts_with("HTTP/1.1 503 ") && text.contains("connections_max");
        let (told, other): (Vec<_>, Vec<_>) = answers.partition(is_told);
        (told.len(), other.len())
    }
}

/// Raises this process's own limit; says how many of `wanted` connections it may hold.
fn may_open(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    // A limit that nobody may raise stays what it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let most = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |most| most as usize);
    let possible = wanted.min(most.saturating_sub(OTHERS));
    if possible < wanted {
        let told = format!(
            "only {possible} idle connections instead of {wanted}: this process may have {most} descriptors"
        );
        let _ = writeln!(io::stderr(), "{told}");
    }
    possible
}

/// One connection over HTTP, for request after request.
struct KeptAlive(BufReader<TcpStream>);

impl KeptAlive {
    fn to(server: &Server) -> KeptAlive {
        KeptAlive(BufReader::new(connect(server.address()).unwrap()))
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> (u16, String) {
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
        self.0.get_mut().write_all(format!("{head}{body}").as_bytes()).unwrap();
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "closed");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().unwrap();
            }
            if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (status, String::from_utf8(body).unwrap())
    }
}

/// Jobs of every sort, and what was accepted of them.
struct Work {
    producer: Fwp,
    worker: Fwp,
    accepted: Vec<String>,
    next: usize,
}

impl Work {
    /// Connects before anybody else does.
    fn begin(place: &Place) -> Work {
        Work {
            producer: Fwp::producer(place),
            worker: Fwp::worker(place, "ours"),
            accepted: Vec::new(),
            next: 0,
        }
    }

    /// Offers a job for a worker elsewhere, one that runs here and one that is a program; with enough in it for a change of
    /// segments now and then. What was not accepted is told.
    fn offer(&mut self) -> Result<(), String> {
        let number = self.next;
        self.next += 1;
        let fleece = "wool ".repeat(20_000);
        let jobs = [
            json!({"jid": format!("letter-{number:04}"), "jobtype": "mail", "queue": "post", "args": [fleece], "retry": 0}),
            json!({"jid": format!("nothing-{number:04}"), "jobtype": "noop", "args": [], "retry": 0}),
            json!({"jid": format!("program-{number:04}"), "jobtype": "exec", "args": [{"command": ["true"]}], "retry": 0}),
        ];
        for job in jobs {
            match self.producer.ask(&format!("PUSH {job}")).as_str() {
                "+OK" => self.accepted.push(job["jid"].as_str().unwrap().to_owned()),
                refused => return Err(refused.to_owned()),
            }
        }
        Ok(())
    }

    /// Does one of those for workers elsewhere.
    fn deliver(&mut self) {
        let jid = self.worker.fetch("post");
        self.worker.ack(&jid);
    }

    /// Does all that is left of those.
    fn deliver_all(&mut self) {
        while let Some(jid) = self.worker.try_fetch("post") {
            self.worker.ack(&jid);
        }
    }

    /// Everything that was accepted has been done, and nothing else.
    fn is_done(&self, server: &Server) {
        let all = self.accepted.len() as u64;
        let end = server.until_completed(all);
        let ended = ["completed", "dead", "cancelled", "pending", "retrying"].map(|state| count(&end, state));
        assert_eq!(ended, [all, 0, 0, 0, 0], "{end}");
        assert_eq!(end["totals"]["failed"], 0, "{end}");
    }
}

/// Whether a job is accepted now, if `/readyz` says the same before and after: then it must be right.
fn is_accepted(server: &Server, id: &str) -> bool {
    let is_ready =
        || request(server.address(), "GET", "/readyz", b"").is_ok_and(|answer| answer.status == 200);
    let before = is_ready();
    let job = json!({"id": id, "kind": "noop"}).to_string();
    let accepted = request(server.address(), "POST", "/api/v1/jobs", job.as_bytes());
    let accepted = accepted.is_ok_and(|answer| matches!(answer.status, 200 | 201));
    let after = is_ready();
    if before == after {
        assert_eq!(accepted, before, "{id}: accepted, and ready before and after");
    }
    accepted
}

/// A whole life beside a flood, under a limit on descriptors.
fn life_under(limit: u64, connections: usize) {
    let place = Place::new();
    let server = place.start_under(&format!("ulimit -n {limit}"), &FLAGS);
    let limits = server.status()["connections"].clone();
    assert_eq!(limits["descriptors"], limit, "{limits}");
    let mut work = Work::begin(&place);
    let flood = Flood::begin(&place, &server, connections);
    let fates = flood.fates();
    println!("{limit}: {fates:?} of {limits}");
    // Two are ours.
    let served = limits["faktory"].as_u64().unwrap() as usize - 2;
    assert_eq!(fates.silent, 0, "{limit}: {fates:?} of {limits}");
    assert_eq!(fates.served.min(served), served.min(flood.workers.len()), "{limit}: {fates:?} of {limits}");
    let mut asked = Vec::new();
    for round in 0..ROUNDS * times() {
        work.offer().unwrap_or_else(|refused| panic!("{limit}: round {round}: {refused}"));
        work.deliver();
        let id = format!("asked-{round}");
        if is_accepted(&server, &id) {
            asked.push(id);
        }
    }
    let (told, other) = flood.refused_browsers();
    assert!(
        told > 0 && other == 0,
        "{limit}: {told} were told that there is no place, and {other} something else"
    );
    // Those over HTTP have had their time, so that it is served again beside the others.
    wait("service over HTTP", None, || {
        let answer = request(server.address(), "GET", "/readyz", b"").ok()?;
        (answer.status == 200).then_some(())
    });
    flood.leave(&server);
    wait("a place for a worker", None, || {
        let mut late = Fwp::connect(&place);
        (late.reply().starts_with("+HI")
            && late.ask("HELLO {\"v\":2}") == "+OK"
            && late.ask("INFO").starts_with('{'))
        .then_some(())
    });
    work.accepted.extend(asked);
    work.deliver_all();
    work.is_done(&server);
    server.kill9();
    let server = place.start(&FLAGS);
    work.is_done(&server);
    server.terminate();
}

/// Row 62.
#[test]
fn with_128_descriptors_and_thousands_of_idle_connections_every_job_is_done() {
    life_under(128, IDLE_IN_SHORT);
}

/// Row 62.
#[test]
fn with_256_descriptors_and_thousands_of_idle_connections_every_job_is_done() {
    life_under(256, IDLE_IN_SHORT);
}

/// Row 62.
#[test]
fn with_1024_descriptors_and_thousands_of_idle_connections_every_job_is_done() {
    life_under(1_024, IDLE);
}

/// Row 62: the limit is raised to the most that there may be, and programs have the one that they would have had.
#[test]
fn a_server_has_all_the_descriptors_that_it_may_have_and_programs_those_that_it_was_started_with() {
    let place = Place::new();
    let server = place.start_under("ulimit -Sn 200 && ulimit -Hn 900", &["--workers", "2", "--allow-exec"]);
    let status = server.status();
    let connections = &status["connections"];
    assert_eq!(connections["descriptors"], 900, "{status}");
    let of = |what: &str| connections[what].as_u64().unwrap();
    assert!(of("http") + of("faktory") + of("kept_back") < 900, "{status}");
    assert!(of("http") > 100 && of("faktory") > 200, "{status}");
    let log = place.log();
    assert!(log.contains("fewer connections are served than are configured"), "{log}");
    let told = server.beaver(&place, &["status"]).exits(0).stdout;
    assert!(told.contains("of 900 file descriptors are kept"), "{told}");
    let command = json!({"command": ["sh", "-c", "ulimit -Sn; ulimit -Hn"]});
    server.enqueue([json!({"id": "limits", "kind": "exec", "payload": command})]);
    let done = server.until_job_is("limits", "completed");
    assert_eq!(done["result"]["stdout"], "200\n900\n", "{done}");
    server.terminate();
}

/// Row 62: nothing is there to open the log's next segment with, for a while.
#[test]
fn while_no_file_of_the_log_can_be_opened_new_jobs_are_refused_and_then_it_goes_on_by_itself() {
    let place = Place::new();
    let server = place.start(&["--workers", "0"]);
    let (mut producer, mut http) = (Fwp::producer(&place), KeptAlive::to(&server));
    let fleece = "wool ".repeat(10_000);
    let mut accepted = 0;
    let mut push = |producer: &mut Fwp| {
        let job = json!({"jid": format!("fleece-{accepted:03}"), "jobtype": "mail", "args": [fleece]});
        let reply = producer.ask(&format!("PUSH {job}"));
        accepted += u64::from(reply == "+OK");
        reply
    };
    (0..8).for_each(|_| assert_eq!(push(&mut producer), "+OK"));
    // The next segment is open before it is needed, so that changing to it takes no descriptor.
    wait("the log's next segment", None, || {
        let open = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
        let files = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        files.into_iter().any(|file| file.to_string_lossy().ends_with(".wal.partial")).then_some(())
    });
    server.may_open(Some(10));
    // The one behind it is what cannot be opened.
    wait("a server without descriptors", None, || {
        (push(&mut producer) != "+OK" || http.ask("GET", "/readyz", "").0 == 503).then_some(())
    });
    let refused = push(&mut producer);
    assert!(refused.contains("no file descriptors"), "{refused}");
    let (status, told) = http.ask("POST", "/api/v1/jobs", r#"{"kind":"noop"}"#);
    assert!(status == 503 && told.contains(r#""code":"shortage""#), "{status}: {told}");
    let (status, told) = http.ask("GET", "/readyz", "");
    assert!(status == 503 && told.contains("no file descriptors"), "{status}: {told}");
    let (status, told) = http.ask("GET", "/api/v1/status", "");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((status, &told["log"]["refusal"]), (200, &json!("shortage")), "{told}");
    assert!(http.ask("GET", "/metrics", "").1.contains("\nqueue_accepts_jobs 0\n"));
    // Others are kept waiting as long as there is no descriptor for them, and are served then.
    let (late, is_served) = mpsc::channel();
    let url = server.address().to_owned();
    thread::spawn(move || late.send(request(&url, "GET", "/livez", b"").map(|answer| answer.status)));
    assert!(is_served.recv_timeout(Duration::from_millis(300)).is_err());
    server.may_open(None);
    assert_eq!(is_served.recv().unwrap().unwrap(), 200);
    wait("jobs taken again", None, || (push(&mut producer) == "+OK").then_some(()));
    assert_eq!(http.ask("GET", "/readyz", "").0, 200);
    assert!(place.log().contains("files can be opened again"), "{}", place.log());
    (0..8).for_each(|_| assert_eq!(push(&mut producer), "+OK"));
    server.kill9();
    let server = place.start(&["--workers", "0"]);
    assert_eq!(server.count("pending"), accepted);
    server.terminate();
}

/// Row 62: at each of the files that a start opens.
#[test]
fn a_start_that_finds_no_descriptor_for_a_file_tries_again_and_finds_everything() {
    let place = Place::new();
    let server = place.start(&["--workers", "0", "--snapshot-interval", "100ms"]);
    server.enqueue((0..10).map(|number| json!({"id": format!("job-{number}"), "kind": "noop"})));
    let seq = server.status()["log"]["seq"].as_u64();
    server.until("a snapshot of all that", |status| status["snapshot"]["seq"].as_u64() >= seq);
    server.kill9();
    let every = if times() > 1 { 1 } else { 5 };
    for open in (1..=40).step_by(every) {
        let server = place
            .start_under(&format!("export BEAVER_FAILPOINTS='disk.open=emfile@{open}'"), &["--workers", "0"]);
        assert_eq!(server.count("pending"), 10, "open {open}");
        server.kill9();
    }
    assert!(place.log().contains("cannot be opened: trying again"), "{}", place.log());
    assert!(!place.data("quarantine").exists(), "nothing is damaged because it cannot be opened");
    if times() > 1 {
        let began = Instant::now();
        let failing = "export BEAVER_FAILPOINTS='disk.open=emfile@1+'";
        place.run_to_its_end_under(failing, &["--workers", "0"]).exits(74).says(&["Too many open files"]);
        assert!(began.elapsed() > Duration::from_secs(29), "{:?}", began.elapsed());
    }
}

/// Rows 69 and 73: neither threads nor processes are to be had for a while.
#[test]
fn without_threads_and_processes_every_job_is_done_when_there_are_some_again() {
    let place = Place::new();
    let failures = 6 * times() as usize;
    let no_keeper = "keeper.start=eagain@1;".repeat(failures);
    let points = format!("export BEAVER_FAILPOINTS='{no_keeper}thread.start=eagain@1+' && ulimit -n 256");
    let server = place.start_under(&points, &FLAGS);
    let mut work = Work::begin(&place);
    let flood = Flood::begin(&place, &server, IDLE_IN_SHORT);
    for round in 0..20 {
        work.offer().unwrap_or_else(|refused| panic!("round {round}: {refused}"));
        work.deliver();
    }
    flood.leave(&server);
    work.is_done(&server);
    assert!(place.log().contains("this was no attempt"), "{}", place.log());
    server.kill9();
    let server = place.start(&FLAGS);
    work.is_done(&server);
    server.terminate();
}

/// Rows 62 and 72 together: no space, and few descriptors.
#[test]
fn on_a_full_disk_beside_idle_connections_what_was_accepted_is_done_and_ready_means_accepted() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount_at(place.path("disk"), "24m") else { return };
    fs::create_dir(place.path("disk/data")).unwrap();
    symlink("disk/data", place.path("data")).unwrap();
    let flags = [&FLAGS[..], &["--data-dir", "disk/data"]].concat();
    let server = place.start_under("ulimit -n 256", &flags);
    let mut work = Work::begin(&place);
    let flood = Flood::begin(&place, &server, IDLE_IN_SHORT);
    for _ in 0..5 {
        work.offer().unwrap();
    }
    for round in 0..times() {
        let ballast = disk.fill();
        let refused = wait("a full disk", None, || work.offer().err());
        assert!(refused.contains("the disk of the log is full"), "{refused}");
        let mut asked = Vec::new();
        for number in 0..10 {
            let id = format!("full-{round}-{number}");
            if is_accepted(&server, &id) {
                asked.push(id);
            }
        }
        work.accepted.extend(asked);
        fs::remove_file(ballast).unwrap();
        wait("jobs taken again", None, || work.offer().ok());
    }
    flood.leave(&server);
    work.deliver_all();
    work.is_done(&server);
    server.kill9();
    let server = place.start(&flags);
    work.is_done(&server);
    server.terminate();
}
