//! Derived columns: computed from other columns of a table by functions of the config, where the table is encoded.
//!
//! Nothing is stored: results follow from the row, and are recomputed when it is deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Decimal128Type, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::columns::row_json::row_json;
use crate::error::{Error, Result};
use crate::model::{Amount, Reason, Rejection};
use crate::suggest::did_you_mean;
use crate::udf::{ColumnFunction, FunctionOutput, Registry, check_purity};

/// A column computed by a function from other columns of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedColumn {
    /// The table.
    pub table: String,
    /// The name of the column.
    pub name: String,
    /// The name of the function.
    pub function: String,
    /// The argument columns: columns of the table, and columns derived before this one.
    pub columns: Vec<String>,
    /// What happens to rows that the function can't handle; `None` as the function was registered.
    pub on_failure: Option<OnFailure>,
    /// Cache size in bytes; `None` as the function was registered.
    pub memory_bytes: Option<usize>,
}

/// What happens to rows that a function can't handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// They are rejected.
    Reject,
    /// The column is null.
    Null,
}

/// The derived columns of all tables.
#[derive(Default)]
pub(crate) struct Derived(Vec<DerivedBy>);

/// A derived column with its function.
struct DerivedBy {
    table: String,
    name: String,
    function: Arc<dyn ColumnFunction>,
    /// The positions of the argument columns.
    arguments: Vec<usize>,
    gives_null: bool,
    /// The type of the column.
    data_type: DataType,
    /// True once the purity of the function was checked.
    is_tried: AtomicBool,
}

/// The number of rows with which the purity of a function is checked.
const TRIED_ROWS: usize = 64;

/// Rows of a table with their derived columns, and the rejected rows.
pub(crate) struct WithDerived {
    pub(crate) rows: RecordBatch,
    pub(crate) rejected: Vec<Rejection>,
}

impl Derived {
    /// Resolves functions and argument columns; `schema` returns the columns of a table.
    ///
    /// # Errors
    ///
    /// If a function or column does not exist, a function does not accept the type of a column, or the name of a
    /// derived column is taken.
    pub(crate) fn new(
        columns: &[DerivedColumn],
        functions: &Registry,
        schema: impl Fn(&str) -> Result<SchemaRef>,
        money: &DataType,
    ) -> Result<Derived> {
        let mut derived = Derived::default();
        for column in columns {
            let known = derived.schema(&column.table, schema(&column.table)?);
            let blame = |cause: String| Error::usage(format!("udfs: {}: {cause}", column.name));
            derived.0.push(DerivedBy::new(column, functions, &known, money).map_err(blame)?);
        }
        Ok(derived)
    }

    /// The columns of a table, the derived ones last.
    pub(crate) fn schema(&self, table: &str, own: SchemaRef) -> SchemaRef {
        let fields = self.of(table).map(|column| Arc::new(Field::new(&column.name, column.data_type.clone(), true)));
        Arc::new(Schema::new(own.fields().iter().cloned().chain(fields).collect::<Vec<_>>()))
    }

    /// Adds the derived columns to rows of a table.
    ///
    /// # Errors
    ///
    /// If a function is found not to be pure.
    pub(crate) fn add(&self, table: &str, rows: RecordBatch) -> Result<WithDerived> {
        if !self.has(table) {
            return Ok(WithDerived { rows, rejected: Vec::new() });
        }
        let schema = self.schema(table, rows.schema());
        let mut columns = rows.columns().to_vec();
        let mut failed: Vec<Option<Reason>> = vec![None; rows.num_rows()];
        for column in self.of(table) {
            let made = column.make(&columns, &mut failed)?;
            columns.push(made);
        }
        let all = RecordBatch::try_new(schema, columns).map_err(Error::failed)?;
        if failed.iter().all(Option::is_none) {
            return Ok(WithDerived { rows: all, rejected: Vec::new() });
        }
        let handled = BooleanArray::from_iter(failed.iter().map(|reason| Some(reason.is_none())));
        let rejection = |(row, reason): (usize, Option<Reason>)| {
            let reason = reason?;
            let rejection = |json| Rejection { table: table.into(), origin: None, reason, row: json };
            Some(row_json(&rows, row).map(rejection))
        };
        let rejected = failed.into_iter().enumerate().filter_map(rejection).collect::<Result<_>>()?;
        Ok(WithDerived { rows: filter_record_batch(&all, &handled).map_err(Error::failed)?, rejected })
    }

    /// True if no table has derived columns.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if this table has derived columns.
    pub(crate) fn has(&self, table: &str) -> bool {
        self.of(table).next().is_some()
    }

    fn of<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a DerivedBy> {
        self.0.iter().filter(move |column| column.table == table)
    }
}

impl DerivedBy {
    fn new(
        wanted: &DerivedColumn,
        functions: &Registry,
        known: &Schema,
        money: &DataType,
    ) -> std::result::Result<DerivedBy, String> {
        let function = functions.get(&wanted.function).ok_or_else(|| {
            let names: Vec<_> = functions.names().collect();
            let hint = did_you_mean(&wanted.function, &names);
            format!("no function {}; there are {}{hint}", wanted.function, names.join(", "))
        })?;
        let names: Vec<_> = known.fields().iter().map(|field| field.name().as_str()).collect();
        let table = &wanted.table;
        let position = |name: &String| {
            let hint = did_you_mean(name, &names);
            known.index_of(name).map_err(|_| format!("{table} has no column {name}, but {}{hint}", names.join(", ")))
        };
        let arguments = wanted.columns.iter().map(position).collect::<std::result::Result<Vec<_>, _>>()?;
        if names.contains(&wanted.name.as_str()) {
            return Err(format!("{table} has a column of this name already"));
        }
        let takes = function.data_types();
        if takes.len() != arguments.len() {
            return Err(format!("{} takes {} columns, found {}", wanted.function, takes.len(), arguments.len()));
        }
        let types: Vec<_> = arguments.iter().map(|position| known.field(*position).data_type().clone()).collect();
        if let Some(refused) = function.accepts(&types).iter().position(|accepted| !accepted) {
            let (column, found, wanted) = (&wanted.columns[refused], &types[refused], &takes[refused]);
            return Err(format!("{} can't take column {column}, a {found}; wanted one like {wanted}", function.name()));
        }
        Ok(DerivedBy {
            table: wanted.table.clone(),
            name: wanted.name.clone(),
            function: wanted
                .memory_bytes
                .map_or_else(|| Arc::clone(function), |bytes| function.with_memory(Some(bytes))),
            arguments,
            gives_null: wanted.on_failure.map_or(function.gives_null(), |chosen| chosen == OnFailure::Null),
            data_type: written(function.returns(), money),
            is_tried: AtomicBool::new(false),
        })
    }

    /// Computes the column, and sets the reason of rows that are rejected now.
    fn make(&self, columns: &[ArrayRef], failed: &mut [Option<Reason>]) -> Result<ArrayRef> {
        let arguments: Vec<ArrayRef> = self.arguments.iter().map(|position| Arc::clone(&columns[*position])).collect();
        let rows = failed.len();
        if rows > 0 && !self.is_tried.swap(true, Ordering::Relaxed) {
            let first: Vec<_> = arguments.iter().map(|column| column.slice(0, rows.min(TRIED_ROWS))).collect();
            check_purity(self.function.as_ref(), &first)?.map_err(|impure| Error::failed(format!("udfs: {impure}")))?;
        }
        let FunctionOutput { column, failures } = self.function.call_columns(&arguments)?;
        let (wanted, found) = (self.function.returns(), column.data_type());
        if *found != wanted || column.len() != rows || failures.iter().any(|(row, _)| *row >= rows) {
            let (name, length) = (self.function.name(), column.len());
            let cause = format!("found {length} values of type {found}, or a failure beyond them");
            return Err(Error::failed(format!("function {name}: {cause}; wanted {rows} values of type {wanted}")));
        }
        for (row, failure) in failures {
            if (failure.panicked || !self.gives_null) && failed[row].is_none() {
                let by = format!("{} ({})", self.name, self.function.name());
                failed[row] = Some(Reason::new(format!("{by} failed"), format!("{by}: {}", failure.reason)));
            }
        }
        Ok(if *column.data_type() == self.data_type { column } else { as_doubles(&column) })
    }
}

/// The scales of money returned by functions.
const SCALES: [i8; 2] = [4, 8];

/// The column type of a function's result: money has the type of the tables.
fn written(returns: DataType, money: &DataType) -> DataType {
    match returns {
        DataType::Decimal128(38, scale) if SCALES.contains(&scale) && *money == DataType::Float64 => DataType::Float64,
        returns => returns,
    }
}

/// Money as doubles, each the one nearest to the exact value.
fn as_doubles(column: &ArrayRef) -> ArrayRef {
    let money = column.as_primitive::<Decimal128Type>();
    let unit_e8 = if money.scale() == 4 { 10_000 } else { 1 };
    let double = |value: i128| Amount::from_e8(value.saturating_mul(unit_e8)).to_f64();
    Arc::new(Float64Array::from_iter(money.iter().map(|value| value.map(double))))
}
