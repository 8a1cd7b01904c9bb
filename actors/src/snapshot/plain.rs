//! One image file as a plain value, for tests: everything that it says, and nothing about how.

use std::path::Path;

use crate::ids::Seq;
use crate::jobs::record::JobRecord;
use crate::jobs::sections::Sections;
use crate::jobs::table::packed_job::{PackedJob, ProfileId};
use crate::jobs::{TextAt, TextRef};
use crate::snapshot::SnapshotError;
use crate::snapshot::format::{ImageHeader, LayerMeta};
use crate::snapshot::layer::Layer;
use crate::snapshot::merge::{Merge, Merged};
use crate::snapshot::texts::TextPages;
use crate::snapshot::writer::LayerWriter;
use crate::storage::Storage;

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain {
    /// What it is of.
    pub header: ImageHeader,
    /// Its jobs, with the payloads that are in it.
    pub jobs: Vec<JobRecord>,
    /// Jobs of the state before that are gone.
    pub gone: Vec<Seq>,
    meta: LayerMeta,
}

impl Plain {
    /// What it says beside the jobs.
    #[must_use]
    pub fn sections(&self) -> &Sections {
        &self.meta.sections
    }

    /// Reads a file.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn read(storage: &dyn Storage, path: &Path) -> Result<Plain, SnapshotError> {
        let file = storage.open_to_read(path).map_err(SnapshotError::io(path, "open"))?;
        let layer = std::sync::Arc::new(Layer::open(file, path)?);
        layer.check()?;
        let (header, meta) = (*layer.header(), layer.meta().clone());
        let mut plain = Plain { header, jobs: Vec::new(), gone: Vec::new(), meta };
        let mut merge = Merge::of(std::slice::from_ref(&layer));
        plain.fill(&mut merge, &TextPages::new(vec![layer]))?;
        Ok(plain)
    }

    fn fill(&mut self, merge: &mut Merge, texts: &TextPages) -> Result<(), SnapshotError> {
        while let Some(next) = merge.next()? {
            match next {
                Merged::Gone(number) => self.gone.push(number),
                Merged::Jobs(page) => {
                    for job in page.jobs {
                        let profile = page.profiles[job.profile.0 as usize].clone();
                        let mut record = job.into_record(profile);
                        let parent = self.header.parent;
                        if let TextRef::Stored { bytes } = &record.content.payload
                            && record.enqueued_seq > parent
                            && texts.get(TextAt::payload(record.enqueued_seq))?.as_str().len()
                                != *bytes as usize
                        {
                            let problem = format!("payload {} has another length", record.enqueued_seq);
                            return Err(SnapshotError::Log(problem));
                        }
                        record.fill(|text| match text.seq > parent {
                            true => texts.get(text).map(Some),
                            false => Ok(None),
                        })?;
                        self.jobs.push(record);
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes it as this version does.
    ///
    /// # Errors
    /// The storage reported an error.
    pub fn write(&self, storage: &dyn Storage, path: &Path) -> Result<(), SnapshotError> {
        let file = storage.create(path).map_err(SnapshotError::io(path, "create"))?;
        let mut layer = LayerWriter::begin(file, path, &self.header);
        for record in &self.jobs {
            let job = PackedJob::of_record(record.clone(), ProfileId(0));
            layer.add(&record.profile, job)?;
        }
        self.gone.iter().try_for_each(|number| layer.gone(*number))?;
        layer.finish(&self.meta).map(|_| ())
    }
}
