//! The input tables.

use std::fmt;

/// One of the three input tables.
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
    /// All three, in reading order: small tables first.
    pub const ALL: [InputTable; 3] = [InputTable::Products, InputTable::Customers, InputTable::Orders];

    /// The table with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<InputTable> {
        InputTable::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The name of the table and of its folder.
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
