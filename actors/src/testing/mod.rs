//! For tests of the engine and of what is built on it (feature `testing`).
//!
//! `disk`: a simulated disk that loses power; `power`: what it keeps then; `faults`: what goes wrong with it; `clock`: time
//! that is moved by hand; `step`: the engine without its actors, one step at a time; [`explorer`]: crashes it everywhere;
//! [`fuzz`]: gives it any bytes at all; `bugs`: breaks it on purpose.
//!
//! ```
//! use beaver_actors::jobs::Status;
//! use beaver_actors::testing::{SimStorage, StepEngine};
//!
//! let mut beaver = StepEngine::on(SimStorage::new());
//! let job = beaver.enqueue("mail");
//! beaver.dispatch_and_ack(&job);
//! beaver.sync();
//! beaver.crash_keeping_only_synced_bytes();
//! assert_eq!(beaver.status_of(&job), Some(Status::Completed));
//! ```
//!
//! Handlers of your own are tested on the real engine over the simulated disk: what do they make of a power cut?
//!
//! ```
//! use std::sync::Arc;
//!
//! use beaver_actors::engine::{Engine, Environment};
//! use beaver_actors::ids::{KindName, QueueName};
//! use beaver_actors::jobs::{JobSpec, Payload, Status};
//! use beaver_actors::api::options::EngineOptions;
//! use beaver_actors::testing::SimStorage;
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
//! actix::System::new().block_on(async {
//!     let disk = SimStorage::new();
//!     let greet = KindName::parse("greet")?;
//!     let start = || {
//!         let environment = Environment { storage: Arc::new(disk.clone()), ..Environment::default() };
//!         let handlers = Handlers::new().with(greet.clone(), Greet);
//!         Engine::start_on(environment, EngineOptions::in_dir("/data"), handlers)
//!     };
//!     let engine = start();
//!     engine.ready().await.map_err(|ending| format!("{ending:?}"))?;
//!     let job = JobSpec::new(QueueName::parse("default")?, greet.clone(), Payload::parse(r#""Ada""#)?);
//!     let id = engine.enqueue(vec![job]).await?.remove(0).id;
//!
//!     disk.cut_power();
//!     engine.abort().await;
//!     let engine = start();
//!     engine.ready().await.map_err(|ending| format!("{ending:?}"))?;
//!     let mut changes = engine.changes();
//!     while engine.job(id.clone()).await?.status != Status::Completed {
//!         changes.changed().await?;
//!     }
//!     Ok(())
//! })
//! # }
//! ```

mod bugs;
mod clock;
mod disk;
pub mod explorer;
mod faults;
pub mod fuzz;
mod power;
mod step;

pub use crate::base::bugs::Bug;
pub use bugs::{Planted, plant};
pub use clock::ManualClock;
pub use disk::{Frame, SimStorage};
pub use faults::{Call, Fault};
pub use power::{Kept, Unsynced};
pub use step::{StepEngine, StepError};

use crate::ids::Timestamp;
use crate::jobs::{
    Command, JobSpec, JobTable, JobView, Payload, PayloadStore, Policy, TextAt, UnreadablePayload,
};

/// A disk without payloads.
struct Nothing;

impl PayloadStore for Nothing {
    fn read(&self, at: TextAt) -> Result<Payload, UnreadablePayload> {
        Err(UnreadablePayload { at, problem: "nothing was ever written".to_owned(), is_lost: true })
    }
}

/// A job as people see it once it has been accepted, at this moment.
///
/// # Panics
/// If it is refused.
#[must_use]
pub fn accepted(spec: JobSpec, now: Timestamp) -> JobView {
    let mut table = JobTable::new(Policy::default(), &[]);
    let enqueue = Command::Enqueue(Box::new(spec));
    let decided = table.decide(enqueue, now, &mut fastrand::Rng::with_seed(1)).expect("the job is accepted");
    let event = decided.expect("it is the first of its id");
    let id = event.kind.job().cloned().expect("a job that is added has an id");
    table.apply(table.last().next(), event).expect("what was decided fits");
    table.whole_view(&id, &Nothing).expect("it has just been added")
}

/// How many times as much as usual a test shall do: what the environment variable `BEAVER_TORTURE` says, else 1.
///
/// # Panics
/// If it says no number.
#[must_use]
pub fn times() -> u64 {
    match std::env::var("BEAVER_TORTURE") {
        Ok(times) => times.parse().expect("BEAVER_TORTURE is a number"),
        Err(_) => 1,
    }
}
