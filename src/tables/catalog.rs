//! The tables there are.

use std::fmt;
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::columns::ShopId;
use crate::error::{Error, Result};
use crate::model::{AnyId, Epoch, IntId};
use crate::pipeline::Job;
use crate::suggest::did_you_mean;

use super::end::{EndContext, TableEnd};
use super::rows_end::rows_end;
use super::{
    CategoryStatsTable, CohortAnalysisTable, CustomerPatternsTable, CustomerProductMatrixTable, DailySalesTable,
    EnrichedDataTable, Layout, OrderAnomaliesTable, ProductFeaturesTable, ProductRankingTable, ProductSalesTable,
    RfmAnalysisTable, Table, TableColumn,
};

/// Tables, in the order in which they are made and reported.
#[derive(Clone)]
pub struct Catalog(Vec<Arc<dyn AnyTable>>);

impl Catalog {
    /// All tables of millstream.
    #[must_use]
    pub fn standard() -> Catalog {
        Catalog(Vec::new())
            .with(EnrichedDataTable)
            .with(DailySalesTable)
            .with(ProductSalesTable)
            .with(CustomerPatternsTable)
            .with(RfmAnalysisTable)
            .with(CohortAnalysisTable)
            .with(CustomerProductMatrixTable)
            .with(ProductRankingTable)
            .with(CategoryStatsTable)
            .with(ProductFeaturesTable)
            .with(OrderAnomaliesTable)
    }

    /// These tables and one more, in place of one of the same name.
    #[must_use]
    pub fn with(mut self, table: impl Table) -> Catalog {
        self.0.retain(|known| known.name() != table.name());
        self.0.push(Arc::new(table));
        self
    }

    /// The tables that are made where none are named.
    #[must_use]
    pub fn defaults(&self) -> Catalog {
        Catalog(self.0.iter().filter(|table| table.is_default()).cloned().collect())
    }

    /// The tables of these names, in the order of the catalog.
    ///
    /// # Errors
    ///
    /// If there is no table of a name.
    pub fn select(&self, names: &[impl AsRef<str>]) -> Result<Catalog> {
        names.iter().try_for_each(|name| self.get(name.as_ref(), "tables").map(drop))?;
        let is_named = |table: &&Arc<dyn AnyTable>| names.iter().any(|name| name.as_ref() == table.name());
        Ok(Catalog(self.0.iter().filter(is_named).cloned().collect()))
    }

    /// The names of the tables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|table| table.name())
    }

    /// The columns that identify a row of a table; `None` if there is no such table.
    #[must_use]
    pub fn key(&self, table: &str) -> Option<&[&str]> {
        self.0.iter().find(|known| known.name() == table).map(|table| table.key())
    }

    /// True if there is a table of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// The table of a name that is given for a key of the config.
    pub(crate) fn get(&self, name: &str, config_key: &str) -> Result<&Arc<dyn AnyTable>> {
        self.0.iter().find(|table| table.name() == name).ok_or_else(|| {
            let names: Vec<_> = self.names().collect();
            let hint = did_you_mean(name, &names);
            Error::usage(format!("{config_key}: no table {name}; there are {}{hint}", names.join(", ")))
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<dyn AnyTable>> {
        self.0.iter()
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// A table of any row type.
pub(crate) trait AnyTable: Send + Sync {
    fn name(&self) -> &str;
    fn key(&self) -> &[&str];
    fn is_default(&self) -> bool;
    /// The columns, without those that functions make.
    fn schema(&self, layout: &Layout) -> Result<SchemaRef>;
    fn end_of_ints<'scope>(self: Arc<Self>, job: &Job<'scope, Epoch, IntId>, context: &EndContext) -> TableEnd<'scope>;
    fn end_of_any<'scope>(self: Arc<Self>, job: &Job<'scope, Epoch, AnyId>, context: &EndContext) -> TableEnd<'scope>;
}

impl<B: Table> AnyTable for B {
    fn name(&self) -> &str {
        Table::name(self)
    }

    fn key(&self) -> &[&str] {
        Table::key(self)
    }

    fn is_default(&self) -> bool {
        Table::is_default(self)
    }

    fn schema(&self, layout: &Layout) -> Result<SchemaRef> {
        let columns = match layout.has_text_ids {
            true => self.columns::<AnyId>(&[], layout)?,
            false => self.columns::<IntId>(&[], layout)?,
        };
        let field = |(name, column): &TableColumn| Field::new(*name, column.data_type().clone(), true);
        Ok(Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>())))
    }

    fn end_of_ints<'scope>(self: Arc<Self>, job: &Job<'scope, Epoch, IntId>, context: &EndContext) -> TableEnd<'scope> {
        end(self, job, context)
    }

    fn end_of_any<'scope>(self: Arc<Self>, job: &Job<'scope, Epoch, AnyId>, context: &EndContext) -> TableEnd<'scope> {
        end(self, job, context)
    }
}

/// The end of a table, where its rows become record batches.
fn end<'scope, B: Table, I: ShopId>(
    table: Arc<B>,
    job: &Job<'scope, Epoch, I>,
    context: &EndContext,
) -> TableEnd<'scope> {
    table.special_end(job, context).unwrap_or_else(|| {
        let rows = table.rows(job);
        rows_end::<B, I>(table, rows, context)
    })
}

/// The id types of jobs that sinks can be given.
pub(crate) trait JobId: ShopId {
    /// The end of a table in a job with such ids.
    fn end<'scope>(table: Arc<dyn AnyTable>, job: &Job<'scope, Epoch, Self>, context: &EndContext) -> TableEnd<'scope>;

    /// The id that a program gave; `None` if the type has none for it.
    fn of_any(id: &AnyId) -> Option<Self> {
        match id {
            AnyId::Int(integer) => Self::of_integer(*integer),
            AnyId::Text(text) => Self::of_text(text),
        }
    }
}

impl JobId for IntId {
    fn end<'scope>(
        table: Arc<dyn AnyTable>,
        job: &Job<'scope, Epoch, IntId>,
        context: &EndContext,
    ) -> TableEnd<'scope> {
        table.end_of_ints(job, context)
    }
}

impl JobId for AnyId {
    fn end<'scope>(
        table: Arc<dyn AnyTable>,
        job: &Job<'scope, Epoch, AnyId>,
        context: &EndContext,
    ) -> TableEnd<'scope> {
        table.end_of_any(job, context)
    }
}
