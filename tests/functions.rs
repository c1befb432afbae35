//! Functions and models in the config: their output, and the messages of invalid ones.

mod files;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::AsArray;
use chrono_tz::Tz;
use files::{Done, Shop};
use millstream::batch::run;
use millstream::config::{RunArgs, RunConfig};
use millstream::forest::{Forest, Training};
use millstream::model::{AnyId, Change, InputTable, Product, Text, TextMap};
use millstream::runtime::{Live, Progress};
use millstream::sinks::{ChangeFeed, Sink, TableChanges};
use millstream::sources::{FileOptions, FileSource, changes};
use millstream::udf::{Udf, Value as _};
use serde_json::{Value, json};

const PRODUCTS: &str = r#"product_id,product_name,category,price,brand,metadata
1,  Big  TEAPOT ,Kitchen,99.99,Bodum,"{""colour"": ""red"", ""size"": 1.50, ""tags"": [1, 2]}"
2,Teacup,Kitchen,100,,{broken
3,,Kitchen,500,Bodum,
4,Lamp,,,Arne,"[""no object""]"
"#;
const ORDERS: &str = "order_id,customer_id,product_id,order_date,quantity,discount
1,1,1,2024-01-05,2,0.1
2,1,2,2024-01-06,1,
3,2,1,2024-02-01,3,0
4,2,99,2024-02-03,1,0.5
5,,3,2024-02-03,1,0
";

fn shop() -> Shop {
    let shop = Shop::empty();
    shop.write("products.csv", PRODUCTS);
    shop.write("orders.csv", ORDERS);
    shop.write("customers.csv", "customer_id\n1\n2\n");
    shop
}

fn configured(shop: &Shop, config: &str, args: &[&str]) -> Done {
    let path = shop.path("config.yaml");
    fs::write(&path, config).expect("written");
    shop.run(&[&["--format", "jsonl", "--config", path.to_str().expect("text")], args].concat())
}

/// The rows of a table written as JSON lines.
fn rows(shop: &Shop, table: &str) -> Vec<Value> {
    let text: String = shop
        .files(table)
        .iter()
        .map(|file| fs::read_to_string(shop.output().join(table).join(file)).expect("text"))
        .collect();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.into_iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn column(rows: &[Value], name: &str) -> Vec<Value> {
    rows.iter().map(|row| row[name].clone()).collect()
}

fn check(done: &Done, status: i32, words: &[&str]) {
    assert_eq!(done.status, status, "{done:?}");
    words.iter().for_each(|word| assert!(done.stderr.contains(word), "{word:?} in {done:?}"));
}

#[test]
fn the_further_tables_of_a_small_shop_are_those_worked_out_by_hand() {
    let shop = shop();
    check(&configured(&shop, "tables: all", &[]), 0, &[]);
    assert_eq!(shop.tables().len(), 13, "twelve, and what is rejected");
    let features = json!([
        {"product_id": 1, "clean_name": "big teapot", "price_category": "Low",
            "metadata": {"colour": "red", "size": "1.50", "tags": "[1, 2]"}},
        {"product_id": 2, "clean_name": "teacup", "price_category": "Medium", "metadata": {}},
        {"product_id": 3, "price_category": "High", "metadata": {}},
        {"product_id": 4, "clean_name": "lamp", "price_category": "Low", "metadata": {}},
    ]);
    let by_id = |mut rows: Vec<Value>| {
        rows.sort_by_key(|row| row["product_id"].as_i64());
        Value::from(rows)
    };
    assert_eq!(by_id(rows(&shop, "product_features")), features);
    let stats = rows(&shop, "category_stats");
    let kitchen = stats.iter().find(|row| row["category"] == "Kitchen").expect("it has products");
    assert_eq!(kitchen["all_products"], json!(["  Big  TEAPOT ", "Teacup"]));
    assert_eq!((&kitchen["unique_brands"], &kitchen["count"]), (&json!(["Bodum"]), &json!(3)));
    // Prices 99.99, 100 and 500; lines (99.99, 2), (100, 1), (99.99, 3) and (500, 1).
    let close = |name: &str, wanted: f64| {
        let found = kitchen[name].as_f64().expect("a number");
        assert!((found - wanted).abs() < 1e-9 * wanted.abs().max(1.0), "{name} {found}");
    };
    close("avg_price", 233.33);
    close("variance_price", 53_334.666_7);
    close("skewness_price", 0.707_106_779_695);
    close("kurtosis_price", -1.5);
    close("covar_pop", -75.003_75);
    close("covar_samp", -100.005);
    let ranking = rows(&shop, "product_ranking");
    let teapot = ranking.iter().find(|row| row["product_id"] == 1).expect("it was sold");
    // In the kitchen: the cup brought 100, the pot 479.952, the nameless thing 500.
    let wanted = json!({"product_id": 1, "product_name": "  Big  TEAPOT ", "category": "Kitchen", "total_quantity": 5,
        "total_revenue": 479.952, "unique_customers": 2, "row_num": 2, "rank": 2, "dense_rank": 2, "prev_sales": 100.0,
        "next_sales": 500.0, "first_sales": 100.0, "last_sales": 479.952, "second_sales": 479.952,
        "cumulative_dist": 2.0 / 3.0, "percentile_rank": 0.5, "quartile": 2});
    assert_eq!(*teapot, wanted);
    let anomalies = rows(&shop, "order_anomalies");
    assert_eq!(
        column(&anomalies, "final_price"),
        [json!(89.991), json!(100.0), json!(99.99), Value::Null, json!(500.0)]
    );
    assert_eq!(anomalies.iter().filter(|row| row["anomaly_score"].is_null()).count(), 1, "of an unknown product");
}

#[test]
fn no_table_depends_on_the_workers_or_on_how_rows_are_read() {
    let shop = Shop::generated("0.002");
    let made = |args: &[&str]| {
        // A sample that is smaller than the share of any worker.
        check(&configured(&shop, "tables: all\nanomaly: {sample: 500}", args), 0, &[]);
        ["product_ranking", "category_stats", "product_features", "order_anomalies"].map(|table| rows(&shop, table))
    };
    let one = made(&["--workers", "1"]);
    assert!(one.iter().all(|rows| !rows.is_empty()));
    assert_eq!(one, made(&["--workers", "2", "--batch-size", "7"]));
    assert_eq!(one, made(&["--workers", "4"]));
}

#[test]
fn a_bound_in_the_config_changes_the_categories_of_prices() {
    let shop = shop();
    let config = "tables: [product_features]
price_categories: {known: [{name: cheap, below: 99.995}, {name: fair}], unknown: '?'}
udfs: [{table: product_features, function: clean_text, columns: [price_category], as: again}]";
    check(&configured(&shop, config, &[]), 0, &[]);
    let features = rows(&shop, "product_features");
    let mut categories = column(&features, "price_category");
    assert_eq!(categories, column(&features, "again"));
    categories.sort_by_key(Value::to_string);
    assert_eq!(categories, ["cheap", "cheap", "fair", "fair"]);
    for (config, word) in [
        ("price_categories: {known: [{name: a, below: 2}, {name: b, below: 1}, {name: c}]}", "must end above"),
        ("price_categories: {known: [{name: a, below: 2}]}", "the last one must have no bound"),
        ("price_categories: {known: [{name: a, below: two}, {name: b}]}", "the bound of a is not a price"),
        ("price_category: {}", "did you mean price_categories?"),
        ("anomaly: {contamination: 0.7}", "anomaly.contamination: 0.7 is out of range"),
    ] {
        check(&configured(&shop, config, &[]), 2, &[word]);
    }
}

#[test]
fn functions_of_the_config_make_columns_and_may_take_those_made_before() {
    let shop = shop();
    let config = "
udfs:
  - {function: clean_text, columns: [product_name], as: name}
  - {function: calculate_discount, columns: [price, discount], as: final_price}
  - {function: categorize_price, columns: [final_price], as: price_category}
  - {function: parse_json_metadata, columns: [metadata], as: facts, memory: 1MB}
  - {function: weekday, columns: [order_date], as: weekday}
  - {table: daily_sales, function: weekday, columns: [order_date], as: weekday}";
    let report = shop.path("report.json");
    check(&configured(&shop, config, &["--profile", "--report", report.to_str().expect("text")]), 0, &[]);
    let report: Value = serde_json::from_str(&fs::read_to_string(report).expect("text")).expect("JSON");
    let stages = column(report["stages"].as_array().expect("a list"), "name");
    for function in ["clean_text", "calculate_discount", "parse_json_metadata", "weekday"] {
        assert!(stages.contains(&json!(function)), "each function shows by its name: {stages:?}");
    }
    let enriched = rows(&shop, "enriched_data");
    assert_eq!(
        column(&enriched, "final_price"),
        [json!(89.991), json!(100.0), json!(99.99), Value::Null, json!(500.0)]
    );
    assert_eq!(column(&enriched, "price_category"), ["Low", "Medium", "Low", "Unknown", "High"]);
    assert_eq!(column(&enriched, "weekday"), [5, 6, 4, 6, 6]);
    assert_eq!(column(&enriched, "facts")[0]["colour"], "red");
    assert_eq!(column(&enriched, "name")[..2], ["big teapot", "teacup"]);
    assert_eq!(column(&rows(&shop, "daily_sales"), "weekday"), [5, 6, 4, 6]);
    assert!(rows(&shop, "rejected").is_empty());
}

#[test]
fn what_a_config_asks_wrongly_of_functions_is_told() {
    let shop = shop();
    for (udf, words) in [
        (
            "{function: clean_txt, columns: [product_name], as: x}",
            ["udfs: x: no function clean_txt", "did you mean clean_text?"],
        ),
        (
            "{function: clean_text, columns: [product], as: x}",
            ["enriched_data has no column product,", "did you mean product_id?"],
        ),
        (
            "{function: clean_text, columns: [price], as: x}",
            ["can't take column price, a Float64", "wanted one like Utf8"],
        ),
        ("{function: clean_text, columns: [product_name, price], as: x}", ["takes 1 columns, found 2", ""]),
        ("{function: clean_text, columns: [product_name], as: price}", ["has a column of this name already", ""]),
        (
            "{function: clean_text, columns: [product_name], as: x, table: daily}",
            ["udfs.table: no table daily", "daily_sales"],
        ),
        (
            "{function: clean_text, column: [product_name], as: x}",
            ["unknown key udfs.column", "did you mean udfs.columns?"],
        ),
        ("{function: clean_text, columns: [product_name], as: x, on_failure: ignore}", ["config.yaml", "ignore"]),
    ] {
        check(&configured(&shop, &format!("udfs: [{udf}]"), &[]), 2, &words);
        assert!(shop.tables().is_empty());
    }
}

/// Runs the job with an own function over product names.
fn run_with<F>(shop: &Shop, on_failure: &str, function: F) -> millstream::error::Result<()>
where
    F: Fn(Text) -> Result<Text, String> + Send + Sync + 'static,
{
    let path = shop.path("config.yaml");
    let config = format!(
        "udfs: [{{function: mine, columns: [product_name], as: mine, on_failure: {on_failure}}}]\n\
         output: {{format: jsonl}}"
    );
    fs::write(&path, config).expect("written");
    let args = RunArgs {
        input: Some(shop.input()),
        output: Some(shop.output()),
        config: Some(path),
        workers: Some(2),
        ..RunArgs::default()
    };
    let mut config = RunConfig::resolve(&args)?;
    config.job.functions.register(Udf::scalar("mine", function))?;
    run(&config, &Arc::new(Progress::default())).map(|_| ())
}

fn picky(name: Text) -> Result<Text, String> {
    match name.as_str() {
        "Teacup" => Err("no cups".into()),
        name if name.starts_with(' ') => panic!("a space at {}", name.find('B').unwrap_or_default()),
        name => Ok(name.into()),
    }
}

#[test]
fn a_row_that_a_function_cannot_handle_is_rejected_and_a_panic_is_a_reason() {
    let shop = shop();
    run_with(&shop, "reject", picky).expect("the job is done");
    assert_eq!(column(&rows(&shop, "enriched_data"), "order_id"), [4, 5]);
    let rejected = rows(&shop, "rejected");
    assert_eq!(column(&rejected, "table"), ["enriched_data", "enriched_data", "enriched_data"]);
    let mut reasons: Vec<_> = rejected.iter().map(|row| row["reason"].as_str().expect("text")).collect();
    reasons.sort_unstable();
    assert_eq!(reasons[0], "mine (mine): no cups");
    assert!(reasons[1].starts_with("mine (mine): panicked at tests/functions.rs:"), "{reasons:?}");
    assert!(reasons[1].ends_with(": a space at 2"), "{reasons:?}");
    let cup = rejected.iter().find(|row| row["reason"] == "mine (mine): no cups").expect("it is there");
    assert_eq!(serde_json::from_str::<Value>(cup["row"].as_str().expect("text")).expect("JSON")["order_id"], 2);
    assert!(cup["file"].is_null() && cup["row_number"].is_null());
    // The other tables have all orders.
    assert_eq!(
        rows(&shop, "customer_patterns").iter().map(|row| row["total_orders"].as_i64().expect("a count")).sum::<i64>(),
        5
    );
}

#[test]
fn null_in_place_of_rejection_is_for_failures_and_not_for_panics() {
    let shop = shop();
    run_with(&shop, "null", picky).expect("the job is done");
    let enriched = rows(&shop, "enriched_data");
    assert_eq!(column(&enriched, "order_id"), [2, 4, 5]);
    assert!(enriched[0]["mine"].is_null());
    assert_eq!(rows(&shop, "rejected").len(), 2);
}

#[test]
fn a_function_that_is_not_pure_ends_the_job_and_leaves_the_former_tables() {
    let shop = shop();
    run_with(&shop, "reject", Ok).expect("the job is done");
    let before = shop.files("enriched_data");
    let calls = AtomicI64::new(0);
    let numbered = move |name: Text| Ok(Text::from(format!("{name} {}", calls.fetch_add(1, Ordering::Relaxed))));
    let error = run_with(&shop, "reject", numbered).expect_err("it is found out").to_string();
    assert!(error.contains("function mine is not pure: for ("), "{error}");
    assert!(error.contains("when it was called again"), "{error}");
    assert_eq!(shop.files("enriched_data"), before);
}

#[test]
fn a_saved_model_scores_as_it_did_and_what_is_no_model_is_told() {
    let shop = Shop::generated("0.002");
    let path = shop.path("model.json");
    let model = path.to_str().expect("text");
    check(&configured(&shop, "tables: [order_anomalies]", &["--save-model", model]), 0, &[]);
    let trained = rows(&shop, "order_anomalies");
    let below = trained.iter().filter(|row| row["anomaly_score"].as_f64().is_some_and(|score| score < 0.0)).count();
    assert!((trained.len() / 12..=trained.len() / 10).contains(&below), "{below} of {}", trained.len());
    let config = "tables: [order_anomalies, enriched_data]
anomaly: {seed: 7}
udfs: [{function: anomaly_score, columns: [quantity, price, discount], as: score}]";
    check(&configured(&shop, config, &["--model", model]), 0, &[]);
    assert_eq!(rows(&shop, "order_anomalies"), trained, "the seed is of no use to a model that is there");
    let score = |rows: &[Value], name: &str| {
        let mut scores: Vec<_> = rows.iter().map(|row| (row["order_id"].as_i64(), row[name].clone())).collect();
        scores.sort_by_key(|(order, _)| *order);
        scores
    };
    assert_eq!(score(&rows(&shop, "enriched_data"), "score"), score(&trained, "anomaly_score"));
    check(&configured(&shop, config, &[]), 2, &["no function anomaly_score"]);
    check(&configured(&shop, "anomaly: {seed: 8}\ntables: [order_anomalies]", &[]), 0, &[]);
    assert_ne!(rows(&shop, "order_anomalies"), trained);
    fs::write(&path, "{}").expect("written");
    check(&configured(&shop, "", &["--model", model]), 3, &["model.json: not a usable model"]);
    check(&configured(&shop, "", &["--model", "nowhere.json"]), 3, &["nowhere.json"]);
}

/// A live job over the shop, with the picky function for names, and the rows that changes insert and delete.
fn live(shop: &Shop) -> (Live, ChangeFeed) {
    let path = shop.path("config.yaml");
    let config =
        "tables: [enriched_data, order_anomalies]\nudfs: [{function: mine, columns: [product_name], as: mine}]";
    fs::write(&path, config).expect("written");
    let (input, output) = (Some(shop.input()), Some(shop.output()));
    let args = RunArgs { input, output, config: Some(path), workers: Some(2), ..RunArgs::default() };
    let mut config = RunConfig::resolve(&args).expect("a run is possible");
    config.job.functions.register(Udf::scalar("mine", picky)).expect("the name is free");
    let feed = ChangeFeed::new();
    let sinks = vec![Box::new(feed.clone()) as Box<dyn Sink>];
    let source = Arc::new(config.input.open().expect("the shop is there"));
    (Live::start(&config.job, source, sinks, &Arc::new(Progress::default())).expect("the job is live"), feed)
}

/// The number of rows of each table that the last epoch inserted and deleted.
fn counts(changes: &[TableChanges]) -> Vec<(&str, usize, usize)> {
    let count = |table: &TableChanges| (table.plus.num_rows(), table.minus.num_rows());
    changes.iter().map(|table| (table.table.name.as_str(), count(table).0, count(table).1)).collect()
}

#[test]
fn a_live_job_rejects_what_its_functions_cannot_handle_and_takes_it_back() {
    let shop = shop();
    let (mut job, feed) = live(&shop);
    let id = AnyId::from(3);
    let nameless = Product { name: None, ..product(&shop, 3).as_ref().clone() };
    let cup = Product { name: Some("Teacup".into()), ..nameless.clone() };
    job.apply([Change::Product(id.clone(), Some(Arc::new(cup)))]).expect("the job is live");
    let (epoch, changes) = feed.take().expect("an epoch is committed");
    assert_eq!((epoch, counts(&changes)), (1, vec![("enriched_data", 0, 1), ("rejected", 1, 0)]));
    let rejected = |column: &str| {
        let column = changes[1].plus.column_by_name(column).expect("it is there");
        column.as_string::<i32>().value(0).to_owned()
    };
    assert!(rejected("reason").contains("no cups") && rejected("row").contains(r#""order_id":5"#));
    job.apply([Change::Product(id, Some(Arc::new(nameless)))]).expect("the job is live");
    let (epoch, changes) = feed.take().expect("an epoch is committed");
    assert_eq!((epoch, counts(&changes)), (2, vec![("enriched_data", 1, 0), ("rejected", 0, 1)]));
    job.stop().expect("the workers end");
}

fn product(shop: &Shop, id: i64) -> Arc<Product> {
    let source = FileSource::open(&shop.input(), &FileOptions::default()).expect("the input is there");
    let products = changes::<AnyId>(&source, InputTable::Products, Tz::UTC).expect("products are read");
    let product = products.filter_map(|change| match change {
        Ok(Change::Product(of, product)) if of == AnyId::from(id) => product,
        _ => None,
    });
    product.last().expect("it is there")
}

#[test]
fn a_model_given_to_a_live_job_scores_every_order_anew() {
    let shop = shop();
    let (mut job, feed) = live(&shop);
    let points: Vec<_> = (0..100).map(|n| [n % 7, n * 77_777, 0]).collect();
    let model = Forest::train(&points, &Training::default()).expect("it can be trained");
    job.replace_model(Arc::new(model)).expect("the job is live");
    let (_, changes) = feed.take().expect("an epoch is committed");
    assert_eq!(counts(&changes), [("order_anomalies", 4, 4)], "of five orders, one has no price");
    job.stop().expect("the workers end");
}

#[test]
fn as_parquet_the_further_tables_have_lists_and_maps() {
    let shop = shop();
    fs::write(shop.path("config.yaml"), "tables: all").expect("written");
    check(&shop.run(&["--config", shop.path("config.yaml").to_str().expect("text")]), 0, &[]);
    let rows = |table: &str| shop.read(table).iter().map(|batch| batch.num_rows()).sum::<usize>();
    let tables = ["product_ranking", "category_stats", "product_features", "order_anomalies"];
    assert_eq!(tables.map(rows), [4, 2, 4, 5], "the unknown product was sold, too");
    let features = shop.read("product_features");
    let metadata = features[0].column_by_name("metadata").expect("it is there");
    assert_eq!(metadata.data_type(), &TextMap::data_type());
    assert!(
        shop.read("category_stats")[0].column_by_name("all_products").is_some_and(|names| names.data_type().is_list())
    );
}

#[test]
fn what_can_never_be_done_is_told_before_anything_is_written() {
    let shop = shop();
    check(&configured(&shop, "", &["--save-model", "m.json"]), 2, &["no model is trained", "order_anomalies"]);
    let udf = "udfs: [{table: product_features, function: clean_text, columns: [clean_name], as: x}]";
    check(&configured(&shop, udf, &[]), 2, &["the table product_features is not made"]);
    check(&configured(&shop, "tables: all", &["--save-model", "/no/such/folder/m.json"]), 1, &["/no/such/folder"]);
    assert!(shop.tables().is_empty());
    let reject = "max_rejected: 2\nudfs: [{function: calculate_discount, columns: [order_id, order_id], as: x}]";
    shop.write("orders.csv", &ORDERS.replace("1,1,1,2024", "100000000000,1,1,2024"));
    check(&configured(&shop, reject, &[]), 0, &[]);
    check(
        &configured(&shop, &reject.replace('2', "0"), &[]),
        3,
        &["more than 0 rows rejected", "1 × enriched_data: x (calculate_discount) failed", "out of range"],
    );
}

#[test]
fn what_a_function_was_registered_with_holds_unless_the_config_says_otherwise() {
    let shop = shop();
    let made = |or: &str| {
        let path = shop.path("config.yaml");
        fs::write(
            &path,
            format!("udfs: [{{function: mine, columns: [product_name], as: mine{or}}}]\noutput: {{format: jsonl}}"),
        )
        .expect("written");
        let (input, output) = (Some(shop.input()), Some(shop.output()));
        let args = RunArgs { input, output, config: Some(path), ..RunArgs::default() };
        let mut config = RunConfig::resolve(&args).expect("a run is possible");
        config.job.functions.register(Udf::scalar("mine", picky).or_null()).expect("the name is free");
        run(&config, &Arc::new(Progress::default())).expect("the job is done");
        rows(&shop, "enriched_data").len()
    };
    assert_eq!([made(""), made(", on_failure: reject"), made(", on_failure: null")], [3, 2, 3]);
}
