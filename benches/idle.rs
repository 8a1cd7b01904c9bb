//! What `beaver run` costs at rest: `cargo bench --bench idle`.
//!
//! The server as it is released, in an empty directory, with its HTTP and its FWP listener open. Once it is
//! ready and has rested for a second, its next 10 seconds are measured. Targets: no measurable processor time,
//! which is to say no tick of the kernel's count (10 ms each), and less than 30 MiB of resident memory.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use beaver_bench_kit::files::temp_dir;
use beaver_bench_kit::server::{KilledOnDrop, command, free_port};
use beaver_bench_kit::{memory, target};

const REST: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(10);
/// Without `--bench`: only checks that everything still works.
const WINDOW_IN_SHORT: Duration = Duration::from_millis(100);
const START_MAX: Duration = Duration::from_secs(20);
const MEBIBYTES_MAX: f64 = 30.0;

/// The kernel's counts of one process: ticks on a processor, and how often its threads were woken.
struct Counts {
    ticks: u64,
    wake_ups: u64,
}

impl Counts {
    fn of(process: &str) -> Counts {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
        // Behind the name, which may have spaces: user and system time are the 12th and 13th.
        let (_, numbers) = stat.rsplit_once(')').expect("a name in brackets");
        let ticks =
            numbers.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number"));
        Counts { ticks: ticks.sum(), wake_ups: wake_ups(process) }
    }
}

/// Each time that a thread slept and was woken, the kernel counts a voluntary switch.
fn wake_ups(process: &str) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let of = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse::<u64>().ok())
    };
    threads.flatten().filter_map(|thread| of(fs::read_to_string(thread.path().join("status")).ok()?)).sum()
}

/// Returns when the server greets a client: recovery is over, and its listeners are open.
fn wait_until_greeted(port: u16) {
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
    let dir = temp_dir();
    let mut command = command(env!("CARGO_BIN_EXE_beaver"));
    command.args(["run", "--bind", "127.0.0.1", "--metrics-port", "0", "--data-dir", "data"]);
    let port = free_port().expect("there is a free port");
    command.args(["--faktory-port", &port.to_string()]);
    let child = command.current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server = KilledOnDrop(child.expect("beaver was built"));
    wait_until_greeted(port);
    let process = server.0.id().to_string();
    thread::sleep(if in_short { WINDOW_IN_SHORT } else { REST });

    let before = Counts::of(&process);
    thread::sleep(window);
    let after = Counts::of(&process);
    let seconds = window.as_secs_f64();
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs").count();
    println!("`beaver run` at rest for {seconds} s, {threads} threads");
    let ticks = (after.ticks - before.ticks) as f64;
    println!("{}", target::line("processor time", ticks, "ticks of 10 ms", ..=0.0));
    println!("wake-ups: {:.1} a second", (after.wake_ups - before.wake_ups) as f64 / seconds);
    let resident = memory::resident(&process) as f64 / 1048576.0;
    println!("{}", target::line("resident memory", resident, "MiB", ..=MEBIBYTES_MAX));
}
