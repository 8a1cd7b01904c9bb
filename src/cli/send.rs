//! Sending jobs to a server so that the outcome is known in the end, if it can be known.
//!
//! Every job has an id before it is sent, so a request whose answer was lost on the way can be sent again
//! without adding anything twice.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use beaver_actors::base::clock::{Clock, SystemClock};
use beaver_actors::ids::JobId;
use beaver_actors::jobs::JobSpec;
use indicatif::{ProgressBar, ProgressStyle};

use super::exit::{CliFailure, Exit};
use super::target::Target;
use crate::client::ClientError;
use crate::telemetry::logging;
use crate::wire::answers::{EnqueuedJob, UNKNOWN};
use crate::wire::job;

/// Sending more than this shows a progress bar on a terminal.
const BAR_BYTES_MIN: usize = 1 << 20;
/// A request that may not have arrived is sent again for this long.
const RESEND_FOR: Duration = Duration::from_secs(10);
const RESEND_PAUSE_MIN: Duration = Duration::from_millis(100);
const RESEND_PAUSE_MAX: Duration = Duration::from_secs(2);

/// The jobs of one request.
pub(crate) struct Request {
    pub(crate) jobs: Vec<JobSpec>,
    /// The ids that were made up here: nobody else can have used them.
    generated: Vec<bool>,
}

impl Request {
    /// Gives every job without an id a new one.
    pub(crate) fn identified(mut jobs: Vec<JobSpec>) -> Request {
        let now = SystemClock::default().now();
        let generated = jobs.iter().map(|job| job.id.is_none()).collect();
        for job in &mut jobs {
            job.id.get_or_insert_with(|| JobId::generate(now, fastrand::u128(..)));
        }
        Request { jobs, generated }
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for job in &self.jobs {
            job::write_line(job, &mut body);
        }
        body
    }

    /// What to do about an outcome that nobody knows.
    fn way_out(&self) -> String {
        if !self.generated.contains(&true) {
            return "every job has an id of yours: run the same command again, and nothing is added twice"
                .into();
        }
        let first =
            self.jobs.first().and_then(|job| job.id.as_ref()).map(ToString::to_string).unwrap_or_default();
        format!(
            "once the server answers, ask `beaver status {first}`: if it knows this job, all were enqueued; \
             if not, none was. Running this command again makes new ids and may enqueue the jobs twice"
        )
    }
}

/// Sends the request until its outcome is known or the time for that is up. An engine of this process is asked once: if
/// it died, it does not come back.
///
/// # Errors
/// Nothing was enqueued; or, as the message then says, the outcome is unknown.
pub(crate) async fn enqueue(target: &Target, request: &Request) -> Result<Vec<EnqueuedJob>, CliFailure> {
    let body = request.body();
    let started = Instant::now();
    let mut pause = RESEND_PAUSE_MIN;
    let mut may_have_arrived = false;
    loop {
        let bar = byte_bar(body.len());
        let shown = bar.clone();
        let answer = target.client.enqueue(body.clone(), move |bytes| shown.set_position(bytes)).await;
        bar.finish_and_clear();
        let error = match answer {
            Ok(enqueued) => {
                let answers = enqueued.into_iter().zip(&request.generated);
                // If an earlier try did it, the later one finds an id that only we can have used.
                let is_ours = |generated: bool| generated && may_have_arrived;
                return Ok(answers
                    .map(|(job, &generated)| EnqueuedJob {
                        created: job.created || is_ours(generated),
                        ..job
                    })
                    .collect());
            }
            Err(error) => error,
        };
        if target.is_offline() {
            return Err(target.failure(error));
        }
        may_have_arrived |= is_outcome_unknown(&error);
        let time_is_up = started.elapsed() + pause > RESEND_FOR;
        if time_is_up || !is_worth_another_try(&error, may_have_arrived) {
            return Err(match may_have_arrived {
                true => CliFailure::new(Exit::NoServer, format!("the outcome is unknown: {error}"))
                    .hint(request.way_out()),
                false => target.failure(error),
            });
        }
        tracing::warn!("trying again in {} ms: {error}", pause.as_millis());
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RESEND_PAUSE_MAX);
    }
}

/// Whether the jobs may be durable although nobody said so.
fn is_outcome_unknown(error: &ClientError) -> bool {
    match error {
        ClientError::Lost { .. } => true,
        ClientError::Refused { status, code, .. } => *status == 500 && code == UNKNOWN,
        _ => false,
    }
}

fn is_worth_another_try(error: &ClientError, may_have_arrived: bool) -> bool {
    match error {
        ClientError::Lost { .. } => true,
        // The server that broke off may be starting again; one that was never there is not waited for.
        ClientError::Unreachable { .. } => may_have_arrived,
        // Names go when their jobs do, or somebody removes them: that takes longer than anybody waits here.
        ClientError::Refused { code, .. } if code == "too_many_queues" || code == "too_many_kinds" => false,
        ClientError::Refused { status: 429 | 503, .. } => true,
        ClientError::Refused { .. } => is_outcome_unknown(error),
        ClientError::BadUrl(_) | ClientError::Protocol(_) => false,
    }
}

fn byte_bar(bytes: usize) -> ProgressBar {
    if bytes < BAR_BYTES_MIN || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("sending {bar:40} {bytes}/{total_bytes} {bytes_per_sec}")
        .expect("the template is valid");
    logging::show(ProgressBar::new(bytes as u64).with_style(style))
}

#[cfg(test)]
mod tests {
    use beaver_actors::ids::{KindName, QueueName};
    use beaver_actors::jobs::Payload;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::client::Client;

    fn job(id: Option<&str>) -> JobSpec {
        let (queue, kind) = (QueueName::parse("q").unwrap(), KindName::parse("k").unwrap());
        JobSpec { id: id.map(|id| JobId::parse(id).unwrap()), ..JobSpec::new(queue, kind, Payload::empty()) }
    }

    fn lost() -> ClientError {
        ClientError::Lost { url: "u".into(), cause: "c".into() }
    }

    fn unreachable() -> ClientError {
        ClientError::Unreachable { url: "u".into(), cause: "c".into() }
    }

    fn refusal(status: u16, code: &str) -> ClientError {
        ClientError::Refused { status, code: code.into(), message: "m".into() }
    }

    #[test]
    fn only_what_is_safe_and_may_help_is_sent_again() {
        for (error, may_have_arrived, again) in [
            (lost(), true, true),
            (unreachable(), false, false),
            (unreachable(), true, true),
            (refusal(429, "busy"), false, true),
            (refusal(429, "too_many_queues"), false, false),
            (refusal(503, "recovering"), false, true),
            (refusal(500, "unknown"), true, true),
            (refusal(500, "crashed"), false, false),
            (refusal(400, "bad_job"), false, false),
            (refusal(507, "disk_full"), false, false),
            (ClientError::Protocol("p".into()), false, false),
        ] {
            assert_eq!(is_worth_another_try(&error, may_have_arrived), again, "{error:?}");
        }
    }

    #[test]
    fn every_job_gets_an_id_and_a_given_one_stays() {
        let request = Request::identified(vec![job(Some("mine")), job(None), job(None)]);
        let ids: Vec<_> = request.jobs.iter().map(|job| job.id.clone().unwrap().to_string()).collect();
        assert_eq!(ids[0], "mine");
        assert_ne!(ids[1], ids[2]);
        assert_eq!(request.generated, [false, true, true]);
    }

    #[test]
    fn the_way_out_of_an_unknown_outcome_depends_on_whose_ids_they_are() {
        assert!(
            Request::identified(vec![job(Some("mine"))]).way_out().contains("run the same command again")
        );
        let generated = Request::identified(vec![job(None)]);
        let id = generated.jobs[0].id.clone().unwrap();
        assert!(generated.way_out().contains(&format!("beaver status {id}")));
    }

    /// Reads one request to its end and returns its body.
    async fn read_request(stream: &mut TcpStream) -> String {
        let mut request = String::new();
        loop {
            let mut piece = [0; 1024];
            let bytes = stream.read(&mut piece).await.unwrap();
            request += std::str::from_utf8(&piece[..bytes]).unwrap();
            if let Some((_, body)) = request.split_once("\r\n\r\n")
                && body.ends_with('\n')
            {
                return body.to_owned();
            }
        }
    }

    #[tokio::test]
    async fn a_request_whose_answer_is_lost_is_sent_again_with_the_same_ids() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let first = read_request(&mut stream).await;
            drop(stream);
            let (mut stream, _) = listener.accept().await.unwrap();
            let second = read_request(&mut stream).await;
            // The first try had arrived: the server knows both jobs.
            let answer = r#"[{"id":"mine","created":false},{"id":"made","created":false}]"#;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
            stream.write_all((head + answer).as_bytes()).await.unwrap();
            (first, second)
        });
        let request = Request::identified(vec![job(Some("mine")), job(None)]);
        let enqueued = enqueue(&Target::server(client), &request).await.unwrap();
        let (first, second) = server.await.unwrap();
        assert_eq!(first, second);
        // Nobody else can have made up the second id, so it was this request that added the job.
        assert_eq!(enqueued.iter().map(|job| job.created).collect::<Vec<_>>(), [false, true]);
    }
}
