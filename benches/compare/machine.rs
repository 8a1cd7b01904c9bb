//! The machine that every figure depends on: limits of its disk and its loopback, and how busy it is.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use beaver_bench_kit::machine::{SYNCED_BYTES, SYNCS, load, sync_latency, synced_writes};

/// Sizes of single writes by which the disk's bandwidth is measured.
const LARGE_BYTES: [usize; 2] = [1 << 20, 4 << 20];
const LARGE_FILE_BYTES: usize = 64 << 20;
const ROUND_TRIPS: usize = 5_000;
/// Time over which load is measured before the machine counts as quiet.
const QUIET_FOR: Duration = Duration::from_millis(200);

/// Latency and bandwidth of the disk under `dir` and of the loopback at the moment: the physical limits of every figure.
pub(crate) fn limits(dir: &Path) -> Result<String> {
    let load = load()?;
    let (in_place, slowest) = sync_latency(dir, true)?;
    let (growing, _) = sync_latency(dir, false)?;
    let [small, large] = LARGE_BYTES.map(|bytes| bandwidth(dir, bytes));
    Ok(format!(
        "{} file system; fdatasync of {SYNCED_BYTES} bytes, median of {SYNCS}: {} µs within a file (99 %: {} µs), \
         {} µs at the end of a growing one; {:.0} MB/s in writes of 1 MiB within a file with an fdatasync each, \
         {:.0} MB/s in such of 4 MiB; loopback, there and back: {:.1} µs; load {load}",
        file_system(dir)?,
        in_place.as_micros(),
        slowest.as_micros(),
        growing.as_micros(),
        small? / 1e6,
        large? / 1e6,
        round_trip()?.as_secs_f64() * 1e6,
    ))
}

/// The type of the file system that holds `dir`, such as `ext4`.
pub(crate) fn file_system(dir: &Path) -> Result<String> {
    let dir = dir.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        dir.starts_with(point).then_some((point.len(), kind))
    });
    // Of two at the same place, the later one hides the other.
    Ok(mounts.max_by_key(|(length, _)| *length).context("no file system is mounted")?.1.to_owned())
}

/// Bytes a second, by the median of writes that follow each other in a file of zeros.
fn bandwidth(dir: &Path, bytes: usize) -> Result<f64> {
    let path = dir.join("bandwidth");
    let file = File::create(&path)?;
    file.write_all_at(&vec![0; LARGE_FILE_BYTES], 0)?;
    file.sync_all()?;
    let took = synced_writes(&file, LARGE_FILE_BYTES / bytes, bytes)?;
    fs::remove_file(path)?;
    Ok(bytes as f64 / took[took.len() / 2].as_secs_f64())
}

/// Median time of a few bytes to another thread and back, with nothing else to do for either.
fn round_trip() -> Result<Duration> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let mut here = TcpStream::connect(listener.local_addr()?)?;
    let (mut there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    let echo = thread::spawn(move || {
        let mut bytes = [0; 5];
        // Ends when the other side hangs up.
        while there.read_exact(&mut bytes).and_then(|()| there.write_all(&bytes)).is_ok() {}
    });
    let mut took = Vec::with_capacity(ROUND_TRIPS);
    let mut bytes = *b"+OK\r\n";
    for _ in 0..ROUND_TRIPS {
        let started = Instant::now();
        here.write_all(&bytes)?;
        here.read_exact(&mut bytes)?;
        took.push(started.elapsed());
    }
    drop(here);
    echo.join().ok().context("the echo broke")?;
    took.sort();
    Ok(took[ROUND_TRIPS / 2])
}

/// Waits until nothing is left to be written to the file system of `dir`.
pub(crate) fn write_back(dir: &Path) -> Result<()> {
    Ok(rustix::fs::syncfs(File::open(dir)?)?)
}

/// Returns when the processor time that `cpu` counts grows by less than a fifth of a core, or after `longest`.
pub(crate) fn wait_until_quiet(cpu: impl Fn() -> Duration, longest: Duration) {
    let started = Instant::now();
    while started.elapsed() < longest {
        let before = cpu();
        thread::sleep(QUIET_FOR);
        if cpu().saturating_sub(before) <= QUIET_FOR / 5 {
            return;
        }
    }
}

/// Processor time of the whole machine up to now, to a hundredth of a second for each core.
pub(crate) fn cpu_of_all() -> Duration {
    let Ok(stat) = fs::read_to_string("/proc/stat") else { return Duration::ZERO };
    let numbers = stat.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1);
    let ticks: Vec<u64> = numbers.map(|number| number.parse().unwrap_or_default()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is a part of the first two.
    let busy: u64 =
        ticks.iter().take(8).enumerate().filter(|(at, _)| ![3, 4].contains(at)).map(|(_, n)| n).sum();
    Duration::from_secs_f64(busy as f64 / rustix::param::clock_ticks_per_second() as f64)
}
