//! `COPY … TO STDOUT`: rows as lines of text or CSV.

use bytes::{BufMut, Bytes, BytesMut};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::{CopyLegacyOption, CopyOption, CopySource, CopyTarget, Statement};
use futures_util::StreamExt;
use futures_util::stream;
use pgwire::api::portal::Format;
use pgwire::api::results::{CopyResponse, FieldInfo, QueryResponse, Response};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::copy::CopyData;
use pgwire::messages::data::DataRow;

use super::sql_state::QueryProblem;
use super::statements::{reads, refused};

/// How rows become lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CopyLines {
    pub(super) is_csv: bool,
    pub(super) has_header: bool,
}

impl CopyLines {
    /// As the options of a statement say.
    pub(super) fn of(options: &[CopyOption], legacy: &[CopyLegacyOption]) -> PgWireResult<CopyLines> {
        let mut lines = CopyLines::default();
        for option in options {
            match option {
                CopyOption::Format(name) if name.value.eq_ignore_ascii_case("csv") => lines.is_csv = true,
                CopyOption::Format(name) if name.value.eq_ignore_ascii_case("text") => lines.is_csv = false,
                CopyOption::Header(has) => lines.has_header = *has,
                option => return Err(unsupported(option)),
            }
        }
        for option in legacy {
            match option {
                CopyLegacyOption::Csv(options) if options.is_empty() => lines.is_csv = true,
                CopyLegacyOption::Header => lines.has_header = true,
                option => return Err(unsupported(option)),
            }
        }
        Ok(lines)
    }

    /// The line with the names of columns, if there is one.
    pub(super) fn header(self, fields: &[FieldInfo]) -> Option<Bytes> {
        let names = fields.iter().map(|field| Some(field.name().as_bytes()));
        self.has_header.then(|| self.line(names))
    }

    /// The line that says that everything through an epoch was sent.
    pub(super) fn progress(self, epoch: u64, columns: usize) -> Bytes {
        let epoch = epoch.to_string();
        let nulls = std::iter::repeat_n(None, columns.saturating_sub(2));
        self.line([Some(epoch.as_bytes()), Some(b"0")].into_iter().chain(nulls))
    }

    /// The line of a row.
    pub(super) fn row(self, row: &DataRow) -> Bytes {
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

    fn line<'a>(self, values: impl Iterator<Item = Option<&'a [u8]>>) -> Bytes {
        let mut line = BytesMut::new();
        for (place, value) in values.enumerate() {
            if place > 0 {
                line.put_u8(if self.is_csv { b',' } else { b'\t' });
            }
            match (value, self.is_csv) {
                (Some(value), true) => put_csv(&mut line, value),
                (Some(value), false) => put_text(&mut line, value),
                (None, true) => (),
                (None, false) => line.put_slice(b"\\N"),
            }
        }
        line.put_u8(b'\n');
        line.freeze()
    }
}

fn unsupported(option: &dyn std::fmt::Display) -> PgWireError {
    let problem = QueryProblem::new(QueryProblem::FEATURE_NOT_SUPPORTED, format!("COPY: found {option}"));
    problem.with_hint("Wanted FORMAT text or csv, and HEADER.").into()
}

/// A value of CSV; an empty one is in quotes, so that it is not a null.
fn put_csv(line: &mut BytesMut, value: &[u8]) {
    let is_plain = !value.is_empty() && !value.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'));
    if is_plain && value != b"\\." {
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

fn put_text(line: &mut BytesMut, value: &[u8]) {
    for byte in value {
        match byte {
            b'\\' => line.put_slice(b"\\\\"),
            b'\n' => line.put_slice(b"\\n"),
            b'\r' => line.put_slice(b"\\r"),
            b'\t' => line.put_slice(b"\\t"),
            byte => line.put_u8(*byte),
        }
    }
}

/// The query whose rows a statement copies to its client, and how; `None` if it is another statement.
pub(super) fn copied(statement: &Statement) -> Option<PgWireResult<(String, CopyLines)>> {
    let Statement::Copy { source, to: true, target: CopyTarget::Stdout, options, legacy_options, .. } = statement
    else {
        return None;
    };
    let query = match source {
        CopySource::Query(query) if !reads(&Statement::Query(query.clone())) => {
            return Some(Err(refused(&Statement::Query(query.clone())).into()));
        }
        CopySource::Query(query) => query.to_string(),
        CopySource::Table { table_name, columns } if columns.is_empty() => format!("SELECT * FROM {table_name}"),
        CopySource::Table { table_name, columns } => {
            let columns: Vec<_> = columns.iter().map(ToString::to_string).collect();
            format!("SELECT {} FROM {table_name}", columns.join(", "))
        }
    };
    Some(CopyLines::of(options, legacy_options).map(|lines| (query, lines)))
}

/// The rows of a query as lines.
pub(super) async fn copy_out(context: &SessionContext, query: &str, lines: CopyLines) -> PgWireResult<Response> {
    let failed = |error| PgWireError::ApiError(Box::new(error));
    let rows = context.sql(query).await.map_err(failed)?;
    let QueryResponse { row_schema, data_rows, .. } =
        arrow_pg::datatypes::df::encode_dataframe(rows, &Format::UnifiedText, None).await?;
    let header = stream::iter(lines.header(&row_schema).map(|line| Ok(CopyData::new(line))));
    let rows = data_rows.map(move |row| row.map(|row| CopyData::new(lines.row(&row))));
    Ok(Response::CopyOut(CopyResponse::new(0, row_schema.len(), header.chain(rows))))
}
