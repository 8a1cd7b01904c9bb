//! Processor time of this process by groups of threads.

#[path = "threads.rs"]
mod threads;

use std::collections::BTreeMap;
use std::time::Duration;

/// Processor time by a thread's name; those of a pool are one.
pub type Busy = BTreeMap<String, Duration>;

/// Of this process, up to now. What a thread took that has ended is not in it.
pub fn busy() -> Busy {
    let mut busy = Busy::new();
    for (name, time) in threads::of("self") {
        let pool = name.trim_end_matches(|last: char| last.is_ascii_digit() || last == '-');
        *busy.entry(pool.to_owned()).or_default() += time;
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
