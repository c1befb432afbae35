//! The tables that are read.

use std::fmt;

/// One of the three tables that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum InputTable {
    /// `orders`
    Orders,
    /// `products`
    Products,
    /// `customers`
    Customers,
}

impl InputTable {
    /// All three, in the order in which they are read: small ones first.
    pub const ALL: [InputTable; 3] = [InputTable::Products, InputTable::Customers, InputTable::Orders];

    /// The name of its folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            InputTable::Orders => "orders",
            InputTable::Products => "products",
            InputTable::Customers => "customers",
        }
    }
}

impl fmt::Display for InputTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
