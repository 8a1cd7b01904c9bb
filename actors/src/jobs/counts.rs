//! How many jobs are in each status.

use crate::jobs::model::job::Status;

/// How many jobs are in each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Status::ALL.len()]);

impl Counts {
    /// Jobs in `status`.
    #[must_use]
    pub fn of(&self, status: Status) -> u64 {
        self.0[status as usize]
    }

    /// Jobs that may still run.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        Status::ALL.iter().filter(|status| !status.is_finished()).map(|&status| self.of(status)).sum()
    }

    /// Jobs in all statuses.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn of_mut(&mut self, status: Status) -> &mut u64 {
        &mut self.0[status as usize]
    }
}

impl serde::Serialize for Counts {
    /// As a map from status to count.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Status::ALL.iter().map(|&status| (status.as_str(), self.of(status))))
    }
}
