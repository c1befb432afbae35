//! From record batches to rows that can enter the dataflow, and the rows that can't.

use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{Field, FieldRef};
use arrow::record_batch::RecordBatch;
use chrono_tz::Tz;

use crate::error::Result;
use crate::model::{Customer, Discount, Order, Price, Product, Text};
use crate::operators::{Position, Upsert};

use super::cells::{Cell, Cells, IdColumn, days, ids, money, quantities, texts};
use super::payload::Codec;
use super::read::RawBatch;
use super::rejected::{self, Origin, Rejection};
use super::schema::TableSchema;

/// Makes rows of a table's batches.
pub(crate) struct Converter {
    schema: TableSchema,
    codec: Codec,
    zone: Tz,
    /// The id columns that are text in some table.
    text_ids: Vec<&'static str>,
}

/// The rows of a batch, and those of its rows that are none.
pub(crate) type Converted<I, R> = (Vec<Upsert<I, R>>, Vec<Rejection>);

impl Converter {
    pub(crate) fn new(schema: &TableSchema, zone: Tz, text_ids: &[&'static str]) -> Result<Converter> {
        let codec = Codec::new(&schema.further)?;
        Ok(Converter { codec, schema: schema.clone(), zone, text_ids: text_ids.to_vec() })
    }

    fn ids<I: IdColumn>(&self, column: &ArrayRef, name: &'static str) -> Result<Cells<I>> {
        ids(column, name, self.text_ids.contains(&name))
    }

    /// The orders of a batch of the file at this position.
    pub(crate) fn orders<I: IdColumn>(&self, batch: &RawBatch, file: usize) -> Result<Converted<I, Order<I>>> {
        let [ids, customers, products, dates, counts, fractions] = self.cores(batch);
        let ids = self.ids::<I>(&ids, "order_id")?;
        let customers = self.ids::<I>(&customers, "customer_id")?;
        let products = self.ids::<I>(&products, "product_id")?;
        let days = days(&dates, "order_date", self.zone)?;
        let quantities = quantities(&counts, "quantity")?;
        let limit = "is out of range: wanted below 10^5";
        let discounts = money(&fractions, "discount", Discount::from_e4, limit)?;
        self.convert(batch, file, |row, extra| {
            let id = required(ids(row), "order_id")?;
            let order = Order {
                customer: customers(row)?,
                product: products(row)?,
                day: days(row)?,
                quantity: quantities(row)?.unwrap_or(1),
                discount: discounts(row)?.unwrap_or_default(),
                extra,
            };
            Ok((id, order))
        })
    }

    /// The products of a batch.
    pub(crate) fn products<I: IdColumn>(&self, batch: &RawBatch, file: usize) -> Result<Converted<I, Arc<Product>>> {
        let [ids, prices, categories, names, brands, metadata] = self.cores(batch);
        let ids = self.ids::<I>(&ids, "product_id")?;
        let prices = money(&prices, "price", Price::from_e4, "is out of range: wanted below 10^10")?;
        let categories = texts(&categories, "category")?;
        let names = texts(&names, "product_name")?;
        let brands = texts(&brands, "brand")?;
        let metadata = texts(&metadata, "metadata")?;
        self.convert(batch, file, |row, extra| {
            let id = required(ids(row), "product_id")?;
            let category = categories(row)?.unwrap_or(Text::const_new("Unknown"));
            let price = prices(row)?.unwrap_or_default();
            let (name, brand, metadata) = (names(row)?, brands(row)?, metadata(row)?);
            Ok((id, Arc::new(Product { name, category, price, brand, metadata, extra })))
        })
    }

    /// The customers of a batch.
    pub(crate) fn customers<I: IdColumn>(&self, batch: &RawBatch, file: usize) -> Result<Converted<I, Arc<Customer>>> {
        let [ids] = self.cores(batch);
        let ids = self.ids::<I>(&ids, "customer_id")?;
        self.convert(batch, file, |row, extra| Ok((required(ids(row), "customer_id")?, Arc::new(Customer { extra }))))
    }

    /// The core columns; one that no file has is all null.
    fn cores<const N: usize>(&self, batch: &RawBatch) -> [ArrayRef; N] {
        std::array::from_fn(|core| Arc::clone(&batch.cores[core]))
    }

    fn convert<I: IdColumn, R>(
        &self,
        batch: &RawBatch,
        file: usize,
        mut row: impl FnMut(usize, crate::model::Payload) -> std::result::Result<(I, R), String>,
    ) -> Result<Converted<I, R>> {
        let extras = self.codec.encode(&batch.further, batch.numbers.len())?;
        let mut upserts = Vec::with_capacity(extras.len());
        let mut rejected: Vec<_> = batch.malformed.iter().map(|row| self.malformed(file, row)).collect();
        for (index, extra) in extras.into_iter().enumerate() {
            let number = batch.numbers.get(index);
            match row(index, extra) {
                Ok((id, row)) => upserts.push((id, position(file, number), Some(row))),
                Err(reason) => {
                    let json = self.json(batch, index)?;
                    rejected.push(Rejection { origin: self.origin(file, number), reason, json });
                }
            }
        }
        Ok((upserts, rejected))
    }

    fn malformed(&self, file: usize, row: &super::read::Malformed) -> Rejection {
        let (reason, json) = (row.reason.clone(), row.json.clone());
        Rejection { origin: self.origin(file, row.number), reason, json }
    }

    fn origin(&self, file: usize, number: u64) -> Origin {
        Origin::Input { table: self.schema.table, file, number }
    }

    /// A row of a batch as a JSON object.
    fn json(&self, batch: &RawBatch, index: usize) -> Result<String> {
        let cores = self.schema.table.cores().iter().map(|core| core.name).zip(&batch.cores);
        let further = self.schema.further.iter().map(|field| field.name().as_str()).zip(&batch.further);
        let columns = cores.chain(further).map(|(name, array)| {
            let field: FieldRef = Arc::new(Field::new(name, array.data_type().clone(), true));
            (field, array.slice(index, 1))
        });
        rejected::json(&RecordBatch::from(StructArray::from(columns.collect::<Vec<_>>())), 0)
    }
}

/// The place of a row among all rows of its table: by files in name order, then by rows.
fn position(file: usize, number: u64) -> Position {
    Position::after((file as u64) << 40 | number)
}

fn required<T>(cell: Cell<T>, name: &str) -> std::result::Result<T, String> {
    cell?.ok_or_else(|| format!("{name} is null"))
}
