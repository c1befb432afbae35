//! The log of a Delta table: what files it has, and since which epoch.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use arrow::record_batch::RecordBatch;
use delta_kernel::committer::{CommitMetadata, CommitResponse, Committer, FileSystemCommitter, PublishMetadata};
use delta_kernel::engine::arrow_conversion::{TryIntoArrow as _, TryIntoKernel as _};
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::engine::arrow_utils::to_json_bytes;
use delta_kernel::scan::scan_row_schema;
use delta_kernel::schema::StructType;
use delta_kernel::transaction::create_table::create_table;
use delta_kernel::transaction::{CommitResult, UpdateTableOperation};
use delta_kernel::{
    Engine, FileMeta, FilteredEngineData, KernelError, KernelResult, KernelResultIterator, Snapshot, SnapshotRef,
};
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder};
use object_store::ObjectStore;
use serde_json::{Value, json};
use url::Url;

use crate::error::{Error, Result};

/// The property of a table that names its sink.
pub(super) const SINK: &str = "millstream.sink";
/// Who has written a commit.
const ENGINE_INFO: &str = concat!("millstream/", env!("CARGO_PKG_VERSION"));

/// The engine that reads and writes logs. Clones share it.
#[derive(Clone)]
pub(super) struct LogEngine(Arc<DefaultEngine<TokioMultiThreadExecutor>>);

impl LogEngine {
    /// An engine with a thread of its own.
    pub(super) fn new(store: Arc<dyn ObjectStore>) -> Result<LogEngine> {
        // The executor in the background that is the default would wait for itself when it writes a checkpoint.
        let executor = TokioMultiThreadExecutor::new_owned_runtime(Some(1), None).map_err(Error::failed)?;
        Ok(LogEngine(Arc::new(DefaultEngineBuilder::new(store).with_task_executor(Arc::new(executor)).build())))
    }
}

/// A table as it was when it was looked at last.
pub(super) struct TableLog {
    engine: LogEngine,
    columns: SchemaRef,
    snapshot: SnapshotRef,
    /// The commit of the newest checkpoint, as far as this process knows.
    checkpointed: u64,
}

/// A file that a table has.
#[derive(Clone, Debug)]
pub(super) struct LoggedFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) rows: u64,
    /// True if some of its rows are deleted without the file being written again.
    pub(super) has_deletions: bool,
}

/// A file that a commit adds.
pub(super) struct AddedFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// When it was written, in milliseconds since 1970.
    pub(super) time_ms: u64,
    /// Its statistics, as JSON.
    pub(super) stats: String,
}

/// What a commit does.
#[derive(Default)]
pub(super) struct TableCommit {
    pub(super) added: Vec<AddedFile>,
    pub(super) removed: Vec<LoggedFile>,
    /// Identifiers of transactions, with versions.
    pub(super) transactions: Vec<(String, u64)>,
}

/// What became of a commit.
pub(super) enum CommitOutcome {
    Committed,
    /// Somebody else has committed since the table was looked at.
    Conflict,
}

impl TableLog {
    /// The log of a table; `None` if there is none.
    pub(super) fn load(engine: &LogEngine, url: Url, columns: SchemaRef) -> Result<Option<TableLog>> {
        match Snapshot::builder_for(url).build(&*engine.0) {
            Ok(snapshot) => Ok(Some(TableLog { engine: engine.clone(), columns, snapshot, checkpointed: 0 })),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(Error::failed(format!("its log can't be read: {error}"))),
        }
    }

    /// Makes a table without rows.
    pub(super) fn create(
        engine: &LogEngine,
        url: Url,
        columns: SchemaRef,
        description: &str,
        properties: &[(&str, String)],
    ) -> Result<TableLog> {
        // The kernel takes only folders that are there.
        if let Ok(folder) = url.to_file_path() {
            fs::create_dir_all(&folder).map_err(Error::writing(&folder))?;
        }
        let made: KernelResult<_> = create_table(url.clone(), kernel_columns(&columns)?, ENGINE_INFO, false)
            // Columns that come later may be without nulls, which the protocol can't be told then.
            .with_table_properties([("delta.feature.invariants", "supported")])
            .with_table_properties(properties.iter().map(|(name, value)| (*name, value.as_str())))
            .build(&*engine.0, Box::new(described(description.to_owned())))
            .and_then(|transaction| transaction.commit(&*engine.0));
        made.map(drop).map_err(|error| Error::failed(format!("it can't be made: {error}")))?;
        let made = TableLog::load(engine, url, columns)?;
        made.ok_or_else(|| Error::failed("it was made, and is not there"))
    }

    /// Looks at the table again.
    pub(super) fn refresh(&mut self) -> Result<()> {
        self.snapshot = self.newest()?;
        Ok(())
    }

    fn newest(&self) -> Result<SnapshotRef> {
        let newest = Snapshot::builder_from(Arc::clone(&self.snapshot)).build(&*self.engine.0);
        newest.map_err(|error| Error::failed(format!("its log can't be read: {error}")))
    }

    /// The number of the newest commit.
    pub(super) fn version(&self) -> u64 {
        self.snapshot.version()
    }

    /// The number of the commit that the newest checkpoint has; 0 if there is none.
    pub(super) fn checkpointed(&self) -> u64 {
        self.checkpointed
    }

    /// True if the table has the columns that it is to have.
    pub(super) fn has_columns(&self) -> Result<bool> {
        let wanted = kernel_columns(&self.columns)?;
        let named = |schema: &StructType| -> Vec<_> {
            let field = |field: &delta_kernel::schema::StructField| {
                (field.name().clone(), field.data_type().clone(), field.is_nullable())
            };
            schema.fields().map(field).collect()
        };
        Ok(named(&self.snapshot.schema()) == named(&wanted))
    }

    /// Checks that the table belongs to a sink.
    ///
    /// # Errors
    ///
    /// If it is another one's.
    pub(super) fn check_owner(&self, sink: &str) -> Result<()> {
        match self.property(SINK) {
            Some(owner) if owner == sink => Ok(()),
            Some(owner) => Err(Error::usage(format!("it is delivered by the sink {owner}; wanted another folder"))),
            None => Err(Error::usage("it is there, and not of millstream; wanted another folder")),
        }
    }

    /// A property of the table.
    pub(super) fn property(&self, name: &str) -> Option<String> {
        self.snapshot.table_configuration().metadata().configuration().get(name).cloned()
    }

    /// The version of an identifier of transactions.
    pub(super) fn transaction(&self, id: &str) -> Result<Option<u64>> {
        let version = self.snapshot.get_app_id_version(id, &*self.engine.0);
        let version = version.map_err(|error| Error::failed(format!("its log can't be read: {error}")))?;
        Ok(version.and_then(|version| u64::try_from(version).ok()))
    }

    /// The files of the table.
    pub(super) fn files(&self) -> Result<Vec<LoggedFile>> {
        self.files_of(&self.snapshot)
    }

    /// The files that the table has now. The next commit still conflicts with what others have committed.
    pub(super) fn newest_files(&self) -> Result<Vec<LoggedFile>> {
        self.files_of(&self.newest()?)
    }

    fn files_of(&self, snapshot: &SnapshotRef) -> Result<Vec<LoggedFile>> {
        let mut files = Vec::new();
        let scanned: KernelResult<()> = (|| {
            let scan = Arc::clone(snapshot).scan_builder().without_row_transforms().build()?;
            for part in scan.scan_metadata(&*self.engine.0)? {
                files = part?.visit_scan_files(std::mem::take(&mut files), |files: &mut Vec<LoggedFile>, file| {
                    files.push(LoggedFile {
                        has_deletions: file.dv_info.has_vector(),
                        bytes: u64::try_from(file.size).unwrap_or_default(),
                        rows: file.stats.map_or(0, |stats| stats.num_records),
                        name: file.path,
                    });
                })?;
            }
            Ok(())
        })();
        scanned.map_err(|error| Error::failed(format!("its files can't be listed: {error}")))?;
        Ok(files)
    }

    /// Commits; the table is then as it was committed. If it has other columns than it is to have, the commit replaces
    /// them, too.
    pub(super) fn commit(&mut self, commit: &TableCommit) -> Result<CommitOutcome> {
        let engine = &*self.engine.0;
        let added = self.added(&commit.added)?;
        let with_deletions: HashSet<&str> =
            commit.removed.iter().filter(|file| file.has_deletions).map(|file| file.name.as_str()).collect();
        let removed = removed(commit.removed.iter().filter(|file| !file.has_deletions))?;
        let is_change = added.is_some() || !commit.removed.is_empty();
        let replaced = if is_change { self.other_metadata()? } else { None };
        let replaces_columns = replaced.is_some();
        let committer: Box<dyn Committer> = match replaced {
            Some(metadata) => Box::new(with_metadata(metadata)),
            None => Box::new(FileSystemCommitter::new()),
        };
        let committed: KernelResult<CommitResult<_>> = (|| {
            let operation = if is_change { UpdateTableOperation::Write } else { UpdateTableOperation::StreamingUpdate };
            let mut transaction =
                Arc::clone(&self.snapshot).update_table(operation, ENGINE_INFO, true).build(engine, committer)?;
            if let Some(rows) = added {
                transaction.add_files(Box::new(ArrowEngineData::new(rows)));
            }
            if let Some(rows) = removed {
                let rows = Box::new(ArrowEngineData::new(rows));
                transaction.remove_files(FilteredEngineData::with_all_rows_selected(rows));
            }
            for files in self.scanned(&with_deletions)? {
                transaction.remove_files(files);
            }
            for (id, version) in &commit.transactions {
                transaction = transaction.with_transaction_id(id.clone(), i64::try_from(*version).unwrap_or(i64::MAX));
            }
            transaction.commit(engine)
        })();
        match committed {
            Ok(CommitResult::Committed(commit)) => {
                match commit.post_commit_snapshot() {
                    Some(snapshot) if !replaces_columns => self.snapshot = Arc::clone(snapshot),
                    // The kernel does not know of other columns yet.
                    _ => self.refresh()?,
                }
                Ok(CommitOutcome::Committed)
            }
            Ok(CommitResult::Conflicted(_)) => Ok(CommitOutcome::Conflict),
            Ok(CommitResult::Retryable(retryable)) => {
                Err(Error::failed(format!("it can't be committed: {}", retryable.error)))
            }
            Err(error) => Err(Error::failed(format!("it can't be committed: {error}"))),
        }
    }

    /// The metadata with the columns that the table is to have, if it has others.
    fn other_metadata(&self) -> Result<Option<Value>> {
        if self.has_columns()? {
            return Ok(None);
        }
        let mut metadata =
            serde_json::to_value(self.snapshot.table_configuration().metadata()).map_err(Error::failed)?;
        let columns = serde_json::to_string(kernel_columns(&self.columns)?.as_ref()).map_err(Error::failed)?;
        metadata["schemaString"] = columns.into();
        Ok(Some(metadata))
    }

    /// Files of the table as its log has them, with which of their rows are deleted.
    fn scanned(&self, names: &HashSet<&str>) -> KernelResult<Vec<FilteredEngineData>> {
        let mut found = Vec::new();
        if names.is_empty() {
            return Ok(found);
        }
        let scan = Arc::clone(&self.snapshot).scan_builder().without_row_transforms().build()?;
        for part in scan.scan_metadata(&*self.engine.0)? {
            let (data, mut selection) = part?.scan_files.into_parts();
            selection.resize(data.len(), true);
            let rows: RecordBatch = ArrowEngineData::try_from_engine_data(data)?.into();
            let paths = rows.column_by_name("path").and_then(|paths| paths.as_string_opt::<i32>()).cloned();
            let paths = paths.ok_or_else(|| KernelError::generic("a scan without paths"))?;
            for (place, is_selected) in selection.iter_mut().enumerate() {
                *is_selected = *is_selected && names.contains(paths.value(place));
            }
            found.push(FilteredEngineData::try_new(Box::new(ArrowEngineData::new(rows)), selection)?);
        }
        Ok(found)
    }

    /// Writes a checkpoint, by which readers need not read all commits.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        let written = self.snapshot.checkpoint(&*self.engine.0, None);
        let (_, snapshot) = written.map_err(|error| Error::failed(format!("no checkpoint can be written: {error}")))?;
        (self.checkpointed, self.snapshot) = (snapshot.version(), snapshot);
        Ok(())
    }

    /// Files that are added, as the kernel takes them.
    fn added(&self, files: &[AddedFile]) -> Result<Option<RecordBatch>> {
        let row = |file: &AddedFile| {
            let stats: Value = serde_json::from_str(&file.stats).map_err(Error::failed)?;
            Ok(json!({
                "path": file.name, "partitionValues": {}, "size": file.bytes, "modificationTime": file.time_ms,
                "stats": stats,
            }))
        };
        rows_of_json(&files.iter().map(row).collect::<Result<Vec<_>>>()?, Arc::new(self.added_columns()))
    }

    /// The columns of such files. Statistics have the columns of the table.
    fn added_columns(&self) -> Schema {
        let bounds: Vec<_> = self.columns.fields().iter().filter(|field| !field.data_type().is_nested()).collect();
        let of_bounds = |field: &&Arc<Field>| field.as_ref().clone().with_nullable(true);
        let bounds_type = DataType::Struct(bounds.iter().map(of_bounds).collect());
        let nulls = bounds.iter().map(|field| Field::new(field.name(), DataType::Int64, true)).collect();
        let stats = DataType::Struct(
            vec![
                Field::new("numRecords", DataType::Int64, true),
                Field::new("minValues", bounds_type.clone(), true),
                Field::new("maxValues", bounds_type, true),
                Field::new("nullCount", DataType::Struct(nulls), true),
                Field::new("tightBounds", DataType::Boolean, true),
            ]
            .into(),
        );
        let entry = DataType::Struct(
            vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)].into(),
        );
        let partitions = DataType::Map(Arc::new(Field::new("key_value", entry, false)), false);
        Schema::new(vec![
            Field::new("path", DataType::Utf8, false),
            Field::new("partitionValues", partitions, false),
            Field::new("size", DataType::Int64, false),
            Field::new("modificationTime", DataType::Int64, false),
            Field::new("stats", stats, true),
        ])
    }
}

/// Files that are removed as a whole, as the kernel takes them.
fn removed<'a>(files: impl Iterator<Item = &'a LoggedFile>) -> Result<Option<RecordBatch>> {
    let schema: Schema = scan_row_schema().as_ref().try_into_arrow().map_err(Error::failed)?;
    let row = |file: &LoggedFile| {
        json!({
            "path": file.name, "size": file.bytes, "modificationTime": 0,
            "stats": json!({ "numRecords": file.rows }).to_string(),
            "fileConstantValues": { "partitionValues": {} },
        })
    };
    rows_of_json(&files.map(row).collect::<Vec<_>>(), Arc::new(schema))
}

/// Rows of JSON objects; `None` if there are none.
fn rows_of_json(objects: &[Value], schema: SchemaRef) -> Result<Option<RecordBatch>> {
    if objects.is_empty() {
        return Ok(None);
    }
    let lines: String = objects.iter().map(|object| format!("{object}\n")).collect();
    let reader = ReaderBuilder::new(schema).with_batch_size(objects.len()).build(lines.as_bytes());
    reader.map_err(Error::failed)?.next().transpose().map_err(Error::failed)
}

fn kernel_columns(columns: &Schema) -> Result<Arc<StructType>> {
    let columns: std::result::Result<StructType, _> = columns.try_into_kernel();
    columns.map(Arc::new).map_err(|error| Error::usage(format!("Delta can't have its columns: {error}")))
}

/// True if a table is not there.
fn is_missing(error: &KernelError) -> bool {
    matches!(
        error.without_backtrace(),
        KernelError::EmptyLog | KernelError::FileNotFound(_) | KernelError::InvalidTableLocation(_)
    )
}

/// A description for a table that is made.
fn described(description: String) -> EditedCommit<impl Fn(&mut Vec<Value>) + Send> {
    EditedCommit(move |actions: &mut Vec<Value>| {
        for action in actions {
            if let Some(metadata) = action.get_mut("metaData").and_then(Value::as_object_mut) {
                metadata.insert("description".to_owned(), description.clone().into());
            }
        }
    })
}

/// Metadata in the place of those that a table has.
fn with_metadata(metadata: Value) -> EditedCommit<impl Fn(&mut Vec<Value>) + Send> {
    EditedCommit(move |actions: &mut Vec<Value>| {
        actions.insert(1.min(actions.len()), json!({ "metaData": metadata }));
    })
}

/// A commit whose actions are edited: the kernel neither sets a description nor replaces columns.
struct EditedCommit<F>(F);

impl<F: Fn(&mut Vec<Value>) + Send> Committer for EditedCommit<F> {
    fn commit(
        &self,
        engine: &dyn Engine,
        actions: KernelResultIterator<'_, FilteredEngineData>,
        commit: CommitMetadata,
    ) -> KernelResult<CommitResponse> {
        let bytes = to_json_bytes(actions)?;
        let actions = serde_json::Deserializer::from_slice(&bytes).into_iter().collect::<Result<_, _>>();
        let mut actions: Vec<Value> = actions.map_err(|error| KernelError::generic(error.to_string()))?;
        (self.0)(&mut actions);
        let text: String = actions.iter().map(|action| format!("{action}\n")).collect();
        let (path, size) = (commit.published_commit_path()?, text.len() as u64);
        match engine.storage_handler().put(&path, text.into(), false) {
            Ok(()) => {
                Ok(CommitResponse::Committed { file_meta: FileMeta::new(path, commit.in_commit_timestamp(), size) })
            }
            Err(KernelError::FileAlreadyExists(_)) => Ok(CommitResponse::Conflict { version: commit.version() }),
            Err(error) => Err(error),
        }
    }

    fn is_catalog_committer(&self) -> bool {
        false
    }

    fn publish(&self, _: &dyn Engine, _: PublishMetadata) -> KernelResult<()> {
        Ok(())
    }
}
