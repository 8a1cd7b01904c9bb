//! `http.addr` and `fwp.addr`: the addresses at which a running server is reached, left in its data directory.
//!
//! With `metrics_port: 0` (`faktory_port: 0`) nobody else knows them. A file appears whole, once the server holds the
//! directory's lock, and goes at a clean end; after a crash an old one stays, so its reader must check who
//! answers.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

const FILE: &str = "http.addr";
/// The same for remote workers.
const REMOTE_FILE: &str = "fwp.addr";
/// Both, for who has to know them in a directory.
pub(crate) const FILES: [&str; 2] = [FILE, REMOTE_FILE];

/// Where the address of the server on `data_dir` is.
#[must_use]
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// The address that the last server on `data_dir` left there, if it did.
#[must_use]
pub(crate) fn read(data_dir: &Path) -> Option<SocketAddr> {
    std::fs::read_to_string(path(data_dir)).ok()?.trim().parse().ok()
}

/// The URL at which a server that listens on `address` is reached from this machine.
pub(crate) fn url_of(address: SocketAddr) -> String {
    // "Any address" is one to listen on, not one to connect to.
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// The file while the server runs; dropping it removes the file.
#[derive(Debug)]
pub(crate) struct AddressFile {
    path: PathBuf,
}

impl AddressFile {
    /// Leaves `address` in `data_dir`, in place of an older one. Only for who holds the directory's lock.
    ///
    /// It is a help for the moment and needs no sync: after a power cut nobody listens there anyway.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(crate) fn write(data_dir: &Path, address: SocketAddr) -> io::Result<AddressFile> {
        AddressFile::write_to(path(data_dir), address)
    }

    /// The same for the address that remote workers connect to.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(crate) fn write_remote(data_dir: &Path, address: SocketAddr) -> io::Result<AddressFile> {
        AddressFile::write_to(data_dir.join(REMOTE_FILE), address)
    }

    fn write_to(path: PathBuf, address: SocketAddr) -> io::Result<AddressFile> {
        let data_dir = path.parent().unwrap_or(Path::new(""));
        let mut file = tempfile::Builder::new().prefix(FILE).suffix(".partial").tempfile_in(data_dir)?;
        writeln!(file, "{address}")?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(AddressFile { path })
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        // One that stays behind is what a crash leaves too: readers are ready for it.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_there_while_the_server_runs_and_gone_after() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        std::fs::write(path(dir.path()), "what a crash left").unwrap();
        assert_eq!(read(dir.path()), None);
        let address = "127.0.0.1:4100".parse().unwrap();
        let file = AddressFile::write(dir.path(), address).unwrap();
        assert_eq!(read(dir.path()), Some(address));
        let remote = AddressFile::write_remote(dir.path(), "127.0.0.1:4101".parse().unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(REMOTE_FILE)).unwrap(), "127.0.0.1:4101\n");
        assert_eq!(read(dir.path()), Some(address));
        drop((file, remote));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_server_that_listens_everywhere_is_reached_on_loopback() {
        assert_eq!(url_of("0.0.0.0:9090".parse().unwrap()), "http://127.0.0.1:9090");
        assert_eq!(url_of("[::]:80".parse().unwrap()), "http://[::1]:80");
        assert_eq!(url_of("10.0.0.7:80".parse().unwrap()), "http://10.0.0.7:80");
    }
}
