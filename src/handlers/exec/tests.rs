//! The handler as the engine sees it, with real programs.

use std::time::{Duration, Instant};

use beaver_actors::api::handler::{JobError, JobHandler, StopReason, StopSender};
use beaver_actors::jobs::Payload;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::capture::KEPT_BYTES;
use super::environment::Environment;
use super::keeper::KeeperProgram;
use super::mark::KEEPER_VARIABLE;
use super::process::{Process, parse_pid};
use super::testing::{Notes, SURELY, any_mark, assert_ends, test_keeper};
use super::{ExecHandler, keeper};
use crate::handlers::testing::{TOKEN, run_of};

/// Longer than any test: a program that needs it all is a failed test.
const LONG: Duration = Duration::from_secs(300);

type Outcome = Result<Option<Payload>, JobError>;

fn handler(stop_grace: Duration) -> ExecHandler {
    ExecHandler::with_keepers(test_keeper(), variables(), any_mark(), stop_grace)
}

/// What every program of these tests gets.
fn variables() -> Environment {
    [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("COLOUR", "red")]
        .map(|(name, value)| (name.into(), value.into()))
        .into()
}

/// What the keepers of these tests run: there is no `beaver` here that could be one. Run by anybody else, it is nothing.
#[test]
fn keeper_of_these_tests() {
    if std::env::var_os(KEEPER_VARIABLE).is_some() {
        keeper::run(std::iter::empty());
    }
}

fn start(stop_grace: Duration, payload: &Value) -> (StopSender, JoinHandle<Outcome>) {
    let (sender, job) = run_of(&payload.to_string());
    (sender, tokio::spawn(handler(stop_grace).run(job)))
}

async fn end_of(run: JoinHandle<Outcome>) -> Outcome {
    tokio::time::timeout(SURELY, run).await.expect("the run does not end").unwrap()
}

async fn outcome(payload: Value) -> Outcome {
    let (_sender, run) = start(LONG, &payload);
    end_of(run).await
}

/// The result of a job that succeeds.
async fn result(payload: Value) -> Value {
    outcome(payload).await.unwrap().unwrap().read().unwrap()
}

/// Message and result of a job that fails.
fn failure(outcome: Outcome) -> (String, Value) {
    let error = outcome.expect_err("this job must fail");
    let result = error.result.map_or(Value::Null, |result| result.read().unwrap());
    (error.message, result)
}

fn shell(script: &str) -> Value {
    json!({"command": ["sh", "-c", script]})
}

/// A script that can call `note TEXT`. One that has set a trap spins after its note instead of sleeping: a
/// shell that is just starting a program, or about to wait for one, may swallow a signal.
fn shell_with_notes(notes: &Notes, script: &str) -> Value {
    shell(&format!("note() {{ echo $1 > '{}'; }}; {script}", notes.path().display()))
}

fn pid_in(text: &Value) -> Pid {
    parse_pid(text.as_str().unwrap().trim()).unwrap()
}

#[tokio::test]
async fn exit_code_0_is_success_and_the_output_is_kept() {
    let result = result(shell("echo out; echo err >&2")).await;
    assert_eq!(result["exit_code"], 0);
    assert_eq!(result["stdout"], "out\n");
    assert_eq!(result["stderr"], "err\n");
    assert_eq!((&result["stdout_bytes"], &result["stderr_bytes"]), (&json!(4), &json!(4)));
    assert!(result["duration_ms"].is_u64());
    assert_eq!(result.get("signal"), None);
}

#[tokio::test]
async fn another_exit_code_is_a_failure_that_quotes_stderr_and_keeps_the_output() {
    let (message, result) = failure(outcome(shell("echo out; echo first >&2; echo why >&2; exit 3")).await);
    assert_eq!(message, "exit code 3: why");
    assert_eq!((&result["exit_code"], &result["stdout"]), (&json!(3), &json!("out\n")));
    let (message, _) = failure(outcome(shell("exit 4")).await);
    assert_eq!(message, "exit code 4");
}

#[tokio::test]
async fn death_by_a_signal_is_a_failure_that_names_it() {
    let (message, result) = failure(outcome(shell("kill -KILL $$")).await);
    assert_eq!(message, "signal: 9 (SIGKILL)");
    assert_eq!((&result["signal"], result.get("exit_code")), (&json!(9), None));
}

#[tokio::test]
async fn a_program_that_must_stop_may_tidy_up_after_sigterm() {
    let mut notes = Notes::new();
    let script = "trap 'echo tidied; exit 0' TERM; note up; while :; do :; done";
    let (sender, run) = start(LONG, &shell_with_notes(&notes, script));
    notes.next().await;
    sender.stop(StopReason::Timeout);
    let (message, result) = failure(end_of(run).await);
    assert_eq!(message, "stopped (timeout): exit code 0");
    assert_eq!(result["stdout"], "tidied\n");
}

#[tokio::test]
async fn the_grace_is_for_the_whole_group_and_not_only_for_its_leader() {
    let mut notes = Notes::new();
    // The leader dies of SIGTERM at once; what it started needs longer than a drain to tidy up.
    let script = "(trap 'sleep 1; echo tidied; exit' TERM; note up; while :; do :; done) & wait";
    let (sender, run) = start(LONG, &shell_with_notes(&notes, script));
    notes.next().await;
    sender.stop(StopReason::Cancelled);
    let (message, result) = failure(end_of(run).await);
    assert_eq!(message, "stopped (cancelled): signal: 15 (SIGTERM)");
    assert_eq!(result["stdout"], "tidied\n");
}

#[tokio::test]
async fn a_program_that_ignores_sigterm_is_killed_with_its_group_after_the_grace() {
    let mut notes = Notes::new();
    let grace = Duration::from_millis(200);
    let script = "trap '' TERM; sleep 300 & note $!; note $$; wait; sleep 300";
    let (sender, run) = start(grace, &shell_with_notes(&notes, script));
    let (grandchild, leader) = (notes.next_pid().await, notes.next_pid().await);
    let stopped_at = Instant::now();
    sender.stop(StopReason::Timeout);
    let (message, _) = failure(end_of(run).await);
    assert_eq!(message, "stopped (timeout): signal: 9 (SIGKILL)");
    assert!(stopped_at.elapsed() >= grace);
    assert_ends(grandchild);
    assert_ends(leader);
}

#[tokio::test]
async fn a_stopped_program_can_be_ended() {
    let mut notes = Notes::new();
    let (sender, run) = start(LONG, &shell_with_notes(&notes, "note $$; kill -STOP $$"));
    notes.next().await;
    sender.stop(StopReason::Shutdown);
    assert!(failure(end_of(run).await).0.starts_with("stopped (shutdown)"));
}

#[tokio::test]
async fn a_job_that_must_stop_before_its_program_is_up_stops_too() {
    let (sender, run) = start(LONG, &json!({"command": ["sleep", "300"]}));
    sender.stop(StopReason::Cancelled);
    assert_eq!(failure(end_of(run).await).0, "stopped (cancelled): signal: 15 (SIGTERM)");
}

#[tokio::test]
async fn a_background_program_that_holds_the_output_does_not_hold_the_worker_and_ends_with_the_job() {
    let begin = Instant::now();
    let result = result(shell("sleep 300 & echo $!")).await;
    assert!(begin.elapsed() >= super::run::DRAIN, "its output might still have come");
    assert_ends(pid_in(&result["stdout"]));
}

#[tokio::test]
async fn a_background_program_that_let_go_of_the_output_ends_with_the_job_too() {
    let result = result(shell("sleep 300 >/dev/null 2>&1 & echo $!")).await;
    assert_ends(pid_in(&result["stdout"]));
}

#[tokio::test]
async fn a_program_that_closes_its_output_and_works_on_is_waited_for() {
    let (message, result) = failure(outcome(shell("exec >&- 2>&-; sleep 0.1; exit 7")).await);
    assert_eq!((message.as_str(), &result["stdout_bytes"]), ("exit code 7", &json!(0)));
}

#[tokio::test]
async fn endless_output_is_kept_in_part_and_ended_by_a_stop() {
    let mut notes = Notes::new();
    let script = "yes | head -c 10000000; note up; exec yes";
    let (sender, run) = start(LONG, &shell_with_notes(&notes, script));
    notes.next().await;
    sender.stop(StopReason::Timeout);
    let (_, result) = failure(end_of(run).await);
    let bytes = result["stdout_bytes"].as_u64().unwrap();
    assert!(bytes >= 10_000_000);
    let stdout = result["stdout"].as_str().unwrap();
    let left_out = format!("\n[... {} bytes left out ...]\n", bytes - 2 * KEPT_BYTES as u64);
    assert_eq!(stdout.len(), 2 * KEPT_BYTES + left_out.len());
    assert!(stdout.starts_with("y\ny\n") && stdout.contains(&left_out));
}

#[tokio::test]
async fn the_environment_is_that_of_the_job_and_of_the_operator_and_nothing_else() {
    let result = result(json!({"command": ["env"], "env": {"COLOUR": "brown"}})).await;
    let mut lines: Vec<&str> = result["stdout"].as_str().unwrap().lines().collect();
    lines.sort_unstable();
    let (store, others): (Vec<&str>, Vec<&str>) =
        lines.into_iter().partition(|line| line.starts_with("BEAVER_STORE="));
    let token = format!("BEAVER_TOKEN={TOKEN}");
    let path = "PATH=/usr/local/bin:/usr/bin:/bin";
    assert_eq!(others, ["BEAVER_ATTEMPT=1", "BEAVER_JOB_ID=order-17", &token, "COLOUR=brown", path]);
    assert_eq!(store.len(), 1);
}

#[tokio::test]
async fn a_program_runs_where_and_along_the_path_that_the_job_says() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    std::os::unix::fs::symlink("/bin/pwd", dir.join("where")).unwrap();
    let result = result(json!({"command": ["where"], "cwd": dir, "env": {"PATH": dir}})).await;
    assert_eq!(result["stdout"], format!("{}\n", dir.display()));
}

#[tokio::test]
async fn what_cannot_be_started_is_named() {
    for (payload, named) in [
        (json!({"command": ["no-such-program"]}), "program no-such-program: not found in "),
        (json!({"command": ["/etc/passwd"]}), "program /etc/passwd: Permission denied"),
        (json!({"command": ["true"], "cwd": "/nowhere"}), "cwd /nowhere: No such file"),
        (json!({"command": ["true"], "cmd": 1}), "payload: unknown field `cmd`"),
        (json!({"command": ["true", "x".repeat(1 << 20)]}), "true: Argument list too long"),
    ] {
        let (message, result) = failure(outcome(payload).await);
        assert!(message.contains(named), "{message}");
        assert_eq!(result, Value::Null);
    }
}

#[tokio::test]
async fn stdin_arrives_whole_and_ends() {
    let text = "é".repeat(KEPT_BYTES);
    let result = result(json!({"command": ["cat"], "stdin": text})).await;
    assert_eq!(result["stdout"], text);
    let without = super::tests::result(json!({"command": ["cat"]})).await;
    assert_eq!(without["stdout_bytes"], 0);
}

#[tokio::test]
async fn a_program_need_not_read_its_stdin() {
    let text = "x".repeat(8 << 20);
    assert_eq!(result(json!({"command": ["true"], "stdin": text})).await["exit_code"], 0);

    let (sender, run) = start(LONG, &json!({"command": ["sleep", "300"], "stdin": text}));
    sender.stop(StopReason::Timeout);
    assert_eq!(failure(end_of(run).await).0, "stopped (timeout): signal: 15 (SIGTERM)");
}

#[tokio::test]
async fn unread_stdin_in_the_hands_of_a_background_program_delays_nothing() {
    let script = "exec 3<&0; sleep 300 <&3 >/dev/null 2>&1 & echo $!";
    let mut payload = shell(script);
    payload["stdin"] = json!("x".repeat(8 << 20));
    assert_ends(pid_in(&result(payload).await["stdout"]));
}

#[tokio::test]
async fn dropping_the_run_kills_the_group() {
    let mut notes = Notes::new();
    let script = "trap '' TERM; sleep 300 & note $!; note $$; wait";
    let (_sender, run) = start(LONG, &shell_with_notes(&notes, script));
    let (grandchild, leader) = (notes.next_pid().await, notes.next_pid().await);
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    assert_ends(grandchild);
    assert_ends(leader);
}

/// Row 77.
#[tokio::test]
async fn what_left_the_group_the_session_and_its_parent_ends_with_the_job() {
    for way in [
        "setsid sleep 300 & echo $!",
        "env -i setsid sleep 300 >/dev/null & echo $!",
        "(setsid sh -c 'echo $$; exec sleep 300 >/dev/null 2>&1' & sleep 0.1) & wait",
        "setsid sh -c 'trap \"\" TERM; echo $$; exec sleep 300' & sleep 0.1",
    ] {
        let (_sender, run) = start(Duration::from_millis(200), &shell(way));
        let result: Value = end_of(run).await.unwrap().unwrap().read().unwrap();
        let left = Process::open(pid_in(&result["stdout"]));
        assert!(left.is_err(), "{way}: it was reaped before the job ended");
    }
}

/// Row 77.
#[tokio::test]
async fn a_stop_reaches_what_left_the_group_and_lets_it_tidy_up() {
    let mut notes = Notes::new();
    let script = "setsid sh -c 'trap \"echo tidied; exit\" TERM; echo up > \"$0\"; while :; do :; done' \"$NOTES\" & wait";
    let mut payload = shell(script);
    payload["env"] = json!({"NOTES": notes.path(), "PATH": "/usr/bin:/bin"});
    let (sender, run) = start(LONG, &payload);
    notes.next().await;
    sender.stop(StopReason::Timeout);
    let (message, result) = failure(end_of(run).await);
    assert_eq!(message, "stopped (timeout): signal: 15 (SIGTERM)");
    assert_eq!(result["stdout"], "tidied\n");
}

#[tokio::test]
async fn a_keeper_takes_the_next_program_when_nothing_is_left_of_the_last() {
    let handler = handler(LONG);
    let mut parents = Vec::new();
    for script in ["echo $PPID", "echo $PPID; exit 1", "echo $PPID; kill -KILL $$"] {
        let (_sender, job) = run_of(&shell(script).to_string());
        let outcome = end_of(tokio::spawn(handler.run(job))).await;
        let result = outcome.unwrap_or_else(|error| error.result).unwrap();
        parents.push(pid_in(&result.read::<Value>().unwrap()["stdout"]));
    }
    assert!(parents.iter().all(|parent| *parent == parents[0]), "{parents:?}");
    let (_sender, job) = run_of(&json!({"command": ["true", "x".repeat(1 << 20)]}).to_string());
    assert!(failure(end_of(tokio::spawn(handler.run(job))).await).0.contains("Argument list too long"));
    let (_sender, job) = run_of(&shell("echo $PPID").to_string());
    let result: Value = end_of(tokio::spawn(handler.run(job))).await.unwrap().unwrap().read().unwrap();
    assert_eq!(pid_in(&result["stdout"]), parents[0], "a program that cannot be started costs no keeper");

    drop(handler);
    assert_ends(parents[0]);
}

#[tokio::test]
async fn if_its_keeper_is_killed_a_program_is_ended_by_its_mark_and_the_next_one_gets_another_keeper() {
    let mut notes = Notes::new();
    let handler = handler(LONG);
    let (_sender, job) = run_of(&shell_with_notes(&notes, "note $$; note $PPID; sleep 300").to_string());
    let run = tokio::spawn(handler.run(job));
    let (program, keeper) = (notes.next_pid().await, notes.next_pid().await);
    kill_process(keeper, Signal::KILL).unwrap();
    let (message, _) = failure(end_of(run).await);
    assert!(message.ends_with("/sh: its keeper was killed, so how it ended is not known"), "{message}");
    assert_ends(program);

    let (_sender, job) = run_of(&shell("echo $PPID").to_string());
    let result: Value = end_of(tokio::spawn(handler.run(job))).await.unwrap().unwrap().read().unwrap();
    let idle = pid_in(&result["stdout"]);
    assert_ne!(idle, keeper);
    kill_process(idle, Signal::KILL).unwrap();
    assert_ends(idle);
    let (_sender, job) = run_of(&shell("exit 0").to_string());
    end_of(tokio::spawn(handler.run(job))).await.expect("a keeper that died while it was idle is not used");
}

/// Row 77.
#[tokio::test]
async fn a_job_whose_run_was_given_up_runs_again_only_when_nothing_is_left_of_it() {
    let mut notes = Notes::new();
    let handler = handler(LONG);
    let script = "setsid sh -c 'trap \"\" TERM; echo $$ > \"$0\"; exec sleep 300' \"$NOTES\" & sleep 300";
    let mut payload = shell(script);
    payload["env"] = json!({"NOTES": notes.path(), "PATH": "/usr/bin:/bin"});
    let (_sender, job) = run_of(&payload.to_string());
    let run = tokio::spawn(handler.run(job));
    let left = Process::open(notes.next_pid().await).unwrap();
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    let script = format!("kill -0 {} 2>/dev/null && exit 9; exit 0", left.pid);
    let (_sender, job) = run_of(&shell(&script).to_string());
    end_of(tokio::spawn(handler.run(job))).await.expect("it has seen its own earlier run");
}

/// Row 73.
#[tokio::test]
async fn without_a_keeper_a_program_is_not_started_and_that_was_no_attempt() {
    let broken = |path: &str| KeeperProgram { path: path.into(), arguments: Vec::new() };
    for keeper in [broken("/nowhere/beaver"), broken("/bin/false")] {
        let handler = ExecHandler::with_keepers(keeper, variables(), any_mark(), LONG);
        let (_sender, job) = run_of(&shell("exit 0").to_string());
        let error = end_of(tokio::spawn(handler.run(job))).await.unwrap_err();
        assert!(error.is_shortage && error.message.contains("sh: cannot be started now: "), "{error:?}");
    }
}
