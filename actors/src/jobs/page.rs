//! Jobs as they come from an image: a page at a time, with what they have in common said once.

use std::sync::Arc;

use crate::jobs::model::profile::Profile;
use crate::jobs::record::JobRecord;
use crate::jobs::table::packed_job::PackedJob;

/// Jobs in the order of their numbers, with what they have in common.
#[derive(Clone, Debug)]
pub struct Page {
    /// By the number that a job says; shared with the page before if they are the same.
    pub(crate) profiles: Arc<[Profile]>,
    /// The jobs; the profile of each is the number of one of `profiles`.
    pub(crate) jobs: Vec<PackedJob>,
}

impl Page {
    /// The jobs, each by itself.
    pub fn records(self) -> impl Iterator<Item = JobRecord> {
        let profiles = self.profiles;
        self.jobs.into_iter().map(move |job| {
            let profile = profiles[job.profile.0 as usize].clone();
            job.into_record(profile)
        })
    }
}
