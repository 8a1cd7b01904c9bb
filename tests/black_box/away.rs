//! Remote workers that report while the server does not listen.

use rustix::process::Signal;
use serde_json::json;

use beaver_actors::base::clock::{Clock as _, SystemClock};
use beaver_actors::ids::Timestamp;

use crate::fwp_client::{Fwp, start};
use crate::harness::{Place, Server, wait};

/// What a worker says of its job.
fn reports(job: &str) -> [String; 2] {
    let fail = json!({"jid": job, "errtype": "Boom", "message": "the kettle burst", "backtrace": []});
    [format!("ACK {}", json!({"jid": job})), format!("FAIL {fail}")]
}

/// Jobs that run once and have a short lease; each is given to a worker. Returns the workers.
fn given(place: &Place, server: &Server, jobs: &[&str]) -> Vec<Fwp> {
    let spec = |id: &&str| json!({"id": id, "kind": "x", "timeout": "1s", "max_retry": 0});
    server.enqueue(jobs.iter().map(spec));
    let given = jobs.iter().map(|job| {
        let mut worker = Fwp::worker(place, &format!("worker-{job}"));
        assert_eq!(worker.fetch("default"), *job);
        worker
    });
    given.collect()
}

/// Until all leases that there are have run out by the clock, and a second more.
fn outwait(server: &Server, jobs: &[&str]) -> impl Fn() + use<> {
    let deadlines = jobs.iter().map(|job| server.job(job)["deadline"].as_str().unwrap().to_owned());
    let parse = |text: String| text.parse::<Timestamp>().unwrap();
    let last = deadlines.map(parse).max().unwrap().plus_ms(1_000);
    move || wait("the end of all leases", None, || (SystemClock::default().now() > last).then_some(()))
}

/// Row 83.
#[test]
fn a_report_that_was_sent_while_the_server_was_suspended_or_down_counts() {
    let place = Place::new();
    let server = start(&place, &[]);
    let jobs = ["done", "failed"];
    let mut workers = given(&place, &server, &jobs);
    let outwait_leases = outwait(&server, &jobs);
    server.signal(Signal::STOP);
    for ((worker, job), nth) in workers.iter_mut().zip(jobs).zip(0..) {
        // Behind more than is read at once.
        for more in 0..12 {
            let big = "ice ".repeat(1_500);
            worker.send(&format!(
                "PUSH {}",
                json!({"jid": format!("{job}-{more:03}-next"), "jobtype": "y", "queue": "next", "args": [big]})
            ));
        }
        worker.send(&reports(job)[nth]);
    }
    outwait_leases();
    server.signal(Signal::CONT);
    for worker in &mut workers {
        for _ in 0..13 {
            assert_eq!(worker.reply(), "+OK");
        }
    }
    assert_eq!(server.job("done")["status"], "completed");
    let failed = server.job("failed");
    assert_eq!(
        (&failed["status"], failed["errors"].as_array().unwrap().len()),
        (&json!("dead"), 1),
        "{failed}"
    );
    assert!(failed.to_string().contains("the kettle burst"), "{failed}");

    // The same over a kill and over a stop.
    let mut server = server;
    for (job, end) in [("killed", Server::kill9 as fn(Server)), ("stopped", Server::terminate)] {
        drop(given(&place, &server, &[job]));
        let outwait_leases = outwait(&server, &[job]);
        end(server);
        outwait_leases();
        server = start(&place, &[]);
        let mut worker = Fwp::worker(&place, &format!("worker-{job}"));
        assert_eq!(worker.ask(&reports(job)[0]), "+OK");
        let view = server.job(job);
        assert_eq!((&view["status"], &view["attempt"]), (&json!("completed"), &json!(1)), "{view}");
    }
    // One that is too late is told so.
    given(&place, &server, &["late"]);
    server.until_job_is("late", "dead");
    let refused = Fwp::worker(&place, "worker-late").ask(&reports("late")[0]);
    assert_eq!(refused, "-ERR ACK came too late and changed nothing: job late is already dead");
}
