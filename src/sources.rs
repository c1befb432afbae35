//! Where rows come from: what a source is, and those there are.
//!
//! ```text
//! source ─ splits ─▶ workers ─ batches of columns ─▶ decode ─┬─▶ upserts
//!                                                            └─▶ rejections
//! ```
//!
//! A source has the columns of the three tables, and splits that workers read at the same time. It hands over batches of columns,
//! each row with its offset: a part of the source, and the row's number in it. Of rows with one id, the one with the
//! greatest offset counts. Decoding to typed rows is the same for all sources.
//!
//! | source | is |
//! |---|---|
//! | [`FileSource`] | an input folder of Parquet, CSV and JSON lines files |
//! | [`BatchSource`] | record batches in memory |

mod batches;
mod decode;
mod files;
mod source;

pub use batches::BatchSource;
pub(crate) use decode::RowDecoder;
pub use decode::changes;
pub use files::{FileSource, Renames};
pub(crate) use source::{MalformedRow, RowNumbers};
pub use source::{Source, SourceBatch, SourceBatches, Split};
