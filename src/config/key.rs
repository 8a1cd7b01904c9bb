//! What a key is: what its text is read as, within which limits, and where it goes.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::settings::{Secret, Settings};
use super::units::{read_duration, read_size, show_duration, show_size};

/// One thing that an operator can set.
pub(super) struct ConfigKey {
    /// As in a YAML file.
    pub(super) name: &'static str,
    /// Under which heading `--help` lists its flag; the everyday ones have none.
    pub(super) heading: Option<&'static str>,
    /// As somebody would write it in a file.
    pub(super) default: &'static str,
    /// What values there are, and where one goes.
    pub(super) form: Form,
    /// One line for `--help`.
    pub(super) help: &'static str,
}

/// What a key's text is read as, within which limits, and the field that it sets.
pub(super) enum Form {
    Count(RangeInclusive<u64>, fn(&mut Settings, u64)),
    Size(RangeInclusive<u64>, fn(&mut Settings, u64)),
    Time(RangeInclusive<Duration>, fn(&mut Settings, Duration)),
    Switch(fn(&mut Settings, bool)),
    /// A directory; `{data_dir}` in it stands for that of `data_dir`.
    DirBelow(fn(&mut Settings, PathBuf)),
    /// Something that is never shown; empty for none.
    Secret(fn(&mut Settings, &str)),
    /// A file; empty for none.
    File(fn(&mut Settings, Option<PathBuf>)),
    /// Anything else: its name in `--help`, what is allowed, and a setter that says what is wrong.
    Text(&'static str, &'static str, fn(&mut Settings, &str) -> Result<(), String>),
}

use Form::{Count, DirBelow, File, Size, Switch, Text, Time};

impl ConfigKey {
    /// Its environment variable.
    pub(super) fn variable(&self) -> String {
        format!("BEAVER_{}", self.name.to_uppercase())
    }

    /// Reads `text` and puts it into `settings`. Returns the value as one would write it in a file; the error
    /// is what is wrong, as the end of a sentence that starts with the value.
    pub(super) fn apply(&self, settings: &mut Settings, text: &str) -> Result<String, String> {
        let text = text.trim();
        match &self.form {
            Count(limits, set) => {
                let count = within(limits, read_count(text)?)?;
                set(settings, count);
                Ok(count.to_string())
            }
            Size(limits, set) => {
                let bytes = within(limits, read_size(text)?)?;
                set(settings, bytes);
                Ok(show_size(bytes))
            }
            Time(limits, set) => {
                let duration = within(limits, read_duration(text).map_err(|bad| bad.to_string())?)?;
                set(settings, duration);
                Ok(show_duration(duration))
            }
            Switch(set) => {
                let on = text.parse().map_err(|_| "is neither true nor false".to_owned())?;
                set(settings, on);
                Ok(text.to_owned())
            }
            DirBelow(set) => {
                let shown = text.replace("{data_dir}", &settings.engine.data_dir.to_string_lossy());
                set(settings, path(&shown)?);
                Ok(shown)
            }
            Form::Secret(set) => {
                set(settings, text);
                Ok(if text.is_empty() { "" } else { Secret::MASK }.to_owned())
            }
            File(set) => {
                set(settings, if text.is_empty() { None } else { Some(path(text)?) });
                Ok(text.to_owned())
            }
            Text(_, _, set) => {
                set(settings, text)?;
                Ok(text.to_owned())
            }
        }
    }

    /// The values that it takes, for errors and for `configs/default.yaml`.
    pub(super) fn allowed(&self) -> String {
        match &self.form {
            Count(limits, _) => format!("{} to {}", limits.start(), limits.end()),
            Size(limits, _) => format!("{} to {}", show_size(*limits.start()), show_size(*limits.end())),
            Time(limits, _) => {
                format!("{} to {}", show_duration(*limits.start()), show_duration(*limits.end()))
            }
            Switch(_) => "true or false".to_owned(),
            DirBelow(_) => "a path, in which {data_dir} stands for that of data_dir".to_owned(),
            Form::Secret(_) => "any text, or nothing".to_owned(),
            File(_) => "a path, or nothing".to_owned(),
            Text(_, allowed, _) => (*allowed).to_owned(),
        }
    }
}

/// Narrows a number that the key's limits keep within the field's type.
pub(super) fn fit<T: TryFrom<u64>>(number: u64) -> T {
    T::try_from(number).ok().expect("the limits of every key lie within the type of its field")
}

pub(super) fn port_or_off(text: &str) -> Result<Option<u16>, String> {
    match text {
        "off" => Ok(None),
        _ => Ok(Some(fit(within(&(0..=65535), read_count(text)?)?))),
    }
}

pub(super) fn within<T: PartialOrd>(limits: &RangeInclusive<T>, value: T) -> Result<T, String> {
    if value < *limits.start() {
        return Err("is too small".to_owned());
    }
    if value > *limits.end() {
        return Err("is too large".to_owned());
    }
    Ok(value)
}

pub(super) fn read_count(text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("is not a whole number".to_owned());
    }
    // Only an overflow is left to go wrong, and then the largest number says "too large" further on.
    Ok(text.parse().unwrap_or(u64::MAX))
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text == "~" || text.starts_with("~/") {
        return Err("starts with ~, which only a shell understands (write the whole path)".to_owned());
    }
    Ok(PathBuf::from(text))
}
