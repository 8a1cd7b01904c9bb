//! What clients do over HTTP: enqueue alone and in batches, ask again with the same ids when no answer came, look at
//! jobs, cancel some; and the one that waits for the end and reports what is there.

use std::sync::Arc;
use std::time::Duration;

use beaver_actors::jobs::Status;
use beaver_actors::tools::oracle::Outcome;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use turmoil::net::TcpStream;

use crate::server::PORT;
use crate::world::{World, pass, pause};

const PATIENCE: Duration = Duration::from_secs(2);
/// A client that got no answer, or not the one that it hopes for, asks again this much later.
const ASKS_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// After the faults have ended, everything must be done within this time.
const HEALED_WITHIN: Duration = Duration::from_secs(60);
/// As long, where reservations are left to expire (a minute) and retries to wait (up to two).
const HEALED_PATIENTLY_WITHIN: Duration = Duration::from_secs(240);

/// This long after its last write the log has long noted that all of it is durable, which nobody outside can see.
const MARKED_AFTER: Duration = Duration::from_millis(50);

/// Jobs that are added when everything has ended.
const LATE_JOBS: u64 = 5;
/// How jobs go at their first attempt.
const HOW: [&str; 10] =
    ["well", "well", "well", "well", "well", "well", "fail", "panic", "overrun", "outlive"];

/// How a request ended.
pub enum Answer {
    /// The server answered.
    Status(u16, Value),
    /// It was never sent.
    NotSent,
    /// It was sent, and no answer came.
    Lost,
}

pub async fn request(method: &str, path: &str, body: String) -> Answer {
    let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(("server", PORT))).await;
    let Ok(Ok(stream)) = connected else { return Answer::NotSent };
    let exchange = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        let connection = tokio::task::spawn_local(connection);
        let request = Request::builder().method(method).uri(path).header("host", "server");
        let request = request.body(Full::new(Bytes::from(body))).ok()?;
        let response = sender.send_request(request).await.ok()?;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.ok()?.to_bytes();
        connection.abort();
        Some((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(Some((status, body))) => Answer::Status(status, body),
        Ok(None) | Err(_) => Answer::Lost,
    }
}

/// Works until the faults end.
pub async fn work(world: Arc<World>, number: u64) -> turmoil::Result {
    let mut dice = fastrand::Rng::with_seed(world.seed ^ (number << 32));
    let mut mine: Vec<String> = Vec::new();
    let mut next = 0;
    while !world.is_healed() {
        pause(&mut dice, 1..450).await;
        match dice.u32(0..10) {
            0..=5 => {
                let count = if dice.bool() { 1 } else { dice.u64(2..6) };
                let ids: Vec<String> =
                    (0..count).map(|nth| format!("client-{number}-{}", next + nth)).collect();
                next += count;
                enqueue(&world, &ids, &mut dice).await;
                mine.extend(ids);
            }
            6..=8 if !mine.is_empty() => {
                let id = dice.choice(&mine).expect("it is not empty");
                look(&world, id).await;
            }
            9 if !mine.is_empty() => {
                let id = dice.choice(&mine).expect("it is not empty").clone();
                world.cancelling(&id);
                if let Answer::Status(200, _) =
                    request("DELETE", &format!("/api/v1/jobs/{id}"), String::new()).await
                {
                    world.cancelled(&id);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Asks for jobs, all or none, again and again while there is no answer.
async fn enqueue(world: &World, ids: &[String], dice: &mut fastrand::Rng) {
    let job = |id: &String| {
        let how = dice.choice(HOW).expect("not empty");
        let delay = if dice.u32(0..5) == 0 { dice.u64(0..3_000) } else { 0 };
        json!({ "id": id, "payload": [dice.u64(0..400), how], "delay": delay, "priority": dice.u8(0..10) })
    };
    let body: Vec<Value> = ids.iter().map(job).collect();
    post(world, ids, Value::from(body).to_string(), dice).await;
}

async fn post(world: &World, ids: &[String], body: String, dice: &mut fastrand::Rng) {
    ids.iter().for_each(|id| world.asked(id));
    for _ in 0..4 {
        let outcome = match request("POST", "/api/v1/jobs", body.clone()).await {
            Answer::Status(200 | 201, _) => Outcome::Acknowledged,
            Answer::Status(500, _) | Answer::Lost => Outcome::Unknown,
            Answer::Status(..) | Answer::NotSent => Outcome::Refused,
        };
        world.answered(ids, outcome);
        if outcome != Outcome::Unknown {
            return;
        }
        pause(dice, 10..500).await;
    }
}

fn status_of(job: &Value) -> Option<Status> {
    let name = job["status"].as_str()?;
    Status::ALL.into_iter().find(|status| status.as_str() == name)
}

async fn look(world: &World, id: &str) {
    if let Answer::Status(200, job) = request("GET", &format!("/api/v1/jobs/{id}"), String::new()).await
        && let Some(status) = status_of(&job)
    {
        world.observed(id, status);
    }
}

/// What is answered in the end.
async fn get(path: &str) -> (u16, Value) {
    loop {
        match request("GET", path, String::new()).await {
            Answer::Status(status, body) => return (status, body),
            // Links are whole again, but messages still take their time.
            Answer::NotSent | Answer::Lost => pass(ASKS_AGAIN_AFTER).await,
        }
    }
}

/// How many jobs are in which state, once all are in a final one.
async fn until_all_have_ended(world: &World) -> Value {
    let within = if world.is_patient() { HEALED_PATIENTLY_WITHIN } else { HEALED_WITHIN };
    let begun_at = turmoil::sim_elapsed().unwrap_or_default();
    loop {
        pass(ASKS_AGAIN_AFTER).await;
        if let Answer::Status(200, status) = request("GET", "/api/v1/status", String::new()).await {
            let jobs = status["jobs"].clone();
            let unfinished = ["pending", "scheduled", "in_flight", "retrying"];
            if unfinished.iter().all(|state| jobs[state] == 0) {
                return jobs;
            }
        }
        let waited = turmoil::sim_elapsed().unwrap_or_default().saturating_sub(begun_at);
        if waited >= within {
            world.tell();
            for state in ["pending", "scheduled", "in_flight", "retrying"] {
                if let Answer::Status(_, jobs) =
                    request("GET", &format!("/api/v1/jobs?status={state}"), String::new()).await
                {
                    eprintln!("{state}: {jobs}");
                }
            }
            panic!("not everything has ended {waited:?} after the faults did");
        }
    }
}

/// Waits until everything has ended, and reports every job to the oracle.
pub async fn drain(world: Arc<World>) -> turmoil::Result {
    world.healed().await;
    until_all_have_ended(&world).await;
    // Remote workers and operators go home.
    world.is_drained_now();
    // A client that comes now finds a server at rest that takes jobs: some for one moment, which join the line together.
    let ids: Vec<String> = (0..LATE_JOBS).map(|number| format!("late-{number}")).collect();
    let body: Vec<Value> =
        ids.iter().map(|id| json!({ "id": id, "payload": [10, "well"], "delay": 500 })).collect();
    post(&world, &ids, Value::from(body).to_string(), &mut fastrand::Rng::with_seed(world.seed)).await;
    let jobs = until_all_have_ended(&world).await;
    pass(MARKED_AFTER).await;
    world.is_at_rest();
    let mut there = 0;
    for id in world.known_jobs() {
        match get(&format!("/api/v1/jobs/{id}")).await {
            (200, job) => {
                there += 1;
                world.ended(&id, status_of(&job).expect("a job has a status"));
            }
            (404, _) => world.is_gone(&id),
            (status, body) => panic!("GET of {id} is answered {status}: {body}"),
        }
    }
    let total: u64 = jobs.as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
    assert_eq!(total, there, "the queue holds a job that nobody asked for");
    Ok(())
}
