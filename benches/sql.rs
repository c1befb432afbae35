//! What PostgreSQL's port of a service takes: keys that are looked up, ordered rows, joins, with and without orders
//! that are posted meanwhile, and what such queries cost those who post. And transactions, each of which must see one
//! epoch.
//!
//! ```text
//! cargo bench --features sql --bench sql                  # scale 1: takes four minutes
//! cargo bench --features sql --bench sql -- --scales 0.01 --only transactions    # 100,000, or 7 minutes
//! cargo test --features sql --bench sql                   # a small form that only shows that it runs
//! ```

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::serving::{Connection, Order, Service, histogram, latency, record};
use common::{Args, folder, write_json};
use fastrand::Rng;
use hdrhistogram::Histogram;
use postgres::{Client, NoTls};
use serde_json::{Value, json};

fn main() {
    let args = Args::get();
    let mut results = Vec::new();
    for (scale, input) in args.shops() {
        let state = folder("sql");
        drop(fs::remove_dir_all(&state));
        fs::create_dir_all(&state).expect("a folder");
        let bench = Bench { scale, input, is_full: args.bench };
        let is_large = args.bench && scale >= 0.1;
        let service = Service::start(&bench.input, &state, &["--postgres", "127.0.0.1:0"], is_large);
        let only = args.only.as_deref();
        if only != Some("transactions") {
            results.extend(bench.run(&service));
        }
        if only == Some("transactions") || !args.bench {
            results.push(bench.transactions(&service));
        }
    }
    write_json(&args, "sql", &results);
}

struct Bench {
    scale: f64,
    input: PathBuf,
    is_full: bool,
}

/// A query that is prepared once, and how often it is asked.
struct Case {
    name: &'static str,
    query: &'static str,
    times: usize,
}

const LOOK_UP: &str = "SELECT * FROM customer_patterns WHERE customer_id = $1";

const CASES: [Case; 4] = [
    Case { name: "a key looked up", query: LOOK_UP, times: 3000 },
    Case {
        name: "the customer's lines in enriched_data",
        query: "SELECT * FROM enriched_data WHERE customer_id = $1",
        times: 1000,
    },
    Case {
        name: "product_sales ordered, 100 rows",
        query: "SELECT * FROM product_sales WHERE product_id <> CAST($1 AS bigint) \
                ORDER BY total_revenue DESC LIMIT 100",
        times: 300,
    },
    Case {
        name: "a join of two tables",
        query: "SELECT count(*), sum(c.total_spent) FROM customer_patterns c JOIN rfm_analysis r \
                USING (customer_id) WHERE r.recency >= 0 AND c.customer_id <> CAST($1 AS bigint)",
        times: 100,
    },
];

impl Bench {
    /// A number of repetitions, or a few.
    fn times(&self, many: usize) -> usize {
        if self.is_full { many } else { many.min(5) }
    }

    fn run(&self, service: &Service) -> Vec<Value> {
        let mut results = Vec::new();
        let posts = |many| self.posts(service, self.times(many));
        for case in &CASES {
            results.push(latency(case.name, &self.asked(service, case, case.times)));
        }
        results.push(latency("one order posted", &posts(1000)));
        results.push(latency("one order posted beside two who ask for ordered rows", &self.beside_readers(service)));
        let is_over = AtomicBool::new(false);
        let posted = AtomicU64::new(0);
        thread::scope(|scope| {
            for seed in 0..2 {
                let (is_over, posted) = (&is_over, &posted);
                scope.spawn(move || self.ingest(service, seed, is_over, posted));
            }
            let _over = IsOver(&is_over);
            let started = Instant::now();
            for case in &CASES {
                let name = format!("{}, under ingest", case.name);
                results.push(latency(&name, &self.asked(service, case, case.times / 2)));
            }
            let rate = posted.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
            println!("ingest meanwhile: {rate:.0} orders/s");
            results.push(json!({ "case": "ingest meanwhile", "orders_per_second": rate }));
        });
        results
    }

    /// How long it takes to have all rows of a prepared query.
    fn asked(&self, service: &Service, case: &Case, times: usize) -> Histogram<u64> {
        let (mut client, mut random, mut latencies) = (connect(service), Rng::with_seed(7), histogram());
        let prepared = client.prepare(case.query).expect(case.name);
        for _ in 0..self.times(times) {
            let key = Order::any(self.scale, &mut random).customer;
            let started = Instant::now();
            client.query(&prepared, &[&key]).expect(case.name);
            record(&mut latencies, started.elapsed());
        }
        latencies
    }

    /// How long it takes until an order that is posted is in all tables.
    fn posts(&self, service: &Service, times: usize) -> Histogram<u64> {
        let (mut connection, mut random) = (Connection::open(&service.address), Rng::with_seed(1));
        let mut latencies = histogram();
        for _ in 0..times {
            let body = format!("[{}]", Order::any(self.scale, &mut random).json());
            let started = Instant::now();
            connection.post("application/json", body.as_bytes());
            record(&mut latencies, started.elapsed());
        }
        latencies
    }

    fn beside_readers(&self, service: &Service) -> Histogram<u64> {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        self.asked(service, &CASES[2], 1);
                    }
                });
            }
            let _over = IsOver(&is_over);
            self.posts(service, self.times(300))
        })
    }

    /// Posts 500 corrected orders at a time, without a pause.
    fn ingest(&self, service: &Service, seed: u64, is_over: &AtomicBool, posted: &AtomicU64) {
        let (mut connection, mut random) = (Connection::open(&service.address), Rng::with_seed(100 + seed));
        while !is_over.load(Ordering::Relaxed) {
            let body: String = (0..500).map(|_| Order::any(self.scale, &mut random).json() + "\n").collect();
            connection.post("application/x-ndjson", body.as_bytes());
            posted.fetch_add(500, Ordering::Relaxed);
        }
    }

    /// Reads the revenue of three tables in a transaction, again and again beside posts; panics if they are of two
    /// epochs.
    fn transactions(&self, service: &Service) -> Value {
        let (many, is_over) = (if self.is_full { 100_000 } else { 200 }, AtomicBool::new(false));
        let (done, begun, posted, epochs) =
            (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), Mutex::new(BTreeMap::new()));
        let started = Instant::now();
        thread::scope(|scope| {
            for seed in 0..2 {
                let (is_over, posted) = (&is_over, &posted);
                scope.spawn(move || self.ingest(service, seed, is_over, posted));
            }
            let _over = IsOver(&is_over);
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        let mut client = connect(service);
                        let epoch =
                            client.prepare("SELECT epoch FROM millstream.epochs WHERE is_read").expect("planned");
                        let sums = SUMS.map(|sum| client.prepare(sum).expect(sum));
                        while begun.fetch_add(1, Ordering::Relaxed) < many && started.elapsed() < LONGEST {
                            let mut transaction = client.transaction().expect("begun");
                            let mut revenues = Vec::new();
                            for sum in &sums {
                                let row = transaction.query_one(sum, &[]).expect("a sum");
                                revenues.push(row.get::<_, f64>(0));
                            }
                            let read: i64 = transaction.query_one(&epoch, &[]).expect("an epoch").get(0);
                            transaction.commit().expect("committed");
                            let is_near = |revenue: &f64| (revenue - revenues[0]).abs() < 1e-9 * revenues[0].abs();
                            assert!(revenues.iter().all(is_near), "epoch {read}: {revenues:?}");
                            done.fetch_add(1, Ordering::Relaxed);
                            let mut epochs = epochs.lock().expect("no reader has failed");
                            let known = epochs.entry(read).or_insert_with(|| revenues.clone());
                            assert!(
                                known
                                    .iter()
                                    .zip(&revenues)
                                    .all(|(known, found)| (known - found).abs() < 1e-9 * found.abs()),
                                "epoch {read}: {known:?}, then {revenues:?}"
                            );
                        }
                    });
                }
            });
        });
        let (epochs, posted) = (epochs.into_inner().expect("no reader has failed"), posted.into_inner());
        let many = done.into_inner();
        let passed = epochs.keys().next_back().unwrap_or(&0) - epochs.keys().next().unwrap_or(&0);
        assert!(passed > 0, "nothing was posted meanwhile");
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{many} transactions of four statements in {seconds:.0} s: {} epochs seen of {passed} that passed, none \
                  read two; {posted} orders were posted meanwhile",
            epochs.len()
        );
        json!({ "case": "transactions", "transactions": many, "epochs_seen": epochs.len(), "epochs": passed,
                "orders_posted": posted, "seconds": seconds })
    }
}

/// How long transactions are made at most.
const LONGEST: Duration = Duration::from_secs(420);

/// Which all say the same.
const SUMS: [&str; 3] = [
    "SELECT CAST(sum(daily_revenue) AS double precision) FROM daily_sales",
    "SELECT CAST(sum(total_revenue) AS double precision) FROM product_sales",
    "SELECT CAST(sum(total_spent) AS double precision) FROM customer_patterns",
];

/// Ends what goes on beside, also if this panics.
struct IsOver<'a>(&'a AtomicBool);

impl Drop for IsOver<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn connect(service: &Service) -> Client {
    let address = service.postgres.as_ref().expect("it speaks PostgreSQL's protocol");
    let (host, port) = address.rsplit_once(':').expect("a port");
    Client::connect(&format!("host={host} port={port} user=me dbname=millstream"), NoTls).expect("connected")
}
