//! A table from the jobs of an image, with all its indexes.

use crate::ids::{KindName, Lsn, Timestamp};
use crate::jobs::intern::KindKey;
use crate::jobs::model::job::{Misfit, Status};
use crate::jobs::model::policy::Policy;
use crate::jobs::page::{self, Page};
use crate::jobs::record::JobRecord;
use crate::jobs::table::list::Slot;
use crate::jobs::table::packed_job::{Job, occupied};
use crate::jobs::table::profiles::{Class, ClassKey};
use crate::jobs::table::ready::place;
use crate::jobs::table::{JobTable, finished_index};

/// A table that is being filled. What follows from the jobs is entered on the way, as far as it comes in order.
struct Restoring {
    table: JobTable,
    last: Lsn,
    /// Pending jobs whose place is not behind those before them.
    late: Vec<Slot>,
    finished: [Vec<(Lsn, Slot)>; 3],
}

impl JobTable {
    /// Rebuilds a table and its indexes from the jobs of an image, to which [`JobTable::set_overview`] adds the rest.
    ///
    /// # Errors
    /// A record cannot be: two with the same id, or a position after `last`.
    pub fn restore(
        policy: Policy,
        handled: &[KindName],
        last: Lsn,
        last_at: Timestamp,
        records: impl IntoIterator<Item = JobRecord>,
    ) -> Result<JobTable, Misfit> {
        let mut restoring = Restoring::new(policy, handled, last);
        for record in records {
            let queue = restoring.table.queues.intern(&record.queue);
            let kind = KindKey(restoring.table.kinds.intern(&record.kind));
            let class = restoring.table.join(record.class(queue, kind));
            restoring.add(record.into_job(class))?;
        }
        Ok(restoring.finish(last_at))
    }

    /// As [`JobTable::restore`], page by page: what the jobs of a page have in common is looked at only once.
    ///
    /// # Errors
    /// As there.
    pub fn restore_pages(
        policy: Policy,
        handled: &[KindName],
        last: Lsn,
        last_at: Timestamp,
        pages: impl IntoIterator<Item = Page>,
    ) -> Result<JobTable, Misfit> {
        let mut restoring = Restoring::new(policy, handled, last);
        let mut classes: Vec<Class> = Vec::new();
        for Page { classes: said, jobs } in pages {
            classes.clear();
            classes.extend(said.iter().map(|class| restoring.class(class)));
            for job in jobs {
                let class = restoring.table.join(classes[job.class as usize]);
                restoring.add(Job::of_page(job, class))?;
            }
        }
        Ok(restoring.finish(last_at))
    }
}

impl Restoring {
    fn new(policy: Policy, handled: &[KindName], last: Lsn) -> Restoring {
        let table = JobTable::new(policy, handled);
        Restoring { table, last, late: Vec::new(), finished: Default::default() }
    }

    fn class(&mut self, class: &page::Class) -> Class {
        Class {
            queue: self.table.queues.intern(&class.queue),
            kind: KindKey(self.table.kinds.intern(&class.kind)),
            priority: class.priority,
            exhausted: class.exhausted,
            backoff: class.backoff,
            timeout_ms: class.timeout_ms,
            max_retry: class.max_retry,
            backtrace_lines: class.backtrace_lines,
        }
    }

    fn add(&mut self, job: Job) -> Result<(), Misfit> {
        let (number, order) = (job.number, job.order);
        let misfit = |problem| Misfit { lsn: number, change: "image", problem };
        if number > self.last || order > self.last {
            return Err(misfit(format!("job {} is from after the image's end, {}", job.id, self.last)));
        }
        let (status, class, finish) = (job.status(), job.class, job.finish());
        let table = &mut self.table;
        let stored = table.store_new(job);
        let slot = stored.map_err(|job| misfit(format!("job {} is there twice", job.id)))?;
        match (status, finish) {
            (Status::Pending, _) => match append(table, class, slot) {
                true => table.count_in(slot),
                false => self.late.push(slot),
            },
            (status, Some(finish)) => self.finished[finished_index(status)].push((finish.lsn, slot)),
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
        (table.last, table.last_at) = (self.last, last_at);
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
            append(table, table.job(slot).class, slot);
        }
    }
}

/// Whether the job's place in line is behind all others; then it stands there.
fn append(table: &mut JobTable, class: ClassKey, slot: Slot) -> bool {
    let lane = table.classes.lane(class);
    table.ready.append(&mut table.links, |slot| occupied(&table.jobs, slot), lane, slot)
}
