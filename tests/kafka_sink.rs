//! Tables that are delivered to Kafka, with a real broker.

#![cfg(feature = "kafka")]

mod broker;
mod files;
mod network;
mod served;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use broker::{Broker, send};
use fastrand::Rng;
use files::processes::Running;
use files::serving::{PATIENCE, service, shop_with_folder, stop};
use files::{Shop, check, command, finish};
use serde_json::{Value, json};
use served::{IsOver, Served, TABLES, order, random_orders, ten_thousandths};

/// Writes a config file with a sink of these keys.
fn configured(shop: &Shop, broker: &Broker, keys: &str) -> String {
    let path = shop.path("config.yaml");
    let brokers = broker.address();
    let sink = format!("sinks: [{{name: feed, type: kafka, brokers: \"{brokers}\", prefix: ms.{keys}}}]\n");
    std::fs::write(&path, sink).expect("written");
    path.display().to_string()
}

fn start(shop: &Shop, config: &str) -> Served {
    Served::start(shop, &["--config", config])
}

fn sink(served: &Served) -> Value {
    served.get("/v1/sinks").expect(200).json()["sinks"][1].clone()
}

/// What the newest record of progress says.
fn progress(broker: &Broker) -> Value {
    let records = broker.table("ms.millstream_progress.feed");
    records.get("feed").map_or(Value::Null, |record| serde_json::from_str(record).expect("JSON"))
}

/// Waits until the topics have the newest epoch.
fn await_delivery(served: &Served) {
    let started = Instant::now();
    loop {
        let (sink, status) = (sink(served), served.get("/v1/status").expect(200).json());
        if sink["epoch"] == status["epoch"] {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{sink} {}", served.running.log());
        thread::sleep(Duration::from_millis(5));
    }
}

/// The rows of a table that is served, by key, as records have them.
fn rows_here(served: &Served, table: &str, key: &[&str]) -> BTreeMap<String, Value> {
    let of_row = |row: Value| {
        let key: Vec<String> = key.iter().map(|name| format!("\"{name}\":{}", row[*name])).collect();
        (format!("{{{}}}", key.join(",")), row)
    };
    served.rows(table).into_iter().map(of_row).collect()
}

/// Checks that all topics have the tables that are served.
fn check_there(served: &Served, broker: &Broker, context: &str) {
    await_delivery(served);
    for (table, key) in TABLES {
        let there = broker.table(&format!("ms.{table}"));
        let row = |(key, value): (String, String)| {
            let value: Value = serde_json::from_str(&value).expect("JSON");
            // Of Debezium, the row after the change.
            (key, value.get("after").cloned().unwrap_or(value))
        };
        let there: BTreeMap<String, Value> = there.into_iter().map(row).collect();
        assert_eq!(there, rows_here(served, table, key), "{table}, {context}");
    }
    assert_eq!(progress(broker)["epoch"], served.get("/v1/status").expect(200).json()["epoch"], "{context}");
}

#[test]
fn each_epoch_is_there_and_a_restart_writes_what_differs() {
    let Some(broker) = Broker::start() else { return };
    for keys in ["", ", format: debezium"] {
        let (shop, mut random) = (shop_with_folder(), Rng::with_seed(1));
        let config = configured(&shop, &broker, keys);
        let served = start(&shop, &config);
        check_there(&served, &broker, "at first");
        for round in 0..8 {
            served.post_json("orders", &random_orders(&mut random)).expect(200);
            check_there(&served, &broker, &format!("round {round}{keys}"));
        }
        assert_eq!(sink(&served)["failures"], 0, "{}", sink(&served));
        stop(served.running);

        // Nothing is written when nothing has changed.
        let written = broker.records("ms.customer_patterns").len();
        let served = start(&shop, &config);
        check_there(&served, &broker, "after a restart");
        assert_eq!(broker.records("ms.customer_patterns").len(), written);
        stop(served.running);

        // With other tiers, only the rows that have another one are.
        let path = shop.path("config.yaml");
        let tiers = "tiers: [{name: Rich, from: 300}, {name: Bronze}]\n";
        std::fs::write(&path, std::fs::read_to_string(&path).expect("read") + tiers).expect("written");
        let (patterns, days) = (written, broker.records("ms.daily_sales").len());
        let served = start(&shop, &config);
        check_there(&served, &broker, "with other tiers");
        let all = rows_here(&served, "customer_patterns", &["customer_id"]).len();
        let changed = broker.records("ms.customer_patterns").len() - patterns;
        assert!(changed > 0 && changed <= all, "{changed} of {all}");
        assert_eq!(broker.records("ms.daily_sales").len(), days, "no day has changed");
        stop(served.running);
        // The next format begins with what this one has left.
    }
}

#[test]
fn a_process_that_dies_at_any_step_leaves_topics_that_the_next_completes() {
    let Some(_) = Broker::start() else { return };
    let mut random = Rng::with_seed(2);
    for step in [
        "kafka: topics made",
        "kafka: transactional id taken over",
        "kafka: take-over begun",
        "kafka: topics taken over",
        "kafka: topic written",
        "kafka: records written",
        "kafka: committed",
        "log synced",
        "epoch visible",
    ] {
        let Some(broker) = Broker::start() else { return };
        let shop = shop_with_folder();
        let config = configured(&shop, &broker, "");
        let mut dying = service(&shop, &["--listen", "127.0.0.1:0", "--config", &config]);
        dying.env("MILLSTREAM_CRASH_AT", step);
        if step.contains("taken over") || step.contains("begun") || step.contains("made") {
            Running::start(dying).end();
        } else {
            let mut served = Served::start_loading(dying);
            let started = Instant::now();
            while !served.running.is_over() {
                let rows = random_orders(&mut random).to_string();
                let post = served.agent.post(format!("{}/v1/orders", served.base));
                let _ = post.header("content-type", "application/json").send(rows.as_bytes());
                assert!(started.elapsed() < PATIENCE, "it dies at {step:?}: {}", served.running.log());
            }
        }
        let served = start(&shop, &config);
        check_there(&served, &broker, step);
        served.post_json("orders", &random_orders(&mut random)).expect(200);
        check_there(&served, &broker, step);
        stop(served.running);
        // A record of a snapshot may be of the epoch of a record before it; otherwise each is there once.
        for (table, _) in TABLES {
            let mut seen: Vec<_> = broker.records_by_epoch(&format!("ms.{table}"));
            seen.iter_mut().for_each(|(_, record)| (record.partition, record.offset) = (0, 0));
            let all = seen.len();
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), all, "{table}, {step}");
        }
    }
}

#[test]
fn brokers_that_are_gone_delay_nothing_and_get_everything_once_they_are_back() {
    let Some(broker) = Broker::start() else { return };
    let (shop, mut random) = (shop_with_folder(), Rng::with_seed(3));
    let served = start(&shop, &configured(&shop, &broker, ""));
    await_delivery(&served);
    for round in 0..2 {
        thread::scope(|scope| {
            scope.spawn(|| broker.network.cut(Duration::from_secs(3)));
            for _ in 0..5 {
                served.post_json("orders", &random_orders(&mut random)).expect(200);
            }
        });
        check_there(&served, &broker, &format!("round {round}"));
    }
    stop(served.running);
}

/// The revenue of days, of products and of customers is the same in every transaction.
#[test]
fn every_transaction_there_has_all_tables_as_of_one_epoch() {
    let Some(broker) = Broker::start() else { return };
    let (shop, is_over) = (shop_with_folder(), AtomicBool::new(false));
    let served = start(&shop, &configured(&shop, &broker, ", partitions: 1"));
    await_delivery(&served);
    thread::scope(|scope| {
        for seed in 0..2 {
            let (served, is_over) = (&served, &is_over);
            scope.spawn(move || {
                let mut random = Rng::with_seed(seed);
                while !is_over.load(Ordering::Relaxed) {
                    served.post_json("orders", &random_orders(&mut random)).expect(200);
                }
            });
        }
        let _over = IsOver(&is_over);
        thread::sleep(Duration::from_secs(2));
    });
    check_there(&served, &broker, "in the end");
    stop(served.running);
    // Each record tells its epoch, by which those of a transaction are put together.
    let mut epochs: Vec<u64> = Vec::new();
    let mut sums: BTreeMap<&str, BTreeMap<u64, i64>> = BTreeMap::new();
    for (table, column) in
        [("daily_sales", "daily_revenue"), ("product_sales", "total_revenue"), ("customer_patterns", "total_spent")]
    {
        let (mut rows, mut sum): (BTreeMap<String, i64>, i64) = (BTreeMap::new(), 0);
        for (epoch, record) in broker.records_by_epoch(&format!("ms.{table}")) {
            let row = record.value.as_ref().map(|value| serde_json::from_str::<Value>(value).expect("JSON"));
            let new = row.as_ref().map_or(0, |row| ten_thousandths(&row[column]));
            sum += new - rows.insert(record.key, new).unwrap_or_default();
            sums.entry(table).or_default().insert(epoch, sum);
            epochs.push(epoch);
        }
    }
    epochs.sort_unstable();
    epochs.dedup();
    assert!(epochs.len() > 5, "{} epochs", epochs.len());
    for epoch in epochs {
        let of = |table: &str| sums[table].range(..=epoch).next_back().map(|(_, sum)| *sum);
        assert_eq!((of("product_sales"), of("customer_patterns")), (of("daily_sales"), of("daily_sales")), "{epoch}");
    }
}

#[test]
fn a_process_that_was_displaced_writes_no_more() {
    let Some(broker) = Broker::start() else { return };
    let (shop, other) = (shop_with_folder(), shop_with_folder());
    let first = start(&shop, &configured(&shop, &broker, ""));
    await_delivery(&first);
    // Another job with the same sink: a copy of the configuration, say.
    let second = start(&other, &configured(&other, &broker, ""));
    second.post_json("orders", &json!([order(600, 1, 10, "2024-03-08", 9)])).expect(200);
    check_there(&second, &broker, "the second");
    first.post_json("orders", &json!([order(601, 1, 10, "2024-03-08", 9)])).expect(200);
    let started = Instant::now();
    while sink(&first)["state"] != "displaced" {
        assert!(started.elapsed() < PATIENCE, "{}", first.running.log());
        thread::sleep(Duration::from_millis(20));
    }
    first.post_json("orders", &json!([order(602, 1, 10, "2024-03-08", 9)])).expect(200);
    second.post_json("orders", &json!([order(603, 1, 10, "2024-03-08", 9)])).expect(200);
    check_there(&second, &broker, "the second, still");
    stop(first.running);
    stop(second.running);
}

#[test]
fn what_can_not_be_used_is_said() {
    let Some(broker) = Broker::start() else { return };
    let shop = Shop::small();
    broker.topic("ms.daily_sales", 1);
    send(&broker.producer(None), "ms.daily_sales", None, &[("theirs", Some("1"))]);
    for (keys, status, words) in [
        (", format: xml", 2, "sinks: feed: format: found xml, wanted one of json, avro, debezium, debezium-avro"),
        (", schema: s", 2, "sinks: feed: schema: one of the type kafka has no such key"),
        (", partitions: 0", 2, "sinks: feed: partitions: found 0, wanted 1 or more"),
        (", properties: {acks: 0}", 2, "sinks: feed: properties: acks: millstream sets it"),
        (", tables: [daily_sale]", 2, "sink feed: table daily_sale is not one of this job"),
        ("", 2, "topic ms.daily_sales has records that are not of this sink; delete it, or choose another prefix"),
    ] {
        let done = finish(service(&shop, &["--config", &configured(&shop, &broker, keys)]));
        check(&done, status, &[words]);
    }
    let check = |config: &str| {
        let mut command = command(&["check", "--config", config]);
        command.arg("--input").arg(shop.input()).arg("--output").arg(shop.output());
        finish(command)
    };
    let done = check(&configured(&shop, &broker, ""));
    assert!(done.status == 0 && done.stdout.contains("1 topics are there, 5 will be made"), "{done:?}");
    let path = shop.path("config.yaml");
    std::fs::write(&path, "sinks: [{name: feed, type: kafka, brokers: \"127.0.0.1:1\"}]").expect("written");
    let done = check(&path.display().to_string());
    assert!(done.status == 3 && done.stdout.contains("refused"), "{done:?}");
}
