//! A service that listens, as its clients see it.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, reason = "this is a module of each test binary")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Response;

use crate::files::Shop;
use crate::files::processes::Running;
use crate::files::serving::{PATIENCE, service};

/// A service that listens, and its address.
pub struct Served {
    pub running: Running,
    pub base: String,
    pub agent: Agent,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn of(mut response: Response<ureq::Body>) -> Answer {
        let header = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().expect("text").to_owned())
        };
        let (status, headers) = (response.status().as_u16(), response.headers().iter().map(header).collect());
        let body = response.body_mut().with_config().limit(1 << 30).read_to_vec().expect("a whole body");
        Answer { status, headers, body }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    pub fn epoch(&self) -> u64 {
        self.headers["millstream-epoch"].parse().expect("a number")
    }

    /// Checks the status, and that a problem is told as one.
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", self.text());
        if status >= 400 {
            assert_eq!(self.headers["content-type"], "application/problem+json");
            assert_eq!(self.json()["status"], status);
        }
        self
    }
}

pub fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).build().new_agent()
}

impl Served {
    pub fn start(shop: &Shop, args: &[&str]) -> Served {
        Served::start_command(service(shop, &[&["--listen", "127.0.0.1:0"], args].concat()))
    }

    pub fn start_command(command: Command) -> Served {
        let mut served = Served::start_loading(command);
        let started = Instant::now();
        let is_ready = |served: &Served| {
            let answer = served.agent.get(format!("{}/readyz", served.base)).call();
            answer.is_ok_and(|answer| answer.status() == 200)
        };
        while !is_ready(&served) {
            let is_over = served.running.is_over() || started.elapsed() >= PATIENCE;
            assert!(!is_over, "{}", served.running.log());
            thread::sleep(Duration::from_millis(5));
        }
        served
    }

    pub fn start_loading(command: Command) -> Served {
        let mut running = Running::start(command);
        running.await_line("listening at ");
        let log = running.log();
        let base =
            log.split("listening at ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address");
        Served { base: base.to_owned(), running, agent: agent() }
    }

    pub fn get(&self, path: &str) -> Answer {
        Answer::of(self.agent.get(format!("{}{path}", self.base)).call().expect("an answer"))
    }

    pub fn post(&self, table: &str, kind: &str, body: &[u8]) -> Answer {
        self.post_with(table, &[("content-type", kind)], body)
    }

    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let request = self.agent.post(format!("{}/v1/{path}", self.base));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Answer::of(request.send(body).expect("an answer"))
    }

    pub fn post_json(&self, table: &str, rows: &Value) -> Answer {
        self.post(table, "application/json", rows.to_string().as_bytes())
    }

    /// All rows of a table.
    pub fn rows(&self, table: &str) -> Vec<Value> {
        let lines = self.get(&format!("/v1/tables/{table}?format=jsonl")).expect(200).text();
        lines.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
    }
}

/// Says that a test is over, also if it fails: threads of its scope end then.
pub struct IsOver<'a>(pub &'a AtomicBool);

impl Drop for IsOver<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The tables that a sink has by default, with their keys.
pub const TABLES: [(&str, &[&str]); 6] = [
    ("daily_sales", &["order_date"]),
    ("product_sales", &["product_id"]),
    ("customer_patterns", &["customer_id"]),
    ("rfm_analysis", &["customer_id"]),
    ("cohort_analysis", &["cohort_month"]),
    ("customer_product_matrix", &["customer_id", "rank"]),
];

/// A product that costs ten.
pub const PEN: u64 = 900;

pub fn pen() -> Value {
    json!({ "product_id": PEN, "product_name": "Pen", "category": "Office", "price": 10 })
}

pub fn order(id: u64, customer: u64, product: u64, day: &str, quantity: u64) -> Value {
    json!({ "order_id": id, "customer_id": customer, "product_id": product, "order_date": day, "quantity": quantity })
}

/// The same with all columns.
pub fn undiscounted_order(id: u64, customer: u64, product: u64, day: &str, quantity: u64) -> Value {
    let mut row = order(id, customer, product, day, quantity);
    row["discount"] = json!(0);
    row
}

/// A server-sent event.
#[derive(Debug)]
pub struct SentEvent {
    pub kind: String,
    pub id: Option<u64>,
    pub data: Value,
}

/// The events of a stream.
pub fn events(served: &Served, path: &str, last: Option<u64>) -> impl Iterator<Item = SentEvent> + use<> {
    // A header without an id is as good as none.
    let last = last.map_or_else(String::new, |id| id.to_string());
    let request = agent().get(format!("{}{path}", served.base)).header("last-event-id", last);
    let response = request.call().expect("an answer");
    assert_eq!(response.status(), 200);
    let mut lines = BufReader::new(response.into_body().into_reader()).lines().map_while(Result::ok);
    std::iter::from_fn(move || {
        let mut event = SentEvent { kind: String::new(), id: None, data: Value::Null };
        loop {
            let line = lines.next()?;
            match line.split_once(": ") {
                Some(("id", id)) => event.id = id.parse().ok(),
                Some(("event", kind)) => kind.clone_into(&mut event.kind),
                Some(("data", data)) => event.data = serde_json::from_str(data).expect("JSON"),
                _ if line.is_empty() && !event.kind.is_empty() => return Some(event),
                _ => {}
            }
        }
    })
}

/// An amount in units of 10⁻⁴, in which sums are exact; a null is nothing.
pub fn ten_thousandths(amount: &Value) -> i64 {
    format!("{:.4}", amount.as_f64().unwrap_or_default()).replace('.', "").parse().expect("digits")
}

/// Some orders of customers and products that are known, and deletes.
pub fn random_orders(random: &mut Rng) -> Value {
    let mut row = || match random.u8(..5) {
        0 => json!({ "order_id": random.u64(1..40), "_op": "d" }),
        _ => order(random.u64(1..40), random.u64(1..3), random.u64(10..13), "2024-03-05", random.u64(1..9)),
    };
    let rows = [row(), row(), row()];
    json!(rows)
}
