//! The columns of one file, arranged as its table has them.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringBuilder, new_null_array};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use crate::columns::{ColumnKind, InputSchema};
use crate::error::{Error, Result};
use crate::sources::files::schema::{ColumnSource, FilePlan};
use crate::sources::{MalformedRow, RowNumbers, SourceBatch};

/// A part of a table, read by one worker: a Parquet row group, or a whole file of another format.
#[derive(Clone, Debug)]
pub(in crate::sources::files) struct FilePart {
    pub(in crate::sources::files) file: usize,
    pub(super) row_group: Option<usize>,
    /// The number of rows before it in the file.
    pub(super) first_row: u64,
    /// The number of rows, if known without reading.
    pub(in crate::sources::files) rows: Option<u64>,
}

/// Maps the columns of a file to those of its table.
#[derive(Clone)]
pub(in crate::sources::files) struct FileColumns<'a> {
    pub(in crate::sources::files) schema: &'a InputSchema,
    pub(in crate::sources::files) plan: &'a FilePlan,
    pub(in crate::sources::files) path: &'a Path,
    pub(in crate::sources::files) part: usize,
    pub(in crate::sources::files) origin: Arc<str>,
}

impl FileColumns<'_> {
    pub(in crate::sources::files) fn arrange(
        &self,
        columns: &[ArrayRef],
        numbers: RowNumbers,
        malformed: Vec<MalformedRow>,
    ) -> Result<SourceBatch> {
        let rows = numbers.len();
        let cores = self.plan.cores.iter().zip(self.schema.table.cores()).zip(&self.schema.cores);
        let cores = cores.map(|((place, core), written)| {
            // Ids in folder names have the table's id type; all other values are text.
            let data_type = written.as_ref().filter(|_| core.kind == ColumnKind::Id).unwrap_or(&DataType::Utf8);
            match place {
                ColumnSource::Joined(parts) => joined(parts, columns, rows).map_err(Error::reading(self.path)),
                place => Ok(column(place, columns, data_type, rows)),
            }
        });
        let carried = self.plan.carried.iter().zip(&self.schema.carried);
        let carried = carried.map(|(place, field)| {
            let array = column(place, columns, field.data_type(), rows);
            let same = array.data_type() == field.data_type();
            if same {
                return Ok(array);
            }
            let options = CastOptions { safe: false, ..CastOptions::default() };
            let unusable = |cause: &str| {
                let (path, name, wanted) = (self.path.display(), field.name(), field.data_type());
                Error::unusable(format!("{path}: column {name} can't be read as {wanted}, as in other files: {cause}"))
            };
            let carried = cast_with_options(&array, field.data_type(), &options);
            let carried = carried.map_err(|cause| unusable(&cause.to_string()))?;
            match is_lossy(array.data_type(), field.data_type())
                && cast(&carried, array.data_type()).ok() != Some(array)
            {
                true => Err(unusable("a value would be another one")),
                false => Ok(carried),
            }
        });
        let carried = carried.collect::<Result<Vec<_>>>()?;
        let versions = self.schema.version.as_ref().map(|name| {
            // As it is carried, so that it is the same when it is read from the state.
            let position = self.schema.carried.iter().position(|field| field.name() == name);
            let read = || column(&self.plan.version, columns, &DataType::Utf8, rows);
            position.map_or_else(read, |position| Arc::clone(&carried[position]))
        });
        let batch = SourceBatch {
            table: self.schema.table,
            part: self.part,
            origin: Arc::clone(&self.origin),
            numbers,
            cores: cores.collect::<Result<_>>()?,
            carried,
            operations: self
                .schema
                .has_operations
                .then(|| column(&self.plan.operation, columns, &DataType::Utf8, rows)),
            versions,
            malformed,
        };
        batch.checked()
    }
}

/// True if a value of a type may become another one when it is cast, without an error.
fn is_lossy(from: &DataType, to: &DataType) -> bool {
    let is_whole = to.is_integer() || *to == DataType::Boolean;
    is_whole && (from.is_floating() || *from == DataType::Utf8 || *from == DataType::Boolean) || {
        from.is_integer() && (to.is_floating() || *to == DataType::Boolean)
    }
}

/// An id of several columns; null if one of them is.
fn joined(parts: &[ColumnSource], columns: &[ArrayRef], rows: usize) -> std::result::Result<ArrayRef, ArrowError> {
    let texts = parts
        .iter()
        .map(|part| cast(&column(part, columns, &DataType::Utf8, rows), &DataType::Utf8))
        .collect::<Result<Vec<_>, _>>()?;
    let texts: Vec<_> = texts.iter().map(|texts| texts.as_string::<i32>()).collect();
    let mut ids = StringBuilder::new();
    for row in 0..rows {
        if texts.iter().any(|text| text.is_null(row)) {
            ids.append_null();
            continue;
        }
        for (index, text) in texts.iter().enumerate() {
            let _ = ids.write_str(if index > 0 { "/" } else { "" });
            for character in text.value(row).chars() {
                let _ = ids.write_str(if matches!(character, '/' | '\\') { "\\" } else { "" });
                let _ = ids.write_char(character);
            }
        }
        ids.append_value("");
    }
    Ok(Arc::new(ids.finish()))
}

/// The values of a column; missing and folder columns are created with `data_type`.
fn column(place: &ColumnSource, columns: &[ArrayRef], data_type: &DataType, rows: usize) -> ArrayRef {
    match place {
        ColumnSource::Column(position) => Arc::clone(&columns[*position]),
        ColumnSource::Missing | ColumnSource::Joined(_) | ColumnSource::Folder(None) => new_null_array(data_type, rows),
        ColumnSource::Folder(Some(value)) => match value.parse() {
            Ok(integer) if *data_type == DataType::Int64 => Arc::new(Int64Array::from_value(integer, rows)),
            _ => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, rows))),
        },
    }
}
