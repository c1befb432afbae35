//! Runs whose orders do not fit their memory: the tables are those of a run that has enough.

mod files;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use arrow::array::Int64Array;
use differential_dataflow::VecCollection;
use files::processes::hosts;
use files::{Shop, as_lines, check};
use millstream::batch;
use millstream::columns::ShopId;
use millstream::columns::build::ids;
use millstream::config::{ClusterConfig, InputConfig, JobConfig, MemoryBudget, RunConfig};
use millstream::error::Result;
use millstream::model::{Day, Id, Text};
use millstream::operators::inner_join;
use millstream::pipeline::{Epochs, Job};
use millstream::report::Report;
use millstream::runtime::{Progress, run_with};
use millstream::sinks::{Checksums, MemoryTables};
use millstream::tables::{Catalog, DerivedColumn, Layout, OnFailure, Table, TableColumn};
use millstream::udf::Udf;

/// So little that orders are spilled, and customers come in many waves.
const LITTLE: u64 = 200_000;

fn job(tables: Catalog, workers: usize, bytes: Option<u64>) -> JobConfig {
    let mut config = JobConfig::new(Day::from_ymd(1998, 12, 31).expect("a day"));
    let memory = bytes.map(|bytes| MemoryBudget { bytes, folder: None });
    (config.tables, config.workers, config.memory) = (tables, workers, memory);
    config
}

/// The report of a run, and the checksums of its tables.
fn run(input: PathBuf, config: &JobConfig) -> (Report, Vec<(String, Option<u64>)>) {
    let (source, sums) = (InputConfig::at(&input).open().expect("the shop is there"), Checksums::new());
    let sinks = vec![Box::new(sums.clone()) as _];
    let report = run_with(config, Arc::new(source), sinks, &Arc::new(Progress::default())).expect("the job is done");
    let tables = config.tables.names().chain(["rejected"]);
    (report, tables.map(|table| (table.to_owned(), sums.of(table))).collect())
}

#[test]
fn every_table_is_that_of_a_run_with_enough_memory() {
    let shop = Shop::generated("0.005");
    let all = Catalog::standard;
    let (report, expected) = run(shop.input(), &job(all(), 2, None));
    assert_eq!(report.spilled_bytes, 0);
    assert!(expected.iter().all(|(table, sum)| table == "rejected" || sum.is_some_and(|sum| sum != 0)));
    for workers in [1, 2, 4] {
        let (report, found) = run(shop.input(), &job(all(), workers, Some(LITTLE)));
        assert_eq!(found, expected, "{workers} workers");
        assert!(report.spilled_bytes > 2_000_000, "{} bytes", report.spilled_bytes);
    }
    let (report, found) = run(shop.input(), &job(all(), 2, Some(64 << 30)));
    assert_eq!((found, report.spilled_bytes), (expected, 0), "waves with enough memory");
}

#[test]
fn dirty_rows_text_ids_and_guests_come_in_waves_too() {
    let shop = Shop::small();
    let (report, expected) = run(shop.input(), &job(Catalog::standard(), 2, None));
    assert!(report.inputs.iter().any(|table| table.rejected > 0));
    let (of_waves, found) = run(shop.input(), &job(Catalog::standard(), 2, Some(1)));
    assert_eq!(found, expected);
    assert!(of_waves.spilled_bytes > 0);
    for (found, expected) in of_waves.inputs.iter().zip(&report.inputs) {
        let counts =
            |table: &millstream::report::InputReport| (table.read, table.rejected, table.duplicates, table.current);
        assert_eq!(counts(found), counts(expected));
    }

    let mut orders = String::from("order_id,customer_id,product_id,order_date,quantity,discount,note\n");
    for id in 0..3_000_u32 {
        let customer = if id % 3 == 0 { String::new() } else { format!("customer {}", id % 70) };
        let note = "a note ".repeat(id as usize % 40);
        orders += &format!("o{},{customer},p{},2024-01-{:02},1,0.1,{note}\n", id % 2_900, id % 50, id % 28 + 1);
    }
    shop.write("orders.csv", &orders);
    shop.write("products.csv", "product_id,price,category\np1,2.5,Tea\np2,3,Tea\n");
    shop.write("customers.csv", "customer_id,city\ncustomer 1,Ulm\n");
    let expected = run(shop.input(), &job(Catalog::standard(), 2, None)).1;
    assert_eq!(run(shop.input(), &job(Catalog::standard(), 2, Some(1))).1, expected);
    assert_eq!(run(shop.input(), &job(Catalog::standard(), 3, Some(300_000))).1, expected);
}

#[test]
fn each_table_comes_alone_too() {
    let shop = Shop::generated("0.002");
    let all = Catalog::standard();
    for table in all.names() {
        let only = || Catalog::standard().select(&[table]).expect("it is a table");
        let expected = run(shop.input(), &job(only(), 2, None)).1;
        assert_eq!(run(shop.input(), &job(only(), 2, Some(LITTLE))).1, expected, "{table}");
    }
    // A sink that wants but one of them, and not the one that is joined where it ends.
    let rows = |bytes| {
        let (source, tables) = (InputConfig::at(&shop.input()).open(), MemoryTables::of(&["rfm_analysis"]));
        let config = job(Catalog::standard(), 2, bytes);
        let sinks = vec![Box::new(tables.clone()) as _];
        run_with(&config, Arc::new(source.expect("a shop")), sinks, &Arc::default()).expect("the job is done");
        let mut rows = as_lines(&tables.read("rfm_analysis").expect("it is kept").1);
        rows.sort_unstable();
        rows
    };
    assert_eq!(rows(Some(LITTLE)), rows(None));
}

/// A table of a program that reads no order lines.
struct Products;

impl Table for Products {
    type Row<I: Id> = I;

    fn name(&self) -> &str {
        "products"
    }

    fn key(&self) -> &[&str] {
        &["product_id"]
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>> {
        job.products().map(|(id, _)| id)
    }

    fn columns<I: ShopId>(&self, rows: &[Self::Row<I>], layout: &Layout) -> Result<Vec<TableColumn>> {
        Ok(vec![("product_id".into(), ids(rows.iter().map(Some), layout.product_id())?)])
    }

    fn allows_waves(&self) -> bool {
        true
    }
}

/// Its end is closed before the first wave, which must not keep the others back.
#[test]
fn a_run_ends_whose_tables_are_done_before_the_orders() {
    let shop = Shop::generated("0.005");
    let tables = || Catalog::standard().select(&["product_features"]).expect("it is a table").with(Products);
    let expected = run(shop.input(), &job(tables(), 2, None)).1;
    assert_eq!(run(shop.input(), &job(tables(), 2, Some(LITTLE))).1, expected);
}

#[test]
fn processes_spill_each_for_itself_and_must_agree() {
    let shop = Shop::generated("0.005");
    let config = |output: &str| {
        let mut config = RunConfig::new(&shop.input(), &shop.path(output), Day::from_ymd(1998, 12, 31).expect("a day"));
        config.job.workers = 1;
        config
    };
    batch::run(&config("expected"), &Arc::default()).expect("the run is done");
    let addresses = hosts(2);
    let run_two = |bytes: [Option<u64>; 2]| {
        let process = |process: usize| {
            let mut config = config("out");
            let hosts = addresses.split(',').map(str::to_owned).collect();
            config.job.cluster = Some(ClusterConfig::new(process, hosts));
            config.job.memory = bytes[process].map(|bytes| MemoryBudget { bytes, folder: None });
            batch::run(&config, &Arc::default())
        };
        thread::scope(|scope| {
            let second = scope.spawn(|| process(1));
            [process(0), second.join().expect("no panic")]
        })
    };
    let refused = run_two([Some(LITTLE), None]).into_iter().map(|done| done.expect_err("they differ").to_string());
    let refused: Vec<_> = refused.collect();
    assert!(refused.iter().any(|error| error.contains("memory limit")), "{refused:?}");
    let [report, _] = run_two([Some(LITTLE); 2]).map(|done| done.expect("the run is done"));
    assert!(report.spilled_bytes > 2_000_000, "{} bytes by both", report.spilled_bytes);
    for table in shop.tables() {
        assert_eq!(shop.rows(&table), rows_of(&shop, "expected", &table), "{table}");
    }
}

#[test]
fn a_shop_without_orders_has_its_tables() {
    let shop = Shop::small();
    shop.write("orders.csv", "order_id,customer_id,product_id,order_date,quantity,discount\n");
    let expected = run(shop.input(), &job(Catalog::standard(), 2, None)).1;
    assert_eq!(run(shop.input(), &job(Catalog::standard(), 2, Some(LITTLE))).1, expected);
}

#[test]
fn rows_that_functions_reject_are_those_of_a_run_with_enough_memory() {
    let shop = Shop::generated("0.002");
    let with_function = |bytes| {
        let mut config = job(Catalog::standard().defaults(), 2, bytes);
        let picky = |name: Text| if name.len().is_multiple_of(3) { Err("too long".to_owned()) } else { Ok(name) };
        config.functions.register(Udf::scalar("picky", picky)).expect("the name is free");
        config.derived = vec![DerivedColumn {
            table: "enriched_data".into(),
            name: "picked".into(),
            function: "picky".into(),
            columns: vec!["product_name".into()],
            on_failure: Some(OnFailure::Reject),
            memory_bytes: None,
        }];
        config
    };
    let (report, expected) = run(shop.input(), &with_function(None));
    let (of_waves, found) = run(shop.input(), &with_function(Some(LITTLE)));
    assert_eq!(found, expected);
    let rejected = |report: &Report| report.rejections.iter().map(|reason| reason.rows).sum::<u64>();
    assert_eq!(rejected(&of_waves), rejected(&report));
    assert!(rejected(&report) > 1_000 && of_waves.spilled_bytes > 0);
}

/// A table of a program: for each customer among the five with most orders, the number of order lines. It looks lines
/// up after later customers have come, so it does not allow waves.
struct Busiest;

impl Table for Busiest {
    type Row<I: Id> = (Option<I>, i64);

    fn name(&self) -> &str {
        "busiest"
    }

    fn key(&self) -> &[&str] {
        &["customer_id"]
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>> {
        let counts = job.customer_patterns().map(|pattern| ((), (pattern.orders, pattern.customer)));
        let busiest = millstream::operators::top_k(counts, "Busiest", 5, 1 << 20);
        let busiest = busiest.map(|((), (_, customer))| (customer, ())).arrange_by_key();
        let lines = inner_join(job.lines_by_customer(), busiest, "Lines", |customer, _, ()| customer.clone());
        differential_dataflow::operators::CountTotal::count_total(lines)
            .map(|(customer, lines)| (customer, lines as i64))
    }

    fn columns<I: ShopId>(&self, rows: &[Self::Row<I>], layout: &Layout) -> Result<Vec<TableColumn>> {
        Ok(vec![
            ("customer_id".into(), ids(rows.iter().map(|row| row.0.as_ref()), layout.customer_id())?),
            ("lines".into(), Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)))),
        ])
    }
}

#[test]
fn a_table_that_does_not_allow_waves_is_right_and_nothing_is_spilled() {
    let shop = Shop::generated("0.002");
    let tables = || Catalog::standard().defaults().with(Busiest);
    let expected = run(shop.input(), &job(tables(), 2, None)).1;
    let (report, found) = run(shop.input(), &job(tables(), 2, Some(LITTLE)));
    assert_eq!((found, report.spilled_bytes), (expected, 0));
}

#[test]
fn files_are_those_of_a_run_with_enough_memory_and_nothing_is_left_beside_them() {
    let shop = Shop::generated("0.005");
    let config = |output: &str, bytes: Option<u64>| {
        let mut config = RunConfig::new(&shop.input(), &shop.path(output), Day::from_ymd(1998, 12, 31).expect("a day"));
        config.job.memory = bytes.map(|bytes| MemoryBudget { bytes, folder: None });
        config
    };
    batch::run(&config("expected", None), &Arc::default()).expect("the run is done");
    let report = batch::run(&config("out", Some(LITTLE)), &Arc::default()).expect("the run is done");
    assert!(report.spilled_bytes > 0 && report.to_string().contains(" MiB spilled"), "{report}");
    let names = |folder: &str| {
        let mut names: Vec<_> = fs::read_dir(shop.path(folder))
            .expect("a folder")
            .map(|entry| entry.expect("a name").file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("out"), names("expected"));
    for table in shop.tables() {
        let found = shop.rows(&table);
        assert_eq!(found, rows_of(&shop, "expected", &table), "{table}");
    }
}

/// The rows of a table in a folder of the shop, as [`Shop::rows`] gives them.
fn rows_of(shop: &Shop, folder: &str, table: &str) -> Vec<String> {
    let (kept, out) = (shop.path("kept"), shop.output());
    fs::rename(&out, &kept).expect("renamed");
    fs::rename(shop.path(folder), &out).expect("renamed");
    let rows = shop.rows(table);
    fs::rename(&out, shop.path(folder)).expect("renamed");
    fs::rename(kept, out).expect("renamed");
    rows
}

#[test]
fn a_folder_that_takes_no_file_is_named_and_the_former_tables_stay() {
    let shop = Shop::generated("0.002");
    let config = |memory| {
        let mut config = RunConfig::new(&shop.input(), &shop.output(), Day::from_ymd(1998, 12, 31).expect("a day"));
        config.job.memory = memory;
        config
    };
    batch::run(&config(None), &Arc::default()).expect("the run is done");
    let before = shop.files("enriched_data");
    let folder = Some(shop.path("nowhere"));
    let error = batch::run(&config(Some(MemoryBudget { bytes: LITTLE, folder })), &Arc::default());
    let error = error.expect_err("there is no such folder").to_string();
    assert!(error.contains("nowhere: found no folder in which files can be made"), "{error}");
    assert!(error.contains("--spill-folder"), "{error}");
    assert_eq!(shop.files("enriched_data"), before);
}

/// Orders that carry long texts: far more than the limit, which the command enforces.
#[test]
fn the_command_stays_within_its_limit_and_says_what_it_spilled() {
    let shop = Shop::small();
    let (mut dice, mut orders) = (fastrand::Rng::with_seed(5), String::new());
    orders += "order_id,customer_id,product_id,order_date,quantity,discount,note\n";
    for id in 0..60_000 {
        let note = format!("{:016x}", dice.u64(..)).repeat(250);
        orders += &format!("{id},{},{},2024-01-{:02},1,0,{note}\n", id % 4_000, id % 50, id % 28 + 1);
    }
    shop.write("orders.csv", &orders);
    shop.write("customers.csv", "customer_id\n1\n");
    fs::create_dir(shop.path("spill")).expect("a folder");
    let folder = shop.path("spill").display().to_string();
    let tables = ["--tables", "customer_patterns,product_sales,enriched_data", "--memory-limit"];
    let done = shop.run(&[&tables[..], &["420MB", "--batch-size", "500", "--spill-folder", &folder]].concat());
    check(&done, 0, &["orders that do not fit the memory limit wait in"]);
    assert!(done.stdout.contains(" MiB spilled; run "), "{done:?}");
    assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 0, "files have no names");
    let orders: usize = shop.read("enriched_data").iter().map(|rows| rows.num_rows()).sum();
    assert_eq!((orders, shop.rows("customer_patterns").len()), (60_000, 4_000));
    let refused = shop.run(&[&tables[..], &["420MB", "--spill-folder", "/nowhere"]].concat());
    check(&refused, 2, &["/nowhere: found no folder in which files can be made", "No such file", "--spill-folder"]);
}
