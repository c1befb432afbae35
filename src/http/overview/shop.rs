//! The sums of an overview, kept up to date by what epochs change.

use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use serde_json::{Value, json};

use crate::error::Result;
use crate::http::baseline::Baseline;
use crate::http::stamp::timestamp;
use crate::sinks::{Committed, KeyRange, MemoryTables, TablesSnapshot};

use super::anomalies::Anomalies;
use super::categories::Categories;
use super::cohorts::Cohorts;
use super::customers::Customers;
use super::days::Days;
use super::products::Products;
use super::rfm::RecencyFrequency;

/// The sums as of an epoch.
#[derive(Default)]
pub(super) struct ShopSums {
    epoch: Option<Committed>,
    /// The epoch at which it was first looked at.
    watched_since: Committed,
    /// Those of the tables that the job has.
    has: Vec<&'static str>,
    days: Days,
    categories: Categories,
    customers: Customers,
    rfm: RecencyFrequency,
    cohorts: Cohorts,
    anomalies: Anomalies,
    products: Products,
}

/// The tables that are added up.
const TABLES: [&str; 6] =
    [Days::TABLE, Categories::TABLE, Customers::TABLE, RecencyFrequency::TABLE, Cohorts::TABLE, Anomalies::TABLE];

impl ShopSums {
    /// Brings the sums up to the newest epoch, which is returned with how long that took. The first time, and the look
    /// for products, which keeps pauses of its own, do not count.
    pub(super) fn advance(&mut self, tables: &MemoryTables, baseline: &Baseline) -> Result<(Committed, Duration)> {
        let (started, is_first) = (Instant::now(), self.epoch.is_none());
        let now = tables.snapshot();
        let committed = now.committed().unwrap_or_default();
        let followed = match self.epoch {
            Some(since) => self.follow(tables, &now, since, committed)?,
            None => false,
        };
        if is_first {
            self.watched_since = committed;
        }
        if !followed {
            self.begin_again(&now)?;
        }
        let took = if is_first { Duration::ZERO } else { started.elapsed() };
        if now.info(Products::TABLE).is_ok() {
            self.products.look(&now, baseline)?;
        }
        self.has = TABLES.into_iter().filter(|table| now.info(table).is_ok()).collect();
        self.epoch = Some(committed);
        Ok((committed, took))
    }

    /// True if a part of it is of an earlier epoch.
    pub(super) fn is_behind(&self) -> bool {
        self.epoch.is_some_and(|committed| self.products.are_behind(committed.epoch))
    }

    /// Applies what epochs have changed; false if that is not kept.
    fn follow(
        &mut self,
        tables: &MemoryTables,
        now: &TablesSnapshot,
        since: Committed,
        until: Committed,
    ) -> Result<bool> {
        for table in TABLES.into_iter().filter(|table| now.info(table).is_ok()) {
            let mut position = since.epoch;
            while position < until.epoch {
                let Some(changes) = tables.changes_after(table, position)? else { return Ok(false) };
                for epoch in changes.epochs.iter().filter(|epoch| epoch.epoch.epoch <= until.epoch) {
                    self.change(table, epoch.epoch, &epoch.plus, &epoch.minus)?;
                }
                position = changes.last.epoch.max(position + 1);
            }
        }
        Ok(true)
    }

    /// Adds the tables up as they are.
    fn begin_again(&mut self, now: &TablesSnapshot) -> Result<()> {
        self.customers.begin_again();
        (self.days, self.categories, self.rfm, self.cohorts) = Default::default();
        let epoch = now.committed().unwrap_or_default();
        // An anomaly is news only when it comes.
        for table in TABLES.into_iter().filter(|table| *table != Anomalies::TABLE && now.info(table).is_ok()) {
            for rows in now.scan(table, &KeyRange::default())? {
                let rows = rows?;
                self.change(table, epoch, &rows, &RecordBatch::new_empty(rows.schema()))?;
            }
        }
        Ok(())
    }

    fn change(&mut self, table: &str, epoch: Committed, plus: &RecordBatch, minus: &RecordBatch) -> Result<()> {
        match table {
            Days::TABLE => self.days.change(plus, minus),
            Categories::TABLE => self.categories.change(plus, minus),
            Customers::TABLE => self.customers.change(epoch, plus, minus),
            RecencyFrequency::TABLE => self.rfm.change(plus, minus),
            Cohorts::TABLE => self.cohorts.change(plus, minus),
            _ => self.anomalies.change(epoch, plus, minus),
        }
    }

    pub(super) fn overview(&self) -> Value {
        let of = |table: &str, value: Value| if self.has.contains(&table) { value } else { Value::Null };
        json!({
            "totals": {
                "revenue": of(Categories::TABLE, self.categories.revenue().json()),
                "orders": of(Customers::TABLE, json!(self.customers.orders)),
                "customers": of(Customers::TABLE, json!(self.customers.customers)),
            },
            "days": of(Days::TABLE, self.days.json()),
            "categories": of(Categories::TABLE, self.categories.json()),
            "tiers": of(Customers::TABLE, self.customers.tiers()),
            "watched_since_epoch": self.watched_since.epoch,
            "watched_since": timestamp(self.watched_since.time_ms),
            "tier_crossings": of(Customers::TABLE, self.customers.crossed()),
            "rfm": of(RecencyFrequency::TABLE, self.rfm.json()),
            "cohorts": of(Cohorts::TABLE, self.cohorts.json()),
            "anomalies": of(Anomalies::TABLE, self.anomalies.json()),
            "products": self.products.json(),
        })
    }
}
