//! What was seen of jobs in the hands of remote workers, and what must not be.
//!
//! Beside the oracle, which judges runs and leases, this judges what only the work protocol promises:
//!
//! - a job comes from a queue that was asked for, and never after its completion was acknowledged;
//! - the worker that has a job and reports on it within its reservation is heard, and no other;
//! - two deliveries are never under the same token;
//! - a queue that is paused gives no jobs, to nobody, and a quiet worker gets none;
//! - what was pushed first is given out first, within a queue and a priority: told by the tokens, which grow;
//! - jobs that nobody killed, cancelled or discarded are not dead, cancelled or gone.
//!
//! Where a request had no answer, or a moment is in doubt, nothing is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use beaver_actors::ids::Token;
use beaver_actors::jobs::Status;
use beaver_actors::tools::oracle::Outcome;
use serde_json::Value;

use crate::wire::Reply;
use crate::world::World;

/// The shortest reservation that there is, less what a message takes and a little more.
const SURELY_HELD: Duration = Duration::from_secs(57);
/// After this long it has expired, even if the server was started, and its clock set, in the meantime: each gives a
/// reservation its whole time again.
pub const SURELY_EXPIRED: Duration = Duration::from_secs(95);
/// Where jobs go that are added over HTTP.
const HTTP_QUEUE: &str = "default";

/// A job of a producer.
#[derive(Clone, Debug)]
pub struct Push {
    pub id: String,
    pub queue: &'static str,
    pub priority: u8,
    /// It may start at once.
    pub is_due: bool,
    /// How often it is tried again: 0 drops it when it fails, -1 declares it dead.
    pub retry: i64,
}

#[derive(Debug)]
struct Pushed {
    push: Push,
    asked: u64,
    acknowledged: Option<u64>,
    /// The token of its first attempt.
    first_token: Option<Token>,
}

/// A FETCH that is about to be sent.
#[derive(Clone, Debug)]
pub struct Fetching {
    wid: String,
    queues: Vec<&'static str>,
    order: u64,
    at: Duration,
}

/// A job that a remote worker was given.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub id: String,
    pub wid: String,
    /// It has failed before.
    pub has_failed: bool,
    fetching: Fetching,
    /// A report on it had no answer.
    is_in_doubt: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Ack,
    Fail,
}

/// What remote workers did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub delivered: u64,
    /// ACKs that were answered.
    pub acked: u64,
    /// FAILs that were taken.
    pub failed: u64,
    /// Jobs that disappeared because an operator wanted it.
    pub discarded: u64,
    /// Pauses that were answered.
    pub pauses: u64,
    /// Reports after the reservation that changed nothing, as they should.
    pub too_late: u64,
    /// Pairs of jobs whose order was judged.
    pub in_order: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.delivered += other.delivered;
        self.acked += other.acked;
        self.failed += other.failed;
        self.discarded += other.discarded;
        self.pauses += other.pauses;
        self.too_late += other.too_late;
        self.in_order += other.in_order;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { delivered, acked, failed, discarded, pauses, too_late, in_order } = self;
        write!(
            f,
            "{delivered} delivered to remote workers, {acked} acked, {failed} failed, {too_late} reported too late, \
             {discarded} discarded, {pauses} pauses, {in_order} pairs in order"
        )
    }
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct Ledger {
    pushed: BTreeMap<String, Pushed>,
    /// Queues that had a job.
    queues: BTreeSet<&'static str>,
    /// Since when a queue is known to be paused; until somebody asks to resume it.
    paused: BTreeMap<&'static str, u64>,
    /// Since when, and in which life of the server, a worker is known to be quiet.
    quiet: BTreeMap<String, (u64, u64)>,
    /// When a worker last connected: with its only connection, it has begun afresh.
    connected: BTreeMap<String, u64>,
    workers: BTreeSet<String>,
    /// Jobs that somebody wanted to take away from the workers that have them.
    contested: BTreeSet<String>,
    cancels: BTreeSet<String>,
    kills: BTreeSet<String>,
    discards: BTreeSet<String>,
    /// Jobs whose ACK was answered while their worker held them.
    done: BTreeMap<String, u64>,
    /// The FETCH that gave out each token.
    tokens: BTreeMap<Token, u64>,
    broken: Vec<String>,
    counts: Counts,
}

/// The token of the lease that a job is in, as the API tells it.
pub fn token_of(view: &Value) -> Option<Token> {
    let text = view.get("token").filter(|token| !token.is_null())?;
    Some(text.as_str().expect("a token is a text").parse().expect("it is one that a server gave"))
}

impl Ledger {
    fn queue_of(&self, id: &str) -> &'static str {
        self.pushed.get(id).map_or(HTTP_QUEUE, |pushed| pushed.push.queue)
    }

    /// A job was added over HTTP.
    pub fn added(&mut self) {
        self.queues.insert(HTTP_QUEUE);
    }

    /// A local worker has begun with a job.
    pub fn began(&mut self, id: &str, attempt: u32, token: Token) {
        let queue = self.queue_of(id);
        if let Some(since) = self.paused.get(queue) {
            self.broken.push(format!("job {id} began, but its queue {queue} has been paused since {since}"));
        }
        self.note_token(id, attempt, token);
    }

    fn note_token(&mut self, id: &str, attempt: u32, token: Token) {
        if let Some(pushed) = self.pushed.get_mut(id).filter(|_| attempt == 1) {
            pushed.first_token = Some(token);
        }
    }

    fn deliver(&mut self, fetching: &Fetching, job: &Value, order: u64, boot: u64) -> Delivery {
        let id = job["jid"].as_str().expect("a job has a name").to_owned();
        self.counts.delivered += 1;
        let queue = self.queue_of(&id);
        if !fetching.queues.contains(&queue) || job["queue"] != queue {
            self.broken
                .push(format!("job {id} of {queue} was given to one who asked for {:?}", fetching.queues));
        }
        if let Some(done) = self.done.get(&id) {
            self.broken
                .push(format!("job {id} was delivered at {order}, after its ACK was answered at {done}"));
        }
        if let Some(since) = self.paused.get(queue).filter(|since| **since < fetching.order) {
            self.broken.push(format!("job {id} was delivered, but {queue} has been paused since {since}"));
        }
        let quiet = self.quiet.get(&fetching.wid);
        if quiet.is_some_and(|(since, in_boot)| *since < fetching.order && *in_boot == boot) {
            self.broken.push(format!("job {id} was delivered to {}, which is quiet", fetching.wid));
        }
        Delivery {
            id,
            wid: fetching.wid.clone(),
            has_failed: job.get("failure").is_some(),
            fetching: fetching.clone(),
            is_in_doubt: false,
        }
    }

    /// What is wrong in the end.
    pub fn judge(&mut self, ends: &BTreeMap<String, Status>) -> (Counts, Vec<String>) {
        let mut broken = std::mem::take(&mut self.broken);
        for (id, done) in &self.done {
            if ends.get(id) != Some(&Status::Completed) {
                broken.push(format!("job {id} is {:?}, but its ACK was answered at {done}", ends.get(id)));
            }
        }
        for (id, status) in ends {
            let retry = self.pushed.get(id).map(|pushed| pushed.push.retry);
            let is_right = match status {
                Status::Dead => self.kills.contains(id) || retry == Some(-1),
                Status::Cancelled => self.cancels.contains(id) || retry == Some(0),
                _ => true,
            };
            if !is_right {
                broken.push(format!("job {id} is {}, and nobody wanted that", status.as_str()));
            }
        }
        let first: Vec<&Pushed> = self.pushed.values().filter(|pushed| pushed.push.is_due).collect();
        for one in &first {
            for other in &first {
                let is_same_line =
                    (one.push.queue, one.push.priority) == (other.push.queue, other.push.priority);
                let was_before = one.acknowledged.is_some_and(|acknowledged| acknowledged < other.asked);
                let (true, true, Some(token), Some(later)) =
                    (is_same_line, was_before, one.first_token, other.first_token)
                else {
                    continue;
                };
                self.counts.in_order += 1;
                if later < token {
                    let (one, other) = (&one.push.id, &other.push.id);
                    broken
                        .push(format!("job {other} was given out before {one}, which was pushed before it"));
                }
            }
        }
        (self.counts, broken)
    }
}

impl World {
    pub fn pushing(&self, push: &Push) {
        self.asked(&push.id);
        self.see(format!("push of {} to {}", push.id, push.queue), |seen, order| {
            let pushed = Pushed { push: push.clone(), asked: order, acknowledged: None, first_token: None };
            seen.ledger.pushed.entry(push.id.clone()).or_insert(pushed);
        });
    }

    pub fn pushed(&self, id: &str, outcome: Outcome) {
        self.see(format!("pushed {id} {outcome:?}"), |seen, order| {
            seen.oracle.answered(id, outcome);
            let pushed = seen.ledger.pushed.get_mut(id).filter(|_| outcome == Outcome::Acknowledged);
            if let Some(pushed) = pushed {
                pushed.acknowledged.get_or_insert(order);
                seen.ledger.queues.insert(pushed.push.queue);
            }
        });
    }

    pub fn fetching(&self, wid: &str, queues: &[&'static str]) -> Fetching {
        self.see(format!("{wid} fetches {queues:?}"), |seen, order| {
            seen.ledger.workers.insert(wid.to_owned());
            let at = turmoil::sim_elapsed().unwrap_or_default();
            Fetching { wid: wid.to_owned(), queues: queues.to_vec(), order, at }
        })
    }

    pub fn delivered(&self, fetching: &Fetching, job: &str) -> Delivery {
        let job: Value = serde_json::from_str(job).expect("a job is JSON");
        let boot = self.boots.load(SeqCst);
        self.see(format!("{} gets {job}", fetching.wid), |seen, order| {
            seen.ledger.deliver(fetching, &job, order, boot)
        })
    }

    /// How long ago the worker asked for it.
    pub fn age(&self, delivery: &Delivery) -> Duration {
        turmoil::sim_elapsed().unwrap_or_default().saturating_sub(delivery.fetching.at)
    }

    /// Whether its reservation cannot have expired, though the clock may have been set and the server started again.
    fn is_surely_held(&self, delivery: &Delivery) -> bool {
        self.age(delivery) < SURELY_HELD
    }

    /// The worker has looked at the job that it was given. False if it is not its own (any more).
    pub fn lease_seen(&self, delivery: &Delivery, view: &Value) -> bool {
        let is_surely_held = self.is_surely_held(delivery);
        let Delivery { id, wid, fetching, .. } = delivery;
        let is_held = view["status"] == "in_flight" && view["worker"] == wid.as_str();
        let (attempt, token) = (view["attempt"].as_u64(), token_of(view));
        let told = token.map(|token| token.to_string());
        self.see(format!("{wid} holds {id}: {is_held}, {attempt:?}, {told:?}"), |seen, order| {
            let ledger = &mut seen.ledger;
            if !is_held && is_surely_held && !ledger.contested.contains(id) {
                ledger.broken.push(format!("job {id} was given to {wid} and is taken away: {view}"));
            }
            let (true, Some(attempt), Some(token)) = (is_held, attempt, token) else { return false };
            let other = ledger.tokens.insert(token, fetching.order).filter(|other| *other != fetching.order);
            if let Some(other) = other {
                let fetched = fetching.order;
                ledger
                    .broken
                    .push(format!("token {token} was given out by the FETCHes {other} and {fetched}"));
            }
            let attempt = u32::try_from(attempt).expect("attempts are few");
            ledger.note_token(id, attempt, token);
            seen.oracle.began(id, attempt, token, order);
            true
        })
    }

    /// What came of a report.
    pub fn reported(&self, delivery: &mut Delivery, verb: Verb, reply: Option<&Reply>) {
        let is_surely_held = self.is_surely_held(delivery);
        let has_expired = self.age(delivery) > SURELY_EXPIRED;
        let Delivery { id, wid, is_in_doubt, .. } = delivery;
        self.see(format!("{wid} reports {verb:?} {id}: {reply:?}"), |seen, order| {
            let ledger = &mut seen.ledger;
            let is_contested = ledger.contested.contains(id);
            match (verb, reply) {
                (_, None) => *is_in_doubt = true,
                (Verb::Ack, Some(Reply::Ok)) => {
                    ledger.counts.acked += 1;
                    // To others it only says that their job is done, or gone.
                    if !is_contested {
                        ledger.done.entry(id.clone()).or_insert(order);
                        seen.oracle.completed(id, order);
                    }
                }
                (Verb::Fail, Some(Reply::Ok)) if has_expired => {
                    ledger.broken.push(format!("job {id}: a FAIL after its reservation was taken"));
                }
                (Verb::Fail, Some(Reply::Ok)) => ledger.counts.failed += 1,
                (Verb::Fail, Some(Reply::Error(error))) if error.contains("Job not found") => {
                    if is_surely_held && !is_contested && !*is_in_doubt {
                        ledger.broken.push(format!("job {id}: the FAIL of {wid}, which has it, was refused"));
                    }
                    ledger.counts.too_late += u64::from(has_expired);
                }
                // Nothing is decided: stopping, recovering, or the outcome is not known.
                (_, Some(Reply::Error(_))) => *is_in_doubt = true,
                (_, Some(other)) => ledger.broken.push(format!("a report is answered {other:?}")),
            }
        });
    }

    /// Somebody who does not have the job reported on it.
    pub fn stranger_reported(&self, id: &str, verb: Verb, reply: Option<&Reply>) {
        self.see(format!("a stranger reports {verb:?} {id}: {reply:?}"), |seen, _| {
            if (verb, reply) == (Verb::Fail, Some(&Reply::Ok)) {
                seen.ledger.broken.push(format!("job {id}: the FAIL of a stranger was taken"));
            }
        });
    }

    pub fn beaten(&self, wid: &str, since: &Fetching, reply: Option<&Reply>) {
        let boot = self.boots.load(SeqCst);
        self.see(format!("BEAT of {wid}: {reply:?}"), |seen, _| {
            let quiet = seen.ledger.quiet.get(wid);
            let is_quiet = quiet.is_some_and(|(order, in_boot)| *order < since.order && *in_boot == boot);
            if is_quiet && reply == Some(&Reply::Ok) {
                seen.ledger.broken.push(format!("{wid} is quiet and does not hear of it"));
            }
        });
    }

    /// Whether there surely is such a queue.
    pub fn has_queue(&self, queue: &str) -> bool {
        self.see(format!("is there {queue}"), |seen, _| seen.ledger.queues.contains(queue))
    }

    pub fn paused(&self, queue: &'static str) {
        self.see(format!("paused {queue}"), |seen, order| {
            seen.ledger.counts.pauses += 1;
            seen.ledger.paused.insert(queue, order);
        });
    }

    /// Somebody is about to ask for it, for one queue or for all.
    pub fn resuming(&self, queue: Option<&'static str>) {
        self.see(format!("resuming {queue:?}"), |seen, _| match queue {
            Some(queue) => drop(seen.ledger.paused.remove(queue)),
            None => seen.ledger.paused.clear(),
        });
    }

    /// A worker has a new connection. Whether the server has seen the end of all others is not known.
    pub fn connected(&self, wid: &str) {
        self.see(format!("connected {wid}"), |seen, order| {
            seen.ledger.connected.insert(wid.to_owned(), order);
            seen.ledger.quiet.remove(wid);
        });
    }

    /// Somebody is about to ask a worker to be quiet.
    pub fn quieting(&self, wid: &str) -> u64 {
        self.see(format!("quieting {wid}"), |_, order| order)
    }

    /// A worker was told to be quiet, in one life of the server, since this moment.
    pub fn quieted(&self, wid: &str, asked_in_boot: u64, since: u64) {
        let is_same_life = self.boots.load(SeqCst) == asked_in_boot;
        self.see(format!("quieted {wid}"), |seen, order| {
            let begins_afresh = seen.ledger.connected.get(wid).is_some_and(|connected| *connected > since);
            if is_same_life && !begins_afresh {
                seen.ledger.quiet.insert(wid.to_owned(), (order, asked_in_boot));
            }
        });
    }

    pub fn workers(&self) -> Vec<String> {
        self.see("workers".to_owned(), |seen, _| seen.ledger.workers.iter().cloned().collect())
    }

    pub fn pushed_jobs(&self) -> Vec<String> {
        self.see("jobs".to_owned(), |seen, _| seen.ledger.pushed.keys().cloned().collect())
    }

    /// Somebody is about to take a job from the worker that has it.
    pub fn taking_away(&self, id: &str) {
        self.see(format!("taking away {id}"), |seen, _| seen.ledger.contested.insert(id.to_owned()));
    }

    pub fn cancelling(&self, id: &str) {
        self.taking_away(id);
        self.see(format!("cancelling {id}"), |seen, _| seen.ledger.cancels.insert(id.to_owned()));
    }

    pub fn killing(&self, ids: &[String]) {
        self.see(format!("killing {ids:?}"), |seen, _| seen.ledger.kills.extend(ids.iter().cloned()));
    }

    pub fn discarding(&self, ids: &[String]) {
        self.see(format!("discarding {ids:?}"), |seen, _| seen.ledger.discards.extend(ids.iter().cloned()));
    }

    /// A job is not there in the end. If somebody wanted that, it is as good as cancelled.
    pub fn is_gone(&self, id: &str) {
        self.see(format!("gone {id}"), |seen, _| {
            let ledger = &seen.ledger;
            let was_taken = ledger.pushed.get(id).is_some_and(|pushed| pushed.acknowledged.is_some());
            if was_taken && ledger.discards.contains(id) && !ledger.done.contains_key(id) {
                seen.ledger.counts.discarded += 1;
                seen.oracle.ended(id, Status::Cancelled);
            }
        });
    }
}
