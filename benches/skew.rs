//! What skew costs: three in ten orders of one customer, or of one product, against the same shop without.
//!
//! ```text
//! cargo bench --bench skew -- --scales 1 --workers 2
//! cargo test --bench skew     # a small form that only shows that it runs
//! ```
//!
//! The job is loaded and kept, all tables, nothing written, `enriched_data` in its parts; then orders are corrected,
//! one an epoch, taken from all of the shop, so that three in ten are of the one customer or product.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::skewed::skewed;
use common::{Args, config, live, median, sample_orders, write_json};
use hdrhistogram::Histogram;
use millstream::model::{Change, Order};
use serde::Serialize;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Serialize)]
struct Measured {
    scale: f64,
    workers: usize,
    shop: &'static str,
    load_seconds: f64,
    load_to_uniform: f64,
    p50_us: f64,
    p99_us: f64,
    p50_to_uniform: f64,
}

fn main() {
    let args = Args::get();
    let workers = args.workers.clone().unwrap_or(vec![2]);
    let rounds = args.rounds.unwrap_or(if args.bench { 3 } else { 1 });
    println!(
        "{:>8} {:>8} {:>24} {:>8} {:>8} {:>10} {:>10} {:>8}",
        "scale", "workers", "shop", "load s", "ratio", "p50 µs", "p99 µs", "ratio"
    );
    let mut results: Vec<Measured> = Vec::new();
    for (scale, uniform) in args.shops() {
        let shops = [
            ("uniform", uniform.clone()),
            ("30 % of one customer", skewed(&uniform, scale, "customer_id")),
            ("30 % of one product", skewed(&uniform, scale, "product_id")),
        ];
        for workers in &workers {
            let mut first: Option<(f64, f64)> = None;
            for (name, input) in &shops {
                let (load_seconds, latency) = measure(input, *workers, rounds, args.bench);
                let micros = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
                let (p50_us, p99_us) = (micros(0.5), micros(0.99));
                let (load, p50) = *first.get_or_insert((load_seconds, p50_us));
                let (load_to_uniform, p50_to_uniform) = (load_seconds / load, p50_us / p50);
                println!(
                    "{scale:>8} {workers:>8} {name:>24} {load_seconds:>8.2} {load_to_uniform:>8.2} {p50_us:>10.1} \
                     {p99_us:>10.1} {p50_to_uniform:>8.2}"
                );
                results.push(Measured {
                    scale,
                    workers: *workers,
                    shop: name,
                    load_seconds,
                    load_to_uniform,
                    p50_us,
                    p99_us,
                    p50_to_uniform,
                });
            }
        }
    }
    write_json(&args, "skew", &results);
}

/// Seconds to load, the median of the rounds; and the latency of the corrections after the last load.
fn measure(input: &Path, workers: usize, rounds: usize, is_full: bool) -> (f64, Histogram<u64>) {
    let (least, time) = if is_full { (100, Duration::from_secs(3)) } else { (3, Duration::from_millis(5)) };
    let mut seconds = Vec::new();
    let mut latency = Histogram::new(3).expect("three digits");
    for round in 1..=rounds {
        let mut live = live(&config(workers), input);
        seconds.push(live.report().seconds);
        if round == rounds {
            let orders = sample_orders(input, 20_000);
            let corrected = orders.iter().cycle().zip(1..).map(|((id, order), more)| {
                Change::Order(
                    id.clone(),
                    Some(Order { quantity: order.quantity % 1000 + more % 7 + 1, ..order.clone() }),
                )
            });
            let started = Instant::now();
            for change in corrected {
                let applied = Instant::now();
                live.apply([change]).expect("the job is live");
                let took = applied.elapsed();
                latency.record(u64::try_from(took.as_nanos()).expect("below 500 years")).expect("it grows");
                if latency.len() >= least && started.elapsed() >= time {
                    break;
                }
            }
        }
        live.stop().expect("the workers end");
    }
    (median(seconds), latency)
}
