//! What a simulated disk holds, and what each call does to it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::testing::faults::{Call, Fault, FaultPlan};
use crate::testing::power::{FileContent, NameChange};

/// How many hold a lock that one has for itself.
pub(super) const EXCLUSIVE: usize = usize::MAX;

pub(super) struct Disk {
    pub sector: usize,
    /// How often the machine was started anew.
    pub starts: u64,
    pub files: Vec<FileContent>,
    pub names: BTreeMap<PathBuf, usize>,
    pub durable_names: BTreeMap<PathBuf, usize>,
    /// How `durable_names` becomes `names`.
    pub pending: Vec<NameChange>,
    /// How many hold each; [`EXCLUSIVE`] for an owner.
    pub locks: HashMap<PathBuf, usize>,
    /// How often a file is open to read.
    pub readers: HashMap<usize, usize>,
    /// Counts power cuts: a file opened before one is of no use after it.
    pub boots: u64,
    pub capacity: Option<u64>,
    pub most_used: u64,
    pub failing_syncs: u32,
    pub failing_writes: u32,
    /// The directory in which no file can be made.
    pub closed: Option<PathBuf>,
    pub plan: FaultPlan,
    /// The disk before each call that changed it, and how many calls were done by then.
    pub tape: Option<Vec<(u64, Disk)>>,
}

impl Disk {
    /// Empty, without a limit.
    pub fn with_sectors(sector: usize) -> Disk {
        Disk {
            sector,
            starts: 0,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            locks: HashMap::new(),
            readers: HashMap::new(),
            boots: 0,
            capacity: None,
            most_used: 0,
            failing_syncs: 0,
            failing_writes: 0,
            closed: None,
            plan: FaultPlan::default(),
            tape: None,
        }
    }

    pub fn restart(&mut self) {
        self.boots += 1;
        self.locks.clear();
        self.readers.clear();
        self.failing_syncs = 0;
        self.failing_writes = 0;
        self.plan.restart();
        self.tape = None;
    }

    pub fn fork(&self) -> Disk {
        let mut fork = Disk {
            sector: self.sector,
            starts: self.starts,
            files: self.files.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            pending: self.pending.clone(),
            locks: HashMap::new(),
            readers: HashMap::new(),
            boots: self.boots,
            capacity: self.capacity,
            most_used: self.most_used,
            failing_syncs: 0,
            failing_writes: 0,
            closed: None,
            plan: self.plan.clone(),
            tape: None,
        };
        fork.restart();
        fork
    }

    pub fn film(&mut self, calls: u64) {
        if self.tape.is_some() {
            let frame = (calls, self.fork());
            self.tape.get_or_insert_default().push(frame);
        }
    }

    /// Counts a call and says how it goes wrong. Faults that do nothing but fail are returned as their error.
    pub fn enter(&mut self, call: Call) -> io::Result<Option<Fault>> {
        let planned = self.plan.enter(call)?;
        if call.changes() {
            self.film(self.plan.calls() - 1);
        }
        let fault = match call {
            Call::Sync if self.failing_syncs > 0 => {
                self.failing_syncs -= 1;
                Some(Fault::Eio)
            }
            Call::Write if self.failing_writes > 0 => {
                self.failing_writes -= 1;
                Some(Fault::Short)
            }
            _ => planned,
        };
        match (fault, call) {
            (None | Some(Fault::FalseFailure), _)
            | (Some(Fault::Short), Call::Write)
            | (Some(_), Call::Sync) => Ok(fault),
            (Some(fault), _) => Err(fault.error()),
        }
    }

    pub fn change_name(&mut self, change: NameChange) {
        if let Some(path) = &change.removed {
            self.names.remove(path);
        }
        if let Some((path, number)) = &change.added {
            self.names.insert(path.clone(), *number);
        }
        self.pending.push(change);
    }

    pub fn make_durable(&mut self, changes: Vec<NameChange>) {
        for change in changes {
            if let Some(path) = change.removed {
                self.durable_names.remove(&path);
            }
            if let Some((path, number)) = change.added {
                self.durable_names.insert(path, number);
            }
        }
    }

    pub fn used(&self) -> u64 {
        self.names.values().map(|number| self.files[*number].live.len() as u64).sum()
    }

    pub fn number(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    pub fn grow(&mut self, number: usize, len: u64) -> io::Result<()> {
        let now = self.files[number].live.len() as u64;
        if len <= now {
            return Ok(());
        }
        if self.capacity.is_some_and(|capacity| self.used() + (len - now) > capacity) {
            return Err(ErrorKind::StorageFull.into());
        }
        self.files[number].set_len(len as usize);
        self.most_used = self.most_used.max(self.used());
        Ok(())
    }
}
