//! Operators for differential dataflow: statistics, joins, rankings and window functions, kept exact while rows are
//! inserted, corrected and retracted.
//!
//! They are functions over collections and arrangements of any differential dataflow, and return collections. Late and
//! corrected rows are ordinary updates. Arguments are always in one order: the input, other inputs, a name for the
//! operator, parameters, closures.
//!
//! In the tables, a *change* is one row inserted into a key or group of n rows, or retracted from it. *Updates* are
//! those the operator sends for it, *work* is its cost, *state* what the operator keeps. *Times* are the timestamps
//! it works for: *total* for epochs, *any* also for loops and wherever times are only partially ordered.
//!
//! # Which operator
//!
//! **Statistics of groups.** Terms are added up in the diff: [`Sum`], [`Variance`], [`Moments`], [`Covariance`], or
//! tuples of them, so one arrangement serves many statistics of one grouping.
//!
//! | operator | result | updates | work | state | times |
//! |---|---|---|---|---|---|
//! | [`aggregate()`] | count, sum, mean, variance, skewness, kurtosis, covariance, correlation | 2 | O(1) | a sum a group, twice | any |
//! | [`aggregate_total`] | the same, with less state | 2 | O(1) | a sum a group | total |
//! | [`accumulate()`] | sums over an arrangement, as diffs | 1 | O(1) | none of its own | any |
//! | [`totals()`] | the sums of diffs, as records | 2 | O(1) | a sum a group | total |
//! | [`distinct_count()`] | the number of distinct keys of each group | ≤ 1 a run | O(log n) | none of its own | total |
//! | [`accumulate_distinct`] | both, in one pass | as both | as both | none of its own | total |
//! | [`histogram()`] | the number of values between bounds | ≤ 2 | bounds | a count for each interval | any |
//! | [`median`](window::Functions::median), [`percentile`](window::Functions::percentile) | exact percentiles | ≤ 2 | O(log n) | the rows | total; any, by recomputing |
//!
//! **Minimum, maximum, first rows.**
//!
//! | operator | result | updates | work | state | times |
//! |---|---|---|---|---|---|
//! | [`min`], [`max`], [`arg_min`], [`arg_max`] | the least or greatest value of a key, and its argument | ≤ 2 | 16 rows a stage | the rows, in stages | any |
//! | [`top_k()`], [`top_k_numbered`] | the first k rows of a key | ≤ 2, ≤ 2k | 16k rows a stage | the rows, in stages | any |
//! | [`window::Window::first`] | the first k rows of a partition | ≤ 2, numbered ≤ 2k | O(log n) | the rows | total |
//! | [`reduce_sorted()`] | any function of a few of a key's sorted values, from either end | those that differ | O(log n + values read) | none of its own | total |
//! | [`reduce_summed()`] | as `reduce_sorted`, also of a sum over all values | those that differ | O(log n + values read) | a sum a key | total |
//! | [`SharedReduce`] | several of these over one arrangement | as theirs | one look-up a key | theirs | total |
//! | [`present_keys()`] | the keys that have a row | ≤ 1 | O(log n) | none of its own | total |
//!
//! **Whole groups.**
//!
//! | operator | result | updates | work | state | times |
//! |---|---|---|---|---|---|
//! | [`collect_list`], [`collect_set`] | all values of a key in one record | ≤ 2, as large as the group | n | the values, twice | any |
//! | [`window`](mod@window) | every SQL window function, over any frame | see there | O(log n + rows in reach) | the rows | total; any, by recomputing |
//!
//! **Joins and upserts.**
//!
//! | operator | result | updates | work | state | times |
//! |---|---|---|---|---|---|
//! | [`inner_join`] | pairs of rows with the same key | 1 a match | O(log n + matches) | none of its own | any |
//! | [`left_join`] | the same, and rows without a partner | 1 a match, and 1 for each row whose key gets its first partner or loses its last | O(log n + matches) | the partners' keys | any |
//! | [`left_join_unique()`] | a left join of rows and partners with at most one row a key | ≤ 2 | O(log changes of the epoch) | both sides, once | total |
//! | [`semi_join`], [`anti_join`] | rows with a partner, rows without | 1, or 1 for each row whose key gets its first partner or loses its last | O(log n + those rows) | the partners' keys | any |
//! | [`broadcast_join`] | pairs with a small table, without exchanging the rows | 1 a match | O(log n + matches) | the rows, and the table on each worker | any |
//! | [`complete()`] | a value or `None` for each needed key | ≤ 2 | O(1) | the keys and values | any |
//! | [`latest()`] | the last row written under each key, with deletes | ≤ 2 | O(1) | a row a key | total |
//! | [`latest_joined()`] | the same, left-joined to a table that every worker holds | ≤ 2; of a partner, 2 for each of its rows | O(1); of a partner, its rows | a row a key, and the partners on each worker | total |
//! | [`with_side_input`] | rows with one record that may change, such as a model | 1; of the record, 2 for each row | a call; of the record, one for each row | the record on each worker | total |
//! | [`upserts()`] | a collection's changes as writes and deletes | 1 | O(log n) | the keys | total |
//!
//! "None of its own" means that an operator reads the arrangement it is given and keeps nothing besides: an
//! arrangement is paid for once and used by all.
//!
//! **Building blocks.** [`arrange()`] makes the arrangements of [`ByKey`], faster than
//! `arrange_by_key` and interchangeable with it. [`SortedBatch`] reads their batches as slices. [`to_all_workers`]
//! sends a collection to every worker.
//!
//! # Nulls, duplicates, overflow
//!
//! A null is an `Option`. Statistics skip it where a term is made by `of_nullable`; all other operators treat it as a
//! value, the least of all, unless they say otherwise. A row of weight w is w rows, everywhere. Numbers are integers
//! or fixed point, and sums are wide enough never to wrap; a value that does not fit is reported as an [`Overflow`]
//! while it is present.
//!
//! # Assumptions
//!
//! What an operator assumes of its input, such as one row for each key, is checked at the end of each epoch, in release
//! builds too. A violation panics with the operator's name, the key, and what was found and wanted.
//! Messages with an empty stamp, which belong to no time, are dropped.

mod accumulate;
mod aggregate;
mod arrange;
mod batch;
mod bounds;
mod chunked_vec;
mod collect;
mod complete;
mod covariance;
mod distinct_count;
mod exchange;
mod histogram;
mod join;
mod key_changes;
mod latest;
mod latest_joined;
mod left_join_unique;
mod moments;
pub mod prelude;
mod received;
mod reduce_sorted;
mod replay;
mod shared_reduce;
mod side_input;
mod slot_chains;
mod stash;
mod sums;
mod top_k;
mod totals;
mod unique;
mod upsert;
mod upsert_table;
mod upserts;
mod values;
mod wide;
pub mod window;

pub use accumulate::accumulate;
pub use aggregate::{aggregate, aggregate_total};
pub use arrange::arrange;
pub use batch::{Batch, ByKey, DiffOf, KeyBatch, KeyOf, ProductOf, SortedBatch, SortedTrace, ValOf};
pub use bounds::{Epochs, Key, Times};
pub use collect::{collect_list, collect_set};
pub use complete::complete;
pub use covariance::Covariance;
pub use distinct_count::{accumulate_distinct, distinct_count};
pub use exchange::{ToWorker, to_all_workers};
pub use histogram::histogram;
pub use join::{anti_join, broadcast_join, inner_join, left_join, semi_join};
pub use latest::latest;
pub use latest_joined::latest_joined;
pub use left_join_unique::left_join_unique;
pub use moments::{Moments, Overflow, Statistic, Sum, Variance};
pub use reduce_sorted::{present_keys, reduce_sorted, reduce_summed};
pub use shared_reduce::SharedReduce;
pub use side_input::with_side_input;
pub use sums::Group;
pub use top_k::{arg_max, arg_min, max, min, top_k, top_k_numbered};
pub use totals::totals;
pub use unique::UniqueRows;
pub use upsert::{Position, Upsert};
pub use upserts::upserts;
pub use values::Values;
pub use window::{window, window_over};

/// The versions of the engine that this crate is built on: programs that use these need no dependency of their own.
pub use {differential_dataflow, timely};
