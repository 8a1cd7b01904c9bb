//! The engine of beaver, a crash-safe job queue: when it says "accepted", the job is on disk.
//!
//! # Map, in reading order: each room imports only rooms above it
//! - [`ids`]: the newtypes that everything else counts and names with.
//! - [`base`]: the interface to time, counters of metrics, MessagePack and small numbers as bytes; [`storage`]: the interface to the
//!   disk, giving space back, the scheduler.
//! - [`jobs`]: the pure part; what a job is, what may be asked, what happens, and the table of all jobs.
//! - [`wal`]: the write-ahead log; the home of its byte layout and of its recovery rules.
//! - [`snapshot`]: images of the whole state, folded from the log.
//! - [`api`]: what users of the engine set, ask, see and implement.
//! - [`recovery`]: from a data directory to a table and a log that goes on.
//! - [`engine`]: the actors and the messages between them; the only room that knows actix.
//! - [`tools`]: log and snapshots as JSON for people, the doctor, the oracle that judges from outside.
//! - `testing` (feature `testing`): a simulated disk, a manual clock, the engine step by step.
//!
//! # Example
//! ```
//! use beaver_actors::engine::Engine;
//! use beaver_actors::ids::{KindName, QueueName};
//! use beaver_actors::jobs::{JobSpec, Payload, Status};
//! use beaver_actors::api::options::EngineOptions;
//! use beaver_actors::api::handler::{HandlerFuture, Handlers, JobHandler, JobRun};
//!
//! struct Greet;
//! impl JobHandler for Greet {
//!     fn run(&self, job: JobRun) -> HandlerFuture {
//!         Box::pin(async move { Ok(Some(job.payload)) })
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! actix::System::new().block_on(async {
//!     let greet = KindName::parse("greet")?;
//!     let handlers = Handlers::new().with(greet.clone(), Greet);
//!     let engine = Engine::start(EngineOptions::in_dir(dir.path()), handlers);
//!     engine.ready().await.map_err(|ending| format!("{ending:?}"))?;
//!     let job = JobSpec::new(QueueName::parse("default")?, greet, Payload::parse(r#"{"name":"Ada"}"#)?);
//!     let accepted = engine.enqueue(vec![job]).await?; // it is on disk now
//!     let mut changes = engine.changes();
//!     while engine.job(accepted[0].id.clone()).await?.status != Status::Completed {
//!         changes.changed().await?;
//!     }
//!     engine.stop(None).await;
//!     Ok(())
//! })
//! # }
//! ```

pub mod api;
pub mod base;
pub mod engine;
pub mod ids;
pub mod jobs;
mod recovery;
mod snapshot;
mod storage;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tools;
mod wal;

/// What the tests and benches of this repository reach beside; nobody else is promised anything.
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod internals {
    pub mod base {
        pub mod failpoint {
            pub use crate::base::failpoint::*;
        }
    }
    pub mod engine {
        pub mod liveness {
            pub use crate::engine::liveness::*;
        }
        pub mod log {
            pub use crate::engine::log::*;
        }
        pub mod messages {
            pub use crate::engine::messages::*;
        }
        pub mod threads {
            pub use crate::engine::threads::*;
        }
    }
    pub mod jobs {
        pub mod event {
            pub use crate::jobs::event::*;
        }
        pub mod filter {
            pub use crate::jobs::filter::*;
        }
        pub mod model {
            pub use crate::jobs::model::*;
        }
        pub mod record {
            pub use crate::jobs::record::*;
        }
        pub mod sections {
            pub use crate::jobs::sections::*;
        }
    }
    pub mod recovery {
        pub use crate::recovery::*;
    }
    pub mod snapshot {
        pub use crate::snapshot::*;
    }
    pub mod storage {
        pub use crate::storage::*;
    }
    pub mod wal {
        pub use crate::wal::*;
    }
}
