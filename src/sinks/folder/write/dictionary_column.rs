//! A column of a Parquet row group whose rows share values.
//!
//! The writer of `parquet` hashes the value of every row, also where batches say that rows have the same one. Here, a
//! value is hashed when it first occurs in a batch's dictionary; batches that share their dictionary share that work.
//! There is no fallback to plain values: a row group ends once a dictionary is large. Statistics are as that writer
//! makes them, but there are none of texts.

mod compress;
mod hybrid;
mod values;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::UInt32Type;
use bytes::Bytes;
use parquet::basic::{Encoding, EncodingMask, PageType};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use crate::error::{Error, Result};

use super::format::Codec;
use compress::compressed;
use values::DistinctValues;

/// Encodes dictionaries with `u32` keys.
pub(super) struct DictionaryColumn {
    column: ColumnDescPtr,
    codec: Codec,
    distinct: DistinctValues,
    /// The values of the last batch, and the index of each in the dictionary page.
    last: Option<ArrayRef>,
    indexes: Vec<u32>,
    /// The indexes of rows that are not in a page yet.
    open: Vec<u32>,
    pages: Vec<CompressedPage>,
    page_bytes: usize,
    nulls: u64,
    nans: u64,
}

/// The index of a row without a value.
const NULL: u32 = u32::MAX;
/// The index of a value that has not occurred in a row.
const UNSEEN: u32 = u32::MAX - 1;
/// A row group ends when a dictionary has so many bytes: a reader must hold it for any row.
const DICTIONARY_BYTES: usize = 16 << 20;
/// A page has at least so many rows, except for the last.
const PAGE_ROWS: usize = 20_000;

impl DictionaryColumn {
    pub(super) fn new(column: ColumnDescPtr, codec: Codec) -> DictionaryColumn {
        let (distinct, last, indexes, open, pages) = Default::default();
        DictionaryColumn { column, codec, distinct, last, indexes, open, pages, page_bytes: 0, nulls: 0, nans: 0 }
    }

    /// The size in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        self.page_bytes + self.distinct.bytes().len() + self.open.len() * size_of::<u32>()
    }

    /// True if the dictionary is as large as it may be.
    pub(super) fn is_full(&self) -> bool {
        self.distinct.bytes().len() >= DICTIONARY_BYTES
    }

    /// Appends the rows of a dictionary.
    pub(super) fn write(&mut self, rows: &ArrayRef) -> Result<()> {
        let rows = rows.as_dictionary::<UInt32Type>();
        let values = rows.values();
        if !self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, values)) {
            self.last = Some(Arc::clone(values));
            self.indexes.clear();
            self.indexes.resize(values.len(), UNSEEN);
        }
        let (keys, nulls) = (rows.keys().values(), rows.keys().nulls());
        let DictionaryColumn { indexes, distinct, open, .. } = self;
        for (row, key) in keys.iter().enumerate() {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                open.push(NULL);
                continue;
            }
            let index = &mut indexes[*key as usize];
            if *index == UNSEEN {
                let key = *key as usize;
                *index = if values.is_null(key) { NULL } else { distinct.index_of(values, key)? };
            }
            open.push(*index);
        }
        if self.open.len() >= PAGE_ROWS { self.end_page() } else { Ok(()) }
    }

    /// Makes a page of the open rows.
    fn end_page(&mut self) -> Result<()> {
        let mut body = Vec::new();
        let num_values = u32::try_from(self.open.len()).map_err(Error::failed)?;
        let nulls = self.open.iter().filter(|index| **index == NULL).count();
        if !self.distinct.nans().is_empty() {
            self.nans += self.open.iter().filter(|index| self.distinct.nans().contains(index)).count() as u64;
        }
        match self.column.max_def_level() {
            1 => append_levels(&self.open, nulls, &mut body)?,
            0 if nulls == 0 => {}
            level => {
                let cause = format!("column {} has {nulls} nulls at level {level}", self.column.name());
                return Err(Error::failed(format!("internal error: {cause}")));
            }
        }
        self.open.retain(|index| *index != NULL);
        let width = hybrid::width(self.distinct.len());
        body.push(width);
        hybrid::encode(&self.open, width, &mut body);
        self.open.clear();
        self.nulls += nulls as u64;
        let uncompressed = body.len();
        let page = Page::DataPage {
            buf: compressed(self.codec, &body)?.into(),
            num_values,
            encoding: Encoding::RLE_DICTIONARY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let page = CompressedPage::new(page, uncompressed);
        self.page_bytes += page.compressed_size();
        self.pages.push(page);
        Ok(())
    }

    /// The bytes of the column chunk, and what its row group says of it.
    pub(super) fn close(mut self) -> Result<(Bytes, ColumnCloseResult)> {
        if !self.open.is_empty() {
            self.end_page()?;
        }
        let name = self.column.name().to_owned();
        self.encoded().map_err(|cause| Error::failed(format!("column {name}: {cause}")))
    }

    fn encoded(self) -> std::result::Result<(Bytes, ColumnCloseResult), Box<dyn std::error::Error + Send + Sync>> {
        let DictionaryColumn { column, codec, distinct, pages, page_bytes, nulls, nans, .. } = self;
        let mut chunk = TrackedWrite::new(Vec::with_capacity(page_bytes + distinct.bytes().len() / 2));
        let mut writer = SerializedPageWriter::new(&mut chunk);
        let dictionary = Page::DictionaryPage {
            buf: compressed(codec, distinct.bytes())?.into(),
            num_values: u32::try_from(distinct.len())?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let written = writer.write_page(CompressedPage::new(dictionary, distinct.bytes().len()))?;
        let (data_offset, mut uncompressed) = (written.bytes_written, written.uncompressed_size);
        let (mut rows, mut offsets, count) = (0_u64, OffsetIndexBuilder::new(), i32::try_from(pages.len())?);
        for page in pages {
            let written = writer.write_page(page)?;
            offsets.append_offset_and_size(i64::try_from(written.offset)?, i32::try_from(written.compressed_size)?);
            offsets.append_row_count(i64::from(written.num_values));
            rows += u64::from(written.num_values);
            uncompressed += written.uncompressed_size;
        }
        let bytes = Bytes::from(chunk.into_inner()?);
        let stats = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let encodings = [Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY];
        let metadata = ColumnChunkMetaData::builder(Arc::clone(&column))
            .set_compression(codec.of_parquet())
            .set_encodings_mask(EncodingMask::new_from_encodings(encodings.iter()))
            .set_page_encoding_stats(vec![
                stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1),
                stats(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY, count),
            ])
            .set_total_compressed_size(i64::try_from(bytes.len())?)
            .set_total_uncompressed_size(i64::try_from(uncompressed)?)
            .set_num_values(i64::try_from(rows)?)
            .set_dictionary_page_offset(Some(0))
            .set_data_page_offset(i64::try_from(data_offset)?);
        let metadata = match distinct.statistics(column.physical_type(), nulls, nans) {
            Some(statistics) => metadata.set_statistics(statistics),
            None => metadata,
        };
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(offsets.build()),
        };
        Ok((bytes, close))
    }
}

/// Appends which rows have a value, and before that how many bytes this takes.
fn append_levels(indexes: &[u32], nulls: usize, body: &mut Vec<u8>) -> Result<()> {
    let start = body.len() + size_of::<u32>();
    body.resize(start, 0);
    if nulls == 0 {
        hybrid::repeat(1, indexes.len(), 1, body);
    } else {
        let levels: Vec<u32> = indexes.iter().map(|index| u32::from(*index != NULL)).collect();
        hybrid::encode(&levels, 1, body);
    }
    let length = u32::try_from(body.len() - start).map_err(Error::failed)?;
    body[start - size_of::<u32>()..start].copy_from_slice(&length.to_le_bytes());
    Ok(())
}
