//! A topic that is followed, and topics that tables are delivered to, while the service is killed, and the network to
//! the broker breaks or stands still.

#![cfg(feature = "kafka")]

mod broker;
mod files;
mod network;
mod served;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use broker::{Broker, send};
use fastrand::Rng;
use files::Shop;
use files::processes::Running;
use files::serving::{PATIENCE, service, stop};
use rdkafka::producer::BaseProducer;
use serde_json::Value;
use served::{IsOver, undiscounted_order as order};

const TOPIC: &str = "shop.orders";
const PARTITIONS: u64 = 3;
/// The customer of an order by which it is known that everything before it is delivered.
const MARKER: u64 = 9_000_000;

/// What the topic says of each order: customer, product and quantity; `None` if it is deleted.
type Ledger = HashMap<u64, (u64, u64, u64)>;

/// Writes some records, and then says so in the ledger.
fn write(producer: &BaseProducer, ledger: &mut Ledger, random: &mut Rng) {
    for _ in 0..random.u8(1..6) {
        let id = random.u64(1..200);
        let partition = i32::try_from(id % PARTITIONS).expect("small");
        if random.u8(..5) == 0 {
            send(producer, TOPIC, Some(partition), &[(&id.to_string(), None)]);
            ledger.remove(&id);
            continue;
        }
        let (customer, product, quantity) = (random.u64(1..30), random.u64(10..13), random.u64(1..9));
        let row = order(id, customer, product, "2024-03-05", quantity).to_string();
        send(producer, TOPIC, Some(partition), &[(&id.to_string(), Some(&row))]);
        ledger.insert(id, (customer, product, quantity));
    }
}

/// A number of each row of a topic, by an id.
fn numbers(broker: &Broker, topic: &str, id: &str, number: &str) -> BTreeMap<u64, u64> {
    let rows = broker.table(topic).into_values();
    let rows = rows.map(|row| serde_json::from_str::<Value>(&row).expect("JSON"));
    rows.filter_map(|row| Some((row[id].as_u64()?, row[number].as_u64()?))).collect()
}

/// Waits until what was written up to now is delivered, and compares the topics with the ledger.
fn check_delivered(broker: &Broker, producer: &BaseProducer, ledger: &mut Ledger, running: &Running, round: u64) {
    let customer = MARKER + round;
    for partition in 0..PARTITIONS {
        let id = 3 * customer + partition;
        let row = order(id, customer, 10, "2024-03-06", 1).to_string();
        let partition = i32::try_from(partition).expect("small");
        send(producer, TOPIC, Some(partition), &[(&id.to_string(), Some(&row))]);
        ledger.insert(id, (customer, 10, 1));
    }
    let started = Instant::now();
    let orders = || numbers(broker, "ms.customer_patterns", "customer_id", "total_orders");
    while orders().get(&customer) != Some(&PARTITIONS) {
        assert!(started.elapsed() < PATIENCE, "round {round}: {}", running.log());
        thread::sleep(Duration::from_millis(20));
    }
    let (mut by_customer, mut by_product): (BTreeMap<u64, u64>, BTreeMap<u64, u64>) = Default::default();
    for (customer, product, quantity) in ledger.values() {
        *by_customer.entry(*customer).or_default() += 1;
        *by_product.entry(*product).or_default() += quantity;
    }
    assert_eq!(orders(), by_customer, "round {round}: {}", running.log());
    let products = numbers(broker, "ms.product_sales", "product_id", "total_quantity");
    assert_eq!(products, by_product, "round {round}: {}", running.log());
}

/// `MILLSTREAM_KILLS` says how many rounds there are.
#[test]
fn no_record_is_lost_and_none_counts_twice_whatever_fails() {
    let Some(broker) = Broker::start() else { return };
    let rounds = std::env::var("MILLSTREAM_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(10_u64);
    let (shop, mut random) = (Shop::small(), Rng::with_seed(rounds));
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    broker.topic(TOPIC, i32::try_from(PARTITIONS).expect("small"));
    let (path, kafka) = (shop.path("config.yaml"), format!("type: kafka, brokers: \"{}\"", broker.address()));
    let source = format!("sources: [{{name: erp, {kafka}, topics: {{orders: {TOPIC}}}}}]\n");
    let sink = format!("sinks: [{{name: feed, {kafka}, prefix: ms., tables: [product_sales, customer_patterns]}}]\n");
    fs::write(&path, source + &sink).expect("written");
    let start = || {
        let mut running = Running::start(service(&shop, &["--config", &path.display().to_string()]));
        running.await_line("live at epoch");
        running
    };
    let (ledger, is_over, writes) = (Mutex::new(Ledger::new()), AtomicBool::new(false), AtomicU64::new(0));
    let lock = || ledger.lock().unwrap_or_else(PoisonError::into_inner);
    write(&broker.producer(None), &mut lock(), &mut random);
    let mut kinds = [0_u64; 3];
    thread::scope(|scope| {
        let (shared, over, count) = (&broker, &is_over, &writes);
        let writer_lock = &lock;
        scope.spawn(move || {
            let (producer, mut random) = (shared.producer(None), Rng::with_seed(1));
            while !over.load(Ordering::Relaxed) {
                write(&producer, &mut writer_lock(), &mut random);
                count.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(random.u64(..10)));
            }
        });
        let over = IsOver(&is_over);
        let (producer, mut running) = (broker.producer(None), start());
        for round in 1..=rounds {
            thread::sleep(Duration::from_millis(random.u64(..300)));
            let kind = random.usize(..kinds.len());
            kinds[kind] += 1;
            let time = Duration::from_millis(random.u64(10..400));
            match kind {
                0 => {
                    running.kill();
                    running.end();
                    running = start();
                }
                1 => broker.network.cut(time),
                _ => broker.network.stand_still(time),
            }
            if round % 5 == 0 || round == rounds {
                check_delivered(&broker, &producer, &mut lock(), &running, round);
            }
        }
        drop(over);
        stop(running);
    });
    let ([kills, cuts, stalls], writes) = (kinds, writes.into_inner());
    println!("{writes} writes, {kills} kills, {cuts} cuts, {stalls} standstills");
}
