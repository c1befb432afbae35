//! A live job with a table and a sink of its own.
//!
//! The table has a row for each product that was never ordered. The sink prints the rows of this table that each epoch
//! inserts and deletes. The input is record batches in memory.
//!
//! ```text
//! cargo run --release --example own_table
//! ```

use std::error::Error;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::util::display::array_value_to_string;
use millstream::columns::ShopId;
use millstream::columns::build::{ids, texts};
use millstream::config::JobConfig;
use millstream::model::{AnyId, Change, Day, Id, Order};
use millstream::operators::anti_join;
use millstream::operators::differential_dataflow::VecCollection;
use millstream::pipeline::{Epochs, Job};
use millstream::runtime::{Live, Progress};
use millstream::sinks::{Epoch, Opened, PartOptions, RowChanges, Sink, SinkContext, SinkPart, TableInfo, TableReport};
use millstream::sources::BatchSource;
use millstream::tables::{Catalog, Layout, Table, TableColumn};

/// `unsold_products`: the products that nobody ordered.
struct UnsoldProducts;

impl Table for UnsoldProducts {
    type Row<I: Id> = (I, Option<String>);

    fn name(&self) -> &str {
        "unsold_products"
    }

    fn key(&self) -> &[&str] {
        &["product_id"]
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Self::Row<I>> {
        let products = job.products().map(|(id, product)| (Some(id), product.name.as_deref().map(str::to_owned)));
        let sold = job.product_totals().map(|(id, _)| (id, ()));
        anti_join(products.arrange_by_key(), sold.arrange_by_key(), "Unsold products", |id, name| {
            (id.clone().expect("a product has an id"), name.clone())
        })
    }

    fn columns<I: ShopId>(
        &self,
        rows: &[Self::Row<I>],
        layout: &Layout,
    ) -> millstream::error::Result<Vec<TableColumn>> {
        Ok(vec![
            ("product_id".into(), ids(rows.iter().map(|(id, _)| Some(id)), layout.product_id())?),
            ("product_name".into(), texts(rows.iter().map(|(_, name)| name.as_deref()))),
        ])
    }
}

/// Prints the rows of one table that an epoch inserts and deletes.
struct Print(&'static str);

struct PrintPart;

impl Sink for Print {
    fn open(&mut self, _: &SinkContext) -> millstream::error::Result<Opened> {
        Ok(Opened::Ready)
    }

    fn wants(&self, table: &TableInfo) -> Option<PartOptions> {
        (table.name == self.0).then(PartOptions::default)
    }

    fn part(&mut self, _: &TableInfo, _: usize) -> millstream::error::Result<Box<dyn SinkPart>> {
        Ok(Box::new(PrintPart))
    }

    fn commit(&mut self, epoch: Epoch, _: &mut [TableReport]) -> millstream::error::Result<()> {
        println!("epoch {epoch} is committed");
        Ok(())
    }
}

impl SinkPart for PrintPart {
    fn write(&mut self, _: Epoch, changes: &RowChanges) -> millstream::error::Result<()> {
        for (sign, rows) in [('-', &changes.minus), ('+', &changes.plus)] {
            for (rows, row) in rows.iter().flat_map(|rows| (0..rows.num_rows()).map(move |row| (rows, row))) {
                let cell = |column: &ArrayRef| array_value_to_string(column, row).expect("a cell can be shown");
                println!("  {sign} {}", rows.columns().iter().map(cell).collect::<Vec<_>>().join(", "));
            }
        }
        Ok(())
    }

    fn seal(&mut self, _: Epoch) -> millstream::error::Result<()> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let products = RecordBatch::try_from_iter([
        ("product_id", Arc::new(Int64Array::from(vec![1, 2])) as _),
        ("product_name", Arc::new(StringArray::from(vec!["Desk", "Lamp"])) as _),
        ("category", Arc::new(StringArray::from(vec!["Furniture", "Light"])) as _),
        ("price", Arc::new(Float64Array::from(vec![250.0, 40.0])) as _),
    ])?;
    let orders = RecordBatch::try_from_iter([
        ("order_id", Arc::new(Int64Array::from(vec![100])) as _),
        ("customer_id", Arc::new(Int64Array::from(vec![7])) as _),
        ("product_id", Arc::new(Int64Array::from(vec![1])) as _),
        ("order_date", Arc::new(StringArray::from(vec!["2024-05-01"])) as _),
        ("quantity", Arc::new(Int64Array::from(vec![1])) as _),
        ("discount", Arc::new(Float64Array::from(vec![0.0])) as _),
    ])?;
    let customers = RecordBatch::try_from_iter([("customer_id", Arc::new(Int64Array::from(vec![7])) as _)])?;
    let schemas = [orders.schema(), products.schema(), customers.schema()];
    let source =
        BatchSource::new((&schemas[0], vec![orders]), (&schemas[1], vec![products]), (&schemas[2], vec![customers]))?;

    // Neither folder is used: the rows are in memory, and no sink writes files.
    let as_of = Day::from_ymd(2024, 12, 31).expect("a day");
    let mut config = JobConfig::new(as_of);
    config.tables = Catalog::standard().with(UnsoldProducts).select(&["unsold_products"])?;

    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(Print("unsold_products"))];
    let mut live = Live::start(&config, Arc::new(source), sinks, &Arc::new(Progress::default()))?;
    let lamp = Order::of(AnyId::from(7), AnyId::from(2));
    live.apply([Change::Order(101.into(), Some(lamp))])?; // the lamp is sold
    live.apply([Change::Order(101.into(), None)])?; // and the order cancelled
    live.stop()?;
    Ok(())
}
