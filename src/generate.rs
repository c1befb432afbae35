//! Sample data: a TPC-H shop with one order per line item, one product per part, and some invalid rows.
//!
//! Invalid rows are chosen by arithmetic on keys, so equal flags give equal bytes: 1 % of the orders are duplicated, 1
//! % have no quantity, 2 % no discount, 0.5 % refer to an unknown product; 1 % of the products have no category, 0.5 %
//! no price.

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Date32Array, Float64Array, Int32Array, Int64Array, StringArray};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tpchgen::distribution::Distributions;
use tpchgen::generators::{
    Customer, CustomerGenerator, LineItem, LineItemGenerator, Order, OrderGenerator, Part, PartGenerator,
};
use tpchgen::text::TextPool;

use crate::error::{Error, Result};

/// A generated table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedTable {
    /// Its name.
    pub name: &'static str,
    /// Its rows.
    pub rows: u64,
}

/// Rows per batch and per row group.
const BATCH_ROWS: usize = 1 << 16;
const ROW_GROUP_ROWS: usize = 1 << 18;

/// Generates a shop below `output`, in parallel: scale 1 has 6 million orders, 200,000 products and 150,000 customers.
///
/// # Errors
///
/// If the scale is out of range, or a table folder below `output` is not empty or can't be written.
pub fn generate(scale: f64, output: &Path) -> Result<Vec<GeneratedTable>> {
    if !(scale.is_finite() && (0.001..=1000.0).contains(&scale)) {
        return Err(Error::usage(format!("--scale: {scale} is out of range, wanted 0.001 to 1000")));
    }
    for table in ["orders", "products", "customers"] {
        let folder = output.join(table);
        let in_use = fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some());
        if in_use {
            let cause = format!("{}: is not empty; remove it or choose another --output", folder.display());
            return Err(Error::usage(cause));
        }
        fs::create_dir_all(&folder).map_err(Error::writing(&folder))?;
    }
    // The number of files depends on the scale, not on the machine, so that every machine generates the same files.
    #[expect(clippy::cast_possible_truncation, reason = "between 1 and 4000")]
    let parts = (scale * 4.0).ceil() as i32;
    let orders =
        in_parallel(parts, |part| write(&part_path(output, "orders", part), orders(scale, part, parts), order_batch))?;
    let products = write(&part_path(output, "products", 1), products(scale), product_batch)?;
    let customers = write(&part_path(output, "customers", 1), customers(scale), customer_batch)?;
    Ok(vec![
        GeneratedTable { name: "orders", rows: orders },
        GeneratedTable { name: "products", rows: products },
        GeneratedTable { name: "customers", rows: customers },
    ])
}

fn part_path(output: &Path, table: &str, part: i32) -> std::path::PathBuf {
    output.join(table).join(format!("part-{:05}.parquet", part - 1))
}

/// Generates the parts 1 to `parts` in parallel, and returns the sum of their rows.
fn in_parallel(parts: i32, make: impl Fn(i32) -> Result<u64> + Sync) -> Result<u64> {
    let next = AtomicUsize::new(1);
    let work = || {
        let mut sum = 0;
        loop {
            match i32::try_from(next.fetch_add(1, Ordering::Relaxed)) {
                Ok(part) if part <= parts => sum += make(part)?,
                _ => return Ok(sum),
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no generator panics")).sum()
    })
}

/// Writes rows batch by batch.
fn write<R>(
    path: &Path,
    mut rows: impl Iterator<Item = R>,
    to_batch: impl Fn(&[R]) -> std::result::Result<RecordBatch, ArrowError>,
) -> Result<u64> {
    let file = File::create(path).map_err(Error::writing(path))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
    let properties = properties.set_max_row_group_row_count(Some(ROW_GROUP_ROWS)).build();
    let schema = to_batch(&[]).map_err(Error::failed)?.schema();
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(Error::writing(path))?;
    let mut count = 0;
    loop {
        let some: Vec<R> = rows.by_ref().take(BATCH_ROWS).collect();
        if some.is_empty() {
            break;
        }
        count += some.len() as u64;
        writer.write(&to_batch(&some).map_err(Error::failed)?).map_err(Error::writing(path))?;
    }
    writer.close().map_err(Error::writing(path))?;
    Ok(count)
}

/// An order line of the shop.
#[derive(Clone)]
struct OrderRow {
    id: i64,
    customer: i64,
    product: i64,
    date: i32,
    quantity: Option<i32>,
    discount: Option<f64>,
    channel: &'static str,
}

/// One part of the order lines, sorted by id, followed by the duplicates.
fn orders(scale: f64, part: i32, parts: i32) -> impl Iterator<Item = OrderRow> {
    let orders = OrderGenerator::new_with_distributions_and_text_pool(scale, part, parts, distributions(), text_pool());
    let lines =
        LineItemGenerator::new_with_distributions_and_text_pool(scale, part, parts, distributions(), text_pool());
    let mut orders = orders.iter();
    let mut order = orders.next();
    let rows = lines.iter().map(move |line| {
        while order.as_ref().is_some_and(|order| order.o_orderkey < line.l_orderkey) {
            order = orders.next();
        }
        order_row(&line, order.as_ref().expect("each line has an order"))
    });
    let mut twice = Vec::new();
    let mut rows = rows.fuse();
    let mut repeated = None;
    std::iter::from_fn(move || {
        if let Some(row) = rows.next() {
            twice.extend((row.id % 100 == 9).then(|| row.clone()));
            return Some(row);
        }
        repeated.get_or_insert_with(|| std::mem::take(&mut twice).into_iter()).next()
    })
}

fn order_row(line: &LineItem<'static>, order: &Order<'static>) -> OrderRow {
    let (key, number) = (line.l_orderkey, i64::from(line.l_linenumber));
    let is_unknown = key * 31 % 200 == 7 && number == 1;
    OrderRow {
        id: key * 8 + number,
        customer: order.o_custkey,
        product: line.l_partkey + if is_unknown { 1_000_000_000 } else { 0 },
        date: order.o_orderdate.to_unix_epoch(),
        quantity: i32::try_from(line.l_quantity).ok().filter(|_| (key * 17 + number) % 100 != 3),
        discount: ((key * 13 + number) % 50 != 5).then(|| line.l_discount.as_f64()),
        channel: line.l_shipmode,
    }
}

fn order_batch(rows: &[OrderRow]) -> std::result::Result<RecordBatch, ArrowError> {
    RecordBatch::try_from_iter_with_nullable([
        ("order_id", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.id))) as ArrayRef, true),
        ("customer_id", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.customer))), true),
        ("product_id", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.product))), true),
        ("order_date", Arc::new(Date32Array::from_iter_values(rows.iter().map(|row| row.date))), true),
        ("quantity", Arc::new(Int32Array::from_iter(rows.iter().map(|row| row.quantity))), true),
        ("discount", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.discount))), true),
        ("channel", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.channel))), true),
    ])
}

fn products(scale: f64) -> impl Iterator<Item = Part<'static>> {
    PartGenerator::new_with_distributions_and_text_pool(scale, 1, 1, distributions(), text_pool()).iter()
}

fn product_batch(rows: &[Part<'static>]) -> std::result::Result<RecordBatch, ArrowError> {
    let category = |part: &Part<'_>| {
        let kind = part.p_type.split(' ').nth(2).unwrap_or_default();
        (part.p_partkey % 100 != 11).then(|| format!("{} {kind}", part.p_mfgr))
    };
    let price = |part: &Part<'_>| (part.p_partkey % 200 != 13).then(|| part.p_retailprice.as_f64());
    let name = |part: &Part<'_>| part.p_name.to_string();
    RecordBatch::try_from_iter_with_nullable([
        (
            "product_id",
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|part| part.p_partkey))) as ArrayRef,
            true,
        ),
        ("product_name", Arc::new(StringArray::from_iter_values(rows.iter().map(name))), true),
        ("category", Arc::new(StringArray::from_iter(rows.iter().map(category))), true),
        ("price", Arc::new(Float64Array::from_iter(rows.iter().map(price))), true),
        ("brand", Arc::new(StringArray::from_iter_values(rows.iter().map(|part| part.p_brand.to_string()))), true),
    ])
}

fn customers(scale: f64) -> impl Iterator<Item = Customer<'static>> {
    CustomerGenerator::new_with_distributions_and_text_pool(scale, 1, 1, distributions(), text_pool()).iter()
}

fn customer_batch(rows: &[Customer<'static>]) -> std::result::Result<RecordBatch, ArrowError> {
    let ids = Int64Array::from_iter_values(rows.iter().map(|customer| customer.c_custkey));
    let names = StringArray::from_iter_values(rows.iter().map(|customer| customer.c_name.to_string()));
    let segments = StringArray::from_iter_values(rows.iter().map(|customer| customer.c_mktsegment));
    let nations = Int64Array::from_iter_values(rows.iter().map(|customer| customer.c_nationkey));
    RecordBatch::try_from_iter_with_nullable([
        ("customer_id", Arc::new(ids) as ArrayRef, true),
        ("customer_name", Arc::new(names), true),
        ("segment", Arc::new(segments), true),
        ("nation", Arc::new(nations), true),
    ])
}

fn distributions() -> &'static Distributions {
    Distributions::static_default()
}

/// The text pool for comments. The shop has no comments, so a small pool, which is fast to build, is enough.
fn text_pool() -> &'static TextPool {
    static POOL: OnceLock<TextPool> = OnceLock::new();
    POOL.get_or_init(|| TextPool::new(1 << 16, distributions()))
}
