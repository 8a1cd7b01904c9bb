//! A handler that does nothing: what remains is the engine.

use beaver_actors::api::handler::{HandlerFuture, Handlers, JobHandler, JobRun};
use beaver_actors::ids::KindName;

/// The kind that [`handlers`] handle.
pub const KIND: &str = "noop";

struct Noop;

impl JobHandler for Noop {
    fn run(&self, _: JobRun) -> HandlerFuture {
        Box::pin(async { Ok(None) })
    }
}

/// A handler for jobs of [`KIND`], and none for others.
pub fn handlers() -> Handlers {
    Handlers::new().with(KindName::parse(KIND).expect("a good name"), Noop)
}
