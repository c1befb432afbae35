//! Queries of the tables that a run has written.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::arrow::csv::reader::Format;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::catalog::Session;
use datafusion::common::{DataFusionError, Result as QueryResult};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::prelude::SessionContext;
use tokio::runtime::{Builder, Runtime};
use url::Url;

use crate::config::ViewKeys;
use crate::error::{Error, Result};
use crate::sinks::folder::uncompressed;
use crate::tables::{Catalog, RejectedTable};

use super::catalog::tables::{MILLSTREAM, SHOP};
use super::environment::environment;
use super::language::text_limits::STACK_BYTES;
use super::queried_tables::{QueriedTable, QueriedTables};
use super::rows_of_query::rows_of_query;
use super::sql_state::QueryProblem;
use super::views::View;

/// The tables of an output folder, as they were when it was opened.
pub(crate) struct FolderQueries {
    context: SessionContext,
    threads: Runtime,
}

impl FolderQueries {
    /// Opens the folder. Queries have so many bytes of memory together.
    ///
    /// # Errors
    ///
    /// If it can't be read or has no tables, or a view is not a query.
    pub(crate) fn open(folder: &Path, views: &[ViewKeys], memory: u64) -> Result<FolderQueries> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = Builder::new_multi_thread().worker_threads(cores).thread_stack_size(STACK_BYTES).build();
        let threads = threads.map_err(Error::failed)?;
        let (views, environment) = (View::all(views)?, environment(memory)?);
        let found = TableFolder::all(folder)?;
        let context = threads.block_on(async {
            let mut tables = Vec::new();
            let session = SessionContext::new_with_config_rt(Default::default(), Arc::clone(&environment));
            for table in found {
                let unreadable =
                    |error: &_| Error::failed(format!("{}: {}", table.path.display(), QueryProblem::of(error).message));
                tables.push(table.open(&session.state()).await.map_err(|error| unreadable(&error))?);
            }
            let tables = QueriedTables::new(tables, &views, &environment, cores).await.map_err(Error::failed)?;
            Ok::<_, Error>(SessionContext::new_with_state(tables.state))
        })?;
        Ok(FolderQueries { context, threads })
    }

    /// The rows of one query.
    ///
    /// # Errors
    ///
    /// If the query is wrong, or its files can't be read.
    pub(crate) fn query(&self, sql: &str) -> std::result::Result<(SchemaRef, Vec<RecordBatch>), QueryProblem> {
        let (context, sql) = (self.context.clone(), sql.to_owned());
        // On a thread whose stack is large enough for what the parser takes.
        let rows = self.threads.spawn(async move { rows_of_query(&context, &sql, usize::MAX).await });
        let rows = self.threads.block_on(rows);
        let panicked = || QueryProblem::new(QueryProblem::INTERNAL, "the query panicked");
        rows.map_err(|_| panicked())?.map_err(|error| QueryProblem::of(&error))
    }
}

/// A table in a folder.
struct TableFolder {
    name: String,
    /// Where its files are, without links: the next run does not move them.
    path: PathBuf,
}

/// How the files of a table end.
const PARQUET: &str = "parquet";
const CSV: &str = "csv";
const JSONL: &str = "jsonl";

impl TableFolder {
    /// The tables of an output folder.
    fn all(folder: &Path) -> Result<Vec<TableFolder>> {
        let mut tables = Vec::new();
        if folder.join("_millstream").is_dir() {
            let cause = "found a lake, whose folders have files of former versions, too; read it by its log";
            return Err(Error::usage(format!("{}: {cause}", folder.display())));
        }
        for entry in fs::read_dir(folder).map_err(Error::reading(folder))? {
            let path = entry.map_err(Error::reading(folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(['.', '_']) || !path.is_dir() {
                continue;
            }
            tables.push(TableFolder { name, path: fs::canonicalize(&path).map_err(Error::reading(&path))? });
        }
        tables.sort_by(|one, other| one.name.cmp(&other.name));
        match tables.is_empty() {
            true => Err(Error::usage(format!("{}: found no table, wanted the output of a run", folder.display()))),
            false => Ok(tables),
        }
    }

    async fn open(&self, session: &dyn Session) -> QueryResult<QueriedTable> {
        let first = first_file(&self.path);
        let (format, ending) = format_of(first.as_deref());
        // Not as a text, in which some characters would stand for others.
        let url = Url::from_directory_path(&self.path);
        let url = url.map_err(|()| DataFusionError::Plan(format!("{} can't be a URL", self.path.display())))?;
        let url = ListingTableUrl::try_new(url, None)?;
        let mut options = ListingOptions::new(format).with_file_extension(ending);
        let partitions = options.infer_partitions(session, &url).await?;
        let columns = partitions.into_iter().map(|name| (name, DataType::Utf8));
        options = options.with_table_partition_cols(columns.collect());
        let schema = match &first {
            // DataFusion takes what stands in the first frame of a compressed file for all of it.
            Some(path) if options.file_extension.starts_with(".csv") => Arc::new(columns_of_csv(path)?),
            _ => options.infer_schema(session, &url).await?,
        };
        let config = ListingTableConfig::new(url).with_listing_options(options).with_schema(schema);
        let rows = Arc::new(ListingTable::try_new(config)?);
        let key = Catalog::standard().key(&self.name).unwrap_or_default().iter().map(ToString::to_string).collect();
        let (schema, key) = if self.name == RejectedTable::NAME { (MILLSTREAM, Vec::new()) } else { (SHOP, key) };
        Ok(QueriedTable { schema, name: self.name.clone(), rows, key })
    }
}

/// The format of a file, and how its name ends.
fn format_of(file: Option<&Path>) -> (Arc<dyn FileFormat>, String) {
    let name = file.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let (stem, compression) = match name.rsplit_once('.') {
        Some((stem, "gz")) => (stem, FileCompressionType::GZIP),
        Some((stem, "zst")) => (stem, FileCompressionType::ZSTD),
        _ => (name.as_str(), FileCompressionType::UNCOMPRESSED),
    };
    let ending = stem.rsplit_once('.').map_or(PARQUET, |(_, ending)| ending);
    let behind = &name[stem.len()..];
    match ending {
        CSV => {
            let format = CsvFormat::default().with_has_header(true).with_file_compression_type(compression);
            (Arc::new(format), format!(".{CSV}{behind}"))
        }
        JSONL => {
            let format = JsonFormat::default().with_file_compression_type(compression);
            (Arc::new(format), format!(".{JSONL}{behind}"))
        }
        _ => (Arc::new(ParquetFormat::default()), format!(".{PARQUET}")),
    }
}

/// The columns of a CSV file, by its first values.
fn columns_of_csv(path: &Path) -> QueryResult<Schema> {
    const ROWS: usize = 10_000;
    let content = uncompressed(path).map_err(|error| DataFusionError::External(error.into()))?;
    let (schema, _) = Format::default().with_header(true).infer_schema(content, Some(ROWS))?;
    let texts = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Null => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
        _ => Arc::clone(field),
    });
    Ok(Schema::new(texts.collect::<Vec<_>>()))
}

/// A data file, in the folder or below it.
fn first_file(folder: &Path) -> Option<PathBuf> {
    let entries = || fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_data = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !name.starts_with(['.', '_'])
    };
    let own = entries().filter(is_data).find(|path| path.is_file());
    own.or_else(|| entries().filter(is_data).filter(|path| path.is_dir()).find_map(|path| first_file(&path)))
}
