//! Records of Avro, in topics that a service follows and in those that it delivers to, with a real broker.

#![cfg(feature = "kafka")]

mod broker;
mod files;
mod network;
mod registry;
mod served;

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema};
use broker::{Broker, send, send_bytes};
use fastrand::Rng;
use files::serving::{PATIENCE, service, shop_with_folder, stop};
use files::{Shop, check, command, finish};
use rdkafka::producer::BaseProducer;
use registry::Registry;
use serde_json::{Value, json};
use served::{Served, TABLES, random_orders};

const TOPIC: &str = "shop.orders";

/// A shop whose orders are in a topic of Avro.
struct AvroShop {
    shop: Shop,
    broker: Broker,
    producer: BaseProducer,
    registry: Registry,
}

impl AvroShop {
    /// `None` where no broker is installed.
    fn new() -> Option<AvroShop> {
        let broker = Broker::start()?;
        let shop = Shop::small();
        fs::remove_file(shop.input().join("orders.csv")).expect("removed");
        broker.topic(TOPIC, 1);
        let producer = broker.producer(None);
        Some(AvroShop { shop, producer, broker, registry: Registry::start() })
    }

    fn config(&self, format: &str) -> String {
        let (path, brokers, url) = (self.shop.path("config.yaml"), self.broker.address(), self.registry.url());
        let registry = format!("{{url: \"{url}\", username: ann, password: s3cret}}");
        let source = format!(
            "{{name: erp, type: kafka, brokers: \"{brokers}\", topics: {{orders: {TOPIC}}}, format: {format}, \
             schema_registry: {registry}}}"
        );
        fs::write(&path, format!("sources: [{source}]\n")).expect("written");
        path.display().to_string()
    }

    fn send(&self, key: Vec<u8>, value: Option<Vec<u8>>) {
        send_bytes(&self.producer, TOPIC, Some(0), &[(key, value)]);
    }

    /// Waits until customers have so many orders each.
    fn await_orders(&self, served: &Served, wanted: &[(u64, u64)]) {
        let started = Instant::now();
        loop {
            let rows = served.rows("customer_patterns");
            let found = rows.iter().map(|row| (row["customer_id"].as_u64(), row["total_orders"].as_u64()));
            let mut found: Vec<_> = found.map(|(id, orders)| (id.expect("an id"), orders.expect("a number"))).collect();
            found.sort_unstable();
            if found == wanted {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{found:?}, wanted {wanted:?}: {}", served.running.log());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A value in the frame of a registry.
fn framed(id: u32, schema: &str, value: Avro) -> Vec<u8> {
    let schema = Schema::parse_str(schema).expect("a schema");
    let datum = GenericDatumWriter::builder(&schema).build().and_then(|writer| writer.write_value_to_vec(value));
    [&[0][..], &id.to_be_bytes(), &datum.expect("of the schema")].concat()
}

fn record(fields: &[(&str, Avro)]) -> Avro {
    Avro::Record(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn some(value: Avro) -> Avro {
    Avro::Union(1, Box::new(value))
}

const NULL: fn() -> Avro = || Avro::Union(0, Box::new(Avro::Null));

/// Orders with their columns in an order of their own, and a discount with a scale.
const FIRST: &str = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
    {"name": "customer_id", "type": ["null", "long"], "default": null},
    {"name": "order_id", "type": "long"},
    {"name": "product_id", "type": "int"},
    {"name": "order_date", "type": {"type": "int", "logicalType": "date"}},
    {"name": "quantity", "type": "int"},
    {"name": "discount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}}]}"#;

fn first_row(id: i64, customer: Avro) -> Avro {
    let (day, discount) = (Avro::Date(19_787), Avro::Decimal(Decimal::from([5])));
    record(&[
        ("customer_id", customer),
        ("order_id", Avro::Long(id)),
        ("product_id", Avro::Int(10)),
        ("order_date", day),
        ("quantity", Avro::Int(2)),
        ("discount", discount),
    ])
}

/// The same some time later: one column is new, one is of another type, one has a type that another subject has.
const SECOND: &str = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
    {"name": "order_id", "type": "long"},
    {"name": "customer_id", "type": ["null", "int", "string"], "default": null},
    {"name": "product_id", "type": "int"},
    {"name": "order_date", "type": "shop.Day"},
    {"name": "quantity", "type": "int"},
    {"name": "discount", "type": ["null", "double"]},
    {"name": "channel", "type": {"type": "enum", "name": "Channel", "symbols": ["WEB", "SHOP"]}}]}"#;

#[test]
fn records_of_any_schema_of_a_topic_are_rows() {
    let Some(shop) = AvroShop::new() else { return };
    let id = shop.registry.add("shop.orders-value", FIRST, &json!({}));
    let row = |order: i64, customer: i64| Some(framed(id, FIRST, first_row(order, some(Avro::Long(customer)))));
    let key_schema = r#"{"type": "record", "name": "Key", "fields": [{"name": "order_id", "type": "long"}]}"#;
    let key_id = shop.registry.add("shop.orders-key", key_schema, &json!({"schemaType": "AVRO"}));
    let key = |order: i64| framed(key_id, key_schema, record(&[("order_id", Avro::Long(order))]));
    // In the first copy, and afterwards.
    shop.send(key(1), row(1, 1));
    shop.send(key(2), row(2, 1));
    shop.send(key(3), row(3, 2));
    shop.send(key(2), None);
    let served = Served::start(&shop.shop, &["--config", &shop.config("avro")]);
    shop.await_orders(&served, &[(1, 1), (2, 1)]);
    let days = served.rows("daily_sales");
    assert_eq!((&days[0]["order_date"], days.len()), (&json!("2024-03-05"), 1), "{days:?}");
    let discounted = days[0]["daily_revenue"].as_f64().expect("a number");
    shop.send(key(4), row(4, 2));
    shop.send(b"5".to_vec(), row(5, 2));
    shop.send(b"5".to_vec(), None);
    shop.await_orders(&served, &[(1, 1), (2, 2)]);
    let days = served.rows("daily_sales");
    let now = days[0]["daily_revenue"].as_f64().expect("a number");
    assert!((now - discounted * 1.5).abs() < 1e-6, "of each order the same: {now}, {discounted}");

    // Another schema, which refers to one that refers to nothing.
    let day = r#"{"type": "fixed", "name": "Day", "namespace": "shop", "size": 10}"#;
    shop.registry.add("day", day, &json!({}));
    let reference = json!({"references": [{"name": "shop.Day", "subject": "day", "version": 1}]});
    let second = shop.registry.add("shop.orders-value", &SECOND.replace("shop.Day", "string"), &json!({}));
    let whole = SECOND.replace("shop.Day", "string");
    let other = |order: i64, customer: Avro| {
        let text = |text: &str| Avro::String(text.to_owned());
        let channel = Avro::Enum(1, "SHOP".to_owned());
        record(&[
            ("order_id", Avro::Long(order)),
            ("customer_id", customer),
            ("product_id", Avro::Int(11)),
            ("order_date", text("2024-03-06")),
            ("quantity", Avro::Int(1)),
            ("discount", NULL()),
            ("channel", channel),
        ])
    };
    shop.send(key(6), Some(framed(second, &whole, other(6, some(Avro::Int(2))))));
    shop.send(key(7), Some(framed(second, &whole, other(7, Avro::Union(2, Box::new(Avro::String("3".to_owned())))))));
    shop.await_orders(&served, &[(1, 1), (2, 3), (3, 1)]);
    // A type in a subject of its own: a day of ten bytes is none, so the row is there without it.
    let third = shop.registry.add("shop.orders-value", SECOND, &reference);
    let mut bytes = framed(second, &whole, other(8, some(Avro::Int(3))));
    bytes[1..5].copy_from_slice(&third.to_be_bytes());
    let at = bytes.windows(10).position(|part| part == b"2024-03-06").expect("a day");
    // A fixed has no length before it.
    bytes.remove(at - 1);
    shop.send(key(8), Some(bytes));
    let started = Instant::now();
    while !served.get("/v1/rejected").text().contains("order_date") {
        assert!(started.elapsed() < PATIENCE, "{}", served.get("/v1/rejected").text());
        thread::sleep(Duration::from_millis(20));
    }
    stop(served.running);
}

#[test]
fn what_is_no_record_of_its_schema_is_rejected() {
    let Some(shop) = AvroShop::new() else { return };
    let id = shop.registry.add("shop.orders-value", FIRST, &json!({}));
    let good = framed(id, FIRST, first_row(1, some(Avro::Long(1))));
    shop.send(Vec::new(), Some(good.clone()));
    let circle = r#"{"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}"#;
    let circle = shop.registry.add("circle", circle, &json!({}));
    let protobuf = shop.registry.add("protobuf", "syntax = \"proto3\";", &json!({"schemaType": "PROTOBUF"}));
    let wrong = shop.registry.add("wrong", "{\"type\": \"no\"}", &json!({}));
    let refers = json!({"references": [{"name": "x", "subject": "refers", "version": 1}]});
    let refers = shop.registry.add("refers", "\"long\"", &refers);
    let served = Served::start(&shop.shop, &["--config", &shop.config("avro")]);
    shop.await_orders(&served, &[(1, 1)]);
    let with = |id: u32, datum: &[u8]| [&[0][..], &id.to_be_bytes(), datum].concat();
    // A text whose length is said to be 2⁶⁰, and an array of a billion nulls.
    let huge = r#"{"type": "record", "name": "Huge", "fields": [{"name": "order_id", "type": "string"},
        {"name": "x", "type": {"type": "array", "items": "null"}}]}"#;
    let huge = shop.registry.add("huge", huge, &json!({}));
    let poison: Vec<(Vec<u8>, &str)> = vec![
        (
            b"{\"order_id\": 1}".to_vec(),
            "not in the wire format of Confluent: found \\\"7b226f7264\\\", wanted 00 and a schema id",
        ),
        (Vec::new(), "not in the wire format of Confluent"),
        (vec![0, 0, 0], "not in the wire format of Confluent"),
        (with(999, &[]), "its schema, id 999, can't be used: 404 Not Found: Schema not found"),
        (with(circle, &[2; 200]), "nested more than 100 levels deep"),
        (with(protobuf, &[]), "it is PROTOBUF, wanted AVRO"),
        (with(wrong, &[]), "its schema, id"),
        (with(refers, &[2]), "its references are cyclic"),
        (good[..good.len() - 1].to_vec(), "the datum ends too early"),
        (with(id, &[]), "the datum ends too early"),
        ([good.clone(), vec![0]].concat(), "unread bytes behind the datum: 1"),
        (with(huge, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f]), "order_id: the datum ends too early"),
        (with(huge, &[2, b'1', 0x80, 0xa8, 0xd6, 0xb9, 0x07, 0]), "x: longer than 16777216 bytes as JSON"),
        (with(id, &[4, 2, 2, 2, 2, 2, 2]), "not of its schema"),
        (vec![0xff; 100], "not in the wire format"),
    ];
    for (value, _) in &poison {
        shop.send(Vec::new(), Some(value.clone()));
    }
    shop.send(Vec::new(), None);
    shop.send(b"2".to_vec(), Some(framed(id, FIRST, first_row(2, some(Avro::Long(1))))));
    shop.await_orders(&served, &[(1, 2)]);
    let rejected = served.get("/v1/rejected").expect(200).json();
    let of_orders = rejected["reasons"].as_array().expect("some").iter().filter(|one| one["table"] == "orders");
    let rows: u64 = of_orders.filter_map(|one| one["rows"].as_u64()).sum();
    assert_eq!(rows, poison.len() as u64 + 1, "{rejected}");
    let text = rejected.to_string();
    for (_, words) in &poison {
        assert!(text.contains(words), "{words:?}: {text}");
    }
    stop(served.running);
}

/// The envelope of Debezium's connector for PostgreSQL, shortened.
const ENVELOPE: &str = r#"{"type": "record", "name": "Envelope", "namespace": "erp.public.orders", "fields": [
    {"name": "before", "default": null, "type": ["null", {"type": "record", "name": "Value", "fields": [
        {"name": "order_id", "type": "long"},
        {"name": "customer_id", "type": ["null", "long"], "default": null},
        {"name": "product_id", "type": "long"},
        {"name": "order_date",
            "type": ["null", {"type": "int", "connect.version": 1, "connect.name": "io.debezium.time.Date"}]},
        {"name": "quantity", "type": "int"},
        {"name": "discount", "type": {"type": "record", "name": "VariableScaleDecimal",
            "namespace": "io.debezium.data", "connect.name": "io.debezium.data.VariableScaleDecimal",
            "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}]}}]}]},
    {"name": "after", "type": ["null", "Value"], "default": null},
    {"name": "op", "type": "string"},
    {"name": "ts_ms", "type": ["null", "long"], "default": null}]}"#;

#[test]
fn an_envelope_of_debezium_is_unwrapped() {
    let Some(shop) = AvroShop::new() else { return };
    let id = shop.registry.add("shop.orders-value", ENVELOPE, &json!({}));
    let side = |order: i64, customer: i64| {
        some(record(&[
            ("order_id", Avro::Long(order)),
            ("customer_id", some(Avro::Long(customer))),
            ("product_id", Avro::Long(10)),
            ("order_date", some(Avro::Int(19_788))),
            ("quantity", Avro::Int(1)),
            ("discount", record(&[("scale", Avro::Int(2)), ("value", Avro::Bytes(vec![5]))])),
        ]))
    };
    let envelope = |before: Avro, after: Avro, op: &str| {
        let op = Avro::String(op.to_owned());
        framed(id, ENVELOPE, record(&[("before", before), ("after", after), ("op", op), ("ts_ms", NULL())]))
    };
    let key_schema = r#"{"type": "record", "name": "Key", "fields": [{"name": "order_id", "type": "long"}]}"#;
    let key_id = shop.registry.add("shop.orders-key", key_schema, &json!({}));
    let key = |order: i64| framed(key_id, key_schema, record(&[("order_id", Avro::Long(order))]));
    for order in 1..=4 {
        shop.send(key(order), Some(envelope(NULL(), side(order, 1), "r")));
    }
    let served = Served::start(&shop.shop, &["--config", &shop.config("debezium-avro")]);
    shop.await_orders(&served, &[(1, 4)]);
    assert_eq!(served.rows("daily_sales")[0]["order_date"], "2024-03-06");
    shop.send(key(9), Some(envelope(NULL(), NULL(), "c")));
    shop.send(key(1), Some(envelope(side(1, 1), side(1, 2), "u")));
    shop.send(key(2), Some(envelope(side(2, 1), NULL(), "d")));
    shop.send(key(2), None);
    // Without the row that was deleted, its key is what tells. It is the last record: who sees it has seen them all.
    shop.send(key(3), Some(envelope(NULL(), NULL(), "d")));
    shop.await_orders(&served, &[(1, 1), (2, 1)]);
    let rejected = served.get("/v1/rejected").text();
    assert!(rejected.contains("an envelope of Debezium without after"), "{rejected}");
    stop(served.running);
}

#[test]
fn a_registry_that_is_gone_is_waited_for() {
    let Some(shop) = AvroShop::new() else { return };
    let first = shop.registry.add("shop.orders-value", FIRST, &json!({}));
    shop.send(Vec::new(), Some(framed(first, FIRST, first_row(1, some(Avro::Long(1))))));
    let served = Served::start(&shop.shop, &["--config", &shop.config("avro")]);
    shop.await_orders(&served, &[(1, 1)]);
    let second = shop.registry.add("shop.orders-value", FIRST, &json!({"version": 2}));
    thread::scope(|scope| {
        scope.spawn(|| shop.registry.network.cut(Duration::from_secs(4)));
        thread::sleep(Duration::from_millis(500));
        for (order, id) in [(2, first), (3, second), (4, first)] {
            shop.send(Vec::new(), Some(framed(id, FIRST, first_row(order, some(Avro::Long(1))))));
        }
        let started = Instant::now();
        loop {
            let source = served.get("/v1/sources").expect(200).json()["sources"][0].clone();
            if source["state"] == "retrying" && source.to_string().contains("schema registry") {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(4), "{source}");
            thread::sleep(Duration::from_millis(20));
        }
    });
    shop.await_orders(&served, &[(1, 4)]);
    // Another answers in its place, and the registry learns of a schema after the first record.
    let third = shop.registry.add("shop.orders-value", FIRST, &json!({"version": 3}));
    shop.registry.hide(true);
    shop.send(Vec::new(), Some(framed(third, FIRST, first_row(5, some(Avro::Long(1))))));
    thread::sleep(Duration::from_millis(1500));
    shop.registry.hide(false);
    shop.await_orders(&served, &[(1, 5)]);
    shop.send(Vec::new(), Some(framed(third + 1, FIRST, first_row(6, some(Avro::Long(1))))));
    thread::sleep(Duration::from_secs(1));
    shop.registry.add("shop.orders-value", FIRST, &json!({"version": 4}));
    shop.await_orders(&served, &[(1, 6)]);
    assert!(!served.get("/v1/rejected").text().contains("orders"), "{}", served.get("/v1/rejected").text());
    stop(served.running);
}

fn sink_config(shop: &Shop, broker: &Broker, registry: &Registry, format: &str) -> String {
    let (path, brokers, url) = (shop.path("config.yaml"), broker.address(), registry.url());
    let keys = format!("format: {format}, schema_registry: {{url: \"{url}\"}}");
    let sink = format!("sinks: [{{name: feed, type: kafka, brokers: \"{brokers}\", prefix: ms., {keys}}}]\n");
    fs::write(&path, sink).expect("written");
    path.display().to_string()
}

/// A datum with the schema of its frame, as JSON.
fn json_of(registry: &Registry, framed: &[u8]) -> Value {
    let id = u32::from_be_bytes(framed[1..5].try_into().expect("four bytes"));
    let schema = Schema::parse_str(&registry.schema(id)).expect("a schema");
    let reader = GenericDatumReader::builder(&schema).build().expect("a reader");
    let mut datum = &framed[5..];
    let value = reader.read_value(&mut datum).expect("of its schema");
    assert!(datum.is_empty(), "nothing is left");
    plain(&value)
}

/// A value as the JSON of the server has it, with decimals in units of their last place.
fn plain(value: &Avro) -> Value {
    match value {
        Avro::Null => Value::Null,
        Avro::Union(_, value) => plain(value),
        Avro::Int(value) => json!(value),
        Avro::Long(value) => json!(value),
        Avro::Double(value) => json!(value),
        Avro::String(value) => json!(value),
        Avro::Date(days) => {
            let day = chrono::NaiveDate::from_epoch_days(*days).expect("a day");
            json!(day.format("%Y-%m-%d").to_string())
        }
        Avro::Decimal(value) => {
            let bytes = Vec::<u8>::try_from(value).expect("bytes");
            let sign = if bytes[0] & 0x80 != 0 { -1 } else { 0 };
            let units = bytes.iter().fold(sign, |number: i64, byte| number << 8 | i64::from(*byte));
            json!({ "units": units })
        }
        Avro::Record(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect())
        }
        other => panic!("{other:?}"),
    }
}

/// Checks that all topics have the tables that are served.
fn check_there(served: &Served, broker: &Broker, registry: &Registry, context: &str) {
    let started = Instant::now();
    while served.get("/v1/sinks").json()["sinks"][1]["epoch"] != served.get("/v1/status").json()["epoch"] {
        assert!(started.elapsed() < PATIENCE, "{} {}", served.get("/v1/sinks").text(), served.running.log());
        thread::sleep(Duration::from_millis(5));
    }
    for (table, key) in TABLES {
        let mut there: BTreeMap<String, Value> = BTreeMap::new();
        for record in broker.records_as_bytes(&format!("ms.{table}")) {
            let key = json_of(registry, &record.key).to_string();
            match record.value {
                Some(value) => _ = there.insert(key, json_of(registry, &value)),
                None => _ = there.remove(&key),
            }
        }
        let row = |value: Value| value.get("after").cloned().unwrap_or(value);
        let there: BTreeMap<String, Value> = there.into_iter().map(|(key, value)| (key, row(value))).collect();
        let here = served.rows(table).into_iter().map(|row| {
            let key: serde_json::Map<_, _> = key.iter().map(|name| ((*name).to_owned(), row[*name].clone())).collect();
            (Value::from(key).to_string(), row)
        });
        let here: BTreeMap<String, Value> = here.collect();
        assert_eq!(there.keys().collect::<Vec<_>>(), here.keys().collect::<Vec<_>>(), "{table}, {context}");
        for (key, row) in &here {
            for (name, value) in row.as_object().expect("a row") {
                let found = &there[key][name];
                match found["units"].as_i64() {
                    Some(units) => {
                        let scale = units as f64 / value.as_f64().expect("a number");
                        assert!(units == 0 || (scale.log10() - scale.log10().round()).abs() < 1e-9, "{name} {row}");
                    }
                    None => assert_eq!(found, value, "{table}, {key}, {name}, {context}"),
                }
            }
        }
    }
}

#[test]
fn topics_have_the_tables_and_a_restart_writes_what_differs() {
    let (Some(broker), registry) = (Broker::start(), Registry::start()) else { return };
    for format in ["avro", "debezium-avro"] {
        if format == "debezium-avro" {
            registry.take_only();
        }
        let (shop, mut random) = (shop_with_folder(), Rng::with_seed(1));
        let config = sink_config(&shop, &broker, &registry, format);
        let served = Served::start(&shop, &["--config", &config]);
        check_there(&served, &broker, &registry, "at first");
        for round in 0..2 {
            served.post_json("orders", &random_orders(&mut random)).expect(200);
            check_there(&served, &broker, &registry, &format!("round {round}, {format}"));
        }
        stop(served.running);
        // Nothing is written when nothing has changed, and only what differs after another configuration.
        let written = broker.records("ms.customer_patterns").len();
        let served = Served::start(&shop, &["--config", &config]);
        check_there(&served, &broker, &registry, "after a restart");
        assert_eq!(broker.records("ms.customer_patterns").len(), written);
        stop(served.running);
        let days = broker.records("ms.daily_sales").len();
        let tiers = "tiers: [{name: Rich, from: 300}, {name: Bronze}]\n";
        fs::write(&config, fs::read_to_string(&config).expect("read") + tiers).expect("written");
        let served = Served::start(&shop, &["--config", &config]);
        check_there(&served, &broker, &registry, "with other tiers");
        let all = served.rows("customer_patterns").len();
        let changed = broker.records("ms.customer_patterns").len() - written;
        assert!(changed > 0 && changed <= all, "{changed} of {all}");
        assert_eq!(broker.records("ms.daily_sales").len(), days, "no day has changed");
        stop(served.running);
    }
    let subjects = registry.subjects();
    for (table, _) in TABLES {
        let wanted = [format!("ms.{table}-key"), format!("ms.{table}-value")];
        assert!(wanted.iter().all(|subject| subjects.contains(subject)), "{subjects:?}");
    }
}

#[test]
fn what_can_not_be_used_is_said() {
    let Some(shop) = AvroShop::new() else { return };
    let run = |config: &str| finish(service(&shop.shop, &["--listen", "127.0.0.1:0", "--config", config]));
    let changed = |from: &str, to: &str| {
        let config = shop.config("avro");
        let text = fs::read_to_string(&config).expect("read");
        assert!(text.contains(from), "{text}");
        fs::write(&config, text.replace(from, to)).expect("written");
        config
    };
    let url = shop.registry.url();
    for (from, to, words) in [
        ("format: avro", "format: xml", "format: found xml, wanted one of json, avro, debezium, debezium-avro"),
        ("format: avro", "format: json", "records of the format json have no schemas in a registry"),
        (url.as_str(), "registry:8081", "schema_registry: url: found \"registry:8081\", wanted one such as"),
        (", password: s3cret", "", "wanted both username and password, or none"),
        ("s3cret}", "s3cret, ca: Cargo.toml}", "ca: Cargo.toml: found no certificate"),
        ("schema_registry", "other", "other"),
        (
            "username",
            "usrname",
            "unknown key sources.schema_registry.usrname: did you mean sources.schema_registry.username?",
        ),
    ] {
        let done = run(&changed(from, to));
        assert!(done.status == 2 && done.stderr.contains(words), "{done:?}");
        assert!(!done.stderr.contains("s3cret"), "{done:?}");
    }
    let checked = |config: &str| {
        let mut command = command(&["check", "--config", config]);
        command.arg("--input").arg(shop.shop.input()).arg("--output").arg(shop.shop.output());
        finish(command)
    };
    send(&shop.producer, TOPIC, Some(0), &[("1", Some("{}"))]);
    let done = checked(&changed("s3cret", "other"));
    assert!(done.status == 3 && done.stdout.contains("401 Unauthorized: Unauthorized"), "{done:?}");
    let done = checked(&shop.config("avro"));
    assert!(done.stdout.contains("answers") && done.stdout.contains("not in the wire format of Confluent"), "{done:?}");
    let mut shown = command(&["config", "--listen", "127.0.0.1:0", "--config", &shop.config("avro")]);
    shown.arg("--input").arg(shop.shop.input()).arg("--output").arg(shop.shop.output());
    let done = finish(shown);
    check(&done, 0, &[]);
    assert!(done.stdout.contains("schema_registry") && !done.stdout.contains("s3cret"), "{done:?}");
    // A sink whose schema is refused.
    let (served_shop, registry) = (shop_with_folder(), Registry::start());
    registry.close("ms.daily_sales-value");
    let config = sink_config(&served_shop, &shop.broker, &registry, "avro");
    let done = finish(service(&served_shop, &["--listen", "127.0.0.1:0", "--config", &config]));
    let words = "subject ms.daily_sales-value: 409 Conflict: Schema being registered is incompatible; if nobody reads";
    check(&done, 2, &[words]);
}
