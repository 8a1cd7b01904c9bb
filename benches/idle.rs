//! What `beaver run` costs at rest: `cargo bench --bench idle`.
//!
//! The server as it is released, in an empty directory, with its HTTP and its FWP listener open. Once it is
//! ready and has rested for a second, its next 10 seconds are measured. Targets: no measurable processor time,
//! which is to say no tick of the kernel's count (10 ms each), and less than 30 MiB of resident memory.

use std::fs;
use std::thread;
use std::time::Duration;

use beaver_bench_kit::files::temp_dir;
use beaver_bench_kit::server::RunningBeaver;
use beaver_bench_kit::{asked, memory, target};

const REST: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(10);
/// Without `--bench`: only checks that everything still works.
const WINDOW_IN_SHORT: Duration = Duration::from_millis(100);
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

fn main() {
    let in_short = !asked::is_to_measure();
    let window = if in_short { WINDOW_IN_SHORT } else { WINDOW };
    let dir = temp_dir();
    let no_flags: &[&str] = &[];
    let server = RunningBeaver::start(env!("CARGO_BIN_EXE_beaver"), dir.path(), no_flags);
    let server = server.expect("beaver was built and starts");
    let process = server.process();
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
