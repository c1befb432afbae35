//! What rows and keys are written as.

use std::borrow::Cow;

use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;

use crate::error::Result;
use crate::kafka::{RecordFormat, SchemaRegistry};

use super::avro_form::AvroForm;
use super::change::{ChangeOrigin, RecordChange};
use super::json_form;

/// How the rows and keys of a topic are written.
#[derive(Clone, Debug)]
pub(super) enum RowForm {
    Json { is_debezium: bool },
    Avro(Box<AvroForm>),
}

impl RowForm {
    /// The form of the rows of a table. `key` are its columns that are the key.
    pub(super) fn new(format: RecordFormat, table: &str, schema: &Schema, key: &[usize]) -> Result<RowForm> {
        let is_debezium = format.is_debezium();
        match format {
            RecordFormat::Json | RecordFormat::Debezium => Ok(RowForm::Json { is_debezium }),
            RecordFormat::Avro | RecordFormat::DebeziumAvro => {
                Ok(RowForm::Avro(Box::new(AvroForm::new(table, schema, key, is_debezium)?)))
            }
        }
    }

    /// Has its schemas in a registry, if it has any.
    ///
    /// # Errors
    ///
    /// If the registry can't be reached, or refuses one.
    pub(super) fn register(&mut self, registry: Option<&SchemaRegistry>, topic: &str) -> Result<()> {
        match (self, registry) {
            (RowForm::Avro(form), Some(registry)) => form.register(registry, topic),
            _ => Ok(()),
        }
    }

    /// True if rows are in the envelope of Debezium.
    pub(super) fn is_debezium(&self) -> bool {
        match self {
            RowForm::Json { is_debezium } => *is_debezium,
            RowForm::Avro(form) => form.is_debezium(),
        }
    }

    /// Keys, of the columns that are the key, as records have them.
    pub(super) fn keys(&self, rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
        match self {
            RowForm::Json { .. } => json_form::rows(rows),
            RowForm::Avro(form) => form.keys(rows),
        }
    }

    /// Rows, which are a part of values. Equal rows are equal bytes.
    pub(super) fn rows(&self, rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
        match self {
            RowForm::Json { .. } => json_form::rows(rows),
            RowForm::Avro(form) => form.rows(rows),
        }
    }

    /// The value of a record that has a change.
    pub(super) fn value(&self, change: RecordChange, origin: ChangeOrigin) -> Result<Vec<u8>> {
        match self {
            RowForm::Json { is_debezium: false } => Ok(change.after.unwrap_or_default().to_owned()),
            RowForm::Json { is_debezium: true } => Ok(json_form::envelope(change, origin)),
            RowForm::Avro(form) => form.value(change, origin),
        }
    }

    /// The row that a value has; `None` if it is written in another way.
    pub(super) fn row_of<'a>(&self, value: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        match self {
            RowForm::Json { is_debezium: false } => Some(Cow::Borrowed(value)),
            RowForm::Json { is_debezium: true } => json_form::row_of_envelope(value).map(Cow::Borrowed),
            RowForm::Avro(form) => form.row_of(value),
        }
    }

    /// What tells it from other forms of the same columns.
    pub(super) fn fingerprint(&self) -> String {
        match self {
            RowForm::Json { .. } => String::new(),
            RowForm::Avro(form) => form.fingerprint(),
        }
    }
}
