//! `COPY … TO STDOUT`: rows as lines of text or CSV, or in PostgreSQL's binary format.

use arrow_pg::datatypes::df::encode_dataframe;
use bytes::{BufMut, Bytes, BytesMut};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::{
    CopyLegacyCsvOption, CopyLegacyOption, CopyOption, CopySource, CopyTarget, Ident, ObjectName, Statement,
};
use futures_util::StreamExt;
use futures_util::stream;
use pgwire::api::portal::Format;
use pgwire::api::results::{CopyResponse, FieldInfo, QueryResponse, Response};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::copy::CopyData;
use pgwire::messages::data::DataRow;

use super::planned::{planned, text_rows};
use crate::sql::language::rewrite::statements;
use crate::sql::language::statements::{reads, refused};
use crate::sql::sql_state::QueryProblem;

/// How rows are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CopyFormat {
    Binary,
    Lines(CopyLines),
}

impl CopyFormat {
    /// As the options of a statement say.
    fn of(options: &[CopyOption], legacy: &[CopyLegacyOption]) -> PgWireResult<CopyFormat> {
        let is_binary = |option: &CopyOption| match option {
            CopyOption::Format(name) => name.value.eq_ignore_ascii_case("binary"),
            _ => false,
        };
        match (options, legacy) {
            ([option], []) if is_binary(option) => Ok(CopyFormat::Binary),
            ([], [CopyLegacyOption::Binary]) => Ok(CopyFormat::Binary),
            _ => CopyLines::of(options, legacy).map(CopyFormat::Lines),
        }
    }
}

/// How rows become lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CopyLines {
    pub(crate) is_csv: bool,
    pub(crate) has_header: bool,
    /// What is between two values, if it is not a comma or a tab.
    delimiter: Option<u8>,
    /// How a null is written, if not as nothing or `\N`.
    null: Option<String>,
}

impl CopyLines {
    /// As the options of a statement say.
    pub(crate) fn of(options: &[CopyOption], legacy: &[CopyLegacyOption]) -> PgWireResult<CopyLines> {
        let mut lines = CopyLines::default();
        for option in options {
            match option {
                CopyOption::Format(name) if name.value.eq_ignore_ascii_case("csv") => lines.is_csv = true,
                CopyOption::Format(name) if name.value.eq_ignore_ascii_case("text") => lines.is_csv = false,
                CopyOption::Header(has) => lines.has_header = *has,
                CopyOption::Delimiter(delimiter) => lines.delimiter = Some(single_byte(*delimiter)?),
                CopyOption::Null(null) => lines.null = Some(null.clone()),
                CopyOption::Quote('"') | CopyOption::Escape('"') => {}
                CopyOption::Encoding(name) if is_utf8(name) => {}
                option => return Err(unsupported(option)),
            }
        }
        for option in legacy {
            match option {
                CopyLegacyOption::Csv(options) => {
                    lines.is_csv = true;
                    for option in options {
                        match option {
                            CopyLegacyCsvOption::Header => lines.has_header = true,
                            CopyLegacyCsvOption::Quote('"') | CopyLegacyCsvOption::Escape('"') => {}
                            option => return Err(unsupported(option)),
                        }
                    }
                }
                CopyLegacyOption::Header => lines.has_header = true,
                CopyLegacyOption::Delimiter(delimiter) => lines.delimiter = Some(single_byte(*delimiter)?),
                CopyLegacyOption::Null(null) => lines.null = Some(null.clone()),
                option => return Err(unsupported(option)),
            }
        }
        lines.checked()
    }

    /// The same, if values can be told apart.
    fn checked(self) -> PgWireResult<CopyLines> {
        let refused = |message: String| QueryProblem::new(QueryProblem::INVALID_PARAMETER, message).into();
        let delimiter = self.delimiter();
        if !self.is_csv && (delimiter.is_ascii_lowercase() || delimiter.is_ascii_digit() || delimiter == b'.') {
            return Err(refused(format!("COPY delimiter cannot be \"{}\"", char::from(delimiter))));
        }
        if self.null().bytes().any(|byte| byte == delimiter || matches!(byte, b'\n' | b'\r')) {
            return Err(refused(
                "COPY null representation cannot have the delimiter, a newline or a return".to_owned(),
            ));
        }
        Ok(self)
    }

    fn delimiter(&self) -> u8 {
        self.delimiter.unwrap_or(if self.is_csv { b',' } else { b'\t' })
    }

    fn null(&self) -> &str {
        self.null.as_deref().unwrap_or(if self.is_csv { "" } else { "\\N" })
    }

    /// The line with the names of columns, if there is one.
    pub(crate) fn header(&self, fields: &[FieldInfo]) -> Option<Bytes> {
        let names = fields.iter().map(|field| Some(field.name().as_bytes()));
        self.has_header.then(|| self.line(names))
    }

    /// The line that says that everything through an epoch was sent.
    pub(crate) fn progress(&self, epoch: u64, columns: usize) -> Bytes {
        let epoch = epoch.to_string();
        let nulls = std::iter::repeat_n(None, columns.saturating_sub(2));
        self.line([Some(epoch.as_bytes()), Some(b"0")].into_iter().chain(nulls))
    }

    /// The line of a row.
    pub(crate) fn row(&self, row: &DataRow) -> Bytes {
        let mut rest = &row.data[..];
        let values = std::iter::from_fn(|| {
            let (length, behind) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(i32::from_be_bytes(*length)).ok();
            let (value, behind) = behind.split_at(length.unwrap_or(0).min(behind.len()));
            rest = behind;
            Some(length.map(|_| value))
        });
        self.line(values)
    }

    fn line<'a>(&self, values: impl Iterator<Item = Option<&'a [u8]>>) -> Bytes {
        let mut line = BytesMut::new();
        for (place, value) in values.enumerate() {
            if place > 0 {
                line.put_u8(self.delimiter());
            }
            match value {
                Some(value) if self.is_csv => self.put_csv(&mut line, value),
                Some(value) => self.put_text(&mut line, value),
                None => line.put_slice(self.null().as_bytes()),
            }
        }
        line.put_u8(b'\n');
        line.freeze()
    }

    /// A value of CSV; one that reads as a null is in quotes, so that it is none.
    fn put_csv(&self, line: &mut BytesMut, value: &[u8]) {
        let is_special = |byte: &u8| matches!(byte, b'"' | b'\n' | b'\r') || *byte == self.delimiter();
        if value != self.null().as_bytes() && value != b"\\." && !value.iter().any(is_special) {
            return line.put_slice(value);
        }
        line.put_u8(b'"');
        for byte in value {
            if *byte == b'"' {
                line.put_u8(b'"');
            }
            line.put_u8(*byte);
        }
        line.put_u8(b'"');
    }

    fn put_text(&self, line: &mut BytesMut, value: &[u8]) {
        for byte in value {
            match byte {
                b'\\' => line.put_slice(b"\\\\"),
                b'\n' => line.put_slice(b"\\n"),
                b'\r' => line.put_slice(b"\\r"),
                b'\t' => line.put_slice(b"\\t"),
                byte if *byte == self.delimiter() => line.put_slice(&[b'\\', *byte]),
                byte => line.put_u8(*byte),
            }
        }
    }
}

fn single_byte(delimiter: char) -> PgWireResult<u8> {
    u8::try_from(delimiter)
        .ok()
        .filter(|byte| byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | b'"' | b'\\'))
        .ok_or_else(|| {
            let problem = QueryProblem::new(
                QueryProblem::INVALID_PARAMETER,
                format!("COPY: the delimiter {delimiter:?} can't be used"),
            );
            problem.with_hint("Wanted one byte of ASCII that is no quote, backslash or line end.").into()
        })
}

fn is_utf8(name: &str) -> bool {
    name.replace(['-', '_'], "").eq_ignore_ascii_case("utf8")
}

fn unsupported(option: &dyn std::fmt::Display) -> PgWireError {
    let problem = QueryProblem::new(QueryProblem::FEATURE_NOT_SUPPORTED, format!("COPY: found {option}"));
    problem.with_hint("Wanted FORMAT binary, or text or csv with HEADER, DELIMITER and NULL.").into()
}

/// The query whose rows a statement copies to its client, and how; `None` if it is another statement.
pub(crate) fn copied(statement: &Statement) -> Option<PgWireResult<(Statement, CopyFormat)>> {
    let Statement::Copy { source, to: true, target: CopyTarget::Stdout, options, legacy_options, .. } = statement
    else {
        return None;
    };
    let query = match source {
        CopySource::Query(query) => Statement::Query(query.clone()),
        CopySource::Table { table_name, columns } => match whole_table(table_name, columns) {
            Ok(query) => query,
            Err(error) => return Some(Err(error)),
        },
    };
    if !reads(&query) {
        return Some(Err(refused(&query).into()));
    }
    Some(CopyFormat::of(options, legacy_options).map(|format| (query, format)))
}

/// How many messages of what a statement copies are none of rows: a header, or the end.
pub(crate) fn messages_without_rows(statement: &Statement) -> usize {
    match copied(statement) {
        Some(Ok((_, CopyFormat::Lines(lines)))) => usize::from(lines.has_header),
        Some(Ok((_, CopyFormat::Binary))) => 1,
        _ => 0,
    }
}

/// The query of these columns of a table, or of all.
fn whole_table(table: &ObjectName, columns: &[Ident]) -> PgWireResult<Statement> {
    let columns: Vec<_> = columns.iter().map(ToString::to_string).collect();
    let columns = if columns.is_empty() { "*".to_owned() } else { columns.join(", ") };
    let query = statements(&format!("SELECT {columns} FROM {table}"))?.pop();
    query.ok_or_else(|| QueryProblem::new(QueryProblem::INTERNAL, "COPY of nothing").into())
}

/// The rows of a query.
pub(crate) async fn copy_out(
    context: &SessionContext,
    query: &Statement,
    format: CopyFormat,
) -> PgWireResult<Response> {
    let plan = planned(context, query).await?;
    let rows = context.execute_logical_plan(plan).await.map_err(|error| PgWireError::ApiError(Box::new(error)))?;
    Ok(Response::CopyOut(match format {
        CopyFormat::Lines(lines) => {
            let QueryResponse { row_schema, data_rows, .. } = text_rows(rows, None).await?;
            let header = stream::iter(lines.header(&row_schema).map(|line| Ok(CopyData::new(line))));
            let rows = data_rows.map(move |row| row.map(|row| CopyData::new(lines.row(&row))));
            CopyResponse::new(0, row_schema.len(), header.chain(rows))
        }
        CopyFormat::Binary => {
            let QueryResponse { row_schema, data_rows, .. } =
                encode_dataframe(rows, &Format::UnifiedBinary, None).await?;
            let rows = data_rows.map(|row| row.map(|row| binary_row(&row)));
            let all = rows.chain(stream::iter([Ok(Bytes::from_static(BINARY_END))]));
            // Clients expect the header and the first row in one message.
            let messages = all.enumerate().map(|(place, bytes)| match place {
                0 => bytes.map(|bytes| CopyData::new(Bytes::from([BINARY_HEADER, &bytes].concat()))),
                _ => bytes.map(CopyData::new),
            });
            // By itself, `pgwire` would add the end once more.
            let mut response = CopyResponse::new(0, row_schema.len(), messages);
            response.format = 1;
            response
        }
    }))
}

/// The signature of the format, and no flags or extensions.
const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// A number of values that no row has.
const BINARY_END: &[u8] = b"\xff\xff";

/// The number of values, and before each value its length.
fn binary_row(row: &DataRow) -> Bytes {
    let mut bytes = BytesMut::with_capacity(row.data.len() + 2);
    bytes.put_i16(row.field_count);
    bytes.put_slice(&row.data);
    bytes.freeze()
}
