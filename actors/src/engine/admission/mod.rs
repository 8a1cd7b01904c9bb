//! Admission: which requests are let in.

mod limiter;

pub(crate) use limiter::{Line, Ticket};
