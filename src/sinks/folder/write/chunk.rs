//! Chunks encoded by one worker, and the files they are appended to.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::csv::WriterBuilder;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::json::LineDelimitedWriter;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use crate::error::{Error, Result};
use crate::sinks::folder::disk::Syncer;

use super::format::{Codec, FileFormat, OutputFormat};

/// Rows being encoded, to be appended to a file at once.
pub(super) struct Chunk {
    schema: SchemaRef,
    format: FileFormat,
    /// The sort columns.
    sorted_by: Vec<String>,
    rows: usize,
    encoded: ChunkEncoder,
}

enum ChunkEncoder {
    /// One writer per leaf column; empty until the first rows have determined the encodings.
    RowGroup(Vec<ArrowColumnWriter>),
    Text(Vec<u8>),
}

impl Chunk {
    pub(super) fn new(schema: SchemaRef, format: FileFormat, sorted_by: &[String]) -> Result<Chunk> {
        let encoded = match format.format {
            OutputFormat::Parquet => ChunkEncoder::RowGroup(Vec::new()),
            OutputFormat::Csv | OutputFormat::Jsonl => ChunkEncoder::Text(Vec::new()),
        };
        Ok(Chunk { schema, format, sorted_by: sorted_by.to_vec(), rows: 0, encoded })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Finishes the chunk.
    pub(super) fn seal(self) -> Result<EncodedChunk> {
        match self.encoded {
            ChunkEncoder::RowGroup(_) if self.rows == 0 => Ok(EncodedChunk::RowGroup(Vec::new())),
            ChunkEncoder::RowGroup(columns) => {
                let columns = columns.into_iter().map(ArrowColumnWriter::close).collect::<Result<_, _>>();
                columns.map(EncodedChunk::RowGroup).map_err(Error::failed)
            }
            ChunkEncoder::Text(text) => Ok(EncodedChunk::Text(text)),
        }
    }

    /// The approximate size in bytes.
    pub(super) fn bytes(&self) -> usize {
        match &self.encoded {
            ChunkEncoder::RowGroup(columns) => columns.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum(),
            ChunkEncoder::Text(text) => text.len(),
        }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows();
        match (&mut self.encoded, self.format.format) {
            (ChunkEncoder::RowGroup(columns), _) => {
                if columns.is_empty() {
                    *columns = column_writers(batch, self.format.codec, &self.sorted_by)?;
                }
                let mut columns = columns.iter_mut();
                for (field, array) in self.schema.fields().iter().zip(batch.columns()) {
                    for leaf in compute_leaves(field, array).map_err(Error::failed)? {
                        let column = columns.next().expect("each leaf has a column");
                        column.write(&leaf).map_err(Error::failed)?;
                    }
                }
            }
            (ChunkEncoder::Text(text), OutputFormat::Csv) => {
                WriterBuilder::new().with_header(false).build(text).write(batch).map_err(Error::failed)?;
            }
            (ChunkEncoder::Text(text), _) => {
                let mut writer = LineDelimitedWriter::new(text);
                writer.write(batch).and_then(|()| writer.finish()).map_err(Error::failed)?;
            }
        }
        Ok(())
    }
}

/// A finished chunk, ready to be copied into a file.
pub(super) enum EncodedChunk {
    /// Without columns if the chunk has no rows.
    RowGroup(Vec<ArrowColumnChunk>),
    Text(Vec<u8>),
}

/// An open file of a table.
pub(super) struct OpenFile {
    path: PathBuf,
    format: FileFormat,
    content: FileWriter,
}

enum FileWriter {
    Parquet(SerializedFileWriter<BufWriter<File>>),
    Text { file: BufWriter<File>, bytes: u64 },
}

impl OpenFile {
    pub(super) fn create(path: PathBuf, schema: SchemaRef, format: FileFormat) -> Result<OpenFile> {
        let file = BufWriter::with_capacity(1 << 20, File::create_new(&path).map_err(Error::writing(&path))?);
        let content = match format.format {
            OutputFormat::Parquet => {
                let properties = properties(format.codec).build();
                let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties));
                let (writer, _) =
                    writer.and_then(ArrowWriter::into_serialized_writer).map_err(Error::writing(&path))?;
                FileWriter::Parquet(writer)
            }
            OutputFormat::Csv | OutputFormat::Jsonl => FileWriter::Text { file, bytes: 0 },
        };
        let mut file = OpenFile { path, format, content };
        if let (FileWriter::Text { .. }, OutputFormat::Csv) = (&file.content, format.format) {
            let mut header = Vec::new();
            let nothing = RecordBatch::new_empty(schema);
            WriterBuilder::new().with_header(true).build(&mut header).write(&nothing).map_err(Error::failed)?;
            file.append_text(&header)?;
        }
        Ok(file)
    }

    pub(super) fn append(&mut self, chunk: EncodedChunk) -> Result<()> {
        match (chunk, &mut self.content) {
            (EncodedChunk::RowGroup(columns), _) if columns.is_empty() => Ok(()),
            (EncodedChunk::RowGroup(columns), FileWriter::Parquet(writer)) => {
                append_row_group(columns, writer).map_err(Error::writing(&self.path))
            }
            (EncodedChunk::Text(text), _) => self.append_text(&text),
            (EncodedChunk::RowGroup(_), FileWriter::Text { .. }) => unreachable!("a table has one format"),
        }
    }

    /// Appends text as a compressed member of its own; gzip and zstd files may have several.
    fn append_text(&mut self, text: &[u8]) -> Result<()> {
        let FileWriter::Text { file, bytes } = &mut self.content else { unreachable!("a table has one format") };
        let compressed = match self.format.codec {
            Codec::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(text).and_then(|()| encoder.finish()).map_err(Error::writing(&self.path))?
            }
            Codec::Zstd => zstd::encode_all(text, ZSTD_LEVEL).map_err(Error::writing(&self.path))?,
            Codec::Snappy | Codec::Lz4 | Codec::None => text.to_vec(),
        };
        *bytes += compressed.len() as u64;
        file.write_all(&compressed).map_err(Error::writing(&self.path))
    }

    /// The size in bytes.
    pub(super) fn bytes(&self) -> u64 {
        match &self.content {
            FileWriter::Parquet(writer) => writer.bytes_written() as u64,
            FileWriter::Text { bytes, .. } => *bytes,
        }
    }

    /// Closes the file and returns its size in bytes.
    pub(super) fn close(self, syncer: &Syncer) -> Result<u64> {
        let file = match self.content {
            FileWriter::Parquet(writer) => writer.into_inner().map_err(Error::writing(&self.path))?,
            FileWriter::Text { file, .. } => file,
        };
        let file = file.into_inner().map_err(Error::writing(&self.path))?;
        let bytes = file.metadata().map_err(Error::writing(&self.path))?.len();
        syncer.sync(file, &self.path)?;
        Ok(bytes)
    }
}

fn append_row_group<W: Write + Send>(
    columns: Vec<ArrowColumnChunk>,
    writer: &mut SerializedFileWriter<W>,
) -> parquet::errors::Result<()> {
    let mut row_group = writer.next_row_group()?;
    for column in columns {
        column.append_to_row_group(&mut row_group)?;
    }
    row_group.close()?;
    Ok(())
}

/// A fast level that compresses better than the negative ones.
const ZSTD_LEVEL: i32 = 1;

fn properties(codec: Codec) -> WriterPropertiesBuilder {
    let compression = match codec {
        Codec::Snappy => Compression::SNAPPY,
        Codec::Zstd => Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).expect("1 is a valid level")),
        Codec::Gzip => Compression::GZIP(GzipLevel::default()),
        Codec::Lz4 => Compression::LZ4_RAW,
        Codec::None => Compression::UNCOMPRESSED,
    };
    WriterProperties::builder()
        .set_compression(compression)
        .set_created_by(format!("millstream {}", env!("CARGO_PKG_VERSION")))
        .set_statistics_enabled(EnabledStatistics::Chunk)
}

/// Column writers for a row group whose first rows are `first`.
fn column_writers(first: &RecordBatch, codec: Codec, sorted_by: &[String]) -> Result<Vec<ArrowColumnWriter>> {
    let mut properties = properties(codec);
    for (field, column) in first.schema().fields().iter().zip(first.columns()) {
        let path = || ColumnPath::from(field.name().as_str());
        if !repeats(column)? {
            properties = properties.set_column_dictionary_enabled(path(), false);
        }
        // Min/max statistics of unsorted text do not help pruning, but are expensive. Rows are clustered by customer,
        // so ids keep theirs.
        let is_in_order = sorted_by.contains(field.name()) || field.name().ends_with("_id");
        if is_text(column.data_type()) && !is_in_order {
            properties = properties.set_column_statistics_enabled(path(), EnabledStatistics::None);
        }
    }
    let writer = ArrowWriter::try_new(std::io::sink(), first.schema(), Some(properties.build()));
    let (_, columns) = writer.and_then(ArrowWriter::into_serialized_writer).map_err(Error::failed)?;
    columns.create_column_writers(0).map_err(Error::failed)
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// True if dictionary encoding pays off. For columns with mostly distinct values, such as order ids and amounts,
/// looking up each value costs more than writing it.
fn repeats(column: &ArrayRef) -> Result<bool> {
    const FEW: usize = 64;
    if column.len() < FEW || column.data_type().is_nested() {
        return Ok(true);
    }
    let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())]).map_err(Error::failed)?;
    let rows = converter.convert_columns(std::slice::from_ref(column)).map_err(Error::failed)?;
    let distinct: HashSet<_> = rows.iter().collect();
    Ok(distinct.len() < column.len() / 4 * 3)
}
