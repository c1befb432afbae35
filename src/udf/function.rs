//! Functions over values and over columns.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use crate::model::Text;

use super::argument::{Arguments, Returned};
use super::failure::{Outcome, RowFailure, caught};
use super::memory::Memory;
use super::value::Value;

/// A function from `A`, a value or a tuple of values, to a nullable `B`; see the [module](crate::udf).
///
/// Clones share the function and its cache.
pub struct Udf<A, B> {
    pub(super) name: Arc<str>,
    pub(super) body: Arc<Body<A, B>>,
    pub(super) gives_null: bool,
    pub(super) memory: Option<Arc<Memory<Outcome<B>>>>,
}

/// The implementation of a function.
pub(super) enum Body<A, B> {
    Scalar(Box<dyn Fn(A) -> Result<Option<B>, Text> + Send + Sync>),
    Vectorised(Box<Vectorised>),
}

/// A function over columns.
pub(super) type Vectorised = dyn Fn(&[ArrayRef]) -> Result<ArrayRef, ArrowError> + Send + Sync;

impl<A: Arguments, B: Value> Udf<A, B> {
    /// A function that is called once per row.
    ///
    /// The closure returns a value, an `Option` of a value (`None` is null), or a `Result` of either.
    pub fn scalar<R: Returned<Value = B>>(name: &str, function: impl Fn(A) -> R + Send + Sync + 'static) -> Udf<A, B> {
        let body = Body::Scalar(Box::new(move |arguments| function(arguments).returned()));
        Udf { name: name.into(), body: Arc::new(body), gives_null: false, memory: None }
    }

    /// A function that is called once per batch. It receives one column per argument, of type [`Value::data_type`],
    /// and returns a column of equal length of `B`'s type.
    ///
    /// It receives nulls regardless of `A`; most Arrow kernels return null for null.
    ///
    /// ```
    /// use arrow::compute::kernels::numeric::mul;
    /// use millstream::udf::Udf;
    ///
    /// let area = Udf::<(f64, f64), f64>::vectorised("area", |columns| mul(&columns[0], &columns[1]));
    /// assert_eq!(area.call((Some(2.0), Some(3.0))), Ok(Some(6.0)));
    /// assert_eq!(area.call((Some(2.0), None)), Ok(None));
    /// ```
    pub fn vectorised(
        name: &str,
        function: impl Fn(&[ArrayRef]) -> Result<ArrayRef, ArrowError> + Send + Sync + 'static,
    ) -> Udf<A, B> {
        let body = Body::Vectorised(Box::new(function));
        Udf { name: name.into(), body: Arc::new(body), gives_null: false, memory: None }
    }

    /// Returns null instead of rejecting rows on which the function fails.
    #[must_use]
    pub fn or_null(self) -> Self {
        Udf { gives_null: true, ..self }
    }

    /// Caches results by argument.
    ///
    /// *State*: about `bytes_max` bytes, evicted by recency and shared by all clones and workers. Caching pays off if
    /// arguments repeat and a call costs more than a lookup (about 100 ns).
    #[must_use]
    pub fn memoised(self, bytes_max: usize) -> Self {
        Udf { memory: Some(Arc::new(Memory::new(bytes_max))), ..self }
    }

    /// The name of the function and of its operators.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls the function for one row.
    ///
    /// # Errors
    ///
    /// If the function fails on the row, even after [`or_null`](Self::or_null).
    #[expect(clippy::missing_panics_doc, reason = "it can't: one row has one outcome")]
    pub fn call(&self, row: A::Nullable) -> Result<Option<B>, RowFailure> {
        self.outcomes(&[row]).pop().expect("one row has one outcome")
    }

    /// Calls the function for all rows whose outcome is not cached.
    pub(super) fn outcomes(&self, rows: &[A::Nullable]) -> Vec<Outcome<B>> {
        match &self.memory {
            Some(memory) => memory.outcomes(rows, A::encode_row, |rows| self.body.outcomes(rows)),
            None => self.body.outcomes(rows),
        }
    }
}

impl<A: Arguments, B: Value> Body<A, B> {
    pub(super) fn outcomes(&self, rows: &[A::Nullable]) -> Vec<Outcome<B>> {
        match self {
            Body::Scalar(function) => rows.iter().map(|row| call_for_row(function, row.clone())).collect(),
            Body::Vectorised(function) => {
                let mut outcomes = Vec::with_capacity(rows.len());
                let columns = A::columns(rows);
                let called =
                    call_for_rows(function, &B::data_type(), &columns, rows.len(), &mut |called, rows| match called {
                        Err(failure) => outcomes.push(Err(failure)),
                        Ok(column) => match B::cells(&column) {
                            Ok(cells) => outcomes.extend((0..rows).map(|row| cells(row).map_err(RowFailure::new))),
                            Err(error) => outcomes.extend((0..rows).map(|_| Err(RowFailure::new(&error)))),
                        },
                    });
                if let Err(bug) = called {
                    outcomes.clear();
                    outcomes.resize(rows.len(), Err(RowFailure { reason: bug.into(), panicked: true }));
                }
                outcomes
            }
        }
    }
}

fn call_for_row<A: Arguments, B>(
    function: &(impl Fn(A) -> Result<Option<B>, Text> + ?Sized),
    row: A::Nullable,
) -> Outcome<B> {
    let Some(arguments) = A::given(row) else { return Ok(None) };
    caught(|| function(arguments))?.map_err(|reason| RowFailure { reason, panicked: false })
}

/// Calls a vectorised function, bisecting the batch on failure down to single rows. `emit` receives each result and its
/// number of rows, in order.
///
/// # Errors
///
/// If the returned column has the wrong length or type.
pub(super) fn call_for_rows(
    function: &Vectorised,
    returns: &DataType,
    columns: &[ArrayRef],
    rows: usize,
    emit: &mut dyn FnMut(Result<ArrayRef, RowFailure>, usize),
) -> Result<(), String> {
    if rows == 0 {
        return Ok(());
    }
    let called = caught(|| function(columns)).and_then(|called| called.map_err(RowFailure::new));
    match called {
        Ok(column) if column.len() != rows => {
            Err(format!("returned {} rows for {rows}, so it is not row-wise", column.len()))
        }
        Ok(column) if column.data_type() != returns => {
            Err(format!("returned a column of type {}, wanted {returns}", column.data_type()))
        }
        Err(_) if rows > 1 => {
            let half = rows / 2;
            [(0, half), (half, rows - half)].into_iter().try_for_each(|(start, length)| {
                let part: Vec<_> = columns.iter().map(|column| column.slice(start, length)).collect();
                call_for_rows(function, returns, &part, length, emit)
            })
        }
        called => {
            emit(called, rows);
            Ok(())
        }
    }
}

impl<A, B> Clone for Udf<A, B> {
    fn clone(&self) -> Self {
        Udf {
            name: Arc::clone(&self.name),
            body: Arc::clone(&self.body),
            gives_null: self.gives_null,
            memory: self.memory.clone(),
        }
    }
}

impl<A, B> fmt::Debug for Udf<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Udf({})", self.name)
    }
}
