//! Requests to a server over TCP: a connection each, and a clear account of what went wrong.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::http::uri::Scheme;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::HOST;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::ClientError;
use super::upload::Upload;

const PORT_DEFAULT: u16 = 80;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Where a server is. Cheap; connects anew for each request.
#[derive(Clone, Debug)]
pub(super) struct Tcp {
    /// As it was given.
    pub(super) url: String,
    host: String,
    port: u16,
    pub(super) authority: String,
    /// What a reverse proxy may have in front of every path; no slash at its end.
    prefix: String,
}

impl Tcp {
    /// The server at `url`, such as `http://127.0.0.1:9090`. Does not connect yet.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`]
    pub(super) fn new(url: &str) -> Result<Tcp, ClientError> {
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
        Ok(Tcp {
            url: url.trim().trim_end_matches('/').to_owned(),
            host,
            port: authority.port_u16().unwrap_or(PORT_DEFAULT),
            authority: authority.as_str().to_owned(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Sends one request and returns what is answered. `patience` is how long nothing may move.
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        upload: Upload,
        patience: Duration,
    ) -> Result<(StatusCode, Bytes), ClientError> {
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
        Ok((status, self.body(response, patience).await?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_work_is_refused_with_its_reason() {
        for (url, reason) in [
            ("https://localhost:9090", "TLS"),
            ("localhost:9090", "does not begin with http://"),
            ("127.0.0.1", "does not begin with http://"),
            ("ftp://localhost", "does not begin with http://"),
            ("", "is not readable"),
            ("http://", "is not readable"),
            ("http://me:secret@localhost", "user name or password"),
            ("http://localhost/?a=b", "has a query"),
            ("http://local host", "is not readable"),
        ] {
            match Tcp::new(url) {
                Err(ClientError::BadUrl(message)) => assert!(message.contains(reason), "{url}: {message}"),
                other => panic!("{url}: {other:?}"),
            }
        }
    }

    #[test]
    fn host_port_and_prefix_are_taken_from_the_url() {
        for (url, host, port, prefix) in [
            ("http://localhost", "localhost", 80, ""),
            ("http://[::1]:9090/", "::1", 9090, ""),
            ("http://example.org/queue/", "example.org", 80, "/queue"),
        ] {
            let tcp = Tcp::new(url).unwrap();
            assert_eq!((tcp.host.as_str(), tcp.port, tcp.prefix.as_str()), (host, port, prefix));
        }
    }
}
