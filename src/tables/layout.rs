//! The columns of `enriched_data`, and column types shared by all tables.

use arrow::datatypes::DataType;

use crate::columns::payload::PayloadCodec;
use crate::columns::{ColumnKind, InputSchema, is_decimal};
use crate::error::{Error, Result};
use crate::model::{Change, InputTable, Payload, Tiers};
use crate::sources::DiscountUnit;

/// The types of ids and money in the tables of a job, and the names of its tiers.
///
/// Ids have the types of the input. Money is a decimal if prices are, and otherwise a double.
pub struct Layout {
    /// True if ids may be text.
    pub(crate) has_text_ids: bool,
    pub(crate) enriched: Vec<EnrichedColumn>,
    pub(crate) order_extras: PayloadCodec,
    pub(crate) product_extras: PayloadCodec,
    pub(crate) customer_extras: PayloadCodec,
    pub(crate) order_id: DataType,
    pub(crate) customer_id: DataType,
    pub(crate) product_id: DataType,
    pub(crate) money: DataType,
    /// The type of discounts, as fractions.
    pub(crate) discount: DataType,
    pub(crate) tiers: Tiers,
}

impl Layout {
    /// The type of amounts: `Decimal128(38, 8)` if prices are decimals, otherwise `Float64`.
    #[must_use]
    pub fn money(&self) -> &DataType {
        &self.money
    }

    /// The type of `order_id`.
    #[must_use]
    pub fn order_id(&self) -> &DataType {
        &self.order_id
    }

    /// The type of `customer_id`.
    #[must_use]
    pub fn customer_id(&self) -> &DataType {
        &self.customer_id
    }

    /// The type of `product_id`.
    #[must_use]
    pub fn product_id(&self) -> &DataType {
        &self.product_id
    }

    /// The tiers of customers.
    #[must_use]
    pub fn tiers(&self) -> &Tiers {
        &self.tiers
    }
}

/// A column of `enriched_data`.
pub(crate) struct EnrichedColumn {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    pub(crate) source: EnrichedSource,
}

/// Where the values of a column of `enriched_data` are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnrichedSource {
    OrderId,
    CustomerId,
    ProductId,
    OrderDate,
    Quantity,
    Discount,
    ProductName,
    Category,
    Price,
    Brand,
    Metadata,
    /// The carried column of that table at this position.
    Carried(InputTable, usize),
    TotalAmount,
    TotalSpent,
    CustomerTier,
}

use EnrichedSource::{
    Brand, Carried, Category, CustomerId, CustomerTier, Discount, Metadata, OrderDate, OrderId, Price, ProductId,
    ProductName, Quantity, TotalAmount, TotalSpent,
};

impl Layout {
    /// Lays out the tables of a job over three tables.
    ///
    /// # Errors
    ///
    /// If two columns of `enriched_data` would have the same name even after one is prefixed with its table.
    pub(crate) fn new(
        orders: &InputSchema,
        products: &InputSchema,
        customers: &InputSchema,
        discount: DiscountUnit,
        tiers: Tiers,
    ) -> Result<Layout> {
        let price = products.cores[1].clone().unwrap_or(DataType::Float64);
        let money = if is_decimal(&price) { DataType::Decimal128(38, 8) } else { DataType::Float64 };
        let id = |types: &[&Option<DataType>]| {
            let written = ColumnKind::Id.written(types.iter().filter_map(|found| found.as_ref()));
            written.unwrap_or(DataType::Int64)
        };
        let mut layout = Layout {
            has_text_ids: [orders, products, customers].iter().any(|schema| schema.text_ids().next().is_some()),
            enriched: Vec::new(),
            order_extras: PayloadCodec::new(&orders.carried)?,
            product_extras: PayloadCodec::new(&products.carried)?,
            customer_extras: PayloadCodec::new(&customers.carried)?,
            order_id: id(&[&orders.cores[0]]),
            customer_id: id(&[&orders.cores[1], &customers.cores[0]]),
            product_id: id(&[&orders.cores[2], &products.cores[0]]),
            money: money.clone(),
            discount: discount.written(orders.cores[5].clone()),
            tiers,
        };
        layout.add(orders, &[OrderId, CustomerId, ProductId, OrderDate, Quantity, Discount])?;
        layout.add(products, &[ProductId, Price, Category, ProductName, Brand, Metadata])?;
        layout.add(customers, &[CustomerId])?;
        let derived = [("total_amount", &money, TotalAmount), ("total_spent", &money, TotalSpent)];
        for (name, data_type, source) in derived.into_iter().chain([("customer_tier", &DataType::Utf8, CustomerTier)]) {
            if layout.has(name) {
                return Err(Error::unusable(format!(
                    "the input has a column {name}, but that is the name of a column that is computed; give it another \
                     in the config: columns: {{orders: {{OTHER: {name}}}}}, or the table that has it"
                )));
            }
            layout.enriched.push(EnrichedColumn { name: name.to_owned(), data_type: data_type.clone(), source });
        }
        Ok(layout)
    }

    /// Adds the columns of a table, in the order of its files. Ids that are there already are the same ids.
    fn add(&mut self, table: &InputSchema, cores: &[EnrichedSource]) -> Result<()> {
        for column in &table.order {
            let core = table.table.cores().iter().position(|core| core.name == column);
            let (source, data_type) = match core {
                Some(core) => (cores[core], self.core_type(cores[core], table.cores[core].as_ref())),
                None => {
                    let carried = table.carried.iter().position(|field| field.name() == column);
                    let carried = carried.expect("a column that is not a core one is carried");
                    (Carried(table.table, carried), table.carried[carried].data_type().clone())
                }
            };
            if self.enriched.iter().any(|known| known.source == source) {
                continue;
            }
            let name = self.free_name(column, table)?;
            self.enriched.push(EnrichedColumn { name, data_type, source });
        }
        Ok(())
    }

    /// The type of a core column; ids have that of all tables.
    fn core_type(&self, source: EnrichedSource, written: Option<&DataType>) -> DataType {
        match source {
            OrderId => self.order_id.clone(),
            CustomerId => self.customer_id.clone(),
            ProductId => self.product_id.clone(),
            Discount => self.discount.clone(),
            _ => written.cloned().unwrap_or(DataType::Utf8),
        }
    }

    /// The name of a column, prefixed with its table if an earlier table has it.
    fn free_name(&self, column: &str, schema: &InputSchema) -> Result<String> {
        let table = schema.table;
        let prefixed = format!("{}_{column}", table.name().trim_end_matches('s'));
        match (self.has(column), self.has(&prefixed) || schema.order.contains(&prefixed)) {
            (false, _) => Ok(column.into()),
            (true, false) => Ok(prefixed),
            (true, true) => Err(Error::unusable(format!(
                "{table} has a column {column}, which an earlier table has too, and {prefixed} is taken as well; give \
                 it another name in the config: columns: {{{table}: {{OTHER: {column}}}}}"
            ))),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.enriched.iter().any(|column| column.name == name)
    }

    /// A payload with the carried columns of a table that a JSON object has; the others are null.
    pub(crate) fn payload(&self, table: InputTable, json: &str) -> Result<Payload> {
        match table {
            InputTable::Orders => self.order_extras.of_json(json),
            InputTable::Products => self.product_extras.of_json(json),
            InputTable::Customers => self.customer_extras.of_json(json),
        }
    }

    /// Checks that the payloads of changes have the carried columns of their tables.
    ///
    /// # Errors
    ///
    /// If one does not; the message names the table.
    pub(crate) fn check_payloads<I>(&self, changes: &[Change<I>]) -> Result<()> {
        let orders = changes.iter().filter_map(|change| match change {
            Change::Order(_, Some(order)) => Some(&order.extra),
            _ => None,
        });
        let products = changes.iter().filter_map(|change| match change {
            Change::Product(_, Some(product)) => Some(&product.extra),
            _ => None,
        });
        let customers = changes.iter().filter_map(|change| match change {
            Change::Customer(_, Some(customer)) => Some(&customer.extra),
            _ => None,
        });
        check_own(InputTable::Orders, self.order_extras.are_own(orders))?;
        check_own(InputTable::Products, self.product_extras.are_own(products))?;
        check_own(InputTable::Customers, self.customer_extras.are_own(customers))
    }
}

fn check_own(table: InputTable, are_own: bool) -> Result<()> {
    let table = table.name();
    let cause = "does not have the carried columns of its table; make it with Live::payload";
    if are_own { Ok(()) } else { Err(Error::usage(format!("{table}: the field extra of a row {cause}"))) }
}
