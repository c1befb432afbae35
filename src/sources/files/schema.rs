//! Unifying the schemas of a table's files: the columns, their location in each file, and their types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};

use crate::columns::cells::has_versions;
use crate::columns::integer_text::is_canonical;
use crate::columns::{CoreColumn, InputSchema, OPERATION, can_be_carried};
use crate::error::{Error, Result};
use crate::model::InputTable;

use super::common_type::common_type;
use super::find::{InputFile, InputFormat};
use super::options::{CsvDialect, FileColumn, FileOptions, Renames, canonical};

/// The location of a column in a file.
#[derive(Clone, Debug)]
pub(crate) enum ColumnSource {
    /// The file's column at this position.
    Column(usize),
    /// An id that these columns have together.
    Joined(Vec<ColumnSource>),
    /// The value in a folder name.
    Folder(Option<String>),
    /// The file lacks the column: all values are null.
    Missing,
}

/// The location of each of the table's columns in a file.
#[derive(Clone, Debug)]
pub(crate) struct FilePlan {
    pub(crate) cores: Vec<ColumnSource>,
    pub(crate) carried: Vec<ColumnSource>,
    pub(crate) operation: ColumnSource,
    pub(crate) version: ColumnSource,
}

impl FilePlan {
    /// True if the file's column at this position is read.
    pub(crate) fn reads(&self, position: usize) -> bool {
        self.cores
            .iter()
            .chain(&self.carried)
            .chain([&self.operation, &self.version])
            .any(|place| place.reads(position))
    }
}

impl ColumnSource {
    /// The file's columns that it is made of.
    #[cfg(feature = "postgres")]
    pub(crate) fn positions(&self) -> Vec<usize> {
        match self {
            ColumnSource::Column(column) => vec![*column],
            ColumnSource::Joined(parts) => parts.iter().flat_map(ColumnSource::positions).collect(),
            ColumnSource::Folder(_) | ColumnSource::Missing => Vec::new(),
        }
    }

    /// True if the file's column at this position is read.
    fn reads(&self, position: usize) -> bool {
        match self {
            ColumnSource::Column(column) => *column == position,
            ColumnSource::Joined(parts) => parts.iter().any(|part| part.reads(position)),
            ColumnSource::Folder(_) | ColumnSource::Missing => false,
        }
    }
}

/// Unifies the schemas of a table's files.
///
/// # Errors
///
/// If no file has columns, or a column is missing, has an unusable type, or has different types in different files. The
/// message names the file, the column, the type found, the accepted types, and the columns of the file.
pub(crate) fn unify(
    table: InputTable,
    files: &[(InputFile, Schema)],
    renames: &Renames,
    options: &FileOptions,
) -> Result<(InputSchema, Vec<FilePlan>)> {
    let found = files.iter().map(|(file, schema)| columns_of(file, schema, renames, &folder_type(files)));
    let found = found.collect::<Result<Vec<_>>>()?;
    if let Some((file, _)) = files.first().filter(|_| found.iter().all(Vec::is_empty)) {
        let others = if files.len() > 1 { ", as all files of this table" } else { "" };
        return Err(Error::unusable(format!(
            "{}: has no columns{others}, wanted {}; a table without rows is a file with a header only",
            file.path.display(),
            table.cores().iter().filter(|core| core.required).map(|core| core.name).collect::<Vec<_>>().join(", ")
        )));
    }
    for ((file, _), columns) in files.iter().zip(&found) {
        check(table, file, columns, &options.csv)?;
    }
    let mut order: Vec<String> = Vec::new();
    let is_core = |name: &str| table.cores().iter().any(|core| core.name == name);
    let is_read = |name: &str| !options.skipped.has(name, is_core(name));
    for column in found.iter().flatten().filter(|column| column.name != OPERATION && is_read(&column.name)) {
        if !order.contains(&column.name) {
            order.push(column.name.clone());
        }
    }
    let carried = order.iter().filter(|name| !is_core(name));
    let carried = carried.map(|name| carried_field(name, files, &found)).collect::<Result<Vec<_>>>()?;
    let core = |core: &CoreColumn| core_type(core, &found).filter(|_| is_read(core.name));
    let cores = table.cores().iter().map(core).collect();
    let has_operations = found.iter().flatten().any(|column| column.name == OPERATION);
    let version = version(table, files, &found, options)?;
    let plan = |columns: &Vec<FoundColumn>| FilePlan {
        cores: table.cores().iter().map(|core| place(columns, core.name, is_read(core.name))).collect(),
        carried: carried.iter().map(|field| place(columns, field.name(), true)).collect(),
        operation: place(columns, OPERATION, true),
        version: version.as_ref().map_or(ColumnSource::Missing, |name| place(columns, name, true)),
    };
    let plans = found.iter().map(plan).collect();
    Ok((InputSchema { table, cores, carried, has_operations, version, order }, plans))
}

fn no_versions(file: &InputFile, column: &FoundColumn) -> Error {
    Error::unusable(format!(
        "{}: column {} has the type {}, wanted a version: a number, a date, a timestamp or a string",
        file.path.display(),
        column.own_name,
        column.data_type
    ))
}

/// Finds the columns of a table in a file that came after they were known; returns those that are new, too.
///
/// # Errors
///
/// If a column is missing, or has an unusable type.
pub(crate) fn fit(
    known: &InputSchema,
    file: &InputFile,
    schema: &Schema,
    renames: &Renames,
    options: &FileOptions,
) -> Result<(FilePlan, Vec<FieldRef>)> {
    let files = [(file.clone(), schema.clone())];
    let columns = columns_of(file, schema, renames, &folder_type(&files))?;
    check(known.table, file, &columns, &options.csv)?;
    let version = columns.iter().find(|column| known.version.as_ref() == Some(&column.name));
    if let Some(column) = version.filter(|column| !has_versions(&column.data_type)) {
        return Err(no_versions(file, column));
    }
    let found = |name: &str| place(&columns, name, true);
    let plan = FilePlan {
        cores: known.table.cores().iter().map(|core| found(core.name)).collect(),
        carried: known.carried.iter().map(|field| found(field.name())).collect(),
        operation: found(OPERATION),
        version: known.version.as_deref().map_or(ColumnSource::Missing, found),
    };
    let is_known = |name: &String| known.order.contains(name) || name == OPERATION;
    let new = columns.iter().filter(|column| !is_known(&column.name));
    let new = new.map(|column| Arc::new(Field::new(&column.name, column.data_type.clone(), true)));
    Ok((plan, new.collect()))
}

/// The column with the version of each row.
fn version(
    table: InputTable,
    files: &[(InputFile, Schema)],
    found: &[Vec<FoundColumn>],
    options: &FileOptions,
) -> Result<Option<String>> {
    let Some((name, is_required)) = options.version.as_ref().and_then(|version| version.of(table)) else {
        return Ok(None);
    };
    let is_it = |column: &&FoundColumn| column.name == name || column.own_name == name;
    let mut with_it = files.iter().zip(found).filter_map(|(file, columns)| Some((file, columns.iter().find(is_it)?)));
    if let Some(((file, _), column)) = with_it.clone().find(|(_, column)| !has_versions(&column.data_type)) {
        return Err(no_versions(file, column));
    }
    match (with_it.next(), files.first()) {
        (Some((_, column)), _) => Ok(Some(column.name.clone())),
        (None, Some((file, schema))) if is_required => Err(missing_column(file, name, "version", schema)),
        (None, _) => Ok(None),
    }
}

/// A column of a file.
#[derive(Debug)]
struct FoundColumn {
    /// Its canonical name.
    name: String,
    /// Its name in the file.
    own_name: String,
    data_type: DataType,
    place: ColumnSource,
}

/// The columns of a file, including its folder columns, which override columns of the file.
fn columns_of(
    file: &InputFile,
    schema: &Schema,
    renames: &Renames,
    folder_type: &impl Fn(&str) -> DataType,
) -> Result<Vec<FoundColumn>> {
    let in_folders = |name: &str| file.partition.iter().any(|(key, _)| key == name);
    // A part of an id that has the name of the id is in the id only.
    let in_id = |name: &str| renames.get(name).is_some_and(|column| column.names().len() > 1);
    let own = schema.fields().iter().enumerate().filter(|(_, field)| !in_folders(field.name()) && !in_id(field.name()));
    let own = own.map(|(position, field)| (field.name(), field.data_type().clone(), ColumnSource::Column(position)));
    let folders = file
        .partition
        .iter()
        .filter(|(key, _)| !in_id(key))
        .map(|(key, value)| (key, folder_type(key), ColumnSource::Folder(value.clone())));
    let mut columns: Vec<FoundColumn> = Vec::new();
    if schema.fields().is_empty() && file.format.is_text() {
        return Ok(Vec::new());
    }
    for (wanted, column) in renames {
        let FileColumn::Joined(names) = column else { continue };
        let part = |name: &String| {
            let folder = file.partition.iter().find(|(key, _)| key == name);
            let folder = folder.map(|(_, value)| ColumnSource::Folder(value.clone()));
            let part = folder.or_else(|| schema.index_of(name).ok().map(ColumnSource::Column));
            part.ok_or_else(|| missing_column(file, name, wanted, schema))
        };
        let place = ColumnSource::Joined(names.iter().map(part).collect::<Result<_>>()?);
        let (name, own_name) = (wanted.clone(), wanted.clone());
        columns.push(FoundColumn { name, own_name, data_type: DataType::Utf8, place });
    }
    for (own_name, data_type, place) in own.chain(folders) {
        let name = canonical(own_name, renames).to_owned();
        if columns.iter().any(|column| column.name == name) {
            return Err(Error::unusable(format!("{}: two columns are named {name}", file.path.display())));
        }
        columns.push(FoundColumn { name, own_name: own_name.clone(), data_type, place });
    }
    let is_there = |name: &String| columns.iter().any(|column| column.own_name == *name);
    let named = renames.iter().filter_map(|(wanted, column)| match column {
        FileColumn::Named(name) => Some((wanted, name)),
        FileColumn::Joined(_) => None,
    });
    match named.into_iter().find(|(_, name)| !is_there(name)) {
        Some((wanted, missing)) => Err(missing_column(file, missing, wanted, schema)),
        None => Ok(columns),
    }
}

fn missing_column(file: &InputFile, missing: &str, wanted: &str, schema: &Schema) -> Error {
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let names = names.chain(file.partition.iter().map(|(name, _)| name.as_str())).collect::<Vec<_>>().join(", ");
    let path = file.path.display();
    Error::unusable(format!("{path}: no column {missing}, which the config maps to {wanted}; it has {names}"))
}

/// What a header that is one field may be separated by: its name, and how it is written in the config.
fn separator(columns: &[FoundColumn]) -> Option<(&'static str, &'static str)> {
    let [column] = columns else { return None };
    let known = [(';', ("semicolons", ";")), ('\t', ("tabs", "\\t")), ('|', ("bars", "|"))];
    known.into_iter().find(|(separator, _)| column.own_name.contains(*separator)).map(|(_, names)| names)
}

/// The type of a folder column: integer if all its values are integers, otherwise text; none if it has only nulls.
fn folder_type(files: &[(InputFile, Schema)]) -> impl Fn(&str) -> DataType {
    |key| {
        let folders = files.iter().flat_map(|(file, _)| &file.partition);
        let values = folders.filter(|(name, _)| name == key).filter_map(|(_, value)| value.as_ref());
        let types = values.map(|value| if is_canonical(value) { DataType::Int64 } else { DataType::Utf8 });
        types.reduce(|one, other| if one == other { one } else { DataType::Utf8 }).unwrap_or(DataType::Null)
    }
}

/// The deepest that objects and lists may be nested in a column: readers of the state refuse schemas of twice that.
pub(super) const NESTING_MAX: usize = 30;

/// How deep objects and lists are nested in a type.
pub(super) fn nesting(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(fields) => 1 + fields.iter().map(|field| nesting(field.data_type())).max().unwrap_or(0),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => 1 + nesting(field.data_type()),
        DataType::Dictionary(_, values) => nesting(values),
        _ => 0,
    }
}

fn check(table: InputTable, file: &InputFile, columns: &[FoundColumn], dialect: &CsvDialect) -> Result<()> {
    if let Some(column) = columns.iter().find(|column| nesting(&column.data_type) > NESTING_MAX) {
        let (path, name, found) = (file.path.display(), &column.own_name, nesting(&column.data_type));
        return Err(Error::unusable(format!(
            "{path}: column {name} has objects or lists nested {found} deep, wanted at most {NESTING_MAX}"
        )));
    }
    let names = || columns.iter().map(|column| column.own_name.as_str()).collect::<Vec<_>>().join(", ");
    // Beside others, a text file without any content is one without rows. A key that no line of a JSON file has is null
    // in all of them, but without ids it is rather another table.
    let is_empty = columns.is_empty() && file.format.is_text();
    let may_lack =
        |core: &CoreColumn| is_empty || file.format == InputFormat::JsonLines && core.name != table.cores()[0].name;
    let operation = columns.iter().find(|column| column.name == OPERATION);
    if let Some(column) = operation.filter(|column| column.data_type.is_nested()) {
        return Err(Error::unusable(format!(
            "{}: column {OPERATION} has the type {}, wanted a string",
            file.path.display(),
            column.data_type
        )));
    }
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
            None if core.required && dialect.delimiter == b',' && separator(columns).is_some() => {
                let (name, found) = separator(columns).unwrap_or_default();
                return Err(Error::unusable(format!(
                    "{}: columns are separated by {name}, wanted commas; if that is so in all CSV files, say so in the \
                     config: csv: {{delimiter: \"{found}\"}}",
                    file.path.display()
                )));
            }
            None if core.required && !may_lack(core) => {
                return Err(Error::unusable(format!(
                    "{}: no column {}, wanted {}; it has the columns {}. To use one of these, map it in the config: \
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

fn core_type(core: &CoreColumn, files: &[Vec<FoundColumn>]) -> Option<DataType> {
    let mut columns = files.iter().flatten().filter(|column| column.name == core.name).peekable();
    columns.peek()?;
    core.kind.written(columns.map(|column| &column.data_type))
}

fn carried_field(name: &str, files: &[(InputFile, Schema)], found: &[Vec<FoundColumn>]) -> Result<FieldRef> {
    let mut chosen: Option<(&InputFile, DataType)> = None;
    let of_column = files.iter().zip(found).filter(|(_, columns)| columns.iter().any(|column| column.name == name));
    let has_text_file = of_column.into_iter().any(|((file, _), _)| file.format.is_text());
    for ((file, _), columns) in files.iter().zip(found) {
        let Some(column) = columns.iter().find(|column| column.name == name) else { continue };
        let Some((first, known)) = &chosen else {
            chosen = Some((file, column.data_type.clone()));
            continue;
        };
        let as_text = has_text_file && !known.is_nested() && !column.data_type.is_nested();
        let common = common_type(known, &column.data_type).or(as_text.then_some(DataType::Utf8));
        let common = common.ok_or_else(|| {
            Error::unusable(format!(
                "{}: column {name} has the type {}, but {known} in {}; wanted types that one type can hold",
                file.path.display(),
                column.data_type,
                first.path.display(),
            ))
        })?;
        chosen = Some((if common == *known { first } else { file }, common));
    }
    let (file, data_type) = chosen.expect("each carried column is in some file");
    let data_type = match &data_type {
        // The combined dictionary may exceed the key type of the single files.
        DataType::Dictionary(_, values) => &DataType::Dictionary(Box::new(DataType::Int32), values.clone()),
        DataType::Null => &DataType::Utf8,
        // Parquet has one type of days; Arrow's other one would be written as a number.
        DataType::Date64 => &DataType::Date32,
        other => other,
    };
    if !can_be_carried(data_type) {
        let cause = format!("{}: column {name} has the type {data_type}, which can't be carried", file.path.display());
        return Err(Error::unusable(cause));
    }
    Ok(Arc::new(Field::new(name, data_type.clone(), true)))
}

fn place(columns: &[FoundColumn], name: &str, is_read: bool) -> ColumnSource {
    columns
        .iter()
        .find(|column| column.name == name && is_read)
        .map_or(ColumnSource::Missing, |column| column.place.clone())
}
