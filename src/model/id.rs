//! Ids of orders, products and customers.

use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::num::NonZeroU64;

use differential_dataflow::ExchangeData;
use serde::{Deserialize, Serialize};

/// A short text: up to 24 bytes are stored inline, longer ones on the heap.
pub type Text = compact_str::CompactString;

/// An integer id: any `i64` except `i64::MIN`.
///
/// Both `IntId` and `Option<IntId>` take 8 bytes. Ids are ordered numerically.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IntId(NonZeroU64);

impl IntId {
    /// The id with this number; `None` for `i64::MIN`.
    ///
    /// ```
    /// use millstream::model::IntId;
    /// assert!(IntId::new(-1) < IntId::new(7));
    /// assert_eq!(IntId::new(-1).map(IntId::get), Some(-1));
    /// assert_eq!(size_of::<Option<IntId>>(), 8);
    /// ```
    #[must_use]
    pub fn new(number: i64) -> Option<IntId> {
        // Flipping the sign bit preserves the order, and maps `i64::MIN` to zero.
        NonZeroU64::new(number.cast_unsigned() ^ 1 << 63).map(IntId)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> i64 {
        (self.0.get() ^ 1 << 63).cast_signed()
    }
}

impl From<u32> for IntId {
    fn from(number: u32) -> IntId {
        IntId(NonZeroU64::new(u64::from(number) | 1 << 63).expect("its top bit is set"))
    }
}

impl From<i32> for IntId {
    fn from(number: i32) -> IntId {
        IntId::new(number.into()).expect("no i32 is the least i64")
    }
}

impl TryFrom<i64> for IntId {
    type Error = OutOfRange;

    fn try_from(number: i64) -> Result<IntId, OutOfRange> {
        IntId::new(number).ok_or(OutOfRange)
    }
}

/// The integer is not an [`IntId`], because it is `i64::MIN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id must be above -2^63")]
pub struct OutOfRange;

impl Debug for IntId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.get(), f)
    }
}

impl Display for IntId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.get(), f)
    }
}

/// An integer or text id, for shops with text ids in at least one table.
///
/// Integers are ordered numerically, and before all texts.
///
/// ```
/// use millstream::model::AnyId;
/// assert!(AnyId::from(7) < AnyId::from("A-7"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AnyId {
    /// An integer.
    Int(i64),
    /// A text.
    Text(Text),
}

impl From<i64> for AnyId {
    fn from(number: i64) -> AnyId {
        AnyId::Int(number)
    }
}

impl From<&str> for AnyId {
    fn from(text: &str) -> AnyId {
        AnyId::Text(text.into())
    }
}

impl From<IntId> for AnyId {
    fn from(id: IntId) -> AnyId {
        AnyId::Int(id.get())
    }
}

impl Display for AnyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnyId::Int(number) => Display::fmt(number, f),
            AnyId::Text(text) => Display::fmt(text, f),
        }
    }
}

/// A type of ids of orders, products and customers.
///
/// The dataflow only compares, hashes and exchanges ids. [`IntId`] is the fast path, in which a null takes no extra
/// space; [`AnyId`] supports text ids. Any other type that meets the bounds, such as `i64`, is an `Id`, too.
pub trait Id: ExchangeData + Hash + Sync + Display {}

impl<I: ExchangeData + Hash + Sync + Display> Id for I {}
