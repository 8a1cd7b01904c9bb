//! What remote workers and their producers do, all of it in the work protocol: push alone, in bulk and without
//! waiting for replies; fetch, look at what they got, report, report twice, fall silent, come back under the same name
//! and report then, or long after their reservation. A stranger reports on jobs that it does not have.

use std::time::Duration;

use beaver_actors::tools::oracle::Outcome;
use serde_json::{Value, json};

use crate::client::{Answer, request};
use crate::ledger::{Delivery, Fetching, Push, SURELY_EXPIRED, Verb};
use crate::server::{KIND, right_time};
use crate::wire::{Connection, Reply};
use crate::world::{World, pass, pause};

/// Queues of jobs that only remote workers know how to do.
const REMOTE_QUEUES: [&str; 3] = ["high", "low", "other"];
/// One whose jobs local workers do as well.
pub const SHARED_QUEUE: &str = "shared";
/// A worker looks at its job at most this many times.
const LOOKS: u32 = 8;
const LOOKS_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// A worker whose connection broke, or could not be made, tries again this much later.
const RECONNECTS_AFTER: Duration = Duration::from_millis(100);

/// A machine with a producer and two workers.
pub async fn live(world: std::sync::Arc<World>, number: u64) -> turmoil::Result {
    tokio::join!(biased; produce(&world, number), consume(&world, number, 0), consume(&world, number, 1));
    Ok(())
}

async fn produce(world: &World, number: u64) {
    let mut dice = fastrand::Rng::with_seed(world.seed ^ (number << 40) ^ 0x70);
    let mut made = 0;
    while !world.is_healed() {
        pause(&mut dice, 1..800).await;
        let Some(mut server) = Connection::open(None).await else { continue };
        for _ in 0..dice.u64(1..5) {
            let count = if dice.bool() { 1 } else { dice.u64(2..5) };
            let jobs: Vec<Push> = (made..made + count).map(|nth| job(number, nth, &mut dice)).collect();
            made += count;
            let pushed = match dice.u32(0..3) {
                0 => push_in_bulk(world, &mut server, &jobs, &mut dice).await,
                _ => push(world, &mut server, &jobs, &mut dice).await,
            };
            if pushed.is_none() || world.is_healed() {
                break;
            }
            pause(&mut dice, 1..400).await;
        }
    }
}

fn job(number: u64, nth: u64, dice: &mut fastrand::Rng) -> Push {
    let queue = match dice.u32(0..4) {
        0 => SHARED_QUEUE,
        _ => dice.choice(REMOTE_QUEUES).expect("there are some"),
    };
    Push {
        id: format!("remote-{number}-{nth}"),
        queue,
        priority: if dice.u32(0..4) == 0 { dice.u8(0..10) } else { 5 },
        is_due: dice.u32(0..5) > 0,
        retry: [0, -1, 25, 25, 25, 25, 25, 25][dice.usize(0..8)],
    }
}

fn text(push: &Push, dice: &mut fastrand::Rng) -> String {
    let kind = if push.queue == SHARED_QUEUE { KIND } else { "remote" };
    let mut job = json!({
        "jid": push.id, "queue": push.queue, "jobtype": kind, "args": [dice.u64(0..200), "well"],
        "priority": push.priority, "reserve_for": dice.u64(0..61), "retry": push.retry,
        "custom": { "by": "the simulation" },
    });
    if job["reserve_for"] == 0 {
        job["reserve_for"] = Value::from(60);
    }
    if !push.is_due {
        let at = right_time().plus_ms(dice.u64(0..3_000));
        job["at"] = serde_json::to_value(at).expect("a moment is JSON");
    }
    job.to_string()
}

/// One by one, but without waiting; some of them twice, which is the same job.
async fn push(world: &World, server: &mut Connection, jobs: &[Push], dice: &mut fastrand::Rng) -> Option<()> {
    let mut lines = Vec::new();
    let mut asked = Vec::new();
    for job in jobs {
        world.pushing(job);
        let line = format!("PUSH {}", text(job, dice));
        let times = if dice.u32(0..6) == 0 { 2 } else { 1 };
        for _ in 0..times {
            lines.push(line.clone());
            asked.push(job.id.as_str());
        }
    }
    let mut is_open = server.send(&lines).await;
    for id in asked {
        let reply = match is_open {
            Some(()) => server.hear().await,
            None => None,
        };
        world.pushed(id, outcome(reply.as_ref()));
        is_open = reply.map(drop);
    }
    is_open
}

/// All at once, perhaps with one that is refused.
async fn push_in_bulk(
    world: &World,
    server: &mut Connection,
    jobs: &[Push],
    dice: &mut fastrand::Rng,
) -> Option<()> {
    jobs.iter().for_each(|job| world.pushing(job));
    let mut texts: Vec<String> = jobs.iter().map(|job| text(job, dice)).collect();
    let short = dice.bool().then(|| format!("no{}", dice.u32(0..10_000)));
    if let Some(short) = &short {
        world.asked(short);
        texts.push(json!({ "jid": short, "jobtype": "remote", "args": [], "queue": "high" }).to_string());
    }
    let reply = server.ask(&format!("PUSHB [{}]", texts.join(","))).await;
    let whole = outcome(reply.as_ref());
    jobs.iter().for_each(|job| world.pushed(&job.id, whole));
    if let Some(short) = &short {
        world.pushed(short, if whole == Outcome::Acknowledged { Outcome::Refused } else { whole });
    }
    if let Some(Reply::Text(refused)) = &reply {
        let refused: serde_json::Map<String, Value> = serde_json::from_str(refused).expect("it is an object");
        assert_eq!(refused.keys().collect::<Vec<_>>(), short.iter().collect::<Vec<_>>());
    }
    reply.map(drop)
}

fn outcome(reply: Option<&Reply>) -> Outcome {
    match reply {
        Some(Reply::Ok | Reply::Text(_)) => Outcome::Acknowledged,
        Some(Reply::Error(error)) if !error.contains("outcome is unknown") => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}

/// What a worker does with one job.
enum Next {
    /// It asks for another.
    Go,
    /// Its connection is gone, or it hangs up.
    Reconnect,
    /// It never reports on this one, or only when it is too late.
    Vanished(Delivery),
}

/// A connection of a worker.
async fn open(world: &World, wid: &str) -> Option<Connection> {
    let connection = Connection::open(Some(wid)).await?;
    world.connected(wid);
    Some(connection)
}

async fn consume(world: &World, number: u64, nth: u64) {
    let mut dice = fastrand::Rng::with_seed(world.seed ^ (number << 40) ^ (nth << 48) ^ 0x63);
    // On some machines both workers are one with two connections.
    let name = if world.seed.is_multiple_of(3) {
        format!("both-{number}")
    } else {
        format!("worker-{number}-{nth}")
    };
    let mut life = 0;
    let mut vanished = Vec::new();
    while !world.is_healed() {
        pause(&mut dice, 1..200).await;
        // Mostly it comes back under the name that it had.
        life += u64::from(dice.u32(0..4) == 0);
        let wid = format!("{name}-{life}");
        let Some(mut server) = open(world, &wid).await else { continue };
        for _ in 0..dice.u32(3..20) {
            if world.is_healed() {
                break;
            }
            let mut queues = vec![REMOTE_QUEUES[0], REMOTE_QUEUES[1], REMOTE_QUEUES[2], SHARED_QUEUE];
            dice.shuffle(&mut queues);
            queues.truncate(dice.usize(1..5));
            let fetching = world.fetching(&wid, &queues);
            let delivery = match server.ask(&format!("FETCH {}", queues.join(" "))).await {
                Some(Reply::Text(job)) => world.delivered(&fetching, &job),
                Some(Reply::Error(_)) | None => break,
                Some(_) => continue,
            };
            match live_through(world, &mut server, &fetching, delivery, &mut dice).await {
                Next::Go => {}
                Next::Reconnect => break,
                Next::Vanished(delivery) => {
                    vanished.push(delivery);
                    break;
                }
            }
        }
        if dice.bool() {
            server.send(&["END".to_owned()]).await;
        }
    }
    work_in_peace(world, &format!("healed-{number}-{nth}"), &vanished).await;
}

async fn live_through(
    world: &World,
    server: &mut Connection,
    fetching: &Fetching,
    mut delivery: Delivery,
    dice: &mut fastrand::Rng,
) -> Next {
    if !look(world, &delivery).await {
        // It does not know what it has, and leaves it alone.
        return Next::Vanished(delivery);
    }
    pause(dice, 0..200).await;
    let may_fail = !delivery.has_failed && dice.u32(0..4) == 0;
    let verb = if may_fail { Verb::Fail } else { Verb::Ack };
    match dice.u32(0..20) {
        0 => return Next::Vanished(delivery),
        1 | 2 => {
            // It hangs up without a word, and comes back under the same name.
            let Some(mut again) = open(world, &delivery.wid).await else {
                return Next::Vanished(delivery);
            };
            std::mem::swap(server, &mut again);
            drop(again);
            pause(dice, 0..1_500).await;
        }
        3 | 4 => be_a_stranger(world, &delivery.id).await,
        5 | 6 => {
            let reply = server.ask(&json_line("BEAT", &json!({ "wid": delivery.wid, "rss_kb": 70 }))).await;
            world.beaten(&delivery.wid, fetching, reply.as_ref());
            if reply.is_none() {
                return Next::Vanished(delivery);
            }
        }
        _ => {}
    }
    // Some say everything twice, without waiting.
    let times = if verb == Verb::Ack && dice.u32(0..6) == 0 { 2 } else { 1 };
    match report(world, server, &mut delivery, verb, times).await {
        Some(()) => Next::Go,
        None => Next::Reconnect,
    }
}

/// Sees under which token the worker holds its job. False if it could not be told.
async fn look(world: &World, delivery: &Delivery) -> bool {
    for _ in 0..LOOKS {
        let path = format!("/api/v1/jobs/{}", delivery.id);
        match request("GET", &path, String::new()).await {
            Answer::Status(200, view) => return world.lease_seen(delivery, &view),
            _ => pass(LOOKS_AGAIN_AFTER).await,
        }
    }
    false
}

fn json_line(verb: &str, rest: &Value) -> String {
    format!("{verb} {rest}")
}

async fn report(
    world: &World,
    server: &mut Connection,
    delivery: &mut Delivery,
    verb: Verb,
    times: usize,
) -> Option<()> {
    let line = report_line(&delivery.id, verb);
    let mut is_open = server.send(&vec![line; times]).await;
    for _ in 0..times {
        let reply = match is_open {
            Some(()) => server.hear().await,
            None => None,
        };
        world.reported(delivery, verb, reply.as_ref());
        is_open = reply.map(drop);
    }
    is_open
}

pub fn report_line(id: &str, verb: Verb) -> String {
    match verb {
        Verb::Ack => json_line("ACK", &json!({ "jid": id })),
        Verb::Fail => {
            let failure =
                json!({ "jid": id, "errtype": "Asked", "message": "as asked", "backtrace": ["here"] });
            json_line("FAIL", &failure)
        }
    }
}

/// Reports on the job of another: it is answered, and changes nothing.
async fn be_a_stranger(world: &World, id: &str) {
    let Some(mut server) = Connection::open(Some("stranger")).await else { return };
    for verb in [Verb::Ack, Verb::Fail] {
        let reply = server.ask(&report_line(id, verb)).await;
        world.stranger_reported(id, verb, reply.as_ref());
    }
}

/// Does what there is to do, until there is nothing left.
async fn work_in_peace(world: &World, wid: &str, vanished: &[Delivery]) {
    let queues = [REMOTE_QUEUES[0], REMOTE_QUEUES[1], REMOTE_QUEUES[2], SHARED_QUEUE];
    let fetch = format!("FETCH {}", queues.join(" "));
    let mut too_late: Vec<Delivery> = vanished.to_vec();
    while !world.is_drained_within(RECONNECTS_AFTER).await {
        let Some(mut server) = open(world, wid).await else { continue };
        while !world.is_drained() {
            let late = too_late.iter().position(|delivery| world.age(delivery) > SURELY_EXPIRED);
            if let Some(mut delivery) = late.map(|at| too_late.swap_remove(at)) {
                report_too_late(world, &mut delivery).await;
            }
            let fetching = world.fetching(wid, &queues);
            let mut delivery = match server.ask(&fetch).await {
                Some(Reply::Text(job)) => world.delivered(&fetching, &job),
                Some(Reply::Nothing) => continue,
                _ => break,
            };
            if look(world, &delivery).await
                && report(world, &mut server, &mut delivery, Verb::Ack, 1).await.is_none()
            {
                break;
            }
        }
    }
}

/// The worker has been away for longer than its reservation.
async fn report_too_late(world: &World, delivery: &mut Delivery) {
    if let Some(mut server) = open(world, &delivery.wid).await {
        report(world, &mut server, delivery, Verb::Fail, 1).await;
    }
}
