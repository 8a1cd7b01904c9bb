//! Which server a command talks to, or which data directory it works on itself.
//!
//! | given | then |
//! |---|---|
//! | `--url`, else `BEAVER_URL` | that server and nothing else; if it does not answer, nothing is written |
//! | `--offline` | the data directory, under its lock |
//! | neither | the first server that answers, else the data directory |
//!
//! Servers are looked for at the address that one left in the data directory, then at `bind:metrics_port`.
//! But a data directory that the command line names (`--data-dir`) is meant: what answers at
//! `bind:metrics_port` serves another one, or its address would be in that directory.

use std::net::SocketAddr;
use std::path::Path;

use beaver_actors::engine::{Ending, Engine, FailCause, QueueSet};
use beaver_actors::ids::{JobId, QueueName};
use beaver_actors::jobs::JobSpec;
use beaver_actors::worker::handler::Handlers;
use clap::Args;
use serde_json::Value;

use super::answer::unreadable;
use super::exit::{CliFailure, Exit, declined, from_ending, refused, senseless};
use super::output::{Receipt, note};
use super::{runtime, setup};
use crate::client::Client;
use crate::config::{DataFlags, LoadedConfig, Origin, Settings};
use crate::query::words::{ActionWords, ListWords};
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

/// What a command needs of a data directory that no server holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It may be created: there is something to put into it.
    Create,
    /// Without it there is nothing to ask.
    Refuse,
}

/// A queue that can be asked.
pub(crate) enum Target {
    /// Through a server.
    ServerProcess(Client),
    /// In this process, which holds the directory's lock.
    Directory(Engine),
}

/// Where to look for a queue, in this order.
#[derive(Debug, PartialEq, Eq)]
enum Lookup {
    /// Only there.
    ServerProcess(String),
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
    /// absent; `question` failed; or an engine of our own could not end cleanly.
    pub(crate) fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&Target) -> Result<T, CliFailure>,
    ) -> Result<T, CliFailure> {
        self.ask_loaded(&self.load()?, Absent::Refuse, question)
    }

    /// As [`TargetArgs::ask`], when the configuration has been read already.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn ask_loaded<T>(
        &self,
        loaded: &LoadedConfig,
        absent: Absent,
        question: impl AsyncFnOnce(&Target) -> Result<T, CliFailure>,
    ) -> Result<T, CliFailure> {
        runtime::block_on(async {
            let target = self.open(loaded, absent).await?;
            let answer = question(&target).await;
            let closed = target.close().await;
            // What went wrong first says more.
            let answer = answer?;
            closed.map(|()| answer)
        })
    }

    /// Finds the queue. On an actix system only.
    async fn open(&self, loaded: &LoadedConfig, absent: Absent) -> Result<Target, CliFailure> {
        let settings = &loaded.settings;
        let variable = std::env::var(URL_VARIABLE).ok();
        let defaults = default_urls(
            SocketAddr::new(settings.bind, settings.metrics_port),
            address_file::read(&settings.engine.data_dir),
            names_directory(loaded),
        );
        let urls = match plan(self.url.as_deref(), variable.as_deref(), self.offline, defaults) {
            Lookup::ServerProcess(url) => return Ok(Target::ServerProcess(client(&url)?)),
            Lookup::Either(urls) => urls,
        };
        for url in &urls {
            let client = client(url)?;
            if client.is_live().await {
                return Ok(Target::ServerProcess(client));
            }
        }
        open_directory(settings, &urls, absent).await
    }
}

impl Target {
    /// One job as JSON.
    ///
    /// # Errors
    /// There is no such job, or no answer.
    pub(crate) async fn job(&self, id: &JobId) -> Result<Value, CliFailure> {
        match self {
            Target::ServerProcess(client) => client.job(&id.to_string()).await.map_err(refused),
            Target::Directory(engine) => {
                let view = engine.job(id.clone()).await.map_err(|error| declined(engine, &error))?;
                json(&view)
            }
        }
    }

    /// The queue at a glance as JSON. Its `phase` is `offline` when no server answered.
    ///
    /// # Errors
    /// No answer.
    pub(crate) async fn status(&self) -> Result<Value, CliFailure> {
        match self {
            Target::ServerProcess(client) => client.status().await.map_err(refused),
            Target::Directory(engine) => {
                let status = engine.status().await.map_err(|error| declined(engine, &error))?;
                let mut status = json(&status)?;
                status["phase"] = "offline".into();
                status["version"] = env!("CARGO_PKG_VERSION").into();
                Ok(status)
            }
        }
    }

    /// Every queue as JSON.
    ///
    /// # Errors
    /// No answer.
    pub(crate) async fn queues(&self) -> Result<Vec<Value>, CliFailure> {
        let queues = match self {
            Target::ServerProcess(client) => client.queues().await.map_err(refused)?,
            Target::Directory(engine) => {
                json(&engine.status().await.map_err(|error| declined(engine, &error))?.queues)?
            }
        };
        match queues {
            Value::Array(queues) => Ok(queues),
            other => Err(unreadable("queues", &other)),
        }
    }

    /// Pauses a queue, or resumes it.
    ///
    /// # Errors
    /// There is no such queue, or no answer.
    pub(crate) async fn set_paused(&self, queue: &QueueName, paused: bool) -> Result<(), CliFailure> {
        match self {
            Target::ServerProcess(client) => client.set_paused(queue.as_str(), paused).await.map_err(refused),
            Target::Directory(engine) => {
                let set = QueueSet::Named(vec![queue.clone()]);
                let answer = if paused { engine.pause(set) } else { engine.resume(set) };
                answer.await.map(drop).map_err(|error| declined(engine, &error))
            }
        }
    }

    /// Discards the pending jobs of a queue and forgets it; returns how many jobs.
    ///
    /// # Errors
    /// There is no such queue, or no answer.
    pub(crate) async fn remove_queue(&self, queue: &QueueName) -> Result<u64, CliFailure> {
        match self {
            Target::ServerProcess(client) => client.remove_queue(queue.as_str()).await.map_err(refused),
            Target::Directory(engine) => {
                let removed = engine.remove_queues(QueueSet::Named(vec![queue.clone()]));
                removed.await.map_err(|error| declined(engine, &error))
            }
        }
    }

    /// Jobs of a set as JSON, and whether there are further ones.
    ///
    /// # Errors
    /// The words make no sense, or no answer.
    pub(crate) async fn jobs(&self, words: &ListWords) -> Result<(Vec<Value>, bool), CliFailure> {
        match self {
            Target::ServerProcess(client) => client.jobs(words).await.map_err(refused),
            Target::Directory(engine) => {
                let (set, filter, limit) = words.read().map_err(senseless)?;
                let jobs = engine.list(set, filter, limit + 1).await;
                let jobs = jobs.map_err(|error| declined(engine, &error))?;
                let more = jobs.len() > limit;
                let jobs = jobs.iter().take(limit).map(json).collect::<Result<_, _>>()?;
                Ok((jobs, more))
            }
        }
    }

    /// Does the same to every job of a set; returns to how many.
    ///
    /// # Errors
    /// The words make no sense, or no answer.
    pub(crate) async fn act(&self, words: &ActionWords) -> Result<u64, CliFailure> {
        match self {
            Target::ServerProcess(client) => client.act(words).await.map_err(refused),
            Target::Directory(engine) => {
                let (action, set, filter) = words.read().map_err(senseless)?;
                engine.act(action, set, filter).await.map_err(|error| declined(engine, &error))
            }
        }
    }

    /// Withdraws a job.
    ///
    /// # Errors
    /// There is no such job, it has ended, or no answer.
    pub(crate) async fn cancel(&self, id: &JobId) -> Result<(), CliFailure> {
        match self {
            Target::ServerProcess(client) => client.cancel(&id.to_string()).await.map_err(refused),
            Target::Directory(engine) => {
                engine.cancel(id.clone()).await.map_err(|error| declined(engine, &error))
            }
        }
    }

    /// Lets go of the queue: an engine of our own is stopped and everything is on disk.
    async fn close(self) -> Result<(), CliFailure> {
        match self {
            Target::ServerProcess(_) => Ok(()),
            Target::Directory(engine) => from_ending(engine.stop(None).await),
        }
    }
}

/// Adds jobs through an engine of this process; what goes to a server is sent by [`send`](super::send).
///
/// # Errors
/// A job was rejected, and nothing was added; or no answer.
pub(crate) async fn enqueue_directly(
    engine: &Engine,
    jobs: Vec<JobSpec>,
) -> Result<Vec<Receipt>, CliFailure> {
    let enqueued = engine.enqueue(jobs).await.map_err(|error| declined(engine, &error))?;
    Ok(enqueued.into_iter().map(|one| Receipt { id: one.id.to_string(), created: one.created }).collect())
}

fn plan(flag: Option<&str>, variable: Option<&str>, offline: bool, defaults: Vec<String>) -> Lookup {
    if let Some(url) = flag {
        return Lookup::ServerProcess(url.to_owned());
    }
    // What was typed goes before what was exported some day.
    if offline {
        return Lookup::Either(Vec::new());
    }
    match variable.filter(|url| !url.is_empty()) {
        Some(url) => Lookup::ServerProcess(url.to_owned()),
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

async fn open_directory(settings: &Settings, tried: &[String], absent: Absent) -> Result<Target, CliFailure> {
    let dir = settings.engine.data_dir.clone();
    if absent == Absent::Refuse && !dir.exists() {
        return Err(nothing_there(tried, &dir));
    }
    // No workers: this process stays only as long as its answer takes.
    let mut options = settings.engine.clone();
    options.worker_count = 0;
    // Rewriting the state of a large queue for the sake of one job would be out of proportion; the log has it.
    options.snapshot_at_stop = false;
    let engine = Engine::start(options, Handlers::new());
    match engine.ready().await {
        Ok(()) => {
            note(format_args!("{}: working on {} directly", nobody_answers(tried), dir.display()));
            Ok(Target::Directory(engine))
        }
        Err(Ending::Failed { cause: FailCause::Locked, .. }) => Err(locked(tried, &dir)),
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

fn json(value: &impl serde::Serialize) -> Result<Value, CliFailure> {
    serde_json::to_value(value)
        .map_err(|error| CliFailure::new(Exit::Failure, format!("cannot write the answer as JSON: {error}")))
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
        let only = |url: &str| Lookup::ServerProcess(url.to_owned());
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
