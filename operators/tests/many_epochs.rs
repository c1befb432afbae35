//! A batch that spans many epochs, as when a job catches up: its cost is counted in calls, never in time.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

use differential_dataflow::VecCollection;
use differential_dataflow::input::Input;
use fastrand::Rng;
use millstream_operators::{
    ByKey, accumulate_distinct_unsorted, distinct_count, inner_join, reduce_sorted, reduce_summed,
};
use timely::dataflow::operators::Inspect;

/// One update of the one key in each.
const EPOCHS: u64 = 2_000;

/// A number that counts how often two of it are compared.
#[derive(Clone, Copy, Debug, Eq, serde::Serialize, serde::Deserialize)]
struct Counted(u64);

thread_local! {
    static COMPARED: Cell<u64> = const { Cell::new(0) };
}

impl Ord for Counted {
    fn cmp(&self, other: &Self) -> Ordering {
        COMPARED.set(COMPARED.get() + 1);
        self.0.cmp(&other.0)
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl PartialOrd for Counted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What an operator sends for a history of one key: a number in each epoch, and its diff. All epochs are one batch.
fn catch_up<D: differential_dataflow::Data + Send>(
    history: impl Fn(u64) -> (u64, isize) + Send + Sync + 'static,
    operator: impl for<'a> Fn(ByKey<'a, u64, u8, Counted>) -> VecCollection<'a, u64, D> + Send + Sync + 'static,
) -> Vec<(D, u64, isize)> {
    timely::execute_directly(move |worker| {
        let sent = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&sent);
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection::<(u8, Counted), isize>();
            operator(rows.arrange_by_key()).inspect(move |update| kept.borrow_mut().push(update.clone()));
            input
        });
        for epoch in 0..EPOCHS {
            let (number, diff) = history(epoch);
            input.advance_to(epoch);
            input.update((7, Counted(number)), diff);
        }
        input.close();
        while worker.step() {}
        sent.take()
    })
}

thread_local! {
    static CALLED: Cell<u64> = const { Cell::new(0) };
}

fn call() {
    CALLED.set(CALLED.get() + 1);
}

/// `execute_directly` runs its worker in this thread, so that the counts can be read here.
fn counts() -> (u64, u64) {
    (CALLED.take(), COMPARED.take())
}

#[test]
fn a_term_is_computed_once_for_each_update() {
    let sent = catch_up(
        |epoch| (epoch, 1),
        |rows| {
            reduce_summed(
                rows,
                "Sums",
                |_, _| {
                    call();
                    1_isize
                },
                |_, _, sum, sums| sums.push(*sum),
            )
        },
    );
    let (terms, _) = counts();
    assert_eq!(terms, EPOCHS);
    let last = isize::try_from(EPOCHS).expect("small");
    assert_eq!(sent.len() as u64, 2 * EPOCHS - 1);
    assert!(sent.contains(&(last, EPOCHS - 1, 1)), "the last sum is that of all");
}

/// Values rise, so that all later ones lie before the greatest as of each epoch; and then they are retracted.
#[test]
fn the_greatest_value_is_found_without_passing_later_ones() {
    let half = EPOCHS / 2;
    let sent = catch_up(
        move |epoch| if epoch < half { (epoch, 1) } else { (epoch - half, -1) },
        |rows| {
            reduce_sorted(rows, "Greatest", |_, values, greatest| {
                greatest.extend(values.descending().map(|(value, _)| value.0).next());
            })
        },
    );
    let (_, compared) = counts();
    let most = 100 * EPOCHS;
    assert!(compared < most, "found {compared} comparisons, wanted fewer than {most}");
    let expected = (0..half).flat_map(|epoch| {
        let before = epoch.checked_sub(1).map(|before| ((7, before), epoch, -1));
        before.into_iter().chain([((7, epoch), epoch, 1)])
    });
    let mut expected: Vec<_> = expected.chain([((7, half - 1), EPOCHS - 1, -1)]).collect();
    expected.sort();
    let mut sent = sent;
    sent.sort();
    assert_eq!(sent, expected);
}

/// Ten values a part; in the second half, they are retracted.
#[test]
fn a_part_is_looked_at_only_when_it_has_an_update() {
    let half = EPOCHS / 2;
    let sent = catch_up(
        move |epoch| if epoch < half { (epoch, 1) } else { (epoch - half, -1) },
        |rows| {
            let part = |_: &u8, value: &Counted| {
                call();
                Some(value.0 / 10)
            };
            distinct_count(rows, "Parts", part, |_, part| *part)
        },
    );
    let (parts, _) = counts();
    let most = 100 * EPOCHS;
    assert!(parts < most, "found {parts} calls, wanted fewer than {most}");
    let expected = (0..half / 10).flat_map(|part| [(part, 10 * part, 1), (part, half + 10 * part + 9, -1)]);
    let mut sent = sent;
    sent.sort();
    assert_eq!(sent, expected.collect::<Vec<_>>());
}

/// A key with ten thousand rows in a hundred parts, which lose a row in each epoch until none is left.
#[test]
fn the_rows_of_a_large_key_are_counted_once() {
    const ROWS: u64 = 10_000;
    let sent = timely::execute_directly(|worker| {
        let sent = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&sent);
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection::<(u8, u64), isize>();
            let part = |_: &u8, value: &u64| {
                call();
                Some(value % 100)
            };
            let rows = rows.arrange_by_key();
            accumulate_distinct_unsorted(rows, "Parts", 1_isize, part, |_, part| *part, |_, _| None)
                .inspect(move |update| kept.borrow_mut().push(*update));
            input
        });
        for epoch in 0..=ROWS {
            match epoch {
                0 => (0..ROWS).for_each(|row| input.insert((7, row))),
                epoch => input.remove((7, epoch - 1)),
            }
            input.advance_to(epoch + 1);
            input.flush();
            (0..4).for_each(|_| _ = worker.step());
        }
        drop(input);
        while worker.step() {}
        sent.take()
    });
    let (parts, _) = counts();
    assert!(parts < 4 * ROWS, "found {parts} calls, wanted fewer than four for each row");
    let mut sent = sent;
    sent.sort();
    let expected = (0..100).flat_map(|part| [(part, 0, 1), (part, ROWS - 99 + part, -1)]);
    assert_eq!(sent, expected.collect::<Vec<_>>());
}

/// Rows that count in no part, such as orders of guests, are not read again when one of them changes. They are few enough
/// that those of a part would be.
#[test]
fn rows_without_a_part_are_not_counted() {
    const ROWS: u64 = 1_000;
    timely::execute_directly(|worker| {
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection::<(u8, u64), isize>();
            let part = |_: &u8, _: &u64| {
                call();
                None::<u8>
            };
            accumulate_distinct_unsorted(rows.arrange_by_key(), "Parts", 1_isize, part, |_, part| *part, |_, _| None);
            input
        });
        for epoch in 0..100 {
            match epoch {
                0 => (0..ROWS).for_each(|row| input.insert((7, row))),
                epoch => input.remove((7, epoch)),
            }
            input.advance_to(epoch + 1);
            input.flush();
            (0..4).for_each(|_| _ = worker.step());
        }
    });
    let (parts, _) = counts();
    assert_eq!(parts, ROWS + 99, "each update is asked for its part");
}

/// Where a row replaces another of the same part, the key's other rows are not read to count it.
#[test]
fn parts_that_keep_their_rows_are_not_counted() {
    const ROWS: u64 = 500;
    timely::execute_directly(|worker| {
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection::<(u8, (u64, u64)), isize>();
            let part = |_: &u8, (row, _): &(u64, u64)| {
                call();
                Some(row % 10)
            };
            accumulate_distinct_unsorted(rows.arrange_by_key(), "Parts", 1_isize, part, |_, part| *part, |_, _| None);
            input
        });
        for epoch in 0..100 {
            if epoch == 0 {
                (0..ROWS).for_each(|row| input.insert((7, (row, 0))));
            } else {
                input.remove((7, (epoch, 0)));
                input.insert((7, (epoch, 1)));
            }
            input.advance_to(epoch + 1);
            input.flush();
            (0..4).for_each(|_| _ = worker.step());
        }
    });
    let (parts, _) = counts();
    assert_eq!(parts, ROWS + 2 * 99, "each update is asked for its part");
}

/// By how much the weight of a value changes on one side of a join, and when. All rows have the same key.
type SideUpdate = (u16, u64, isize);

/// The messages that a join sends, unconsolidated, for two sides whose epochs are all in one batch.
fn join_at_once(sides: [Vec<SideUpdate>; 2]) -> Vec<Vec<((u16, u16), u64, isize)>> {
    join_in_batches(sides, &[])
}

/// As [`join_at_once`], with a batch that ends at each of some epochs.
fn join_in_batches(sides: [Vec<SideUpdate>; 2], ends: &[u64]) -> Vec<Vec<((u16, u16), u64, isize)>> {
    let ends = ends.to_vec();
    timely::execute_directly(move |worker| {
        let sent = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&sent);
        let mut inputs = worker.dataflow::<u64, _, _>(|scope| {
            let (input0, rows0) = scope.new_collection::<(u8, u16), isize>();
            let (input1, rows1) = scope.new_collection::<(u8, u16), isize>();
            let pairs = inner_join(rows0.arrange_by_key(), rows1.arrange_by_key(), "Pairs", |_, a, b| (*a, *b));
            pairs.inner.inspect_core(move |message| kept.borrow_mut().extend(message.map(|(_, sent)| sent.clone())));
            [input0, input1]
        });
        for (input, updates) in inputs.iter_mut().zip(sides) {
            updates.into_iter().for_each(|(value, epoch, diff)| input.update_at((7, value), epoch, diff));
        }
        for end in ends {
            for input in &mut inputs {
                input.advance_to(end);
                input.flush();
            }
            (0..20).for_each(|_| _ = worker.step());
        }
        drop(inputs);
        while worker.step() {}
        sent.take()
    })
}

/// The pairs at each epoch, and so how they change: the definition.
fn joined_by_definition(sides: &[Vec<SideUpdate>; 2], epochs: u64) -> Vec<((u16, u16), u64, isize)> {
    let by_epoch = sides.each_ref().map(|updates| {
        let mut by_epoch: BTreeMap<u64, Vec<(u16, isize)>> = BTreeMap::new();
        updates.iter().for_each(|(value, epoch, diff)| by_epoch.entry(*epoch).or_default().push((*value, *diff)));
        by_epoch
    });
    let mut weights: [BTreeMap<u16, isize>; 2] = Default::default();
    let (mut pairs, mut changes) = (BTreeMap::new(), Vec::new());
    for epoch in 0..epochs {
        for (weights, updates) in weights.iter_mut().zip(&by_epoch) {
            for (value, diff) in updates.get(&epoch).into_iter().flatten() {
                *weights.entry(*value).or_default() += diff;
            }
        }
        let mut now: BTreeMap<(u16, u16), isize> = BTreeMap::new();
        for (value0, weight0) in &weights[0] {
            now.extend(weights[1].iter().map(|(value1, weight1)| ((*value0, *value1), weight0 * weight1)));
        }
        for (pair, weight) in &now {
            let change = weight - pairs.get(pair).copied().unwrap_or(0);
            changes.extend((change != 0).then_some((*pair, epoch, change)));
        }
        pairs = now;
    }
    changes.sort_unstable();
    changes
}

fn consolidated(sent: &[Vec<((u16, u16), u64, isize)>]) -> Vec<((u16, u16), u64, isize)> {
    let mut sums: BTreeMap<((u16, u16), u64), isize> = BTreeMap::new();
    for (pair, epoch, diff) in sent.iter().flatten() {
        *sums.entry((*pair, *epoch)).or_default() += diff;
    }
    let sums = sums.into_iter().filter(|(_, diff)| *diff != 0);
    sums.map(|((pair, epoch), diff)| (pair, epoch, diff)).collect()
}

/// A value that is present in every other epoch, from the first.
fn toggled(epochs: u64) -> Vec<SideUpdate> {
    (0..epochs).map(|epoch| (1, epoch, if epoch.is_multiple_of(2) { 1 } else { -1 })).collect()
}

/// A piece of a join: at most what is joined at once, after what nearly filled it.
const PIECE_MAX: usize = 1 << 11;

#[test]
fn a_join_of_values_that_toggle_is_linear_in_their_updates() {
    const EPOCHS: u64 = 10_000;
    // In each epoch of the second side at random, so that the two are present together in some epochs.
    let mut random = Rng::with_seed(1);
    let (mut other, mut is_present) = (Vec::new(), false);
    for epoch in 0..EPOCHS {
        if random.bool() {
            other.push((2, epoch, if is_present { -1 } else { 1 }));
            is_present = !is_present;
        }
    }
    let sides = [toggled(EPOCHS), other];
    let sent = join_at_once(sides.clone());
    let records: usize = sent.iter().map(Vec::len).sum();
    let most = 2 * sides.iter().map(Vec::len).sum::<usize>();
    assert!(records <= most, "sent {records} records, wanted at most {most}");
    let longest = sent.iter().map(Vec::len).max().unwrap_or(0);
    assert!(longest <= PIECE_MAX, "sent {longest} records at once");
    assert_eq!(consolidated(&sent), joined_by_definition(&sides, EPOCHS));
}

/// The other side is there before all of them, so that none of the pairs cancel.
#[test]
fn a_join_of_a_few_values_with_many_updates_is_sent_in_pieces() {
    const EPOCHS: u64 = 2_000;
    let sides = [toggled(EPOCHS), (0..12).map(|value| (value, 0, 1)).collect()];
    for sides in [sides.clone(), {
        let [a, b] = sides;
        [b, a]
    }] {
        let sent = join_at_once(sides.clone());
        let longest = sent.iter().map(Vec::len).max().unwrap_or(0);
        assert!(longest <= PIECE_MAX, "sent {longest} records at once");
        assert_eq!(consolidated(&sent), joined_by_definition(&sides, EPOCHS));
    }
}

/// Some values change often, others once; weights may be negative for a while.
#[test]
fn a_join_of_long_histories_is_their_definition() {
    const EPOCHS: u64 = 60;
    for seed in 0..40 {
        let mut random = Rng::with_seed(seed);
        let sides = [(); 2].map(|()| {
            let (values, updates) = (random.u16(1..60), random.usize(1..300));
            let update = |_| (random.u16(..values), random.u64(..EPOCHS), random.i8(-2..=2).into());
            (0..updates).map(update).collect::<Vec<SideUpdate>>()
        });
        let sent = join_at_once(sides.clone());
        assert_eq!(consolidated(&sent), joined_by_definition(&sides, EPOCHS), "seed {seed}");
    }
}

/// The first side changes before the second, in several batches, and is joined as it has been accumulated by then.
#[test]
fn a_join_with_an_accumulated_history_is_its_definition() {
    const EPOCHS: u64 = 60;
    for seed in 0..40 {
        let mut random = Rng::with_seed(seed);
        let mut side = |epochs: std::ops::Range<u64>| {
            let (values, updates) = (random.u16(1..60), random.usize(1..300));
            let update = |_| (random.u16(..values), random.u64(epochs.clone()), random.i8(-2..=2).into());
            (0..updates).map(update).collect::<Vec<SideUpdate>>()
        };
        let sides = [side(0..30), side(40..EPOCHS)];
        for sides in [sides.clone(), {
            let [a, b] = sides;
            [b, a]
        }] {
            let sent = join_in_batches(sides.clone(), &[10, 20, 30, 40, 50]);
            assert_eq!(consolidated(&sent), joined_by_definition(&sides, EPOCHS), "seed {seed}");
        }
    }
}
