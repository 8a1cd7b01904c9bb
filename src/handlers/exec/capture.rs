//! Keeps the beginning and the end of a stream of any length.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes kept of the beginning, and as many of the end.
pub(super) const KEPT_BYTES: usize = 64 << 10;
/// Bytes read at once: what a pipe of the usual size gives in four calls.
const READ_BYTES: usize = 16 << 10;

/// Head and tail of what a program wrote. Holds at most two times [`KEPT_BYTES`].
#[derive(Debug, Default)]
pub(super) struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    bytes: u64,
}

impl Capture {
    /// Reads to the end of the stream. May be dropped at any point; what was read so far stays.
    pub(crate) async fn read(&mut self, mut stream: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; READ_BYTES];
        // An error ends the stream for us just as its end does: nothing more will come.
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            self.push(&buffer[..length]);
        }
    }

    /// How much the program wrote.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What was kept, with a line in the middle that says how much was left out.
    pub(crate) fn into_text(self) -> String {
        let kept = (self.head.len() + self.tail.len()) as u64;
        let Capture { mut head, tail, bytes } = self;
        if kept == bytes {
            // In one piece, so that a character across the border stays whole.
            head.extend(tail);
            return String::from_utf8_lossy(&head).into_owned();
        }
        let tail = Vec::from(tail);
        let (head, tail) = (String::from_utf8_lossy(&head), String::from_utf8_lossy(&tail));
        format!("{head}\n[... {} bytes left out ...]\n{tail}", bytes - kept)
    }

    fn push(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        let (to_head, rest) = chunk.split_at(chunk.len().min(KEPT_BYTES - self.head.len()));
        self.head.extend_from_slice(to_head);
        let rest = &rest[rest.len().saturating_sub(KEPT_BYTES)..];
        let excess = (self.tail.len() + rest.len()).saturating_sub(KEPT_BYTES);
        self.tail.drain(..excess);
        self.tail.extend(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(chunks: &[&[u8]]) -> Capture {
        let mut capture = Capture::default();
        chunks.iter().for_each(|chunk| capture.push(chunk));
        capture
    }

    #[test]
    fn up_to_both_limits_nothing_is_left_out() {
        let text = "é".repeat(KEPT_BYTES);
        // One byte first, so that the border between head and tail cuts a character.
        let capture = captured(&[b"x", text.as_bytes()]);
        assert_eq!(capture.bytes(), 2 * KEPT_BYTES as u64 + 1);
        assert!(capture.into_text().contains("\n[... 1 bytes left out ...]\n"));
        let capture = captured(&[b"x", &text.as_bytes()[..2 * KEPT_BYTES - 2]]);
        assert_eq!(capture.into_text(), format!("x{}", "é".repeat(KEPT_BYTES - 1)));
    }

    #[test]
    fn of_a_long_stream_head_and_tail_are_kept_however_it_is_cut_into_chunks() {
        let stream: Vec<u8> = (0..1_000_000_u32).map(|i| b'a' + (i % 23) as u8).collect();
        let expected = format!(
            "{}\n[... {} bytes left out ...]\n{}",
            str::from_utf8(&stream[..KEPT_BYTES]).unwrap(),
            stream.len() - 2 * KEPT_BYTES,
            str::from_utf8(&stream[stream.len() - KEPT_BYTES..]).unwrap(),
        );
        for chunk_bytes in [1, 1000, READ_BYTES, KEPT_BYTES, KEPT_BYTES + 1, stream.len()] {
            let capture = captured(&stream.chunks(chunk_bytes).collect::<Vec<_>>());
            assert_eq!(capture.bytes(), stream.len() as u64);
            assert!(capture.head.len() + capture.tail.len() <= 2 * KEPT_BYTES);
            assert_eq!(capture.into_text(), expected, "in chunks of {chunk_bytes}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(captured(&[b"a\xffb"]).into_text(), "a\u{fffd}b");
    }
}
