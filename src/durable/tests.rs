//! Histories on a disk that loses what was not synced: the process dies at any call, and the disk is found in any state
//! in which that may leave it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use chrono_tz::Tz;
use fastrand::Rng;

use super::*;
use crate::columns::InputSchema;
use crate::error::Result;
use crate::model::InputTable;
use crate::sources::{Conversion, Source, SourceBatch};

const FOLDER: &str = "/state";
/// Few blocks, so that a short history has several segments.
const SEGMENT_BLOCKS: u32 = 12;

/// Customers that an epoch writes, with a name, or deletes.
type Rows = Vec<(i64, Option<u32>)>;
/// The epochs of a history.
type Epochs = Vec<Rows>;
/// The customers that there are.
type Table = BTreeMap<i64, u32>;

fn customers(rows: &[(i64, Option<u32>)]) -> RecordBatch {
    let names = StringArray::from_iter(rows.iter().map(|(_, name)| name.map(|name| format!("customer {name}"))));
    let operations = StringArray::from_iter(rows.iter().map(|(_, name)| name.is_none().then_some("d")));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(id, _)| *id)));
    let columns =
        [("customer_id", ids), ("name", Arc::new(names) as ArrayRef), ("_op", Arc::new(operations) as ArrayRef)];
    RecordBatch::try_from_iter(columns).expect("a batch")
}

fn schemas() -> Vec<InputSchema> {
    let ids = |name: &'static str| (name, Arc::new(Int64Array::from(vec![1])) as ArrayRef);
    let text = |name: &'static str| (name, Arc::new(StringArray::from(vec!["2024-01-01"])) as ArrayRef);
    let orders =
        [ids("order_id"), ids("customer_id"), ids("product_id"), text("order_date"), ids("quantity"), ids("discount")];
    let orders = RecordBatch::try_from_iter(orders).expect("a batch");
    let products = [ids("product_id"), ids("price"), text("category")];
    let products = RecordBatch::try_from_iter(products).expect("a batch");
    let of = |table, rows: &RecordBatch| InputSchema::of(table, &rows.schema()).expect("a schema");
    vec![
        of(InputTable::Orders, &orders),
        of(InputTable::Products, &products),
        of(InputTable::Customers, &customers(&[(1, None)])),
    ]
}

fn open(disk: &SimulatedDisk) -> Result<State> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let state = match State::open(&disk, Path::new(FOLDER))? {
        Some(state) => state,
        None => State::create(&disk, Path::new(FOLDER), schemas().iter())?,
    };
    Ok(state.with_segment_blocks(SEGMENT_BLOCKS))
}

/// Appends epochs, some of them in a group, and counts those that are durable. After some groups the log is made a
/// checkpoint.
fn append(state: &State, epochs: &Epochs, group: usize, durable: &mut usize) -> Result<()> {
    let mut log = state.log(Durability::Fsync);
    let schema = state.schema(InputTable::Customers);
    for (number, rows) in epochs.iter().enumerate() {
        let epoch = state.epoch() + number as u64 + 1;
        let half = rows.len() / 2;
        // The second half first: the number of a row tells where it stands.
        for (first, rows) in
            [(half, &rows[half..]), (0, &rows[..half])].into_iter().filter(|(_, rows)| !rows.is_empty())
        {
            log.rows(schema, &SourceBatch::new(schema, 0, &Arc::from("a file"), first as u64, &customers(rows))?)?;
        }
        let offsets = [("folder".to_owned(), serde_json::json!({ "files": { format!("{epoch}.csv"): rows.len() } }))];
        log.commit(&Commit {
            epoch,
            time_ms: 1_000 * epoch,
            offsets: offsets.into_iter().collect(),
            ..Commit::default()
        })?;
        if (number + 1) % group == 0 || number + 1 == epochs.len() {
            log.sync()?;
            *durable = number + 1;
            if epoch.is_multiple_of(3) {
                let snapshot = Snapshot::of(&mut log)?.read()?;
                let nth = usize::try_from(epoch / 3).expect("few");
                let (part, of_log) = ([3, 100, 20, 7][nth % 4], [5, 1000][nth % 2]);
                let compaction = Compaction::of(&log).with_part_rows(part, of_log);
                compaction.run(&snapshot, &Conversion::in_zone(Tz::UTC))?;
            }
        }
    }
    Ok(())
}

/// The customers of a state.
fn table_of(state: &State) -> Result<Table> {
    let source = state.source()?;
    let mut rows = Vec::new();
    for split in source.splits() {
        for batch in source.read(&split, 3)? {
            let batch = batch?;
            let ids = batch.cores[0].as_primitive::<Int64Type>();
            let (names, operations) = (batch.carried[0].as_string::<i32>(), batch.operations.as_ref().expect("there"));
            for row in 0..ids.len() {
                let name = names.is_valid(row).then(|| names.value(row).trim_start_matches("customer ").parse());
                assert_eq!(name.is_none(), operations.is_valid(row));
                let name = name.transpose().expect("a number");
                rows.push((batch.position(batch.numbers.get(row)), ids.value(row), name));
            }
        }
    }
    rows.sort_unstable();
    Ok(applied(rows.into_iter().map(|(_, id, name)| (id, name))))
}

fn applied(rows: impl Iterator<Item = (i64, Option<u32>)>) -> Table {
    let mut table = Table::new();
    for (id, name) in rows {
        match name {
            Some(name) => drop(table.insert(id, name)),
            None => drop(table.remove(&id)),
        }
    }
    table
}

fn random_epochs(random: &mut Rng) -> Epochs {
    let row = |random: &mut Rng| (random.i64(0..40), (random.u8(..5) > 0).then(|| random.u32(..)));
    let rows = |random: &mut Rng| (0..random.usize(..60)).map(|_| row(random)).collect();
    (0..random.usize(1..8)).map(|_| rows(random)).collect()
}

/// Checks that a state has at least the epochs that were durable and at most those that were begun.
fn check(state: &State, epochs: &[Rows], durable: usize, context: &str) {
    let found = usize::try_from(state.epoch()).expect("few");
    let possible = durable..=epochs.len();
    assert!(possible.contains(&found), "{context}: found {found} epochs, wanted {possible:?}");
    let wanted = applied(epochs[..found].iter().flatten().copied());
    assert_eq!(table_of(state).expect(context), wanted, "{context}");
    let files = state.offsets().get("folder").and_then(|offset| Some(offset["files"].as_object()?.len()));
    assert_eq!(files.unwrap_or(0), found, "{context}");
}

/// A history of two processes, of which the first dies at a call.
fn history(seed: u64, images: usize) -> usize {
    let mut random = Rng::with_seed(seed);
    let (first, group, second) = (random_epochs(&mut random), random.usize(1..4), random_epochs(&mut random));
    let run = |disk: &SimulatedDisk, durable: &mut usize| append(&open(disk)?, &first, group, durable);
    let whole = SimulatedDisk::new();
    run(&whole, &mut 0).expect("nothing fails");
    let mut seen = 0;
    for call in 1..=whole.calls() + 1 {
        let (disk, mut durable) = (SimulatedDisk::new(), 0);
        disk.set_fault(Some(Fault::DeadFrom(call)));
        assert_eq!(run(&disk, &mut durable).is_err(), call <= whole.calls());
        // The last one is a kill without a power cut, which comes when the second process has gone on.
        for image in 0..=images {
            let share = [0, 128, 255, 30, 220][image % 5];
            let found = if image < images { disk.crash(|| random.u8(..) < share) } else { disk.killed() };
            let context = format!("seed {seed}, call {call}, image {image}");
            let state = open(&found).expect(&context);
            check(&state, &first, durable, &context);
            // The next process goes on, and dies in turn.
            let known = usize::try_from(state.epoch()).expect("few");
            let all: Epochs = first[..known].iter().chain(&second).cloned().collect();
            let before = found.calls();
            found.set_fault(random.bool().then(|| Fault::DeadFrom(before + random.u64(1..60))));
            let mut more = 0;
            let _ = append(&state, &second, group, &mut more);
            let again = found.crash(|| random.u8(..) < share);
            check(&open(&again).expect(&context), &all, known + more, &format!("{context}, second process"));
            seen += 2;
        }
    }
    seen
}

#[test]
fn what_is_durable_survives_every_crash_and_what_is_not_committed_never_was() {
    let rounds = std::env::var("MILLSTREAM_CRASHES").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(6);
    let images: usize = (0..rounds).map(|seed| history(seed, 5)).sum();
    println!("{images} crash images");
}

/// A state that was closed in order, and its epochs.
fn closed() -> (SimulatedDisk, Epochs) {
    let rows = |ids: std::ops::Range<i64>| ids.map(|id| (id, Some(7))).collect::<Rows>();
    let (disk, mut epochs) = (SimulatedDisk::new(), vec![rows(1..3), rows(3..40), rows(40..41), rows(20..30)]);
    append(&open(&disk).expect("opens"), &epochs, 1, &mut 0).expect("appended");
    // A second process, so that there is a segment that has ended.
    append(&open(&disk).expect("opens"), &vec![rows(41..42)], 1, &mut 0).expect("appended");
    epochs.push(rows(41..42));
    (disk.copy(), epochs)
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let (disk, epochs) = closed();
    let names = disk.list(Path::new(FOLDER)).expect("listed");
    assert!(names.len() > 2, "{names:?}");
    let (mut found, mut harmless) = (0, 0);
    let mut tries = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let (damaged, path) = (disk.copy(), Path::new(FOLDER).join(name));
        damaged.damage(&path, |content| change(content));
        match open(&damaged) {
            // What is behind the end of a segment counts for nothing. A file of the checkpoint is read with the rows.
            Ok(state) => match table_of(&state) {
                Ok(_) => {
                    check(&state, &epochs, epochs.len(), name);
                    harmless += 1;
                }
                Err(error) => {
                    assert!(error.to_string().contains(name), "{name}: {error}");
                    found += 1;
                }
            },
            Err(error) => {
                assert!(error.to_string().contains(name), "{name}: {error}");
                found += 1;
            }
        }
    };
    for name in &names {
        let length = disk.read(&Path::new(FOLDER).join(name)).expect("read").len();
        for byte in 0..length {
            tries(name, &|content| content[byte] ^= 1 << (byte % 8));
            tries(name, &|content| content.truncate(byte));
        }
    }
    assert!(found > harmless, "{found} found, {harmless} harmless");
}

/// Writes epochs, each of which is made a checkpoint with parts of so many rows.
fn compact(disk: &SimulatedDisk, rows: &[(i64, Option<u32>)], part: u64) -> Result<()> {
    let state = open(disk)?;
    let (mut log, schema) = (state.log(Durability::Fsync), state.schema(InputTable::Customers));
    let mut batch = SourceBatch::new(schema, 0, &Arc::from("a file"), 0, &customers(rows))?;
    let reason = crate::model::Reason::plain("not a row");
    batch.malformed.push(crate::sources::MalformedRow { number: 1000, reason, json: "{}".into() });
    log.rows(schema, &batch)?;
    log.commit(&Commit { epoch: state.epoch() + 1, ..Commit::default() })?;
    let snapshot = Snapshot::of(&mut log)?.read()?;
    Compaction::of(&log).with_part_rows(part, 10).run(&snapshot, &Conversion::in_zone(Tz::UTC))
}

#[test]
fn parts_without_a_change_keep_their_files_and_the_number_of_parts_may_change() {
    let disk = SimulatedDisk::new();
    let name = |id: i64| Some(u32::try_from(id).expect("small"));
    let all: Rows = (0..100).map(|id| (id, name(id))).collect();
    let names = || -> Vec<String> {
        let names = disk.list(Path::new(FOLDER)).expect("listed").into_iter();
        names.filter(|name| name.ends_with(".parquet")).collect()
    };
    compact(&disk, &all, 8).expect("compacted");
    let first = names();
    assert_eq!(first.len(), 16);
    compact(&disk, &[(5, Some(500))], 8).expect("compacted");
    let second = names();
    assert_eq!(second.iter().filter(|name| !first.contains(name)).count(), 1, "{second:?}");
    let mut wanted: Table = all.iter().map(|(id, name)| (*id, name.expect("a name"))).collect();
    wanted.insert(5, 500);
    for (part, files) in [(2, 64), (30, 4), (1000, 1), (8, 16)] {
        compact(&disk, &[(part, None)], u64::try_from(part).expect("small")).expect("compacted");
        wanted.remove(&part);
        let state = open(&disk).expect("opens");
        assert_eq!(table_of(&state).expect("read"), wanted, "parts of {part} rows");
        assert!(names().len() <= files && names().len() * 2 > files, "parts of {part} rows: {:?}", names());
    }
    let state = open(&disk).expect("opens");
    let source = state.source().expect("a source");
    let of_splits = source.splits().into_iter().flat_map(|split| source.read(&split, 10).expect("read"));
    let malformed: usize = of_splits.map(|batch| batch.expect("a batch").malformed.len()).sum();
    assert_eq!(malformed, 6, "each row that is none is there once");
}

/// Whichever call fails while rows are logged and compacted, for the disk is broken or full: what was committed is
/// there, also after a power cut, and the next compaction succeeds.
#[test]
fn after_any_call_that_fails_nothing_is_lost_and_the_next_compaction_succeeds() {
    let number = |id: i64| u32::try_from(id).expect("small");
    let all: Rows = (0..40).map(|id| (id, Some(number(id)))).collect();
    let changes: Rows = vec![(5, Some(500)), (7, None), (41, Some(1))];
    let (base, mut random) = (SimulatedDisk::new(), Rng::with_seed(4));
    compact(&base, &all, 8).expect("compacted");
    let whole = base.copy();
    compact(&whole, &changes, 8).expect("compacted");
    assert!(whole.calls() > 20, "{} calls", whole.calls());
    let mut failed = 0;
    for call in 1..=whole.calls() {
        for fault in [Fault::FailsAt(call), Fault::FullFrom(call)] {
            let disk = base.copy();
            disk.set_fault(Some(fault));
            let done = compact(&disk, &changes, 8);
            failed += usize::from(done.is_err());
            disk.set_fault(None);
            for image in 0..4 {
                let context = format!("{fault:?}, image {image}");
                let found = disk.crash(|| image == 0 || random.bool());
                let state = open(&found).expect(&context);
                assert!(state.epoch() == 2 || done.is_err(), "{context}: it is committed");
                let mut rows = all.clone();
                rows.extend(changes.iter().filter(|_| state.epoch() == 2));
                assert_eq!(table_of(&state).expect(&context), applied(rows.iter().copied()), "{context}");
                compact(&found, &[(50, Some(5))], 8).expect(&context);
                rows.push((50, Some(5)));
                let state = open(&found).expect(&context);
                assert_eq!(table_of(&state).expect(&context), applied(rows.into_iter()), "{context}: the next one");
            }
        }
    }
    assert!(failed > 20, "{failed} compactions failed");
}

#[test]
fn a_full_disk_is_an_error_after_which_the_log_goes_on() {
    let disk = SimulatedDisk::new();
    let state = open(&disk).expect("opens");
    let mut log = state.log(Durability::Fsync);
    let schema = state.schema(InputTable::Customers);
    let rows =
        |id| SourceBatch::new(schema, 0, &Arc::from("a file"), 0, &customers(&[(id, Some(5))])).expect("a batch");
    disk.set_fault(Some(Fault::FullFrom(0)));
    let error = log.rows(schema, &rows(1)).expect_err("there is no room").to_string();
    assert!(error.contains("log-00000001: can't be written"), "{error}");
    disk.set_fault(None);
    log.rows(schema, &rows(1)).expect("there is room");
    log.commit(&Commit { epoch: 1, ..Commit::default() }).expect("committed");
    log.sync().expect("synced");
    let found = table_of(&open(&disk.crash(|| false)).expect("opens"));
    assert_eq!(found.expect("read"), Table::from([(1, 5)]));
}

#[test]
fn after_a_failed_sync_nothing_more_is_accepted() {
    let disk = SimulatedDisk::new();
    let state = open(&disk).expect("opens");
    let mut log = state.log(Durability::Fsync);
    let commit = |epoch| Commit { epoch, ..Commit::default() };
    log.commit(&commit(1)).and_then(|()| log.sync()).expect("durable");
    log.commit(&commit(2)).expect("written");
    disk.set_fault(Some(Fault::FailsAt(disk.calls() + 2)));
    log.sync().expect_err("the sync failed");
    disk.set_fault(None);
    log.sync().expect_err("it is not tried again");
    log.commit(&commit(3)).expect_err("nothing is accepted");
}

/// Two processes, one after the other: the second goes on with what the first has written, and then there is a power
/// cut.
fn after_another_process(end_first: impl FnOnce(&SimulatedDisk, &mut LogWriter), durability: Durability) {
    let disk = SimulatedDisk::new();
    let state = open(&disk).expect("opens");
    let mut log = state.log(durability);
    let write = |log: &mut LogWriter, epoch: u64| {
        let rows = customers(&[(1, Some(u32::try_from(epoch).expect("small")))]);
        let schema = state.schema(InputTable::Customers);
        log.rows(schema, &SourceBatch::new(schema, 0, &Arc::from("a file"), 0, &rows)?)?;
        log.commit(&Commit { epoch, ..Commit::default() })
    };
    write(&mut log, 1).and_then(|()| log.sync()).expect("written");
    write(&mut log, 2).expect("written");
    end_first(&disk, &mut log);
    drop(log);
    let state = open(&disk).expect("opens after the process died");
    let epoch = state.epoch();
    let mut log = state.log(Durability::Fsync);
    write(&mut log, epoch + 1).and_then(|()| log.sync()).expect("durable");
    let state = open(&disk.crash(|| false)).expect("opens after the power cut");
    assert_eq!(state.epoch(), epoch + 1);
    assert_eq!(table_of(&state).expect("read"), Table::from([(1, u32::try_from(epoch + 1).expect("small"))]));
}

#[test]
fn what_a_killed_process_has_not_synced_is_durable_once_another_goes_on_with_it() {
    after_another_process(|_, log| log.sync().expect("the system has it"), Durability::Os);
    after_another_process(|_, _| (), Durability::Fsync);
}

#[test]
fn what_was_not_synced_because_that_failed_is_durable_once_another_process_goes_on_with_it() {
    let failing = |disk: &SimulatedDisk, log: &mut LogWriter| {
        disk.set_fault(Some(Fault::FailsAt(disk.calls() + 2)));
        log.sync().expect_err("the sync failed");
        disk.set_fault(None);
    };
    after_another_process(failing, Durability::Fsync);
}

#[test]
fn a_state_of_another_version_is_refused_with_the_version() {
    let (disk, _) = closed();
    let path = Path::new(FOLDER).join("manifest.json");
    disk.damage(&path, |content| {
        let text = String::from_utf8(content.clone()).expect("text");
        let json = text.split_once('\n').expect("two lines").1.replacen("\"format\":2", "\"format\":3", 1);
        *content = format!("{:08x}\n{json}", crc32fast::hash(json.as_bytes())).into_bytes();
    });
    let error = open(&disk).err().expect("refused").to_string();
    assert!(
        error.contains("found format 3 of the state, wanted 2: use the version of millstream that wrote it"),
        "{error}"
    );
}
