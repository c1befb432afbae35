//! What the server of a service takes: rows that are posted, keys that are looked up, tables that are read, changes
//! that are followed, over a connection on this machine.
//!
//! ```text
//! cargo bench --bench http                # scale 1: takes two minutes
//! cargo bench --bench http -- --scales 0.001 --only reads    # a million reads beside posts, whose sums must agree
//! cargo test --bench http                 # a small form that only shows that it runs
//! ```
//!
//! The yardstick is what `fdatasync` of 4 KiB takes in the folder of the state, in the same run.

#![allow(clippy::cast_possible_truncation, reason = "sizes of shops are small")]

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Date32Array, Float64Array, Int32Array, Int64Array};
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use common::serving::{Connection, Order, Service, histogram, latency, record};
use common::{Args, Neighbour, folder, write_json};
use fastrand::Rng;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

fn main() {
    let args = Args::get();
    let mut results = Vec::new();
    for (scale, input) in args.shops() {
        let state = folder("http");
        drop(fs::remove_dir_all(&state));
        fs::create_dir_all(&state).expect("a folder");
        let bench = Bench { scale, input, folder: state, is_full: args.bench };
        let only = args.only.as_deref();
        if only != Some("reads") {
            results.extend(bench.run());
        }
        if only == Some("reads") || !args.bench {
            results.push(bench.consistent_reads());
        }
    }
    write_json(&args, "http", &results);
}

struct Bench {
    scale: f64,
    input: PathBuf,
    folder: PathBuf,
    is_full: bool,
}

impl Bench {
    /// A number of repetitions, or a few.
    fn times(&self, many: usize) -> usize {
        if self.is_full { many } else { many.min(5) }
    }

    /// Orders of the shop, so that each is corrected.
    fn orders(&self) -> u64 {
        (self.scale * 6_000_000.0) as u64
    }

    fn run(&self) -> Vec<Value> {
        let mut results = vec![latency("fdatasync of 4 KiB", &fdatasync(&self.folder, self.times(300)))];
        let service = self.start("fsync");
        let orders = self.orders();
        let resident = service.resident();
        let loaded = json!({ "case": "loaded, all tables served", "bytes_per_order": resident as f64 / orders as f64 });
        println!("{loaded}");
        results.push(loaded);
        results.push(latency("one order posted", &self.posts(&service, self.times(2000), 1)));
        results.push(latency("an event behind the answer", &self.events(&service, self.times(500))));
        results.push(self.scan(&service));
        for (column, times) in [("customer_id", 500), ("order_id", 50), ("order_date", 50)] {
            let found = self.look_ups(&service, column, self.times(times));
            results.push(latency(&format!("enriched_data by {column}"), &found));
        }
        for (kind, name) in [("application/x-ndjson", "JSON lines"), (ARROW, "Arrow IPC")] {
            let (rate, lookups) = self.sustained(&service, kind);
            println!("sustained, {name}: {rate:.0} orders/s");
            results.push(json!({ "case": format!("sustained, {name}"), "orders_per_second": rate }));
            results.push(latency(&format!("a key looked up meanwhile, {name}"), &lookups));
        }
        drop(service);
        let service = self.start("none");
        results.push(latency("one order posted, durability none", &self.posts(&service, self.times(2000), 5)));
        let busy = Neighbour::start();
        let beside = self.posts(&service, self.times(1000), 6);
        results.push(latency("the same beside a process that keeps a core busy", &beside));
        drop(busy);
        drop(service);
        results
    }

    fn start(&self, durability: &str) -> Service {
        let is_large = self.is_full && self.scale >= 0.1;
        Service::start(&self.input, &self.folder.join(durability), &["--durability", durability], is_large)
    }

    /// How long it takes to look up rows of `enriched_data` by a column.
    fn look_ups(&self, service: &Service, column: &str, many: usize) -> Histogram<u64> {
        let (mut connection, mut random) = (Connection::open(&service.address), Rng::with_seed(7));
        let mut latencies = histogram();
        for _ in 0..many {
            let order = Order::any(self.scale, &mut random);
            let value = match column {
                "customer_id" => order.customer.to_string(),
                "order_id" => order.id.to_string(),
                _ => format!("1995-{:02}-{:02}", random.u8(1..=12), random.u8(1..=28)),
            };
            let started = Instant::now();
            connection.get(&format!("/v1/tables/enriched_data?{column}={value}&format=arrow"));
            record(&mut latencies, started.elapsed());
        }
        latencies
    }

    /// How long it takes until an order that is posted is in all tables. Each seed makes other orders.
    fn posts(&self, service: &Service, many: usize, seed: u64) -> Histogram<u64> {
        let (mut connection, mut random) = (Connection::open(&service.address), Rng::with_seed(seed));
        let mut latencies = histogram();
        for _ in 0..many {
            let body = format!("[{}]", Order::any(self.scale, &mut random).json());
            let started = Instant::now();
            connection.post("application/json", body.as_bytes());
            record(&mut latencies, started.elapsed());
        }
        latencies
    }

    /// How much later than the answer to a post its event comes.
    fn events(&self, service: &Service, many: usize) -> Histogram<u64> {
        let mut events = TcpStream::connect(&service.address).expect("connected");
        let request = "GET /v1/tables/customer_patterns/changes HTTP/1.1\r\nhost: localhost\r\n\r\n";
        events.write_all(request.as_bytes()).expect("sent");
        let mut events = BufReader::new(events).lines().map_while(Result::ok);
        let (mut connection, mut random) = (Connection::open(&service.address), Rng::with_seed(2));
        let mut latencies = histogram();
        for _ in 0..many {
            let body = format!("[{}]", Order::any(self.scale, &mut random).json());
            let answer = connection.post("application/json", body.as_bytes());
            let answered = Instant::now();
            let answer: Value = serde_json::from_slice(&answer).expect("JSON");
            let id = format!("id: {}", answer["epoch"]);
            events.by_ref().find(|line| *line == id).expect("the event comes");
            record(&mut latencies, answered.elapsed());
        }
        latencies
    }

    fn scan(&self, service: &Service) -> Value {
        let mut connection = Connection::open(&service.address);
        let tables: Value = serde_json::from_slice(&connection.get("/v1/tables")).expect("JSON");
        let tables = tables["tables"].as_array().expect("tables");
        let rows = tables.iter().find(|table| table["name"] == "product_sales").expect("it is served")["rows"].as_f64();
        let seconds = (0..self.times(10)).map(|_| {
            let started = Instant::now();
            connection.get("/v1/tables/product_sales?format=arrow");
            started.elapsed().as_secs_f64()
        });
        let rate = rows.expect("a number") / common::median(seconds.collect());
        println!("product_sales as Arrow: {rate:.0} rows/s");
        json!({ "case": "product_sales as Arrow", "rows_per_second": rate })
    }

    /// Orders a second that are posted in bodies of 10,000, and what a look-up takes meanwhile.
    fn sustained(&self, service: &Service, kind: &str) -> (f64, Histogram<u64>) {
        let (bodies, rows) = if self.is_full { (60, 10_000) } else { (3, 100) };
        let mut random = Rng::with_seed(3);
        let bodies: Vec<Vec<u8>> = (0..bodies).map(|_| self.body(kind, rows, &mut random)).collect();
        let (next, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let looking = scope.spawn(|| {
                let (mut connection, mut random) = (Connection::open(&service.address), Rng::with_seed(4));
                let mut latencies = histogram();
                while !is_over.load(Ordering::Relaxed) {
                    let customer = random.u64(1..=(self.scale * 150_000.0) as u64);
                    let started = Instant::now();
                    connection.get(&format!("/v1/tables/customer_patterns?key={customer}"));
                    record(&mut latencies, started.elapsed());
                    thread::sleep(Duration::from_millis(2));
                }
                latencies
            });
            let started = Instant::now();
            let clients: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let mut connection = Connection::open(&service.address);
                        let next = || bodies.get(next.fetch_add(1, Ordering::Relaxed) as usize);
                        while let Some(body) = next() {
                            connection.post(kind, body);
                        }
                    })
                })
                .collect();
            clients.into_iter().for_each(|client| client.join().expect("posted"));
            let seconds = started.elapsed().as_secs_f64();
            is_over.store(true, Ordering::Relaxed);
            ((bodies.len() * rows) as f64 / seconds, looking.join().expect("looked up"))
        })
    }

    /// Reads the revenue of three tables as of one epoch, again and again beside posts; panics if they differ.
    fn consistent_reads(&self) -> Value {
        let service = self.start("none");
        let (many, is_over) = (if self.is_full { 1_000_000 } else { 300 }, AtomicBool::new(false));
        let (reads, too_late, started) = (AtomicU64::new(0), AtomicU64::new(0), Instant::now());
        let first = Connection::open(&service.address).revenue("daily_sales", None).expect("it is read").0;
        let last = thread::scope(|scope| {
            for seed in 0..3 {
                let (service, is_over) = (&service, &is_over);
                scope.spawn(move || {
                    let (mut connection, mut random) = (Connection::open(&service.address), Rng::with_seed(seed));
                    while !is_over.load(Ordering::Relaxed) {
                        let many = random.usize(1..200);
                        connection.post("application/x-ndjson", &self.body("application/x-ndjson", many, &mut random));
                    }
                });
            }
            let readers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut connection = Connection::open(&service.address);
                        let mut last = first;
                        let is_enough = |last| reads.load(Ordering::Relaxed) >= many && last > first;
                        while !is_enough(last) && started.elapsed() < LONGEST {
                            let (epoch, daily) = connection.revenue("daily_sales", None).expect("it is read");
                            let others = ["product_sales", "customer_patterns"]
                                .map(|table| connection.revenue(table, Some(epoch)));
                            let [Some(products), Some(customers)] = others else {
                                let late = too_late.fetch_add(1, Ordering::Relaxed);
                                assert!(late <= many, "epochs can't be read for as long as three reads take");
                                continue;
                            };
                            for (other, revenue) in [products, customers] {
                                assert!(
                                    other == epoch && (revenue - daily).abs() < 1e-11 * daily,
                                    "epoch {epoch}: the days have {daily}, another table {revenue} of {other}"
                                );
                            }
                            reads.fetch_add(3, Ordering::Relaxed);
                            last = epoch;
                        }
                        last
                    })
                })
                .collect();
            let ended: Vec<_> = readers.into_iter().map(thread::ScopedJoinHandle::join).collect();
            is_over.store(true, Ordering::Relaxed);
            ended.into_iter().map(|last| last.expect("what is read agrees")).max()
        });
        drop(service);
        let (reads, too_late) = (reads.into_inner(), too_late.into_inner());
        let epochs = last.unwrap_or(first) - first;
        assert!(epochs > 0, "nothing was posted meanwhile");
        println!("{reads} reads over {epochs} epochs, all of which agree; {too_late} were too late for their epoch");
        json!({ "case": "consistent reads", "reads": reads, "epochs": epochs, "too_late": too_late })
    }

    fn body(&self, kind: &str, rows: usize, random: &mut Rng) -> Vec<u8> {
        let orders: Vec<Order> = (0..rows).map(|_| Order::any(self.scale, random)).collect();
        if kind != ARROW {
            return orders.iter().map(|order| order.json() + "\n").collect::<String>().into_bytes();
        }
        let columns: [(&str, ArrayRef); 6] = [
            ("order_id", Arc::new(Int64Array::from_iter_values(orders.iter().map(|order| order.id)))),
            ("customer_id", Arc::new(Int64Array::from_iter_values(orders.iter().map(|order| order.customer)))),
            ("product_id", Arc::new(Int64Array::from_iter_values(orders.iter().map(|order| order.product)))),
            ("order_date", Arc::new(Date32Array::from_iter_values(orders.iter().map(|_| 9000)))),
            ("quantity", Arc::new(Int32Array::from_iter_values(orders.iter().map(|order| order.quantity)))),
            ("discount", Arc::new(Float64Array::from_iter_values(orders.iter().map(|_| 0.05)))),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("a batch");
        let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a writer");
        stream.write(&batch).expect("written");
        stream.into_inner().expect("finished")
    }
}

/// How long is read at most.
const LONGEST: Duration = Duration::from_secs(1200);
const ARROW: &str = "application/vnd.apache.arrow.stream";

fn fdatasync(folder: &Path, many: usize) -> Histogram<u64> {
    let mut file = File::create(folder.join("synced")).expect("a file");
    file.set_len(4096 * many as u64).and_then(|()| file.sync_all()).expect("written");
    let mut latencies = histogram();
    for _ in 0..many {
        let started = Instant::now();
        file.write_all(&[7; 4096]).and_then(|()| file.sync_data()).expect("written");
        record(&mut latencies, started.elapsed());
    }
    latencies
}
