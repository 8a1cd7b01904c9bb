//! Clients that ask for more than there is: what they are told, and how others fare beside them.

use super::*;

fn pushes(name: &str, count: usize) -> String {
    (0..count).map(|number| format!("PUSH {}\r\n", job(&format!("{name}-{number:06}")))).collect()
}

/// As many bytes as a pipe takes while nobody reads.
async fn fill(client: &mut Client, lines: &str) {
    client.0.write_all(&lines.as_bytes()[..64 << 10]).await.unwrap();
}

#[test]
fn new_jobs_behind_too_many_others_are_answered_busy_and_not_done() {
    serve_on(
        |options| options.request_wait_max = Duration::from_millis(1),
        |_| (),
        |bench| async move {
            let (mut first, mut second) = (bench.client().await, bench.client().await);
            let many: Vec<_> = (0..1_200).map(|number| job(&format!("many-{number:05}"))).collect();
            let many = serde_json::to_string(&many).unwrap();
            first.send(&format!("PUSHB {many}")).await;
            // Refused before they are read: what is wrong with the second is not even seen.
            second.send(&format!("PUSH {}\nPUSHB nonsense\nINFO", job("second02"))).await;
            let busy = "-ERR busy: too many requests are waiting";
            assert_eq!((second.reply().await, second.reply().await), (busy.into(), busy.into()));
            assert_eq!(first.reply().await, "{}");
            let info: Value = serde_json::from_str(&second.reply().await).unwrap();
            assert_eq!(info["faktory"]["total_enqueued"], 1_200);
            assert_eq!(bench.state.engine.metrics().requests_busy.get(), 2);
            second.push(job("second02")).await;
        },
    );
}

#[test]
fn clients_that_pipeline_are_left_unread_before_another_one_is_told_that_the_server_is_busy() {
    const WAITING_MAX: usize = 100;
    serve_on(
        |options| options.requests_max = WAITING_MAX,
        |_| (),
        |bench| async move {
            let mut floods = [bench.client().await, bench.client().await, bench.client().await];
            let mut polite = bench.client().await;
            for (number, flood) in floods.iter_mut().enumerate() {
                fill(flood, &pushes(&format!("flood-{number}"), 2_000)).await;
            }
            for number in 0..20 {
                polite.push(job(&format!("polite-{number}"))).await;
            }
            // Nor are they: they just wait.
            for flood in &mut floods {
                for _ in 0..500 {
                    assert_eq!(flood.reply().await, "+OK");
                }
            }
            assert_eq!(bench.state.engine.metrics().requests_busy.get(), 0);
        },
    );
}

#[test]
fn a_client_with_much_to_say_leaves_others_their_turn() {
    serve(
        |_| (),
        |bench| async move {
            let (mut flood, mut polite) = (bench.client().await, bench.client().await);
            fill(&mut flood, &"NOPE\n".repeat(20_000)).await;
            polite.send("INFO").await;
            let info: Value = serde_json::from_str(&polite.reply().await).unwrap();
            let commands = info["server"]["command_count"].as_u64().unwrap();
            assert!((2..4_000).contains(&commands), "{commands} commands were taken before its own");
            for _ in 0..13_000 {
                assert_eq!(flood.reply().await, "-ERR unknown command NOPE");
            }
        },
    );
}

#[test]
fn clients_that_never_read_hold_up_nobody_and_hold_little() {
    serve(
        |_| (),
        |bench| async move {
            let mut deaf = bench.clients(20).await;
            for client in &mut deaf {
                fill(client, &"INFO\n".repeat(20_000)).await;
            }
            let (mut polite, start) = (bench.worker("w1").await, Instant::now());
            for number in 0..20 {
                polite.push(job(&format!("polite-{number}"))).await;
                assert_eq!(polite.json("FETCH default").await["jid"], format!("polite-{number}"));
                assert_eq!(polite.ask(&format!("ACK {{\"jid\":\"polite-{number}\"}}")).await, "+OK");
            }
            assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
            drop(deaf);
        },
    );
}

/// This many jobs make a line that needs a turn.
const LONG_LINE: usize = 400;

fn long_line(name: &str) -> String {
    let jobs: Vec<_> = (0..LONG_LINE).map(|number| job(&format!("{name}-{number:06}"))).collect();
    format!("PUSHB {}", serde_json::to_string(&jobs).unwrap())
}

#[test]
fn many_long_lines_at_once_leave_short_ones_their_turn() {
    serve(
        |_| (),
        |bench| async move {
            let mut crowd = bench.clients(50).await;
            let mut polite = bench.client().await;
            for (number, client) in crowd.iter_mut().enumerate() {
                client.send(&long_line(&format!("long-{number}"))).await;
            }
            polite.send("INFO").await;
            let info: Value = serde_json::from_str(&polite.reply().await).unwrap();
            let lines = info["server"]["command_count"].as_u64().unwrap();
            assert!((2..25).contains(&lines), "{lines} lines were taken before its answer");
            for client in &mut crowd {
                assert_eq!(client.reply().await, "{}");
            }
            assert_eq!(bench.state.engine.metrics().requests_busy.get(), 0);
        },
    );
}

#[test]
fn new_jobs_that_wait_too_long_for_their_turn_are_answered_busy_and_a_report_is_taken() {
    serve_on(
        |options| options.request_wait_max = Duration::ZERO,
        |_| (),
        |bench| async move {
            let mut worker = bench.worker("w1").await;
            worker.push(job("first-000")).await;
            assert_eq!(worker.json("FETCH default").await["jid"], "first-000");
            let mut crowd = bench.clients(20).await;
            // Large, but not many: to the engine, that is little.
            let large = |number: usize| {
                let args = ["x".repeat(20_000)];
                json!({"jid": format!("large-{number:03}"), "jobtype": "mail", "args": args})
            };
            for (number, client) in crowd.iter_mut().enumerate() {
                client.send(&format!("PUSH {}", large(number))).await;
            }
            let failure =
                json!({"jid": "first-000", "message": "no luck", "backtrace": ["x".repeat(20_000)]});
            worker.send(&format!("FAIL {failure}")).await;
            let mut done = 0;
            for client in &mut crowd {
                match client.reply().await.as_str() {
                    "+OK" => done += 1,
                    other => assert_eq!(other, "-ERR busy: too many requests are waiting"),
                }
            }
            assert_eq!(worker.reply().await, "+OK");
            let metrics = bench.state.engine.metrics();
            assert!((1..20).contains(&done), "{done} of 20");
            assert_eq!((metrics.requests_busy.get(), metrics.jobs_enqueued.get()), (20 - done, 1 + done));
            for (number, client) in crowd.iter_mut().enumerate() {
                client.push(large(100 + number)).await;
            }
        },
    );
}
