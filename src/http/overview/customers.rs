//! Customers, their tiers, and who crossed from one into another.

use std::collections::{BTreeMap, HashMap, VecDeque};

use arrow::record_batch::RecordBatch;
use serde_json::{Value, json};

use crate::error::Result;
use crate::http::stamp::timestamp;
use crate::model::AnyId;
use crate::sinks::Committed;

use super::cells::{Money, amounts, id_json, ids, integers, text, texts};

/// The rows of `customer_patterns`, added up by tier.
#[derive(Default)]
pub(super) struct Customers {
    /// Orders, those of guests too.
    pub(super) orders: i64,
    /// Customers; guests are not one.
    pub(super) customers: i64,
    tiers: BTreeMap<Option<String>, OfTier>,
    /// The newest first.
    crossed: VecDeque<Crossing>,
}

#[derive(Default)]
struct OfTier {
    customers: i64,
    spent: Money,
}

struct Crossing {
    epoch: Committed,
    customer: AnyId,
    from: Option<String>,
    to: Option<String>,
    spent: Option<Money>,
}

/// How many crossings are told.
const CROSSINGS: usize = 20;

impl Customers {
    pub(super) const TABLE: &str = "customer_patterns";

    pub(super) fn change(&mut self, epoch: Committed, plus: &RecordBatch, minus: &RecordBatch) -> Result<()> {
        let mut before = HashMap::new();
        self.add(minus, -1, |customer, tier, _| drop(before.insert(customer, tier)))?;
        let mut crossed = Vec::new();
        self.add(plus, 1, |customer, to, spent| {
            if let Some(from) = before.remove(&customer).filter(|from| *from != to) {
                crossed.push(Crossing { epoch, customer, from, to, spent });
            }
        })?;
        self.tiers.retain(|_, of_tier| of_tier.customers != 0);
        for crossing in crossed {
            self.crossed.push_front(crossing);
            self.crossed.truncate(CROSSINGS);
        }
        Ok(())
    }

    fn add(
        &mut self,
        rows: &RecordBatch,
        sign: i64,
        mut each: impl FnMut(AnyId, Option<String>, Option<Money>),
    ) -> Result<()> {
        let (customers, tiers) = (ids(rows, "customer_id")?, texts(rows, "customer_tier")?);
        let (orders, spent) = (integers(rows, "total_orders")?, amounts(rows, "total_spent")?);
        for row in 0..rows.num_rows() {
            self.orders += sign * orders.value(row);
            let Some(customer) = customers.get(row) else { continue };
            self.customers += sign;
            let (tier, spent) = (text(&tiers, row).map(str::to_owned), spent.get(row));
            let sum = self.tiers.entry(tier.clone()).or_default();
            sum.customers += sign;
            sum.spent.add(spent.unwrap_or_default(), sign);
            each(customer, tier, spent);
        }
        Ok(())
    }

    /// Customers and what they spent, by tier, the greatest average first.
    pub(super) fn tiers(&self) -> Value {
        let mut tiers: Vec<_> = self.tiers.iter().collect();
        let spent = |sum: &OfTier| sum.spent.json().as_f64().unwrap_or_default();
        let average = |sum: &OfTier| spent(sum) / sum.customers as f64;
        tiers.sort_by(|(_, one), (_, other)| average(other).total_cmp(&average(one)));
        let tier = |(name, sum): (&Option<String>, &OfTier)| {
            let spent = sum.spent.json();
            json!({ "tier": name, "customers": sum.customers, "spent": spent })
        };
        tiers.into_iter().map(tier).collect()
    }

    /// Who crossed from one tier into another while the shop was watched, the newest first.
    pub(super) fn crossed(&self) -> Value {
        let crossing = |Crossing { epoch, customer, from, to, spent }: &Crossing| {
            json!({
                "epoch": epoch.epoch,
                "committed_at": timestamp(epoch.time_ms),
                "customer_id": id_json(Some(customer)),
                "from": from,
                "to": to,
                "total_spent": spent.map(Money::json),
            })
        };
        self.crossed.iter().map(crossing).collect()
    }

    /// Forgets the sums, but not who crossed.
    pub(super) fn begin_again(&mut self) {
        *self = Customers { crossed: std::mem::take(&mut self.crossed), ..Customers::default() };
    }
}
