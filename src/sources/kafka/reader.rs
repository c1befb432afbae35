//! The row that a record has, whatever it is written in.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::Result;
use crate::kafka::RecordFormat;
use crate::model::Reason;

use super::avro::AvroDecoder;
use super::debezium::{Unwrapped, deleted_by, unwrapped};
use super::row::{RecordRow, as_line, deleted};
use super::settings::KafkaSourceConfig;

/// Reads records of one format.
pub(super) struct RecordReader {
    format: RecordFormat,
    /// For records of Avro.
    avro: Option<AvroDecoder>,
}

/// The key or value of a record as JSON.
type AsJson<'a> = Result<Cow<'a, [u8]>, Reason>;

impl RecordReader {
    pub(super) fn new(config: &KafkaSourceConfig) -> RecordReader {
        RecordReader { format: config.format, avro: config.registry.clone().map(AvroDecoder::new) }
    }

    /// The row of a record. `id` is the name that the id of a row has in records; `None` if several columns are the id.
    ///
    /// # Errors
    ///
    /// If what it takes to read it can't be reached.
    pub(super) fn row(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, id: Option<&str>) -> Result<RecordRow> {
        let Some(value) = value else {
            if self.format.is_debezium() {
                // What a delete is followed by.
                return Ok(RecordRow::Nothing);
            }
            return Ok(self.key(key)?.map_or_else(RecordRow::Malformed, |key| deleted(key.as_deref(), id)));
        };
        let value = match self.as_json(value)? {
            Ok(value) => value,
            Err(reason) => return Ok(RecordRow::Malformed(reason)),
        };
        if !self.format.is_debezium() {
            return Ok(as_line(&value));
        }
        let row = match unwrapped(&value) {
            Ok(Unwrapped::Row(row)) => Ok(row),
            Ok(Unwrapped::DeletedByKey) => self.key(key)?.and_then(|key| deleted_by(key.as_deref())),
            Err(reason) => Err(reason),
        };
        Ok(row.unwrap_or_else(RecordRow::Malformed))
    }

    /// A record that is no row, as a JSON text.
    pub(super) fn shown(&self, bytes: &[u8]) -> String {
        let text = match self.avro {
            Some(_) => Cow::Owned(STANDARD.encode(bytes)),
            None => String::from_utf8_lossy(bytes),
        };
        serde_json::Value::from(text).to_string()
    }

    /// A key as JSON. Keys may be plain where values have a schema.
    fn key<'a>(&mut self, key: Option<&'a [u8]>) -> Result<Result<Option<Cow<'a, [u8]>>, Reason>> {
        match key {
            Some(key) if key.first() == Some(&0) => {
                let of_key = |reason: Reason| Reason::new(reason.kind, format!("its key: {}", reason.text));
                Ok(self.as_json(key)?.map(Some).map_err(of_key))
            }
            key => Ok(Ok(key.map(Cow::Borrowed))),
        }
    }

    fn as_json<'a>(&mut self, bytes: &'a [u8]) -> Result<AsJson<'a>> {
        match &mut self.avro {
            Some(avro) => Ok(avro.json(bytes)?.map(Cow::Owned)),
            None => Ok(Ok(Cow::Borrowed(bytes))),
        }
    }
}
