//! Numbers and texts in few bytes: what the log's events and the pages of a snapshot are made of.
//!
//! A number takes 7 bits a byte, the least first, and a difference is folded so that small ones of either sign stay
//! small. What is read is bounds-checked and nothing else: what it means is for the reader of a page to say. Only headers
//! have numbers of a fixed size, little endian.

/// The most bytes that a number takes.
const UINT_BYTES_MAX: usize = 10;

/// The number in four bytes of a header, which has them.
pub(crate) fn u32_at(header: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"))
}

/// The number in eight bytes of a header, which has them.
pub(crate) fn u64_at(header: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"))
}

/// Appends a number.
#[inline]
pub(crate) fn put_uint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends the distance between two numbers, with its sign.
pub(crate) fn put_difference(out: &mut Vec<u8>, number: u64, from: u64) {
    let difference = number.wrapping_sub(from).cast_signed();
    put_uint(out, ((difference << 1) ^ (difference >> 63)).cast_unsigned());
}

/// The number whose distance from `from`, with its sign, is this on disk.
#[inline]
pub(crate) fn unfolded(difference: u64, from: u64) -> u64 {
    from.wrapping_add((difference >> 1) ^ (difference & 1).wrapping_neg())
}

/// Appends a text behind its length.
#[inline]
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_uint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Takes values from the front of bytes; none where there is too little, or what cannot be.
pub(crate) struct Take<'a>(pub &'a [u8]);

impl<'a> Take<'a> {
    #[inline]
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    #[inline]
    pub fn uint(&mut self) -> Option<u64> {
        let first = self.byte()?;
        if first < 0x80 {
            return Some(u64::from(first));
        }
        let mut number = u64::from(first & 0x7f);
        for nth in 1..UINT_BYTES_MAX {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The last byte has room for one bit only.
            if nth == UINT_BYTES_MAX - 1 && bits > 1 {
                return None;
            }
            number |= bits << (7 * nth);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    #[inline]
    pub fn uint32(&mut self) -> Option<u32> {
        u32::try_from(self.uint()?).ok()
    }

    /// The reverse of [`put_difference`].
    #[inline]
    pub fn difference(&mut self, from: u64) -> Option<u64> {
        Some(unfolded(self.uint()?, from))
    }

    #[inline]
    pub fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    #[inline]
    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.text_bytes()?).ok()
    }

    /// The bytes of a text, which perhaps are none.
    #[inline]
    pub fn text_bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.uint()?).ok()?;
        self.bytes(len)
    }

    #[inline]
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// Whether nothing is left.
    #[inline]
    pub fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differences_and_texts_are_read_as_they_were_written() {
        let numbers = [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), 1 << 63, u64::MAX];
        for number in numbers {
            let mut bytes = Vec::new();
            put_uint(&mut bytes, number);
            let mut take = Take(&bytes);
            assert_eq!((take.uint(), take.end()), (Some(number), Some(())));
            assert_eq!(Take(&bytes[..bytes.len() - 1]).uint(), None);
            for from in numbers {
                let mut bytes = Vec::new();
                put_difference(&mut bytes, number, from);
                assert_eq!(Take(&bytes).difference(from), Some(number));
            }
        }
        let mut bytes = Vec::new();
        put_text(&mut bytes, "é");
        assert_eq!(Take(&bytes).text(), Some("é"));
        assert_eq!(Take(&bytes[..2]).text(), None);
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        assert_eq!(Take(&[0xff; 11]).uint(), None);
        assert_eq!(Take(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).uint(), None);
    }
}
