//! The formats of answers.

use clap::ValueEnum;

/// How rows are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AnswerFormat {
    /// Columns side by side, for reading.
    Table,
    /// Comma-separated values with a header.
    Csv,
    /// A JSON array of objects.
    Json,
    /// A JSON object on each line.
    Jsonl,
    /// A Parquet file.
    Parquet,
    /// A stream of Arrow record batches.
    Arrow,
}
