//! The input folder and the output folder of a run.

use std::path::{Path, PathBuf};

use crate::columns::ColumnKind;
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::objects::is_url;
use crate::sinks::folder::{Codec, FileFormat, FolderSink, OutputFormat, Placing};
use crate::sources::{CsvDialect, FileColumn, FileOptions, FileSource, NOT_IN_DIALECTS, VersionColumn};
use crate::tables::{EnrichedDataTable, Table};

/// An input folder.
#[derive(Clone, Debug)]
pub struct InputConfig {
    /// The folder with orders, products and customers.
    pub path: PathBuf,
    /// How its files are read.
    pub files: FileOptions,
}

impl InputConfig {
    /// An input folder whose columns have the canonical names.
    #[must_use]
    pub fn at(path: &Path) -> InputConfig {
        InputConfig { path: path.to_owned(), files: FileOptions::default() }
    }

    /// Opens the files of the folder.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate) and [`FileSource::open`].
    pub fn open(&self) -> Result<FileSource> {
        self.validate()?;
        FileSource::open(&self.path, &self.files)
    }

    /// The settings that all processes of a run must share, by name.
    pub(crate) fn facts(&self) -> [(String, String); 4] {
        let FileOptions { columns, version, order, csv, .. } = &self.files;
        [
            ("columns", format!("{columns:?}")),
            ("version", format!("{version:?}")),
            ("file_order", format!("{order:?}")),
            ("csv", format!("{csv:?}")),
        ]
        .map(|(name, fact)| (name.to_owned(), fact))
    }

    /// Checks the settings without reading the folder.
    ///
    /// # Errors
    ///
    /// If columns of an unknown table are renamed, columns are joined to what is no id, or characters of the CSV
    /// dialect are the same.
    pub fn validate(&self) -> Result<()> {
        for (name, renames) in &self.files.columns {
            let Some(table) = InputTable::ALL.into_iter().find(|table| table.name() == name) else {
                return Err(Error::usage(format!("columns: no table {name}; wanted orders, products or customers")));
            };
            let is_id =
                |name: &String| table.cores().iter().any(|core| core.name == name && core.kind == ColumnKind::Id);
            let named = |column: &FileColumn| match column {
                FileColumn::Named(name) => Some(name.clone()),
                FileColumn::Joined(_) => None,
            };
            let mut names: Vec<String> = renames.values().filter_map(named).collect();
            names.sort();
            if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
                let twice = &pair[0];
                return Err(Error::usage(format!("columns.{name}: two columns are mapped to {twice}; wanted one")));
            }
            for (wanted, column) in renames {
                if let FileColumn::Joined(names) = column
                    && (names.len() < 2 || !is_id(wanted))
                {
                    let cause = "a list is for an id that several columns have together";
                    return Err(Error::usage(format!("columns.{name}.{wanted}: {cause}; wanted the name of a column")));
                }
            }
        }
        if let Some(VersionColumn::ByTable(columns)) = &self.files.version
            && let Some(name) = columns.keys().find(|name| !InputTable::ALL.iter().any(|table| table.name() == *name))
        {
            return Err(Error::usage(format!("version: no table {name}; wanted orders, products or customers")));
        }
        let names: Vec<&String> = match &self.files.version {
            Some(VersionColumn::Named(name)) => vec![name],
            Some(VersionColumn::ByTable(columns)) => columns.values().collect(),
            None => Vec::new(),
        };
        if names.iter().any(|name| name.is_empty()) {
            return Err(Error::usage("version: wanted the name of a column, found an empty one"));
        }
        let CsvDialect { delimiter, quote, escape, .. } = &self.files.csv;
        let special = [Some(*delimiter), *quote, *escape];
        let is_special = |byte: &u8| matches!(byte, b'\n' | b'\r') || NOT_IN_DIALECTS.contains(byte);
        let is_twice = |at: usize| special[at].is_some() && special[..at].contains(&special[at]);
        if (1..special.len()).any(is_twice) || special.iter().flatten().any(is_special) {
            let cause = "delimiter, quote and escape must differ from each other, from line breaks and from the \
                         characters 2 and 3";
            return Err(Error::usage(format!("csv: {cause}")));
        }
        Ok(())
    }
}

/// An output folder.
#[derive(Clone, Debug)]
pub struct OutputConfig {
    /// The folder for the tables.
    pub path: PathBuf,
    /// The format of the files.
    pub format: FileFormat,
    /// Partitioning, bucketing and sort order of `enriched_data`.
    pub placing: Placing,
}

impl OutputConfig {
    /// An output folder with default settings.
    #[must_use]
    pub fn at(path: &Path) -> OutputConfig {
        OutputConfig { path: path.to_owned(), format: FileFormat::default(), placing: Placing::default() }
    }

    /// The sink that writes to the folder.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate).
    pub fn sink(&self) -> Result<FolderSink> {
        self.validate()?;
        Ok(FolderSink::new(&self.path, self.format).placing(EnrichedDataTable.name(), self.placing.clone()))
    }

    /// Checks the settings without the tables' columns.
    ///
    /// # Errors
    ///
    /// If settings contradict each other, or a number is 0.
    pub fn validate(&self) -> Result<()> {
        let is_delta = self.format.format == OutputFormat::Delta;
        if is_delta && !cfg!(feature = "delta") {
            return Err(Error::usage("output.format: this build is without delta; wanted one with the feature delta"));
        }
        if is_delta && (!self.placing.partition_by.is_empty() || is_url(&self.path)) {
            return Err(Error::usage("output.format: delta wants no partitions, and a folder on a disk"));
        }
        if self.format.codec == Codec::Lz4 && !is_delta && self.format.format != OutputFormat::Parquet {
            return Err(Error::usage("output.compression: lz4 is for Parquet; text files support gzip, zstd and none"));
        }
        if self.format.target_bytes == 0 {
            return Err(Error::usage("output.target_file_size: 0 is too small, wanted a size such as 64MB"));
        }
        match &self.placing.bucket_by {
            Some((columns, buckets)) if columns.is_empty() || *buckets == 0 => {
                Err(Error::usage("output.bucket_by: wanted at least one column and one bucket"))
            }
            _ => Ok(()),
        }
    }

    /// The settings that all processes of a run must share, by name.
    pub(crate) fn facts(&self) -> [(String, String); 6] {
        let OutputConfig { format, placing, .. } = self;
        [
            ("output.format", format!("{:?}", format.format)),
            ("output.compression", format!("{:?}", format.codec)),
            ("output.target_file_size", format.target_bytes.to_string()),
            ("output.partition_by", format!("{:?}", placing.partition_by)),
            ("output.bucket_by", format!("{:?}", placing.bucket_by)),
            ("output.sort_by", format!("{:?}", placing.sort_by)),
        ]
        .map(|(name, fact)| (name.to_owned(), fact))
    }
}
