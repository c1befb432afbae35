//! A service in a process of its own, and clients that post orders to it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// A service, and where it listens.
pub struct Service {
    child: Child,
    /// Over HTTP.
    pub address: String,
    /// In PostgreSQL's protocol, if it does.
    pub postgres: Option<String>,
}

impl Service {
    /// Starts a service with two workers over a shop, and waits until it is live; and, once its shop is large, until
    /// what was imported is compacted.
    pub fn start(input: &Path, folder: &Path, more: &[&str], is_large: bool) -> Service {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(["serve", "--as-of", "2024-12-31", "--workers", "2", "--listen", "127.0.0.1:0"]);
        command.args(more).arg("--input").arg(input);
        command.arg("--output").arg(folder.join("tables")).arg("--state").arg(folder.join("state"));
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let (mut address, mut postgres) = (None, None);
        for line in lines.by_ref() {
            if let Some((_, at)) = line.split_once("listening at http://") {
                address = Some(at.to_owned());
            } else if let Some((_, at)) = line.split_once("PostgreSQL clients at ") {
                postgres = Some(at.to_owned());
            } else if line.contains(if is_large { "made a checkpoint" } else { "live at epoch" }) {
                break;
            }
        }
        thread::spawn(move || lines.for_each(drop));
        // Memory that loading needed goes back to the system.
        thread::sleep(Duration::from_secs(if is_large { 5 } else { 0 }));
        Service { child, address: address.expect("the service is live"), postgres }
    }

    /// Its resident memory.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() * 1024
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An order of a generated shop, corrected.
pub struct Order {
    pub id: i64,
    pub customer: i64,
    pub product: i64,
    pub quantity: i32,
}

impl Order {
    /// Any order of a shop of this scale.
    #[allow(clippy::cast_possible_truncation, reason = "sizes of shops are small")]
    pub fn any(scale: f64, random: &mut Rng) -> Order {
        let upto = |many: f64| 1..=((scale * many) as i64).max(1);
        Order {
            id: random.i64(upto(6_000_000.0)),
            customer: random.i64(upto(150_000.0)),
            product: random.i64(upto(200_000.0)),
            quantity: random.i32(1..50),
        }
    }

    pub fn json(&self) -> String {
        let Order { id, customer, product, quantity } = self;
        format!(
            "{{\"order_id\":{id},\"customer_id\":{customer},\"product_id\":{product},\"order_date\":\"1994-08-23\",\
             \"quantity\":{quantity},\"discount\":0.05}}"
        )
    }
}

pub struct Answer {
    pub status: u16,
    pub epoch: Option<u64>,
    pub body: Vec<u8>,
}

/// A connection that is kept.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    pub fn open(address: &str) -> Connection {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_nodelay(true).expect("set");
        Connection(BufReader::new(stream))
    }

    pub fn post(&mut self, kind: &str, body: &[u8]) -> Vec<u8> {
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

    pub fn get(&mut self, path: &str) -> Vec<u8> {
        let answer = self.try_get(path);
        assert_eq!(answer.status, 200, "{path}");
        answer.body
    }

    pub fn try_get(&mut self, path: &str) -> Answer {
        self.exchange(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes())
    }

    /// The epoch and the sum of the revenue of a table; `None` if that epoch can't be read any more.
    pub fn revenue(&mut self, table: &str, epoch: Option<u64>) -> Option<(u64, f64)> {
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

pub fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits")
}

pub fn record(latencies: &mut Histogram<u64>, latency: Duration) {
    latencies.record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX)).expect("it has room");
}

pub fn latency(case: &str, latencies: &Histogram<u64>) -> Value {
    let of = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e6;
    let (p50, p99) = (of(0.5), of(0.99));
    println!("{case}: p50 {p50:.3} ms, p99 {p99:.3} ms, {} times", latencies.len());
    json!({ "case": case, "p50_ms": p50, "p99_ms": p99, "times": latencies.len() })
}
