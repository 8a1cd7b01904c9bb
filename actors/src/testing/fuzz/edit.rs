//! Inputs as programs: bytes that edit a small valid data directory, and seeded changes of inputs themselves.

use std::path::Path;

use crate::testing::SimStorage;
use crate::testing::fuzz::mend::{mend_image, mend_segment};

/// A data directory: jobs in every state, in an image and in the log behind it.
const FIXTURE: [(&str, &[u8]); 4] = [
    ("wal/0000000001.wal", include_bytes!("../../../tests/fixtures/format-1/small/wal/0000000001.wal")),
    ("wal/0000000002.wal", include_bytes!("../../../tests/fixtures/format-1/small/wal/0000000002.wal")),
    (
        "snapshots/00000000000000000016.snap",
        include_bytes!("../../../tests/fixtures/format-1/small/snapshots/00000000000000000016.snap"),
    ),
    ("store-id", include_bytes!("../../../tests/fixtures/format-1/small/store-id")),
];

/// Names that mean something to boot, and some that nearly do.
const NAMES: [&str; 18] = [
    "wal/0000000001.wal",
    "wal/0000000002.wal",
    "snapshots/00000000000000000016.snap",
    "store-id",
    "wal/0000000000.wal",
    "wal/0000000003.wal",
    "wal/0000000004.wal",
    "wal/18446744073709551615.wal",
    "wal/0000000002.wal.partial",
    "wal/+000000003.wal",
    "wal/notes.txt",
    "snapshots/00000000000000000000.snap",
    "snapshots/00000000000000000017.snap",
    "snapshots/18446744073709551615.snap",
    "snapshots/+0000000000000000016.snap",
    "snapshots/00000000000000000017.snap.partial",
    "quarantine/00000000000000000016.snap",
    "lock",
];

/// Numbers that break sums.
const EDGES: [u64; 8] = [0, 1, 16, 17, 1 << 31, u32::MAX as u64, u64::MAX >> 1, u64::MAX];
const EDITS_MAX: usize = 48;
const RUN_BYTES_MAX: usize = 256;
const FILE_BYTES_MAX: usize = 16 << 10;

/// Reads a program from the front; where it ends, everything is 0.
struct Program<'a>(&'a [u8]);

impl Program<'_> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    fn below(&mut self, end: usize) -> usize {
        let number = usize::from(u16::from_le_bytes([self.byte(), self.byte()]));
        if end == 0 { 0 } else { number % end }
    }

    fn run(&mut self) -> &[u8] {
        let len = usize::from(self.byte()).min(RUN_BYTES_MAX).min(self.0.len());
        self.0.split_off(..len).unwrap_or_default()
    }
}

/// Puts the fixture's files on `storage` below `/data`, changed by the edits that `data` encodes.
pub(super) fn make_directory(data: &[u8], storage: &SimStorage) {
    let mut files: Vec<(&str, Vec<u8>)> =
        FIXTURE.iter().map(|(name, bytes)| (*name, bytes.to_vec())).collect();
    let mut program = Program(data);
    for _ in 0..EDITS_MAX {
        if program.0.is_empty() || files.is_empty() {
            break;
        }
        edit(&mut program, &mut files);
    }
    for (name, bytes) in files {
        storage.put(Path::new("/data").join(name), bytes);
    }
}

fn edit(program: &mut Program<'_>, files: &mut Vec<(&str, Vec<u8>)>) {
    let what = program.byte() % 12;
    let chosen = program.byte() as usize % files.len();
    let bytes = &mut files[chosen].1;
    match what {
        0 => {
            let at = program.below(bytes.len());
            let mask = program.byte();
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask);
        }
        1 => bytes.truncate(program.below(bytes.len())),
        2 => bytes.extend_from_slice(program.run()),
        3 => drop(files.remove(chosen)),
        4 => files[chosen].0 = NAMES[program.byte() as usize % NAMES.len()],
        5 => {
            let (name, copy) = (NAMES[program.byte() as usize % NAMES.len()], bytes.clone());
            files.push((name, copy));
        }
        6 => files.push((NAMES[program.byte() as usize % NAMES.len()], program.run().to_vec())),
        7 => {
            let at = program.below(bytes.len());
            let run = program.run().iter();
            bytes.iter_mut().skip(at).zip(run).for_each(|(byte, new)| *byte = *new);
        }
        8 => {
            let (at, len) = (program.below(bytes.len()), program.byte());
            bytes.iter_mut().skip(at).take(len.into()).for_each(|byte| *byte = 0);
        }
        9 => {
            let at = program.below(bytes.len());
            let edge = EDGES[program.byte() as usize % EDGES.len()].to_le_bytes();
            let len = if program.byte().is_multiple_of(2) { 8 } else { 4 };
            bytes.iter_mut().skip(at).zip(&edge[..len]).for_each(|(byte, new)| *byte = *new);
        }
        10 => {
            let (at, run) = (program.below(bytes.len()), program.run().to_vec());
            bytes.splice(at..at, run);
        }
        _ => match files[chosen].0.starts_with("snapshots") {
            true => mend_image(&mut files[chosen].1),
            false => mend_segment(&mut files[chosen].1),
        },
    }
    if let Some((_, bytes)) = files.get_mut(chosen) {
        bytes.truncate(FILE_BYTES_MAX);
    }
}

/// Another input made from `input` and sometimes from `other`: what libFuzzer does, in small and seeded.
#[must_use]
pub fn mutate(input: &[u8], other: &[u8], dice: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..dice.usize(1..=4) {
        let at = dice.usize(0..=bytes.len());
        let end = bytes.len().min(at + dice.usize(0..=16));
        match dice.u8(0..8) {
            0 | 1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << dice.u8(0..8)),
            2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = dice.u8(..)),
            3 => {
                let edge = dice.choice(EDGES).unwrap_or_default().to_le_bytes();
                let len = dice.choice([1, 4, 8]).unwrap_or(8);
                bytes.iter_mut().skip(at).zip(&edge[..len]).for_each(|(byte, new)| *byte = *new);
            }
            4 => drop(bytes.drain(at..end)),
            5 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            6 => {
                let start = dice.usize(0..=other.len());
                let run = &other[start..other.len().min(start + dice.usize(0..=64))];
                bytes.splice(at..at, run.iter().copied());
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}
