//! Topics of Kafka that a service follows, with a real broker.

#![cfg(feature = "kafka")]

mod broker;
mod files;
mod network;
mod served;

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use broker::{Broker, flush, send};
use fastrand::Rng;
use files::processes::Running;
use files::serving::{PATIENCE, service, stop};
use files::{Shop, as_json, check, command, finish};
use rdkafka::producer::{BaseProducer, Producer};
use serde_json::{Value, json};
use served::{Served, undiscounted_order as order};

const TOPIC: &str = "shop.orders";
const PARTITIONS: i32 = 3;

/// A shop whose orders are in a topic, and what the topic says of each.
struct TopicShop {
    shop: Shop,
    broker: Broker,
    producer: BaseProducer,
    orders: BTreeMap<u64, Value>,
    markers: u64,
}

impl TopicShop {
    /// `None` where no broker is installed.
    fn new() -> Option<TopicShop> {
        let broker = Broker::start()?;
        let shop = Shop::small();
        fs::remove_file(shop.input().join("orders.csv")).expect("removed");
        broker.topic(TOPIC, PARTITIONS);
        let producer = broker.producer(None);
        Some(TopicShop { shop, producer, broker, orders: BTreeMap::new(), markers: 0 })
    }

    fn config(&self, keys: &str) -> String {
        let path = self.shop.path("config.yaml");
        let brokers = self.broker.address();
        let source = format!("{{name: erp, type: kafka, brokers: \"{brokers}\", topics: {{orders: {TOPIC}}}{keys}}}");
        fs::write(&path, format!("sources: [{source}, {{name: web, type: http}}]\n")).expect("written");
        path.display().to_string()
    }

    fn start(&self) -> Served {
        Served::start(&self.shop, &["--config", &self.config("")])
    }

    fn put(&mut self, id: u64, row: Value) {
        let partition = i32::try_from(id % 3).expect("small");
        send(&self.producer, TOPIC, Some(partition), &[(&id.to_string(), Some(&row.to_string()))]);
        self.orders.insert(id, row);
    }

    fn delete(&mut self, id: u64) {
        let partition = i32::try_from(id % 3).expect("small");
        send(&self.producer, TOPIC, Some(partition), &[(&id.to_string(), None)]);
        self.orders.remove(&id);
    }

    /// Records of all kinds: new, corrected, deleted.
    fn some_records(&mut self, random: &mut Rng) {
        for _ in 0..random.u8(1..8) {
            let id = random.u64(1..40);
            match random.u8(..5) {
                0 => self.delete(id),
                _ => {
                    let (customer, product) = (random.u64(1..3), random.u64(10..13));
                    self.put(id, order(id, customer, product, "2024-03-05", random.u64(1..9)));
                }
            }
        }
    }

    /// Waits until the service has what was sent up to now.
    fn await_records(&mut self, served: &Served) {
        for partition in 0..PARTITIONS as u64 {
            self.markers += 1;
            let id = 3_000_000 + 3 * self.markers + partition;
            self.put(id, order(id, id, 10, "2024-03-06", 1));
            let started = Instant::now();
            while served.get(&format!("/v1/tables/customer_patterns?key={id}")).json()["rows"] == json!([]) {
                let sources = served.get("/v1/sources").text();
                assert!(started.elapsed() < PATIENCE, "{sources} {}", served.running.log());
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Checks that the tables that are served are those that a run makes of the last record of each id.
    fn check(&mut self, served: &Served, context: &str) {
        self.await_records(served);
        let export = Shop::small();
        fs::remove_file(export.input().join("orders.csv")).expect("removed");
        let lines: String = self.orders.values().map(|row| format!("{row}\n")).collect();
        fs::write(export.input().join("orders.jsonl"), lines).expect("written");
        let mut run = command(&["run", "--as-of", "2024-03-31"]);
        run.arg("--input").arg(export.input()).arg("--output").arg(export.output());
        files::check(&finish(run), 0, &[]);
        for table in ["daily_sales", "product_sales", "customer_patterns", "customer_product_matrix"] {
            let sorted = |rows: Vec<String>| {
                let mut rows: Vec<_> =
                    rows.iter().map(|row| serde_json::from_str::<Value>(row).expect("a row").to_string()).collect();
                rows.sort();
                rows
            };
            let lines = served.get(&format!("/v1/tables/{table}?format=jsonl")).expect(200).text();
            let wanted = export.read(table).iter().flat_map(as_json).collect::<Vec<_>>();
            assert_eq!(
                sorted(lines.lines().map(with_values).collect()),
                sorted(wanted.iter().map(|row| with_values(row)).collect()),
                "{table}, {context}"
            );
        }
    }
}

/// A row without what is null.
fn with_values(row: &str) -> String {
    let mut row: serde_json::Map<String, Value> = serde_json::from_str(row).expect("an object");
    row.retain(|_, value| !value.is_null());
    Value::from(row).to_string()
}

fn source(served: &Served) -> Value {
    served.get("/v1/sources").expect(200).json()["sources"][0].clone()
}

#[test]
fn the_records_of_a_topic_are_taken_once_however_often_the_service_is_killed() {
    let Some(mut shop) = TopicShop::new() else { return };
    let mut random = Rng::with_seed(1);
    (0..20).for_each(|_| shop.some_records(&mut random));
    let mut served = shop.start();
    shop.check(&served, "at first");
    for round in 0..8 {
        (0..5).for_each(|_| shop.some_records(&mut random));
        if random.bool() {
            served.running.signal("-KILL");
            served.running.end();
            (0..2).for_each(|_| shop.some_records(&mut random));
            served = shop.start();
        }
        shop.check(&served, &format!("round {round}"));
    }
    let source = source(&served);
    assert_eq!((&source["type"], &source["state"]), (&json!("kafka"), &json!("streaming")), "{source}");
    stop(served.running);
}

#[test]
fn a_process_that_dies_at_any_step_takes_no_record_twice() {
    let Some(mut shop) = TopicShop::new() else { return };
    let mut random = Rng::with_seed(2);
    (0..5).for_each(|_| shop.some_records(&mut random));
    let first = shop.start();
    shop.check(&first, "at first");
    stop(first.running);
    // Poison is counted: a row that is applied twice would not be seen in a table.
    let mut poison = 0;
    for step in ["kafka: records taken", "log synced", "epoch visible"] {
        let mut dying = service(&shop.shop, &["--listen", "127.0.0.1:0", "--config", &shop.config("")]);
        dying.env("MILLSTREAM_CRASH_AT", step);
        shop.some_records(&mut random);
        send(&shop.producer, TOPIC, Some(1), &[("", Some("{"))]);
        poison += 1;
        Running::start(dying).end();
        shop.some_records(&mut random);
        let served = shop.start();
        shop.check(&served, step);
        let reasons = served.get("/v1/rejected").expect(200).json()["reasons"].clone();
        assert_eq!(reasons[0]["rows"], json!(poison), "{step}: {reasons}");
        stop(served.running);
    }
}

#[test]
fn what_is_no_row_is_rejected_and_what_was_aborted_is_not_seen() {
    let Some(mut shop) = TopicShop::new() else { return };
    shop.put(1, order(1, 1, 10, "2024-03-05", 2));
    // Before anybody reads: this broker gives out records of transactions that are open.
    let aborting = shop.broker.producer(Some("aborting"));
    aborting.begin_transaction().expect("begun");
    let row = order(1, 1, 10, "2024-03-05", 99).to_string();
    send(&aborting, TOPIC, Some(1), &[("1", Some(&row))]);
    flush(&aborting);
    aborting.abort_transaction(PATIENCE).expect("aborted");
    // Of this broker, records of a transaction that was aborted may be seen by everybody.
    let is_hidden = !shop.broker.records(TOPIC).iter().any(|seen| seen.value.as_ref() == Some(&row));
    if !is_hidden {
        eprintln!("this broker shows what was aborted: that is not tested");
        shop.orders.insert(1, order(1, 1, 10, "2024-03-05", 99));
    }
    let served = shop.start();
    let poison = [
        ("", Some("{")),
        ("", Some("[1]")),
        ("", Some("  ")),
        ("", None),
        ("", Some("{\n\"order_id\": 7,\n\"customer_id\": null, \"product_id\": 10, \"discount\": null}")),
        ("", Some("{\"order_id\": null}")),
        ("", Some("{\"other\": 1}")),
        ("", Some("{\"order_id\": 6, \"_op\": {}}")),
    ];
    for record in poison {
        // Each alone, and all together.
        send(&shop.producer, TOPIC, Some(0), &[record]);
        thread::sleep(Duration::from_millis(100));
    }
    send(&shop.producer, TOPIC, Some(0), &poison);
    let mut of_guest = order(7, 1, 10, "2024-03-05", 1);
    ["customer_id", "order_date", "quantity", "discount"].iter().for_each(|name| of_guest[*name] = Value::Null);
    shop.orders.insert(7, of_guest);
    // An object as a key, and one that is a text.
    shop.put(8, order(8, 1, 10, "2024-03-05", 2));
    shop.put(9, order(9, 1, 10, "2024-03-05", 2));
    send(&shop.producer, TOPIC, Some(2), &[("{\"order_id\": 8}", None)]);
    send(&shop.producer, TOPIC, Some(0), &[("\"9\"", None)]);
    shop.orders.retain(|id, _| ![8, 9].contains(id));
    let committing = shop.broker.producer(Some("committing"));
    committing.begin_transaction().expect("begun");
    shop.orders.insert(2, order(2, 2, 11, "2024-03-07", 3));
    send(&committing, TOPIC, Some(2), &[("2", Some(&shop.orders[&2].to_string()))]);
    committing.commit_transaction(PATIENCE).expect("committed");
    shop.check(&served, "with poison");
    let rejected = served.get("/v1/rejected").expect(200).json();
    let text = rejected.to_string();
    for words in ["not JSON", "not a JSON object", "an empty value", "a record without a value", "order_id is null"] {
        assert!(text.contains(words), "{words:?}: {text}");
    }
    assert!(text.contains("erp: shop.orders/0"), "{text}");
    // What is nested too deep for a schema is carried as text from the next start on.
    let mut deep = order(10, 1, 10, "2024-03-05", 2);
    deep["x"] = (0..80).fold(json!(1), |inner, _| json!({ "a": inner }));
    shop.put(10, deep.clone());
    deep.as_object_mut().expect("an object").remove("x");
    shop.orders.insert(10, deep);
    shop.check(&served, "with a nested column");
    stop(served.running);
    let served = shop.start();
    shop.check(&served, "after a restart");
    stop(served.running);
}

#[test]
fn a_first_start_waits_for_a_record_with_all_columns() {
    let Some(mut shop) = TopicShop::new() else { return };
    send(&shop.producer, TOPIC, Some(1), &[("1", None), ("4", Some("{\"order_id\": 4}")), ("", Some("{"))]);
    let command = service(&shop.shop, &["--listen", "127.0.0.1:0", "--config", &shop.config("")]);
    let mut served = Served::start_loading(command);
    served.running.await_line("waiting for a row with all columns");
    shop.put(2, order(2, 1, 10, "2024-03-05", 2));
    let started = Instant::now();
    while served.get("/readyz").status != 200 {
        assert!(started.elapsed() < PATIENCE, "{}", served.running.log());
        thread::sleep(Duration::from_millis(20));
    }
    shop.orders.insert(4, json!({"order_id": 4, "customer_id": null, "product_id": null, "order_date": null}));
    shop.check(&served, "at first");
    stop(served.running);
}

#[test]
fn an_envelope_of_debezium_is_unwrapped() {
    let Some(mut shop) = TopicShop::new() else { return };
    let envelope = |op: &str, before: &Value, after: &Value| json!({"before": before, "after": after, "op": op});
    let schema = |row: Value| {
        let day = json!({"type": "int32", "name": "io.debezium.time.Date", "field": "order_date"});
        let side = json!({"type": "struct", "field": "after", "fields": [day]});
        json!({"schema": {"type": "struct", "fields": [side]}, "payload": {"after": row, "op": "c"}})
    };
    let rows: Vec<Value> = (1..4).map(|id| order(id, 1, 10, "2024-03-05", id)).collect();
    let corrected = order(1, 2, 11, "2024-03-05", 5);
    let records = [
        envelope("r", &Value::Null, &rows[0]),
        envelope("c", &Value::Null, &rows[1]),
        envelope("u", &rows[0], &corrected),
        envelope("d", &rows[1], &Value::Null),
    ];
    let texts: Vec<String> = records.iter().map(Value::to_string).collect();
    send(&shop.producer, TOPIC, Some(0), &[("1", Some(&texts[0])), ("2", Some(&texts[1]))]);
    let served = Served::start(&shop.shop, &["--config", &shop.config(", format: debezium")]);
    let dated = schema(json!({"order_id": 4, "customer_id": 1, "product_id": 12, "order_date": 19_800})).to_string();
    send(
        &shop.producer,
        TOPIC,
        Some(0),
        &[("5", Some("{}")), ("1", Some(&texts[2])), ("2", Some(&texts[3])), ("2", None), ("4", Some(&dated))],
    );
    let started = Instant::now();
    let orders = || served.get("/v1/tables/customer_patterns?format=jsonl").text();
    let wanted = |text: &str| {
        let rows: Vec<Value> = text.lines().map(|row| serde_json::from_str(row).expect("a row")).collect();
        let of = |id: u64| rows.iter().find(|row| row["customer_id"] == id).map(|row| row["total_orders"].clone());
        (rows.len(), of(1), of(2)) == (2, Some(json!(1)), Some(json!(1)))
    };
    while !wanted(&orders()) {
        assert!(started.elapsed() < PATIENCE, "{} {}", orders(), served.running.log());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(served.get("/v1/tables/daily_sales?format=jsonl").text().contains("2024-03-18"), "the day of the schema");
    assert!(served.get("/v1/rejected").text().contains("an envelope of Debezium without op"));
    shop.markers = 0;
    stop(served.running);
}

#[test]
fn a_network_that_breaks_and_a_partition_that_is_added_lose_nothing() {
    let Some(mut shop) = TopicShop::new() else { return };
    let mut random = Rng::with_seed(3);
    (0..5).for_each(|_| shop.some_records(&mut random));
    let served = shop.start();
    for round in 0..2 {
        shop.broker.network.cut(Duration::from_secs(2));
        shop.some_records(&mut random);
        shop.check(&served, &format!("round {round}"));
    }
    if shop.broker.partitions(TOPIC, 4) {
        shop.orders.insert(50, order(50, 1, 10, "2024-03-05", 2));
        send(&shop.producer, TOPIC, Some(3), &[("50", Some(&shop.orders[&50].to_string()))]);
        let started = Instant::now();
        while !source(&served)["offset"].to_string().contains("shop.orders/3: 1") {
            assert!(started.elapsed() < PATIENCE, "{} {}", source(&served), served.running.log());
            thread::sleep(Duration::from_millis(20));
        }
        shop.check(&served, "with another partition");
    } else {
        eprintln!("this broker adds no partitions");
    }
    stop(served.running);
}

#[test]
fn a_topic_goes_on_from_the_files_of_the_input_folder() {
    let Some(mut shop) = TopicShop::new() else { return };
    shop.put(1, order(1, 1, 10, "2024-03-05", 2));
    shop.put(2, order(2, 2, 11, "2024-03-05", 2));
    let file = [order(1, 1, 10, "2024-03-05", 7), order(3, 1, 12, "2024-03-01", 4)];
    let lines: String = file.iter().map(|row| format!("{row}\n")).collect();
    fs::write(shop.shop.input().join("orders.jsonl"), lines).expect("written");
    shop.orders.insert(3, file[1].clone());
    let served = shop.start();
    shop.check(&served, "with files");
    stop(served.running);
    let served = shop.start();
    shop.check(&served, "after a restart");
    stop(served.running);
}

#[test]
fn what_can_not_be_used_is_said() {
    let Some(shop) = TopicShop::new() else { return };
    for (keys, words) in [
        (", start: soon", "sources: erp: start: found soon, wanted earliest, latest or a time"),
        (", format: avro", "sources: erp: schema_registry: wanted the registry of schemas"),
        (", slot: s", "sources: erp: slot: one of the type kafka has no such key"),
        (", properties: {group.id: g}", "sources: erp: properties: group.id: millstream sets it"),
        (", properties: {sasl.pasword: \"s3cret\"}", "properties: sasl.pasword: librdkafka has no such property"),
    ] {
        let done = finish(service(&shop.shop, &["--listen", "127.0.0.1:0", "--config", &shop.config(keys)]));
        check(&done, 2, &[words]);
        assert!(!done.stderr.contains("s3cret"), "{done:?}");
    }
    let config = shop.config("").clone();
    let text = fs::read_to_string(&config).expect("read").replace(", {name: web, type: http}", "");
    fs::write(&config, &text).expect("written");
    let checked = || {
        let mut command = command(&["check", "--config", &config]);
        command.arg("--input").arg(shop.shop.input()).arg("--output").arg(shop.shop.output());
        finish(command)
    };
    let done = checked();
    assert!(done.status == 0 && done.stdout.contains("shop.orders can be read: it has no records"), "{done:?}");
    send(&shop.producer, TOPIC, Some(0), &[("1", Some("{"))]);
    let done = checked();
    assert!(done.status == 3 && done.stdout.contains("its first record would be rejected: not JSON"), "{done:?}");
    let secret = ", properties: {security.protocol: SASL_PLAINTEXT, sasl.username: ann, sasl.password: \"s3cret\"}";
    let mut shown = command(&["config", "--listen", "127.0.0.1:0", "--config", &shop.config(secret)]);
    shown.arg("--input").arg(shop.shop.input()).arg("--output").arg(shop.shop.output());
    let done = finish(shown);
    assert!(done.status == 0 && done.stdout.contains("sasl.username"), "{done:?}");
    assert!(!done.stdout.contains("s3cret") && !done.stdout.contains("ann\""), "{done:?}");
    fs::write(&config, text.replace(TOPIC, "nowhere")).expect("written");
    let done = checked();
    assert!(done.status == 3 && done.stdout.contains("topic nowhere"), "{done:?}");
}
