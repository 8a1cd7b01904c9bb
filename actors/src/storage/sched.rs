//! Scheduler slices: how soon a thread gets the processor after it wakes up on a busy machine.
//!
//! The thread that syncs the log sleeps while the disk works. When the disk is done and another thread computes on that
//! core, Linux lets that thread use up its slice first, which is far longer than a sync, unless the one that wakes up
//! has a shorter slice of its own (since Linux 6.12; older kernels ignore it). So threads that sync get the shortest
//! slice and background work the longest (`docs/decisions/0005-scheduler-slices.md`). That needs no privileges, and a
//! thread's share of the processor stays as it is.

#![expect(
    unsafe_code,
    reason = "there is no safe wrapper of sched_setattr; both calls here are given a structure of ours"
)]

use std::io;

/// The shortest that Linux allows.
const SLICE_NANOSECONDS: u64 = 100_000;
/// The longest that Linux allows.
const PATIENT_SLICE_NANOSECONDS: u64 = 100_000_000;
/// `SCHED_OTHER`: slices of other policies mean something else.
const POLICY_OTHER: u32 = 0;
/// `SCHED_FLAG_RESET_ON_FORK`: what this thread starts in the background is not urgent.
const RESET_ON_FORK: u64 = 1;

/// `struct sched_attr` of `sched_setattr(2)`: the fields that every kernel with slices has.
#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
}

/// Gives the calling thread the shortest slice. What an operator has set is left alone: niceness, another policy.
///
/// # Errors
/// The system does not know slices or does not let us set them; the thread goes on as before.
pub fn make_urgent() -> io::Result<()> {
    set_slice(SLICE_NANOSECONDS)
}

/// Gives the calling thread the longest slice: any other thread that wakes up gets the processor at once, instead of
/// waiting until this one has used up its slice, which niceness alone does not change. Its share stays as it is.
///
/// # Errors
/// The system does not know slices or does not let us set them; the thread goes on as before.
pub fn make_patient() -> io::Result<()> {
    // The running thread keeps the processor for its own slice or that of the thread that wakes up, if that is shorter.
    set_slice(PATIENT_SLICE_NANOSECONDS)
}

fn set_slice(nanoseconds: u64) -> io::Result<()> {
    let mut attr = get()?;
    if attr.policy != POLICY_OTHER {
        return Ok(());
    }
    attr.runtime = nanoseconds;
    attr.flags |= RESET_ON_FORK;
    // SAFETY: the kernel reads `size` bytes, which `get` has set to the structure's own size.
    answer(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) })
}

/// As [`make_urgent`], where it works; elsewhere the thread waits for its turn like any other.
pub fn make_urgent_if_possible() {
    if let Err(error) = make_urgent() {
        tracing::debug!(%error, thread = std::thread::current().name(), "a thread waits for its turn like any other");
    }
}

fn get() -> io::Result<SchedAttr> {
    let mut attr = SchedAttr::default();
    let size = size_of::<SchedAttr>() as u32;
    // SAFETY: the kernel writes at most `size` bytes, and any bytes make a `SchedAttr`.
    answer(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) })?;
    attr.size = size;
    Ok(attr)
}

fn answer(result: libc::c_long) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_urgent_thread_has_a_short_slice_and_those_that_it_starts_have_not() {
        std::thread::spawn(|| {
            let before = get().unwrap();
            make_urgent().unwrap();
            make_urgent().unwrap();
            let after = get().unwrap();
            assert_eq!((after.policy, after.nice), (before.policy, before.nice));
            // Kernels without slices say 0 before and after.
            if before.runtime > 0 {
                assert_eq!(after.runtime, SLICE_NANOSECONDS);
                let child = std::thread::spawn(|| get().unwrap().runtime).join().unwrap();
                assert_ne!(child, SLICE_NANOSECONDS);
                make_patient().unwrap();
                assert_eq!(get().unwrap().runtime, PATIENT_SLICE_NANOSECONDS);
            }
        })
        .join()
        .unwrap();
    }
}
