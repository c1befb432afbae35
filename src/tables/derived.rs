//! Columns that functions of the config make of a table's other columns, where the table is written.
//!
//! Nothing is kept: what a function gives follows from the row, and comes and goes with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Decimal128Type, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::columns::row_json::row_json;
use crate::error::{Error, Result};
use crate::model::{Amount, Rejection};
use crate::suggest::did_you_mean;
use crate::udf::{ColumnFunction, FunctionOutput, Registry, check_purity};

/// A column that a function makes of other columns of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedColumn {
    /// The table.
    pub table: String,
    /// What the column is called.
    pub name: String,
    /// The name of the function.
    pub function: String,
    /// The columns it takes: those of the table, and those derived before.
    pub columns: Vec<String>,
    /// What becomes of a row that it can't handle; `None` for what the function was registered with.
    pub on_failure: Option<OnFailure>,
    /// How many bytes it may remember answers in; `None` for what the function was registered with.
    pub memory_bytes: Option<usize>,
}

/// What becomes of a row that a function can't handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It is rejected.
    Reject,
    /// The function's answer is null.
    Null,
}

/// The derived columns of all tables.
#[derive(Default)]
pub(crate) struct Derived(Vec<DerivedBy>);

/// A column that a function makes.
struct DerivedBy {
    table: String,
    name: String,
    function: Arc<dyn ColumnFunction>,
    /// The positions of the columns it takes.
    arguments: Vec<usize>,
    gives_null: bool,
    /// The type in which it is written.
    data_type: DataType,
    /// True once the function has been tried for purity.
    is_tried: AtomicBool,
}

/// Rows on which a function is tried before it is used.
const TRIED_ROWS: usize = 64;

/// Rows of a table with their derived columns, and the rows that a function could not handle.
pub(crate) struct WithDerived {
    pub(crate) rows: RecordBatch,
    pub(crate) rejected: Vec<Rejection>,
}

impl Derived {
    /// Finds the functions, and the columns they take, in tables that have the columns which `schema` says.
    ///
    /// # Errors
    ///
    /// If there is no such function or column, a column is of a type that the function can't take, or the name of a column
    /// is taken.
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
        if self.of(table).next().is_none() {
            return Ok(WithDerived { rows, rejected: Vec::new() });
        }
        let schema = self.schema(table, rows.schema());
        let mut columns = rows.columns().to_vec();
        let mut failed: Vec<Option<String>> = vec![None; rows.num_rows()];
        for column in self.of(table) {
            let made = column.make(&columns, &mut failed)?;
            columns.push(made);
        }
        let all = RecordBatch::try_new(schema, columns).map_err(Error::failed)?;
        if failed.iter().all(Option::is_none) {
            return Ok(WithDerived { rows: all, rejected: Vec::new() });
        }
        let handled = BooleanArray::from_iter(failed.iter().map(|reason| Some(reason.is_none())));
        let rejection = |(row, reason): (usize, Option<String>)| {
            let reason = reason?;
            let rejection = |json| Rejection { table: table.into(), origin: None, reason, row: json };
            Some(row_json(&rows, row).map(rejection))
        };
        let rejected = failed.into_iter().enumerate().filter_map(rejection).collect::<Result<_>>()?;
        Ok(WithDerived { rows: filter_record_batch(&all, &handled).map_err(Error::failed)?, rejected })
    }

    /// True if no function makes a column.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
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

    /// Makes the column, and notes the rows that are rejected for it, unless they are rejected already.
    fn make(&self, columns: &[ArrayRef], failed: &mut [Option<String>]) -> Result<ArrayRef> {
        let arguments: Vec<ArrayRef> = self.arguments.iter().map(|position| Arc::clone(&columns[*position])).collect();
        let rows = failed.len();
        if rows > 0 && !self.is_tried.swap(true, Ordering::Relaxed) {
            let first: Vec<_> = arguments.iter().map(|column| column.slice(0, rows.min(TRIED_ROWS))).collect();
            check_purity(self.function.as_ref(), &first)?.map_err(|impure| Error::failed(format!("udfs: {impure}")))?;
        }
        let FunctionOutput { column, failures } = self.function.call_columns(&arguments)?;
        for (row, failure) in failures {
            if (failure.panicked || !self.gives_null) && failed[row].is_none() {
                failed[row] = Some(format!("{} ({}): {}", self.name, self.function.name(), failure.reason));
            }
        }
        Ok(if *column.data_type() == self.data_type { column } else { as_doubles(&column) })
    }
}

/// The scales of money that functions give.
const SCALES: [i8; 2] = [4, 8];

/// The type in which what a function gives is written: money as the tables have it.
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
