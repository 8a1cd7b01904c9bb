//! Clients push and work while the server is killed again and again, and come back to it by themselves. At the end the
//! oracle says whether everything that was answered `+OK` is there, and whether anything ran after its ACK.
//!
//! What a client saw comes as the lines of `script.rs`, in the order in which it happened: their numbers are the
//! oracle's clock. Attempts and fencing tokens do not travel in this protocol, so runs are counted here instead.
//!
//! A kill may meet a FETCH whose answer is never read: the job stays in the hands of a worker that does not know of
//! it until its reservation ends, which takes a minute at least. [`finish`] shortens that: it reports such jobs as
//! failed, and has them run again.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use beaver_actors::ids::{Epoch, Seq, Token};
use beaver_actors::jobs::Status;
use beaver_actors::tools::oracle::{Oracle, Outcome};
use faktory::mutate::{Filter, JobSet};
use faktory::{Client, Job, JobId, Worker, WorkerBuilder, WorkerId};
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::fwp::{lasting_port, start_at, url};
use crate::fwp_client::Fwp;
use crate::harness::{PATIENCE, Place, Server};
use crate::script::{Language, Script};

const KILLS: u64 = 4;
/// Between two kills at least this many pushes, and as many ACKs, are answered.
const BETWEEN_KILLS: u64 = 40;
/// How far the pushing may be ahead of the working: the queue shall neither be empty nor long.
const LEAD_MAX: usize = 50;
const QUEUE: &str = "default";

/// What was heard so far.
#[derive(Default)]
struct Tally {
    oracle: Oracle,
    now: u64,
    /// Runs of each job that anybody asked for.
    runs: BTreeMap<String, u32>,
    accepted: u64,
    acked: u64,
}

impl Tally {
    fn hear(&mut self, line: &str) {
        self.now += 1;
        let (word, job) = line.split_once(' ').unwrap_or_else(|| panic!("no event: {line:?}"));
        match word {
            "asked" => {
                self.runs.insert(job.to_owned(), 0);
                self.oracle.asked(job);
            }
            "accepted" => {
                self.accepted += 1;
                self.oracle.answered(job, Outcome::Acknowledged);
            }
            "unknown" => self.oracle.answered(job, Outcome::Unknown),
            "began" => {
                let run = self.runs.entry(job.to_owned()).or_default();
                *run += 1;
                let token = Token { epoch: Epoch::default(), seq: Seq(self.now) };
                self.oracle.began(job, *run, token, self.now);
            }
            "acked" => {
                self.acked += 1;
                self.oracle.completed(job, self.now);
            }
            _ => panic!("no event: {line:?}"),
        }
    }

    /// Kills the server and starts it again, each time after further work; returns the last one.
    fn kill_in_mid_load(
        &mut self,
        place: &Place,
        mut server: Server,
        port: u16,
        clients: &mut dyn Clients,
    ) -> Server {
        for kill in 0..=KILLS {
            let (accepted, acked) = (self.accepted + BETWEEN_KILLS, self.acked + BETWEEN_KILLS);
            while self.accepted < accepted || self.acked < acked {
                self.hear(&clients.next_line());
            }
            if kill < KILLS {
                clients.server_is_up(false);
                server.kill9();
                (server, _) = start_at(place, port, &[]);
                clients.server_is_up(true);
            }
        }
        server
    }
}

/// Those that push and work, in this process or another.
trait Clients {
    /// What one of them says next.
    fn next_line(&mut self) -> String;
    /// Tells them whether there is a server. Who has lost it waits until there is one again.
    fn server_is_up(&mut self, is_up: bool);
}

impl Clients for Script {
    fn next_line(&mut self) -> String {
        self.next().expect("a client at work")
    }

    fn server_is_up(&mut self, is_up: bool) {
        self.tell(if is_up { "up" } else { "down" });
    }
}

/// Has everything that is left run, and asks the oracle. Nobody else works any more.
async fn finish(mut tally: Tally, place: &Place, server: Server, port: u16) {
    let mut client = Client::connect_to(&url(port)).await.unwrap();
    let unfinished = ["pending", "in_flight", "retrying"];
    while unfinished.iter().any(|state| server.count(state) > 0) {
        for id in tally.runs.keys().filter(|id| exists(&server, id)) {
            let job = server.job(id);
            if job["status"] == "in_flight" {
                let mut holder = Fwp::worker(place, job["worker"].as_str().unwrap());
                let report = json!({"jid": id, "errtype": "Lost", "message": "nobody knows of it"});
                assert_eq!(holder.ask(&format!("FAIL {report}")), "+OK", "{job}");
            }
        }
        client.requeue(JobSet::Retries, Filter::empty()).await.unwrap();
        let (shift, (say, said)) = (Arc::new(Shift::new()), channel());
        let mut workers = JoinSet::new();
        for number in 0..4 {
            let mut worker = LoadWorker::new(number, port, &shift, &say);
            workers.spawn(async move { while worker.run_one().await {} });
        }
        workers.join_all().await;
        said.try_iter().for_each(|line| tally.hear(&line));
    }
    for id in tally.runs.keys().filter(|id| exists(&server, id)) {
        let status = server.job(id)["status"].as_str().unwrap().to_owned();
        let status = Status::ALL.into_iter().find(|known| known.as_str() == status).unwrap();
        tally.oracle.ended(id, status);
    }
    let verdict = tally.oracle.verdict();
    println!("{verdict}");
    assert!(verdict.holds(), "{verdict}");
    assert!(verdict.acknowledged >= (KILLS + 1) * BETWEEN_KILLS, "{verdict}");
    server.terminate();
}

/// A push without an answer may not have arrived.
fn exists(server: &Server, id: &str) -> bool {
    server.get(&format!("/api/v1/jobs/{id}")).status == 200
}

/// What the Rust clients of one test share.
struct Shift {
    /// For pushes that are accepted, until a run begins. Closed when the shift is over.
    lead: Semaphore,
    /// Who has lost the server waits here.
    server_is_up: watch::Sender<bool>,
}

impl Shift {
    fn new() -> Shift {
        Shift { lead: Semaphore::new(LEAD_MAX), server_is_up: watch::Sender::new(true) }
    }

    fn is_over(&self) -> bool {
        self.lead.is_closed()
    }

    /// Connects to the server as soon as there is one.
    async fn connected<C, T>(&self, connect: impl Fn() -> C) -> T
    where
        C: Future<Output = Result<T, faktory::Error>> + Send + 'static,
        T: Send + 'static,
    {
        loop {
            self.server_is_up.subscribe().wait_for(|is_up| *is_up).await.unwrap();
            // In a task of its own: this client panics when its connection ends before the handshake has.
            if let Ok(Ok(connected)) = tokio::spawn(connect()).await {
                return connected;
            }
        }
    }
}

/// The Rust clients, seen from the test.
struct RustClients {
    shift: Arc<Shift>,
    said: Receiver<String>,
}

impl Clients for RustClients {
    fn next_line(&mut self) -> String {
        self.said.recv_timeout(PATIENCE).expect("clients at work")
    }

    fn server_is_up(&mut self, is_up: bool) {
        self.shift.server_is_up.send_replace(is_up);
    }
}

/// A worker of the Rust client that connects again when it has to.
struct LoadWorker {
    number: usize,
    port: u16,
    shift: Arc<Shift>,
    say: Sender<String>,
    worker: Option<Worker<std::io::Error>>,
    /// What ran last, and whether it went well.
    last: Arc<Mutex<Option<(JobId, bool)>>>,
}

impl LoadWorker {
    fn new(number: usize, port: u16, shift: &Arc<Shift>, say: &Sender<String>) -> LoadWorker {
        let (shift, say) = (shift.clone(), say.clone());
        LoadWorker { number, port, shift, say, worker: None, last: Arc::default() }
    }

    /// Runs the next job; false if there was none.
    async fn run_one(&mut self) -> bool {
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.connected().await,
        };
        match worker.run_one(0, &[QUEUE]).await {
            Ok(ran) => {
                self.worker = Some(worker);
                if let Some((id, true)) = self.last.lock().unwrap().take() {
                    self.say.send(format!("acked {}", id.as_str())).unwrap();
                }
                ran
            }
            Err(_) => {
                // Its end would panic over the lost connection.
                std::mem::forget(worker);
                self.last.lock().unwrap().take();
                true
            }
        }
    }

    async fn connected(&mut self) -> Worker<std::io::Error> {
        let connect = || {
            let (shift, say, last) = (self.shift.clone(), self.say.clone(), self.last.clone());
            let wid = WorkerId::new(format!("rust-load-{}", self.number));
            let builder = WorkerBuilder::default().wid(wid).register_fn("work", move |job: Job| {
                say.send(format!("began {}", job.id().as_str())).unwrap();
                shift.lead.add_permits(1);
                let is_good = job.args()[0].as_u64().unwrap() % 10 != 3 || job.failure().is_some();
                *last.lock().unwrap() = Some((job.id().clone(), is_good));
                async move { if is_good { Ok(()) } else { Err(std::io::Error::other("at first it fails")) } }
            });
            let url = url(self.port);
            async move { builder.connect_to(&url).await }
        };
        self.shift.connected(connect).await
    }
}

/// Pushes one job after the other until it is over, to the server that is up.
async fn produce(number: usize, port: u16, shift: Arc<Shift>, say: Sender<String>) {
    let mut client = None;
    for job in 0.. {
        let Ok(lead) = shift.lead.acquire().await else { return };
        let mut connection = match client.take() {
            Some(connection) => connection,
            None => shift.connected(|| async move { Client::connect_to(&url(port)).await }).await,
        };
        let id = format!("producer-{number}-{job}");
        say.send(format!("asked {id}")).unwrap();
        let pushed = Job::builder("work").jid(JobId::new(&id)).args([job]).build();
        if connection.enqueue(pushed).await.is_ok() {
            say.send(format!("accepted {id}")).unwrap();
            lead.forget();
            client = Some(connection);
        } else {
            say.send(format!("unknown {id}")).unwrap();
            // Its end would panic over the lost connection.
            std::mem::forget(connection);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_the_rust_client_pushed_and_ran_no_kill_loses_or_repeats_anything() {
    let place = Place::new();
    let (server, port) = start_at(&place, lasting_port(), &[]);
    let shift = Arc::new(Shift::new());
    let (say, said) = channel();
    let mut tasks = Vec::new();
    for number in 0..4 {
        tasks.push(tokio::spawn(produce(number, port, shift.clone(), say.clone())));
        let (mut worker, shift) = (LoadWorker::new(number, port, &shift, &say), shift.clone());
        tasks.push(tokio::spawn(async move {
            while !shift.is_over() {
                worker.run_one().await;
            }
        }));
    }
    let (mut tally, mut clients) = (Tally::default(), RustClients { shift, said });
    let server = tokio::task::block_in_place(|| tally.kill_in_mid_load(&place, server, port, &mut clients));
    clients.shift.lead.close();
    for task in tasks {
        task.await.unwrap();
    }
    clients.said.try_iter().for_each(|line| tally.hear(&line));
    finish(tally, &place, server, port).await;
}

async fn no_kill_loses_or_repeats_anything(language: Language) {
    let place = Place::new();
    let (server, port) = start_at(&place, lasting_port(), &[]);
    let Some(mut script) = language.scenario(&place, "load", &url(port), &[]) else { return };
    let mut tally = Tally::default();
    let server = tally.kill_in_mid_load(&place, server, port, &mut script);
    script.tell("end");
    script.ends_well().iter().for_each(|line| tally.hear(line));
    finish(tally, &place, server, port).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_the_npm_client_pushed_and_ran_no_kill_loses_or_repeats_anything() {
    no_kill_loses_or_repeats_anything(Language::Node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_the_python_client_pushed_and_ran_no_kill_loses_or_repeats_anything() {
    no_kill_loses_or_repeats_anything(Language::Python).await;
}
