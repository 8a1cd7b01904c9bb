//! Directories are for their user alone: what jobs carry and give back stands in their files as it is.

use std::fs::{self, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tracing::{info, warn};

use crate::config::Settings;

/// What is left of a mode that lets others in.
const OTHERS: u32 = 0o077;
const PRIVATE: u32 = 0o700;
/// Every directory that beaver has worked on has this file.
const LOCK_FILE: &str = "lock";

/// Looks at the directories that are there already, and closes those that are open to others if programs may run: their
/// variables and output are there as well. Without, the operator hears of it.
pub(super) fn keep_private(settings: &Settings) {
    let engine = &settings.engine;
    for dir in [&engine.data_dir, &engine.wal_dir, &engine.snapshot_dir] {
        let Ok(metadata) = fs::metadata(dir) else { continue };
        let mode = metadata.mode() & 0o7777;
        if mode & OTHERS == 0 {
            continue;
        }
        let shown = dir.display();
        if settings.allow_exec && is_ours(dir, &metadata) {
            match fs::set_permissions(dir, Permissions::from_mode(PRIVATE)) {
                Ok(()) => {
                    info!(
                        "{shown} was open to others (mode {mode:04o}); exec is on, so it has mode 0700 now"
                    );
                    continue;
                }
                Err(error) => warn!("cannot close {shown} to others: {error}"),
            }
        }
        warn!(
            "{shown} is open to other users (mode {mode:04o}), and what jobs carry and give back stands there as it is: \
             chmod 700 {shown}"
        );
    }
}

/// Whether it is for beaver: a directory of somebody else is left as it is.
fn is_ours(dir: &Path, metadata: &Metadata) -> bool {
    let is_empty = || fs::read_dir(dir).is_ok_and(|mut names| names.next().is_none());
    metadata.uid() == rustix::process::geteuid().as_raw() && (dir.join(LOCK_FILE).exists() || is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_after(allow_exec: bool, name: Option<&str>) -> u32 {
        let dir = tempfile::tempdir().unwrap();
        if let Some(name) = name {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let mut settings = Settings { allow_exec, ..Settings::default() };
        dir.path().clone_into(&mut settings.engine.data_dir);
        keep_private(&settings);
        fs::metadata(dir.path()).unwrap().mode() & 0o7777
    }

    /// Row 96.
    #[test]
    fn an_open_directory_is_closed_when_programs_may_run_unless_it_is_somebody_elses() {
        assert_eq!(mode_after(true, Some(LOCK_FILE)), 0o700);
        assert_eq!(mode_after(true, None), 0o700);
        assert_eq!(mode_after(true, Some("letter.txt")), 0o755);
        assert_eq!(mode_after(false, Some(LOCK_FILE)), 0o755);
    }
}
