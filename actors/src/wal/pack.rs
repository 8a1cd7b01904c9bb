//! The few forms of MessagePack that hot records are made of, written and read by hand.
//!
//! The bytes are those that rmp-serde writes, which reads whatever this reader leaves to it. By hand, a record costs
//! about a third: no value is taken apart into a serializer's calls, and nothing is checked twice.

/// Appends MessagePack values to bytes.
pub(super) struct Pack<'a>(pub &'a mut Vec<u8>);

impl Pack<'_> {
    /// An array of so many values, which follow; 15 at most.
    #[inline]
    pub fn array(&mut self, len: u8) {
        debug_assert!(len < 16, "a longer array has another form");
        self.0.push(0x90 | len);
    }

    /// A number in its shortest form.
    #[inline]
    pub fn uint(&mut self, number: u64) {
        if number < 128 {
            self.0.push(number as u8);
        } else if let Ok(number) = u8::try_from(number) {
            self.0.extend_from_slice(&[0xcc, number]);
        } else if let Ok(number) = u16::try_from(number) {
            self.head(0xcd, number.to_be_bytes());
        } else if let Ok(number) = u32::try_from(number) {
            self.head(0xce, number.to_be_bytes());
        } else {
            self.head(0xcf, number.to_be_bytes());
        }
    }

    /// A text.
    #[inline]
    pub fn text(&mut self, text: &str) {
        let len = text.len();
        if len < 32 {
            self.0.push(0xa0 | len as u8);
        } else if let Ok(len) = u8::try_from(len) {
            self.0.extend_from_slice(&[0xd9, len]);
        } else if let Ok(len) = u16::try_from(len) {
            self.head(0xda, len.to_be_bytes());
        } else {
            let len = u32::try_from(len).expect("a text is smaller than 4 GiB: payloads are bounded");
            self.head(0xdb, len.to_be_bytes());
        }
        self.0.extend_from_slice(text.as_bytes());
    }

    /// A text, or none.
    #[inline]
    pub fn optional_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.0.push(0xc0),
        }
    }

    /// Sixteen bytes.
    #[inline]
    pub fn bytes16(&mut self, bytes: &[u8; 16]) {
        self.0.extend_from_slice(&[0xc4, 16]);
        self.0.extend_from_slice(bytes);
    }

    #[inline]
    fn head<const N: usize>(&mut self, form: u8, rest: [u8; N]) {
        self.0.push(form);
        self.0.extend_from_slice(&rest);
    }
}

/// Takes MessagePack values from the front of bytes; none where something else is, or too little.
pub(super) struct Unpack<'a>(pub &'a [u8]);

impl<'a> Unpack<'a> {
    /// Whether an array of so many values begins here.
    #[inline]
    pub fn array(&mut self, len: u8) -> Option<()> {
        (self.byte()? == 0x90 | len).then_some(())
    }

    #[inline]
    pub fn uint(&mut self) -> Option<u64> {
        Some(match self.byte()? {
            small @ 0..=0x7f => u64::from(small),
            0xcc => u64::from(self.byte()?),
            0xcd => u64::from(u16::from_be_bytes(self.take()?)),
            0xce => u64::from(u32::from_be_bytes(self.take()?)),
            0xcf => u64::from_be_bytes(self.take()?),
            _ => return None,
        })
    }

    #[inline]
    pub fn uint32(&mut self) -> Option<u32> {
        u32::try_from(self.uint()?).ok()
    }

    #[inline]
    pub fn uint8(&mut self) -> Option<u8> {
        u8::try_from(self.uint()?).ok()
    }

    #[inline]
    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.text_bytes()?).ok()
    }

    /// A text that is perhaps none.
    #[inline]
    pub fn text_bytes(&mut self) -> Option<&'a [u8]> {
        let form = self.byte()?;
        self.text_after(form)
    }

    #[inline]
    pub fn optional_text(&mut self) -> Option<Option<&'a str>> {
        match self.byte()? {
            0xc0 => Some(None),
            form => Some(Some(std::str::from_utf8(self.text_after(form)?).ok()?)),
        }
    }

    /// Sixteen bytes, or a text instead of them.
    #[inline]
    pub fn bytes16_or_text(&mut self) -> Option<([u8; 16], Option<&'a str>)> {
        match self.byte()? {
            0xc4 if self.byte()? == 16 => Some((self.take()?, None)),
            0xc4 => None,
            form => Some(([0; 16], Some(std::str::from_utf8(self.text_after(form)?).ok()?))),
        }
    }

    /// Whether nothing is left.
    #[inline]
    pub fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    #[inline]
    fn text_after(&mut self, form: u8) -> Option<&'a [u8]> {
        let len = match form {
            0xa0..=0xbf => usize::from(form & 0x1f),
            0xd9 => usize::from(self.byte()?),
            0xda => usize::from(u16::from_be_bytes(self.take()?)),
            0xdb => u32::from_be_bytes(self.take()?) as usize,
            _ => return None,
        };
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(text)
    }

    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What both write must be the same bytes, and read back.
    #[test]
    fn values_are_written_as_rmp_serde_writes_them() {
        for number in [0, 127, 128, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            let mut bytes = Vec::new();
            Pack(&mut bytes).uint(number);
            assert_eq!(bytes, rmp_serde::to_vec(&number).unwrap());
            assert_eq!(Unpack(&bytes).uint(), Some(number));
        }
        for len in [0, 31, 32, 255, 256, 65_535, 65_536] {
            let text = "x".repeat(len);
            let mut bytes = Vec::new();
            Pack(&mut bytes).text(&text);
            assert_eq!(bytes, rmp_serde::to_vec(&text).unwrap());
            let mut unpack = Unpack(&bytes);
            assert_eq!(unpack.text(), Some(text.as_str()));
            assert_eq!(unpack.end(), Some(()));
            assert!(Unpack(&bytes[..bytes.len() - 1]).text().is_none_or(|_| len == 0));
        }
        let mut bytes = Vec::new();
        let mut pack = Pack(&mut bytes);
        pack.array(3);
        pack.optional_text(None);
        pack.optional_text(Some("a"));
        pack.bytes16(&[7; 16]);
        let same = (None::<&str>, Some("a"), serde_bytes_of(&[7; 16]));
        assert_eq!(bytes, rmp_serde::to_vec(&same).unwrap());
        let mut unpack = Unpack(&bytes);
        assert_eq!(unpack.array(3), Some(()));
        assert_eq!((unpack.optional_text(), unpack.optional_text()), (Some(None), Some(Some("a"))));
        assert_eq!(unpack.bytes16_or_text(), Some(([7; 16], None)));
    }

    fn serde_bytes_of(bytes: &[u8]) -> impl serde::Serialize {
        struct Bytes(Vec<u8>);
        impl serde::Serialize for Bytes {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }
        Bytes(bytes.to_vec())
    }
}
