//! Names that were read last: the next event mostly has the same.

use crate::ids::{JobId, KindName, Priority, QueueName, RemoteName};
use crate::jobs::event::NewJob;
use crate::jobs::model::job::Exhausted;
use crate::jobs::model::payload::{Content, Payload, PayloadRef};
use crate::jobs::model::policy::Backoff;
use crate::jobs::model::profile::Profile;
use crate::jobs::model::text::KEPT_BYTES;
use crate::jobs::stored::remote_of;

/// What was read last, and what is to be left on disk.
#[derive(Debug, Default)]
pub(super) struct Names {
    queue: Option<QueueName>,
    kind: Option<KindName>,
    remote: Option<RemoteName>,
    /// What is left of the last job that was applied.
    pub emptied: Option<Box<NewJob>>,
    pub leaves_payloads: bool,
}

impl Names {
    #[inline]
    pub fn remote(&mut self, name: &str) -> Option<RemoteName> {
        match &self.remote {
            Some(remote) if remote.as_str() == name => Some(remote.clone()),
            _ => Some(self.remote.insert(remote_of(name)?).clone()),
        }
    }

    /// A payload, in memory or left on disk.
    #[inline]
    pub fn payload(&self, bytes: &[u8]) -> Option<PayloadRef> {
        match u32::try_from(bytes.len()) {
            // That it is text was seen when it was written, and is seen again when it is read back.
            Ok(len) if self.leaves_payloads && bytes.len() > KEPT_BYTES => {
                Some(PayloadRef::Stored { bytes: len })
            }
            _ => Some(PayloadRef::Here(Payload::trusted(std::str::from_utf8(bytes).ok()?))),
        }
    }

    #[inline]
    pub fn queue(&mut self, name: &[u8]) -> Option<QueueName> {
        match &self.queue {
            Some(queue) if queue.as_str().as_bytes() == name => Some(queue.clone()),
            _ => Some(self.queue.insert(QueueName::parse(std::str::from_utf8(name).ok()?).ok()?).clone()),
        }
    }

    #[inline]
    fn kind(&mut self, name: &[u8]) -> Option<KindName> {
        match &self.kind {
            Some(kind) if kind.as_str().as_bytes() == name => Some(kind.clone()),
            _ => Some(self.kind.insert(KindName::parse(std::str::from_utf8(name).ok()?).ok()?).clone()),
        }
    }

    /// A job of these names, with nothing yet that most jobs do not have.
    #[inline]
    pub fn new_job(&mut self, queue: &[u8], kind: &[u8]) -> Option<Box<NewJob>> {
        let is_same = |new: &NewJob| {
            new.profile.queue.as_str().as_bytes() == queue && new.profile.kind.as_str().as_bytes() == kind
        };
        if let Some(mut new) = self.emptied.take_if(|new| is_same(new)) {
            // All of them are named, so that a new one is not forgotten: it would keep what the job before had in it.
            let NewJob { id: _, profile, content, run_at } = &mut *new;
            let Profile { queue: _, kind: _, priority: _, timeout_ms: _, max_retry: _, .. } = profile;
            let Profile { backoff, exhausted, backtrace_lines, .. } = profile;
            let Content { payload: _, custom } = content;
            (*backoff, *exhausted, *backtrace_lines) = (Backoff::Server, Exhausted::Dead, 0);
            (*custom, *run_at) = (None, None);
            return Some(new);
        }
        let profile = Profile {
            queue: self.queue(queue)?,
            kind: self.kind(kind)?,
            priority: Priority::default(),
            backoff: Backoff::Server,
            exhausted: Exhausted::Dead,
            timeout_ms: 0,
            max_retry: 0,
            backtrace_lines: 0,
        };
        let content = Content { payload: PayloadRef::Stored { bytes: 0 }, custom: None };
        Some(Box::new(NewJob { id: JobId::NOBODY, profile, content, run_at: None }))
    }
}
