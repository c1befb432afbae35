//! From record batches to the files of a table.
//!
//! Each worker encodes what it has by itself, a *chunk* at a time (a Parquet row group, or some megabytes of text), and
//! appends finished chunks to the file that is open for their place. A file that has reached its target size is closed
//! and the next one opened. So workers encode in parallel, and yet the number of files follows their size.
//!
//! ```text
//! worker 0 ─ chunk ─┐            ┌ part-00000   closed at its target size
//! worker 1 ─ chunk ─┴▶ one place ┤
//!                                └ part-00001   open
//! ```

mod chunk;
mod place;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};
use crate::sinks::Written;

use chunk::{Chunk, EncodedChunk, OpenFile};
use place::OutputPartition;
pub use place::Placing;

/// In which format, and how large, the files of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFormat {
    /// What kind of file.
    pub format: OutputFormat,
    /// How it is compressed.
    pub codec: Codec,
    /// How many bytes a file has before the next one is begun, about.
    pub target_bytes: u64,
}

/// Snappy-compressed Parquet files of 128 MiB.
impl Default for FileFormat {
    fn default() -> Self {
        FileFormat { format: OutputFormat::Parquet, codec: Codec::Snappy, target_bytes: 128 << 20 }
    }
}

/// What kind of files tables are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OutputFormat {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values with a header.
    Csv,
    /// A JSON object on each line.
    Jsonl,
}

/// How files are compressed. Text files know `gzip` and `zstd`; with `snappy` and `none` they are not compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
#[non_exhaustive]
pub enum Codec {
    Snappy,
    Zstd,
    Gzip,
    Lz4,
    None,
}

/// A table that is being written, shared by the workers.
pub(crate) struct TableWriter {
    folder: PathBuf,
    run: String,
    schema: SchemaRef,
    format: FileFormat,
    placing: Placing,
    open: Mutex<HashMap<OutputPartition, Arc<Mutex<Option<OpenFile>>>>>,
    /// Batches that wait until all are there and can be sorted.
    unsorted: Mutex<BTreeMap<OutputPartition, Vec<RecordBatch>>>,
    /// The last chunks of each worker. A table of many places is many of these, and they wait so that not all of their
    /// files have to be open at one time.
    last: Mutex<BTreeMap<OutputPartition, Vec<EncodedChunk>>>,
    share: ShareOfProcess,
    /// How many files this process has begun.
    files: AtomicUsize,
    rows: AtomicU64,
    bytes: AtomicU64,
}

/// Which process writes, of how many that share a table. Each writes files of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShareOfProcess {
    pub(crate) process: usize,
    pub(crate) processes: usize,
}

/// One worker's share of a table.
pub(crate) struct PartWriter {
    table: Arc<TableWriter>,
    chunks: HashMap<OutputPartition, Chunk>,
}

/// Rows and bytes of a chunk, at which it is appended to its file.
const CHUNK_ROWS: usize = 1 << 20;
const CHUNK_BYTES: usize = 64 << 20;
/// How many rows of a sorted place are encoded at a time.
const SORTED_ROWS: usize = 1 << 13;

impl TableWriter {
    /// Begins a table in a folder of its own.
    ///
    /// # Errors
    ///
    /// If the folder can't be made, or the table has no column by which it is to be placed.
    pub(crate) fn create(
        folder: PathBuf,
        run: &str,
        table: &str,
        schema: SchemaRef,
        format: FileFormat,
        placing: Placing,
        share: ShareOfProcess,
    ) -> Result<TableWriter> {
        placing.check(&schema)?;
        let nested = schema.fields().iter().find(|field| field.data_type().is_nested());
        if let (OutputFormat::Csv, Some(field)) = (format.format, nested) {
            let (name, found) = (field.name(), field.data_type());
            let cause = format!(
                "output.format: csv can't hold column {name} of table {table}, a {found}; write jsonl or parquet, or leave the \
                 table out (tables)"
            );
            return Err(Error::usage(cause));
        }
        fs::create_dir_all(&folder).map_err(Error::writing(&folder))?;
        let (files, rows, bytes) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let (open, unsorted, last) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(TableWriter {
            folder,
            run: run.into(),
            schema,
            format,
            placing,
            open,
            unsorted,
            last,
            share,
            files,
            rows,
            bytes,
        })
    }

    /// A worker's share.
    pub(crate) fn part(self: &Arc<Self>) -> PartWriter {
        PartWriter { table: Arc::clone(self), chunks: HashMap::new() }
    }

    /// Sorts what is to be sorted, and closes the files that are open: all that this process has of the table is written.
    ///
    /// # Errors
    ///
    /// If something can't be written, or `is_over` says that nobody wants it any more.
    pub(crate) fn close_share(&self, is_over: impl Fn() -> bool + Sync) -> Result<Written> {
        let unsorted = std::mem::take(&mut *self.unsorted.lock().expect("no writer panicked"));
        self.write_all_sorted(unsorted, &is_over)?;
        let last = std::mem::take(&mut *self.last.lock().expect("no writer panicked"));
        for (place, chunks) in last {
            chunks.into_iter().try_for_each(|chunk| self.append(&place, chunk))?;
            self.close(&place)?;
        }
        self.close_all()
    }

    /// Says that the table is whole, of which so much is written by all processes. One without rows gets a file without rows.
    ///
    /// # Errors
    ///
    /// If something can't be written.
    pub(crate) fn finish(&self, mut all: Written) -> Result<Written> {
        if all.files == 0 {
            self.append(&OutputPartition::default(), self.new_chunk()?.seal()?)?;
            all = self.close_all()?;
        }
        let success = self.folder.join("_SUCCESS");
        fs::write(&success, "").map_err(Error::writing(&success))?;
        Ok(all)
    }

    fn close_all(&self) -> Result<Written> {
        let places: Vec<_> = self.open.lock().expect("no writer panicked").keys().cloned().collect();
        places.iter().try_for_each(|place| self.close(place))?;
        let files = self.files.load(Ordering::Relaxed) as u64;
        Ok(Written { rows: self.rows.load(Ordering::Relaxed), files, bytes: self.bytes.load(Ordering::Relaxed) })
    }

    /// The columns that files have: all but those that folders name.
    fn schema(&self) -> SchemaRef {
        self.placing.without_folders(&self.schema)
    }

    /// Puts a chunk into the file that is open for its place, and closes the file if that makes it large enough.
    fn append(&self, place: &OutputPartition, chunk: EncodedChunk) -> Result<()> {
        let slot = Arc::clone(self.open.lock().expect("no writer panicked").entry(place.clone()).or_default());
        let mut slot = slot.lock().expect("no writer panicked");
        let mut file = match slot.take() {
            Some(file) => file,
            None => OpenFile::create(self.part_path(place)?, self.schema(), self.format)?,
        };
        file.append(chunk)?;
        if file.bytes() < self.format.target_bytes {
            *slot = Some(file);
        } else {
            self.bytes.fetch_add(file.close(self.share.processes > 1)?, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Closes the file that is open for a place, if one is.
    fn close(&self, place: &OutputPartition) -> Result<()> {
        let slot = self.open.lock().expect("no writer panicked").remove(place);
        if let Some(file) = slot.and_then(|slot| slot.lock().expect("no writer panicked").take()) {
            self.bytes.fetch_add(file.close(self.share.processes > 1)?, Ordering::Relaxed);
        }
        Ok(())
    }

    fn part_path(&self, place: &OutputPartition) -> Result<PathBuf> {
        let folder = place.folders.iter().fold(self.folder.clone(), |path, folder| path.join(folder));
        fs::create_dir_all(&folder).map_err(Error::writing(&folder))?;
        let ShareOfProcess { process, processes } = self.share;
        let part = self.files.fetch_add(1, Ordering::Relaxed) * processes + process;
        let bucket = place.bucket.map_or(String::new(), |bucket| format!("_{bucket:05}"));
        Ok(folder.join(format!("part-{part:05}-{}{bucket}{}", self.run, self.format.ending())))
    }
}

impl FileFormat {
    fn ending(self) -> String {
        let (codec, text) = match self.codec {
            Codec::Snappy => (".snappy", ""),
            Codec::Zstd => (".zstd", ".zst"),
            Codec::Gzip => (".gz", ".gz"),
            Codec::Lz4 => (".lz4", ""),
            Codec::None => ("", ""),
        };
        match self.format {
            OutputFormat::Parquet => format!("{codec}.parquet"),
            OutputFormat::Csv => format!(".csv{text}"),
            OutputFormat::Jsonl => format!(".jsonl{text}"),
        }
    }
}

impl PartWriter {
    /// Adds rows.
    ///
    /// # Errors
    ///
    /// If they can't be encoded or written.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.table.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        for (place, batch) in self.table.placing.split(batch)? {
            if !self.table.placing.sort_by.is_empty() {
                let mut unsorted = self.table.unsorted.lock().expect("no writer panicked");
                unsorted.entry(place).or_default().push(batch);
                continue;
            }
            let mut chunk = match self.chunks.remove(&place) {
                Some(chunk) => chunk,
                None => self.table.new_chunk()?,
            };
            chunk.write(&batch)?;
            if self.table.is_full(&chunk) {
                self.table.append(&place, chunk.seal()?)?;
            } else {
                self.chunks.insert(place, chunk);
            }
        }
        Ok(())
    }

    /// Hands over what is left.
    ///
    /// # Errors
    ///
    /// If it can't be encoded.
    pub(crate) fn finish(self) -> Result<()> {
        for (place, chunk) in self.chunks {
            let sealed = chunk.seal()?;
            self.table.last.lock().expect("no writer panicked").entry(place).or_default().push(sealed);
        }
        Ok(())
    }
}

impl TableWriter {
    fn new_chunk(&self) -> Result<Chunk> {
        Chunk::new(self.schema(), self.format, &self.placing.sort_by)
    }

    fn is_full(&self, chunk: &Chunk) -> bool {
        let bytes_max = usize::try_from(self.format.target_bytes).map_or(CHUNK_BYTES, |target| target.min(CHUNK_BYTES));
        chunk.rows() >= CHUNK_ROWS || chunk.bytes() >= bytes_max
    }

    /// Sorts and writes places, as many at a time as there are cores.
    fn write_all_sorted(
        &self,
        unsorted: BTreeMap<OutputPartition, Vec<RecordBatch>>,
        is_over: &(impl Fn() -> bool + Sync),
    ) -> Result<()> {
        let places = Mutex::new(unsorted.into_iter());
        let next = || places.lock().expect("no writer panicked").next();
        let write =
            || std::iter::from_fn(next).try_for_each(|(place, batches)| self.write_sorted(&place, &batches, is_over));
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(write)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("no writer panics"))
        })
    }

    /// Sorts all rows of a place and writes them, file after file.
    fn write_sorted(
        &self,
        place: &OutputPartition,
        batches: &[RecordBatch],
        is_over: &impl Fn() -> bool,
    ) -> Result<()> {
        let rows = concat_batches(&self.schema(), batches).map_err(Error::failed)?;
        let column = |name: &String| {
            let values = Arc::clone(rows.column_by_name(name).expect("sort columns were checked"));
            SortColumn { values, options: Some(SortOptions { descending: false, nulls_first: true }) }
        };
        let columns: Vec<_> = self.placing.sort_by.iter().map(column).collect();
        let order = lexsort_to_indices(&columns, None).map_err(Error::failed)?;
        let mut chunk = self.new_chunk()?;
        for start in (0..order.len()).step_by(SORTED_ROWS) {
            if is_over() {
                return Err(Error::failed("the run is over"));
            }
            let some = order.slice(start, SORTED_ROWS.min(order.len() - start));
            chunk.write(&take_record_batch(&rows, &some).map_err(Error::failed)?)?;
            if self.is_full(&chunk) || start + SORTED_ROWS >= order.len() {
                self.append(place, std::mem::replace(&mut chunk, self.new_chunk()?).seal()?)?;
            }
        }
        Ok(())
    }
}
