//! Jobs that are programs: they run, their results are kept, and nothing of them outlives what it should.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use beaver_actors::ids::Token;
use serde_json::{Value, json};

use crate::fwp_client::{self, Fwp};
use crate::harness::{Place, Server, count, is_alive, run, wait};

fn exec(id: &str, script: &str) -> Value {
    json!({"id": id, "kind": "exec", "payload": {"command": ["sh", "-c", script]}, "max_retry": 0})
}

fn start(place: &Place) -> Server {
    place.start(&["--workers", "2", "--allow-exec", "--stop-grace", "200ms"])
}

/// Waits until a file holds as many process ids as lines were asked for.
fn pids(file: &Path, lines: usize) -> Vec<u32> {
    wait(&format!("{lines} process ids in {}", file.display()), None, || {
        let text = fs::read_to_string(file).ok().filter(|text| text.ends_with('\n'))?;
        let pids: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
        (pids.len() >= lines).then_some(pids)
    })
}

fn until_gone(pids: &[u32]) {
    for &pid in pids {
        wait(&format!("end of process {pid}"), None, || (!is_alive(pid)).then_some(()));
    }
}

#[test]
fn a_program_runs_and_its_result_is_kept_across_a_kill() {
    let place = Place::new();
    let server = start(&place);
    let script =
        "cat; echo to stderr >&2; pwd; echo $NAME-$BEAVER_JOB_ID-$BEAVER_ATTEMPT; test -z \"$STRANGER\"";
    let payload = json!({
        "command": ["sh", "-c", script],
        "stdin": "from stdin\n",
        "env": {"NAME": "ada"},
        "cwd": "/",
    });
    server.enqueue([
        json!({"id": "good", "kind": "exec", "payload": payload}),
        exec("bad", "echo broken >&2; exit 3"),
        json!({"id": "missing", "kind": "exec", "payload": {"command": ["/no/such/program"]}, "max_retry": 0}),
    ]);
    server.until_job_is("bad", "dead");
    server.until_job_is("missing", "dead");
    let good = server.until_job_is("good", "completed");
    server.kill9();

    let server = start(&place);
    assert_eq!(server.job("good"), good);
    let result = &good["result"];
    assert_eq!(result["stdout"], "from stdin\n/\nada-good-1\n");
    assert_eq!((&result["stderr"], &result["exit_code"]), (&json!("to stderr\n"), &json!(0)));
    let bad = server.job("bad");
    assert_eq!(bad["result"]["exit_code"], 3);
    assert_eq!(bad["errors"][0]["failure"]["message"], "exit code 3: broken");
    let missing = server.job("missing")["errors"][0]["failure"]["message"].to_string();
    assert!(missing.contains("/no/such/program"), "{missing}");
}

#[test]
fn killed_in_the_middle_of_1000_programs_none_is_lost_and_none_runs_after_its_completion_was_logged() {
    // `BLACK_BOX_EXEC_JOBS=10000 cargo test --test black_box killed_in_the_middle` is the long form.
    let jobs: u64 = std::env::var("BLACK_BOX_EXEC_JOBS").map_or(1_000, |jobs| jobs.parse().unwrap());
    let place = Place::new();
    let flags = ["--workers", "8", "--allow-exec", "--retry-backoff", "10ms"];
    let runs = place.text("runs");
    let mut server = place.start(&flags);
    let script = "echo $BEAVER_JOB_ID $BEAVER_ATTEMPT $BEAVER_TOKEN >> $RUNS";
    server.enqueue((0..jobs).map(|number| {
        let payload = json!({"command": ["/bin/sh", "-c", script], "env": {"RUNS": runs}});
        json!({"id": format!("job-{number}"), "kind": "exec", "payload": payload, "max_retry": 10})
    }));
    // The tokens with which completions were logged, by job, as the log had them at the kills.
    let mut logged: BTreeMap<String, Token> = BTreeMap::new();
    for third in 1..=2 {
        server.until_completed(jobs * third / 3);
        server.kill9();
        let (rows, summary) = place.inspect("wal");
        assert_ne!(summary["verdict"], "damaged", "{summary}");
        for row in rows.iter().filter(|row| row["type"] == "ACK") {
            let job = row["job_id"].as_str().unwrap().to_owned();
            logged.insert(job, row["data"]["token"].as_str().unwrap().parse().unwrap());
        }
        assert!(logged.len() as u64 >= jobs * third / 3);
        assert!((logged.len() as u64) < jobs, "the kill came in the middle");
        server = place.start(&flags);
        assert!(count(&server.status(), "completed") >= logged.len() as u64);
    }
    let end = server.until_completed(jobs);
    assert_eq!((count(&end, "dead"), count(&end, "pending")), (0, 0), "{end}");

    let mut ran = BTreeSet::new();
    for line in fs::read_to_string(&runs).unwrap().lines() {
        let [job, attempt, token] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
        let token: Token = token.parse().unwrap();
        assert!(ran.insert((job.to_owned(), attempt.to_owned())), "an attempt ran twice: {line}");
        if let Some(completed) = logged.get(job) {
            assert!(token <= *completed, "it ran after its completion was logged with {completed}: {line}");
        }
    }
    let have_run: BTreeSet<_> = ran.iter().map(|(job, _)| job).collect();
    assert_eq!(have_run.len() as u64, jobs);
}

#[test]
fn the_programs_of_a_killed_server_are_ended_with_all_that_they_started() {
    let place = Place::new();
    let server = start(&place);
    let file = place.path("pids");
    let script = format!("sleep 600 & echo $! >> '{0}'; echo $$ >> '{0}'; wait", file.display());
    server.enqueue([exec("long", &script)]);
    let pids = pids(&file, 2);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    server.kill9();
    until_gone(&pids);
}

#[test]
fn a_program_over_its_timeout_is_ended_even_if_it_ignores_sigterm() {
    let place = Place::new();
    let server = start(&place);
    let file = place.path("pids");
    let script = format!(
        "trap '' TERM; sleep 600 & echo $! >> '{0}'; echo $$ >> '{0}'; wait; sleep 600",
        file.display()
    );
    let mut job = exec("stubborn", &script);
    job["timeout"] = json!("300ms");
    server.enqueue([job]);
    let pids = pids(&file, 2);
    let dead = server.until_job_is("stubborn", "dead");
    assert_eq!(dead["errors"][0]["failure"]["kind"], "timeout", "{dead}");
    until_gone(&pids);
    // Its worker is free again.
    server.enqueue([exec("next-1", "true"), exec("next-2", "true"), exec("next-3", "true")]);
    server.until_completed(3);
}

#[test]
fn a_cancelled_program_is_ended_and_stays_cancelled() {
    let place = Place::new();
    let server = start(&place);
    let file = place.path("pids");
    server.enqueue([exec("long", &format!("echo $$ >> '{}'; exec sleep 600", file.display()))]);
    let pids = pids(&file, 1);
    let ran = server.beaver(&place, &["cancel", "long"]).exits(0);
    assert_eq!(ran.stdout, "cancelled long\n");
    until_gone(&pids);
    assert_eq!(server.job("long")["status"], "cancelled");
    server.until("free workers", |status| status["workers"]["idle"] == 2);
}

/// Row 98.
#[test]
fn a_program_runs_where_it_was_queued_with_what_programs_need_and_at_most_once() {
    let place = Place::new();
    let server = start(&place);
    // The caller has a directory of its own; the server runs in that of the test.
    let caller = place.path("caller");
    fs::create_dir(&caller).unwrap();
    fs::write(caller.join("look.sh"), "pwd\nenv\n").unwrap();
    let mut command = place.command();
    command.current_dir(&caller).args(["enqueue", "--url", &server.url(), "--id", "look"]);
    run(command.args(["--", "sh", "./look.sh"]), b"").exits(0);
    let job = server.until_job_is("look", "completed");
    assert_eq!((&job["max_retry"], job["timeout_ms"].as_u64()), (&json!(0), Some(3_153_600_000_000)));
    let stdout = job["result"]["stdout"].as_str().unwrap();
    assert!(stdout.starts_with(&format!("{}\n", caller.canonicalize().unwrap().display())), "{stdout}");
    let ours =
        ["BEAVER_ATTEMPT", "BEAVER_JOB_ID", "BEAVER_STORE", "BEAVER_TOKEN", "OLDPWD", "PWD", "SHLVL", "_"];
    let names: BTreeSet<_> = stdout.lines().skip(1).map(|line| line.split_once('=').unwrap().0).collect();
    let given: Vec<_> = names.into_iter().filter(|name| !ours.contains(name)).collect();
    assert_eq!(given, ["HOME", "LANG", "PATH", "SHELL", "TZ", "USER"]);
    let told = server.beaver(&place, &["status", "look"]).exits(0).stdout;
    assert!(told.contains("up to 1 run if they fail") && told.contains("timeout   none"), "{told}");

    fs::remove_dir_all(&caller).unwrap();
    server.beaver(&place, &["enqueue", "--id", "gone", "--cwd", "caller", "--", "true"]).exits(0);
    let dead = server.until_job_is("gone", "dead");
    let message = dead["errors"][0]["failure"]["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("cwd {}: No such file", place.text("caller"))), "{message}");
    server.terminate();

    let flags =
        ["--allow-exec", "--exec-timeout", "200ms", "--exec-max-retry", "1", "--exec-env", "COLOUR=brown"];
    let server = place.start(&[&flags[..], &["--retry-backoff", "10ms"]].concat());
    server.enqueue([
        json!({"id": "slow", "kind": "exec", "payload": {"command": ["sh", "-c", "echo $COLOUR; sleep 60"]}}),
    ]);
    let dead = server.until_job_is("slow", "dead");
    assert_eq!((&dead["failed"], &dead["result"]["stdout"]), (&json!(2), &json!("brown\n")));
    server.enqueue([
        json!({"id": "free", "kind": "exec", "timeout": "none", "payload": {"command": ["sleep", "0.5"]}}),
    ]);
    server.until_job_is("free", "completed");
}

/// Row 73.
#[test]
fn programs_that_find_no_descriptor_are_started_later_and_none_of_them_has_failed() {
    let place = Place::new();
    let flags = ["--workers", "32", "--allow-exec", "--faktory-port", "off"];
    let server = place.start(&flags);
    // What it has kept back for them at its start is taken away by others.
    server.may_open(Some(100));
    server.enqueue((0..40).map(|number| exec(&format!("nap-{number}"), "sleep 0.5")));
    let end = server.until_completed(40);
    assert_eq!((count(&end, "dead"), count(&end, "cancelled")), (0, 0), "{end}");
    let metrics = server.get("/metrics").body;
    let of = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert!(of("queue_jobs_postponed_total") > 0.0, "32 programs need more than 100 descriptors");
    assert_eq!(of("queue_jobs_failed_total"), 0.0);
    let late = (0..40).map(|number| server.job(&format!("nap-{number}"))).find(|job| job["attempt"] != 1);
    let late = late.expect("one was postponed");
    assert_eq!((&late["errors"][0]["failure"]["kind"], &late["failed"]), (&json!("undelivered"), &json!(0)));
    assert!(place.log().contains("this was no attempt"), "and it is logged");
}

/// Row 90.
#[test]
fn what_a_cancelled_program_wrote_is_kept_and_its_id_is_free_when_it_has_ended() {
    let place = Place::new();
    let flags = ["--workers", "2", "--allow-exec", "--stop-grace", "5m"];
    let server = place.start(&flags);
    let (up, go) = (place.text("up"), place.text("go"));
    let script = format!(
        "trap 'until test -e \"{go}\"; do :; done; echo tidied; exit 1' TERM; echo half; touch '{up}'; while :; do :; done"
    );
    server.enqueue([exec("painter-1", &script)]);
    wait("the program", None, || fs::exists(&up).unwrap().then_some(()));
    let cancelled = server.request("DELETE", "/api/v1/jobs/painter-1", "");
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);

    let again = exec("painter-1", "echo second");
    let refused = server.post(format!("{}\n{again}\n", exec("other", "true")));
    let told = &refused.json()["error"];
    assert_eq!((refused.status, &told["code"], &told["index"]), (409, &json!("ending"), &json!(2)), "{told}");
    assert_eq!(server.get("/api/v1/jobs/other").status, 404, "all or none");
    let pushed = Fwp::producer(&place).ask(&format!("PUSH {}", fwp_client::job("painter-1")));
    assert!(pushed.starts_with("-ERR") && pushed.contains("still ending"), "{pushed}");
    let ran = server.beaver(&place, &["enqueue", "--id", "painter-1", "--", "true"]).exits(5);
    assert!(ran.stderr.contains("painter-1") && ran.stderr.contains("still ending"), "{}", ran.told());

    fs::write(go, "").unwrap();
    let kept =
        wait("its output", None, || Some(server.job("painter-1")).filter(|job| !job["result"].is_null()));
    assert_eq!((&kept["status"], &kept["result"]["stdout"]), (&json!("cancelled"), &json!("half\ntidied\n")));
    server.kill9();
    let server = place.start(&flags);
    assert_eq!(server.job("painter-1")["result"], kept["result"]);
    server.enqueue([again]);
    assert_eq!(server.until_job_is("painter-1", "completed")["result"]["stdout"], "second\n");
}

/// Row 90: discarded jobs leave nothing behind, and neither does their id.
#[test]
fn the_id_of_a_discarded_program_is_free_when_it_has_ended_and_at_once_if_it_never_ran() {
    let place = Place::new();
    let server = place.start(&["--workers", "1", "--allow-exec", "--stop-grace", "5m"]);
    let (up, go) = (place.text("up"), place.text("go"));
    let script =
        format!("trap 'until test -e \"{go}\"; do :; done; exit' TERM; touch '{up}'; while :; do :; done");
    server.enqueue([exec("runs", &script)]);
    wait("the program", None, || fs::exists(&up).unwrap().then_some(()));
    server.enqueue([exec("waits", "true")]);
    let filter = json!({"action": "discard", "status": "pending", "filter": {"ids": ["waits"]}});
    assert_eq!(server.request("POST", "/api/v1/jobs/actions", filter.to_string()).json()["changed"], 1);
    let filter = json!({"action": "discard", "status": "in_flight", "filter": {"ids": ["runs"]}});
    assert_eq!(server.request("POST", "/api/v1/jobs/actions", filter.to_string()).json()["changed"], 1);
    server.enqueue([exec("waits", "true")]);
    assert_eq!(server.post(exec("runs", "true").to_string()).status, 409);
    fs::write(go, "").unwrap();
    wait("a free id", None, || (server.post(exec("runs", "true").to_string()).status == 201).then_some(()));
    server.until_completed(2);
}

#[test]
fn a_program_that_leaves_a_child_with_its_output_open_does_not_hold_the_worker() {
    let place = Place::new();
    let server = place.start(&["--workers", "1", "--allow-exec"]);
    let file = place.path("pids");
    let script = format!("sleep 600 & echo $! >> '{}'; echo done", file.display());
    server.enqueue([exec("leaves", &script), exec("next", "true")]);
    let job = server.until_job_is("leaves", "completed");
    assert_eq!(job["result"]["stdout"], "done\n");
    server.until_job_is("next", "completed");
    until_gone(&pids(&file, 1));
}

#[test]
fn a_flood_of_output_is_kept_in_part_and_counted_in_full() {
    let place = Place::new();
    let server = start(&place);
    server.enqueue([exec("flood", "head -c 3000000 /dev/zero | tr '\\0' x; echo end")]);
    let job = server.until_job_is("flood", "completed");
    assert_eq!(job["result"]["stdout_bytes"], 3_000_004);
    let stdout = job["result"]["stdout"].as_str().unwrap();
    assert!(stdout.len() < 140_000 && stdout.starts_with("xxx") && stdout.ends_with("xend\n"));
}

#[test]
fn exec_jobs_wait_where_they_are_not_allowed_and_status_says_so() {
    let place = Place::new();
    let server = place.start(&["--workers", "2"]);
    let ran = server.beaver(&place, &["enqueue", "--id", "waits", "--", "true"]).exits(0);
    assert_eq!(ran.stdout, "waits\n");
    server.enqueue([json!({"id": "passes", "kind": "noop"})]);
    server.until_job_is("passes", "completed");
    assert_eq!(server.job("waits")["status"], "pending");
    assert_eq!(server.status()["waiting_for_worker"], json!([{"kind": "exec", "pending": 1}]));
    let told = server.beaver(&place, &["status"]).exits(0).stdout;
    assert!(told.contains("1 job of kind \"exec\" waits: no worker here handles it"), "{told}");
    server.terminate();
    let server = start(&place);
    server.until_job_is("waits", "completed");
    assert!(place.log().contains("exec is on"), "a server with exec says so");
}
