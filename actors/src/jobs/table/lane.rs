//! The pending jobs of one queue, kind and priority, and where such a lane stands among the others.

use std::cmp::Reverse;

use crate::ids::{Priority, Seq};
use crate::jobs::intern::{KindKey, QueueKey};
use crate::jobs::table::list::List;

pub(super) type LaneKey = (QueueKey, KindKey, Priority);

/// Number of a lane in one table.
pub(crate) type LaneNumber = u32;

/// A job's place in line. Those that were promoted together stand in the order in which they were accepted.
pub(super) type LinePlace = (Seq, Seq);

/// Where a lane stands among the others of its kind: by priority, then by its head's place in line.
pub(super) type Rank = (Reverse<Priority>, LinePlace);

/// The pending jobs of one queue, kind and priority.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(super) key: LaneKey,
    pub(super) list: List,
    /// How many jobs are in it.
    pub(super) len: u32,
    /// None while it is empty.
    pub(super) rank: Option<Rank>,
    /// Its place among the heads of its kind and of its queue.
    pub(super) at: [u32; 2],
}
