//! What clients send that is odd, and is meant well all the same.

use super::*;

impl Client {
    async fn ask_bytes(&mut self, line: &[u8]) -> String {
        self.0.write_all(&[line, b"\r\n"].concat()).await.unwrap();
        self.0.flush().await.unwrap();
        self.reply().await
    }
}

/// Row 85.
#[test]
fn a_failure_is_recorded_whatever_its_text_holds() {
    serve(
        |_| (),
        |bench| async move {
            let mut worker = bench.worker("w1").await;
            for (jid, body, message) in [
                (
                    "halves01",
                    &b"\"message\":\"lost at \\udc00 sea\",\"backtrace\":[\"\\udbff\",null,7]"[..],
                    "lost at \u{fffd} sea",
                ),
                ("latin001", b"\"message\":\"caf\xe9\",\"errtype\":\"\\ud800\"", "caf\u{fffd}"),
                (
                    "types001",
                    b"\"message\":{\"code\":1e400},\"errtype\":null,\"backtrace\":\"one\"",
                    "{\"code\":1e400}",
                ),
                ("control1", b"\"message\":\"\\u0000\\u001b[2J\"", "\0\u{1b}[2J"),
            ] {
                worker.push(json!({"jid": jid, "jobtype": "mail", "args": [], "queue": jid})).await;
                worker.json(&format!("FETCH {jid}")).await;
                let line = [format!("FAIL {{\"jid\":\"{jid}\",").as_bytes(), body, b"}"].concat();
                assert_eq!(worker.ask_bytes(&line).await, "+OK", "{jid}");
                worker
                    .ask(&format!(
                        r#"MUTATE {{"cmd":"requeue","target":"retries","filter":{{"jids":["{jid}"]}}}}"#
                    ))
                    .await;
                assert_eq!(
                    worker.json(&format!("FETCH {jid}")).await["failure"]["message"],
                    message,
                    "{jid}"
                );
            }
            assert_eq!(
                worker.ask_bytes(b"FAIL {\"jid\":\"nobody\xe9\"}").await,
                "-ERR Job not found nobody\u{fffd}"
            );
            assert_eq!(worker.ask_bytes(b"ACK {\"jid\":\"nobody\xe9\\ud800\"}").await, "+OK");
            assert_eq!(
                worker
                    .ask_bytes(b"BEAT {\"wid\":\"w1\",\"current_state\":\"\\ud83d\xff\",\"rss_kb\":7.5}")
                    .await,
                "+OK"
            );
            assert_eq!(bench.state.registry.status().workers[0].rss_kb, Some(7));

            let mut other = Client(BufReader::new(bench.pipe()));
            other.reply().await;
            let hello = b"HELLO {\"v\":2,\"wid\":\"w\xe9\\ud800\",\"hostname\":\"b\xfcro\",\"pid\":\"7\",\"labels\":[\"\\ud800\",null,3]}";
            assert_eq!(other.ask_bytes(hello).await, "+OK");
            assert_eq!(other.ask_bytes(b"BEAT {\"wid\":\"w\xe9\\ud800\"}").await, "+OK", "the same name");
            let status = bench.state.registry.status().workers;
            let seen = status.iter().find(|seen| seen.wid == "w\u{fffd}\u{fffd}").unwrap();
            assert_eq!((seen.hostname.as_str(), seen.pid), ("b\u{fffd}ro", 0));
            assert_eq!(seen.labels, ["\u{fffd}", "", "3"]);
        },
    );
}

/// Row 85.
#[test]
fn what_is_not_only_for_people_is_refused_with_its_place_and_changes_nothing() {
    serve(
        |_| (),
        |bench| async move {
            let mut client = bench.client().await;
            client
                .push(json!({"jid": "later001", "jobtype": "mail", "args": [], "at": "2099-01-01T00:00:00Z"}))
                .await;
            for (line, told) in [
                (&b"PUSH {\"jid\":\"latin001\",\"jobtype\":\"m\",\"args\":[\"\xe9\"]}"[..], "-ERR not UTF-8 after byte 46"),
                (b"MUTATE {\"cmd\":\"discard\",\"target\":\"scheduled\",\"filter\":{\"regexp\":\"*\xe9*\"}}", "-ERR not UTF-8 after byte"),
                (b"MUTATE {\"cmd\":\"discard\",\"target\":\"scheduled\",\"filter\":{\"regexp\":\"*\\ud800*\"}}", "-ERR invalid JSON: "),
            ] {
                let answer = client.ask_bytes(line).await;
                assert!(answer.starts_with(told), "{answer}");
            }
            let unread = r#"MUTATE {"cmd":"kill","target":"dead","why":"\ud800"}"#;
            assert_eq!(client.ask(unread).await, "+OK", "nobody reads that field");
            assert_eq!(client.json("INFO").await["faktory"]["sets"]["scheduled"], 1);
        },
    );
}

/// Row 86.
#[test]
fn a_pattern_finds_a_text_however_it_was_spelled() {
    let spelled = [
        r#"["https:\/\/shop.example\/cart","cr\u00e8me br\u00fbl\u00e9e \ud83d\ude00"]"#,
        r#"["https://shop.example/cart","crème brûlée 😀"]"#,
        r#"["\u0068ttps:\u002f/shop.example/cart","cr\u00E8me br\u00FBl\u00E9e \uD83D\uDE00"]"#,
    ];
    serve(
        |_| (),
        |bench| async move {
            let mut client = bench.client().await;
            for (pattern, found) in [
                ("*https://shop.example/cart*", 3),
                ("*crème brûlée 😀*", 3),
                (r#"*"args":\["https://shop.example/cart","cr?me*"#, 3),
                (r"*shop.example\\/cart*", 1),
                (r"*cr\\u00e8me*", 1),
                ("*tea*", 0),
            ] {
                for (number, args) in spelled.iter().enumerate() {
                    let at = "2099-01-01T00:00:00Z";
                    let job =
                        format!(r#"{{"jid":"spelled{number}","jobtype":"mail","args":{args},"at":"{at}"}}"#);
                    assert_eq!(client.ask(&format!("PUSH {job}")).await, "+OK");
                }
                let mutation =
                    json!({"cmd": "discard", "target": "scheduled", "filter": {"regexp": pattern}});
                assert_eq!(client.ask(&format!("MUTATE {mutation}")).await, "+OK");
                assert_eq!(client.json("INFO").await["faktory"]["sets"]["scheduled"], 3 - found, "{pattern}");
            }
            // A quote inside of a text is not one that ends it.
            let sly = json!({"jid": "sly00001", "jobtype": "mail", "args": ["\"jobtype\":\"sms\""], "at": "2099-01-01T00:00:00Z"});
            client.push(sly).await;
            client.ask(r#"MUTATE {"cmd":"clear","target":"dead"}"#).await;
            let mutation =
                json!({"cmd": "kill", "target": "scheduled", "filter": {"regexp": "*\"jobtype\":\"sms\"*"}});
            assert_eq!(client.ask(&format!("MUTATE {mutation}")).await, "+OK");
            assert_eq!(client.json("INFO").await["faktory"]["sets"]["dead"], 0);
        },
    );
}

/// Row 88.
#[test]
fn a_moment_long_past_means_now_and_one_that_is_too_late_is_called_so() {
    serve(
        |_| (),
        |bench| async move {
            let mut client = bench.worker("w1").await;
            for at in [
                "0001-01-01T00:00:00Z",
                "1582-10-15T00:00:00+00:00",
                "1969-12-31t23:59:59z",
                "1970-01-01 00:00:00Z",
                "",
            ] {
                client.push(json!({"jid": "past0001", "jobtype": "mail", "args": [], "at": at})).await;
                assert_eq!(names(&client.json("FETCH default").await), "past0001", "{at}");
                assert_eq!(client.ask(r#"ACK {"jid":"past0001"}"#).await, "+OK");
            }
            for at in ["9999-12-31T23:59:59Z", "+275760-09-13T00:00:00.000Z"] {
                let job = json!({"jid": "late0001", "jobtype": "mail", "args": [], "at": at});
                let answer = client.ask(&format!("PUSH {job}")).await;
                assert!(answer.contains("too late") && answer.contains("9999-12-30T22:00:00"), "{answer}");
            }
            let job = json!({"jid": "last0001", "jobtype": "mail", "args": [], "at": "9999-12-30T22:00:00Z"});
            client.push(job).await;
            assert_eq!(client.json("INFO").await["faktory"]["sets"]["scheduled"], 1);
        },
    );
}

/// Row 79.
#[test]
fn a_worker_that_was_terminated_works_again_when_it_comes_back() {
    serve(
        |_| (),
        |bench| async move {
            for (number, how) in [WorkerState::Quiet, WorkerState::Terminate].into_iter().enumerate() {
                let jid = format!("again{number:03}");
                let mut worker = bench.worker("pod").await;
                assert!(bench.state.registry.ask("pod", how));
                let told = worker.json(r#"BEAT {"wid":"pod"}"#).await;
                assert_eq!(told["state"], how_it_is_said(how));
                worker.push(job(&jid)).await;
                assert_eq!(worker.ask("FETCH default").await, "$-1");
                worker.send("END").await;
                worker.is_closed().await;
                drop(worker);
                settle().await;
                let mut again = bench.worker("pod").await;
                assert_eq!(again.ask(r#"BEAT {"wid":"pod"}"#).await, "+OK");
                assert_eq!(names(&again.json("FETCH default").await), jid);
                drop(again);
                settle().await;
            }
        },
    );
}

fn how_it_is_said(state: WorkerState) -> &'static str {
    if state == WorkerState::Quiet { "quiet" } else { "terminate" }
}

#[test]
fn names_may_have_a_kibibyte_each() {
    serve(
        |_| (),
        |bench| async move {
            let long = |letter: &str| letter.repeat(1_024);
            let (jid, kind, queue, wid) = (long("j"), long("k"), long("q"), long("w"));
            let mut worker = bench.worker(&wid).await;
            worker.push(json!({"jid": jid, "jobtype": kind, "args": [], "queue": queue})).await;
            let fetched = worker.json(&format!("FETCH {queue}")).await;
            assert_eq!(
                (&fetched["jid"], &fetched["jobtype"], &fetched["queue"]),
                (&json!(jid), &json!(kind), &json!(queue))
            );
            assert_eq!(worker.ask(&format!(r#"BEAT {{"wid":"{wid}"}}"#)).await, "+OK");
            assert_eq!(worker.ask(&format!(r#"FAIL {{"jid":"{jid}"}}"#)).await, "+OK");
            for (field, what) in [("jid", "id"), ("jobtype", "jobtype"), ("queue", "queue")] {
                let mut job = json!({"jid": "12345678", "jobtype": "mail", "args": []});
                job[field] = json!("x".repeat(1_025));
                let told = worker.ask(&format!("PUSH {job}")).await;
                assert!(
                    told.starts_with(&format!("-ERR {what} ")) && told.contains("at most 1024"),
                    "{told}"
                );
            }
        },
    );
}
