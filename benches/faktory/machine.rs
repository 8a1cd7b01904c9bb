//! What the figures depend on: the machine, its disk, and how much processor time each thread took.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

const SYNCS: usize = 200;
/// About what a handful of requests that arrive together take in a log.
const SYNCED_BYTES: usize = 4096;

/// Two lines on the machine, what else it does, and the disk under `dir`.
pub fn facts(dir: &Path) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let (in_place, slowest) = sync_latency(dir, true)?;
    let (growing, _) = sync_latency(dir, false)?;
    Ok(format!(
        "{cores} cores of {model}, Linux {}, load {load} before the first run\n\
         {} file system; fdatasync of {SYNCED_BYTES} bytes, median of {SYNCS}: {} µs within a file \
         (99 %: {} µs), {} µs at the end of a growing one",
        kernel.trim(),
        file_system(dir)?,
        in_place.as_micros(),
        slowest.as_micros(),
        growing.as_micros()
    ))
}

/// The type of the file system that holds `dir`, such as `ext4`.
pub fn file_system(dir: &Path) -> Result<String> {
    let dir = dir.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        dir.starts_with(point).then_some((point.len(), kind))
    });
    // The last of two at the same place is the one that is seen.
    Ok(mounts.max_by_key(|(length, _)| *length).context("no file system is mounted")?.1.to_owned())
}

/// Median and 99th percentile.
fn sync_latency(dir: &Path, in_place: bool) -> Result<(Duration, Duration)> {
    let path = dir.join("sync-latency");
    let file = File::create(&path)?;
    if in_place {
        file.write_all_at(&vec![0; SYNCS * SYNCED_BYTES], 0)?;
        file.sync_all()?;
    }
    let block = [1; SYNCED_BYTES];
    let mut took = Vec::with_capacity(SYNCS);
    for number in 0..SYNCS {
        let started = Instant::now();
        file.write_all_at(&block, (number * SYNCED_BYTES) as u64)?;
        file.sync_data()?;
        took.push(started.elapsed());
    }
    fs::remove_file(path)?;
    took.sort();
    Ok((took[SYNCS / 2], took[SYNCS * 99 / 100]))
}

/// Processor time by a thread's name; threads with the same name are one.
pub type Busy = BTreeMap<String, Duration>;

/// Of a process, up to now.
pub fn busy(process: u32) -> Busy {
    let mut busy = Busy::new();
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return busy };
    for thread in threads.flatten() {
        // A thread may end while one looks at it.
        let Ok(name) = fs::read_to_string(thread.path().join("comm")) else { continue };
        let Ok(stat) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
        let name = name.trim().trim_end_matches(|last: char| last.is_ascii_digit() || last == '-');
        *busy.entry(name.to_owned()).or_default() += on_cpu(&stat);
    }
    busy
}

/// Of the thread that asks, up to now.
pub fn busy_here() -> Duration {
    fs::read_to_string("/proc/thread-self/schedstat").map(|stat| on_cpu(&stat)).unwrap_or_default()
}

fn on_cpu(schedstat: &str) -> Duration {
    let nanoseconds = schedstat.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}
