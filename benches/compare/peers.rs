//! Installing the programs that beaver is compared with.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::servers::Kind;

/// The command that installs them; also run by [`install`].
pub(crate) const COMMAND: &str = "apt-get install -y --no-install-recommends redis-server beanstalkd";

/// Installs them with the system's package manager, unless they are there.
pub(crate) fn install() -> Result<()> {
    let mut missing = Vec::new();
    for kind in Kind::PEERS {
        if kind.version()?.is_none() {
            missing.push(kind.name());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!("{} cannot be installed without being root: sudo {COMMAND}", missing.join(" and "));
    }
    println!("installing {}: {COMMAND}", missing.join(" and "));
    for words in ["apt-get update", COMMAND] {
        let mut words = words.split(' ');
        let program = words.next().unwrap_or_default();
        let status = Command::new(program).args(words).env("DEBIAN_FRONTEND", "noninteractive").status();
        let status = status.with_context(|| {
            format!("cannot run {program}: install {} by other means", missing.join(" and "))
        })?;
        ensure!(status.success(), "{program} ended with {status}");
    }
    Ok(())
}
