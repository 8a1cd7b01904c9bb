//! The owner of the log: [`actor`] is its mailbox, `writer_loan` the writer that it lends to its [`thread`] for long work.

pub mod actor;
pub mod thread;
mod writer_loan;
