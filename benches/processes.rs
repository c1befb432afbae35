//! What the network between processes costs: so many processes of one worker each against one process of as many
//! workers, on one machine, over a shop as it is and over two in which three in ten orders are of one customer or
//! product.
//!
//! ```text
//! cargo bench --bench processes -- --scales 1 --workers 1,2,4
//! cargo test --bench processes     # a small form that only shows that it runs
//! ```
//!
//! Both take turns; the median of the rounds counts, from the start of the first process to the end of the last.

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use common::skewed::skewed;
use common::{Args, folder, median, write_json};
use serde::Serialize;

#[derive(Serialize)]
struct Measured {
    scale: f64,
    shop: &'static str,
    workers: usize,
    one_process_seconds: f64,
    processes_seconds: f64,
    ratio: f64,
}

fn main() {
    let args = Args::get();
    let workers = args.workers.clone().unwrap_or(vec![1, 2, 4]);
    let rounds = args.rounds.unwrap_or(if args.bench { 5 } else { 1 });
    println!(
        "{:>8} {:>24} {:>8} {:>14} {:>14} {:>8}",
        "scale", "shop", "workers", "one process s", "processes s", "ratio"
    );
    let mut results = Vec::new();
    for (scale, uniform) in args.shops() {
        for (shop, input) in [
            ("uniform", uniform.clone()),
            ("30 % of one customer", skewed(&uniform, scale, "customer_id")),
            ("30 % of one product", skewed(&uniform, scale, "product_id")),
        ] {
            for workers in workers.iter().copied() {
                let (mut one, mut several) = (Vec::new(), Vec::new());
                for _ in 0..rounds {
                    one.push(run(&input, 1, workers));
                    several.push(run(&input, workers, 1));
                }
                let (one_process_seconds, processes_seconds) = (median(one), median(several));
                let ratio = processes_seconds / one_process_seconds;
                println!(
                    "{scale:>8} {shop:>24} {workers:>8} {one_process_seconds:>14.2} {processes_seconds:>14.2} \
                     {ratio:>8.2}"
                );
                results.push(Measured { scale, shop, workers, one_process_seconds, processes_seconds, ratio });
            }
        }
    }
    write_json(&args, "processes", &results);
}

/// The seconds that so many processes of so many workers take.
fn run(input: &Path, processes: usize, workers: usize) -> f64 {
    let listeners: Vec<_> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let hosts = listeners.iter().map(|listener| listener.local_addr().expect("an address").to_string());
    let hosts = hosts.collect::<Vec<_>>().join(",");
    drop(listeners);
    let started = Instant::now();
    let running: Vec<Child> = (0..processes)
        .map(|process| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
            command.args(["run", "--as-of", "2024-12-31", "--workers", &workers.to_string()]);
            command.arg("--input").arg(input).arg("--output").arg(folder("tables"));
            command.args(["--process", &process.to_string(), "--hosts", &hosts]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts")
        })
        .collect();
    for mut process in running {
        assert!(process.wait().expect("it ends").success(), "the run fails");
    }
    started.elapsed().as_secs_f64()
}
