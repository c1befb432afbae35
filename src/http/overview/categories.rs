//! What was sold of each category.

use std::collections::BTreeMap;

use arrow::record_batch::RecordBatch;
use serde_json::{Value, json};

use crate::error::Result;

use super::cells::{Money, amounts, integers, text, texts};

/// The rows of `product_sales`, added up by category.
#[derive(Default)]
pub(super) struct Categories {
    sums: BTreeMap<Option<String>, OfCategory>,
}

#[derive(Default)]
struct OfCategory {
    products: i64,
    pieces: i64,
    revenue: Money,
}

impl Categories {
    pub(super) const TABLE: &str = "product_sales";

    pub(super) fn change(&mut self, plus: &RecordBatch, minus: &RecordBatch) -> Result<()> {
        self.add(minus, -1)?;
        self.add(plus, 1)?;
        self.sums.retain(|_, of_category| of_category.products != 0);
        Ok(())
    }

    fn add(&mut self, rows: &RecordBatch, sign: i64) -> Result<()> {
        let (names, pieces) = (texts(rows, "category")?, integers(rows, "total_quantity")?);
        let revenues = amounts(rows, "total_revenue")?;
        for row in 0..rows.num_rows() {
            let name = text(&names, row).map(str::to_owned);
            let sum = self.sums.entry(name).or_default();
            sum.products += sign;
            sum.pieces += sign * pieces.value(row);
            sum.revenue.add(revenues.get(row).unwrap_or_default(), sign);
        }
        Ok(())
    }

    /// The sum of all categories.
    pub(super) fn revenue(&self) -> Money {
        let mut all = Money::default();
        self.sums.values().for_each(|sum| all.add(sum.revenue, 1));
        all
    }

    /// The categories, the greatest revenue first.
    pub(super) fn json(&self) -> Value {
        let mut sums: Vec<_> = self.sums.iter().collect();
        sums.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.revenue));
        let category = |(name, sum): (&Option<String>, &OfCategory)| {
            let OfCategory { products, pieces, revenue } = sum;
            json!({ "category": name, "revenue": revenue.json(), "pieces": pieces, "products": products })
        };
        sums.into_iter().map(category).collect()
    }
}
