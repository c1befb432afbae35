//! The checkpoint: the current rows of the three tables as of an epoch.
//!
//! Rows that are used lie in Parquet files, in the columns that they were read with; all versions of a row but the last
//! are gone. Rows that could not be used lie in files of frames, as the log has them, with their origin: another
//! configuration may be able to use them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use twox_hash::XxHash64;

use crate::columns::InputSchema;
use crate::error::{Error, Result};
use crate::sources::{SourceBatch, SourceBatches};

use super::manifest::{CheckedFile, CheckpointFile, ManifestFile};
use super::record::{self, Offset};

/// The epoch of the checkpoint, when that was, and how far each source was read by then.
pub(super) fn offsets(manifest: &ManifestFile) -> Result<(u64, u64, BTreeMap<String, Offset>)> {
    let Some(checkpoint) = manifest.current().checkpoint else { return Ok((0, 0, BTreeMap::new())) };
    let bytes = load(manifest, &checkpoint.offsets)?;
    let offsets = serde_json::from_slice(&bytes);
    let offsets = offsets.map_err(Error::reading(&manifest.path(&checkpoint.offsets.name)))?;
    Ok((checkpoint.epoch, checkpoint.time_ms, offsets))
}

/// Reads a file and checks that it is the one that was written.
pub(super) fn load(manifest: &ManifestFile, file: &CheckedFile) -> Result<Vec<u8>> {
    let path = manifest.path(&file.name);
    let bytes = manifest.disk.read(&path).map_err(Error::reading(&path))?;
    if (bytes.len() as u64, XxHash64::oneshot(0, &bytes)) == (file.bytes, file.checksum) {
        return Ok(bytes);
    }
    let cause = "damaged: the checksum is wrong; restore the state from a copy";
    Err(Error::unusable(format!("{}: {cause}", path.display())))
}

/// Writes a file, durably but for its name.
pub(super) fn store(manifest: &ManifestFile, name: String, content: &[u8]) -> Result<CheckedFile> {
    let path = manifest.path(&name);
    let write = || {
        let mut file = manifest.disk.create(&path, 0)?;
        file.write_at(0, content)?;
        file.sync()
    };
    write().map_err(Error::writing(&path))?;
    Ok(CheckedFile { name, bytes: content.len() as u64, checksum: XxHash64::oneshot(0, content) })
}

/// The rows of a file, whose first part of the source this is.
pub(super) fn read<'a>(
    manifest: &ManifestFile,
    file: &CheckpointFile,
    schema: &'a InputSchema,
    first_part: usize,
    batch_size: usize,
) -> Result<SourceBatches<'a>> {
    let content = load(manifest, &file.file)?;
    let path = manifest.path(&file.file.name);
    if file.frames.is_some() {
        let frames = frames(&content).into_iter().zip(first_part..);
        let batches = frames.map(|(frame, part)| record::decode(frame)?.into_batch(schema, part));
        let batches: Vec<_> = batches.collect();
        return Ok(Box::new(batches.into_iter()));
    }
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(content)).map_err(Error::reading(&path))?;
    let reader = reader.with_batch_size(batch_size).build().map_err(Error::reading(&path))?;
    let (origin, mut first): (Arc<str>, u64) = (file.file.name.as_str().into(), 0);
    Ok(Box::new(reader.map(move |rows| {
        let rows = rows.map_err(Error::reading(&path))?;
        let batch = SourceBatch::new(schema, first_part, &origin, first, &rows)?;
        first += rows.num_rows() as u64;
        Ok(batch)
    })))
}

/// The frames of a file: each is preceded by its length.
fn frames(content: &[u8]) -> Vec<&[u8]> {
    let (mut frames, mut rest) = (Vec::new(), content);
    while let Some((length, after)) = rest.split_first_chunk() {
        let Some((frame, others)) = after.split_at_checked(u32::from_le_bytes(*length) as usize) else { break };
        frames.push(frame);
        rest = others;
    }
    frames
}
