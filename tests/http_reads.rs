//! The server: tables that are read and followed, against a real process over the network.

mod files;
mod served;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Cursor;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arrow::ipc::reader::StreamReader;
use bytes::Bytes;
use fastrand::Rng;
use files::as_json;
use files::serving::{shop_with_folder, stop, tables};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use served::{IsOver, SentEvent, Served, events, order, random_orders, ten_thousandths};

#[test]
fn rows_are_read_in_every_format_and_by_key() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    let days: Vec<Value> =
        (1..=28).map(|day| order(800 + day, day % 3 + 1, day % 4 + 1, &format!("2024-02-{day:02}"), day)).collect();
    served.post_json("orders", &json!(days)).expect(200);
    let mut wanted = served.rows("daily_sales");
    assert!(wanted.len() >= 28);
    // Our reader of the other formats leaves nulls out.
    for row in &mut wanted {
        row.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    }
    let arrow = served.get("/v1/tables/daily_sales?format=arrow").expect(200);
    let batches = StreamReader::try_new(Cursor::new(&arrow.body), None).expect("a stream");
    let parse = |lines: Vec<String>| lines.iter().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let found: Vec<Value> = parse(batches.flat_map(|batch| as_json(&batch.expect("a batch"))).collect());
    assert_eq!(found, wanted);
    let parquet = served.get("/v1/tables/daily_sales?format=parquet").expect(200);
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(parquet.body)).expect("Parquet");
    let batches = reader.build().expect("a reader");
    let found: Vec<Value> = parse(batches.flat_map(|batch| as_json(&batch.expect("a batch"))).collect());
    assert_eq!(found, wanted);
    let csv = served.get("/v1/tables/daily_sales?format=csv").expect(200).text();
    assert_eq!(csv.lines().count(), wanted.len() + 1);
    // Pages, while the table changes.
    let (mut path, mut found) =
        (Some("/v1/tables/daily_sales?limit=5&columns=order_date,daily_revenue".to_owned()), Vec::new());
    let first = served.get("/v1/status").epoch();
    while let Some(page) = path {
        let answer = served.get(&page).expect(200);
        assert_eq!(answer.epoch(), first);
        assert_eq!(answer.headers.contains_key("link"), !answer.json()["next"].is_null());
        found.extend(answer.json()["rows"].as_array().expect("rows").clone());
        path = answer.json()["next"].as_str().map(str::to_owned);
        served.post_json("orders", &json!(order(801, 1, 1, "2024-02-27", found.len() as u64))).expect(200);
    }
    let dates = |rows: &[Value]| {
        rows.iter().filter_map(|row| row["order_date"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(dates(&found), dates(&wanted));
    // Ranges, an order, an older epoch.
    let of = |query: &str| served.get(&format!("/v1/tables/daily_sales?{query}")).expect(200).json();
    let range = of("from=2024-02-10&to=2024-02-12");
    assert_eq!(dates(range["rows"].as_array().expect("rows")), ["2024-02-10", "2024-02-11", "2024-02-12"]);
    assert_eq!(of(&format!("epoch={first}&format=json&key=2024-02-27"))["epoch"], first);
    let sorted = of("order=-daily_revenue&limit=3&columns=daily_revenue");
    let revenues: Vec<_> =
        sorted["rows"].as_array().expect("rows").iter().map(|row| row["daily_revenue"].as_f64()).collect();
    assert!(revenues.len() == 3 && revenues.is_sorted_by(|one, next| one >= next), "{revenues:?}");
    for (path, status, words) in [
        ("/v1/tables/nothing", 404, "there is no table nothing here; there are "),
        ("/v1/tables/daily_sales?key=soon", 400, "key: order_date: found \"soon\", wanted a value of Date32"),
        ("/v1/tables/daily_sales?columns=a", 400, "has no column a; it has order_date"),
        ("/v1/tables/daily_sales?order=a", 400, "has no column a"),
        ("/v1/tables/daily_sales?epoch=1", 410, "epoch 1 is not kept any more"),
        ("/v1/tables/daily_sales?key=2024-01-01&to=2024-01-02", 400, "can't be given together"),
        ("/v1/tables/daily_sales/changes?since=100000", 400, "epoch 100000 is not there yet"),
        ("/v1/tables/daily_sales/changes?since=0", 410, "begin again with ?snapshot=true"),
        ("/nothing", 404, "no such path: /nothing"),
    ] {
        let problem = served.get(path).expect(status).json();
        assert!(problem["detail"].as_str().expect("text").contains(words), "{path}: {problem}");
    }
    stop(served.running);
}

/// The rows of a table as a client has them that follows it.
#[derive(Default)]
struct Followed(BTreeMap<String, i64>);

impl Followed {
    fn apply(&mut self, event: &SentEvent) {
        for (member, weight) in [("rows", 1), ("plus", 1), ("minus", -1)] {
            for row in event.data[member].as_array().into_iter().flatten() {
                *self.0.entry(row.to_string()).or_default() += weight;
            }
        }
        self.0.retain(|_, weight| *weight != 0);
    }

    fn rows(&self) -> Vec<String> {
        assert!(self.0.values().all(|weight| *weight == 1));
        self.0.keys().cloned().collect()
    }
}

fn sorted(rows: &[Value]) -> Vec<String> {
    let mut rows: Vec<_> = rows.iter().map(Value::to_string).collect();
    rows.sort();
    rows
}

/// A snapshot and the changes since are the table, at every epoch, also across `kill -9`.
#[test]
fn who_follows_a_table_has_it_also_after_a_kill() {
    let (shop, mut random) = (shop_with_folder(), Rng::with_seed(3));
    let tables = ["daily_sales", "customer_patterns", "product_sales", "rfm_analysis", "customer_product_matrix"];
    let mut followed: BTreeMap<&str, (Followed, Option<u64>)> = BTreeMap::new();
    for round in 0..4 {
        let served = Served::start(&shop, &["--workers", if round % 2 == 0 { "2" } else { "1" }]);
        let mut streams: Vec<_> = tables
            .iter()
            .map(|table| {
                let last = followed.get(table).and_then(|(_, last)| *last);
                let query = if last.is_none() { "?snapshot=true" } else { "" };
                (*table, events(&served, &format!("/v1/tables/{table}/changes{query}"), last))
            })
            .collect();
        let mut epoch = 0;
        for _ in 0..8 {
            epoch = served.post_json("orders", &random_orders(&mut random)).expect(200).epoch();
        }
        for (table, events) in &mut streams {
            let (rows, last) = followed.entry(table).or_default();
            for event in events {
                assert_ne!(event.kind, "gone", "{table}");
                rows.apply(&event);
                *last = event.id.or(*last);
                if event.id == Some(epoch) {
                    break;
                }
            }
            assert_eq!(rows.rows(), sorted(&served.rows(table)), "{table} at epoch {epoch}");
        }
        // These rows nobody has received when the process is killed.
        served.post_json("orders", &random_orders(&mut random)).expect(200);
        let mut running = served.running;
        running.kill();
        running.end();
    }
}

/// After a start with other tiers, the tables are others: who followed begins again.
#[test]
fn who_follows_begins_again_when_the_tables_are_made_in_another_way() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    let epoch = served.post_json("orders", &json!([order(700, 1, 10, "2024-03-09", 1)])).expect(200).epoch();
    let mut running = served.running;
    running.kill();
    running.end();
    let served = Served::start(&shop, &[]);
    let changes = |served: &Served, since| served.get(&format!("/v1/tables/customer_patterns/changes?since={since}"));
    assert_eq!(served.get("/v1/status").epoch(), epoch, "nothing is made in another way");
    let mut running = served.running;
    running.kill();
    running.end();
    fs::write(shop.path("tiers.yaml"), "tiers: [{name: Best, from: 1}, {name: Rest}]").expect("written");
    let served = Served::start(&shop, &["--config", shop.path("tiers.yaml").to_str().expect("text")]);
    assert_eq!(served.get("/v1/status").epoch(), epoch + 1);
    changes(&served, epoch - 1).expect(410);
    changes(&served, epoch).expect(410);
    let first = events(&served, "/v1/tables/customer_patterns/changes?snapshot=true", None).next().expect("an event");
    assert!(first.data.to_string().contains("Best"), "{first:?}");
    stop(served.running);
}

/// While rows are posted, the sums of three tables are the same in every epoch that is read.
#[test]
fn all_tables_are_of_one_epoch() {
    let (shop, is_over) = (shop_with_folder(), AtomicBool::new(false));
    let served = Served::start(&shop, &[]);
    let reads = thread::scope(|scope| {
        let posting = scope.spawn(|| {
            let mut random = Rng::with_seed(5);
            while !is_over.load(Ordering::Relaxed) {
                let rows = random_orders(&mut random);
                served.post_json("orders", &json!(rows)).expect(200);
            }
        });
        let (over, mut reads) = (IsOver(&is_over), 0);
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(3) {
            let first = served.get("/v1/tables/daily_sales?format=jsonl").expect(200);
            let sum = |text: &str, column: &str| -> i64 {
                let value = |line| serde_json::from_str::<Value>(line).expect("a row")[column].clone();
                text.lines().map(|line| ten_thousandths(&value(line))).sum()
            };
            let wanted = sum(&first.text(), "daily_revenue");
            for (table, column) in [("product_sales", "total_revenue"), ("customer_patterns", "total_spent")] {
                let other = served.get(&format!("/v1/tables/{table}?format=jsonl&epoch={}", first.epoch()));
                if other.status == 410 {
                    continue; // so many epochs later
                }
                assert_eq!(sum(&other.expect(200).text(), column), wanted, "{table} at epoch {}", first.epoch());
                reads += 1;
            }
        }
        drop(over);
        posting.join().expect("no post failed");
        reads
    });
    assert!(reads > 0);
    stop(served.running);
}

/// The rows of an answer, without nulls.
fn rows_of(answer: &Value) -> Vec<Value> {
    let mut rows = answer["rows"].as_array().expect("rows").clone();
    for row in &mut rows {
        row.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    }
    rows
}

/// The values of a column, each once.
fn values(rows: &[Value], column: &str) -> BTreeSet<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    rows.iter().filter(|row| !row[column].is_null()).map(|row| text(&row[column])).collect()
}

/// By order, by customer and by day the same rows are found, after every change and a restart; they are those that are
/// published.
#[test]
fn rows_of_enriched_data_are_looked_up() {
    let (shop, mut random) = (shop_with_folder(), Rng::with_seed(8));
    let path = |column: &str, value: &str| format!("/v1/tables/enriched_data?{column}={value}");
    let mut last = Vec::new();
    for workers in ["1", "2", "4"] {
        let served = Served::start(&shop, &["--workers", workers]);
        let find = |column: &str, value: &str| {
            let answer = served.get(&path(column, value)).expect(200);
            assert_eq!(answer.epoch(), served.get("/v1/status").epoch());
            rows_of(&answer.json())
        };
        for round in 0..4 {
            served.post_json("orders", &random_orders(&mut random)).expect(200);
            let changes = [
                ("products", json!({ "product_id": 11, "product_name": format!("Tea {round}"), "price": 1 + round })),
                ("customers", json!({ "customer_id": 2, "customer_name": format!("name {round}") })),
                ("orders", order(900 + round, 1 + round, 999, "2024-03-06", 1)),
                ("products", json!({ "product_id": 12, "_op": if round == 1 { "d" } else { "u" }, "price": 3 })),
            ];
            let (table, row) = &changes[usize::try_from(round).expect("small")];
            served.post_json(table, &json!([row])).expect(200);
            let by_order: Vec<Value> =
                (1..45).chain(900..904).flat_map(|id: u64| find("order_id", &id.to_string())).collect();
            assert!(by_order.len() > 5);
            for column in ["order_date", "customer_id", "product_id"] {
                let found: Vec<_> = values(&by_order, column).iter().flat_map(|value| find(column, value)).collect();
                let wanted: Vec<_> = by_order.iter().filter(|row| !row[column].is_null()).cloned().collect();
                assert_eq!(sorted(&found), sorted(&wanted), "{column}, round {round}, {workers} workers");
            }
            last = by_order;
        }
        stop(served.running);
        let published = tables(&shop.output());
        let (_, rows) = published.iter().find(|(table, _)| table == "enriched_data").expect("it is published");
        let published: Vec<Value> =
            rows.iter().map(|row| serde_json::from_str(row.trim()).expect("an object")).collect();
        assert_eq!(sorted(&published), sorted(&last), "{workers} workers");
    }
    let served = Served::start(&shop, &[]);
    let day = values(&last, "order_date").pop_first().expect("a day");
    let of_day: Vec<_> = last.iter().filter(|row| row["order_date"] == day.as_str()).collect();
    let csv = served.get(&format!("{}&format=csv&columns=order_id,total_spent", path("order_date", &day))).expect(200);
    assert_eq!(csv.text().lines().next(), Some("order_id,total_spent"));
    assert_eq!(csv.text().lines().count(), of_day.len() + 1);
    let arrow = served.get(&format!("{}&format=arrow&order=-order_id&limit=1", path("order_date", &day))).expect(200);
    let batches = StreamReader::try_new(Cursor::new(&arrow.body), None).expect("a stream");
    assert_eq!(batches.map(|batch| batch.expect("a batch").num_rows()).sum::<usize>(), 1);
    let listed = served.get("/v1/tables").expect(200).json();
    let listed = listed["tables"].as_array().expect("tables").iter().find(|table| table["name"] == "enriched_data");
    assert_eq!(
        listed.expect("it is listed")["looked_up_by"],
        json!(["order_id", "customer_id", "product_id", "order_date"])
    );
    assert_eq!(rows_of(&served.get(&path("key", "1000000")).expect(200).json()), [] as [Value; 0]);
    for (query, words) in [
        ("", "wanted one of order_id, customer_id, product_id and order_date"),
        ("order_id=1&customer_id=1", "wanted one of order_id, customer_id, product_id and order_date"),
        ("order_id=1&epoch=1", "can't be given together with order_id"),
        ("order_id=one", "order_id: found one, wanted an integer"),
        ("order_date=soon", "order_date: found soon, wanted a day such as 2024-12-31"),
        ("order_date=2024-03-05&columns=a", "has no column a"),
        ("order_date=2024-03-05&order=a", "has no column a"),
    ] {
        let problem = served.get(&format!("/v1/tables/enriched_data?{query}")).expect(400).json();
        assert!(problem["detail"].as_str().expect("text").contains(words), "{query}: {problem}");
    }
    let problem = served.get("/v1/tables/daily_sales?order_date=2024-03-05").expect(400).json();
    assert!(problem.to_string().contains("it is one of enriched_data"), "{problem}");
    stop(served.running);
}

/// While rows are posted, the rows that are looked up are of one epoch: the one that the answer names.
#[test]
fn rows_that_are_looked_up_are_of_one_epoch() {
    let (shop, is_over) = (shop_with_folder(), AtomicBool::new(false));
    let served = Served::start(&shop, &["--workers", "2"]);
    let (customers, days) = thread::scope(|scope| {
        let posting = scope.spawn(|| {
            let mut random = Rng::with_seed(6);
            while !is_over.load(Ordering::Relaxed) {
                served.post_json("orders", &random_orders(&mut random)).expect(200);
            }
        });
        let sum = |rows: &[Value]| rows.iter().map(|row| ten_thousandths(&row["total_amount"])).sum::<i64>();
        let (over, mut customers, mut days) = (IsOver(&is_over), 0, 0);
        for _ in 0..300 {
            let rows = rows_of(&served.get("/v1/tables/enriched_data?customer_id=1").expect(200).json());
            assert!(rows.iter().all(|row| ten_thousandths(&row["total_spent"]) == sum(&rows)), "{rows:?}");
            customers += 1;
            let sales = || served.get("/v1/tables/daily_sales?key=2024-03-05&columns=daily_revenue").expect(200);
            let (before, found) = (sales(), served.get("/v1/tables/enriched_data?order_date=2024-03-05").expect(200));
            if before.epoch() == found.epoch() {
                let revenue = rows_of(&before.json()).first().map_or(0, |row| ten_thousandths(&row["daily_revenue"]));
                assert_eq!(sum(&rows_of(&found.json())), revenue, "epoch {}", found.epoch());
                days += 1;
            }
        }
        drop(over);
        posting.join().expect("no post failed");
        (customers, days)
    });
    assert!(customers > 0 && days > 0);
    stop(served.running);
}
