//! What a flood of TLS handshakes does to those who were let in.
//!
//! ```sh
//! cargo bench --bench tls_flood
//! cargo bench --bench tls_flood -- --program=PATH   # another build of the server, such as the one before
//! cargo bench --bench tls_flood -- --flooders=16 --seconds=10
//! ```
//!
//! The real program with a certificate (ECDSA P-256, the cheapest there is) and a password. Two polite clients push a job
//! every 2 ms and wait for each answer, one over the work protocol, one over HTTP: first alone, then beside connections that
//! shake hands and hang up before they would have to know the password. On two cores the flooders take processor time from
//! the server, too: what tells whether handshakes keep the manager from deciding is the processor time of its thread.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use beaver_bench_kit::cpu_by_thread;
use beaver_bench_kit::files::temp_dir;
use beaver_bench_kit::quantiles::Sorted;
use beaver_bench_kit::server::RunningBeaver;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const PASSWORD: &str = "foobar";
/// Between two jobs of a polite client.
const EVERY: Duration = Duration::from_millis(2);
const SERVER_FLAGS: [&str; 4] = [
    "--workers=0",
    "--faktory-password-file=password",
    "--faktory-tls-cert=cert.pem",
    "--faktory-tls-key=key.pem",
];

struct Flags {
    program: String,
    flooders: usize,
    seconds: u64,
}

fn main() -> Result<()> {
    let flags = flags()?;
    let dir = temp_dir();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(dir.path().join("cert.pem"), made.cert.pem())?;
    std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem())?;
    std::fs::write(dir.path().join("password"), PASSWORD)?;
    let server = RunningBeaver::start(&flags.program, dir.path(), &SERVER_FLAGS)?;
    let tls = client_config(made.cert.der())?;

    println!("{} flooders on {} processors", flags.flooders, thread::available_parallelism()?);
    println!("{:<24} {:>10} {:>10} {:>10} {:>10}", "", "fwp p50", "fwp p99", "http p50", "http p99");
    let quiet = phase(&server, &tls, &flags, 0)?;
    println!("{:<24} {quiet}", "alone, in us");
    let flooded = phase(&server, &tls, &flags, flags.flooders)?;
    println!("{:<24} {flooded}", "beside the flood, in us");
    let extra =
        flooded.manager.saturating_sub(quiet.manager.mul_f64(flooded.lasted.div_duration_f64(quiet.lasted)));
    println!(
        "{} handshakes, {:.0} a second; processor time of thread beaver-manager for each: {:.0} us",
        flooded.handshakes,
        flooded.handshakes as f64 / flooded.lasted.as_secs_f64(),
        extra.as_secs_f64() * 1e6 / flooded.handshakes.max(1) as f64,
    );
    Ok(())
}

fn flags() -> Result<Flags> {
    let mut flags = Flags { program: env!("CARGO_BIN_EXE_beaver").to_owned(), flooders: 64, seconds: 5 };
    for flag in std::env::args().skip(1).filter(|flag| flag != "--bench") {
        match flag.split_once('=') {
            Some(("--program", path)) => flags.program = path.to_owned(),
            Some(("--flooders", count)) => flags.flooders = count.parse()?,
            Some(("--seconds", count)) => flags.seconds = count.parse()?,
            _ => anyhow::bail!("unknown flag {flag}: see the head of benches/tls_flood.rs"),
        }
    }
    Ok(flags)
}

fn client_config(trusted: &CertificateDer<'static>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone())?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    // Every handshake is a whole one.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Processor time of the thread that decides about jobs.
fn manager(server: &RunningBeaver) -> Result<Duration> {
    let times = cpu_by_thread::of_process(&server.process());
    times.get("beaver-manager").copied().context("the server has no thread beaver-manager")
}

/// What one phase showed.
struct Phase {
    fwp: Sorted,
    http: Sorted,
    handshakes: u64,
    manager: Duration,
    lasted: Duration,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [fwp_p50, fwp_p99] = [0.5, 0.99].map(|share| self.fwp.micros(share));
        let [http_p50, http_p99] = [0.5, 0.99].map(|share| self.http.micros(share));
        write!(f, "{fwp_p50:>10.0} {fwp_p99:>10.0} {http_p50:>10.0} {http_p99:>10.0}")
    }
}

fn phase(server: &RunningBeaver, tls: &Arc<ClientConfig>, flags: &Flags, flooders: usize) -> Result<Phase> {
    let (is_over, handshakes) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut fwp = Pusher::over_fwp(server.fwp, tls)?;
    let mut http = Pusher::over_http(server.http)?;
    thread::scope(|scope| {
        for _ in 0..flooders {
            scope.spawn(|| {
                while !is_over.load(Relaxed) {
                    // One that is refused is a part of the flood, too.
                    if handshake(server.fwp, tls).is_ok() {
                        handshakes.fetch_add(1, Relaxed);
                    }
                }
            });
        }
        let (began, before) = (Instant::now(), manager(server));
        let until = began + Duration::from_secs(flags.seconds);
        let fwp = &mut fwp;
        let pushed = scope.spawn(move || fwp.push_until(until));
        let posted = http.push_until(until);
        let pushed = pushed.join().expect("a client reports what goes wrong");
        let (lasted, after) = (began.elapsed(), manager(server));
        is_over.store(true, Relaxed);
        Ok(Phase {
            fwp: pushed?,
            http: posted?,
            handshakes: handshakes.load(Relaxed),
            manager: after?.saturating_sub(before?),
            lasted,
        })
    })
}

fn handshake(
    address: SocketAddr,
    tls: &Arc<ClientConfig>,
) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut connection = ClientConnection::new(tls.clone(), ServerName::try_from("localhost")?)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// A polite client.
struct Pusher {
    stream: BufReader<Box<dyn Stream>>,
    is_http: bool,
}

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

impl Pusher {
    fn over_fwp(address: SocketAddr, tls: &Arc<ClientConfig>) -> Result<Pusher> {
        let mut stream = BufReader::new(Box::new(handshake(address, tls)?) as Box<dyn Stream>);
        let mut greeting = String::new();
        stream.read_line(&mut greeting)?;
        let hi: serde_json::Value = serde_json::from_str(greeting.trim_start_matches("+HI "))?;
        let (salt, times) = (hi["s"].as_str().context("a salt")?, hi["i"].as_u64().context("a count")?);
        let pwdhash = beaver::internals::password_hash(PASSWORD, salt, u32::try_from(times)?);
        write!(stream.get_mut(), "HELLO {}\r\n", serde_json::json!({"v": 2, "pwdhash": pwdhash}))?;
        let mut pusher = Pusher { stream, is_http: false };
        pusher.expect("+OK")?;
        Ok(pusher)
    }

    fn over_http(address: SocketAddr) -> Result<Pusher> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Pusher { stream: BufReader::new(Box::new(stream)), is_http: true })
    }

    fn expect(&mut self, start: &str) -> Result<()> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        ensure!(line.starts_with(start), "the server answers {line:?}");
        Ok(())
    }

    fn push_until(&mut self, until: Instant) -> Result<Sorted> {
        let mut took = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            self.push()?;
            took.push(began.elapsed());
            sleep(EVERY.saturating_sub(began.elapsed()));
        }
        Ok(Sorted::of(took))
    }

    fn push(&mut self) -> Result<()> {
        if !self.is_http {
            let job = format!(
                "PUSH {{\"jid\":\"flood-{:016x}\",\"jobtype\":\"mail\",\"args\":[]}}\r\n",
                fastrand::u64(..)
            );
            self.stream.get_mut().write_all(job.as_bytes())?;
            return self.expect("+OK");
        }
        let body = "{\"kind\":\"mail\"}";
        let head = format!(
            "POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.get_mut().write_all((head + body).as_bytes())?;
        self.expect("HTTP/1.1 201")?;
        let mut bytes = 0;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            if let Some(length) = line.to_lowercase().strip_prefix("content-length: ") {
                bytes = length.trim().parse()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        self.stream.read_exact(&mut vec![0; bytes])?;
        Ok(())
    }
}
