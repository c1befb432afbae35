//! Histories on a disk that loses what was not synced: the process dies at any call, and the disk is found in any state
//! in which that may leave it.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use fastrand::Rng;

use super::*;
use crate::columns::InputSchema;
use crate::error::Result;
use crate::model::InputTable;
use crate::sources::{Source, SourceBatch};

const FOLDER: &str = "/state";
/// Few blocks, so that a short history has several segments.
const SEGMENT_BLOCKS: u32 = 12;

/// The epochs of a history: the ids of the customers of each.
type Epochs = Vec<Vec<i64>>;

fn customers(ids: &[i64]) -> RecordBatch {
    let names = StringArray::from_iter_values(ids.iter().map(|id| format!("customer {id}")));
    let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    RecordBatch::try_from_iter([("customer_id", ids), ("name", Arc::new(names) as ArrayRef)]).expect("a batch")
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
        of(InputTable::Customers, &customers(&[1])),
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

/// Appends epochs, some of them in a group, and counts those that are durable.
fn append(state: &State, epochs: &Epochs, group: usize, durable: &mut usize) -> Result<()> {
    let mut log = state.log(Durability::Fsync);
    let schema = state.schema(InputTable::Customers);
    for (number, ids) in epochs.iter().enumerate() {
        let epoch = state.epoch() + number as u64 + 1;
        let half = ids.len() / 2;
        // The second half first: the number of a row tells where it stands.
        for (first, ids) in [(half, &ids[half..]), (0, &ids[..half])] {
            log.rows(schema, &SourceBatch::new(schema, 0, &Arc::from("a file"), first as u64, &customers(ids))?)?;
        }
        let offsets = [("folder".to_owned(), serde_json::json!({ "files": { format!("{epoch}.csv"): ids.len() } }))];
        log.commit(&Commit { epoch, time_ms: 1_000 * epoch, offsets: offsets.into_iter().collect() })?;
        if (number + 1) % group == 0 || number + 1 == epochs.len() {
            log.sync()?;
            *durable = number + 1;
        }
    }
    Ok(())
}

/// The ids that a state has, in order.
fn ids_of(state: &State) -> Result<Vec<i64>> {
    let source = state.source()?;
    let mut rows = Vec::new();
    for split in source.splits() {
        for batch in source.read(&split, 3)? {
            let batch = batch?;
            let ids = batch.cores[0].as_any().downcast_ref::<Int64Array>().expect("integers");
            rows.extend(ids.values().iter().enumerate().map(|(row, id)| (batch.position(batch.numbers.get(row)), *id)));
        }
    }
    rows.sort_unstable();
    Ok(rows.into_iter().map(|(_, id)| id).collect())
}

fn random_epochs(random: &mut Rng, first: i64) -> Epochs {
    let mut next = first;
    let mut ids = |random: &mut Rng| {
        let count = random.i64(1..60);
        next += count;
        (next - count..next).collect()
    };
    (0..random.usize(1..8)).map(|_| ids(random)).collect()
}

/// Checks that a state has at least the epochs that were durable and at most those that were begun.
fn check(state: &State, epochs: &[Vec<i64>], durable: usize, context: &str) {
    let found = usize::try_from(state.epoch()).expect("few");
    assert!(
        (durable..=epochs.len()).contains(&found),
        "{context}: {found} epochs, {durable} of {} were durable",
        epochs.len()
    );
    let wanted: Vec<i64> = epochs[..found].iter().flatten().copied().collect();
    assert_eq!(ids_of(state).expect(context), wanted, "{context}");
    let files =
        state.offsets().get("folder").map_or(0, |offset| offset["files"].as_object().map_or(0, |files| files.len()));
    assert_eq!(files, found, "{context}");
}

/// A history of two processes, of which the first dies at a call.
fn history(seed: u64, images: usize) -> usize {
    let mut random = Rng::with_seed(seed);
    let (first, group) = (random_epochs(&mut random, 0), random.usize(1..4));
    let second = random_epochs(&mut random, 1_000);
    let run = |disk: &SimulatedDisk, durable: &mut usize| append(&open(disk)?, &first, group, durable);
    let whole = SimulatedDisk::new();
    run(&whole, &mut 0).expect("nothing fails");
    let mut seen = 0;
    for call in 1..=whole.calls() + 1 {
        let (disk, mut durable) = (SimulatedDisk::new(), 0);
        disk.set_fault(Some(Fault::DeadFrom(call)));
        assert_eq!(run(&disk, &mut durable).is_err(), call <= whole.calls());
        for image in 0..images {
            let share = [0, 128, 255, 30, 220][image % 5];
            let found = disk.crash(|| random.u8(..) < share);
            let context = format!("seed {seed}, call {call}, image {image}");
            let state = open(&found).expect(&context);
            check(&state, &first, durable, &context);
            // The next process goes on, and dies in turn.
            let known = usize::try_from(state.epoch()).expect("few");
            let all: Epochs = first[..known].iter().chain(&second).cloned().collect();
            let before = found.calls();
            found.set_fault(random.bool().then(|| Fault::DeadFrom(before + random.u64(1..30))));
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
    let (disk, epochs) = (SimulatedDisk::new(), vec![vec![1, 2], (3..40).collect(), vec![40]]);
    append(&open(&disk).expect("opens"), &epochs, 1, &mut 0).expect("appended");
    // A second process, so that there is a segment that has ended.
    append(&open(&disk).expect("opens"), &vec![vec![41]], 1, &mut 0).expect("appended");
    (disk.copy(), vec![vec![1, 2], (3..40).collect(), vec![40], vec![41]])
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
            Ok(state) => {
                // What is behind the end of a segment counts for nothing.
                check(&state, &epochs, epochs.len(), name);
                harmless += 1;
            }
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

#[test]
fn a_full_disk_is_an_error_after_which_the_log_goes_on() {
    let disk = SimulatedDisk::new();
    let state = open(&disk).expect("opens");
    let mut log = state.log(Durability::Fsync);
    let schema = state.schema(InputTable::Customers);
    let rows = |ids: &[i64]| SourceBatch::new(schema, 0, &Arc::from("a file"), 0, &customers(ids)).expect("a batch");
    disk.set_fault(Some(Fault::FullFrom(0)));
    let error = log.rows(schema, &rows(&[1])).expect_err("there is no room").to_string();
    assert!(error.contains("log-00000001: can't be written"), "{error}");
    disk.set_fault(None);
    log.rows(schema, &rows(&[1])).expect("there is room");
    log.commit(&Commit { epoch: 1, time_ms: 0, offsets: Default::default() }).expect("committed");
    log.sync().expect("synced");
    assert_eq!(ids_of(&open(&disk.crash(|| false)).expect("opens")).expect("read"), [1]);
}

#[test]
fn after_a_failed_sync_nothing_more_is_accepted() {
    let disk = SimulatedDisk::new();
    let state = open(&disk).expect("opens");
    let mut log = state.log(Durability::Fsync);
    let commit = |epoch| Commit { epoch, time_ms: 0, offsets: Default::default() };
    log.commit(&commit(1)).and_then(|()| log.sync()).expect("durable");
    log.commit(&commit(2)).expect("written");
    disk.set_fault(Some(Fault::FailsAt(disk.calls() + 2)));
    log.sync().expect_err("the sync failed");
    disk.set_fault(None);
    log.sync().expect_err("it is not tried again");
    log.commit(&commit(3)).expect_err("nothing is accepted");
}

#[test]
fn a_state_of_another_version_is_refused_with_the_version() {
    let (disk, _) = closed();
    let path = Path::new(FOLDER).join("manifest.json");
    disk.damage(&path, |content| {
        let text = String::from_utf8(content.clone()).expect("text");
        let json = text.split_once('\n').expect("two lines").1.replacen("\"format\":1", "\"format\":2", 1);
        *content = format!("{:08x}\n{json}", crc32fast::hash(json.as_bytes())).into_bytes();
    });
    let error = open(&disk).err().expect("refused").to_string();
    assert!(
        error.contains("found format 2 of the state, wanted 1: use the version of millstream that wrote it"),
        "{error}"
    );
}
