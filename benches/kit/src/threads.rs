//! How much processor time threads take: on a machine with few cores, what the client takes is missing to the server.

use std::fs;
use std::time::Duration;

/// The threads of a process (`self`, or its number) in the order in which they were started: the name of each, and its
/// processor time up to now. Those that have ended are not among them.
pub fn of(process: &str) -> Vec<(String, Duration)> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let number = |name: &str| name.parse::<u32>().ok();
    let mut threads: Vec<_> =
        threads.flatten().filter_map(|thread| number(thread.file_name().to_str()?)).collect();
    // By number, not by text.
    threads.sort_unstable();
    let of_thread = |thread| {
        let read = |file| fs::read_to_string(format!("/proc/{process}/task/{thread}/{file}")).ok();
        // A thread may end while one looks at it.
        Some((read("comm")?.trim().to_owned(), on_cpu(&read("schedstat")?)))
    };
    threads.into_iter().filter_map(of_thread).collect()
}

/// The first number of a `schedstat`.
pub fn on_cpu(schedstat: &str) -> Duration {
    let nanoseconds = schedstat.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}
