//! The bytes of a datum of Avro, piece by piece, as its specification defines them.
//!
//! The crate that parses schemas reads data, too, but takes what is missing at the end for nulls, and memory for
//! whatever a datum says that it has. Here nothing is taken but bytes that are there.

/// What is left of a datum.
pub(super) struct Datum<'a>(pub(super) &'a [u8]);

impl<'a> Datum<'a> {
    /// The next bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("the datum ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("the datum ends too early")?;
        self.0 = rest;
        Ok(*taken)
    }

    /// A `long`: seven bits a byte, the lowest first, with the sign in the lowest.
    pub(super) fn long(&mut self) -> Result<i64, String> {
        let mut bits = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                break;
            }
            bits |= part << shift;
            if byte & 0x80 == 0 {
                return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
            }
        }
        Err("found a number of more than 64 bits".to_owned())
    }

    pub(super) fn int(&mut self) -> Result<i32, String> {
        let number = self.long()?;
        i32::try_from(number).map_err(|_| format!("found {number}, wanted an int"))
    }

    /// The place of a variant or symbol.
    pub(super) fn index(&mut self) -> Result<usize, String> {
        let number = self.long()?;
        usize::try_from(number).map_err(|_| format!("found the index {number}"))
    }

    pub(super) fn boolean(&mut self) -> Result<bool, String> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(format!("found {other}, wanted a boolean")),
        }
    }

    /// Bytes behind their length.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| format!("found the length {length}"))?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "found a string that is not UTF-8".to_owned())
    }

    /// The number of items in the next block of an array or map; 0 at its end.
    pub(super) fn block(&mut self) -> Result<u64, String> {
        let count = self.long()?;
        if count < 0 {
            // How many bytes it has, for those who skip it.
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }
}
