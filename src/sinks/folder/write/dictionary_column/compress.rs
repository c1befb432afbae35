//! Compression of pages.

use std::io::Write;

use flate2::write::GzEncoder;

use crate::error::{Error, Result};

use super::super::format::{Codec, ZSTD_LEVEL};

/// The bytes of a page as they are stored.
pub(super) fn compressed(codec: Codec, bytes: &[u8]) -> Result<Vec<u8>> {
    match codec {
        Codec::Snappy => snap::raw::Encoder::new().compress_vec(bytes).map_err(Error::failed),
        Codec::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL).map_err(Error::failed),
        Codec::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).and_then(|()| encoder.finish()).map_err(Error::failed)
        }
        Codec::Lz4 => Ok(lz4_flex::block::compress(bytes)),
        Codec::None => Ok(bytes.to_vec()),
    }
}
