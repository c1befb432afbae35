//! JSON lines: one object per line. Numbers in core columns are read as their original text.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::ReaderBuilder;
use arrow::json::reader::infer_json_schema_from_iterator;
use serde_json::Value;

use crate::error::{Error, Result};

use super::file_columns::FileColumns;
use crate::sources::files::schema::ColumnSource;
use crate::sources::{MalformedRow, RowNumbers, SourceBatches};

fn open(path: &Path) -> Result<BufReader<File>> {
    Ok(BufReader::with_capacity(1 << 20, File::open(path).map_err(Error::reading(path))?))
}

/// The keys of all objects, with their inferred types. Lines that are not objects are skipped.
pub(super) fn infer(path: &Path) -> Result<Schema> {
    let mut broken = None;
    let lines = open(path)?.split(b'\n').map_while(|line| line.map_err(|error| broken = Some(error)).ok());
    let objects = lines.filter_map(|line| serde_json::from_slice(&line).ok().filter(Value::is_object)).map(Ok);
    let inferred = infer_json_schema_from_iterator(objects).map_err(Error::reading(path))?;
    match broken {
        Some(error) => Err(Error::reading(path)(error)),
        None => Ok(inferred),
    }
}

pub(super) fn read<'a>(columns: FileColumns<'a>, schema: &Schema, batch_size: usize) -> Result<SourceBatches<'a>> {
    let mut lines = open(columns.path)?.split(b'\n').zip(0..);
    let schema = Arc::new(as_text(schema, &columns));
    let mut batch = move || -> Result<Option<_>> {
        let decoder = ReaderBuilder::new(Arc::clone(&schema)).with_coerce_primitive(true).with_batch_size(batch_size);
        let mut decoder = decoder.build_decoder().map_err(Error::reading(columns.path))?;
        let (mut numbers, mut malformed) = (Vec::new(), Vec::new());
        while numbers.len() + malformed.len() < batch_size {
            let Some((line, number)) = lines.next() else { break };
            let line = line.map_err(Error::reading(columns.path))?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice::<Value>(&line) {
                Ok(Value::Object(_)) => {
                    decoder.decode(&line).map_err(Error::reading(columns.path))?;
                    numbers.push(number);
                }
                parsed => {
                    let reason =
                        parsed.map_or_else(|error| format!("not JSON: {error}"), |_| "not a JSON object".into());
                    let json = Value::from(String::from_utf8_lossy(&line)).to_string();
                    malformed.push(MalformedRow { number, reason, json });
                }
            }
        }
        let decoded = decoder.flush().map_err(Error::reading(columns.path))?;
        if numbers.is_empty() && malformed.is_empty() {
            return Ok(None);
        }
        let arrays = decoded.map_or_else(|| empty(&schema), |decoded| decoded.columns().to_vec());
        columns.arrange(&arrays, RowNumbers::Listed(numbers), malformed).map(Some)
    };
    Ok(Box::new(std::iter::from_fn(move || batch().transpose())))
}

/// The schema with the core columns as text.
fn as_text(schema: &Schema, columns: &FileColumns<'_>) -> Schema {
    let is_core = |position| {
        columns.plan.cores.iter().any(|place| matches!(place, ColumnSource::Column(core) if *core == position))
    };
    let fields = schema.fields().iter().enumerate().map(|(position, field)| {
        let data_type = if is_core(position) { DataType::Utf8 } else { field.data_type().clone() };
        Field::new(field.name(), data_type, true)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

fn empty(schema: &Schema) -> Vec<arrow::array::ArrayRef> {
    schema.fields().iter().map(|field| arrow::array::new_empty_array(field.data_type())).collect()
}
