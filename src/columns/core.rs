//! The columns of the input tables: *core* columns, which the job computes with, and *carried* columns, which are
//! copied to `enriched_data` unchanged.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};

use crate::error::{Error, Result};
use crate::model::InputTable;

/// The kind of values of a core column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Id,
    Date,
    Quantity,
    Money,
    Text,
}

/// A column the job computes with.
pub(crate) struct CoreColumn {
    pub(crate) name: &'static str,
    pub(crate) kind: ColumnKind,
    pub(crate) required: bool,
}

const fn core(name: &'static str, kind: ColumnKind) -> CoreColumn {
    CoreColumn { name, kind, required: true }
}

const ORDERS: &[CoreColumn] = &[
    core("order_id", ColumnKind::Id),
    core("customer_id", ColumnKind::Id),
    core("product_id", ColumnKind::Id),
    core("order_date", ColumnKind::Date),
    core("quantity", ColumnKind::Quantity),
    core("discount", ColumnKind::Money),
];
const PRODUCTS: &[CoreColumn] = &[
    core("product_id", ColumnKind::Id),
    core("price", ColumnKind::Money),
    core("category", ColumnKind::Text),
    CoreColumn { required: false, ..core("product_name", ColumnKind::Text) },
    CoreColumn { required: false, ..core("brand", ColumnKind::Text) },
    CoreColumn { required: false, ..core("metadata", ColumnKind::Text) },
];
const CUSTOMERS: &[CoreColumn] = &[core("customer_id", ColumnKind::Id)];

impl InputTable {
    /// The columns the job computes with.
    pub(crate) fn cores(self) -> &'static [CoreColumn] {
        match self {
            InputTable::Orders => ORDERS,
            InputTable::Products => PRODUCTS,
            InputTable::Customers => CUSTOMERS,
        }
    }
}

impl ColumnKind {
    /// True if values can be read from a column of this type.
    pub(crate) fn accepts(self, found: &DataType) -> bool {
        let text = is_text(found);
        match (self, found) {
            (_, DataType::Dictionary(_, values)) => self.accepts(values),
            (_, DataType::Null) => true,
            (_, decimal) if is_decimal(decimal) => {
                matches!(self, ColumnKind::Quantity | ColumnKind::Money) && (0..=38).contains(&decimal_scale(decimal))
            }
            (ColumnKind::Id, _) => text || found.is_integer(),
            (ColumnKind::Date, DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, _)) => true,
            (ColumnKind::Date | ColumnKind::Text, _) => text,
            (ColumnKind::Quantity | ColumnKind::Money, _) => found.is_numeric(),
        }
    }

    pub(crate) fn accepted(self) -> &'static str {
        match self {
            ColumnKind::Id => "an integer or a string",
            ColumnKind::Date => "a date, a timestamp or an ISO 8601 string",
            ColumnKind::Quantity => "an integer, or a float or decimal that is whole",
            ColumnKind::Money => "a float, a decimal of at most 38 places, or an integer",
            ColumnKind::Text => "a string",
        }
    }

    /// The output type of a core column that has these types in its files: one that depends on no value, and holds all
    /// of them. `None` if no file tells the type of an id.
    pub(crate) fn written<'a>(self, found: impl IntoIterator<Item = &'a DataType>) -> Option<DataType> {
        let found: Vec<&DataType> =
            found.into_iter().map(values_of).filter(|found| **found != DataType::Null).collect();
        let all = |is: fn(&DataType) -> bool| !found.is_empty() && found.iter().all(|found| is(found));
        let alike = found.first().copied().filter(|first| found.iter().all(|found| found == first)).cloned();
        Some(match self {
            ColumnKind::Id if found.is_empty() => return None,
            ColumnKind::Id | ColumnKind::Quantity if all(DataType::is_integer) => alike.unwrap_or(DataType::Int64),
            ColumnKind::Id | ColumnKind::Text => DataType::Utf8,
            ColumnKind::Date => DataType::Date32,
            ColumnKind::Quantity => DataType::Int64,
            ColumnKind::Money if found.iter().any(|found| is_decimal(found)) && all(is_exact) => {
                let scale = found.iter().map(|found| decimal_scale(found)).max().unwrap_or(0);
                // Rounding to four decimals may add a digit before the point.
                alike.filter(|_| scale <= PLACES).unwrap_or(DataType::Decimal128(38, scale.min(PLACES)))
            }
            ColumnKind::Money => alike.filter(DataType::is_floating).unwrap_or(DataType::Float64),
        })
    }
}

/// The decimal places of prices and discounts.
const PLACES: i8 = 4;

fn is_exact(found: &DataType) -> bool {
    is_decimal(found) || found.is_integer()
}

/// The type of a column's values, which a dictionary may hold.
fn values_of(found: &DataType) -> &DataType {
    match found {
        DataType::Dictionary(_, values) => values,
        found => found,
    }
}

/// True for strings of any layout.
pub(crate) fn is_text(found: &DataType) -> bool {
    matches!(found, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// The decimal places of a numeric type.
pub(crate) fn decimal_scale(found: &DataType) -> i8 {
    match found {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    }
}

pub(crate) fn is_decimal(found: &DataType) -> bool {
    use DataType::{Decimal32, Decimal64, Decimal128, Decimal256};
    matches!(found, Decimal32(_, _) | Decimal64(_, _) | Decimal128(_, _) | Decimal256(_, _))
}

/// The columns of the input that are read besides those that every job needs: ids, dates, quantities, discounts, prices
/// and categories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FurtherColumns {
    /// All there are.
    #[default]
    All,
    /// Of `product_name`, `brand` and `metadata`, these.
    Only(&'static [&'static str]),
}

impl FurtherColumns {
    /// True if a column that not every job needs is read.
    pub(crate) fn has(self, name: &str) -> bool {
        match self {
            FurtherColumns::All => true,
            FurtherColumns::Only(names) => names.contains(&name),
        }
    }
}

/// The column that tells what a row does: `d` deletes the row with its id, `c`, `u`, `r` and null write it. It is not
/// carried.
pub(crate) const OPERATION: &str = "_op";

/// The key of the column with versions in the metadata of an Arrow schema.
const VERSION: &str = "millstream.version";

/// The columns of an input table.
#[derive(Clone, Debug)]
pub struct InputSchema {
    /// The table.
    pub table: InputTable,
    /// The output type of each core column; `None` for an optional one that is missing, and for ids that are all null.
    pub(crate) cores: Vec<Option<DataType>>,
    pub(crate) carried: Vec<FieldRef>,
    /// True if there is a column [`OPERATION`].
    pub(crate) has_operations: bool,
    /// The column with the version of each row.
    pub(crate) version: Option<String>,
    /// The names of all columns, in source order.
    pub(crate) order: Vec<String>,
}

impl InputSchema {
    /// The input schema of a table with this Arrow schema.
    ///
    /// # Errors
    ///
    /// If a column is missing or has an unusable type. The message names the column, the type found and the accepted
    /// types.
    pub fn of(table: InputTable, schema: &Schema) -> Result<InputSchema> {
        let core = |core: &CoreColumn| match schema.field_with_name(core.name) {
            Ok(field) if core.kind.accepts(field.data_type()) => Ok(core.kind.written([field.data_type()])),
            Ok(field) => {
                let (found, wanted) = (field.data_type(), core.kind.accepted());
                Err(Error::unusable(format!("{table}: column {} has the type {found}, wanted {wanted}", core.name)))
            }
            Err(_) if core.required => {
                let wanted = core.kind.accepted();
                Err(Error::unusable(format!("{table}: no column {}, wanted {wanted}", core.name)))
            }
            Err(_) => Ok(None),
        };
        let cores = table.cores().iter().map(core).collect::<Result<Vec<_>>>()?;
        let operation = schema.field_with_name(OPERATION).ok();
        if let Some(field) = operation.filter(|field| !ColumnKind::Text.accepts(field.data_type())) {
            let (found, wanted) = (field.data_type(), ColumnKind::Text.accepted());
            return Err(Error::unusable(format!("{table}: column {OPERATION} has the type {found}, wanted {wanted}")));
        }
        let is_core = |field: &&FieldRef| table.cores().iter().any(|core| core.name == field.name());
        let others = schema.fields().iter().filter(|field| !is_core(field) && field.name() != OPERATION);
        let carried: Vec<_> = others.cloned().collect();
        if let Some(field) = carried.iter().find(|field| !can_be_carried(field.data_type())) {
            let (name, found) = (field.name(), field.data_type());
            return Err(Error::unusable(format!(
                "{table}: column {name} has the type {found}, which can't be carried"
            )));
        }
        let order = schema.fields().iter().map(|field| field.name()).filter(|name| *name != OPERATION);
        let (order, has_operations) = (order.cloned().collect(), operation.is_some());
        Ok(InputSchema { table, cores, carried, has_operations, version: None, order })
    }

    /// The same columns, where of the rows with one id the one counts that has the greatest value in this column: an
    /// integer, a date, a timestamp, or a text that is an integer or an ISO 8601 time. Null is the least.
    ///
    /// # Errors
    ///
    /// If there is no such column.
    pub fn versioned_by(self, column: &str) -> Result<InputSchema> {
        match self.order.iter().any(|name| name == column) {
            true => Ok(InputSchema { version: Some(column.to_owned()), ..self }),
            false => Err(Error::unusable(format!("{}: no column {column}, wanted one with versions", self.table))),
        }
    }

    /// A batch without rows.
    pub(crate) fn empty(&self) -> RecordBatch {
        RecordBatch::new_empty(Arc::new(self.to_arrow()))
    }

    /// The same columns, and one that says what a row does.
    #[must_use]
    pub fn with_operations(self) -> InputSchema {
        InputSchema { has_operations: true, ..self }
    }

    /// The same columns as an Arrow schema, with the types that are written.
    pub(crate) fn to_arrow(&self) -> Schema {
        let cores = self.table.cores().iter().zip(&self.cores);
        let field = |name: &String| {
            let core = cores.clone().find(|(core, _)| core.name == name);
            let carried = || self.carried.iter().find(|field| field.name() == name).cloned();
            let written = core.map(|(core, written)| {
                Arc::new(Field::new(core.name, written.clone().unwrap_or(DataType::Null), true))
            });
            written.or_else(carried)
        };
        let operation = self.has_operations.then(|| Arc::new(Field::new(OPERATION, DataType::Utf8, true)));
        let version = self.version.iter().map(|version| (VERSION.to_owned(), version.clone()));
        Schema::new(self.order.iter().filter_map(field).chain(operation).collect::<Vec<_>>())
            .with_metadata(version.collect::<HashMap<_, _>>())
    }

    /// The columns that [`to_arrow`](Self::to_arrow) told.
    pub(crate) fn of_arrow(table: InputTable, schema: &Schema) -> Result<InputSchema> {
        let columns = InputSchema::of(table, schema)?;
        match schema.metadata().get(VERSION) {
            Some(version) => columns.versioned_by(version),
            None => Ok(columns),
        }
    }

    /// The id columns of type text.
    pub(crate) fn text_ids(&self) -> impl Iterator<Item = &'static str> {
        let ids = self.table.cores().iter().zip(&self.cores).filter(|(core, _)| core.kind == ColumnKind::Id);
        ids.filter(|(_, written)| written.as_ref().is_some_and(|written| !written.is_integer()))
            .map(|(core, _)| core.name)
    }
}

/// True if a column of this type can be carried.
pub(crate) fn can_be_carried(data_type: &DataType) -> bool {
    RowConverter::supports_fields(&[SortField::new(data_type.clone())])
}
