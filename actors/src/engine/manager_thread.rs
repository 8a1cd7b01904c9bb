//! Who else may run on the thread that decides about jobs, and why.
//!
//! Every producer and every worker waits for that thread. What runs there beside the manager saves its own requests two
//! hops between threads, and takes the time that it computes away from everybody: so there is a list of those who may,
//! each with its reason, and no way in for others.

use std::future::Future;

use actix::Recipient;

use crate::engine::messages::Host;

/// Who may run there. A further one needs a reason as good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenant {
    /// What is said on connections of remote workers once they are let in: its every command is a question of the engine, so
    /// that each saves a hop either way and what comes in together shares an fsync; and none of them computes for longer
    /// than the engine itself does about its answer. Neither handshakes nor passwords, which take milliseconds.
    WorkerConversations,
}

/// A way to the thread, for a [`Tenant`].
#[derive(Clone)]
pub struct ManagerThread(Recipient<Host>);

impl ManagerThread {
    pub(crate) fn new(tenant: Tenant, host: Recipient<Host>) -> ManagerThread {
        tracing::debug!(actor = "supervisor/manager", ?tenant, "shares its thread");
        ManagerThread(host)
    }

    /// Runs a future there. It must never block, and ends with the engine at the latest: then it is dropped where it is, or
    /// before it begins.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        // A closed mailbox means that the engine has ended.
        self.0.do_send(Host(Box::pin(future)));
    }
}
