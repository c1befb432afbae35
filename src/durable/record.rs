//! Log records: encoding and decoding.
//!
//! An epoch is frames of rows, and a frame that commits it. Frames without a commit are ignored.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::columns::{InputSchema, OPERATION};
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::sources::{MalformedRow, RowNumbers, SourceBatch};

/// How far a source was read, as it says it itself.
pub type Offset = serde_json::Value;

/// The end of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// The epoch, from 1.
    pub epoch: u64,
    /// When it was made, in milliseconds since 1970.
    pub time_ms: u64,
    /// How far sources were read, by name; those that did not move are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub offsets: BTreeMap<String, Offset>,
    /// True if the rows of earlier epochs that can't be used are forgotten with it.
    #[serde(default)]
    pub forgets_unusable: bool,
    /// True if the tables are made in another way from it on: earlier epochs are not applied again one by one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub makes_anew: bool,
}

/// The kinds of frames.
pub(super) const ROWS: u8 = 1;
pub(super) const COMMIT: u8 = 2;

/// What a frame of rows says of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RowsHead {
    pub(super) table: String,
    /// The part of the epoch, and the name of the file or message the rows are from.
    pub(super) part: usize,
    pub(super) origin: String,
    pub(super) numbers: RowNumbers,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    malformed: Vec<MalformedRow>,
}

/// Rows of the log.
pub(super) struct LoggedRows {
    pub(super) head: RowsHead,
    pub(super) rows: RecordBatch,
}

/// Rows in the form of the log.
pub(crate) struct RowsFrame {
    head: RowsHead,
    body: Vec<u8>,
}

impl RowsFrame {
    /// Its size.
    pub(crate) fn bytes(&self) -> usize {
        let malformed = self.head.malformed.iter().map(|row| row.json.len()).sum::<usize>();
        self.body.len() + malformed
    }

    /// Makes the rows those of another part of the epoch.
    pub(crate) fn set_part(&mut self, part: usize) {
        self.head.part = part;
    }

    /// The payload of its frame: the length of the head, the head, the body.
    pub(super) fn payload(&self) -> Result<[Cow<'_, [u8]>; 3]> {
        let head = serde_json::to_vec(&self.head).map_err(Error::failed)?;
        let length = u32::try_from(head.len()).map_err(Error::failed)?;
        Ok([length.to_le_bytes().to_vec().into(), head.into(), self.body.as_slice().into()])
    }
}

/// Rows as a frame has them.
pub(super) fn encode(schema: &InputSchema, batch: &SourceBatch) -> Result<RowsFrame> {
    let (numbers, malformed) = (batch.numbers.clone(), batch.malformed.clone());
    let (table, part, origin) = (batch.table.name().to_owned(), batch.part, batch.origin.to_string());
    let head = RowsHead { table, part, origin, numbers, malformed };
    let rows = raw_rows(schema, batch);
    let mut body = Vec::new();
    let mut writer = StreamWriter::try_new(&mut body, &rows.schema()).map_err(Error::failed)?;
    writer.write(&rows).and_then(|()| writer.finish()).map_err(Error::failed)?;
    drop(writer);
    Ok(RowsFrame { head, body })
}

/// The rows of a batch as they were read, with the columns of their table.
pub(super) fn raw_rows(schema: &InputSchema, batch: &SourceBatch) -> RecordBatch {
    let cores = schema.table.cores().iter().zip(&batch.cores).map(|(core, column)| (core.name, column));
    let carried = schema.carried.iter().map(|field| field.name().as_str()).zip(&batch.carried);
    let operation = batch.operations.iter().map(|column| (OPERATION, column));
    let mut columns: Vec<(FieldRef, ArrayRef)> = Vec::new();
    let version = schema.version.as_deref().zip(batch.versions.as_ref());
    for (name, column) in cores.chain(carried).chain(operation).chain(version) {
        if !columns.iter().any(|(field, _)| field.name() == name) {
            columns.push((Arc::new(Field::new(name, column.data_type().clone(), true)), Arc::clone(column)));
        }
    }
    let place = |(field, _): &(FieldRef, ArrayRef)| schema.order.iter().position(|name| name == field.name());
    columns.sort_by_key(|column| place(column).unwrap_or(usize::MAX));
    RecordBatch::from(StructArray::from(columns))
}

/// The rows of a frame.
pub(super) fn decode(payload: &[u8]) -> Result<LoggedRows> {
    let (head, body) = parts(payload)?;
    let head: RowsHead = serde_json::from_slice(head).map_err(Error::failed)?;
    let mut reader = StreamReader::try_new(Cursor::new(body), None).map_err(Error::failed)?;
    let rows = reader.next().ok_or_else(|| Error::failed("a frame without rows"))?.map_err(Error::failed)?;
    Ok(LoggedRows { head, rows })
}

/// The head of a frame of rows.
pub(super) fn decode_head(payload: &[u8]) -> Result<RowsHead> {
    serde_json::from_slice(parts(payload)?.0).map_err(Error::failed)
}

fn parts(payload: &[u8]) -> Result<(&[u8], &[u8])> {
    let short = || Error::failed("a frame is too short");
    let (length, rest) = payload.split_first_chunk().ok_or_else(short)?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(short)
}

impl RowsHead {
    pub(super) fn table(&self) -> Result<InputTable> {
        InputTable::named(&self.table).ok_or_else(|| Error::failed(format!("rows of an unknown table {}", self.table)))
    }

    /// The number of rows, and of records that are none.
    pub(super) fn count(&self) -> u64 {
        (self.numbers.len() + self.malformed.len()) as u64
    }
}

impl LoggedRows {
    /// The rows as a source gives them, in this part of it.
    pub(super) fn into_batch(self, schema: &InputSchema, part: usize) -> Result<SourceBatch> {
        let origin: Arc<str> = self.head.origin.into();
        let mut batch = SourceBatch::new(schema, part, &origin, 0, &self.rows)?;
        (batch.numbers, batch.malformed) = (self.head.numbers, self.head.malformed);
        Ok(batch)
    }
}

/// A column as a text.
pub(crate) fn column_to_text(column: &FieldRef) -> Result<String> {
    schema_to_text(&Schema::new(vec![Arc::clone(column)]))
}

/// The column of such a text.
pub(crate) fn column_of_text(text: &str) -> Result<FieldRef> {
    let schema = schema_of_text(text)?;
    schema.fields().first().cloned().ok_or_else(|| Error::failed("a schema has no column"))
}

/// A schema as hexadecimal digits of its IPC form.
pub(super) fn schema_to_text(schema: &Schema) -> Result<String> {
    let mut bytes = Vec::new();
    StreamWriter::try_new(&mut bytes, schema).and_then(|mut writer| writer.finish()).map_err(Error::failed)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The schema of such digits.
pub(super) fn schema_of_text(text: &str) -> Result<SchemaRef> {
    let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes = (0..text.len()).step_by(2).map(digit).collect::<Option<Vec<_>>>();
    let bytes = bytes.ok_or_else(|| Error::failed("a schema is not hexadecimal"))?;
    Ok(StreamReader::try_new(Cursor::new(bytes), None).map_err(Error::failed)?.schema())
}
