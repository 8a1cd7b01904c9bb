//! Reads pages of payloads that nobody has asked for, long before somebody does: damage is told while there may still
//! be a copy of the file elsewhere.

use std::path::Path;
use std::sync::Arc;

use crate::snapshot::SnapshotError;
use crate::snapshot::layer::{Layer, PageReader};

/// A walk through the payloads of some layers.
pub(crate) struct Scrub {
    /// The one that is read now comes last.
    layers: Vec<Arc<Layer>>,
    next: usize,
    reader: PageReader,
}

impl Scrub {
    /// Of these layers.
    pub fn of(layers: Vec<Arc<Layer>>) -> Scrub {
        Scrub { layers, next: 0, reader: PageReader::default() }
    }

    /// Only those of its layers are left whose file is still there: nobody holds the space of others.
    pub fn keep(&mut self, is_there: impl Fn(&Path) -> bool) {
        let path_of_last = |layers: &[Arc<Layer>]| layers.last().map(|layer| layer.path().to_owned());
        let before = path_of_last(&self.layers);
        self.layers.retain(|layer| is_there(layer.path()));
        if path_of_last(&self.layers) != before {
            self.next = 0;
        }
    }

    /// Reads one page, and says how many bytes that were; none when all have been read. After damage, it goes on
    /// behind that.
    pub fn step(&mut self) -> Option<Result<u64, SnapshotError>> {
        loop {
            let layer = self.layers.last()?;
            let read = layer.confirm_texts(&mut self.reader, self.next);
            self.next += 1;
            match read.transpose() {
                Some(read) => return Some(read),
                None => {
                    self.layers.pop();
                    self.next = 0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{JobId, KindName, Priority, QueueName, Seq, Timestamp};
    use crate::jobs::event::NewJob;
    use crate::jobs::model::payload::Content;
    use crate::jobs::model::profile::Profile;
    use crate::jobs::sections::Sections;
    use crate::jobs::{Backoff, Event, EventKind, Exhausted, Payload, PayloadRef};
    use crate::snapshot::fold::Delta;
    use crate::snapshot::store::SnapshotStore;
    use crate::storage::DiskStorage;

    fn enqueue(number: u64) -> Event {
        let new = NewJob {
            id: JobId::parse(&format!("job-{number}")).unwrap(),
            profile: Profile {
                queue: QueueName::parse("default").unwrap(),
                kind: KindName::parse("mail").unwrap(),
                priority: Priority::default(),
                backoff: Backoff::Server,
                exhausted: Exhausted::Dead,
                timeout_ms: 1_000,
                max_retry: 0,
                backtrace_lines: 0,
            },
            content: Content {
                payload: PayloadRef::Here(Payload::from_value(&"x".repeat(2_000)).unwrap()),
                custom: None,
            },
            run_at: None,
        };
        Event { at: Timestamp(number), job_seq: Seq::ZERO, kind: EventKind::Enqueue(Box::new(new)) }
    }

    /// The layers of a snapshot of a hundred jobs.
    fn layers_in(dir: &Path) -> impl Fn() -> Vec<Arc<Layer>> {
        let store = SnapshotStore::new(Arc::new(DiskStorage::default()), dir, Path::new("/nowhere"));
        let mut delta = Delta::after(Seq::ZERO, Timestamp(0), Sections::default());
        (1..=100).for_each(|number| delta.take(Seq(number), enqueue(number)).unwrap());
        let info = store.write(None, delta, [7; 16], Timestamp(1)).unwrap();
        move || store.open_state(info.header.last).unwrap().layers().to_vec()
    }

    #[test]
    fn every_page_is_read_once_and_what_is_damaged_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let layers = layers_in(dir.path());
        let read = |mut scrub: Scrub| std::iter::from_fn(|| scrub.step()).collect::<Vec<_>>();
        let pages = read(Scrub::of(layers()));
        // 64 KiB hold 33 of them.
        assert_eq!((pages.len(), pages.iter().filter(|page| page.is_ok()).count()), (4, 4));

        // The first page of texts is the first block.
        let path = layers()[0].path().to_owned();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[64 + 30] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let pages = read(Scrub::of(layers()));
        assert_eq!(pages.len(), 4);
        let error = pages[0].as_ref().unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && error.contains("page of texts"), "{error}");
        assert!(pages[1..].iter().all(Result::is_ok));
    }

    #[test]
    fn layers_that_are_gone_are_let_go_of() {
        let dir = tempfile::tempdir().unwrap();
        let layers = layers_in(dir.path())();
        let [layer] = layers.as_slice() else { panic!("one layer, not {}", layers.len()) };
        let mut scrub = Scrub::of(layers.clone());
        scrub.keep(|path| path == layer.path());
        assert!(scrub.step().is_some());
        scrub.keep(|_| false);
        assert!(scrub.step().is_none());
        assert_eq!(Arc::strong_count(layer), 1);
    }
}
