//! The body of the fuzz target `jobs`: any bytes as what a producer sends.

use beaver::internals::{JobDefaults, parse_jobs, write_line};
use beaver_actors::ids::{KindName, QueueName};
use beaver_actors::jobs::payload::DEPTH_MAX;
use beaver_actors::jobs::{JobSpec, Payload};

/// So small that inputs reach it.
const PAYLOAD_BYTES_MAX: usize = 4096;

/// Reads `data` as jobs and as a payload; what is accepted is written and must be read again as the same.
pub fn jobs(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let defaults = JobDefaults {
        kind: Some(KindName::parse("noop").expect("a good name")),
        queue: QueueName::parse("default").expect("a good name"),
        payload_bytes_max: PAYLOAD_BYTES_MAX,
        jobs_bytes_max: usize::MAX,
    };
    match parse_jobs(text, &defaults) {
        Ok(parsed) => {
            assert!(!parsed.specs.is_empty(), "no jobs are an error");
            let mut lines = Vec::new();
            for spec in &parsed.specs {
                check_payload(&spec.payload);
                write_line(spec, &mut lines);
            }
            let lines = String::from_utf8(lines).expect("JSON is UTF-8");
            assert_eq!(lines.lines().count(), parsed.specs.len(), "a line each: {lines}");
            let again = parse_jobs(&lines, &defaults).unwrap_or_else(|bad| panic!("{bad}: {lines}"));
            assert_eq!(fields(&again.specs), fields(&parsed.specs), "{lines}");
        }
        Err(bad) => {
            let message = bad.to_string();
            assert!(message.len() < 1_000, "an error does not repeat its input: {message}");
            let lines = text.lines().count().max(1) + 1;
            assert!(bad.line.is_none_or(|line| (1..=lines).contains(&line)), "{message}: beyond the text");
        }
    }
    // A payload alone, as the command line takes it.
    if let Ok(payload) = Payload::parse(text) {
        assert!(payload.as_str().len() <= text.len(), "a payload never grows");
        assert_eq!(Payload::parse(payload.as_str()), Ok(payload.clone()), "compact text stays as it is");
        assert!(depth(payload.as_str()) <= DEPTH_MAX, "{payload:?}");
        serde_json::to_string(&payload).expect("a payload is JSON inside JSON");
    }
}

fn check_payload(payload: &Payload) {
    let text = payload.as_str();
    assert!(text.len() <= PAYLOAD_BYTES_MAX && depth(text) <= DEPTH_MAX, "{text}");
    assert_eq!(Payload::parse(text).as_ref(), Ok(payload), "both ways in accept the same");
}

/// Nesting, counted apart from the engine: brackets outside of strings.
fn depth(json: &str) -> usize {
    let (mut now, mut deepest, mut in_string) = (0_usize, 0, false);
    let mut chars = json.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => drop(chars.next()),
            '"' => in_string = !in_string,
            '[' | '{' if !in_string => now += 1,
            ']' | '}' if !in_string => now = now.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(now);
    }
    deepest
}

/// Everything about jobs, in a form that can be compared.
fn fields(specs: &[JobSpec]) -> Vec<String> {
    specs.iter().map(|spec| format!("{spec:?}")).collect()
}
