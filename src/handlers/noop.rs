//! Kind `noop`: does nothing. For benches.

use beaver_actors::api::handler::{HandlerFuture, JobHandler, JobRun};

/// Succeeds at once, with any payload.
pub(crate) struct Noop;

impl JobHandler for Noop {
    fn run(&self, _job: JobRun) -> HandlerFuture {
        Box::pin(std::future::ready(Ok(None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::testing::run_of;

    #[tokio::test]
    async fn it_succeeds_without_a_result() {
        let (_sender, job) = run_of("[1,2]");
        assert!(Noop.run(job).await.unwrap().is_none());
    }
}
