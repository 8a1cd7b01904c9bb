//! How a client introduces itself.

use serde::Deserialize;

use crate::auth::password::Challenge;
use crate::config::Secret;
use crate::remote::registry::Introduction;
use crate::wire::for_people;
use crate::wire::null::null_means_default;

/// The version of the protocol that is spoken.
const VERSION: u32 = 2;

/// What the server says first.
#[must_use]
pub(crate) fn greeting(challenge: Option<&Challenge>) -> String {
    match challenge {
        None => format!("+HI {{\"v\":{VERSION}}}\r\n"),
        Some(challenge) => {
            let (salt, iterations) = (challenge.salt(), challenge.iterations());
            format!("+HI {{\"v\":{VERSION},\"i\":{iterations},\"s\":\"{salt}\"}}\r\n")
        }
    }
}

/// What the client says first. A producer has no `wid`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// The version that it speaks.
    pub(crate) v: u32,
    /// Its answer to the challenge.
    #[serde(deserialize_with = "null_means_default")]
    pub(crate) pwdhash: String,
    /// The name of its machine, for people.
    #[serde(deserialize_with = "for_people::text")]
    pub(crate) hostname: String,
    /// Its name as a worker; empty for none.
    #[serde(deserialize_with = "null_means_default")]
    pub(crate) wid: String,
    /// The number of its process there.
    #[serde(deserialize_with = "for_people::number")]
    pub(crate) pid: Option<i64>,
    /// What it says about itself.
    #[serde(deserialize_with = "for_people::texts")]
    pub(crate) labels: Vec<String>,
}

impl From<Hello> for Introduction {
    fn from(hello: Hello) -> Introduction {
        let Hello { wid, hostname, pid, labels, .. } = hello;
        Introduction { wid, hostname, pid: pid.unwrap_or_default(), labels }
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
        // A worker is not turned away for the name of its machine.
        serde_json::from_str(&for_people::mended_bytes(object))
            .map_err(|error| BadHello::Refused(format!("invalid HELLO: {error}")))
    }

    /// Whether it answers a challenge with the right password. Takes the same time for every wrong one.
    #[must_use]
    pub(crate) fn knows(&self, password: &Secret, challenge: &Challenge) -> bool {
        let iterations = if self.v < VERSION { 1 } else { challenge.iterations() };
        challenge.is_met(password, &self.pwdhash, iterations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::password::hash;

    #[test]
    fn a_client_of_the_first_version_hashes_once() {
        let challenge = Challenge::new().unwrap();
        let password = Secret::new("foobar");
        let knows = |v, iterations| {
            let pwdhash = hash("foobar", challenge.salt(), iterations);
            Hello { v, pwdhash, ..Hello::default() }.knows(&password, &challenge)
        };
        assert!(knows(2, challenge.iterations()) && knows(1, 1));
        assert!(!knows(2, 1) && !knows(1, challenge.iterations()));
        assert!(!Hello::default().knows(&password, &challenge));
    }

    #[test]
    fn a_greeting_has_the_challenge_if_there_is_one() {
        let challenge = Challenge::new().unwrap();
        let (salt, iterations) = (challenge.salt(), challenge.iterations());
        assert_eq!(
            greeting(Some(&challenge)),
            format!("+HI {{\"v\":2,\"i\":{iterations},\"s\":\"{salt}\"}}\r\n")
        );
        assert_eq!(greeting(None), "+HI {\"v\":2}\r\n");
    }

    #[test]
    fn a_hello_says_who_a_worker_is_and_may_leave_out_anything() {
        let line = br#"HELLO {"hostname":"h","wid":"w1","pid":7,"labels":["a"],"v":2,"new":[1]}"#;
        let hello = Hello::parse(line).unwrap();
        assert_eq!((hello.wid.as_str(), hello.pid, hello.labels.len(), hello.v), ("w1", Some(7), 1, 2));
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
