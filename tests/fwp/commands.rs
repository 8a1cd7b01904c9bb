//! Every command, and what it does to the jobs.

use super::*;

#[test]
fn a_job_is_pushed_fetched_and_acked() {
    serve(
        |_| (),
        |bench| async move {
            let mut client = bench.worker("w1").await;
            client.push(job("first001")).await;
            client.push(job("second02")).await;
            let fetched = client.json("FETCH default").await;
            assert_eq!((names(&fetched), &fetched["args"]), ("first001".into(), &json!([1])));
            assert_eq!(fetched["retry"], 25);
            assert_eq!(bench.state.registry.status().workers[0].running, 1);
            assert_eq!(client.ask(r#"ACK {"jid":"first001"}"#).await, "+OK");
            assert_eq!(bench.state.registry.status().workers[0].running, 0);
            assert_eq!(client.ask(r#"ACK {"jid":"first001"}"#).await, "+OK", "twice is fine");
            assert_eq!(client.ask(r#"ACK {"jid":"nobody00"}"#).await, "+OK");
            let info = client.json("INFO").await;
            assert_eq!(info["faktory"]["queues"], json!({"default": 1}));
            assert_eq!(info["faktory"]["total_processed"], 1);
            assert_eq!(names(&client.json("FETCH default").await), "second02");
        },
    );
}

/// Row 87.
#[test]
fn a_jid_that_is_pushed_again_while_its_job_runs_runs_again_when_that_has_ended() {
    serve(
        |_| (),
        |bench| async move {
            let mut client = bench.worker("w1").await;
            client.push(job("again001")).await;
            assert_eq!(client.json("FETCH default").await["args"], json!([1]));
            let again = |args: u8| json!({"jid": "again001", "jobtype": "mail", "args": [args]});
            client.push(again(2)).await;
            client.push(again(2)).await;
            let other = client.ask(&format!("PUSH {}", again(3))).await;
            assert!(other.starts_with("-ERR Job again001 waits already, with other content"), "{other}");
            assert_eq!(client.ask("FETCH default").await, "$-1", "the first still runs");
            assert_eq!(client.ask(r#"ACK {"jid":"again001"}"#).await, "+OK");
            let next = client.json("FETCH default").await;
            assert_eq!((names(&next), &next["args"]), ("again001".into(), &json!([2])), "and no third time");
            assert_eq!(client.ask(r#"FAIL {"jid":"again001","message":"no"}"#).await, "+OK");
            client.push(again(2)).await;
            let retries = client.json("INFO").await["faktory"]["tasks"]["Retries"]["size"].clone();
            assert_eq!(retries, 1, "it is this one still");
            assert_eq!(client.ask(&format!("PUSH {}", again(1))).await, other);
        },
    );
}

/// Row 87.
#[test]
fn a_jid_that_waits_is_pushed_again_with_the_same_content_or_refused_and_never_dropped_in_silence() {
    serve_on(
        |options| options.payload_memory_bytes = 0,
        |_| (),
        |bench| async move {
            let mut client = bench.worker("w1").await;
            let long = "x".repeat(200);
            let whole = json!({
                "jid": "waits001", "jobtype": "mail", "args": [long], "queue": "q", "priority": 5, "retry": 3,
                "reserve_for": 90, "backtrace": 2, "custom": {"note": long}, "at": "2026-09-22T00:00:00Z",
            });
            for at in ["2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z"] {
                let mut whole = whole.clone();
                whole["at"] = json!(at);
                client.push(whole.clone()).await;
                whole["created_at"] = json!("2026-01-01T00:00:00Z");
                client.push(whole.clone()).await;
                let before = client.json("INFO").await["faktory"].clone();
                for (field, value) in [
                    ("jobtype", json!("sms")),
                    ("args", json!(["y".repeat(200)])),
                    ("args", json!([])),
                    ("queue", json!("other")),
                    ("priority", json!(9)),
                    ("retry", json!(4)),
                    ("retry", json!(0)),
                    ("reserve_for", json!(91)),
                    ("backtrace", json!(3)),
                    ("custom", json!({"note": "z".repeat(200)})),
                    ("custom", Value::Null),
                    ("at", json!("2099-01-01T00:00:00.001Z")),
                ] {
                    let mut other = whole.clone();
                    other[field] = value;
                    let told = client.ask(&format!("PUSH {other}")).await;
                    assert!(
                        told.starts_with("-ERR Job waits001 waits already, with other content"),
                        "{field}: {told}"
                    );
                    let bulk = json!([other, whole, {"jid": "waits002", "jobtype": "mail", "args": []}]);
                    let told = client.json(&format!("PUSHB {bulk}")).await;
                    assert_eq!(told.as_object().unwrap().len(), 1, "{told}");
                    assert!(told["waits001"].as_str().unwrap().contains("other content"), "{told}");
                }
                let after = client.json("INFO").await["faktory"].clone();
                assert_eq!(
                    (&after["sets"], &after["queues"]["q"]),
                    (&before["sets"], &before["queues"]["q"])
                );
                if at.starts_with("2099") {
                    assert_eq!(client.ask(r#"MUTATE {"cmd":"discard","target":"scheduled"}"#).await, "+OK");
                }
            }
            let fetched = client.json("FETCH q").await;
            assert_eq!((&fetched["args"], &fetched["custom"]["note"]), (&whole["args"], &whole["args"][0]));
            assert_eq!(client.ask(r#"ACK {"jid":"waits001"}"#).await, "+OK");
            client.push(json!({"jid": "waits001", "jobtype": "sms", "args": []})).await;
        },
    );
}

#[test]
fn errors_are_told_in_the_usual_words_and_leave_the_connection_open() {
    serve(
        |_| (),
        |bench| async move {
            let mut client = bench.client().await;
            for (line, reply) in [
                ("HELP", "-ERR unknown command HELP"),
                ("", "-ERR unknown command"),
                ("info", "-ERR unknown command info"),
                ("PUSH {}", "-ERR jobs must have a reasonable jid parameter"),
                (r#"PUSH {"jid":"12345678"}"#, "-ERR jobs must have a jobtype parameter"),
                ("FETCH", "-ERR must call fetch with at least one queue"),
                (r#"FAIL {"jid":"nobody00"}"#, "-ERR Job not found nobody00"),
                ("FAIL {}", "-ERR missing JID"),
                (r#"BEAT {"wid":"nobody"}"#, "-ERR unknown worker nobody"),
                ("QUEUE STOP x", "-ERR no such QUEUE subcommand: STOP"),
                ("QUEUE LATENCY *", "-ERR QUEUE LATENCY does not support wildcards"),
                (r#"MUTATE {"cmd":"eat","target":"dead"}"#, "-ERR unknown mutate operation"),
                (r#"MUTATE {"cmd":"kill","target":"x"}"#, "-ERR invalid target for mutation command"),
                ("TRACK GET 12345678", "-ERR tracking subsystem is only available in Faktory Enterprise"),
                ("BATCH NEW {}", "-ERR batch subsystem is only available in Faktory Enterprise"),
                ("QUEUE PAUSE nobody", "+OK"),
            ] {
                assert_eq!(client.ask(line).await, reply, "{line}");
            }
            assert!(client.ask("PUSH {").await.starts_with("-ERR invalid JSON: "));
            assert!(client.ask("ACK {}").await.starts_with("-ERR invalid ACK"));
            client.0.write_all(b"PUSH \xff\r\n").await.unwrap();
            assert_eq!(client.reply().await, "-ERR not UTF-8 after byte 5 of the line");
            assert_eq!(client.ask("FLUSH").await, "+OK");
            client.send("END").await;
            client.is_closed().await;
        },
    );
}

#[test]
fn of_a_bulk_the_good_jobs_are_taken_and_the_others_named() {
    serve(
        |state| state.payload_bytes_max = 50,
        |bench| async move {
            let mut client = bench.client().await;
            let jobs = json!([
                job("good0001"),
                {"jid": "bad00001", "args": []},
                {"jid": "large001", "jobtype": "mail", "args": ["x".repeat(100)]},
                job("good0002"),
            ]);
            let refused = client.json(&format!("PUSHB {jobs}")).await;
            assert_eq!(refused.as_object().unwrap().len(), 2);
            assert_eq!(refused["bad00001"], "jobs must have a jobtype parameter");
            assert!(refused["large001"].as_str().unwrap().starts_with("payload has 104 bytes"));
            assert_eq!(client.ask("PUSHB []").await, "{}");
            assert_eq!(client.ask(&format!("PUSHB {}", json!([job("good0003")]))).await, "{}");
            for expected in ["good0001", "good0002", "good0003"] {
                assert_eq!(names(&client.json("FETCH default").await), expected);
            }
        },
    );
}

#[test]
fn a_waiting_fetch_gets_the_job_that_arrives_and_is_given_up_when_its_client_goes() {
    serve(
        |_| (),
        |bench| async move {
            let (mut gone, mut first, mut second) =
                (bench.worker("gone").await, bench.worker("w1").await, bench.worker("w2").await);
            gone.send("FETCH default").await;
            settle().await;
            first.send("FETCH default").await;
            settle().await;
            second.send("FETCH high default").await;
            settle().await;
            drop(gone);
            settle().await;
            let mut producer = bench.client().await;
            producer.push(job("first001")).await;
            producer.push(job("second02")).await;
            assert!(first.reply().await.contains("first001"), "the first to ask is the first to get one");
            assert!(second.reply().await.contains("second02"));
            assert_eq!(bench.state.registry.status().workers.len(), 3);
            assert_eq!(bench.state.registry.status().workers[0].connections, 0);
        },
    );
}

#[test]
fn a_worker_that_is_to_be_quiet_hears_so_and_gets_no_jobs() {
    serve(
        |_| (),
        |bench| async move {
            let mut worker = bench.worker("w1").await;
            worker.push(job("first001")).await;
            assert_eq!(worker.ask(r#"BEAT {"wid":"w1","rss_kb":512}"#).await, "+OK");
            assert!(bench.state.registry.ask("w1", WorkerState::Quiet));
            assert_eq!(worker.ask(r#"BEAT {"wid":"w1"}"#).await, r#"{"state":"quiet"}"#);
            let start = Instant::now();
            assert_eq!(worker.ask("FETCH default").await, "$-1");
            assert!(start.elapsed() >= Duration::from_secs(2));
            assert!(bench.state.registry.ask("w1", WorkerState::Terminate));
            assert_eq!(
                worker.ask(r#"BEAT {"wid":"w1","current_state":"quiet"}"#).await,
                r#"{"state":"terminate"}"#
            );
            assert_eq!(worker.ask(r#"BEAT {"wid":"w1","current_state":"terminate"}"#).await, "+OK");
            assert_eq!(bench.state.registry.status().workers[0].rss_kb, Some(512));
        },
    );
}

#[test]
fn a_silent_worker_is_given_up_and_its_job_stays_reserved() {
    serve(
        |_| (),
        |bench| async move {
            let (mut worker, mut producer) = (bench.worker("w1").await, bench.client().await);
            producer.push(job("first001")).await;
            worker.json("FETCH default").await;
            pass(Duration::from_secs(40)).await;
            assert_eq!(worker.ask(r#"BEAT {"wid":"w1"}"#).await, "+OK");
            pass(Duration::from_secs(70)).await;
            worker.is_closed().await;
            let info = producer.json("INFO").await;
            assert_eq!(info["faktory"]["tasks"]["Workers"], json!({"size": 0, "reaped": 1}));
            assert_eq!(info["faktory"]["tasks"]["Busy"]["size"], 1);
            let mut back = bench.worker("w1").await;
            assert_eq!(back.ask(r#"ACK {"jid":"first001"}"#).await, "+OK");
            assert_eq!(producer.json("INFO").await["faktory"]["total_processed"], 1, "its late ACK counts");
        },
    );
}

#[test]
fn a_job_is_acked_on_another_connection_of_the_same_worker_but_not_by_another_one() {
    serve(
        |_| (),
        |bench| async move {
            let (mut first, mut second, mut other) =
                (bench.worker("w1").await, bench.worker("w1").await, bench.worker("w2").await);
            first.push(job("first001")).await;
            first.json("FETCH default").await;
            assert_eq!(other.ask(r#"FAIL {"jid":"first001"}"#).await, "-ERR Job not found first001");
            let refused = other.ask(r#"ACK {"jid":"first001"}"#).await;
            assert!(
                refused.starts_with("-ERR ACK came too late and changed nothing: job first001"),
                "{refused}"
            );
            assert_eq!(
                other.ask(r#"ACK {"jid":"unknown1"}"#).await,
                "+OK",
                "it may have been done and forgotten"
            );
            assert_eq!(first.json("INFO").await["faktory"]["total_processed"], 0, "which changed nothing");
            for _ in 0..2 {
                assert_eq!(second.ask(r#"ACK {"jid":"first001"}"#).await, "+OK", "it is done");
            }
            assert_eq!(first.json("INFO").await["faktory"]["total_processed"], 1);
            assert_eq!(bench.state.registry.status().workers[0].running, 0);
        },
    );
}

#[test]
fn a_failed_job_comes_back_with_its_failure() {
    serve(
        |_| (),
        |bench| async move {
            let mut worker = bench.worker("w1").await;
            worker.push(job("first001")).await;
            worker.json("FETCH default").await;
            let fail =
                json!({"jid": "first001", "errtype": "Oops", "message": "it broke", "backtrace": ["a", "b"]});
            assert_eq!(worker.ask(&format!("FAIL {fail}")).await, "+OK");
            assert_eq!(worker.json("INFO").await["faktory"]["sets"]["retries"], 1);
            let requeue =
                r#"MUTATE {"cmd":"requeue","target":"retries","filter":{"regexp":"*\"errtype\":\"Oops\"*"}}"#;
            assert_eq!(worker.ask(requeue).await, "+OK");
            let failure = &worker.json("FETCH default").await["failure"];
            assert_eq!((&failure["retry_count"], &failure["remaining"]), (&json!(0), &json!(25)));
            assert_eq!((&failure["errtype"], &failure["message"]), (&json!("Oops"), &json!("it broke")));
            assert_eq!(failure["backtrace"], json!(["a", "b"]));
            assert!(failure["failed_at"].is_string() && failure["next_at"].is_string());
        },
    );
}

#[test]
fn sets_of_jobs_are_changed_by_filter() {
    serve(
        |_| (),
        |bench| async move {
            let mut client = bench.client().await;
            for (jid, kind) in
                [("first001", "mail"), ("second02", "mail"), ("third003", "sms"), ("fourth04", "sms")]
            {
                let at = "2099-01-01T00:00:00Z";
                client.push(json!({"jid": jid, "jobtype": kind, "args": [jid], "at": at})).await;
            }
            for (mutation, scheduled, dead, enqueued) in [
                (
                    json!({"cmd": "kill", "target": "scheduled", "filter": {"jids": ["first001", "nobody00"]}}),
                    3,
                    1,
                    0,
                ),
                (json!({"cmd": "requeue", "target": "scheduled", "filter": {"jobtype": "mail"}}), 2, 1, 1),
                (
                    json!({"cmd": "requeue", "target": "scheduled", "filter": {"regexp": "*third*", "jobtype": "x"}}),
                    2,
                    1,
                    1,
                ),
                (
                    json!({"cmd": "kill", "target": "scheduled", "filter": {"regexp": "*thi?d*", "jobtype": "sms"}}),
                    1,
                    2,
                    1,
                ),
                (json!({"cmd": "discard", "target": "dead", "filter": {"jobtype": "sms"}}), 1, 1, 1),
                (json!({"cmd": "clear", "target": "dead"}), 1, 0, 1),
                (json!({"cmd": "clear", "target": "scheduled"}), 0, 0, 1),
            ] {
                assert_eq!(client.ask(&format!("MUTATE {mutation}")).await, "+OK");
                let info = client.json("INFO").await;
                let found = ["scheduled", "dead"].map(|set| info["faktory"]["sets"][set].as_u64().unwrap());
                assert_eq!(found, [scheduled, dead], "{mutation}");
                assert_eq!(info["faktory"]["total_enqueued"], enqueued, "{mutation}");
            }
            assert_eq!(names(&client.json("FETCH default").await), "second02");
        },
    );
}

#[test]
fn queues_are_paused_resumed_removed_and_measured() {
    serve(
        |_| (),
        |bench| async move {
            let mut client = bench.worker("w1").await;
            client.push(job_in("first001", "a")).await;
            client.push(job_in("second02", "b")).await;
            assert_eq!(client.ask("QUEUE PAUSE a nobody").await, "+OK");
            assert_eq!(names(&client.json("FETCH a b").await), "second02");
            assert_eq!(client.ask(r#"ACK {"jid":"second02"}"#).await, "+OK");
            assert_eq!(client.ask("FETCH a b").await, "$-1");
            pass(Duration::from_secs(3)).await;
            let latency = client.json("QUEUE LATENCY a b nobody").await;
            assert!(latency["a"].as_f64().unwrap() >= 5.0, "{latency}");
            assert_eq!((&latency["b"], &latency["nobody"]), (&json!(0), &json!(0)));
            assert_eq!(client.ask("QUEUE RESUME *").await, "+OK");
            assert_eq!(names(&client.json("FETCH a").await), "first001");
            assert_eq!(client.ask(r#"ACK {"jid":"first001"}"#).await, "+OK");
            client.push(job_in("third003", "a")).await;
            assert_eq!(client.json("INFO").await["faktory"]["queues"], json!({"a": 1, "b": 0}));
            assert_eq!(client.ask("QUEUE REMOVE a").await, "+OK");
            assert_eq!(client.json("INFO").await["faktory"]["queues"], json!({"b": 0}));
            assert_eq!(client.ask("QUEUE REMOVE *").await, "+OK");
            assert_eq!(client.json("INFO").await["faktory"]["total_queues"], 0);
        },
    );
}

#[test]
fn info_has_the_shape_that_dashboards_know() {
    serve(
        |_| (),
        |bench| async move {
            let mut client = bench.worker("w1").await;
            client.push(job("first001")).await;
            pass(Duration::from_secs(90)).await;
            let mut client = bench.worker("w2").await;
            let info = client.json("INFO").await;
            let scan = |size: u64| json!({"enqueued": 0, "cycles": 0, "size": size, "wall_time_sec": 0});
            assert_eq!(
                info["faktory"],
                json!({
                    "queues": {"default": 1},
                    "sets": {"scheduled": 0, "retries": 0, "dead": 0, "working": 0},
                    "tasks": {
                        "Scheduled": scan(0), "Retries": scan(0), "Dead": scan(0),
                        "Busy": {"size": 0, "reaped": 0}, "Workers": {"size": 1, "reaped": 1},
                    },
                    "total_failures": 0, "total_processed": 0, "total_enqueued": 1, "total_queues": 1,
                })
            );
            let server = &info["server"];
            assert_eq!(server["description"], "beaver, FWP-compatible");
            assert_eq!(server["faktory_version"], "1.10.0");
            assert_eq!((&server["connections"], &server["command_count"]), (&json!(1), &json!(2)));
            assert!(server["uptime"].as_u64().unwrap() >= 90 && server["used_memory_mb"].is_u64());
            assert!(info["now"].as_str().unwrap().ends_with('Z'));
            assert!(info["server_utc_time"].as_str().unwrap().ends_with(" UTC"));
        },
    );
}
