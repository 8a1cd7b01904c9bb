//! The server as a process: what `beaver run` starts, and how it ends.
//!
//! | file | story |
//! |---|---|
//! | `serve`, `signals` | boots, serves until it is told to stop, drains |
//! | `accept` | where connections come from |
//! | `descriptors` | how many there may be |
//! | `http_server`, `stall` | who gets a connection for HTTP, for how long, and how all of them end |
//! | `fwp_server`, `fwp_setup`, `tls`, `movable` | the same for remote workers, who are handed to another thread |
//! | `address_file` | where others find the server |
//! | `privacy` | its directories are for its user alone |
//! | `give_back` | memory that was freed goes back to the system |
//! | `recovery_view` | how recovery is shown |
//! | `error` | why it does not start |

mod serve;
mod signals;

mod accept;
mod descriptors;
mod http_server;
mod stall;

mod fwp_server;
mod fwp_setup;
mod movable;
pub(crate) mod tls;

pub(crate) mod address_file;
mod error;
mod give_back;
mod privacy;
mod recovery_view;

pub use accept::Listener;
pub(crate) use descriptors::{Descriptors, TooFewDescriptors};
pub(crate) use error::ServerError;
pub use fwp_server::{FwpHandle, FwpServer};
pub use http_server::HttpServer;
pub(crate) use serve::{ServerLimits, serve};
