//! From a data directory to a table and a log that goes on.
//!
//! [`boot`]: the recovery protocol, step by step; `replay`: events of the log, read and applied by two threads;
//! [`journal`]: how an event becomes a fact; [`payload_store`]: payloads that are not in memory; [`sealed_log`]: the part of
//! the log that a snapshot is folded from; `store_note`: whose data this is; `clock_news`: what is told of the clock.

pub mod boot;
pub(crate) mod clock_news;
pub mod journal;
pub mod payload_store;
pub(crate) mod replay;
pub mod sealed_log;
pub(crate) mod store_note;
