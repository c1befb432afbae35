//! Sources, which provide rows.
//!
//! ```text
//! source ─ splits ─▶ workers ─ batches of columns ─▶ decode ─┬─▶ upserts
//!                                                            └─▶ rejections
//! ```
//!
//! A source has the columns of the three tables, and splits that workers read concurrently. It returns batches of
//! columns. The offset of a row is its part of the source and its number there; if rows share an id, the one with the
//! greatest offset wins. All sources share the decoding to typed rows.
//!
//! | source | contents |
//! |---|---|
//! | [`FileSource`] | an input folder of Parquet, Arrow, CSV and JSON lines files |
//! | [`BatchSource`] | record batches in memory |
//!
//! With the features `postgres` and `kafka`, a service also takes tables of PostgreSQL, with every transaction that
//! changes them, and the records of topics in Kafka.

mod batches;
mod conversion;
mod decode;
mod files;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
mod lateness;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod source;

pub use batches::BatchSource;
pub(crate) use conversion::Conversion;
pub use conversion::DiscountUnit;
pub use decode::changes;
pub(crate) use decode::{Decoded, Notes, RowDecoder};
pub(crate) use files::NOT_IN_DIALECTS;
pub use files::{
    ArrivedFile, ArrivedRows, CsvDialect, FileColumn, FileLedger, FileOptions, FileOrder, FileSource, FileStamp,
    FolderWatch, InputFormat, Renames, SkippedColumns, VersionColumn,
};
pub(crate) use files::{NewColumns, read_body};
pub(crate) use lateness::LATE;
pub use lateness::Lateness;
pub(crate) use source::{MalformedRow, RowNumbers};
pub use source::{Source, SourceBatch, SourceBatches, Split};
