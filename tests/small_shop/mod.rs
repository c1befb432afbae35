//! A shop of three orders for programs that embed the job, and a table of their own.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, reason = "this is a module of each test binary")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, Decimal128Array, Float64Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use millstream::columns::ShopId;
use millstream::columns::build::{ids, money};
use millstream::config::JobConfig;
use millstream::error::Result;
use millstream::model::{Amount, AnyId, Change, Day, Id, Order, Product};
use millstream::operators::differential_dataflow::VecCollection;
use millstream::pipeline::{Epochs, Job};
use millstream::sources::BatchSource;
use millstream::tables::{Catalog, Layout, Table, TableColumn};

pub fn column(values: impl Array + 'static) -> ArrayRef {
    Arc::new(values)
}

pub fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).expect("a batch")
}

pub fn source_of(orders: RecordBatch, products: RecordBatch, customers: RecordBatch) -> Arc<BatchSource> {
    let schemas = [orders.schema(), products.schema(), customers.schema()];
    let source =
        BatchSource::new((&schemas[0], vec![orders]), (&schemas[1], vec![products]), (&schemas[2], vec![customers]));
    Arc::new(source.expect("a source"))
}

/// The first `orders` of three orders; the last two are of cups.
pub fn source(orders: usize) -> Arc<BatchSource> {
    let all = batch(vec![
        ("order_id", column(Int64Array::from(vec![100, 101, 102]))),
        ("customer_id", column(Int64Array::from(vec![7, 7, 8]))),
        ("product_id", column(Int64Array::from(vec![1, 2, 2]))),
        ("order_date", column(StringArray::from(vec!["2024-05-01", "2024-05-02", "2024-05-02"]))),
        ("quantity", column(Int64Array::from(vec![1, 1, 1]))),
        ("discount", column(Float64Array::from(vec![0.0, 0.0, 0.0]))),
    ]);
    let products = batch(vec![
        ("product_id", column(Int64Array::from(vec![1, 2]))),
        ("price", column(Float64Array::from(vec![2.5, 10.0]))),
        ("category", column(StringArray::from(vec!["Drinks", "Kitchen"]))),
        ("product_name", column(StringArray::from(vec!["Tea", "Cup"]))),
    ]);
    source_of(all.slice(0, orders), products, batch(vec![("customer_id", column(Int64Array::from(vec![7, 8])))]))
}

pub fn config(tables: Catalog) -> JobConfig {
    let as_of = Day::from_ymd(2024, 12, 31).expect("a day");
    JobConfig { tables, workers: 2, ..JobConfig::new(as_of) }
}

pub fn standard(tables: &[&str]) -> JobConfig {
    config(Catalog::standard().select(tables).expect("the tables exist"))
}

pub fn order(id: i64, customer: i64, product: i64, quantity: i32) -> Change<AnyId> {
    let day = Day::from_ymd(2024, 5, 1);
    let order = Order { day, quantity, ..Order::of(AnyId::from(customer), AnyId::from(product)) };
    Change::Order(id.into(), Some(order))
}

/// The ids and prices of the products, under any name. Counts its calls of `columns` with rows.
#[derive(Clone)]
pub struct Prices {
    name: &'static str,
    pub encoded: Arc<AtomicUsize>,
}

pub fn prices(name: &'static str) -> Prices {
    Prices { name, encoded: Arc::default() }
}

impl Table for Prices {
    type Row<I: Id> = (I, i64);

    fn name(&self) -> &str {
        self.name
    }

    fn key(&self) -> &[&str] {
        &["product_id"]
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>> {
        job.products().map(|(id, product)| (id, product.price.e4()))
    }

    fn columns<I: ShopId>(&self, rows: &[Self::Row<I>], layout: &Layout) -> Result<Vec<TableColumn>> {
        self.encoded.fetch_add(usize::from(!rows.is_empty()), Ordering::Relaxed);
        let amounts = rows.iter().map(|(_, e4)| Some(Amount::from_e8(i128::from(*e4) * 10_000)));
        Ok(vec![
            ("product_id".into(), ids(rows.iter().map(|(id, _)| Some(id)), layout.product_id())?),
            ("id_as_given".into(), I::column(rows.iter().map(|(id, _)| Some(id)))),
            ("price".into(), money(amounts, layout.money())?),
        ])
    }
}

pub fn dearer(id: i64) -> Change<AnyId> {
    Change::Product(id.into(), Some(Arc::new(Product::of("Drinks", "99".parse().expect("a price")))))
}

/// A shop whose product ids are integers, whose customer ids are text, and whose prices are decimals.
pub fn with_text_ids(products: ArrayRef) -> Arc<BatchSource> {
    let price = Decimal128Array::from(vec![250, 1000]).with_precision_and_scale(10, 2).expect("decimals");
    let orders = batch(vec![
        ("order_id", column(Int64Array::from(vec![100]))),
        ("customer_id", column(StringArray::from(vec!["anna"]))),
        ("product_id", products.slice(0, 1)),
        ("order_date", column(StringArray::from(vec!["2024-05-01"]))),
        ("quantity", column(Int64Array::from(vec![1]))),
        ("discount", column(Float64Array::from(vec![0.0]))),
    ]);
    let products = batch(vec![
        ("product_id", products),
        ("price", column(price)),
        ("category", column(StringArray::from(vec!["Drinks", "Kitchen"]))),
    ]);
    source_of(orders, products, batch(vec![("customer_id", column(StringArray::from(vec!["anna"])))]))
}
