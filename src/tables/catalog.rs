//! The table catalog.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::columns::{FurtherColumns, ShopId};
use crate::error::{Error, Result};
use crate::model::{AnyId, Epoch, IntId};
use crate::pipeline::Job;
use crate::sinks::Direction;
use crate::suggest::did_you_mean;

use super::end::{EndContext, TableEnd};
use super::enriched_data::enriched_end;
use super::rejected::RejectedTable;
use super::rows_end::rows_end;
use super::{
    CategoryStatsTable, CohortAnalysisTable, CustomerPatternsTable, CustomerProductMatrixTable, DailySalesTable,
    EnrichedDataTable, FirstPurchaseCohortsTable, Layout, OrderAnomaliesTable, ProductFeaturesTable,
    ProductRankingTable, ProductSalesTable, RfmAnalysisTable, Table, TableColumn,
};

/// A list of tables, in the order in which they are built and reported.
#[derive(Clone)]
pub struct Catalog(Vec<Arc<dyn AnyTable>>);

impl Catalog {
    /// All twelve tables of millstream.
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
            .with(FirstPurchaseCohortsTable)
    }

    /// Adds a table, or replaces the one of the same name. Names and columns are checked when a job starts.
    #[must_use]
    pub fn with(mut self, table: impl Table) -> Catalog {
        match self.0.iter_mut().find(|known| known.name() == table.name()) {
            Some(known) => *known = Arc::new(table),
            None => self.0.push(Arc::new(table)),
        }
        self
    }

    /// The default tables: of the twelve, the seven of the original job.
    #[must_use]
    pub fn defaults(&self) -> Catalog {
        Catalog(self.0.iter().filter(|table| table.is_default()).cloned().collect())
    }

    /// The tables with these names, in the order of the catalog.
    ///
    /// # Errors
    ///
    /// If the catalog lacks one of them.
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

    /// True if the catalog has a table of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// True if a table needs this column of the input, which not every job needs.
    pub(crate) fn needs(&self, column: &str) -> bool {
        self.0.iter().any(|table| table.further_columns().has(column))
    }

    /// True if a table needs the columns that are only carried.
    pub(crate) fn needs_all(&self) -> bool {
        self.0.iter().any(|table| table.further_columns() == FurtherColumns::All)
    }

    /// True if a table reads the lines by customer.
    pub(crate) fn read_lines(&self) -> bool {
        self.0.iter().any(|table| table.reads_lines())
    }

    /// True if all tables allow that customers come in waves.
    pub(crate) fn allow_waves(&self) -> bool {
        self.0.iter().all(|table| table.allows_waves())
    }

    /// The table named by a config key.
    pub(crate) fn get(&self, name: &str, config_key: &str) -> Result<&Arc<dyn AnyTable>> {
        self.0.iter().find(|table| table.name() == name).ok_or_else(|| {
            let names: Vec<_> = self.names().collect();
            let hint = did_you_mean(name, &names);
            Error::usage(format!("{config_key}: no table {name}; there are {}{hint}", names.join(", ")))
        })
    }

    /// Checks the names of the tables.
    ///
    /// # Errors
    ///
    /// If a name can't be that of a folder, or is that of the rejected rows.
    pub(crate) fn check(&self) -> Result<()> {
        for name in self.names() {
            if name == RejectedTable::NAME {
                return Err(Error::usage(format!(
                    "tables: found a table named {name}, which is the table of rejected rows; wanted another name"
                )));
            }
            let is_separator = |char: char| std::path::is_separator(char) || char == '\\' || char.is_control();
            if name.is_empty() || name.starts_with(['.', '_']) || name.contains(is_separator) {
                return Err(Error::usage(format!(
                    "tables: found a table named {name:?}; wanted a file name without separators that begins with \
                     neither `.` nor `_`"
                )));
            }
        }
        Ok(())
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
    fn order(&self) -> &[(&str, Direction)];
    fn is_default(&self) -> bool;
    fn further_columns(&self) -> FurtherColumns;
    fn reads_lines(&self) -> bool;
    fn allows_waves(&self) -> bool;
    /// The columns, without those computed by functions.
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

    fn order(&self) -> &[(&str, Direction)] {
        Table::order(self)
    }

    fn is_default(&self) -> bool {
        Table::is_default(self)
    }

    fn further_columns(&self) -> FurtherColumns {
        Table::further_columns(self)
    }

    fn reads_lines(&self) -> bool {
        Table::reads_lines(self)
    }

    fn allows_waves(&self) -> bool {
        Table::allows_waves(self)
    }

    fn schema(&self, layout: &Layout) -> Result<SchemaRef> {
        let columns = match layout.has_text_ids {
            true => self.columns::<AnyId>(&[], layout)?,
            false => self.columns::<IntId>(&[], layout)?,
        };
        let field = |(name, column): &TableColumn| Field::new(name.clone(), column.data_type().clone(), true);
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        check_columns(Table::name(self), Table::key(self), &schema)?;
        Ok(Arc::new(schema))
    }

    fn end_of_ints<'scope>(self: Arc<Self>, job: &Job<'scope, Epoch, IntId>, context: &EndContext) -> TableEnd<'scope> {
        end(self, job, context)
    }

    fn end_of_any<'scope>(self: Arc<Self>, job: &Job<'scope, Epoch, AnyId>, context: &EndContext) -> TableEnd<'scope> {
        end(self, job, context)
    }
}

/// Checks that column names occur once, and that the key consists of columns.
fn check_columns(table: &str, key: &[&str], schema: &Schema) -> Result<()> {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        return Err(Error::usage(format!("table {table}: found two columns {}; wanted different names", twice.1)));
    }
    if let Some(missing) = key.iter().find(|column| !names.contains(column)) {
        let names = names.join(", ");
        return Err(Error::usage(format!("table {table}: found a key column {missing}; wanted one of {names}")));
    }
    Ok(())
}

/// The end of a table, where its rows become record batches.
fn end<'scope, B: Table, I: ShopId>(
    table: Arc<B>,
    job: &Job<'scope, Epoch, I>,
    context: &EndContext,
) -> TableEnd<'scope> {
    // The rows of this one are joined where they are encoded.
    if (&*table as &dyn Any).is::<EnrichedDataTable>() {
        return enriched_end(job, context);
    }
    let rows = table.rows(job);
    rows_end::<B, I>(table, rows, context)
}

/// An id type of a job with sinks.
pub(crate) trait JobId: ShopId {
    /// The end of a table in a job with such ids.
    fn end<'scope>(table: Arc<dyn AnyTable>, job: &Job<'scope, Epoch, Self>, context: &EndContext) -> TableEnd<'scope>;

    /// The id as one of any type.
    fn to_any(&self) -> AnyId;
}

impl JobId for IntId {
    fn to_any(&self) -> AnyId {
        (*self).into()
    }

    fn end<'scope>(
        table: Arc<dyn AnyTable>,
        job: &Job<'scope, Epoch, IntId>,
        context: &EndContext,
    ) -> TableEnd<'scope> {
        table.end_of_ints(job, context)
    }
}

impl JobId for AnyId {
    fn to_any(&self) -> AnyId {
        self.clone()
    }

    fn end<'scope>(
        table: Arc<dyn AnyTable>,
        job: &Job<'scope, Epoch, AnyId>,
        context: &EndContext,
    ) -> TableEnd<'scope> {
        table.end_of_any(job, context)
    }
}
