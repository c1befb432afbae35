//! Changes of the input tables.

use std::sync::Arc;

use super::{Customer, Order, Product};

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
