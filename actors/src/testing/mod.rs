//! For tests of the engine and of what is built on it (feature `testing`): a simulated disk that loses power, a
//! clock that is moved by hand, and the engine without its actors, one step at a time.
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

mod clock;
mod disk;
mod step;

pub use clock::ManualClock;
pub use disk::SimStorage;
pub use step::{StepEngine, StepError};
