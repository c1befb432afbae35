//! What a function costs in a dataflow: rows a second through a scalar, a vectorised, a memoised and a model function.
//!
//! ```text
//! cargo bench --bench udf                 # ten million rows each, on two workers
//! cargo test --bench udf                  # a small form that only shows that it runs
//! ```
//!
//! Rows are made on the workers as they are needed, some thousand at a time, which *no function* costs too; each row is
//! a record of a collection, and what a function gives is added up. `bench/udf.py` does the same in PySpark and in
//! Polars.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Args, write_json};
use differential_dataflow::input::Input;
use differential_dataflow::{ExchangeData, VecCollection};
use millstream::forest::{Forest, Training, point};
use millstream::model::{Discount, Price, Text, TextMap};
use millstream::udf::{Udf, anomaly_score, clean_text, parse_json_metadata};
use serde_json::json;
use timely::dataflow::operators::probe::Handle;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows that enter together.
const TOGETHER: u64 = 1 << 14;

fn main() {
    let args = Args::get();
    let rows = if args.bench { 10_000_000 } else { 10_000 };
    let workers = args.workers.as_ref().map_or(2, |workers| workers[0]);
    println!("{:40} {:>10} {:>8} {:>14}", "function", "rows", "seconds", "rows/s");
    let mut results = Vec::new();
    let mut tell = |kind: &str, function: &str, (took, sum): (Duration, u64)| {
        let (seconds, per_second) = (took.as_secs_f64(), rows as f64 / took.as_secs_f64());
        println!("{:40} {rows:>10} {seconds:>8.2} {per_second:>14.0}   (sum {sum})", format!("{kind}: {function}"));
        results.push(json!({
            "kind": kind,
            "function": function,
            "workers": workers,
            "rows": rows,
            "rows_per_second": per_second,
        }));
    };

    let is_wanted = |kind: &str| args.only.as_ref().is_none_or(|only| only == kind);

    if is_wanted("none") {
        let took = run(rows, workers, name, |names| names.map(|name| name.len() as u64));
        tell("none", "the length of a text", took);
    }

    let function = clean_text();
    let took = run(rows, workers, name, move |names| {
        function.apply(names, |name| Some(name.clone()), |_, clean| clean.map_or(0, |clean| clean.len() as u64)).0
    });
    tell("scalar", "clean_text", took);

    let function = Udf::<(f64, f64), f64>::vectorised("final_price", final_price);
    let took = run(rows, workers, offer, move |offers| {
        let arguments = |&(cents, percent): &(u32, u32)| (Some(f64::from(cents) / 1e2), Some(f64::from(percent) / 1e2));
        function.apply(offers, arguments, |_, price| price.map_or(0, |price| price.to_bits() >> 40)).0
    });
    tell("vectorised", "price × (1 − discount)", took);

    for (kind, function) in [("scalar", parse_json_metadata()), ("memoised", parse_json_metadata().memoised(16 << 20))]
    {
        let took = run(rows, workers, metadata, move |texts| {
            function.apply(texts, |text| Some(text.clone()), |_, map| map.map_or(0, |TextMap(map)| map.len() as u64)).0
        });
        tell(kind, "parse_json_metadata", took);
    }

    let sample = (0..100_000).map(order).map(|(quantity, price, discount)| point(quantity, price, discount));
    let model = Forest::train(&sample.collect::<Vec<_>>(), &Training::default()).expect("it can be trained");
    let function = anomaly_score(&Arc::new(model));
    let took = run(rows, workers, order, move |orders| {
        let arguments = |&(quantity, price, discount): &Order| (Some(quantity.into()), Some(price), Some(discount));
        function.apply(orders, arguments, |_, score| u64::from(score.is_some_and(|score| score < 0.0))).0
    });
    tell("model", "anomaly_score", took);
    write_json(&args, "udf", &results);
}

type Order = (i32, Price, Discount);

fn name(row: u64) -> Text {
    format!("  Product {}  NUMBER {row} ", row % 10_007).into()
}

/// Cents and percent.
fn offer(row: u64) -> (u32, u32) {
    let small = |number: u64| u32::try_from(number).expect("small");
    (small(row * 7919 % 100_000), small(row % 11))
}

fn metadata(row: u64) -> Text {
    let kind = row % 1000;
    format!(r#"{{"colour": "c{kind}", "size": {kind}.50, "tags": ["a", "b"]}}"#).into()
}

fn order(row: u64) -> Order {
    let (cents, percent) = offer(row);
    let price = Price::from_e4(i128::from(cents) * 100).expect("in range");
    let quantity = i32::try_from(row % 50 + 1).expect("small");
    (quantity, price, Discount::from_e4(i128::from(percent) * 100).expect("in range"))
}

fn final_price(columns: &[arrow::array::ArrayRef]) -> Result<arrow::array::ArrayRef, arrow::error::ArrowError> {
    use arrow::array::Float64Array;
    use arrow::compute::kernels::numeric::{mul, sub};
    mul(&columns[0], &sub(&Float64Array::new_scalar(1.0), &columns[1])?)
}

/// How long rows take through a dataflow, and the sum of what it gives.
fn run<R: ExchangeData>(
    rows: u64,
    workers: usize,
    row: impl Fn(u64) -> R + Send + Sync + 'static,
    function: impl for<'a> Fn(VecCollection<'a, u64, R>) -> VecCollection<'a, u64, u64> + Send + Sync + 'static,
) -> (Duration, u64) {
    let (sum, longest) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Duration::ZERO)));
    let (sums, times) = (Arc::clone(&sum), Arc::clone(&longest));
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (index, peers, probe) = (worker.index() as u64, worker.peers() as u64, Handle::new());
        let sums = Arc::clone(&sums);
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection::<R, isize>();
            let given = function(rows).inspect_batch(move |_, given| {
                let sum = given.iter().map(|(value, _, diff)| value.wrapping_mul(*diff as u64));
                sums.fetch_add(sum.fold(0, u64::wrapping_add), Ordering::Relaxed);
            });
            given.probe_with(&probe);
            input
        });
        let started = Instant::now();
        for (epoch, first) in (1..).zip((0..rows).step_by(usize::try_from(TOGETHER).expect("small"))) {
            let mine = (first..(first + TOGETHER).min(rows)).filter(|row| row % peers == index);
            mine.for_each(|number| input.insert(row(number)));
            input.advance_to(epoch);
            input.flush();
            worker.step_while(|| probe.less_than(&epoch.saturating_sub(2)));
        }
        drop(input);
        worker.step_while(|| !probe.done());
        let mut longest = times.lock().expect("no worker panicked");
        *longest = started.elapsed().max(*longest);
    });
    guards.expect("workers start").join().into_iter().for_each(|result| result.expect("no worker panics"));
    (*longest.lock().expect("no worker panicked"), sum.load(Ordering::Relaxed))
}
