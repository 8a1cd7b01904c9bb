//! The work protocol against the real program: every command, kills, passwords, TLS.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::fwp_client::{Fwp, address, job, start};
use crate::harness::{Place, wait};
use crate::http_client::{request, send};

#[test]
fn every_command_is_answered_as_the_protocol_says() {
    let place = Place::new();
    let server = start(&place, &[]);
    let mut worker = Fwp::worker(&place, "w1");
    worker.push(&job("first001"));
    let bulk = json!([job("second02"), {"jid": "third003", "jobtype": "mail"}, job("fourth04")]);
    assert_eq!(
        worker.json(&format!("PUSHB {bulk}")),
        json!({"third003": "jobs must have an args parameter"})
    );
    let fetched = worker.json("FETCH critical default");
    assert_eq!((&fetched["jid"], &fetched["args"]), (&json!("first001"), &json!(["first001", 7])));
    assert_eq!((&fetched["queue"], &fetched["reserve_for"]), (&json!("default"), &json!(1800)));
    worker.ack("first001");
    assert_eq!(worker.fetch("default"), "second02");
    let fail = json!({"jid": "second02", "errtype": "Oops", "message": "it broke", "backtrace": ["a"]});
    assert_eq!(worker.ask(&format!("FAIL {fail}")), "+OK");
    assert_eq!(worker.ask(&format!("FAIL {fail}")), "-ERR Job not found second02");
    assert_eq!(worker.ask(r#"BEAT {"wid":"w1","rss_kb":100}"#), "+OK");
    assert_eq!(worker.ask(r#"BEAT {"wid":"w2"}"#), "-ERR unknown worker w2");
    let info = worker.json("INFO");
    assert_eq!(info["server"]["description"], "beaver, FWP-compatible");
    assert_eq!(info["faktory"]["sets"], json!({"scheduled": 0, "retries": 1, "dead": 0, "working": 0}));
    assert_eq!(info["faktory"]["queues"], json!({"default": 1}));
    let (processed, failed) = (&info["faktory"]["total_processed"], &info["faktory"]["total_failures"]);
    assert_eq!((processed, failed), (&json!(2), &json!(1)));
    assert_eq!(
        worker.ask(r#"MUTATE {"cmd":"kill","target":"retries","filter":{"jids":["second02"]}}"#),
        "+OK"
    );
    assert_eq!(worker.count("/sets/dead"), 1);
    assert!(worker.json("QUEUE LATENCY default")["default"].as_f64().unwrap() < 60.0);
    assert_eq!(worker.ask("QUEUE REMOVE default"), "+OK");
    assert_eq!(worker.count("/total_enqueued"), 0);
    assert!(worker.ask("TRACK GET x").starts_with("-ERR tracking subsystem is only available"));
    assert!(worker.ask("BATCH STATUS x").starts_with("-ERR batch subsystem is only available"));
    assert_eq!(worker.ask("FLUSH"), "+OK");
    assert_eq!(worker.count("/sets/dead"), 0);
    worker.send("END");
    assert_eq!(worker.reply(), "");
    server.terminate();
}

#[test]
fn errors_name_what_is_wrong_and_leave_the_connection_open() {
    let place = Place::new();
    let _server = start(&place, &["--payload-bytes-max", "1000"]);
    let mut client = Fwp::producer(&place);
    for (line, reply) in [
        ("NOPE", "-ERR unknown command NOPE"),
        ("push {}", "-ERR unknown command push"),
        ("FETCH", "-ERR must call fetch with at least one queue"),
        (r#"PUSH {"jid":"short"}"#, "-ERR jobs must have a reasonable jid parameter"),
        (r#"PUSH {"jid":"12345678"}"#, "-ERR jobs must have a jobtype parameter"),
        (r#"PUSH {"jid":"12345678","jobtype":"x"}"#, "-ERR jobs must have an args parameter"),
        (
            r#"PUSH {"jid":"12345678","jobtype":"x","args":[],"reserve_for":86401}"#,
            "-ERR jobs cannot be reserved for more than one day",
        ),
        ("FAIL {}", "-ERR missing JID"),
        ("QUEUE DROP x", "-ERR no such QUEUE subcommand: DROP"),
        ("QUEUE LATENCY *", "-ERR QUEUE LATENCY does not support wildcards"),
        (r#"MUTATE {"cmd":"drop","target":"dead"}"#, "-ERR unknown mutate operation"),
        (r#"MUTATE {"cmd":"kill","target":"all"}"#, "-ERR invalid target for mutation command"),
    ] {
        assert_eq!(client.ask(line), reply, "{line}");
    }
    assert!(client.ask("PUSH {\"jid\"").starts_with("-ERR invalid JSON: "));
    assert!(client.ask("ACK {}").starts_with("-ERR invalid ACK"));
    let large = json!({"jid": "12345678", "jobtype": "x", "args": ["x".repeat(1_000)]});
    assert!(client.ask(&format!("PUSH {large}")).contains("payload_bytes_max"));
    client.push(&job("first001"));
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    let place = Place::new();
    let _server = start(&place, &[]);
    let mut client = Fwp::worker(&place, "w1");
    let mut lines = String::new();
    for number in 0..2_000 {
        lines += &format!("PUSH {}\n{}\n", job(&format!("job-{number:05}")), ["INFO", "NOPE"][number % 2]);
    }
    lines += "FETCH default\nACK {\"jid\":\"job-00000\"}\nFETCH default";
    let mut stream = Fwp::stream(&place);
    stream.write_all(b"HELLO {\"v\":2}\r\n").unwrap();
    let writer = stream.try_clone().unwrap();
    let sending = thread::spawn(move || (&writer).write_all(format!("{lines}\r\n").as_bytes()).unwrap());
    let mut pipeline = Fwp::over(stream);
    assert!(pipeline.reply().starts_with("+HI"));
    assert_eq!(pipeline.reply(), "+OK");
    for number in 0..2_000 {
        assert_eq!(pipeline.reply(), "+OK", "job {number}");
        let other = pipeline.reply();
        assert!(other.starts_with(["{", "-"][number % 2]), "{other}");
    }
    assert!(pipeline.reply().contains("job-00000"));
    assert_eq!(pipeline.reply(), "+OK");
    assert!(pipeline.reply().contains("job-00001"));
    sending.join().unwrap();
    assert_eq!(client.count("/total_processed"), 1);
    assert_eq!(client.fetch("default"), "job-00002");
}

#[test]
fn a_fetch_waits_two_seconds_and_gets_a_job_that_comes_meanwhile_at_once() {
    let place = Place::new();
    let _server = start(&place, &[]);
    let (mut worker, mut producer) = (Fwp::worker(&place, "w1"), Fwp::producer(&place));
    let started = Instant::now();
    assert_eq!(worker.ask("FETCH default"), "$-1");
    let waited = started.elapsed();
    assert!((Duration::from_millis(1_900)..Duration::from_secs(4)).contains(&waited), "{waited:?}");
    worker.send("FETCH other default");
    producer.push(&job("first001"));
    assert!(worker.reply().contains("first001"));
}

#[test]
fn a_paused_queue_gives_nobody_jobs_also_after_a_kill() {
    let place = Place::new();
    let server = start(&place, &[]);
    let mut client = Fwp::worker(&place, "w1");
    client.push(&job("first001"));
    assert_eq!(client.ask("QUEUE PAUSE default"), "+OK");
    assert_eq!(client.ask("FETCH default"), "$-1");
    server.kill9();
    let _server = start(&place, &[]);
    let mut client = Fwp::worker(&place, "w1");
    assert_eq!(client.ask("FETCH default"), "$-1");
    assert_eq!(client.ask("QUEUE RESUME *"), "+OK");
    assert_eq!(client.fetch("default"), "first001");
}

#[test]
fn nothing_that_was_answered_is_lost_by_a_kill_and_a_late_ack_counts() {
    let place = Place::new();
    let server = start(&place, &[]);
    let mut worker = Fwp::worker(&place, "w1");
    worker.push(&job("held0001"));
    assert_eq!(worker.fetch("default"), "held0001");
    let producers: Vec<_> = (0..4)
        .map(|producer| {
            let mut client = Fwp::producer(&place);
            thread::spawn(move || {
                let mut answered = Vec::new();
                for number in 0.. {
                    let jid = format!("job-{producer}-{number:06}");
                    let pushed = client.try_send(&format!("PUSH {}", job(&jid)));
                    match pushed.and_then(|()| client.try_reply()) {
                        Ok(reply) if reply == "+OK" => answered.push(jid),
                        Ok(reply) => {
                            assert_eq!(reply, "", "an answer or none");
                            break;
                        }
                        Err(_) => break,
                    }
                }
                answered
            })
        })
        .collect();
    wait("some jobs", None, || (worker.count("/total_enqueued") > 200).then_some(()));
    server.kill9();
    let answered: BTreeSet<String> = producers.into_iter().flat_map(|p| p.join().unwrap()).collect();
    assert!(answered.len() >= 200, "{}", answered.len());

    let _server = start(&place, &[]);
    let mut worker = Fwp::worker(&place, "w1");
    assert_eq!(worker.count("/sets/working"), 1, "its reservation outlives the server");
    worker.ack("held0001");
    assert_eq!(worker.count("/sets/working"), 0);
    assert_eq!(worker.count("/total_processed"), 1);
    let mut found = BTreeSet::new();
    for _ in 0..worker.count("/total_enqueued") {
        let jid = worker.fetch("default");
        worker.ack(&jid);
        assert!(found.insert(jid.clone()), "{jid} twice");
    }
    let lost: Vec<_> = answered.difference(&found).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn a_worker_in_the_registry_is_asked_to_be_quiet_over_http() {
    let place = Place::new();
    let server = start(&place, &[]);
    let mut worker = Fwp::worker(&place, "w1");
    worker.push(&job("first001"));
    let listed = server.get("/api/v1/workers").json();
    assert_eq!(listed["workers"][0]["wid"], "w1", "{listed}");
    assert_eq!(server.request("POST", "/api/v1/workers/w1/quiet", "").status, 200);
    assert_eq!(worker.json(r#"BEAT {"wid":"w1"}"#), json!({"state": "quiet"}));
    assert_eq!(worker.ask("FETCH default"), "$-1");
    assert!(place.log().contains("supervisor/remote[w1]"), "{}", place.log());
}

/// Row 89.
#[test]
fn the_job_of_a_worker_that_is_gone_is_put_back_over_http_and_on_the_command_line() {
    let place = Place::new();
    let server = start(&place, &[]);
    for (number, by_http) in [true, false].into_iter().enumerate() {
        let jid = format!("hostage{number}");
        let mut gone = Fwp::worker(&place, "gone");
        gone.push(&job(&jid));
        assert_eq!(gone.fetch("default"), jid);
        drop(gone);
        if by_http {
            let body =
                json!({"action": "requeue", "status": "in_flight", "filter": {"ids": [jid]}}).to_string();
            let answer = server.request("POST", "/api/v1/jobs/actions", body);
            assert_eq!(answer.body, r#"{"changed":1}"#);
        } else {
            server.beaver(&place, &["jobs", "requeue", "--status", "in-flight"]).exits(2).says(&["--yes"]);
            let ran =
                server.beaver(&place, &["jobs", "requeue", "--status", "in-flight", "--id", &jid]).exits(0);
            assert_eq!(ran.stdout, "put back in line 1 job\n");
        }
        let mut rescuer = Fwp::worker(&place, "rescuer");
        assert_eq!(rescuer.fetch("default"), jid);
        let mut back = Fwp::worker(&place, "gone");
        assert!(back.ask(&format!("FAIL {}", json!({"jid": jid}))).starts_with("-ERR Job not found"));
        let late = back.ask(&format!("ACK {}", json!({"jid": jid})));
        assert!(late.starts_with("-ERR ACK came too late"), "{late}");
        assert_eq!(server.job(&jid)["status"], "in_flight");
        rescuer.ack(&jid);
        assert_eq!(server.job(&jid)["status"], "completed");
    }
    let (rows, _) = place.inspect("wal");
    assert_eq!(rows.iter().filter(|row| row["type"] == "REQUEUE").count(), 2);
    server.terminate();
}

#[test]
fn monitoring_that_was_made_for_faktory_finds_its_two_addresses() {
    let place = Place::new();
    let secret = place.write("secret", "open:sesame");
    let server = start(&place, &["--faktory-web-port", "0", "--faktory-password-file", &secret]);
    let address = || {
        let log = place.log();
        let line = log.lines().find(|line| line.contains("faktory_web"))?;
        let line: Value = serde_json::from_str(line).unwrap();
        Some(line["faktory_web"].as_str()?.strip_prefix("http://")?.to_owned())
    };
    let web = wait("the address of the web port", None, address);
    server.enqueue([json!({"kind": "mail", "queue": "q"})]);
    let health = request(&web, "GET", "/health", b"").unwrap();
    assert_eq!(health.status, 200);
    let health = health.json();
    assert!(health["now"].is_string() && health["server"]["uptime"].as_u64() > Some(0), "{health}");
    assert!(health.get("faktory").is_none(), "nothing about jobs without the password");
    for (credentials, status) in [("any:open:sesame", 200), ("any:wrong", 401), ("", 401)] {
        let header = format!("authorization: Basic {}", base64(credentials));
        let stats = send(&web, "GET", "/stats", &[&header], b"").unwrap();
        assert_eq!(stats.status, status, "{credentials}: {}", stats.body);
        if status == 200 {
            let stats = stats.json();
            assert_eq!(stats["faktory"]["queues"], json!({"q": 1}));
            assert_eq!(stats["faktory"]["tasks"]["Retries"]["wall_time_sec"], 0);
            assert_eq!(stats["server"]["faktory_version"], health["server"]["faktory_version"]);
        }
    }
    // Row 96: guesses are slowed as those of workers are. Five wrong ones are slips, and the next two wait 0.1 and 0.2 s.
    let began = std::time::Instant::now();
    let wrong = format!("authorization: Basic {}", base64("any:guess"));
    for _ in 0..8 {
        assert_eq!(send(&web, "GET", "/stats", &[&wrong], b"").unwrap().status, 401);
    }
    assert!(began.elapsed().as_millis() >= 300, "{:?}", began.elapsed());
    for path in ["/stats", "/health", "/"] {
        // Row 81: this port, too, is nothing for pages of others.
        let foreign = send(&web, "GET", path, &["host: rebound.example"], b"").unwrap();
        assert_eq!(foreign.status, 421, "{path}: {}", foreign.body);
    }
    assert_eq!(request(&web, "GET", "/", b"").unwrap().status, 404);
    assert_eq!(request(&web, "POST", "/stats", b"").unwrap().status, 405);
    server.terminate();
    let place = Place::new();
    let server = start(&place, &[]);
    let is_told = || place.log().contains("\"faktory_web\":\"off\"").then_some(());
    wait("the line that says that it is off", None, is_told);
    server.terminate();
}

/// RFC 4648, 4, for text whose length is no matter.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - three.len()));
        let digit = |place: usize| char::from(DIGITS[bits >> (18 - 6 * place) & 63]);
        encoded.extend((0..=three.len()).map(digit));
        encoded.extend(std::iter::repeat_n('=', 3 - three.len()));
    }
    encoded
}

/// Row 80.
#[test]
fn a_machine_that_was_set_up_for_faktory_never_gets_an_open_server_in_silence() {
    let place = Place::new();
    let file = place.write("secret", "open sesame\n");
    let home = place.text("home");
    fs::create_dir_all(place.path("home/.faktory/conf.d")).unwrap();
    for password in [file.as_str(), "open"] {
        let server = place
            .start_under(&format!("export FAKTORY_PASSWORD='{password}' HOME='{home}'"), &["--workers", "0"]);
        assert!(Fwp::connect(&place).reply().contains("\"s\":"), "asks for {password}");
        assert!(place.log().contains("FAKTORY_PASSWORD") && !place.log().contains("sesame"));
        server.kill9();
    }
    let production = format!("export FAKTORY_ENV=production HOME='{home}'");
    place
        .run_to_its_end_under(&production, &[])
        .exits(2)
        .says(&["FAKTORY_ENV=production: no password is set", "faktory_password_file"]);
    place
        .run_to_its_end_under(&format!("{production} FAKTORY_PASSWORD='{home}/none'"), &[])
        .exits(1)
        .says(&["home/none"]);
    place.write("home/.faktory/conf.d/own.toml", "[faktory]\npassword = \"x\"\n");
    place
        .run_to_its_end_under(&format!("export HOME='{home}'"), &[])
        .exits(2)
        .says(&["own.toml: sets a password"]);
    place.write("home/.faktory/password", "filed");
    let server = place.start_under(&format!("export FAKTORY_LICENSE=1 HOME='{home}'"), &["--workers", "0"]);
    assert!(Fwp::connect(&place).reply().contains("\"s\":"));
    for told in ["own.toml is not read", "FAKTORY_LICENSE is not read", ".faktory/password"] {
        assert!(place.log().contains(told), "{told}");
    }
    // Questions about the configuration do not depend on it.
    place.beaver(&["config"]).exits(0);
    server.kill9();
}

#[test]
fn only_who_knows_the_password_is_let_in() {
    let place = Place::new();
    let file = place.write("password", "s3cret\n");
    let _server = start(&place, &["--faktory-password-file", &file]);
    for (password, reply) in [("s3cret", "+OK"), ("s3cret ", "-ERR Invalid password")] {
        let mut client = Fwp::connect(&place);
        let greeting = client.reply();
        let hi: Value = serde_json::from_str(greeting.strip_prefix("+HI ").unwrap()).unwrap();
        let mut digest = Sha256::digest(format!("{password}{}", hi["s"].as_str().unwrap()));
        for _ in 1..hi["i"].as_u64().unwrap() {
            digest = Sha256::digest(digest);
        }
        let pwdhash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(client.ask(&format!("HELLO {}", json!({"v": 2, "pwdhash": pwdhash}))), reply);
    }
}

#[test]
fn with_a_certificate_workers_speak_tls() {
    let place = Place::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) =
        (place.write("cert.pem", made.cert.pem()), place.write("key.pem", made.signing_key.serialize_pem()));
    let _server = start(&place, &["--faktory-tls-cert", &cert, "--faktory-tls-key", &key]);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions();
    let config = Arc::new(versions.unwrap().with_root_certificates(roots).with_no_client_auth());
    let tls = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let mut client = Fwp::over(rustls::StreamOwned::new(tls, Fwp::stream(&place)));
    assert_eq!(client.reply(), "+HI {\"v\":2}");
    assert_eq!(client.ask(r#"HELLO {"v":2,"wid":"w1"}"#), "+OK");
    client.push(&job("first001"));
    assert_eq!(client.fetch("default"), "first001");
    client.ack("first001");
}

#[test]
fn what_cannot_be_served_is_told_before_anything_starts() {
    let place = Place::new();
    let server = start(&place, &[]);
    let taken = address(&place).rsplit_once(':').unwrap().1.to_owned();
    let other = Place::new();
    let ran = other.run_to_its_end(&["--faktory-port", &taken]).exits(1);
    ran.says(&[&format!("cannot listen on 127.0.0.1:{taken}"), "--faktory-port"]);
    let missing = other.text("none.pem");
    let ran = other.run_to_its_end(&["--faktory-tls-cert", &missing, "--faktory-tls-key", &missing]).exits(1);
    ran.says(&["none.pem", "faktory_tls_cert"]);
    other.run_to_its_end(&["--faktory-password-file", &missing]).exits(1).says(&["none.pem"]);
    server.terminate();
    assert!(!place.data("fwp.addr").exists());
}
