//! Jobs with large payloads: each holds an order of a shop as JSON, and differs from the others.

use std::fmt::Write;

use beaver_actors::ids::{KindName, QueueName};
use beaver_actors::jobs::{JobSpec, Payload};

/// Bytes of each payload.
pub const ORDER_BYTES: usize = 1024;
const SEED: u64 = 4711;
const GOODS: [&str; 8] =
    ["kettle", "teapot", "bread knife", "corkscrew", "oven glove", "sieve", "whisk", "ladle"];

/// Makes them, with or without what a compressor could find.
pub struct Orders {
    queue: QueueName,
    kind: KindName,
    dice: fastrand::Rng,
    is_noise: bool,
}

impl Orders {
    /// In queue `queue`. `is_noise`: half of a byte's bits are random, all through.
    pub fn of(queue: &str, is_noise: bool) -> Orders {
        Orders {
            queue: QueueName::parse(queue).expect("a good name"),
            kind: KindName::parse("order").expect("a good name"),
            dice: fastrand::Rng::with_seed(SEED),
            is_noise,
        }
    }

    /// The next `count`.
    pub fn take(&mut self, count: usize) -> Vec<JobSpec> {
        (0..count).map(|_| self.one()).collect()
    }

    fn one(&mut self) -> JobSpec {
        let mut text = String::with_capacity(ORDER_BYTES + 64);
        match self.is_noise {
            true => self.noise(&mut text),
            false => self.order(&mut text),
        }
        JobSpec::new(self.queue.clone(), self.kind.clone(), Payload::parse(&text).expect("JSON"))
    }

    fn noise(&mut self, text: &mut String) {
        text.push('"');
        text.extend((1..ORDER_BYTES - 1).map(|_| self.dice.alphanumeric()));
        text.push('"');
    }

    /// As many lines as fit, and the last one filled up.
    fn order(&mut self, text: &mut String) {
        let customer = self.dice.u32(..10_000_000);
        let _ = write!(text, r#"{{"order":"{:016x}","customer":{customer},"lines":["#, self.dice.u64(..));
        while text.len() < ORDER_BYTES - 120 {
            let (what, count) = (self.dice.choice(GOODS).unwrap_or_default(), self.dice.u8(1..9));
            let (article, cents) = (self.dice.u32(10_000..1_000_000), self.dice.u32(99..20_000));
            let _ =
                write!(text, r#"{{"article":{article},"what":"{what}","count":{count},"cents":{cents}}},"#);
        }
        let left = ORDER_BYTES - text.len() - r#"{"note":""}]}"#.len();
        let _ = write!(text, r#"{{"note":"{:left$}"}}]}}"#, "thank you");
    }
}
