//! A new model over orders that are scored: how long until every score is the new model's, and that the table is then
//! the one that a fresh run with that model makes.
//!
//! ```text
//! cargo bench --bench models -- --scales 1 --workers 2
//! cargo test --bench models      # a small form that only shows that it runs and is right
//! ```

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Args, config, folder, live_with, write_json};
use millstream::config::JobConfig;
use millstream::forest::{Forest, Training};
use millstream::runtime::Live;
use millstream::sinks::Checksums;
use millstream::tables::Catalog;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let args = Args::get();
    let mut results = Vec::new();
    for (scale, input) in args.shops() {
        for workers in args.workers.clone().unwrap_or(vec![2]) {
            let mut config = config(workers);
            config.tables = Catalog::standard().select(&["order_anomalies"]).expect("a table");
            results.push(measure(config, &input, scale, workers, args.rounds.unwrap_or(3)));
        }
    }
    write_json(&args, "models", &results);
}

/// Loads with one model, takes the other and the first again, and loads with the other.
fn measure(mut config: JobConfig, input: &Path, scale: f64, workers: usize, rounds: usize) -> serde_json::Value {
    let [one, other] = [1, 2].map(model);
    config.anomaly.model = Some(saved(&one, "one"));
    let (mut job, sums) = live_with_checksums(&config, input);
    let (load_seconds, first) = (job.report().seconds, checksum(&sums));
    let mut took = Vec::new();
    let mut with_other = 0;
    for _ in 0..rounds {
        took.push(change(&mut job, &other));
        with_other = checksum(&sums);
        took.push(change(&mut job, &one));
        assert_eq!(checksum(&sums), first, "the first model again gives the first table again");
    }
    job.stop().expect("the workers end");
    config.anomaly.model = Some(saved(&other, "other"));
    let (fresh, sums) = live_with_checksums(&config, input);
    assert_eq!(checksum(&sums), with_other, "a new model gives the table that a fresh run with it makes");
    assert_ne!(with_other, first, "two models score differently");
    fresh.stop().expect("the workers end");
    let seconds = common::median(took.iter().map(Duration::as_secs_f64).collect());
    println!(
        "scale {scale}, {workers} workers: loaded and scored in {load_seconds:.2} s; a new model in {seconds:.2} s \
         (median of {}); checksum {with_other:016x}, that of a fresh run",
        took.len()
    );
    let changes = took.len();
    json!({
        "scale": scale,
        "workers": workers,
        "load_seconds": load_seconds,
        "model_seconds": seconds,
        "changes": changes,
    })
}

fn live_with_checksums(config: &JobConfig, input: &Path) -> (Live, Checksums) {
    let sums = Checksums::new();
    (live_with(config, input, vec![Box::new(sums.clone())]), sums)
}

fn checksum(sums: &Checksums) -> u64 {
    sums.of("order_anomalies").expect("the table is made")
}

fn change(job: &mut Live, model: &Arc<Forest>) -> Duration {
    let started = Instant::now();
    job.replace_model(Arc::clone(model)).expect("the job is live");
    started.elapsed()
}

/// A model of the usual size, for what quantities, prices and discounts there are in a generated shop.
fn model(seed: u64) -> Arc<Forest> {
    let points: Vec<_> = (0..10_000_i64).map(|n| [n % 50 + 1, n * 7_919 % 20_000_000, n % 11 * 100]).collect();
    Arc::new(Forest::train(&points, &Training { seed, ..Training::default() }).expect("it can be trained"))
}

fn saved(model: &Forest, name: &str) -> std::path::PathBuf {
    let path = folder("models").join(format!("{name}.json"));
    model.save(&path).expect("the target folder can be written");
    path
}
