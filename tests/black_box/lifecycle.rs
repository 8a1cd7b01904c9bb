//! Start, stop, and standing idle; and the demo, which shows all of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::files::snapshots;
use crate::fwp_client::{Fwp, job};
use crate::harness::{Place, Server, count, cpu_ticks_in, wait};
use crate::http_client::request;

fn sleeper(id: &str, sleep_ms: u64) -> Value {
    json!({"id": id, "kind": "simulate", "payload": {"sleep_ms": sleep_ms, "fail_rate": 0}})
}

fn until_draining(server: &Server) {
    wait("a draining server", None, || (server.get("/readyz").json()["phase"] == "draining").then_some(()));
}

#[test]
fn sigterm_lets_running_jobs_end_and_the_next_start_replays_nothing() {
    let place = Place::new();
    let server = place.start(&["--workers", "4"]);
    server.enqueue(["a", "b", "c", "d"].map(|id| sleeper(id, 500)));
    server.enqueue(["later-1", "later-2"].map(|id| json!({"id": id, "kind": "nobody"})));
    server.until("four running jobs", |status| count(status, "in_flight") == 4);
    server.signal(Signal::TERM);
    until_draining(&server);
    let mut server = server;
    assert_eq!(server.ended().code(), Some(0), "{}", place.log());

    assert_eq!(snapshots(&place).len(), 1);
    assert!(!place.data("http.addr").exists());
    let (rows, summary) = place.inspect("snapshot");
    assert_eq!((rows.len(), &summary["verdict"]), (6, &json!("whole")));
    let server = place.start(&["--workers", "4"]);
    let status = server.status();
    assert_eq!(status["recovery"]["events"], 0, "{status}");
    assert_eq!(status["recovery"]["snapshot_jobs"], 6, "{status}");
    assert_eq!((count(&status, "completed"), count(&status, "pending")), (4, 2));
    server.terminate();
}

/// A restart costs producers nothing: what they are told is accepted is on disk, up to the last moment.
#[test]
fn new_jobs_are_accepted_while_the_server_drains_and_run_after_the_next_start() {
    let place = Place::new();
    let mut server = place.start(&["--workers", "2"]);
    let (mut producer, mut worker) = (Fwp::producer(&place), Fwp::worker(&place, "ours"));
    server.enqueue(["a", "b"].map(|id| sleeper(id, 1_500)));
    server.until("two running jobs", |status| count(status, "in_flight") == 2);
    server.signal(Signal::TERM);
    until_draining(&server);
    // Both doors are open, one by one and in bulk.
    let mut accepted: Vec<String> =
        ["one", "two", "three", "pushed-01", "bulk-0001", "bulk-0002"].map(str::to_owned).into();
    server.enqueue([json!({"id": "one", "kind": "noop"})]);
    server.enqueue(["two", "three"].map(|id| json!({"id": id, "kind": "noop"})));
    let noop = |jid: &str| json!({"jid": jid, "jobtype": "noop", "args": []});
    producer.push(&noop("pushed-01"));
    let bulk = json!([noop("bulk-0001"), noop("bulk-0002")]);
    assert_eq!(producer.ask(&format!("PUSHB {bulk}")), "{}");
    assert_eq!(server.get("/readyz").status, 200);
    assert!(server.get("/metrics").body.contains("\nqueue_accepts_jobs 1\n"));
    // Nobody gets one: not here, not elsewhere.
    assert_eq!(worker.ask("FETCH default"), "-ERR shutdown in progress");
    let status = server.status();
    assert_eq!((count(&status, "in_flight"), count(&status, "pending")), (2, 6), "{status}");
    // Up to its last moment: accepted, or told that it is too late, or nobody is there any more.
    let mut refused = Vec::new();
    let address = server.address().to_owned();
    for number in 0.. {
        let id = format!("late-{number}");
        let is_ready = |()| request(&address, "GET", "/readyz", b"").is_ok_and(|answer| answer.status == 200);
        let before = is_ready(());
        let offered = request(
            &address,
            "POST",
            "/api/v1/jobs",
            json!({"id": id, "kind": "noop"}).to_string().as_bytes(),
        );
        let was_ready = (before, is_ready(()));
        match offered {
            Ok(answer) if answer.status == 201 => {
                assert_ne!(was_ready, (false, false), "{id} was accepted");
                accepted.push(id);
            }
            Ok(answer) => {
                answer.refuses(503, "stopping", &[]);
                assert_ne!(was_ready, (true, true), "{id} was refused");
                refused.push(id);
            }
            // Without an answer it may be there or not.
            Err(_) => break,
        }
    }
    assert!(accepted.len() > 10, "{accepted:?}");
    assert_eq!(server.ended().code(), Some(0), "{}", place.log());

    let server = place.start(&["--workers", "2"]);
    for id in accepted.iter().map(String::as_str).chain(["a", "b"]) {
        let job = server.until_job_is(id, "completed");
        assert_eq!(job["attempt"], 1, "{job}");
    }
    for id in refused {
        assert_eq!(server.get(&format!("/api/v1/jobs/{id}")).status, 404, "{id}");
    }
    server.terminate();
}

#[test]
fn a_server_that_is_not_to_come_back_refuses_new_jobs_from_the_first_signal_on() {
    let place = Place::new();
    let mut server = place.start(&["--workers", "1", "--refuse-while-draining"]);
    let mut producer = Fwp::producer(&place);
    server.enqueue([sleeper("walk", 1_000)]);
    server.until_job_is("walk", "in_flight");
    server.signal(Signal::TERM);
    until_draining(&server);
    wait("a closed door", None, || (server.get("/readyz").status == 503).then_some(()));
    server.post(r#"{"kind":"noop"}"#).refuses(503, "stopping", &[]);
    assert!(server.get("/metrics").body.contains("\nqueue_accepts_jobs 0\n"));
    assert_eq!(producer.ask(&format!("PUSH {}", job("late-0001"))), "-ERR shutdown in progress");
    assert_eq!(server.ended().code(), Some(0), "{}", place.log());
    let server = place.start(&["--workers", "1"]);
    let status = server.status();
    assert_eq!((count(&status, "completed"), count(&status, "pending")), (1, 0), "{status}");
    server.terminate();
}

#[test]
fn jobs_that_do_not_end_in_time_are_stopped_and_run_again_without_losing_an_attempt() {
    let place = Place::new();
    let server = place.start(&["--workers", "1", "--drain-timeout", "100ms"]);
    server.enqueue([sleeper("long", 600_000)]);
    server.until_job_is("long", "in_flight");
    server.terminate();
    let server = place.start(&["--workers", "1"]);
    let job = server.until_job_is("long", "in_flight");
    assert_eq!(job["errors"][0]["failure"]["kind"], "lost", "{job}");
}

#[test]
fn a_second_signal_ends_the_server_at_once_and_loses_nothing() {
    for (first, second, code) in [(Signal::TERM, Signal::TERM, 143), (Signal::TERM, Signal::INT, 130)] {
        let place = Place::new();
        let mut server = place.start(&["--workers", "1"]);
        server.enqueue([sleeper("long", 600_000), sleeper("next", 1)]);
        server.until_job_is("long", "in_flight");
        server.signal(first);
        until_draining(&server);
        let asked = Instant::now();
        // One that comes at once is one with the first, so it is sent until it counts.
        let ended = wait("the end of the server", None, || {
            server.signal(second);
            server.has_ended()
        });
        assert_eq!(ended.code(), Some(code));
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        let server = place.start(&["--workers", "2"]);
        server.until_job_is("next", "completed");
        assert_eq!(server.job("long")["status"], "in_flight");
    }
}

/// Row 78.
#[test]
fn every_signal_that_stops_lets_running_jobs_end_even_if_it_comes_twice_at_once() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT, Signal::POWER, Signal::XCPU] {
        let place = Place::new();
        let mut server = place.start(&["--workers", "1"]);
        server.enqueue([sleeper("walk", 600)]);
        server.until_job_is("walk", "in_flight");
        server.signal(signal);
        server.signal(signal);
        assert_eq!(server.ended().code(), Some(0), "{signal:?}: {}", place.log());
        let server = place.start(&[]);
        assert_eq!(server.job("walk")["status"], "completed", "{signal:?}");
    }
}

/// Row 78.
#[test]
fn signals_that_mean_nothing_are_named_in_the_log_and_end_nothing() {
    let place = Place::new();
    let server = place.start(&["--workers", "1"]);
    let signals = [Signal::USR1, Signal::USR2, Signal::ALARM, Signal::VTALARM, Signal::PROF, Signal::IO];
    for (signal, name) in signals.into_iter().zip(["USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO"]) {
        server.signal(signal);
        let named = format!("SIG{name} means nothing");
        wait(&named, None, || place.log().contains(&named).then_some(()));
    }
    server.enqueue([sleeper("after", 0)]);
    server.until_completed(1);
    server.terminate();
}

/// Row 78.
#[test]
fn sighup_reads_the_configuration_again_and_says_what_needs_a_restart() {
    let place = Place::new();
    let file = place.write("beaver.yaml", "log: warn\n");
    let server = place.start(&["--workers", "1", "--config", &file]);
    assert!(!place.log().contains(r#""level":"INFO""#), "{}", place.log());
    let after_hangup = |content: &str, told: &str| {
        let before = place.log().len();
        place.write("beaver.yaml", content);
        server.signal(Signal::HUP);
        wait(told, None, || Some(place.log()[before..].to_owned()).filter(|log| log.contains(told)))
    };
    let told =
        after_hangup("log: info\nmax_retry: 7\n", "these have changed, and count after a restart: max_retry");
    assert!(told.contains(r#""level":"INFO""#) && told.contains("was read again"), "{told}");
    server.enqueue([sleeper("seen", 0)]);
    let told = after_hangup("log: beaver=loud\n", "SIGHUP: the configuration stays as it was");
    assert!(told.contains("beaver.yaml:1") && told.contains("is not a log filter"), "{told}");
    after_hangup("log: error\n", "");
    wait("silence", None, || {
        let before = place.log().len();
        server.signal(Signal::USR1);
        // What is not written cannot be waited for; the next answer comes after it.
        (server.status()["workers"]["count"] == 1 && place.log().len() == before).then_some(())
    });
    assert_eq!(server.job("seen")["max_retry"], 3, "that needs a restart");
    server.terminate();
}

#[test]
fn an_idle_server_uses_no_measurable_processor_time() {
    const WINDOW: Duration = Duration::from_secs(3);
    let place = Place::new();
    let server = place.start(&["--workers", "8", "--allow-exec"]);
    server.enqueue((0..100).map(|number| json!({"id": format!("done-{number}"), "kind": "noop"})));
    server.enqueue([
        json!({"id": "later", "kind": "noop", "delay": "1h"}),
        json!({"id": "waits", "kind": "nobody"}),
        sleeper("runs", 600_000),
    ]);
    server.until_completed(100);
    // What the start and the last requests left to do is done when a while has passed without any.
    wait("a quiet moment", None, || {
        (cpu_ticks_in(server.pid(), Duration::from_millis(200)) == 0).then_some(())
    });
    let used = cpu_ticks_in(server.pid(), WINDOW);
    assert!(used <= 2, "{used} ticks in {WINDOW:?}");
}

#[test]
fn a_scheduled_job_runs_when_it_is_due_and_a_retry_after_its_delay() {
    let place = Place::new();
    let server = place.start(&["--workers", "2", "--retry-backoff", "100ms"]);
    let fails = json!({"sleep_ms": 0, "fail_rate": 1});
    server.enqueue([
        json!({"id": "later", "kind": "noop", "delay": "300ms"}),
        json!({"id": "fails", "kind": "simulate", "payload": fails, "max_retry": 1}),
        json!({"id": "slow", "kind": "simulate", "payload": {"sleep_ms": 600_000}, "timeout": "100ms", "max_retry": 0}),
    ]);
    let moment = |value: &Value| -> jiff::Timestamp { value.as_str().unwrap().parse().unwrap() };
    let later = server.until_job_is("later", "completed");
    let waited = moment(&later["finished_at"]).duration_since(moment(&later["created_at"]));
    assert!(waited.as_millis() >= 300, "{later}");
    let dead = server.until_job_is("fails", "dead");
    let (first, second) = (&dead["errors"][0], &dead["errors"][1]);
    // Up to a half of the delay is taken off at random.
    assert!(moment(&second["at"]).duration_since(moment(&first["at"])).as_millis() >= 50, "{dead}");
    assert_eq!((&dead["attempt"], &second["failure"]["kind"]), (&json!(2), &json!("error")));
    let slow = server.until_job_is("slow", "dead");
    assert_eq!(slow["errors"][0]["failure"]["kind"], "timeout", "{slow}");
}

#[test]
fn snapshots_are_taken_while_jobs_run_and_the_log_before_them_goes() {
    let place = Place::new();
    let flags = ["--workers", "4", "--snapshot-interval", "50ms", "--segment-bytes", "64KiB"];
    let server = place.start(&flags);
    let filler = "x".repeat(1_000);
    for batch in 0..30 {
        server.enqueue((0..50).map(|number| {
            json!({"id": format!("job-{batch}-{number}"), "kind": "noop", "payload": {"filler": filler}})
        }));
    }
    server.until_completed(1_500);
    let segment = |place: &Place| {
        let first = crate::files::segments(place).remove(0);
        first.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap()
    };
    wait("deleted segments", None, || (segment(&place) > 1).then_some(()));
    let two = wait("two snapshots", None, || Some(snapshots(&place)).filter(|all| all.len() == 2));
    assert!(two[0] < two[1]);
    server.kill9();
    let server = place.start(&flags);
    let status = server.status();
    assert_eq!(count(&status, "completed"), 1_500, "{status}");
    assert!(status["recovery"]["snapshot_jobs"].as_u64().unwrap() > 0, "{status}");
}

#[test]
fn the_log_is_json_lines_and_shows_the_tree_of_actors() {
    let place = Place::new();
    let server = place.start(&["--workers", "2"]);
    // It answers requests a moment before it says so.
    wait("line that says ready", None, || place.log().contains(r#""message":"ready""#).then_some(()));
    server.terminate();
    let log = place.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for actor in
        ["wal", "manager", "snapshot", "worker[0]", "worker[1]"].map(|name| format!("supervisor/{name}"))
    {
        let is_start = |line: &&Value| line["actor"] == actor.as_str() && line["message"] == "started";
        assert!(lines.iter().any(|line| is_start(&line)), "{actor} is missing in\n{log}");
    }
    let ready = lines.iter().find(|line| line["message"] == "ready").unwrap();
    assert!(ready["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{ready}");
}

#[test]
fn the_demo_loses_nothing() {
    let place = Place::new();
    let ran = place.beaver(&["demo"]).exits(0);
    let row = |name: &str| {
        let line = ran.stdout.lines().rfind(|line| line.trim().starts_with(name));
        line.unwrap_or_else(|| panic!("{name} is missing: {}", ran.told())).split_whitespace().last().unwrap()
    };
    assert_eq!((row("enqueued"), row("lost"), row("run again after completion")), ("300", "0", "0"));
    assert!(ran.stdout.ends_with("Every job is accounted for.\n"), "{}", ran.told());
}

/// Row 96.
#[test]
fn the_data_directory_is_for_its_user_alone_and_one_that_is_not_is_told_or_closed() {
    let place = Place::new();
    let mode = || fs::metadata(place.path("data")).unwrap().permissions().mode() & 0o777;
    // With an ordinary mask, and programs allowed.
    place.start_under("umask 022", &["--workers", "0", "--allow-exec"]).terminate();
    assert_eq!(mode(), 0o700);
    fs::set_permissions(place.path("data"), Permissions::from_mode(0o755)).unwrap();
    place.start(&["--workers", "0"]).terminate();
    assert_eq!(mode(), 0o755, "it may be so on purpose");
    assert!(place.log().contains("chmod 700"), "{}", place.log());
    place.start(&["--workers", "0", "--allow-exec"]).terminate();
    assert_eq!(mode(), 0o700);
}

/// Row 95.
#[test]
fn a_server_starts_though_port_and_lock_of_the_one_before_are_held_for_a_moment() {
    let place = Place::new();
    place.start(&["--workers", "0"]).terminate();
    // Both held, as by a process that the kernel has not taken down yet.
    let [http, fwp] = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = [&http, &fwp].map(|listener| listener.local_addr().unwrap().port().to_string());
    let lock = fs::File::options().write(true).open(place.data("lock")).unwrap();
    lock.try_lock().unwrap();
    let log = place.path("server.log");
    let told = |what: &str| wait(what, Some(&log), || place.log().contains(what).then_some(()));
    let server = std::thread::scope(|scope| {
        scope.spawn(|| {
            told("the address is in use: it is tried again");
            drop((http, fwp));
            told("the directory is in use: it is tried again");
            drop(lock);
        });
        place.start(&["--workers", "0", "--metrics-port", &ports[0], "--faktory-port", &ports[1]])
    });
    assert!(server.address().ends_with(&ports[0]));
    server.terminate();
}
