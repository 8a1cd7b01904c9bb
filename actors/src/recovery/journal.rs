//! The one way in which an event becomes a fact: encoded for the log and applied to the table.

use crate::ids::Seq;
use crate::jobs::{Event, JobTable};
use crate::wal::{Group, codec};

/// Encodes `event` behind the others in `group` and applies it. Nobody may hear of it before the log confirms it.
///
/// Now and then the state's digest follows it as an event of its own; the position that is returned is the event's.
///
/// # Panics
/// The event was not decided on this table: state and log would disagree.
pub fn record(table: &mut JobTable, group: &mut Group, event: Event) -> Seq {
    let seq = append(table, group, event);
    if let Some(digest) = table.due_digest() {
        append(table, group, digest);
    }
    seq
}

fn append(table: &mut JobTable, group: &mut Group, event: Event) -> Seq {
    let seq = table.last().next();
    codec::encode(&event, &mut group.bytes);
    group.count += 1;
    table.apply(seq, event).expect("an event that was decided on this table fits it");
    seq
}
