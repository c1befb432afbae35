//! The input folder and the output folder of a run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::sinks::folder::{Codec, FileFormat, FolderSink, OutputFormat, Placing};
use crate::sources::{FileSource, Renames};
use crate::tables::{EnrichedDataTable, Table};

/// An input folder.
#[derive(Clone, Debug)]
pub struct InputConfig {
    /// The folder with orders, products and customers.
    pub path: PathBuf,
    /// Column names in the files, by table and canonical name.
    pub renames: BTreeMap<String, Renames>,
}

impl InputConfig {
    /// An input folder whose columns have the canonical names.
    #[must_use]
    pub fn at(path: &Path) -> InputConfig {
        InputConfig { path: path.to_owned(), renames: BTreeMap::new() }
    }

    /// Opens the files of the folder.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate) and [`FileSource::open`].
    pub fn open(&self) -> Result<FileSource> {
        self.validate()?;
        FileSource::open(&self.path, &self.renames)
    }

    /// Checks the settings without reading the folder.
    ///
    /// # Errors
    ///
    /// If columns of an unknown table are renamed.
    pub fn validate(&self) -> Result<()> {
        let is_known = |name: &str| InputTable::ALL.iter().any(|table| table.name() == name);
        match self.renames.keys().find(|name| !is_known(name)) {
            Some(unknown) => {
                Err(Error::usage(format!("columns: no table {unknown}; wanted orders, products or customers")))
            }
            None => Ok(()),
        }
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
        if self.format.codec == Codec::Lz4 && self.format.format != OutputFormat::Parquet {
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
