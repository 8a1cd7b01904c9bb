//! Small jobs, as a shop's mail queue might hold them: each payload is 100 bytes of JSON and differs from the others, so
//! that neither a compressor nor a cache has it easier than in production.

use beaver_actors::ids::{KindName, QueueName};
use beaver_actors::jobs::{JobSpec, Payload};

/// Bytes of each payload.
pub const PAYLOAD_BYTES: usize = 100;
/// The queue of all of them.
pub const QUEUE: &str = "default";
const SEED: u64 = 4711;
const NAMES: [&str; 8] = ["ada", "grace", "linus", "margaret", "ken", "barbara", "dennis", "radia"];
const TEMPLATES: [&str; 4] = ["order-confirmation", "parcel-sent", "invoice", "password-reset"];

/// Makes jobs of one kind, numbered from 0; the same ones in every run.
pub struct Jobs {
    queue: QueueName,
    kind: KindName,
    dice: fastrand::Rng,
    next: u32,
}

impl Jobs {
    /// A new source, which begins with number 0.
    pub fn of(kind: &str) -> Jobs {
        Jobs {
            queue: QueueName::parse(QUEUE).expect("a good name"),
            kind: KindName::parse(kind).expect("a good name"),
            dice: fastrand::Rng::with_seed(SEED),
            next: 0,
        }
    }

    /// The next `count` jobs.
    pub fn take(&mut self, count: usize) -> Vec<JobSpec> {
        (0..count).map(|_| self.one()).collect()
    }

    fn one(&mut self) -> JobSpec {
        let (name, template) = (self.dice.choice(NAMES), self.dice.choice(TEMPLATES));
        let (name, template) = (name.unwrap_or_default(), template.unwrap_or_default());
        let order = self.dice.u32(10_000..100_000);
        // The token fills up the 100 bytes.
        let start = format!(
            r#"{{"n":"{:08}","to":"{name}.{}@example.org","template":"{template}","order":{order},"t":""#,
            self.next,
            order % 97,
        );
        let token = format!("{:032x}", self.dice.u128(..));
        let payload = format!("{start}{}\"}}", &token[..PAYLOAD_BYTES - 2 - start.len()]);
        self.next += 1;
        JobSpec::new(self.queue.clone(), self.kind.clone(), Payload::parse(&payload).expect("JSON"))
    }
}
