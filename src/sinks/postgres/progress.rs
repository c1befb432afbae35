//! Which epoch the tables there have, and which process may write to them.

use ::postgres::{Error as ClientError, GenericClient, Transaction};

use crate::postgres::qualified;
use crate::sinks::committed::Committed;

/// The progress of one sink.
#[derive(Clone, Debug)]
pub(super) struct SinkProgress {
    table: String,
    sink: String,
    /// Names this process among all that ever wrote.
    writer: String,
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) writer: String,
    /// `None` while the first snapshot is not there.
    pub(super) epoch: Option<Committed>,
}

impl SinkProgress {
    pub(super) fn new(schema: &str, sink: &str, writer: String) -> SinkProgress {
        SinkProgress { table: qualified(schema, "millstream_progress"), sink: sink.to_owned(), writer }
    }

    pub(super) fn writer(&self) -> &str {
        &self.writer
    }

    /// Makes the table of progress if it is not there.
    pub(super) fn prepare(&self, client: &mut impl GenericClient) -> Result<(), ClientError> {
        client.batch_execute(&format!(
            "CREATE TABLE IF NOT EXISTS {} (sink text PRIMARY KEY, writer text NOT NULL, layout text NOT NULL,
             epoch bigint, committed_ms bigint, committed_at timestamptz, delivered_at timestamptz)",
            self.table
        ))
    }

    /// A table among these that another sink delivers, and that sink.
    pub(super) fn others(
        &self,
        client: &mut impl GenericClient,
        tables: &[&str],
    ) -> Result<Option<(String, String)>, ClientError> {
        let others =
            client.query(&format!("SELECT sink, layout FROM {} WHERE sink <> $1", self.table), &[&self.sink])?;
        let delivers = |layout: &str, table: &str| {
            layout.split("; ").any(|known| known.strip_prefix(table).is_some_and(|rest| rest.starts_with(" (")))
        };
        Ok(others.iter().find_map(|row| {
            let (sink, layout): (String, String) = (row.get(0), row.get(1));
            let table = tables.iter().find(|table| delivers(&layout, table))?;
            Some(((*table).to_owned(), sink))
        }))
    }

    /// Fences off whoever has written before. Returns the epoch that the tables have; `None` if they have none, or were
    /// not all delivered with it: `layout` describes them, and `is_other` says that one was made or changed just now.
    pub(super) fn take_over(
        &self,
        client: &mut impl GenericClient,
        layout: &str,
        is_other: bool,
    ) -> Result<Option<Committed>, ClientError> {
        let statement = format!(
            "INSERT INTO {} AS p (sink, writer, layout) VALUES ($1, $2, $3) ON CONFLICT (sink) DO UPDATE
             SET writer = EXCLUDED.writer, layout = EXCLUDED.layout,
                 epoch = CASE WHEN p.layout = EXCLUDED.layout AND NOT $4 THEN p.epoch END,
                 committed_ms = CASE WHEN p.layout = EXCLUDED.layout AND NOT $4 THEN p.committed_ms END
             RETURNING epoch, committed_ms",
            self.table
        );
        let row = client.query_one(&statement, &[&self.sink, &self.writer, &layout, &is_other])?;
        Ok(committed(row.get(0), row.get(1)))
    }

    /// What the server says; `None` if somebody has deleted it.
    pub(super) fn read(&self, client: &mut impl GenericClient) -> Result<Option<Recorded>, ClientError> {
        let statement = format!("SELECT writer, epoch, committed_ms FROM {} WHERE sink = $1", self.table);
        let row = client.query_opt(&statement, &[&self.sink])?;
        Ok(row.map(|row| Recorded { writer: row.get(0), epoch: committed(row.get(1), row.get(2)) }))
    }

    /// Moves to an epoch, if this process may write and the tables have another one; false if not. Others that want to
    /// move wait until the transaction ends.
    pub(super) fn advance(
        &self,
        transaction: &mut Transaction,
        from: Option<Committed>,
        to: Committed,
    ) -> Result<bool, ClientError> {
        let statement = format!(
            "UPDATE {} SET epoch = $3, committed_ms = $4, committed_at = to_timestamp($4::bigint / 1000.0),
             delivered_at = clock_timestamp() WHERE sink = $1 AND writer = $2 AND epoch IS NOT DISTINCT FROM $5
             AND (epoch IS NULL OR committed_ms = $6)",
            self.table
        );
        let (to_epoch, to_ms) = parts(to);
        let from = from.map(parts);
        let (from_epoch, from_ms) = (from.map(|from| from.0), from.map(|from| from.1));
        let parameters: [&(dyn ::postgres::types::ToSql + Sync); 6] =
            [&self.sink, &self.writer, &to_epoch, &to_ms, &from_epoch, &from_ms];
        Ok(transaction.execute(&statement, &parameters)? == 1)
    }
}

fn parts(Committed { epoch, time_ms }: Committed) -> (i64, i64) {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    (signed(epoch), signed(time_ms))
}

fn committed(epoch: Option<i64>, time_ms: Option<i64>) -> Option<Committed> {
    let unsigned = |number: i64| u64::try_from(number).ok();
    Some(Committed { epoch: unsigned(epoch?)?, time_ms: unsigned(time_ms?)? })
}
