//! CSV with a header. All fields are read as text; empty fields are null.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use csv::{ByteRecord, Reader, ReaderBuilder, StringRecord};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::Reason;
use crate::sources::files::find::InputFile;
use crate::sources::files::options::CsvDialect;
use crate::sources::{MalformedRow, RowNumbers, SourceBatches};

use super::file_columns::FileColumns;
use super::infer::{InferredColumn, Numbers};
use super::text::{self, BATCH_BYTES, LONGEST_RECORD};

/// Follows the content of each file. If it is part of a record, the last quoted field was not closed.
const END: &str = "\0the end of the file\0";

/// The records of a file.
struct Records<'a> {
    file: &'a InputFile,
    reader: Reader<Limited>,
    header: Vec<String>,
    /// The bytes read since the last record ended.
    read: Rc<Cell<usize>>,
    is_over: bool,
}

impl Records<'_> {
    fn open<'a>(file: &'a InputFile, dialect: &CsvDialect) -> Result<Records<'a>> {
        let read = Rc::new(Cell::new(0));
        let content = Box::new(text::open(file)?.chain(io::Cursor::new(format!("\n{END}"))));
        let content = Limited { content, read: Rc::clone(&read) };
        let mut reader = ReaderBuilder::new();
        reader.flexible(true).has_headers(false).delimiter(dialect.delimiter).escape(dialect.escape);
        reader.quoting(dialect.quote.is_some()).quote(dialect.quote.unwrap_or(b'"'));
        let reader = reader.from_reader(content);
        let mut records = Records { file, reader, header: Vec::new(), read, is_over: false };
        let mut header = ByteRecord::new();
        if !records.next(&mut header)? {
            return Err(records.unusable("no header, wanted column names in the first line"));
        }
        let names = StringRecord::from_byte_record(header);
        let names = names.map_err(|error| records.unusable(&format!("the header is not UTF-8: {error}")))?;
        records.header = names.iter().map(str::to_owned).collect();
        Ok(records)
    }

    /// Reads the next record; false at the end of the file.
    fn next(&mut self, record: &mut ByteRecord) -> Result<bool> {
        if self.is_over {
            return Ok(false);
        }
        self.read.set(0);
        let line = self.reader.position().line();
        let cause = match self.reader.read_byte_record(record) {
            Ok(true) if is_end(record) => {
                self.is_over = true;
                return Ok(false);
            }
            Ok(true) if !record.iter().next_back().is_some_and(|last| last.ends_with(END.as_bytes())) => {
                return Ok(true);
            }
            Ok(_) => "a quoted field that is not closed before the end of the file".to_owned(),
            Err(error) if self.read.get() > LONGEST_RECORD => format!("{error}; is a quote missing?"),
            Err(error) => return Err(Error::reading(&self.file.path)(error)),
        };
        Err(self.unusable(&format!("line {line}: {cause}")))
    }

    fn unusable(&self, cause: &str) -> Error {
        Error::unusable(format!("{}: {cause}", self.file.path.display()))
    }

    /// How many lines the last record has, if more than one.
    fn lines_since(&self, line: u64) -> Option<u64> {
        self.reader.position().line().checked_sub(line).filter(|lines| *lines > 1)
    }
}

fn is_end(record: &ByteRecord) -> bool {
    record.len() == 1 && record[0] == *END.as_bytes()
}

/// Fails when a record is too long.
struct Limited {
    content: Box<dyn Read>,
    read: Rc<Cell<usize>>,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read.get() > LONGEST_RECORD {
            return Err(io::Error::other(format!("a record of more than {LONGEST_RECORD} bytes")));
        }
        let bytes = self.content.read(buffer)?;
        self.read.set(self.read.get() + bytes);
        Ok(bytes)
    }
}

/// The columns of the header. Only ids are looked at: all other columns are text.
pub(super) fn infer(
    file: &InputFile,
    dialect: &CsvDialect,
    is_id: &dyn Fn(&str) -> bool,
) -> Result<Vec<InferredColumn>> {
    let mut records = Records::open(file, dialect)?;
    let ids: Vec<usize> = (0..records.header.len()).filter(|at| is_id(&records.header[*at])).collect();
    let mut numbers = vec![Numbers::default(); records.header.len()];
    let (mut record, width) = (ByteRecord::new(), records.header.len());
    while records.next(&mut record)? {
        if record.len() == width {
            for at in &ids {
                let value = std::str::from_utf8(&record[*at]).unwrap_or("?");
                numbers[*at].see(if dialect.is_null(value) { "" } else { value });
            }
        }
    }
    let columns = records.header.into_iter().zip(numbers);
    Ok(columns.map(|(name, numbers)| InferredColumn::of_text(name, numbers)).collect())
}

/// The fields of a malformed record, as a JSON list.
fn as_json(record: &ByteRecord) -> String {
    record.iter().map(|field| Value::from(String::from_utf8_lossy(field))).collect::<Value>().to_string()
}

pub(super) fn read<'a>(
    columns: FileColumns<'a>,
    file: &'a InputFile,
    dialect: &'a CsvDialect,
    batch_size: usize,
) -> Result<SourceBatches<'a>> {
    let mut records = Records::open(file, dialect)?;
    let width = records.header.len();
    let mut number = 0;
    let mut batch = move || -> Result<Option<_>> {
        let mut builders: Vec<_> = (0..width).map(|_| StringBuilder::new()).collect();
        let (mut numbers, mut malformed, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut record = ByteRecord::new();
        while numbers.len() + malformed.len() < batch_size && bytes < BATCH_BYTES {
            let line = records.reader.position().line();
            if !records.next(&mut record)? {
                break;
            }
            bytes += record.as_slice().len();
            match StringRecord::from_byte_record(record.clone()) {
                Ok(fields) if fields.len() == width => {
                    for (builder, value) in builders.iter_mut().zip(&fields) {
                        builder.append_option(Some(value).filter(|value| !dialect.is_null(value)));
                    }
                    numbers.push(number);
                }
                Ok(fields) => {
                    let lines = records.lines_since(line).map_or(String::new(), |lines| {
                        format!("; the record has {lines} lines from line {line} on: is a quote missing?")
                    });
                    let text = format!("{} fields, wanted {width}{lines}", fields.len());
                    let reason = Reason::new(format!("other than {width} fields"), text);
                    malformed.push(MalformedRow { number, reason, json: as_json(&record) });
                }
                Err(error) => {
                    let reason = Reason::new("not UTF-8", error.to_string());
                    malformed.push(MalformedRow { number, reason, json: as_json(&record) });
                }
            }
            number += 1;
        }
        if numbers.is_empty() && malformed.is_empty() {
            return Ok(None);
        }
        let arrays: Vec<ArrayRef> = builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
        columns.arrange(&arrays, RowNumbers::Listed(numbers), malformed).map(Some)
    };
    Ok(Box::new(std::iter::from_fn(move || batch().transpose())))
}
