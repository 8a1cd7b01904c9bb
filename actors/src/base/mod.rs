//! What every room may use and that knows nothing of jobs.
//!
//! [`clock`]: the interface to time, `kernel_clock`: what the kernel says of its own; [`metrics`]: what is counted; [`failpoint`]: places where tests let something go wrong;
//! `bugs`: deliberate ones, that the tests must notice, not in a release; [`byte_budget`]: memory that many share; `bytes`
//! and `msgpack`: numbers, texts and values as bytes; `threads`: for work that may be done without one; [`line_limit`]: how
//! much of the same the log gets; [`surrogates`]: halves of characters in JSON.

pub(crate) mod bugs;
pub mod byte_budget;
pub(crate) mod bytes;
pub mod clock;
pub mod failpoint;
pub(crate) mod kernel_clock;
pub mod line_limit;
pub mod metrics;
pub(crate) mod msgpack;
pub mod surrogates;
pub(crate) mod threads;
