//! The format of output files.

use parquet::basic::{Compression, GzipLevel, ZstdLevel};

/// The format and size of a table's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFormat {
    /// The file format.
    pub format: OutputFormat,
    /// The compression codec.
    pub codec: Codec,
    /// The approximate size at which a file is closed and the next one is opened.
    pub target_bytes: u64,
    /// The most bytes that a worker encodes before it appends them to a file: a Parquet row group, which has at most
    /// 1,048,576 rows, or a part of a text. Each worker holds about twice as much for each table and partition.
    pub chunk_bytes: u64,
}

/// Snappy-compressed Parquet files of 128 MiB, in chunks of at most 64 MiB.
impl Default for FileFormat {
    fn default() -> Self {
        FileFormat {
            format: OutputFormat::Parquet,
            codec: Codec::Snappy,
            target_bytes: 128 << 20,
            chunk_bytes: 64 << 20,
        }
    }
}

/// The file format of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OutputFormat {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values with a header.
    Csv,
    /// A JSON object on each line.
    Jsonl,
    /// Delta Lake: Parquet files, and a log of the runs.
    Delta,
}

/// The compression of files. Text files support `gzip` and `zstd`; with `snappy` and `none` they are uncompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are self-explanatory")]
#[non_exhaustive]
pub enum Codec {
    Snappy,
    Zstd,
    Gzip,
    Lz4,
    None,
}

/// A fast level that compresses better than the negative ones.
pub(super) const ZSTD_LEVEL: i32 = 1;

impl Codec {
    /// As a Parquet file names it.
    pub(super) fn of_parquet(self) -> Compression {
        match self {
            Codec::Snappy => Compression::SNAPPY,
            Codec::Zstd => Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).expect("1 is a valid level")),
            Codec::Gzip => Compression::GZIP(GzipLevel::default()),
            Codec::Lz4 => Compression::LZ4_RAW,
            Codec::None => Compression::UNCOMPRESSED,
        }
    }
}

impl FileFormat {
    /// The bucket in the name of a file; the inner `None` if it has none, the outer one if no file has such a name.
    pub(in crate::sinks::folder) fn bucket_of(self, name: &str) -> Option<Option<u32>> {
        let name = name.strip_prefix("part-")?.strip_suffix(&self.ending())?;
        name.split_once('_').map(|(_, bucket)| bucket.parse().ok()).map_or(Some(None), |bucket| bucket.map(Some))
    }

    pub(super) fn ending(self) -> String {
        let (codec, text) = match self.codec {
            Codec::Snappy => (".snappy", ""),
            Codec::Zstd => (".zstd", ".zst"),
            Codec::Gzip => (".gz", ".gz"),
            Codec::Lz4 => (".lz4", ""),
            Codec::None => ("", ""),
        };
        match self.format {
            OutputFormat::Parquet | OutputFormat::Delta => format!("{codec}.parquet"),
            OutputFormat::Csv => format!(".csv{text}"),
            OutputFormat::Jsonl => format!(".jsonl{text}"),
        }
    }
}
