//! The best products, and those that gained most.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use serde_json::{Value, json};

use crate::error::Result;
use crate::http::baseline::Baseline;
use crate::http::stamp::timestamp;
use crate::model::AnyId;
use crate::sinks::{Committed, KeyRange, TablesSnapshot};

use super::cells::{Money, amounts, id_json, ids, text, texts};

/// The products of `product_sales` that are told. They are looked for in the table, so nothing is kept of the others.
#[derive(Default)]
pub(super) struct Products {
    found: Option<FoundProducts>,
}

struct FoundProducts {
    at: Instant,
    took: Duration,
    epoch: Committed,
    since: Committed,
    best: Vec<(BestProduct, Option<usize>)>,
    gained: Vec<(Money, ProductName)>,
}

/// A product among the best, ordered by revenue, then by id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct BestProduct {
    revenue: Money,
    product: Reverse<ProductName>,
}

/// What identifies a row of `product_sales`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ProductName {
    id: Option<AnyId>,
    name: Option<String>,
    category: Option<String>,
}

/// How many of the best are told, and of those that gained most.
const BEST: usize = 10;
const GAINED: usize = 5;
/// They are looked for at most so often, and for at most so small a share of the time.
const EVERY: Duration = Duration::from_secs(1);
const PAUSE: u32 = 50;

impl Products {
    pub(super) const TABLE: &str = "product_sales";

    /// Looks for them again, if it is time to.
    pub(super) fn look(&mut self, now: &TablesSnapshot, baseline: &Baseline) -> Result<()> {
        let is_due = |found: &FoundProducts| found.at.elapsed() >= EVERY.max(found.took * PAUSE);
        if !self.found.as_ref().is_none_or(is_due) {
            return Ok(());
        }
        let (at, before) = (Instant::now(), baseline.get().unwrap_or_else(|| now.clone()));
        let best = best(now)?;
        let moved = now.changes_since(&before, Self::TABLE)?;
        let gained = moved.as_ref().map(|(plus, minus)| gained(plus, minus)).transpose()?.unwrap_or_default();
        let ranks = ranks(&best, &before)?;
        let since = before.committed().unwrap_or_default();
        let best = best.into_iter().zip(ranks).collect();
        let epoch = now.committed().unwrap_or_default();
        self.found = Some(FoundProducts { at, took: at.elapsed(), epoch, since, best, gained });
        Ok(())
    }

    /// True unless those that are told are of this epoch.
    pub(super) fn are_behind(&self, epoch: u64) -> bool {
        self.found.as_ref().is_some_and(|found| found.epoch.epoch != epoch)
    }

    pub(super) fn json(&self) -> Value {
        let Some(FoundProducts { epoch, since, best, gained, .. }) = &self.found else { return Value::Null };
        let named = |ProductName { id, name, category }: &ProductName| {
            let id = id_json(id.as_ref());
            json!({ "product_id": id, "product_name": name, "category": category })
        };
        let best = (1..).zip(best).map(|(rank, (BestProduct { revenue, product }, before))| {
            let mut json = named(&product.0);
            json["rank"] = json!(rank);
            json["rank_before"] = json!(before);
            json["revenue"] = revenue.json();
            json
        });
        let gained = gained.iter().map(|(gain, product)| {
            let mut json = named(product);
            json["gained"] = gain.json();
            json
        });
        json!({
            "epoch": epoch.epoch,
            "since_epoch": since.epoch,
            "since": timestamp(since.time_ms),
            "best": best.collect::<Vec<_>>(),
            "gained": gained.collect::<Vec<_>>(),
        })
    }
}

/// Calls a function with the revenue of each product of some rows, and its row.
fn each(rows: &RecordBatch, mut product: impl FnMut(Money, usize)) -> Result<()> {
    let revenues = amounts(rows, "total_revenue")?;
    (0..rows.num_rows()).for_each(|row| revenues.get(row).into_iter().for_each(|revenue| product(revenue, row)));
    Ok(())
}

/// What names the products of some rows.
fn names(rows: &RecordBatch) -> Result<impl Fn(usize) -> ProductName> {
    let (ids, names, categories) = (ids(rows, "product_id")?, texts(rows, "product_name")?, texts(rows, "category")?);
    Ok(move |row| ProductName {
        id: ids.get(row),
        name: text(&names, row).map(str::to_owned),
        category: text(&categories, row).map(str::to_owned),
    })
}

/// The products with the greatest revenue, the greatest first.
fn best(now: &TablesSnapshot) -> Result<Vec<BestProduct>> {
    let mut best: BinaryHeap<Reverse<BestProduct>> = BinaryHeap::new();
    for rows in now.scan(Products::TABLE, &KeyRange::default())? {
        let rows = rows?;
        let name = names(&rows)?;
        each(&rows, |revenue, row| {
            if best.len() < BEST || best.peek().is_some_and(|least| least.0.revenue <= revenue) {
                best.push(Reverse(BestProduct { revenue, product: Reverse(name(row)) }));
                if best.len() > BEST {
                    best.pop();
                }
            }
        })?;
    }
    Ok(best.into_sorted_vec().into_iter().map(|least| least.0).collect())
}

/// The rank that each of these products had in a table; `None` if it was not there.
fn ranks(best: &[BestProduct], before: &TablesSnapshot) -> Result<Vec<Option<usize>>> {
    let revenue = |best: &BestProduct| -> Result<Option<Money>> {
        let id = best.product.0.id.as_ref().map_or_else(String::new, AnyId::to_string);
        let mut known = None;
        for rows in before.scan(Products::TABLE, &before.keys_with(Products::TABLE, &[id])?)? {
            each(&rows?, |revenue, _| known = Some(revenue))?;
        }
        Ok(known)
    };
    let revenues = best.iter().map(revenue).collect::<Result<Vec<_>>>()?;
    let mut above = vec![0; best.len()];
    for rows in before.scan(Products::TABLE, &KeyRange::default())? {
        each(&rows?, |other, _| {
            for (above, revenue) in above.iter_mut().zip(&revenues) {
                *above += usize::from(revenue.is_some_and(|revenue| other > revenue));
            }
        })?;
    }
    Ok(revenues.iter().zip(above).map(|(revenue, above)| revenue.map(|_| above + 1)).collect())
}

/// The products whose revenue grew most, the most first.
fn gained(plus: &RecordBatch, minus: &RecordBatch) -> Result<Vec<(Money, ProductName)>> {
    let mut gains: BTreeMap<Option<AnyId>, (Money, Option<ProductName>)> = BTreeMap::new();
    for (rows, sign) in [(minus, -1), (plus, 1)] {
        let name = names(rows)?;
        each(rows, |revenue, row| {
            let product = name(row);
            let gain = gains.entry(product.id.clone()).or_default();
            gain.0.add(revenue, sign);
            if sign > 0 {
                gain.1 = Some(product);
            }
        })?;
    }
    let grown = gains.into_values().filter_map(|(gain, product)| Some((gain, product?)));
    let mut grown: Vec<_> = grown.filter(|(gain, _)| *gain > Money::default()).collect();
    grown.sort_by(|one, other| (other.0, &one.1).cmp(&(one.0, &other.1)));
    grown.truncate(GAINED);
    Ok(grown)
}
