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
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Date32Array, Float64Array, Int32Array, Int64Array};
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
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

/// A service, and where it listens.
struct Service {
    child: Child,
    address: String,
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
        let resident = resident(service.child.id());
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(["serve", "--as-of", "2024-12-31", "--workers", "2", "--listen", "127.0.0.1:0"]);
        command.args(["--durability", durability, "--input"]).arg(&self.input);
        let state = self.folder.join(durability);
        command.arg("--output").arg(state.join("tables")).arg("--state").arg(state.join("state"));
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let mut find = |words: &str| lines.by_ref().find(|line| line.contains(words)).expect("the service is live");
        let address = find("listening at http://");
        let address = address.rsplit("http://").next().expect("an address").to_owned();
        find("live at epoch");
        if self.is_full && self.scale >= 0.1 {
            // What was imported is compacted; a small shop is not.
            find("made a checkpoint");
        }
        thread::spawn(move || lines.for_each(drop));
        // Memory that loading needed goes back to the system.
        thread::sleep(Duration::from_secs(if self.is_full { 5 } else { 0 }));
        Service { child, address }
    }

    /// How long it takes to look up rows of `enriched_data` by a column.
    fn look_ups(&self, service: &Service, column: &str, many: usize) -> Histogram<u64> {
        let (mut connection, mut random) = (Connection::open(&service.address), Rng::with_seed(7));
        let mut latencies = histogram();
        for _ in 0..many {
            let order = self.order(&mut random);
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
            let body = format!("[{}]", self.order(&mut random).json());
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
            let body = format!("[{}]", self.order(&mut random).json());
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
        let orders: Vec<Order> = (0..rows).map(|_| self.order(random)).collect();
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

    fn order(&self, random: &mut Rng) -> Order {
        Order {
            id: random.i64(1..=self.orders() as i64),
            customer: random.i64(1..=(self.scale * 150_000.0) as i64),
            product: random.i64(1..=(self.scale * 200_000.0) as i64),
            quantity: random.i32(1..50),
        }
    }
}

/// How long is read at most.
const LONGEST: Duration = Duration::from_secs(1200);
const ARROW: &str = "application/vnd.apache.arrow.stream";

struct Order {
    id: i64,
    customer: i64,
    product: i64,
    quantity: i32,
}

impl Order {
    fn json(&self) -> String {
        let Order { id, customer, product, quantity } = self;
        format!(
            "{{\"order_id\":{id},\"customer_id\":{customer},\"product_id\":{product},\"order_date\":\"1994-08-23\",\
             \"quantity\":{quantity},\"discount\":0.05}}"
        )
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

struct Answer {
    status: u16,
    epoch: Option<u64>,
    body: Vec<u8>,
}

/// A connection that is kept.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: &str) -> Connection {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_nodelay(true).expect("set");
        Connection(BufReader::new(stream))
    }

    fn post(&mut self, kind: &str, body: &[u8]) -> Vec<u8> {
        let length = body.len();
        let head = format!(
            "POST /v1/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
        );
        loop {
            let answer = self.exchange(&[head.as_bytes(), body].concat());
            match answer.status {
                200 => return answer.body,
                429 => thread::sleep(Duration::from_millis(10)),
                status => panic!("{status}: {}", String::from_utf8_lossy(&answer.body)),
            }
        }
    }

    fn get(&mut self, path: &str) -> Vec<u8> {
        let answer = self.try_get(path);
        assert_eq!(answer.status, 200, "{path}");
        answer.body
    }

    fn try_get(&mut self, path: &str) -> Answer {
        self.exchange(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes())
    }

    /// The epoch and the sum of the revenue of a table; `None` if that epoch can't be read any more.
    fn revenue(&mut self, table: &str, epoch: Option<u64>) -> Option<(u64, f64)> {
        let column = match table {
            "daily_sales" => "daily_revenue",
            "product_sales" => "total_revenue",
            _ => "total_spent",
        };
        let epoch = epoch.map_or(String::new(), |epoch| format!("&epoch={epoch}"));
        let answer = self.try_get(&format!("/v1/tables/{table}?format=csv&columns={column}{epoch}"));
        if answer.status == 410 {
            return None;
        }
        let text = String::from_utf8(answer.body).expect("UTF-8");
        assert_eq!(answer.status, 200, "{text}");
        // A null is an empty text, so that its line is not empty.
        let amounts = text.lines().skip(1).filter(|amount| *amount != "\"\"");
        let sum = amounts.map(|amount| amount.parse::<f64>().expect("an amount")).sum();
        Some((answer.epoch.expect("an epoch"), sum))
    }

    fn exchange(&mut self, request: &[u8]) -> Answer {
        self.0.get_mut().write_all(request).expect("sent");
        let status = self.line().split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let (mut length, mut epoch) = (None, None);
        loop {
            let line = self.line();
            match line.split_once(": ") {
                Some(("content-length", bytes)) => length = bytes.parse::<usize>().ok(),
                Some(("millstream-epoch", number)) => epoch = number.parse().ok(),
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        let mut body = Vec::new();
        match length {
            Some(length) => {
                body.resize(length, 0);
                self.0.read_exact(&mut body).expect("received");
            }
            None => loop {
                let size = usize::from_str_radix(&self.line(), 16).expect("the size of a chunk");
                let first = body.len();
                body.resize(first + size, 0);
                self.0.read_exact(&mut body[first..]).expect("received");
                self.line();
                if size == 0 {
                    break;
                }
            },
        }
        Answer { status, epoch, body }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("received");
        line.trim_end().to_owned()
    }
}

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

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits")
}

fn record(latencies: &mut Histogram<u64>, latency: Duration) {
    latencies.record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX)).expect("it has room");
}

fn latency(case: &str, latencies: &Histogram<u64>) -> Value {
    let of = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e6;
    let (p50, p99) = (of(0.5), of(0.99));
    println!("{case}: p50 {p50:.3} ms, p99 {p99:.3} ms, {} times", latencies.len());
    json!({ "case": case, "p50_ms": p50, "p99_ms": p99, "times": latencies.len() })
}

/// The resident memory of a process.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() * 1024
}
