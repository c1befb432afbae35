//! The statements that change a table there.
//!
//! Rows are given as one array of texts for each column, which the server takes apart: that is one message for any
//! number of rows, and needs no right but that of the statement.

use std::collections::{BTreeMap, HashMap};

use ::postgres::types::ToSql;
use ::postgres::{Error as ClientError, Statement, Transaction};
use arrow::record_batch::RecordBatch;

use crate::error::Result;
use crate::postgres::{qualified, quoted, server_error};

use super::columns::texts;
use super::layout::TargetTable;

/// How many rows are given in one message.
const ROWS_AT_A_TIME: usize = 20_000;

/// A transaction, and the statements that are prepared on its connection.
pub(super) struct Changing<'a> {
    pub(super) transaction: Transaction<'a>,
    pub(super) prepared: &'a mut HashMap<String, Statement>,
}

/// Columns of rows, each as texts.
pub(super) type TextColumns = Vec<Vec<Option<String>>>;

impl TargetTable {
    /// All columns of rows, some rows at a time: as texts they take several times the room.
    fn chunks(&self, rows: &RecordBatch) -> impl Iterator<Item = Result<TextColumns>> {
        (0..rows.num_rows()).step_by(ROWS_AT_A_TIME).map(|first| {
            let some = rows.slice(first, ROWS_AT_A_TIME.min(rows.num_rows() - first));
            (0..self.columns.len()).map(|column| texts(&some, column)).collect()
        })
    }

    /// The columns of the key.
    pub(super) fn key_texts(&self, rows: &RecordBatch) -> Result<TextColumns> {
        self.key.iter().map(|column| texts(rows, *column)).collect()
    }

    /// Inserts rows, each in the place of the one that has its key.
    pub(super) fn upsert(&self, changing: &mut Changing, rows: &RecordBatch) -> Result<()> {
        let others = (0..self.columns.len()).filter(|column| !self.key.contains(column));
        let assigned = others.map(|column| {
            let name = quoted(&self.columns[column].name);
            format!("{name} = EXCLUDED.{name}")
        });
        let assigned: Vec<_> = assigned.collect();
        let then = if assigned.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", assigned.join(", ")) };
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let (table, conflict) = (self.qualified(), self.names(&self.key));
        let statement = format!(
            "INSERT INTO {table} ({}) SELECT {} FROM {} ON CONFLICT ({conflict}) DO {then}",
            self.names(&all),
            self.values(&all),
            unnest(all.len()),
        );
        self.chunks(rows).try_for_each(|rows| changing.execute(&statement, &rows?).map_err(server_error))
    }

    /// Adds rows to a temporary table with the columns of this one.
    pub(super) fn stage(&self, transaction: &mut Transaction, staged: &str, rows: &RecordBatch) -> Result<()> {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let (names, values) = (self.names(&all), self.values(&all));
        let statement = format!("INSERT INTO {staged} ({names}) SELECT {values} FROM {}", unnest(all.len()));
        let prepared = transaction.prepare(&statement).map_err(server_error)?;
        self.chunks(rows).try_for_each(|rows| execute(transaction, &prepared, &rows?).map_err(server_error))
    }

    /// Deletes the rows that have these keys.
    ///
    /// Nulls have statements of their own, for an index finds `= value` and `IS NULL`, but not that either of them is
    /// so.
    pub(super) fn delete(&self, changing: &mut Changing, keys: &TextColumns) -> Result<(), ClientError> {
        let mut by_nulls: BTreeMap<Vec<bool>, TextColumns> = BTreeMap::new();
        for row in 0..keys.first().map_or(0, Vec::len) {
            let nulls: Vec<bool> = keys.iter().map(|column| column[row].is_none()).collect();
            let alike = by_nulls.entry(nulls).or_insert_with(|| vec![Vec::new(); keys.len()]);
            alike.iter_mut().zip(keys).for_each(|(alike, column)| alike.push(column[row].clone()));
        }
        for (nulls, keys) in by_nulls {
            let conditions = self.key.iter().zip(&nulls).enumerate().map(|(place, (column, is_null))| {
                let target = &self.columns[*column];
                match is_null {
                    true => format!("t.{} IS NULL", quoted(&target.name)),
                    false => format!("t.{} = u.a{place}::{}", quoted(&target.name), target.kind),
                }
            });
            let conditions = conditions.collect::<Vec<_>>().join(" AND ");
            let (table, unnested) = (self.qualified(), unnest(keys.len()));
            let statement = format!("DELETE FROM {table} AS t USING {unnested} WHERE {conditions}");
            changing.execute(&statement, &keys)?;
        }
        Ok(())
    }

    /// Makes the table have the rows of a temporary one, by those that differ.
    pub(super) fn take_from(&self, transaction: &mut Transaction, staged: &str) -> Result<u64, ClientError> {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let (table, names, key) = (self.qualified(), self.names(&all), self.names(&self.key));
        // Nulls are equal to each other in EXCEPT.
        transaction.batch_execute(&format!(
            "ANALYZE {staged};
             CREATE TEMPORARY TABLE millstream_gone ON COMMIT DROP AS
                SELECT {key} FROM {table} EXCEPT SELECT {key} FROM {staged};
             CREATE TEMPORARY TABLE millstream_other ON COMMIT DROP AS
                SELECT {names} FROM {staged} EXCEPT SELECT {names} FROM {table};"
        ))?;
        let mut changed = 0;
        for nulls in 0..1_u32 << self.key.len() {
            let conditions = self.key.iter().enumerate().map(|(place, column)| {
                let name = quoted(&self.columns[*column].name);
                match nulls >> place & 1 {
                    1 => format!("t.{name} IS NULL AND g.{name} IS NULL"),
                    _ => format!("t.{name} = g.{name}"),
                }
            });
            let conditions = conditions.collect::<Vec<_>>().join(" AND ");
            let delete = format!("DELETE FROM {table} AS t USING millstream_gone AS g WHERE {conditions}");
            changed += transaction.execute(&delete, &[])?;
        }
        let others = all.iter().filter(|column| !self.key.contains(column));
        let assigned: Vec<_> = others
            .map(|column| quoted(&self.columns[*column].name))
            .map(|name| format!("{name} = EXCLUDED.{name}"))
            .collect();
        let then = if assigned.is_empty() { "NOTHING".into() } else { format!("UPDATE SET {}", assigned.join(", ")) };
        changed += transaction.execute(
            &format!(
                "INSERT INTO {table} ({names}) SELECT {names} FROM millstream_other ON CONFLICT ({key}) DO {then}"
            ),
            &[],
        )?;
        transaction.batch_execute("DROP TABLE millstream_gone, millstream_other")?;
        Ok(changed)
    }

    pub(super) fn qualified(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    /// The names of columns, as a list.
    pub(super) fn names(&self, columns: &[usize]) -> String {
        columns.iter().map(|column| quoted(&self.columns[*column].name)).collect::<Vec<_>>().join(", ")
    }

    /// Their values, of the arrays.
    fn values(&self, columns: &[usize]) -> String {
        let value = |(place, column): (usize, &usize)| format!("u.a{place}::{}", self.columns[*column].kind);
        columns.iter().enumerate().map(value).collect::<Vec<_>>().join(", ")
    }
}

/// Arrays of the parameters as rows.
fn unnest(columns: usize) -> String {
    let arrays: Vec<_> = (1..=columns).map(|parameter| format!("${parameter}::text[]")).collect();
    let names: Vec<_> = (0..columns).map(|place| format!("a{place}")).collect();
    format!("unnest({}) AS u({})", arrays.join(", "), names.join(", "))
}

impl Changing<'_> {
    /// Executes a statement with rows.
    fn execute(&mut self, statement: &str, rows: &TextColumns) -> Result<(), ClientError> {
        if rows.first().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        if !self.prepared.contains_key(statement) {
            let prepared = self.transaction.prepare(statement)?;
            self.prepared.insert(statement.to_owned(), prepared);
        }
        execute(&mut self.transaction, &self.prepared[statement], rows)
    }
}

/// Executes a statement with rows, some at a time.
fn execute(transaction: &mut Transaction, prepared: &Statement, rows: &TextColumns) -> Result<(), ClientError> {
    let count = rows.first().map_or(0, Vec::len);
    for first in (0..count).step_by(ROWS_AT_A_TIME) {
        let some: Vec<&[Option<String>]> =
            rows.iter().map(|column| &column[first..count.min(first + ROWS_AT_A_TIME)]).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> = some.iter().map(|column| column as _).collect();
        transaction.execute(prepared, &parameters)?;
    }
    Ok(())
}
