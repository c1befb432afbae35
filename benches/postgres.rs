//! A shop in PostgreSQL that is followed, and delivered to PostgreSQL: how long it takes from a commit there until the
//! changed row is there, and how many rows a second.
//!
//! ```text
//! cargo bench --bench postgres                  # scale 0.1: takes two minutes
//! cargo test --bench postgres                   # a small form that only shows that it runs
//! ```
//!
//! It starts a server of its own, which syncs as a real one does, and holds both databases. Without an installed
//! PostgreSQL it says so and does nothing.

mod common;
#[path = "../tests/database/mod.rs"]
mod database;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use arrow::csv::WriterBuilder;
use arrow::datatypes::DataType;
use common::{Args, folder, write_json};
use database::Database;
use fastrand::Rng;
use hdrhistogram::Histogram;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use postgres::Client;
use serde_json::{Value, json};

fn main() {
    let args = Args::get();
    let Some(database) = Database::start() else { return };
    let mut results = Vec::new();
    let scales = args.scales.clone().unwrap_or_else(|| vec![if args.bench { 0.1 } else { 0.001 }]);
    for scale in scales {
        let state = folder("postgres");
        drop(fs::remove_dir_all(&state));
        fs::create_dir_all(&state).expect("a folder");
        let mut client = database.client();
        client.batch_execute("ALTER SYSTEM SET fsync = on").expect("set");
        client.batch_execute("SELECT pg_reload_conf()").expect("loaded");
        let orders = load(&mut client, &common::shop(scale));
        let started = Instant::now();
        let service = Service::start(&database, &state);
        let seconds = started.elapsed().as_secs_f64();
        println!("{orders} orders are live after {seconds:.1} s");
        results.push(json!({ "case": "copied and live", "orders": orders, "seconds": seconds }));
        await_delivery(&mut client, orders);
        let times = if args.bench { 500 } else { 5 };
        results.push(latencies(&mut client, orders, times));
        let rows = if args.bench { 1_000_000 } else { 2_000 };
        results.push(sustained(&database, orders, rows));
        drop(service);
        // The server notices a little later that the service is gone.
        let active = "SELECT 1 FROM pg_replication_slots WHERE active";
        while !client.query(active, &[]).expect("listed").is_empty() {
            thread::sleep(Duration::from_millis(20));
        }
        client.execute("SELECT pg_drop_replication_slot('millstream_db')", &[]).expect("dropped");
        client
            .batch_execute("DROP PUBLICATION shop; DROP TABLE orders, products, customers; DROP SCHEMA shop CASCADE")
            .expect("dropped");
    }
    write_json(&args, "postgres", &results);
}

/// A service that follows and delivers.
struct Service(Child);

impl Service {
    fn start(database: &Database, state: &Path) -> Service {
        let (url, config) = (database.url(), state.join("serve.yaml"));
        let tables = "tables: {orders: orders, products: products, customers: customers}";
        let source = format!("sources: [{{name: db, type: postgres, url: \"{url}\", publication: shop, {tables}}}]\n");
        let sink = format!("sinks: [{{name: bi, type: postgres, url: \"{url}\"}}]\n");
        fs::write(&config, source + &sink).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(["serve", "--as-of", "2024-12-31", "--workers", "2", "--config"]).arg(&config);
        command.arg("--output").arg(state.join("tables")).arg("--state").arg(state.join("state"));
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        lines.by_ref().find(|line| line.contains("live at epoch")).expect("the service is live");
        thread::spawn(move || lines.for_each(|line| eprintln!("{line}")));
        Service(child)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// Loads a shop into the database; returns the number of orders.
fn load(client: &mut Client, shop: &Path) -> i64 {
    for table in ["orders", "products", "customers"] {
        let mut files: Vec<_> = files_of(&shop.join(table), &shop.join(format!("{table}.parquet")));
        files.sort();
        for (number, path) in files.iter().enumerate() {
            let file = File::open(path).expect("a file");
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
            if number == 0 {
                let columns = reader
                    .schema()
                    .fields()
                    .iter()
                    .map(|field| format!("\"{}\" {}", field.name(), sql_type(field.data_type())));
                let columns = columns.collect::<Vec<_>>().join(", ");
                client.batch_execute(&format!("CREATE TABLE {table} ({columns})")).expect("a table");
            }
            let mut writer = client.copy_in(&format!("COPY {table} FROM STDIN CSV")).expect("a copy");
            for batch in reader.build().expect("rows") {
                let mut text = Vec::new();
                let mut csv = WriterBuilder::new().with_header(false).build(&mut text);
                csv.write(&batch.expect("rows")).expect("CSV");
                drop(csv);
                writer.write_all(&text).expect("copied");
            }
            writer.finish().expect("copied");
        }
        let id = format!("{}_id", &table[..table.len() - 1]);
        // The last row of an id counts.
        client
            .batch_execute(&format!(
                "DELETE FROM {table} WHERE {id} IS NULL;
                 DELETE FROM {table} a USING {table} b WHERE a.{id} = b.{id} AND a.ctid < b.ctid;
                 ALTER TABLE {table} ADD PRIMARY KEY ({id})"
            ))
            .expect("a key");
    }
    client.batch_execute("CREATE PUBLICATION shop FOR TABLE orders, products, customers; ANALYZE").expect("published");
    client.query_one("SELECT count(*) FROM orders", &[]).expect("a count").get(0)
}

fn files_of(folder: &Path, file: &Path) -> Vec<std::path::PathBuf> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some()).collect(),
        Err(_) => vec![file.to_owned()],
    }
}

fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Int64 => "bigint".into(),
        DataType::Int32 | DataType::Int16 => "integer".into(),
        DataType::Float64 => "double precision".into(),
        DataType::Date32 => "date".into(),
        DataType::Timestamp(_, _) => "timestamptz".into(),
        DataType::Decimal128(digits, places) => format!("numeric({digits},{places})"),
        _ => "text".into(),
    }
}

/// Waits until all orders are in the delivered tables.
fn await_delivery(client: &mut Client, orders: i64) {
    loop {
        let there = client.query_one("SELECT coalesce(sum(total_orders), 0)::bigint FROM shop.customer_patterns", &[]);
        if there.is_ok_and(|row| row.get::<_, i64>(0) > orders / 2) {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// From the commit of one corrected order until the row of its customer has changed in the delivered table.
fn latencies(client: &mut Client, orders: i64, times: usize) -> Value {
    let mut histogram = Histogram::<u64>::new(3).expect("a histogram");
    let mut random = Rng::with_seed(1);
    let update = client
        .prepare(
            "UPDATE orders SET quantity = coalesce(quantity, 1) % 1000 + 1 WHERE order_id = $1 RETURNING customer_id",
        )
        .expect("a statement");
    let find = client
        .prepare("SELECT total_spent::text FROM shop.customer_patterns WHERE customer_id = $1")
        .expect("a statement");
    let known = client
        .prepare(
            "SELECT o.customer_id FROM orders o JOIN products p USING (product_id)
             WHERE order_id = $1 AND o.customer_id IS NOT NULL AND p.price > 0 AND coalesce(o.discount, 0) < 1",
        )
        .expect("a statement");
    let mut count = 0;
    while count < times {
        let order = random.i64(1..orders);
        let Some(row) = client.query_opt(&known, &[&order]).expect("a row") else { continue };
        let customer: i64 = row.get(0);
        let spent = |client: &mut Client| -> Option<String> {
            client.query_opt(&find, &[&customer]).expect("a row").and_then(|row| row.get(0))
        };
        let before = spent(client);
        client.execute(&update, &[&order]).expect("a commit");
        let committed = Instant::now();
        while spent(client) == before {
            assert!(committed.elapsed() < Duration::from_secs(60), "order {order}, {count} times: {before:?}");
        }
        histogram.record(u64::try_from(committed.elapsed().as_micros()).unwrap_or(u64::MAX)).expect("in range");
        count += 1;
        thread::sleep(Duration::from_millis(5));
    }
    let ms = |share: f64| histogram.value_at_quantile(share) as f64 / 1000.0;
    println!("commit there until the row is there: p50 {:.2} ms, p99 {:.2} ms ({times} times)", ms(0.5), ms(0.99));
    json!({ "case": "commit until delivered", "p50_ms": ms(0.5), "p99_ms": ms(0.99) })
}

/// Rows a second of two writers with transactions of a thousand rows, until all are delivered.
fn sustained(database: &Database, orders: i64, rows: i64) -> Value {
    const AT_A_TIME: i64 = 1000;
    let started = Instant::now();
    let before: i64 = sum(&mut database.client());
    thread::scope(|scope| {
        for writer in 0..2 {
            scope.spawn(move || {
                let mut client = database.client();
                let insert = client
                    .prepare(
                        "INSERT INTO orders (order_id, customer_id, product_id, order_date, quantity, discount)
                         SELECT $1::bigint + i, 1 + ($1::bigint + i) % 15000, 1 + ($1::bigint + i) % 2000,
                         '2024-06-01'::date + (i % 90)::int, 1, 0
                         FROM generate_series(0, $2::bigint - 1) AS i",
                    )
                    .expect("a statement");
                let first = 100_000_000 + writer * rows;
                for offset in (0..rows / 2).step_by(usize::try_from(AT_A_TIME).expect("positive")) {
                    client.execute(&insert, &[&(first + offset), &AT_A_TIME]).expect("a commit");
                }
            });
        }
    });
    let written = started.elapsed().as_secs_f64();
    let mut client = database.client();
    while sum(&mut client) - before < rows {
        assert!(started.elapsed() < Duration::from_secs(600), "{orders} orders and {rows} more");
        thread::sleep(Duration::from_millis(20));
    }
    let delivered = started.elapsed().as_secs_f64();
    let rate = |seconds: f64| rows as f64 / seconds;
    println!("{rows} rows: written at {:.0} a second, delivered at {:.0} a second", rate(written), rate(delivered));
    let (written, delivered) = (rate(written), rate(delivered));
    json!({ "case": "sustained", "written_per_second": written, "delivered_per_second": delivered })
}

/// The orders in the delivered table.
fn sum(client: &mut Client) -> i64 {
    let row = client.query_one("SELECT coalesce(sum(total_orders), 0)::bigint FROM shop.customer_patterns", &[]);
    row.expect("a sum").get(0)
}
