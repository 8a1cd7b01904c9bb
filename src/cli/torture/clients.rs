//! The load: clients that enqueue jobs of all sorts, lose answers, and ask again; and one that looks at jobs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use beaver_actors::tools::oracle::Outcome;
use fastrand::Rng;
use serde_json::{Value, json};

use super::history::History;
use crate::cli::job_view::Sighting;
use crate::client::{Client, ClientError};

/// Jobs of one request, at most.
const BATCH_MAX: usize = 6;
/// Between two requests of a client: long enough for workers to keep up, and short enough for a kill to always meet some.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 5..=40;
/// How long a client leaves a server alone that is not there or does not want to.
const AGAIN_AFTER: Duration = Duration::from_millis(5);
const LOOK_EVERY: Duration = Duration::from_millis(4);
/// Retries enough for no kill and no bad luck to make such a job dead: see [`JobBatch::may_be_sent_again`].
const MAX_RETRY: u32 = 10_000;

/// What the clients and those who kill the server share.
#[derive(Default)]
pub(crate) struct Load {
    server: Mutex<Option<Client>>,
    history: Mutex<History>,
    is_over: AtomicBool,
    /// Jobs that were seen completed since the last kill.
    fresh: Mutex<Vec<String>>,
}

impl Load {
    /// All that is known.
    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("whoever held it did not panic")
    }

    /// Tells the clients where the server is now; `None`: nowhere.
    pub(crate) fn set_server(&self, server: Option<Client>) {
        *self.server.lock().expect("whoever held it did not panic") = server;
    }

    /// No new jobs from now on.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// The jobs that were seen completed since this was last asked.
    pub(crate) fn take_fresh(&self) -> Vec<String> {
        std::mem::take(&mut *self.fresh.lock().expect("whoever held it did not panic"))
    }

    fn server(&self) -> Option<Client> {
        self.server.lock().expect("whoever held it did not panic").clone()
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// The jobs of one request.
struct JobBatch {
    ids: Vec<String>,
    body: Vec<u8>,
    /// Not with a job that is meant to die: under its id a dead job would be started afresh.
    may_be_sent_again: bool,
}

impl JobBatch {
    fn new(client: usize, number: usize, dice: &mut Rng) -> JobBatch {
        // Most requests have one job.
        let jobs = if dice.u8(..4) > 0 { 1 } else { dice.usize(2..=BATCH_MAX) };
        let ids: Vec<_> = (0..jobs).map(|job| format!("client-{client}-{number}-{job}")).collect();
        let mut has_doomed = false;
        let mut body = Vec::new();
        for id in &ids {
            let is_doomed = dice.u8(..20) == 0;
            has_doomed |= is_doomed;
            body.extend_from_slice(format!("{}\n", job(id, is_doomed, dice)).as_bytes());
        }
        JobBatch { ids, body, may_be_sent_again: !has_doomed }
    }
}

fn job(id: &str, is_doomed: bool, dice: &mut Rng) -> Value {
    if is_doomed {
        return json!({"id": id, "kind": "simulate", "payload": {"sleep_ms": 0, "fail_rate": 1}, "max_retry": 2});
    }
    let mut job = json!({"id": id, "kind": "noop", "max_retry": MAX_RETRY, "priority": dice.u8(..10)});
    if dice.bool() {
        job["kind"] = "simulate".into();
        job["payload"] = json!({"sleep_ms": dice.u64(..20), "fail_rate": 0.1});
    }
    if dice.u8(..10) == 0 {
        job["delay"] = dice.u64(20..300).into();
    }
    job
}

/// Enqueues one request after the other until it is over.
pub(crate) async fn produce(shared: Arc<Load>, client: usize, mut dice: Rng) {
    for number in 0.. {
        if shared.is_over() {
            return;
        }
        let batch = JobBatch::new(client, number, &mut dice);
        shared.history().asked(&batch.ids);
        // Who never asks again leaves it to the end to show what became of it.
        let asks_again = batch.may_be_sent_again && dice.u8(..4) > 0;
        send(&shared, &batch, asks_again).await;
        tokio::time::sleep(Duration::from_millis(dice.u64(PAUSE_MS))).await;
    }
}

/// Sends one request, again and again if need be, until it is known what became of it, or nobody wants to know.
async fn send(shared: &Load, batch: &JobBatch, asks_again: bool) {
    let mut may_be_there = false;
    loop {
        if let Some(server) = shared.server() {
            match server.enqueue(batch.body.clone(), |_| {}).await {
                Ok(_) => return shared.history().answered(&batch.ids, Outcome::Acknowledged),
                Err(ClientError::Unreachable { .. } | ClientError::Refused { status: 429 | 503, .. }) => {}
                Err(ClientError::Lost { .. }) => {
                    shared.history().answered(&batch.ids, Outcome::Unknown);
                    may_be_there = true;
                    if !asks_again {
                        return;
                    }
                }
                Err(error) => {
                    let mut history = shared.history();
                    history.complain(format!("a good request was refused: {error}"));
                    return history.answered(&batch.ids, Outcome::Unknown);
                }
            }
        }
        if shared.is_over() && !may_be_there {
            return shared.history().answered(&batch.ids, Outcome::Refused);
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Looks at one acknowledged job after the other until it is over.
pub(crate) async fn watch(shared: Arc<Load>, mut dice: Rng) {
    while !shared.is_over() {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(server) = shared.server() else { continue };
        let id = {
            let history = shared.history();
            let jobs = history.acknowledged();
            // Mostly recent ones: these are in somebody's hands.
            let from = if dice.bool() { 0 } else { jobs.len().saturating_sub(50) };
            match jobs.len() {
                0 => continue,
                len => jobs[dice.usize(from..len)].clone(),
            }
        };
        if look(&shared, &server, &id).await {
            shared.fresh.lock().expect("whoever held it did not panic").push(id);
        }
    }
}

/// Looks at one acknowledged job; whether it was seen completed.
pub(crate) async fn look(shared: &Load, server: &Client, id: &str) -> bool {
    match server.job(id).await {
        Ok(job) => match Sighting::read(&job) {
            Ok(sighting) => shared.history().sighted(id, Some(sighting)),
            Err(failure) => {
                shared.history().complain(failure.to_string());
                false
            }
        },
        Err(ClientError::Refused { status: 404, .. }) => shared.history().sighted(id, None),
        // It was killed, or is not ready: nothing was learnt.
        Err(_) => false,
    }
}
