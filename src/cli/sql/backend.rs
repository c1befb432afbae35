//! Who answers queries.

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::record_batch::RecordBatch;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::StatusCode;

use crate::cli::remote::{Remote, RemoteArgs};
use crate::config::ByteSize;
use crate::error::{Error, Result};

use super::format::AnswerFormat;

/// Who answers queries.
pub(super) enum Backend {
    /// A running service.
    Service(Remote),
    /// The tables in a folder.
    #[cfg(feature = "sql")]
    Folder(crate::sql::FolderQueries),
}

/// An answer.
pub(super) enum SqlAnswer {
    Rows(SchemaRef, Vec<RecordBatch>),
    /// Rows in the format that is wanted.
    Bytes(Vec<u8>),
}

/// How long an answer may take: longer than a service works on a query.
const PATIENCE: Duration = Duration::from_secs(3600);
/// A service gives no longer answer.
const ANSWER_MOST: u64 = 1 << 30;

impl Backend {
    /// The tables in a folder, with the views of a config file; without a folder, a service.
    pub(super) fn open(
        folder: Option<&Path>,
        config: Option<&Path>,
        memory: Option<ByteSize>,
        remote: &RemoteArgs,
    ) -> Result<Backend> {
        let Some(folder) = folder else { return Ok(Backend::Service(remote.open(Some(PATIENCE))?)) };
        #[cfg(feature = "sql")]
        {
            let views = crate::config::views_of(config)?;
            let half = || crate::process_memory::of_machine().unwrap_or(1 << 30) / 2;
            let memory = memory.map_or_else(half, ByteSize::bytes);
            Ok(Backend::Folder(crate::sql::FolderQueries::open(folder, &views, memory)?))
        }
        #[cfg(not(feature = "sql"))]
        {
            let _ = (folder, config, memory);
            Err(Error::usage("--folder: this build is without it; wanted one with the feature sql"))
        }
    }

    /// The answer to a query; of a service, in a format if it has that.
    pub(super) fn answer(&self, query: &str, format: AnswerFormat) -> Result<SqlAnswer> {
        match self {
            Backend::Service(remote) => {
                let bytes = asked(remote, query, format)?;
                if format != AnswerFormat::Table && format != AnswerFormat::Json {
                    return Ok(SqlAnswer::Bytes(bytes));
                }
                let reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(|_| remote.is_another())?;
                let schema = reader.schema();
                let rows = reader.collect::<std::result::Result<_, _>>().map_err(|_| remote.is_another())?;
                Ok(SqlAnswer::Rows(schema, rows))
            }
            #[cfg(feature = "sql")]
            Backend::Folder(queries) => {
                let (schema, rows) = queries.query(query).map_err(Error::usage)?;
                Ok(SqlAnswer::Rows(schema, rows))
            }
        }
    }
}

/// Asks a service.
fn asked(remote: &Remote, query: &str, format: AnswerFormat) -> Result<Vec<u8>> {
    let format = match format {
        AnswerFormat::Csv => "csv",
        AnswerFormat::Jsonl => "jsonl",
        AnswerFormat::Parquet => "parquet",
        AnswerFormat::Table | AnswerFormat::Json | AnswerFormat::Arrow => "arrow",
    };
    let path = format!("/v1/sql?format={format}&q={}", utf8_percent_encode(query, NON_ALPHANUMERIC));
    let answer = remote.request(&path).call();
    let mut answer = answer.map_err(|error| Error::usage(format!("--url: {}: {error}", remote.base)))?;
    match answer.status() {
        StatusCode::OK => answer.body_mut().with_config().limit(ANSWER_MOST).read_to_vec().map_err(Error::failed),
        StatusCode::URI_TOO_LONG => Err(Error::usage("the query is too long for a request; wanted a shorter one")),
        _ => Err(remote.problem("/v1/sql", &mut answer)),
    }
}
