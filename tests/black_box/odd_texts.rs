//! Payloads that are JSON and odd: what is accepted leaves at every exit as it came in at any door, byte for byte.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use crate::fwp_client::{Fwp, start};
use crate::harness::{Place, Ran, Server};

/// Deepest nesting of a payload.
const DEPTH_MAX: usize = 64;

/// Values that are taken as they are.
fn accepted() -> Vec<String> {
    let numbers = [
        "0",
        "-0",
        "-0.0",
        "0e0",
        "1e400",
        "-2e999",
        "5e-400",
        "1.10",
        "1.0",
        "100",
        "1E+2",
        "1e+02",
        "1e-0",
        "6.02E23",
        "123456789012345678901",
        "-18446744073709551617",
        "18446744073709551615",
        "9007199254740993",
        "0.1",
        "0.10000000000000000555",
        "3.140",
        "2.5e-324",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "1E400",
        "-1e-400",
        "-0e-0",
        "0.000",
        "0E+0000",
        "0.0000001",
        "12e-1",
        "4.9E-324",
        "1e999999999999999999999",
        "1e00000000000000000001",
        "-9223372036854775808",
        "-9223372036854775809",
        "9223372036854775808",
        "18446744073709551616",
        "4294967296",
        "123456789.12345678901234567890",
        "1234567890123456789012345678901234567890.0e-10",
        "0.1e1",
        "1e1",
        "10e0",
    ];
    let strings = [
        r"",
        r"\/",
        r"\u002f",
        r"\u00e9",
        r"\u00E9",
        r"\u0000",
        r"\u0000\u0001\u001f",
        r"\u007f\u0080\u009f",
        r"\b\f\n\r\t",
        r"\u0008\u000A",
        r#"\""#,
        r"\u0022",
        r"\\",
        r"\u005c",
        r"\\ud800",
        r"\ud83d\ude00",
        r"\uD83D\uDE00",
        r"\ud83d\uDE00x",
        r"\ud800\udc00\udbff\udfff",
        r"\uffff\ufffe\ufdd0",
        r"\u2028\u2029",
        "\u{2028}",
        "\u{7f}\u{85}",
        "é",
        "e\u{301}",
        "😀",
        "\u{feff}",
        "\u{10ffff}",
        "</script>",
        r"\u003c",
        "a b  c",
        "\u{202e}",
        r"\u0000",
        r"x\u0000y\u0000",
        r"\ud834\udd1e\u0000",
        r"null",
        r"1e400",
        r#"{\"a\":1}"#,
        "\u{200d}\u{fe0f}",
        r"C:\\Users\\x",
        "%00%0a$(x)`x`",
        "'; --",
    ];
    let mut texts: Vec<String> = numbers.map(str::to_owned).into();
    texts.extend(numbers.map(|number| format!("[{number},{{\"{number}\":{number}}}]")));
    texts.extend(strings.map(|string| format!("\"{string}\"")));
    texts.extend(strings.map(|string| format!("{{\"{string}\":\"{string}\",\"{string}\":[]}}")));
    for doubled in [
        r#"{"a":1,"a":2}"#,
        r#"{"a":{"b":1,"b":2},"a":{}}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"":"","":""}"#,
        r#"{"jid":"x","jid":"y","payload":1,"payload":2}"#,
        r#"{"$serde_json::private::Number":"1"}"#,
        r#"{"$serde_json::private::RawValue":"[1"}"#,
        "null",
        "true",
        "false",
        "{}",
        "[]",
        "[[]]",
        "[{}]",
        "[null]",
        r#"{"a":null,"a":null,"a":null}"#,
        r#"[{"a":1,"a":2},{"a":1,"a":2}]"#,
        r#"{"id":"x","kind":"y","queue":"z","custom":{}}"#,
        r#"{"payload":{"payload":{"payload":1e400}}}"#,
    ] {
        texts.push(doubled.to_owned());
    }
    for depth in [2, 31, DEPTH_MAX - 2, DEPTH_MAX - 1] {
        texts.push("[".repeat(depth) + &"]".repeat(depth));
        texts.push("{\"a\":".repeat(depth) + "1e400" + &"}".repeat(depth));
        texts.push("[{\"b\":".repeat(depth / 2) + "\"\\/\"" + &"}]".repeat(depth / 2));
    }
    // Long numbers, in front of the dot, behind it, and in the exponent.
    let nines = "9".repeat(400);
    texts.extend([nines.clone(), format!("-0.{nines}"), format!("1e{nines}"), format!("1E-{nines}")]);
    // As large as the default allows, less what stands around it.
    for piece in ["x", "é", r"\/", r"\u00e9", "9"] {
        let inner = piece.repeat(((1 << 20) - 100) / piece.len());
        texts.push(if piece == "9" { inner } else { format!("\"{inner}\"") });
    }
    texts
}

/// Values that no reader of JSON makes text of, and where that is.
fn refused() -> Vec<(String, usize)> {
    let halves = [
        r"\ud800",
        r"\udbff",
        r"\udc00",
        r"\uDFFF",
        r"\ud83dx",
        r"\ud83d\n",
        r"\ud83d\ud83d\ude00",
        r"\ude00\ud83d",
    ];
    let mut texts = Vec::new();
    for half in halves {
        texts.push((format!("\"{half}\""), 1));
        texts.push((format!("\"tail {half}\""), 6));
        texts.push((format!("[1,{{\"{half}\":0}}]"), 5));
        texts.push((format!("{{\"a\\\\\":\"\\ud83d\\ude00{half}\"}}"), 20));
    }
    texts
}

/// Every job of a listing, by its id, as it stands there.
fn by_id(lines: &str, name: &str) -> BTreeMap<String, String> {
    let id_of = |line: &str| {
        let (_, rest) = line.split_once(&format!("\"{name}\":\""))?;
        rest.split_once('"').map(|(id, _)| id.to_owned())
    };
    lines.lines().filter_map(|line| Some((id_of(line)?, line.to_owned()))).collect()
}

#[track_caller]
fn shows(line: &str, id: &str, fields: [(&str, &str); 2], exit: &str) {
    for (name, text) in fields {
        let whole = format!("\"{name}\":{text}");
        let end = |at: usize| line[at + whole.len()..].starts_with([',', '}']);
        let is_there = line.match_indices(&whole).any(|(at, _)| end(at));
        let (cut, line) =
            (whole.chars().take(200).collect::<String>(), line.chars().take(600).collect::<String>());
        assert!(is_there, "{exit} of {id} does not show {cut} but {line}");
    }
}

/// The payload that is kept of an `args` with one value in it.
fn kept(text: &str) -> String {
    if text.starts_with('{') { text.to_owned() } else { format!("[{text}]") }
}

/// The queue of a job: each has its own, so that it can be fetched.
fn queue(id: &str) -> String {
    format!("q.{id}")
}

fn custom(text: &str) -> String {
    format!("{{\"c\":{text}}}")
}

fn http_job(id: &str, text: &str) -> String {
    let (queue, custom) = (queue(id), custom(text));
    format!(
        "{{\"id\":\"{id}\",\"kind\":\"odd\",\"queue\":\"{queue}\",\"payload\":{text},\"custom\":{custom}}}"
    )
}

fn push(id: &str, text: &str) -> String {
    let (queue, custom) = (queue(id), custom(text));
    format!(
        "PUSH {{\"jid\":\"{id}\",\"jobtype\":\"odd\",\"queue\":\"{queue}\",\"args\":[{text}],\"custom\":{custom}}}"
    )
}

/// Brings every text in at every door; what each job is to show as its payload, and as what travels along.
fn bring_in(place: &Place, server: &Server) -> BTreeMap<String, (String, String)> {
    let mut expected = BTreeMap::new();
    let mut producer = Fwp::producer(place);
    let mut file = String::new();
    for (number, text) in accepted().iter().enumerate() {
        let [http, fwp, cli] = ["http", "work", "file"].map(|door| format!("{door}-{number:04}"));
        let answer = server.post(http_job(&http, text));
        assert_eq!(answer.status, 201, "{text:.200}: {:.300}", answer.body);
        assert_eq!(producer.ask(&push(&fwp, text)), "+OK", "{text:.200}");
        writeln!(file, "{}", http_job(&cli, text)).unwrap();
        expected.insert(fwp, (kept(text), custom(text)));
        expected.insert(http, (text.clone(), custom(text)));
        expected.insert(cli, (text.clone(), custom(text)));
    }
    let args = ["enqueue", "--url", &server.url(), "--file", "-"];
    place.beaver_with(&args, &file).exits(0);
    expected
}

/// The same JSON as commands print it: control characters, which only strings can have, are written by their number (row 91).
fn safe_on_terminals(json: &str) -> String {
    let written = |c: char| if c.is_control() { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    json.chars().map(written).collect()
}

#[track_caller]
fn all_shown(listed: &str, id_field: &str, expected: &BTreeMap<String, (String, String)>, exit: &str) {
    let lines = by_id(listed, id_field);
    for (id, (payload, custom)) in expected {
        let (payload, custom) = (&safe_on_terminals(payload), &safe_on_terminals(custom));
        let line = lines.get(id).unwrap_or_else(|| panic!("{exit} does not show {id}"));
        shows(line, id, [("payload", payload), ("custom", custom)], exit);
    }
}

/// All pending jobs, a few at a time: a listing has a limit of bytes.
fn listed(expected: &BTreeMap<String, (String, String)>, list: impl Fn(&str) -> Ran) -> String {
    expected.keys().map(|id| list(&queue(id)).exits(0).stdout).collect()
}

/// Row 84.
#[test]
fn what_is_accepted_at_any_door_leaves_every_exit_byte_for_byte() {
    let place = Place::new();
    let server = start(&place, &[]);
    let expected = bring_in(&place, &server);
    assert!(accepted().len() >= 200 && expected.len() == 3 * accepted().len(), "{}", expected.len());

    let mut worker = Fwp::worker(&place, "w1");
    for (id, (payload, custom)) in &expected {
        let job = server.get(&format!("/api/v1/jobs/{id}")).body;
        shows(&job, id, [("payload", payload), ("custom", custom)], "GET of a job");
        let list = server.get(&format!("/api/v1/jobs?status=pending&queue={}", queue(id))).body;
        shows(&list, id, [("payload", payload), ("custom", custom)], "GET of a list");
        // What a pattern is held against must not choke on it.
        let found = server.get(&format!("/api/v1/jobs?status=pending&match=*{id}*&queue={}", queue(id)));
        assert_eq!((found.status, found.body.as_str()), (200, list.as_str()));
    }
    // The program is started for a part of them: it reads what was shown above.
    let some: BTreeMap<_, _> = expected.clone().into_iter().step_by(17).collect();
    let status = |id: &str| server.beaver(&place, &["status", id, "--json"]).exits(0).stdout;
    let statuses: String = some.keys().map(|id| status(id)).collect();
    all_shown(&statuses, "id", &some, "status --json");
    let list = |queue: &str| {
        server.beaver(&place, &["jobs", "list", "--status", "pending", "--queue", queue, "--json"])
    };
    all_shown(&listed(&some, list), "id", &some, "jobs list --json");
    server.beaver(&place, &["jobs", "list", "--status", "pending", "--limit", "1000"]).exits(0);
    for id in some.keys() {
        server.beaver(&place, &["status", id]).exits(0);
    }

    all_shown(
        &place.beaver(&["inspect", "wal", "--data-dir", "data"]).exits(0).stdout,
        "job_id",
        &expected,
        "inspect wal",
    );
    server.terminate();
    let snapshot = place.beaver(&["inspect", "snapshot", "--data-dir", "data"]).exits(0).stdout;
    all_shown(&snapshot, "job_id", &expected, "inspect snapshot");
    let list = |queue: &str| {
        place.beaver(&[
            "jobs",
            "list",
            "--offline",
            "--data-dir",
            "data",
            "--status",
            "pending",
            "--queue",
            queue,
            "--json",
        ])
    };
    all_shown(&listed(&some, list), "id", &some, "jobs list --offline");

    // After a start the texts come from the disk.
    let server = start(&place, &["--payload-memory", "0"]);
    drop(worker);
    worker = Fwp::worker(&place, "w1");
    for (id, (payload, custom)) in &expected {
        let args = if payload.starts_with('[') { payload.clone() } else { format!("[{payload}]") };
        let fetched = worker.ask(&format!("FETCH {}", queue(id)));
        shows(&fetched, id, [("args", &args), ("custom", custom)], "FETCH");
    }
    server.terminate();
}

/// Row 84: what stands between the tokens says nothing, and goes; what stands in a string stays.
#[test]
fn space_between_tokens_goes_and_space_in_strings_stays() {
    let place = Place::new();
    let server = start(&place, &[]);
    let spaced = "{ \"a b\" :\t[ 1.10 ,\r\n \" c  d \" ] , \"a b\":{ } }";
    let kept = r#"{"a b":[1.10," c  d "],"a b":{}}"#;
    assert_eq!(server.post(http_job("spaced-1", spaced)).status, 201);
    let in_a_line = spaced.replace("\r\n", " ");
    assert_eq!(Fwp::producer(&place).ask(&push("spaced-2", &in_a_line)), "+OK");
    let custom = custom(kept);
    for id in ["spaced-1", "spaced-2"] {
        let fields = [("payload", kept), ("custom", custom.as_str())];
        shows(&server.get(&format!("/api/v1/jobs/{id}")).body, id, fields, "GET of a job");
        shows(&server.beaver(&place, &["status", id, "--json"]).exits(0).stdout, id, fields, "status --json");
    }
    server.terminate();
}

/// Row 84.
#[test]
fn half_of_a_character_is_refused_at_every_door_with_its_place() {
    let place = Place::new();
    let server = start(&place, &[]);
    let mut producer = Fwp::producer(&place);
    for (text, at) in refused() {
        let job = format!("\n{{\"kind\":\"odd\",\"payload\":{text}}}");
        let column = 1 + job[1..].find(&text).unwrap() + at;
        server.post(&job).refuses(
            400,
            "bad_json",
            &["half of a surrogate pair", &format!("column {column}"), "line 2"],
        );
        let custom = format!("{{\"kind\":\"odd\",\"custom\":{{\"c\":{text}}}}}");
        server.post(&custom).refuses(400, "bad_json", &["custom", "half of a surrogate pair"]);
        let place_in_args = format!("byte {}", at + 1);
        let answer = producer.ask(&push("half0001", &text));
        assert!(
            answer.starts_with("-ERR args has half of a surrogate pair") && answer.contains(&place_in_args),
            "{answer}"
        );
        let bulk =
            producer.json(&format!("PUSHB [{{\"jid\":\"half0002\",\"jobtype\":\"odd\",\"args\":[{text}]}}]"));
        assert!(bulk["half0002"].as_str().unwrap().contains("half of a surrogate pair"), "{bulk}");
        let file = place.beaver_with(&["enqueue", "--url", &server.url(), "--file", "-"], &job);
        file.exits(5).says(&["line 2", "half of a surrogate pair"]);
    }
    for text in [
        "\"\0\"",
        "\"\t\"",
        "[1,]",
        "01",
        "+1",
        ".5",
        "1.",
        "1e",
        "0x1",
        "NaN",
        "-Infinity",
        "'a'",
        r#""\x41""#,
    ] {
        let answer = producer.ask(&push("half0001", text));
        assert!(answer.starts_with("-ERR invalid JSON: ") && answer.contains("column"), "{text}: {answer}");
        server.post(format!("{{\"kind\":\"odd\",\"payload\":{text}}}")).refuses(400, "bad_json", &["column"]);
    }
    let deep = "[".repeat(DEPTH_MAX + 1) + &"]".repeat(DEPTH_MAX + 1);
    assert!(producer.ask(&push("half0001", &deep)).starts_with("-ERR args is nested deeper than 64"));
    server.post(format!("{{\"kind\":\"odd\",\"payload\":{deep}}}")).refuses(
        400,
        "bad_job",
        &["deeper than 64"],
    );
    assert_eq!(server.count("pending"), 0);
    server.terminate();
}

/// Row 84.
#[test]
fn a_program_gets_in_its_environment_and_on_its_input_what_the_text_means() {
    let place = Place::new();
    let server = place.start(&["--workers", "1", "--allow-exec"]);
    for (number, spelled) in
        [r"\/srv\u002fa", r"na\u00efve é", r"\ud83d\ude00😀", r"a\nb\tc", r#"\"q\"\\"#, r"\u0001\u007f\u0080"]
            .iter()
            .enumerate()
    {
        let id = format!("run-{number}");
        let command = r#"["sh","-c","printf %s \"$ODD\"; printf =; cat; printf =%s \"$1\"","sh","SPELLED"]"#;
        let command = command.replace("SPELLED", spelled);
        let payload = format!(
            "{{\"command\":{command},\"stdin\":\"{spelled}\\u0000.\",\"env\":{{\"ODD\":\"{spelled}\"}}}}"
        );
        let job = format!("{{\"id\":\"{id}\",\"kind\":\"exec\",\"payload\":{payload}}}");
        assert_eq!(server.post(job).status, 201);
        let meant: String = serde_json::from_str(&format!("\"{spelled}\"")).unwrap();
        let done = server.until_job_is(&id, "completed");
        assert_eq!(done["result"]["stdout"], json!(format!("{meant}={meant}\0.={meant}")), "{spelled}");
    }
    server.terminate();
}

#[test]
fn names_of_a_kibibyte_survive_a_kill_and_a_snapshot() {
    let place = Place::new();
    let server = start(&place, &[]);
    let [id, queue, kind] = ["i", "q", "k"].map(|letter| letter.repeat(1_024));
    server.enqueue([json!({"id": id, "queue": queue, "kind": kind})]);
    server.kill9();
    let server = start(&place, &[]);
    let job = server.job(&id);
    assert_eq!((&job["queue"], &job["kind"]), (&json!(queue), &json!(kind)));
    server.terminate();
    assert_eq!(place.inspect("snapshot").0[0]["job_id"], json!(id));
    let server = start(&place, &[]);
    assert_eq!(server.job(&id), job);
    let ran = server.beaver(&place, &["cancel", &id]);
    assert_eq!(ran.exits(0).stderr, "");
    server.terminate();
}
