//! Operators for differential dataflow that know nothing of shops: statistics, joins, rankings and window functions, kept
//! exact while rows come, change and vanish.
//!
//! They take collections or arrangements of your own dataflow and give collections; whatever is asked, late and corrected
//! rows are only more updates. In the table, a *change* is one row inserted into a key or group of n rows or taken out
//! of it; *updates* are those that the operator sends for it, *work* is what it does, *state* what it keeps. *Times* says
//! for which timestamps it works: *total* for epochs that follow each other, *any* also inside loops and wherever
//! times are only partially ordered.
//!
//! # Which operator
//!
//! **Statistics of groups.** Terms are added up in the diff: [`Sum`], [`Variance`], [`Moments`], [`Covariance`], or tuples
//! of them, so one arrangement serves many statistics of one grouping.
//!
//! | operator | answers | updates | work | state | times |
//! |---|---|---|---|---|---|
//! | [`aggregate()`] | count, sum, mean, variance, skewness, kurtosis, covariance, correlation | 2 | O(1) | a sum a group, twice | any |
//! | [`aggregate_total`] | the same, leaner | 2 | O(1) | a sum a group | total |
//! | [`accumulate()`] | sums over an arrangement that is there, as diffs | 1 | O(1) | none of its own | any |
//! | [`distinct_count()`] | how many keys each group occurs in | ≤ 1 a run | O(log n) | none of its own | total |
//! | [`histogram()`] | how many values lie between bounds | ≤ 2 | bounds | a count for each stretch | any |
//! | [`median`](window::Functions::median), [`percentile`](window::Functions::percentile) | exact percentiles | ≤ 2 | O(log n) | the rows | total; any, by recomputing |
//!
//! **The least, the greatest, the first.**
//!
//! | operator | answers | updates | work | state | times |
//! |---|---|---|---|---|---|
//! | [`min`], [`max`], [`arg_min`], [`arg_max`] | the least or greatest of a key, and its argument | ≤ 2 | 16 rows a stage | the rows, in stages | any |
//! | [`top_k()`], [`top_k_numbered`] | the first k rows of a key | ≤ 2, ≤ 2k | 16k rows a stage | the rows, in stages | any |
//! | [`window::Window::first`] | the first k rows of a partition | ≤ 2, numbered ≤ 2k | O(log n) | the rows | total |
//! | [`reduce_sorted()`] | anything that reads a few of a key's sorted values, from either end | those that differ | O(log n + values read) | none of its own | total |
//! | [`reduce_summed()`] | as `reduce_sorted`, from a sum over all values too | those that differ | O(log n + values read) | a sum a key | total |
//! | [`present_keys()`] | the keys that have a row | ≤ 1 | O(log n) | none of its own | total |
//!
//! **Whole groups.**
//!
//! | operator | answers | updates | work | state | times |
//! |---|---|---|---|---|---|
//! | [`collect_list`], [`collect_set`] | all values of a key in one record | ≤ 2, as large as the group | n | the values, twice | any |
//! | [`window`] | every SQL window function, over any frame | see there | O(log n + rows in reach) | the rows | total; any, by recomputing |
//!
//! **Joins and upserts.**
//!
//! | operator | answers | updates | work | state | times |
//! |---|---|---|---|---|---|
//! | [`inner_join`] | pairs of rows with the same key | 1 a match | O(log n + matches) | none of its own | any |
//! | [`left_join`] | those, and rows without a partner | 1 a match, and 1 for each row whose key gets its first partner or loses its last | O(log n + matches) | the partners' keys | any |
//! | [`left_join_unique()`] | rows and partners of which each key has one at most | ≤ 2 | O(log changes of the epoch) | both sides, once | total |
//! | [`semi_join`], [`anti_join`] | rows that have a partner, that have none | 1, or 1 for each row whose key gets its first partner or loses its last | O(log n + those rows) | the partners' keys | any |
//! | [`broadcast_join`] | pairs with a small table, without sending the rows | 1 a match | O(log n + matches) | the rows, and the table on each worker | any |
//! | [`complete()`] | a value or `None` for every key that is needed | ≤ 2 | O(1) | the keys and values | any |
//! | [`latest()`] | the last row written under each key, with deletes | ≤ 2 | O(1) | a row a key | total |
//! | [`latest_joined()`] | those rows, left-joined to a table that every worker has whole | ≤ 2; of a partner, 2 for each of its rows | O(1); of a partner, its rows | a row a key, and the partners on each worker | total |
//! | [`with_side_input`] | rows with one record that may change, such as a model | 1; of the record, 2 for each row | a call; of the record, one for each row | the record on each worker | total |
//! | [`upserts()`] | a collection's changes as writes and deletes | 1 | O(log n) | none | total |
//!
//! "None of its own" means that an operator reads the arrangement it is given and keeps nothing beside it: an
//! arrangement is paid for once and used by all.
//!
//! # Nulls, duplicates, overflow
//!
//! A null is an `Option`. Statistics skip it where a term is made `of_nullable`; to all other operators it is a value like
//! others, the least of them, unless they say otherwise: filter it first where it is not to count. A row of weight w is w
//! rows, everywhere. Numbers are integers or fixed point and sums are wide enough never to wrap; a value that has no
//! room is an [`Overflow`] that is said for as long as it is there.

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
pub use arrange::{arrange, arrange_in_place};
pub use batch::{Batch, ByKey, DiffOf, KeyBatch, KeyOf, ProductOf, SortedBatch, ValOf};
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
pub use upsert::{Position, Upsert};
pub use upserts::upserts;
pub use values::Values;

/// The versions of the engine that this crate is built on: programs that use these need no dependency of their own.
pub use {differential_dataflow, timely};
