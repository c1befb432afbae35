//! Changes of the input tables.

use std::sync::Arc;

use super::{Customer, InputTable, Order, Product};

/// An upsert of one row of an input table, or a delete if the row is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change<I> {
    /// An upsert or delete of an order.
    Order(I, Option<Order<I>>),
    /// An upsert or delete of a product.
    Product(I, Option<Arc<Product>>),
    /// An upsert or delete of a customer.
    Customer(I, Option<Arc<Customer>>),
}

impl<I> Change<I> {
    /// The table whose row changes.
    #[must_use]
    pub fn table(&self) -> InputTable {
        match self {
            Change::Order(..) => InputTable::Orders,
            Change::Product(..) => InputTable::Products,
            Change::Customer(..) => InputTable::Customers,
        }
    }
}
