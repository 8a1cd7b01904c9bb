//! The server for remote workers, as `beaver run` sets it up: its address, its password, its certificate.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use beaver_actors::base::clock::SystemClock;
use beaver_actors::engine::Engine;
use tokio_rustls::TlsAcceptor;
use tracing::{error, warn};

use super::accept::bind_patiently;
use super::error::ServerError;
use super::fwp_server::{FwpHandle, FwpServer};
use super::tls;
use crate::auth::memory::Memory;
use crate::config::{FwpSettings, Secret, Settings};
use crate::fwp::FwpState;
use crate::remote::registry::Registry;

/// A server that listens and answers nobody yet; none if it is off.
pub(super) struct FwpSetup {
    listening: Option<(FwpServer, Option<Secret>, Option<TlsAcceptor>)>,
    /// Remote workers, also without a server: then there are none.
    pub(super) registry: Registry,
}

impl FwpSetup {
    /// Takes the address and reads what is needed.
    ///
    /// # Errors
    /// The address is taken, or a file cannot be read.
    pub(super) async fn listen(settings: &Settings) -> Result<FwpSetup, ServerError> {
        let registry = Registry::new(Arc::new(SystemClock::default()));
        let Some(port) = settings.fwp.port else { return Ok(FwpSetup { listening: None, registry }) };
        let password = password(&settings.fwp)?;
        let tls = match (&settings.fwp.tls_cert, &settings.fwp.tls_key) {
            (Some(cert), Some(key)) => {
                Some(tls::acceptor(cert, key).map_err(|error| ServerError::Setup {
                    message: error.to_string(),
                    hint: Some("see the keys faktory_tls_cert and faktory_tls_key"),
                })?)
            }
            _ => None,
        };
        let server = bind(SocketAddr::new(settings.bind, port)).await?;
        let address = server.local_addr();
        if !address.ip().is_loopback() && password.is_none() {
            warn_about_access(settings, address);
        }
        Ok(FwpSetup { listening: Some((server, password, tls)), registry })
    }

    /// Where workers connect to.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listening.as_ref().map(|(server, ..)| server.local_addr())
    }

    /// Answers them once the engine has recovered.
    pub(super) fn spawn(self, settings: &Settings, engine: &Engine, memory: Memory) -> Option<FwpHandle> {
        let (server, password, tls) = self.listening?;
        let state = FwpState {
            engine: engine.clone(),
            registry: self.registry,
            clock: Arc::new(SystemClock::default()),
            password,
            tls,
            payload_bytes_max: settings.engine.policy.payload_bytes_max,
            limits: settings.fwp.limits.clone(),
            memory,
        };
        Some(server.spawn_beside(state))
    }
}

/// The password in force, read from its file if it is in one.
///
/// # Errors
/// The file cannot be read.
pub(super) fn password(settings: &FwpSettings) -> Result<Option<Secret>, ServerError> {
    let Some(file) = &settings.password_file else { return Ok(settings.password.clone()) };
    read_password(file).map(Some).map_err(|problem| ServerError::Setup {
        message: format!("{}: {problem}", file.display()),
        hint: Some("key faktory_password_file names a file that holds the password and nothing else"),
    })
}

fn read_password(file: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    match text.trim() {
        "" => Err("there is no password in it".to_owned()),
        password => Ok(Secret::new(password)),
    }
}

async fn bind(address: SocketAddr) -> Result<FwpServer, ServerError> {
    bind_patiently(|| FwpServer::bind(address)).await.map_err(|source| ServerError::Listen {
        address,
        source,
        port: ("faktory_port", "0 takes any free one, off none"),
    })
}

/// Without a password, the operator hears who is let in.
fn warn_about_access(settings: &Settings, address: SocketAddr) {
    match settings.allow_exec {
        false => warn!(
            "{address} is open to the network without a password (key faktory_password): whoever reaches it may add, \
             take and delete jobs"
        ),
        true => error!(
            "DANGER: exec is on and {address} is open to the network without a password (key faktory_password): \
             WHOEVER REACHES IT CAN RUN PROGRAMS AS THIS USER"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_in_a_file_is_what_stands_there_without_white_space_around_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, " se cret\n").unwrap();
        assert_eq!(read_password(&file), Ok(Secret::new("se cret")));
        std::fs::write(&file, "\n").unwrap();
        assert_eq!(read_password(&file), Err("there is no password in it".to_owned()));
        assert!(read_password(dir.path()).unwrap_err().contains("directory"));
    }
}
