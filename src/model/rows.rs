//! Rows: the three inputs, an order line, and a row of each table.
//!
//! `None` is a null. In a table it is also a key: the guests, the orders without a date, are a group like any other.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::operators::window::Share;
use crate::operators::{Covariance, Moments};

use super::{Amount, Day, Discount, Month, Payload, Price, Score, Text, TextMap, Tier};

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
    /// The further columns of `orders`.
    pub extra: Payload,
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
    /// The further columns of `products`.
    pub extra: Payload,
}

/// A customer, without its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Customer {
    /// The further columns of `customers`.
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
    /// The further columns of `orders`.
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

/// A row of `enriched_data`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Enriched<I> {
    /// Who ordered; `None` for a guest.
    pub customer: Option<I>,
    /// The order.
    pub line: Line<I>,
    /// The product; `None` where it is unknown.
    pub item: Option<Arc<Product>>,
    /// What is known of the customer.
    pub account: Arc<Account>,
}

/// A sum of amounts and how many there were: with none, the sum is null and so is the mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sum {
    /// The sum.
    pub total: Amount,
    /// How many amounts, nulls not counted.
    pub count: i64,
}

impl Sum {
    /// The sum; `None` of nothing.
    #[must_use]
    pub fn get(self) -> Option<Amount> {
        (self.count != 0).then_some(self.total)
    }
}

/// A row of `daily_sales`; its key is `day`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DailySales {
    /// The day.
    pub day: Option<Day>,
    /// What was sold: `daily_revenue`, and `avg_order_value` as its mean.
    pub revenue: Sum,
    /// Distinct customers, guests not counted.
    pub customers: i64,
}

/// A row of `product_sales`; its key is `product`.
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

/// A row of `customer_patterns`; its key is `customer`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CustomerPattern<I> {
    /// The customer's id; `None` for the guests together.
    pub customer: Option<I>,
    /// The tier; `None` for guests, and where nothing is known to be spent.
    pub tier: Option<Tier>,
    /// All orders.
    pub orders: i64,
    /// What was spent: `total_spent`, and `avg_order_value` as its mean.
    pub spent: Sum,
    /// The first day with an order.
    pub first: Option<Day>,
    /// The last day with an order.
    pub last: Option<Day>,
}

/// A row of `rfm_analysis`; its key is `customer`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rfm<I> {
    /// The customer's id; `None` for the guests together.
    pub customer: Option<I>,
    /// Days from the last purchase to the as-of date; negative where the purchase lies after it.
    pub recency: Option<i32>,
    /// All orders.
    pub frequency: i64,
    /// What was spent.
    pub monetary: Option<Amount>,
}

/// A row of `cohort_analysis`; its key is `month`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CohortSize {
    /// The month; `None` for the orders without a date.
    pub month: Option<Month>,
    /// Distinct customers, guests not counted.
    pub customers: i64,
}

/// A row of `customer_product_matrix`; its key is `customer` and `rank`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MatrixEntry<I> {
    /// The customer's id; `None` for the guests together.
    pub customer: Option<I>,
    /// 1 for the latest order.
    pub rank: u32,
    /// What was ordered.
    pub product: Option<I>,
    /// What it cost; `None` where the product is unknown.
    pub amount: Option<Amount>,
}

/// A row of `product_ranking`: a row of `product_sales`, and how it stands in its category.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProductRanking<I> {
    /// What the product sold.
    pub sales: ProductSales<I>,
    /// How that compares.
    pub standing: Standing,
}

/// How a product stands among those of its category, ordered by revenue, nulls first, and then by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Standing {
    /// `row_num`: its place.
    pub row_number: u64,
    /// The place of the first with its revenue.
    pub rank: u64,
    /// The place of its revenue among distinct ones.
    pub dense_rank: u64,
    /// `prev_sales`: the revenue of the one before it.
    pub previous: Option<Amount>,
    /// `next_sales`: the revenue of the one behind it.
    pub next: Option<Amount>,
    /// `first_sales`: the least revenue.
    pub first: Option<Amount>,
    /// `last_sales`: the last revenue of the default frame, which is its own.
    pub last: Option<Amount>,
    /// `second_sales`: the second revenue of the default frame; `None` where that has one row.
    pub second: Option<Amount>,
    /// `cumulative_dist`: the share of rows up to its last peer.
    pub cumulative_dist: Share,
    /// `percentile_rank`: the share of the other rows that lie before its first peer.
    pub percentile_rank: Share,
    /// `quartile`: which of four equal parts it is in, the first ones larger by one where they can't be equal.
    pub quartile: u64,
}

/// A row of `category_stats`; its key is `category`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CategoryStats {
    /// The category.
    pub category: Text,
    /// Of the prices of its products: their number, mean, variance, skewness and kurtosis.
    pub prices: Moments<4>,
    /// Of the order lines: price and quantity of each.
    pub lines: Covariance<4, 0>,
    /// Its products.
    pub products: CategoryProducts,
}

/// What the products of a category are called.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CategoryProducts {
    /// `all_products`: their names in the order of their ids; those without a name are left out.
    pub names: Arc<[Text]>,
    /// `unique_brands`: their brands, sorted, each once.
    pub brands: Arc<[Text]>,
}

/// A row of `product_features`; its key is `product`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProductFeatures<I> {
    /// The product's id.
    pub product: I,
    /// `clean_name`: its name, cleaned.
    pub name: Option<Text>,
    /// `price_category`: how high its price is.
    pub price_category: Text,
    /// What its metadata say.
    pub metadata: TextMap,
}

/// A row of `order_anomalies`; its key is `order`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrderAnomaly<I> {
    /// The order's id.
    pub order: I,
    /// `final_price`: what one piece costs after the discount; `None` where the product is unknown.
    pub final_price: Option<Amount>,
    /// `anomaly_score`: `None` where the product is unknown, or there is no model.
    pub score: Option<Score>,
}
