//! Rows that are written, rewritten and deleted, and what they are joined to: against their definition, over random
//! histories, at every epoch, on several workers and with epochs that are in flight together.

#[path = "common/drive.rs"]
mod drive;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use differential_dataflow::AsCollection;
use drive::{Changes, Held, drive, states};
use millstream_operators::{
    JoinHooks, Position, Upsert, latest, latest_inspect, latest_joined, latest_joined_with, left_join_unique, newest,
    upserts,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use timely::dataflow::StreamVec;
use timely::dataflow::operators::vec::{Input as TimelyInput, Map};

proptest! {
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
        let epochs: Vec<Vec<_>> = epochs.iter().map(|writes| writes.iter().map(|(key, row)| (0, *key, *row)).collect()).collect();
        let sent = run_writes(&epochs, workers, in_flight, |writes| latest(writes.map(|(_, upsert)| upsert), "Latest"));
        prop_assert_eq!(sent, expected);
    }

    /// The rows with the greatest version, whenever they were written, and deletes that have one, too.
    #[test]
    fn newest_leaves_the_row_with_the_greatest_version(
        epochs in vec(vec((0..3_u8, 0..4_u8, option::weighted(0.7, 0..4_u8)), 0..10), 1..6),
        workers in prop_oneof![Just(1_usize), Just(2), Just(4)],
        in_flight in 1..4_u64,
    ) {
        let mut table = BTreeMap::new();
        let mut expected: Vec<Held<(u8, u8)>> = Vec::new();
        for writes in &epochs {
            for (version, key, row) in writes {
                if table.get(key).is_none_or(|(known, _)| known <= version) {
                    table.insert(*key, (*version, *row));
                }
            }
            expected.push(table.iter().filter_map(|(key, (_, row))| Some(((*key, (*row)?), 1))).collect());
        }
        let sent = run_writes(&epochs, workers, in_flight, |writes| latest(newest(writes, "Newest"), "Latest"));
        prop_assert_eq!(sent, expected);
    }
}

/// Of each epoch, the different rows that follow each other under one key are seen once; deletes and rows of other epochs
/// are not.
#[test]
fn different_rows_of_one_key_and_epoch_are_inspected() {
    let seen: Arc<Mutex<Vec<(u8, u8, u8)>>> = Arc::default();
    for joined in [false, true] {
        let kept = Arc::clone(&seen);
        let epochs = vec![
            vec![(0, 1, Some(5)), (0, 1, Some(5)), (0, 2, Some(6)), (0, 2, None)],
            vec![(0, 1, Some(7)), (0, 1, Some(8)), (0, 1, Some(7)), (0, 2, Some(9))],
        ];
        run_writes(&epochs, 2, 1, move |writes| {
            let (upserts, kept) = (writes.map(|(_, upsert)| upsert), Arc::clone(&kept));
            let inspect = move |key: &u8, one: &u8, other: &u8| {
                kept.lock().expect("no panic").push((*key, *one.min(other), *one.max(other)));
            };
            if !joined {
                return latest_inspect(upserts, "Latest", inspect);
            }
            let none = upserts.clone().flat_map(|_| None::<((u8, (u8, ())), u64, isize)>).as_collection();
            let hooks = JoinHooks { inspect, touch: |_: &u8, _: &u8| (), spill: None };
            latest_joined_with(upserts, none, "Joined", |_, row| Some(*row), |key, row, _| (*key, *row), hooks).0
        });
        assert_eq!(std::mem::take(&mut *seen.lock().expect("no panic")), [(1, 7, 8)]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Rows that are written and partners that change, in the same epochs and in others: a row's partner is `row / 2`.
    #[test]
    fn latest_joined_is_a_left_join_of_the_latest(
        epochs in writes(),
        workers in prop_oneof![Just(1_usize), Just(2), Just(4)],
        in_flight in 1..4_u64,
    ) {
        let (history, tables) = history(&epochs);
        let expected: Vec<Held<_>> = tables.iter().map(|(rows, partners)| {
            rows.iter().map(|(key, row)| ((*key, *row, partners.get(&(row / 2)).copied()), 1)).collect()
        }).collect();
        let sent = drive(&history, workers, in_flight, |sides| {
            let rows = upserts(sides.clone().flat_map(Side::row), "Rows");
            let partners = sides.flat_map(Side::partner);
            vec![latest_joined(rows, partners, "Joined", |_, row| Some(row / 2), |key, row, partner| {
                (*key, *row, partner.copied())
            })]
        });
        prop_assert_eq!(states(&sent[0]), expected);
    }

    /// The same histories, where the joined row has only half of the partner, and the rest is a detail.
    #[test]
    fn rows_are_touched_where_only_details_of_their_partner_change(
        epochs in writes(),
        workers in prop_oneof![Just(1_usize), Just(2), Just(4)],
        in_flight in 1..4_u64,
    ) {
        let (history, tables) = history(&epochs);
        let joined = tables.iter().map(|(rows, partners)| -> Held<_> {
            let half = |row: &u8| partners.get(&(row / 2)).map(|partner| partner / 2);
            rows.iter().map(|(key, row)| ((*key, *row, half(row)), 1)).collect()
        });
        let mut touched: Vec<Held<_>> = vec![Held::new()];
        for before_and_after in tables.windows(2) {
            let [(rows, before), (_, after)] = before_and_after else { unreachable!() };
            let mut held = touched.last().cloned().unwrap_or_default();
            for (key, row) in rows {
                let partners = before.get(&(row / 2)).zip(after.get(&(row / 2)));
                if partners.is_some_and(|(before, after)| before != after && before / 2 == after / 2) {
                    *held.entry((*key, *row, None)).or_default() += 1;
                }
            }
            touched.push(held);
        }
        let sent = drive(&history, workers, in_flight, |sides| {
            let rows = upserts(sides.clone().flat_map(Side::row), "Rows");
            let partners = sides.flat_map(Side::partner).map(|(key, partner)| (key, (partner / 2, partner)));
            let joined = |key: &u8, row: &u8, partner: Option<&u8>| (*key, *row, partner.copied());
            let touch = |key: &u8, row: &u8| (*key, *row, None);
            let of = |_: &u8, row: &u8| Some(row / 2);
            let hooks = JoinHooks { inspect: |_: &u8, _: &u8, _: &u8| (), touch, spill: None };
            let (joined, touched) = latest_joined_with(rows, partners, "Joined", of, joined, hooks);
            vec![joined, touched.as_collection()]
        });
        prop_assert_eq!(states(&sent[0]), joined.collect::<Vec<_>>());
        prop_assert_eq!(states(&sent[1]), touched);
    }

    /// The same histories, where row and partner meet by key; and no row moves but those that differ.
    #[test]
    fn left_join_unique_is_a_left_join(
        epochs in writes(),
        workers in prop_oneof![Just(1_usize), Just(2), Just(4)],
        in_flight in 1..4_u64,
    ) {
        let (history, tables) = history(&epochs);
        let expected: Vec<Held<_>> = tables.iter().map(|(rows, partners)| {
            rows.iter().map(|(key, row)| ((*key, *row, partners.get(key).copied()), 1)).collect()
        }).collect();
        let sent = drive(&history, workers, in_flight, |sides| {
            let (rows, partners) = (sides.clone().flat_map(Side::row), sides.flat_map(Side::partner));
            vec![left_join_unique(rows, partners, "Joined", |key, row, partner| (*key, *row, partner.copied()))]
        });
        prop_assert_eq!(states(&sent[0]), expected.clone());
        let mut before = Held::new();
        for (sent, now) in sent[0].iter().zip(&expected) {
            let left = before.keys().filter(|row| !now.contains_key(*row)).count();
            let came = now.keys().filter(|row| !before.contains_key(*row)).count();
            prop_assert_eq!(sent.len(), left + came);
            before.clone_from(now);
        }
    }
}

/// What an epoch writes or deletes: rows, and partners.
type Writes = (Vec<(u8, Option<u8>)>, Vec<(u8, Option<u8>)>);

fn writes() -> impl Strategy<Value = Vec<Writes>> {
    let rows = vec((0..6_u8, option::weighted(0.7, 0..8_u8)), 0..8);
    vec((rows, vec((0..4_u8, option::of(0..3_u8)), 0..3)), 1..7)
}

/// Rows and partners by key.
type Tables = (BTreeMap<u8, u8>, BTreeMap<u8, u8>);

/// The writes as changes of collections, and what is there after each epoch.
fn history(epochs: &[Writes]) -> (Changes<Side>, Vec<Tables>) {
    let (mut rows, mut partners) = (BTreeMap::new(), BTreeMap::new());
    let write = |table: &mut BTreeMap<u8, u8>, key: u8, row: Option<u8>, side: fn(u8, u8) -> Side| {
        let before = if let Some(row) = row { table.insert(key, row) } else { table.remove(&key) };
        let (before, after) = (before.map(|row| (side(key, row), -1)), row.map(|row| (side(key, row), 1)));
        before.into_iter().chain(after).collect::<Vec<_>>()
    };
    let epochs = epochs.iter().map(|(row_writes, partner_writes)| {
        let mut changes = Vec::new();
        row_writes.iter().for_each(|(key, row)| changes.extend(write(&mut rows, *key, *row, Side::Row)));
        partner_writes.iter().for_each(|(key, row)| changes.extend(write(&mut partners, *key, *row, Side::Partner)));
        (changes, (rows.clone(), partners.clone()))
    });
    epochs.unzip()
}

/// A record of either side of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
enum Side {
    Row(u8, u8),
    Partner(u8, u8),
}

impl Side {
    fn row(self) -> Option<(u8, u8)> {
        if let Side::Row(key, row) = self { Some((key, row)) } else { None }
    }

    fn partner(self) -> Option<(u8, u8)> {
        if let Side::Partner(key, row) = self { Some((key, row)) } else { None }
    }
}

/// More rows than are handed on at a time, then a partner of most of them that changes, and rows that are written again.
#[test]
fn many_rows_meet_their_partners() {
    const ROWS: u32 = 150_000;
    let partner = |row: u32| if row.is_multiple_of(2) { 1 } else { row / 10 };
    let rows = (0..ROWS).map(|row| (Many::Row(row, row), 1));
    let partners = (0..ROWS / 20).map(|partner| (Many::Partner(partner, 5), 1));
    let changed = [(Many::Partner(1, 5), -1), (Many::Partner(1, 6), 1)];
    let rewritten = (0..ROWS)
        .filter(|row| row.is_multiple_of(7))
        .flat_map(|row| [(Many::Row(row, row), -1), (Many::Row(row, row + 1), 1)]);
    let history =
        vec![rows.chain(partners).collect(), changed.to_vec(), rewritten.collect(), vec![(Many::Partner(1, 6), -1)]];
    let run = |in_flight| {
        drive(&history, 2, in_flight, move |sides| {
            let row = |side| if let Many::Row(key, row) = side { Some((key, row)) } else { None };
            let of = |side| if let Many::Partner(key, row) = side { Some((key, row)) } else { None };
            let rows = upserts(sides.clone().flat_map(row), "Rows");
            let joined = latest_joined(
                rows,
                sides.flat_map(of),
                "Joined",
                move |_, row| Some(partner(*row)),
                |key, row, partner| (*key, *row, partner.copied()),
            );
            vec![joined]
        })
    };
    let joined = |held: &Held<Many>| -> Held<(u32, u32, Option<u32>)> {
        let partners: BTreeMap<u32, u32> = held
            .keys()
            .filter_map(|side| if let Many::Partner(key, row) = side { Some((*key, *row)) } else { None })
            .collect();
        let rows =
            held.keys().filter_map(|side| if let Many::Row(key, row) = side { Some((*key, *row)) } else { None });
        rows.map(|(key, row)| ((key, row, partners.get(&partner(row)).copied()), 1)).collect()
    };
    let expected: Vec<_> = states(&history).iter().map(joined).collect();
    let sent = run(1);
    assert_eq!(states(&sent[0]), expected);
    assert_eq!(states(&run(4)[0]), expected, "with all epochs in flight together");
    // Every row once, and then those of the partner that changed, out and in.
    let of_changed = (0..ROWS).filter(|row| partner(*row) == 1).count();
    assert_eq!([sent[0][0].len(), sent[0][1].len()], [ROWS as usize, 2 * of_changed]);
}

/// As `Side`, of larger numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
enum Many {
    Row(u32, u32),
    Partner(u32, u32),
}

/// A version, a key, and a row or a delete.
type Write = (u8, u8, Option<u8>);

/// What an operator holds after each epoch of writes, which arrive in an order that has nothing to do with their positions.
fn run_writes(
    epochs: &[Vec<Write>],
    workers: usize,
    in_flight: u64,
    operator: impl for<'a> Fn(StreamVec<'a, u64, (u8, Upsert<u8, u8>)>) -> Collection<'a, (u8, u8)> + Send + Sync + 'static,
) -> Vec<Held<(u8, u8)>> {
    let updates: Arc<Mutex<Vec<((u8, u8), u64, isize)>>> = Arc::default();
    let (output, writes) = (Arc::clone(&updates), epochs.to_vec());
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, upserts) = scope.new_input::<(u8, Upsert<u8, u8>)>();
            let output = Arc::clone(&output);
            let rows = operator(upserts);
            let kept = rows.inspect(move |update| output.lock().expect("no panic").push(*update));
            (input, kept.probe().0)
        });
        for (epoch, writes) in (1..).zip(&writes) {
            for (position, (version, key, row)) in writes.iter().enumerate().rev().skip(index).step_by(peers) {
                input.send((*version, (*key, Position::after(position as u64), *row)));
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

/// What an operator holds after each epoch, of a history of key and row on one worker.
fn alone<D: differential_dataflow::Data + Send>(
    history: &Changes<Side>,
    operator: impl for<'a> Fn(Sides<'a>, Sides<'a>) -> Collection<'a, D> + Send + Sync + 'static,
) -> Vec<Held<D>> {
    use differential_dataflow::input::Input;
    let (sent, history) = (Arc::new(Mutex::new(Vec::new())), history.clone());
    let (kept, epochs) = (Arc::clone(&sent), history.len());
    timely::execute_directly(move |worker| {
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, sides) = scope.new_collection::<Side, isize>();
            let (rows, partners) = (sides.clone().flat_map(Side::row), sides.flat_map(Side::partner));
            operator(rows, partners).inspect(move |update| kept.lock().expect("no panic").push(update.clone()));
            input
        });
        for (epoch, changes) in (1..).zip(history) {
            changes.into_iter().for_each(|(side, diff)| input.update(side, diff));
            input.advance_to(epoch);
            input.flush();
            for _ in 0..10 {
                worker.step();
            }
        }
    });
    let mut by_epoch = vec![Vec::new(); epochs];
    for (row, epoch, diff) in sent.lock().expect("no panic").drain(..) {
        by_epoch[usize::try_from(epoch).expect("small")].push((row, diff));
    }
    states(&by_epoch)
}

type Collection<'a, D> = differential_dataflow::VecCollection<'a, u64, D>;
type Sides<'a> = Collection<'a, (u8, u8)>;
type Joined = (u8, u8, Option<u8>);

fn joined_by_key<'a>(rows: Sides<'a>, partners: Sides<'a>) -> Collection<'a, Joined> {
    left_join_unique(rows, partners, "Names", |key, row, partner| (*key, *row, partner.copied()))
}

fn joined_by_row<'a>(rows: Sides<'a>, partners: Sides<'a>) -> Collection<'a, Joined> {
    let rows = upserts(rows, "Rows");
    latest_joined(rows, partners, "Prices", |_, row| Some(*row), |key, row, partner| (*key, *row, partner.copied()))
}

/// Row 7 under key 7, whose partner is 7 either way.
const ROW: (Side, isize) = (Side::Row(7, 7), 1);

/// A partner given twice and retracted once, in one epoch and over several.
fn copies() -> Changes<Side> {
    let partner = Side::Partner(7, 5);
    vec![
        vec![ROW, (partner, 1), (partner, 1), (partner, -1)],
        vec![(partner, 1)],
        vec![(partner, -1)],
        vec![(partner, 2), (partner, -1)],
        vec![(partner, -2)],
    ]
}

#[test]
fn a_partner_given_twice_and_retracted_once_is_still_there() {
    let held = |partner: Option<u8>| Held::from([((7, 7, partner), 1)]);
    let expected = vec![held(Some(5)), held(Some(5)), held(Some(5)), held(Some(5)), held(None)];
    assert_eq!(alone(&copies(), joined_by_key), expected);
    assert_eq!(alone(&copies(), joined_by_row), expected);
}

#[test]
#[should_panic(
    expected = "left_join_unique \"Names\": partners: found 5 with weight 1 and 6 with weight 1 under key 7"
)]
fn a_second_partner_under_a_key_is_reported() {
    alone(&vec![vec![ROW, (Side::Partner(7, 5), 1)], vec![(Side::Partner(7, 6), 1)]], joined_by_key);
}

#[test]
#[should_panic(expected = "left_join_unique \"Names\": rows: found 7 with weight 1 and 8 with weight 1 under key 7")]
fn a_second_row_under_a_key_is_reported() {
    alone(&vec![vec![ROW, (Side::Row(7, 8), 1)]], joined_by_key);
}

#[test]
#[should_panic(
    expected = "latest_joined \"Prices\": partners: found (5, ()) with weight 1 and (6, ()) with weight 1 under key 7"
)]
fn a_second_partner_of_the_latest_is_reported() {
    alone(&vec![vec![ROW, (Side::Partner(7, 5), 1)], vec![(Side::Partner(7, 6), 1)]], joined_by_row);
}

#[test]
#[should_panic(expected = "upserts \"Rows\": found a row already present and 8 under key 7, wanted at most one row")]
fn a_second_row_of_upserts_is_reported() {
    alone(&vec![vec![ROW], vec![(Side::Row(7, 8), 1)]], joined_by_row);
}

#[test]
#[should_panic(expected = "upserts \"Rows\": found Some(7) and 8 under key 7, wanted at most one row")]
fn two_rows_of_upserts_in_one_epoch_are_reported() {
    alone(&vec![vec![ROW, (Side::Row(7, 8), 1)]], joined_by_row);
}

/// Of two upserts that share key, epoch and position, the greater row wins, however they arrive.
#[test]
fn equal_positions_are_decided_by_the_row() {
    for writes in [[Some(3), Some(5), None], [None, Some(5), Some(3)], [Some(5), None, Some(3)]] {
        let updates = timely::execute_directly(move |worker| {
            let (mut input, captured) = worker.dataflow::<u64, _, _>(|scope| {
                use timely::dataflow::operators::capture::Capture;
                let (input, upserts) = scope.new_input::<Upsert<u8, u8>>();
                (input, latest(upserts, "Latest").inner.capture())
            });
            input.send((1, Position::after(4), Some(9)));
            input.advance_to(1);
            writes.into_iter().for_each(|row| input.send((1, Position::after(4), row)));
            captured
        });
        use timely::dataflow::operators::capture::Extract;
        let mut updates: Vec<_> = updates.extract().into_iter().flat_map(|(_, updates)| updates).collect();
        updates.sort();
        assert_eq!(updates, [((1, 5), 1, 1), ((1, 9), 0, 1), ((1, 9), 1, -1)], "written as {writes:?}");
    }
}
