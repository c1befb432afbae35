//! Text files: decompression, and lines of bounded length.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};
use crate::sources::files::find::{Compression, InputFile};

/// The longest line or record, in bytes. Longer ones are almost certainly malformed.
pub(super) const LONGEST_RECORD: usize = 16 << 20;
/// A batch is not given more rows once it has this many bytes.
pub(super) const BATCH_BYTES: usize = 32 << 20;

const BUFFER: usize = 1 << 18;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The content of a text file, without a byte order mark.
///
/// # Errors
///
/// If the file can't be opened.
pub(super) fn open(file: &InputFile) -> Result<Box<dyn BufRead + Send>> {
    let opened = File::open(&file.path).map_err(Error::reading(&file.path))?;
    let content: Box<dyn Read + Send> = match file.compression {
        None => Box::new(opened),
        Some(Compression::Gzip) => Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, opened))),
        Some(Compression::Zstd) => Box::new(zstd::Decoder::new(opened).map_err(Error::reading(&file.path))?),
    };
    let mut content = BufReader::with_capacity(BUFFER, content);
    if content.fill_buf().map_err(Error::reading(&file.path))?.starts_with(BYTE_ORDER_MARK) {
        content.consume(BYTE_ORDER_MARK.len());
    }
    Ok(Box::new(content))
}

/// The lines of a text file, numbered from 0.
pub(super) struct TextLines<'a> {
    file: &'a InputFile,
    content: Box<dyn BufRead + Send>,
    next: u64,
}

/// A line, without its end.
pub(super) enum TextLine {
    Whole(Vec<u8>),
    /// The start of a line that is too long.
    TooLong(Vec<u8>),
}

impl TextLines<'_> {
    pub(super) fn open(file: &InputFile) -> Result<TextLines<'_>> {
        Ok(TextLines { file, content: open(file)?, next: 0 })
    }

    fn read(&mut self) -> std::io::Result<Option<(u64, TextLine)>> {
        let mut line = Vec::new();
        let limit = LONGEST_RECORD as u64 + 1;
        if self.content.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let number = self.next;
        self.next += 1;
        let is_whole = line.pop_if(|last| *last == b'\n').is_some() || line.len() <= LONGEST_RECORD;
        if is_whole {
            return Ok(Some((number, TextLine::Whole(line))));
        }
        self.content.skip_until(b'\n')?;
        line.truncate(1000);
        Ok(Some((number, TextLine::TooLong(line))))
    }
}

impl Iterator for TextLines<'_> {
    type Item = Result<(u64, TextLine)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().map_err(Error::reading(&self.file.path)).transpose()
    }
}
