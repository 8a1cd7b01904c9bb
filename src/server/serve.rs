//! The life of a server: it boots, serves until it is told to stop, and drains.
//!
//! The address is taken before the engine starts, so that `/livez` and `/readyz` answer while recovery runs,
//! and a port in use is told before anything else happens. However the engine ends, the server ends with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use beaver_actors::api::handler::Handlers;
use beaver_actors::api::options::Durability;
use beaver_actors::base::clock::SystemClock;
use beaver_actors::engine::{Ending, Engine, FailCause, Phase, Progress};
use beaver_actors::jobs::Status;
use tracing::{error, info, warn};

use super::address_file::{AddressFile, url_of};
use super::descriptors;
use super::error::ServerError;
use super::fwp_server::FwpHandle;
use super::fwp_setup::{self, FwpSetup};
use super::give_back;
use super::http_server::{HttpHandle, HttpServer};
use super::privacy::keep_private;
use super::recovery_view::RecoveryView;
use super::signals::Signals;
use crate::auth::memory::Memory;
use crate::auth::places::ConnectionLimits;
use crate::config::{HttpLimits, Settings};
use crate::fwp::web::{WebState, web_router};
use crate::handlers::{self, exec};
use crate::http::HttpState;
use crate::wire::job::JobDefaults;

/// Once the engine has ended, requests that are being answered get this long.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// What the process is limited to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerLimits {
    /// The connections that are served.
    pub(crate) connections: ConnectionLimits,
    /// File descriptors that a program of a job may have.
    pub(crate) descriptors_of_children: u64,
}

/// Serves until the engine has ended, because of a signal or of itself. Returns how it ended.
///
/// SIGHUP calls `reload`.
///
/// # Errors
/// The server could not start.
pub(crate) async fn serve(
    settings: Settings,
    limits: ServerLimits,
    reload: impl FnMut(),
) -> Result<Ending, ServerError> {
    descriptors::tell(&limits.connections);
    let mut signals = Signals::listen(reload)?;
    if exec::children::gets_orphans() {
        tokio::spawn(exec::children::reap_orphans());
    }
    let http = listen(&settings).await?;
    let address = http.local_addr();
    let remote = FwpSetup::listen(&settings).await?;
    let remote_address = remote.address();
    let web = listen_for_monitoring(&settings).await?;
    warn_about_access(&settings, address);
    keep_private(&settings);
    let handlers = prepare_handlers(&settings, limits.descriptors_of_children).await?;
    let engine = Engine::start(settings.engine.clone(), handlers);
    let memory = Memory::of(&settings);
    give_back::spawn();
    let http = http.spawn(HttpState {
        engine: engine.clone(),
        defaults: JobDefaults::of(&settings),
        limits: settings.http.clone(),
        remote: remote.registry.clone(),
        memory: memory.clone(),
        connections: Some(limits.connections),
    });
    let registry = remote.registry.clone();
    let fwp = remote.spawn(&settings, &engine, memory);
    let web_address = web.as_ref().map(HttpServer::local_addr);
    let web = match web {
        None => None,
        Some(web) => {
            let state = WebState {
                engine: engine.clone(),
                registry,
                clock: Arc::new(SystemClock::default()),
                password: fwp_setup::password(&settings.fwp)?,
                guesses: Arc::default(),
                request_timeout: settings.http.request_timeout,
            };
            let connections_max = limits.connections.monitoring.unwrap_or_default();
            let limits = HttpLimits { connections_max, ..settings.http.clone() };
            Some(web.spawn_router(web_router(state), &limits))
        }
    };
    let addresses = Addresses { http: address, fwp: remote_address, web: web_address };
    let server = RunningServer { settings, addresses, engine, http, fwp, web, address_files: Vec::new() };
    Ok(server.attend(&mut signals).await)
}

/// Where the server is reached.
struct Addresses {
    http: SocketAddr,
    fwp: Option<SocketAddr>,
    web: Option<SocketAddr>,
}

/// A server whose engine has been started.
struct RunningServer {
    settings: Settings,
    addresses: Addresses,
    engine: Engine,
    http: HttpHandle,
    fwp: Option<FwpHandle>,
    web: Option<HttpHandle>,
    address_files: Vec<AddressFile>,
}

impl RunningServer {
    /// Stays until the engine has ended, of itself or because of a signal.
    async fn attend(mut self, signals: &mut Signals<impl FnMut()>) -> Ending {
        let ended = tokio::select! {
            ending = self.watch() => Some(ending),
            asked = signals.next_stop() => {
                let grace = self.settings.engine.drain_timeout;
                let new_jobs = match self.settings.engine.accepts_while_draining {
                    true => "new ones are accepted and wait for the next start",
                    false => "new ones are refused",
                };
                info!(
                    "{}: stopping; running jobs get {grace:?}, {new_jobs}, a second signal ends all",
                    asked.name
                );
                None
            }
        };
        let ending = match ended {
            Some(ending) => ending,
            None => tokio::select! {
                ending = self.engine.stop(None) => ending,
                again = signals.next_stop() => again.end_process(),
            },
        };
        // Before the port is free for the next server, which leaves its own address.
        drop(self.address_files);
        let fwp_ends = async {
            if let Some(fwp) = self.fwp {
                fwp.shut_down(LAST_ANSWERS).await;
            }
        };
        let web_ends = async {
            if let Some(web) = self.web {
                web.shut_down(LAST_ANSWERS).await;
            }
        };
        tokio::join!(self.http.shut_down(LAST_ANSWERS), fwp_ends, web_ends);
        if ending == Ending::Clean {
            info!("stopped");
        }
        ending
    }

    /// Follows the engine through its life; returns when that is over.
    async fn watch(&mut self) -> Ending {
        let mut phase = self.engine.watch_phase();
        let mut view = Some(RecoveryView::new());
        loop {
            let current = phase.borrow_and_update().clone();
            match current {
                Phase::Recovering(progress) => {
                    // The data is being read, so the directory is locked.
                    if progress != Progress::default() {
                        self.leave_addresses();
                    }
                    if let Some(view) = &mut view {
                        view.show(progress);
                    }
                }
                Phase::Serving => {
                    self.leave_addresses();
                    if view.take().is_some() {
                        self.announce().await;
                    }
                }
                Phase::Draining => {}
                Phase::Stopped(ending) => return ending,
            }
            if phase.changed().await.is_err() {
                let message = "the engine is gone without a word".to_owned();
                return Ending::Failed { cause: FailCause::Crashed, message };
            }
        }
    }

    fn leave_addresses(&mut self) {
        if !self.address_files.is_empty() {
            return;
        }
        let data_dir = &self.settings.engine.data_dir;
        // Last the one that others wait for.
        let fwp = self.addresses.fwp.map(|address| AddressFile::write_remote(data_dir, address));
        let http = AddressFile::write(data_dir, self.addresses.http);
        for written in fwp.into_iter().chain([http]) {
            match written {
                Ok(file) => self.address_files.push(file),
                // Only a help for finding the server; who knows its port does without.
                Err(error) => warn!("cannot leave the address in the data directory: {error}"),
            }
        }
    }

    /// One line with all that an operator wants to know at the start.
    async fn announce(&self) {
        let status = match self.engine.status().await {
            Ok(status) => status,
            Err(error) => return warn!("serving, but without a status: {error}"),
        };
        info!(
            url = url_of(self.addresses.http),
            faktory = self.addresses.fwp.map_or_else(|| "off".to_owned(), |address| format!("tcp://{address}")),
            faktory_web = self.addresses.web.map_or_else(|| "off".to_owned(), url_of),
            data_dir = %self.settings.engine.data_dir.display(),
            durability = told(self.settings.engine.durability),
            workers = status.workers.count,
            recovery_ms = status.recovery.duration_ms,
            pending = status.jobs.of(Status::Pending),
            scheduled = status.jobs.of(Status::Scheduled),
            retrying = status.jobs.of(Status::Retrying),
            interrupted = status.recovery.interrupted,
            "ready"
        );
    }
}

async fn listen(settings: &Settings) -> Result<HttpServer, ServerError> {
    let address = SocketAddr::new(settings.bind, settings.metrics_port);
    HttpServer::bind(address).await.map_err(|source| ServerError::Listen {
        address,
        source,
        port: ("metrics_port", "0 takes any free one"),
    })
}

/// The web port of the work protocol, if it is on.
async fn listen_for_monitoring(settings: &Settings) -> Result<Option<HttpServer>, ServerError> {
    let Some(port) = settings.fwp.web_port else { return Ok(None) };
    let address = SocketAddr::new(settings.bind, port);
    let bound = HttpServer::bind(address).await.map_err(|source| ServerError::Listen {
        address,
        source,
        port: ("faktory_web_port", "0 takes any free one, off none"),
    });
    bound.map(Some)
}

/// Nobody has to show a password here, so the operator hears who is let in.
fn warn_about_access(settings: &Settings, address: SocketAddr) {
    let is_private = address.ip().is_loopback();
    match (settings.allow_exec, is_private) {
        (false, true) => {}
        (false, false) => {
            warn!("{address} is open to the network: whoever reaches it may add, read and cancel jobs")
        }
        (true, true) => {
            warn!("exec is on: whoever on this machine reaches {address} can run programs as this user")
        }
        (true, false) => error!(
            "DANGER: exec is on and {address} is open to the network: WHOEVER REACHES IT CAN RUN PROGRAMS AS \
             THIS USER; bind to 127.0.0.1, or turn allow_exec off, unless a firewall stands in front"
        ),
    }
}

/// The built-in handlers; what an earlier server's `exec` jobs left running is ended first.
async fn prepare_handlers(settings: &Settings, descriptors: u64) -> Result<Handlers, ServerError> {
    let data_dir = settings.engine.data_dir.clone();
    let handlers = handlers::built_in(settings, descriptors).map_err(|error| {
        ServerError::new(format!("cannot prepare exec jobs in {}: {error}", data_dir.display()))
    })?;
    if settings.allow_exec {
        let ended = tokio::task::spawn_blocking(move || exec::orphans::end_leftovers(&data_dir)).await;
        match ended {
            Ok(Ok(_)) => {}
            // Their jobs will run again beside them: bad, but worse would be a queue that stands still.
            Ok(Err(error)) => error!("cannot look for programs that an earlier server left running: {error}"),
            Err(panic) => error!("cannot look for programs that an earlier server left running: {panic}"),
        }
    }
    Ok(handlers)
}

fn told(durability: Durability) -> String {
    match durability {
        Durability::Always => "always".to_owned(),
        Durability::Interval(interval) => format!("interval of {interval:?}"),
        Durability::Never => "never".to_owned(),
    }
}
