//! Tables in memory against a map, at every epoch of random histories.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use fastrand::Rng;

use crate::sinks::{CurrentEpoch, SinkPart};

use super::*;

type Row = (i64, String, i64);

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: [(&str, ArrayRef); 3] = [
        ("shop", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)))),
        ("name", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1)))),
        ("value", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).expect("a batch")
}

fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let (shops, names) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_string::<i32>());
    let values = batch.column(2).as_primitive::<Int64Type>();
    (0..batch.num_rows()).map(|row| (shops.value(row), names.value(row).to_owned(), values.value(row))).collect()
}

/// A table of a job, as the job and as a map has it.
struct Both {
    tables: MemoryTables,
    current: CurrentEpoch,
    parts: Vec<Box<dyn SinkPart>>,
    rows: BTreeMap<(i64, String), i64>,
    epoch: u64,
}

const TABLE: &str = "values";

impl Both {
    fn new() -> Both {
        let current = CurrentEpoch::default();
        let tables = MemoryTables::all().named_by(&current).with_history(1 << 20);
        let mut both = Both { tables, current, parts: Vec::new(), rows: BTreeMap::new(), epoch: 0 };
        both.open();
        both
    }

    /// Begins a job.
    fn open(&mut self) {
        let key = vec!["shop".into(), "name".into()];
        let info = TableInfo { name: TABLE.into(), key, schema: batch(&[]).schema(), order: Vec::new() };
        let job = SinkContext { run_id: "t".into(), tables: vec![info.clone()], workers: 2, process: 0, processes: 1 };
        assert_eq!(self.tables.open(&job).expect("it opens"), Opened::Ready);
        self.parts = (0..2).map(|worker| self.tables.part(&info, worker).expect("a part")).collect();
    }

    /// Commits an epoch of the job and of a log.
    fn commit(&mut self, epoch: u64) {
        self.epoch += 1;
        self.current.set(Committed { epoch: self.epoch, time_ms: 0 });
        self.tables.commit(epoch, &mut []).expect("committed");
    }

    /// Writes rows to the part of a worker.
    fn write(&mut self, worker: usize, epoch: u64, plus: &[Row], minus: &[Row]) {
        let changes = RowChanges { plus: Some(batch(plus)), minus: Some(batch(minus)), is_late: false };
        self.parts[worker].write(epoch, &changes).expect("written");
    }

    /// Changes rows at random.
    fn change(&mut self, epoch: u64, count: usize, random: &mut Rng) {
        let (mut plus, mut minus) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for _ in 0..count {
            let key = (random.i64(0..50), format!("n{}", random.u32(0..2000)));
            let (former, worker) = (self.rows.remove(&key), random.usize(..2));
            minus[worker].extend(former.map(|value| (key.0, key.1.clone(), value)));
            match random.u8(..4) {
                0 => {}
                1 => {
                    // It only moves to the other worker.
                    plus[1 - worker].extend(former.map(|value| (key.0, key.1.clone(), value)));
                    former.into_iter().for_each(|value| _ = self.rows.insert(key.clone(), value));
                }
                _ => {
                    let value = random.i64(0..9);
                    plus[worker].push((key.0, key.1.clone(), value));
                    self.rows.insert(key, value);
                }
            }
        }
        for worker in 0..2 {
            self.write(worker, epoch, &plus[worker], &minus[worker]);
        }
    }

    fn wanted(&self) -> Vec<Row> {
        self.rows.iter().map(|((shop, name), value)| (*shop, name.clone(), *value)).collect()
    }

    fn check(&self, random: &mut Rng) {
        let (snapshot, wanted) = (self.tables.snapshot(), self.wanted());
        assert_eq!(snapshot.epoch(), Some(self.epoch));
        assert_eq!(snapshot.rows(TABLE).expect("kept"), wanted.len() as u64);
        assert_eq!(rows_of(&snapshot.read(TABLE).expect("kept")), wanted, "epoch {}", self.epoch);
        let scanned = |range: &KeyRange| -> Vec<Row> {
            let scan = snapshot.scan(TABLE, range).expect("kept");
            scan.flat_map(|batch| rows_of(&batch.expect("a batch"))).collect()
        };
        let values = snapshot.scan(TABLE, &KeyRange::default()).expect("kept").with_columns(vec![2]);
        let values =
            values.flat_map(|batch| batch.expect("a batch").column(0).as_primitive::<Int64Type>().values().to_vec());
        assert_eq!(values.collect::<Vec<_>>(), wanted.iter().map(|row| row.2).collect::<Vec<_>>());
        let (from, to) = (random.i64(0..50), random.i64(0..50));
        let texts = |shop: i64| vec![shop.to_string()];
        let range = snapshot.keys_between(TABLE, Some(&texts(from)), Some(&texts(to))).expect("keys");
        let within: Vec<Row> = wanted.iter().filter(|row| (from..=to).contains(&row.0)).cloned().collect();
        assert_eq!(scanned(&range), within);
        let shop = snapshot.keys_with(TABLE, &texts(from)).expect("keys");
        assert_eq!(scanned(&shop), wanted.iter().filter(|row| row.0 == from).cloned().collect::<Vec<_>>());
        if let Some(row) = wanted.get(random.usize(..wanted.len().max(1))) {
            let key = snapshot.keys_with(TABLE, &[row.0.to_string(), row.1.clone()]).expect("keys");
            assert_eq!(scanned(&key), std::slice::from_ref(row));
            let encoded = snapshot.encoded_keys(TABLE, &batch(std::slice::from_ref(row))).expect("kept");
            let behind = scanned(&KeyRange::default().after(&encoded[0]));
            assert_eq!(behind, wanted.iter().filter(|other| *other > row).cloned().collect::<Vec<_>>());
        }
    }
}

/// Applies the kept changes after an epoch to the rows of that epoch.
fn followed(tables: &MemoryTables, mut rows: BTreeMap<Row, i64>, mut epoch: u64) -> Vec<Row> {
    while epoch < tables.snapshot().epoch().expect("an epoch") {
        let changes = tables.changes_after(TABLE, epoch).expect("kept").expect("not too old");
        for of_epoch in &changes.epochs {
            for (side, weight) in [(&of_epoch.plus, 1), (&of_epoch.minus, -1)] {
                rows_of(side).into_iter().for_each(|row| *rows.entry(row).or_default() += weight);
            }
            rows.retain(|_, weight| *weight != 0);
            assert!(rows.values().all(|weight| *weight == 1), "epoch {}", of_epoch.epoch.epoch);
        }
        epoch = changes.last.epoch;
    }
    rows.into_keys().collect()
}

#[test]
fn tables_are_right_at_every_epoch_and_snapshots_stay() {
    for (seed, first, count) in [(1, 0, 3), (2, 500, 40), (3, 60_000, 4000)] {
        let (mut random, mut both) = (Rng::with_seed(seed), Both::new());
        both.change(0, first, &mut random);
        both.commit(0);
        let mut seen = Vec::new();
        for epoch in 1..40 {
            both.check(&mut random);
            seen.push((both.tables.snapshot(), both.wanted()));
            let some = random.usize(..=count);
            both.change(epoch, some, &mut random);
            both.commit(epoch);
        }
        for (snapshot, wanted) in seen {
            assert_eq!(rows_of(&snapshot.read(TABLE).expect("kept")), wanted);
        }
        // Rewound to empty.
        let all = both.wanted();
        both.write(0, 40, &[], &all);
        both.rows.clear();
        both.commit(40);
        both.check(&mut random);
    }
}

#[test]
fn who_follows_has_the_table_also_when_another_job_takes_its_place() {
    let (mut random, mut both) = (Rng::with_seed(4), Both::new());
    both.change(0, 300, &mut random);
    both.commit(0);
    let (first, begun): (_, BTreeMap<Row, i64>) = (both.epoch, both.wanted().into_iter().map(|row| (row, 1)).collect());
    for epoch in 1..20 {
        both.change(epoch, 30, &mut random);
        both.commit(epoch);
        assert_eq!(followed(&both.tables, begun.clone(), first), both.wanted());
    }
    // The next job has other rows from the start. Until it has them, readers see those of the former one.
    both.open();
    let before = both.wanted();
    both.rows.values_mut().for_each(|value| *value %= 5);
    let (all, half) = (both.wanted(), both.rows.len() / 2);
    both.write(0, 0, &all[..half], &[]);
    both.write(1, 0, &all[half..], &[]);
    assert_eq!(rows_of(&both.tables.snapshot().read(TABLE).expect("kept")), before);
    both.commit(0);
    assert_eq!(followed(&both.tables, begun.clone(), first), both.wanted());
    // An epoch of the job that is none of the log changes nothing.
    both.tables.commit(1, &mut []).expect("committed");
    both.change(2, 30, &mut random);
    both.commit(2);
    assert_eq!(followed(&both.tables, begun, first), both.wanted());
    both.check(&mut random);
}

#[test]
fn what_is_too_old_is_not_known_and_what_is_to_come_neither() {
    let (mut random, mut both) = (Rng::with_seed(6), Both::new());
    both.tables = both.tables.clone().with_history(20_000);
    both.open();
    both.commit(0);
    for epoch in 1..30 {
        both.change(epoch, 200, &mut random);
        both.commit(epoch);
    }
    let (first, last) = both.tables.kept_changes();
    assert!(first > 2 && last == both.epoch, "{first} {last}");
    assert!(both.tables.changes_after(TABLE, first - 2).expect("kept").is_none());
    assert!(both.tables.changes_after(TABLE, last + 1).expect("kept").is_none());
    assert!(both.tables.changes_after(TABLE, first - 1).expect("kept").is_some());
    assert!(both.tables.changes_after("others", last).is_err());
}

/// A table that is empty in one job and in the next has no changes between them.
#[test]
fn an_empty_table_stays_empty_when_the_job_begins_anew() {
    let mut both = Both::new();
    both.commit(0);
    both.open();
    both.commit(0);
    both.check(&mut Rng::with_seed(1));
    assert!(both.tables.changes_after(TABLE, 1).expect("kept").is_some_and(|changes| changes.epochs.is_empty()));
}

/// Rows of one key are told apart, also if equal ones are inserted and deleted at the same time.
#[test]
fn several_rows_may_have_one_key() {
    let (mut both, mut random) = (Both::new(), Rng::with_seed(4));
    both.commit(0);
    let mut rows = BTreeMap::<Row, i64>::new();
    for epoch in 1..2000 {
        // An epoch deletes only what there was before it.
        let mut before = rows.clone();
        let (mut plus, mut minus) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for _ in 0..random.usize(1..6) {
            let row = (random.i64(0..3), "n".to_owned(), random.i64(0..3));
            let (count, worker) = (rows.entry(row.clone()).or_default(), random.usize(..2));
            let there = before.entry(row.clone()).or_default();
            match random.u8(..4) {
                0 | 1 if *there > 0 => {
                    (*count, *there) = (*count - 1, *there - 1);
                    minus[worker].push(row);
                }
                2 if *there > 0 => {
                    *there -= 1;
                    plus[worker].push(row.clone());
                    minus[1 - worker].push(row);
                }
                _ => {
                    *count += 1;
                    plus[worker].push(row);
                }
            }
        }
        for worker in 0..2 {
            both.write(worker, epoch, &plus[worker], &minus[worker]);
        }
        both.commit(epoch);
        let each =
            rows.iter().flat_map(|(row, count)| std::iter::repeat_n(row, usize::try_from(*count).expect("rows")));
        let wanted: Vec<Row> = each.cloned().collect();
        let scan = both.tables.snapshot().scan(TABLE, &KeyRange::default()).expect("kept");
        let mut found: Vec<_> = scan.flat_map(|batch| rows_of(&batch.expect("a batch"))).collect();
        found.sort();
        assert_eq!(found, wanted, "epoch {epoch}");
    }
}
