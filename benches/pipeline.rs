//! What a run takes: the whole job from Parquet to Parquet, by scale and workers, and stage by stage.
//!
//! ```text
//! cargo bench --bench pipeline -- --scales 0.25,1,4 --workers 1,2
//! cargo test --bench pipeline     # a small form that only shows that it runs
//! ```
//!
//! Each run is a process of its own, as a user starts it, with files that are in the system's cache. Of several rounds
//! the median counts; the stages are those of one more run, which logs how long each operator works.

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use common::{Args, folder, median, shop, write_json};
use millstream::report::{Report, StageReport};
use serde::Serialize;

#[derive(Serialize)]
struct Measured {
    scale: f64,
    workers: usize,
    orders: u64,
    seconds: f64,
    orders_per_second: f64,
    peak_bytes: u64,
    stages: Vec<StageReport>,
}

fn main() {
    let args = Args::get();
    let scales = args.scales.clone().unwrap_or(if args.bench { vec![0.25, 1.0, 4.0] } else { vec![0.002] });
    let workers = args.workers.clone().unwrap_or(vec![1, 2]);
    let rounds = args.rounds.unwrap_or(if args.bench { 5 } else { 1 });
    let mut results: Vec<Measured> = Vec::new();
    println!("{:>8} {:>8} {:>12} {:>9} {:>12} {:>10}", "scale", "workers", "orders", "seconds", "orders/s", "peak MiB");
    for scale in scales {
        let input = args.input.clone().unwrap_or_else(|| shop(scale));
        for workers in &workers {
            let measured = measure(&input, scale, *workers, rounds);
            let Measured { orders, seconds, orders_per_second, peak_bytes, .. } = measured;
            let mebibytes = peak_bytes >> 20;
            println!("{scale:>8} {workers:>8} {orders:>12} {seconds:>9.2} {orders_per_second:>12.0} {mebibytes:>10}");
            results.push(measured);
        }
    }
    if let Some(last) = results.last() {
        println!("\nstages of the last, in seconds of all its workers");
        for stage in last.stages.iter().take(16) {
            println!("  {:42} {:>8.2}", stage.name, stage.seconds);
        }
    }
    write_json(&args, "pipeline", &results);
}

fn measure(input: &Path, scale: f64, workers: usize, rounds: usize) -> Measured {
    let mut seconds = Vec::new();
    let mut peak: Vec<u64> = Vec::new();
    run(input, workers, false); // warms the system's cache, and is not counted
    for _ in 0..rounds {
        let (took, report) = run(input, workers, false);
        seconds.push(took);
        peak.push(report.peak_memory_bytes.unwrap_or(0));
    }
    let (_, report) = run(input, workers, true);
    let orders = report.inputs.iter().filter(|input| input.name == "orders").map(|input| input.read).sum();
    let seconds = median(seconds);
    Measured {
        scale,
        workers,
        orders,
        seconds,
        orders_per_second: orders as f64 / seconds,
        peak_bytes: median(peak),
        stages: report.stages,
    }
}

/// Runs the command; gives the seconds from its start to its end, and its report.
fn run(input: &Path, workers: usize, profile: bool) -> (f64, Report) {
    let (output, report) = (folder("tables"), folder("results").join("run.json"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.args(["run", "--as-of", "2024-12-31", "--workers", &workers.to_string()]);
    command.arg("--input").arg(input).arg("--output").arg(output).arg("--report").arg(&report);
    command.args(profile.then_some("--profile"));
    let started = Instant::now();
    let ended = command.output().expect("the command starts");
    let seconds = started.elapsed().as_secs_f64();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let report = std::fs::read(&report).expect("the report is written");
    (seconds, serde_json::from_slice(&report).expect("the report is JSON"))
}
