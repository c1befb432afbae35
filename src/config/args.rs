//! Flags and environment variables of a run.

use std::path::PathBuf;

use crate::sinks::folder::{Codec, OutputFormat};

use super::byte_size::ByteSize;
use super::cluster::ClusterArgs;

/// Flags and environment variables of a run. Unset ones are taken from the config file, then from the defaults.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
pub struct RunArgs {
    /// Config file (YAML).
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_CONFIG", value_name = "FILE"))]
    pub config: Option<PathBuf>,
    /// Input folder with orders, products and customers.
    #[cfg_attr(feature = "cli", arg(long, env = "INPUT_PATH", value_name = "DIR"))]
    pub input: Option<PathBuf>,
    /// Output folder for the tables.
    #[cfg_attr(feature = "cli", arg(long, env = "OUTPUT_PATH", value_name = "DIR"))]
    pub output: Option<PathBuf>,
    /// Worker threads per process [default: number of cores].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_WORKERS", value_name = "N"))]
    pub workers: Option<usize>,
    /// Reference date for recency [default: today].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_AS_OF", value_name = "YYYY-MM-DD"))]
    pub as_of: Option<String>,
    /// Time zone of day boundaries, such as Europe/Berlin [default: UTC].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_TIME_ZONE", value_name = "ZONE"))]
    pub time_zone: Option<String>,
    /// Tables to write, or all [default: the standard tables].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_TABLES", value_name = "NAME,...", value_delimiter = ','))]
    pub tables: Option<Vec<String>>,
    /// Orders per customer in customer_product_matrix [default: 10].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_MATRIX_SIZE", value_name = "N"))]
    pub matrix_size: Option<usize>,
    /// Model file for order_anomalies [default: train a model].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_MODEL", value_name = "FILE"))]
    pub model: Option<PathBuf>,
    /// Save the model to this file.
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_SAVE_MODEL", value_name = "FILE"))]
    pub save_model: Option<PathBuf>,
    /// Fail if more rows than this are rejected.
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_MAX_REJECTED", value_name = "N"))]
    pub max_rejected: Option<u64>,
    /// Fail if more than this share of the rows of an input table is rejected, 0 to 1 [default: 0.5].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_MAX_REJECTED_SHARE", value_name = "SHARE"))]
    pub max_rejected_share: Option<f64>,
    /// File format of the tables [default: parquet].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_FORMAT", value_name = "FORMAT", ignore_case = true))]
    pub format: Option<OutputFormat>,
    /// Compression of the files [default: snappy].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_COMPRESSION", value_name = "CODEC", ignore_case = true))]
    pub compression: Option<Codec>,
    /// Partition columns of enriched_data, such as year,month.
    #[cfg_attr(
        feature = "cli",
        arg(long, env = "MILLSTREAM_PARTITION_BY", value_name = "COLUMN,...", value_delimiter = ',')
    )]
    pub partition_by: Option<Vec<String>>,
    /// Target size of files, such as 64MB [default: 128MB].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_TARGET_FILE_SIZE", value_name = "SIZE"))]
    pub target_file_size: Option<ByteSize>,
    /// Rows per input batch [default: 10000].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_BATCH_SIZE", value_name = "ROWS"))]
    pub batch_size: Option<usize>,
    /// Report the time spent in each operator.
    #[cfg_attr(
        feature = "cli",
        arg(long, env = "MILLSTREAM_PROFILE", value_parser = clap::builder::FalseyValueParser::new())
    )]
    pub profile: bool,
    /// The processes of the run.
    #[cfg_attr(feature = "cli", command(flatten))]
    pub cluster: ClusterArgs,
}
