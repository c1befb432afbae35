//! How the files of an input folder are read.

use std::collections::BTreeMap;

use serde::Deserialize;

#[cfg(feature = "postgres")]
use crate::columns::ColumnKind;
use crate::model::InputTable;

/// How the files of an input folder are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// The columns of the files, by table and canonical name, where they have other names.
    pub columns: BTreeMap<String, Renames>,
    /// The columns with versions of rows; `None` if the last row of an id counts.
    pub version: Option<VersionColumn>,
    /// Which file of a table is the last.
    pub order: FileOrder,
    /// The dialect of CSV files.
    pub csv: CsvDialect,
    /// Of the columns that not every job needs, those that are not read. Rejected rows lack them.
    pub skipped: SkippedColumns,
}

impl FileOptions {
    /// What kind of values the job reads from a column of a table, by its own name; `None` if it only carries it.
    #[cfg(feature = "postgres")]
    pub(crate) fn core_kind(&self, table: InputTable, own_name: &str) -> Option<ColumnKind> {
        let name = self.columns.get(table.name()).map_or(own_name, |renames| canonical(own_name, renames));
        table.cores().iter().find(|core| core.name == name).map(|core| core.kind)
    }

    /// The name that a core column of a table has in files; `None` if several columns are it.
    #[cfg(feature = "kafka")]
    pub(crate) fn own_name(&self, table: InputTable, core: &str) -> Option<String> {
        match self.columns.get(table.name()).and_then(|renames| renames.get(core)) {
            None => Some(core.to_owned()),
            Some(FileColumn::Named(name)) => Some(name.clone()),
            Some(FileColumn::Joined(_)) => None,
        }
    }
}

/// The columns with versions of rows. Of the rows with one id, the one with the greatest version counts, and of several
/// such rows the last one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "wanted a column, or a column for each table: {orders: updated_at}")]
pub enum VersionColumn {
    /// This column of `orders`, and of the other tables if they have it.
    Named(String),
    /// A column for each of these tables.
    ByTable(BTreeMap<String, String>),
}

impl VersionColumn {
    /// The column of a table, and whether the table must have it.
    pub(crate) fn of(&self, table: InputTable) -> Option<(&str, bool)> {
        match self {
            VersionColumn::Named(name) => Some((name, table == InputTable::Orders)),
            VersionColumn::ByTable(names) => names.get(table.name()).map(|name| (name.as_str(), true)),
        }
    }
}

/// The order of the files of a table. If rows share an id, the one in the last file counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FileOrder {
    /// By path, in which numbers count by value: `day-9` is before `day-10`.
    #[default]
    Natural,
    /// By the bytes of the path: `day-10` is before `day-9`.
    Name,
    /// By the time of their last change; files of one time by path.
    Modified,
}

/// Columns that are not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkippedColumns {
    /// Of `product_name`, `brand` and `metadata`, these.
    pub optional: Vec<&'static str>,
    /// True if the columns that are only carried are not read.
    pub carried: bool,
}

impl SkippedColumns {
    /// True if this column is not read.
    pub(super) fn has(&self, name: &str, is_core: bool) -> bool {
        if is_core { self.optional.contains(&name) } else { self.carried }
    }
}

/// The columns of the files, by canonical name.
pub type Renames = BTreeMap<String, FileColumn>;

/// What a column is called in the files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum FileColumn {
    /// One column of this name.
    Named(String),
    /// An id that several columns have together, such as an order number and a line number. It is the text of their
    /// values with `/` between them; a `/` or `\\` in a value is preceded by `\\`.
    Joined(Vec<String>),
}

impl From<&str> for FileColumn {
    fn from(name: &str) -> FileColumn {
        FileColumn::Named(name.to_owned())
    }
}

impl FileColumn {
    /// The names of the columns.
    pub(super) fn names(&self) -> &[String] {
        match self {
            FileColumn::Named(name) => std::slice::from_ref(name),
            FileColumn::Joined(names) => names,
        }
    }
}

/// The canonical name of a column of a file.
pub(super) fn canonical<'a>(own_name: &'a str, renames: &'a Renames) -> &'a str {
    let renamed = renames.iter().find(|(_, column)| matches!(column, FileColumn::Named(name) if name == own_name));
    renamed.map_or(own_name, |(wanted, _)| wanted)
}

/// The dialect of CSV files: RFC 4180 unless told otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvDialect {
    /// What separates fields.
    pub delimiter: u8,
    /// What encloses fields with delimiters or line breaks; `None` if nothing does.
    pub quote: Option<u8>,
    /// What precedes a quote in a quoted field. A quote can also be doubled.
    pub escape: Option<u8>,
    /// Texts that are null, besides the empty one.
    pub nulls: Vec<String>,
}

/// Characters that a dialect must not use: they mark the end of a file.
pub(crate) const NOT_IN_DIALECTS: [u8; 2] = [2, 3];

impl Default for CsvDialect {
    fn default() -> Self {
        CsvDialect { delimiter: b',', quote: Some(b'"'), escape: None, nulls: Vec::new() }
    }
}

impl CsvDialect {
    pub(super) fn is_null(&self, value: &str) -> bool {
        value.is_empty() || self.nulls.iter().any(|null| null == value)
    }
}
