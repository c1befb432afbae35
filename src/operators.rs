//! Operators on collections that know nothing of shops.
//!
//! | operator | answers | updates emitted per change | work per change | state kept | times |
//! |---|---|---|---|---|---|
//! | [`latest()`] | the last row written under each key | ≤ 2 | O(1) | one row a key | total order |
//! | [`complete()`] | a value or `None` for every key that is needed | ≤ 2 | O(1) | the keys and values | any lattice |
//! | [`inner_join()`] | pairs of rows with the same key (a join) | 2 a match | O(log n + matches) | none of its own | any lattice |
//! | [`accumulate()`] | sums over the rows of an arrangement, per group | 1 a group | O(1) | none | any lattice |
//! | [`distinct_count()`] | in how many keys each group occurs | ≤ 1 a run | O(log n) | none of its own | total order |
//! | [`reduce_sorted()`] | a function of a key's values that reads only some of them | those that differ | O(log n + values read) | none of its own | total order |
//! | [`present_keys()`] | the keys that have a row | ≤ 1 a key | O(log n) | none of its own | total order |
//!
//! "None of its own" means that an operator reads the arrangement it is given and keeps nothing beside it: an
//! arrangement is paid for once and used by all.

mod accumulate;
mod aggregate;
mod collect;
mod complete;
mod distinct_count;
mod histogram;
mod join;
mod latest;
mod moments;
mod reduce_sorted;
mod sorted;
mod top_k;
mod wide;
pub mod window;

pub use accumulate::{Group, accumulate};
pub use aggregate::{aggregate, aggregate_total};
pub use collect::{collect_list, collect_set};
pub use complete::complete;
pub use distinct_count::distinct_count;
pub use histogram::histogram;
pub use join::{anti_join, broadcast_join, inner_join, left_join, semi_join};
pub use latest::{Position, Upsert, latest};
pub use moments::{Covariance, Moments, Overflow, Statistic, Sum, Variance};
pub use reduce_sorted::{present_keys, reduce_sorted};
pub use sorted::Values;
pub use top_k::{arg_max, arg_min, max, min, top_k, top_k_numbered};

use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::ValSpine;

/// An arrangement by key of values that are counted, in differential's default layout: sorted vectors.
pub type ByKey<'scope, T, K, V> = Arranged<'scope, TraceAgent<ValSpine<K, V, T, isize>>>;
