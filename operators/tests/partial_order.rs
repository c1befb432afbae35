//! Operators that claim to work for any lattice of times, under times that are not totally ordered.
//!
//! A row enters at (epoch, round): the epoch in which it comes and a round of its own. What an operator has sent at times
//! up to some (epoch, round) must be the definition's answer for the rows up to it, for every pair.

#[path = "common/lattice.rs"]
mod lattice;

use std::collections::BTreeSet;

use differential_dataflow::VecCollection;
use lattice::{Row, Time, change, check, histories, without_negative_weights};
use millstream_operators::window;
use millstream_operators::{
    Sum, accumulate, aggregate, anti_join, arg_max, arg_min, broadcast_join, collect_list, collect_set, complete,
    histogram, inner_join, left_join, max, min, semi_join, top_k, top_k_numbered,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Of two keys with a few values each, over many epochs.
fn long_histories() -> impl Strategy<Value = Vec<Vec<(Row, isize)>>> {
    vec(vec(((0..2_u8, 0..4_u8), change()), 4..9), 40..60).prop_map(without_negative_weights)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn recomputed_windows(history in histories()) {
        type Answer = (Row, (u64, Option<u8>, u64, Result<Option<i128>, millstream_operators::Overflow>));
        fn operator(rows: VecCollection<'_, Time, Row>) -> VecCollection<'_, Time, Answer> {
            let window = window(rows, "Window", |row| row.0, |row| row.1);
            window.recomputed().select(|w| (w.row_number(), w.lag(1, |row| row.1), w.ntile(2), w.sum(|row| row.1)))
        }
        check(&history, operator, |by_key| {
            let of_key = |(key, values): (&u8, &Vec<u8>)| (0..values.len()).map(|at| {
                let tile = if at < values.len().div_ceil(2) { 1 } else { 2 };
                let before = at.checked_sub(1).map(|before| values[before]);
                let sum = values.iter().filter(|value| **value <= values[at]).map(|value| i128::from(*value)).sum();
                ((*key, values[at]), (at as u64 + 1, before, tile, Ok(Some(sum))))
            }).collect::<Vec<_>>();
            by_key.iter().flat_map(of_key).collect()
        })?;
    }

    #[test]
    fn recomputed_scalars_and_first_rows(history in histories()) {
        fn operator(rows: VecCollection<'_, Time, Row>) -> VecCollection<'_, Time, (u8, u8)> {
            let window = window(rows, "Window", |row| row.0, |row| row.1).recomputed();
            let medians = window.clone().per_partition(|w| w.median());
            medians.map(|(key, found)| (key, found.expect("rows").lower)).concat(window.first(2))
        }
        check(&history, operator, |by_key| {
            let of_key = |(key, values): (&u8, &Vec<u8>)| {
                let firsts = values.iter().take(2).map(|value| (*key, *value));
                firsts.chain(Some((*key, values[(values.len() - 1) / 2]))).collect::<Vec<_>>()
            };
            by_key.iter().flat_map(of_key).collect()
        })?;
    }

    #[test]
    fn first_rows_by_stages(history in histories()) {
        fn operator(rows: VecCollection<'_, Time, Row>) -> VecCollection<'_, Time, Row> {
            top_k(rows, "First", 2, 1000)
        }
        check(&history, operator, |by_key| {
            by_key.iter().flat_map(|(key, values)| values.iter().take(2).map(|value| (*key, *value))).collect()
        })?;
    }

    #[test]
    fn numbers_and_extremes_by_stages(history in histories()) {
        fn operator(rows: VecCollection<'_, Time, Row>) -> VecCollection<'_, Time, (u8, (u8, u64))> {
            let parity = rows.clone().map(|(key, value)| (key, (value % 2, value)));
            let greatest = arg_max(parity.clone(), "Odd first", 1000).map(|(key, (odd, value))| (key, (value, 100 + u64::from(odd))));
            let least = arg_min(parity, "Even first", 1000).map(|(key, (odd, value))| (key, (value, 200 + u64::from(odd))));
            let ends = min(rows.clone(), "Least", 1000).map(|(key, value)| (key, (value, 300)));
            let ends = ends.concat(max(rows.clone(), "Greatest", 1000).map(|(key, value)| (key, (value, 400))));
            top_k_numbered(rows, "First", 3, 1000).concat(greatest).concat(least).concat(ends)
        }
        check(&history, operator, |by_key| {
            let of_key = |(key, values): (&u8, &Vec<u8>)| {
                let mut found: Vec<_> = values.iter().copied().zip(1..=3).collect();
                let odd = *values.iter().max_by_key(|value| (**value % 2, 99 - **value)).expect("not empty");
                let even = *values.iter().min_by_key(|value| (**value % 2, **value)).expect("not empty");
                found.extend([(odd, 100 + u64::from(odd % 2)), (even, 200 + u64::from(even % 2))]);
                found.extend([(values[0], 300), (values[values.len() - 1], 400)]);
                found.into_iter().map(|found| (*key, found)).collect::<Vec<_>>()
            };
            by_key.iter().flat_map(of_key).collect()
        })?;
    }

    #[test]
    fn sums_sets_and_histograms(history in histories()) {
        type Answer = (u8, (Option<i128>, Vec<u8>, Vec<u64>));
        fn operator(rows: VecCollection<'_, Time, Row>) -> VecCollection<'_, Time, Answer> {
            let sums = aggregate(rows.clone(), "Sums", |row| Some((row.0, Sum::<0>::of(row.1))));
            let sets = collect_set(rows.clone(), "Sets").map(|(key, set)| (key, (None, set, vec![])));
            let halves = rows.clone().map(|(key, value)| (key, (value / 2, value)));
            let lists = collect_list(halves, "Lists").map(|(key, list)| (key, (Some(-1), list, vec![])));
            let by_key = rows.clone().arrange_by_key();
            let totals = accumulate(by_key, "Totals", |key, value| Some((*key, isize::from(*value) + 1)));
            let totals = totals.count().map(|(key, total)| (key, (Some(total as i128), vec![], vec![1])));
            let counts = histogram(rows, "Counts", vec![4]).map(|(key, counts)| (key, (None, vec![], counts)));
            let sums = sums.map(|(key, sum)| (key, (sum.total().expect("fits"), vec![], vec![])));
            sums.concat(sets).concat(counts).concat(lists).concat(totals)
        }
        check(&history, operator, |by_key| {
            let of_key = |(key, values): (&u8, &Vec<u8>)| {
                let mut set = values.clone();
                set.dedup();
                let below = values.iter().filter(|value| **value < 4).count() as u64;
                let sum: i128 = values.iter().map(|value| i128::from(*value)).sum();
                [
                    (*key, (Some(sum), vec![], vec![])),
                    (*key, (Some(-1), values.clone(), vec![])),
                    (*key, (Some(sum + values.len() as i128), vec![], vec![1])),
                    (*key, (None, set, vec![])),
                    (*key, (None, vec![], vec![below, values.len() as u64 - below])),
                ]
            };
            by_key.iter().flat_map(of_key).collect()
        })?;
    }

    /// Rows with key 0 meet rows of key 1 that have half their value.
    #[test]
    fn joins(history in histories()) {
        type Joined = (u8, Option<u8>);
        fn operator(rows: VecCollection<'_, Time, Row>) -> VecCollection<'_, Time, (u8, Joined)> {
            let side = |key: u8| rows.clone().filter(move |row| row.0 == key).map(|row| (row.1 / 2, row.1));
            let (left, right) = (|| side(0).arrange_by_key(), || side(1).arrange_by_key());
            let outer = left_join(left(), right(), "Left", |_, value, partner| (0, (*value, partner.copied())));
            let anti = anti_join(left(), right(), "Anti", |_, value| (1, (*value, None)));
            let semi = semi_join(left(), right(), "Semi", |_, value| (2, (*value, None)));
            let inner = inner_join(left(), right(), "Inner", |_, value, partner| (3, (*value, Some(*partner))));
            let broadcast = broadcast_join(side(0), side(1), "Broadcast", |row| row.0, |row, partner| {
                (4, (row.1, Some(*partner)))
            });
            let half_or_none = complete(side(0).map(|row| row.0).distinct(), collect_set(side(1), "Halves"), "Complete");
            let complete = half_or_none.as_collection(|half, found| (5, (*half, found.as_ref().map(|values| values[0]))));
            outer.concat(anti).concat(semi).concat(inner).concat(broadcast).concat(complete)
        }
        check(&history, operator, |by_key| {
            let none = Vec::new();
            let [rows, partners] = [0, 1].map(|key| by_key.get(&key).unwrap_or(&none));
            let of_half = |half: u8| partners.iter().copied().filter(move |partner| partner / 2 == half);
            let of_row = |value: &u8| {
                let matches: Vec<_> = of_half(value / 2).collect();
                let pairs = matches.iter().flat_map(|partner| [0, 3, 4].map(|kind| (kind, (*value, Some(*partner)))));
                let alone: &[u8] = if matches.is_empty() { &[0, 1] } else { &[2] };
                pairs.chain(alone.iter().map(|kind| (*kind, (*value, None)))).collect::<Vec<_>>()
            };
            let halves: BTreeSet<u8> = rows.iter().chain(partners).map(|value| value / 2).collect();
            let completed = halves.into_iter().map(|half| (5, (half, of_half(half).min())));
            rows.iter().flat_map(of_row).chain(completed).collect()
        })?;
    }

    /// Many changes of few values, so that the join of one key has a long history.
    #[test]
    fn joins_of_long_histories(history in long_histories()) {
        fn operator(rows: VecCollection<'_, Time, Row>) -> VecCollection<'_, Time, (u8, u8)> {
            let side = |key: u8| rows.clone().filter(move |row| row.0 == key).map(|row| ((), row.1));
            let [left, right] = [0, 1].map(|key| side(key).arrange_by_key());
            inner_join(left, right, "Inner", |(), value, partner| (*value, *partner))
        }
        check(&history, operator, |by_key| {
            let none = Vec::new();
            let [rows, partners] = [0, 1].map(|key| by_key.get(&key).unwrap_or(&none));
            rows.iter().flat_map(|row| partners.iter().map(|partner| (*row, *partner))).collect()
        })?;
    }
}
