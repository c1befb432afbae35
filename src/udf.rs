//! User functions: closures over values or over whole columns, applied to rows that come, change and vanish.
//!
//! ```text
//! Udf::scalar(name, closure over values) ──────┐              ┌─ apply ──▶ collections, with what is rejected
//!                                              ├─ Udf<A, B> ──┤
//! Udf::vectorised(name, closure over columns) ─┘              └─ Registry ──▶ `udfs:` of the config
//! ```
//!
//! A function is made once and used anywhere; its name is that of its operator. What it takes, `A`, is a value or a
//! tuple of them, and says what becomes of nulls: a closure of a [`Text`] is not called for a null and gives null, as in
//! SQL; one of an `Option<Text>` sees it.
//!
//! ```
//! use differential_dataflow::input::Input;
//! use millstream::model::Text;
//! use millstream::udf::Udf;
//!
//! let initial = Udf::scalar("initial", |name: Text| name.chars().next().map(|first| Text::from(first.to_string())));
//! let age = Udf::scalar("age", |text: Text| text.parse::<i64>());
//! timely::example(move |scope| {
//!     let people = scope.new_collection_from([("Ada".to_string(), "36"), ("Bob".to_string(), "?")]).1;
//!     let (named, _) = initial.apply(people, |person| Some(person.0.as_str().into()), |person, it| (person.1, it));
//!     let (aged, rejected) = age.apply(named, |row| Some(row.0.into()), |row, age| (row.1, age));
//!     aged.assert_eq(scope.new_collection_from([(Some("A".into()), Some(36))]).1);
//!     rejected.map(|row| row.reason.to_string())
//!         .assert_eq(scope.new_collection_from(["invalid digit found in string".to_string()]).1);
//! });
//! ```
//!
//! # Functions must be pure
//!
//! When a row is taken back, the function is asked again, and what it answers is taken back. One that answers
//! differently then (by the time, a random number, a table that has changed) leaves behind what it answered before. A function must
//! be *pure*, the same answer for the same arguments, and *row-wise*, whatever rows stand beside. [`prove_pure`] tries
//! both, in a test of yours; and a run tries the functions of its config on the first rows that come to them. Something
//! that changes, such as a model, is not a part of a function but an input:
//! [`with_side_input`](crate::operators::with_side_input()).
//!
//! # Rows that a function cannot handle
//!
//! A closure that gives an `Err` has not handled its row. The row is rejected, with the reason; or after
//! [`or_null`](Udf::or_null), its answer is null. A panic is caught, and its row is always rejected: it is a bug that should be seen.
//! (Panics can be caught only where they unwind: not with `panic = "abort"`. So that they are not printed row after row, the first
//! call of a function puts a panic hook before the one that is there, which goes on to see all others.) A vectorised function that
//! fails is called again with halves of its rows, until those that it can't handle stand alone.
//!
//! # Cost
//!
//! A function keeps no state; each update costs one call. [`memoised`](Udf::memoised) functions look their arguments up first.

mod anomaly;
mod apply;
mod argument;
mod column;
mod date;
mod json;
mod memory;
mod panics;
mod price;
mod purity;
mod registry;
mod text;
mod value;

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use crate::model::Text;

pub use anomaly::anomaly_score;
pub use apply::Rejected;
pub use argument::{Argument, Arguments, Returned, RowOf};
pub use column::{Called, ColumnFunction};
pub use date::weekday;
pub use json::parse_json_metadata;
pub use price::{calculate_discount, categorize_price};
pub use purity::{Impure, prove_pure};
pub use registry::Registry;
pub use text::clean_text;
pub use value::{Cell, Cells, Value};

use memory::Memory;

/// A function from `A`, a value or a tuple of them, to a `B` or null; see the [module](self).
///
/// A copy is the same function, and shares what it remembers.
pub struct Udf<A, B> {
    name: Arc<str>,
    body: Arc<Body<A, B>>,
    gives_null: bool,
    memory: Option<Arc<Memory<Outcome<B>>>>,
}

/// How a function works.
enum Body<A, B> {
    Scalar(Box<dyn Fn(A) -> Result<Option<B>, Text> + Send + Sync>),
    Vectorised(Box<Vectorised>),
}

/// A function over columns.
type Vectorised = dyn Fn(&[ArrayRef]) -> Result<ArrayRef, ArrowError> + Send + Sync;

/// What a function makes of a row.
type Outcome<B> = Result<Option<B>, Failure>;

/// Why a function could not handle a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the function says of it, or its panic.
    pub reason: Text,
    /// True if it panicked, or gave what is no column of its answers: such rows are always rejected.
    pub panicked: bool,
}

impl Failure {
    pub(crate) fn new(reason: impl fmt::Display) -> Failure {
        Failure { reason: compact_str::format_compact!("{reason}"), panicked: false }
    }
}

impl<A: Arguments, B: Value> Udf<A, B> {
    /// A function that is called for each row.
    ///
    /// The closure gives a value, an `Option` of one (`None` is null), or a `Result` of either.
    pub fn scalar<R: Returned<Value = B>>(name: &str, function: impl Fn(A) -> R + Send + Sync + 'static) -> Udf<A, B> {
        let body = Body::Scalar(Box::new(move |arguments| function(arguments).returned()));
        Udf { name: name.into(), body: Arc::new(body), gives_null: false, memory: None }
    }

    /// A function that is called for many rows: with a column for each argument, in the type that [`Value::data_type`]
    /// says, and gives a column of as many rows, in the type that `B`'s says.
    ///
    /// It sees nulls, whatever `A` says. Arrow's kernels mostly give null for null.
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

    /// The function with null for the rows that it cannot handle, where else they are rejected.
    #[must_use]
    pub fn or_null(self) -> Self {
        Udf { gives_null: true, ..self }
    }

    /// The function with a memory: it is called once for arguments that come again, while there is room.
    ///
    /// *State*: up to `bytes_max` bytes, about; what has not been asked for lately goes first. Copies of the function, on all
    /// workers, share it. It pays where a call costs more than a look-up (some 100 ns) and arguments repeat.
    #[must_use]
    pub fn memoised(self, bytes_max: usize) -> Self {
        Udf { memory: Some(Arc::new(Memory::new(bytes_max))), ..self }
    }

    /// What the function is called, also in the dataflow.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls the function for one row.
    ///
    /// # Errors
    ///
    /// If the function can't handle it, also if it gives null for such rows elsewhere.
    #[expect(clippy::missing_panics_doc, reason = "it can't: one row has one outcome")]
    pub fn call(&self, row: A::Nullable) -> Result<Option<B>, Failure> {
        self.outcomes(&[row]).pop().expect("one row has one outcome")
    }

    /// Calls the function for rows, those of which it remembers the outcome left out.
    fn outcomes(&self, rows: &[A::Nullable]) -> Vec<Outcome<B>> {
        match &self.memory {
            Some(memory) => memory.outcomes(rows, A::encode_row, |rows| self.body.outcomes(rows)),
            None => self.body.outcomes(rows),
        }
    }
}

impl<A: Arguments, B: Value> Body<A, B> {
    fn outcomes(&self, rows: &[A::Nullable]) -> Vec<Outcome<B>> {
        match self {
            Body::Scalar(function) => rows.iter().map(|row| call_for_row(function, row.clone())).collect(),
            Body::Vectorised(function) => {
                let mut outcomes = Vec::with_capacity(rows.len());
                let columns = A::columns(rows);
                let called =
                    call_for_rows(function, &B::data_type(), &columns, rows.len(), &mut |called, rows| match called {
                        Err(failure) => outcomes.push(Err(failure)),
                        Ok(column) => match B::cells(&column) {
                            Ok(cells) => outcomes.extend((0..rows).map(|row| cells(row).map_err(Failure::new))),
                            Err(error) => outcomes.extend((0..rows).map(|_| Err(Failure::new(&error)))),
                        },
                    });
                if let Err(bug) = called {
                    outcomes.clear();
                    outcomes.resize(rows.len(), Err(Failure { reason: bug.into(), panicked: true }));
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
    panics::caught(|| function(arguments))?.map_err(|reason| Failure { reason, panicked: false })
}

/// Calls a vectorised function for rows, or for halves of them if it fails, down to single rows; tells what each call made of
/// how many rows, in order.
///
/// # Errors
///
/// If the function is none: what it gives is not a value for each row, or is of another type.
fn call_for_rows(
    function: &Vectorised,
    returns: &DataType,
    columns: &[ArrayRef],
    rows: usize,
    tell: &mut dyn FnMut(Result<ArrayRef, Failure>, usize),
) -> Result<(), String> {
    if rows == 0 {
        return Ok(());
    }
    let called = panics::caught(|| function(columns)).and_then(|called| called.map_err(Failure::new));
    match called {
        Ok(column) if column.len() != rows => {
            Err(format!("it gave {} rows for {rows}, and is not row-wise", column.len()))
        }
        Ok(column) if column.data_type() != returns => {
            Err(format!("it gave a column of {}, where {returns} was said", column.data_type()))
        }
        Err(_) if rows > 1 => {
            let half = rows / 2;
            [(0, half), (half, rows - half)].into_iter().try_for_each(|(start, length)| {
                let part: Vec<_> = columns.iter().map(|column| column.slice(start, length)).collect();
                call_for_rows(function, returns, &part, length, tell)
            })
        }
        called => {
            tell(called, rows);
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
