//! What names an order, a product, a customer.

use std::fmt::{self, Display};
use std::hash::Hash;

use differential_dataflow::ExchangeData;
use serde::{Deserialize, Serialize};

/// An id of text: up to 24 bytes lie inline, longer ones on the heap.
pub type Text = compact_str::CompactString;

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

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Number(number) => number.fmt(f),
            Name::Text(text) => text.fmt(f),
        }
    }
}

/// A type that can name orders, products and customers.
///
/// The dataflow needs to compare, hash and send it between workers, and no more. `i64` is the fast path;
/// [`Name`] serves where one of the tables names things by strings. Any other type that fits the bounds is an `Id` too.
pub trait Id: ExchangeData + Hash + Sync + Display {}

impl<I: ExchangeData + Hash + Sync + Display> Id for I {}
