//! The demo: a shop, the job, its tables, and then what no batch engine can do.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use hdrhistogram::Histogram;

use crate::config::{RunArgs, RunConfig};
use crate::error::{Error, Result};
use crate::io::{OutputTable, Shown, generate};
use crate::model::{Number, Order, Price, Product};
use crate::report::grouped;
use crate::runtime::{Change, Live, Progress};

use super::say;

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
    let config = RunConfig::resolve(&args)?;
    title("The job: seven tables from the three")?;
    let progress = Arc::new(Progress::default());
    let shown = super::display::Display::show(&progress);
    let live = Live::<Number>::start(&config, &progress);
    drop(shown);
    let mut live = live?;
    say(format_args!("{}\n", live.report()))?;
    for table in OutputTable::usual() {
        show_table(&output.join(table.name()), table)?;
    }
    change_things(&mut live)?;
    say(format_args!(
        "\nThe shop and its tables lie in {}/. Remove the folder when you have seen enough.",
        folder.display()
    ))?;
    live.stop()
}

fn title(text: &str) -> Result<()> {
    say(format_args!("\n━━━ {text}\n"))
}

/// Generates the shop; the one that an earlier demo left is replaced.
fn make_shop(input: &Path, scale: f64) -> Result<()> {
    title(&format!("A shop, from nothing: {}", input.display()))?;
    let mark = input.join(".millstream-demo");
    if mark.is_file() {
        std::fs::remove_dir_all(input).map_err(Error::writing(input))?;
    }
    let started = Instant::now();
    for table in generate(scale, input)? {
        say(format_args!("{:<12}{:>12} rows", table.name, grouped(table.rows)))?;
    }
    std::fs::write(&mark, "made by millstream demo, and replaced by the next one").map_err(Error::writing(&mark))?;
    say(format_args!("generated in {:.2} seconds", started.elapsed().as_secs_f64()))?;
    Ok(())
}

fn show_table(folder: &Path, table: OutputTable) -> Result<()> {
    let rows = Shown::first_rows(folder, ROWS_SHOWN)?;
    say(format_args!("{}: the first rows of {}/", table.name(), folder.display()))?;
    let columns: Vec<usize> = match table {
        OutputTable::EnrichedData => ENRICHED_SHOWN.iter().filter_map(|name| position(&rows, name)).collect(),
        _ => (0..rows.columns.len()).collect(),
    };
    let pick = |cells: &[String]| columns.iter().map(|column| cells[*column].clone()).collect::<Vec<_>>();
    say(format_args!("{}\n", framed(&pick(&rows.columns), rows.rows.iter().map(|row| pick(row)))))?;
    Ok(())
}

fn framed(header: &[String], rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    table.add_rows(rows);
    table
}

fn position(shown: &Shown, column: &str) -> Option<usize> {
    shown.columns.iter().position(|name| name == column)
}

/// Corrects an order, changes a price and deletes an order, each time showing which rows moved and how long it took.
fn change_things(live: &mut Live<Number>) -> Result<()> {
    title("The tables are live: what changes from here on changes only the rows it must")?;
    let again = Duration::from_secs_f64(live.report().seconds);
    let products = live.sample_products(usize::MAX)?;
    let known = |id: &Option<Number>| products.iter().find(|(product, _)| Some(*product) == *id);
    let orders: Vec<_> = live.sample_orders(CORRECTIONS)?;
    let mut ordered = orders.iter().filter(|(_, order)| known(&order.product).is_some() && order.customer.is_some());
    let missing = || Error::failed("the shop has too few orders to show a change");
    let first = ordered.next().ok_or_else(missing)?;
    let (id, order) = first;
    let (other_id, other) = ordered.next_back().ok_or_else(missing)?;

    let corrected = Order { quantity: order.quantity * 2, ..order.clone() };
    let what = format!("Order {id} is corrected: quantity {} → {}", order.quantity, corrected.quantity);
    show_change(live, &what, Change::Order(*id, Some(corrected)), again)?;

    let (id, product) = known(&order.product).ok_or_else(missing)?;
    let price = Price::from_e4(i128::from(product.price.e4()) * 9 / 10).ok_or_else(missing)?;
    let euros = |price: Price| format!("{}.{:02}", price.e4() / 10_000, price.e4() % 10_000 / 100);
    let what = format!("Product {id} gets another price: {} → {}", euros(product.price), euros(price));
    let cheaper = Product { price, ..product.as_ref().clone() };
    show_change(live, &what, Change::Product(*id, Some(Arc::new(cheaper))), again)?;

    let what = format!("Customer {} takes order {other_id} back: it is deleted", other.customer.ok_or_else(missing)?);
    show_change(live, &what, Change::Order(*other_id, None), again)?;

    let left = ordered.chain([first]).cycle().take(CORRECTIONS);
    let more = |order: &Order<Number>, more| Order { quantity: order.quantity + more, ..order.clone() };
    let corrections = left.zip(1..).map(|((id, order), pieces)| (*id, more(order, pieces)));
    time_corrections(live, corrections)
}

fn show_change(live: &mut Live<Number>, what: &str, change: Change<Number>, again: Duration) -> Result<()> {
    let took = live.apply(change)?;
    say(format_args!("▶ {what}\n"))?;
    let moved = live.moved()?;
    for table in OutputTable::usual() {
        let rows: Vec<_> = moved.iter().filter(|(of, ..)| *of == table).collect();
        let pairs = pairs(table, &rows);
        if let Some((_, shown, _)) = rows.first() {
            show_pairs(table, &shown.columns, &pairs)?;
        }
    }
    let times = again.as_secs_f64() / took.as_secs_f64();
    say(format_args!(
        "  all seven tables are right again after {} µs; running the job again takes {:.2} s, {:.0} times as long\n",
        grouped(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
        again.as_secs_f64(),
        times
    ))?;
    Ok(())
}

/// A row before and after; `None` where there was none.
type Pair = (Option<Vec<String>>, Option<Vec<String>>);

/// The rows that moved, those with the same key together.
fn pairs(table: OutputTable, moved: &[&(OutputTable, Shown, isize)]) -> Vec<Pair> {
    let mut pairs: Vec<(Vec<String>, Pair)> = Vec::new();
    for (_, shown, weight) in moved {
        for cells in &shown.rows {
            let key: Vec<String> =
                table.key().iter().filter_map(|name| Some(cells[position(shown, name)?].clone())).collect();
            let index = pairs.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
                pairs.push((key, (None, None)));
                pairs.len() - 1
            });
            let (before, after) = &mut pairs[index].1;
            *(if *weight < 0 { before } else { after }) = Some(cells.clone());
        }
    }
    pairs.into_iter().map(|(_, pair)| pair).collect()
}

/// Shows the key and the cells that differ, as `before → after`.
fn show_pairs(table: OutputTable, columns: &[String], pairs: &[Pair]) -> Result<()> {
    let differs = |column: usize| {
        pairs.iter().any(|(before, after)| match (before, after) {
            (Some(before), Some(after)) => before[column] != after[column],
            _ => true,
        })
    };
    let is_key = |column: usize| table.key().contains(&columns[column].as_str());
    let shown: Vec<usize> = (0..columns.len()).filter(|column| is_key(*column) || differs(*column)).take(8).collect();
    let cell = |(before, after): &Pair, column: usize| match (before, after) {
        (Some(before), Some(after)) if before[column] == after[column] => after[column].clone(),
        (Some(before), Some(after)) => format!("{} → {}", before[column], after[column]),
        (Some(before), None) if is_key(column) => format!("{} (gone)", before[column]),
        (Some(cells), None) | (None, Some(cells)) => cells[column].clone(),
        (None, None) => String::new(),
    };
    let rows = pairs.iter().take(MOVED_SHOWN).map(|pair| shown.iter().map(|column| cell(pair, *column)).collect());
    let header: Vec<String> = shown.iter().map(|column| columns[*column].clone()).collect();
    say(format_args!(
        "  {}: {}",
        table.name(),
        if pairs.len() == 1 { "1 row".into() } else { format!("{} rows", pairs.len()) }
    ))?;
    say(format_args!("{}", framed(&header, rows)))?;
    if pairs.len() > MOVED_SHOWN {
        say(format_args!("  … and {} more", pairs.len() - MOVED_SHOWN))?;
    }
    say("")
}

fn time_corrections(live: &mut Live<Number>, orders: impl Iterator<Item = (Number, Order<Number>)>) -> Result<()> {
    let mut nanoseconds = Histogram::<u64>::new(3).map_err(Error::failed)?;
    for (id, order) in orders {
        let took = live.apply(Change::Order(id, Some(order)))?;
        nanoseconds.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)).map_err(Error::failed)?;
    }
    let micros = |quantile: f64| nanoseconds.value_at_quantile(quantile) / 1000;
    say(format_args!(
        "▶ {} more corrected orders, one after the other, each until all seven tables are right: median {} µs, 99 of 100 \
         within {} µs",
        grouped(nanoseconds.len()),
        micros(0.5),
        grouped(micros(0.99)),
    ))?;
    Ok(())
}
