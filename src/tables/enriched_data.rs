//! Every order with its product and customer.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, SchemaRef, UInt32Type};
use arrow::record_batch::RecordBatch;
use differential_dataflow::VecCollection;
use timely::dataflow::channels::pact::Pipeline;
use timely::progress::frontier::MutableAntichain;

use crate::columns::build::{dates, decimals, ids, money, texts, typed};
use crate::columns::{Sharing, ShopId, can_be_shared, is_decimal, is_text, with_dictionaries};
use crate::error::{Error, Result};
use crate::model::money::e4_to_f64;
use crate::model::{Account, Epoch, Id, InputTable, Line, Price, Product};
use crate::pipeline::{Enriched, EnrichedJoin, EnrichedRows, Epochs, GatheredJoin, Job, LinePart, Unjoined, least};
use crate::sinks::RowChanges;

use super::end::{EndContext, Give, Left, TableEnd, Wanted};
use super::enriched_lookups::WorkerLookups;
use super::layout::{EnrichedColumn, EnrichedSource as Source};
use super::lookups::LookupQueues;
use super::{Layout, Table, TableColumn};

/// The columns of products, with a row for each product.
pub(crate) struct ItemColumns {
    names: ItemColumn,
    categories: ItemColumn,
    brands: ItemColumn,
    metadata: ItemColumn,
    /// `None` if prices are not shared.
    prices: Option<ItemColumn>,
    carried: Vec<ItemColumn>,
}

impl ItemColumns {
    pub(crate) fn of<'a>(
        products: impl Iterator<Item = Option<&'a Product>> + Clone,
        layout: &Layout,
    ) -> Result<ItemColumns> {
        let carried = layout.product_extras.decode(products.clone().map(|product| Some(&product?.extra)))?;
        // A decimal that does not fit its type is an error only if somebody ordered the product.
        let shared = layout.enriched.iter().find(|column| column.source == Source::Price);
        let shared = shared.filter(|column| can_be_shared(&column.data_type)).map(|column| {
            let prices = products.clone().map(|product| Some(product?.price.e4()));
            ItemColumn::of(fixed_point(prices, &column.data_type)?)
        });
        let prices = shared.transpose()?;
        Ok(ItemColumns {
            names: ItemColumn::of(texts(products.clone().map(|product| product?.name.as_deref())))?,
            categories: ItemColumn::of(texts(products.clone().map(|product| Some(product?.category.as_str()))))?,
            brands: ItemColumn::of(texts(products.clone().map(|product| product?.brand.as_deref())))?,
            metadata: ItemColumn::of(texts(products.map(|product| product?.metadata.as_deref())))?,
            prices,
            carried: carried.into_iter().map(ItemColumn::of).collect::<Result<_>>()?,
        })
    }
}

/// A column from which rows are taken at random. Texts that repeat are stored once, so that they stay in the cache.
struct ItemColumn {
    values: ArrayRef,
    /// The key of each item's value; `None` if each has its own.
    keys: Option<UInt32Array>,
}

/// The most values that rows share: most of more would occur once in the dictionary of a row group.
const SHARED_MOST: usize = 1 << 18;

impl ItemColumn {
    fn of(column: ArrayRef) -> Result<ItemColumn> {
        let texts = column.data_type();
        if !is_text(texts) {
            return Ok(ItemColumn { values: column, keys: None });
        }
        let dictionary = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(texts.clone()));
        let dictionary = cast(&column, &dictionary).map_err(Error::failed)?;
        let dictionary = dictionary.as_dictionary::<UInt32Type>();
        if dictionary.values().len() > column.len() / 4 {
            return Ok(ItemColumn { values: column, keys: None });
        }
        Ok(ItemColumn { values: Arc::clone(dictionary.values()), keys: Some(dictionary.keys().clone()) })
    }

    fn take(&self, items: &UInt32Array, sharing: Sharing) -> Result<ArrayRef> {
        let sharing = if self.values.len() > SHARED_MOST { Sharing::Copied } else { sharing };
        let Some(keys) = &self.keys else { return sharing.take(&self.values, items) };
        let keys = take(keys, items, None).map_err(Error::failed)?;
        sharing.take(&self.values, keys.as_primitive::<UInt32Type>())
    }
}

/// `enriched_data`: every order with its product, its customer, and the customer's total and tier.
#[derive(Clone, Copy, Debug, Default)]
pub struct EnrichedDataTable;

impl EnrichedDataTable {
    /// Its name.
    pub const NAME: &str = LookupQueues::TABLE;
}

impl Table for EnrichedDataTable {
    type Row<I: Id> = Enriched<I>;

    fn name(&self) -> &str {
        Self::NAME
    }

    fn key(&self) -> &[&str] {
        &["order_id"]
    }

    fn rows<'scope, T: Epochs, I: Id>(&self, job: &Job<'scope, T, I>) -> VecCollection<'scope, T, Enriched<I>> {
        job.enriched_rows()
    }

    fn allows_waves(&self) -> bool {
        true
    }

    fn columns<I: ShopId>(&self, rows: &[Enriched<I>], layout: &Layout) -> Result<Vec<TableColumn>> {
        let names = layout.enriched.iter().map(|column| Cow::Owned(column.name.clone()));
        Ok(names.zip(arrays_of(rows, layout)?).collect())
    }
}

/// The end of the table, where rows are joined. Rows of the first epoch are not materialised.
pub(crate) fn enriched_end<'scope, I: ShopId>(job: &Job<'scope, Epoch, I>, context: &EndContext) -> TableEnd<'scope> {
    if context.is_wanted { joined(job, context) } else { parts_only(job) }
}

/// An end at which the rows are joined.
fn joined<'scope, I: ShopId>(job: &Job<'scope, Epoch, I>, context: &EndContext) -> TableEnd<'scope> {
    let (inputs, layout) = (job.enriched_inputs(context.stays), Arc::clone(&context.layout));
    let lookups = context.lookups.as_ref().zip(inputs.reader());
    let mut lookups = lookups.map(|((queues, worker), reader)| WorkerLookups::new(queues, *worker, reader));
    let (schema, is_in_waves) = (Arc::clone(&context.schema), context.is_in_waves);
    TableEnd::new(move |builder| {
        let (mut join, mut receive) = inputs.connect(builder);
        let mut items = None;
        Box::new(move |frontiers: &[MutableAntichain<Epoch>], wanted: Option<Wanted>, give: &mut Give<'_>| {
            receive(&mut join, lookups.as_mut().map(|lookups| &mut lookups.reader));
            let Some(Wanted { from, gathering, dictionaries, turn }) = wanted else {
                // Drops what has arrived, with the accounts, the products and the trace of the lines.
                (join, items, lookups) = (EnrichedJoin::new(None, false), None, None);
                return Ok(Left::Nothing);
            };
            let frontier = least(frontiers);
            let gathered = gathering.as_ref().map(|asked| GatheredJoin { asked, is_free: turn.is_free });
            let left = join.join(frontier.borrow(), gathered, |epoch, rows| match rows {
                _ if *epoch < from && !is_in_waves => Ok(()),
                EnrichedRows::First(parts, products) => {
                    let all = || ItemColumns::of(products.iter().map(|item| Some(&**item)), &layout);
                    let sharing = if dictionaries { Sharing::Dictionary } else { Sharing::Copied };
                    let arrays = arrays(parts, get_or_make(&mut items, all)?, &layout, sharing)?;
                    let plus = batch(&with_dictionaries(&schema, &arrays), arrays)?;
                    give(*epoch, RowChanges { plus: Some(plus), ..RowChanges::default() })
                }
                EnrichedRows::Differing(rows) => {
                    let open = gathering.map_or(*epoch, |_| turn.open.max(*epoch));
                    give_differing((*epoch, open), rows, &layout, &schema, give)
                }
            })?;
            join.compact(frontier.borrow());
            if left == Unjoined::Epochs {
                return Ok(Left::Epochs);
            }
            // Waves have the same products.
            if !is_in_waves || frontier.is_empty() {
                items = None;
            }
            if frontier.is_empty() {
                lookups = None;
            }
            let encode = |rows: &[Enriched<I>]| batch(&schema, arrays_of(rows, &layout)?);
            let is_looking = lookups.as_mut().is_some_and(|lookups| lookups.advance(&frontier, turn.is_free, encode));
            Ok(match left {
                Unjoined::Gathered => Left::Gathered,
                _ if is_looking => Left::Lookups,
                _ => Left::Nothing,
            })
        })
    })
}

/// An end of a table that no sink wants: an epoch is complete when its lines and accounts are.
fn parts_only<'scope, I: ShopId>(job: &Job<'scope, Epoch, I>) -> TableEnd<'scope> {
    let (lines, accounts) = (job.lines_by_customer().stream, job.accounts().inner);
    TableEnd::new(move |builder| {
        let (mut lines, mut accounts) = (builder.new_input(lines, Pipeline), builder.new_input(accounts, Pipeline));
        Box::new(move |_: &[MutableAntichain<Epoch>], _: Option<Wanted>, _: &mut Give<'_>| {
            lines.for_each(|_, spans| spans.clear());
            accounts.for_each(|_, updates| updates.clear());
            Ok(Left::Nothing)
        })
    })
}

fn get_or_make<R>(slot: &mut Option<R>, make: impl FnOnce() -> Result<R>) -> Result<&R> {
    if slot.is_none() {
        *slot = Some(make()?);
    }
    Ok(slot.as_ref().expect("it was just made"))
}

/// Gives rows of an epoch as changes of that one, or of the one that is open.
fn give_differing<I: ShopId>(
    (epoch, open): (Epoch, Epoch),
    rows: &[(Enriched<I>, isize)],
    layout: &Layout,
    schema: &SchemaRef,
    give: &mut Give<'_>,
) -> Result<()> {
    let side = |sign: isize| -> Result<Option<RecordBatch>> {
        let rows: Vec<_> = rows.iter().filter(|(_, diff)| diff.signum() == sign).map(|(row, _)| row.clone()).collect();
        if rows.is_empty() { Ok(None) } else { batch(schema, arrays_of(&rows, layout)?).map(Some) }
    };
    give(open, RowChanges { plus: side(1)?, minus: side(-1)?, is_late: open > epoch })
}

/// Columns, in the order of the layout, as a record batch.
fn batch(schema: &SchemaRef, arrays: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(Arc::clone(schema), arrays).map_err(Error::failed)
}

/// The columns of rows that are joined already.
fn arrays_of<I: ShopId>(rows: &[Enriched<I>], layout: &Layout) -> Result<Vec<ArrayRef>> {
    let items = ItemColumns::of(rows.iter().map(|row| row.item.as_deref()), layout)?;
    let parts = rows.iter().zip(0..).map(|(row, item)| LinePart {
        customer: &row.customer,
        line: &row.line,
        item: Some(item),
        account: &row.account,
    });
    arrays(&parts.collect::<Vec<_>>(), &items, layout, Sharing::Copied)
}

/// All columns of some rows, in the order of the layout.
fn arrays<I: ShopId>(
    rows: &[LinePart<'_, I>],
    items: &ItemColumns,
    layout: &Layout,
    sharing: Sharing,
) -> Result<Vec<ArrayRef>> {
    let AccountsOfRows { distinct: accounts, of_row: account_of_row } = AccountsOfRows::of(rows);
    let details = accounts.iter().map(|(_, account)| Some(&account.details.as_ref()?.extra));
    let of_customers = layout.customer_extras.decode(details)?;
    let of_orders = layout.order_extras.decode_shared(rows.iter().map(|row| Some(&row.line.extra)), sharing)?;
    let item_of_row = UInt32Array::from_iter(rows.iter().map(|row| row.item));
    let of_item = |column: &ItemColumn| column.take(&item_of_row, sharing);
    // Nothing is shared where most rows have an account of their own.
    let of_accounts = if accounts.len() > rows.len() / 2 { Sharing::Copied } else { sharing };
    let of_account = |column: &ArrayRef| of_accounts.take(column, &account_of_row);
    let column = |column: &EnrichedColumn| match column.source {
        Source::Carried(InputTable::Orders, at) => Ok(Arc::clone(&of_orders[at])),
        Source::Carried(InputTable::Products, at) => of_item(&items.carried[at]),
        Source::ProductName => of_item(&items.names),
        Source::Category => of_item(&items.categories),
        Source::Brand => of_item(&items.brands),
        Source::Metadata => of_item(&items.metadata),
        Source::Carried(InputTable::Customers, at) => of_account(&of_customers[at]),
        Source::CustomerId => {
            of_account(&ids(accounts.iter().map(|(customer, _)| customer.as_ref()), &column.data_type)?)
        }
        Source::TotalSpent => of_account(&money(accounts.iter().map(|(_, account)| account.spent), &column.data_type)?),
        Source::CustomerTier => {
            of_account(&texts(accounts.iter().map(|(_, account)| Some(layout.tiers.name(account.tier?)))))
        }
        Source::Price if let Some(prices) = &items.prices => of_item(prices),
        _ => line_column(rows, column),
    };
    let named = |of: &EnrichedColumn| {
        column(of).map_err(|error| Error::failed(format!("table enriched_data: column {}: {error}", of.name)))
    };
    layout.enriched.iter().map(named).collect()
}

/// A column that depends on the order line alone.
fn line_column<I: ShopId>(rows: &[LinePart<'_, I>], column: &EnrichedColumn) -> Result<ArrayRef> {
    let lines = rows.iter().map(|row| row.line);
    match column.source {
        Source::OrderId => ids(lines.map(|line| Some(&line.order)), &column.data_type),
        Source::ProductId => ids(lines.map(|line| line.product.as_ref()), &column.data_type),
        Source::OrderDate => Ok(dates(lines.map(|line| line.day))),
        Source::Quantity => {
            let quantities = Int32Array::from_iter_values(lines.map(|line| line.quantity));
            typed(Arc::new(quantities), &column.data_type)
        }
        Source::Discount => fixed_point(lines.map(|line| Some(i64::from(line.discount.e4()))), &column.data_type),
        Source::Price => fixed_point(lines.map(|line| line.price.map(Price::e4)), &column.data_type),
        Source::TotalAmount => money(lines.map(Line::amount), &column.data_type),
        _ => unreachable!("{:?} does not depend on the line alone", column.source),
    }
}

/// Values in units of 10⁻⁴, as floats or decimals.
fn fixed_point(values: impl Iterator<Item = Option<i64>>, data_type: &DataType) -> Result<ArrayRef> {
    if is_decimal(data_type) {
        return decimals(values.map(|e4| e4.map(i128::from)), 4, data_type);
    }
    let floats = Float64Array::from_iter(values.map(|e4| e4.map(e4_to_f64)));
    typed(Arc::new(floats), data_type)
}

/// The accounts of some rows. Rows of one customer are mostly adjacent, and then share an account.
struct AccountsOfRows<'a, I> {
    /// With their customers.
    distinct: Vec<(&'a Option<I>, &'a Account)>,
    of_row: UInt32Array,
}

impl<'a, I: PartialEq> AccountsOfRows<'a, I> {
    fn of(rows: &[LinePart<'a, I>]) -> Self {
        let mut distinct: Vec<(&Option<I>, &Account)> = Vec::new();
        let mut last = 0;
        let of_row = rows.iter().map(|row| {
            let is_its = |(customer, account): &(&Option<I>, &Account)| {
                std::ptr::eq(*account, &**row.account) && *customer == row.customer
            };
            if !distinct.last().is_some_and(is_its) {
                last = u32::try_from(distinct.len()).expect("a batch has fewer than 2³² rows");
                distinct.push((row.customer, row.account));
            }
            last
        });
        let of_row = UInt32Array::from_iter_values(of_row);
        AccountsOfRows { of_row, distinct }
    }
}
