//! Directories that are locked: a path in one of them means the directory that was locked, even if it bears another name now
//! and another directory bears its own.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::fs::CWD;

/// The locked directories of one [`super::DiskStorage`]; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct HeldDirs(Arc<RwLock<PathsOfDirs>>);

/// Directories by the paths that mean them.
type PathsOfDirs = Vec<(PathBuf, Arc<File>)>;

/// Keeps a directory; dropping it lets go.
pub(super) struct HeldDir {
    all: HeldDirs,
    dir: Arc<File>,
}

impl HeldDirs {
    /// From now on, paths in `path` mean this directory.
    pub fn hold(&self, path: &Path, dir: File) -> HeldDir {
        let dir = Arc::new(dir);
        let mut dirs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        dirs.push((path.to_owned(), dir.clone()));
        HeldDir { all: self.clone(), dir }
    }

    /// The directory that a path means, if it is one of these.
    pub fn dir(&self, path: &Path) -> Option<Arc<File>> {
        let dirs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        dirs.iter().find(|(held, _)| held == path).map(|(_, dir)| dir.clone())
    }

    /// Does something with a path: with the innermost of these directories that it is in, and the rest of the path.
    pub fn at<T>(&self, path: &Path, work: impl FnOnce(BorrowedFd<'_>, &Path) -> T) -> T {
        let found = {
            let dirs = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let inside = dirs.iter().filter_map(|(held, dir)| Some((path.strip_prefix(held).ok()?, dir)));
            inside.min_by_key(|(rest, _)| rest.as_os_str().len()).map(|(rest, dir)| (rest, dir.clone()))
        };
        match found {
            Some((rest, dir)) if rest.as_os_str().is_empty() => work(dir.as_fd(), Path::new(".")),
            Some((rest, dir)) => work(dir.as_fd(), rest),
            None => work(CWD, path),
        }
    }
}

impl Drop for HeldDir {
    fn drop(&mut self) {
        let mut dirs = self.all.0.write().unwrap_or_else(PoisonError::into_inner);
        dirs.retain(|(_, dir)| !Arc::ptr_eq(dir, &self.dir));
    }
}
