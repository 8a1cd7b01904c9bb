//! The client against servers that a test scripts: refusals, errors, connections that break off.

use std::sync::{Arc, Mutex};

use beaver_actors::ids::JobId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// A server for one connection: takes one whole request, writes `answer` as it stands, closes, returns the request.
async fn scripted(answer: impl Into<String>) -> (Client, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let answer = answer.into();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !is_whole(&request) {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request broke off");
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (client, server)
}

fn is_whole(request: &[u8]) -> bool {
    let text = std::str::from_utf8(request).unwrap();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() == announced.map_or(0, |bytes| bytes.parse().unwrap())
}

fn id(text: &str) -> JobId {
    JobId::parse(text).unwrap()
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::new(&url).unwrap();
    let error = client.status().await.unwrap_err();
    assert!(matches!(&error, ClientError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&url), "{error}");
    assert!(!client.is_live().await);
}

#[tokio::test]
async fn a_connection_that_breaks_off_leaves_the_outcome_unknown() {
    for answer in ["", "HTTP/1.1 201", "HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n[{\"id\":"] {
        let (client, server) = scripted(answer).await;
        let error = client.enqueue(b"{}\n".to_vec(), |_| {}).await.unwrap_err();
        assert!(matches!(error, ClientError::Lost { .. }), "{answer}: {error:?}");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let patience = Duration::from_millis(20);
    let error = client.answer(Method::GET, "/livez", Upload::empty(), patience).await.unwrap_err();
    assert!(matches!(&error, ClientError::Lost { cause, .. } if cause.contains("20ms")), "{error:?}");
}

#[tokio::test]
async fn a_refusal_carries_the_servers_code_and_words() {
    let body = r#"{"error":{"code":"bad_job","message":"line 3: field \"id\": 1 is not a string","line":3}}"#;
    let (client, server) = scripted(http("400 Bad Request", body)).await;
    match client.enqueue(b"{}\n".to_vec(), |_| {}).await {
        Err(ClientError::Refused { status, code, message }) => {
            assert_eq!((status, code.as_str()), (400, "bad_job"));
            assert_eq!(message, "line 3: field \"id\": 1 is not a string");
        }
        other => panic!("{other:?}"),
    }
    server.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_not_from_a_beaver_server_is_told_from_a_refusal() {
    for answer in [http("404 Not Found", "<html>nginx</html>"), http("200 OK", "<html>hello</html>")] {
        let (client, server) = scripted(answer).await;
        match client.status().await {
            Err(ClientError::Protocol(message)) => assert!(message.contains("<html>"), "{message}"),
            other => panic!("{other:?}"),
        }
        server.await.unwrap();
    }
}

#[tokio::test]
async fn jobs_are_sent_whole_and_progress_is_told_on_the_way() {
    let (client, server) =
        scripted(http("201 Created", r#"[{"id":"a","created":true},{"id":"b","created":false}]"#)).await;
    let ndjson = "{\"id\":\"a\"}\n".repeat(20_000);
    let progress = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&progress);
    let on_sent = move |bytes| told.lock().unwrap().push(bytes);
    let enqueued = client.enqueue(ndjson.clone().into_bytes(), on_sent).await.unwrap();
    assert_eq!(
        enqueued,
        [EnqueuedJob { id: id("a"), created: true }, EnqueuedJob { id: id("b"), created: false }]
    );
    let request = server.await.unwrap();
    assert!(request.starts_with("POST /api/v1/jobs HTTP/1.1\r\n"), "{request:.100}");
    assert!(request.ends_with(&ndjson));
    let progress = progress.lock().unwrap();
    assert!(progress.len() > 1 && progress.is_sorted(), "{progress:?}");
    assert_eq!(progress.last(), Some(&(ndjson.len() as u64)));
}

#[tokio::test]
async fn a_single_job_is_answered_by_a_single_object() {
    let (client, server) = scripted(http("201 Created", r#"{"id":"a","created":true}"#)).await;
    let enqueued = client.enqueue(b"{}\n".to_vec(), |_| {}).await.unwrap();
    assert_eq!(enqueued, [EnqueuedJob { id: id("a"), created: true }]);
    server.await.unwrap();
}

#[tokio::test]
async fn an_id_travels_in_the_path_whatever_its_characters() {
    let (client, server) = scripted(http("200 OK", r#"{"id":"café/1 ?"}"#)).await;
    assert!(client.job("café/1 ?").await.unwrap().get().contains(r#""id":"café/1 ?""#));
    let request = server.await.unwrap();
    assert!(request.starts_with("GET /api/v1/jobs/caf%C3%A9%2F1%20%3F HTTP/1.1\r\n"), "{request}");
    assert!(
        request.contains(&format!("host: {}\r\n", client.place().strip_prefix("http://").unwrap())),
        "{request}"
    );

    let (client, server) = scripted(http("200 OK", r#"{"id":"a","status":"cancelled"}"#)).await;
    client.cancel("a").await.unwrap();
    assert!(server.await.unwrap().starts_with("DELETE /api/v1/jobs/a HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_server_may_be_live_without_being_ready() {
    let (client, server) = scripted(http("200 OK", "ok")).await;
    assert!(client.is_live().await);
    assert!(server.await.unwrap().starts_with("GET /livez "));
    let (client, server) =
        scripted(http("503 Service Unavailable", r#"{"ready":false,"phase":"recovering"}"#)).await;
    assert!(!client.is_ready().await);
    assert!(server.await.unwrap().starts_with("GET /readyz "));
}
