//! What WalActor's mailbox has taken in and its loop has not yet come to.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::task::Poll;

use actix::Recipient;
use tokio::sync::oneshot;

use crate::engine::messages::{Append, CloseLog, Prune, Seal, SetAside, Subscribe};
#[cfg(feature = "testing")]
use crate::engine::messages::{Crash, Freeze};
use crate::ids::Seq;
use crate::wal::{Group, WalError};

/// A buffer that has grown larger is not used again: one huge request must not hold memory for ever.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Something other than to write events.
pub(super) enum LogRequest {
    Subscribe(Subscribe),
    Seal(Seal),
    /// The second hears what became of it.
    Prune(Prune, Recipient<Pruned>),
    Pruned(Pruned),
    SetAside(SetAside),
    Close(CloseLog),
    /// Answered by the loop, not by the mailbox in front of it: a loop that waits for the disk gives no sign of life.
    Ping(oneshot::Sender<()>),
    #[cfg(feature = "testing")]
    Freeze(Freeze),
    #[cfg(feature = "testing")]
    Crash(Crash),
}

/// What became of a [`Prune`], which is done in the background.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub(super) struct Pruned {
    pub through: Seq,
    /// How many segments were deleted.
    pub deleted: Result<usize, WalError>,
}

/// Filled by the mailbox, emptied by the loop; both live on one thread.
///
/// It wakes nobody, and need not. Only the mailbox's handlers fill it, and a message wakes the actor's task, which polls
/// the loop after them. The loop waits with the waker of that task for everything else, too: its timers, and what is
/// done on the log's thread.
#[derive(Default)]
pub(super) struct LogInbox {
    pub requests: VecDeque<LogRequest>,
    pub gathered: Gathered,
    /// Whether nobody is left that could send anything.
    pub is_closed: bool,
}

impl LogInbox {
    /// Lets everything go unanswered. Ready when nothing more can come.
    pub fn turn_away(&mut self) -> Poll<()> {
        self.requests.clear();
        self.gathered.groups.clear();
        if self.is_closed { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Groups of events that are to be written, and where their buffers go back to.
#[derive(Default)]
pub(super) struct Gathered {
    pub groups: Vec<Group>,
    /// As the last group said it.
    emptied: Option<SyncSender<Vec<u8>>>,
}

impl Gathered {
    pub fn add(&mut self, Append { group, emptied }: Append) {
        self.groups.push(group);
        self.emptied = Some(emptied);
    }

    /// Moves all of `others` behind its own.
    pub fn take_in(&mut self, others: &mut Gathered) {
        self.groups.append(&mut others.groups);
        self.emptied = others.emptied.take().or(self.emptied.take());
    }

    pub fn bytes(&self) -> usize {
        self.groups.iter().map(|group| group.bytes.len()).sum()
    }

    pub fn events(&self) -> u64 {
        self.groups.iter().map(|group| u64::from(group.count)).sum()
    }

    /// Sends the buffers of the first groups, which are written, back to be filled again.
    pub fn give_back(&mut self, written: usize) {
        for Group { mut bytes, .. } in self.groups.drain(..written) {
            bytes.clear();
            if let Some(emptied) = &self.emptied
                && bytes.capacity() <= KEPT_BYTES_MAX
            {
                // There may be enough of them.
                let _ = emptied.try_send(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn group(first: u64, bytes: usize) -> Group {
        Group { first: Seq(first), count: 2, bytes: vec![7; bytes] }
    }

    #[test]
    fn what_the_disk_did_not_take_stays_in_front_of_what_came_later() {
        let (emptied, _buffers) = sync_channel(9);
        let [mut batch, mut later] = [Gathered::default(), Gathered::default()];
        batch.add(Append { group: group(1, 10), emptied: emptied.clone() });
        batch.add(Append { group: group(3, 10), emptied: emptied.clone() });
        batch.give_back(1);
        later.add(Append { group: group(5, 20), emptied });
        batch.take_in(&mut later);
        assert_eq!(batch.groups.iter().map(|group| group.first.0).collect::<Vec<_>>(), [3, 5]);
        assert_eq!((batch.bytes(), batch.events(), later.groups.len()), (30, 4, 0));
    }

    #[test]
    fn buffers_of_written_groups_go_back_empty_unless_they_are_huge_or_there_are_enough() {
        let (emptied, buffers) = sync_channel(2);
        let mut batch = Gathered::default();
        for bytes in [10, KEPT_BYTES_MAX + 1, 20, 30, 40] {
            batch.add(Append { group: group(1, bytes), emptied: emptied.clone() });
        }
        batch.give_back(4);
        let back: Vec<_> = buffers.try_iter().map(|bytes| (bytes.len(), bytes.capacity())).collect();
        assert_eq!(back, [(0, 10), (0, 20)]);
        assert_eq!(batch.bytes(), 40);
        // Those that the disk did not take at first go back, too, when nothing new has come in the meantime.
        batch.take_in(&mut Gathered::default());
        batch.give_back(1);
        assert_eq!(buffers.try_iter().count(), 1);
    }

    #[test]
    fn an_inbox_that_turns_all_away_lets_senders_hear_that_nobody_answers() {
        let mut inbox = LogInbox::default();
        let (done, mut sealed) = oneshot::channel();
        inbox.requests.push_back(LogRequest::Seal(Seal { done }));
        let (emptied, _) = sync_channel(1);
        inbox.gathered.add(Append { group: group(1, 10), emptied });
        assert_eq!(inbox.turn_away(), Poll::Pending);
        assert_eq!(sealed.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert!(inbox.gathered.groups.is_empty());
        inbox.is_closed = true;
        assert_eq!(inbox.turn_away(), Poll::Ready(()));
    }
}
