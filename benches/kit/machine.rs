//! What every figure depends on: the machine, what else it does, and its disk, measured in the same run.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const SYNCS: usize = 300;
const SYNCED_BYTES: usize = 4096;

/// Two lines: processor, kernel and load; fdatasync of 4 KiB within a file below `dir`.
pub fn facts(dir: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let (median, slow) = fdatasync(dir);
    format!(
        "{cores} cores of {}, Linux {}, load {}\nfdatasync of {SYNCED_BYTES} bytes within a file, {SYNCS} times: p50 {} us, p99 {} us",
        model.map_or("unknown processor", |(_, name)| name),
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        median.as_micros(),
        slow.as_micros(),
    )
}

/// Median and 99th percentile.
fn fdatasync(dir: &Path) -> (Duration, Duration) {
    let path = dir.join("sync-latency");
    let file = File::create(&path).expect("the directory is writable");
    let write = |bytes: &[u8], at: usize| file.write_all_at(bytes, at as u64).expect("there is space");
    write(&vec![0; SYNCS * SYNCED_BYTES], 0);
    file.sync_all().expect("the disk works");
    let mut took: Vec<Duration> = (0..SYNCS)
        .map(|number| {
            let started = Instant::now();
            write(&[1; SYNCED_BYTES], number * SYNCED_BYTES);
            file.sync_data().expect("the disk works");
            started.elapsed()
        })
        .collect();
    fs::remove_file(path).expect("it is ours");
    took.sort_unstable();
    (took[SYNCS / 2], took[SYNCS * 99 / 100])
}
