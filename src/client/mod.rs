//! The command line's side of the HTTP API: one request, one connection, a clear account of what went wrong.
//!
//! What matters to a producer is whether a job may have been accepted. [`ClientError::Unreachable`] says that
//! nothing was sent; [`ClientError::Lost`] says that nobody knows; everything else is the server's word.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::uri::Scheme;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::HOST;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::query::words::{ActionWords, ListWords};
use crate::wire::answers::{ChangedJobs, EnqueuedJob, ErrorAnswer, JobList, RemovedQueue};

const PORT_DEFAULT: u16 = 80;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection may stand still, neither taking bytes nor giving some, before it is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Whoever asks whether a server is up wants to know now.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// BodyReader are handed over in pieces of this size, so that progress can be shown.
const PIECE_BYTES: usize = 64 << 10;
/// How much of an answer that is not ours an error repeats, in characters.
const SHOWN_CHARS_MAX: usize = 200;

/// Where a server is. Cheap; connects anew for each request.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    url: String,
    host: String,
    port: u16,
    authority: String,
    /// What a reverse proxy may have in front of every path; no slash at its end.
    prefix: String,
}

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The URL cannot be used. The text says why.
    #[error("{0}")]
    BadUrl(String),
    /// Nobody listens there. Nothing was sent.
    #[error("no server at {url}: {cause}")]
    Unreachable {
        /// Where it was tried.
        url: String,
        /// What the system said.
        cause: String,
    },
    /// The connection broke off before the answer was complete. What was asked may be done or not.
    #[error("lost the connection to {url}: {cause}")]
    Lost {
        /// Who it was.
        url: String,
        /// What happened.
        cause: String,
    },
    /// The server said no. Unless the code is `unknown`, nothing was done.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Stable name for programs.
        code: String,
        /// For people.
        message: String,
    },
    /// The answer is not one that a beaver server gives.
    #[error("{0}")]
    Protocol(String),
}

impl Client {
    /// A client of the server at `url`, such as `http://127.0.0.1:9090`. Does not connect yet.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`]
    pub(crate) fn new(url: &str) -> Result<Client, ClientError> {
        let bad = |problem: &str| ClientError::BadUrl(format!("the URL {url:?} {problem}"));
        let uri: Uri = url.trim().parse().map_err(|error| bad(&format!("is not readable: {error}")))?;
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => {}
            Some(scheme) if *scheme == Scheme::HTTPS => {
                return Err(bad(
                    "needs TLS, which is not supported: use http:// (through a tunnel or proxy)",
                ));
            }
            _ => return Err(bad("does not begin with http://")),
        }
        let authority = uri.authority().ok_or_else(|| bad("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("has a user name or password, which the server does not know"));
        }
        if uri.query().is_some() {
            return Err(bad("has a query, and only a host, a port and a path make sense"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(bad("names no host"));
        }
        Ok(Client {
            url: url.trim().trim_end_matches('/').to_owned(),
            host,
            port: authority.port_u16().unwrap_or(PORT_DEFAULT),
            authority: authority.as_str().to_owned(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Where the server is, as it was given.
    #[must_use]
    pub(crate) fn url(&self) -> &str {
        &self.url
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

    /// One job with all that the server tells about it.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the code `not_found`, among others.
    pub(crate) async fn job(&self, id: &str) -> Result<serde_json::Value, ClientError> {
        self.ask(Method::GET, &job_path(id), Vec::new()).await
    }

    /// The queue at a glance.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) async fn status(&self) -> Result<serde_json::Value, ClientError> {
        self.ask(Method::GET, "/api/v1/status", Vec::new()).await
    }

    /// Withdraws a job.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the code `not_found` or `finished`, among others.
    pub(crate) async fn cancel(&self, id: &str) -> Result<(), ClientError> {
        self.answer(Method::DELETE, &job_path(id), Upload::empty(), STALL_TIMEOUT).await.map(|_| ())
    }

    /// Every queue, with whether it is paused, how long its first job waits, and its jobs by status.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) async fn queues(&self) -> Result<serde_json::Value, ClientError> {
        self.ask(Method::GET, "/api/v1/queues", Vec::new()).await
    }

    /// Lets nobody have jobs of a queue any more, or lets them again.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the code `not_found`, among others.
    pub(crate) async fn set_paused(&self, queue: &str, paused: bool) -> Result<(), ClientError> {
        let verb = if paused { "pause" } else { "resume" };
        let path = format!("/api/v1/queues/{}/{verb}", encoded(queue));
        self.ask::<serde_json::Value>(Method::POST, &path, Vec::new()).await.map(|_| ())
    }

    /// Discards the pending jobs of a queue and forgets it. Answers how many jobs.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the code `not_found`, among others.
    pub(crate) async fn remove_queue(&self, queue: &str) -> Result<u64, ClientError> {
        let path = format!("/api/v1/queues/{}", encoded(queue));
        let RemovedQueue { discarded, .. } = self.ask(Method::DELETE, &path, Vec::new()).await?;
        Ok(discarded)
    }

    /// Jobs in a status, and whether there are further ones.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) async fn jobs(
        &self,
        words: &ListWords,
    ) -> Result<(Vec<serde_json::Value>, bool), ClientError> {
        let query: Vec<_> =
            words.pairs().into_iter().map(|(name, value)| format!("{name}={}", encoded(&value))).collect();
        let path = format!("/api/v1/jobs?{}", query.join("&"));
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
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.lost(&error))?;
        // It ends with the request: the sender is dropped here, and the connection closes.
        tokio::spawn(connection);
        let sent = Arc::clone(&upload.sent);
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(HOST, &self.authority)
            .body(upload)
            .map_err(|error| ClientError::BadUrl(format!("the URL {:?} is not usable: {error}", self.url)))?;
        let response = self.unless_stalled(sender.send_request(request), &sent, patience).await?;
        let status = response.status();
        let body = self.body(response, patience).await?;
        if status.is_success() { Ok(body) } else { Err(self.refused(status, &body)) }
    }

    async fn connect(&self) -> Result<TcpStream, ClientError> {
        let unreachable = |cause: String| ClientError::Unreachable { url: self.url.clone(), cause };
        match timeout(CONNECT_TIMEOUT, TcpStream::connect((self.host.as_str(), self.port))).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(unreachable(error.to_string())),
            Err(_) => Err(unreachable(format!("no connection within {CONNECT_TIMEOUT:?}"))),
        }
    }

    /// Waits for the head of the answer. A slow upload may take its time as long as it moves.
    async fn unless_stalled(
        &self,
        response: impl Future<Output = hyper::Result<Response<Incoming>>>,
        sent: &AtomicU64,
        patience: Duration,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut response = std::pin::pin!(response);
        loop {
            let sent_before = sent.load(Relaxed);
            match timeout(patience, &mut response).await {
                Ok(outcome) => return outcome.map_err(|error| self.lost(&error)),
                Err(_) if sent.load(Relaxed) == sent_before => return Err(self.stalled(patience)),
                Err(_) => {}
            }
        }
    }

    async fn body(&self, response: Response<Incoming>, patience: Duration) -> Result<Bytes, ClientError> {
        let mut body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let mut answer = Vec::new();
        loop {
            match timeout(patience, body.frame()).await {
                Ok(Some(Ok(frame))) => answer.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Ok(Some(Err(error))) => return Err(self.lost(&*error)),
                Ok(None) => return Ok(answer.into()),
                Err(_) => return Err(self.stalled(patience)),
            }
        }
    }

    fn read<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(answer).map_err(|error| {
            let shown = shortened(answer);
            ClientError::Protocol(format!(
                "{} does not answer like a beaver server: {error}: {shown}",
                self.url
            ))
        })
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        match serde_json::from_slice(body) {
            Ok(ErrorAnswer { error }) => ClientError::Refused {
                status: status.as_u16(),
                code: error.code.into_owned(),
                message: error.message,
            },
            Err(_) => ClientError::Protocol(format!(
                "{} does not answer like a beaver server: {status}: {}",
                self.url,
                shortened(body)
            )),
        }
    }

    fn lost(&self, error: &(dyn std::error::Error + 'static)) -> ClientError {
        // hyper says what it did; only its cause says what the system answered.
        let causes = std::iter::successors(Some(error), |error| error.source());
        let cause = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        ClientError::Lost { url: self.url.clone(), cause }
    }

    fn stalled(&self, patience: Duration) -> ClientError {
        ClientError::Lost { url: self.url.clone(), cause: format!("nothing moved for {patience:?}") }
    }
}

fn job_path(id: &str) -> String {
    format!("/api/v1/jobs/{}", encoded(id))
}

/// Text as a part of an address.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn shortened(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(SHOWN_CHARS_MAX).collect()
}

/// A request's body that tells how much of it has been taken.
struct Upload {
    rest: Bytes,
    sent: Arc<AtomicU64>,
    on_sent: Box<dyn Fn(u64) + Send + Sync>,
}

impl Upload {
    fn new(body: Vec<u8>, on_sent: impl Fn(u64) + Send + Sync + 'static) -> Upload {
        Upload { rest: body.into(), sent: Arc::default(), on_sent: Box::new(on_sent) }
    }

    fn empty() -> Upload {
        Upload::new(Vec::new(), |_| {})
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let upload = self.get_mut();
        if upload.rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = upload.rest.split_to(PIECE_BYTES.min(upload.rest.len()));
        let piece_bytes = piece.len() as u64;
        let sent = upload.sent.fetch_add(piece_bytes, Relaxed) + piece_bytes;
        (upload.on_sent)(sent);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests;
