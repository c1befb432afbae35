//! Operators under times that are not totally ordered, compared with their definition at every (epoch, round).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use differential_dataflow::input::Input;
use differential_dataflow::{Data, VecCollection};
use proptest::collection::vec;
use proptest::prelude::*;
use timely::order::Product;

/// Key and value.
pub(crate) type Row = (u8, u8);
pub(crate) type Time = Product<u64, u64>;
type Held<D> = BTreeMap<D, isize>;

const ROUNDS: u64 = 3;

fn round(row: &Row) -> u64 {
    u64::from(row.1) % ROUNDS
}

pub(crate) fn histories() -> impl Strategy<Value = Vec<Vec<(Row, isize)>>> {
    vec(vec(((0..3_u8, 0..9_u8), change()), 0..12), 1..5).prop_map(without_negative_weights)
}

pub(crate) fn change() -> impl Strategy<Value = isize> {
    prop_oneof![2 => Just(1_isize), 1 => Just(-1)]
}

/// Leaves out what would retract rows that are not there.
pub(crate) fn without_negative_weights(mut history: Vec<Vec<(Row, isize)>>) -> Vec<Vec<(Row, isize)>> {
    let mut held: Held<Row> = BTreeMap::new();
    for (row, change) in history.iter_mut().flatten() {
        let weight = held.entry(*row).or_default();
        *change = (*change).max(-*weight);
        *weight += *change;
    }
    history
}

pub(crate) fn check<D: Data + Send>(
    history: &[Vec<(Row, isize)>],
    operator: impl for<'a> Fn(VecCollection<'a, Time, Row>) -> VecCollection<'a, Time, D> + Send + Sync + Copy + 'static,
    definition: impl Fn(&BTreeMap<u8, Vec<u8>>) -> Vec<D>,
) -> Result<(), TestCaseError> {
    for (workers, in_flight) in [(1, 1), (1, 64), (2, 1)] {
        let updates = run(history, workers, in_flight, operator);
        for (epoch, round_max) in
            (0..history.len() as u64).flat_map(|epoch| (0..ROUNDS).map(move |round| (epoch, round)))
        {
            let mut found: Held<D> = BTreeMap::new();
            for (record, time, diff) in &updates {
                if time.outer <= epoch && time.inner <= round_max {
                    *found.entry(record.clone()).or_default() += diff;
                }
            }
            found.retain(|_, weight| *weight != 0);
            let mut rows: Held<Row> = BTreeMap::new();
            for (row, diff) in history.iter().zip(0..=epoch).flat_map(|(changes, _)| changes) {
                if round(row) <= round_max {
                    *rows.entry(*row).or_default() += diff;
                }
            }
            let mut by_key: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
            for ((key, value), weight) in rows.into_iter().filter(|(_, weight)| *weight > 0) {
                by_key.entry(key).or_default().extend(std::iter::repeat_n(value, weight.unsigned_abs()));
            }
            let mut expected: Held<D> = BTreeMap::new();
            definition(&by_key).into_iter().for_each(|record| *expected.entry(record).or_default() += 1);
            prop_assert_eq!(&found, &expected, "at epoch {} and round {}", epoch, round_max);
        }
    }
    Ok(())
}

fn run<D: Data + Send>(
    history: &[Vec<(Row, isize)>],
    workers: usize,
    in_flight: u64,
    operator: impl for<'a> Fn(VecCollection<'a, Time, Row>) -> VecCollection<'a, Time, D> + Send + Sync + 'static,
) -> Vec<(D, Time, isize)> {
    let updates: Arc<Mutex<Vec<(D, Time, isize)>>> = Arc::default();
    let (output, changes) = (Arc::clone(&updates), history.to_vec());
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection::<Row, isize>();
            let output = Arc::clone(&output);
            scope.iterative::<u64, _, _>(|rounds| {
                let made = operator(rows.enter_at(rounds, round));
                made.inspect(move |update| output.lock().expect("no panic").push(update.clone()));
            });
            input
        });
        for (epoch, changes) in (1..).zip(&changes) {
            for (row, change) in changes.iter().skip(index).step_by(peers) {
                input.update(*row, *change);
            }
            input.advance_to(epoch);
            input.flush();
            if epoch.is_multiple_of(in_flight) {
                worker.step();
            }
        }
    });
    guards.expect("workers start").join().into_iter().for_each(|result| result.expect("no worker panics"));
    std::mem::take(&mut updates.lock().expect("no panic"))
}
