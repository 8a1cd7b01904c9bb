//! `check()`: every invariant of the table, looked at the slow way. Runs after every `apply` in tests, and at
//! boot if the table is small; of a large one, only the sums are made anew there (`docs/decisions/0020-small-measurements.md`).

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::jobs::counts::Counts;
use crate::jobs::model::job::Status;
use crate::jobs::sections::Section;
use crate::jobs::table::digest;
use crate::jobs::table::list::Slot;
use crate::jobs::table::packed_job::PackedJob;
use crate::jobs::table::ready::place;
use crate::jobs::table::{FINISHED, JobTable, finished_index};

impl JobTable {
    /// Every broken invariant in words; empty when the table is sound. Cost: a walk over every job.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut broken = Vec::new();
        self.check_counts(&mut broken);
        self.check_ids(&mut broken);
        self.check_indexes(&mut broken);
        self.check_order(&mut broken);
        self.check_leases(&mut broken);
        self.check_profiles(&mut broken);
        broken
    }

    /// The broken invariants that a boot looks for: all of them in a table of up to `whole_max` jobs, else the counters
    /// and the digest. The indexes of a large one have just been built from its jobs and the log.
    #[must_use]
    pub fn check_at_boot(&self, whole_max: u64) -> Vec<String> {
        if self.counts.total() <= whole_max {
            return self.check();
        }
        let mut broken = Vec::new();
        self.check_counts(&mut broken);
        broken
    }

    fn check_counts(&self, broken: &mut Vec<String>) {
        let queues = &self.sections.queues;
        let mut counts = Counts::default();
        let mut by_queue = vec![Counts::default(); queues.end().0 as usize];
        let mut digest = 0_u64;
        for job in self.jobs.iter().flatten() {
            let queue = self.profile_of(job).queue;
            *counts.of_mut(job.status()) += 1;
            *by_queue[queue.0 as usize].of_mut(job.status()) += 1;
            digest = digest.wrapping_add(digest::of(job, queues.get(queue).digest));
        }
        if digest != self.digest {
            broken.push(format!("the jobs sum up to {digest:016x}, not to {:016x}", self.digest));
        }
        if queues.digest() != queues.digest_by_definition() {
            broken.push("the section of queues sums up to something else than its queues".to_owned());
        }
        if counts != self.counts {
            broken.push(format!("counters say {:?}, the jobs {counts:?}", self.counts));
        }
        for (key, name, queue) in queues.iter() {
            let (said, counted) = (self.counts_of_queue(key), by_queue[key.0 as usize]);
            if counted != said {
                broken.push(format!("counters of queue {name} say {said:?}, the jobs {counted:?}"));
            }
            if queue.paused && !queue.exists {
                broken.push(format!("queue {name} is paused, but does not exist"));
            }
        }
    }

    fn check_ids(&self, broken: &mut Vec<String>) {
        let occupied = self.jobs.iter().flatten().count();
        if self.ids.len() != occupied {
            broken.push(format!("the id index has {} entries for {occupied} jobs", self.ids.len()));
        }
        if occupied + self.free.len() != self.jobs.len() {
            broken.push(format!(
                "{} of {} slots are free, {occupied} taken",
                self.free.len(),
                self.jobs.len()
            ));
        }
        for (slot, job) in self.each() {
            if self.ids.find(&job.id, |found| found == slot).is_none() {
                broken.push(format!("job {} is not found by its id", job.id));
            }
        }
    }

    /// Every job is in exactly the index of its state.
    fn check_indexes(&self, broken: &mut Vec<String>) {
        let pending: Vec<Slot> = self.ready.iter(&self.links).map(|(_, slot)| slot).collect();
        let waiting: Vec<Slot> = self.waiting.iter().map(|&(_, _, slot)| slot).collect();
        let leases: Vec<Slot> = self.leases.iter(&self.links, &self.jobs).collect();
        let mut seen = vec![false; self.jobs.len()];
        let mut expect = |what: &str, slots: Vec<Slot>, fits: &dyn Fn(&PackedJob) -> bool| {
            for slot in slots {
                match self.jobs.get(slot as usize).and_then(Option::as_ref) {
                    None => broken.push(format!("{what}: slot {slot} has no job")),
                    Some(job) if !fits(job) => {
                        broken.push(format!("{what}: job {} is {}", job.id, job.status().as_str()));
                    }
                    Some(job) if std::mem::replace(&mut seen[slot as usize], true) => {
                        broken.push(format!("{what}: job {} is in two indexes, or twice in one", job.id));
                    }
                    Some(_) => {}
                }
            }
        };
        expect("line", pending, &|job| job.status() == Status::Pending);
        expect("waiting", waiting, &|job| job.due().is_some());
        expect("leases", leases, &|job| job.status() == Status::InFlight);
        for status in FINISHED {
            let list = self.finished[finished_index(status)].iter(&self.links).collect();
            expect(status.as_str(), list, &|job| job.status() == status);
        }
        let followed = self.each().filter(|(_, job)| job.successor().is_some());
        let followed = followed.filter_map(|(slot, job)| Some((job.finish()?.seq, slot)));
        if followed.collect::<BTreeSet<_>>() != self.succeeded {
            broken.push("other jobs have ended and are to be followed than their index says".to_owned());
        }
        for (slot, job) in self.each() {
            if !seen[slot as usize] {
                broken.push(format!("job {} ({}) is in no index", job.id, job.status().as_str()));
            }
        }
        let keys_agree = self.waiting.iter().all(|&(due, number, slot)| {
            self.jobs[slot as usize]
                .as_ref()
                .is_some_and(|job| job.due() == Some(due) && job.enqueued_seq == number)
        });
        if !keys_agree {
            broken.push("waiting: a key differs from its job".to_owned());
        }
    }

    fn check_order(&self, broken: &mut Vec<String>) {
        let mut before = None;
        for (lane, slot) in self.ready.iter(&self.links) {
            let job = self.job(slot);
            if let Some((other_lane, other)) = before
                && other_lane == lane
                && place(other) > place(job)
            {
                broken.push(format!("job {} stands before the older job {}", other.id, job.id));
            }
            before = Some((lane, job));
        }
        if !self.ready.ranks_agree(|slot| self.job(slot)) {
            broken.push("a lane is not ranked by its head".to_owned());
        }
        for status in FINISHED {
            let list = &self.finished[finished_index(status)];
            let ends: Vec<_> = list.iter(&self.links).map(|slot| self.finish_of(slot).seq).collect();
            if !ends.is_sorted() {
                broken.push(format!("{} jobs are not in the order in which they ended", status.as_str()));
            }
        }
    }

    fn check_leases(&self, broken: &mut Vec<String>) {
        if !self.leases.are_in_order(&self.links, &self.jobs) {
            broken.push("leases are not in the order in which they expire".to_owned());
        }
        let mut tokens = HashSet::new();
        for (_, job) in self.each() {
            if job.enqueued_seq > self.last || job.line_seq > self.last {
                broken.push(format!("job {} is from after the last event, {}", job.id, self.last));
            }
            if job.lease().is_some() != (job.status() == Status::InFlight) {
                broken.push(format!(
                    "job {} is {}, but has a lease or has none",
                    job.id,
                    job.status().as_str()
                ));
            }
            if let Some(lease) = job.lease() {
                if !tokens.insert(lease.token) {
                    broken.push(format!("token {} is held twice", lease.token));
                }
                if lease.token.seq > self.last || lease.token.seq <= job.enqueued_seq {
                    broken.push(format!("job {} is held under the impossible token {}", job.id, lease.token));
                }
                if job.attempt().0 == 0 {
                    broken.push(format!("job {} is in flight before its first attempt", job.id));
                }
            }
        }
    }

    fn check_profiles(&self, broken: &mut Vec<String>) {
        let mut counted = HashMap::new();
        self.each().for_each(|(_, job)| *counted.entry(job.profile.0).or_insert(0) += 1);
        for (profile, jobs) in self.profiles.jobs() {
            let found = counted.get(&profile.0).copied().unwrap_or(0);
            if jobs != found {
                broken.push(format!("profile {} says that {jobs} jobs have it, but {found} do", profile.0));
            }
        }
        let resident: u64 = self.each().map(|(_, job)| job.resident_bytes()).sum();
        if resident != self.resident {
            broken.push(format!("{resident} bytes of payload are in memory, not {}", self.resident));
        }
    }

    fn each(&self) -> impl Iterator<Item = (Slot, &PackedJob)> {
        self.jobs.iter().enumerate().filter_map(|(slot, job)| Some((slot as Slot, job.as_ref()?)))
    }
}
