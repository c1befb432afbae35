//! What loading and one change cost under the operators that are no windows.
//!
//! Hypotheses: loading rows into groups with all statistics at once takes at most four times as long as a plain loop
//! with the same arithmetic, and one change costs the same whatever the size of its group or key.
//!
//! ```text
//! cargo bench --bench operators    # everything, a minute or two
//! cargo test --bench operators     # a small form that only shows that it runs
//! ```
//!
//! One worker.

use std::hint::black_box;
use std::time::{Duration, Instant};

use differential_dataflow::difference::Semigroup;
use differential_dataflow::input::Input;
use differential_dataflow::{Data, VecCollection};
use fastrand::Rng;
use hdrhistogram::Histogram;
use millstream_operators::{
    Covariance, Moments, aggregate, aggregate_total, arg_max, collect_set, distinct_count, histogram, max, top_k,
};

/// Group, quantity, amount.
type Row = (u32, i64, i64);
/// Count, sum, mean, variance, standard deviation, skewness and kurtosis of the amount; covariance and correlation of
/// both.
type Statistics = (Moments<4>, Covariance<0, 4>);

fn term(row: &Row) -> Statistics {
    (Moments::of(row.2), Covariance::of(row.1, row.2))
}

fn main() {
    let is_full = std::env::args().any(|argument| argument == "--bench");
    let (rows, time) = if is_full { (10_000_000, Duration::from_secs(2)) } else { (10_000, Duration::from_millis(10)) };
    load(rows, if is_full { 5 } else { 1 });
    println!("\none change, by the rows of its group or key: latency in µs, updates emitted");
    println!("{:24} {:>10} {:>8} {:>8} {:>8}", "operator", "rows", "p50", "p99", "updates");
    for rows in if is_full { &[10, 10_000, 10_000_000][..] } else { &[10, 1_000] } {
        change("aggregate_total", *rows, time, |rows| {
            aggregate_total(rows, "Statistics", |row| Some((row.0, term(row))))
        });
        change("aggregate", *rows, time, |rows| aggregate(rows, "Statistics", |row| Some((row.0, term(row)))));
    }
    for rows in if is_full { &[10, 10_000, 1_000_000][..] } else { &[10, 1_000] } {
        change("top_k, 10 of 1 M", *rows, time, |rows| top_k(keyed(rows), "First", 10, 1_000_000));
        change("max of 1 M", *rows, time, |rows| max(keyed(rows), "Greatest", 1_000_000));
        change("arg_max of 1 M", *rows, time, |rows| {
            arg_max(rows.map(|row| (row.0, (row.2, row.1))), "Greatest", 1_000_000)
        });
        change("histogram, 20 bounds", *rows, time, |rows| {
            histogram(keyed(rows), "Histogram", (1..=20).map(|step| step * 50_000).collect())
        });
        change("distinct_count", *rows, time, |rows| {
            distinct_count(keyed(rows).arrange_by_key(), "Distinct", |_, amount| Some(*amount), |group, _| *group)
        });
    }
    change("collect_set", 10_000, time, |rows| collect_set(keyed(rows), "Set"));
}

fn keyed(rows: VecCollection<'_, u64, Row>) -> VecCollection<'_, u64, (u32, i64)> {
    rows.map(|row| (row.0, row.2))
}

/// Loads rows into a thousand groups, and does the same in a loop.
fn load(rows: u32, rounds: usize) {
    const GROUPS: u32 = 1000;
    let mut random = Rng::with_seed(1);
    let data: Vec<Row> = (0..rows).map(|_| random_row(&mut random, GROUPS)).collect();
    println!("{rows} rows into {GROUPS} groups, all statistics at once; median of {rounds} rounds");
    let (mut plain, mut live) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = Instant::now();
        let mut groups = vec![Statistics::default(); GROUPS as usize];
        data.iter().for_each(|row| groups[row.0 as usize].plus_equals(&term(row)));
        plain.push(start.elapsed());
        let data = data.clone();
        let (elapsed, found) = timely::execute_directly(move |worker| {
            let found = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
            let kept = std::rc::Rc::clone(&found);
            let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
                let (input, rows) = scope.new_collection::<Row, isize>();
                let statistics = aggregate_total(rows, "Statistics", |row| Some((row.0, term(row))));
                (input, statistics.inspect(move |(record, _, _)| kept.borrow_mut().push(*record)).probe().0)
            });
            let start = Instant::now();
            for rows in data.chunks(1 << 16) {
                rows.iter().for_each(|row| input.insert(*row));
                input.flush();
                worker.step();
            }
            input.advance_to(1);
            input.flush();
            worker.step_while(|| probe.less_than(&1));
            (start.elapsed(), found.take())
        });
        live.push(elapsed);
        assert_eq!(found.len(), GROUPS as usize);
        assert!(found.iter().all(|(group, statistics)| groups[*group as usize] == *statistics), "the loop agrees");
    }
    let [plain, live] = [plain, live].map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    });
    let per_second = |seconds: f64| f64::from(rows) / seconds / 1e6;
    println!("plain loop       {plain:>7.3} s  {:>6.1} M rows/s", per_second(plain));
    println!(
        "aggregate_total  {live:>7.3} s  {:>6.1} M rows/s  {:.2} × the loop's time",
        per_second(live),
        live / plain
    );
}

/// Replaces one row of a key with so many, again and again.
fn change<D: Data>(
    name: &str,
    rows: u32,
    time: Duration,
    operator: impl for<'a> Fn(VecCollection<'a, u64, Row>) -> VecCollection<'a, u64, D> + Send + Sync + 'static,
) {
    let (latency, updates) = timely::execute_directly(move |worker| {
        let emitted = std::rc::Rc::new(std::cell::Cell::new(0));
        let count = std::rc::Rc::clone(&emitted);
        let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection::<Row, isize>();
            let answers = operator(rows).inspect_batch(move |_, updates| {
                count.set(count.get() + black_box(updates).len());
            });
            (input, answers.probe().0)
        });
        let mut random = Rng::with_seed(2);
        let mut held: Vec<Row> = (0..rows).map(|_| random_row(&mut random, 1)).collect();
        held.iter().for_each(|row| input.insert(*row));
        let mut latency: Histogram<u64> = Histogram::new(3).expect("three digits");
        let (mut epoch, mut start, mut loaded) = (0, Instant::now(), Instant::now());
        loop {
            epoch += 1;
            input.advance_to(epoch);
            input.flush();
            worker.step_while(|| probe.less_than(&epoch));
            if epoch == 1 {
                // That was the load.
                emitted.set(0);
                loaded = Instant::now();
            } else {
                latency.record(u64::try_from(start.elapsed().as_nanos()).expect("short")).expect("in range");
            }
            if latency.len() >= 20_000 || (latency.len() >= 100 && loaded.elapsed() > time) {
                return (latency, emitted.get() as f64 / (epoch - 1) as f64);
            }
            let at = random.usize(..held.len());
            let (before, after) = (held[at], random_row(&mut random, 1));
            held[at] = after;
            start = Instant::now();
            input.remove(before);
            input.insert(after);
        }
    });
    let micros = |percentile| latency.value_at_percentile(percentile) as f64 / 1e3;
    println!("{name:24} {rows:>10} {:>8.1} {:>8.1} {updates:>8.1}", micros(50.0), micros(99.0));
}

/// A row of one of so many groups.
fn random_row(random: &mut Rng, groups: u32) -> Row {
    (random.u32(..groups), random.i64(0..10), random.i64(-1000..1_000_000))
}
