//! The log's recovery rules, row by row, and every accident that its bytes can have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use beaver_actors::engine::FailCause;
use beaver_actors::ids::{Seq, Timestamp};
use beaver_actors::internals::storage::Storage;
use beaver_actors::internals::wal::format::{
    BATCH_HEADER_BYTES, BatchHeader, BatchKind, SEGMENT_HEADER_BYTES, SegmentEnd,
};
use beaver_actors::internals::wal::index::LogIndex;
use beaver_actors::internals::wal::reader::SegmentReader;
use beaver_actors::internals::wal::recovery::{EachEvent, ReplayFrom, recover};
use beaver_actors::internals::wal::writer::{LogPlace, LogWriter};
use beaver_actors::internals::wal::{Group, WalError, codec};
use beaver_actors::jobs::{Event, EventKind, Status};
use beaver_actors::testing::{SimStorage, StepEngine, StepError};

const WAL: &str = "/data/wal";

/// A log with a few jobs in several states, synced, and the last batch acknowledged but not yet proven durable.
fn busy_engine() -> StepEngine {
    let mut beaver = StepEngine::on(SimStorage::new());
    let first = beaver.enqueue("mail");
    let second = beaver.enqueue("mail");
    beaver.sync();
    beaver.dispatch_and_ack(&first);
    let (job, token) = beaver.dispatch(1).unwrap();
    assert_eq!(job, second);
    beaver.fail(&job, token).unwrap();
    beaver.sync();
    beaver
}

fn last_segment(storage: &SimStorage) -> PathBuf {
    storage.paths(WAL).into_iter().rfind(|path| path.extension().is_some_and(|end| end == "wal")).unwrap()
}

fn events_on(storage: &SimStorage) -> Result<Vec<(Seq, Event)>, WalError> {
    let mut events = Vec::new();
    let mut visit = |seq, event, _: &BatchHeader| {
        events.push((seq, event));
        Ok(())
    };
    recover(storage, Path::new(WAL), ReplayFrom::default(), &mut EachEvent(&mut visit), &mut |_, _| {})?;
    Ok(events)
}

/// Offsets and headers of the batches in a segment.
fn batches(bytes: &[u8]) -> Vec<(usize, BatchHeader)> {
    let salt = u32::from_le_bytes(bytes[12..16].try_into().unwrap());
    let mut found = Vec::new();
    let mut at = SEGMENT_HEADER_BYTES;
    while let Ok((header, _)) = BatchHeader::decode(&bytes[at..], salt) {
        found.push((at, header));
        at += BATCH_HEADER_BYTES + header.payload_len as usize;
    }
    found
}

/// Row 5: a batch is there as a whole or not at all.
#[test]
fn a_last_batch_torn_at_any_byte_is_cut_and_kept_in_quarantine_and_nothing_else_is_lost() {
    let mut beaver = busy_engine();
    let durable = beaver.history.clone();
    let kept = beaver.image();
    beaver.enqueue("mail");
    let segment = last_segment(&beaver.storage);
    let whole = beaver.storage.bytes(&segment);
    let (start, header) = *batches(&whole).last().unwrap();
    let end = start + BATCH_HEADER_BYTES + header.payload_len as usize;
    for cut in start..end {
        let disk = beaver.storage.fork();
        disk.tamper(&segment, |bytes| bytes[cut..end].fill(0));
        let mut options = beaver.options.clone();
        options.data_dir = "/data".into();
        let after = StepEngine::with(disk.clone(), options, 1)
            .unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        // The attempts that were in flight are settled; nothing was in flight here.
        assert_eq!(after.image(), kept, "cut at {cut}");
        let torn = disk.paths("/data/quarantine");
        assert_eq!(
            torn.is_empty(),
            cut == start || whole[start..cut].iter().all(|byte| *byte == 0),
            "cut at {cut}"
        );
        if let [torn] = torn.as_slice() {
            assert!(whole[start..cut].starts_with(&disk.bytes(torn)), "cut at {cut}");
        }
        // Everything, and what the start itself has written.
        let (events, begun) = (events_on(&disk).unwrap(), &after.history);
        assert_eq!(events, [durable.as_slice(), begun].concat(), "cut at {cut}");
    }
}

/// Row 6: what was not synced may read as anything.
#[test]
fn random_bytes_behind_the_last_durable_batch_are_a_torn_tail() {
    for seed in 0..200 {
        let mut beaver = busy_engine();
        let kept = beaver.image();
        beaver.log().mark(Timestamp(1));
        beaver.sync();
        let segment = last_segment(&beaver.storage);
        let mut dice = fastrand::Rng::with_seed(seed);
        beaver.storage.tamper(&segment, |bytes| {
            let (start, _) = *batches(bytes).last().unwrap();
            let start = start + BATCH_HEADER_BYTES;
            let len = dice.usize(1..2_000);
            dice.fill(&mut bytes[start..start + len]);
        });
        beaver.crash_keeping_everything();
        assert_eq!(beaver.image(), kept, "seed {seed}");
        assert!(beaver.recovery.torn_bytes > 0, "seed {seed}");
    }
}

/// Rows 20 to 22: no flipped bit in what was durable is ever skipped, or taken for another value.
#[test]
fn every_flipped_bit_in_a_small_log_is_refused_or_harmless() {
    let mut beaver = busy_engine();
    beaver.snapshot().unwrap();
    let job = beaver.enqueue("mail");
    beaver.dispatch_and_ack(&job);
    beaver.sync();
    beaver.log().mark(Timestamp(1));
    beaver.sync();
    let history = beaver.history.clone();
    for segment in beaver.storage.paths(WAL).into_iter().filter(|path| path.extension().unwrap() == "wal") {
        let bytes = beaver.storage.bytes(&segment);
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let seal = used - BATCH_HEADER_BYTES;
        let mut harmless = 0;
        for bit in 0..used * 8 {
            let disk = beaver.storage.fork();
            disk.tamper(&segment, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            match events_on(&disk) {
                Err(error) => assert!(error.is_damage(), "{} bit {bit}: {error}", segment.display()),
                // The seal and the mark are evidence, not data.
                Ok(events) => {
                    assert!(bit / 8 >= seal, "{} bit {bit} went unnoticed", segment.display());
                    assert_eq!(events, history, "{} bit {bit}", segment.display());
                    harmless += 1;
                }
            }
        }
        assert_eq!(harmless, BATCH_HEADER_BYTES * 8, "{}", segment.display());
    }
}

/// Row 23: the mark of a closed log proves its last batch.
#[test]
fn a_flipped_bit_in_the_last_batch_of_a_closed_log_is_damage() {
    let mut beaver = busy_engine();
    beaver.close();
    let segment = last_segment(&beaver.storage);
    beaver.storage.tamper(&segment, |bytes| {
        let events = |(_, header): &&(usize, BatchHeader)| header.count > 0;
        let (start, _) = *batches(bytes).iter().rfind(events).unwrap();
        bytes[start + BATCH_HEADER_BYTES + 3] ^= 1;
    });
    let error = beaver.boot().unwrap_err();
    assert_eq!(error.cause, FailCause::Damaged);
    assert!(error.message.contains(&*segment.to_string_lossy()), "{error}");
    assert!(error.message.contains("payload checksum") && error.message.contains("at byte"), "{error}");
}

/// Row 22: a later batch proves an earlier one.
#[test]
fn damage_before_later_data_is_refused_and_nothing_is_deleted() {
    let mut beaver = busy_engine();
    beaver.enqueue("mail");
    beaver.sync();
    let segment = last_segment(&beaver.storage);
    beaver.storage.tamper(&segment, |bytes| {
        let (start, _) = batches(bytes)[1];
        bytes[start + BATCH_HEADER_BYTES] ^= 0x10;
    });
    let before = beaver.storage.bytes(&segment);
    let error = beaver.boot().unwrap_err();
    assert_eq!(error.cause, FailCause::Damaged);
    assert!(error.message.contains("was durable and cannot be read"), "{error}");
    assert_eq!(beaver.storage.bytes(&segment), before);
    assert!(beaver.storage.paths("/data/quarantine").is_empty());
}

/// Row 24: segments that do not belong together.
#[test]
fn a_segment_that_is_missing_renamed_doubled_or_foreign_is_refused() {
    let mut beaver = busy_engine();
    for _ in 0..3 {
        beaver.enqueue("mail");
        beaver.log().rotate(Timestamp(1)).unwrap();
    }
    let segments: Vec<_> =
        beaver.storage.paths(WAL).into_iter().filter(|path| path.extension().unwrap() == "wal").collect();
    assert_eq!(segments.len(), 4);
    let mut stranger = busy_engine_with_seed(99);
    stranger.log().rotate(Timestamp(1)).unwrap();
    let foreign = stranger.storage.bytes(last_segment(&stranger.storage));

    let refuse = |what: &str, expected: &str, accident: &dyn Fn(&SimStorage)| {
        let disk = beaver.storage.fork();
        accident(&disk);
        let error = events_on(&disk).unwrap_err();
        assert!(error.is_damage() && error.to_string().contains(expected), "{what}: {error}");
    };
    refuse("first missing", "is needed", &|disk| disk.delete(&segments[0]));
    refuse("middle missing", "segment 2 is missing", &|disk| disk.delete(&segments[1]));
    refuse("last missing", "segment 4 is missing", &|disk| disk.delete(&segments[3]));
    refuse("renamed", "renamed or copied", &|disk| {
        let bytes = disk.bytes(&segments[1]);
        disk.put(Path::new(WAL).join("0000000005.wal"), bytes);
    });
    refuse("swapped", "it says that it is segment", &|disk| {
        let (second, third) = (disk.bytes(&segments[1]), disk.bytes(&segments[2]));
        disk.put(&segments[1], third);
        disk.put(&segments[2], second);
    });
    refuse("foreign", "belongs to store", &|disk| disk.put(&segments[1], foreign.clone()));
    refuse("emptied", "less than a segment's header", &|disk| disk.tamper(&segments[1], Vec::clear));
    refuse("truncated", "at byte", &|disk| disk.tamper(&segments[1], |bytes| bytes.truncate(200)));
    refuse("not a segment", "does not begin like", &|disk| disk.put(&segments[1], vec![7; 500]));
}

fn busy_engine_with_seed(seed: u64) -> StepEngine {
    let options = StepEngine::on(SimStorage::new()).options;
    let mut beaver = StepEngine::with(SimStorage::new(), options, seed).unwrap();
    beaver.enqueue("mail");
    beaver.sync();
    beaver
}

#[test]
fn a_log_that_was_deleted_is_missed() {
    let mut beaver = busy_engine();
    beaver.storage.paths(WAL).into_iter().for_each(|path| beaver.storage.delete(path));
    let error = beaver.boot().unwrap_err();
    assert_eq!(error.cause, FailCause::Damaged);
    assert!(error.message.contains("the log is gone"), "{error}");
}

/// Row 25: valid bytes of an earlier segment never pass for new ones.
#[test]
fn batches_of_another_segment_behind_the_end_are_never_applied() {
    let mut beaver = busy_engine();
    let old = last_segment(&beaver.storage);
    beaver.log().rotate(Timestamp(1)).unwrap();
    let old = beaver.storage.bytes(old);
    let (start, first) = batches(&old)[0];
    let end = start + BATCH_HEADER_BYTES + first.payload_len as usize;
    let segment = last_segment(&beaver.storage);
    beaver.storage.tamper(&segment, |bytes| {
        bytes[SEGMENT_HEADER_BYTES..SEGMENT_HEADER_BYTES + end - start].copy_from_slice(&old[start..end]);
    });
    beaver.crash_keeping_everything();
    assert_eq!(events_on(&beaver.storage).unwrap(), beaver.history);
    assert!(beaver.recovery.torn_bytes > 0);
}

/// Row 30: another version's log is left alone.
#[test]
fn an_event_of_unknown_type_is_refused_as_newer_and_the_file_untouched() {
    let mut beaver = busy_engine();
    let last = beaver.table().last();
    let mut bytes = Vec::new();
    codec::encode(&beaver.history[0].1, &mut bytes);
    bytes[0] = 77;
    let group = Group { first: last.next(), count: 1, bytes };
    beaver.log().append(&[group], Timestamp(1)).1.unwrap();
    beaver.sync();
    let before = beaver.storage.bytes(last_segment(&beaver.storage));
    let error = beaver.boot().unwrap_err();
    assert_eq!(error.cause, FailCause::Damaged);
    assert!(
        error.message.contains("unknown event type 77") && error.message.contains("another version"),
        "{error}"
    );
    assert_eq!(beaver.storage.bytes(last_segment(&beaver.storage)), before);
}

/// Control records are for a log that several machines share, which this version does not know.
#[test]
fn a_control_record_is_refused_as_newer_wherever_it_stands() {
    let control = [&[200, 1, 3, 0, 0, 0][..], &[7; 3]].concat();
    let event = |beaver: &StepEngine| {
        let mut bytes = Vec::new();
        codec::encode(&beaver.history[0].1, &mut bytes);
        bytes
    };
    type Batch = fn(&[u8], &[u8]) -> (u32, Vec<u8>);
    let batches: [Batch; 4] = [
        |_, control| (0, control.to_vec()),
        |_, control| (0, [control, control].concat()),
        |event, control| (1, [event, control].concat()),
        |event, control| (1, [control, event].concat()),
    ];
    for (nth, batch) in batches.iter().enumerate() {
        let mut beaver = busy_engine();
        let (count, bytes) = batch(&event(&beaver), &control);
        let group = Group { first: beaver.table().last().next(), count, bytes };
        beaver.log().append(&[group], Timestamp(1)).1.unwrap();
        beaver.sync();
        let error = beaver.boot().unwrap_err().to_string();
        assert!(error.contains("another version") && error.contains("type 200"), "{nth}: {error}");
    }
}

/// Where a log is to end that is cut behind an event, and the events of the batch around it that stay.
fn place_of(storage: &SimStorage, seq: Seq) -> (SegmentEnd, Vec<Group>) {
    let mut reader = SegmentReader::open(storage, &last_segment(storage)).unwrap();
    let mut end = reader.end();
    loop {
        let batch = reader.next_batch().unwrap();
        let first = batch.header.first;
        if batch.header.last() >= seq {
            let count = (seq.0 + 1 - first.0) as u32;
            let mut rest = batch.payload;
            (0..count).for_each(|_| _ = codec::decode(&mut rest).unwrap());
            let bytes = batch.payload[..batch.payload.len() - rest.len()].to_vec();
            return (end, vec![Group { first, count, bytes }]);
        }
        end = reader.end();
    }
}

/// A log that several machines share must be able to take back what was not agreed upon.
#[test]
fn a_log_is_cut_behind_any_event_by_the_header_of_a_new_segment() {
    let mut beaver = busy_engine();
    let jobs: Vec<_> = (0..3).map(|_| beaver.enqueue("mail")).collect();
    beaver.sync();
    let history = beaver.history.clone();
    assert!(jobs.len() > 1, "the last batch can be cut inside");
    for cut in 1..history.len() {
        let disk = beaver.storage.fork();
        let store = SegmentReader::open(&disk, &last_segment(&disk)).unwrap().header.store;
        let (end, kept) = place_of(&disk, Seq(cut as u64));
        // Nobody shall miss what is cut on purpose.
        disk.remove(Path::new("/data/witness")).unwrap();
        let place = LogPlace {
            storage: Arc::new(disk.clone()),
            dir: WAL.into(),
            segment_bytes: 1 << 20,
            store,
            witness: "/data/witness".into(),
            epoch: beaver.table().epoch(),
            dice: fastrand::Rng::with_seed(cut as u64),
            index: Arc::new(LogIndex::new(Arc::new(disk.clone()), WAL.into())),
        };
        LogWriter::begin(place, end, &kept, Timestamp(1)).unwrap().close(Timestamp(1)).unwrap();
        assert_eq!(events_on(&disk).unwrap(), history[..cut], "cut behind {cut}");
        let after = StepEngine::with(disk, beaver.options.clone(), 1).unwrap();
        assert_eq!(after.history[0].0, Seq(cut as u64 + 1), "it goes on behind {cut}");
    }
}

/// Row 12: what only the page cache showed is made durable before it is served.
#[test]
fn batches_that_were_not_proven_durable_survive_a_power_cut_after_the_next_boot() {
    let mut beaver = busy_engine();
    let job = beaver.enqueue("mail");
    // The process is killed before the sync; the kernel still shows the batch to the next one.
    beaver.crash_keeping_everything();
    assert_eq!(beaver.status_of(&job), Some(Status::Pending));
    // It has served this state; now a power cut without any further write.
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.status_of(&job), Some(Status::Pending));
}

/// Row 3.
#[test]
fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
    let mut beaver = busy_engine();
    let kept = beaver.image();
    let lost = beaver.enqueue("mail");
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.status_of(&lost), None);
    assert_eq!(beaver.image(), kept);
}

/// Row 11: fsync is never tried twice.
#[test]
fn a_failed_sync_poisons_the_log_until_it_is_recovered_from_disk() {
    let mut beaver = busy_engine();
    beaver.enqueue("mail");
    beaver.storage.fail_syncs(1);
    assert!(matches!(beaver.log().sync(), Err(WalError::Io { action: "sync", .. })));
    assert!(matches!(beaver.log().sync(), Err(WalError::Poisoned)));
    let refused = beaver.execute(beaver_actors::jobs::Command::Enqueue(Box::new(StepEngine::spec("mail"))));
    assert!(matches!(refused, Err(StepError::Log(WalError::Poisoned))));
    beaver.crash_keeping_only_synced_bytes();
    beaver.enqueue("mail");
}

/// Row 70.
#[test]
fn what_is_in_a_segment_without_its_name_is_not_confirmed() {
    for is_replaced in [false, true] {
        let mut beaver = busy_engine();
        let kept = beaver.image();
        beaver.enqueue("mail");
        let path = beaver.storage.paths("/data/wal").remove(0);
        let bytes = beaver.storage.bytes(&path);
        beaver.storage.delete(&path);
        if is_replaced {
            beaver.storage.put(&path, bytes.clone());
        }
        assert!(matches!(beaver.log().sync(), Err(WalError::Vanished { path: gone }) if gone == path));
        assert!(matches!(beaver.log().sync(), Err(WalError::Poisoned)));
        // Once it is put back, nothing is missing.
        beaver.storage.put(&path, bytes);
        beaver.crash_keeping_everything();
        assert!(kept.iter().all(|job| beaver.status_of(&job.id).is_some()));
    }
}

/// Row 16.
#[test]
fn a_failed_write_is_final_and_its_half_batch_is_a_torn_tail() {
    let mut beaver = busy_engine();
    let kept = beaver.image();
    beaver.storage.fail_writes(1);
    let refused = beaver.execute(beaver_actors::jobs::Command::Enqueue(Box::new(StepEngine::spec("mail"))));
    assert!(matches!(refused, Err(StepError::Log(WalError::Io { action: "write", .. }))));
    assert!(matches!(beaver.log().sync(), Err(WalError::Poisoned)));
    beaver.crash_keeping_everything();
    assert_eq!(beaver.image(), kept);
    assert!(beaver.recovery.torn_bytes > 0);
}

#[test]
fn rotation_keeps_every_event_and_old_segments_shrink_to_what_they_hold() {
    let mut beaver = StepEngine::on(SimStorage::new());
    for _ in 0..2_000 {
        beaver.enqueue("mail");
    }
    beaver.sync();
    let segments: Vec<_> =
        beaver.storage.paths(WAL).into_iter().filter(|path| path.extension().unwrap() == "wal").collect();
    assert!(segments.len() > 3, "{segments:?}");
    for sealed in &segments[..segments.len() - 1] {
        let bytes = beaver.storage.bytes(sealed);
        assert_eq!(
            batches(&bytes).last().unwrap().1.kind,
            BatchKind::Seal,
            "a seal ends {}",
            sealed.display()
        );
    }
    let history = beaver.history.clone();
    let mut events = events_on(&beaver.storage).unwrap();
    events.retain(|(_, event)| !matches!(event.kind, EventKind::Digest { .. }));
    assert_eq!(events, history);
    let image = beaver.image();
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.image(), image);
}

#[test]
fn a_batch_larger_than_a_segment_gets_a_segment_that_fits_it() {
    let mut beaver = StepEngine::on(SimStorage::new());
    let mut spec = StepEngine::spec("mail");
    spec.payload = beaver_actors::jobs::Payload::from_value(&"x".repeat(300 << 10)).unwrap();
    beaver.execute(beaver_actors::jobs::Command::Enqueue(Box::new(spec))).unwrap();
    beaver.enqueue("mail");
    beaver.sync();
    let image = beaver.image();
    beaver.crash_keeping_only_synced_bytes();
    assert_eq!(beaver.image(), image);
}

/// Row 17: accepted jobs go on, new ones wait, and nothing ends.
#[test]
fn a_full_disk_refuses_the_batch_and_takes_it_when_space_returns() {
    let mut beaver = StepEngine::on(SimStorage::new());
    beaver.sync();
    beaver.storage.set_capacity(Some(beaver.storage.used()));
    let mut accepted = Vec::new();
    let last = beaver.table().last();
    let mut group = Group { first: last.next(), count: 1, bytes: Vec::new() };
    let sample = {
        let mut other = StepEngine::on(SimStorage::new());
        other.enqueue("mail");
        other.history[1].1.clone()
    };
    codec::encode(&sample, &mut group.bytes);
    let error = loop {
        let (written, result) = beaver.log().append(std::slice::from_ref(&group), Timestamp(1));
        match result {
            Ok(()) => {
                assert_eq!(written, 1);
                accepted.push(group.first);
                group.first = group.first.next();
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, WalError::Full { .. }), "{error}");
    assert!(!beaver.log().room().accepts_jobs);
    assert_eq!(beaver.sync(), *accepted.last().unwrap());
    beaver.storage.set_capacity(None);
    beaver.log().append(std::slice::from_ref(&group), Timestamp(1)).1.unwrap();
    assert_eq!(beaver.sync(), group.first);
    assert_eq!(events_on(&beaver.storage).unwrap().len() as u64, group.first.0);
    assert!(beaver.log().room().accepts_jobs);
}

/// Row 31, the part that one process can show.
#[test]
fn a_second_engine_on_the_same_directory_is_refused() {
    let beaver = busy_engine();
    let error = StepEngine::with(beaver.storage.clone(), beaver.options.clone(), 2).err().unwrap();
    assert_eq!(error.cause, FailCause::Locked);
    assert!(error.message.contains("another beaver"), "{error}");
}

#[test]
fn starts_without_work_leave_a_small_segment_for_each_good_end_and_none_behind_a_snapshot() {
    let mut beaver = busy_engine();
    beaver.close();
    beaver.boot().unwrap();
    let image = beaver.image();
    let count = |beaver: &StepEngine| {
        let paths = beaver.storage.paths(WAL).into_iter();
        paths.filter(|path| path.extension().is_some_and(|end| end == "wal")).count()
    };
    for round in 0..5 {
        match round % 2 {
            0 => beaver.crash_keeping_only_synced_bytes(),
            _ => {
                beaver.close();
                beaver.boot().unwrap();
            }
        }
        // What a start has written is taken over by the next, if the log did not end well.
        assert_eq!(
            count(&beaver),
            2 + usize::div_ceil(round, 2),
            "round {round}: {:?}",
            beaver.storage.paths(WAL)
        );
        assert_eq!(beaver.image(), image, "round {round}");
    }
    beaver.enqueue("mail");
    beaver.close();
    beaver.boot().unwrap();
    assert_eq!(beaver.image().len(), image.len() + 1);
    let lens = beaver.storage.paths(WAL).into_iter().map(|path| beaver.storage.bytes(path).len());
    assert!(lens.filter(|len| *len < 1024).count() >= 3, "what a start writes is small");
    // The log stays from where the older of two snapshots ends.
    for _ in 0..3 {
        beaver.enqueue("mail");
        beaver.snapshot().unwrap();
    }
    assert!(count(&beaver) <= 4, "{:?}", beaver.storage.paths(WAL));
}

#[test]
fn replaying_the_log_twice_gives_the_same_state() {
    let mut beaver = busy_engine();
    beaver.crash_keeping_everything();
    let once = beaver.image();
    let events = events_on(&beaver.storage).unwrap();
    beaver.crash_keeping_everything();
    assert_eq!(beaver.image(), once);
    // The second start has added its own event.
    assert_eq!(events_on(&beaver.storage).unwrap()[..events.len()], events);
}

/// As a server leaves them that is killed soon after each of its starts.
#[test]
fn a_start_gives_back_the_space_of_all_segments_whose_seal_was_cut_off() {
    let mut beaver = StepEngine::on(SimStorage::new());
    for _ in 0..3 {
        beaver.enqueue("mail");
        beaver.log().rotate(Timestamp(1)).unwrap();
    }
    let disk = beaver.storage.clone();
    let wals = |disk: &SimStorage| {
        let mut paths = disk.paths("/data/wal");
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
        paths
    };
    let sealed = &wals(&disk)[..3];
    let before: Vec<_> = sealed.iter().map(|path| disk.bytes(path)).collect();
    for path in sealed {
        disk.tamper(path, |bytes| bytes.resize(64 << 10, 0));
    }
    beaver.crash_keeping_everything();
    for (path, before) in sealed.iter().zip(before) {
        assert_eq!(disk.bytes(path).len(), before.len(), "{}", path.display());
    }
}
