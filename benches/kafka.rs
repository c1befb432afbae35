//! A shop whose orders are in a topic of Kafka, and whose tables are delivered to topics: how long it takes from a
//! record until it is in a table, and in a topic of it, and how many records a second.
//!
//! ```text
//! cargo bench --features kafka --bench kafka    # scale 0.1
//! cargo test --features kafka --bench kafka     # a small form that only shows that it runs
//! ```
//!
//! It starts a broker of its own, which keeps everything in memory. Where none is installed it says so and does
//! nothing.

#[path = "../tests/broker/mod.rs"]
mod broker;
mod common;
#[path = "../tests/network/mod.rs"]
mod network;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use broker::{Broker, flush, send};
use common::{Args, folder, write_json};
use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::{Value, json};
use ureq::Agent;

const ORDERS: &str = "shop.orders";
const PARTITIONS: i32 = 4;

fn main() {
    let args = Args::get();
    let mut results = Vec::new();
    for scale in args.scales.clone().unwrap_or_else(|| vec![if args.bench { 0.1 } else { 0.001 }]) {
        let Some(broker) = Broker::start() else { return };
        let shop = args.input.clone().unwrap_or_else(|| common::shop(scale));
        let state = folder("kafka");
        drop(fs::remove_dir_all(&state));
        fs::create_dir_all(&state).expect("a folder");
        broker.topic(ORDERS, PARTITIONS);
        let producer = broker.producer(None);
        let many = if args.bench { 2_000_000 } else { 2_000 };
        results.push(backlog(&broker, &producer, many, (&shop, &state)));
        drop(fs::remove_dir_all(&state));
        fs::create_dir_all(&state).expect("a folder");
        let broker = Broker::start().expect("it was there");
        broker.topic(ORDERS, PARTITIONS);
        let producer = broker.producer(None);
        let service = Service::start(&broker, &shop, &state);
        results.push(latencies(&broker, &service, &producer, if args.bench { 500 } else { 5 }));
        results.push(sustained(&service, &producer, many));
    }
    write_json(&args, "kafka", &results);
}

/// A service that follows and delivers.
struct Service {
    process: Child,
    base: String,
    agent: Agent,
}

impl Service {
    fn start(broker: &Broker, shop: &Path, state: &Path) -> Service {
        let (brokers, config) = (broker.address(), state.join("serve.yaml"));
        let kafka = format!("type: kafka, brokers: \"{brokers}\"");
        // The broker looks for records twice in this time; others answer once there is one.
        let wait = "properties: {fetch.wait.max.ms: 10}";
        let source = format!("sources: [{{name: erp, {kafka}, {wait}, topics: {{orders: {ORDERS}}}}}]\n");
        let sink = format!("sinks: [{{name: feed, {kafka}, prefix: ms.}}]\n");
        let mut file = File::create(&config).expect("a file");
        file.write_all((source + &sink).as_bytes()).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(["serve", "--as-of", "2024-12-31", "--workers", "2", "--listen", "127.0.0.1:0", "--config"]);
        command.arg(&config).arg("--input").arg(shop).arg("--output").arg(state.join("tables"));
        let started = Instant::now();
        let mut process = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let listening = lines.by_ref().find_map(|line| Some(line.split("listening at ").nth(1)?.to_owned()));
        let base = listening.expect("it listens").split_whitespace().next().expect("an address").to_owned();
        lines.by_ref().find(|line| line.contains("live at epoch")).expect("the service is live");
        println!("live after {:.1} s", started.elapsed().as_secs_f64());
        thread::spawn(move || lines.for_each(|line| eprintln!("{line}")));
        let agent = Agent::config_builder().http_status_as_error(false).build().new_agent();
        Service { process, base, agent }
    }

    fn text(&self, path: &str) -> String {
        let mut response = self.agent.get(format!("{}{path}", self.base)).call().expect("an answer");
        response.body_mut().read_to_string().expect("text")
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).expect("JSON")
    }

    /// How many orders a customer has.
    fn orders_of(&self, customer: u64) -> u64 {
        let rows = self.json(&format!("/v1/tables/customer_patterns?key={customer}"));
        rows["rows"][0]["total_orders"].as_u64().unwrap_or_default()
    }

    /// Waits until everything that is committed is delivered.
    fn await_delivery(&self) {
        let sink = || self.json("/v1/sinks")["sinks"][1].clone();
        while sink()["epoch"] != self.json("/v1/status")["epoch"] {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

fn order(id: u64, customer: u64) -> String {
    let product = 1 + id % 2000;
    format!(
        "{{\"order_id\":{id},\"customer_id\":{customer},\"product_id\":{product},\"order_date\":\"2024-06-01\",\
         \"quantity\":1,\"discount\":0.05}}"
    )
}

/// From one record until its customer's row is there: in the table that is served, and in the topic.
fn latencies(broker: &Broker, service: &Service, producer: &BaseProducer, times: u64) -> Value {
    service.await_delivery();
    let consumer = consumer(broker);
    let mut visible = Histogram::<u64>::new(3).expect("a histogram");
    let mut delivered = Histogram::<u64>::new(3).expect("a histogram");
    let record = |histogram: &mut Histogram<u64>, since: Instant| {
        histogram.record(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)).expect("in range");
    };
    for round in 0..times {
        let (id, customer) = (900_000_000 + round, 800_000_000 + round);
        let key = format!("{{\"customer_id\":{customer}}}");
        let started = Instant::now();
        send(producer, ORDERS, None, &[(&id.to_string(), Some(&order(id, customer)))]);
        if round % 2 == 0 {
            while service.orders_of(customer) == 0 {}
            record(&mut visible, started);
        } else {
            let is_it = |found: &[u8]| found == key.as_bytes();
            let found = || consumer.poll(Duration::from_secs(1)).and_then(Result::ok);
            while !found().is_some_and(|one| one.key().is_some_and(is_it)) {
                assert!(started.elapsed() < Duration::from_secs(60), "it is delivered: {}", service.text("/v1/sinks"));
            }
            record(&mut delivered, started);
        }
        thread::sleep(Duration::from_millis(5));
    }
    let ms = |histogram: &Histogram<u64>, share: f64| histogram.value_at_quantile(share) as f64 / 1000.0;
    let [visible, delivered] = [visible, delivered].map(|one| (ms(&one, 0.5), ms(&one, 0.99)));
    println!("a record until it is in a table: p50 {:.2} ms, p99 {:.2} ms", visible.0, visible.1);
    println!("a record until it is in a topic: p50 {:.2} ms, p99 {:.2} ms", delivered.0, delivered.1);
    json!({
        "case": "one record", "visible_p50_ms": visible.0, "visible_p99_ms": visible.1,
        "delivered_p50_ms": delivered.0, "delivered_p99_ms": delivered.1,
    })
}

/// A consumer of committed records of customers that are new.
fn consumer(broker: &Broker) -> BaseConsumer {
    let mut config = broker.config();
    config.set("group.id", "bench").set("isolation.level", "read_committed").set("fetch.wait.max.ms", "5");
    config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let metadata = consumer.fetch_metadata(Some("ms.customer_patterns"), Duration::from_secs(10)).expect("metadata");
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset("ms.customer_patterns", partition.id(), Offset::Beginning).expect("added");
    }
    consumer.assign(&list).expect("assigned");
    while consumer.poll(Duration::from_secs(1)).is_some() {}
    consumer
}

/// Records a second that were there before, until all are in the tables, and until they are delivered.
fn backlog(broker: &Broker, producer: &BaseProducer, rows: u64, (shop, state): (&Path, &Path)) -> Value {
    produce(producer, rows);
    let service = Service::start(broker, shop, state);
    let started = Instant::now();
    await_rows(&service, rows, started);
    let visible = rows as f64 / started.elapsed().as_secs_f64();
    service.await_delivery();
    let delivered = rows as f64 / started.elapsed().as_secs_f64();
    println!("{rows} records that were there: in tables at {visible:.0} a second, delivered at {delivered:.0}");
    json!({ "case": "backlog", "visible_per_second": visible, "delivered_per_second": delivered })
}

/// Records a second while they are written, until all are in the tables, and until they are delivered.
fn sustained(service: &Service, producer: &BaseProducer, rows: u64) -> Value {
    let started = Instant::now();
    produce(producer, rows);
    let written = started.elapsed();
    await_rows(service, rows, started);
    let visible = started.elapsed();
    service.await_delivery();
    let rate = |time: Duration| rows as f64 / time.as_secs_f64();
    let [written, visible, delivered] = [written, visible, started.elapsed()].map(rate);
    println!(
        "{rows} records: written at {written:.0} a second, in tables at {visible:.0}, delivered at {delivered:.0}"
    );
    json!({
        "case": "sustained", "written_per_second": written, "visible_per_second": visible,
        "delivered_per_second": delivered,
    })
}

/// The first of the customers of many records, and how many they are.
const CUSTOMER: u64 = 700_000_000;
const CUSTOMERS: u64 = 15_000;

fn produce(producer: &BaseProducer, rows: u64) {
    for row in 0..rows {
        let (id, customer) = (1_000_000_000 + row, CUSTOMER + row % CUSTOMERS);
        let (key, value) = (id.to_string(), order(id, customer));
        let mut record = BaseRecord::to(ORDERS).key(&key).payload(&value);
        while let Err((_, again)) = producer.send(record) {
            producer.poll(Duration::from_millis(1));
            record = again;
        }
    }
    flush(producer);
}

fn await_rows(service: &Service, rows: u64, started: Instant) {
    let of_each = rows / CUSTOMERS.min(rows);
    let is_over = || [0, CUSTOMERS / 2].iter().all(|number| service.orders_of(CUSTOMER + (number % rows)) >= of_each);
    while !is_over() || service.json("/v1/status")["waiting"]["rows"] != 0 {
        assert!(started.elapsed() < Duration::from_secs(900), "{}", service.text("/v1/sources"));
        thread::sleep(Duration::from_millis(10));
    }
}
