//! A layer that holds everything, written from the living state while that stands still: when the files that it came from
//! turn out to be damaged, memory is what is left.
//!
//! Texts that are not in memory are read record by record from what is still whole. One that is nowhere leaves an empty place,
//! by which later layers know that it is lost. Nothing that is damaged is touched before the new layer is published.

use crate::ids::{JobId, Seq, Timestamp};
use crate::jobs::model::profile::Profile;
use crate::jobs::table::copy::{Outline, Sum};
use crate::jobs::table::packed_job::PackedJob;
use crate::jobs::{JobTable, Payload, PayloadStore, Policy, TextAt, TextPart};
use crate::snapshot::SnapshotError;
use crate::snapshot::chain::LayerName;
use crate::snapshot::format::{ImageHeader, LayerMeta};
use crate::snapshot::state::State;
use crate::snapshot::store::{PassedOver, SnapshotInfo, SnapshotStore};
use crate::snapshot::writer::LayerWriter;

/// A state of up to this many jobs is not only summed up when it is read back, but made a table of and checked.
const CHECKED_WHOLE_MAX: u64 = 100_000;

/// The layer while it is written.
pub(crate) struct Rescue {
    store: SnapshotStore,
    outline: Outline,
    header: ImageHeader,
    layer: Option<LayerWriter>,
    lost: Vec<LostPayload>,
    is_published: bool,
}

/// A rescue that has been published.
#[derive(Debug)]
pub(crate) struct Rescued {
    pub info: SnapshotInfo,
    /// Jobs that wait, and of which something is lost that their worker would get.
    pub lost: Vec<LostPayload>,
}

/// A job that waits and has lost what its worker would get.
#[derive(Debug)]
pub(crate) struct LostPayload {
    pub job: JobId,
    /// Where it should have been, and what is wrong there.
    pub problem: String,
}

impl Rescue {
    /// Begins the layer of this state, under a name that a start would remove.
    ///
    /// # Errors
    /// The storage reported an error.
    pub fn begin(
        store: &SnapshotStore,
        store_id: [u8; 16],
        outline: Outline,
        now: Timestamp,
    ) -> Result<Rescue, SnapshotError> {
        let Outline { last, last_at, .. } = outline;
        let header = ImageHeader { store: store_id, last, last_at, taken_at: now, parent: Seq::ZERO };
        let (layer, _) = store.begin(&header)?;
        let (store, layer) = (store.clone(), Some(layer));
        Ok(Rescue { store, outline, header, layer, lost: Vec::new(), is_published: false })
    }

    /// Adds a job, in the order of their numbers.
    ///
    /// # Errors
    /// The storage reported an error, also for a text that may be there.
    pub fn add(
        &mut self,
        texts: &dyn PayloadStore,
        profile: &Profile,
        job: PackedJob,
    ) -> Result<(), SnapshotError> {
        let Rescue { layer: Some(layer), lost, .. } = self else { return Ok(()) };
        let (id, is_waiting) = (job.id.clone(), job.status().can_be_killed());
        let mut lost_content = None;
        let mut read = |at: TextAt| match texts.read(at) {
            Ok(text) => Ok(text),
            Err(error) if error.is_lost => {
                tracing::error!(job = %id, %error, "a text of a job is lost");
                if matches!(at.part, TextPart::Payload | TextPart::Custom) {
                    lost_content = Some(error.to_string());
                }
                Ok(Payload::trusted(""))
            }
            Err(error) => Err(SnapshotError::Log(error.to_string())),
        };
        layer.add_reading(&mut read, profile, job)?;
        if let Some(problem) = lost_content.filter(|_| is_waiting) {
            lost.push(LostPayload { job: id, problem });
        }
        Ok(())
    }

    /// Ends the layer, reads it back, and gives it its name.
    ///
    /// # Errors
    /// What was read back is not this state, or the storage reported an error. Nothing was published.
    pub fn publish(mut self) -> Result<Rescued, SnapshotError> {
        let Some(layer) = self.layer.take() else {
            return Err(SnapshotError::Log("it was ended before".to_owned()));
        };
        let (sections, jobs) = (self.outline.sections.clone(), self.outline.jobs);
        let bytes = layer.finish(&LayerMeta { sections, jobs, ..LayerMeta::default() })?;
        self.read_back()?;
        self.store.publish(&self.header)?;
        self.is_published = true;
        let info = SnapshotInfo { header: self.header, bytes, jobs };
        Ok(Rescued { info, lost: std::mem::take(&mut self.lost) })
    }

    fn read_back(&self) -> Result<(), SnapshotError> {
        let wrong = |problem: String| SnapshotError::Log(format!("what was written out anew {problem}"));
        let layer = self.store.open_unfinished(&self.header)?;
        layer.check()?;
        let state = State::of(vec![layer.into()]);
        let sections = state.sections().clone();
        let mut sum = Sum::of(&sections);
        let mut pages = state.into_pages();
        let mut whole = Vec::new();
        while let Some(page) = pages.next_page()? {
            for job in &page.jobs {
                sum.add(&page.profiles[job.profile.0 as usize], job);
            }
            if self.outline.jobs <= CHECKED_WHOLE_MAX {
                whole.push(page);
            }
        }
        if !sum.is_of(&self.outline) {
            return Err(wrong("does not sum up to the state in memory".to_owned()));
        }
        if self.outline.jobs > CHECKED_WHOLE_MAX {
            return Ok(());
        }
        let through = (self.header.last, self.header.last_at);
        let table = JobTable::restore_pages(Policy::default(), &[], through, sections, whole);
        let broken = table.map_err(|misfit| wrong(misfit.to_string()))?.check();
        broken.first().map_or(Ok(()), |first| Err(wrong(format!("is not sound: {first}"))))
    }
}

impl Drop for Rescue {
    fn drop(&mut self) {
        if !self.is_published {
            self.store.give_up(&self.header);
        }
    }
}

impl SnapshotStore {
    /// Moves every layer but this one that is not as it was written to quarantine; which, and what is wrong with each.
    ///
    /// # Errors
    /// The storage reported an error; the rest stays where it is.
    pub(crate) fn set_aside_damaged(&self, but: Seq) -> Result<PassedOver, SnapshotError> {
        let mut damaged = PassedOver::new();
        for name in
            self.list()?.into_iter().filter(|name| *name != LayerName { last: but, parent: Seq::ZERO })
        {
            match self.open(name).and_then(|layer| layer.check()) {
                Err(error) if error.is_damage() => {
                    self.quarantine(name)?;
                    damaged.push((name, error));
                }
                read => read?,
            }
        }
        Ok(damaged)
    }
}
