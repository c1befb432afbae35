//! Which columns a table has, where each file keeps them, and whether they can be read as what is wanted.
//!
//! The *core* columns are those the job computes with; every other column is *further* and travels as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::row::{RowConverter, SortField};

use crate::error::{Error, Result};

use super::InputTable;
use super::files::InputFile;

/// What a core column is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Id,
    Date,
    Quantity,
    Money,
    Text,
}

/// A column the job computes with.
pub(crate) struct Core {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    required: bool,
}

const fn core(name: &'static str, kind: Kind) -> Core {
    Core { name, kind, required: true }
}

const ORDERS: &[Core] = &[
    core("order_id", Kind::Id),
    core("customer_id", Kind::Id),
    core("product_id", Kind::Id),
    core("order_date", Kind::Date),
    core("quantity", Kind::Quantity),
    core("discount", Kind::Money),
];
const PRODUCTS: &[Core] = &[
    core("product_id", Kind::Id),
    core("price", Kind::Money),
    core("category", Kind::Text),
    Core { required: false, ..core("product_name", Kind::Text) },
    Core { required: false, ..core("brand", Kind::Text) },
    Core { required: false, ..core("metadata", Kind::Text) },
];
const CUSTOMERS: &[Core] = &[core("customer_id", Kind::Id)];

impl InputTable {
    /// The columns the job computes with.
    pub(crate) fn cores(self) -> &'static [Core] {
        match self {
            InputTable::Orders => ORDERS,
            InputTable::Products => PRODUCTS,
            InputTable::Customers => CUSTOMERS,
        }
    }
}

impl Kind {
    /// True if such cells can be read from a column of this type.
    pub(crate) fn accepts(self, found: &DataType) -> bool {
        let text = matches!(found, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        match (self, found) {
            (_, DataType::Dictionary(_, values)) => self.accepts(values),
            (_, DataType::Null) => true,
            (_, decimal) if is_decimal(decimal) => {
                matches!(self, Kind::Quantity | Kind::Money) && (0..=38).contains(&decimal_scale(decimal))
            }
            (Kind::Id, _) => text || found.is_integer(),
            (Kind::Date, DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, _)) => true,
            (Kind::Date | Kind::Text, _) => text,
            (Kind::Quantity | Kind::Money, _) => found.is_numeric(),
        }
    }

    fn accepted(self) -> &'static str {
        match self {
            Kind::Id => "an integer or a string",
            Kind::Date => "a date, a timestamp or an ISO 8601 string",
            Kind::Quantity => "an integer, or a float or decimal that is whole",
            Kind::Money => "a float, a decimal of at most 38 places, or an integer",
            Kind::Text => "a string",
        }
    }

    /// The type in which a core column is written, where files agree on `found`; `None` where they do not.
    fn written(self, found: Option<&DataType>) -> DataType {
        match (self, found) {
            (Kind::Id, Some(found)) if found.is_integer() => found.clone(),
            (Kind::Quantity, Some(found)) if found.is_integer() => found.clone(),
            // Rounded to four places, a value may need a digit more before the point.
            (Kind::Money, Some(found)) if decimal_scale(found) > 4 => DataType::Decimal128(38, 4),
            (Kind::Money, Some(found)) if found.is_floating() || is_decimal(found) => found.clone(),
            (Kind::Quantity, _) => DataType::Int64,
            (Kind::Money, _) => DataType::Float64,
            (Kind::Date, _) => DataType::Date32,
            (Kind::Id | Kind::Text, _) => DataType::Utf8,
        }
    }
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

/// Where a file keeps a column.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// The column at this position.
    Column(usize),
    /// In the names of its folders.
    Folder(Option<String>),
    /// Nowhere: all its values are null.
    Nowhere,
}

/// Where a file keeps each column of its table.
#[derive(Clone, Debug)]
pub(crate) struct FilePlan {
    pub(crate) cores: Vec<Place>,
    pub(crate) further: Vec<Place>,
}

/// The columns of a table, the same for all its files.
#[derive(Clone, Debug)]
pub(crate) struct TableSchema {
    pub(crate) table: InputTable,
    /// The type in which each core column is written; `None` for an optional one that no file has.
    pub(crate) cores: Vec<Option<DataType>>,
    pub(crate) further: Vec<FieldRef>,
    /// All columns as the files have them: the core ones by name.
    pub(crate) order: Vec<String>,
    pub(crate) files: Vec<FilePlan>,
}

impl TableSchema {
    /// The id columns that are text.
    pub(crate) fn text_ids(&self) -> impl Iterator<Item = &'static str> {
        let ids = self.table.cores().iter().zip(&self.cores).filter(|(core, _)| core.kind == Kind::Id);
        ids.filter(|(_, written)| written.as_ref().is_some_and(|written| !written.is_integer()))
            .map(|(core, _)| core.name)
    }
}

/// The names that files use for columns, by the names that the job uses.
pub(crate) type Renames = BTreeMap<String, String>;

/// Finds one schema for the files of a table.
///
/// # Errors
///
/// If a column is missing, has a type that can't be read as the one wanted or can't be carried, or has different types
/// in different files. The message names the file, the column, the type found, the types accepted, and the columns
/// there are.
pub(crate) fn unify(table: InputTable, files: &[(InputFile, Schema)], renames: &Renames) -> Result<TableSchema> {
    let found = files.iter().map(|(file, schema)| columns_of(file, schema, renames, &folder_type(files)));
    let found = found.collect::<Result<Vec<_>>>()?;
    for ((file, _), columns) in files.iter().zip(&found) {
        check(table, file, columns)?;
    }
    let mut order: Vec<String> = Vec::new();
    for column in found.iter().flatten() {
        if !order.contains(&column.name) {
            order.push(column.name.clone());
        }
    }
    let is_core = |name: &str| table.cores().iter().any(|core| core.name == name);
    let further = order.iter().filter(|name| !is_core(name));
    let further = further.map(|name| further_field(name, files, &found)).collect::<Result<Vec<_>>>()?;
    let cores = table.cores().iter().map(|core| core_type(core, &found)).collect();
    let plan = |columns: &Vec<Found>| FilePlan {
        cores: table.cores().iter().map(|core| place(columns, core.name)).collect(),
        further: further.iter().map(|field| place(columns, field.name())).collect(),
    };
    let files = found.iter().map(plan).collect();
    Ok(TableSchema { table, cores, further, order, files })
}

/// A column that a file has.
#[derive(Debug)]
struct Found {
    /// Its name in the job.
    name: String,
    /// Its name in the file.
    own_name: String,
    data_type: DataType,
    place: Place,
}

/// The columns of a file, its folders' included: a folder's wins over the file's own.
fn columns_of(
    file: &InputFile,
    schema: &Schema,
    renames: &Renames,
    folder_type: &impl Fn(&str) -> DataType,
) -> Result<Vec<Found>> {
    let in_folders = |name: &str| file.partition.iter().any(|(key, _)| key == name);
    let own = schema.fields().iter().enumerate().filter(|(_, field)| !in_folders(field.name()));
    let own = own.map(|(position, field)| (field.name(), field.data_type().clone(), Place::Column(position)));
    let folders = file.partition.iter().map(|(key, value)| (key, folder_type(key), Place::Folder(value.clone())));
    let mut columns: Vec<Found> = Vec::new();
    for (own_name, data_type, place) in own.chain(folders) {
        let renamed = renames.iter().find(|(_, found)| *found == own_name);
        let name = renamed.map_or(own_name, |(wanted, _)| wanted).clone();
        if columns.iter().any(|column| column.name == name) {
            return Err(Error::unusable(format!("{}: two columns are named {name}", file.path.display())));
        }
        columns.push(Found { name, own_name: own_name.clone(), data_type, place });
    }
    let named: Vec<_> = columns.iter().map(|column| column.own_name.as_str()).collect();
    match renames.iter().find(|(_, found)| !named.contains(&found.as_str())) {
        Some((wanted, missing)) => Err(Error::unusable(format!(
            "{}: no column {missing}, which the config maps to {wanted}; it has {}",
            file.path.display(),
            named.join(", ")
        ))),
        None => Ok(columns),
    }
}

/// The type of a column that folders name: an integer if every folder has one.
fn folder_type(files: &[(InputFile, Schema)]) -> impl Fn(&str) -> DataType {
    |key| {
        let folders = files.iter().flat_map(|(file, _)| &file.partition);
        let mut values = folders.filter(|(name, _)| name == key).filter_map(|(_, value)| value.as_ref());
        if values.all(|value| value.parse::<i64>().is_ok()) { DataType::Int64 } else { DataType::Utf8 }
    }
}

fn check(table: InputTable, file: &InputFile, columns: &[Found]) -> Result<()> {
    let names = || columns.iter().map(|column| column.own_name.as_str()).collect::<Vec<_>>().join(", ");
    for core in table.cores() {
        match columns.iter().find(|column| column.name == core.name) {
            Some(column) if !core.kind.accepts(&column.data_type) => {
                let (found, wanted) = (&column.data_type, core.kind.accepted());
                return Err(Error::unusable(format!(
                    "{}: column {} has the type {found}, wanted {wanted}; it has the columns {}",
                    file.path.display(),
                    column.own_name,
                    names()
                )));
            }
            None if core.required => {
                return Err(Error::unusable(format!(
                    "{}: no column {}, wanted {}; it has the columns {}. If one of these is meant, say so in the config: \
                     columns: {{{table}: {{{}: NAME}}}}",
                    file.path.display(),
                    core.name,
                    core.kind.accepted(),
                    names(),
                    core.name,
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

fn core_type(core: &Core, files: &[Vec<Found>]) -> Option<DataType> {
    let columns = files.iter().flatten().filter(|column| column.name == core.name);
    let types: Vec<&DataType> =
        columns.map(|column| &column.data_type).filter(|found| **found != DataType::Null).collect();
    let first = types.first()?;
    let agreed = types.iter().all(|found| found == first).then_some(*first);
    let all_integers = types.iter().all(|found| found.is_integer());
    Some(core.kind.written(if all_integers && agreed.is_none() { Some(&DataType::Int64) } else { agreed }))
}

fn further_field(name: &str, files: &[(InputFile, Schema)], found: &[Vec<Found>]) -> Result<FieldRef> {
    let mut chosen: Option<(&InputFile, &DataType)> = None;
    for ((file, _), columns) in files.iter().zip(found) {
        let Some(column) = columns.iter().find(|column| column.name == name) else { continue };
        match chosen {
            Some((_, DataType::Null)) | None => chosen = Some((file, &column.data_type)),
            Some((first, known)) if first.format.is_text() && file.format.is_text() => {
                chosen = Some((file, wider(known, &column.data_type)));
            }
            Some((_, DataType::Dictionary(_, known))) if matches!(&column.data_type, DataType::Dictionary(_, values) if values == known) =>
                {}
            Some((first, known)) if *known != column.data_type && column.data_type != DataType::Null => {
                return Err(Error::unusable(format!(
                    "{}: column {name} has the type {}, but {known} in {}; wanted one type in all files",
                    file.path.display(),
                    column.data_type,
                    first.path.display(),
                )));
            }
            Some(_) => {}
        }
    }
    let (file, data_type) = chosen.expect("a further column is in some file");
    let data_type = match data_type {
        // All the files' dictionaries together may be larger than the keys of each allow.
        DataType::Dictionary(_, values) => &DataType::Dictionary(Box::new(DataType::Int32), values.clone()),
        DataType::Null => &DataType::Utf8,
        other => other,
    };
    if !RowConverter::supports_fields(&[SortField::new(data_type.clone())]) {
        let cause = format!("{}: column {name} has the type {data_type}, which can't be carried", file.path.display());
        return Err(Error::unusable(cause));
    }
    Ok(Arc::new(Field::new(name, data_type.clone(), true)))
}

/// What a column of text files is that has one type in one of them and another in another.
fn wider<'a>(one: &'a DataType, other: &'a DataType) -> &'a DataType {
    match (one, other) {
        _ if one == other => one,
        (known, DataType::Null) => known,
        (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => &DataType::Float64,
        _ => &DataType::Utf8,
    }
}

fn place(columns: &[Found], name: &str) -> Place {
    columns.iter().find(|column| column.name == name).map_or(Place::Nowhere, |column| column.place.clone())
}
