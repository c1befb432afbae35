//! Functions over columns whose types are known only when a run begins, as a config names them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::DataType;

use crate::error::{Error, Result};

use super::argument::Arguments;
use super::memory::Memory;
use super::value::Value;
use super::{Body, Failure, Udf, call_for_rows};

/// Any [`Udf`], whatever it takes and gives: what a [`Registry`](super::Registry) holds.
pub trait ColumnFunction: Send + Sync {
    /// What it is called.
    fn name(&self) -> &str;

    /// The types of its arguments as a vectorised function is given them; columns of other types may be read as these.
    fn data_types(&self) -> Vec<DataType>;

    /// True for each argument that can be read from a column of the type at its position; there are as many as arguments.
    fn accepts(&self, found: &[DataType]) -> Vec<bool>;

    /// The type of the column it gives.
    fn returns(&self) -> DataType;

    /// Calls it for the rows of columns that are accepted.
    ///
    /// # Errors
    ///
    /// If a column is not of a type that is accepted, or the function gives no value for each row, of its type; rows that can't be
    /// handled are not an error.
    fn call_columns(&self, columns: &[ArrayRef]) -> Result<Called>;

    /// True if it gives null for the rows that it can't handle; they are failures all the same.
    fn gives_null(&self) -> bool;

    /// The same function with a memory, or without one.
    fn with_memory(&self, bytes_max: Option<usize>) -> Arc<dyn ColumnFunction>;
}

/// What a function made of some rows.
#[derive(Clone, Debug)]
pub struct Called {
    /// What it gives for each; null where it failed.
    pub column: ArrayRef,
    /// The rows that it could not handle, ascending, and why.
    pub failures: Vec<(usize, Failure)>,
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

    fn call_columns(&self, columns: &[ArrayRef]) -> Result<Called> {
        let (found, wanted) =
            (columns.iter().map(|column| column.data_type().clone()).collect::<Vec<_>>(), A::data_types());
        if found.len() != wanted.len() || A::accepts(&found).contains(&false) {
            return Err(Error::usage(format!("function {} takes {wanted:?}, found {found:?}", self.name())));
        }
        if let (Body::Vectorised(function), None) = (&*self.body, &self.memory)
            && columns.iter().zip(A::data_types()).all(|(column, wanted)| *column.data_type() == wanted)
        {
            return vectorised::<B>(columns, |columns, tell| {
                call_for_rows(function, &B::data_type(), columns, columns[0].len(), tell)
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
    /// Reads the rows of columns, calls the function for those that can be read, and makes a column of what it gives.
    fn row_by_row(&self, columns: &[ArrayRef]) -> Result<Called> {
        let row_of = A::rows(columns)?;
        let mut failures = Vec::new();
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        for place in 0..columns[0].len() {
            match row_of(place) {
                Ok(row) => {
                    rows.push(row);
                    places.push(place);
                }
                Err(reason) => failures.push((place, Failure::new(reason))),
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
        Ok(Called { column: B::column(values.into_iter()), failures })
    }
}

/// Calls a function with whole columns, and puts together what it gives.
fn vectorised<B: Value>(
    columns: &[ArrayRef],
    call: impl FnOnce(&[ArrayRef], &mut dyn FnMut(std::result::Result<ArrayRef, Failure>, usize)) -> Result<()>,
) -> Result<Called> {
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
    Ok(Called { column, failures })
}
