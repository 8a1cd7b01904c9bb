//! What may happen to the table, one step after the other.

use beaver_actors::jobs::Backoff;
use proptest::prelude::*;

pub(super) const HOUR_MS: i64 = 60 * 60 * 1_000;

#[derive(Clone, Debug)]
pub(super) struct New {
    pub name: u8,
    pub queue: u8,
    pub priority: u8,
    pub delay_ms: u64,
    pub max_retry: u32,
    pub foreign: bool,
    pub backoff: Backoff,
    pub drop: bool,
    pub replaces: bool,
    pub follows: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Enqueue(New),
    Dispatch,
    /// For a remote worker, from these queues.
    Reserve(u8, Vec<u8>),
    /// On the nth known job, under its token or under a stale one.
    Ack(usize, bool),
    Fail(usize, bool),
    /// By a remote worker, that knows the token or does not.
    Report(usize, u8, bool),
    Requeue(usize, bool, bool),
    Postpone(usize),
    Extend(usize, u64),
    Cancel(usize),
    RunNow(usize),
    Kill(usize),
    Discard(usize),
    Move(usize, u8),
    Pause(u8),
    Resume(u8),
    RemoveQueue(u8),
    /// If nobody uses it, and it got no job for this many milliseconds.
    ForgetQueue(u8, u64),
    /// What the last attempt at the nth known job left behind, told late; under its token or under another one.
    Output(usize, bool),
    /// The server is started again.
    Restart,
    SpareLeases(u64),
    /// The clock is set, by hours; by a machine that vouches for it or does not.
    SetClock(i64, bool),
    TrustClock,
    Pass(u64),
}

fn new() -> impl Strategy<Value = New> {
    let backoff = prop_oneof![
        3 => Just(Backoff::Server),
        1 => Just(Backoff::Quartic),
        1 => (0_u64..4_000).prop_map(|delay_ms| Backoff::Fixed { delay_ms }),
        1 => (0_u64..4_000, 0_u8..=100).prop_map(|(first_ms, jitter_percent)| {
            Backoff::Exponential { first_ms, max_ms: 5_000, jitter_percent }
        }),
    ];
    let delay = prop_oneof![3 => Just(0_u64), 1 => 1_u64..5_000];
    let place = (0_u8..12, 0_u8..3, 0_u8..3, delay);
    let [rarely, often] = [0.1, 0.3].map(prop::bool::weighted);
    let flags = (rarely, often, often, often);
    (place, 0_u32..3, backoff, flags).prop_map(
        |(place, max_retry, backoff, (foreign, drop, replaces, follows))| {
            let (name, queue, priority, delay_ms) = place;
            New { name, queue, priority, delay_ms, max_retry, foreign, backoff, drop, replaces, follows }
        },
    )
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let nth = || 0_usize..16;
    let stale = || prop::bool::weighted(0.1);
    prop_oneof![
        6 => new().prop_map(Op::Enqueue),
        4 => Just(Op::Dispatch),
        4 => (0_u8..3, prop::collection::vec(0_u8..3, 1..4)).prop_map(|(who, from)| Op::Reserve(who, from)),
        3 => (nth(), stale()).prop_map(|(nth, stale)| Op::Ack(nth, stale)),
        4 => (nth(), stale()).prop_map(|(nth, stale)| Op::Fail(nth, stale)),
        3 => (nth(), 0_u8..3, any::<bool>()).prop_map(|(nth, who, knows)| Op::Report(nth, who, knows)),
        1 => (nth(), any::<bool>(), any::<bool>()).prop_map(|(nth, counts, by_hand)| Op::Requeue(nth, counts, by_hand)),
        1 => nth().prop_map(Op::Postpone),
        1 => (nth(), 0_u64..60_000).prop_map(|(nth, by_ms)| Op::Extend(nth, by_ms)),
        1 => nth().prop_map(Op::Cancel),
        2 => nth().prop_map(Op::RunNow),
        1 => nth().prop_map(Op::Kill),
        1 => nth().prop_map(Op::Discard),
        2 => (nth(), 0_u8..3).prop_map(|(nth, queue)| Op::Move(nth, queue)),
        1 => (0_u8..4).prop_map(Op::Pause),
        1 => (0_u8..4).prop_map(Op::Resume),
        1 => (0_u8..4).prop_map(Op::RemoveQueue),
        2 => (0_u8..4, prop_oneof![Just(0_u64), Just(u64::MAX)]).prop_map(|(number, idle)| Op::ForgetQueue(number, idle)),
        2 => (nth(), stale()).prop_map(|(nth, stale)| Op::Output(nth, stale)),
        1 => Just(Op::Restart),
        1 => (0_u64..20_000).prop_map(Op::SpareLeases),
        1 => set_clock(),
        1 => Just(Op::TrustClock),
        2 => (1_u64..20_000).prop_map(Op::Pass),
    ]
}

/// What happens while somebody plays with the clock, to jobs that wait for longer than usual.
pub(super) fn op_under_a_bad_clock() -> impl Strategy<Value = Op> {
    let waits = (new(), 1_u64..72)
        .prop_map(|(new, hours)| Op::Enqueue(New { delay_ms: hours * HOUR_MS.cast_unsigned(), ..new }));
    let nth = 0_usize..16;
    let extends = (nth, 1_u64..72).prop_map(|(nth, hours)| Op::Extend(nth, hours * HOUR_MS.cast_unsigned()));
    prop_oneof![20 => op(), 4 => set_clock(), 3 => waits, 2 => extends]
}

fn set_clock() -> impl Strategy<Value = Op> {
    let hours = prop_oneof![-20_i64..20, Just(-400 * 24), Just(-48), Just(400 * 24), Just(48)];
    (hours, any::<bool>()).prop_map(|(hours, is_synchronised)| Op::SetClock(hours, is_synchronised))
}
