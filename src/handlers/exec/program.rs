//! Finds the file of a program ourselves instead of leaving it to the start of the process: an error of ours can
//! name what was looked for, and a keeper needs no `PATH`.

use std::ffi::OsStr;
use std::io;
use std::path::{self, Path, PathBuf};

use beaver_actors::api::handler::JobError;
use rustix::fs::{Access, access};

/// The directory that a program shall run in, as an absolute path. Blocks for a look at the file system.
pub(super) fn directory(cwd: &Path) -> Result<PathBuf, JobError> {
    let problem =
        |problem: &dyn std::fmt::Display| JobError::new(format!("cwd {}: {problem}", cwd.display()));
    let absolute = path::absolute(cwd).map_err(|error| problem(&error))?;
    match absolute.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(absolute),
        Ok(_) => Err(problem(&"not a directory")),
        Err(error) => Err(problem(&error)),
    }
}

/// The absolute path of a program, found as a shell in `directory` would find it: a name with a slash is a
/// path, a bare one is looked for along `search`. Blocks for some looks at the file system.
pub(super) fn find(name: &str, search: &OsStr, directory: &Path) -> Result<PathBuf, JobError> {
    if name.contains('/') {
        let candidate = directory.join(name);
        return match check(&candidate) {
            Ok(()) => Ok(candidate),
            Err(error) => Err(JobError::new(format!("program {name}: {error}"))),
        };
    }
    let mut refused = None;
    for place in std::env::split_paths(search) {
        let candidate = directory.join(place).join(name);
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Somewhere further on there may be one that we may run.
            Err(error) => refused = refused.or(Some((candidate, error))),
        }
    }
    Err(JobError::new(match refused {
        Some((candidate, error)) => format!("program {}: {error}", candidate.display()),
        None => format!("program {name}: not found in {}", search.display()),
    }))
}

fn check(file: &Path) -> io::Result<()> {
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(access(file, Access::EXEC_OK)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn file(path: &Path, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn found(name: &str, search: &str, directory: &Path) -> Result<PathBuf, String> {
        find(name, OsStr::new(search), directory).map_err(|error| error.message)
    }

    #[test]
    fn a_bare_name_is_the_first_executable_along_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        file(&root.join("text/tool"), 0o644);
        fs::create_dir_all(root.join("folder/tool")).unwrap();
        file(&root.join("good/tool"), 0o755);
        file(&root.join("late/tool"), 0o755);
        // Relative places, an empty one among them, mean the directory that the program will run in.
        assert_eq!(found("tool", "none:text::folder:good:late", root), Ok(root.join("good/tool")));
        let refusal = found("tool", "none:text", root).unwrap_err();
        assert!(refusal.contains("text/tool") && refusal.contains("ermission denied"), "{refusal}");
        assert_eq!(found("tool", "none", root), Err("program tool: not found in none".to_owned()));
    }

    #[test]
    fn a_name_with_a_slash_is_a_path_from_the_job_s_directory() {
        let dir = tempfile::tempdir().unwrap();
        file(&dir.path().join("bin/tool"), 0o755);
        assert_eq!(found("bin/tool", "", dir.path()), Ok(dir.path().join("bin/tool")));
        assert_eq!(found("/bin/sh", "", dir.path()), Ok("/bin/sh".into()));
        let missing = found("./tool", "bin", dir.path()).unwrap_err();
        assert!(missing.starts_with("program ./tool: No such file"), "{missing}");
        assert!(found("./bin", "", dir.path()).unwrap_err().contains("is a directory"));
    }

    #[test]
    fn a_directory_that_is_none_is_named() {
        let refusal = directory(Path::new("/nowhere/at/all")).unwrap_err().message;
        assert!(refusal.starts_with("cwd /nowhere/at/all: No such file"), "{refusal}");
        assert_eq!(directory(Path::new("/dev/null")).unwrap_err().message, "cwd /dev/null: not a directory");
        assert_eq!(directory(Path::new("/tmp")).unwrap(), Path::new("/tmp"));
    }
}
