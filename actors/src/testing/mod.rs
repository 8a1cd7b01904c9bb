//! For tests of the engine and of what is built on it (feature `testing`): a simulated disk that loses power, a
//! clock that is moved by hand, the engine without its actors, one step at a time, and an explorer that crashes it
//! everywhere.
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

mod bugs;
mod clock;
mod disk;
pub mod explorer;
mod faults;
pub mod fuzz;
mod power;
mod step;

pub use crate::bugs::Bug;
pub use bugs::{Planted, plant};
pub use clock::ManualClock;
pub use disk::{Frame, SimStorage};
pub use faults::{Call, Fault};
pub use power::{Kept, Unsynced};
pub use step::{StepEngine, StepError};
