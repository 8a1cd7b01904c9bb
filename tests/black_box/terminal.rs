//! What commands and the log say to a terminal, even if jobs carry what would steer it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::json;

use crate::fwp_client::Fwp;
use crate::harness::{Place, Ran, run};

/// Control characters of Unicode, and marks that turn the direction of text.
fn ugly(text: &str, is_json: bool) -> Vec<char> {
    let turns = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|&c| c != '\n' && c.is_control() || !is_json && turns(c)).collect()
}

/// Commands that start a server or show nothing of anybody's job.
const WITHOUT_JOBS: [&str; 3] = ["run", "demo", "torture"];

/// Row 91.
#[test]
fn no_command_and_no_log_line_hands_control_characters_of_jobs_to_the_terminal() {
    let place = Place::new();
    let server = place.start(&["--workers", "1", "--log-format", "human", "--snapshot-interval", "20ms"]);
    let hostile = "red \u{9b}31m \u{85} turned \u{202e} txet \u{2066} \u{1b}[2J \u{7f}";
    let id = "sign-\u{202e}-1";
    let kind = "k\u{2067}";
    server.enqueue([
        json!({"id": id, "kind": kind, "payload": {hostile: hostile}, "custom": {"a": hostile}, "max_retry": 0}),
        json!({"id": "plain", "kind": kind, "payload": hostile}),
        json!({"id": "fails", "kind": "simulate", "payload": {"sleep_ms": hostile}, "max_retry": 0}),
    ]);
    server.until_job_is("fails", "dead");
    let mut stream = Fwp::over(Fwp::stream(&place));
    stream.reply();
    let hello =
        json!({"v": 2, "wid": "w\u{202e}fdp.exe", "hostname": hostile, "pid": 1, "labels": [hostile]});
    assert_eq!(stream.ask(&format!("HELLO {hello}")), "+OK");
    assert!(!stream.fetch("default").is_empty());
    let fail = json!({"jid": id, "errtype": hostile, "message": hostile, "backtrace": [hostile]});
    assert_eq!(stream.ask(&format!("FAIL {fail}")), "+OK");
    server.until_job_is(id, "dead");

    let url = server.url();
    let mut asked = BTreeSet::new();
    let mut ask = |args: &[&str]| {
        asked.insert(args[0].to_owned());
        let mut command = place.command();
        let ran: Ran = run(command.args(args).env("BEAVER_URL", &url), b"");
        let is_json = args.contains(&"--json") || args[0] == "inspect";
        let found = [ugly(&ran.stdout, is_json), ugly(&ran.stderr, false)].concat();
        assert_eq!(found, [], "{args:?}: {}", ran.told());
        ran
    };
    for words in [
        &["status"][..],
        &["status", id],
        &["jobs", "list", "--status", "dead"],
        &["jobs", "list", "--status", "pending"],
        &["queues"],
        &["workers"],
        &["clock"],
        &["config"],
    ] {
        assert_ne!(ask(words).exits(0).stdout, "", "{words:?}");
        ask(&[words, &["--json"]].concat()).exits(0);
    }
    let read = ask(&["status", id, "--json"]).json();
    assert_eq!(read["payload"], json!({hostile: hostile}), "escaped, it says the same");
    ask(&["enqueue", "--kind", kind, "--id", "\u{202e}new"]).exits(0);
    ask(&["enqueue", "--kind", kind, "--id", "bad\u{9b}\nid"]).exits(2);
    ask(&["cancel", "\u{202e}new"]).exits(0);
    ask(&["cancel", "\u{202e}nobody"]).exits(3);
    ask(&["output", id]).exits(3);
    ask(&["queues", "pause", "\u{202e}"]).exits(2);
    ask(&["jobs", "kill", "--status", "\u{202e}", "--yes"]).exits(2);
    ask(&["workers", "quiet", "w\u{202e}fdp.exe"]).exits(0);
    ask(&["workers", "quiet", "\u{202e}"]).exits(3);
    let inspected = ["wal", "snapshot"].map(|what| ask(&["inspect", what, "--data-dir", "data"]).stdout);
    assert!(inspected.concat().contains("\\u009b"), "{inspected:?}");
    server.kill9();
    for words in [&["status", id][..], &["jobs", "list", "--status", "dead"], &["doctor"]] {
        let offline = if words[0] == "doctor" {
            &["--data-dir", "data"][..]
        } else {
            &["--offline", "--data-dir", "data"]
        };
        ask(&[words, offline].concat()).exits(0);
    }
    assert_eq!(ugly(&place.log(), false), [], "{}", place.log());

    let help = place.beaver(&["--help"]).exits(0).stdout;
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands = commands.filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    let without = WITHOUT_JOBS.map(str::to_owned).into_iter().chain(["help".to_owned()]).collect();
    let told: BTreeSet<_> = commands.collect();
    assert_eq!(&told - &without, asked, "a command that is new needs a line here");
}

/// What a command writes to a terminal of this width.
fn on_terminal(
    place: &Place,
    columns: u16,
    args: &[&str],
    env: &[(&str, &str)],
    ends_at: Option<&str>,
) -> String {
    let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&main).unwrap();
    unlockpt(&main).unwrap();
    let path = ptsname(&main, Vec::new()).unwrap().into_string().unwrap();
    let sub = || File::options().read(true).write(true).open(&path).unwrap();
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&main, size).unwrap();
    let mut command = place.command();
    command.args(args).envs(env.iter().copied()).env_remove("CLICOLOR_FORCE");
    let mut child = command.stdin(sub()).stdout(sub()).stderr(sub()).spawn().unwrap();
    drop(command);
    let (mut told, mut piece, mut main) = (Vec::new(), [0; 4096], File::from(main));
    // When nobody has the other end any more, reading it is an error.
    while let Ok(bytes @ 1..) = main.read(&mut piece) {
        told.extend_from_slice(&piece[..bytes]);
        if ends_at.is_some_and(|end| String::from_utf8_lossy(&told).contains(end)) {
            let _ = child.kill();
        }
    }
    child.wait().unwrap();
    String::from_utf8(told).unwrap()
}

/// Row 94.
#[test]
fn what_is_shown_fits_a_terminal_of_60_columns_and_ids_stay_whole() {
    let place = Place::new();
    let server = place.start(&["--workers", "0"]);
    server.enqueue((0..3).map(|number| {
        json!({"id": format!("a-rather-long-name-of-a-job-{number}"), "kind": "some-kind", "queue": "correspondence"})
    }));
    let url =
        [("BEAVER_URL", &*server.url()), ("TERM", "xterm")].map(|(name, value)| (name, value.to_owned()));
    let url: Vec<_> = url.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let id = "a-rather-long-name-of-a-job-1";
    for args in [
        &["status"][..],
        &["status", id],
        &["queues"],
        &["workers"],
        &["jobs", "list", "--status", "pending"],
    ] {
        let told = on_terminal(&place, 60, args, &url, None);
        let widest = told.lines().map(|line| line.trim_end().chars().count()).max().unwrap();
        assert!(widest <= 60, "{args:?} is {widest} wide:\n{told}");
        assert!(!told.contains('\u{1b}'), "{told:?}");
        assert!(args.len() == 1 || told.contains(id), "{told}");
    }
}

/// Row 94.
#[test]
fn the_log_has_colours_on_a_terminal_unless_somebody_wants_none() {
    let place = Place::new();
    let run = ["run", "--workers", "0", "--data-dir", "data", "--metrics-port", "0", "--faktory-port", "0"];
    for (env, has_colours) in [
        (&[("TERM", "xterm")][..], true),
        (&[("TERM", "xterm"), ("NO_COLOR", "1")], false),
        (&[("TERM", "dumb")], false),
    ] {
        let told = on_terminal(&place, 200, &run, env, Some("ready"));
        assert!(told.contains("ready"), "{told}");
        assert_eq!(told.contains('\u{1b}'), has_colours, "{env:?}: {told:?}");
    }
}

/// Row 94.
#[test]
fn a_bare_number_is_seconds_wherever_a_duration_is_written() {
    let place = Place::new();
    let server = place.start(&["--workers", "0", "--task-timeout", "45"]);
    server.beaver(&place, &["enqueue", "--kind", "noop", "--id", "a", "--timeout", "10"]).exits(0);
    server.enqueue([json!({"id": "b", "kind": "noop", "timeout": "20"}), json!({"id": "c", "kind": "noop"})]);
    server.enqueue([json!({"id": "d", "kind": "noop", "timeout": 20})]);
    let timeouts = ["a", "b", "c", "d"].map(|id| server.job(id)["timeout_ms"].clone());
    assert_eq!(timeouts, [json!(10_000), json!(20_000), json!(45_000), json!(20)]);
}

/// Row 94.
#[test]
fn the_output_of_a_program_is_printed_as_it_wrote_it() {
    let place = Place::new();
    let server = place.start(&["--workers", "1", "--allow-exec"]);
    let script = "printf 'one\\ntwo\\033[2J\\n'; echo oops >&2; exit 3";
    server.beaver(&place, &["enqueue", "--id", "a", "--max-retry", "0", "--", "sh", "-c", script]).exits(0);
    server.until_job_is("a", "dead");
    let ran = server.beaver(&place, &["output", "a"]).exits(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("one\ntwo\u{1b}[2J\n", "oops\n"));
    let url = server.url();
    let told = on_terminal(&place, 80, &["output", "a"], &[("BEAVER_URL", &url)], None);
    assert!(told.contains("two\\u001b[2J"), "{told:?}");
    server.enqueue([json!({"id": "waits", "kind": "nobody"})]);
    server.beaver(&place, &["output", "waits"]).exits(3).says(&["waits is pending", "no output"]);
    let ran = place.beaver(&["enqueue", "ls", "-la"]).exits(2);
    ran.says(&["hint: a program goes behind --: beaver enqueue -- ls -la"]);
}
