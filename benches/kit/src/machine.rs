//! What every figure depends on: the machine, its other load, and how long its disk takes for an fdatasync.

use std::fs::{self, File};
use std::io::Result;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Writes that [`sync_latency`] measures.
pub const SYNCS: usize = 300;
/// About what a handful of requests that arrive together take in a log.
pub const SYNCED_BYTES: usize = 4096;

/// Processor and kernel.
pub fn description() -> Result<String> {
    let cores = thread::available_parallelism()?;
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{cores} cores of {model}, Linux {}", kernel.trim()))
}

/// The load average of the last minute: how many threads wanted a core at the same time.
pub fn load() -> Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(load.split(' ').next().unwrap_or_default().to_owned())
}

/// Median and 99th percentile of an fdatasync of 4 KiB below `dir`, within a file or at the end of a growing one.
pub fn sync_latency(dir: &Path, in_place: bool) -> Result<(Duration, Duration)> {
    let path = dir.join("sync-latency");
    let file = File::create(&path)?;
    if in_place {
        file.write_all_at(&vec![0; SYNCS * SYNCED_BYTES], 0)?;
        file.sync_all()?;
    }
    let took = synced_writes(&file, SYNCS, SYNCED_BYTES)?;
    fs::remove_file(path)?;
    Ok((took[SYNCS / 2], took[SYNCS * 99 / 100]))
}

/// How long each of `count` durable writes took that follow each other in a file, shortest first.
pub fn synced_writes(file: &File, count: usize, bytes: usize) -> Result<Vec<Duration>> {
    let block = vec![1; bytes];
    let mut took = Vec::with_capacity(count);
    for number in 0..count {
        let started = Instant::now();
        file.write_all_at(&block, (number * bytes) as u64)?;
        file.sync_data()?;
        took.push(started.elapsed());
    }
    took.sort();
    Ok(took)
}
