//! Each operator against its definition, over random histories: at every epoch, on 1, 2 and 4 workers, with epochs that
//! are in flight together, and back to nothing.

#[path = "common/drive.rs"]
mod drive;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use differential_dataflow::difference::Semigroup;
use differential_dataflow::{AsCollection, Data, VecCollection};
use drive::{Changes, Held, drive, states};
use millstream_operators::{
    ByKey, Moments, Sum, accumulate, accumulate_distinct_rows, accumulate_distinct_unsorted, aggregate,
    aggregate_total, anti_join, arg_max, arg_min, arrange, broadcast_join, collect_list, collect_set, complete,
    distinct_count, histogram, inner_join, left_join, max, min, present_keys, reduce_sorted, reduce_summed, semi_join,
    top_k, top_k_numbered, with_side_input,
};
use proptest::collection::vec;
use proptest::prelude::*;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

/// Rows (key, value) and by how much the weight of each changes, epoch by epoch.
type History = Changes<(u8, u8)>;

/// Histories in which no weight falls below zero; the last epoch takes everything back.
fn histories() -> impl Strategy<Value = History> {
    vec(vec(((0..4_u8, 0..12_u8), -2..3_isize), 0..16), 1..7).prop_map(|mut history| {
        let mut held: Held<(u8, u8)> = BTreeMap::new();
        for (row, change) in history.iter_mut().flatten() {
            let weight = held.entry(*row).or_default();
            *change = (*change).max(-*weight);
            *weight += *change;
        }
        history.push(held.into_iter().map(|(row, weight)| (row, -weight)).collect());
        history
    })
}

/// Runs an operator over a history; gives what its output held after each epoch.
fn run<D: Data + Send>(
    history: &History,
    workers: usize,
    in_flight: u64,
    operator: impl for<'a> Fn(ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, D> + Send + Sync + 'static,
) -> Vec<Held<D>> {
    let updates = drive(history, workers, in_flight, move |rows| vec![operator(rows.arrange_by_key())]);
    states(&updates[0])
}

/// The same history, of which one key has so many values all the time that they are not merged as a whole.
fn with_many_values(history: &History) -> History {
    let many = |weight| (0..=u8::MAX).map(move |value| ((1, value), weight));
    let mut longer = vec![many(1).collect()];
    longer.extend_from_slice(history);
    longer.push(many(-1).collect());
    longer
}

/// Compares with the definition, run in four ways, and once with a key that has many values.
fn check<D: Data + Send>(
    history: &History,
    operator: impl for<'a> Fn(ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, D> + Send + Sync + Copy + 'static,
    definition: impl Fn(&Held<(u8, u8)>) -> Held<D>,
) -> Result<(), TestCaseError> {
    let expected: Vec<_> = states(history).iter().map(&definition).collect();
    for (workers, in_flight) in [(1, 1), (1, 3), (2, 2), (4, 64)] {
        prop_assert_eq!(&run(history, workers, in_flight, operator), &expected, "{} workers", workers);
    }
    let longer = with_many_values(history);
    let expected: Vec<_> = states(&longer).iter().map(definition).collect();
    prop_assert_eq!(run(&longer, 1, 1, operator), expected, "with many values");
    Ok(())
}

/// The values of each key, each as often as it weighs.
fn by_key(held: &Held<(u8, u8)>) -> BTreeMap<u8, Vec<u8>> {
    let mut values: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    for ((key, value), weight) in held {
        values.entry(*key).or_default().extend(std::iter::repeat_n(*value, weight.unsigned_abs()));
    }
    values
}

/// The rows as a collection.
fn pairs<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, (u8, u8)> {
    rows.as_collection(|key, value| (*key, *value))
}

/// How often each record comes.
fn counted<D: Ord>(records: impl Iterator<Item = D>) -> Held<D> {
    let mut counts = BTreeMap::new();
    records.for_each(|record| *counts.entry(record).or_default() += 1);
    counts
}

/// Something smaller than a value that does not fall while values rise; some values have none.
fn part(value: u8) -> Option<u8> {
    (value >= 2).then_some(value / 3)
}

/// Keys with so many rows that their parts are counted all the time: rows come and go, at times all of them, also rows
/// without a part.
#[test]
fn a_key_with_many_rows_is_counted_as_others_are() {
    const ROWS: u16 = 1500;
    let part = |value: u16| (!value.is_multiple_of(3)).then_some(value % 50);
    for (seed, in_flight) in [(1, 1), (2, 1), (3, 4), (4, 64)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut held: BTreeSet<(u8, u16)> = BTreeSet::new();
        let mut history: Changes<(u8, u16)> = Vec::new();
        for epoch in 0..24 {
            let all = (0..2).flat_map(|key| (0..ROWS).map(move |value| (key, value)));
            let rows: Vec<_> = match epoch % 8 {
                0 => all.filter(|row| !held.contains(row)).collect(),
                6 => held.iter().copied().filter(|(key, _)| *key == 0).collect(),
                7 => held.iter().copied().collect(),
                _ => all.filter(|_| random.u32(0..60) == 0).collect(),
            };
            let toggle = |row: (u8, u16)| (row, if held.remove(&row) { -1 } else { isize::from(held.insert(row)) });
            history.push(rows.into_iter().map(toggle).collect());
        }
        let sent = drive(&history, 2, in_flight, move |rows| {
            let rows = rows.arrange_by_key();
            vec![accumulate_distinct_unsorted(
                rows,
                "Parts",
                1000,
                move |_, value| part(*value),
                |_, part| *part,
                move |_, value| Some((part(*value).unwrap_or(0), 1)),
            )]
        });
        let expected = states(&history).into_iter().map(|held| {
            let mut sums: Held<u16> = BTreeMap::new();
            held.keys().for_each(|(_, value)| *sums.entry(part(*value).unwrap_or(0)).or_default() += 1);
            let pairs: BTreeSet<_> = held.keys().filter_map(|(key, value)| Some((*key, part(*value)?))).collect();
            pairs.into_iter().for_each(|(_, part)| *sums.entry(part).or_default() += 1000);
            sums
        });
        assert_eq!(states(&sent[0]), expected.collect::<Vec<_>>(), "seed {seed}");
    }
}

/// Something that rises and falls while values rise; some values have none.
fn scattered(value: u8) -> Option<u8> {
    (value % 4 != 3).then_some(value % 3)
}

/// A thousand for each key with a row of a scattered part, and the values of the rows, by group.
fn keys_and_sums(held: &Held<(u8, u8)>) -> Held<(u8, u8)> {
    let pairs: BTreeSet<_> = held.keys().filter_map(|(key, value)| Some((*key, scattered(*value)?))).collect();
    let mut sums = BTreeMap::new();
    pairs.into_iter().for_each(|(key, part)| *sums.entry((part, key % 2)).or_default() += 1000);
    for ((key, value), weight) in held {
        *sums.entry((value % 3, key % 2)).or_default() += isize::from(*value) * weight;
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn reduce_sorted_reads_from_either_end_and_from_the_middle(history in histories()) {
        type Found = Option<(u8, isize)>;
        fn operator<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, (u8, (Found, Found, Found, Found))> {
            reduce_sorted(rows, "Ends", |_, values, answers| {
            let first = values.ascending().next();
            let last: Vec<_> = values.descending().take(2).collect();
            let middle = values.ascending_from(|value| *value < 5).next();
            let owned = |found: Option<(&u8, isize)>| found.map(|(value, weight)| (*value, weight));
            if !values.is_empty() {
                answers.push((owned(first), owned(last.first().copied()), owned(last.get(1).copied()), owned(middle)));
            }
        })
        }
        check(&history, operator, |held| {
            by_key(held).keys().map(|key| {
                let values: Vec<_> = held.iter().filter(|((of, _), _)| of == key).map(|((_, v), w)| (*v, *w)).collect();
                let middle = values.iter().find(|(value, _)| *value >= 5).copied();
                let nth_back = |n: usize| values.iter().rev().nth(n).copied();
                ((*key, (values.first().copied(), nth_back(0), nth_back(1), middle)), 1)
            }).collect()
        })?;
    }

    #[test]
    fn distinct_count_counts_keys_by_group(history in histories()) {
        fn operator<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, (u8, u8)> {
            distinct_count(rows, "Keys", |_, value| part(*value), |key, part| (*part, key % 2))
        }
        check(&history, operator, |held| {
            let pairs: BTreeSet<_> = held.keys().filter_map(|(key, value)| Some((*key, part(*value)?))).collect();
            let mut counts = BTreeMap::new();
            pairs.into_iter().for_each(|(key, part)| *counts.entry((part, key % 2)).or_default() += 1);
            counts
        })?;
    }

    #[test]
    fn accumulate_distinct_unsorted_counts_keys_and_adds_up_by_group(history in histories()) {
        fn operator<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, (u8, u8)> {
            let term = |key: &u8, value: &u8| Some(((value % 3, key % 2), isize::from(*value)));
            accumulate_distinct_unsorted(
                rows, "Keys", 1000, |_, value| scattered(*value), |key, part| (*part, key % 2), term,
            )
        }
        check(&history, operator, keys_and_sums)?;
    }

    #[test]
    fn accumulate_distinct_rows_counts_keys_and_adds_up_by_group(history in histories()) {
        fn operator<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, (u8, u8)> {
            accumulate_distinct_rows(
                rows.as_collection(|key, value| (*key, *value)),
                "Keys",
                1000,
                |(key, value)| Some((*key, scattered(*value)?)),
                |(key, part)| (*part, key % 2),
                |(key, value)| Some(((value % 3, key % 2), isize::from(*value))),
            )
        }
        check(&history, operator, keys_and_sums)?;
    }

    #[test]
    fn accumulate_adds_up_by_group(history in histories()) {
        fn operator<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, (u8, u8)> {
            accumulate(rows, "Sums", |key, value| part(*value).map(|part| ((part, *key), isize::from(*value))))
        }
        check(&history, operator, |held| {
            let mut sums = BTreeMap::new();
            for ((key, value), weight) in held {
                if let Some(part) = part(*value) {
                    *sums.entry((part, *key)).or_default() += isize::from(*value) * weight;
                }
            }
            sums
        })?;
    }

    #[test]
    fn present_keys_are_those_that_have_a_row(history in histories()) {
        fn operator<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, u8> {
            present_keys(rows, "Keys")
        }
        check(&history, operator, |held| by_key(held).into_keys().map(|key| (key, 1)).collect())?;
    }

    /// Every row finds one partner: the greatest even value of the key, or none.
    #[test]
    fn a_join_after_complete_is_a_left_join(history in histories()) {
        fn operator<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, (u8, u8, Option<u8>)> {
            let evens = reduce_sorted(rows.clone(), "Evens", |_, values, answers: &mut Vec<u8>| {
                answers.extend(values.descending().map(|(value, _)| *value).find(|value| value % 2 == 0));
            });
            let partners = complete(present_keys(rows.clone(), "Needed"), evens, "Partners");
            inner_join(rows, partners, "Pairs", |key, value, partner| (*key, *value, *partner))
        }
        check(&history, operator, |held| {
            let partner = |key| by_key(held)[&key].iter().rev().find(|value| *value % 2 == 0).copied();
            held.iter().map(|((key, value), weight)| ((*key, *value, partner(*key)), *weight)).collect()
        })?;
    }

    /// Two stages and the last: a bucket has few rows, and a key more than one bucket.
    #[test]
    fn top_k_keeps_the_first_rows_through_its_stages(history in histories()) {
        fn operator<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, (u8, u8)> {
            top_k(pairs(rows), "First", 3, 1000)
        }
        check(&history, operator, |held| {
            let first = |(key, values): (u8, Vec<u8>)| values.into_iter().take(3).map(move |value| (key, value));
            counted(by_key(held).into_iter().flat_map(first))
        })?;
    }

    #[test]
    fn top_k_numbered_numbers_equal_rows_too(history in histories()) {
        fn operator<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, (u8, (u8, u64))> {
            top_k_numbered(pairs(rows), "First", 5, 10)
        }
        check(&history, operator, |held| {
            let first = |(key, values): (u8, Vec<u8>)| values.into_iter().zip(1..=5).map(move |row| (key, row));
            counted(by_key(held).into_iter().flat_map(first))
        })?;
    }

    #[test]
    fn extremes_and_their_arguments(history in histories()) {
        type Found = (u8, (u8, u8));
        fn operator<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, (u8, Found)> {
            let rows = pairs(rows);
            let thirds = rows.clone().map(|(key, value)| (key, (value / 3, value)));
            let least = min(rows.clone(), "Least", 1000).map(|(key, value)| (key, (0, (value, 0))));
            let greatest = max(rows, "Greatest", 1000).map(|(key, value)| (key, (1, (value, 0))));
            let least_third = arg_min(thirds.clone(), "Least third", 100).map(|(key, found)| (key, (2, found)));
            let greatest_third = arg_max(thirds, "Greatest third", 100).map(|(key, found)| (key, (3, found)));
            least.concat(greatest).concat(least_third).concat(greatest_third)
        }
        check(&history, operator, |held| {
            counted(by_key(held).into_iter().filter(|(_, values)| !values.is_empty()).flat_map(|(key, values)| {
                let (least, greatest) = (values[0], values[values.len() - 1]);
                let in_third = |third: u8| *values.iter().find(|value| **value / 3 == third).expect("it is there");
                [
                    (key, (0, (least, 0))),
                    (key, (1, (greatest, 0))),
                    (key, (2, (least / 3, in_third(least / 3)))),
                    (key, (3, (greatest / 3, in_third(greatest / 3)))),
                ]
            }))
        })?;
    }

    #[test]
    fn collected_lists_and_sets(history in histories()) {
        fn operator<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, (u8, (bool, Vec<u8>))> {
            let rows = pairs(rows);
            let by_third = rows.clone().map(|(key, value)| (key, (value % 3, value)));
            let lists = collect_list(by_third, "Lists").map(|(key, list)| (key, (true, list)));
            lists.concat(collect_set(rows, "Sets").map(|(key, set)| (key, (false, set))))
        }
        check(&history, operator, |held| {
            counted(by_key(held).into_iter().filter(|(_, values)| !values.is_empty()).flat_map(|(key, values)| {
                let (mut list, mut set) = (values.clone(), values);
                list.sort_by_key(|value| (value % 3, *value));
                set.dedup();
                [(key, (true, list)), (key, (false, set))]
            }))
        })?;
    }

    #[test]
    fn histograms_have_empty_stretches_too(history in histories()) {
        fn operator<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, (u8, Vec<u64>)> {
            histogram(pairs(rows), "Histogram", vec![2, 3, 9])
        }
        check(&history, operator, |held| {
            counted(by_key(held).into_iter().filter(|(_, values)| !values.is_empty()).map(|(key, values)| {
                let within = |stretch: std::ops::RangeInclusive<u8>| values.iter().filter(|value| stretch.contains(value)).count() as u64;
                (key, vec![within(0..=1), within(2..=2), within(3..=8), within(9..=255)])
            }))
        })?;
    }

    /// Rows meet partners that have their value as a key: a key may have rows, partners, both or none.
    #[test]
    fn joins_pair_what_matches_and_tell_what_does_not(history in histories()) {
        type Joined = (u8, u8, u8, Option<u8>);
        fn operator<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, Joined> {
            let (sides, by_value) = (pairs(rows.clone()), pairs(rows));
            let partners = by_value.filter(|(_, value)| value % 2 == 0).map(|(key, value)| (value / 2, key));
            let (left, right) = (sides.clone().arrange_by_key(), partners.clone().arrange_by_key());
            let of = |kind: u8| move |key: &u8, value: &u8| (kind, *key, *value, None);
            let inner = inner_join(left.clone(), right.clone(), "Inner", |key, value, partner| (0, *key, *value, Some(*partner)));
            let outer = left_join(left.clone(), right.clone(), "Left", |key, value, partner| (1, *key, *value, partner.copied()));
            let semi = semi_join(left.clone(), right.clone(), "Semi", of(2));
            let anti = anti_join(left, right, "Anti", of(3));
            let broadcast = broadcast_join(sides, partners, "Broadcast", |(key, _)| *key, |(key, value), partner| {
                (4, *key, *value, Some(*partner))
            });
            inner.concat(outer).concat(semi).concat(anti).concat(broadcast)
        }
        check(&history, operator, |held| {
            let partners: Vec<(u8, u8, isize)> =
                held.iter().filter(|((_, value), _)| value % 2 == 0).map(|((key, value), w)| (value / 2, *key, *w)).collect();
            let mut joined: Held<Joined> = BTreeMap::new();
            for ((key, value), weight) in held {
                let found: Vec<_> = partners.iter().filter(|(of, _, _)| of == key).collect();
                for (_, partner, times) in &found {
                    for kind in [0, 1, 4] {
                        *joined.entry((kind, *key, *value, Some(*partner))).or_default() += weight * times;
                    }
                }
                let kinds: &[u8] = if found.is_empty() { &[1, 3] } else { &[2] };
                joined.extend(kinds.iter().map(|kind| ((*kind, *key, *value, None), *weight)));
            }
            joined
        })?;
    }

    /// Rows with nulls: terms that add up to nothing leave a group that is there, for it has rows.
    #[test]
    fn aggregate_adds_up_terms_by_group(history in histories()) {
        type Sums = (Moments, Sum);
        fn term((key, value): &(u8, u8)) -> Option<(u8, Sums)> {
            let number = (value % 4 != 3).then(|| i64::from(*value) - 5);
            part(*value).map(|_| (*key, (Moments::of_nullable(number), Sum::of_nullable(number))))
        }
        fn operator<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, (bool, (u8, Sums))> {
            let rows = pairs(rows);
            let sums = aggregate(rows.clone(), "Sums", term).map(|sums| (false, sums));
            sums.concat(aggregate_total(rows, "Sums", term).map(|sums| (true, sums)))
        }
        check(&history, operator, |held| {
            let mut sums: BTreeMap<u8, Sums> = BTreeMap::new();
            for ((key, value), weight) in held {
                if let Some((group, term)) = term(&(*key, *value)) {
                    (0..*weight).for_each(|_| sums.entry(group).or_default().plus_equals(&term));
                }
            }
            counted(sums.into_iter().flat_map(|sums| [(false, sums), (true, sums)]))
        })?;
    }
}

/// More rows than are dealt to one bucket, some of them twice and some taken back, of keys that come in order and of one
/// that most have.
#[test]
fn a_large_epoch_is_joined_as_a_small_one_is() {
    const ROWS: u32 = 100_000;
    let key = |row: u32| if row.is_multiple_of(3) { row / 100 } else { 7 };
    let first = (0..ROWS).map(|row| ((key(row), row), 1 + isize::from(row.is_multiple_of(5))));
    let second = (0..ROWS).filter(|row| row.is_multiple_of(4)).map(|row| ((key(row), row), -1));
    let history: Changes<(u32, u32)> =
        vec![first.clone().chain(second.clone()).collect(), second.map(|(row, _)| (row, 1)).collect()];
    let sent = drive(&history, 2, 1, |rows| {
        vec![broadcast_join(
            rows.clone(),
            rows.map(|(key, _)| (key, ())).distinct(),
            "Keys",
            |row| row.0,
            |row, ()| *row,
        )]
    });
    assert_eq!(states(&sent[0]), states(&history));
}

/// Rows of one key whose weights add up to nothing are rows all the same.
#[test]
fn rows_that_cancel_do_not_hide_each_other_from_a_join() {
    fn operator<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, (u8, u8, Option<u8>)> {
        let (rows, partners) = (pairs(rows.clone()), pairs(rows));
        let left = rows.filter(|row| row.0 < 2).arrange_by_key();
        let right = partners.filter(|row| row.0 >= 2).map(|(key, value)| (key - 2, value)).arrange_by_key();
        let semi = semi_join(left.clone(), right.clone(), "Semi", |key, value| (*key, *value, Some(99)));
        semi.concat(left_join(left, right, "Left", |key, value, partner| (*key, *value, partner.copied())))
    }
    // Keys 0 and 1 have two rows each that cancel; key 1 has a partner, under key 3.
    let history = vec![vec![((0, 7), 1), ((0, 8), -1), ((1, 7), 1), ((1, 8), -1), ((3, 5), 1)]];
    let expected = [(0, 7, None), (1, 7, Some(5)), (1, 7, Some(99))].map(|row| (row, 1));
    let negative = [(0, 8, None), (1, 8, Some(5)), (1, 8, Some(99))].map(|row| (row, -1));
    assert_eq!(run(&history, 1, 1, operator), [expected.into_iter().chain(negative).collect::<Held<_>>()]);
}

/// Keys and values of which half the keys are of another worker, wherever keys are dealt by different hashes.
fn many_keys() -> History {
    let rows = (0..200_u8).map(|key| ((key, key % 7), 1)).chain((0..200).step_by(3).map(|key| ((key, 9), 1)));
    vec![rows.collect(), (0..200).step_by(5).map(|key| ((key, key % 7), -1)).collect()]
}

#[test]
fn what_arrange_hands_out_is_joined_with_what_arrange_by_key_makes() {
    type Joined = (u8, u8, Option<u8>);
    fn one_way<'a>(
        kind: &str,
        left: ByKey<'a, u64, u8, u8>,
        right: ByKey<'a, u64, u8, u8>,
    ) -> VecCollection<'a, u64, Joined> {
        let joins = inner_join(left.clone(), right.clone(), "Inner", |key, row, partner| (*key, *row, Some(*partner)));
        let outer = left_join(left.clone(), right.clone(), "Left", |key, row, partner| (*key, *row, partner.copied()));
        let semi = semi_join(left.clone(), right.clone(), "Semi", |key, row| (*key, *row, Some(100)));
        let anti = anti_join(left, right, kind, |key, row| (*key, *row, Some(101)));
        joins.concat(outer).concat(semi).concat(anti)
    }
    let run = |workers| {
        let sent = drive(&many_keys(), workers, 1, |rows| {
            let partners =
                rows.clone().filter(|(key, value)| key % 4 != 0 && *value != 9).map(|(key, value)| (key, value + 1));
            let ours = arrange(rows.clone(), "Rows");
            let theirs = partners.clone().arrange_by_key();
            let core = ours.clone().join_core(theirs.clone(), |key, row, partner| Some((*key, *row, Some(*partner))));
            vec![one_way("Ours", ours.clone(), theirs.clone()), one_way("Theirs", theirs, ours), core]
        });
        sent.iter().map(|sent| states(sent)).collect::<Vec<_>>()
    };
    let alone = run(1);
    assert!(alone.iter().all(|states| states.iter().all(|held| held.len() > 100)));
    assert_eq!(run(2), alone, "on two workers");
    assert_eq!(run(4), alone, "on four workers");
}

#[test]
fn what_is_read_off_an_arrangement_is_joined_with_it_again() {
    type Read = (u8, u8, isize);
    fn operators(rows: VecCollection<'_, u64, (u8, u8)>) -> Vec<VecCollection<'_, u64, Read>> {
        let ours = arrange(rows.clone(), "Rows");
        let greatest = reduce_sorted(ours.clone(), "Greatest", |_, values, greatest| {
            greatest.extend(values.descending().map(|(value, _)| *value).next());
        });
        let sums = reduce_summed(
            ours.clone(),
            "Sums",
            |_, value| isize::from(*value),
            |key, _, sum, sums| {
                sums.push((*key, *sum));
            },
        );
        let counts = accumulate(ours.clone(), "Counts", |key, _| Some((*key, 1_isize))).count();
        let distinct = distinct_count(ours.clone(), "Distinct", |_, value| Some(*value), |key, _| *key).count();
        let present = present_keys(ours.clone(), "Present").map(|key| (key, 1));
        let sides = with_side_input(ours.clone(), rows.filter(|row| *row == (1, 1)), "Side", |rows, _, answers| {
            answers.extend(rows.iter().map(|(key, value)| (**key, isize::from(**value))));
        });
        let numbers = [sums, counts, distinct, present, sides].map(|numbers| {
            inner_join(ours.clone(), numbers.arrange_by_key(), "Joined", |key, value, number| (*key, *value, *number))
        });
        let needed = present_keys(ours.clone(), "Needed");
        let completed =
            inner_join(ours.clone(), complete(needed, greatest, "Complete"), "Joined", |key, value, greatest| {
                (*key, *value, greatest.map_or(-1, isize::from))
            });
        numbers.into_iter().chain([completed]).collect()
    }
    let run =
        |workers| -> Vec<_> { drive(&many_keys(), workers, 1, operators).iter().map(|sent| states(sent)).collect() };
    let alone = run(1);
    assert!(alone.iter().all(|states| states.iter().all(|held| held.len() > 100)));
    assert_eq!(run(2), alone, "on two workers");
}

/// One key with many rows on both sides, of several batches and with rows that cancel: its pairs are sent in pieces.
#[test]
fn a_key_with_many_pairs_is_joined_in_pieces() {
    const ROWS: u32 = 3_000;
    let sizes: Arc<Mutex<Vec<usize>>> = Arc::default();
    let kept = Arc::clone(&sizes);
    let partners = (0..50_u32).map(|value| ((7_u32, 10_000 + value), 1));
    let rows = (0..ROWS).map(|value| ((7, value), 1 + isize::from(value == 5)));
    let fewer = (0..ROWS).filter(|value| value % 3 == 0).map(|value| ((7, value), -1)).chain([((7, 10_001), -1)]);
    let history: Changes<(u32, u32)> = vec![
        rows.chain(partners).chain((0..2_000).map(|key| ((key + 10, 1), 1))).collect(),
        vec![((7, 20_000), 1), ((7, 5), -1)],
        fewer.collect(),
        (0..30).map(|value| ((7, 30_000 + value), 1)).collect(),
    ];
    let sent = drive(&history, 1, 1, move |rows| {
        let kept = Arc::clone(&kept);
        let left = rows.clone().filter(|(_, value)| *value < 10_000).arrange_by_key();
        let right = rows.filter(|(_, value)| *value >= 10_000).arrange_by_key();
        let pairs = inner_join(left, right, "Pairs", |key, value, partner| (*key, *value, *partner));
        let pairs = pairs.inner.unary(Pipeline, "Sizes", move |_, _| {
            move |input, output| {
                input.for_each(|capability, records| {
                    kept.lock().expect("no panic").push(records.len());
                    output.session(&capability).give_container(records);
                });
            }
        });
        vec![pairs.as_collection()]
    });
    let pairs = |held: &Held<(u32, u32)>| {
        let (rows, partners): (Vec<_>, Vec<_>) =
            held.iter().filter(|((key, _), _)| *key == 7).partition(|((_, value), _)| *value < 10_000);
        let pair = |((key, value), weight): (&(u32, u32), &isize)| {
            let (key, value, weight) = (*key, *value, *weight);
            partners
                .iter()
                .map(move |((_, partner), times)| ((key, value, *partner), weight * **times))
                .collect::<Vec<_>>()
        };
        rows.into_iter().flat_map(pair).collect::<Held<_>>()
    };
    let expected: Vec<_> = states(&history).iter().map(pairs).collect();
    assert_eq!(states(&sent[0]), expected);
    let most = sizes.lock().expect("no panic").iter().max().copied();
    assert!(most.is_some_and(|most| most <= 2_048), "found a container of {most:?} records, wanted 2,048 at most");
}
