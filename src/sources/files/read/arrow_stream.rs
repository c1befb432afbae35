//! The stream format of Arrow IPC, as `pyarrow.ipc.new_stream` writes it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};
use crate::panics::caught;
use crate::sources::{RowNumbers, SourceBatches};

use super::file_columns::FileColumns;

/// How many bytes are read at a time. What a stream says of its sizes is not believed before the bytes are there.
const CHUNK: usize = 1 << 20;

/// The columns of a stream.
///
/// # Errors
///
/// If it is not one, or ends before its schema.
pub(super) fn schema(path: &Path) -> Result<SchemaRef> {
    let mut stream = Stream::open(path)?;
    while stream.decoder.schema().is_none() {
        if stream.next_batch()?.is_none() {
            break;
        }
    }
    stream.decoder.schema().ok_or_else(|| stream.damaged(&"it ends before its schema"))
}

/// The batches of a stream.
pub(super) fn read(columns: FileColumns<'_>) -> Result<SourceBatches<'_>> {
    let mut stream = Some(Stream::open(columns.path)?);
    let mut first = 0;
    Ok(Box::new(std::iter::from_fn(move || {
        let next = stream.as_mut()?.next_batch().transpose();
        // A stream that is damaged is not read any further.
        stream.take_if(|_| next.as_ref().is_none_or(Result::is_err));
        Some(next?.and_then(|batch| {
            let numbers = RowNumbers::Consecutive { first, count: batch.num_rows() };
            first += batch.num_rows() as u64;
            columns.arrange(batch.columns(), numbers, Vec::new())
        }))
    })))
}

struct Stream<'a> {
    path: &'a Path,
    file: File,
    decoder: StreamDecoder,
    /// What was read and is not decoded.
    rest: Buffer,
    bytes: usize,
}

impl Stream<'_> {
    fn open(path: &Path) -> Result<Stream<'_>> {
        let file = File::open(path).map_err(Error::reading(path))?;
        Ok(Stream { path, file, decoder: StreamDecoder::new(), rest: Buffer::default(), bytes: 0 })
    }

    /// The next batch; `None` at the end.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if self.rest.is_empty() {
                let mut chunk = Vec::with_capacity(CHUNK);
                let limit = CHUNK as u64;
                let read = self.file.by_ref().take(limit).read_to_end(&mut chunk).map_err(Error::reading(self.path))?;
                if read == 0 {
                    let finished = self.decoder.finish();
                    return finished.map(|()| None).map_err(|cause| self.damaged(&cause));
                }
                self.bytes += read;
                self.rest = Buffer::from_vec(chunk);
            }
            let decoded: Result<Option<RecordBatch>, ArrowError> =
                caught(|| self.decoder.decode(&mut self.rest)).map_err(|_| self.damaged(&"its parts do not fit"))?;
            match decoded.map_err(|cause| self.damaged(&cause))? {
                // Each row has an id, so there are fewer rows than bytes, unless a column without contents says so.
                Some(batch) if batch.num_rows() > self.bytes => {
                    return Err(self.damaged(&format!("found a batch of {} rows", batch.num_rows())));
                }
                Some(batch) => return Ok(Some(batch)),
                None => {}
            }
        }
    }

    fn damaged(&self, cause: &dyn std::fmt::Display) -> Error {
        Error::unusable(format!("{}: not an Arrow IPC stream, or damaged: {cause}", self.path.display()))
    }
}
