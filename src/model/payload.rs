//! The carried columns of a row as one opaque value.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use triomphe::ThinArc;

/// Bytes stored inline.
const INLINE: usize = 14;

/// The encoded carried columns of a row: opaque to the dataflow, which only compares, copies and exchanges it.
///
/// A payload takes 16 bytes. Up to 14 bytes are stored inline, so copying them touches no other memory; longer
/// contents are shared by the copies.
#[derive(Clone)]
pub struct Payload(Repr);

#[derive(Clone)]
enum Repr {
    Inline { length: u8, bytes: [u8; INLINE] },
    Shared(ThinArc<(), u8>),
}

impl Payload {
    /// Copies these bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Payload {
        match u8::try_from(bytes.len()) {
            Ok(length) if bytes.len() <= INLINE => {
                let mut inline = [0; INLINE];
                inline[..bytes.len()].copy_from_slice(bytes);
                Payload(Repr::Inline { length, bytes: inline })
            }
            _ => Payload(Repr::Shared(ThinArc::from_header_and_slice((), bytes))),
        }
    }

    /// The encoded bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Repr::Shared(bytes) => &bytes.slice,
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Payload::new(&[])
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Payload {}

impl PartialOrd for Payload {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Payload {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Payload {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.as_bytes().len())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.as_bytes())
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(PayloadVisitor)
    }
}

/// Deserializes all bytes at once, rather than one by one as a sequence.
struct PayloadVisitor;

impl Visitor<'_> for PayloadVisitor {
    type Value = Payload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a payload")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Payload, E> {
        Ok(Payload::new(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_payloads_keep_their_bytes_and_order() {
        assert_eq!(size_of::<Option<Payload>>(), 16);
        let payloads: Vec<_> = (0..60_u8).map(|n| Payload::new(&(0..n).collect::<Vec<_>>())).collect();
        for (n, payload) in payloads.iter().enumerate() {
            assert_eq!(payload.as_bytes().len(), n);
        }
        assert!(payloads.is_sorted());
    }
}
