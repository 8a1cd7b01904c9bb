//! The command line's side of the HTTP API: each verb once, for a server and for this process.
//!
//! `tcp` reaches a server, `in_process` the router of an engine in this very process; `upload` is what is sent, `error` why
//! there is no good answer.
//!
//! What matters to a producer is whether a job may have been accepted. [`ClientError::Unreachable`] says that
//! nothing was sent; [`ClientError::Lost`] says that nobody knows; everything else is the server's word.

mod error;
mod in_process;
mod tcp;
mod upload;

use std::path::Path;
use std::time::Duration;

use axum::Router;
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::time::timeout;

use self::in_process::InProcess;
use self::tcp::Tcp;
use self::upload::Upload;
use crate::query::queue_words::QueueWords;
use crate::query::words::{ActionWords, ListWords};
use crate::wire::answers::{
    CancelledJob, ChangedJobs, ConfirmedClock, EnqueuedJob, ErrorAnswer, JobList, PausedQueue, RemovedQueue,
    RemovedQueues,
};

pub(crate) use self::error::ClientError;

/// How long a connection may stand still, neither taking bytes nor giving some, before it is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// The question whether a server is up is meant for now.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// How much of an answer that is not ours an error repeats, in characters.
const SHOWN_CHARS_MAX: usize = 200;

/// Asks a queue. Clones ask the same one.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    transport: Transport,
}

/// How requests reach the queue.
#[derive(Clone, Debug)]
enum Transport {
    Tcp(Tcp),
    InProcess(InProcess),
}

impl Client {
    /// A client of the server at `url`, such as `http://127.0.0.1:9090`. Does not connect yet.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`]
    pub(crate) fn new(url: &str) -> Result<Client, ClientError> {
        Ok(Client { transport: Transport::Tcp(Tcp::new(url)?) })
    }

    /// A client of a router of this process, which works on `data_dir`.
    #[must_use]
    pub(crate) fn in_process(router: Router, data_dir: &Path) -> Client {
        Client { transport: Transport::InProcess(InProcess::new(router, data_dir.display().to_string())) }
    }

    /// Where the queue is: the server's URL as it was given, or the data directory.
    #[must_use]
    pub(crate) fn place(&self) -> &str {
        match &self.transport {
            Transport::Tcp(tcp) => &tcp.url,
            Transport::InProcess(in_process) => &in_process.place,
        }
    }

    /// Adds jobs, one JSON object a line: all or none, durable when this returns. One answer a job, in order.
    ///
    /// `on_sent` hears how many bytes of `ndjson` were handed to the connection so far (not how many more).
    ///
    /// # Errors
    /// See [`ClientError`]; only after [`ClientError::Lost`] or the code `unknown` may anything have been done.
    pub(crate) async fn enqueue(
        &self,
        ndjson: Vec<u8>,
        on_sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Vec<EnqueuedJob>, ClientError> {
        let upload = Upload::new(ndjson, on_sent);
        let answer = self.answer(Method::POST, "/api/v1/jobs", upload, STALL_TIMEOUT).await?;
        match answer.first() {
            Some(b'[') => self.read(&answer),
            _ => Ok(vec![self.read(&answer)?]),
        }
    }

    /// One job with all that the server tells about it, as it is written.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the code `not_found`, among others.
    pub(crate) async fn job(&self, id: &str) -> Result<Box<RawValue>, ClientError> {
        self.ask(Method::GET, &job_path(id), Vec::new()).await
    }

    /// The queue at a glance, with the queues of which there is most to say.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) async fn status(&self) -> Result<Box<RawValue>, ClientError> {
        self.ask(Method::GET, "/api/v1/status", Vec::new()).await
    }

    /// Withdraws a job.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the code `not_found` or `finished`, among others.
    pub(crate) async fn cancel(&self, id: &str) -> Result<CancelledJob, ClientError> {
        self.ask(Method::DELETE, &job_path(id), Vec::new()).await
    }

    /// The next queues, with whether it is paused, how long its first job waits, and its jobs by status.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) async fn queues(&self, words: &QueueWords) -> Result<Vec<serde_json::Value>, ClientError> {
        let path = format!("/api/v1/queues?{}", query(words.pairs()));
        self.ask(Method::GET, &path, Vec::new()).await
    }

    /// Discards the pending jobs of every queue whose name matches a pattern, and forgets these queues.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) async fn remove_queues(&self, pattern: &str) -> Result<RemovedQueues, ClientError> {
        let path = format!("/api/v1/queues?match={}", encoded(pattern));
        self.ask(Method::DELETE, &path, Vec::new()).await
    }

    /// Lets nobody have jobs of a queue any more, or lets them again.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the code `not_found`, among others.
    pub(crate) async fn set_paused(&self, queue: &str, paused: bool) -> Result<PausedQueue, ClientError> {
        let verb = if paused { "pause" } else { "resume" };
        let path = format!("/api/v1/queues/{}/{verb}", encoded(queue));
        self.ask(Method::POST, &path, Vec::new()).await
    }

    /// Says that the server's clock is right.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) async fn confirm_clock(&self) -> Result<ConfirmedClock, ClientError> {
        self.ask(Method::POST, "/api/v1/clock/confirm", Vec::new()).await
    }

    /// Discards the pending jobs of a queue and forgets it.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the code `not_found`, among others.
    pub(crate) async fn remove_queue(&self, queue: &str) -> Result<RemovedQueue, ClientError> {
        let path = format!("/api/v1/queues/{}", encoded(queue));
        self.ask(Method::DELETE, &path, Vec::new()).await
    }

    /// Jobs in a status, and whether there are further ones.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) async fn jobs(&self, words: &ListWords) -> Result<(Vec<Box<RawValue>>, bool), ClientError> {
        let path = format!("/api/v1/jobs?{}", query(words.pairs()));
        let JobList { jobs, more } = self.ask(Method::GET, &path, Vec::new()).await?;
        Ok((jobs, more))
    }

    /// Does the same to every job of a set. Answers to how many.
    ///
    /// # Errors
    /// See [`ClientError`]; only after [`ClientError::Lost`] or the code `unknown` may a part of it have been
    /// done.
    pub(crate) async fn act(&self, words: &ActionWords) -> Result<u64, ClientError> {
        let body = serde_json::to_vec(words).expect("words are JSON, and memory takes every write");
        let ChangedJobs { changed } = self.ask(Method::POST, "/api/v1/jobs/actions", body).await?;
        Ok(changed)
    }

    /// Remote workers and connections.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) async fn workers(&self) -> Result<serde_json::Value, ClientError> {
        self.ask(Method::GET, "/api/v1/workers", Vec::new()).await
    }

    /// Asks a remote worker to take no more jobs, or to end; returns what the server says that it is to do.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the code `not_found`, among others.
    pub(crate) async fn ask_worker(&self, wid: &str, ends: bool) -> Result<serde_json::Value, ClientError> {
        let verb = if ends { "terminate" } else { "quiet" };
        let path = format!("/api/v1/workers/{}/{verb}", encoded(wid));
        self.ask(Method::POST, &path, Vec::new()).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, ClientError> {
        self.read(&self.answer(method, path, Upload::new(body, |_| {}), STALL_TIMEOUT).await?)
    }

    /// Whether a server answers there at all, within a few seconds.
    pub(crate) async fn is_live(&self) -> bool {
        self.probe("/livez").await
    }

    /// Whether the server has recovered and takes jobs. No answer within a few seconds is a no.
    pub(crate) async fn is_ready(&self) -> bool {
        self.probe("/readyz").await
    }

    async fn probe(&self, path: &str) -> bool {
        let probe = self.answer(Method::GET, path, Upload::empty(), PROBE_TIMEOUT);
        matches!(timeout(PROBE_TIMEOUT, probe).await, Ok(Ok(_)))
    }

    /// Sends one request and returns the body of a good answer.
    async fn answer(
        &self,
        method: Method,
        path: &str,
        upload: Upload,
        patience: Duration,
    ) -> Result<Bytes, ClientError> {
        let (status, body) = match &self.transport {
            Transport::Tcp(tcp) => tcp.exchange(method, path, upload, patience).await?,
            Transport::InProcess(in_process) => in_process.exchange(method, path, upload).await?,
        };
        if status.is_success() { Ok(body) } else { Err(self.refused(status, &body)) }
    }

    fn read<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(answer).map_err(|error| {
            let shown = shortened(answer);
            ClientError::Protocol(format!(
                "{} does not answer like a beaver server: {error}: {shown}",
                self.place()
            ))
        })
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        match serde_json::from_slice(body) {
            Ok(ErrorAnswer { error }) => ClientError::Refused {
                status: status.as_u16(),
                message: error.told(),
                code: error.code.into_owned(),
            },
            Err(_) => ClientError::Protocol(format!(
                "{} does not answer like a beaver server: {status}: {}",
                self.place(),
                shortened(body)
            )),
        }
    }
}

fn query(pairs: Vec<(&'static str, String)>) -> String {
    let parts: Vec<_> =
        pairs.into_iter().map(|(name, value)| format!("{name}={}", encoded(&value))).collect();
    parts.join("&")
}

fn job_path(id: &str) -> String {
    format!("/api/v1/jobs/{}", encoded(id))
}

/// Text as a part of an address.
fn encoded(text: &str) -> PercentEncode<'_> {
    /// What may stand in any part of an address as it is (RFC 3986, 2.3).
    const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, UNRESERVED)
}

fn shortened(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
