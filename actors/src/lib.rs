//! The engine of beaver, a crash-safe job queue: when it says "accepted", the job is on disk.
//!
//! # Map, in reading order
//! - [`ids`]: the newtypes that everything else counts and names with.
//! - [`jobs`]: the pure part; what a job is, what may be asked, what happens, and the table of all jobs.
//! - [`storage`], [`clock`]: the seams to the disk and to time; `uring` (feature `io-uring`): another way to the disk;
//!   [`retire`]: gives the space of old files back without anybody noticing.
//! - [`wal`]: the write-ahead log; the home of its byte layout and of its recovery rules.
//! - [`snapshot`]: images of the whole state, folded from the log; `stored`: values that both write.
//! - [`messages`]: who tells whom what; [`guard`]: how an actor's end is noticed.
//! - `bugs`: deliberate ones, that the tests must notice; not in a release.
//! - [`journal`]: how an event becomes a fact.
//! - [`manager`], [`worker`]: the actors that own the jobs and run them.
//! - [`boot`], [`supervisor`]: recovery, and the tree of actors; [`urgent`]: threads that must not wait long,
//!   and those that let others go first.
//! - [`engine`], [`options`], [`metrics`]: what users of the engine hold, set and read; `requests`, `answer`,
//!   `admission` and `status` are parts of the first.
//! - [`inspect`]: log and snapshots as JSON, for people; [`doctor`]: what is damaged, and a repair.
//! - [`oracle`]: whether a queue kept its word, judged from outside.
//! - `testing` (feature `testing`): a simulated disk, a manual clock, the engine step by step.
//!
//! # Example
//! ```
//! use beaver_actors::engine::Engine;
//! use beaver_actors::ids::{KindName, QueueName};
//! use beaver_actors::jobs::{JobSpec, Payload, Status};
//! use beaver_actors::options::EngineOptions;
//! use beaver_actors::worker::handler::{HandlerFuture, Handlers, JobHandler, JobRun};
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

mod admission;
mod answer;
pub mod api;
pub mod bodies;
pub mod boot;
mod bugs;
pub mod clock;
pub mod doctor;
pub mod engine;
pub mod failpoint;
pub mod guard;
pub mod ids;
pub mod inspect;
pub mod jobs;
pub mod journal;
pub mod manager;
pub mod messages;
pub mod metrics;
mod msgpack;
pub mod options;
pub mod oracle;
mod replay;
mod requests;
pub mod retire;
pub mod snapshot;
mod status;
pub mod storage;
mod stored;
pub mod supervisor;
#[cfg(feature = "testing")]
pub mod testing;
pub mod urgent;
#[cfg(feature = "io-uring")]
pub mod uring;
pub mod wal;
pub mod worker;
