//! The batch run: from an input folder to an output folder.

mod remote;

use std::sync::Arc;

use crate::config::{InputConfig, RunConfig};
use crate::error::Result;
use crate::model::InputTable;
use crate::report::Report;
use crate::runtime::{JobSinks, Progress, run_opened};
use crate::sources::SkippedColumns;

use remote::LocalFolders;

/// Runs the batch job: reads the input folder, makes the tables, and writes them to the output folder.
///
/// With the feature `s3`, each folder may be the URL of one in object storage.
///
/// ```
/// use std::sync::Arc;
/// use millstream::batch::run;
/// use millstream::config::RunConfig;
/// use millstream::model::Day;
/// use millstream::runtime::Progress;
///
/// let folder = tempfile::tempdir()?;
/// let (input, output) = (folder.path().join("shop"), folder.path().join("tables"));
/// millstream::generate::generate(0.001, &input)?;
/// let config = RunConfig::new(&input, &output, Day::from_ymd(2024, 12, 31).expect("a day"));
/// let report = run(&config, &Arc::new(Progress::default()))?;
/// assert_eq!(report.tables[0].name, "enriched_data");
/// assert!(output.join("daily_sales/_SUCCESS").is_file());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// If the config is invalid, the input can't be used, or something can't be written. The tables of earlier runs then
/// remain, unless the message says that the new ones are in place.
pub fn run(config: &RunConfig, progress: &Arc<Progress>) -> Result<Report> {
    config.validate()?;
    #[cfg(feature = "s3")]
    let folders = LocalFolders::of(config, progress)?;
    #[cfg(not(feature = "s3"))]
    let folders = LocalFolders::of(config)?;
    let local = &*folders.config;
    let (mut job, mut output) = (config.job.clone(), local.output.clone());
    if let Some(memory) = &mut job.memory {
        memory.folder.get_or_insert_with(|| output.path.clone());
        // Several tables are written at a time, one of which is by far the largest.
        let chunk_bytes = memory.bytes / job.workers.max(1) as u64 / SHARE_OF_CHUNK;
        output.format.chunk_bytes = output.format.chunk_bytes.min(chunk_bytes.max(CHUNK_BYTES_MIN));
    }
    if let Some(cluster) = &mut job.cluster {
        cluster.shared.extend(config.input.facts());
        cluster.shared.extend(config.output.facts());
    }
    let mut report = run_opened(&job, progress, || {
        let source = Arc::new(only_needed(local).open()?);
        Ok((source, JobSinks::new(vec![Box::new(output.sink()?)])))
    })?;
    #[cfg(feature = "s3")]
    folders.publish(&report.run_id)?;
    report.input = config.input.path.display().to_string();
    report.output = config.output.path.display().to_string();
    Ok(report)
}

/// The share of a worker's memory that a chunk of a file has while it is encoded; it takes twice that when it is
/// finished.
const SHARE_OF_CHUNK: u64 = 24;
/// Smaller chunks make files that are slow to read.
const CHUNK_BYTES_MIN: u64 = 1 << 20;

/// The input without the columns that no table needs.
fn only_needed(config: &RunConfig) -> InputConfig {
    let (mut input, tables) = (config.input.clone(), &config.job.tables);
    let cores = InputTable::ALL.iter().flat_map(|table| table.cores());
    let optional = cores.filter(|core| !core.required && !tables.needs(core.name)).map(|core| core.name);
    input.files.skipped = SkippedColumns { optional: optional.collect(), carried: !tables.needs_all() };
    input
}
