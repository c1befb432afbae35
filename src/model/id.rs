//! What names an order, a product, a customer.

use std::fmt::Display;
use std::hash::Hash;

use differential_dataflow::ExchangeData;

/// An id of text: up to 24 bytes lie inline, longer ones on the heap.
pub type Text = compact_str::CompactString;

/// A type that can name orders, products and customers.
///
/// The dataflow needs to compare, hash and send it between workers, and no more. `i64` is the fast path;
/// [`Text`] serves where one of the tables names things by strings. Any other type that fits the bounds is an `Id` too.
pub trait Id: ExchangeData + Hash + Sync + Display {}

impl<I: ExchangeData + Hash + Sync + Display> Id for I {}
