//! The pauses between a job's attempts as people write them: a word, or an object with numbers of its own.
//!
//! | value | the pauses |
//! |---|---|
//! | `"server"` | as the server is set (`retry_backoff`, `retry_backoff_max`) |
//! | `"quartic"` | 15 s and more, growing with the fourth power, as workers of the work protocol expect |
//! | `{"kind":"fixed","delay":"10s"}` | always the same |
//! | `{"kind":"exponential","first":"1s","max":"10m","jitter_percent":50}` | doubling up to `max`; `jitter_percent` of each is drawn |

use std::fmt;

use beaver_actors::jobs::Backoff;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::values::{read_duration, text_of};
use super::write::millis;
use crate::suggest::{instead_of, shortened};
use crate::wire::text::Text;

const KINDS: &[&str] = &["server", "quartic", "fixed", "exponential"];
const FIELDS: &[&str] = &["kind", "delay", "first", "max", "jitter_percent"];
/// As the server's own pauses have it.
const JITTER_PERCENT_DEFAULT: u8 = 50;

/// Reads the value of `backoff`.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub(super) fn read_backoff(value: &RawValue) -> Result<Backoff, String> {
    let json = value.get();
    match json.as_bytes().first() {
        Some(b'"') => of_word(&text_of(value)?),
        Some(b'{') => {
            let mut draft = BackoffDraft::default();
            let read = serde_json::Deserializer::from_str(json).deserialize_map(BackoffVisitor(&mut draft));
            match (draft.problem.take(), read) {
                (Some(problem), _) => Err(problem),
                (None, Err(error)) => Err(error.to_string()),
                (None, Ok(())) => draft.finish(),
            }
        }
        _ => Err(format!("{} is neither a word nor an object: {}", shortened(json), ways())),
    }
}

fn of_word(word: &str) -> Result<Backoff, String> {
    match word {
        "server" => Ok(Backoff::Server),
        "quartic" => Ok(Backoff::Quartic),
        "fixed" => Err(r#""fixed" needs a delay: {"kind":"fixed","delay":"10s"}"#.to_owned()),
        "exponential" => {
            Err(r#""exponential" needs numbers: {"kind":"exponential","first":"1s","max":"10m"}"#.to_owned())
        }
        _ => Err(unknown_kind(word)),
    }
}

fn unknown_kind(word: &str) -> String {
    format!("there is no back-off {:?}: {}", shortened(word), instead_of(word, KINDS, ways))
}

fn ways() -> String {
    r#"it is "server", "quartic", {"kind":"fixed","delay":"10s"} or {"kind":"exponential","first":"1s","max":"10m","jitter_percent":50}"#
        .to_owned()
}

/// The fields of one back-off that were seen so far.
#[derive(Default)]
struct BackoffDraft {
    kind: Option<String>,
    delay_ms: Option<u64>,
    first_ms: Option<u64>,
    max_ms: Option<u64>,
    jitter_percent: Option<u8>,
    /// Kept beside the reader, whose errors carry a place that means nothing here.
    problem: Option<String>,
}

impl BackoffDraft {
    fn set(&mut self, name: &str, value: &RawValue) -> Result<(), String> {
        let in_field = |message: String| format!("{name:?}: {message}");
        let ms = || read_duration(value).map(millis).map_err(in_field);
        let is_new = match name {
            "kind" => self.kind.replace(text_of(value).map_err(in_field)?.into_owned()).is_none(),
            "delay" => self.delay_ms.replace(ms()?).is_none(),
            "first" => self.first_ms.replace(ms()?).is_none(),
            "max" => self.max_ms.replace(ms()?).is_none(),
            "jitter_percent" => {
                let percent = value.get().parse().ok().filter(|percent| *percent <= 100);
                let percent =
                    percent.ok_or_else(|| in_field(format!("{} is not 0 to 100", shortened(value.get()))));
                self.jitter_percent.replace(percent?).is_none()
            }
            _ => return Err(unknown_field(name)),
        };
        if is_new { Ok(()) } else { Err(format!("{name:?} is given twice")) }
    }

    fn finish(self) -> Result<Backoff, String> {
        let Some(kind) = self.kind.as_deref() else {
            return Err(format!("there is no \"kind\": {}", ways()));
        };
        let allowed: &[&str] = match kind {
            "server" | "quartic" => &[],
            "fixed" => &["delay"],
            "exponential" => &["first", "max", "jitter_percent"],
            _ => return Err(unknown_kind(kind)),
        };
        let given = [
            ("delay", self.delay_ms.is_some()),
            ("first", self.first_ms.is_some()),
            ("max", self.max_ms.is_some()),
            ("jitter_percent", self.jitter_percent.is_some()),
        ];
        if let Some((name, _)) = given.iter().find(|(name, is_given)| *is_given && !allowed.contains(name)) {
            return Err(format!("{kind:?} has no {name:?}: {}", ways()));
        }
        let needed =
            |ms: Option<u64>, name: &str| ms.ok_or_else(|| format!("{kind:?} needs {name:?}: {}", ways()));
        match kind {
            "fixed" => Ok(Backoff::Fixed { delay_ms: needed(self.delay_ms, "delay")? }),
            "exponential" => {
                let (first_ms, max_ms) = (needed(self.first_ms, "first")?, needed(self.max_ms, "max")?);
                if max_ms < first_ms {
                    return Err("\"max\" is less than \"first\"".to_owned());
                }
                let jitter_percent = self.jitter_percent.unwrap_or(JITTER_PERCENT_DEFAULT);
                Ok(Backoff::Exponential { first_ms, max_ms, jitter_percent })
            }
            word => of_word(word),
        }
    }
}

fn unknown_field(name: &str) -> String {
    format!("unknown field {:?}: {}", shortened(name), instead_of(name, FIELDS, ways))
}

struct BackoffVisitor<'d>(&'d mut BackoffDraft);

impl<'t> Visitor<'t> for BackoffVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a back-off")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some((Text(name), value)) = fields.next_entry::<Text<'t>, &'t RawValue>()? {
            if let Err(problem) = self.0.set(&name, value) {
                self.0.problem = Some(problem);
                return Err(A::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Backoff, String> {
        read_backoff(&RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn a_back_off_is_a_word_or_an_object() {
        for (json, backoff) in [
            (r#""server""#, Backoff::Server),
            (r#""quartic""#, Backoff::Quartic),
            (r#"{"kind":"quartic"}"#, Backoff::Quartic),
            (r#"{"kind":"fixed","delay":"10s"}"#, Backoff::Fixed { delay_ms: 10_000 }),
            (r#"{ "delay" : 250, "kind" : "fixed" }"#, Backoff::Fixed { delay_ms: 250 }),
            (
                r#"{"kind":"exponential","first":"1s","max":"10m","jitter_percent":20}"#,
                Backoff::Exponential { first_ms: 1_000, max_ms: 600_000, jitter_percent: 20 },
            ),
            (
                r#"{"kind":"exponential","first":100,"max":100}"#,
                Backoff::Exponential { first_ms: 100, max_ms: 100, jitter_percent: 50 },
            ),
        ] {
            assert_eq!(read(json), Ok(backoff), "{json}");
        }
    }

    #[test]
    fn what_is_no_back_off_is_told_with_what_would_be_one() {
        for (json, told) in [
            (r#""quartik""#, r#"there is no back-off "quartik": did you mean "quartic"?"#),
            (r#""sometimes""#, r#"it is "server", "quartic", {"kind":"fixed""#),
            (r#""fixed""#, r#"{"kind":"fixed","delay":"10s"}"#),
            (r#""exponential""#, r#""first":"1s""#),
            ("10", "10 is neither a word nor an object"),
            ("{}", r#"there is no "kind""#),
            (r#"{"kind":"fixd","delay":1}"#, r#"did you mean "fixed"?"#),
            (r#"{"kind":7}"#, r#""kind": 7 is not a string"#),
            (r#"{"kind":"fixed"}"#, r#""fixed" needs "delay""#),
            (r#"{"kind":"fixed","delay":"soon"}"#, r#""delay": "soon" is not a duration"#),
            (r#"{"kind":"fixed","delay":1,"delay":1}"#, r#""delay" is given twice"#),
            (r#"{"kind":"fixed","delay":1,"max":1}"#, r#""fixed" has no "max""#),
            (r#"{"kind":"quartic","delay":1}"#, r#""quartic" has no "delay""#),
            (r#"{"kind":"fixed","dely":1}"#, r#"unknown field "dely": did you mean "delay"?"#),
            (r#"{"kind":"exponential","max":1}"#, r#""exponential" needs "first""#),
            (r#"{"kind":"exponential","first":2,"max":1}"#, r#""max" is less than "first""#),
            (r#"{"kind":"exponential","first":1,"max":1,"jitter_percent":101}"#, "101 is not 0 to 100"),
        ] {
            let problem = read(json).unwrap_err();
            assert!(problem.contains(told), "{json}: {problem}");
        }
        let endless = read(&format!(r#""{}""#, "x".repeat(10_000))).unwrap_err();
        assert!(endless.len() < 300, "{endless}");
    }
}
