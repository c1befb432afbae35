//! The cost of a change under a window, by size of the partition and changes per epoch, with both drivers.
//!
//! Hypotheses: with *ranges*, one change to a partition of a million rows costs tens of microseconds where few answers
//! move (lag, lead, ntile, the first ten, the median, a row number at the end), and as much as it emits where many do;
//! with *recompute*, it costs the partition. Where a large part of a partition changes at once, the two are alike.
//!
//! ```text
//! cargo bench --bench window             # everything, some minutes
//! cargo bench --bench window -- ntile    # functions whose name has "ntile" in it
//! cargo test --bench window              # a small form that only shows that it runs
//! ```
//!
//! One worker, a million rows in partitions of one size. A change inserts a row at a random place or removes a random
//! row, in turn; `append` inserts one behind all others. Latency is from the first update of an epoch to the
//! last answer.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use differential_dataflow::VecCollection;
use differential_dataflow::input::{Input, InputSession};
use fastrand::Rng;
use hdrhistogram::Histogram;
use millstream_operators::window::{Window, window};

/// Partition, order key, number, amount.
type Row = (u32, u32, u32, i32);
type Opened<'a> = Window<'a, u64, u32, u32, Row>;
/// Answers, all of one type: the row and a number that stands for what was answered.
type Answers<'a> = VecCollection<'a, u64, (u32, u64)>;

/// What is measured: a name, and the two drivers of one function.
struct Case {
    name: &'static str,
    is_append: bool,
    ranges: fn(Opened<'_>) -> Answers<'_>,
    recompute: fn(Opened<'_>) -> Answers<'_>,
}

macro_rules! case {
    ($name:literal, $function:expr, $answer:expr) => {
        case!($name, $function, $answer, false)
    };
    ($name:literal, $function:expr, $answer:expr, $is_append:literal) => {
        Case {
            name: $name,
            is_append: $is_append,
            ranges: |window| window.select($function).map(|(row, answer)| (row.2, $answer(answer))),
            recompute: |window| window.recomputed().select($function).map(|(row, answer)| (row.2, $answer(answer))),
        }
    };
}

fn amount(row: &Row) -> i32 {
    row.3
}

fn cases() -> Vec<Case> {
    const fn signed(answer: Option<i32>) -> u64 {
        match answer {
            Some(value) => value.unsigned_abs() as u64,
            None => u64::MAX,
        }
    }
    vec![
        case!("lag", |w| w.lag(1, amount), signed),
        case!("lead", |w| w.lead(1, amount), signed),
        case!("ntile(100)", |w| w.ntile(100), u64::from),
        Case {
            name: "first 10, numbered",
            is_append: false,
            ranges: |window| window.first_numbered(10).map(|(row, number)| (row.2, number)),
            recompute: |window| window.recomputed().first_numbered(10).map(|(row, number)| (row.2, number)),
        },
        Case {
            name: "first 10",
            is_append: false,
            ranges: |window| window.first(10).map(|row| (row.2, 0)),
            recompute: |window| window.recomputed().first(10).map(|row| (row.2, 0)),
        },
        Case {
            name: "median",
            is_append: false,
            ranges: |window| {
                window.per_partition(|w| w.median()).map(|(_, found)| (0, found.map_or(0, |at| at.lower.into())))
            },
            recompute: |window| {
                window
                    .recomputed()
                    .per_partition(|w| w.median())
                    .map(|(_, found)| (0, found.map_or(0, |at| at.lower.into())))
            },
        },
        case!("sum of 7 rows", |w| w.sum(amount).rows(-6..=0), |sum: Result<Option<i128>, _>| match sum {
            Ok(Some(sum)) => u64::try_from(sum.unsigned_abs()).unwrap_or(0),
            _ => 0,
        }),
        case!("running max", |w| w.max(amount).rows(..=0), signed),
        case!("dense_rank", |w| w.dense_rank(), u64::from),
        case!("rank", |w| w.rank(), u64::from),
        case!("row_number", |w| w.row_number(), u64::from),
        case!("row_number, append", |w| w.row_number(), u64::from, true),
        case!(
            "five at once",
            |w| (w.lag(1, amount), w.lead(1, amount), w.ntile(100), w.lag(2, amount), w.lead(3, amount)),
            {
                |answer: (Option<i32>, Option<i32>, u64, Option<i32>, Option<i32>)| {
                    answer.2.wrapping_add(signed(answer.0))
                }
            }
        ),
    ]
}

/// How much is measured.
struct Size {
    rows: u32,
    partitions: &'static [u32],
    changes: &'static [u32],
    time: Duration,
}

const FULL: Size = Size {
    rows: 1_000_000,
    partitions: &[10, 100, 10_000, 1_000_000],
    changes: &[1, 100, 10_000],
    time: Duration::from_millis(1500),
};
const SMOKE: Size =
    Size { rows: 1_000, partitions: &[100, 1_000], changes: &[1, 100], time: Duration::from_millis(10) };

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let size = if arguments.iter().any(|argument| argument == "--bench") { FULL } else { SMOKE };
    let wanted = arguments.iter().find(|argument| !argument.starts_with("--"));
    println!("{} rows; latency of an epoch in µs; updates emitted an epoch", size.rows);
    println!(
        "{:20} {:>9} {:>7} │ {:>9} {:>9} {:>10} │ {:>11} {:>11} {:>10} │ {:>8}",
        "function", "partition", "changes", "ranges p50", "p99", "updates", "recompute p50", "p99", "updates", "ratio"
    );
    for case in cases().iter().filter(|case| wanted.is_none_or(|wanted| case.name.contains(wanted.as_str()))) {
        for partition in size.partitions {
            let ranges = measure(case.ranges, case.is_append, *partition, &size);
            let recompute = measure(case.recompute, case.is_append, *partition, &size);
            let (load_ranges, load_recompute) = (ranges.load.as_secs_f64(), recompute.load.as_secs_f64());
            println!(
                "{:20} {:>9} {:>7} │ {:>9.2} s {:>20} │ {:>11.2} s {:>22} │ {:>8.1}",
                case.name,
                partition,
                "load",
                load_ranges,
                "",
                load_recompute,
                "",
                load_recompute / load_ranges
            );
            for ((changes, ranges), recompute) in size.changes.iter().zip(ranges.epochs).zip(recompute.epochs) {
                println!(
                    "{:20} {:>9} {:>7} │ {:>9.1} {:>9.1} {:>10.1} │ {:>11.1} {:>11.1} {:>10.1} │ {:>8.1}",
                    case.name,
                    partition,
                    changes,
                    ranges.micros(50.0),
                    ranges.micros(99.0),
                    ranges.updates,
                    recompute.micros(50.0),
                    recompute.micros(99.0),
                    recompute.updates,
                    recompute.micros(50.0) / ranges.micros(50.0)
                );
            }
        }
    }
}

/// All that is measured of one driver, function and size of partitions.
struct Run {
    /// How long all rows took.
    load: Duration,
    epochs: Vec<Measured>,
}

/// Epochs of one size.
struct Measured {
    latency: Histogram<u64>,
    updates: f64,
}

impl Measured {
    fn micros(&self, percentile: f64) -> f64 {
        self.latency.value_at_percentile(percentile) as f64 / 1e3
    }
}

fn measure(operator: fn(Opened<'_>) -> Answers<'_>, is_append: bool, partition: u32, size: &Size) -> Run {
    let (rows, changes, time) = (size.rows, size.changes, size.time);
    timely::execute_directly(move |worker| {
        let (emitted, checksum) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(0_u64)));
        let (count, sum) = (Rc::clone(&emitted), Rc::clone(&checksum));
        let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection::<Row, isize>();
            let answers = operator(window(rows, "Window", |row| row.0, |row| row.1));
            let (probe, _) = answers
                .inspect_batch(move |_, updates| {
                    count.set(count.get() + updates.len() as u64);
                    sum.set(updates.iter().fold(sum.get(), |sum, ((_, answer), _, diff)| {
                        sum.wrapping_add(answer.wrapping_mul(*diff as u64))
                    }));
                })
                .probe();
            (input, probe)
        });
        let mut shop = Shop::new(rows, rows / partition, is_append);
        let start = Instant::now();
        for row in &shop.rows {
            input.insert(*row);
        }
        let mut epoch = 1;
        finish(&mut input, epoch);
        worker.step_while(|| probe.less_than(&epoch));
        let load = start.elapsed();
        let mut epochs = Vec::new();
        for changes in changes {
            let mut latency = Histogram::new(3).expect("three digits");
            let before = emitted.get();
            let start = Instant::now();
            while latency.len() < 3 || (start.elapsed() < time && latency.len() < 20_000) {
                let changed: Vec<_> = (0..*changes).map(|_| shop.change()).collect();
                let epoch_start = Instant::now();
                changed.into_iter().for_each(|(row, diff)| input.update(row, diff));
                epoch += 1;
                finish(&mut input, epoch);
                worker.step_while(|| probe.less_than(&epoch));
                latency.record(u64::try_from(epoch_start.elapsed().as_nanos()).expect("short")).expect("in range");
            }
            let updates = (emitted.get() - before) as f64 / latency.len() as f64;
            epochs.push(Measured { latency, updates });
        }
        assert_ne!(checksum.get(), 1, "the answers are used");
        Run { load, epochs }
    })
}

fn finish(input: &mut InputSession<u64, Row, isize>, epoch: u64) {
    input.advance_to(epoch);
    input.flush();
}

/// The rows there are, and a source of changes to them.
struct Shop {
    rows: Vec<Row>,
    partitions: u32,
    is_append: bool,
    number: u32,
    random: Rng,
    inserts: bool,
}

/// Order keys are random below this; an appended row has it.
const KEYS: u32 = 1 << 30;

impl Shop {
    fn new(rows: u32, partitions: u32, is_append: bool) -> Shop {
        let random = Rng::with_seed(1);
        let mut shop = Shop { rows: Vec::new(), partitions, is_append, number: 0, random, inserts: false };
        shop.rows = (0..rows).map(|_| shop.row(KEYS)).collect();
        shop
    }

    fn row(&mut self, keys: u32) -> Row {
        self.number += 1;
        (self.random.u32(..self.partitions), self.random.u32(..keys), self.number, self.random.i32(0..10_000))
    }

    fn change(&mut self) -> (Row, isize) {
        self.inserts = self.is_append || !self.inserts;
        if self.inserts {
            let mut row = self.row(KEYS);
            if self.is_append {
                row.1 = KEYS;
            }
            self.rows.push(row);
            (row, 1)
        } else {
            let at = self.random.usize(..self.rows.len());
            (self.rows.swap_remove(at), -1)
        }
    }
}
