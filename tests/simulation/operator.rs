//! What operators do: pause and resume queues, change sets of jobs, ask workers to be quiet; and when the faults have
//! ended, see to it that nothing stays paused. Most are impatient then: what waits for its next attempt is
//! started now, and what a worker took with it when it vanished is given back in its name. The others let time pass.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use beaver_actors::ids::Token;
use serde_json::{Value, json};

use crate::client::{Answer, request};
use crate::ledger::{Verb, token_of};
use crate::remote::{SHARED_QUEUE, report_line};
use crate::wire::{Connection, Reply};
use crate::world::{World, pause};

const QUEUES: [&str; 4] = ["high", "low", SHARED_QUEUE, "default"];
/// How often it looks after what would wait for long, when the faults have ended.
const TENDS_EVERY: Duration = Duration::from_millis(1_200);

pub async fn operate(world: Arc<World>) -> turmoil::Result {
    let mut dice = fastrand::Rng::with_seed(world.seed ^ 0x6f70);
    while !world.is_healed() {
        pause(&mut dice, 50..1_000).await;
        let Some(mut server) = Connection::open(None).await else { continue };
        match dice.u32(0..8) {
            0..=2 => hold_a_queue(&world, &mut server, &mut dice).await,
            3..=5 => mutate(&world, &mut server, &mut dice).await,
            6 => interfere(&world, &mut dice).await,
            _ => ask_around(&mut server).await,
        }
    }
    let mut in_flight = BTreeMap::new();
    loop {
        world.resuming(None);
        if let Some(mut server) = Connection::open(None).await {
            server.ask("QUEUE RESUME *").await;
            if !world.is_patient() {
                server.ask(r#"MUTATE {"cmd":"requeue","target":"retries"}"#).await;
                in_flight = give_back(&world, &in_flight).await;
            }
        }
        if world.is_drained_within(TENDS_EVERY).await {
            return Ok(());
        }
    }
}

/// Pauses a queue for a while.
async fn hold_a_queue(world: &World, server: &mut Connection, dice: &mut fastrand::Rng) {
    let queue = dice.choice(QUEUES).expect("there are some");
    // Of a queue that is not there, PAUSE is answered and forgotten.
    if !world.has_queue(queue) {
        return;
    }
    if server.ask(&format!("QUEUE PAUSE {queue}")).await == Some(Reply::Ok) {
        world.paused(queue);
    }
    pause(dice, 100..2_500).await;
    world.resuming(Some(queue));
    let all = dice.bool();
    if all {
        world.resuming(None);
    }
    server.ask(&format!("QUEUE RESUME {}", if all { "*" } else { queue })).await;
}

/// Does something to some jobs.
async fn mutate(world: &World, server: &mut Connection, dice: &mut fastrand::Rng) {
    let mut ids = world.pushed_jobs();
    dice.shuffle(&mut ids);
    ids.truncate(dice.usize(1..12));
    // An empty filter would mean all jobs.
    if ids.is_empty() {
        return;
    }
    let target = dice.choice(["scheduled", "retries", "dead"]).expect("there are some");
    let change = match dice.u32(0..6) {
        0 => {
            world.killing(&ids);
            json!({ "cmd": "kill", "target": target, "filter": { "jids": ids } })
        }
        1 => {
            world.discarding(&ids);
            json!({ "cmd": "discard", "target": target, "filter": { "jids": ids } })
        }
        2 => json!({ "cmd": "requeue", "target": target, "filter": { "jids": ids } }),
        3 => json!({ "cmd": "requeue", "target": target, "filter": { "jobtype": "remote" } }),
        4 => json!({ "cmd": "requeue", "target": target, "filter": { "regexp": "*\"queue\":\"high\"*" } }),
        _ => json!({ "cmd": "requeue", "target": target }),
    };
    let reply = server.ask(&format!("MUTATE {change}")).await;
    world.note(format!("MUTATE {change}: {reply:?}"));
    let is_right = matches!(reply, None | Some(Reply::Ok | Reply::Error(_)));
    assert!(is_right, "MUTATE is answered {reply:?}");
}

/// Asks a worker to be quiet, or withdraws a job that it may have.
async fn interfere(world: &World, dice: &mut fastrand::Rng) {
    if dice.bool() {
        let Some(wid) = dice.choice(world.workers()) else { return };
        let (boot, since) = (world.boots.load(SeqCst), world.quieting(&wid));
        let path = format!("/api/v1/workers/{wid}/quiet");
        if let Answer::Status(200, _) = request("POST", &path, String::new()).await {
            world.quieted(&wid, boot, since);
        }
        return;
    }
    let Some(id) = dice.choice(world.pushed_jobs()) else { return };
    world.cancelling(&id);
    if let Answer::Status(200, _) = request("DELETE", &format!("/api/v1/jobs/{id}"), String::new()).await {
        world.cancelled(&id);
    }
}

/// Asks for what changes nothing.
async fn ask_around(server: &mut Connection) {
    for line in ["INFO", "QUEUE LATENCY high shared"] {
        match server.ask(line).await {
            Some(Reply::Text(text)) => {
                let told: Value = serde_json::from_str(&text).expect("it is JSON");
                assert!(told.is_object(), "{line} is answered {text}");
            }
            Some(Reply::Error(_)) | None => {}
            Some(other) => panic!("{line} is answered {other:?}"),
        }
    }
}

/// Fails the jobs that a worker still has which it had before, by their tokens; returns what is in flight now.
async fn give_back(world: &World, before: &BTreeMap<Token, String>) -> BTreeMap<Token, String> {
    let path = "/api/v1/jobs?status=in_flight";
    let Answer::Status(200, listed) = request("GET", path, String::new()).await else {
        return BTreeMap::new();
    };
    let mut now = BTreeMap::new();
    for job in listed["jobs"].as_array().into_iter().flatten() {
        let (Some(wid), Some(id), Some(token)) = (job["worker"].as_str(), job["id"].as_str(), token_of(job))
        else {
            continue;
        };
        now.insert(token, id.to_owned());
        if before.contains_key(&token)
            && let Some(mut server) = Connection::open(Some(wid)).await
        {
            world.taking_away(id);
            let reply = server.ask(&report_line(id, Verb::Fail)).await;
            world.note(format!("{id} is given back in the name of {wid}: {reply:?}"));
        }
    }
    now
}
