//! Rows of the input tables, and intermediate rows shared by several tables.
//!
//! `None` is null. As a key, null is an ordinary value: all guests form one group, and so do all orders without a date.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Amount, Day, Discount, Payload, Price, Text, Tier};

/// An order line, read and cleaned, without its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Order<I> {
    /// The customer; `None` for a guest.
    pub customer: Option<I>,
    /// The product.
    pub product: Option<I>,
    /// The order date.
    pub day: Option<Day>,
    /// The quantity.
    pub quantity: i32,
    /// The discount, as a fraction of the price.
    pub discount: Discount,
    /// The carried columns of `orders`.
    pub extra: Payload,
}

impl<I> Order<I> {
    /// An order of one piece, without a date or discount.
    #[must_use]
    pub fn of(customer: impl Into<Option<I>>, product: impl Into<Option<I>>) -> Order<I> {
        let (customer, product) = (customer.into(), product.into());
        Order { customer, product, day: None, quantity: 1, discount: Discount::default(), extra: Payload::default() }
    }

    /// Converts the ids.
    ///
    /// # Errors
    ///
    /// Those of the functions.
    pub(crate) fn try_map_ids<J, E>(
        self,
        customer_id: impl FnOnce(I) -> Result<J, E>,
        product_id: impl FnOnce(I) -> Result<J, E>,
    ) -> Result<Order<J>, E> {
        let Order { customer, product, day, quantity, discount, extra } = self;
        let (customer, product) = (customer.map(customer_id).transpose()?, product.map(product_id).transpose()?);
        Ok(Order { customer, product, day, quantity, discount, extra })
    }
}

/// A product, without its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Product {
    /// The name.
    pub name: Option<Text>,
    /// The category.
    pub category: Text,
    /// The unit price.
    pub price: Price,
    /// The brand.
    pub brand: Option<Text>,
    /// Metadata: a JSON object, if valid.
    pub metadata: Option<Text>,
    /// The carried columns of `products`.
    pub extra: Payload,
}

impl Product {
    /// A product without a name, a brand or metadata.
    #[must_use]
    pub fn of(category: impl Into<Text>, price: Price) -> Product {
        let (name, brand, metadata) = Default::default();
        Product { name, category: category.into(), price, brand, metadata, extra: Payload::default() }
    }
}

/// A customer, without its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Customer {
    /// The carried columns of `customers`.
    pub extra: Payload,
}

/// An order line with its product's price. A customer's lines are ordered by day, then by order id, nulls first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Line<I> {
    /// The order date.
    pub day: Option<Day>,
    /// The order id.
    pub order: I,
    /// The product.
    pub product: Option<I>,
    /// The quantity.
    pub quantity: i32,
    /// The discount, as a fraction of the price.
    pub discount: Discount,
    /// The product's price; `None` if the product is unknown.
    pub price: Option<Price>,
    /// The carried columns of `orders`.
    pub extra: Payload,
}

impl<I> Line<I> {
    /// `quantity × price × (1 − discount)`; `None` if the product is unknown.
    #[must_use]
    pub fn amount(&self) -> Option<Amount> {
        self.price.map(|price| Amount::of(self.quantity, price, self.discount))
    }
}

/// The values shared by all enriched rows of a customer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Account {
    /// The customer; `None` for guests and for ids missing in `customers`.
    pub details: Option<Arc<Customer>>,
    /// The customer's total; `None` without any amount, and for guests.
    pub spent: Option<Amount>,
    /// The tier of the total.
    pub tier: Option<Tier>,
}

/// The sum and number of amounts. If the number is zero, sum and mean are null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AmountSum {
    /// The sum.
    pub total: Amount,
    /// The number of non-null amounts.
    pub count: i64,
}

impl AmountSum {
    /// The sum; `None` without any amount.
    #[must_use]
    pub fn get(self) -> Option<Amount> {
        (self.count != 0).then_some(self.total)
    }
}

/// The sales of a product: a row of `product_sales`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProductSales<I> {
    /// The product's id.
    pub product: Option<I>,
    /// The name.
    pub name: Option<Text>,
    /// Its category; `None` if the product is unknown.
    pub category: Option<Text>,
    /// Pieces sold.
    pub quantity: i64,
    /// The revenue; `None` if the product is unknown.
    pub revenue: Option<Amount>,
    /// Distinct customers, excluding guests.
    pub customers: i64,
}

/// The purchases of a customer: a row of `customer_patterns`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CustomerPattern<I> {
    /// The customer's id; `None` for all guests together.
    pub customer: Option<I>,
    /// The tier; `None` for guests, and without any amount.
    pub tier: Option<Tier>,
    /// The number of orders.
    pub orders: i64,
    /// The spending: `total_spent`, with `avg_order_value` as its mean.
    pub spent: AmountSum,
    /// The first day with an order.
    pub first: Option<Day>,
    /// The last day with an order.
    pub last: Option<Day>,
}
