//! The first `k` rows of every key, and its least and greatest, for any lattice of times.
//!
//! Where times are totally ordered, [`Window::first`](super::window::Window::first) is faster and keeps less, and
//! [`reduce_sorted`](super::reduce_sorted()) reads the first rows of an existing arrangement. These work in loops too.
//!
//! A reduction over a whole key would read all its rows for each change. Instead rows fall through stages: each
//! splits a key into buckets and keeps `k` rows of each, until one bucket is left. A row that is not among the first
//! `k` of its own bucket cannot be among the first `k` of its key, so nothing is lost on the way.
//!
//! ```text
//! a key's rows   ░░░░░░ ░░░░░░ ░░░░░░ ░░░░░░      16 · 16 buckets
//!                  ╲     ╱       ╲     ╱          k of each
//!                  ░░░░░░        ░░░░░░           16 buckets
//!                      ╲         ╱                k of each
//!                       ░░░░░░░░░                 the key
//! ```
//!
//! *Cost per change*: about 16 · k rows read in each stage, however many the key has. *State*: the rows, and in each
//! stage those that are left, twice. *Nulls*: values like others, the least.

use std::cmp::Reverse;

use crate::bounds::{Key, Times};
use differential_dataflow::{ExchangeData, Hashable, VecCollection};

/// Buckets of one stage that become one bucket of the next, as a power of two.
const FAN_IN_BITS: u32 = 4;

/// The first `k` rows of each key, in the order of `V`; of equal rows, as many as fit.
///
/// For the greatest, order by [`Reverse`]. `rows_max` is about how many rows a key may have: it sets the number of
/// stages, one for each factor of 16 over k. A key with more rows costs more and is still exact. If unknown, pass 2³⁰.
///
/// *Updates per change*: ≤ 2: one row enters and one leaves.
///
/// ```
/// use std::cmp::Reverse;
/// use differential_dataflow::input::Input;
/// use millstream_operators::top_k;
///
/// timely::example(|scope| {
///     let scores = scope.new_collection_from([('A', Reverse(3)), ('A', Reverse(7)), ('A', Reverse(5))]).1;
///     let best = top_k(scores, "Best two", 2, 1_000_000);
///     best.assert_eq(scope.new_collection_from([('A', Reverse(7)), ('A', Reverse(5))]).1);
/// });
/// ```
pub fn top_k<'scope, T: Times, K: Key, V: Key>(
    rows: VecCollection<'scope, T, (K, V)>,
    name: &str,
    k: u64,
    rows_max: u64,
) -> VecCollection<'scope, T, (K, V)> {
    let k = isize::try_from(k).unwrap_or(isize::MAX);
    let stages = stages(rows_max / k.unsigned_abs().max(1) as u64);
    let mut left = rows.map(move |(key, row)| ((key, low_bits(row.hashed(), stages * FAN_IN_BITS)), row));
    for stage in (0..stages).rev() {
        left = first_of_bucket(left, &format!("{name}: stage {stage}"), k)
            .map(move |((key, bucket), row)| ((key, low_bits(bucket, stage * FAN_IN_BITS)), row));
    }
    first_of_bucket(left, name, k).map(|((key, _), row)| (key, row))
}

/// The first `k` rows of each key, numbered from 1; a row of weight w has w numbers. See [`top_k`].
///
/// *Updates per change*: ≤ 2 · k.
///
/// ```
/// # use differential_dataflow::input::Input;
/// # use millstream_operators::top_k_numbered;
/// # timely::example(|scope| {
/// let prices = scope.new_collection_from([('T', 9), ('T', 4), ('T', 7)]).1;
/// let cheapest = top_k_numbered(prices, "Cheapest", 2, 1000);
/// cheapest.assert_eq(scope.new_collection_from([('T', (4, 1)), ('T', (7, 2))]).1);
/// # });
/// ```
pub fn top_k_numbered<'scope, T: Times, K: Key, V: Key>(
    rows: VecCollection<'scope, T, (K, V)>,
    name: &str,
    k: u64,
    rows_max: u64,
) -> VecCollection<'scope, T, (K, (V, u64))> {
    top_k(rows, name, k, rows_max).reduce_named(&format!("{name}: numbers"), |_, rows, numbered| {
        let each = rows.iter().flat_map(|(row, weight)| std::iter::repeat_n(*row, weight.unsigned_abs()));
        numbered.extend(each.zip(1..).map(|(row, number)| ((row.clone(), number), 1)));
    })
}

/// The least value of each key. *Updates per change*: ≤ 2. `rows_max` is as in [`top_k`].
///
/// ```
/// # use differential_dataflow::input::Input;
/// # use millstream_operators::{max, min};
/// # timely::example(|scope| {
/// let prices = scope.new_collection_from([('T', 9), ('T', 4), ('T', 7)]).1;
/// min(prices.clone(), "Cheapest", 1000).assert_eq(scope.new_collection_from([('T', 4)]).1);
/// max(prices, "Dearest", 1000).assert_eq(scope.new_collection_from([('T', 9)]).1);
/// # });
/// ```
pub fn min<'scope, T: Times, K: Key, V: Key>(
    values: VecCollection<'scope, T, (K, V)>,
    name: &str,
    rows_max: u64,
) -> VecCollection<'scope, T, (K, V)> {
    top_k(values, name, 1, rows_max)
}

/// The greatest value of each key; see [`min`]. *Updates per change*: ≤ 2. `rows_max` is as in [`top_k`].
pub fn max<'scope, T: Times, K: Key, V: Key>(
    values: VecCollection<'scope, T, (K, V)>,
    name: &str,
    rows_max: u64,
) -> VecCollection<'scope, T, (K, V)> {
    let values = values.map(|(key, value)| (key, Reverse(value)));
    top_k(values, name, 1, rows_max).map(|(key, Reverse(value))| (key, value))
}

/// The least value of each key and its argument, of several the least. *Updates per change*: ≤ 2. `rows_max` is as in
/// [`top_k`].
///
/// ```
/// use differential_dataflow::input::Input;
/// use millstream_operators::{arg_max, arg_min};
///
/// timely::example(|scope| {
///     let sold = scope.new_collection_from([('T', (3, 500)), ('T', (5, 700)), ('T', (5, 600))]).1;
///     let least = arg_min(sold.clone(), "Least sold", 100);
///     least.assert_eq(scope.new_collection_from([('T', (3, 500))]).1);
///     let most = arg_max(sold, "Most sold", 100);
///     most.assert_eq(scope.new_collection_from([('T', (5, 600))]).1);
/// });
/// ```
pub fn arg_min<'scope, T: Times, K: Key, V: Key, A: Key>(
    values: VecCollection<'scope, T, (K, (V, A))>,
    name: &str,
    rows_max: u64,
) -> VecCollection<'scope, T, (K, (V, A))> {
    top_k(values, name, 1, rows_max)
}

/// The greatest value of each key and its argument, of several the least. See [`arg_min`].
pub fn arg_max<'scope, T: Times, K: Key, V: Key, A: Key>(
    values: VecCollection<'scope, T, (K, (V, A))>,
    name: &str,
    rows_max: u64,
) -> VecCollection<'scope, T, (K, (V, A))> {
    let values = values.map(|(key, (value, argument))| (key, (Reverse(value), argument)));
    top_k(values, name, 1, rows_max).map(|(key, (Reverse(value), argument))| (key, (value, argument)))
}

/// The first `k` rows of each bucket of each key.
fn first_of_bucket<'scope, T: Times, K: Key, V: ExchangeData>(
    rows: VecCollection<'scope, T, ((K, u64), V)>,
    name: &str,
    k: isize,
) -> VecCollection<'scope, T, ((K, u64), V)> {
    rows.reduce_named(name, move |_, rows, first| {
        let mut left = k;
        for (row, weight) in rows.iter().filter(|(_, weight)| *weight > 0) {
            if left == 0 {
                break;
            }
            let taken = left.min(*weight);
            first.push(((*row).clone(), taken));
            left -= taken;
        }
    })
}

/// Stages before the last, so that a bucket of the first has about as many rows as one of the others.
fn stages(rows_per_first: u64) -> u32 {
    rows_per_first.max(1).ilog2() / FAN_IN_BITS
}

fn low_bits(number: u64, bits: u32) -> u64 {
    number & ((1 << bits) - 1)
}
