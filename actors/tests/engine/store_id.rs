//! Whose files they are: the note in the data directory, the witness, the log and the snapshots name one store.

use std::path::Path;

use beaver_actors::engine::FailCause;
use beaver_actors::testing::{SimStorage, StepEngine};
use beaver_actors::tools::doctor::report::Diagnosis;

use crate::doctor::{examine, repair};

/// A store with this many jobs, a snapshot and a log behind it, after a clean stop.
fn store(seed: u64, jobs: usize) -> SimStorage {
    let mut beaver =
        StepEngine::with(SimStorage::new(), StepEngine::on(SimStorage::new()).options, seed).unwrap();
    for _ in 0..jobs {
        beaver.enqueue("mail");
        beaver.sync();
    }
    beaver.snapshot().unwrap();
    beaver.enqueue("mail");
    beaver.close();
    beaver.storage.clone()
}

fn id_of(disk: &SimStorage) -> String {
    String::from_utf8(disk.bytes("/data/store-id")).unwrap().trim().to_owned()
}

/// The second store's files under these names, in place of the first one's.
fn mixed(of: [&SimStorage; 2], foreign: &[&str]) -> SimStorage {
    let mixed = of[0].fork();
    for name in foreign {
        let dir = Path::new("/data").join(name);
        let below = |disk: &SimStorage| {
            disk.paths("/data").into_iter().filter(|path| path.starts_with(&dir)).collect::<Vec<_>>()
        };
        below(&mixed).into_iter().for_each(|path| mixed.delete(path));
        below(of[1]).into_iter().for_each(|path| mixed.put(&path, of[1].bytes(&path)));
    }
    mixed
}

/// Row 66: any part of another store's files is refused, with both names, and nothing is changed.
#[test]
fn files_of_another_store_are_refused_with_both_names_whichever_they_are() {
    let (mine, other) = (store(1, 5), store(2, 3));
    assert_ne!(id_of(&mine), id_of(&other));
    let parts = ["wal", "snapshots", "witness", "store-id"];
    for chosen in 1..(1 << parts.len()) - 1_u32 {
        let foreign: Vec<_> =
            (0..parts.len()).filter(|part| chosen >> part & 1 == 1).map(|part| parts[part]).collect();
        let disk = mixed([&mine, &other], &foreign);
        let before = disk.fingerprint();
        let options = StepEngine::on(SimStorage::new()).options;
        let error = StepEngine::with(disk.clone(), options, 3)
            .err()
            .unwrap_or_else(|| panic!("{foreign:?} is served"));
        assert_eq!(error.cause, FailCause::Damaged, "{foreign:?}: {error}");
        for id in [id_of(&mine), id_of(&other)] {
            assert!(error.message.contains(&id), "{foreign:?}: {error}");
        }
        assert_eq!(disk.fingerprint(), before, "{foreign:?}");
    }
}

/// Row 66: without a witness, the note alone tells.
#[test]
fn a_note_of_another_store_is_enough_and_the_doctor_says_how_to_keep_the_files_all_the_same() {
    let (mine, other) = (store(1, 5), store(2, 3));
    let disk = mixed([&mine, &other], &["wal", "snapshots"]);
    disk.delete("/data/witness");
    let report = examine(&disk);
    let Diagnosis::Damaged { refusal, .. } = &report.verdict else { panic!("{report}") };
    assert!(refusal.contains(&id_of(&mine)) && refusal.contains(&id_of(&other)), "{refusal}");
    let (loss, _) = repair(&disk);
    assert_eq!(loss.jobs_lost, 0);
    let beaver = StepEngine::on(disk.clone());
    assert_eq!(beaver.table().counts().total(), 4, "those of the other store");
    assert_eq!(id_of(&disk), id_of(&other), "it is that store's directory now");
}

/// A note that says nothing is in nobody's way.
#[test]
fn a_note_that_is_missing_or_unreadable_is_written_anew() {
    for note in [None, Some("moved from the other disk")] {
        let disk = store(1, 2);
        let id = id_of(&disk);
        match note {
            None => disk.delete("/data/store-id"),
            Some(words) => disk.put("/data/store-id", words.into()),
        }
        assert_eq!(StepEngine::on(disk.clone()).table().counts().total(), 3);
        assert_eq!(id_of(&disk), id);
    }
}
