//! Each operator against its definition, over random histories: at every epoch, on 1, 2 and 4 workers, with epochs that
//! are in flight together, and back to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use differential_dataflow::input::Input;
use differential_dataflow::{Data, VecCollection};
use millstream::operators::{
    ByKey, Position, Upsert, accumulate, complete, distinct_count, latest, lookup, present_keys, reduce_sorted,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use timely::dataflow::operators::vec::Input as TimelyInput;

/// Rows (key, value) and by how much the weight of each changes, epoch by epoch.
type History = Vec<Vec<((u8, u8), isize)>>;
/// What a collection held after an epoch: its records and their weights.
type Held<D> = BTreeMap<D, isize>;

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

/// What is held after each epoch.
fn states<D: Ord + Clone>(history: &[Vec<(D, isize)>]) -> Vec<Held<D>> {
    let mut held: Held<D> = BTreeMap::new();
    let after = |changes: &Vec<(D, isize)>| {
        changes.iter().for_each(|(row, change)| *held.entry(row.clone()).or_default() += change);
        held.retain(|_, weight| *weight != 0);
        held.clone()
    };
    history.iter().map(after).collect()
}

/// Runs an operator over a history; gives what its output held after each epoch.
fn run<D: Data + Send>(
    history: &History,
    workers: usize,
    in_flight: u64,
    operator: impl for<'a> Fn(ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, D> + Send + Sync + 'static,
) -> Vec<Held<D>> {
    let updates: Arc<Mutex<Vec<(D, u64, isize)>>> = Arc::default();
    let (output, changes) = (Arc::clone(&updates), history.clone());
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection();
            let output = Arc::clone(&output);
            let made = operator(rows.arrange_by_key());
            let kept = made.inspect(move |update| output.lock().expect("no panic").push(update.clone()));
            (input, kept.probe().0)
        });
        for (epoch, changes) in (1..).zip(&changes) {
            for (row, change) in changes.iter().skip(index).step_by(peers) {
                input.update(*row, *change);
            }
            input.advance_to(epoch);
            input.flush();
            if epoch.is_multiple_of(in_flight) {
                worker.step_while(|| probe.less_than(&epoch));
            }
        }
    });
    guards.expect("workers start").join().into_iter().for_each(|result| result.expect("no worker panics"));
    let mut by_epoch: Vec<Vec<(D, isize)>> = vec![Vec::new(); history.len()];
    for (row, epoch, diff) in updates.lock().expect("no panic").drain(..) {
        by_epoch[usize::try_from(epoch).expect("small")].push((row, diff));
    }
    states(&by_epoch)
}

/// Compares with the definition, run in four ways.
fn check<D: Data + Send>(
    history: &History,
    operator: impl for<'a> Fn(ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, D> + Send + Sync + Copy + 'static,
    definition: impl Fn(&Held<(u8, u8)>) -> Held<D>,
) -> Result<(), TestCaseError> {
    let expected: Vec<_> = states(history).iter().map(definition).collect();
    for (workers, in_flight) in [(1, 1), (1, 3), (2, 1), (4, 2)] {
        prop_assert_eq!(&run(history, workers, in_flight, operator), &expected, "{} workers", workers);
    }
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

/// Something smaller than a value that does not fall while values rise; some values have none.
fn part(value: u8) -> Option<u8> {
    (value >= 2).then_some(value / 3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

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
    fn lookup_after_complete_is_a_left_join(history in histories()) {
        fn operator<'a>(rows: ByKey<'a, u64, u8, u8>) -> VecCollection<'a, u64, (u8, u8, Option<u8>)> {
            let evens = reduce_sorted(rows.clone(), "Evens", |_, values, answers: &mut Vec<u8>| {
                answers.extend(values.descending().map(|(value, _)| *value).find(|value| value % 2 == 0));
            });
            let partners = complete(present_keys(rows.clone(), "Needed"), evens, "Partners");
            lookup(rows, partners, "Pairs", |key, value, partner| (*key, *value, *partner))
        }
        check(&history, operator, |held| {
            let partner = |key| by_key(held)[&key].iter().rev().find(|value| *value % 2 == 0).copied();
            held.iter().map(|((key, value), weight)| ((*key, *value, partner(*key)), *weight)).collect()
        })?;
    }

    /// The rows written under each key, in an order of arrival that has nothing to do with their positions.
    #[test]
    fn latest_keeps_the_last_row_written(
        epochs in vec(vec((0..5_u8, option::weighted(0.7, 0..4_u8)), 0..10), 1..6),
        workers in prop_oneof![Just(1_usize), Just(2), Just(4)],
        in_flight in 1..4_u64,
    ) {
        let mut table = BTreeMap::new();
        let mut expected: Vec<Held<(u8, u8)>> = Vec::new();
        for writes in &epochs {
            for (key, row) in writes {
                match row {
                    Some(row) => drop(table.insert(*key, *row)),
                    None => drop(table.remove(key)),
                }
            }
            expected.push(table.iter().map(|(key, row)| ((*key, *row), 1)).collect());
        }
        prop_assert_eq!(run_latest(&epochs, workers, in_flight), expected);
    }
}

fn run_latest(epochs: &[Vec<(u8, Option<u8>)>], workers: usize, in_flight: u64) -> Vec<Held<(u8, u8)>> {
    let updates: Arc<Mutex<Vec<((u8, u8), u64, isize)>>> = Arc::default();
    let (output, writes) = (Arc::clone(&updates), epochs.to_vec());
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, upserts) = scope.new_input::<Upsert<u8, u8>>();
            let output = Arc::clone(&output);
            let rows = latest(upserts, "Latest");
            let kept = rows.inspect(move |update| output.lock().expect("no panic").push(*update));
            (input, kept.probe().0)
        });
        for (epoch, writes) in (1..).zip(&writes) {
            for (position, (key, row)) in writes.iter().enumerate().rev().skip(index).step_by(peers) {
                input.send((*key, Position::after(position as u64), *row));
            }
            input.advance_to(epoch);
            if epoch.is_multiple_of(in_flight) {
                worker.step_while(|| probe.less_than(&epoch));
            }
        }
    });
    guards.expect("workers start").join().into_iter().for_each(|result| result.expect("no worker panics"));
    let mut by_epoch: Vec<Vec<((u8, u8), isize)>> = vec![Vec::new(); epochs.len()];
    for (row, epoch, diff) in updates.lock().expect("no panic").drain(..) {
        by_epoch[usize::try_from(epoch).expect("small")].push((row, diff));
    }
    states(&by_epoch)
}
