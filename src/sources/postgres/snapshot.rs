//! The rows of the tables as of the beginning of a slot.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::postgres::Client;

use crate::columns::InputSchema;
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::sources::files::{FileOptions, ForeignTable};
use crate::sources::source::{Source, SourceBatch, SourceBatches, Split};

use super::catalog::{Relation, ReplicatedTable, asked};
use super::rows::TextRows;
use super::settings::{PostgresSourceConfig, SESSION};

/// The rows of the tables, which were copied to files.
pub(crate) struct PostgresSnapshot {
    tables: Vec<CopiedTable>,
    spools: Vec<Spool>,
}

/// A table that is copied.
pub(crate) struct CopiedTable {
    relation: Relation,
    foreign: ForeignTable,
    filter: Option<String>,
    has_partitions: bool,
    origin: Arc<str>,
}

/// A file with rows of a table, as the server writes them.
struct Spool {
    /// The table, by its position.
    of: usize,
    path: PathBuf,
    rows: u64,
}

/// So many rows are in one file, which one thread reads.
const ROWS_OF_SPOOL: u64 = 250_000;

impl PostgresSnapshot {
    /// The tables, with their columns as the job has them.
    ///
    /// # Errors
    ///
    /// If a column is missing, or has an unusable type.
    pub(crate) fn tables(replicated: &[ReplicatedTable], options: &FileOptions) -> Result<Vec<CopiedTable>> {
        let table = |ReplicatedTable { table, relation, filter, has_partitions, .. }: &ReplicatedTable| {
            let relation = relation.clone().for_table(*table, options);
            let foreign = ForeignTable::new(*table, &relation.shown(), &relation.to_arrow(), options)?;
            check_identity(*table, &relation, &foreign)?;
            let origin = format!("{} (snapshot)", relation.shown()).into();
            let (filter, has_partitions) = (filter.clone(), *has_partitions);
            Ok(CopiedTable { relation, foreign, filter, has_partitions, origin })
        };
        replicated.iter().map(table).collect()
    }

    /// Copies the tables as of an exported snapshot to a folder, which is made anew.
    ///
    /// # Errors
    ///
    /// If a table can't be read, or a file can't be written. `go_on` fails when it is to stop.
    pub(crate) fn copy(
        config: &PostgresSourceConfig,
        tables: Vec<CopiedTable>,
        snapshot: &str,
        folder: &Path,
        go_on: impl Fn() -> Result<()>,
    ) -> Result<PostgresSnapshot> {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).map_err(Error::writing(folder))?;
        let mut client = config.address.connect()?;
        asked(client.batch_execute(&format!(
            "{SESSION}; SET row_security = off;
             BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{snapshot}'"
        )))?;
        let mut spools = Vec::new();
        for (of, table) in tables.iter().enumerate() {
            let path = folder.join(table.foreign.schema().table.name());
            spools.extend(table.copy(&mut client, of, &path, &go_on)?);
        }
        Ok(PostgresSnapshot { tables, spools })
    }

    fn table(&self, table: InputTable) -> &CopiedTable {
        let found = self.tables.iter().find(|known| known.foreign.schema().table == table);
        found.expect("only tables that were copied are asked for")
    }
}

/// Checks that deletes and changes of ids name the row that they are of.
pub(super) fn check_identity(table: InputTable, relation: &Relation, foreign: &ForeignTable) -> Result<()> {
    let lacks = |position: &usize| relation.columns.get(*position).is_some_and(|column| !column.is_key);
    let Some(position) = foreign.id_positions().into_iter().find(lacks) else { return Ok(()) };
    let (shown, column) = (relation.shown(), &relation.columns[position].name);
    let what_to_do = format!("wanted a primary key with it, or ALTER TABLE {shown} REPLICA IDENTITY FULL");
    Err(Error::usage(format!("{table}: column {column} is not part of the replica identity of {shown}; {what_to_do}")))
}

impl CopiedTable {
    /// Its name, as messages have it.
    pub(super) fn shown(&self) -> String {
        self.relation.shown()
    }

    /// The number of its columns.
    pub(super) fn columns(&self) -> usize {
        self.relation.columns.len()
    }

    /// Gives its rows, of which `limit` may leave some out.
    pub(super) fn copy_statement(&self, limit: &str) -> String {
        let (columns, from) = (self.relation.column_list(), self.relation.qualified());
        let filter = self.filter.as_ref().map_or_else(String::new, |filter| format!(" WHERE {filter}"));
        // Tables that inherit from it are not published with it.
        let only = if self.has_partitions { "" } else { "ONLY " };
        format!("COPY (SELECT {columns} FROM {only}{from}{filter}{limit}) TO STDOUT")
    }

    /// Rows of it as a batch.
    pub(super) fn take(&self, rows: &mut TextRows, part: usize, first: u64) -> Result<SourceBatch> {
        rows.take(&self.relation, &self.foreign, &self.origin, part, first)
    }

    /// Copies a table to files, whose names begin with `path`.
    fn copy(&self, client: &mut Client, of: usize, path: &Path, go_on: impl Fn() -> Result<()>) -> Result<Vec<Spool>> {
        let mut lines = BufReader::with_capacity(1 << 20, asked(client.copy_out(&self.copy_statement("")))?);
        let (mut spools, mut line) = (Vec::new(), Vec::new());
        loop {
            let path = path.with_extension(spools.len().to_string());
            let mut file = BufWriter::with_capacity(1 << 20, File::create(&path).map_err(Error::writing(&path))?);
            let mut rows = 0;
            while rows < ROWS_OF_SPOOL {
                line.clear();
                // A row that holds line breaks has them as `\n`.
                let read = lines.read_until(b'\n', &mut line);
                if read.map_err(|cause| Error::failed(format!("{}: {cause}", self.relation.shown())))? == 0 {
                    break;
                }
                file.write_all(&line).map_err(Error::writing(&path))?;
                rows += 1;
            }
            file.flush().map_err(Error::writing(&path))?;
            go_on()?;
            spools.push(Spool { of, path, rows });
            if rows < ROWS_OF_SPOOL {
                return Ok(spools);
            }
        }
    }
}

impl Source for PostgresSnapshot {
    fn schema(&self, table: InputTable) -> &InputSchema {
        self.table(table).foreign.schema()
    }

    fn splits(&self) -> Vec<Split> {
        let splits = self.spools.iter().enumerate().map(|(index, Spool { of, rows, .. })| {
            let table = self.tables[*of].foreign.schema().table;
            Split { table, index, rows: Some(*rows), rows_about: *rows }
        });
        splits.collect()
    }

    fn read(&self, split: &Split, batch_size: usize) -> Result<SourceBatches<'_>> {
        let Spool { of, path, .. } = &self.spools[split.index];
        let (table, part) = (&self.tables[*of], split.index);
        let mut lines = BufReader::new(File::open(path).map_err(Error::reading(path))?).split(b'\n');
        let (mut first, mut rows) = (0, TextRows::new(table.relation.columns.len()));
        Ok(Box::new(std::iter::from_fn(move || {
            while rows.len() < batch_size && !rows.is_full() {
                let Some(line) = lines.next() else { break };
                match line.map_err(Error::reading(path)).and_then(|line| push_line(&mut rows, line)) {
                    Ok(()) => {}
                    Err(error) => return Some(Err(error)),
                }
            }
            let count = rows.len() as u64;
            let batch = (count > 0).then(|| table.take(&mut rows, part, first));
            first += count;
            batch
        })))
    }

    fn fingerprint(&self) -> Result<BTreeMap<String, String>> {
        let shown = |table: &CopiedTable| (table.foreign.schema().table.name().to_owned(), table.relation.shown());
        Ok(self.tables.iter().map(shown).collect())
    }
}

/// Adds a line of the format `text` of COPY.
pub(super) fn push_line(rows: &mut TextRows, line: Vec<u8>) -> Result<()> {
    let line = String::from_utf8(line).map_err(|_| Error::failed("internal error: a copied row is not UTF-8"))?;
    let fields: Vec<Option<String>> = line.split('\t').map(unescaped).collect();
    rows.push(fields.iter().map(Option::as_deref), None);
    Ok(())
}

/// A field of the format `text`.
fn unescaped(field: &str) -> Option<String> {
    if field == "\\N" {
        return None;
    }
    let (mut text, mut rest) = (String::with_capacity(field.len()), field.chars());
    while let Some(letter) = rest.next() {
        if letter != '\\' {
            text.push(letter);
            continue;
        }
        text.push(match rest.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some(other) => other,
            None => '\\',
        });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_copy_are_unescaped() {
        for (field, text) in [
            ("\\N", None),
            ("", Some("")),
            ("a\\tb\\nc\\\\d", Some("a\tb\nc\\d")),
            ("\\\\N", Some("\\N")),
            ("é\\b\\f\\r\\v", Some("é\u{8}\u{c}\r\u{b}")),
        ] {
            assert_eq!(unescaped(field).as_deref(), text, "{field}");
        }
    }
}
