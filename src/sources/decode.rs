//! From columns to typed rows, and to rejections.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::record_batch::RecordBatch;
use chrono_tz::Tz;

use crate::columns::cells::{
    CellReader, CellValue, Operation, days, ids, money, operations, quantities, texts, versions,
};
use crate::columns::payload::PayloadCodec;
use crate::columns::row_json::row_json;
use crate::columns::{InputSchema, OPERATION, ShopId};
use crate::error::{Error, Result};
use crate::model::{
    AnyId, Change, Customer, Day, Discount, InputTable, IntId, Order, Origin, Payload, Price, Product, Reason,
    Rejection, Text, Version,
};
use crate::operators::Upsert;

use super::conversion::Conversion;
use super::source::{MalformedRow, Source, SourceBatch, shortened};

/// Decodes batches of a table.
pub(crate) struct RowDecoder {
    schema: InputSchema,
    codec: PayloadCodec,
    conversion: Conversion,
    /// The id columns that are text in some table.
    text_ids: Vec<&'static str>,
}

/// A batch, decoded.
pub(crate) struct Decoded<I, R> {
    pub(crate) upserts: Vec<Upsert<I, R>>,
    /// The version of each of them, if the table has versions.
    pub(crate) versions: Vec<Option<Version>>,
    /// The rows that could not be used.
    pub(crate) rejected: Vec<Rejection>,
    pub(crate) notes: Notes,
}

impl<I, R> Default for Decoded<I, R> {
    fn default() -> Self {
        Decoded { upserts: Vec::new(), versions: Vec::new(), rejected: Vec::new(), notes: Notes::new() }
    }
}

/// The number of a row in its batch, its id, its version and whether it is a delete; of a row that can't be used its
/// number.
pub(crate) type RowKey = std::result::Result<(u32, AnyId, Option<Version>, bool), u32>;

fn keys_of<I, R>(batch: &SourceBatch, decoded: Decoded<I, R>, any: impl Fn(I) -> AnyId) -> Result<Vec<RowKey>> {
    let unusable: HashSet<u64> = decoded.rejected.iter().filter_map(|row| Some(row.origin.as_ref()?.row)).collect();
    let rows = u32::try_from(batch.numbers.len()).map_err(Error::failed)?;
    let mut upserts = decoded.upserts.into_iter();
    let mut versions = decoded.versions.into_iter();
    let key = |row: u32| {
        if unusable.contains(&batch.numbers.get(row as usize)) {
            return Err(row);
        }
        let (id, _, value) = upserts.next().expect("each row is an upsert or rejected");
        Ok((row, any(id), versions.next().flatten(), value.is_none()))
    };
    Ok((0..rows).map(key).collect())
}

/// What was noticed about rows that could be used, and the number of rows.
pub(crate) type Notes = BTreeMap<&'static str, u64>;

const NO_QUANTITY: &str = "quantity is null, taken as 1";
const NO_DISCOUNT: &str = "discount is null, taken as 0";
const NO_PRICE: &str = "price is null, taken as 0";
const NO_CATEGORY: &str = "category is null, taken as Unknown";
const DELETES: &str = "_op is d, a delete";

fn note(notes: &mut Notes, what: &'static str, is: bool) {
    if is {
        *notes.entry(what).or_default() += 1;
    }
}

impl RowDecoder {
    pub(crate) fn new(schema: &InputSchema, conversion: Conversion, text_ids: &[&'static str]) -> Result<RowDecoder> {
        let codec = PayloadCodec::new(&schema.carried)?;
        Ok(RowDecoder { codec, schema: schema.clone(), conversion, text_ids: text_ids.to_vec() })
    }

    /// A decoder of a table of a source.
    pub(crate) fn of(source: &dyn Source, table: InputTable, conversion: Conversion) -> Result<RowDecoder> {
        let text_ids: Vec<_> = InputTable::ALL.iter().flat_map(|table| source.schema(*table).text_ids()).collect();
        RowDecoder::new(source.schema(table), conversion, &text_ids)
    }

    /// The upserts of a batch.
    fn changes<I: ShopId>(&self, table: InputTable, batch: &SourceBatch) -> Result<Vec<Change<I>>> {
        Ok(match table {
            InputTable::Orders => {
                self.orders(batch)?.upserts.into_iter().map(|(id, _, row)| Change::Order(id, row)).collect()
            }
            InputTable::Products => {
                self.products(batch)?.upserts.into_iter().map(|(id, _, row)| Change::Product(id, row)).collect()
            }
            InputTable::Customers => {
                self.customers(batch)?.upserts.into_iter().map(|(id, _, row)| Change::Customer(id, row)).collect()
            }
        })
    }

    /// For each row of a batch its number in the batch, id, version, and whether it is a delete; if it can't be used,
    /// its number only.
    pub(crate) fn keys(&self, batch: &SourceBatch) -> Result<Vec<RowKey>> {
        match self.text_ids.is_empty() {
            true => self.keys_with(batch, |id: IntId| id.into()),
            false => self.keys_with(batch, |id: AnyId| id),
        }
    }

    fn keys_with<I: ShopId>(&self, batch: &SourceBatch, any: impl Fn(I) -> AnyId) -> Result<Vec<RowKey>> {
        match batch.table {
            InputTable::Orders => keys_of(batch, self.orders(batch)?, any),
            InputTable::Products => keys_of(batch, self.products(batch)?, any),
            InputTable::Customers => keys_of(batch, self.customers(batch)?, any),
        }
    }

    /// The rows of a batch that can't be used, in a job whose ids are integers if all of them are.
    pub(crate) fn rejections(&self, batch: &SourceBatch) -> Result<Vec<Rejection>> {
        match self.text_ids.is_empty() {
            true => self.rejected::<IntId>(batch),
            false => self.rejected::<AnyId>(batch),
        }
    }

    fn rejected<I: ShopId>(&self, batch: &SourceBatch) -> Result<Vec<Rejection>> {
        Ok(match batch.table {
            InputTable::Orders => self.orders::<I>(batch)?.rejected,
            InputTable::Products => self.products::<I>(batch)?.rejected,
            InputTable::Customers => self.customers::<I>(batch)?.rejected,
        })
    }

    /// The same batch, in which the rows that can't be used are kept as text, with the reason: they stay rejected
    /// whatever the configuration will be.
    pub(crate) fn settled(&self, batch: SourceBatch) -> Result<SourceBatch> {
        let rejected = self.rejections(&batch)?;
        if rejected.len() == batch.malformed.len() {
            return Ok(batch);
        }
        let usable: Vec<u32> = self.keys(&batch)?.into_iter().filter_map(|key| Some(key.ok()?.0)).collect();
        let mut settled = batch.select(&usable)?;
        let malformed = rejected
            .into_iter()
            .filter_map(|row| Some(MalformedRow { number: row.origin?.row, reason: row.reason, json: row.row }));
        settled.malformed = malformed.collect();
        Ok(settled)
    }

    /// The day of each order of a batch that can be used; `None` also for a delete.
    pub(crate) fn days(&self, batch: &SourceBatch) -> Result<Vec<Option<Day>>> {
        match self.text_ids.is_empty() {
            true => self.days_with::<IntId>(batch),
            false => self.days_with::<AnyId>(batch),
        }
    }

    fn days_with<I: ShopId>(&self, batch: &SourceBatch) -> Result<Vec<Option<Day>>> {
        Ok(self.orders::<I>(batch)?.upserts.into_iter().map(|(_, _, order)| order?.day).collect())
    }

    /// A batch without some of its rows, which are rejected for a reason.
    pub(crate) fn without(
        &self,
        batch: SourceBatch,
        is_rejected: &[bool],
        reason: impl Fn(usize) -> Reason,
    ) -> Result<SourceBatch> {
        let others = (0..).zip(is_rejected).filter(|(_, is_rejected)| !**is_rejected).map(|(row, _)| row);
        let mut rest = batch.select(&others.collect::<Vec<u32>>())?;
        rest.malformed.clone_from(&batch.malformed);
        for row in (0..is_rejected.len()).filter(|row| is_rejected[*row]) {
            let json = shortened(self.json(&batch, row)?);
            rest.malformed.push(MalformedRow { number: batch.numbers.get(row), reason: reason(row), json });
        }
        rest.malformed.sort_by_key(|row| row.number);
        Ok(rest)
    }

    /// Reads ids, which must fit the type with which they are written.
    fn ids<I: ShopId>(&self, column: &ArrayRef, name: &'static str) -> Result<CellReader<I>> {
        let read = ids(column, name, self.text_ids.contains(&name))?;
        let place = self.schema.table.cores().iter().position(|core| core.name == name);
        let written = place.and_then(|place| self.schema.cores[place].clone()).filter(DataType::is_integer);
        let Some(written) = written.filter(|written| written != column.data_type() && *written != DataType::Int64)
        else {
            return Ok(read);
        };
        let values = match column.data_type() {
            DataType::Dictionary(_, values) => cast(column, values).map_err(Error::failed)?,
            _ => Arc::clone(column),
        };
        let fitting = cast(&values, &written).map_err(Error::failed)?;
        Ok(Box::new(move |row| {
            let id = read(row)?;
            if id.is_some() && fitting.is_null(row) {
                return Err(Reason::new(
                    format!("{name} is out of range"),
                    format!(
                        "{name} is out of range: wanted one that a {written} has, as when the service first started"
                    ),
                ));
            }
            Ok(id)
        }))
    }

    /// The orders of a batch.
    pub(crate) fn orders<I: ShopId>(&self, batch: &SourceBatch) -> Result<Decoded<I, Order<I>>> {
        let [ids, customers, products, dates, counts, fractions] = self.cores(batch);
        let ids = self.ids::<I>(&ids, "order_id")?;
        let customers = self.ids::<I>(&customers, "customer_id")?;
        let products = self.ids::<I>(&products, "product_id")?;
        let Conversion { zone, date_format, discount } = &self.conversion;
        let days = days(&dates, "order_date", *zone, date_format.as_ref())?;
        let quantities = quantities(&counts, "quantity")?;
        let limit = "is out of range: wanted below 10^5";
        let discounts = money(&fractions, "discount", discount.places(), Discount::from_e4, limit)?;
        let great = self.conversion.discount.note_of_great();
        self.convert(batch, &ids, |row, extra, notes| {
            let (customer, product, day) = (customers(row)?, products(row)?, days(row)?);
            let (quantity, discount) = (quantities(row)?, discounts(row)?);
            note(notes, NO_QUANTITY, quantity.is_none());
            note(notes, NO_DISCOUNT, discount.is_none());
            note(notes, great, discount.is_some_and(|discount| discount.left_e4() < 0));
            let (quantity, discount) = (quantity.unwrap_or(1), discount.unwrap_or_default());
            Ok(Order { customer, product, day, quantity, discount, extra })
        })
    }

    /// The products of a batch.
    pub(crate) fn products<I: ShopId>(&self, batch: &SourceBatch) -> Result<Decoded<I, Arc<Product>>> {
        let [ids, prices, categories, names, brands, metadata] = self.cores(batch);
        let ids = self.ids::<I>(&ids, "product_id")?;
        let prices = money(&prices, "price", 0, Price::from_e4, "is out of range: wanted below 10^10")?;
        let categories = texts(&categories, "category")?;
        let names = texts(&names, "product_name")?;
        let brands = texts(&brands, "brand")?;
        let metadata = texts(&metadata, "metadata")?;
        self.convert(batch, &ids, |row, extra, notes| {
            let (category, price) = (categories(row)?, prices(row)?);
            let (name, brand, metadata) = (names(row)?, brands(row)?, metadata(row)?);
            note(notes, NO_CATEGORY, category.is_none());
            note(notes, NO_PRICE, price.is_none());
            let (category, price) = (category.unwrap_or(Text::const_new("Unknown")), price.unwrap_or_default());
            Ok(Arc::new(Product { name, category, price, brand, metadata, extra }))
        })
    }

    /// The customers of a batch.
    pub(crate) fn customers<I: ShopId>(&self, batch: &SourceBatch) -> Result<Decoded<I, Arc<Customer>>> {
        let [ids] = self.cores(batch);
        let ids = self.ids::<I>(&ids, "customer_id")?;
        self.convert(batch, &ids, |_, extra, _| Ok(Arc::new(Customer { extra })))
    }

    /// The core columns; missing ones are all null.
    fn cores<const N: usize>(&self, batch: &SourceBatch) -> [ArrayRef; N] {
        std::array::from_fn(|core| Arc::clone(&batch.cores[core]))
    }

    fn convert<I: ShopId, R>(
        &self,
        batch: &SourceBatch,
        ids: &CellReader<I>,
        row: impl Fn(usize, Payload, &mut Notes) -> std::result::Result<R, Reason>,
    ) -> Result<Decoded<I, R>> {
        let extras = self.codec.encode(&batch.carried, batch.numbers.len())?;
        let operations = batch.operations.as_ref().map(|column| operations(column, OPERATION)).transpose()?;
        let versions = batch
            .versions
            .as_ref()
            .map(|column| versions(column, "version", self.conversion.date_format.as_ref()))
            .transpose()?;
        let id = self.schema.table.cores()[0].name;
        let upsert = |index, extra, notes: &mut Notes| {
            let id = required(ids(index), id)?;
            let version = versions.as_ref().map_or(Ok(None), |version| version(index))?;
            let operation = operations.as_ref().map_or(Ok(None), |operation| operation(index))?;
            let is_delete = operation == Some(Operation::Delete);
            note(notes, DELETES, is_delete);
            Ok((version, id, if is_delete { None } else { Some(row(index, extra, notes)?) }))
        };
        let mut decoded = Decoded { upserts: Vec::with_capacity(extras.len()), ..Decoded::default() };
        decoded.rejected.extend(batch.rejected());
        for (index, extra) in extras.into_iter().enumerate() {
            let number = batch.numbers.get(index);
            match upsert(index, extra, &mut decoded.notes) {
                Ok((version, id, row)) => {
                    decoded.upserts.push((id, batch.position(number), row));
                    decoded.versions.extend(versions.is_some().then_some(version));
                }
                Err(reason) => {
                    decoded.rejected.push(self.rejection(batch, number, reason, self.json(batch, index)?));
                }
            }
        }
        Ok(decoded)
    }

    fn rejection(&self, batch: &SourceBatch, row: u64, reason: Reason, json: String) -> Rejection {
        let origin = Some(Origin { file: Arc::clone(&batch.origin), row });
        Rejection { table: self.schema.table.name().into(), origin, reason, row: shortened(json) }
    }

    /// A row of a batch as a JSON object.
    fn json(&self, batch: &SourceBatch, index: usize) -> Result<String> {
        let cores = self.schema.table.cores().iter().map(|core| core.name).zip(&batch.cores);
        let carried = self.schema.carried.iter().map(|field| field.name().as_str()).zip(&batch.carried);
        let operation = batch.operations.iter().map(|column| (OPERATION, column));
        let columns = cores.chain(carried).chain(operation).map(|(name, array)| {
            let field: FieldRef = Arc::new(Field::new(name, array.data_type().clone(), true));
            (field, array.slice(index, 1))
        });
        row_json(&RecordBatch::from(StructArray::from(columns.collect::<Vec<_>>())), 0)
    }
}

fn required<T>(cell: CellValue<T>, name: &str) -> std::result::Result<T, Reason> {
    cell?.ok_or_else(|| Reason::plain(format!("{name} is null")))
}

/// The rows of a table as upserts, in the order of the source; rows that can't be used are left out.
///
/// `zone` is the time zone of day boundaries.
///
/// # Errors
///
/// If the ids of the source are not of this type.
pub fn changes<I: ShopId>(
    source: &dyn Source,
    table: InputTable,
    zone: Tz,
) -> Result<impl Iterator<Item = Result<Change<I>>>> {
    const BATCH_ROWS: usize = 1 << 13;
    let decoder = RowDecoder::of(source, table, Conversion::in_zone(zone))?;
    let splits = source.splits().into_iter().filter(move |split| split.table == table);
    let batches = splits.flat_map(move |split| match source.read(&split, BATCH_ROWS) {
        Ok(batches) => batches,
        Err(error) => Box::new(std::iter::once(Err(error))),
    });
    Ok(batches.flat_map(move |batch| match batch.and_then(|batch| decoder.changes(table, &batch)) {
        Ok(changes) => changes.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    }))
}
