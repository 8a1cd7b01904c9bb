//! What names a lease for ever: the history, the start and the event in it that gave the lease.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Seq;
use super::invalid::InvalidName;

/// One history of a store: 32 random bits, drawn when the store is created, and again when a copy of it is made that
/// lives on. So tokens of two histories never match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeline(pub u32);

/// Grows with every start of the server: what was given before a start is told from what is given after it, even where
/// the log has lost the record of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u32);

/// One start of the server in one history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// The history of the store.
    pub timeline: Timeline,
    /// The start of the server.
    pub term: Term,
}

/// Fencing token: names one lease, and is never given twice. Within one [`Timeline`] a later lease always has a larger one.
///
/// People and programs see it as one text, which they need not take apart: `9f3c01aa-00000003-0000000000001267`. Texts of
/// one timeline are in the order of the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// When it was given.
    pub epoch: Epoch,
    /// The event that gave the lease.
    pub seq: Seq,
}

/// How an event names the lease that it is about: in most cases it was given in the term in which the event was decided,
/// and then its event's number says all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRef {
    /// The event that gave the lease.
    pub seq: Seq,
    /// When it was given, if not in the term that the state is in when the event is applied.
    pub other: Option<Epoch>,
}

impl Epoch {
    /// Whether there is none yet: a state before its first start.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Epoch::default()
    }
}

impl Token {
    /// How an event that is decided in `current` names it.
    #[must_use]
    pub fn seen_from(self, current: Epoch) -> TokenRef {
        TokenRef { seq: self.seq, other: (self.epoch != current).then_some(self.epoch) }
    }
}

impl TokenRef {
    /// The token, for a state that is in `current`.
    #[must_use]
    #[inline]
    pub fn of(self, current: Epoch) -> Token {
        Token { epoch: self.other.unwrap_or(current), seq: self.seq }
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}-{:016x}", self.epoch.timeline, self.epoch.term.0, self.seq.0)
    }
}

impl FromStr for Token {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Token, InvalidName> {
        let hex = |part: &str, digits| {
            let is_hex = part.len() == digits
                && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            is_hex.then(|| u64::from_str_radix(part, 16).ok()).flatten()
        };
        let mut parts = text.split('-');
        let mut next = |digits| parts.next().and_then(|part| hex(part, digits));
        let found = (next(8), next(8), next(16));
        match (found, parts.next()) {
            ((Some(timeline), Some(term), Some(seq)), None) => {
                let epoch = Epoch { timeline: Timeline(timeline as u32), term: Term(term as u32) };
                Ok(Token { epoch, seq: Seq(seq) })
            }
            _ => {
                let problem = "is not one that beaver gave: pass on the text that came with the job, such as \
                               9f3c01aa-00000003-0000000000001267";
                Err(InvalidName::new("token", text, problem))
            }
        }
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Token, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(timeline: u32, term: u32, seq: u64) -> Token {
        Token { epoch: Epoch { timeline: Timeline(timeline), term: Term(term) }, seq: Seq(seq) }
    }

    #[test]
    fn a_token_is_one_text_that_reads_back_and_grows_with_each_lease() {
        let (first, second) = (token(7, 3, 4_711), token(7, 10, 4_712));
        assert_eq!(first.to_string(), "00000007-00000003-0000000000001267");
        assert_eq!(first.to_string().parse(), Ok(first));
        assert!(first < second && first.to_string() < second.to_string());
        assert_eq!(serde_json::to_string(&first).unwrap(), "\"00000007-00000003-0000000000001267\"");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let whole = token(1, 2, 3).to_string();
        for text in [
            "",
            "17",
            "0x11",
            &whole[1..],
            &format!("{whole}-1"),
            &whole.replace('3', "Z"),
            &whole.to_uppercase().replace('0', "A"),
        ] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_event_names_the_term_of_a_lease_only_if_it_is_another_one() {
        let token = token(1, 2, 3);
        assert_eq!(token.seen_from(token.epoch), TokenRef { seq: Seq(3), other: None });
        let later = Epoch { term: Term(9), ..token.epoch };
        assert_eq!(token.seen_from(later).of(later), token);
    }
}
