//! Group commit: when requests that came together are finished together. What is due is done, jobs that can be started
//! are started, and the events go to the log as one group.
//!
//! A group of events costs one fdatasync even if it is small, and looking for jobs to start costs as much as a message.
//! So both wait until a look at everything that can bring more requests (the mailbox, and the sockets of servers that
//! run beside the manager) has brought none. No clock is involved: when nothing comes, it happens at once.
//!
//! Clients that send one request after the other come back as soon as they are answered. So the first of them does not
//! get a sync to itself: the group waits a few more looks for the others, each of which is far cheaper than a sync.
//! When only one client was answered there is nobody to wait for, and looking would delay it if it shares the
//! processor. Measured in `docs/decisions/0006-look-for-more.md`.

use std::collections::VecDeque;
use std::sync::mpsc;

use crate::engine::messages::Append;
use crate::ids::Seq;
use crate::wal::Group;

/// A group of this size is worth an fdatasync of its own.
const BYTES_ENOUGH: usize = 64 << 10;
/// A group of this size goes to the log at once, without a look for more.
const BYTES_AT_ONCE: usize = 1 << 20;
/// Looks for more per group, at most, so that a stream without a gap is not kept waiting.
const LOOKS_MAX: u32 = 8;
/// Looks per group while clients that have just been answered are expected to ask again.
const EXPECTING_LOOKS_MAX: u32 = 40;

/// One is filled, one is written, and some are on their way.
const BUFFERS_KEPT: usize = 4;

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterLook {
    Wait,
    /// End the turns that have come.
    Go,
}

/// The events of one time, and how long they wait for more.
pub(super) struct GroupCommit {
    /// Events since the last group that was taken.
    group: Group,
    /// Whether a look is ahead.
    is_waiting: bool,
    looks: u32,
    /// Turns so far, and how many there had been at the last look.
    turns: u64,
    seen: u64,
    /// What `turns` will be once every client that was answered since the last group has asked again.
    expected: u64,
    /// Groups that were sent and are not confirmed: the last event of each, and its bytes.
    under_way: VecDeque<(Seq, u64)>,
    bytes_under_way: u64,
    /// Buffers of written groups, to be filled again: they need not grow any more
    /// (`docs/decisions/0003-how-a-batch-is-written.md`).
    emptied: (mpsc::SyncSender<Vec<u8>>, mpsc::Receiver<Vec<u8>>),
}

impl GroupCommit {
    /// No events yet; the first one gets this position.
    pub fn new(first: Seq) -> GroupCommit {
        GroupCommit {
            group: Group { first, ..Group::default() },
            is_waiting: false,
            looks: 0,
            turns: 0,
            seen: 0,
            expected: 0,
            under_way: VecDeque::new(),
            bytes_under_way: 0,
            emptied: mpsc::sync_channel(BUFFERS_KEPT),
        }
    }

    /// Where events are encoded.
    pub fn group(&mut self) -> &mut Group {
        &mut self.group
    }

    /// Bytes of events that have gathered or were sent, and are not confirmed.
    pub fn bytes_ahead(&self) -> u64 {
        self.bytes_under_way + self.group.bytes.len() as u64
    }

    /// Events up to here are in the log.
    pub fn confirm(&mut self, through: Seq) {
        while let Some((_, bytes)) = self.under_way.pop_front_if(|(last, _)| *last <= through) {
            self.bytes_under_way -= bytes;
        }
    }

    /// Whether no event waits to be sent to the log.
    pub fn is_empty(&self) -> bool {
        self.group.count == 0
    }

    /// A turn has ended. True if no look is ahead: then the caller begins to [wait](GroupCommit::wait_for_more).
    pub fn end_turn(&mut self) -> bool {
        self.turns += 1;
        let begins = !self.is_waiting;
        if begins {
            self.is_waiting = true;
            self.looks = 0;
        }
        begins
    }

    /// Whether the group goes to the log now: a flood may not let anybody look for a long time, and the disk would have
    /// nothing to do.
    pub fn is_large(&self) -> bool {
        self.group.bytes.len() >= BYTES_AT_ONCE
    }

    /// A look begins.
    pub fn wait_for_more(&mut self) {
        self.seen = self.turns;
        self.looks += 1;
    }

    /// A look is over, in which the turns that came have ended.
    pub fn after_look(&mut self) -> AfterLook {
        let brought_more = self.turns > self.seen && self.looks < LOOKS_MAX;
        let is_waited_for = self.group.count > 0 || self.expected > self.turns + 1;
        let expects_more = self.turns < self.expected && is_waited_for && self.looks < EXPECTING_LOOKS_MAX;
        if (brought_more || expects_more) && self.group.bytes.len() < BYTES_ENOUGH {
            return AfterLook::Wait;
        }
        self.is_waiting = false;
        self.expected = 0;
        AfterLook::Go
    }

    /// A client was answered that may soon ask again.
    pub fn expect_reply(&mut self) {
        self.expected = self.expected.max(self.turns) + 1;
    }

    /// What has gathered, for the log; none if nothing has.
    pub fn take_group(&mut self) -> Option<Append> {
        if self.is_empty() {
            return None;
        }
        let (emptied, filled_again) = &self.emptied;
        let bytes = filled_again.try_recv().unwrap_or_default();
        let next = Group { first: self.group.last().next(), count: 0, bytes };
        let group = std::mem::replace(&mut self.group, next);
        let bytes = group.bytes.len() as u64;
        self.under_way.push_back((group.last(), bytes));
        self.bytes_under_way += bytes;
        Some(Append { group, emptied: emptied.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit() -> GroupCommit {
        GroupCommit::new(Seq(1))
    }

    /// A turn that leaves an event of this size.
    fn turn(commit: &mut GroupCommit, bytes: usize) -> bool {
        commit.group.count += 1;
        commit.group.bytes.resize(commit.group.bytes.len() + bytes, 0);
        commit.end_turn()
    }

    /// Looks until it goes, with what each look brings; how many looks there were.
    fn looks(commit: &mut GroupCommit, mut bring: impl FnMut(&mut GroupCommit, u32)) -> u32 {
        for look in 1.. {
            commit.wait_for_more();
            bring(commit, look);
            if commit.after_look() == AfterLook::Go {
                return look;
            }
        }
        unreachable!("it goes at some time")
    }

    #[test]
    fn a_turn_that_comes_alone_ends_after_one_look_and_only_the_first_begins_to_wait() {
        let mut commit = commit();
        assert!(turn(&mut commit, 10));
        assert!(!turn(&mut commit, 10), "a look is ahead");
        assert_eq!(looks(&mut commit, |_, _| {}), 1);
        assert!(turn(&mut commit, 10), "the look is over");
    }

    #[test]
    fn it_looks_on_while_looks_bring_more_but_not_for_ever() {
        let mut commit = commit();
        turn(&mut commit, 10);
        let brings_three = |commit: &mut GroupCommit, look| {
            if look <= 3 {
                turn(commit, 10);
            }
        };
        assert_eq!(looks(&mut commit, brings_three), 4);
        turn(&mut commit, 10);
        let never_ends = |commit: &mut GroupCommit, _| {
            turn(commit, 10);
        };
        assert_eq!(looks(&mut commit, never_ends), LOOKS_MAX);
    }

    #[test]
    fn a_group_that_is_worth_a_sync_waits_for_nothing_and_a_large_one_not_even_for_a_look() {
        let mut commit = commit();
        turn(&mut commit, BYTES_ENOUGH);
        let brings_more = |commit: &mut GroupCommit, _| {
            turn(commit, 1);
        };
        assert_eq!(looks(&mut commit, brings_more), 1);
        assert!(!commit.is_large());
        turn(&mut commit, BYTES_AT_ONCE - BYTES_ENOUGH);
        assert!(commit.is_large());
    }

    #[test]
    fn clients_that_were_answered_together_are_waited_for_until_all_have_asked_again() {
        let mut commit = commit();
        (0..3).for_each(|_| commit.expect_reply());
        turn(&mut commit, 10);
        // Each of the others comes after ten looks in vain.
        let slowly = |commit: &mut GroupCommit, look: u32| {
            if look.is_multiple_of(10) {
                turn(commit, 10);
            }
        };
        assert_eq!(looks(&mut commit, slowly), 20);
        turn(&mut commit, 10);
        assert_eq!(looks(&mut commit, |_, _| {}), 1, "what was expected for one group is not for the next");
    }

    #[test]
    fn clients_that_do_not_come_back_are_given_up() {
        let mut commit = commit();
        (0..3).for_each(|_| commit.expect_reply());
        turn(&mut commit, 10);
        assert_eq!(looks(&mut commit, |_, _| {}), EXPECTING_LOOKS_MAX);
    }

    #[test]
    fn a_single_client_that_was_answered_is_not_waited_for() {
        let mut commit = commit();
        commit.end_turn();
        commit.expect_reply();
        assert_eq!(looks(&mut commit, |_, _| {}), 1);
    }

    #[test]
    fn groups_follow_each_other_and_their_buffers_are_filled_again() {
        let mut commit = commit();
        assert!(commit.take_group().is_none());
        (0..3).for_each(|_| _ = turn(&mut commit, 1_000));
        let Append { mut group, emptied } = commit.take_group().unwrap();
        assert_eq!((group.first, group.last(), group.bytes.len()), (Seq(1), Seq(3), 3_000));
        group.bytes.clear();
        let buffer = group.bytes.as_ptr();
        emptied.send(group.bytes).unwrap();
        turn(&mut commit, 10);
        assert_eq!(commit.take_group().unwrap().group.first, Seq(4));
        turn(&mut commit, 10);
        let next = commit.take_group().unwrap().group;
        assert_eq!((next.first, next.bytes.as_ptr()), (Seq(5), buffer));
    }
}
