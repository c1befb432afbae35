//! Each window function against its definition, over random histories with duplicates, ties and nulls: with both drivers,
//! at every epoch, on 1, 2 and 4 workers, with several epochs in flight, and rewound to empty.

#[path = "common/drive.rs"]
mod drive;

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use differential_dataflow::{Data, VecCollection};
use drive::{Changes, Held, drive, states};
use millstream_operators::window::{
    AffectedRange, ChangedPartition, CurrentRow, Fraction, Functions, NullsLast, PartitionRows, PercentileValue,
    RangeSummary, Reverse, Window, WindowFunction, window, window_over,
};
use millstream_operators::{Moments, Sum};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Partition, order key, a number that tells rows apart, and a value.
type Row = (u8, u8, u8, Option<i8>);
type History = Changes<Row>;
type Opened<'a> = Window<'a, u64, u8, u8, Row>;

/// A first epoch of many rows, then small ones, a larger one, and one that takes everything back. Now and then all rows
/// are in one partition, which is so large that its tree has several levels.
fn histories() -> impl Strategy<Value = History> {
    let sizes = prop_oneof![5 => Just((3_u8, 70_usize)), 1 => Just((1, 260))];
    sizes.prop_flat_map(|(partitions, rows_max)| {
        let rows = move || (0..partitions, 0..10_u8, 0..9_u8, option::weighted(0.7, -3..4_i8));
        let weights = || prop_oneof![4 => Just(1_isize), 3 => Just(-1), 1 => Just(2), 1 => Just(-3)];
        let changes = move |size| vec((rows(), weights(), any::<prop::sample::Index>()), size);
        (changes(rows_max / 4..rows_max), vec(changes(0..4), 1..7), changes(0..30)).prop_map(|(first, small, last)| {
            let mut held: Held<Row> = BTreeMap::new();
            let mut change = |(row, change, pick): (Row, isize, prop::sample::Index)| {
                // What is taken away is something that is there.
                let there =
                    (change < 0 && !held.is_empty()).then(|| *held.keys().nth(pick.index(held.len())).expect("within"));
                let row = there.unwrap_or(row);
                let weight = held.entry(row).or_default();
                let change = change.max(-*weight);
                *weight += change;
                if *weight == 0 {
                    held.remove(&row);
                }
                (row, change)
            };
            let first = first.into_iter().map(|(row, weight, pick)| change((row, weight.abs(), pick))).collect();
            let mut history: History = vec![first];
            history.extend(small.into_iter().chain([last]).map(|epoch| epoch.into_iter().map(&mut change).collect()));
            history.push(held.into_iter().map(|(row, weight)| (row, -weight)).collect());
            history
        })
    })
}

/// What operators on a window by partition and order key make of a history: the updates of each epoch.
fn run<D: Data + Send>(
    history: &History,
    workers: usize,
    in_flight: u64,
    operators: impl for<'a> Fn(Opened<'a>) -> Vec<VecCollection<'a, u64, D>> + Send + Sync + 'static,
) -> Vec<Changes<D>> {
    drive(history, workers, in_flight, move |rows| operators(window(rows, "Window", |row| row.0, |row| row.1)))
}

/// Compares both drivers with the definition; and sees that *ranges* sends no update that another takes back.
fn check<A: Data + Send, F: WindowFunction<u8, Row, Answer = A>>(
    history: &History,
    function: impl Fn(Functions<u8, Row>) -> F + Send + Sync + Copy + 'static,
    definition: impl Fn(&[Row], usize) -> A,
) -> Result<(), TestCaseError> {
    let expected: Vec<_> = states(history).iter().map(|held| answers(held, &definition)).collect();
    for (workers, in_flight) in [(1, 1), (2, 3), (4, 64)] {
        let drivers = run(history, workers, in_flight, move |window| {
            vec![window.clone().select(function), window.recomputed().select(function)]
        });
        for (updates, driver) in drivers.iter().zip(["ranges", "recompute"]) {
            prop_assert_eq!(&states(updates), &expected, "{} on {} workers", driver, workers);
        }
        for epoch in &drivers[0] {
            let mut records: Vec<_> = epoch.iter().map(|(record, _)| record).collect();
            records.sort();
            prop_assert!(records.windows(2).all(|pair| pair[0] != pair[1]), "each record moves once: {:?}", epoch);
        }
    }
    Ok(())
}

/// The rows of each partition, in order.
fn partitions(held: &Held<Row>) -> BTreeMap<u8, Vec<Row>> {
    let mut partitions: BTreeMap<u8, Vec<Row>> = BTreeMap::new();
    for (row, weight) in held {
        partitions.entry(row.0).or_default().extend(std::iter::repeat_n(*row, weight.unsigned_abs()));
    }
    partitions
}

fn answers<A: Ord>(held: &Held<Row>, definition: impl Fn(&[Row], usize) -> A) -> Held<(Row, A)> {
    let mut answers = BTreeMap::new();
    for rows in partitions(held).values() {
        for (position, row) in rows.iter().enumerate() {
            *answers.entry((*row, definition(rows, position))).or_default() += 1;
        }
    }
    answers
}

/// The rows of a frame by the definition of ROWS.
fn in_rows(all: &[Row], position: usize, places: impl RangeBounds<i64>) -> Vec<Row> {
    let place = |other: usize| i64::try_from(other).expect("small") - i64::try_from(position).expect("small");
    (0..all.len()).filter(|other| places.contains(&place(*other))).map(|other| all[other]).collect()
}

/// The rows of a frame by the definition of RANGE.
fn in_range(all: &[Row], keys: impl RangeBounds<u8>) -> Vec<Row> {
    all.iter().copied().filter(|row| keys.contains(&row.1)).collect()
}

fn running(all: &[Row], position: usize) -> Vec<Row> {
    in_range(all, ..=all[position].1)
}

fn values(frame: &[Row]) -> Vec<Option<i8>> {
    frame.iter().map(|row| row.3).collect()
}

fn not_null(frame: &[Row]) -> Vec<i8> {
    frame.iter().filter_map(|row| row.3).collect()
}

fn total_of(frame: &[Row]) -> Option<i128> {
    let values = not_null(frame);
    (!values.is_empty()).then(|| values.iter().map(|value| i128::from(*value)).sum())
}

fn rank_of(all: &[Row], position: usize) -> u64 {
    1 + all.iter().filter(|row| row.1 < all[position].1).count() as u64
}

const VALUE: fn(&Row) -> Option<i8> = |row| row.3;

macro_rules! functions {
    ($($name:ident: $function:expr, $definition:expr;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(24))]
            $(
                #[test]
                fn $name(history in histories()) {
                    check(&history, $function, $definition)?;
                }
            )*
        }
    };
}

functions! {
    row_number_counts_from_one: |w| w.row_number(), |_, position| position as u64 + 1;
    rank_leaves_gaps: |w| w.rank(), rank_of;
    dense_rank_leaves_none: |w| w.dense_rank(), |all, position| {
        let mut keys: Vec<_> = all.iter().map(|row| row.1).filter(|key| *key <= all[position].1).collect();
        keys.dedup();
        keys.len() as u64
    };
    cume_dist_is_a_fraction: |w| w.cume_dist(), |all, position| Fraction {
        part: running(all, position).len() as u64,
        whole: all.len() as u64,
    };
    through_peers_is_its_numerator: |w| w.through_peers(), |all, position| running(all, position).len() as u64;
    percent_rank_of_one_row_is_zero: |w| w.percent_rank(), |all, position| Fraction {
        part: rank_of(all, position) - 1,
        whole: if all.len() == 1 { 1 } else { all.len() as u64 - 1 },
    };
    ntile_has_larger_tiles_first: |w| w.ntile(4), |all, position| tile(all.len(), 4, position);
    ntile_of_more_tiles_than_rows: |w| w.ntile(50), |all, position| tile(all.len(), 50, position);
    lag_looks_back: |w| w.lag(1, VALUE), |all, position| position.checked_sub(1).map(|before| all[before].3);
    lag_looks_further_back: |w| w.lag(5, |row: &Row| row.2).or(99), |all, position| {
        position.checked_sub(5).map_or(99, |before| all[before].2)
    };
    lead_looks_ahead: |w| w.lead(3, VALUE), |all, position| all.get(position + 3).map(|row| row.3);
    lag_of_zero_is_the_row: |w| w.lag(0, VALUE), |all, position| Some(all[position].3);
    lag_ignoring_nulls: |w| w.lag(2, VALUE).ignore_nulls(), |all, position| {
        not_null(&all[..position]).iter().rev().nth(1).copied()
    };
    lead_ignoring_nulls: |w| w.lead(2, VALUE).ignore_nulls().or(99), |all, position| {
        not_null(&all[position + 1..]).get(1).copied().unwrap_or(99)
    };
    first_value_of_the_default_frame: |w| w.first_value(VALUE), |all, _| Some(all[0].3);
    first_value_ignoring_nulls: |w| w.first_value(VALUE).ignore_nulls(), |all, position| {
        not_null(&running(all, position)).first().copied()
    };
    first_value_over_rows: |w| w.first_value(VALUE).rows(-3..=-1), |all, position| {
        values(&in_rows(all, position, -3..=-1)).first().copied()
    };
    first_value_up_to_some_rows_before: |w| w.first_value(VALUE).rows(..=-3), |all, position| {
        values(&in_rows(all, position, ..=-3)).first().copied()
    };
    first_value_ahead_ignoring_nulls: |w| w.first_value(VALUE).ignore_nulls().rows(2..), |all, position| {
        not_null(&in_rows(all, position, 2..)).first().copied()
    };
    last_value_is_the_last_peer: |w| w.last_value(VALUE), |all, position| values(&running(all, position)).last().copied();
    last_value_ignoring_nulls: |w| w.last_value(VALUE).ignore_nulls(), |all, position| {
        not_null(&running(all, position)).last().copied()
    };
    last_value_up_to_some_rows_ahead: |w| w.last_value(VALUE).ignore_nulls().rows(..=2), |all, position| {
        not_null(&in_rows(all, position, ..=2)).last().copied()
    };
    last_value_of_the_partition: |w| w.last_value(VALUE).rows(..), |all, _| values(all).last().copied();
    last_value_from_some_rows_ahead: |w| w.last_value(VALUE).ignore_nulls().rows(2..), |all, position| {
        not_null(&in_rows(all, position, 2..)).last().copied()
    };
    nth_value_of_the_default_frame: |w| w.nth_value(4, VALUE), |all, position| values(&running(all, position)).get(3).copied();
    nth_value_up_to_some_rows_ahead: |w| w.nth_value(5, VALUE).rows(..=2), |all, position| {
        values(&in_rows(all, position, ..=2)).get(4).copied()
    };
    nth_value_from_the_row_on: |w| w.nth_value(3, VALUE).ignore_nulls().rows(-1..), |all, position| {
        not_null(&in_rows(all, position, -1..)).get(2).copied()
    };
    nth_value_over_a_range: |w| w.nth_value(2, VALUE).range(|key: &u8| key.saturating_sub(1)..key + 2), |all, position| {
        let key = all[position].1;
        values(&in_range(all, key.saturating_sub(1)..key + 2)).get(1).copied()
    };
    sum_of_the_default_frame: |w| w.sum(VALUE), |all, position| Ok(total_of(&running(all, position)));
    sum_over_rows: |w| w.sum(VALUE).rows(-2..=1), |all, position| Ok(total_of(&in_rows(all, position, -2..=1)));
    sum_up_to_some_rows_before: |w| w.sum(VALUE).rows(..=-2), |all, position| {
        Ok(total_of(&in_rows(all, position, ..=-2)))
    };
    sum_up_to_some_rows_ahead: |w| w.sum(VALUE).rows(..3), |all, position| Ok(total_of(&in_rows(all, position, ..3)));
    sum_from_the_row_on: |w| w.sum(VALUE).rows(0..), |all, position| Ok(total_of(&in_rows(all, position, 0..)));
    sum_ahead: |w| w.sum(VALUE).rows(2..=4), |all, position| Ok(total_of(&in_rows(all, position, 2..=4)));
    sum_of_the_partition: |w| w.sum(VALUE).rows(..), |all, _| Ok(total_of(all));
    sum_over_a_range: |w| w.sum(VALUE).range(|key: &u8| key.saturating_sub(2)..=*key), |all, position| {
        let key = all[position].1;
        Ok(total_of(&in_range(all, key.saturating_sub(2)..=key)))
    };
    sum_over_a_range_that_excludes_the_row: |w| w.sum(VALUE).range(|key: &u8| {
        (Bound::Excluded(*key), Bound::Included(key + 2))
    }), |all, position| {
        let key = all[position].1;
        Ok(total_of(&in_range(all, key + 1..=key + 2)))
    };
    sum_from_a_key_on: |w| w.sum(VALUE).range(|key: &u8| key.saturating_sub(1)..), |all, position| {
        Ok(total_of(&in_range(all, all[position].1.saturating_sub(1)..)))
    };
    sum_up_to_a_key: |w| w.sum(VALUE).range(|key: &u8| ..key.saturating_sub(1)), |all, position| {
        Ok(total_of(&in_range(all, ..all[position].1.saturating_sub(1))))
    };
    count_over_rows: |w| w.count(|row| row.3.is_some()).rows(-4..1), |all, position| {
        not_null(&in_rows(all, position, -4..1)).len() as u64
    };
    mean_is_read_from_a_sum: |w| w.mean(VALUE).rows(-1..=1), |all, position| {
        let mut sum = Sum::default();
        for value in not_null(&in_rows(all, position, -1..=1)) {
            differential_dataflow::difference::Semigroup::plus_equals(&mut sum, &Sum::of(value));
        }
        sum
    };
    moving_moments: |w| w.total(|row: &Row| Moments::<0>::of_nullable(row.3)).rows(-3..=0), |all, position| {
        let mut sum = Moments::default();
        for value in not_null(&in_rows(all, position, -3..=0)) {
            differential_dataflow::difference::Semigroup::plus_equals(&mut sum, &Moments::of(value));
        }
        sum
    };
    min_of_the_default_frame: |w| w.min(VALUE), |all, position| values(&running(all, position)).into_iter().min();
    max_over_rows: |w| w.max(VALUE).rows(-3..=2), |all, position| {
        values(&in_rows(all, position, -3..=2)).into_iter().max()
    };
    min_ignoring_nulls: |w| w.min(VALUE).ignore_nulls().rows(..=-1), |all, position| {
        not_null(&in_rows(all, position, ..=-1)).into_iter().min()
    };
    max_over_a_range: |w| w.max(VALUE).range(|key: &u8| *key..=key + 3), |all, position| {
        let key = all[position].1;
        values(&in_range(all, key..=key + 3)).into_iter().max()
    };
    several_at_once: |w| (w.lag(1, VALUE), w.row_number(), w.sum(VALUE).rows(-1..=0), w.dense_rank()), |all, position| {
        let mut keys: Vec<_> = all[..=position].iter().map(|row| row.1).collect();
        keys.dedup();
        (
            position.checked_sub(1).map(|before| all[before].3),
            position as u64 + 1,
            Ok(total_of(&in_rows(all, position, -1..=0))),
            keys.len() as u64,
        )
    };
}

/// A user-defined function: whether a row's number is greater than that of every row before it.
struct IsRecord;

#[derive(Clone, Default, PartialEq)]
struct Maximum(Option<u8>);

impl RangeSummary for Maximum {
    fn append(&mut self, next: &Self) {
        self.0 = self.0.max(next.0);
    }
}

impl WindowFunction<u8, Row> for IsRecord {
    type Answer = bool;
    type Summary = Maximum;

    fn summary(&self, (_, row): &(u8, Row), _copies: u64) -> Maximum {
        Maximum(Some(row.2))
    }

    fn answer<'a, R: PartitionRows<'a, u8, Row, Summary = Maximum>>(
        &self,
        at: &CurrentRow<'a, '_, u8, Row, R>,
    ) -> bool {
        Some(at.row.1.2) > at.rows.summary(0..at.position).0
    }

    fn reach<'a, R: PartitionRows<'a, u8, Row, Summary = Maximum>>(
        &self,
        partition: &ChangedPartition<'a, '_, u8, Row, R>,
        affected: &mut Vec<AffectedRange<'a, u8, Row>>,
    ) {
        partition.reach_each(affected, true, |_, _, positions| positions);
    }

    fn converged<'a, R: PartitionRows<'a, u8, Row, Summary = Maximum>>(
        &self,
        old: &CurrentRow<'a, '_, u8, Row, R>,
        new: &CurrentRow<'a, '_, u8, Row, R>,
    ) -> bool {
        old.rows.summary(0..old.position) == new.rows.summary(0..new.position)
    }
}

functions! {
    a_user_defined_function_beside_others: |w| ((w.row_number(), IsRecord), w.lag(1, |row: &Row| row.2)), |all, position| {
        let before: Vec<_> = all[..position].iter().map(|row| row.2).collect();
        let is_record = before.iter().all(|number| *number < all[position].2);
        ((position as u64 + 1, is_record), before.last().copied())
    };
}

/// The tile of a row, by dealing rows out one tile after the other, the larger first.
fn tile(rows: usize, tiles: usize, position: usize) -> u64 {
    let sizes = (0..tiles).map(|tile| rows / tiles + usize::from(tile < rows % tiles));
    let dealt = sizes.enumerate().flat_map(|(tile, size)| std::iter::repeat_n(tile as u64 + 1, size));
    dealt.collect::<Vec<_>>()[position]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn per_partition_answers_are_those_of_the_last_row(history in histories()) {
        fn functions(w: Functions<u8, Row>) -> impl WindowFunction<u8, Row, Answer = PerPartition> {
            (w.median(), w.percentile(9, 10), w.first_value(VALUE), w.sum(VALUE), w.row_number())
        }
        let expected: Vec<_> = states(&history).iter().map(|held| {
            let definition = |(partition, rows): (&u8, &Vec<Row>)| {
                let all = (percentile_of(rows, 1, 2), percentile_of(rows, 9, 10), Some(rows[0].3), Ok(total_of(rows)), rows.len() as u64);
                ((*partition, all), 1)
            };
            partitions(held).iter().filter(|(_, rows)| !rows.is_empty()).map(definition).collect::<Held<_>>()
        }).collect();
        for (workers, in_flight) in [(1, 1), (2, 3), (4, 64)] {
            let drivers = run(&history, workers, in_flight, |window| {
                vec![window.clone().per_partition(functions), window.recomputed().per_partition(functions)]
            });
            prop_assert_eq!(&states(&drivers[0]), &expected, "ranges on {} workers", workers);
            prop_assert_eq!(&states(&drivers[1]), &expected, "recompute on {} workers", workers);
        }
    }

    #[test]
    fn the_first_rows_of_each_partition(history in histories(), first in 0..8_u64) {
        let of_each = |held: &Held<Row>| {
            let mut numbered = BTreeMap::new();
            for rows in partitions(held).values() {
                for (row, number) in rows.iter().zip(1..=first) {
                    *numbered.entry((*row, number)).or_default() += 1;
                }
            }
            numbered
        };
        let numbered: Vec<Held<(Row, u64)>> = states(&history).iter().map(of_each).collect();
        for (workers, in_flight) in [(1, 1), (2, 3), (4, 64)] {
            let drivers = run(&history, workers, in_flight, move |window| vec![
                window.clone().first_numbered(first),
                window.clone().recomputed().first_numbered(first),
                window.clone().first(first).map(|row| (row, 0)),
                window.recomputed().first(first).map(|row| (row, 0)),
            ]);
            let unnumbered: Vec<Held<(Row, u64)>> = numbered.iter().map(|held| {
                let mut unnumbered = BTreeMap::new();
                held.iter().for_each(|((row, _), weight)| *unnumbered.entry((*row, 0)).or_default() += weight);
                unnumbered
            }).collect();
            for (updates, expected) in drivers.iter().zip([&numbered, &numbered, &unnumbered, &unnumbered]) {
                prop_assert_eq!(&states(updates), expected);
            }
        }
    }
}

/// The order key is not a prefix of the row, so the driver has to sort what the arrangement did not.
#[test]
fn a_window_over_an_arrangement_is_the_same() {
    type Answer = (u64, Option<u8>, u64, Result<Option<i128>, millstream_operators::Overflow>);
    type Answers<'a> = VecCollection<'a, u64, (Row, Answer)>;
    fn queries(window: Window<'_, u64, u8, Reverse<u8>, Row>) -> [Answers<'_>; 2] {
        fn functions(w: Functions<Reverse<u8>, Row>) -> impl WindowFunction<Reverse<u8>, Row, Answer = Answer> {
            (w.row_number(), w.lag(1, |row| row.2), w.ntile(3), w.sum(|row| row.3).rows(-1..=1))
        }
        let first = |(row, number)| (row, (number, None, 0, Ok(None)));
        let scalar = |(partition, answer)| ((partition, 0, 0, None), answer);
        let ranges = (window.clone().select(functions), window.clone().per_partition(functions));
        let recomputed = window.clone().recomputed();
        let recompute = (recomputed.clone().select(functions), recomputed.clone().per_partition(functions));
        [
            ranges.0.concat(ranges.1.map(scalar)).concat(window.first_numbered(2).map(first)),
            recompute.0.concat(recompute.1.map(scalar)).concat(recomputed.first_numbered(2).map(first)),
        ]
    }
    proptest!(ProptestConfig::with_cases(24), |(history in histories())| {
        for (workers, in_flight) in [(1, 1), (2, 3), (4, 64)] {
            let outputs = drive(&history, workers, in_flight, |rows| {
                let arranged = rows.clone().map(|row| (row.0, row)).arrange_by_key();
                let over = queries(window_over(arranged, "Window over", |row: &Row| Reverse(row.2)));
                over.into_iter().chain(queries(window(rows, "Window", |row| row.0, |row| Reverse(row.2)))).collect()
            });
            let [expected, others @ ..] = &outputs[..] else { unreachable!("there are four") };
            for updates in others {
                prop_assert_eq!(states(updates), states(expected));
            }
        }
    });
}

type PerPartition = (
    Option<PercentileValue<u8>>,
    Option<PercentileValue<u8>>,
    Option<Option<i8>>,
    Result<Option<i128>, millstream_operators::Overflow>,
    u64,
);

fn percentile_of(rows: &[Row], part: u32, whole: u32) -> Option<PercentileValue<u8>> {
    let place = (rows.len() - 1) * part as usize;
    let (lower, rest) = (place / whole as usize, u32::try_from(place % whole as usize).expect("small"));
    let upper = if rest == 0 { lower } else { lower + 1 };
    Some(PercentileValue { lower: rows[lower].1, upper: rows[upper].1, part: rest, whole })
}

/// A retraction that comes before its row is remembered, and until then there is no row.
#[test]
fn a_row_of_negative_weight_is_no_row() {
    let row = |key: u8| (0, key, 0, None);
    let history = vec![vec![(row(1), -1), (row(2), 1)], vec![(row(1), 1)], vec![(row(1), 1)], vec![(row(1), -2)]];
    let drivers = run(&history, 1, 1, |window| {
        vec![window.clone().select(|w| w.row_number()), window.recomputed().select(|w| w.row_number())]
    });
    let alone: Held<(Row, u64)> = BTreeMap::from([((row(2), 1), 1)]);
    let both = BTreeMap::from([((row(1), 1), 1), ((row(2), 2), 1)]);
    for updates in drivers {
        assert_eq!(states(&updates), [alone.clone(), alone.clone(), both.clone(), alone.clone()]);
    }
}

#[test]
fn orders_may_be_descending_and_have_nulls_at_either_end() {
    fn sorted<O: Ord>(order: impl Fn(Option<u8>) -> O) -> Vec<Option<u8>> {
        let mut keys = vec![Some(2), None, Some(1)];
        keys.sort_by_key(|key| order(*key));
        keys
    }
    assert_eq!(sorted(|key| key), [None, Some(1), Some(2)]);
    assert_eq!(sorted(NullsLast), [Some(1), Some(2), None]);
    assert_eq!(sorted(Reverse), [Some(2), Some(1), None]);
    assert_eq!(sorted(|key| Reverse(NullsLast(key))), [None, Some(2), Some(1)]);
}
