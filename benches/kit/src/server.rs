//! A server as a process of its own.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command};

/// A process that is killed when this is dropped.
pub struct KilledOnDrop(pub Child);

impl KilledOnDrop {
    /// Kills it and waits until it has ended.
    pub fn kill(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts `program` without the `BEAVER_*` settings of the environment: they are not what is measured.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("BEAVER_")) {
        command.env_remove(key);
    }
    command
}

/// A port of the loopback that was free a moment ago.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
