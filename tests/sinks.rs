//! Sinks and tables of a program of its own: which calls a sink receives, which tables are computed for it, and what is
//! refused.

mod small_shop;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{Array, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type};
use arrow::record_batch::RecordBatch;
use millstream::columns::ShopId;
use millstream::columns::build::texts;
use millstream::config::JobConfig;
use millstream::error::{Error, ErrorKind, Result};
use millstream::model::{Id, Text};
use millstream::operators::differential_dataflow::VecCollection;
use millstream::pipeline::{Epochs, Job};
use millstream::runtime::{Live, Progress, run_with};
use millstream::sinks::folder::{FileFormat, FolderSink, OutputFormat};
use millstream::sinks::{
    Checksums, Epoch, MemoryTables, Opened, PartOptions, RowChanges, Sink, SinkContext, SinkPart, TableInfo,
    TableReport,
};
use millstream::tables::{Catalog, DerivedColumn, Layout, Table, TableColumn};
use millstream::udf::Udf;
use small_shop::*;

/// `enriched_data` with a function that rejects the orders of cups.
fn picky() -> JobConfig {
    let mut config = standard(&["enriched_data"]);
    let mine = |name: Text| if name == "Cup" { Err("no cups") } else { Ok(name) };
    config.functions.register(Udf::scalar("mine", mine)).expect("the name is free");
    config.derived.push(DerivedColumn {
        table: "enriched_data".into(),
        name: "mine".into(),
        function: "mine".into(),
        columns: vec!["product_name".into()],
        on_failure: None,
        memory_bytes: None,
    });
    config
}

fn start(config: &JobConfig, sinks: Vec<Box<dyn Sink>>) -> Result<Live> {
    Live::start(config, source(3), sinks, &Arc::new(Progress::default()))
}

fn run(config: &JobConfig, sinks: Vec<Box<dyn Sink>>) -> Result<millstream::report::Report> {
    run_with(config, source(3), sinks, &Arc::new(Progress::default()))
}

fn rows(tables: &MemoryTables, table: &str) -> usize {
    tables.read(table).expect("the table is kept").1.num_rows()
}

#[test]
fn functions_reject_rows_for_a_sink_that_takes_only_the_rejected_ones() {
    let tables = MemoryTables::of(&["rejected"]);
    let live = start(&picky(), vec![Box::new(tables.clone())]).expect("the job starts");
    assert_eq!(rows(&tables, "rejected"), 2);
    live.stop().expect("the job ends");
}

#[test]
fn a_correction_retracts_a_rejection_although_the_sink_of_the_table_is_finished() {
    let folder = tempfile::tempdir().expect("a folder");
    let tables = MemoryTables::of(&["rejected"]);
    let files = FolderSink::new(folder.path(), FileFormat::default());
    let mut live = start(&picky(), vec![Box::new(files), Box::new(tables.clone())]).expect("the job starts");
    assert_eq!(rows(&tables, "rejected"), 2);
    live.apply([order(102, 8, 1, 1)]).expect("tea is accepted");
    assert_eq!(rows(&tables, "rejected"), 1);
    live.apply([order(103, 8, 2, 1)]).expect("another cup");
    assert_eq!(rows(&tables, "rejected"), 2);
    live.stop().expect("the job ends");
}

#[test]
fn a_table_is_not_encoded_once_all_its_sinks_are_finished() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = prices("prices");
    let tables = Catalog::standard().with(table.clone()).select(&["prices", "enriched_data"]);
    let config = config(tables.expect("they are there"));
    let mut live =
        start(&config, vec![Box::new(FolderSink::new(folder.path(), FileFormat::default()))]).expect("starts");
    let encoded = table.encoded.load(Ordering::Relaxed);
    assert!(encoded > 0);
    live.apply([dearer(1)]).expect("the job is live");
    live.apply([order(103, 8, 1, 1), order(100, 7, 2, 1)]).expect("what arrives of enriched_data is dropped");
    assert_eq!(table.encoded.load(Ordering::Relaxed), encoded);
    live.stop().expect("the job ends");
    let sums = Checksums::new();
    let mut live = start(&config, vec![Box::new(sums)]).expect("the job starts");
    let encoded = table.encoded.load(Ordering::Relaxed);
    live.apply([dearer(1)]).expect("the job is live");
    assert!(table.encoded.load(Ordering::Relaxed) > encoded, "a sink that is not finished receives changes");
    live.stop().expect("the job ends");
}

#[test]
fn rejections_of_an_epoch_are_counted_net_and_checked_when_it_is_complete() {
    let tables = MemoryTables::of(&["rejected"]);
    let config = JobConfig { max_rejected: Some(2), ..picky() };
    let mut live = start(&config, vec![Box::new(tables.clone())]).expect("two are allowed");
    // The total of customer 7 changes, and so does the rejected row of order 101: one is added, one is retracted.
    live.apply([order(100, 7, 1, 5)]).expect("there are still two");
    assert_eq!(rows(&tables, "rejected"), 2);
    let error = live.apply([order(103, 8, 2, 1)]).expect_err("there are three").to_string();
    assert!(error.contains("more than 2 rows rejected") && error.contains("no cups"), "{error}");
    assert_eq!(tables.read("rejected").expect("kept").0, 1, "the epoch was not committed");
}

/// The files of a table that have its rows.
fn data_files(folder: &Path, table: &str) -> Vec<String> {
    let names = fs::read_dir(folder.join(table)).expect("the table is published");
    let names = names.map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("part-")).collect()
}

#[test]
fn two_folder_sinks_each_write_their_tables_also_empty_ones() {
    let (parquet, csv) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let format = FileFormat { format: OutputFormat::Csv, ..FileFormat::default() };
    let sinks: Vec<Box<dyn Sink>> = vec![
        Box::new(FolderSink::new(parquet.path(), FileFormat::default())),
        Box::new(FolderSink::new(csv.path(), format)),
    ];
    let config = standard(&["daily_sales", "product_sales"]);
    let report = run_with(&config, source(0), sinks, &Arc::new(Progress::default())).expect("the job is done");
    for table in ["daily_sales", "product_sales", "rejected"] {
        for (folder, ending) in [(&parquet, ".parquet"), (&csv, ".csv")] {
            let files = data_files(folder.path(), table);
            assert!(files.len() == 1 && files[0].ends_with(ending), "{table}: {files:?}");
        }
        let written: Vec<_> = report.tables.iter().filter(|report| report.name == table).collect();
        assert!(written.len() == 2 && written.iter().all(|report| report.written.files == 1), "{written:?}");
        assert_ne!(written[0].written.bytes, written[1].written.bytes, "{table}");
    }
}

/// Notes its calls, and fails at one of them.
#[derive(Clone, Default)]
struct Noting {
    calls: Arc<Mutex<Vec<String>>>,
    not_yet: usize,
    fails_at: Option<&'static str>,
}

impl Noting {
    fn note(&self, call: &str) -> Result<()> {
        self.calls.lock().expect("no panic").push(call.to_owned());
        if self.fails_at == Some(call) { Err(Error::failed("on purpose")) } else { Ok(()) }
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("no panic").clone()
    }

    fn ends(&self) -> Vec<String> {
        self.calls().into_iter().filter(|call| call.starts_with("end")).collect()
    }
}

impl Sink for Noting {
    fn open(&mut self, _: &SinkContext) -> Result<Opened> {
        self.note("open")?;
        self.not_yet = self.not_yet.saturating_sub(1);
        Ok(if self.not_yet > 0 { Opened::NotYet("not yet".into()) } else { Opened::Ready })
    }

    fn wants(&self, table: &TableInfo) -> Option<PartOptions> {
        self.note(&format!("wants {}", table.name)).ok();
        (table.name != "rejected").then(PartOptions::default)
    }

    fn part(&mut self, table: &TableInfo, worker: usize) -> Result<Box<dyn SinkPart>> {
        self.note(&format!("part {} {worker}", table.name))?;
        Ok(Box::new(Ignoring))
    }

    fn prepare(&mut self, epoch: Epoch, _: &(dyn Fn() -> bool + Sync)) -> Result<Vec<TableReport>> {
        self.note(&format!("prepare {epoch}"))?;
        Ok(Vec::new())
    }

    fn commit(&mut self, epoch: Epoch, _: &mut [TableReport]) -> Result<()> {
        self.note(&format!("commit {epoch}"))
    }

    fn end(&mut self, outcome: &Result<()>) {
        let outcome = outcome.as_ref().map_or_else(ToString::to_string, |()| "well".to_owned());
        self.note(&format!("end {outcome}")).ok();
    }
}

struct Ignoring;

impl SinkPart for Ignoring {
    fn write(&mut self, _: Epoch, _: &RowChanges) -> Result<()> {
        Ok(())
    }

    fn seal(&mut self, _: Epoch) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_is_asked_once_for_each_table_and_opened_again_until_it_is_ready() {
    let sink = Noting { not_yet: 3, ..Noting::default() };
    let mut live = start(&standard(&["daily_sales"]), vec![Box::new(sink.clone())]).expect("the job starts");
    live.apply([order(103, 8, 2, 1)]).expect("the job is live");
    live.stop().expect("the job ends");
    let wanted = [
        "open",
        "open",
        "open",
        "wants daily_sales",
        "part daily_sales 0",
        "part daily_sales 1",
        "wants rejected",
        "prepare 0",
        "commit 0",
        "prepare 1",
        "commit 1",
        "end well",
    ];
    assert_eq!(sink.calls(), wanted);
}

#[test]
fn every_sink_learns_once_how_the_job_ended() {
    for fails_at in ["open", "part daily_sales 1", "prepare 0", "commit 0", "commit 1"] {
        let (first, second) = (Noting { fails_at: Some(fails_at), ..Noting::default() }, Noting::default());
        let sinks: Vec<Box<dyn Sink>> = vec![Box::new(first.clone()), Box::new(second.clone())];
        let done = start(&standard(&["daily_sales"]), sinks).and_then(|mut live| live.apply([order(103, 8, 2, 1)]));
        assert_eq!(done.expect_err("it fails").to_string(), "on purpose");
        assert_eq!([first.ends(), second.ends()], [["end on purpose"], ["end on purpose"]], "live, {fails_at}");
    }
    let failing = Noting { fails_at: Some("commit 0"), ..Noting::default() };
    run(&standard(&["daily_sales"]), vec![Box::new(failing.clone())]).expect_err("it fails");
    assert_eq!(failing.ends(), ["end on purpose"]);
    let sink = Noting::default();
    run(&standard(&["daily_sales"]), vec![Box::new(sink.clone())]).expect("the job is done");
    assert_eq!(sink.ends(), ["end well"]);
    let sink = Noting::default();
    drop(start(&standard(&["daily_sales"]), vec![Box::new(sink.clone())]).expect("the job starts"));
    assert_eq!(sink.ends(), ["end well"], "a live job that is dropped has stopped");
    let sink = Noting::default();
    let invalid = JobConfig { workers: 0, ..standard(&["daily_sales"]) };
    let missing = start(&invalid, vec![Box::new(sink.clone())]);
    assert!(missing.is_err() && sink.calls().len() == 1 && sink.ends()[0].contains("workers"), "{:?}", sink.calls());
    let sink = Noting::default();
    run(&invalid, vec![Box::new(sink.clone())]).expect_err("no workers");
    assert!(sink.calls().len() == 1 && sink.ends()[0].contains("workers"), "{:?}", sink.calls());
}

#[test]
fn a_model_is_saved_only_if_the_tables_are_committed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.json");
    let mut config = standard(&["order_anomalies"]);
    config.anomaly.save_model = Some(path.clone());
    fs::write(&path, "the former model").expect("written");
    let failing = Noting { fails_at: Some("commit 0"), ..Noting::default() };
    run(&config, vec![Box::new(failing)]).expect_err("it fails");
    assert_eq!(fs::read_to_string(&path).expect("text"), "the former model");
    run(&config, vec![]).expect("the job is done");
    assert!(fs::read_to_string(&path).expect("text").starts_with('{'));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");

    fs::remove_file(&path).expect("it is there");
    fs::create_dir(&path).expect("a folder where the model should be");
    let sink = Noting::default();
    run(&config, vec![Box::new(sink.clone())]).expect_err("the model can't be saved");
    assert!(!sink.calls().contains(&"commit 0".to_owned()), "{:?}", sink.calls());
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");
}

#[test]
fn names_that_are_no_folders_or_that_of_the_rejected_rows_are_refused() {
    let catalog = |name| Catalog::standard().with(prices(name)).select(&[name]).expect("it is there");
    for (name, found) in
        [("rejected", "table of rejected rows"), ("../x", "\"../x\""), ("a\\b", "a file name"), ("", "\"\"")]
            .into_iter()
            .chain([(".millstream", "begins with"), ("_x", "begins with")])
    {
        let error = run(&config(catalog(name)), vec![]).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        let error = error.to_string();
        assert!(error.contains(found) && error.contains("found a table named") && error.contains("wanted"), "{error}");
    }
    run(&config(catalog("prices.2024 (net)")), vec![]).expect("any other name is possible");
}

#[test]
fn a_replaced_table_keeps_its_place() {
    let names = |catalog: &Catalog| catalog.names().map(str::to_owned).collect::<Vec<_>>();
    let standard = Catalog::standard();
    let replaced = standard.clone().with(prices("daily_sales"));
    assert_eq!(names(&replaced), names(&standard));
    assert_eq!(replaced.key("daily_sales"), Some(&["product_id"][..]));
}

/// A table whose columns are wrong in some way.
#[derive(Clone, Copy)]
enum Wrong {
    Name,
    Type,
    Fewer,
    Key,
    Twice,
}

impl Table for Wrong {
    type Row<I: Id> = I;

    fn name(&self) -> &str {
        "wrong"
    }

    fn key(&self) -> &[&str] {
        if matches!(self, Wrong::Key) { &["id"] } else { &["a"] }
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, I> {
        job.products().map(|(id, _)| id)
    }

    fn columns<I: ShopId>(&self, rows: &[I], _: &Layout) -> Result<Vec<TableColumn>> {
        let numbers = || column(Int64Array::from(vec![1; rows.len()]));
        let names = || texts(rows.iter().map(|_| Some("x")));
        let second = if matches!(self, Wrong::Twice) { "a" } else { "b" };
        let as_announced = vec![("a".into(), numbers()), (second.into(), numbers())];
        Ok(match self {
            _ if rows.is_empty() => as_announced,
            Wrong::Name => vec![("a".into(), numbers()), ("c".into(), numbers())],
            Wrong::Type => vec![("a".into(), names()), ("b".into(), numbers())],
            Wrong::Fewer => vec![("a".into(), numbers())],
            Wrong::Key | Wrong::Twice => as_announced,
        })
    }
}

#[test]
fn columns_that_differ_from_the_schema_are_an_error_with_their_names() {
    for (table, message) in [
        (Wrong::Name, "table wrong: column 2: found c (Int64), wanted b (Int64)"),
        (Wrong::Type, "table wrong: column 1: found a (Utf8), wanted a (Int64)"),
        (Wrong::Fewer, "table wrong: column 2: found no column, wanted b (Int64)"),
        (Wrong::Key, "table wrong: found a key column id; wanted one of a, b"),
        (Wrong::Twice, "table wrong: found two columns a; wanted different names"),
    ] {
        let catalog = Catalog::standard().with(table).select(&["wrong"]).expect("it is there");
        let error = run(&config(catalog), vec![Box::new(MemoryTables::all())]).expect_err("refused").to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn a_table_of_ones_own_has_the_types_of_the_input() {
    let config = config(Catalog::standard().with(prices("prices")).select(&["prices"]).expect("it is there"));
    let read = |source| {
        let tables = MemoryTables::of(&["prices"]);
        let done = run_with(&config, source, vec![Box::new(tables.clone())], &Arc::new(Progress::default()));
        done.expect("the job is done");
        tables.read("prices").expect("it is kept").1
    };
    let integers = read(source(3));
    assert_eq!(integers.column(0).data_type(), &DataType::Int64);
    assert_eq!(integers.column(1).data_type(), &DataType::Int64);
    assert_eq!(integers.column(2).as_primitive::<Float64Type>().values(), &[2.5, 10.0]);
    // Some ids are text, those of products are not: `I::column` is text, `ids` is what the input has.
    let mixed = read(with_text_ids(column(Int64Array::from(vec![1, 2]))));
    assert_eq!(mixed.column(0).data_type(), &DataType::Int64);
    assert_eq!(mixed.column(1).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("1"), Some("2")]);
    let text = read(with_text_ids(column(StringArray::from(vec!["cup", "tea"]))));
    assert_eq!(text.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("cup"), Some("tea")]);
    assert_eq!(text.column(1).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("cup"), Some("tea")]);
    assert_eq!(text.column(2).data_type(), &DataType::Decimal128(38, 8));
    assert_eq!(text.column(2).as_primitive::<Decimal128Type>().values(), &[250_000_000, 1_000_000_000]);
}

/// The sum of a column of amounts, in cents.
fn sum(batch: &RecordBatch, name: &str) -> String {
    let sum: f64 =
        batch.column_by_name(name).expect("it is there").as_primitive::<Float64Type>().iter().flatten().sum();
    format!("{sum:.2}")
}

#[test]
fn a_snapshot_has_all_tables_as_of_one_epoch_while_changes_are_applied() {
    const SUMS: [(&str, &str); 3] =
        [("daily_sales", "daily_revenue"), ("product_sales", "total_revenue"), ("customer_patterns", "total_spent")];
    let tables = MemoryTables::of(&SUMS.map(|(table, _)| table));
    let mut live = start(&standard(&SUMS.map(|(table, _)| table)), vec![Box::new(tables.clone())]).expect("starts");
    let (before, is_over) = (tables.snapshot(), AtomicBool::new(false));
    let sums = |snapshot: &millstream::sinks::TablesSnapshot| {
        SUMS.map(|(table, column)| sum(&snapshot.read(table).expect("it is kept"), column))
    };
    // Each epoch adds an order of 2.50 for a customer of its own.
    let revenue = |epoch: Epoch| {
        let sum = format!("{:.2}", 22.5 + 2.5 * f64::from(u32::try_from(epoch).expect("few epochs")));
        [sum.clone(), sum.clone(), sum]
    };
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = BTreeMap::new();
            while !is_over.load(Ordering::Acquire) {
                let snapshot = tables.snapshot();
                let epoch = snapshot.epoch().expect("an epoch is committed");
                seen.insert(epoch, sums(&snapshot));
            }
            seen
        });
        for number in 0..60 {
            live.apply([order(1000 + number, 1000 + number, 1, 1)]).expect("the job is live");
        }
        is_over.store(true, Ordering::Release);
        reader.join().expect("the reader ends")
    });
    for (epoch, sums) in seen {
        assert_eq!(sums, revenue(epoch), "epoch {epoch}");
    }
    assert_eq!((before.epoch(), sums(&before)), (Some(0), revenue(0)), "a snapshot stays as it is");
    assert_eq!((live.epoch(), sums(&tables.snapshot())), (60, revenue(60)));
    live.stop().expect("the job ends");
}

/// Notes the types in which the names of products come, and the names.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<(Epoch, bool, Vec<String>)>>>);

impl Sink for Names {
    fn open(&mut self, _: &SinkContext) -> Result<Opened> {
        Ok(Opened::Ready)
    }

    fn wants(&self, table: &TableInfo) -> Option<PartOptions> {
        let options = PartOptions { dictionaries: true, ..PartOptions::default() };
        (table.name == "enriched_data").then_some(options)
    }

    fn part(&mut self, table: &TableInfo, _: usize) -> Result<Box<dyn SinkPart>> {
        let types = table.schema.field_with_name("product_name").map(|field| field.data_type().clone());
        assert_eq!(types.ok(), Some(DataType::Utf8), "the schema has the type of the values");
        Ok(Box::new(self.clone()))
    }

    fn commit(&mut self, _: Epoch, _: &mut [TableReport]) -> Result<()> {
        Ok(())
    }
}

impl SinkPart for Names {
    fn write(&mut self, epoch: Epoch, changes: &RowChanges) -> Result<()> {
        for rows in changes.plus.iter().filter(|rows| rows.num_rows() > 0) {
            let names = rows.column_by_name("product_name").expect("the table has it");
            let is_dictionary = matches!(names.data_type(), DataType::Dictionary(..));
            let plain = arrow::compute::cast(names, &DataType::Utf8).expect("texts");
            let names = plain.as_string::<i32>().iter().map(|name| name.unwrap_or("").to_owned());
            self.0.lock().expect("no panic").push((epoch, is_dictionary, names.collect()));
        }
        Ok(())
    }

    fn seal(&mut self, _: Epoch) -> Result<()> {
        Ok(())
    }
}

#[test]
fn dictionaries_come_in_the_first_epoch_if_all_sinks_of_a_table_take_them() {
    let alone = standard(&["enriched_data"]);
    for (config, beside_tables, wanted) in [(&alone, false, true), (&alone, true, false), (&picky(), false, false)] {
        let names = Names::default();
        let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(names.clone())];
        sinks.extend(beside_tables.then(|| Box::new(MemoryTables::of(&["enriched_data"])) as _));
        let mut live = start(config, sinks).expect("the job starts");
        live.apply([order(103, 8, 1, 1)]).expect("the job is live");
        live.stop().expect("the job ends");
        let seen = names.0.lock().expect("no panic").clone();
        assert!(seen.iter().all(|(epoch, is_dictionary, _)| *is_dictionary == (wanted && *epoch == 0)), "{seen:?}");
        let mut first: Vec<_> = seen.iter().filter(|(epoch, ..)| *epoch == 0).flat_map(|(_, _, names)| names).collect();
        first.sort();
        assert_eq!(first, if config.derived.is_empty() { vec!["Cup", "Cup", "Tea"] } else { vec!["Tea"] });
    }
}
