//! A Kafka broker of its own for a test, and clients of it.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, reason = "this is a module of each test binary")]

use std::collections::BTreeMap;
use std::env;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Headers;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::network::Proxy;

/// A broker that is stopped when it is dropped, behind a network that can break.
pub struct Broker {
    process: Child,
    pub network: Proxy,
    /// The port that clients know.
    port: u16,
    /// Further properties of clients.
    pub properties: Vec<(&'static str, String)>,
}

/// How long a broker may take for what a test asks of it.
const PATIENCE: Duration = Duration::from_secs(60);

impl Broker {
    /// Starts a broker; `None`, and says so, where none is installed.
    pub fn start() -> Option<Broker> {
        Broker::start_at(free_port(), None)
    }

    /// Starts one at a port. Clients are told another, or that of the network that can break.
    pub fn start_at(port: u16, advertised: Option<u16>) -> Option<Broker> {
        let Some(program) = program() else {
            eprintln!("no tansu in PATH, nor in MILLSTREAM_TANSU: nothing is tested with a broker");
            return None;
        };
        let network = Proxy::to(port);
        let advertised = advertised.unwrap_or(network.port);
        let process = Command::new(program)
            .arg(format!("--listener-url=tcp://127.0.0.1:{port}"))
            .arg(format!("--advertised-listener-url=tcp://127.0.0.1:{advertised}"))
            .args(["--storage-engine=memory://tansu/", "--silent"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < PATIENCE, "the broker listens");
            thread::sleep(Duration::from_millis(20));
        }
        Some(Broker { process, network, port: advertised, properties: Vec::new() })
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address());
        self.properties.iter().for_each(|(name, value)| _ = config.set(*name, value));
        config
    }

    /// Makes a topic.
    pub fn topic(&self, name: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("a client");
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let made = block_on(admin.create_topics(&[topic], &AdminOptions::new()));
        made.expect("an answer").into_iter().for_each(|made| _ = made.expect("made"));
    }

    /// Gives a topic more partitions; false if the broker can't.
    pub fn partitions(&self, name: &str, count: usize) -> bool {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("a client");
        let made = block_on(admin.create_partitions(&[NewPartitions::new(name, count)], &AdminOptions::new()));
        made.is_ok_and(|made| made.into_iter().all(|made| made.is_ok()))
    }

    /// A producer, of transactions if it has an id for them.
    pub fn producer(&self, transactional: Option<&str>) -> BaseProducer {
        let mut config = self.config();
        config.set("linger.ms", "1").set("enable.idempotence", "true");
        if let Some(id) = transactional {
            config.set("transactional.id", id);
        }
        let producer: BaseProducer = config.create().expect("a producer");
        if transactional.is_some() {
            producer.init_transactions(PATIENCE).expect("initialized");
        }
        producer
    }

    /// What consumers of committed records see of a topic: each record, in the order of partitions.
    pub fn records(&self, topic: &str) -> Vec<Seen> {
        self.records_by_epoch(topic).into_iter().map(|(_, record)| record).collect()
    }

    /// The same, with the epochs of those that tell one.
    pub fn records_by_epoch(&self, topic: &str) -> Vec<(u64, Seen)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let seen = |record: SeenBytes| {
            let SeenBytes { partition, offset, key, value, epoch } = record;
            (epoch, Seen { partition, offset, key: text(&key), value: value.as_deref().map(text) })
        };
        self.records_as_bytes(topic).into_iter().map(seen).collect()
    }

    /// The same as they are.
    pub fn records_as_bytes(&self, topic: &str) -> Vec<SeenBytes> {
        let mut config = self.config();
        config.set("group.id", "test").set("isolation.level", "read_committed").set("enable.partition.eof", "true");
        config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false").set("fetch.wait.max.ms", "10");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
        let partitions: Vec<i32> = metadata.topics()[0].partitions().iter().map(|partition| partition.id()).collect();
        let mut list = TopicPartitionList::new();
        for partition in &partitions {
            list.add_partition_offset(topic, *partition, Offset::Beginning).expect("added");
        }
        consumer.assign(&list).expect("assigned");
        let (mut open, mut seen, started) = (partitions, Vec::new(), Instant::now());
        while !open.is_empty() {
            assert!(started.elapsed() < PATIENCE, "{topic} is read to its end");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(record)) => {
                    let key = record.key().unwrap_or_default().to_vec();
                    let value = record.payload().map(<[u8]>::to_vec);
                    let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
                    let epoch = headers
                        .filter(|header| header.key == "millstream-epoch")
                        .find_map(|header| std::str::from_utf8(header.value?).ok()?.parse().ok());
                    let (partition, offset, epoch) = (record.partition(), record.offset(), epoch.unwrap_or_default());
                    seen.push(SeenBytes { partition, offset, key, value, epoch });
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => open.retain(|other| *other != partition),
                _ => {}
            }
        }
        // Which takes its time.
        thread::spawn(move || drop(consumer));
        seen
    }

    /// The last value of each key.
    pub fn table(&self, topic: &str) -> BTreeMap<String, String> {
        let mut table = BTreeMap::new();
        for Seen { key, value, .. } in self.records(topic) {
            match value {
                Some(value) => _ = table.insert(key, value),
                None => _ = table.remove(&key),
            }
        }
        table
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub partition: i32,
    pub offset: i64,
    pub key: String,
    pub value: Option<String>,
}

/// A record as it is.
#[derive(Clone, Debug)]
pub struct SeenBytes {
    pub partition: i32,
    pub offset: i64,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    pub epoch: u64,
}

/// Sends records of a key and a value to a topic, and waits until they are there.
pub fn send(producer: &BaseProducer, topic: &str, partition: Option<i32>, records: &[(&str, Option<&str>)]) {
    let bytes =
        |(key, value): &(&str, Option<&str>)| (key.as_bytes().to_vec(), value.map(|text| text.as_bytes().to_vec()));
    send_bytes(producer, topic, partition, &records.iter().map(bytes).collect::<Vec<_>>());
}

/// The same with bytes.
pub fn send_bytes(
    producer: &BaseProducer,
    topic: &str,
    partition: Option<i32>,
    records: &[(Vec<u8>, Option<Vec<u8>>)],
) {
    for (key, value) in records {
        let mut record = BaseRecord::to(topic).key(key);
        record.payload = value.as_ref();
        record.partition = partition;
        while let Err((error, again)) = producer.send(record) {
            assert!(error.to_string().contains("Queue full"), "{error}");
            producer.poll(Duration::from_millis(1));
            record = again;
        }
    }
    flush(producer);
}

/// Waits until all records are there. What the client has itself waits for 100 ms at a time.
pub fn flush(producer: &BaseProducer) {
    let started = Instant::now();
    while producer.in_flight_count() > 0 {
        assert!(started.elapsed() < PATIENCE, "the records are there");
        producer.poll(Duration::from_millis(1));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

/// The broker, if it is installed.
fn program() -> Option<PathBuf> {
    let given = env::var_os("MILLSTREAM_TANSU").map(PathBuf::from);
    let in_path = env::var_os("PATH").into_iter().flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    given.into_iter().chain(in_path.map(|folder| folder.join("tansu"))).find(|path| Path::new(path).is_file())
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
