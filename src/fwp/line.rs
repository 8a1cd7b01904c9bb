//! Bytes as they come in, taken line by line: one buffer a connection, used again for every command.

use std::io::BufRead as _;
use std::ops::Range;

use beaver_actors::base::byte_budget::{ByteBudget, ByteShare};

/// What a connection may hold without asking.
const FREE_BYTES: usize = 64 << 10;
const FIRST_BYTES: usize = 4 << 10;
/// A buffer that has grown beyond this is given back when it is empty.
const KEPT_BYTES: usize = 512 << 10;

/// What came in and was not taken yet.
#[derive(Debug)]
pub struct Inbox {
    buffer: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// Up to where there is no line end.
    scanned: usize,
    /// Where what came in ends.
    end: usize,
    line_bytes_max: usize,
    /// Its part of the memory for long lines.
    share: ByteShare,
}

/// Why no more can be taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The line that has begun is longer than any may be.
    LineTooLong,
    /// All connections together hold as much as they may.
    NoRoom,
}

impl Inbox {
    /// An empty one, for lines of at most `line_bytes_max` bytes. What it holds of long ones is a share of `long_lines`.
    #[must_use]
    pub fn new(line_bytes_max: usize, long_lines: &ByteBudget) -> Inbox {
        Inbox { buffer: Vec::new(), start: 0, scanned: 0, end: 0, line_bytes_max, share: long_lines.share() }
    }

    /// The same bytes under other limits.
    #[must_use]
    pub(crate) fn with_limits(self, line_bytes_max: usize, long_lines: &ByteBudget) -> Inbox {
        Inbox { line_bytes_max, share: long_lines.share(), ..self }
    }

    /// Where to read the next bytes to; never empty.
    ///
    /// # Errors
    /// There is no place for more.
    pub fn spare(&mut self) -> Result<&mut [u8], Overflow> {
        if self.is_line_too_long() {
            return Err(Overflow::LineTooLong);
        }
        if self.start == self.end {
            (self.start, self.scanned, self.end) = (0, 0, 0);
            if self.buffer.len() > KEPT_BYTES {
                self.buffer = Vec::new();
                self.share.resize(0);
            }
        }
        if self.end == self.buffer.len() {
            self.make_room()?;
        }
        Ok(&mut self.buffer[self.end..])
    }

    fn make_room(&mut self) -> Result<(), Overflow> {
        if self.start >= self.buffer.len() / 2 && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.scanned -= self.start;
            self.end -= self.start;
            self.start = 0;
            return Ok(());
        }
        let bytes = (2 * self.buffer.len()).max(FIRST_BYTES);
        if !self.share.resize(bytes.saturating_sub(FREE_BYTES)) {
            return Err(Overflow::NoRoom);
        }
        self.buffer.resize(bytes, 0);
        Ok(())
    }

    /// This many bytes were read into [`Inbox::spare`].
    pub fn filled(&mut self, bytes: usize) {
        self.end += bytes;
    }

    /// How much of the next line is there: all of it if there is more. Not looked at yet is what came in since
    /// [`Inbox::has_line`] was asked.
    #[must_use]
    pub(crate) fn line_len(&self) -> usize {
        self.scanned - self.start
    }

    /// Takes the next whole line; [`Inbox::text`] has it, without its line end.
    pub fn take_line(&mut self) -> Option<Range<usize>> {
        if !self.has_line() {
            return None;
        }
        let (start, mut end) = (self.start, self.scanned);
        self.start = end + 1;
        self.scanned = self.start;
        if end > start && self.buffer[end - 1] == b'\r' {
            end -= 1;
        }
        Some(start..end)
    }

    /// Whether there is a whole line; then `scanned` is at its end.
    pub fn has_line(&mut self) -> bool {
        if self.scanned < self.end && self.buffer[self.scanned] == b'\n' {
            return true;
        }
        let mut unseen = &self.buffer[self.scanned..self.end];
        let skipped = unseen.skip_until(b'\n').expect("memory can be read");
        let found = skipped > 0 && self.buffer[self.scanned + skipped - 1] == b'\n';
        self.scanned += if found { skipped - 1 } else { skipped };
        found
    }

    /// A line that was just taken, until more is read.
    #[must_use]
    pub fn text(&self, line: Range<usize>) -> &[u8] {
        &self.buffer[line]
    }

    /// How much came in and was not taken.
    #[must_use]
    pub fn untaken(&self) -> usize {
        self.end - self.start
    }

    fn is_line_too_long(&self) -> bool {
        let begun = self.scanned - self.start;
        let ends_here = self.scanned < self.end;
        !ends_here && begun > self.line_bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox(line_bytes_max: usize) -> Inbox {
        Inbox::new(line_bytes_max, &ByteBudget::new(1 << 20))
    }

    fn put(inbox: &mut Inbox, mut bytes: &[u8]) -> Result<(), Overflow> {
        while !bytes.is_empty() {
            let spare = inbox.spare()?;
            let count = spare.len().min(bytes.len());
            spare[..count].copy_from_slice(&bytes[..count]);
            inbox.filled(count);
            inbox.has_line();
            bytes = &bytes[count..];
        }
        Ok(())
    }

    fn lines(inbox: &mut Inbox) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = inbox.take_line() {
            lines.push(String::from_utf8(inbox.text(line).to_vec()).unwrap());
        }
        lines
    }

    #[test]
    fn lines_end_with_lf_or_crlf_and_may_come_in_any_pieces() {
        let text = "END\r\nPUSH {}\n\nFETCH a b\r\n\r\nhalf";
        for piece in 1..text.len() {
            let mut inbox = inbox(100);
            let mut seen = Vec::new();
            for bytes in text.as_bytes().chunks(piece) {
                put(&mut inbox, bytes).unwrap();
                seen.extend(lines(&mut inbox));
            }
            assert_eq!(seen, ["END", "PUSH {}", "", "FETCH a b", ""], "in pieces of {piece}");
            assert_eq!(inbox.untaken(), 4);
        }
    }

    #[test]
    fn random_lines_come_out_as_they_went_in_and_the_buffer_stays_small() {
        let seed = 11;
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut inbox = inbox(30_000);
        let (mut text, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..2_000 {
            let line = "x".repeat(if dice.u8(..20) == 0 { dice.usize(..30_000) } else { dice.usize(..60) });
            text.extend_from_slice(line.as_bytes());
            text.extend_from_slice(if dice.bool() { b"\r\n" } else { b"\n" });
            expected.push(line);
        }
        let (mut rest, mut seen) = (&text[..], Vec::new());
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(dice.usize(1..=rest.len().min(5_000)));
            put(&mut inbox, piece).unwrap();
            seen.extend(lines(&mut inbox));
            rest = others;
        }
        assert!(seen == expected, "seed {seed}");
        assert!(inbox.buffer.len() <= 64 << 10, "{}", inbox.buffer.len());
    }

    #[test]
    fn a_line_that_is_too_long_is_noticed_before_it_is_held() {
        let mut inbox = inbox(10_000);
        put(&mut inbox, &[b'x'; 9_000]).unwrap();
        put(&mut inbox, b"\n").unwrap();
        assert_eq!(lines(&mut inbox).len(), 1);
        assert_eq!(put(&mut inbox, &[b'x'; 40_000]), Err(Overflow::LineTooLong));
        assert!(inbox.buffer.len() <= 32 << 10, "{}", inbox.buffer.len());
    }

    #[test]
    fn long_lines_of_many_connections_share_one_budget_and_give_it_back() {
        let budget = ByteBudget::new(500 << 10);
        let mut first = Inbox::new(1 << 20, &budget);
        let mut second = Inbox::new(1 << 20, &budget);
        put(&mut first, &[b'x'; 300 << 10]).unwrap();
        assert_eq!(put(&mut second, &[b'x'; 300 << 10]), Err(Overflow::NoRoom));
        drop(first);
        put(&mut second, &[b'x'; 200 << 10]).unwrap();
        drop(second);
        assert_eq!(budget.bytes_free(), 500 << 10);
    }
}
