//! The npm and the PyPI client, scenario by scenario. What they expect is in `node/scenarios.js` and
//! `python/scenarios.py`.

use serde_json::json;

use crate::fwp::{outlast_fetches, start, tell_worker, url};
use crate::fwp_client::Fwp;
use crate::harness::Place;
use crate::script::Language;
use crate::tls::Certificate;

fn plays(language: Language, name: &str) {
    let place = Place::new();
    let (_server, port) = start(&place, &[]);
    if let Some(script) = language.scenario(&place, name, &url(port), &[]) {
        script.ends_well();
    }
}

#[test]
fn the_npm_client_pushes_one_and_many_fetches_and_acknowledges() {
    plays(Language::Node, "jobs");
}

#[test]
fn the_python_client_pushes_one_and_many_fetches_and_acknowledges() {
    plays(Language::Python, "jobs");
}

#[test]
fn the_npm_client_fails_jobs_finds_their_failures_and_mutates_the_sets() {
    plays(Language::Node, "failures");
}

#[test]
fn the_python_client_fails_jobs_finds_their_failures_and_mutates_the_sets() {
    plays(Language::Python, "failures");
}

#[test]
fn the_npm_client_pauses_resumes_and_removes_queues() {
    plays(Language::Node, "queues");
}

#[test]
fn the_python_client_pauses_resumes_and_removes_queues() {
    plays(Language::Python, "queues");
}

fn plays_with_password(language: Language) {
    let place = Place::new();
    let secret = place.write("password", "hunter2\n");
    let (_server, port) = start(&place, &["--faktory-password-file", &secret]);
    let url = format!("tcp://:hunter2@127.0.0.1:{port}");
    if let Some(script) = language.scenario(&place, "password", &url, &[]) {
        script.ends_well();
    }
}

#[test]
fn the_npm_client_gets_in_with_the_password_only() {
    plays_with_password(Language::Node);
}

#[test]
fn the_python_client_gets_in_with_the_password_only() {
    plays_with_password(Language::Python);
}

fn plays_over_tls(language: Language) {
    let place = Place::new();
    let certificate = Certificate::new(&place);
    let (_server, port) = start(&place, &certificate.flags());
    let url = format!("tcp+tls://127.0.0.1:{port}");
    let variables = [("TLS_CA", certificate.cert.as_str())];
    if let Some(script) = language.scenario(&place, "tls", &url, &variables) {
        script.ends_well();
    }
}

#[test]
fn the_npm_client_speaks_tls_and_checks_the_certificate() {
    plays_over_tls(Language::Node);
}

#[test]
fn the_python_client_speaks_tls() {
    plays_over_tls(Language::Python);
}

/// A whole worker of that client: runs jobs, reports a failure, and does as it is told.
fn a_worker_obeys(language: Language, wid: &str, errtype: &str, message: &str) {
    let place = Place::new();
    let (server, port) = start(&place, &[]);
    let Some(script) = language.scenario(&place, "worker", &url(port), &[]) else { return };
    script.until("working");
    let mut producer = Fwp::producer(&place);
    producer.push(&json!({"jid": "good-job", "jobtype": "greet", "args": ["Ada"]}));
    script.until("greeted Ada");
    server.until_job_is("good-job", "completed");
    producer.push(&json!({"jid": "failing-job", "jobtype": "break", "args": []}));
    let job = server.until_job_is("failing-job", "retrying");
    assert_eq!(job["errors"][0]["failure"]["errtype"], errtype, "{job}");
    assert_eq!(job["errors"][0]["failure"]["message"], message, "{job}");

    tell_worker(&server, wid, "quiet");
    script.until("quiet");
    outlast_fetches(&place);
    producer.push(&json!({"jid": "too-late", "jobtype": "greet", "args": ["Bob"]}));
    tell_worker(&server, wid, "terminate");
    script.until("stopped");
    let said = script.ends_well();
    assert!(!said.contains(&"greeted Bob".to_owned()), "it ran a job when it was quiet");
    assert_eq!(server.job("too-late")["status"], "pending");
}

#[test]
fn the_npm_worker_runs_jobs_goes_quiet_and_ends_when_it_is_told() {
    a_worker_obeys(Language::Node, "node-worker", "undefined", "broken");
}

#[test]
fn the_python_worker_runs_jobs_goes_quiet_and_ends_when_it_is_told() {
    a_worker_obeys(Language::Python, "python-worker", "ValueError", "broken");
}
