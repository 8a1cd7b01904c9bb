//! Space of files that nobody needs any more is given back little by little, and nobody who reads one notices.

use std::io;
use std::path::Path;

use beaver_actors::internals::storage::reclaim::{free_retired, retire};
use beaver_actors::internals::storage::{DiskStorage, Storage};
use beaver_actors::testing::{Call, Kept, SimStorage};

/// Three pieces and a little more.
const LEN: usize = (3 << 20) + 5;

fn names(storage: &dyn Storage, dir: &Path) -> Vec<String> {
    storage.list(dir).unwrap()
}

#[test]
fn space_is_given_back_piece_by_piece_each_durable_by_itself() {
    let disk = SimStorage::new();
    disk.put("/dir/1", vec![7; LEN]);
    disk.put("/dir/2", vec![7; 10]);
    retire(&disk, Path::new("/dir/1")).unwrap();
    free_retired(&disk, Path::new("/dir")).unwrap();
    assert_eq!([Call::SetLen, Call::Sync, Call::Remove].map(|call| disk.calls_of(call)), [4, 4, 1]);
    assert_eq!(disk.paths("/dir"), [Path::new("/dir/2")]);
}

#[test]
fn whoever_reads_a_file_reads_it_on_after_it_was_retired() {
    let real = tempfile::tempdir().unwrap();
    let simulated = SimStorage::new();
    let disks: [(&dyn Storage, &Path); 2] =
        [(&simulated, Path::new("/dir")), (&DiskStorage::default(), real.path())];
    for (disk, dir) in disks {
        let path = dir.join("1");
        disk.create(&path).unwrap().write_at(0, &[7; 100]).unwrap();
        let reader = disk.open_to_read(&path).unwrap();
        retire(disk, &path).unwrap();
        free_retired(disk, dir).unwrap();
        let mut bytes = [0; 100];
        assert_eq!(reader.read_at(0, &mut bytes).unwrap(), 100);
        assert_eq!((bytes, names(disk, dir)), ([7; 100], vec!["1.old.partial".to_owned()]));
        drop(reader);
        free_retired(disk, dir).unwrap();
        assert!(names(disk, dir).is_empty());
    }
}

#[test]
fn what_has_a_second_name_stays_whole_under_that() {
    let dir = tempfile::tempdir().unwrap();
    let [path, copy] = ["1", "copy"].map(|name| dir.path().join(name));
    std::fs::write(&path, [7; 100]).unwrap();
    std::fs::hard_link(&path, &copy).unwrap();
    retire(&DiskStorage::default(), &path).unwrap();
    free_retired(&DiskStorage::default(), dir.path()).unwrap();
    assert_eq!(std::fs::read(&copy).unwrap(), [7; 100]);
}

#[test]
fn nobody_gets_a_file_open_to_read_that_was_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("1");
    std::fs::write(&path, [7; 100]).unwrap();
    let mut file = DiskStorage::default().open(&path).unwrap();
    assert!(file.take_over().unwrap());
    let error = DiskStorage::default().open_to_read(&path).err().expect("it is taken");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn wherever_a_crash_comes_a_file_is_whole_or_has_lost_its_name() {
    let path = Path::new("/dir/1");
    let (mut call, mut lost) = (0, 0);
    loop {
        call += 1;
        let disk = SimStorage::new();
        disk.put(path, vec![7; LEN]);
        disk.crash_at(call);
        let _ = retire(&disk, path);
        let _ = free_retired(&disk, Path::new("/dir"));
        let has_stopped = disk.has_stopped();
        let (unsynced, changes) = disk.unsynced();
        for names in 0..=changes {
            for kept in [false, true] {
                let disk = disk.fork();
                disk.cut_power_keeping(&Kept { items: vec![kept; unsynced.len()], names, garbage: None });
                match disk.paths("/dir").iter().any(|there| there == path) {
                    true => assert!(disk.bytes(path) == vec![7; LEN], "call {call}, {names} changes"),
                    false => lost += 1,
                }
            }
        }
        if !has_stopped {
            break;
        }
    }
    assert!(call > 8 && lost > 0, "{call} calls");
}
