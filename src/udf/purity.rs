//! Whether a function is one: pure, and row-wise.

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::util::display::array_value_to_string;

use crate::error::{Error, Result};

use super::{Called, ColumnFunction};

/// A row for which a function gave two answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "function {function} is not pure: for {arguments} it gave {first}, and {then} {when}; what a function gives may depend on \
     its arguments alone, or a row that is taken back would leave its first answer behind"
)]
pub struct Impure {
    /// The name of the function.
    pub function: String,
    /// The arguments of the row.
    pub arguments: String,
    /// The first answer.
    pub first: String,
    /// Another.
    pub then: String,
    /// What was different.
    pub when: &'static str,
}

/// Calls a function again and again for some rows, and compares: all together, once more, in reverse, and each alone.
///
/// That it finds nothing is no proof of purity, but what depends on time, chance, a counter or the rows beside is found.
///
/// ```
/// use std::sync::atomic::{AtomicI64, Ordering};
/// use millstream::udf::{Udf, Value, prove_pure};
///
/// let rows = [i64::column((0..10).map(Some))];
/// prove_pure(&Udf::scalar("double", |n: i64| 2 * n), &rows)?.expect("it is pure");
///
/// let calls = AtomicI64::new(0);
/// let impure = Udf::scalar("numbered", move |n: i64| n + calls.fetch_add(1, Ordering::Relaxed));
/// let found = prove_pure(&impure, &rows)?.expect_err("it is not pure");
/// assert_eq!((found.arguments.as_str(), found.when), ("(0)", "when it was called again"));
/// # Ok::<(), millstream::error::Error>(())
/// ```
///
/// # Errors
///
/// If the columns are not what the function takes. The inner error tells of a row with two answers.
pub fn prove_pure(function: &dyn ColumnFunction, columns: &[ArrayRef]) -> Result<std::result::Result<(), Impure>> {
    let function = function.with_memory(None);
    let rows = columns.first().map_or(0, |column| column.len());
    if let Some(other) = columns.iter().find(|column| column.len() != rows) {
        return Err(Error::usage(format!("columns of {rows} and of {} rows", other.len())));
    }
    let together = function.call_columns(columns)?;
    let impure = |row: usize, called: &Called, at: usize, when| -> Result<Impure> {
        Ok(Impure {
            function: function.name().into(),
            arguments: arguments(columns, row)?,
            first: shown(&together, row)?,
            then: shown(called, at)?,
            when,
        })
    };
    let again = function.call_columns(columns)?;
    let backwards = UInt32Array::from_iter_values((0..u32::try_from(rows).unwrap_or(u32::MAX)).rev());
    let reversed = columns.iter().map(|column| take(column, &backwards, None).map_err(Error::failed));
    let reversed = function.call_columns(&reversed.collect::<Result<Vec<_>>>()?)?;
    for row in 0..rows {
        let alone: Vec<_> = columns.iter().map(|column| column.slice(row, 1)).collect();
        let alone = function.call_columns(&alone)?;
        let others = [
            (&again, row, "when it was called again"),
            (&reversed, rows - 1 - row, "when the rows came in reverse"),
            (&alone, 0, "when the row came alone"),
        ];
        for (called, at, when) in others {
            if !is_same(&together, row, called, at) {
                return Ok(Err(impure(row, called, at, when)?));
            }
        }
    }
    Ok(Ok(()))
}

fn failure_of(called: &Called, row: usize) -> Option<&super::Failure> {
    called.failures.iter().find(|(failed, _)| *failed == row).map(|(_, failure)| failure)
}

fn is_same(one: &Called, row: usize, other: &Called, at: usize) -> bool {
    failure_of(one, row) == failure_of(other, at)
        && one.column.slice(row, 1).to_data() == other.column.slice(at, 1).to_data()
}

fn shown(called: &Called, row: usize) -> Result<String> {
    match failure_of(called, row) {
        Some(failure) => Ok(format!("a failure ({})", failure.reason)),
        None => value(&called.column, row),
    }
}

fn value(column: &ArrayRef, row: usize) -> Result<String> {
    if column.is_null(row) { Ok("null".into()) } else { array_value_to_string(column, row).map_err(Error::failed) }
}

fn arguments(columns: &[ArrayRef], row: usize) -> Result<String> {
    let values = columns.iter().map(|column| value(column, row)).collect::<Result<Vec<_>>>()?;
    Ok(format!("({})", values.join(", ")))
}
