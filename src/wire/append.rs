//! JSON that is written piece by piece at the end of a text.

use serde::Serialize;

/// Appends a value.
pub(super) fn value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value)
        .expect("text and numbers are always JSON, and memory takes every write");
}

/// Appends a further field of an object.
pub(super) fn field<T: Serialize + ?Sized>(out: &mut Vec<u8>, name: &str, value: &T) {
    name_of_field(out, name);
    self::value(out, value);
}

/// As [`field`], for a value that is JSON already.
pub(super) fn raw_field(out: &mut Vec<u8>, name: &str, json: &str) {
    name_of_field(out, name);
    out.extend_from_slice(json.as_bytes());
}

fn name_of_field(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}
