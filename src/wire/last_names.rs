//! The names of the job that was read last.

use beaver_actors::ids::{InvalidName, KindName, QueueName};

/// Jobs of one text mostly share their names, and a clone of the last ones costs no allocation.
#[derive(Debug)]
pub(super) struct LastNames {
    queue: QueueName,
    kind: KindName,
}

impl LastNames {
    pub(super) fn new(queue: QueueName, kind: KindName) -> LastNames {
        LastNames { queue, kind }
    }

    /// Reads the name of a queue.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn queue(&mut self, name: &str) -> Result<QueueName, InvalidName> {
        if self.queue.as_str() != name {
            self.queue = QueueName::parse(name)?;
        }
        Ok(self.queue.clone())
    }

    /// Reads the name of a kind.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn kind(&mut self, name: &str) -> Result<KindName, InvalidName> {
        if self.kind.as_str() != name {
            self.kind = KindName::parse(name)?;
        }
        Ok(self.kind.clone())
    }
}
