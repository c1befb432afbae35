//! The command on real files: output, messages and exit status.

mod files;

use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Decimal128Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use files::{Shop, check, command, finish, millstream, read_csv, write_parquet};

/// The sorted tables; the row order of the others is unspecified.
const ORDERED: [&str; 4] = ["cohort_analysis", "daily_sales", "product_sales", "rejected"];
const TABLES: [&str; 8] = [
    "cohort_analysis",
    "customer_patterns",
    "customer_product_matrix",
    "daily_sales",
    "enriched_data",
    "product_sales",
    "rejected",
    "rfm_analysis",
];

#[test]
fn config_tells_each_setting_and_where_it_is_from() {
    let shop = Shop::small();
    let file = shop.path("config.yaml");
    fs::write(&file, "{as_of: 2024-12-31, late: {after: 30d, then: reject}, output: {format: csv}}").expect("written");
    let config = |args: &[&str]| {
        let mut config = command(&["config", "--config", file.to_str().expect("text"), "--input", "in"]);
        config.args(args).env("MILLSTREAM_WORKERS", "3");
        finish(config)
    };
    let done = config(&["--format", "jsonl", "--output", "out"]);
    check(&done, 0, &[]);
    for (setting, value, from, default) in [
        ("as_of", "2024-12-31", "config file", "today, in time_zone"),
        ("late", r#"{"after":"30d","then":"reject"}"#, "config file", "accepted"),
        ("output.format", "jsonl", "--format", "parquet"),
        ("processing.parallelism", "3", "MILLSTREAM_WORKERS", "the machine's cores"),
        ("matrix_size", "10", "default", "10"),
        ("--checkpoint-every", "64MB", "default", "64MB"),
    ] {
        let line = done.stdout.lines().find(|line| line.split("  ").next() == Some(setting)).expect(setting);
        let cells: Vec<_> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells, [setting, value, from, default]);
    }
    // What is wrong comes after the settings.
    let done = config(&[]);
    check(&done, 2, &["no output folder"]);
    assert!(done.stdout.contains("data.output_path"));
    check(&config(&["--output", "out", "--durability", "some"]), 2, &["durability: found some"]);
}

#[test]
fn the_tables_of_a_small_shop_are_those_worked_out_by_hand() {
    let shop = Shop::small();
    check(&shop.run(&["--format", "csv"]), 0, &[]);
    assert_eq!(shop.tables(), TABLES);
    for table in TABLES {
        let made = read_csv(&shop.output().join(table), !ORDERED.contains(&table));
        let path = format!("tests/golden/{table}.csv");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &made).expect("written");
        }
        assert_eq!(made, fs::read_to_string(&path).expect("a golden file"), "{table}");
        assert!(shop.output().join(table).join("_SUCCESS").is_file());
    }
}

#[test]
fn json_lines_nested_folders_and_other_names_give_the_same_tables() {
    let shop = Shop::small();
    check(&shop.run(&[]), 0, &[]);
    let daily = shop.rows("daily_sales");
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    // The last row of an order wins, so the files are named in the order of the rows.
    shop.write(
        "orders/a=1/1.jsonl",
        r#"{"no": 1, "customer_id": 1, "product_id": 10, "order_date": "2024-01-05", "quantity": 2, "discount": 0.1}
{"no": "2", "customer_id": 1, "product_id": "11", "order_date": "2024-01-05T23:59:59Z", "quantity": 1.0}

{"no": 3, "customer_id": 2, "product_id": 10, "order_date": "2024-02-01", "quantity": 3}
{"no": 4, "customer_id": 2, "product_id": 99, "order_date": "2024-02-03", "quantity": 1, "discount": 0.5}
no json
{"no": 5, "product_id": 10, "order_date": "2024-02-03", "quantity": 1}
"#,
    );
    shop.write(
        "orders/a=2/2.ndjson",
        r#"{"no": 6, "customer_id": 1, "product_id": 12, "order_date": "2024-03-10", "discount": "0.25"}
{"no": 7, "customer_id": 3, "product_id": 13, "order_date": null, "quantity": 4}
{"no": 3, "customer_id": 2, "product_id": 10, "order_date": "2024-02-01", "quantity": 5}
{"no": 8, "customer_id": 2, "order_date": "2024-03-11", "quantity": 1}
"#,
    );
    shop.write("orders/_not_data.txt", "ignored");
    let config = shop.path("config.yaml");
    fs::write(&config, "columns: {orders: {order_id: no}}").expect("written");
    check(&shop.run(&["--config", config.to_str().expect("text")]), 0, &[]);
    assert_eq!(shop.rows("daily_sales"), daily);
    assert_eq!(shop.rows("rejected").len(), 2, "the line that is no JSON, and the product that costs too much");
    let enriched = shop.read("enriched_data");
    assert_eq!(enriched[0].schema().field_with_name("a").expect("a folder is a column").data_type(), &DataType::Int64);
}

#[test]
fn too_many_rejected_rows_end_the_job() {
    let shop = Shop::small();
    check(&shop.run(&["--max-rejected", "5"]), 0, &[]);
    let before = shop.files("daily_sales");
    check(&shop.run(&["--max-rejected", "4"]), 3, &["more than 4 rows rejected", "max_rejected"]);
    assert_eq!(shop.files("daily_sales"), before);
}

#[test]
fn what_is_asked_wrongly_ends_with_status_2() {
    let shop = Shop::small();
    check(&millstream(&["run"]), 2, &["no input folder", "--input", "INPUT_PATH", "data.input_path"]);
    check(&millstream(&["run", "--imput", "x"]), 2, &["--imput"]);
    check(&shop.run(&["--workers", "0"]), 2, &["workers: found 0, wanted 1 to 256"]);
    check(&shop.run(&["--as-of", "yesterday"]), 2, &["as_of: yesterday is not a date"]);
    check(&shop.run(&["--time-zone", "Atlantis"]), 2, &["time_zone: Atlantis"]);
    check(&shop.run(&["--tables", "daily_sale"]), 2, &["no table daily_sale", "did you mean daily_sales?"]);
    check(&shop.run(&["--partition-by", "galaxy"]), 2, &["partition_by: no column galaxy", "order_id"]);
    check(&shop.run(&["--format", "csv", "--compression", "lz4"]), 2, &["lz4 is for Parquet"]);
    for (text, words) in [
        ("output: {compresion: snappy}", ["unknown key output.compresion", "did you mean output.compression?"]),
        ("inputpath: x", ["unknown key inputpath", "known are"]),
        ("matrix_size: ten", ["config.yaml", "matrix_size"]),
        ("output: {compression: brotli}", ["config.yaml", "brotli"]),
        ("tiers: [{name: A, from: 1}, {name: B, from: 2}, {name: C}]", ["tiers", "lower bound"]),
        ("a: [", ["config.yaml", ""]),
        ("columns: {shops: {a: b}}", ["columns: no table shops", ""]),
        ("cluster: {process: 0, hosts: [a, b]}", ["cluster: the host of process 0", "wanted host:port"]),
    ] {
        let config = shop.path("config.yaml");
        fs::write(&config, text).expect("written");
        check(&shop.run(&["--config", config.to_str().expect("text")]), 2, &words);
    }
    assert!(!shop.output().join("daily_sales").exists());
}

#[test]
fn an_output_that_cannot_be_written_ends_with_status_1() {
    let shop = Shop::small();
    fs::write(shop.output(), "a file where the folder should be").expect("written");
    check(&shop.run(&[]), 1, &["out", "can't be written"]);
}

#[test]
fn flags_win_over_environment_and_environment_over_file() {
    let shop = Shop::small();
    let config = shop.path("config.yaml");
    let input = shop.input();
    fs::write(
        &config,
        format!("data: {{input_path: {}}}\nmatrix_size: 1\ntables: customer_product_matrix", input.display()),
    )
    .expect("written");
    let rows = |flag: Option<&str>, variable: Option<&str>| {
        let mut command = command(&["run", "--workers", "1"]);
        command.arg("--config").arg(&config).env("OUTPUT_PATH", shop.output());
        variable.map(|value| command.env("MILLSTREAM_MATRIX_SIZE", value));
        flag.map(|value| command.args(["--matrix-size", value]));
        check(&finish(command), 0, &[]);
        shop.rows("customer_product_matrix").len()
    };
    // Customer 1 has three orders, 2 has three, 3 has one, and so have the guests.
    assert_eq!(rows(None, None), 4);
    assert_eq!(rows(None, Some("2")), 6);
    assert_eq!(rows(Some("3"), Some("2")), 8);
    assert_eq!(shop.tables(), ["customer_product_matrix", "rejected"]);
}

#[test]
fn the_config_that_data_teams_have_works_as_it_stands() {
    let shop = Shop::small();
    let config = shop.path("config.yaml");
    let text = r#"data:
  input_path: "/data/input"          # --input,  INPUT_PATH
  output_path: "/data/output"        # --output, OUTPUT_PATH
  checkpoint_path: "/data/checkpoint"
processing:
  batch_size: 10000                  # rows per Arrow batch read
  parallelism: 4                     # --workers; default: the machine's cores
  cache_enabled: true                # accepted; indexes are always shared
output:
  format: "parquet"
  compression: "snappy"
  partition_by: ["year", "month"]
"#;
    fs::write(&config, text).expect("written");
    let mut command = command(&["run", "--config", config.to_str().expect("text")]);
    command.env("INPUT_PATH", shop.input()).env("OUTPUT_PATH", shop.output());
    let ignored = ["processing.cache_enabled has no effect"];
    check(&finish(command), 0, &ignored);
    let files = shop.files("enriched_data");
    for folder in ["year=2024/month=1/", "year=2024/month=3/", "year=__HIVE_DEFAULT_PARTITION__/month=__HIVE"] {
        assert!(files.iter().any(|file| file.starts_with(folder)), "{folder} in {files:?}");
    }
    assert!(files.iter().all(|file| file.ends_with(".snappy.parquet")));
    assert_eq!(shop.rows("enriched_data").len(), 8);
}

#[test]
fn every_codec_and_format_holds_the_same_rows() {
    let shop = Shop::small();
    check(&shop.run(&[]), 0, &[]);
    let rows = shop.rows("enriched_data");
    for (codec, ending) in
        [("zstd", ".zstd.parquet"), ("gzip", ".gz.parquet"), ("lz4", ".lz4.parquet"), ("none", ".parquet")]
    {
        check(&shop.run(&["--compression", codec]), 0, &[]);
        assert_eq!(shop.rows("enriched_data"), rows, "{codec}");
        assert!(shop.files("enriched_data").iter().all(|file| file.ends_with(ending)));
    }
    for (format, codec, ending) in
        [("csv", "gzip", ".csv.gz"), ("jsonl", "zstd", ".jsonl.zst"), ("jsonl", "none", ".jsonl")]
    {
        check(&shop.run(&["--format", format, "--compression", codec]), 0, &[]);
        assert!(shop.files("enriched_data").iter().all(|file| file.ends_with(ending)), "{ending}");
    }
    let lines = fs::read_to_string(shop.output().join("enriched_data").join(&shop.files("enriched_data")[0]));
    assert_eq!(lines.expect("text").lines().count(), rows.len());
}

#[test]
fn buckets_hold_what_hashes_to_them_in_sorted_files() {
    let shop = Shop::generated("0.001");
    let config = shop.path("config.yaml");
    let text = "output: {bucket_by: {columns: [customer_id], buckets: 4}, sort_by: [customer_id, order_id]}";
    fs::write(&config, text).expect("written");
    check(&shop.run(&["--config", config.to_str().expect("text")]), 0, &[]);
    let mut seen = std::collections::BTreeMap::new();
    for file in shop.files("enriched_data") {
        let bucket = file.split('_').next_back().and_then(|end| end.split('.').next()).map(str::to_owned);
        let bucket = bucket.expect("a bucket's number");
        let mut rows = Vec::new();
        for batch in files::read_parquet(&shop.output().join("enriched_data").join(&file)) {
            let column = |name| {
                batch.column_by_name(name).and_then(|array| array.as_any().downcast_ref::<Int64Array>().cloned())
            };
            let (customers, orders) = (column("customer_id").expect("ids"), column("order_id").expect("ids"));
            rows.extend(customers.iter().zip(orders.iter()));
        }
        assert!(rows.is_sorted(), "{file}");
        for (customer, _) in rows {
            assert_eq!(seen.entry(customer).or_insert_with(|| bucket.clone()), &bucket, "one bucket a customer");
        }
    }
    assert!(seen.len() > 50);
}

#[test]
fn the_number_of_files_follows_their_size_and_not_the_workers() {
    let shop = Shop::generated("0.02");
    for workers in ["1", "4"] {
        check(&shop.run(&["--workers", workers]), 0, &[]);
        assert!(TABLES.iter().all(|table| shop.files(table).len() == 1), "{workers} workers");
        check(&shop.run(&["--workers", workers, "--target-file-size", "500KB"]), 0, &[]);
        let files = shop.files("enriched_data");
        assert!((3..9).contains(&files.len()), "{workers} workers: {files:?}");
    }
}

#[test]
fn the_tables_do_not_depend_on_the_workers_or_on_how_rows_are_read() {
    let shop = Shop::generated("0.002");
    let read = |args: &[&str]| {
        check(&shop.run(args), 0, &[]);
        TABLES.map(|table| shop.rows(table))
    };
    let one = read(&["--workers", "1"]);
    assert_eq!(one, read(&["--workers", "2", "--batch-size", "7"]));
    assert_eq!(one, read(&["--workers", "4", "--batch-size", "100000"]));
}

/// Text product ids do not make order ids text: 10 sorts after 9.
#[test]
fn only_the_ids_that_are_text_somewhere_are_text() {
    let shop = Shop::empty();
    let order = |id| format!("{id},7,SKU-{id},2024-01-01,1,0\n");
    let orders: String = (8..12).map(order).collect();
    shop.write("orders.csv", &format!("order_id,customer_id,product_id,order_date,quantity,discount\n{orders}"));
    shop.write("products.csv", "product_id,price,category\nSKU-9,1.0,A\nSKU-10,2.0,A\n");
    shop.write("customers.csv", "customer_id,nothing\n7,\n");
    check(&shop.run(&[]), 0, &[]);
    let matrix = shop.rows("customer_product_matrix");
    assert_eq!(matrix, ["7,SKU-10,2.0,2", "7,SKU-11,,1", "7,SKU-8,,4", "7,SKU-9,1.0,3"]);
    let schema = shop.read("enriched_data")[0].schema();
    assert_eq!(schema.field_with_name("order_id").expect("a column").data_type(), &DataType::Int64);
    assert_eq!(schema.field_with_name("product_id").expect("a column").data_type(), &DataType::Utf8);
    // Numbers in one table and text in the other are compared as text.
    shop.write("customers.csv", "customer_id,name\n7,Ada\nx,Nobody\n");
    check(&shop.run(&[]), 0, &[]);
    assert!(shop.rows("enriched_data").iter().all(|row| row.contains("Ada")));
}

#[test]
fn decimals_stay_decimals() {
    let shop = Shop::small();
    fs::remove_file(shop.input().join("products.csv")).expect("removed");
    let ids = Arc::new(Int64Array::from(vec![10, 11]));
    let names = Arc::new(StringArray::from(vec!["A", "B"]));
    let prices = Decimal128Array::from(vec![1999, 450]).with_precision_and_scale(12, 2).expect("fits");
    let batch = RecordBatch::try_from_iter([
        ("product_id", ids as _),
        ("category", names as _),
        ("price", Arc::new(prices) as _),
    ]);
    write_parquet(&shop, "products/p.parquet", &batch.expect("a batch"));
    check(&shop.run(&[]), 0, &[]);
    let enriched = &shop.read("enriched_data")[0];
    assert_eq!(enriched.column_by_name("price").expect("a column").data_type(), &DataType::Decimal128(12, 2));
    assert_eq!(enriched.column_by_name("total_amount").expect("a column").data_type(), &DataType::Decimal128(38, 8));
    let daily = shop.rows("daily_sales");
    assert!(daily.contains(&"2024-01-05,40.48200000,1,20.24100000".to_owned()), "{daily:?}");
}

#[test]
fn the_same_flags_generate_the_same_bytes() {
    let (one, two) = (Shop::generated("0.3"), Shop::generated("0.3"));
    for file in [
        "orders/part-00000.parquet",
        "orders/part-00001.parquet",
        "products/part-00000.parquet",
        "customers/part-00000.parquet",
    ] {
        let bytes = |shop: &Shop| fs::read(shop.input().join(file)).expect("a file");
        assert!(bytes(&one) == bytes(&two), "{file}");
    }
    let again = millstream(&["generate", "--scale", "0.3", "--output", one.input().to_str().expect("text")]);
    check(&again, 2, &["orders: is not empty"]);
    check(&millstream(&["generate", "--scale", "-1", "--output", "x"]), 2, &["--scale"]);
}

#[test]
fn the_report_adds_up() {
    let shop = Shop::small();
    let report = shop.path("report.json");
    check(&shop.run(&["--report", report.to_str().expect("text")]), 0, &[]);
    let report: serde_json::Value = serde_json::from_str(&fs::read_to_string(report).expect("a report")).expect("JSON");
    let orders = report["inputs"].as_array().expect("a list").iter().find(|table| table["name"] == "orders");
    let orders = orders.expect("orders");
    assert_eq!((&orders["read"], &orders["rejected"], &orders["duplicates"]), (&13.into(), &4.into(), &1.into()));
    let enriched = report["tables"].as_array().expect("a list").iter().find(|table| table["name"] == "enriched_data");
    assert_eq!(enriched.expect("enriched")["rows"], 8);
}

#[test]
fn a_killed_run_leaves_the_former_tables_and_the_next_one_cleans_up() {
    let shop = Shop::generated("0.02");
    check(&shop.run(&[]), 0, &[]);
    let whole = TABLES.map(|table| shop.rows(table));
    for milliseconds in (0..12).map(|step| 40 * step * step) {
        let mut running = shop.command(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(milliseconds));
        running.kill().expect("it can be killed");
        running.wait().expect("it has ended");
        assert_eq!(TABLES.map(|table| shop.rows(table)), whole, "killed after {milliseconds} ms");
    }
    check(&shop.run(&[]), 0, &[]);
    assert_eq!(TABLES.map(|table| shop.rows(table)), whole);
    let left = |folder: &str| fs::read_dir(shop.output().join(".millstream").join(folder)).expect("a folder").count();
    assert_eq!((left("staging"), left("runs"), left("")), (0, 2, 4), "current, lock, runs and staging");
}

#[test]
fn the_demo_shows_what_moved() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("demo");
    let done = millstream(&["demo", "--scale", "0.001", "--workers", "2", "--output", output.to_str().expect("text")]);
    check(&done, 0, &[]);
    for words in ["customer_product_matrix", "is corrected", "another price", "is deleted", "→", "median"] {
        assert!(done.stdout.contains(words), "{words} in {done:?}");
    }
    assert!(!done.stdout.contains("median 0 µs"), "times are recorded as they are: {done:?}");
    assert!(output.join("tables/daily_sales/_SUCCESS").is_file());
}

#[test]
fn an_interrupted_demo_can_be_repeated_and_data_of_others_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = |name: &str| {
        let output = folder.path().join(name);
        millstream(&["demo", "--scale", "0.001", "--workers", "1", "--output", output.to_str().expect("text")])
    };
    check(&demo("mine"), 0, &[]);
    fs::remove_dir_all(folder.path().join("mine/shop/customers")).expect("removed");
    check(&demo("mine"), 0, &[]);
    let orders = folder.path().join("theirs/shop/orders");
    fs::create_dir_all(&orders).expect("a folder");
    fs::write(orders.join("orders.csv"), "order_id\n").expect("written");
    for _ in 0..2 {
        check(&demo("theirs"), 2, &["is not empty"]);
    }
    assert!(orders.join("orders.csv").is_file());
}
