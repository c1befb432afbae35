//! From record batches to the files of a table.
//!
//! Each worker encodes its rows in *chunks* (a Parquet row group, or some megabytes of text), and appends finished
//! chunks to the open file of their partition. A file that reaches its target size is closed, and the next one is
//! opened. Workers thus encode in parallel, while the number of files depends only on the size of the data.
//!
//! ```text
//! worker 0 ─ chunk ─┐            ┌ part-00000   closed at its target size
//! worker 1 ─ chunk ─┴▶ partition ┤
//!                                └ part-00001   open
//! ```

mod chunk;
mod dictionary_column;
mod format;
mod place;
mod row_group;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::ArrayRef;
use arrow::compute::{SortOptions, interleave_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, Rows, SortField};

use crate::error::{Error, Result};
use crate::sinks::folder::disk::{Syncer, create_folder};
use crate::sinks::{TableInfo, Written};

use chunk::{Chunk, EncodedChunk, OpenFile};
pub use format::{Codec, FileFormat, OutputFormat};
pub(super) use place::OutputPartition;
pub use place::Placing;

/// The writer of a table, shared by the workers.
pub(crate) struct TableWriter {
    folder: PathBuf,
    schema: SchemaRef,
    format: FileFormat,
    placing: Placing,
    /// How the rows of a partition are sorted.
    order: Vec<(String, SortOptions)>,
    open: Mutex<HashMap<OutputPartition, Arc<Mutex<Option<OpenFile>>>>>,
    /// Batches of sorted partitions, kept until all rows have arrived.
    unsorted: Mutex<BTreeMap<OutputPartition, Vec<RecordBatch>>>,
    /// The last chunk of each worker and partition, deferred so that tables with many partitions need few open files.
    last: Mutex<BTreeMap<OutputPartition, Vec<EncodedChunk>>>,
    share: ShareOfRun,
    /// The number of files created by this process.
    files: AtomicUsize,
    rows: AtomicU64,
    bytes: AtomicU64,
}

/// A process's share of a run: each process writes its own files.
pub(crate) struct ShareOfRun {
    pub(crate) run: String,
    pub(crate) process: usize,
    pub(crate) processes: usize,
    pub(crate) syncer: Arc<Syncer>,
}

/// One worker's share of a table.
pub(crate) struct PartWriter {
    table: Arc<TableWriter>,
    chunks: HashMap<OutputPartition, Chunk>,
}

/// The rows at which a chunk is appended to its file, if it is not large enough before.
const CHUNK_ROWS: usize = 1 << 20;
/// Rows of a sorted partition encoded at a time.
const SORTED_ROWS: usize = 1 << 13;

impl TableWriter {
    /// Creates the writer of a table, and its folder.
    ///
    /// # Errors
    ///
    /// If the folder can't be created, or the table lacks a partition, bucket or sort column.
    pub(crate) fn create(
        folder: PathBuf,
        table: &TableInfo,
        format: FileFormat,
        placing: Placing,
        share: ShareOfRun,
    ) -> Result<TableWriter> {
        let (schema, order, table) = (Arc::clone(&table.schema), placing.order_of(table), &table.name);
        placing.check(&schema)?;
        let nested = schema.fields().iter().find(|field| field.data_type().is_nested());
        if let (OutputFormat::Csv, Some(field)) = (format.format, nested) {
            let (name, found) = (field.name(), field.data_type());
            let cause = format!(
                "output.format: csv can't hold column {name} of table {table}, a {found}; \
                 write jsonl or parquet, or exclude the table (tables)"
            );
            return Err(Error::usage(cause));
        }
        create_folder(&folder)?;
        let (files, rows, bytes) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let (open, unsorted, last) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(TableWriter { folder, schema, format, placing, order, open, unsorted, last, share, files, rows, bytes })
    }

    /// Creates the writer of a worker's share.
    pub(crate) fn part(self: &Arc<Self>) -> PartWriter {
        PartWriter { table: Arc::clone(self), chunks: HashMap::new() }
    }

    /// Sorts pending partitions and closes all files: this process's share of the table is complete.
    ///
    /// # Errors
    ///
    /// If writing fails, or `is_over` reports that the run has ended.
    pub(crate) fn close_share(&self, is_over: impl Fn() -> bool + Sync) -> Result<Written> {
        let unsorted = std::mem::take(&mut *self.unsorted.lock().expect("no writer panicked"));
        self.write_all_sorted(unsorted, &is_over)?;
        let last = std::mem::take(&mut *self.last.lock().expect("no writer panicked"));
        for (partition, chunks) in last {
            chunks.into_iter().try_for_each(|chunk| self.append(&partition, chunk))?;
            self.close(&partition)?;
        }
        self.close_all()
    }

    /// Writes a file without rows if there is no other; `all` is what all processes have written.
    ///
    /// # Errors
    ///
    /// If writing fails.
    pub(crate) fn finish(&self, all: Written) -> Result<Written> {
        if all.files > 0 {
            return Ok(all);
        }
        self.append(&OutputPartition::default(), self.new_chunk().seal()?)?;
        self.close_all()
    }

    fn close_all(&self) -> Result<Written> {
        let partitions: Vec<_> = self.open.lock().expect("no writer panicked").keys().cloned().collect();
        partitions.iter().try_for_each(|partition| self.close(partition))?;
        let files = self.files.load(Ordering::Relaxed) as u64;
        Ok(Written { rows: self.rows.load(Ordering::Relaxed), files, bytes: self.bytes.load(Ordering::Relaxed) })
    }

    /// The rows of a batch by partition, without the partition columns.
    pub(super) fn placed(&self, rows: &RecordBatch) -> Result<Vec<(OutputPartition, RecordBatch)>> {
        let mut placed = self.placing.split(rows)?;
        placed.retain(|(_, rows)| rows.num_rows() > 0);
        Ok(placed)
    }

    /// True if rows may be in a partition: a table without rows has a file in none.
    pub(super) fn has_partition(&self, partition: &OutputPartition) -> bool {
        let Placing { partition_by, bucket_by, .. } = &self.placing;
        partition.folders.len() == partition_by.len() && partition.bucket.is_some() == bucket_by.is_some()
    }

    /// True if the rows of a partition are sorted.
    pub(super) fn is_sorted(&self) -> bool {
        !self.order.is_empty()
    }

    /// The columns of the files: all except those encoded in folder names.
    pub(super) fn schema(&self) -> SchemaRef {
        self.placing.without_folders(&self.schema)
    }

    /// Appends a chunk to the open file of its partition, and closes the file at its target size.
    fn append(&self, partition: &OutputPartition, chunk: EncodedChunk) -> Result<()> {
        let slot = Arc::clone(self.open.lock().expect("no writer panicked").entry(partition.clone()).or_default());
        let mut slot = slot.lock().expect("no writer panicked");
        let mut file = match slot.take() {
            Some(file) => file,
            None => OpenFile::create(self.part_path(partition)?, self.schema(), self.format)?,
        };
        file.append(chunk)?;
        if file.bytes() < self.format.target_bytes {
            *slot = Some(file);
        } else {
            self.bytes.fetch_add(file.close(&self.share.syncer)?, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Closes the open file of a partition, if any.
    fn close(&self, partition: &OutputPartition) -> Result<()> {
        let slot = self.open.lock().expect("no writer panicked").remove(partition);
        if let Some(file) = slot.and_then(|slot| slot.lock().expect("no writer panicked").take()) {
            self.bytes.fetch_add(file.close(&self.share.syncer)?, Ordering::Relaxed);
        }
        Ok(())
    }

    fn part_path(&self, partition: &OutputPartition) -> Result<PathBuf> {
        // The folder of the table is not created again: if it is gone, so are the files that it had.
        let mut folder = self.folder.clone();
        for name in &partition.folders {
            folder.push(name);
            create_folder(&folder)?;
        }
        let ShareOfRun { run, process, processes, .. } = &self.share;
        let part = self.files.fetch_add(1, Ordering::Relaxed) * processes + process;
        let bucket = partition.bucket.map_or(String::new(), |bucket| format!("_{bucket:05}"));
        Ok(folder.join(format!("part-{part:05}-{run}{bucket}{}", self.format.ending())))
    }
}

impl PartWriter {
    /// Writes rows.
    ///
    /// # Errors
    ///
    /// If encoding or writing fails.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let placed = self.table.placing.split(batch)?;
        placed.into_iter().try_for_each(|(partition, batch)| self.write_placed(partition, batch))
    }

    /// Writes rows of a partition, without the partition columns.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub(super) fn write_placed(&mut self, partition: OutputPartition, batch: RecordBatch) -> Result<()> {
        self.table.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        if self.table.is_sorted() {
            let mut unsorted = self.table.unsorted.lock().expect("no writer panicked");
            unsorted.entry(partition).or_default().push(batch);
            return Ok(());
        }
        let mut chunk = match self.chunks.remove(&partition) {
            Some(chunk) => chunk,
            None => self.table.new_chunk(),
        };
        chunk.write(&batch)?;
        if self.table.is_full(&chunk) {
            self.table.append(&partition, chunk.seal()?)?;
        } else {
            self.chunks.insert(partition, chunk);
        }
        Ok(())
    }

    /// Hands over the last chunks.
    ///
    /// # Errors
    ///
    /// If encoding fails.
    pub(crate) fn finish(self) -> Result<()> {
        for (partition, chunk) in self.chunks {
            let sealed = chunk.seal()?;
            self.table.last.lock().expect("no writer panicked").entry(partition).or_default().push(sealed);
        }
        Ok(())
    }
}

impl TableWriter {
    fn new_chunk(&self) -> Chunk {
        let sorted_by: Vec<_> = self.order.iter().map(|(column, _)| column.clone()).collect();
        Chunk::new(self.schema(), self.format, &sorted_by)
    }

    fn is_full(&self, chunk: &Chunk) -> bool {
        let bytes_max = usize::try_from(self.format.target_bytes.min(self.format.chunk_bytes)).unwrap_or(usize::MAX);
        chunk.is_full(CHUNK_ROWS, bytes_max)
    }

    /// Sorts and writes partitions in parallel.
    fn write_all_sorted(
        &self,
        unsorted: BTreeMap<OutputPartition, Vec<RecordBatch>>,
        is_over: &(impl Fn() -> bool + Sync),
    ) -> Result<()> {
        let partitions = Mutex::new(unsorted.into_iter());
        let next = || partitions.lock().expect("no writer panicked").next();
        let write = || {
            std::iter::from_fn(next)
                .try_for_each(|(partition, batches)| self.write_sorted(&partition, &batches, is_over))
        };
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(write)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("no writer panics"))
        })
    }

    /// Sorts and writes the rows of a partition.
    fn write_sorted(
        &self,
        partition: &OutputPartition,
        batches: &[RecordBatch],
        is_over: &impl Fn() -> bool,
    ) -> Result<()> {
        let order = sorted(batches, &self.order)?;
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        let mut chunk = self.new_chunk();
        for start in (0..order.len()).step_by(SORTED_ROWS) {
            if is_over() {
                return Err(Error::failed("the run is over"));
            }
            let some = &order[start..order.len().min(start + SORTED_ROWS)];
            chunk.write(&interleave_record_batch(&batches, some).map_err(Error::failed)?)?;
            if self.is_full(&chunk) || start + SORTED_ROWS >= order.len() {
                self.append(partition, std::mem::replace(&mut chunk, self.new_chunk()).seal()?)?;
            }
        }
        Ok(())
    }
}

/// The batch and position of each row in the order of the columns.
fn sorted(batches: &[RecordBatch], columns: &[(String, SortOptions)]) -> Result<Vec<(usize, usize)>> {
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let values = |batch: &RecordBatch| -> Vec<ArrayRef> {
        columns
            .iter()
            .map(|(name, _)| Arc::clone(batch.column_by_name(name).expect("sort columns were checked")))
            .collect()
    };
    let field = |(column, (_, options)): (&ArrayRef, &(String, SortOptions))| {
        SortField::new_with_options(column.data_type().clone(), *options)
    };
    let fields = values(first).iter().zip(columns).map(field).collect();
    let converter = RowConverter::new(fields).map_err(Error::failed)?;
    let keys = batches.iter().map(|batch| converter.convert_columns(&values(batch))).collect::<Result<Vec<Rows>, _>>();
    let keys = keys.map_err(Error::failed)?;
    let mut order: Vec<(usize, usize)> =
        keys.iter().enumerate().flat_map(|(batch, keys)| (0..keys.num_rows()).map(move |row| (batch, row))).collect();
    order.sort_by(|a, b| keys[a.0].row(a.1).cmp(&keys[b.0].row(b.1)));
    Ok(order)
}
