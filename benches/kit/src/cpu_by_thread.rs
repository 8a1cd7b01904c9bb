//! Processor time by thread: on a machine with few cores, what the client takes is missing to the server.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Processor time by the name of a thread, or of a pool of threads.
pub type CpuByThread = BTreeMap<String, Duration>;

/// Of a process (`self` or its number), up to now. Of threads with the same name, the later ones get a number. Threads
/// that have ended are not in it.
pub fn of_process(process: &str) -> CpuByThread {
    let mut times = CpuByThread::new();
    for (first, time) in threads(process) {
        let mut names = std::iter::once(first.clone()).chain((2..).map(|number| format!("{first} {number}")));
        let name = names.find(|name| !times.contains_key(name)).unwrap_or(first);
        times.insert(name, time);
    }
    times
}

/// Of this process, up to now, with threads whose names differ by a number at the end taken as one pool.
pub fn of_pools() -> CpuByThread {
    let mut times = CpuByThread::new();
    for (name, time) in threads("self") {
        let pool = name.trim_end_matches(|last: char| last.is_ascii_digit() || last == '-');
        *times.entry(pool.to_owned()).or_default() += time;
    }
    times
}

/// Of the thread that calls this, up to now.
pub fn of_this_thread() -> Duration {
    fs::read_to_string("/proc/thread-self/schedstat").map(|stat| on_cpu(&stat)).unwrap_or_default()
}

/// What each thread of `now` took since `before`.
pub fn since(before: &CpuByThread, mut now: CpuByThread) -> CpuByThread {
    for (name, time) in &mut now {
        *time = time.saturating_sub(before.get(name).copied().unwrap_or_default());
    }
    now
}

/// Name and time of each thread, in the order in which they were started.
fn threads(process: &str) -> Vec<(String, Duration)> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let number = |name: &str| name.parse::<u32>().ok();
    let mut threads: Vec<_> =
        threads.flatten().filter_map(|thread| number(thread.file_name().to_str()?)).collect();
    // By number, not by text.
    threads.sort_unstable();
    let of_thread = |thread| {
        let read = |file| fs::read_to_string(format!("/proc/{process}/task/{thread}/{file}")).ok();
        // A thread may end between the listing and this.
        Some((read("comm")?.trim().to_owned(), on_cpu(&read("schedstat")?)))
    };
    threads.into_iter().filter_map(of_thread).collect()
}

/// The first number of a `schedstat`, in nanoseconds.
fn on_cpu(schedstat: &str) -> Duration {
    let nanoseconds = schedstat.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}
