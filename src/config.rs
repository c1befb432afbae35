//! The configuration of a job, of its input folder and of its output folder.
//!
//! A program sets the fields of [`JobConfig`], or of [`RunConfig`] for a run from folder to folder. Each has a function
//! `resolve` that reads them as the command does: flags override the environment, which overrides the config file.

mod args;
mod byte_size;
mod cluster;
mod ends;
mod environment;
mod file;
mod file_on_disk;
mod folders;
mod functions;
mod job;
mod keys;
mod lakes;
mod listen;
mod memory;
mod resolve;
mod serving;
mod table_names;
#[cfg(test)]
mod tests;
mod topics;
mod views;
mod yaml;

use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::{Day, InputTable};

pub use args::RunArgs;
pub use byte_size::ByteSize;
pub use cluster::{ClusterArgs, ClusterConfig, Secret};
pub use ends::{PostgresKeys, PostgresSourceKeys};
#[cfg(feature = "cli")]
pub(crate) use file_on_disk::document;
pub use folders::{InputConfig, OutputConfig};
pub use functions::AnomalyConfig;
pub use job::JobConfig;
pub use lakes::{DeltaModeKey, DeltaSinkKeys};
pub use listen::ListenConfig;
pub use memory::MemoryBudget;
pub use serving::{ServeArgs, ServeSettings};
pub use topics::{KafkaCluster, KafkaSinkKeys, KafkaSourceKeys, SchemaRegistryKeys};
pub use views::ViewKeys;
#[cfg(all(feature = "cli", feature = "sql"))]
pub(crate) use views::views_of;

/// A batch run from an input folder to an output folder.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// The job.
    pub job: JobConfig,
    /// The input folder.
    pub input: InputConfig,
    /// The output folder.
    pub output: OutputConfig,
}

impl RunConfig {
    /// A run with default settings and a reference date.
    #[must_use]
    pub fn new(input: &Path, output: &Path, as_of: Day) -> RunConfig {
        RunConfig { job: JobConfig::new(as_of), input: InputConfig::at(input), output: OutputConfig::at(output) }
    }

    /// Checks all settings, as far as possible without reading the input.
    ///
    /// # Errors
    ///
    /// If a setting is invalid, or settings contradict each other. The message names the key.
    pub fn validate(&self) -> Result<()> {
        self.job.validate()?;
        self.input.validate()?;
        self.output.validate()?;
        self.check_folders()
    }

    /// Checks that the run does not write to what it reads: the next run would read its tables.
    fn check_folders(&self) -> Result<()> {
        let (input, output) = (absolute(&self.input.path), absolute(&self.output.path));
        let tables = InputTable::ALL.map(|table| absolute(&input.join(table.name())));
        if let Some(table) = tables.iter().find(|table| output.starts_with(table)) {
            return Err(Error::usage(format!(
                "output {} is in the input folder {}, whose files are read; choose another output",
                output.display(),
                table.display()
            )));
        }
        if input.starts_with(&output) && input != output {
            return Err(Error::usage(format!(
                "input {} is in the output folder {}; choose another output",
                input.display(),
                output.display()
            )));
        }
        Ok(())
    }
}

/// An absolute path without links, as far as the path exists.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut found = PathBuf::new();
    for part in full.components() {
        match part {
            Component::ParentDir => drop(found.pop()),
            part => found.push(part),
        }
        found = found.canonicalize().unwrap_or(found);
    }
    found
}
