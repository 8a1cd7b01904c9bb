//! How a client introduces itself, and how it shows that it knows the password without sending it.

use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config::Secret;
use crate::remote::registry::Introduction;
use crate::wire::null::null_means_default;

/// The version of the protocol that is spoken.
const VERSION: u32 = 2;
const ITERATIONS_MIN: u32 = 4_000;
const SALT_BYTES: usize = 8;

/// What a client has to answer to prove that it knows the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    salt: String,
    iterations: u32,
}

/// The system gives no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random bytes")]
pub struct NoRandomness;

impl Challenge {
    /// A fresh one. An answer to it is of no use for any other.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn new() -> Result<Challenge, NoRandomness> {
        let mut bytes = [0; SALT_BYTES + 2];
        SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
        let (salt, number) = bytes.split_at(SALT_BYTES);
        let number = u32::from(u16::from_le_bytes([number[0], number[1]]));
        Ok(Challenge { salt: hex(salt), iterations: ITERATIONS_MIN + (number & 0xfff) })
    }

    /// Whether `hello` answers it with the right password. Takes the same time for every wrong one.
    #[must_use]
    pub fn is_met(&self, password: &Secret, hello: &Hello) -> bool {
        let iterations = if hello.v < VERSION { 1 } else { self.iterations };
        let expected = hash(password.reveal(), &self.salt, iterations);
        expected.as_bytes().ct_eq(hello.pwdhash.as_bytes()).into()
    }
}

/// What the server says first.
#[must_use]
pub fn greeting(challenge: Option<&Challenge>) -> String {
    match challenge {
        None => format!("+HI {{\"v\":{VERSION}}}\r\n"),
        Some(Challenge { salt, iterations }) => {
            format!("+HI {{\"v\":{VERSION},\"i\":{iterations},\"s\":\"{salt}\"}}\r\n")
        }
    }
}

/// What the client says first. A producer has no `wid`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// The version that it speaks.
    pub v: u32,
    /// Its answer to the challenge.
    #[serde(deserialize_with = "null_means_default")]
    pub pwdhash: String,
    /// Its machine.
    #[serde(deserialize_with = "null_means_default")]
    pub hostname: String,
    /// Its name as a worker; empty for none.
    #[serde(deserialize_with = "null_means_default")]
    pub wid: String,
    /// Its process.
    #[serde(deserialize_with = "null_means_default")]
    pub pid: i64,
    /// What it says about itself.
    #[serde(deserialize_with = "null_means_default")]
    pub labels: Vec<String>,
}

impl From<Hello> for Introduction {
    fn from(hello: Hello) -> Introduction {
        let Hello { wid, hostname, pid, labels, .. } = hello;
        Introduction { wid, hostname, pid, labels }
    }
}

/// What is wrong with the first line of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadHello {
    /// It speaks another protocol; there is no use in answering.
    Stranger,
    /// What to tell it.
    Refused(String),
}

impl Hello {
    /// Reads the first line of a client.
    ///
    /// # Errors
    /// It is no HELLO, or not one that can be read.
    pub fn parse(line: &[u8]) -> Result<Hello, BadHello> {
        let object = line.strip_prefix(b"HELLO ").filter(|rest| rest.starts_with(b"{"));
        let object = object.ok_or(BadHello::Stranger)?;
        serde_json::from_slice(object).map_err(|error| BadHello::Refused(format!("invalid HELLO: {error}")))
    }
}

/// The hash that answers a challenge, in hexadecimal.
#[must_use]
pub fn hash(password: &str, salt: &str, iterations: u32) -> String {
    let mut digest = Sha256::new().chain_update(password).chain_update(salt).finalize();
    for _ in 1..iterations {
        digest = Sha256::digest(digest);
    }
    hex(&digest)
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_that_clients_compute() {
        let hash_1545 = "6d877f8e5544b1f2598768f817413ab8a357afffa924dedae99eb91472d4ec30";
        assert_eq!(hash("foobar", "55104dc76695721d", 1545), hash_1545);
        let hash_3 = "ef646abadf4ffba660d9bbb8de8e45576970de917b4c9da8cad96b49e64636d9";
        assert_eq!(hash("abcde123", "123", 3), hash_3);
    }

    #[test]
    fn only_the_right_password_meets_a_challenge() {
        let challenge = Challenge::new().unwrap();
        let password = Secret::new("foobar");
        let answer = |v, password: &str, iterations| Hello {
            v,
            pwdhash: hash(password, &challenge.salt, iterations),
            ..Hello::default()
        };
        assert!(challenge.is_met(&password, &answer(2, "foobar", challenge.iterations)));
        assert!(challenge.is_met(&password, &answer(1, "foobar", 1)), "an old client hashes once");
        assert!(!challenge.is_met(&password, &answer(2, "foobar", 1)));
        assert!(!challenge.is_met(&password, &answer(2, "foobaz", challenge.iterations)));
        assert!(!challenge.is_met(&password, &Hello::default()));
    }

    #[test]
    fn challenges_differ_and_take_thousands_of_hashes() {
        let challenges: Vec<Challenge> = (0..50).map(|_| Challenge::new().unwrap()).collect();
        for (index, challenge) in challenges.iter().enumerate() {
            assert!((4_000..=8_095).contains(&challenge.iterations));
            assert_eq!(challenge.salt.len(), 16);
            assert!(!challenges[..index].contains(challenge));
        }
        let greeted = greeting(Some(&Challenge { salt: "55104dc76695721d".into(), iterations: 4_321 }));
        assert_eq!(greeted, "+HI {\"v\":2,\"i\":4321,\"s\":\"55104dc76695721d\"}\r\n");
        assert_eq!(greeting(None), "+HI {\"v\":2}\r\n");
    }

    #[test]
    fn a_hello_says_who_a_worker_is_and_may_leave_out_anything() {
        let line = br#"HELLO {"hostname":"h","wid":"w1","pid":7,"labels":["a"],"v":2,"new":[1]}"#;
        let hello = Hello::parse(line).unwrap();
        assert_eq!((hello.wid.as_str(), hello.pid, hello.labels.len(), hello.v), ("w1", 7, 1, 2));
        let hello = Hello::parse(br#"HELLO {"wid":null,"labels":null,"pid":null}"#).unwrap();
        assert_eq!((hello.wid.as_str(), hello.v), ("", 0));
    }

    #[test]
    fn whoever_does_not_say_hello_is_a_stranger() {
        for line in ["", "GET / HTTP/1.1", "hello {}", "HELLO", "HELLO {", "HELLO  {}", "HELLO []"] {
            let expected_stranger = line != "HELLO {";
            let refused = Hello::parse(line.as_bytes()).unwrap_err();
            assert_eq!(refused == BadHello::Stranger, expected_stranger, "{line}");
        }
    }
}
