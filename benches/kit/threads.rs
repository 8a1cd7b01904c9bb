//! How much processor time each of this process's threads takes: on a machine with few cores, what the client
//! takes is missing to the engine.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Processor time by a thread's name; those of a pool are one, and the engine's have numbers.
pub type Busy = BTreeMap<String, Duration>;

/// Of this process, up to now. What a thread took that has ended is not in it.
pub fn busy() -> Busy {
    let mut busy = Busy::new();
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return busy };
    let mut threads: Vec<_> = threads.flatten().map(|thread| thread.path()).collect();
    // In the order in which they were started: by number, not by text.
    threads.sort_by_key(|path| path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok()));
    let mut numbered = 0;
    for thread in threads {
        // A thread may end while one looks at it.
        let Ok(name) = fs::read_to_string(thread.join("comm")) else { continue };
        let Ok(stat) = fs::read_to_string(thread.join("schedstat")) else { continue };
        let nanoseconds = stat.split(' ').next().and_then(|number| number.parse().ok());
        let name = match name.trim() {
            // The kernel cuts names off before what tells these apart.
            name if name.starts_with("actix-rt") => {
                numbered += 1;
                format!("engine {numbered}")
            }
            name => name.trim_end_matches(|last: char| last.is_ascii_digit() || last == '-').to_owned(),
        };
        *busy.entry(name).or_default() += Duration::from_nanos(nanoseconds.unwrap_or_default());
    }
    busy
}

/// Adds to `sum` what was taken since `before`.
pub fn add_since(before: &Busy, sum: &mut Busy) {
    for (name, now) in busy() {
        let taken = now.saturating_sub(before.get(&name).copied().unwrap_or_default());
        *sum.entry(name).or_default() += taken;
    }
}
