//! The demo of a service: orders arrive all the time, and what they move is shown.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::config::{RunArgs, RunConfig};
use crate::error::{Error, Result};
use crate::generate::generate;
use crate::grouped::grouped;
use crate::runtime::Progress;
use crate::service::{self, ServiceConfig, ServiceHandle};
use crate::sinks::{ChangeFeed, Sink, TableChanges};

use super::print::print_line;
use super::show::TextTable;
use super::signals;

/// What the demo is asked for.
pub(super) struct LiveDemo<'a> {
    pub(super) folder: &'a Path,
    pub(super) scale: f64,
    pub(super) workers: Option<usize>,
    /// Orders a second.
    pub(super) rate: u32,
}

/// How often a file of orders is written, and what has moved is shown.
const EVERY: Duration = Duration::from_secs(1);
/// Of so many orders that were written last, some are corrected or deleted.
const RECENT: usize = 10_000;

impl LiveDemo<'_> {
    /// Runs until it is stopped. If it is killed, the next one goes on where this one was.
    pub(super) fn run(&self) -> Result<()> {
        let (shop, incoming, output) =
            (self.folder.join("shop"), self.folder.join("incoming"), self.folder.join("live"));
        self.make_shop(&shop)?;
        let orders = incoming.join("orders");
        fs::create_dir_all(&orders).map_err(Error::writing(&orders))?;
        let args = RunArgs { input: Some(shop), output: Some(output), workers: self.workers, ..RunArgs::default() };
        let mut config = ServiceConfig::new(RunConfig::resolve(&args)?);
        (config.incoming, config.follows_today) = (Some(incoming), true);
        let (progress, requests) = (Arc::new(Progress::default()), ServiceHandle::default());
        signals::request_on_signals(&progress, &requests)?;
        let (folder, rate) = (self.folder.display(), grouped(self.rate.into()));
        print_line(format_args!(
            "Every second {rate} orders arrive in {folder}/incoming: most are new, some correct or delete others.\n\
             Ctrl-C stops, and publishes the tables to {folder}/live. After kill -9, start again: nothing is lost.\n"
        ))?;
        let (feed, written) = (ChangeFeed::new(), AtomicU64::new(0));
        thread::scope(|scope| {
            let streamed = scope.spawn(|| self.stream(&orders, &written, &requests));
            let shown = scope.spawn(|| show(&feed, &written, &requests));
            let sinks = || vec![Box::new(feed.clone()) as Box<dyn Sink>];
            let served = service::serve(&config, sinks, &progress, &requests);
            requests.stop.store(true, Ordering::Relaxed);
            let ended = [streamed.join(), shown.join()].into_iter().map(|thread| thread.unwrap_or(Ok(())));
            served.and(ended.collect::<Result<()>>())
        })?;
        print_line(format_args!("\nStopped; the tables are in {folder}/live. Remove {folder} when you are done."))
    }

    fn make_shop(&self, shop: &Path) -> Result<()> {
        if shop.exists() {
            return Ok(());
        }
        print_line(format_args!("Generating a shop in {}…", shop.display()))?;
        let making = shop.with_extension("making");
        let _ = fs::remove_dir_all(&making);
        generate(self.scale, &making)?;
        fs::rename(&making, shop).map_err(Error::writing(shop))
    }

    /// Writes a file of orders every second.
    fn stream(&self, folder: &Path, written: &AtomicU64, requests: &ServiceHandle) -> Result<()> {
        let micros = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        // Later than those of an earlier demo.
        let first = u64::try_from(micros).map_err(Error::failed)?;
        let mut orders = OrderStream {
            random: Pcg64Mcg::seed_from_u64(first),
            next: first,
            recent: VecDeque::new(),
            scale: self.scale,
        };
        let started = Instant::now();
        for number in 1_u32.. {
            while started.elapsed() < EVERY * number {
                if requests.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                thread::sleep(Duration::from_millis(20));
            }
            let lines: String = (0..self.rate).map(|_| orders.next()).collect();
            let path: PathBuf = folder.join(format!("{first}-{number:06}.jsonl"));
            let hidden = folder.join(format!(".{first}"));
            fs::write(&hidden, lines).and_then(|()| fs::rename(&hidden, &path)).map_err(Error::writing(&path))?;
            written.fetch_add(self.rate.into(), Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Orders of customers who are known, for products that are known.
struct OrderStream {
    random: Pcg64Mcg,
    /// The next id.
    next: u64,
    recent: VecDeque<u64>,
    scale: f64,
}

impl OrderStream {
    /// The next order as a line of JSON.
    fn next(&mut self) -> String {
        let is_recent = !self.recent.is_empty() && self.random.random_range(0..10) == 0;
        let id = match is_recent {
            true => self.recent[self.random.random_range(0..self.recent.len())],
            false => self.next,
        };
        if is_recent && self.random.random_range(0..3) == 0 {
            return format!("{{\"order_id\":{id},\"_op\":\"d\"}}\n");
        }
        if !is_recent {
            self.next += 1;
            self.recent.push_back(id);
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        let (customers, products) = (self.one_of(150_000.0), self.one_of(200_000.0));
        let quantity = self.random.random_range(1..=50);
        let day = DateTime::<Utc>::from(SystemTime::now()).date_naive();
        let discount = f64::from(self.random.random_range(0..10)) / 100.0;
        format!(
            "{{\"order_id\":{id},\"customer_id\":{customers},\"product_id\":{products},\"order_date\":\"{day}\",\
             \"quantity\":{quantity},\"discount\":{discount}}}\n"
        )
    }

    /// A number up to what a shop of scale 1 has so many of.
    fn one_of(&mut self, of_scale_1: f64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 200,000,000")]
        let most = (of_scale_1 * self.scale).max(1.0) as u64;
        self.random.random_range(1..=most)
    }
}

/// What has moved in a table.
#[derive(Default)]
struct Moved {
    rows: u64,
    last_second: u64,
    /// A row that was inserted last.
    last: String,
}

/// Shows every second what has moved.
fn show(feed: &ChangeFeed, written: &AtomicU64, requests: &ServiceHandle) -> Result<()> {
    let (mut tables, mut epochs, mut lines) = (BTreeMap::<String, Moved>::new(), 0, 0);
    let started = Instant::now();
    while !requests.stop.load(Ordering::Relaxed) {
        thread::sleep(EVERY);
        tables.values_mut().for_each(|moved| moved.last_second = 0);
        while let Some((_, changes)) = feed.take() {
            epochs += 1;
            for changes in changes {
                tables.entry(changes.table.name.clone()).or_default().add(&changes)?;
            }
        }
        if epochs == 0 {
            continue;
        }
        let mut text = String::new();
        let (seconds, orders) = (started.elapsed().as_secs(), grouped(written.load(Ordering::Relaxed)));
        let _ = writeln!(text, "{seconds} s: {orders} orders have arrived, {epochs} epochs are in all tables");
        let _ = writeln!(text, "{:24}{:>14}{:>12}  the last one", "table", "rows moved", "a second");
        for (name, Moved { rows, last_second, last }) in &tables {
            let _ = writeln!(text, "{name:24}{:>14}{:>12}  {last}", grouped(*rows), grouped(*last_second));
        }
        if stdout().is_terminal() {
            // Over the lines of the second before.
            let up = if lines > 0 { format!("\x1b[{lines}A") } else { String::new() };
            lines = text.lines().count();
            print_line(format_args!("{up}\r{}\x1b[1A", text.replace('\n', "\x1b[K\n")))?;
        } else {
            print_line(&text)?;
        }
    }
    print_line("Stopping: the tables are published…")
}

impl Moved {
    fn add(&mut self, changes: &TableChanges) -> Result<()> {
        /// What fits on a line.
        const SHOWN: usize = 60;
        let rows = (changes.plus.num_rows() + changes.minus.num_rows()) as u64;
        (self.rows, self.last_second) = (self.rows + rows, self.last_second + rows);
        if changes.plus.num_rows() > 0 {
            let shown = TextTable::of(&changes.plus.slice(changes.plus.num_rows() - 1, 1))?;
            let cells: Vec<String> =
                shown.columns.iter().zip(&shown.rows[0]).map(|(name, cell)| format!("{name} {cell}")).collect();
            let text = cells.join(", ");
            self.last = text.chars().take(SHOWN).chain((text.chars().count() > SHOWN).then_some('…')).collect();
        }
        Ok(())
    }
}
