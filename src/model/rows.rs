//! Rows: the three inputs, and what several tables are made from.
//!
//! `None` is a null. As a key it is a value like any other: guests form one group, orders without a date another.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Amount, Day, Discount, Payload, Price, Text, Tier};

/// An order line, as it was read and cleaned, without its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Order<I> {
    /// Who ordered; `None` for a guest.
    pub customer: Option<I>,
    /// What was ordered.
    pub product: Option<I>,
    /// When.
    pub day: Option<Day>,
    /// How many.
    pub quantity: i32,
    /// The fraction taken off the price.
    pub discount: Discount,
    /// The carried columns of `orders`.
    pub extra: Payload,
}

impl<I> Order<I> {
    /// One piece of a product, without a date or a discount.
    #[must_use]
    pub fn of(customer: impl Into<Option<I>>, product: impl Into<Option<I>>) -> Order<I> {
        let (customer, product) = (customer.into(), product.into());
        Order { customer, product, day: None, quantity: 1, discount: Discount::default(), extra: Payload::default() }
    }

    /// The same order with other ids.
    ///
    /// # Errors
    ///
    /// Those of `id`.
    pub(crate) fn try_map_ids<J, E>(self, id: impl Fn(I) -> Result<J, E>) -> Result<Order<J>, E> {
        let Order { customer, product, day, quantity, discount, extra } = self;
        let (customer, product) = (customer.map(&id).transpose()?, product.map(&id).transpose()?);
        Ok(Order { customer, product, day, quantity, discount, extra })
    }
}

/// A product, without its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Product {
    /// What it is called.
    pub name: Option<Text>,
    /// The kind of thing it is.
    pub category: Text,
    /// What one costs.
    pub price: Price,
    /// Who makes it.
    pub brand: Option<Text>,
    /// What else is known of it: a JSON object, if all is well.
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

/// An order with its product's price, as it lies among its customer's: in the order of days, then of order ids, nulls first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Line<I> {
    /// When.
    pub day: Option<Day>,
    /// What names the order.
    pub order: I,
    /// What was ordered.
    pub product: Option<I>,
    /// How many.
    pub quantity: i32,
    /// The fraction taken off the price.
    pub discount: Discount,
    /// The product's price, for every sum needs it; `None` where the product is unknown.
    pub price: Option<Price>,
    /// The carried columns of `orders`.
    pub extra: Payload,
}

impl<I> Line<I> {
    /// `quantity × price × (1 − discount)`; `None` where the product is unknown.
    #[must_use]
    pub fn amount(&self) -> Option<Amount> {
        self.price.map(|price| Amount::of(self.quantity, price, self.discount))
    }
}

/// What all the enriched rows of one customer share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Account {
    /// The customer; `None` for guests and for an id that `customers` does not have.
    pub details: Option<Arc<Customer>>,
    /// The sum of the customer's amounts; `None` where there is none, and for guests.
    pub spent: Option<Amount>,
    /// The tier which that sum earns.
    pub tier: Option<Tier>,
}

/// A sum of amounts and how many there were: with none, the sum is null and so is the mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AmountSum {
    /// The sum.
    pub total: Amount,
    /// How many amounts, nulls not counted.
    pub count: i64,
}

impl AmountSum {
    /// The sum; `None` of nothing.
    #[must_use]
    pub fn get(self) -> Option<Amount> {
        (self.count != 0).then_some(self.total)
    }
}

/// What was sold of a product: a row of `product_sales`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProductSales<I> {
    /// The product's id.
    pub product: Option<I>,
    /// What it is called.
    pub name: Option<Text>,
    /// Its category; `None` where the product is unknown.
    pub category: Option<Text>,
    /// Pieces sold.
    pub quantity: i64,
    /// What they brought; `None` where the product is unknown.
    pub revenue: Option<Amount>,
    /// Distinct customers, guests not counted.
    pub customers: i64,
}

/// What a customer bought: a row of `customer_patterns`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CustomerPattern<I> {
    /// The customer's id; `None` for the guests together.
    pub customer: Option<I>,
    /// The tier; `None` for guests, and where nothing is known to be spent.
    pub tier: Option<Tier>,
    /// All orders.
    pub orders: i64,
    /// What was spent: `total_spent`, and `avg_order_value` as its mean.
    pub spent: AmountSum,
    /// The first day with an order.
    pub first: Option<Day>,
    /// The last day with an order.
    pub last: Option<Day>,
}
