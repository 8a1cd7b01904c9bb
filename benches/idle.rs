//! What `beaver run` takes while nobody wants anything: `cargo bench --bench idle`.
//!
//! The server as it is shipped, in an empty directory, with its HTTP and its FWP listener open. Once it is
//! ready and has rested for a second, 10 seconds are looked at. Targets: no measurable CPU, which is to say
//! no tick of the kernel's count (10 ms each), and less than 30 MiB of resident memory.

#[path = "kit/src/memory.rs"]
mod process;
#[path = "kit/src/target.rs"]
mod verdict;

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const REST: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(10);
/// Without `--bench`: only that everything still works.
const WINDOW_IN_SHORT: Duration = Duration::from_millis(100);
const START_MAX: Duration = Duration::from_secs(20);
const MEBIBYTES_MAX: f64 = 30.0;

/// Killed with whatever it holds when this is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Either it is gone already, or it is killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The kernel's counts of one process: ticks on a processor, and how often its threads were woken.
struct Taken {
    ticks: u64,
    wake_ups: u64,
}

impl Taken {
    fn of(process: &str) -> Taken {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
        // Behind the name, which may have spaces: user and system time are the 12th and 13th.
        let (_, numbers) = stat.rsplit_once(')').expect("a name in brackets");
        let ticks =
            numbers.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number"));
        Taken { ticks: ticks.sum(), wake_ups: wake_ups(process) }
    }
}

/// Each time that a thread slept and was woken is a voluntary switch.
fn wake_ups(process: &str) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let of = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse::<u64>().ok())
    };
    threads.flatten().filter_map(|thread| of(fs::read_to_string(thread.path().join("status")).ok()?)).sum()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Until the server greets a client: recovery is over, and its listeners are open.
fn until_greeted(port: u16) {
    let started = Instant::now();
    let mut greeting = [0; 3];
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .and_then(|mut client| client.read_exact(&mut greeting))
        .is_err()
    {
        assert!(started.elapsed() < START_MAX, "no server answers on port {port}");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(&greeting, b"+HI", "the server greets");
}

fn main() {
    let in_short = !std::env::args().any(|argument| argument == "--bench");
    let window = if in_short { WINDOW_IN_SHORT } else { WINDOW };
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build directory is writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_beaver"));
    command.args(["run", "--bind", "127.0.0.1", "--metrics-port", "0", "--data-dir", "data"]);
    let port = free_port();
    command.args(["--faktory-port", &port.to_string()]);
    // A configuration of whoever runs the bench is not what is measured.
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("BEAVER_")) {
        command.env_remove(key);
    }
    let child = command.current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server = Server(child.expect("beaver was built"));
    until_greeted(port);
    let process = server.0.id().to_string();
    thread::sleep(if in_short { WINDOW_IN_SHORT } else { REST });

    let before = Taken::of(&process);
    thread::sleep(window);
    let after = Taken::of(&process);
    let seconds = window.as_secs_f64();
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs").count();
    println!("`beaver run` at rest for {seconds} s, {threads} threads");
    let ticks = (after.ticks - before.ticks) as f64;
    println!("{}", verdict::line("processor time", ticks, "ticks of 10 ms", ..=0.0));
    println!("wake-ups: {:.1} a second", (after.wake_ups - before.wake_ups) as f64 / seconds);
    let resident = process::memory(&process, "VmRSS") as f64 / 1048576.0;
    println!("{}", verdict::line("resident memory", resident, "MiB", ..=MEBIBYTES_MAX));
}
