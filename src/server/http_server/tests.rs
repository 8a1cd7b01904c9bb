//! The accept loop with a router of its own: limits, time-outs, draining.

use std::future::Future;

use axum::extract::Request;
use axum::routing::{get, post};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

use super::*;
use crate::client::{Client, ClientError};
use beaver_actors::base::byte_budget::ByteBudget;

use crate::http::body::BodyReader;
use crate::http::deadline::Deadline;

/// Far more than anything here takes; a test that runs into it has failed.
const PATIENT: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(30);

fn limits() -> HttpLimits {
    HttpLimits {
        hosts: Vec::new(),
        body_bytes_max: 1_000,
        bodies_bytes_max: 1 << 20,
        answer_bytes_max: 1 << 20,
        connections_max: 100,
        header_timeout: PATIENT,
        request_timeout: PATIENT,
    }
}

async fn serve(router: Router, limits: &HttpLimits) -> (SocketAddr, HttpHandle) {
    let server = HttpServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = server.local_addr();
    (addr, server.serve(router, limits, || {}))
}

async fn soon<T>(event: impl Future<Output = T>) -> T {
    timeout(PATIENT, event).await.expect("the event should come")
}

async fn connect(addr: SocketAddr) -> TcpStream {
    TcpStream::connect(addr).await.unwrap()
}

/// A connection whose request has arrived before the server even accepts it: nothing else runs in between.
fn connect_and_send_at_once(addr: SocketAddr, request: &str) -> TcpStream {
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    stream.set_nonblocking(true).unwrap();
    TcpStream::from_std(stream).unwrap()
}

/// Everything until the server closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        text.push(char::from(soon(stream.read_u8()).await.unwrap()));
    }
    text
}

async fn ask(addr: SocketAddr, request: &str) -> String {
    let mut stream = connect(addr).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    rest(&mut stream).await
}

const GET_AND_CLOSE: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
const GET_AND_STAY: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// A route that reports each request and answers when it is released.
fn gate() -> (Router, mpsc::UnboundedReceiver<()>, Arc<Notify>) {
    let (entered, requests) = mpsc::unbounded_channel();
    let release = Arc::new(Notify::new());
    let released = Arc::clone(&release);
    let wait = move || {
        let (entered, released) = (entered.clone(), Arc::clone(&released));
        async move {
            entered.send(()).unwrap();
            released.notified().await;
            "released"
        }
    };
    (Router::new().route("/", get(wait)), requests, release)
}

fn body_reader(limits: &HttpLimits) -> Router {
    let bodies = Arc::new(BodyReader::new(limits.body_bytes_max, &ByteBudget::new(256 << 20)));
    let read = move |request: Request| {
        let bodies = Arc::clone(&bodies);
        async move {
            bodies.read(request, Deadline::after(PATIENT)).await.map(|body| body.bytes().len().to_string())
        }
    };
    Router::new().route("/api/v1/jobs", post(read))
}

#[tokio::test]
async fn a_connection_answers_one_request_after_the_other() {
    let (addr, server) = serve(Router::new().route("/", get(|| async { "hello" })), &limits()).await;
    let mut stream = connect(addr).await;
    for _ in 0..3 {
        stream.write_all(GET_AND_STAY.as_bytes()).await.unwrap();
        assert!(until(&mut stream, "hello").await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
    soon(server.shut_down(PATIENT)).await;
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_closes_the_connection() {
    let limits = HttpLimits { header_timeout: SHORT, ..limits() };
    let (addr, server) = serve(Router::new().route("/", get(|| async { "hello" })), &limits).await;
    for head in ["", "GET / HTTP/1.1\r\nhost"] {
        let answer = ask(addr, head).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    let mut idle = connect(addr).await;
    idle.write_all(GET_AND_STAY.as_bytes()).await.unwrap();
    assert!(rest(&mut idle).await.ends_with("hello"), "an idle connection is closed as well");
    soon(server.shut_down(PATIENT)).await;
}

#[tokio::test]
async fn a_surplus_connection_is_told_so_and_a_later_one_is_welcome() {
    let (router, mut requests, release) = gate();
    let limits = HttpLimits { connections_max: 1, ..limits() };
    let server = HttpServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = server.local_addr();
    let (count, mut surplus) = mpsc::unbounded_channel();
    let server = server.serve(router, &limits, move || count.send(()).unwrap());

    let mut first = connect(addr).await;
    first.write_all(GET_AND_CLOSE.as_bytes()).await.unwrap();
    soon(requests.recv()).await.unwrap();
    let mut turned_away = connect_and_send_at_once(addr, GET_AND_CLOSE);
    let answer = until(&mut turned_away, goodbye(1).rsplit("\r\n").next().unwrap()).await;
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    for _ in 0..2 {
        turned_away
            .write_all(b"more")
            .await
            .expect("who is still sending is not cut off, and so can hear the answer");
    }
    assert_eq!(rest(&mut turned_away).await, "");
    soon(surplus.recv()).await.unwrap();
    // More than are listened to while they are told so, and none of them has said anything.
    let mut crowd = Vec::new();
    for _ in 0..5 {
        crowd.push(connect(addr).await);
    }
    for silent in &mut crowd {
        until(silent, goodbye(1).rsplit("\r\n").next().unwrap()).await;
    }
    drop(crowd);

    release.notify_one();
    assert!(rest(&mut first).await.ends_with("released"));
    // Its place becomes free a moment after its client has seen the end.
    soon(async {
        release.notify_one();
        while !ask(addr, GET_AND_CLOSE).await.ends_with("released") {}
    })
    .await;
    soon(server.shut_down(PATIENT)).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_even_to_a_client_that_sends_all_of_it_first() {
    let (addr, server) = serve(body_reader(&limits()), &limits()).await;
    let large = "x".repeat(10_000_000);
    let announced =
        format!("POST /api/v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{large}", large.len());
    let streamed = format!(
        "POST /api/v1/jobs HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    for request in [announced.replace("host: x", "host: x\r\nconnection: close"), streamed] {
        let answer = ask(addr, &request).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(
            answer.contains(
                r#"{"error":{"code":"body_too_large","message":"the body has more than 1000 bytes"#
            )
        );
    }
    soon(server.shut_down(PATIENT)).await;
}

#[tokio::test]
async fn a_client_that_asks_first_need_not_send_a_body_that_is_too_large() {
    let (addr, server) = serve(body_reader(&limits()), &limits()).await;
    let answer = ask(
        addr,
        "POST /api/v1/jobs HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5000000\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    soon(server.shut_down(PATIENT)).await;
}

#[tokio::test]
async fn our_own_client_hears_why_its_body_was_refused() {
    let (addr, server) = serve(body_reader(&limits()), &limits()).await;
    let client = Client::new(&format!("http://{addr}")).unwrap();
    let error = soon(client.enqueue(vec![b'x'; 10_000_000], |_| {})).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused { status: 413, code, .. } if code == "body_too_large"),
        "{error:?}"
    );
    soon(server.shut_down(PATIENT)).await;
}

#[tokio::test]
async fn shutting_down_lets_a_running_request_end_and_turns_new_ones_away() {
    let (router, mut requests, release) = gate();
    let (addr, server) = serve(router, &limits()).await;
    let mut running = connect(addr).await;
    running.write_all(GET_AND_STAY.as_bytes()).await.unwrap();
    soon(requests.recv()).await.unwrap();

    let shut_down = tokio::spawn(server.shut_down(PATIENT));
    soon(async { while TcpStream::connect(addr).await.is_ok() {} }).await;
    assert!(!shut_down.is_finished(), "a request is still running");
    release.notify_one();
    assert!(rest(&mut running).await.ends_with("released"));
    soon(shut_down).await.unwrap();
}

#[tokio::test]
async fn shutting_down_closes_idle_connections_at_once() {
    let (addr, server) = serve(Router::new().route("/", get(|| async { "hello" })), &limits()).await;
    let mut used = connect(addr).await;
    used.write_all(GET_AND_STAY.as_bytes()).await.unwrap();
    until(&mut used, "hello").await;
    let mut fresh = connect(addr).await;

    soon(server.shut_down(PATIENT * 10)).await;
    assert_eq!(rest(&mut used).await, "");
    // The server may have closed before it ever accepted this one, which the system reports as a reset.
    let mut byte = [0];
    assert!(!matches!(soon(fresh.read(&mut byte)).await, Ok(1..)));
}

#[tokio::test]
async fn shutting_down_does_not_wait_longer_than_it_may() {
    let (router, mut requests, _release) = gate();
    let (addr, server) = serve(router, &limits()).await;
    let mut running = connect(addr).await;
    running.write_all(GET_AND_STAY.as_bytes()).await.unwrap();
    soon(requests.recv()).await.unwrap();
    soon(server.shut_down(SHORT)).await;
    let mut answer = Vec::new();
    let _ = soon(running.read_to_end(&mut answer)).await;
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn a_client_that_never_reads_its_answer_loses_the_connection() {
    let limits = HttpLimits { request_timeout: SHORT, ..limits() };
    let (answering, mut answers) = mpsc::unbounded_channel();
    let endless = move || {
        answering.send(()).unwrap();
        async { vec![b'x'; 64 << 20] }
    };
    let (addr, server) = serve(Router::new().route("/", get(endless)), &limits).await;
    let mut stream = connect(addr).await;
    stream.write_all(GET_AND_STAY.as_bytes()).await.unwrap();
    soon(answers.recv()).await.unwrap();
    // Draining would wait for this answer for ever if nobody gave up on it.
    soon(server.shut_down(PATIENT * 10)).await;
    let mut received = Vec::new();
    let _ = soon(stream.read_to_end(&mut received)).await;
    assert!(received.len() < 64 << 20, "the answer was cut off");
}

#[tokio::test]
async fn a_request_that_panics_breaks_only_its_own_connection() {
    let router = Router::new()
        .route("/panic", get(|| async { if true { panic!("on purpose") } else { "" } }))
        .route("/", get(|| async { "hello" }));
    let (addr, server) = serve(router, &limits()).await;
    let mut broken = connect(addr).await;
    broken.write_all(GET_AND_CLOSE.replace("GET /", "GET /panic").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(broken.read_to_end(&mut answer)).await;
    assert_eq!(answer, b"");
    assert!(ask(addr, GET_AND_CLOSE).await.ends_with("hello"));
    soon(server.shut_down(PATIENT)).await;
}

#[tokio::test]
async fn a_port_in_use_is_an_error_of_that_kind() {
    let first = HttpServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = HttpServer::bind(first.local_addr()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}
