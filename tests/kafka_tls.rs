//! A broker and a schema registry behind TLS.

#![cfg(feature = "kafka")]

mod broker;
mod files;
mod network;
mod registry;
mod served;
mod tls;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use apache_avro::Schema;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use broker::{Broker, free_port, send_bytes};
use files::serving::{PATIENCE, stop};
use files::{Shop, command, finish};
use registry::Registry;
use serde_json::json;
use served::Served;
use tls::TlsPort;

const TOPIC: &str = "shop.orders";
const SCHEMA: &str = r#"{"type": "record", "name": "Order", "fields": [
    {"name": "order_id", "type": "long"}, {"name": "customer_id", "type": "long"},
    {"name": "product_id", "type": "long"}, {"name": "order_date", "type": "string"},
    {"name": "quantity", "type": "int"}, {"name": "discount", "type": "double"}]}"#;

#[test]
fn a_cluster_and_a_registry_are_trusted_by_their_certificates() {
    let port = free_port();
    let broker_port = TlsPort::before(port);
    let Some(mut broker) = Broker::start_at(port, Some(broker_port.port)) else { return };
    let of_broker = broker_port.certificate().display().to_string();
    broker.properties = vec![("security.protocol", "SSL".to_owned()), ("ssl.ca.location", of_broker.clone())];
    let (registry, shop) = (Registry::start(), Shop::small());
    let registry_port = TlsPort::before(registry.network.port);
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    broker.topic(TOPIC, 1);
    let id = registry.add("shop.orders-value", SCHEMA, &json!({}));
    let schema = Schema::parse_str(SCHEMA).expect("a schema");
    let row = [
        ("order_id", Avro::Long(1)),
        ("customer_id", Avro::Long(1)),
        ("product_id", Avro::Long(10)),
        ("order_date", Avro::String("2024-03-05".to_owned())),
        ("quantity", Avro::Int(1)),
        ("discount", Avro::Double(0.0)),
    ];
    let row = Avro::Record(row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    let writer = GenericDatumWriter::builder(&schema).build().expect("a writer");
    let value = [&[0][..], &id.to_be_bytes(), &writer.write_value_to_vec(row).expect("a datum")].concat();
    send_bytes(&broker.producer(None), TOPIC, Some(0), &[(b"1".to_vec(), Some(value))]);

    let config = |broker_ca: &str, registry_ca: &str| {
        let (path, brokers) = (shop.path("config.yaml"), broker.address());
        let url = format!("https://127.0.0.1:{}", registry_port.port);
        let properties = format!("{{security.protocol: SSL{broker_ca}}}");
        let source = format!(
            "{{name: erp, type: kafka, brokers: \"{brokers}\", properties: {properties}, topics: {{orders: {TOPIC}}}, \
             format: avro, schema_registry: {{url: \"{url}\"{registry_ca}}}}}"
        );
        fs::write(&path, format!("sources: [{source}]\n")).expect("written");
        path.display().to_string()
    };
    let of_broker = format!(", ssl.ca.location: \"{of_broker}\"");
    let of_registry = format!(", ca: \"{}\"", registry_port.certificate().display());
    let checked = |config: &str| {
        let mut command = command(&["check", "--config", config]);
        command.arg("--input").arg(shop.input()).arg("--output").arg(shop.output());
        finish(command)
    };
    let done = checked(&config("", &of_registry));
    assert!(done.status == 3 && done.stdout.contains("certificate verify failed"), "{done:?}");
    let done = checked(&config(&of_broker, ""));
    assert!(done.status == 3 && done.stdout.contains("UnknownIssuer"), "{done:?}");
    let config = config(&of_broker, &of_registry);
    let done = checked(&config);
    assert!(done.status == 0 && done.stdout.contains("a record was read"), "{done:?}");
    let served = Served::start(&shop, &["--config", &config]);
    let started = Instant::now();
    while served.rows("customer_patterns").len() != 1 {
        assert!(started.elapsed() < PATIENCE, "{}", served.running.log());
        thread::sleep(Duration::from_millis(20));
    }
    stop(served.running);
}
