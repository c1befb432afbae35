//! Dynamically typed functions over columns, as the config refers to them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::DataType;

use crate::error::{Error, Result};

use super::argument::Arguments;
use super::failure::RowFailure;
use super::function::{Body, Udf, call_for_rows};
use super::memory::Memory;
use super::value::Value;

/// A function with its types erased, as stored in a [`Registry`](super::Registry). Every [`Udf`] is one.
pub trait ColumnFunction: Send + Sync {
    /// The name of the function.
    fn name(&self) -> &str;

    /// The argument types; columns of other types may be convertible.
    fn data_types(&self) -> Vec<DataType>;

    /// For each argument, whether it can be read from the type at its position. `found` has one type per argument.
    fn accepts(&self, found: &[DataType]) -> Vec<bool>;

    /// The type of the returned column.
    fn returns(&self) -> DataType;

    /// Calls the function for all rows of columns of accepted types.
    ///
    /// # Errors
    ///
    /// If a column's type is not accepted, or the returned column has the wrong length or type. Failures on single
    /// rows are not errors.
    fn call_columns(&self, columns: &[ArrayRef]) -> Result<FunctionOutput>;

    /// True if failures become nulls; they are reported in [`FunctionOutput::failures`] in either case.
    fn gives_null(&self) -> bool;

    /// The same function with a result cache of `bytes_max` bytes, or without one.
    fn with_memory(&self, bytes_max: Option<usize>) -> Arc<dyn ColumnFunction>;
}

/// The results of a function for a batch of rows.
#[derive(Clone, Debug)]
pub struct FunctionOutput {
    /// The result for each row; null where the function failed.
    pub column: ArrayRef,
    /// The indices of the rows on which the function failed, ascending, with the reason.
    pub failures: Vec<(usize, RowFailure)>,
}

impl<A: Arguments, B: Value> ColumnFunction for Udf<A, B> {
    fn name(&self) -> &str {
        self.name()
    }

    fn data_types(&self) -> Vec<DataType> {
        A::data_types()
    }

    fn accepts(&self, found: &[DataType]) -> Vec<bool> {
        A::accepts(found)
    }

    fn returns(&self) -> DataType {
        B::data_type()
    }

    fn call_columns(&self, columns: &[ArrayRef]) -> Result<FunctionOutput> {
        let (found, wanted) =
            (columns.iter().map(|column| column.data_type().clone()).collect::<Vec<_>>(), A::data_types());
        if found.len() != wanted.len() || A::accepts(&found).contains(&false) {
            return Err(Error::usage(format!("function {} takes {wanted:?}, found {found:?}", self.name())));
        }
        if let (Body::Vectorised(function), None) = (&*self.body, &self.memory)
            && columns.iter().zip(A::data_types()).all(|(column, wanted)| *column.data_type() == wanted)
        {
            return vectorised::<B>(columns, |columns, emit| {
                call_for_rows(function, &B::data_type(), columns, columns[0].len(), emit)
                    .map_err(|bug| Error::failed(format!("function {}: {bug}", self.name())))
            });
        }
        self.row_by_row(columns)
    }

    fn gives_null(&self) -> bool {
        self.gives_null
    }

    fn with_memory(&self, bytes_max: Option<usize>) -> Arc<dyn ColumnFunction> {
        let memory = bytes_max.map(|bytes_max| Arc::new(Memory::new(bytes_max)));
        Arc::new(Udf { memory, ..self.clone() })
    }
}

impl<A: Arguments, B: Value> Udf<A, B> {
    /// Converts columns to rows, calls the function for those that can be read, and converts the results to a column.
    fn row_by_row(&self, columns: &[ArrayRef]) -> Result<FunctionOutput> {
        let row_of = A::rows(columns)?;
        let mut failures = Vec::new();
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        for place in 0..columns[0].len() {
            match row_of(place) {
                Ok(row) => {
                    rows.push(row);
                    places.push(place);
                }
                Err(reason) => failures.push((place, RowFailure::new(reason))),
            }
        }
        let mut values: Vec<Option<B>> = vec![None; columns[0].len()];
        for (place, outcome) in places.into_iter().zip(self.outcomes(&rows)) {
            match outcome {
                Ok(value) => values[place] = value,
                Err(failure) => failures.push((place, failure)),
            }
        }
        failures.sort_by_key(|(place, _)| *place);
        Ok(FunctionOutput { column: B::column(values.into_iter()), failures })
    }
}

/// Calls a function with whole columns and concatenates its results.
fn vectorised<B: Value>(
    columns: &[ArrayRef],
    call: impl FnOnce(&[ArrayRef], &mut dyn FnMut(std::result::Result<ArrayRef, RowFailure>, usize)) -> Result<()>,
) -> Result<FunctionOutput> {
    let (mut parts, mut failures, mut rows_before) = (Vec::new(), Vec::new(), 0);
    call(columns, &mut |called, rows| {
        parts.push(called.unwrap_or_else(|failure| {
            failures.push((rows_before, failure));
            new_null_array(&B::data_type(), rows)
        }));
        rows_before += rows;
    })?;
    let column = match &parts[..] {
        [] => new_null_array(&B::data_type(), 0),
        [column] => Arc::clone(column),
        parts => concat(&parts.iter().map(|part| part as &dyn Array).collect::<Vec<_>>()).map_err(Error::failed)?,
    };
    Ok(FunctionOutput { column, failures })
}
