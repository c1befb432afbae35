//! How answers are given.

use std::io::{IsTerminal, Write, stdout};
use std::path::PathBuf;

use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{Cell, CellAlignment, Table, presets::ASCII_MARKDOWN};

use crate::atomic_file::AtomicFile;
use crate::error::{Error, Result};
use crate::grouped::grouped;
use crate::http::{RowEncoder, RowFormat};
use crate::printable::printable;

use super::backend::SqlAnswer;
use super::format::AnswerFormat;

/// Where answers go, and how.
pub(super) struct Output {
    pub(super) format: AnswerFormat,
    /// A file; `None` for the standard output.
    pub(super) to: Option<PathBuf>,
}

impl Output {
    /// Gives an answer.
    ///
    /// # Errors
    ///
    /// If it can't be written, or the format can't have such columns.
    pub(super) fn write(&mut self, answer: SqlAnswer) -> Result<()> {
        let is_binary = matches!(self.format, AnswerFormat::Parquet | AnswerFormat::Arrow);
        if is_binary && self.to.is_none() && stdout().is_terminal() {
            return Err(Error::usage("--format: such rows are not for a terminal; wanted --to FILE, or a pipe"));
        }
        let bytes = match answer {
            SqlAnswer::Bytes(bytes) => bytes,
            SqlAnswer::Rows(schema, rows) => encoded(self.format, &schema, &rows)?,
        };
        let failed = |cause| Error::failed(format!("standard output: {cause}"));
        match &self.to {
            None => stdout().write_all(&bytes).and_then(|()| stdout().flush()).map_err(failed),
            Some(path) => {
                let mut file = AtomicFile::replacing(path)?;
                file.write(&bytes)?;
                file.sync()?;
                file.put_durably()
            }
        }
    }
}

fn encoded(format: AnswerFormat, schema: &SchemaRef, rows: &[RecordBatch]) -> Result<Vec<u8>> {
    let (format, around) = match format {
        AnswerFormat::Table => return table(schema, rows),
        AnswerFormat::Csv => (RowFormat::Csv, Default::default()),
        AnswerFormat::Json => (RowFormat::Json, ("[".to_owned(), "]\n".to_owned())),
        AnswerFormat::Jsonl => (RowFormat::JsonLines, Default::default()),
        AnswerFormat::Parquet => (RowFormat::Parquet, Default::default()),
        AnswerFormat::Arrow => (RowFormat::Arrow, Default::default()),
    };
    let mut encoder = RowEncoder::new(format, schema, around)?;
    let mut bytes = Vec::new();
    for rows in rows {
        bytes.extend(encoder.rows(rows)?);
    }
    bytes.extend(encoder.finish()?);
    Ok(bytes)
}

/// Rows for reading: numbers to the right, and nothing for a null.
fn table(schema: &SchemaRef, rows: &[RecordBatch]) -> Result<Vec<u8>> {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(schema.fields().iter().map(|field| Cell::new(printable(field.name()))));
    let options = FormatOptions::default().with_null("");
    let mut count = 0;
    for rows in rows {
        count += rows.num_rows();
        let columns: Vec<_> = rows
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).map_err(Error::failed))
            .collect::<Result<_>>()?;
        for row in 0..rows.num_rows() {
            table.add_row(columns.iter().map(|column| Cell::new(printable(&column.value(row).to_string()))));
        }
    }
    for (column, field) in table.column_iter_mut().zip(schema.fields()) {
        column.set_cell_alignment(alignment(field));
    }
    let plural = if count == 1 { "row" } else { "rows" };
    Ok(format!("{table}\n({} {plural})\n", grouped(count as u64)).into_bytes())
}

fn alignment(field: &Field) -> CellAlignment {
    match field.data_type() {
        of_number if of_number.is_numeric() && !matches!(of_number, DataType::Boolean) => CellAlignment::Right,
        _ => CellAlignment::Left,
    }
}
