//! Every verb of the command line, asked of a server and of a data directory: the same words, the same end.

use serde_json::{Value, json};

use crate::harness::{Place, Ran};

/// How a command ends, the command, and what it reads.
type Step = (i32, &'static [&'static str], &'static str);

/// One story, in which each command finds what those before it left.
const STORY: &[Step] = &[
    (0, &["status"], ""),
    (
        0,
        &["enqueue", "--file", "-"],
        "{\"id\":\"a\",\"kind\":\"noop\"}\n{\"id\":\"b\",\"kind\":\"mail\",\"queue\":\"out\"}\n",
    ),
    (
        0,
        &["enqueue", "--file", "-", "--json"],
        "[{\"id\":\"b\",\"kind\":\"mail\"},{\"id\":\"c\",\"kind\":\"mail\",\"queue\":\"out\",\"priority\":9}]",
    ),
    (
        0,
        &["enqueue", "--kind", "mail", "--id", "later", "--delay", "1h", "--payload", "{\"to\": \"ann\"}"],
        "",
    ),
    (
        5,
        &["enqueue", "--file", "-"],
        "{\"id\":\"d\",\"kind\":\"mail\",\"payload\":1}\n{\"id\":\"e\",\"kid\":\"mail\"}\n",
    ),
    (
        5,
        &["enqueue", "--file", "-"],
        "{\"id\":\"d\",\"kind\":\"mail\"}\n{\"id\":\"e\",\"kind\":\"mail\",\"payload\":\"@large\"}\n",
    ),
    (0, &["enqueue", "--kind", "mail", "--id", "f", "--payload", "1"], ""),
    (0, &["status"], ""),
    (0, &["status", "--json"], ""),
    (0, &["status", "b"], ""),
    (0, &["status", "b", "--json"], ""),
    (3, &["status", "nobody"], ""),
    (0, &["jobs", "list", "--status", "pending"], ""),
    (0, &["jobs", "list", "--status", "pending", "--json", "--limit", "2"], ""),
    (
        0,
        &[
            "jobs",
            "list",
            "--status",
            "pending",
            "--queue",
            "out",
            "--kind",
            "mail",
            "--match",
            "*\"jid\":\"c\"*",
        ],
        "",
    ),
    (0, &["jobs", "list", "--status", "completed"], ""),
    (2, &["jobs", "list", "--status", "buried"], ""),
    (0, &["jobs", "run-now", "--status", "scheduled", "--match", "*ann*"], ""),
    (0, &["jobs", "move", "--status", "pending", "--id", "later", "--to", "out", "--json"], ""),
    (0, &["jobs", "kill", "--status", "pending", "--id", "c"], ""),
    (2, &["jobs", "kill", "--status", "pending"], ""),
    (0, &["jobs", "list", "--status", "dead", "--json"], ""),
    (0, &["queues"], ""),
    (0, &["queues", "--json"], ""),
    (0, &["queues", "list", "out"], ""),
    (3, &["queues", "list", "outt"], ""),
    (0, &["queues", "pause", "out"], ""),
    (0, &["queues", "pause", "out", "default", "--json"], ""),
    (3, &["queues", "pause", "outt"], ""),
    (3, &["queues", "resume", "out", "outt"], ""),
    (0, &["queues", "resume", "out"], ""),
    (0, &["queues"], ""),
    (3, &["queues", "remove", "outt", "--yes"], ""),
    (0, &["queues", "remove", "out", "--yes"], ""),
    (0, &["queues", "remove", "default", "--yes", "--json"], ""),
    (3, &["status", "later"], ""),
    (0, &["enqueue", "--kind", "mail", "--id", "last"], ""),
    (0, &["cancel", "last"], ""),
    (5, &["cancel", "last"], ""),
    (3, &["cancel", "nobody", "--json"], ""),
    (0, &["jobs", "cancel", "--status", "pending", "--yes"], ""),
    (0, &["jobs", "discard", "--status", "cancelled", "--kind", "mail"], ""),
    (0, &["jobs", "discard", "--status", "dead", "--yes", "--json"], ""),
    (3, &["status", "last"], ""),
    (0, &["status", "--json"], ""),
    (0, &["queues", "--json"], ""),
    (0, &["clock"], ""),
    (0, &["clock", "--json"], ""),
    (0, &["clock", "confirm"], ""),
    (0, &["clock", "confirm", "--json"], ""),
    (2, &["clock", "confrim"], ""),
];

#[test]
fn a_server_and_a_directory_answer_every_verb_in_the_same_words() {
    let (served, offline) = (Place::new(), Place::new());
    let server = served.start(&["--workers", "0"]);
    // There is a directory from the first question on.
    offline.start(&["--workers", "0"]).terminate();
    // More than a payload may have, and less than a body.
    let large = "x".repeat(2 << 20);
    for (number, (code, args, input)) in STORY.iter().enumerate() {
        let input = input.replace("@large", &large);
        let url = server.url();
        let asked = served.beaver_with(&[*args, &["--url", &url]].concat(), &input);
        let alone = offline.beaver_with(&[*args, &["--offline", "--data-dir", "data"]].concat(), &input);
        assert_eq!(outcome(args, &asked), outcome(args, &alone), "step {number}: {args:?}");
        alone.exits(*code);
    }
    let told = offline.beaver(&["status", "--offline", "--data-dir", "data", "--json"]).exits(0).json();
    assert_eq!((&told["phase"], &told["remote"]), (&json!("offline"), &Value::Null));
}

#[test]
fn what_only_a_server_has_is_told_as_such() {
    let place = Place::new();
    place.start(&["--workers", "0"]).terminate();
    for args in [&["workers"][..], &["workers", "quiet", "w1"], &["workers", "terminate", "w1", "--json"]] {
        let ran = place.beaver(&[args, &["--offline", "--data-dir", "data"]].concat()).exits(4);
        ran.says(&["only a running server has remote workers", "start one with `beaver run`"]);
    }
}

/// Any of its syncs may fail: the storage is to blame; and after the request was written, nobody knows.
#[test]
fn an_engine_of_our_own_that_ends_under_a_request_decides_the_exit_code() {
    let place = Place::new();
    place.start(&["--workers", "0"]).terminate();
    let enqueue = ["enqueue", "--offline", "--data-dir", "data", "--kind", "noop"];
    let mut was_unknown = false;
    for sync in 1..50 {
        let ran = place.beaver_under(&format!("export BEAVER_FAILPOINTS='wal.sync=eio@{sync}'"), &enqueue);
        if ran.code == Some(0) {
            assert!(was_unknown, "no failed sync was that of the request");
            return;
        }
        was_unknown |= ran.exits(74).says(&["Input/output error"]).stderr.contains("the outcome is unknown");
    }
    panic!("it never goes well");
}

/// How a command ended, what it printed and what it said, but for what differs from one moment to the next.
fn outcome(args: &[&str], ran: &Ran) -> (Option<i32>, Vec<Value>, String) {
    let said = ran.stderr.lines().filter(|line| !line.starts_with("note: ") || line.contains("--limit"));
    let said = said.collect::<Vec<_>>().join("\n");
    let is_overview = args.starts_with(&["status"]) && args.get(1).is_none_or(|arg| arg.starts_with('-'));
    if args.contains(&"--json") {
        let mut rows = if ran.stdout.is_empty() { Vec::new() } else { ran.json_lines() };
        if is_overview {
            rows.iter_mut()
                .for_each(|row| *row = json!([row["version"], row["jobs"], row["queues"], row["totals"]]));
        }
        rows.iter_mut().for_each(still);
        return (ran.code, rows, said);
    }
    // Below the table stand facts about the process that answers; so does why a job waits.
    let lines = ran.stdout.lines().take_while(|line| !is_overview || !line.trim().is_empty());
    let lines = lines.filter(|line| !line.trim_start().starts_with("waits "));
    let rows =
        lines.map(|line| line.split_whitespace().filter(|word| !is_time(word)).collect::<Vec<_>>().join(" "));
    (ran.code, rows.map(Value::from).collect(), said)
}

/// Takes out what depends on the moment.
fn still(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| name != "latency_ms" && !value.as_str().is_some_and(is_time));
            fields.values_mut().for_each(still);
        }
        Value::Array(items) => items.iter_mut().for_each(still),
        _ => {}
    }
}

/// A moment, or how long something took.
fn is_time(word: &str) -> bool {
    let is_moment = word.starts_with("20") && word.ends_with('Z') && word.contains('T');
    let number = word.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let is_duration =
        number.len() < word.len() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    is_moment || is_duration
}
