//! A table from the jobs of an image, with all its indexes.

use crate::ids::{KindName, Seq, Timestamp};
use crate::jobs::intern::KindKey;
use crate::jobs::model::job::{Misfit, Status};
use crate::jobs::model::policy::Policy;
use crate::jobs::model::profile::Profile;
use crate::jobs::page::Page;
use crate::jobs::record::JobRecord;
use crate::jobs::sections::Sections;
use crate::jobs::table::list::Slot;
use crate::jobs::table::packed_job::{PackedJob, ProfileId, occupied};
use crate::jobs::table::profiles::JobProfile;
use crate::jobs::table::ready::place;
use crate::jobs::table::{JobTable, finished_index};

/// A table that is being filled. Indexes whose entries come in order are filled on the way.
struct Restoring {
    table: JobTable,
    last: Seq,
    /// Pending jobs whose place is not behind those before them.
    late: Vec<Slot>,
    finished: [Vec<(Seq, Slot)>; 3],
}

impl JobTable {
    /// Rebuilds a table and its indexes from the jobs of an image, and what that says beside them.
    ///
    /// # Errors
    /// A record cannot be: two with the same id, or a position after `last`.
    pub fn restore(
        policy: Policy,
        handled: &[KindName],
        (last, last_at): (Seq, Timestamp),
        sections: Sections,
        records: impl IntoIterator<Item = JobRecord>,
    ) -> Result<JobTable, Misfit> {
        let mut restoring = Restoring::new(policy, handled, last, sections);
        for record in records {
            let profile = restoring.table.join_named(&record.profile);
            restoring.add(PackedJob::of_record(record, profile))?;
        }
        Ok(restoring.finish(last_at))
    }

    /// As [`JobTable::restore`], page by page: what the jobs of a page have in common is looked at only once.
    ///
    /// # Errors
    /// A job cannot be: two with the same id, or a position after `last`.
    pub fn restore_pages(
        policy: Policy,
        handled: &[KindName],
        (last, last_at): (Seq, Timestamp),
        sections: Sections,
        pages: impl IntoIterator<Item = Page>,
    ) -> Result<JobTable, Misfit> {
        let mut restoring = Restoring::new(policy, handled, last, sections);
        let mut profiles: Vec<JobProfile> = Vec::new();
        for Page { profiles: said, jobs } in pages {
            profiles.clear();
            profiles.extend(said.iter().map(|profile| restoring.profile(profile)));
            for mut job in jobs {
                job.profile = restoring.table.join(profiles[job.profile.0 as usize]);
                restoring.add(job)?;
            }
        }
        Ok(restoring.finish(last_at))
    }
}

impl Restoring {
    fn new(policy: Policy, handled: &[KindName], last: Seq, sections: Sections) -> Restoring {
        let mut table = JobTable::new(policy, handled);
        for (key, ..) in sections.queues.iter().filter(|(_, _, queue)| queue.paused) {
            table.ready.set_paused(key, true);
        }
        table.sections = sections;
        Restoring { table, last, late: Vec::new(), finished: Default::default() }
    }

    fn profile(&mut self, profile: &Profile) -> JobProfile {
        let queue = self.table.sections.queues.intern(&profile.queue);
        let kind = KindKey(self.table.kinds.intern(&profile.kind));
        JobProfile::of(profile, queue, kind)
    }

    fn add(&mut self, job: PackedJob) -> Result<(), Misfit> {
        let (number, order) = (job.enqueued_seq, job.line_seq);
        let misfit = |problem| Misfit { seq: number, event: "image", problem };
        if number > self.last || order > self.last {
            return Err(misfit(format!("job {} is from after the image's end, {}", job.id, self.last)));
        }
        let (status, profile, finish) = (job.status(), job.profile, job.finish());
        let table = &mut self.table;
        let stored = table.store_new(job);
        let slot = stored.map_err(|job| misfit(format!("job {} is there twice", job.id)))?;
        match (status, finish) {
            (Status::Pending, _) => match append(table, profile, slot) {
                true => table.count_in(slot),
                false => self.late.push(slot),
            },
            (status, Some(finish)) => self.finished[finished_index(status)].push((finish.seq, slot)),
            _ => table.link(slot),
        }
        Ok(())
    }

    fn finish(mut self, last_at: Timestamp) -> JobTable {
        self.link_late();
        let mut table = self.table;
        // Joining in order makes every insertion an append.
        self.finished.iter_mut().for_each(|list| list.sort_unstable());
        for (_, slot) in self.finished.into_iter().flatten() {
            table.link(slot);
        }
        (table.last, table.last_at, table.restored_at) = (self.last, last_at, last_at);
        table.queue_used_at.fill(last_at);
        table
    }

    /// Links pending jobs whose place is not behind those that are linked already: they were promoted, moved or made
    /// to run, so that the order of their numbers is not that of the line. Then the lines are made anew.
    fn link_late(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let late = std::mem::take(&mut self.late);
        let table = &mut self.table;
        late.iter().for_each(|slot| table.count_in(*slot));
        let linked = table.ready.iter(&table.links).map(|(_, slot)| slot);
        let mut line: Vec<_> = linked.chain(late).map(|slot| (place(table.job(slot)), slot)).collect();
        line.sort_unstable();
        table.ready.clear();
        for (_, slot) in line {
            append(table, table.job(slot).profile, slot);
        }
    }
}

/// Whether the job's place in line is behind all others; then it stands there.
fn append(table: &mut JobTable, profile: ProfileId, slot: Slot) -> bool {
    let lane = table.profiles.lane(profile);
    table.ready.append(&mut table.links, |slot| occupied(&table.jobs, slot), lane, slot)
}
