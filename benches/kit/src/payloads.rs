//! Jobs with large payloads: each is 1 KiB, an order of a shop as JSON, and differs from the others.

use std::fmt::Write;

use beaver_actors::ids::{KindName, QueueName};
use beaver_actors::jobs::{JobSpec, Payload};

/// Bytes of each payload.
pub const LARGE_PAYLOAD_BYTES: usize = 1024;
const SEED: u64 = 4711;
const GOODS: [&str; 8] =
    ["kettle", "teapot", "bread knife", "corkscrew", "oven glove", "sieve", "whisk", "ladle"];

/// Makes jobs whose payloads a compressor can make smaller, or cannot; the same ones in every run.
pub struct LargeJobs {
    queue: QueueName,
    kind: KindName,
    dice: fastrand::Rng,
    is_noise: bool,
}

impl LargeJobs {
    /// Jobs in queue `queue`. `is_noise`: payloads are random letters and digits, 6 bits in each byte, instead of orders.
    pub fn of(queue: &str, is_noise: bool) -> LargeJobs {
        LargeJobs {
            queue: QueueName::parse(queue).expect("a good name"),
            kind: KindName::parse("order").expect("a good name"),
            dice: fastrand::Rng::with_seed(SEED),
            is_noise,
        }
    }

    /// The next `count` jobs.
    pub fn take(&mut self, count: usize) -> Vec<JobSpec> {
        (0..count).map(|_| self.one()).collect()
    }

    fn one(&mut self) -> JobSpec {
        let mut text = String::with_capacity(LARGE_PAYLOAD_BYTES + 64);
        if self.is_noise {
            self.noise(&mut text);
        } else {
            self.order(&mut text);
        }
        JobSpec::new(self.queue.clone(), self.kind.clone(), Payload::parse(&text).expect("JSON"))
    }

    fn noise(&mut self, text: &mut String) {
        text.push('"');
        text.extend((1..LARGE_PAYLOAD_BYTES - 1).map(|_| self.dice.alphanumeric()));
        text.push('"');
    }

    /// As many lines of an order as fit, and a note that fills up the rest.
    fn order(&mut self, text: &mut String) {
        let customer = self.dice.u32(..10_000_000);
        let _ = write!(text, r#"{{"order":"{:016x}","customer":{customer},"lines":["#, self.dice.u64(..));
        while text.len() < LARGE_PAYLOAD_BYTES - 120 {
            let (what, count) = (self.dice.choice(GOODS).unwrap_or_default(), self.dice.u8(1..9));
            let (article, cents) = (self.dice.u32(10_000..1_000_000), self.dice.u32(99..20_000));
            let _ =
                write!(text, r#"{{"article":{article},"what":"{what}","count":{count},"cents":{cents}}},"#);
        }
        let left = LARGE_PAYLOAD_BYTES - text.len() - r#"{"note":""}]}"#.len();
        let _ = write!(text, r#"{{"note":"{:left$}"}}]}}"#, "thank you");
    }
}
