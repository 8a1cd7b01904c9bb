//! PUSH and PUSHB of the work protocol: lines that are made once, with new job ids patched into them for each use.

use std::sync::atomic::{AtomicU64, Ordering};

const JID_DIGITS: usize = 16;
static NEXT_JID: AtomicU64 = AtomicU64::new(0);

/// One or more lines that enqueue jobs. Ids are unique in this process.
pub struct Pushes {
    text: Vec<u8>,
    /// Where the digits of each job's id begin.
    ids: Vec<usize>,
}

impl Pushes {
    /// `lines` lines of `jobs` jobs each: PUSH for one job, PUSHB for more. Jobs are in queue `queue` and of the kind of
    /// that name.
    pub fn new(lines: usize, jobs: usize, queue: &str, payload_bytes: usize) -> Pushes {
        let payload = payload(payload_bytes);
        let (mut text, mut ids) = (String::new(), Vec::with_capacity(lines * jobs));
        for _ in 0..lines {
            text.push_str(if jobs == 1 { "PUSH " } else { "PUSHB [" });
            for number in 0..jobs {
                text.push_str(if number == 0 { "{\"jid\":\"" } else { ",{\"jid\":\"" });
                ids.push(text.len());
                text.push_str(&"0".repeat(JID_DIGITS));
                text.push_str(&format!(
                    "\",\"queue\":\"{queue}\",\"jobtype\":\"{queue}\",\"args\":[\"{payload}\"]}}"
                ));
            }
            text.push_str(if jobs == 1 { "\r\n" } else { "]\r\n" });
        }
        Pushes { text: text.into_bytes(), ids }
    }

    /// Gives every job a new id.
    pub fn renew(&mut self) {
        let first = NEXT_JID.fetch_add(self.ids.len() as u64, Ordering::Relaxed);
        for (jid, &at) in (first..).zip(&self.ids) {
            let mut left = jid;
            for digit in self.text[at..at + JID_DIGITS].iter_mut().rev() {
                *digit = b'0' + (left % 10) as u8;
                left /= 10;
            }
        }
    }

    /// The lines, to be sent as they are.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Jobs of all lines.
    pub fn jobs(&self) -> usize {
        self.ids.len()
    }
}

/// The whole answer to a line of `jobs` jobs that were all accepted.
pub fn accepted(jobs: usize) -> &'static [u8] {
    if jobs == 1 { b"+OK\r\n" } else { b"$2\r\n{}\r\n" }
}

/// A text of `bytes` bytes.
pub fn payload(bytes: usize) -> String {
    "0123456789".chars().cycle().take(bytes).collect()
}
