//! The Rust client, which is a dev-dependency: all that it offers, always tried.

use std::io;
use std::time::Duration;

use faktory::mutate::{Filter, JobSet};
use faktory::{Client, Failure, Job, JobId, StopReason, WorkerBuilder, WorkerId};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::fwp::{outlast_fetches, start, tell_worker, url};
use crate::harness::{PATIENCE, Place, Server};
use crate::tls::{Certificate, Secure};

const WID: &str = "rust-worker";
/// Job types that the workers here know.
const KINDS: [&str; 4] = ["work", "alpha", "beta", "gamma"];

/// How a job ends that could not be done, with a cause below it.
#[derive(Debug, thiserror::Error)]
#[error("the letter came back")]
struct CameBack(#[source] io::Error);

fn came_back() -> Result<(), CameBack> {
    Err(CameBack(io::Error::other("nobody lives there")))
}

/// A worker that hands over what it runs.
fn worker(end: fn() -> Result<(), CameBack>) -> (WorkerBuilder<CameBack>, mpsc::UnboundedReceiver<Job>) {
    let (ran, runs) = mpsc::unbounded_channel();
    let mut builder = WorkerBuilder::default().wid(WorkerId::new(WID)).hostname("here".to_owned());
    for kind in KINDS {
        let ran = ran.clone();
        builder = builder.register_fn(kind, move |job| {
            let ran = ran.clone();
            async move {
                ran.send(job).expect("the test waits for it");
                end()
            }
        });
    }
    (builder, runs)
}

/// Fetches one job, ends it so, and returns it as it was fetched.
async fn run_one(port: u16, queue: &str, end: fn() -> Result<(), CameBack>) -> Option<Job> {
    let (builder, mut runs) = worker(end);
    let mut worker = builder.connect_to(&url(port)).await.unwrap();
    let ran = worker.run_one(0, &[queue]).await.unwrap();
    let job = runs.try_recv().ok();
    assert_eq!(ran, job.is_some());
    job
}

async fn expect_run(port: u16, queue: &str, id: &JobId) -> Job {
    let job = run_one(port, queue, || Ok(())).await.unwrap();
    assert_eq!(job.id(), id);
    job
}

async fn client(port: u16) -> Client {
    Client::connect_to(&url(port)).await.unwrap()
}

async fn push(client: &mut Client, job: Job) -> JobId {
    let id = job.id().clone();
    client.enqueue(job).await.unwrap();
    id
}

fn in_an_hour(mut job: Job) -> Job {
    job.at = job.created_at.map(|now| now + Duration::from_secs(3_600));
    job
}

/// Jobs in the sets scheduled, retries and dead.
async fn sizes(client: &mut Client) -> [u64; 3] {
    let info = client.current_info().await.unwrap();
    #[expect(deprecated, reason = "it is where this client finds the sets")]
    let tasks = info.data.tasks;
    ["Scheduled", "Retries", "Dead"].map(|name| tasks[name]["size"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_fetched_as_it_was_pushed_and_is_done_once_acknowledged() {
    let place = Place::new();
    let (server, port) = start(&place, &[]);
    let mut client = client(port).await;
    let args = [json!(1), json!({"deep": ["ü€😀", "a\r\nb", null]}), json!([])];
    let mut pushed = Job::builder("work")
        .args(args.clone())
        .queue("post")
        .reserve_for(Duration::from_secs(90))
        .retry(4_isize)
        .add_to_custom_data("locale", "de")
        .build();
    pushed.priority = None;
    let created_at = pushed.created_at.unwrap();
    let id = push(&mut client, pushed).await;

    let job = expect_run(port, "post", &id).await;
    assert_eq!((job.kind(), job.queue.as_str(), job.args()), ("work", "post", &args[..]));
    assert_eq!((job.reserve_for, job.retry), (Some(Duration::from_secs(90)), Some(4)));
    assert_eq!(job.custom["locale"], "de");
    assert!(job.failure().is_none());
    assert!((job.created_at.unwrap() - created_at).num_seconds().abs() < 60);
    assert!((job.enqueued_at.unwrap() - created_at).num_seconds().abs() < 60);
    assert_eq!(server.job(&id)["status"], "completed");

    let info = client.current_info().await.unwrap();
    assert_eq!((info.data.total_processed, info.data.total_failures, info.data.total_enqueued), (1, 0, 0));
    assert_eq!(info.data.queues["post"], 0);
    assert_eq!((info.server.version.major, info.server.connections >= 1), (1, true));
    assert_ne!(info.server.description, "Faktory");
    // Nothing is left.
    assert!(run_one(port, "post", || Ok(())).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_jobs_at_once_the_good_ones_are_in_and_the_others_are_named() {
    let place = Place::new();
    let (_server, port) = start(&place, &[]);
    let mut client = client(port).await;
    let good: Vec<_> = (0..1_000).map(|number| Job::new("work", vec![number])).collect();
    assert_eq!(client.enqueue_many(good).await.unwrap(), (1_000, None));
    let bad = Job::builder("work").jid(JobId::new("short")).build();
    let later = in_an_hour(Job::builder("work").build());
    let (accepted, refused) = client.enqueue_many([bad, later]).await.unwrap();
    let refused = refused.unwrap();
    assert_eq!((accepted, refused.len()), (1, 1));
    assert!(refused["short"].contains("jid"), "{refused:?}");
    let info = client.current_info().await.unwrap();
    assert_eq!((info.data.total_enqueued, info.data.total_queues), (1_000, 1));
    assert_eq!(sizes(&mut client).await, [1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_job_comes_back_with_its_failure_until_it_is_dead() {
    let place = Place::new();
    let (server, port) = start(&place, &[]);
    let mut client = client(port).await;
    let id = push(&mut client, Job::builder("work").retry(1_isize).build()).await;
    assert!(run_one(port, "default", came_back).await.unwrap().failure().is_none());
    assert_eq!(sizes(&mut client).await, [0, 1, 0]);
    client.requeue_by_ids(JobSet::Retries, &[&id]).await.unwrap();

    let job = run_one(port, "default", came_back).await.unwrap();
    let Failure { retry_count, retry_remaining, message, backtrace, .. } = job.failure().unwrap();
    assert_eq!((*retry_count, *retry_remaining), (0, 1));
    assert_eq!(message.as_deref(), Some("the letter came back"));
    assert_eq!(backtrace.as_deref(), Some(&["nobody lives there".to_owned()][..]));
    assert_eq!(sizes(&mut client).await, [0, 0, 1]);
    let seen = server.job(&id);
    assert_eq!((&seen["status"], seen["errors"].as_array().unwrap().len()), (&json!("dead"), 2), "{seen}");

    client.requeue(JobSet::Dead, Filter::empty()).await.unwrap();
    expect_run(port, "default", &id).await;
    assert_eq!(sizes(&mut client).await, [0, 0, 0]);
    let info = client.current_info().await.unwrap();
    assert_eq!(info.data.total_failures, 2);

    // No retries: forgotten. And even less: dead at once.
    for (retry, dead) in [(0_isize, 0), (-1, 1)] {
        push(&mut client, Job::builder("work").retry(retry).build()).await;
        run_one(port, "default", came_back).await.unwrap();
        assert_eq!(sizes(&mut client).await, [0, 0, dead], "retry {retry}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_of_jobs_are_killed_discarded_requeued_and_cleared_by_filter() {
    let place = Place::new();
    let (_server, port) = start(&place, &[]);
    let mut client = client(port).await;
    let mut later = Vec::new();
    for (kind, number) in [("alpha", 1), ("alpha", 2), ("beta", 3), ("gamma", 4)] {
        let job = Job::builder(kind).args([json!({"uid": number})]).build();
        later.push(push(&mut client, in_an_hour(job)).await);
    }
    client.kill(JobSet::Scheduled, Filter::from_kind("beta")).await.unwrap();
    assert_eq!(sizes(&mut client).await, [3, 0, 1]);
    client.discard(JobSet::Scheduled, Filter::from_pattern(r#"*"uid":4*"#)).await.unwrap();
    assert_eq!(sizes(&mut client).await, [2, 0, 1]);
    let both = Filter::from_kind_and_pattern("alpha", r#"*"args":\[{"uid":2}\]*"#);
    client.requeue(JobSet::Scheduled, both).await.unwrap();
    assert_eq!(sizes(&mut client).await, [1, 0, 1]);
    expect_run(port, "default", &later[1]).await;
    client.clear(JobSet::Dead).await.unwrap();
    assert_eq!(sizes(&mut client).await, [1, 0, 0]);
    client.discard_by_ids(JobSet::Scheduled, &[&later[0]]).await.unwrap();
    assert_eq!(sizes(&mut client).await, [0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_queue_gives_nothing_also_after_a_kill_until_it_is_resumed() {
    let place = Place::new();
    let (server, port) = start(&place, &[]);
    let mut before = client(port).await;
    let id = push(&mut before, Job::builder("work").queue("slow").build()).await;
    before.queue_pause(&["slow"]).await.unwrap();
    assert!(run_one(port, "slow", || Ok(())).await.is_none());
    server.kill9();
    forget(before);

    let (_server, port) = start(&place, &[]);
    let mut client = client(port).await;
    assert!(run_one(port, "slow", || Ok(())).await.is_none());
    client.queue_resume(&["slow"]).await.unwrap();
    expect_run(port, "slow", &id).await;
    push(&mut client, Job::builder("work").queue("slow").build()).await;
    client.queue_remove(&["slow"]).await.unwrap();
    assert!(!client.current_info().await.unwrap().data.queues.contains_key("slow"));
}

/// A client ends its connection when it is dropped, and panics if there is none any more.
fn forget(client: Client) {
    std::mem::forget(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_right_password_opens() {
    let place = Place::new();
    let secret = place.write("password", "hunter2\n");
    let (_server, port) = start(&place, &["--faktory-password-file", &secret]);
    let at = |user: &str| format!("tcp://{user}127.0.0.1:{port}");
    let mut client = Client::connect_to(&at(":hunter2@")).await.unwrap();
    let id = push(&mut client, Job::builder("work").build()).await;
    let (builder, mut runs) = worker(|| Ok(()));
    let mut worker = builder.connect_to(&at(":hunter2@")).await.unwrap();
    assert!(worker.run_one(0, &["default"]).await.unwrap());
    assert_eq!(runs.try_recv().unwrap().id(), &id);

    let Err(error) = Client::connect_to(&at(":wrong@")).await else { panic!("it opened") };
    assert!(format!("{error:?}").contains("Invalid password"), "{error:?}");
    let Err(error) = Client::connect_to(&at("")).await else { panic!("it opened") };
    assert!(matches!(error, faktory::Error::Connect(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_it_is_all_the_same_and_plain_text_is_not_understood() {
    let place = Place::new();
    let certificate = Certificate::new(&place);
    let (_server, port) = start(&place, &certificate.flags());
    let stream = Secure::dial(port, &certificate).await.unwrap();
    let mut client = Client::connect_with(stream, None).await.unwrap();
    let id = push(&mut client, Job::builder("work").args(["x".repeat(100_000)]).build()).await;

    let (builder, mut runs) = worker(|| Ok(()));
    let stream = Secure::dial(port, &certificate).await.unwrap();
    let mut worker = builder.connect_with(stream, None).await.unwrap();
    assert!(worker.run_one(0, &["default"]).await.unwrap());
    assert_eq!(runs.try_recv().unwrap().id(), &id);

    assert!(Secure::dial_in_doubt(port).await.is_err(), "the certificate is nobody's");
    let plain = tokio::time::timeout(PATIENCE, Client::connect_to(&url(port))).await;
    assert!(plain.expect("the server ends it").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_told_to_be_quiet_and_to_end_does_so() {
    let place = Place::new();
    let (server, port) = start(&place, &[]);
    let (builder, mut runs) = worker(|| Ok(()));
    let mut worker = builder.workers(2).connect_to(&url(port)).await.unwrap();
    let work = tokio::spawn(async move { worker.run(&["default"]).await });
    let mut client = client(port).await;
    let first = push(&mut client, Job::builder("work").build()).await;
    assert_eq!(runs.recv().await.unwrap().id(), &first);
    server.until_job_is(&first, "completed");

    tell_worker(&server, WID, "quiet");
    outlast_fetches(&place);
    let late = push(&mut client, Job::builder("work").build()).await;
    tell_worker(&server, WID, "terminate");
    let stopped = tokio::time::timeout(PATIENCE, work).await.expect("it is told at its next heartbeat");
    let stopped = stopped.unwrap().unwrap();
    assert_eq!((stopped.reason, stopped.workers_still_running), (StopReason::ServerInstruction, 0));
    assert_eq!(server.job(&late)["status"], "pending");
    assert!(runs.try_recv().is_err(), "it ran a job when it was quiet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_cross_between_the_protocol_and_http_in_both_directions() {
    let place = Place::new();
    // Here, workers of the server's own take what they have a handler for.
    let (server, port) = start(&place, &["--workers", "2"]);
    let mut client = client(port).await;
    let id = push(&mut client, Job::builder("noop").build()).await;
    server.until_job_is(&id, "completed");

    server.enqueue([json!({"id": "from-http", "kind": "work", "payload": {"to": "Ada"}})]);
    let job = run_one(port, "default", || Ok(())).await.unwrap();
    assert_eq!((job.id().as_str(), job.args()), ("from-http", &[json!({"to": "Ada"})][..]));
    assert_eq!(status(&server, "from-http"), "completed");
}

fn status(server: &Server, id: &str) -> Value {
    server.job(id)["status"].clone()
}
