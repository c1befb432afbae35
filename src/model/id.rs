//! What names an order, a product, a customer.

use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::num::NonZeroU64;

use differential_dataflow::ExchangeData;
use serde::{Deserialize, Serialize};

/// An id of text: up to 24 bytes lie inline, longer ones on the heap.
pub type Text = compact_str::CompactString;

/// An id that is a number: any `i64` but the least.
///
/// It takes 8 bytes, and so does `Option<Number>`; numbers are ordered as they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Number(NonZeroU64);

impl Number {
    /// The id that is this number; `None` for `i64::MIN`.
    ///
    /// ```
    /// use millstream::model::Number;
    /// assert!(Number::new(-1) < Number::new(7));
    /// assert_eq!(Number::new(-1).map(Number::get), Some(-1));
    /// assert_eq!(size_of::<Option<Number>>(), 8);
    /// ```
    #[must_use]
    pub fn new(number: i64) -> Option<Number> {
        // Turning the sign over keeps the order, and makes a zero of the least.
        NonZeroU64::new(number.cast_unsigned() ^ 1 << 63).map(Number)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> i64 {
        (self.0.get() ^ 1 << 63).cast_signed()
    }
}

impl Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.get(), f)
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.get(), f)
    }
}

/// An id where some of the ids are text: a number where its kind of thing is numbered, or a text.
///
/// Numbers are ordered as numbers, before all texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Name {
    /// A number.
    Number(i64),
    /// A text.
    Text(Text),
}

impl Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Number(number) => Display::fmt(number, f),
            Name::Text(text) => Display::fmt(text, f),
        }
    }
}

/// A type that can name orders, products and customers.
///
/// The dataflow needs to compare, hash and send it between workers, and no more. [`Number`] is the fast path, since a null
/// needs no room of its own; [`Name`] serves where one of the tables names things by strings. Any other type that fits
/// the bounds, such as `i64`, is an `Id` too.
pub trait Id: ExchangeData + Hash + Sync + Display {}

impl<I: ExchangeData + Hash + Sync + Display> Id for I {}
