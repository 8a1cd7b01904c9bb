//! What commands and the log say to a terminal, even if jobs carry what would steer it.

use std::collections::BTreeSet;

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
