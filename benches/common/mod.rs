//! What the benches of the job share: shops, a table on the screen and the same as JSON.

#![allow(dead_code, unreachable_pub, reason = "each bench uses a part")]

pub mod serving;
pub mod skewed;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;

use chrono_tz::Tz;
use clap::Parser;
use millstream::config::{InputConfig, JobConfig};
use millstream::model::{AnyId, Change, Day, InputTable, Order, Product};
use millstream::runtime::{Live, Progress};
use millstream::sinks::Sink;
use millstream::sources::changes;
use serde::Serialize;
use serde_json::{Value, json};

/// What the benches of the job can be asked for.
#[derive(Parser)]
pub struct Args {
    /// Sizes of shops: 1 has 6 million orders.
    #[arg(long, value_delimiter = ',')]
    pub scales: Option<Vec<f64>>,
    /// Numbers of workers.
    #[arg(long, value_delimiter = ',')]
    pub workers: Option<Vec<usize>>,
    /// Runs of each case; the median counts.
    #[arg(long)]
    pub rounds: Option<usize>,
    /// A shop that is there already, instead of generated ones.
    #[arg(long)]
    pub input: Option<PathBuf>,
    /// Tell how long each operator works, which costs some time itself.
    #[arg(long)]
    pub profile: bool,
    /// Only this case, such as `corrected orders 100`.
    #[arg(long)]
    pub only: Option<String>,
    /// Keep one core busy with another process meanwhile.
    #[arg(long)]
    pub neighbour: bool,
    /// Measure only the first changes after a load.
    #[arg(long)]
    pub cold: bool,
    /// Where the JSON goes [default: target/tmp/results/NAME.json].
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Given by `cargo bench`; without it, as under `cargo test`, everything is small.
    #[arg(long)]
    pub bench: bool,
}

impl Args {
    /// Parses the command line; what `cargo test` adds to it is of no use here.
    pub fn get() -> Args {
        Args::parse()
    }

    /// The shops to measure, each with its scale: one, unless others are asked for.
    pub fn shops(&self) -> Vec<(f64, PathBuf)> {
        let scales = self.scales.clone().unwrap_or(vec![if self.bench { 1.0 } else { 0.002 }]);
        scales.into_iter().map(|scale| (scale, self.input.clone().unwrap_or_else(|| shop(scale)))).collect()
    }
}

/// A folder below `target` that benches work in.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

/// A generated shop of this scale, made once.
pub fn shop(scale: f64) -> PathBuf {
    let shop = folder("shops").join(format!("scale-{scale}"));
    if !shop.join("customers").exists() {
        let making = shop.with_extension("making");
        drop(fs::remove_dir_all(&making));
        millstream::generate::generate(scale, &making).expect("a shop is generated");
        fs::rename(&making, &shop).expect("the target folder can be written");
    }
    shop
}

/// The configuration of a job.
pub fn config(workers: usize) -> JobConfig {
    JobConfig { workers, ..JobConfig::new(Day::from_ymd(2024, 12, 31).expect("a day")) }
}

/// The middle one.
pub fn median<N: PartialOrd + Copy>(mut numbers: Vec<N>) -> N {
    numbers.sort_by(|a, b| a.partial_cmp(b).expect("numbers compare"));
    numbers[numbers.len() / 2]
}

/// Writes what a bench measured, and on what.
pub fn write_json(args: &Args, name: &str, results: &[impl Serialize]) {
    let default = || folder("results").join(format!("{name}.json"));
    let path = args.json.clone().unwrap_or_else(default);
    let all = json!({ "bench": name, "machine": machine(), "results": results });
    fs::write(&path, format!("{all:#}\n")).expect("the results can be written");
    println!("\n{}", path.display());
}

/// The machine's cores and memory.
fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        line.map(|(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    json!({
        "cores": cores,
        "processor": after(&read("/proc/cpuinfo"), "model name"),
        "memory": after(&read("/proc/meminfo"), "MemTotal"),
    })
}

/// A live job over a shop, whose tables go nowhere.
pub fn live(config: &JobConfig, input: &Path) -> Live {
    live_with(config, input, Vec::new())
}

/// A live job over a shop.
pub fn live_with(config: &JobConfig, input: &Path, sinks: Vec<Box<dyn Sink>>) -> Live {
    let source = InputConfig::at(input).open().expect("the shop is there");
    Live::start(config, Arc::new(source), sinks, &Arc::new(Progress::default())).expect("the shop is loaded")
}

/// About so many orders from all over a shop.
pub fn sample_orders(input: &Path, many: usize) -> Vec<(AnyId, Order<AnyId>)> {
    let orders = sample(input, InputTable::Orders, many).filter_map(|change| match change {
        Change::Order(id, Some(order)) => Some((id, order)),
        _ => None,
    });
    orders.collect()
}

/// About so many products from all over a shop.
pub fn sample_products(input: &Path, many: usize) -> Vec<(AnyId, Arc<Product>)> {
    let products = sample(input, InputTable::Products, many).filter_map(|change| match change {
        Change::Product(id, Some(product)) => Some((id, product)),
        _ => None,
    });
    products.collect()
}

fn sample(input: &Path, table: InputTable, many: usize) -> impl Iterator<Item = Change<AnyId>> {
    let source = InputConfig::at(input).open().expect("the shop is there");
    let rows = || changes::<AnyId>(&source, table, Tz::UTC).expect("the shop can be read");
    let step = (rows().count() / many).max(1);
    rows().step_by(step).take(many).map(|row| row.expect("a row can be read")).collect::<Vec<_>>().into_iter()
}

/// Another process that keeps one core busy, until it is dropped.
pub struct Neighbour(Child);

impl Neighbour {
    /// Starts it.
    pub fn start() -> Neighbour {
        Neighbour(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("another process starts"))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("it ends");
    }
}

/// How often this process's threads gave up a core or lost it, where the system tells.
pub fn context_switches() -> Option<u64> {
    let threads = fs::read_dir("/proc/self/task").ok()?;
    let statuses = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok());
    let of_thread = |status: String| -> u64 {
        let counts = status.lines().filter(|line| line.contains("_ctxt_switches:"));
        counts.filter_map(|line| line.rsplit_once(char::is_whitespace)?.1.parse::<u64>().ok()).sum()
    };
    Some(statuses.map(of_thread).sum())
}

/// The memory that this process has now, in bytes, where the system tells.
pub fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}
