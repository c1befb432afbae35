//! Rows in the formats of answers.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::{DataType, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use axum::http::StatusCode;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use serde_json::value::RawValue;

use crate::columns::row_json::json_lines;
use crate::error::{Error, Result};

use super::problem::Problem;

/// A format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowFormat {
    Json,
    JsonLines,
    Csv,
    Arrow,
    Parquet,
}

impl RowFormat {
    /// The format that a request asks for: by name, or else by media type.
    pub(super) fn asked(name: Option<&str>, accept: &str) -> Result<RowFormat, Problem> {
        if let Some(name) = name {
            return match name {
                "json" => Ok(RowFormat::Json),
                "jsonl" => Ok(RowFormat::JsonLines),
                "csv" => Ok(RowFormat::Csv),
                "arrow" => Ok(RowFormat::Arrow),
                "parquet" => Ok(RowFormat::Parquet),
                found => Err(Problem::bad_request(format!(
                    "format: found {found}, wanted json, jsonl, csv, arrow or parquet"
                ))),
            };
        }
        let media = accept.split(',').map(|media| media.split(';').next().unwrap_or_default().trim());
        let known = |media: &str| match media.to_ascii_lowercase().as_str() {
            "application/json" | "application/*" | "*/*" | "" => Some(RowFormat::Json),
            "application/x-ndjson" | "application/jsonl" => Some(RowFormat::JsonLines),
            "text/csv" | "text/*" => Some(RowFormat::Csv),
            "application/vnd.apache.arrow.stream" => Some(RowFormat::Arrow),
            "application/vnd.apache.parquet" => Some(RowFormat::Parquet),
            _ => None,
        };
        let unknown = || Problem::new(StatusCode::NOT_ACCEPTABLE, format!("Accept: found {accept}; wanted {KINDS}"));
        media.filter_map(known).next().ok_or_else(unknown)
    }

    /// The media type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            RowFormat::Json => "application/json",
            RowFormat::JsonLines => "application/x-ndjson",
            RowFormat::Csv => "text/csv; charset=utf-8; header=present",
            RowFormat::Arrow => "application/vnd.apache.arrow.stream",
            RowFormat::Parquet => "application/vnd.apache.parquet",
        }
    }
}

const KINDS: &str = "application/json, application/x-ndjson, text/csv, application/vnd.apache.arrow.stream or \
                     application/vnd.apache.parquet";

/// Encodes batches one after the other.
pub(crate) struct RowEncoder {
    format: Encoder,
    schema: SchemaRef,
}

enum Encoder {
    /// What stands before and behind the rows, and whether there were some.
    Json {
        before: String,
        behind: String,
        has_rows: bool,
    },
    JsonLines,
    Csv {
        has_header: bool,
    },
    Arrow(Option<Box<StreamWriter<Buffered>>>, Buffered),
    Parquet(Option<Box<ArrowWriter<Buffered>>>, Buffered),
}

/// Bytes that were written and not taken yet.
#[derive(Clone, Default)]
struct Buffered(Arc<Mutex<Vec<u8>>>);

impl Buffered {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Buffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl RowEncoder {
    /// An encoder of rows with these columns. JSON has something before and behind its rows.
    pub(crate) fn new(format: RowFormat, schema: &SchemaRef, around: (String, String)) -> Result<RowEncoder> {
        let buffered = Buffered::default();
        let format = match format {
            RowFormat::Json => Encoder::Json { before: around.0, behind: around.1, has_rows: false },
            RowFormat::JsonLines => Encoder::JsonLines,
            RowFormat::Csv => {
                if let Some(field) = schema.fields().iter().find(|field| is_nested(field.data_type())) {
                    let (name, found) = (field.name(), field.data_type());
                    return Err(Error::usage(format!(
                        "column {name} is a {found}, which CSV can't have; leave it out"
                    )));
                }
                Encoder::Csv { has_header: false }
            }
            RowFormat::Arrow => {
                let writer = StreamWriter::try_new(buffered.clone(), schema).map_err(Error::failed)?;
                Encoder::Arrow(Some(Box::new(writer)), buffered)
            }
            RowFormat::Parquet => {
                let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                let writer = ArrowWriter::try_new(buffered.clone(), Arc::clone(schema), Some(properties));
                Encoder::Parquet(Some(Box::new(writer.map_err(Error::failed)?)), buffered)
            }
        };
        Ok(RowEncoder { format, schema: Arc::clone(schema) })
    }

    /// Some rows.
    pub(crate) fn rows(&mut self, rows: &RecordBatch) -> Result<Vec<u8>> {
        match &mut self.format {
            Encoder::Json { before, has_rows, .. } => {
                let mut bytes = std::mem::take(before).into_bytes();
                if rows.num_rows() > 0 {
                    bytes.extend(std::mem::replace(has_rows, true).then_some(b','));
                    bytes.extend(json_rows(rows)?);
                }
                Ok(bytes)
            }
            Encoder::JsonLines => json_lines(rows),
            Encoder::Csv { has_header } => {
                let mut bytes = Vec::new();
                let is_first = !std::mem::replace(has_header, true);
                let mut writer = arrow::csv::WriterBuilder::new().with_header(is_first).build(&mut bytes);
                writer.write(rows).map_err(Error::failed)?;
                drop(writer);
                Ok(bytes)
            }
            Encoder::Arrow(writer, buffered) => {
                let writer = writer.as_mut().expect("it is not finished");
                writer.write(rows).map_err(Error::failed)?;
                Ok(buffered.take())
            }
            Encoder::Parquet(writer, buffered) => {
                let writer = writer.as_mut().expect("it is not finished");
                writer.write(rows).map_err(Error::failed)?;
                Ok(buffered.take())
            }
        }
    }

    /// What comes behind the last rows.
    pub(crate) fn finish(&mut self) -> Result<Vec<u8>> {
        let has_nothing = matches!(&self.format, Encoder::Csv { has_header: false });
        match &mut self.format {
            Encoder::Csv { .. } if has_nothing => self.rows(&RecordBatch::new_empty(Arc::clone(&self.schema))),
            Encoder::Json { before, behind, .. } => Ok((std::mem::take(before) + behind).into_bytes()),
            Encoder::Arrow(writer, buffered) => {
                let finished = writer.take().map_or(Ok(()), |mut writer| writer.finish());
                finished.map_err(Error::failed)?;
                Ok(buffered.take())
            }
            Encoder::Parquet(writer, buffered) => {
                if let Some(writer) = writer.take() {
                    writer.close().map_err(Error::failed)?;
                }
                Ok(buffered.take())
            }
            Encoder::JsonLines | Encoder::Csv { .. } => Ok(Vec::new()),
        }
    }
}

fn is_nested(data_type: &DataType) -> bool {
    data_type.is_nested()
}

/// Rows as the elements of a JSON array. No text has a line break in it, so each one separates two objects.
pub(super) fn json_rows(rows: &RecordBatch) -> Result<Vec<u8>> {
    let mut bytes = json_lines(rows)?;
    bytes.pop_if(|last| *last == b'\n');
    bytes.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b',');
    Ok(bytes)
}

/// Rows as JSON objects, as they were encoded.
pub(super) fn raw_rows(rows: &RecordBatch) -> Result<Vec<Box<RawValue>>> {
    let text = [b"[", &json_rows(rows)?[..], b"]"].concat();
    serde_json::from_slice(&text).map_err(Error::failed)
}
