//! What a change costs once the job stays: all seven tables kept, nothing written; `enriched_data` as lines, accounts
//! and products.
//!
//! ```text
//! cargo bench --bench updates -- --scales 1,4 --workers 1,2
//! cargo bench --bench updates -- --neighbour     # beside a process that keeps one core busy
//! cargo bench --bench updates -- --cold --rounds 5
//! cargo test --bench updates     # a small form that only shows that it runs
//! ```
//!
//! Latency is from the moment a program hands changes over to the moment it is told that they are in every table, with
//! one epoch at a time; throughput is changes by that time. Each epoch's changes are of orders or products that no
//! earlier epoch of the case touched, as far as there are enough.

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Args, Neighbour, config, context_switches, live, resident, sample_orders, sample_products, write_json};
use hdrhistogram::Histogram;
use millstream::config::JobConfig;
use millstream::model::{AnyId, Change, Day, Order, Price, Product};
use millstream::runtime::Live;
use serde::Serialize;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Serialize)]
struct Measured {
    scale: f64,
    workers: usize,
    case: &'static str,
    changes_per_epoch: usize,
    epochs: u64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    changes_per_second: f64,
    /// Of all threads, for each epoch.
    context_switches: Option<f64>,
}

#[derive(Serialize)]
struct Loaded {
    scale: f64,
    workers: usize,
    orders: u64,
    load_seconds: f64,
    bytes_per_order: f64,
}

fn main() {
    let args = Args::get();
    let workers = args.workers.clone().unwrap_or(vec![2]);
    let (mut loads, mut results) = (Vec::new(), Vec::new());
    let _neighbour = args.neighbour.then(Neighbour::start);
    for (scale, input) in args.shops() {
        for workers in &workers {
            let mut config = config(*workers);
            config.profile = args.profile;
            if args.cold {
                results.extend(cold(&config, &input, scale, args.rounds.unwrap_or(3)));
                continue;
            }
            let mut live = live(&config, &input);
            loads.push(loaded(&mut live, scale, *workers, args.bench));
            let (is_full, only) = (args.bench, args.only.as_deref());
            Bench { live: &mut live, input: &input, scale, workers: *workers, is_full, only, results: &mut results }
                .run();
            live.stop().expect("the workers end");
        }
    }
    let results: Vec<_> = results.iter().map(|result| serde_json::json!(result)).collect();
    let loads = loads.iter().map(|load| serde_json::json!(load));
    write_json(&args, "updates", &loads.chain(results).collect::<Vec<_>>());
}

fn loaded(live: &mut Live, scale: f64, workers: usize, is_full: bool) -> Loaded {
    // Memory that loading needed and the state does not goes back to the system while something is done.
    let started = Instant::now();
    let nothing = |id: i64| vec![Change::Order(id.into(), None)];
    for id in (3_000_000_000_000..).take_while(|_| is_full && started.elapsed() < Duration::from_secs(3)) {
        live.apply(nothing(id)).expect("the job is live");
    }
    let report = live.report();
    let orders: u64 = report.inputs.iter().filter(|input| input.name == "orders").map(|input| input.read).sum();
    let bytes_per_order = resident().unwrap_or(0) as f64 / orders as f64;
    println!(
        "\nscale {scale}, {workers} workers: {orders} orders loaded in {:.2} s, {bytes_per_order:.0} bytes an order",
        report.seconds
    );
    print_head();
    Loaded { scale, workers, orders, load_seconds: report.seconds, bytes_per_order }
}

/// What the first corrected order after a load takes, and the ten after it: of several loads.
fn cold(config: &JobConfig, input: &Path, scale: f64, rounds: usize) -> [Measured; 2] {
    let orders = sample_orders(input, 11 * rounds);
    let mut took = [new_histogram(), new_histogram()];
    for orders in orders.chunks_exact(11).take(rounds) {
        let mut live = live(config, input);
        for (nth, (id, order)) in orders.iter().enumerate() {
            let corrected = Order { quantity: order.quantity % 1000 + 1, ..order.clone() };
            let applied = Instant::now();
            live.apply([Change::Order(id.clone(), Some(corrected))]).expect("the job is live");
            record(&mut took[nth.min(1)], applied.elapsed());
        }
        live.stop().expect("the workers end");
    }
    let [first, next] = took;
    println!("\nscale {scale}, {} workers, {rounds} loads", config.workers);
    print_head();
    let measured = |case, nanoseconds: Histogram<u64>| {
        let all = Duration::from_secs_f64(nanoseconds.mean() * nanoseconds.len() as f64 / 1e9);
        let measured = Measured::of(scale, config.workers, case, 1, &nanoseconds, all, None);
        measured.print();
        measured
    };
    [measured("the first corrected order", first), measured("the ten after it", next)]
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits")
}

fn record(nanoseconds: &mut Histogram<u64>, took: Duration) {
    nanoseconds.record(u64::try_from(took.as_nanos()).expect("below 500 years")).expect("it grows");
}

fn print_head() {
    println!(
        "{:28} {:>8} {:>8} {:>10} {:>10} {:>10} {:>12} {:>9}",
        "case", "changes", "epochs", "p50 µs", "p99 µs", "max µs", "changes/s", "switches"
    );
}

impl Measured {
    fn of(
        scale: f64,
        workers: usize,
        case: &'static str,
        changes_per_epoch: usize,
        nanoseconds: &Histogram<u64>,
        all: Duration,
        switches: Option<u64>,
    ) -> Measured {
        let micros = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        let epochs = nanoseconds.len();
        Measured {
            scale,
            workers,
            case,
            changes_per_epoch,
            epochs,
            p50_us: micros(nanoseconds.value_at_quantile(0.5)),
            p99_us: micros(nanoseconds.value_at_quantile(0.99)),
            max_us: micros(nanoseconds.max()),
            changes_per_second: (epochs * changes_per_epoch as u64) as f64 / all.as_secs_f64(),
            context_switches: switches.map(|switches| switches as f64 / epochs as f64),
        }
    }

    fn print(&self) {
        let Measured { case, changes_per_epoch, epochs, p50_us, p99_us, max_us, changes_per_second, .. } = self;
        let switches = self.context_switches.map_or("–".to_owned(), |switches| format!("{switches:.1}"));
        println!(
            "{case:28} {changes_per_epoch:>8} {epochs:>8} {p50_us:>10.1} {p99_us:>10.1} {max_us:>10.1} \
             {changes_per_second:>12.0} {switches:>9}"
        );
    }
}

struct Bench<'a> {
    live: &'a mut Live,
    input: &'a Path,
    scale: f64,
    workers: usize,
    is_full: bool,
    only: Option<&'a str>,
    results: &'a mut Vec<Measured>,
}

impl Bench<'_> {
    fn run(&mut self) {
        let orders = sample_orders(self.input, if self.is_full { 400_000 } else { 2_000 });
        let products = sample_products(self.input, 2_000);
        for per_epoch in [1, 100, 10_000] {
            let mut quantities: HashMap<AnyId, i32> = HashMap::new();
            let correct = |nth: usize| {
                let (id, order) = &orders[nth % orders.len()];
                let quantity = quantities.entry(id.clone()).or_insert(order.quantity);
                *quantity = *quantity % 1000 + 1;
                Change::Order(id.clone(), Some(Order { quantity: *quantity, ..order.clone() }))
            };
            self.case("corrected orders", per_epoch, correct);
            self.case("new orders", per_epoch, |nth| {
                let id = AnyId::from(1_000_000_000_000 + (per_epoch * 10_000_000 + nth) as i64);
                Change::Order(id, Some(orders[nth % orders.len()].1.clone()))
            });
            // They come and go in turn, so that there is always one to delete; half of the changes delete.
            let (added, orders) = (&mut false, &orders);
            self.case("orders added and deleted", per_epoch, move |nth| {
                if nth.is_multiple_of(per_epoch) {
                    *added = !*added;
                }
                let id = AnyId::from(1_500_000_000_000 + (nth % per_epoch) as i64);
                Change::Order(id, added.then(|| orders[nth % per_epoch % orders.len()].1.clone()))
            });
        }
        for per_epoch in [1, 100] {
            self.case("changed prices", per_epoch, |nth| {
                let (id, product) = &products[nth % products.len()];
                let cents = i128::from(product.price.e4()) + 100 * (1 + (nth / products.len()) as i128);
                let price = Price::from_e4(cents).expect("a price");
                Change::Product(id.clone(), Some(Arc::new(Product { price, ..product.as_ref().clone() })))
            });
        }
        self.tier_crossing(&products);
    }

    /// A customer with many orders who becomes a VIP, and is none again: what all enriched rows of theirs share
    /// changes.
    fn tier_crossing(&mut self, products: &[(AnyId, Arc<Product>)]) {
        let customer = AnyId::from(1_000_000_000);
        let id = |nth: usize| AnyId::from(2_000_000_000_000 + nth as i64);
        let (cheap, dear) = (2_000_000_001_i64, 2_000_000_002_i64);
        let product = |product: i64, e4| {
            let price = Price::from_e4(e4).expect("a price");
            let item = Product { price, ..products[0].1.as_ref().clone() };
            Change::Product(product.into(), Some(Arc::new(item)))
        };
        let order = |product: i64| Order {
            day: Day::from_ymd(1995, 5, 1),
            ..Order::of(customer.clone(), AnyId::from(product))
        };
        let many = if self.is_full { 10_000 } else { 100 };
        let theirs = (0..many).map(|nth| Change::Order(id(nth), Some(order(cheap))));
        let all = [product(cheap, 1), product(dear, 20_000 * 10_000)].into_iter().chain(theirs);
        self.live.apply(all).expect("the job is live");
        let one_more = id(many);
        self.case("tier crossed, 10,000 orders", 1, |nth| {
            Change::Order(one_more.clone(), nth.is_multiple_of(2).then(|| order(dear)))
        });
    }

    /// Applies changes for about two seconds and tells what they cost.
    fn case(&mut self, case: &'static str, per_epoch: usize, mut change: impl FnMut(usize) -> Change<AnyId>) {
        if self.only.is_some_and(|only| format!("{case} {per_epoch}") != only) {
            return;
        }
        let (least, time) = if self.is_full { (10, Duration::from_secs(2)) } else { (2, Duration::from_millis(5)) };
        let per_epoch = if self.is_full { per_epoch } else { per_epoch.min(100) };
        let mut nanoseconds = new_histogram();
        let (mut nth, mut all) = (0, Duration::ZERO);
        let before: HashMap<_, _> =
            self.live.progress_report().stages.into_iter().map(|stage| (stage.name, stage.seconds)).collect();
        let (started, switches) = (Instant::now(), context_switches());
        while nanoseconds.len() < least || started.elapsed() < time {
            let changes: Vec<_> = (nth..nth + per_epoch).map(&mut change).collect();
            nth += per_epoch;
            let applied = Instant::now();
            self.live.apply(changes).expect("the job is live");
            let took = applied.elapsed();
            all += took;
            record(&mut nanoseconds, took);
        }
        let switches = switches.zip(context_switches()).and_then(|(before, after)| after.checked_sub(before));
        let measured = Measured::of(self.scale, self.workers, case, per_epoch, &nanoseconds, all, switches);
        measured.print();
        let stages = self.live.progress_report().stages.into_iter().map(|stage| {
            let since = stage.seconds - before.get(&stage.name).unwrap_or(&0.0);
            (since / all.as_secs_f64(), stage.name)
        });
        for (share, stage) in stages.filter(|(share, _)| *share > 0.005) {
            println!("{:>37.1} % of the time: {stage}", share * 100.0);
        }
        self.results.push(measured);
    }
}
