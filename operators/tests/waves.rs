//! A load in waves against its definition, with rows in memory and in files: on 1, 2 and 4 workers.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc;

use differential_dataflow::input::InputSession;
use millstream_operators::{
    JoinHooks, Position, SharedReduce, SortedBatch, Spill, WaveGate, Waves, arrange_in_waves, latest_joined_with,
};
use proptest::collection::vec;
use proptest::prelude::*;
use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::vec::Input;
use timely::dataflow::operators::{Inspect, Probe};

/// A row: its key and value. Keys are sparse, and one has many values.
type Row = (u32, u32);

/// The time after the last wave.
const AFTER: u64 = 1 << 40;

/// What one load gave.
#[derive(Default)]
struct Loaded {
    /// The rows of each batch, by worker and time.
    batches: BTreeMap<(usize, u64), Vec<(Row, isize)>>,
    /// For each key its least value and the sum of its values, with time and diff.
    keys: Vec<((u32, u32, isize), u64, isize)>,
    /// For each value modulo 4 how many keys have it, and for each modulo 5.
    groups: [Vec<(u32, u64, isize)>; 2],
    /// The bytes that were spilled.
    spilled: usize,
}

/// How a load is split: the bytes of a wave, and those that may wait on each worker.
#[derive(Clone, Copy, Debug)]
struct Split {
    wave: usize,
    waiting: Option<usize>,
    is_scarce: bool,
}

fn spill(split: Split, folder: &Path, told: mpsc::Sender<usize>) -> Option<Spill> {
    let tell =
        move |block: std::io::Result<usize>| told.send(block.expect("the disk works")).expect("somebody listens");
    Some(Spill::new(folder, split.waiting?, tell).with_less_while(move || split.is_scarce))
}

fn load(rows: &[(Row, isize)], workers: usize, split: Split) -> Loaded {
    let (rows, folder) = (rows.to_vec(), tempfile::tempdir().expect("a folder"));
    let (told, spilled) = mpsc::channel();
    let path = folder.path().to_owned();
    let done = timely::execute(timely::Config::process(workers), move |worker| {
        let (gate, probe) = (WaveGate::new(), ProbeHandle::new());
        let (done, loaded) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Loaded::default())));
        let (index, spill) = (worker.index(), spill(split, &path, told.clone()));
        let mut input = InputSession::<u64, Row, isize>::new();
        worker.dataflow(|scope| {
            let waves = Waves { time: |wave| wave as u64, after: AFTER, bytes: split.wave, spill, gate: gate.clone() };
            let arranged = arrange_in_waves(input.to_collection(scope), "Rows", waves);
            let (into, done) = (Rc::clone(&loaded), Rc::clone(&done));
            arranged.stream.clone().inspect(move |span| {
                let batch = span.inner.as_ref().expect("only batches with rows are sent");
                let time = *batch.times().next().expect("rows");
                assert!(time <= done.get() + 1, "wave {time} while {} is not done", done.get());
                assert!(batch.times().all(|other| *other == time));
                let rows = batch.rows().map(|(key, value, _, diff)| ((*key, *value), *diff)).collect();
                assert!(into.borrow_mut().batches.insert((index, time), rows).is_none(), "two batches at {time}");
            });
            let reductions = SharedReduce::in_waves(arranged, "Reductions", AFTER);
            let keys = reductions.reduce_summed(
                |_, value| *value as isize,
                |key, values, sum, rows| {
                    rows.extend(values.ascending().next().map(|(least, _)| (*key, *least, *sum)));
                },
            );
            let in_order =
                reductions.accumulate_distinct(1_isize, |_, value| Some(value / 4), |_, part| part % 4, |_, _| None);
            let unsorted =
                reductions.accumulate_distinct_unsorted(1, |_, value| Some(value % 5), |_, part| *part, |_, _| None);
            reductions.build();
            let into = Rc::clone(&loaded);
            keys.inner.inspect(move |update| into.borrow_mut().keys.push(*update)).probe_with(&probe);
            for (nth, groups) in [in_order, unsorted].into_iter().enumerate() {
                let into = Rc::clone(&loaded);
                groups.inner.inspect(move |update| into.borrow_mut().groups[nth].push(*update)).probe_with(&probe);
            }
        });
        rows.iter().skip(index).step_by(workers).for_each(|(row, diff)| input.update(*row, *diff));
        drop(input);
        while worker.step() || !probe.done() {
            probe.with_frontier(|frontier| done.set(frontier.first().copied().unwrap_or(AFTER)));
            gate.advance_to(done.get());
        }
        loaded.take()
    });
    let mut all = Loaded::default();
    for loaded in done.expect("workers start").join() {
        let Loaded { batches, keys, groups, .. } = loaded.expect("no worker panics");
        all.batches.extend(batches);
        all.keys.extend(keys);
        all.groups.iter_mut().zip(groups).for_each(|(all, some)| all.extend(some));
    }
    Loaded { spilled: spilled.try_iter().sum(), ..all }
}

/// Checks all that a load gave against its definition.
fn check(rows: &[(Row, isize)], loaded: &Loaded) {
    let mut weights: BTreeMap<Row, isize> = BTreeMap::new();
    rows.iter().for_each(|(row, diff)| *weights.entry(*row).or_default() += diff);
    let mut of_key: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for ((key, value), weight) in weights.into_iter().filter(|(_, weight)| *weight != 0) {
        of_key.entry(key).or_default().extend((0..weight).map(|_| value));
    }

    // Each row is in one batch, with all of its key, and on each worker keys ascend from wave to wave.
    let (mut found, mut wave_of, mut last) = (BTreeMap::new(), BTreeMap::new(), None);
    for ((worker, time), batch) in &loaded.batches {
        let first_key = batch[0].0.0;
        if let Some((former, key)) = last.replace((*worker, batch.last().expect("rows").0.0)) {
            assert!(former != *worker || key < first_key, "wave {time} begins with {first_key}, after {key}");
        }
        for ((key, value), weight) in batch {
            assert_eq!(*wave_of.entry(*key).or_insert(*time), *time, "key {key} is in two waves");
            let values: &mut Vec<u32> = found.entry(*key).or_default();
            values.extend((0..*weight).map(|_| value));
        }
    }
    assert_eq!(found, of_key);

    // Nothing is sent that is retracted, and each record at the time of its key.
    let expected: BTreeSet<_> =
        of_key.iter().map(|(key, values)| (*key, values[0], values.iter().sum::<u32>() as isize)).collect();
    assert_eq!(loaded.keys.len(), expected.len());
    assert_eq!(loaded.keys.iter().map(|(record, ..)| *record).collect::<BTreeSet<_>>(), expected);
    for ((key, ..), time, diff) in &loaded.keys {
        assert_eq!((*time, *diff), (wave_of[key], 1));
    }

    // Sums are sent once by each worker, after the last wave.
    let workers = loaded.batches.keys().map(|(worker, _)| worker).collect::<BTreeSet<_>>().len();
    let parts_of = |part: fn(u32) -> u32, group: fn(u32) -> u32| {
        let mut groups: BTreeMap<u32, isize> = BTreeMap::new();
        for values in of_key.values() {
            let parts: BTreeSet<u32> = values.iter().map(|value| part(*value)).collect();
            parts.into_iter().for_each(|part| *groups.entry(group(part)).or_default() += 1);
        }
        groups
    };
    let expected = [parts_of(|value| value / 4, |part| part % 4), parts_of(|value| value % 5, |part| part)];
    for (updates, expected) in loaded.groups.iter().zip(expected) {
        let (mut found, mut sent): (BTreeMap<u32, isize>, BTreeMap<u32, usize>) = Default::default();
        for (group, time, diff) in updates {
            assert_eq!(*time, AFTER);
            *found.entry(*group).or_default() += diff;
            *sent.entry(*group).or_default() += 1;
        }
        assert!(sent.values().all(|updates| *updates <= workers), "{sent:?} by {workers} workers");
        assert_eq!(found, expected);
    }
}

fn splits() -> impl Strategy<Value = Split> {
    let waiting = prop_oneof![Just(None), Just(Some(0)), Just(Some(300)), Just(Some(1 << 20))];
    let wave = prop_oneof![Just(1_usize), Just(500), Just(1 << 20)];
    (wave, waiting, any::<bool>()).prop_map(|(wave, waiting, is_scarce)| Split { wave, waiting, is_scarce })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn waves_give_what_one_epoch_would(
        rows in vec((prop_oneof![Just(7_u32), 0..2_000_u32], 0..60_u32), 0..400),
        taken_back in vec(any::<bool>(), 400),
        workers in prop_oneof![Just(1_usize), Just(2), Just(4)],
        split in splits(),
    ) {
        // Of some keys nothing is left, and of others a part.
        let is_taken_back = |(row, taken_back): &(&Row, bool)| *taken_back || row.0 % 3 == 0;
        let retracted = rows.iter().zip(taken_back).filter(is_taken_back).map(|(row, _)| (*row, -1));
        let rows: Vec<_> = rows.iter().map(|row| (*row, 1)).chain(retracted).collect();
        check(&rows, &load(&rows, workers, split));
    }
}

/// So many rows that ranges are chosen before the last one has arrived.
#[test]
fn many_rows_are_spilled_and_read_back() {
    let mut dice = fastrand::Rng::with_seed(7);
    let rows: Vec<(Row, isize)> = (0..120_000).map(|_| ((dice.u32(0..30_000), dice.u32(0..1_000)), 1)).collect();
    for workers in [1, 2] {
        let loaded = load(&rows, workers, Split { wave: 200_000, waiting: Some(100_000), is_scarce: false });
        assert!(loaded.spilled > 700_000, "{} bytes", loaded.spilled);
        assert!(loaded.batches.len() > 10, "{} waves", loaded.batches.len());
        check(&rows, &loaded);
        let in_memory = load(&rows, workers, Split { wave: usize::MAX, waiting: None, is_scarce: true });
        assert_eq!((in_memory.batches.len(), in_memory.spilled), (workers, 0));
    }
}

/// Rows of which all fit are spilled if memory is scarce, and only then.
#[test]
fn rows_have_less_memory_while_it_is_scarce() {
    let rows: Vec<(Row, isize)> =
        (0..100_000_u32).map(|nth| ((nth.wrapping_mul(2_654_435_761) >> 8, nth), 1)).collect();
    for is_scarce in [false, true] {
        let loaded = load(&rows, 1, Split { wave: 200_000, waiting: Some(4_000_000), is_scarce });
        assert_eq!(loaded.spilled > 0, is_scarce);
        check(&rows, &loaded);
    }
}

/// The first rows are no sample of the others: waves are as large as they must be, and right.
#[test]
fn rows_in_the_order_of_keys_are_right() {
    let rows: Vec<(Row, isize)> = (0..80_000_u32).map(|nth| ((nth / 4, nth % 7), 1)).collect();
    check(&rows, &load(&rows, 2, Split { wave: 10_000, waiting: Some(50_000), is_scarce: false }));
}

/// The last write of each key, of those that waited in memory and in files.
#[test]
fn the_last_write_wins_wherever_it_waited() {
    let mut dice = fastrand::Rng::with_seed(3);
    let writes: Vec<(u32, u64, Option<u32>)> =
        (0..60_000_u64).map(|nth| (dice.u32(0..20_000), nth, (dice.u32(0..10) > 0).then(|| dice.u32(0..50)))).collect();
    let mut expected: BTreeMap<u32, Option<u32>> = BTreeMap::new();
    expected.extend(writes.iter().map(|(key, _, row)| (*key, *row)));
    expected.retain(|_, row| row.is_some());
    let (told, spilled) = mpsc::channel();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    let found = timely::execute(timely::Config::process(2), move |worker| {
        let (found, index) = (Rc::new(RefCell::new(Vec::new())), worker.index());
        let into = Rc::clone(&found);
        let spill = spill(Split { wave: 0, waiting: Some(50_000), is_scarce: false }, &path, told.clone());
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, writes) = scope.new_input();
            let (_, prices) = differential_dataflow::input::Input::new_collection_from(
                &scope,
                (0..25_u32).map(|price| (price, (price * 10, ()))).take(if index == 0 { 25 } else { 0 }),
            );
            let hooks = JoinHooks { inspect: |_: &u32, _: &u32, _: &u32| (), touch: |_: &u32, _: &u32| (), spill };
            let joined = |key: &u32, row: &u32, price: Option<&u32>| (*key, *row, price.copied());
            let rows = latest_joined_with(writes, prices, "Rows", |_, row| Some(*row), joined, hooks).0;
            rows.inner.inspect(move |(row, _, diff)| into.borrow_mut().push((*row, *diff)));
            input
        });
        for (key, nth, row) in writes.iter().skip(index).step_by(2) {
            input.send((*key, Position::after(*nth), *row));
        }
        drop(input);
        while worker.has_dataflows() {
            worker.step();
        }
        found.take()
    });
    let found: Vec<_> =
        found.expect("workers start").join().into_iter().flat_map(|rows| rows.expect("no panic")).collect();
    assert!(spilled.try_iter().sum::<usize>() > 500_000);
    assert_eq!(found.len(), expected.len());
    for ((key, row, price), diff) in found {
        assert_eq!((expected[&key], diff), (Some(row), 1));
        assert_eq!(price, (row < 25).then_some(row * 10));
    }
}
