//! Sampling whether a function is pure and row-wise.

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::util::display::array_value_to_string;

use crate::error::{Error, Result};

use super::{ColumnFunction, FunctionOutput};

/// A row for which a function returned two different results.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "function {function} is not pure: for {arguments} it returned {first}, then {then} {when}; \
     results may depend only on the arguments, otherwise a retraction does not cancel its insertion"
)]
pub struct Impurity {
    /// The name of the function.
    pub function: String,
    /// The arguments of the row.
    pub arguments: String,
    /// The first result.
    pub first: String,
    /// The differing result.
    pub then: String,
    /// How the second call differed from the first.
    pub when: &'static str,
}

/// Samples whether a function is deterministic and row-wise: calls it for all rows twice, in reverse order, and for
/// each row alone, and compares the results.
///
/// Passing does not prove purity, but dependence on time, randomness, counters or neighbouring rows is usually
/// detected.
///
/// ```
/// use std::sync::atomic::{AtomicI64, Ordering};
/// use millstream::udf::{Udf, Value, check_purity};
///
/// let rows = [i64::column((0..10).map(Some))];
/// check_purity(&Udf::scalar("double", |n: i64| 2 * n), &rows)?.expect("it is pure");
///
/// let calls = AtomicI64::new(0);
/// let impure = Udf::scalar("numbered", move |n: i64| n + calls.fetch_add(1, Ordering::Relaxed));
/// let found = check_purity(&impure, &rows)?.expect_err("it is not pure");
/// assert_eq!((found.arguments.as_str(), found.when), ("(0)", "when it was called again"));
/// # Ok::<(), millstream::error::Error>(())
/// ```
///
/// # Errors
///
/// If the columns don't fit the function. The inner error reports a row with two results.
pub fn check_purity(function: &dyn ColumnFunction, columns: &[ArrayRef]) -> Result<std::result::Result<(), Impurity>> {
    let function = function.with_memory(None);
    let rows = columns.first().map_or(0, |column| column.len());
    if let Some(other) = columns.iter().find(|column| column.len() != rows) {
        return Err(Error::usage(format!("columns of {rows} and {} rows, wanted equal lengths", other.len())));
    }
    let together = function.call_columns(columns)?;
    let impure = |row: usize, called: &FunctionOutput, at: usize, when| -> Result<Impurity> {
        Ok(Impurity {
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
            (&reversed, rows - 1 - row, "when the rows were reversed"),
            (&alone, 0, "when the row was alone"),
        ];
        for (called, at, when) in others {
            if !is_same(&together, row, called, at) {
                return Ok(Err(impure(row, called, at, when)?));
            }
        }
    }
    Ok(Ok(()))
}

fn failure_of(called: &FunctionOutput, row: usize) -> Option<&super::RowFailure> {
    called.failures.iter().find(|(failed, _)| *failed == row).map(|(_, failure)| failure)
}

fn is_same(one: &FunctionOutput, row: usize, other: &FunctionOutput, at: usize) -> bool {
    failure_of(one, row) == failure_of(other, at)
        && one.column.slice(row, 1).to_data() == other.column.slice(at, 1).to_data()
}

fn shown(called: &FunctionOutput, row: usize) -> Result<String> {
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
