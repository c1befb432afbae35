//! The demo: a generated shop, the job, its tables, and then changes while the job is live.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono_tz::Tz;
use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use hdrhistogram::Histogram;

use crate::config::{InputConfig, RunArgs, RunConfig};
use crate::error::{Error, Result};
use crate::generate::generate;
use crate::grouped::grouped;
use crate::model::{Amount, AnyId, Change, InputTable, Order, Price, Product, Tiers};
use crate::runtime::{Live, Progress};
use crate::sinks::{ChangeFeed, TableChanges};
use crate::sources::changes;

use super::print::print_line;
use super::show::TextTable;

/// How many rows of a table are shown.
const ROWS_SHOWN: usize = 5;
/// How many rows that moved are shown of each table.
const MOVED_SHOWN: usize = 3;
/// How many corrections are timed at the end.
const CORRECTIONS: usize = 1000;

/// Columns of `enriched_data` that fit on a screen.
const ENRICHED_SHOWN: [&str; 8] = [
    "order_id",
    "customer_id",
    "product_name",
    "order_date",
    "quantity",
    "total_amount",
    "total_spent",
    "customer_tier",
];

/// Shows what millstream does, on a shop below `folder`.
pub(super) fn demo(folder: &Path, scale: f64, workers: Option<usize>) -> Result<()> {
    let (input, output) = (folder.join("shop"), folder.join("tables"));
    make_shop(&input, scale)?;
    let args = RunArgs { input: Some(input), output: Some(output.clone()), workers, ..RunArgs::default() };
    let mut config = RunConfig::resolve(&args)?;
    title("The job: seven tables from three")?;
    config.job.settings.tiers = tiers()?;
    print_line(
        "Customers of this shop spend millions: VIP from 3,000,000, Gold from 2,000,000, Silver from 1,000,000.\n",
    )?;
    let progress = Arc::new(Progress::default());
    let feed = ChangeFeed::new();
    let shown = super::display::ProgressDisplay::show(&progress);
    let sinks = vec![Box::new(config.output.sink()?) as _, Box::new(feed.clone()) as _];
    let live = Live::start(&config.job, Arc::new(config.input.open()?), sinks, &progress);
    drop(shown);
    let mut live = live?;
    print_line(format_args!("{}\n", live.report()))?;
    for table in config.job.tables.names() {
        show_table(&output.join(table), table)?;
    }
    let demo = Demo { feed, again: Duration::from_secs_f64(live.report().seconds) };
    demo.change_things(&mut live, &config.input)?;
    print_line(format_args!(
        "\nThe shop and its tables are in {}/, as of the first load. Remove the folder when you are done.",
        folder.display()
    ))?;
    live.stop()
}

/// The tiers of a shop that sells spare parts: the usual bounds would make everyone a VIP.
fn tiers() -> Result<Tiers> {
    let from = |millions: i128| Amount::from_e8(millions * 1_000_000 * 100_000_000);
    let bounds = [("VIP", 3), ("Gold", 2), ("Silver", 1)].map(|(name, millions)| (name.into(), from(millions)));
    Tiers::new(bounds.to_vec(), "Bronze".into()).map_err(Error::failed)
}

fn title(text: &str) -> Result<()> {
    print_line(format_args!("\n━━━ {text}\n"))
}

/// Generates the shop; the one that an earlier demo left is replaced.
fn make_shop(input: &Path, scale: f64) -> Result<()> {
    title(&format!("A shop, from nothing: {}", input.display()))?;
    let mark = input.join(".millstream-demo");
    if mark.is_file() {
        std::fs::remove_dir_all(input).map_err(Error::writing(input))?;
    }
    // Marked before it is generated, so that an interrupted demo can be repeated; never if it has somebody's data.
    if !input.exists() {
        std::fs::create_dir_all(input).map_err(Error::writing(input))?;
        std::fs::write(&mark, "made by millstream demo, and replaced by the next one")
            .map_err(Error::writing(&mark))?;
    }
    let started = Instant::now();
    for table in generate(scale, input)? {
        print_line(format_args!("{:<12}{:>12} rows", table.name, grouped(table.rows)))?;
    }
    print_line(format_args!("generated in {:.2} seconds", started.elapsed().as_secs_f64()))?;
    Ok(())
}

fn show_table(folder: &Path, table: &str) -> Result<()> {
    let rows = TextTable::first_rows(folder, ROWS_SHOWN)?;
    print_line(format_args!("{table}: the first rows of {}/", folder.display()))?;
    let columns: Vec<usize> = match table {
        "enriched_data" => ENRICHED_SHOWN.iter().filter_map(|name| position(&rows, name)).collect(),
        _ => (0..rows.columns.len()).collect(),
    };
    let pick = |cells: &[String]| columns.iter().map(|column| cells[*column].clone()).collect::<Vec<_>>();
    print_line(format_args!("{}\n", framed(&pick(&rows.columns), rows.rows.iter().map(|row| pick(row)))))?;
    Ok(())
}

fn framed(header: &[String], rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    table.add_rows(rows);
    table
}

fn position(shown: &TextTable, column: &str) -> Option<usize> {
    shown.columns.iter().position(|name| name == column)
}

/// The changes of the demo, and what they cost.
struct Demo {
    feed: ChangeFeed,
    /// How long it takes to run the job again.
    again: Duration,
}

impl Demo {
    /// Corrects an order, changes a price and deletes an order, showing the rows that changed, and times corrections.
    fn change_things(&self, live: &mut Live, input: &InputConfig) -> Result<()> {
        title("The tables are live: from here on a change costs the rows it affects")?;
        let source = input.open()?;
        let products = changes::<AnyId>(&source, InputTable::Products, Tz::UTC)?.filter_map(|change| match change {
            Ok(Change::Product(id, Some(product))) => Some((id, product)),
            _ => None,
        });
        let products: Vec<_> = products.collect();
        let known = |id: &Option<AnyId>| products.iter().find(|(product, _)| Some(product) == id.as_ref());
        let orders = changes::<AnyId>(&source, InputTable::Orders, Tz::UTC)?.filter_map(|change| match change {
            Ok(Change::Order(id, Some(order))) if order.customer.is_some() => Some((id, order)),
            _ => None,
        });
        let orders: Vec<_> = orders.filter(|(_, order)| known(&order.product).is_some()).take(CORRECTIONS).collect();
        let missing = || Error::failed("the shop has too few orders to show a change");
        let [(first_id, first), .., (last_id, last)] = orders.as_slice() else { return Err(missing()) };

        let more = |order: &Order<AnyId>, pieces| Order { quantity: order.quantity + pieces, ..order.clone() };
        let corrected = more(first, first.quantity);
        let what = format!("Order {first_id} is corrected: quantity {} → {}", first.quantity, corrected.quantity);
        self.show_change(live, &what, Change::Order(first_id.clone(), Some(corrected)))?;

        let (id, product) = known(&first.product).ok_or_else(missing)?;
        let price = Price::from_e4(i128::from(product.price.e4()) * 9 / 10).ok_or_else(missing)?;
        let what = format!("Product {id} gets another price: {} → {price}", product.price);
        let cheaper = Product { price, ..product.as_ref().clone() };
        self.show_change(live, &what, Change::Product(id.clone(), Some(Arc::new(cheaper))))?;

        let customer = last.customer.as_ref().ok_or_else(missing)?;
        let what = format!("Customer {customer} cancels order {last_id}: it is deleted");
        self.show_change(live, &what, Change::Order(last_id.clone(), None))?;

        let corrections = orders.iter().cycle().take(CORRECTIONS).zip(1..);
        self.time_corrections(live, corrections.map(|((id, order), pieces)| (id.clone(), more(order, pieces))))
    }

    fn show_change(&self, live: &mut Live, what: &str, change: Change<AnyId>) -> Result<()> {
        let started = Instant::now();
        live.apply([change])?;
        let took = started.elapsed();
        print_line(format_args!("▶ {what}\n"))?;
        let changes = self.feed.take().map_or(Vec::new(), |(_, changes)| changes);
        changes.iter().filter(|changes| changes.table.name != "rejected").try_for_each(show_changes)?;
        let times = self.again.as_secs_f64() / took.as_secs_f64();
        print_line(format_args!(
            "  all seven tables are up to date after {} µs; running the job again takes {:.2} s, {times:.0} times as \
             long\n",
            grouped(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
            self.again.as_secs_f64(),
        ))
    }

    fn time_corrections(&self, live: &mut Live, orders: impl Iterator<Item = (AnyId, Order<AnyId>)>) -> Result<()> {
        let mut nanoseconds = Histogram::<u64>::new(3).map_err(Error::failed)?;
        for (id, order) in orders {
            let started = Instant::now();
            live.apply([Change::Order(id, Some(order))])?;
            nanoseconds
                .record(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX))
                .map_err(Error::failed)?;
            drop(self.feed.take());
        }
        let micros = |quantile: f64| grouped(nanoseconds.value_at_quantile(quantile) / 1000);
        print_line(format_args!(
            "▶ {} more corrected orders, one after the other, each until all seven tables are up to date and their \
             changed rows have arrived: median {} µs, 99 of 100 within {} µs. (The first changes above took longer: \
             caches were cold.)",
            grouped(nanoseconds.len()),
            micros(0.5),
            micros(0.99),
        ))
    }
}

/// A row before and after; `None` where there was none.
type Pair = (Option<Vec<String>>, Option<Vec<String>>);

/// Shows the rows of a table that changed: the key, and the cells that differ as `before → after`.
fn show_changes(changes: &TableChanges) -> Result<()> {
    let (plus, minus) = (TextTable::of(&changes.plus)?, TextTable::of(&changes.minus)?);
    let is_key = |column: usize| changes.table.key.contains(&plus.columns[column]);
    let key_columns: Vec<usize> = (0..plus.columns.len()).filter(|column| is_key(*column)).collect();
    let mut pairs: Vec<(Vec<String>, Pair)> = Vec::new();
    for (cells, is_new) in minus.rows.iter().map(|row| (row, false)).chain(plus.rows.iter().map(|row| (row, true))) {
        let key: Vec<String> = key_columns.iter().map(|column| cells[*column].clone()).collect();
        let at = pairs.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
            pairs.push((key, (None, None)));
            pairs.len() - 1
        });
        let (before, after) = &mut pairs[at].1;
        *(if is_new { after } else { before }) = Some(cells.clone());
    }
    // Inserted and deleted rows first: they are the most telling.
    pairs.sort_by_key(|(_, (before, after))| before.is_some() && after.is_some());
    let rows = if pairs.len() == 1 { "1 row".into() } else { format!("{} rows", grouped(pairs.len() as u64)) };
    print_line(format_args!("  {}: {rows}", changes.table.name))?;
    print_line(format_args!("{}", pair_table(&plus.columns, &pairs, is_key)))?;
    if pairs.len() > MOVED_SHOWN {
        print_line(format_args!("  … and {} more", grouped((pairs.len() - MOVED_SHOWN) as u64)))?;
    }
    print_line("")
}

/// The first rows that changed, in the columns of the key and those that differ.
fn pair_table(columns: &[String], pairs: &[(Vec<String>, Pair)], is_key: impl Fn(usize) -> bool) -> Table {
    let differs = |column: usize| {
        pairs.iter().any(|(_, pair)| matches!(pair, (Some(before), Some(after)) if before[column] != after[column]))
    };
    let none_differ = (0..columns.len()).all(|column| !differs(column));
    let is_shown = |column: &usize| {
        is_key(*column) || differs(*column) || (none_differ && ENRICHED_SHOWN.contains(&columns[*column].as_str()))
    };
    let shown: Vec<usize> = (0..columns.len()).filter(is_shown).take(8).collect();
    let cell = |(before, after): &Pair, column: usize| match (before, after) {
        (Some(before), Some(after)) if before[column] == after[column] => after[column].clone(),
        (Some(before), Some(after)) => format!("{} → {}", before[column], after[column]),
        (Some(before), None) if is_key(column) => format!("{} (deleted)", before[column]),
        (None, Some(after)) if is_key(column) => format!("{} (new)", after[column]),
        (Some(cells), None) | (None, Some(cells)) => cells[column].clone(),
        (None, None) => String::new(),
    };
    let rows = pairs.iter().take(MOVED_SHOWN).map(|(_, pair)| shown.iter().map(|column| cell(pair, *column)).collect());
    let header: Vec<String> = shown.iter().map(|column| columns[*column].clone()).collect();
    framed(&header, rows)
}
