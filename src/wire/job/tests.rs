//! Every field of a job, every way to get it wrong, and what the error says.

use std::time::Duration;

use beaver_actors::ids::{JobId, KindName, Priority, QueueName};
use beaver_actors::jobs::{Backoff, Exhausted, JobSpec, Start};

use super::*;

fn defaults() -> JobDefaults {
    JobDefaults {
        kind: Some(KindName::parse("simulate").unwrap()),
        queue: QueueName::parse("default").unwrap(),
        payload_bytes_max: 1 << 20,
        jobs_bytes_max: usize::MAX,
    }
}

fn parse(text: &str) -> ParsedJobs {
    parse_jobs(text, &defaults()).unwrap_or_else(|error| panic!("{error}"))
}

fn parse_one(text: &str) -> JobSpec {
    let mut jobs = parse(text);
    assert_eq!((jobs.shape, jobs.specs.len()), (Shape::One, 1));
    jobs.specs.remove(0)
}

fn refused(text: &str) -> BadJob {
    match parse_jobs(text, &defaults()) {
        Ok(jobs) => panic!("accepted {} jobs", jobs.specs.len()),
        Err(error) => error,
    }
}

fn ids(jobs: &ParsedJobs) -> Vec<String> {
    jobs.specs.iter().map(|spec| spec.id.as_ref().unwrap().to_string()).collect()
}

#[test]
fn every_field_is_read() {
    let spec = parse_one(
        r#"{"id":"order-17","queue":"mail","kind":"exec","payload":{"command":["true"]},"priority":9,
            "delay":"5m","timeout":"30s","max_retry":7,"backoff":{"kind":"fixed","delay":"10s"},
            "exhausted":"drop","custom":{ "trace" : 1 }}"#,
    );
    assert_eq!(spec.id, Some(JobId::parse("order-17").unwrap()));
    assert_eq!(spec.queue.as_str(), "mail");
    assert_eq!(spec.kind.as_str(), "exec");
    assert_eq!(spec.payload.as_str(), r#"{"command":["true"]}"#);
    assert_eq!(spec.priority, Priority::MAX);
    assert_eq!(spec.start, Start::After(Duration::from_secs(300)));
    assert_eq!(spec.timeout, Some(Duration::from_secs(30)));
    assert_eq!(spec.max_retry, Some(7));
    assert_eq!(spec.backoff, Backoff::Fixed { delay_ms: 10_000 });
    assert_eq!(spec.exhausted, Exhausted::Drop);
    assert_eq!(spec.custom.unwrap().as_str(), r#"{"trace":1}"#);
}

#[test]
fn moments_and_numbers_of_milliseconds_are_read() {
    let spec = parse_one(r#"{"run_at":"2026-11-21T09:30:00Z","timeout":1500}"#);
    assert_eq!(spec.start, Start::At("2026-11-21T09:30:00Z".parse().unwrap()));
    assert_eq!(spec.timeout, Some(Duration::from_millis(1500)));
    assert_eq!(parse_one(r#"{"delay":250}"#).start, Start::After(Duration::from_millis(250)));
}

#[test]
fn what_is_absent_or_null_gets_its_default() {
    for text in [
        "{}",
        r#"{"id":null,"queue":null,"kind":null,"priority":null,"run_at":null,"delay":null,"timeout":null,"max_retry":null,
            "backoff":null,"exhausted":null,"custom":null}"#,
    ] {
        let spec = parse_one(text);
        assert_eq!(spec.id, None);
        assert_eq!((spec.queue.as_str(), spec.kind.as_str()), ("default", "simulate"));
        assert_eq!(spec.payload.as_str(), "{}");
        assert_eq!((spec.priority, spec.start), (Priority::default(), Start::Now));
        assert_eq!((spec.timeout, spec.max_retry), (None, None));
        assert_eq!((spec.backoff, spec.exhausted, spec.custom), (Backoff::Server, Exhausted::Dead, None));
    }
}

#[test]
fn a_payload_may_be_any_json_value_and_loses_only_white_space() {
    for (given, kept) in [
        ("null", "null"),
        ("[1, 2]", "[1,2]"),
        (r#""a b""#, r#""a b""#),
        ("1e400", "1e400"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("{ \"b\" : 1,\n\t\"a\" : { } }", r#"{"b":1,"a":{}}"#),
    ] {
        assert_eq!(parse_one(&format!("{{\"payload\":{given}}}")).payload.as_str(), kept);
    }
}

#[test]
fn text_with_escapes_is_understood_in_names_and_values() {
    let spec = parse_one(r#"{"\u0069d":"caf\u00e9 \"1\"","kind":"a\/b"}"#);
    assert_eq!(spec.id.unwrap().to_string(), "café \"1\"");
    assert_eq!(spec.kind.as_str(), "a/b");
}

#[test]
fn the_shape_is_found_out_from_the_text() {
    for (text, shape, expected) in [
        (r#"{"id":"a"}"#, Shape::One, vec!["a"]),
        ("\u{feff} {\n \"id\":\n \"a\" }\r\n\n", Shape::One, vec!["a"]),
        ("{\"id\":\"a\",\"payload\":\n{}}", Shape::One, vec!["a"]),
        (r#"[{"id":"a"}]"#, Shape::Many, vec!["a"]),
        ("\u{feff}\n[ {\"id\":\"a\"},\n{\"id\":\"b\"} ]\n", Shape::Many, vec!["a", "b"]),
        ("{\"id\":\"a\"}\n{\"id\":\"b\"}", Shape::Many, vec!["a", "b"]),
        ("\u{feff}{\"id\":\"a\"}\r\n\r\n  \n{\"id\":\"b\"}\r\n", Shape::Many, vec!["a", "b"]),
    ] {
        let jobs = parse(text);
        assert_eq!((jobs.shape, ids(&jobs)), (shape, expected.iter().map(ToString::to_string).collect()));
    }
}

#[test]
fn an_input_without_jobs_is_an_error() {
    for text in ["", " \n\t\r\n", "\u{feff}", "[]", "\u{feff}[ \n ]"] {
        assert_eq!(refused(text).to_string(), "no jobs in the input", "{text:?}");
    }
}

#[test]
fn a_wrong_value_is_repeated_with_its_field_and_with_what_is_allowed() {
    let long = format!(r#"{{"priority":"{}"}}"#, "x".repeat(10_000));
    for (text, message) in [
        (r#"{"priority":12}"#, r#"field "priority": 12 is not 0 to 9"#),
        (r#"{"priority":-1}"#, r#"field "priority": -1 is not 0 to 9"#),
        (r#"{"priority":"high"}"#, r#"field "priority": "high" is not 0 to 9"#),
        (r#"{"id":17}"#, r#"field "id": 17 is not a string"#),
        (r#"{"id":""}"#, r#"field "id": id "" is empty"#),
        (r#"{"id":"\ud800"}"#, r#"field "id": "\ud800" has an escape that stands for no character"#),
        (r#"{"queue":"mail/out"}"#, r#"field "queue": queue "mail/out" may only use a-z A-Z 0-9 . _ -"#),
        (r#"{"kind":["a"]}"#, r#"field "kind": ["a"] is not a string"#),
        (r#"{"timeout":0}"#, r#"field "timeout": 0 leaves no time to run"#),
        (r#"{"delay":"-5m"}"#, r#"field "delay": "-5m" is negative"#),
        (r#"{"max_retry":1.5}"#, r#"field "max_retry": 1.5 is not a whole number from 0 to 4294967295"#),
        (
            r#"{"backoff":"quartik"}"#,
            r#"field "backoff": there is no back-off "quartik": did you mean "quartic"?"#,
        ),
        (r#"{"exhausted":"dropp"}"#, r#"field "exhausted": "dropp" does not exist: did you mean "drop"?"#),
        (r#"{"exhausted":"buried"}"#, r#"field "exhausted": "buried" is neither "dead" nor "drop""#),
        (r#"{"custom":[1]}"#, r#"field "custom": [1] is not an object"#),
        (r#"{"id":"a","id":"b"}"#, r#"field "id" is given twice"#),
        (
            r#"{"run_at":"2026-11-21T09:30:00Z","delay":1}"#,
            r#"field "delay": a job has either run_at or delay, not both"#,
        ),
        (&long, &format!(r#"field "priority": "{}… is not 0 to 9"#, "x".repeat(39))),
    ] {
        let error = refused(text);
        assert_eq!((error.message.as_str(), error.kind), (message, BadJobKind::NotAJob));
        assert_eq!(error.to_string(), format!("line 1: {message}"));
    }
    assert!(refused(r#"{"run_at":"yesterday"}"#).message.contains("RFC 3339"));
    assert!(refused(r#"{"run_at":"9999-12-31T23:59:59Z"}"#).message.contains("too late"));
    assert!(
        refused(r#"{"delay":"soon"}"#).message.contains(r#""soon" is not a duration such as 250ms, 30s"#)
    );
    assert!(refused(r#"{"delay":1.5}"#).message.contains("1.5 is not a duration"));
}

#[test]
fn an_id_of_ten_kilobytes_is_refused_in_a_short_message() {
    let message = refused(&format!(r#"{{"id":"{}"}}"#, "x".repeat(10_000))).to_string();
    assert!(message.contains("has 10000 bytes, and at most 1024 are allowed"), "{message}");
    assert!(message.len() < 200, "{message}");
}

#[test]
fn an_unknown_field_is_named_together_with_the_nearest_known_one() {
    assert_eq!(refused(r#"{"prioirty":1}"#).message, r#"unknown field "prioirty": did you mean "priority"?"#);
    assert_eq!(
        refused(r#"{"maxRetry":1}"#).message,
        r#"unknown field "maxRetry": did you mean "max_retry"?"#
    );
    let message = refused(r#"{"colour":"blue"}"#).message;
    assert!(message.starts_with(r#"unknown field "colour": a job has id, queue, kind"#), "{message}");
}

#[test]
fn a_mistake_in_a_line_names_the_line_of_the_text() {
    let error = refused("\n{\"id\":\"a\"}\n\n{\"priority\":10}\n{\"id\":\"c\"}\n");
    assert_eq!((error.line, error.index, error.column), (Some(4), None, None));
    assert_eq!(error.to_string(), "line 4: field \"priority\": 10 is not 0 to 9");

    let error = refused("{\"id\":\"a\"}\n{\"id\":}\n");
    assert_eq!((error.line, error.column, error.kind), (Some(2), Some(7), BadJobKind::NotJson));
    assert_eq!(error.to_string(), "line 2: expected value (column 7)");

    let error = refused("{\"id\":\"a\"}\n[]\n");
    assert_eq!((error.line, error.kind), (Some(2), BadJobKind::NotAJob));
    assert!(error.message.contains("a job, which is a JSON object"), "{error}");

    let error = refused("{\"id\":\"a\"} {\"id\":\"b\"}\n{\"id\":\"c\"}");
    assert_eq!((error.line, error.kind), (Some(1), BadJobKind::NotJson));
    assert!(error.message.contains("trailing characters"), "{error}");
}

#[test]
fn an_unfinished_first_line_is_named_although_it_shows_only_in_the_second() {
    for text in ["{\"id\":\"a\"\n{\"id\":\"b\"}\n", "{\"payload\":\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n"] {
        let error = refused(text);
        assert_eq!((error.line, error.kind), (Some(1), BadJobKind::NotJson), "{error}");
    }
}

#[test]
fn a_mistake_in_an_array_names_the_job_and_its_line() {
    let error = refused("[\n{\"id\":\"a\"},\n{\n\"priority\": 10\n}\n]");
    assert_eq!((error.index, error.line), (Some(2), Some(4)));
    assert_eq!(error.to_string(), "job 2: field \"priority\": 10 is not 0 to 9 (line 4)");

    let error = refused("[{\"id\":\"a\"},\n{\"id\":}]");
    assert_eq!(error.to_string(), "job 2: expected value (line 2, column 7)");

    let error = refused("[{\"id\":\"a\"}, 7]");
    assert_eq!((error.index, error.kind), (Some(2), BadJobKind::NotAJob));
    assert!(error.message.contains("expected a job"), "{error}");

    for (text, message) in
        [("[{}", "EOF while parsing a list"), ("[{},]", "trailing comma"), ("[{}] x", "trailing characters")]
    {
        let error = refused(text);
        assert_eq!((error.index, error.kind, error.message.as_str()), (None, BadJobKind::NotJson, message));
    }
}

#[test]
fn text_that_is_no_job_at_all_is_refused() {
    for (text, kind) in [
        ("17", BadJobKind::NotAJob),
        ("\"job\"", BadJobKind::NotAJob),
        ("null", BadJobKind::NotAJob),
        ("hello", BadJobKind::NotJson),
        ("{", BadJobKind::NotJson),
        ("{\"id\":\"a\"", BadJobKind::NotJson),
        ("{'id':'a'}", BadJobKind::NotJson),
    ] {
        let error = refused(text);
        assert_eq!((error.kind, error.line), (kind, Some(1)), "{text}: {error}");
    }
}

#[test]
fn ten_thousand_brackets_are_refused_wherever_they_stand() {
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let too_deep = refused(&format!("{{\"payload\":{deep}}}"));
    assert_eq!(too_deep.message, "payload is nested deeper than 64 levels");
    assert!(refused(&format!("{{\"id\":{deep}}}")).message.ends_with("is not a string"));
    assert!(refused(&format!("{{\"other\":{deep}}}")).message.starts_with("unknown field"));
    assert!(refused(&deep).message.contains("expected a job"));
    let open = "[".repeat(10_000);
    assert_eq!(refused(&format!("{{\"payload\":{open}")).kind, BadJobKind::NotJson);
}

#[test]
fn a_payload_of_a_hundred_megabytes_is_refused_with_its_size() {
    let mut text = String::with_capacity(100_000_100);
    text.push_str("{\"id\":\"a\"}\n{\"payload\":\"");
    text.extend(std::iter::repeat_n('x', 100_000_000));
    text.push_str("\"}\n");
    let error = refused(&text);
    assert_eq!((error.kind, error.line), (BadJobKind::PayloadTooLarge, Some(2)));
    assert_eq!(
        error.message,
        "payload has 100000002 bytes, and at most 1048576 are allowed (payload_bytes_max)"
    );
}

#[test]
fn a_payload_is_measured_without_the_white_space_between_its_tokens() {
    let defaults = JobDefaults { payload_bytes_max: 8, ..defaults() };
    let fits = r#"{"payload": [ 1 , " \" " ] }"#;
    assert_eq!(
        parse_jobs(fits, &JobDefaults { payload_bytes_max: 10, ..defaults.clone() }).unwrap().specs.len(),
        1
    );
    let error = parse_jobs(fits, &defaults).unwrap_err();
    assert!(error.message.contains("payload has 10 bytes"), "{error}");
}

#[test]
fn one_bad_job_among_thousands_refuses_them_all() {
    let mut text = "{\"queue\":\"mail\"}\n".repeat(5_000);
    text.push_str("{\"queue\":\"mail\",\"max_retry\":-1}\n");
    text.push_str(&"{}\n".repeat(5_000));
    assert_eq!(refused(&text).line, Some(5_001));
}

#[test]
fn jobs_with_the_same_names_share_them_and_other_names_are_not_mixed_up() {
    let jobs = parse(
        "{\"queue\":\"a\",\"kind\":\"x\"}\n{\"queue\":\"b\"}\n{\"queue\":\"b\",\"kind\":\"y\"}\n{}\n{\"kind\":\"x\"}",
    );
    let names: Vec<_> = jobs.specs.iter().map(|spec| (spec.queue.as_str(), spec.kind.as_str())).collect();
    assert_eq!(names, [("a", "x"), ("b", "simulate"), ("b", "y"), ("default", "simulate"), ("default", "x")]);
    assert!(std::ptr::eq(jobs.specs[1].queue.as_str(), jobs.specs[2].queue.as_str()));
}

#[test]
fn a_written_line_reads_back_as_the_same_job() {
    for text in [
        "{}",
        r#"{"id":"caf\u00e9 \"1\"","queue":"mail","kind":"a\\b","payload":{"text":"two\nlines"},"priority":0,
            "delay":"1h30m","timeout":"100us","max_retry":0}"#,
        r#"{"run_at":"2026-11-21T09:30:00.250Z","payload":null}"#,
        r#"{"backoff":"quartic","exhausted":"drop","custom":{ "a" : ["b c"] }}"#,
        r#"{"backoff":{"kind":"fixed","delay":"10s"}}"#,
        r#"{"backoff":{"kind":"exponential","first":"1s","max":"10m","jitter_percent":7}}"#,
    ] {
        let spec = parse_one(text);
        let mut line = Vec::new();
        write_line(&spec, &mut line);
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(format!("{:?}", parse_one(&line)), format!("{spec:?}"));
    }
}

#[test]
fn a_custom_object_has_the_limits_of_a_payload() {
    let text = format!(r#"{{"custom":{{"a":"{}"}}}}"#, "x".repeat(1 << 20));
    let error = refused(&text);
    assert_eq!(error.kind, BadJobKind::PayloadTooLarge);
    assert!(error.message.starts_with(r#"field "custom" has 1048584 bytes"#), "{error}");
    let deep = format!(r#"{{"custom":{{"a":{}{}}}}}"#, "[".repeat(100), "]".repeat(100));
    assert_eq!(refused(&deep).message, r#"field "custom" is nested deeper than 64 levels"#);
}

/// Row 50: found by the fuzz target `jobs`.
#[test]
fn a_long_string_in_place_of_a_job_is_not_repeated_by_its_error() {
    let string = format!("\"{}\"", "x".repeat(100_000));
    for text in [string.clone(), format!("[{{}}, {string}]"), format!("{{}}\n{string}")] {
        let message = refused(&text).to_string();
        assert!(message.contains("…, expected a job") && message.len() < 200, "{message}");
    }
}

#[test]
fn many_tiny_jobs_are_refused_by_what_they_take_in_memory_not_by_their_text() {
    let defaults = JobDefaults { jobs_bytes_max: 1_000, ..defaults() };
    for text in [format!("[{}{{}}]", "{},".repeat(99)), "{}\n".repeat(100)] {
        let error = parse_jobs(&text, &defaults).unwrap_err();
        assert_eq!(error.kind, BadJobKind::RequestTooLarge);
        assert!(error.to_string().contains("request_bytes_max"), "{error}");
    }
    assert_eq!(parse_jobs("[{},{}]", &defaults).unwrap().specs.len(), 2);
}
