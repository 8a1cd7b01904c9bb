//! Whom a keeper finds below itself in the tree of processes.

use std::collections::{HashMap, HashSet};
use std::io;

use rustix::process::{Pid, Signal};

use crate::handlers::exec::process::{Process, Stat, pids, stat};

/// How a round of signals went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signalled {
    /// Processes that were reached.
    pub(crate) reached: u32,
    /// Processes that belong to somebody else by now (`sudo`), so that they may not be reached.
    pub(crate) refused: u32,
}

/// Sends signals, one after the other, to every process below `root` that is meant; parents come before their children.
pub(super) fn signal_descendants(
    root: Pid,
    signals: &[Signal],
    is_meant: impl Fn(&Stat) -> bool,
) -> Signalled {
    // The same processes still, with the same parents: held by pidfds from here on, so that a signal reaches nobody who
    // was given a number meanwhile. All are held before the first is told: when it ends, its children move.
    let hold = |(pid, seen): (Pid, Stat)| {
        let process = Process::open(pid).ok()?;
        let now = process.stat().ok()?;
        (now.start_ticks == seen.start_ticks && now.parent == seen.parent).then_some(process)
    };
    let meant = descendants(root).into_iter().filter(|(_, stat)| is_meant(stat));
    let held: Vec<Process> = meant.filter_map(hold).collect();
    let mut signalled = Signalled::default();
    for process in held {
        match signals.iter().try_for_each(|signal| process.signal(*signal)) {
            Ok(()) => signalled.reached += 1,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => signalled.refused += 1,
            // It has ended meanwhile.
            Err(_) => {}
        }
    }
    signalled
}

/// The processes below `root` that have not ended, from one look at all processes. One that is born during the
/// look may be missed.
fn descendants(root: Pid) -> Vec<(Pid, Stat)> {
    let all: HashMap<Pid, Stat> =
        pids().into_iter().flatten().filter_map(|pid| Some((pid, stat(pid).ok()?))).collect();
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    for (pid, stat) in &all {
        if let Some(parent) = stat.parent {
            children.entry(parent).or_default().push(*pid);
        }
    }
    let mut found = Vec::new();
    // Not a tree if numbers were used again while we looked.
    let mut seen = HashSet::from([root]);
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        for child in children.get(&parent).into_iter().flatten().filter(|child| seen.insert(**child)) {
            next.push(*child);
            found.push((*child, all[child].clone()));
        }
    }
    found.retain(|(_, stat)| !stat.is_zombie);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::exec::testing::{TestProgram, assert_ends};

    #[test]
    fn everybody_below_is_found_however_deep_and_nobody_beside() {
        let family = TestProgram::start("setsid sh -c 'sleep 300 & echo up; wait' & wait");
        let mut beside = TestProgram::start("echo up; read line");
        let below = descendants(family.group());
        assert_eq!(below.len(), 2, "a shell in a session of its own and its sleep: {below:?}");
        let signalled = signal_descendants(family.group(), &[Signal::KILL], |_| true);
        assert_eq!(signalled, Signalled { reached: 2, refused: 0 });
        below.iter().for_each(|(pid, _)| assert_ends(*pid));
        assert!(beside.is_running());
        assert_eq!(signal_descendants(beside.group(), &[Signal::KILL], |_| true), Signalled::default());
    }
}
