//! Who is let in, what is put up with, and how connections end.

use super::*;

#[test]
fn pipelined_commands_are_answered_in_order_and_a_fetch_holds_up_what_follows() {
    serve(
        |_| (),
        |bench| async move {
            let mut client = bench.worker("w1").await;
            let mut lines = String::new();
            for number in 0..500 {
                lines += &format!("PUSH {}\n", job(&format!("job-{number:05}")));
            }
            lines +=
                "FETCH default\nACK {\"jid\":\"job-00000\"}\nFETCH default\nNONSENSE\nFETCH none\nINFO\n";
            let start = Instant::now();
            client.send(lines.trim_end()).await;
            for _ in 0..500 {
                assert_eq!(client.reply().await, "+OK");
            }
            assert!(client.reply().await.contains("job-00000"));
            assert_eq!(client.reply().await, "+OK");
            assert!(client.reply().await.contains("job-00001"));
            assert_eq!(client.reply().await, "-ERR unknown command NONSENSE");
            assert_eq!(client.reply().await, "$-1");
            assert!((2_000..2_500).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
            let info: Value = serde_json::from_str(&client.reply().await).unwrap();
            assert_eq!(info["faktory"]["total_processed"], 1, "its ACK counted, for it held the job");
            assert_eq!(info["faktory"]["tasks"]["Busy"]["size"], 1);
        },
    );
}

/// Row 96.
#[test]
fn guesses_of_the_password_take_longer_and_longer_and_the_right_one_gets_in_all_the_same() {
    serve(
        |state| state.password = Some(Secret::new("foobar")),
        |bench| async move {
            let (start, mut took) = (Instant::now(), Vec::new());
            for _ in 0..20 {
                let mut client = Client(BufReader::new(bench.pipe()));
                client.reply().await;
                assert_eq!(client.ask(r#"HELLO {"v":2,"pwdhash":"00"}"#).await, "-ERR Invalid password");
                took.push(start.elapsed().as_millis());
            }
            // Slips cost nothing.
            assert!(took[4] < 100 && (3_000..4_000).contains(&took[10]) && took[19] > 20_000, "{took:?}");
            let mut crowd: Vec<_> = (0..200).map(|_| Client(BufReader::new(bench.pipe()))).collect();
            for client in &mut crowd {
                client.reply().await;
                client.send(r#"HELLO {"v":2,"pwdhash":"00"}"#).await;
            }
            let mut looked_at = 0;
            for client in &mut crowd {
                match client.reply().await.as_str() {
                    "-ERR Invalid password" => looked_at += 1,
                    reply => assert!(reply.contains("too many wrong passwords"), "{reply}"),
                }
            }
            assert!(looked_at <= 2, "{looked_at}");
            let mut client = Client(BufReader::new(bench.pipe()));
            let greeting = client.reply().await;
            let hi: Value = serde_json::from_str(greeting.strip_prefix("+HI ").unwrap()).unwrap();
            let iterations = u32::try_from(hi["i"].as_u64().unwrap()).unwrap();
            let pwdhash = password_hash("foobar", hi["s"].as_str().unwrap(), iterations);
            assert_eq!(client.ask(&format!("HELLO {}", json!({"v": 2, "pwdhash": pwdhash}))).await, "+OK");
        },
    );
}

#[test]
fn only_who_knows_the_password_is_let_in() {
    serve(
        |state| state.password = Some(Secret::new("foobar")),
        |bench| async move {
            for (password, reply) in [("foobar", "+OK"), ("wrong", "-ERR Invalid password")] {
                let mut client = Client(BufReader::new(bench.pipe()));
                let greeting = client.reply().await;
                let hi: Value = serde_json::from_str(greeting.strip_prefix("+HI ").unwrap()).unwrap();
                let iterations = u32::try_from(hi["i"].as_u64().unwrap()).unwrap();
                let pwdhash = password_hash(password, hi["s"].as_str().unwrap(), iterations);
                assert_eq!(
                    client.ask(&format!("HELLO {}", json!({"v": 2, "pwdhash": pwdhash}))).await,
                    reply
                );
                match reply {
                    "+OK" => assert!(client.ask("INFO").await.starts_with('{')),
                    _ => client.is_closed().await,
                }
            }
            let mut client = Client(BufReader::new(bench.pipe()));
            client.reply().await;
            assert_eq!(client.ask(r#"HELLO {"v":2}"#).await, "-ERR Invalid password");
        },
    );
}

#[test]
fn strangers_are_closed_without_a_word_and_slow_ones_with_one() {
    serve(
        |_| (),
        |bench| async move {
            let mut stranger = Client(BufReader::new(bench.pipe()));
            stranger.reply().await;
            stranger.send("GET / HTTP/1.1").await;
            stranger.is_closed().await;
            let start = Instant::now();
            let mut slow = Client(BufReader::new(bench.pipe()));
            slow.reply().await;
            slow.0.write_all(b"HELLO {").await.unwrap();
            assert_eq!(slow.reply().await, "-ERR no HELLO within 2s (faktory_handshake_timeout)");
            slow.is_closed().await;
            assert!(start.elapsed() < Duration::from_secs(5));
            let mut long = Client(BufReader::new(bench.pipe()));
            long.reply().await;
            // It may be closed while it still writes.
            let _ = long.0.write_all(&[b'x'; 200_000]).await;
            long.is_closed().await;
            assert_eq!(bench.state.registry.connections(), 0);
        },
    );
}

#[test]
fn surplus_connections_are_told_so() {
    serve(
        |state| state.limits.connections_max = 2,
        |bench| async move {
            let (first, _second) = (bench.client().await, bench.client().await);
            let mut third = bench.client().await;
            assert_eq!(third.reply().await, "-ERR too many connections: 2");
            third.is_closed().await;
            drop(first);
            settle().await;
            let mut fourth = bench.client().await;
            assert_eq!(fourth.ask("FLUSH").await, "+OK");
        },
    );
}

#[test]
fn a_line_that_is_too_long_is_refused_and_ends_the_connection() {
    serve(
        |state| state.limits.line_bytes_max = 10_000,
        |bench| async move {
            let refusal =
                "-ERR the line is longer than 10000 bytes (faktory_line_bytes_max): send fewer jobs at once";
            for (length, line_end) in [(10_500, "\n"), (60_000, "")] {
                let mut client = bench.client().await;
                client.push(job("first001")).await;
                let line = format!("PUSH {}{line_end}", "x".repeat(length));
                client.0.write_all(line.as_bytes()).await.unwrap();
                assert_eq!(client.reply().await, refusal);
                client.is_closed().await;
            }
        },
    );
}

#[test]
fn idle_connections_and_half_lines_end_in_time() {
    serve(
        |state| state.limits.idle_timeout = Duration::from_secs(3_600),
        |bench| async move {
            let mut client = bench.client().await;
            pass(Duration::from_secs(3_500)).await;
            assert_eq!(client.ask("FLUSH").await, "+OK");
            let start = Instant::now();
            assert_eq!(client.reply().await, "-ERR no command for 3600s (faktory_idle_timeout)");
            client.is_closed().await;
            assert_eq!(start.elapsed().as_secs(), 3_600);
            let mut client = bench.client().await;
            let start = Instant::now();
            client.0.write_all(b"PUSH {").await.unwrap();
            assert_eq!(client.reply().await, "-ERR no end of the line for 60s");
            client.is_closed().await;
            assert_eq!(start.elapsed().as_secs(), 60);
        },
    );
}

#[test]
fn a_client_that_never_reads_is_dropped_and_held_little_until_then() {
    serve(
        |_| (),
        |bench| async move {
            let mut deaf = bench.client().await;
            let lines = "INFO\n".repeat(1_000);
            let flood = async { while deaf.0.write_all(lines.as_bytes()).await.is_ok() {} };
            let start = Instant::now();
            flood.await;
            assert!(start.elapsed() <= Duration::from_secs(70), "{:?}", start.elapsed());
            assert_eq!(bench.state.registry.connections(), 0);
        },
    );
}

#[test]
fn a_client_that_closed_its_side_still_gets_its_replies() {
    serve(
        |_| (),
        |bench| async move {
            let mut client = bench.client().await;
            client.send(&format!("PUSH {}\nPUSH {}", job("first001"), job("second02"))).await;
            client.0.shutdown().await.unwrap();
            assert_eq!((client.reply().await, client.reply().await), ("+OK".into(), "+OK".into()));
            client.is_closed().await;
        },
    );
}

#[test]
fn at_a_shutdown_what_was_asked_is_answered_and_who_waits_is_told() {
    serve(
        |_| (),
        |bench| async move {
            let (mut waiting, mut idle) = (bench.worker("w1").await, bench.client().await);
            waiting.send("FETCH default\nINFO").await;
            settle().await;
            bench.handle.shut_down(Duration::from_secs(5)).await;
            assert_eq!(waiting.reply().await, "-ERR shutdown in progress");
            waiting.is_closed().await;
            idle.is_closed().await;
        },
    );
}

#[test]
fn a_stopping_engine_is_a_shutdown_in_progress() {
    serve(
        |_| (),
        |bench| async move {
            let mut client = bench.client().await;
            bench.state.engine.stop(None).await;
            assert_eq!(client.ask(&format!("PUSH {}", job("first001"))).await, "-ERR shutdown in progress");
            client.is_closed().await;
        },
    );
}

#[test]
fn with_a_certificate_everything_goes_through_tls() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions();
    let config = versions.unwrap().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    serve(
        |state| state.tls = Some(tls_acceptor(&cert, &key).unwrap()),
        |bench| async move {
            let stream = connector.connect("localhost".try_into().unwrap(), bench.pipe()).await.unwrap();
            let mut client = Client(BufReader::new(stream));
            assert_eq!(client.reply().await, "+HI {\"v\":2}");
            assert_eq!(client.ask(r#"HELLO {"v":2,"wid":"w1"}"#).await, "+OK");
            client.push(job("first001")).await;
            assert_eq!(names(&client.json("FETCH default").await), "first001");
            let mut plain = Client(BufReader::new(bench.pipe()));
            plain.0.write_all(b"HELLO {\"v\":2}\r\n").await.unwrap();
            let mut bytes = Vec::new();
            plain.0.read_to_end(&mut bytes).await.unwrap();
            assert!(!bytes.starts_with(b"+"), "not a word in the clear");
        },
    );
}
