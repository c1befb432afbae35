//! Changes of the input tables.

use std::sync::Arc;

use super::{Customer, Order, Product};

/// An upsert, or with `None` a delete, of one row of an input table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change<I> {
    /// Of an order.
    Order(I, Option<Order<I>>),
    /// Of a product.
    Product(I, Option<Arc<Product>>),
    /// Of a customer.
    Customer(I, Option<Arc<Customer>>),
}
