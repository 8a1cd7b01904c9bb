//! Files: where a run keeps its own, and how much space they take.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tempfile::TempDir;

/// A directory beside the program that runs, so beside the build's output: on a disk, where `/tmp` often is memory.
pub fn temp_dir() -> TempDir {
    let dir = std::env::current_exe().expect("it runs").with_file_name("tmp");
    fs::create_dir_all(&dir).and_then(|()| TempDir::new_in(dir)).expect("the build directory is writable")
}

/// Bytes of all files below `dir` by their lengths.
pub fn bytes_below(dir: &Path) -> u64 {
    sum_below(dir, &|file| file.len())
}

/// Bytes of all blocks below `dir`, including blocks that are reserved but not written.
pub fn allocated_below(dir: &Path) -> u64 {
    sum_below(dir, &|file| file.blocks() * 512)
}

/// A file that has just been removed counts as 0.
fn sum_below(dir: &Path, of_file: &impl Fn(&Metadata) -> u64) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => sum_below(&entry.path(), of_file),
        _ => entry.metadata().map_or(0, |metadata| of_file(&metadata)),
    });
    sizes.sum()
}
