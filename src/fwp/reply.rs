//! Replies as they go over the wire.

use std::fmt::Display;
use std::io::Write as _;

/// Longest text of an error, in bytes: input that is repeated in it may be long.
const ERROR_BYTES_MAX: usize = 400;

/// The error that everybody hears once the server stops.
pub(super) const SHUTDOWN: &str = "shutdown in progress";

/// The error for a FAIL of a job that is not there (any more).
pub(super) fn no_such_job(jid: impl Display) -> String {
    format!("Job not found {jid}")
}

/// The error for an ACK that changed nothing although its job is not done.
pub(super) fn too_late(why: impl Display) -> String {
    format!("ACK came too late and changed nothing: {why}")
}

/// The error for a job whose jid another one waits under.
pub(super) fn waits_otherwise(jid: impl Display) -> String {
    format!(
        "Job {jid} waits already, with other content: nothing was changed; push under another jid, or discard the one that waits"
    )
}

/// Appends `+OK`.
pub(crate) fn ok(out: &mut Vec<u8>) {
    out.extend_from_slice(b"+OK\r\n");
}

/// Appends `$-1`, which means "nothing".
pub(crate) fn nothing(out: &mut Vec<u8>) {
    out.extend_from_slice(b"$-1\r\n");
}

/// Appends `-ERR` with a text, made one line and cut where it is very long.
pub(crate) fn error(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"-ERR ");
    let cut = &text[..text.floor_char_boundary(ERROR_BYTES_MAX)];
    out.extend(cut.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
    if cut.len() < text.len() {
        out.extend_from_slice("…".as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a text with its length before it.
pub(crate) fn bulk(out: &mut Vec<u8>, text: &[u8]) {
    write!(out, "${}\r\n", text.len()).expect("memory takes every write");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(say: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        say(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn replies_are_resp() {
        assert_eq!(said(ok), "+OK\r\n");
        assert_eq!(said(nothing), "$-1\r\n");
        assert_eq!(said(|out| bulk(out, "é{}".as_bytes())), "$4\r\né{}\r\n");
        assert_eq!(said(|out| error(out, "no such thing")), "-ERR no such thing\r\n");
    }

    #[test]
    fn an_error_is_one_line_whatever_it_repeats() {
        assert_eq!(said(|out| error(out, "a\r\n+OK\tb")), "-ERR a  +OK b\r\n");
        let long = said(|out| error(out, &"é".repeat(10_000)));
        assert!(long.len() < 420 && long.ends_with("é…\r\n"), "{long}");
    }
}
