//! User functions: closures over values or columns, applied to rows that are inserted, updated and deleted.
//!
//! ```text
//! Udf::scalar(name, closure over values) ──────┐              ┌─ apply ──▶ results and rejected rows
//!                                              ├─ Udf<A, B> ──┤
//! Udf::vectorised(name, closure over columns) ─┘              └─ Registry ──▶ `udfs:` of the config
//! ```
//!
//! A function can be used in several places; its operators carry its name. Its argument type `A`, a value or a tuple of
//! values, determines how nulls are handled: a closure over [`Text`](crate::model::Text) is not called for a null, and
//! the result is null, as in SQL; a closure over `Option<Text>` receives it.
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
//! Retractions are recomputed, not remembered: when a row is retracted, the function is called again and its result is
//! retracted. A result that differs from the first one (because it depends on the time, a random number or a table)
//! does not cancel it. A function must therefore be *pure*, with equal results for equal arguments, and *row-wise*,
//! independent of the other rows of a batch. [`check_purity`] samples both, for use in tests; a run also samples the
//! functions of its config on their first rows. State that changes, such as a model, is an input rather than part of a
//! function: see [`with_side_input`](crate::operators::with_side_input()).
//!
//! # Rows that a function cannot handle
//!
//! If a closure returns `Err`, the row is rejected with the error as its reason, or after [`or_null`](Udf::or_null)
//! the result is null. Panics are caught, and their rows are always rejected, because a panic is a bug that must not
//! go unnoticed. (Catching requires unwinding, so it does not work with `panic = "abort"`. The first call of a
//! function installs a panic hook that suppresses output for user functions and delegates all other panics to the
//! previous hook.) When a vectorised function fails, its batch is bisected until the failing rows are isolated.
//!
//! # Cost
//!
//! Functions keep no state; each update costs one call. [`memoised`](Udf::memoised) functions look their arguments up
//! first.

mod anomaly;
mod apply;
mod argument;
mod column;
mod date;
mod failure;
mod function;
mod json;
mod memory;
mod price;
mod purity;
mod registry;
mod text;
mod value;

pub use anomaly::anomaly_score;
pub use apply::Rejected;
pub use argument::{Argument, Arguments, Returned, RowReader};
pub use column::{ColumnFunction, FunctionOutput};
pub use date::weekday;
pub use failure::RowFailure;
pub use function::Udf;
pub use json::parse_json_metadata;
pub use price::{calculate_discount, categorize_price};
pub use purity::{Impurity, check_purity};
pub use registry::Registry;
pub use text::clean_text;
pub use value::{CellReader, CellValue, Value};
