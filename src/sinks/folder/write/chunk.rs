//! Chunks encoded by one worker, and the files they are appended to.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::csv::WriterBuilder;
use arrow::datatypes::SchemaRef;
use arrow::json::LineDelimitedWriter;
use arrow::record_batch::RecordBatch;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::file::writer::SerializedFileWriter;

use crate::error::{Error, Result};
use crate::sinks::folder::disk::Syncer;

use super::format::{Codec, FileFormat, OutputFormat, ZSTD_LEVEL};
use super::row_group::{EncodedRowGroup, RowGroup, properties};

/// Rows being encoded, to be appended to a file at once.
pub(super) struct Chunk {
    rows: usize,
    encoder: ChunkEncoder,
}

enum ChunkEncoder {
    RowGroup(Box<RowGroup>),
    Csv(Vec<u8>),
    Jsonl(Vec<u8>),
}

impl Chunk {
    pub(super) fn new(schema: SchemaRef, format: FileFormat, sorted_by: &[String]) -> Chunk {
        let encoder = match format.format {
            OutputFormat::Parquet | OutputFormat::Delta => {
                ChunkEncoder::RowGroup(Box::new(RowGroup::new(schema, format.codec, sorted_by)))
            }
            OutputFormat::Csv => ChunkEncoder::Csv(Vec::new()),
            OutputFormat::Jsonl => ChunkEncoder::Jsonl(Vec::new()),
        };
        Chunk { rows: 0, encoder }
    }

    /// True if it has these many rows or bytes, or all that its encoding takes.
    pub(super) fn is_full(&self, rows: usize, bytes: usize) -> bool {
        let is_full = matches!(&self.encoder, ChunkEncoder::RowGroup(rows) if rows.is_full());
        is_full || self.rows >= rows || self.bytes() >= bytes
    }

    /// Finishes the chunk.
    pub(super) fn seal(self) -> Result<EncodedChunk> {
        match self.encoder {
            ChunkEncoder::RowGroup(rows) => rows.close().map(EncodedChunk::RowGroup),
            ChunkEncoder::Csv(text) | ChunkEncoder::Jsonl(text) => Ok(EncodedChunk::Text(text)),
        }
    }

    /// The approximate size in bytes.
    fn bytes(&self) -> usize {
        match &self.encoder {
            ChunkEncoder::RowGroup(rows) => rows.bytes(),
            ChunkEncoder::Csv(text) | ChunkEncoder::Jsonl(text) => text.len(),
        }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows();
        match &mut self.encoder {
            ChunkEncoder::RowGroup(rows) => rows.write(batch),
            ChunkEncoder::Csv(text) => {
                WriterBuilder::new().with_header(false).build(text).write(batch).map_err(Error::failed)
            }
            ChunkEncoder::Jsonl(text) => {
                let mut writer = LineDelimitedWriter::new(text);
                writer.write(batch).and_then(|()| writer.finish()).map_err(Error::failed)
            }
        }
    }
}

/// A finished chunk, ready to be copied into a file.
pub(super) enum EncodedChunk {
    RowGroup(EncodedRowGroup),
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
            OutputFormat::Parquet | OutputFormat::Delta => {
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
            (EncodedChunk::RowGroup(rows), FileWriter::Parquet(writer)) => {
                rows.append_to(writer).map_err(Error::writing(&self.path))
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
