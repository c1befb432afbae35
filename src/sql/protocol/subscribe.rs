//! `COPY (SUBSCRIBE table) TO STDOUT`: the rows of a table, and then what each epoch changes in them, until the client
//! cancels it.
//!
//! A line has the epoch, `1` for a row that is there from then on or `-1` for one that is not any more, and the row's
//! columns. With `PROGRESS`, a line with `0` and nulls says that everything through its epoch was sent; it comes after
//! each epoch, and every ten seconds. Lines are made as the client takes them; if what it has not taken is not kept any
//! more, it is told to subscribe again.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use datafusion::arrow::datatypes::SchemaRef as QueriedSchema;
use futures_util::{Sink, SinkExt};
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldInfo, Tag};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::{CopyData, CopyDone, CopyOutResponse};
use pgwire::messages::data::DataRow;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::sinks::{Committed, KeyRange, MemoryTables, TableInfo};
use crate::tables::RejectedTable;

use super::copy::CopyLines;
use super::text_values::TextValues;
use crate::sql::catalog::tables::{MILLSTREAM, SHOP};
use crate::sql::sql_state::QueryProblem;
use crate::sql::tables::arrow_versions::{queried_rows, queried_schema};

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscribe {
    table: String,
    /// What epochs after this one change; `None` for all rows first.
    since: Option<u64>,
    lines: CopyLines,
    /// True if a line says up to which epoch everything was sent.
    has_progress: bool,
}

/// How often that is said while nothing changes, so that a client that is gone is noticed.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// A table by the name that a query has for it.
fn table_of(name: &str) -> Option<String> {
    let folded = |part: &str| match part.strip_prefix('"').and_then(|part| part.strip_suffix('"')) {
        Some(quoted) => quoted.to_owned(),
        None => part.to_lowercase(),
    };
    match &name.split('.').map(folded).collect::<Vec<_>>()[..] {
        [table] => Some(table.clone()),
        [schema, table] if schema == SHOP || (schema == MILLSTREAM && table == RejectedTable::NAME) => {
            Some(table.clone())
        }
        _ => None,
    }
}

impl Subscribe {
    /// What a text subscribes to; `None` if it is no subscription.
    pub(crate) fn parse(text: &str) -> Option<PgWireResult<Subscribe>> {
        let spaced = text.replace(['(', ')', ';', ','], " ");
        let mut words = spaced.split_whitespace().map(str::to_owned);
        let is = |wanted: &str, words: &mut dyn Iterator<Item = String>| {
            words.next().is_some_and(|word| word.eq_ignore_ascii_case(wanted))
        };
        if !is("copy", &mut words) || !is("subscribe", &mut words) {
            return None;
        }
        Some(Subscribe::of_words(&words.collect::<Vec<_>>()))
    }

    fn of_words(words: &[String]) -> PgWireResult<Subscribe> {
        let wanted = || {
            let form = "wanted COPY (SUBSCRIBE table [SINCE epoch]) TO STDOUT [WITH (FORMAT csv, HEADER, PROGRESS)]";
            PgWireError::from(QueryProblem::new(QueryProblem::SYNTAX, form))
        };
        let (table, mut rest) = words.split_first().ok_or_else(wanted)?;
        let mut since = None;
        if let [word, epoch, behind @ ..] = rest
            && word.eq_ignore_ascii_case("since")
        {
            since = Some(epoch.parse().map_err(|_| wanted())?);
            rest = behind;
        }
        let words: Vec<_> = rest.iter().map(|word| word.to_ascii_lowercase()).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let ["to", "stdout", options @ ..] = &words[..] else { return Err(wanted()) };
        let options = options.strip_prefix(&["with"]).unwrap_or(options);
        let (mut lines, mut has_progress) = (CopyLines::default(), false);
        let mut left = options;
        while let [option, behind @ ..] = left {
            left = match (*option, behind) {
                ("progress", behind) => {
                    has_progress = true;
                    behind
                }
                ("header", behind) => {
                    lines.has_header = true;
                    behind
                }
                ("csv", behind) | ("format", ["csv", behind @ ..]) => {
                    lines.is_csv = true;
                    behind
                }
                ("format", ["text", behind @ ..]) => behind,
                _ => return Err(wanted()),
            };
        }
        let table = table_of(table).ok_or_else(wanted)?;
        Ok(Subscribe { table, since, lines, has_progress })
    }

    /// Sends what is subscribed to, until sending fails or this is dropped.
    pub(crate) async fn send<C>(
        self,
        client: &mut C,
        tables: &MemoryTables,
        mut epochs: watch::Receiver<Committed>,
    ) -> PgWireResult<()>
    where
        C: Sink<PgWireBackendMessage> + Unpin + Send,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let snapshot = tables.snapshot();
        let info = snapshot.info(&self.table).map_err(|error| unknown(&error))?;
        if let Some(since) = self.since.filter(|since| !tables.has_changes_after(*since)) {
            return Err(gone(since));
        }
        let encoder = ChangeLines::new(info, self.lines.clone()).map_err(internal)?;
        let columns = i16::try_from(encoder.fields.len()).unwrap_or(i16::MAX);
        let formats = vec![0; encoder.fields.len()];
        client.send(PgWireBackendMessage::CopyOutResponse(CopyOutResponse::new(0, columns, formats))).await?;
        if let Some(header) = self.lines.header(&encoder.fields) {
            client.send(PgWireBackendMessage::CopyData(CopyData::new(header))).await?;
        }
        let mut last = match self.since {
            Some(since) => since,
            None => {
                let committed = snapshot.committed().unwrap_or_default();
                for rows in snapshot.scan(&self.table, &KeyRange::default()).map_err(internal)? {
                    encoder.send(client, committed.epoch, 1, &rows.map_err(internal)?).await?;
                }
                committed.epoch
            }
        };
        drop(snapshot);
        client.flush().await?;
        loop {
            epochs.borrow_and_update();
            while let Some(changes) = tables.changes_after(&self.table, last).map_err(internal)? {
                if changes.last.epoch <= last {
                    break;
                }
                for epoch in changes.epochs {
                    encoder.send(client, epoch.epoch.epoch, -1, &epoch.minus).await?;
                    encoder.send(client, epoch.epoch.epoch, 1, &epoch.plus).await?;
                }
                client.flush().await?;
                last = changes.last.epoch;
            }
            if !tables.has_changes_after(last) {
                return Err(gone(last));
            }
            if self.has_progress {
                encoder.send_progress(client, last).await?;
            }
            let changed = tokio::time::timeout(PROGRESS_EVERY, epochs.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                break;
            }
        }
        client.send(PgWireBackendMessage::CopyDone(CopyDone::new())).await?;
        client.send(PgWireBackendMessage::CommandComplete(Tag::new("COPY").into())).await?;
        Ok(())
    }
}

fn gone(epoch: u64) -> PgWireError {
    let gone = format!("what epochs after {epoch} changed is not kept; subscribe again");
    QueryProblem::new(QueryProblem::GONE, gone).into()
}

fn unknown(error: &Error) -> PgWireError {
    QueryProblem::new(QueryProblem::UNDEFINED_TABLE, error.to_string()).into()
}

fn internal(error: Error) -> PgWireError {
    QueryProblem::new(QueryProblem::INTERNAL, error.to_string()).into()
}

/// Changed rows as lines.
struct ChangeLines {
    schema: SchemaRef,
    queried: QueriedSchema,
    fields: Arc<Vec<FieldInfo>>,
    lines: CopyLines,
}

impl ChangeLines {
    fn new(table: &TableInfo, lines: CopyLines) -> Result<ChangeLines> {
        let mut columns = vec![
            Arc::new(Field::new("epoch", DataType::UInt64, false)),
            Arc::new(Field::new("diff", DataType::Int32, false)),
        ];
        columns.extend(table.schema.fields().iter().cloned());
        let schema = Schema::new(columns);
        let queried = queried_schema(&schema)?;
        let fields = arrow_schema_to_pg_fields(&queried, &Format::UnifiedText, None).map_err(Error::failed)?;
        Ok(ChangeLines { schema: Arc::new(schema), queried, fields: Arc::new(fields), lines })
    }

    async fn send<C>(&self, client: &mut C, epoch: u64, diff: i32, rows: &RecordBatch) -> PgWireResult<()>
    where
        C: Sink<PgWireBackendMessage> + Unpin + Send,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        for line in self.lines(epoch, diff, rows).map_err(internal)? {
            client.feed(PgWireBackendMessage::CopyData(line?)).await?;
        }
        Ok(())
    }

    /// Sends a line without a row: everything through an epoch was sent.
    async fn send_progress<C>(&self, client: &mut C, epoch: u64) -> PgWireResult<()>
    where
        C: Sink<PgWireBackendMessage> + Unpin + Send,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let line = self.lines.progress(epoch, self.fields.len());
        client.send(PgWireBackendMessage::CopyData(CopyData::new(line))).await?;
        Ok(())
    }

    fn lines(&self, epoch: u64, diff: i32, rows: &RecordBatch) -> Result<Vec<PgWireResult<CopyData>>> {
        let count = rows.num_rows();
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(UInt64Array::from_value(epoch, count)), Arc::new(Int32Array::from_value(diff, count))];
        columns.extend(rows.columns().iter().cloned());
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(Error::failed)?;
        let rows = queried_rows(&rows, &self.queried)?;
        let texts = TextValues::of(&self.fields);
        let rows = encode_recordbatch(Arc::clone(&self.fields), rows);
        let line = |row: DataRow| CopyData::new(self.lines.row(&texts.as_postgresql(row)));
        Ok(rows.map(|row| row.map(line)).collect())
    }
}
