//! Names of queues and kinds: those that nobody uses any more make room for others, and no others are refused.

use std::sync::Arc;
use std::time::Duration;

use beaver_actors::api::handler::Handlers;
use beaver_actors::engine::{Engine, EngineError, Environment, QueuePage, QueueSet};
use beaver_actors::ids::{KindName, QueueName, Seq, Timestamp};
use beaver_actors::jobs::{Command, Event, JobSpec, JobTable, Payload, Policy, Rejection, Status};
use beaver_actors::testing::{ManualClock, SimStorage, times};

use crate::harness::{job_in, on_system, options, pass_awake, queue, ready};

const NAMES_MAX: usize = 500;

fn policy() -> Policy {
    Policy { queues_max: NAMES_MAX, kinds_max: NAMES_MAX, ..Policy::default() }
}

fn spec(queue: &str, kind: &str) -> JobSpec {
    JobSpec::new(QueueName::parse(queue).unwrap(), KindName::parse(kind).unwrap(), Payload::empty())
}

struct Run {
    table: JobTable,
    log: Vec<(Seq, Event)>,
    dice: fastrand::Rng,
}

impl Run {
    fn execute(&mut self, command: Command, now: Timestamp) -> Event {
        let event = self.table.decide(command, now, &mut self.dice).unwrap().expect("an event");
        let seq = self.table.last().next();
        self.table.apply(seq, event.clone()).unwrap();
        self.log.push((seq, event.clone()));
        event
    }
}

/// Row 75. A million of them with `BEAVER_TORTURE=50`.
#[test]
fn names_without_number_over_time_take_no_more_than_the_limit_and_replay_is_as_flat() {
    let mut run =
        Run { table: JobTable::new(policy(), &[]), log: Vec::new(), dice: fastrand::Rng::with_seed(1) };
    let names = 20_000 * times();
    let mut most = 0;
    for number in 0..names {
        let now = Timestamp(number);
        let job = spec(&format!("customer-{number}"), &format!("kind-{number}"));
        if run.table.admit_names(std::slice::from_ref(&job)).is_err() {
            for (_, queue) in run.table.unused_queues(now, 0, 100) {
                run.execute(Command::ForgetQueue { queue, idle_ms: 0 }, now);
            }
            run.table.reclaim_names();
        }
        run.table.admit_names(std::slice::from_ref(&job)).unwrap();
        let event = run.execute(Command::Enqueue(Box::new(job)), now);
        run.execute(Command::Discard { job: event.kind.job().unwrap().clone() }, now);
        let held = run.table.names();
        assert!(held.queues <= NAMES_MAX && held.kinds <= NAMES_MAX, "{held:?}");
        most = most.max(held.profiles.max(held.lanes));
    }
    // What jobs had in common is cleared when 4,096 have no job any more, or sooner.
    assert!(most <= 4_200, "{most}");
    assert_eq!(run.table.check(), [""; 0]);

    let mut replayed = JobTable::new(policy(), &[]);
    for (seq, event) in run.log {
        replayed.apply(seq, event).unwrap();
        let held = replayed.names();
        assert!(held.queues.max(held.kinds).max(held.lanes) <= 4_200 + NAMES_MAX, "{held:?}");
    }
    assert_eq!(replayed.check(), [""; 0]);
    assert_eq!(replayed.overview(), run.table.overview());
}

/// Row 75.
#[test]
fn of_queues_and_kinds_beyond_the_limit_the_first_job_is_named_and_empty_queues_make_room() {
    on_system(|| async {
        let mut options = options();
        (options.policy.queues_max, options.policy.kinds_max) = (3, 2);
        let clock = Arc::new(ManualClock::default());
        let storage = Arc::new(SimStorage::new());
        let environment = Environment { storage, clock: clock.clone(), ..Environment::default() };
        let engine = Engine::start_on(environment, options, Handlers::new());
        engine.ready().await.unwrap();
        let names = async || {
            let page = QueuePage { test: None, after: None, limit: 10 };
            let queues = engine.queues(page).await.unwrap();
            queues.into_iter().map(|queue| queue.queue.to_string()).collect::<Vec<_>>()
        };
        // All or nothing, also of names.
        let four = ["a", "b", "a", "c", "d"].map(|name| job_in(name, "mail")).to_vec();
        let rejection = Rejection::TooManyQueues { queues_max: 3 };
        assert!(rejection.to_string().contains("(queues_max)"), "{rejection}");
        let refused = Err(EngineError::RejectedAt { index: 4, rejection: rejection.clone() });
        assert_eq!(engine.enqueue(four.clone()).await, refused);
        assert_eq!(names().await, [""; 0]);
        engine.enqueue(four[..4].to_vec()).await.unwrap();
        assert_eq!(names().await, ["a", "b", "c"]);
        engine.enqueue(vec![job_in("b", "mail")]).await.unwrap();

        let kinds = vec![job_in("a", "fax"), job_in("a", "telex")];
        let rejection = Rejection::TooManyKinds { kinds_max: 2 };
        assert!(rejection.to_string().contains("(kinds_max)"), "{rejection}");
        assert_eq!(engine.enqueue(kinds).await, Err(EngineError::RejectedAt { index: 1, rejection }));

        engine.pause(QueueSet::Named(vec![queue("c")])).await.unwrap();
        for name in ["b", "c"] {
            let filter = beaver_actors::jobs::Filter { queue: Some(queue(name)), ..Default::default() };
            let discard = beaver_actors::engine::SetAction::Discard;
            engine.act(discard, Status::Pending, filter).await.unwrap();
        }
        // Somebody has paused c, so it stays; nobody has to wait for the hour of b.
        pass_awake(&engine, &clock, Duration::from_millis(1_100)).await;
        engine.enqueue(vec![job_in("d", "mail")]).await.unwrap();
        assert_eq!(names().await, ["a", "c", "d"]);
    });
}

/// Row 75.
#[test]
fn queues_are_shown_page_by_page_and_a_status_says_how_many_it_leaves_out() {
    on_system(|| async {
        let engine = ready(&SimStorage::new(), options(), Handlers::new()).await;
        let jobs: Vec<_> = (0..250).map(|number| job_in(&format!("q-{number:03}"), "mail")).collect();
        engine.enqueue(jobs).await.unwrap();
        engine.enqueue(vec![job_in("q-249", "mail"), job_in("other", "mail")]).await.unwrap();
        engine.pause(QueueSet::Named(vec![queue("q-200")])).await.unwrap();
        let status = engine.status_with(3).await.unwrap();
        let shown: Vec<_> = status.queues.iter().map(|queue| queue.queue.as_str()).collect();
        assert_eq!(shown, ["other", "q-200", "q-249"], "the paused one, the fullest, and the first by name");
        assert_eq!((status.left_out.queues, status.left_out.paused_pending), (248, 0));
        assert_eq!(engine.status_with(0).await.unwrap().left_out.paused_pending, 1);
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let test: beaver_actors::engine::QueueTest =
                std::sync::Arc::new(|name: &QueueName| name.as_str().starts_with("q-"));
            let page = QueuePage { test: Some(test), after: after.clone(), limit: 100 };
            let queues = engine.queues(page).await.unwrap();
            let Some(last) = queues.last() else { break };
            after = Some(last.queue.clone());
            seen.extend(queues.into_iter().map(|queue| queue.queue.to_string()));
        }
        assert!(seen.len() == 250 && seen.is_sorted(), "{seen:?}");
    });
}
