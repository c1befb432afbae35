//! What a program that embeds the job may get wrong, and what sinks then see.

mod small_shop;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use arrow::array::{Int64Array, StringArray};
use millstream::error::{ErrorKind, Result};
use millstream::forest::Training;
use millstream::model::{AnyId, Change, Day, Order, Payload};
use millstream::runtime::{Live, Progress, run_with};
use millstream::sinks::folder::{FileFormat, FolderSink, Placing};
use millstream::sinks::{
    ChangeFeed, Checksums, Epoch, MemoryTables, Opened, RowChanges, Sink, SinkContext, SinkPart, TableInfo, TableReport,
};
use millstream::sources::Source;
use millstream::tables::Catalog;
use small_shop::*;

fn start(source: Arc<dyn Source>, tables: &[&str], sink: impl Sink + 'static) -> Live {
    let live = Live::start(&standard(tables), source, vec![Box::new(sink)], &Arc::new(Progress::default()));
    live.expect("the job starts")
}

fn rows(tables: &MemoryTables, table: &str) -> usize {
    tables.read(table).expect("the table is kept").1.num_rows()
}

#[test]
fn a_changed_id_is_the_one_of_the_input_whether_that_is_text_or_not() {
    let source = || with_text_ids(column(StringArray::from(vec!["1", "2"])));
    let tables = MemoryTables::of(&["product_features"]);
    let mut live = start(source(), &["product_features"], tables.clone());
    live.apply([dearer(1)]).expect("1 is the id \"1\"");
    assert_eq!(rows(&tables, "product_features"), 2);
    live.apply([Change::Product(AnyId::from(1), None)]).expect("it is deleted");
    assert_eq!(rows(&tables, "product_features"), 1);

    // Order ids are integers here, although customers have text ids.
    let order = |id: AnyId| Change::Order(id, Some(Order::of(AnyId::from("anna"), AnyId::from("2"))));
    let refused = live.apply([order("A-1".into())]).expect_err("orders have integer ids");
    assert_eq!(refused.to_string(), "order_id A-1: wanted an integer above -2^63, as in the input");
    assert_eq!(live.apply([order(101.into())]).expect("the job goes on"), 3);
    live.stop().expect("the job ends");
}

#[test]
fn a_payload_of_another_table_is_refused_and_the_job_goes_on() {
    let tables = MemoryTables::of(&["enriched_data"]);
    let mut live = start(source(3), &["enriched_data"], tables.clone());
    let foreign = Order { extra: Payload::new(&[2, 1, 1]), ..Order::of(AnyId::from(7), AnyId::from(1)) };
    let refused = live.apply([Change::Order(103.into(), Some(foreign))]).expect_err("orders carry no column");
    assert_eq!(refused.kind(), ErrorKind::Usage);
    let cause = "orders: the field extra of a row does not have the carried columns of its table; make it with";
    assert!(refused.to_string().starts_with(cause), "{refused}");
    live.apply([order(103, 7, 1, 1)]).expect("the job goes on");
    assert_eq!(rows(&tables, "enriched_data"), 4);
    live.stop().expect("the job ends");
}

/// Panics when the second epoch is committed; keeps the outcome of the job.
#[derive(Clone, Default)]
struct Panicking(Arc<Mutex<Option<String>>>);

impl Sink for Panicking {
    fn open(&mut self, _: &SinkContext) -> Result<Opened> {
        Ok(Opened::Ready)
    }

    fn part(&mut self, table: &TableInfo, _: usize) -> Result<Box<dyn SinkPart>> {
        Ok(Box::new(CountingPart(Counting::default(), table.name.clone())))
    }

    fn commit(&mut self, epoch: Epoch, _: &mut [TableReport]) -> Result<()> {
        assert_eq!(epoch, 0, "on purpose");
        Ok(())
    }

    fn end(&mut self, outcome: &Result<()>) {
        *self.0.lock().expect("no panic") = Some(outcome.as_ref().err().map_or(String::new(), ToString::to_string));
    }
}

#[test]
fn a_sink_that_panics_ends_the_job() {
    let sink = Panicking::default();
    let mut live = start(source(3), &["daily_sales"], sink.clone());
    let panicked = catch_unwind(AssertUnwindSafe(|| live.apply([order(103, 7, 1, 1)])));
    assert!(panicked.is_err());
    let cause = "a sink panicked; see the panic message above";
    assert_eq!(live.apply([order(104, 7, 1, 1)]).expect_err("it has ended").to_string(), cause);
    assert_eq!(live.epoch(), 0);
    assert_eq!(live.stop().expect_err("it has failed").to_string(), cause);
    assert_eq!(sink.0.lock().expect("no panic").as_deref(), Some(cause));
}

/// Counts the inserted and deleted rows that it is given, by epoch and table.
#[derive(Clone, Default)]
struct Counting(Arc<Mutex<Counts>>);

type Counts = BTreeMap<(Epoch, String), [usize; 2]>;

impl Sink for Counting {
    fn open(&mut self, _: &SinkContext) -> Result<Opened> {
        Ok(Opened::Ready)
    }

    fn part(&mut self, table: &TableInfo, _: usize) -> Result<Box<dyn SinkPart>> {
        Ok(Box::new(CountingPart(self.clone(), table.name.clone())))
    }

    fn commit(&mut self, _: Epoch, _: &mut [TableReport]) -> Result<()> {
        Ok(())
    }
}

struct CountingPart(Counting, String);

impl SinkPart for CountingPart {
    fn write(&mut self, epoch: Epoch, changes: &RowChanges) -> Result<()> {
        let count = |rows: &Option<arrow::record_batch::RecordBatch>| rows.as_ref().map_or(0, |rows| rows.num_rows());
        let mut counts = self.0.0.lock().expect("no panic");
        let [plus, minus] = counts.entry((epoch, self.1.clone())).or_default();
        *plus += count(&changes.plus);
        *minus += count(&changes.minus);
        Ok(())
    }

    fn seal(&mut self, _: Epoch) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_part_gets_consolidated_changes_of_every_table() {
    let all: Vec<_> = Catalog::standard().names().map(str::to_owned).collect();
    let sink = Counting::default();
    let tables: Vec<_> = all.iter().map(String::as_str).collect();
    let mut live = start(source(3), &tables, sink.clone());
    let counts = |epoch| {
        let counts = sink.0.lock().expect("no panic");
        let of_epoch = counts.iter().filter(|((of, _), _)| *of == epoch);
        of_epoch.map(|((_, table), counts)| (table.clone(), *counts)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(counts(0)["order_anomalies"], [3, 0]);
    let day = Day::from_ymd(2024, 5, 3);
    let later = Order { day, ..Order::of(AnyId::from(8), AnyId::from(2)) };
    let epoch = live.apply([Change::Order(102.into(), Some(later))]).expect("the job is live");
    let moved = counts(epoch);
    // A day is no feature of the model.
    assert!(!moved.contains_key("order_anomalies"), "{moved:?}");
    assert_eq!(moved["enriched_data"], [1, 1]);
    assert_eq!(moved["customer_patterns"], [1, 1]);
    live.stop().expect("the job ends");
}

#[test]
fn a_feed_of_changes_encodes_nothing_of_the_first_epoch_and_only_the_tables_it_is_of() {
    let (mine, other) = (prices("mine"), prices("other"));
    let (encoded, of_other) = (Arc::clone(&mine.encoded), Arc::clone(&other.encoded));
    let tables = Catalog::standard().with(mine).with(other).select(&["mine", "other"]).expect("they are there");
    let feed = ChangeFeed::of(&["mine"]);
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(feed.clone())];
    let mut live = Live::start(&config(tables), source(3), sinks, &Arc::default()).expect("the job starts");
    assert_eq!(encoded.load(Ordering::Relaxed), 0);
    live.apply([dearer(1)]).expect("the job is live");
    assert!(encoded.load(Ordering::Relaxed) > 0);
    assert_eq!(of_other.load(Ordering::Relaxed), 0);
    let (epoch, changes) = feed.take().expect("an epoch");
    assert_eq!((epoch, changes.len()), (1, 1));
    live.stop().expect("the job ends");
    let unknown = Live::start(&standard(&["daily_sales"]), source(3), vec![Box::new(feed)], &Arc::default());
    let refused = unknown.err().expect("refused").to_string();
    assert_eq!(refused, "table mine is not one of this job, which has daily_sales, rejected");
}

/// A sink, opened for a table of ids.
fn opened(sink: &mut dyn Sink) -> (TableInfo, Box<dyn SinkPart>) {
    let schema = batch(vec![("id", column(Int64Array::from(vec![1])))]).schema();
    let table = TableInfo { name: "numbers".into(), key: vec!["id".into()], schema, order: Vec::new() };
    let job = SinkContext { run_id: "test".into(), tables: vec![table.clone()], workers: 1, process: 0, processes: 1 };
    assert_eq!(sink.open(&job).expect("it opens"), Opened::Ready);
    let part = sink.part(&table, 0).expect("a part");
    (table, part)
}

fn changes(plus: &[i64], minus: &[i64]) -> RowChanges {
    let ids = |ids: &[i64]| Some(batch(vec![("id", column(Int64Array::from(ids.to_vec())))]));
    RowChanges { plus: ids(plus), minus: ids(minus), is_late: false }
}

#[test]
fn an_epoch_that_can_not_be_committed_leaves_tables_in_memory_as_they_were() {
    let mut tables = MemoryTables::all();
    let (_, mut part) = opened(&mut tables);
    part.write(0, &changes(&[1, 2], &[])).expect("written");
    tables.commit(0, &mut []).expect("committed");
    part.write(1, &changes(&[3], &[9])).expect("written");
    let refused = tables.commit(1, &mut []).expect_err("9 is not there").to_string();
    assert_eq!(refused, "numbers: epoch 1 deletes a row that the table does not have");
    let (epoch, rows) = tables.read("numbers").expect("it is kept");
    assert_eq!((epoch, rows.num_rows()), (0, 2));
}

#[test]
fn checksums_are_those_of_the_newest_committed_epoch() {
    let mut sums = Checksums::new();
    let (_, mut part) = opened(&mut sums);
    part.write(0, &changes(&[1, 2], &[])).expect("written");
    assert_eq!(sums.of("numbers"), Some(0));
    sums.commit(0, &mut []).expect("committed");
    let first = sums.of("numbers");
    assert_ne!(first, Some(0));
    part.write(1, &changes(&[], &[2])).expect("written");
    part.write(2, &changes(&[2], &[])).expect("written");
    assert_eq!(sums.of("numbers"), first);
    sums.commit(1, &mut []).expect("committed");
    assert_ne!(sums.of("numbers"), first);
    sums.commit(2, &mut []).expect("committed");
    assert_eq!(sums.of("numbers"), first);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |config, sinks| run_with(&config, source(3), sinks, &Arc::default()).expect_err("refused").to_string();
    let mut config = standard(&["order_anomalies"]);
    config.anomaly.model = Some(folder.path().join("model.json"));
    config.settings.training = Some(Training::default());
    let refused = run(config, vec![]);
    assert!(refused.starts_with("anomaly.model: a model is given, and settings.training"), "{refused}");

    let placing = Placing { bucket_by: Some((vec!["order_id".into()], 0)), ..Placing::default() };
    let sink = FolderSink::new(folder.path(), FileFormat::default()).placing("enriched_data", placing);
    let refused = run(standard(&["enriched_data"]), vec![Box::new(sink)]);
    assert_eq!(refused, "output.bucket_by: 0 buckets are too few, wanted at least 1");
}
