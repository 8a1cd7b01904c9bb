//! Which server a command talks to, or which data directory it works on itself.
//!
//! | given | then |
//! |---|---|
//! | `--url`, else `BEAVER_URL` | that server and nothing else; if it does not answer, nothing is written |
//! | `--offline` | the data directory, under its lock; questions only look at it |
//! | neither | the first server that answers, else the data directory |
//!
//! Nothing here makes a data directory: that is for `beaver run`. And what changes something works on one only if the
//! command line names it or says `--offline`: where nobody asked for that, a server is restarting, and a job in some
//! other directory would never run.
//!
//! Servers are looked for at the address that one left in the data directory, then at `bind:metrics_port`.
//! But a data directory that the command line names (`--data-dir`) is meant: what answers at
//! `bind:metrics_port` serves another one, or its address would be in that directory.

use std::net::SocketAddr;
use std::path::Path;

use beaver_actors::api::handler::Handlers;
use beaver_actors::engine::{Ending, Engine, FailCause};
use clap::Args;

use super::exit::{CliFailure, Exit, declined, from_ending, refused};
use super::output::note;
use super::{runtime, setup};
use crate::client::{Client, ClientError};
use crate::config::{DataFlags, LoadedConfig, Origin, Settings};
use crate::http;
use crate::server::address_file::{self, url_of};

/// The environment variable that names a server.
const URL_VARIABLE: &str = "BEAVER_URL";

/// Flags of every command that asks something of a queue.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// Talk to the server at this address and to no other [env: BEAVER_URL]
    #[arg(long, value_name = "URL", help_heading = "Which queue")]
    url: Option<String>,
    /// Work on the data directory itself; no server may be running on it
    #[arg(long, conflicts_with = "url", help_heading = "Which queue")]
    offline: bool,
    #[command(flatten)]
    data: DataFlags,
}

/// What a command does with a data directory that no server holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It looks, beside others that look, and leaves every byte as it is.
    Look,
    /// It changes what is there.
    Change,
}

/// A queue that can be asked.
pub(crate) struct Target {
    /// Asks it, over a connection or in this process.
    pub(crate) client: Client,
    /// The engine of this process that answers, and holds the directory's lock; none for a server.
    engine: Option<Engine>,
}

/// Where to look for a queue, in this order.
#[derive(Debug, PartialEq, Eq)]
enum Lookup {
    /// Only there.
    Server(String),
    /// The first server that answers, else the directory.
    Either(Vec<String>),
}

impl TargetArgs {
    /// Reads the configuration that these flags name.
    ///
    /// # Errors
    /// It makes no sense.
    pub(crate) fn load(&self) -> Result<LoadedConfig, CliFailure> {
        setup::load(&self.data.clone().into())
    }

    /// Finds the queue, asks it what a command wants to know or have done, and lets go of it.
    ///
    /// # Errors
    /// The configuration makes no sense; no server answers where one was named; the directory is locked, damaged, or
    /// absent; the answer is a refusal; or an engine of our own could not end cleanly.
    pub(crate) fn ask<T>(
        &self,
        access: Access,
        question: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> Result<T, CliFailure> {
        self.with_target(&self.load()?, access, async |target| {
            question(&target.client).await.map_err(|error| target.failure(error))
        })
    }

    /// As [`TargetArgs::ask`], for a command that has read the configuration already and makes failures of its own.
    ///
    /// # Errors
    /// As [`TargetArgs::ask`], and what `work` says.
    pub(crate) fn with_target<T>(
        &self,
        loaded: &LoadedConfig,
        access: Access,
        work: impl AsyncFnOnce(&Target) -> Result<T, CliFailure>,
    ) -> Result<T, CliFailure> {
        runtime::block_on(async {
            let target = self.open(loaded, access).await?;
            let outcome = work(&target).await;
            let closed = target.close().await;
            // What went wrong first says more.
            let outcome = outcome?;
            closed.map(|()| outcome)
        })
    }

    /// Finds the queue. On an actix system only.
    async fn open(&self, loaded: &LoadedConfig, access: Access) -> Result<Target, CliFailure> {
        let settings = &loaded.settings;
        // That it is text was looked at when the command began.
        let variable = std::env::var(URL_VARIABLE).ok();
        let defaults = default_urls(
            SocketAddr::new(settings.bind, settings.metrics_port),
            address_file::read(&settings.engine.data_dir),
            names_directory(loaded),
        );
        let urls = match plan(self.url.as_deref(), variable.as_deref(), self.offline, defaults) {
            Lookup::Server(url) => return Ok(Target::server(client(&url)?)),
            Lookup::Either(urls) => urls,
        };
        for url in &urls {
            let client = client(url)?;
            if client.is_live().await {
                return Ok(Target::server(client));
            }
        }
        if access == Access::Change && !self.offline && !names_directory(loaded) {
            let dir = settings.engine.data_dir.display();
            let message = format!("{}, so nothing was changed", nobody_answers(&urls));
            return Err(CliFailure::new(Exit::NoServer, message).hint(format!(
                "try again when the server runs; --offline works on {dir} itself, which a server has to be started on later"
            )));
        }
        open_directory(settings, &urls, access).await
    }
}

impl Target {
    /// The server that `client` asks.
    pub(crate) fn server(client: Client) -> Target {
        Target { client, engine: None }
    }

    /// Whether no server is there, but an engine of our own.
    pub(crate) fn is_offline(&self) -> bool {
        self.engine.is_some()
    }

    /// What an answer that is not the hoped-for one means for the command.
    pub(crate) fn failure(&self, error: ClientError) -> CliFailure {
        match &self.engine {
            None => refused(error),
            Some(engine) => declined(engine, error),
        }
    }

    /// Lets go of the queue: an engine of our own is stopped and everything is on disk.
    async fn close(self) -> Result<(), CliFailure> {
        match self.engine {
            None => Ok(()),
            Some(engine) => from_ending(engine.stop(None).await),
        }
    }
}

fn plan(flag: Option<&str>, variable: Option<&str>, offline: bool, defaults: Vec<String>) -> Lookup {
    if let Some(url) = flag {
        return Lookup::Server(url.to_owned());
    }
    // What was typed goes before what was exported some day.
    if offline {
        return Lookup::Either(Vec::new());
    }
    match variable.filter(|url| !url.is_empty()) {
        Some(url) => Lookup::Server(url.to_owned()),
        None => Lookup::Either(defaults),
    }
}

/// Whether the data directory was named on this very command line.
fn names_directory(loaded: &LoadedConfig) -> bool {
    loaded.values.iter().any(|value| value.key == "data_dir" && matches!(value.origin, Origin::Flag(_)))
}

fn default_urls(
    configured: SocketAddr,
    written: Option<SocketAddr>,
    directory_is_meant: bool,
) -> Vec<String> {
    let mut urls: Vec<String> = written.map(url_of).into_iter().collect();
    let findable = configured.port() != 0;
    if findable && !directory_is_meant && !urls.contains(&url_of(configured)) {
        urls.push(url_of(configured));
    }
    urls
}

fn client(url: &str) -> Result<Client, CliFailure> {
    Client::new(url).map_err(refused)
}

async fn open_directory(settings: &Settings, tried: &[String], access: Access) -> Result<Target, CliFailure> {
    let dir = settings.engine.data_dir.clone();
    // A change must not make one, not even of a directory that is there.
    let is_store = settings.engine.wal_dir.exists() || settings.engine.snapshot_dir.exists();
    if access == Access::Change && !is_store {
        return Err(nothing_there(tried, &dir));
    }
    let mut options = settings.engine.clone();
    // No workers: this process stays only as long as its answer takes.
    options.worker_count = 0;
    // Rewriting the state of a large queue for the sake of one job would be out of proportion; the log has it.
    options.snapshot_at_stop = false;
    let (engine, doing) = match access {
        Access::Look => (Engine::open_read_only(options), "reading"),
        Access::Change => (Engine::start(options, Handlers::new()), "working on"),
    };
    match engine.ready().await {
        Ok(()) => {
            note(format_args!("{}: {doing} {} directly", nobody_answers(tried), dir.display()));
            let router = http::in_process(engine.clone(), settings);
            Ok(Target { client: Client::in_process(router, &dir), engine: Some(engine) })
        }
        Err(Ending::Failed { cause: FailCause::Locked, .. }) => Err(locked(tried, &dir)),
        Err(Ending::Failed { cause: FailCause::Absent, .. }) => Err(nothing_there(tried, &dir)),
        Err(ending) => Err(from_ending(ending).err().unwrap_or_else(|| {
            CliFailure::new(
                Exit::Failure,
                format!("the engine on {} stopped before it was ready", dir.display()),
            )
        })),
    }
}

fn nobody_answers(tried: &[String]) -> String {
    match tried {
        [] => "no server was asked".to_owned(),
        urls => format!("no server answers at {}", urls.join(" or ")),
    }
}

fn nothing_there(tried: &[String], dir: &Path) -> CliFailure {
    let message = format!("{} and there is no data in {}", nobody_answers(tried), dir.display());
    CliFailure::new(Exit::NoServer, message)
        .hint("start a server with `beaver run`, or name one with --url or a directory with --data-dir")
}

fn locked(tried: &[String], dir: &Path) -> CliFailure {
    let message = format!("{}, but a process holds the lock of {}", nobody_answers(tried), dir.display());
    CliFailure::new(Exit::NoServer, message).hint("name the address of the server that runs there with --url")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = "http://127.0.0.1:9090";

    fn planned(flag: Option<&str>, variable: Option<&str>, offline: bool) -> Lookup {
        plan(flag, variable, offline, vec![DEFAULT.to_owned()])
    }

    #[test]
    fn a_url_that_was_given_is_the_only_place_to_look() {
        let only = |url: &str| Lookup::Server(url.to_owned());
        assert_eq!(planned(Some("http://a:1"), Some("http://b:2"), false), only("http://a:1"));
        assert_eq!(planned(None, Some("http://b:2"), false), only("http://b:2"));
    }

    #[test]
    fn without_a_url_the_default_one_is_tried_before_the_directory() {
        let default = Lookup::Either(vec![DEFAULT.to_owned()]);
        assert_eq!(planned(None, None, false), default);
        assert_eq!(planned(None, Some(""), false), default);
    }

    #[test]
    fn offline_asks_no_server_even_if_the_environment_names_one() {
        assert_eq!(planned(None, Some("http://b:2"), true), Lookup::Either(Vec::new()));
    }

    #[test]
    fn the_address_that_a_server_left_in_the_directory_is_tried_first() {
        let (configured, written) = ("127.0.0.1:9090".parse().unwrap(), "127.0.0.1:4100".parse().unwrap());
        let there = "http://127.0.0.1:4100";
        assert_eq!(default_urls(configured, Some(written), false), [there, DEFAULT]);
        assert_eq!(default_urls(configured, Some(configured), false), [DEFAULT]);
        assert_eq!(default_urls(configured, Some(written), true), [there]);
    }

    #[test]
    fn a_directory_that_was_named_is_not_mistaken_for_the_one_of_another_server() {
        assert!(default_urls("127.0.0.1:9090".parse().unwrap(), None, true).is_empty());
    }

    #[test]
    fn any_free_port_is_not_a_port_to_connect_to() {
        assert!(default_urls("127.0.0.1:0".parse().unwrap(), None, false).is_empty());
    }
}
