//! The server over connections in memory, before a real engine on a simulated disk. Time is simulated too: to wait
//! for two seconds takes no time.

mod commands;
mod connections;
mod leniency;
mod overload;
mod threads;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use beaver::internals::{
    FwpHandle, FwpServer, FwpState, Listener, Memory, Registry, Secret, Settings, WorkerState, password_hash,
    tls_acceptor,
};
use beaver_actors::api::handler::Handlers;
use beaver_actors::api::options::EngineOptions;
use beaver_actors::base::clock::Clock;
use beaver_actors::engine::{Engine, Environment};
use beaver_actors::ids::Timestamp;
use beaver_actors::internals::engine::threads::Threads;
use beaver_actors::testing::SimStorage;
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream, duplex,
};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

/// Far more than anything here takes; a test that runs into it has failed.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// The time of the runtime, which tests move.
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_790_000_000_000).plus_ms(u64::try_from(self.ticks().as_millis()).unwrap())
    }

    fn ticks(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Connections in memory.
struct Pipes(mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for Pipes {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.0.recv().await {
            Some(stream) => Ok((stream, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))),
            None => std::future::pending().await,
        }
    }
}

/// A server and a way to it.
struct Bench {
    state: FwpState,
    connect: mpsc::UnboundedSender<DuplexStream>,
    handle: FwpHandle,
}

/// One connection.
struct Client<S = DuplexStream>(BufReader<S>);

/// Runs a test before a server, in simulated time.
fn serve<F: Future<Output = ()>>(change: impl FnOnce(&mut FwpState), test: impl FnOnce(Bench) -> F) {
    serve_on(|_| (), change, test);
}

/// The same before an engine with other options.
fn serve_on<F: Future<Output = ()>>(
    options_of: impl FnOnce(&mut EngineOptions),
    change: impl FnOnce(&mut FwpState),
    test: impl FnOnce(Bench) -> F,
) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let run = async {
        let clock = Arc::new(TestClock(Instant::now()));
        let environment = Environment {
            storage: Arc::new(SimStorage::new()),
            clock: clock.clone(),
            dice: fastrand::Rng::with_seed(1),
            threads: Threads::Callers,
        };
        let mut options = EngineOptions::in_dir("/data");
        options.segment_bytes = 1 << 20;
        options_of(&mut options);
        let engine = Engine::start_on(environment, options, Handlers::new());
        engine.ready().await.unwrap();
        let mut state = FwpState {
            engine,
            registry: Registry::new(clock.clone()),
            clock,
            password: None,
            tls: None,
            payload_bytes_max: 100_000,
            limits: Settings::default().fwp.limits,
            memory: Memory::of(&Settings::default()),
        };
        change(&mut state);
        let (connect, pipes) = mpsc::unbounded_channel();
        let server = FwpServer::on(Pipes(pipes), SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        let handle = server.spawn(state.clone());
        timeout(PATIENCE, test(Bench { state, connect, handle })).await.expect("the test ends");
    };
    LocalSet::new().block_on(&runtime, run);
}

impl Bench {
    fn pipe(&self) -> DuplexStream {
        let (ours, theirs) = duplex(64 << 10);
        self.connect.send(theirs).unwrap();
        ours
    }

    async fn client(&self) -> Client {
        self.client_as(&json!({"v": 2})).await
    }

    async fn clients(&self, count: usize) -> Vec<Client> {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(self.client().await);
        }
        clients
    }

    async fn worker(&self, wid: &str) -> Client {
        self.client_as(&json!({"v": 2, "wid": wid, "hostname": "here", "pid": 7, "labels": ["test"]})).await
    }

    async fn client_as(&self, hello: &Value) -> Client {
        let mut client = Client(BufReader::new(self.pipe()));
        assert_eq!(client.reply().await, "+HI {\"v\":2}");
        assert_eq!(client.ask(&format!("HELLO {hello}")).await, "+OK");
        client
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn send(&mut self, line: &str) {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// The next reply without its line ends: of a bulk, what is in it; `$-1` for nothing, "" for the end.
    async fn reply(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        let line = line.trim_end().to_owned();
        match line.strip_prefix('$') {
            Some(length) if length != "-1" => {
                let mut bytes = vec![0; length.parse::<usize>().unwrap() + 2];
                self.0.read_exact(&mut bytes).await.unwrap();
                assert_eq!(bytes.split_off(bytes.len() - 2), b"\r\n");
                String::from_utf8(bytes).unwrap()
            }
            _ => line,
        }
    }

    async fn ask(&mut self, line: &str) -> String {
        self.send(line).await;
        self.reply().await
    }

    async fn json(&mut self, line: &str) -> Value {
        let reply = self.ask(line).await;
        serde_json::from_str(&reply).unwrap_or_else(|error| panic!("{line}: {error}: {reply}"))
    }

    async fn push(&mut self, job: Value) {
        assert_eq!(self.ask(&format!("PUSH {job}")).await, "+OK");
    }

    async fn is_closed(&mut self) {
        assert_eq!(self.reply().await, "");
    }
}

/// Lets this much simulated time pass, and everything that is due in it happen.
async fn pass(time: Duration) {
    sleep(time).await;
}

/// Returns when nobody has anything left to do: simulated time stands still until then.
async fn settle() {
    pass(Duration::from_millis(1)).await;
}

fn job(jid: &str) -> Value {
    json!({"jid": jid, "jobtype": "mail", "args": [1]})
}

fn job_in(jid: &str, queue: &str) -> Value {
    json!({"jid": jid, "jobtype": "mail", "args": [1], "queue": queue})
}

fn names(job: &Value) -> String {
    job["jid"].as_str().unwrap().to_owned()
}
