//! Jobs from the wire and back.

use beaver_actors::ids::{Attempt, Timestamp};
use beaver_actors::jobs::failure::FailedAttempt;
use beaver_actors::jobs::{Failure, FailureKind};
use beaver_actors::testing::accepted;
use serde_json::{Value, json};

use super::*;

fn one(job: &Value) -> Result<JobSpec, String> {
    JobReader::new(1_000).one(&job.to_string())
}

fn with(field: &str, value: Value) -> Value {
    let mut job = json!({"jid": "12345678", "jobtype": "mail", "args": [1]});
    job[field] = value;
    job
}

/// As the engine shows a job that it accepted a second before it could run.
fn view(spec: JobSpec) -> JobView {
    JobView { enqueued_at: Timestamp(2_000), ..accepted(spec, Timestamp(1_000)) }
}

fn written(view: &JobView) -> String {
    let mut out = Vec::new();
    write(view, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_job_that_says_little_gets_the_usual_rest() {
    let spec = one(&json!({"jid": "12345678", "jobtype": "mail", "args": []})).unwrap();
    assert_eq!(spec.id.as_ref().unwrap().to_string(), "12345678");
    assert_eq!((spec.queue.as_str(), spec.kind.as_str(), spec.payload.as_str()), ("default", "mail", "[]"));
    assert_eq!(spec.timeout, Some(Duration::from_secs(1_800)));
    assert_eq!((spec.max_retry, spec.exhausted), (Some(25), Exhausted::Dead));
    assert_eq!((spec.start, spec.backoff), (Start::Now, Backoff::Quartic));
    assert!(spec.replaces_completed && spec.custom.is_none() && spec.backtrace_lines == 0);
}

#[test]
fn what_a_job_says_is_taken_and_comes_back() {
    let job = json!({
        "jid": "a\"quoted\" id", "jobtype": "mäil", "args": [1, "two", {"three": [4]}], "queue": "slow-1",
        "priority": 7, "reserve_for": 90, "retry": 3, "backtrace": 12, "custom": {"track": 1},
        "created_at": "2001-01-01T00:00:00Z", "unheard_of": {"x": []}, "failure": null,
    });
    let spec = one(&job).unwrap();
    assert_eq!(spec.priority.level(), 7);
    assert_eq!(
        written(&view(spec)),
        concat!(
            r#"{"jid":"a\"quoted\" id","queue":"slow-1","jobtype":"mäil","args":[1,"two",{"three":[4]}],"#,
            r#""created_at":"1970-01-01T00:00:01.000Z","enqueued_at":"1970-01-01T00:00:02.000Z","#,
            r#""reserve_for":90,"retry":3,"priority":7,"backtrace":12,"custom":{"track":1}}"#
        )
    );
}

#[test]
fn a_single_object_is_the_payload_itself_and_comes_back_as_an_array() {
    for (args, payload, back) in [
        (r#"[{"to":"x"}]"#, r#"{"to":"x"}"#, r#"[{"to":"x"}]"#),
        (r#" [ { "to" : "x" } ] "#, r#"{"to":"x"}"#, r#"[{"to":"x"}]"#),
        (r#"[{"to":"x"},1]"#, r#"[{"to":"x"},1]"#, r#"[{"to":"x"},1]"#),
        ("[]", "[]", "[]"),
        ("[[1]]", "[[1]]", "[[1]]"),
        ("[7]", "[7]", "[7]"),
    ] {
        let text = format!(r#"{{"jid":"12345678","jobtype":"mail","args":{args}}}"#);
        let spec = JobReader::new(1_000).one(&text).unwrap();
        assert_eq!(spec.payload.as_str(), payload, "{args}");
        assert_eq!(serde_json::from_str::<Value>(&written(&view(spec))).unwrap()["args"].to_string(), back);
    }
    let mut other = view(one(&with("args", json!([]))).unwrap());
    other.payload = Payload::parse("7").unwrap();
    assert!(written(&other).contains(r#""args":[7],"#), "a payload from elsewhere");
}

#[test]
fn reservations_are_a_minute_to_a_day() {
    for (given, secs) in
        [(json!(null), 1_800), (json!(0), 1_800), (json!(5), 60), (json!(-5), 60), (json!(86_400), 86_400)]
    {
        let spec = one(&with("reserve_for", given.clone())).unwrap();
        assert_eq!(spec.timeout, Some(Duration::from_secs(secs)), "{given}");
    }
    let refused = one(&with("reserve_for", json!(86_401))).unwrap_err();
    assert_eq!(refused, "jobs cannot be reserved for more than one day");
}

#[test]
fn retries_say_whether_the_last_failure_drops_the_job() {
    for (given, max_retry, exhausted, shown) in [
        (json!(null), 25, Exhausted::Dead, 25),
        (json!(0), 0, Exhausted::Drop, 0),
        (json!(-1), 0, Exhausted::Dead, -1),
        (json!(-9), 0, Exhausted::Dead, -1),
        (json!(4), 4, Exhausted::Dead, 4),
    ] {
        let spec = one(&with("retry", given.clone())).unwrap();
        assert_eq!((spec.max_retry, spec.exhausted), (Some(max_retry), exhausted), "{given}");
        assert!(written(&view(spec)).contains(&format!(r#""retry":{shown}"#)), "{given}");
    }
}

#[test]
fn a_start_in_the_future_is_a_moment() {
    let at = "2030-01-01T00:00:00.5Z";
    assert_eq!(one(&with("at", json!(at))).unwrap().start, Start::At(at.parse().unwrap()));
    assert_eq!(one(&with("at", json!(""))).unwrap().start, Start::Now);
    let scheduled = view(one(&with("at", json!(at))).unwrap());
    assert!(written(&scheduled).contains(r#""at":"2030-01-01T00:00:00.500Z""#));
    assert!(
        one(&with("at", json!("tomorrow"))).unwrap_err().starts_with("at: time \"tomorrow\" is not an RFC")
    );
}

#[test]
fn priorities_that_are_none_count_as_absent() {
    for (given, level) in [(json!(0), 0), (json!(9), 9), (json!(10), 5), (json!("high"), 5), (json!({}), 5)] {
        assert_eq!(one(&with("priority", given.clone())).unwrap().priority.level(), level, "{given}");
    }
}

#[test]
fn a_bad_job_is_refused_in_the_usual_words() {
    for (job, why) in [
        (json!({}), "jobs must have a reasonable jid parameter"),
        (with("jid", json!("1234567")), "jobs must have a reasonable jid parameter"),
        (with("jobtype", json!("")), "jobs must have a jobtype parameter"),
        (with("jobtype", json!(null)), "jobs must have a jobtype parameter"),
        (with("args", json!(null)), "jobs must have an args parameter"),
        (with("args", json!({"a": 1})), "args is not an array"),
        (with("queue", json!("a b")), "queue \"a b\" may only use a-z A-Z 0-9 . _ -"),
        (with("custom", json!([1])), "custom is not an object"),
        (
            with("args", json!(["x".repeat(1_000)])),
            "payload has 1004 bytes, and at most 1000 are allowed (payload_bytes_max)",
        ),
        (
            with("custom", json!({"x": "x".repeat(1_000)})),
            "custom has 1008 bytes, and at most 1000 are allowed (payload_bytes_max)",
        ),
    ] {
        assert_eq!(one(&job).unwrap_err(), why, "{job}");
    }
    for text in ["", "{", "[]", "7", r#"{"jid":7}"#, r#"{"retry":"many"}"#, r#"{"jid":"12345678"} {}"#] {
        let refused = JobReader::new(1_000).one(text).unwrap_err();
        assert!(refused.starts_with("invalid JSON: "), "{text}: {refused}");
    }
}

#[test]
fn of_many_jobs_the_good_ones_are_taken_and_the_others_named() {
    let jobs = json!([
        {"jid": "good0001", "jobtype": "a", "args": []},
        {"jid": "bad00001", "args": []},
        {"jobtype": "a", "args": []},
        {"jid": "good0002", "jobtype": "b", "args": [], "queue": "q"},
    ]);
    let (specs, refused) = JobReader::new(1_000).many(&jobs.to_string()).unwrap();
    let ids: Vec<String> = specs.iter().map(|spec| spec.id.as_ref().unwrap().to_string()).collect();
    assert_eq!(ids, ["good0001", "good0002"]);
    assert_eq!((specs[0].queue.as_str(), specs[1].queue.as_str()), ("default", "q"));
    assert_eq!(refused.iter().map(|refused| refused.jid.as_str()).collect::<Vec<_>>(), ["bad00001", ""]);
    assert_eq!(refused[0].why, "jobs must have a jobtype parameter");
    assert!(JobReader::new(1_000).many("[]").unwrap().0.is_empty());
    for text in ["", "{}", "[1]", "[{}", "[] []", r#"[{"jid":1}]"#] {
        let refused = JobReader::new(1_000).many(text).unwrap_err();
        assert!(refused.starts_with("invalid JSON: "), "{text}: {refused}");
    }
}

#[test]
fn a_failure_counts_from_zero_and_leaves_out_what_it_does_not_know() {
    let mut job = view(one(&with("retry", json!(3))).unwrap());
    assert!(!written(&job).contains("failure"));
    let failed = |failure, next_at| FailedAttempt {
        attempt: Attempt(1),
        at: Timestamp(3_000),
        next_at,
        counted: true,
        failure,
    };
    job.failed = 1;
    job.errors = vec![failed(Failure::new(FailureKind::Error, ""), None)];
    let first = r#""failure":{"retry_count":0,"remaining":3,"failed_at":"1970-01-01T00:00:03.000Z"}}"#;
    assert!(written(&job).ends_with(first), "{}", written(&job));
    job.failed = 3;
    let failure =
        Failure::new(FailureKind::Error, "it \"broke\"").of_type("Oops").with_backtrace(["a:1".to_owned()]);
    job.errors.push(failed(failure, Some(Timestamp(9_000))));
    let third = concat!(
        r#""failure":{"retry_count":2,"remaining":1,"failed_at":"1970-01-01T00:00:03.000Z","#,
        r#""next_at":"1970-01-01T00:00:09.000Z","message":"it \"broke\"","errtype":"Oops","backtrace":["a:1"]}}"#
    );
    assert!(written(&job).ends_with(third), "{}", written(&job));
}
