//! How a client shows that it knows a password without sending it: it hashes the password with a salt that is new each
//! time.

use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config::Secret;

const ITERATIONS_MIN: u32 = 4_000;
const SALT_BYTES: usize = 8;

/// What a client has to answer to prove that it knows the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    salt: String,
    iterations: u32,
}

/// The system gives no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random bytes")]
pub(crate) struct NoRandomness;

impl Challenge {
    /// A fresh one. An answer to it is of no use for any other.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub(crate) fn new() -> Result<Challenge, NoRandomness> {
        let mut bytes = [0; SALT_BYTES + 2];
        SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
        let (salt, number) = bytes.split_at(SALT_BYTES);
        let number = u32::from(u16::from_le_bytes([number[0], number[1]]));
        Ok(Challenge { salt: hex(salt), iterations: ITERATIONS_MIN + (number & 0xfff) })
    }

    /// What the client appends to the password before it hashes.
    #[must_use]
    pub(crate) fn salt(&self) -> &str {
        &self.salt
    }

    /// How often the client hashes.
    #[must_use]
    pub(crate) fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Whether `answer` shows that somebody knows the password, hashed this many times. Takes the same time for every wrong one.
    #[must_use]
    pub(crate) fn is_met(&self, password: &Secret, answer: &str, iterations: u32) -> bool {
        let expected = hash(password.reveal(), &self.salt, iterations);
        expected.as_bytes().ct_eq(answer.as_bytes()).into()
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
        let (password, often) = (Secret::new("foobar"), challenge.iterations);
        let is_met = |answer: &str| challenge.is_met(&password, answer, often);
        assert!(is_met(&hash("foobar", &challenge.salt, often)));
        assert!(!is_met(&hash("foobar", &challenge.salt, 1)));
        assert!(!is_met(&hash("foobaz", &challenge.salt, often)));
        assert!(!is_met(""));
    }

    #[test]
    fn challenges_differ_and_take_thousands_of_hashes() {
        let challenges: Vec<Challenge> = (0..50).map(|_| Challenge::new().unwrap()).collect();
        for (index, challenge) in challenges.iter().enumerate() {
            assert!((4_000..=8_095).contains(&challenge.iterations));
            assert_eq!(challenge.salt.len(), 16);
            assert!(!challenges[..index].contains(challenge));
        }
    }
}
