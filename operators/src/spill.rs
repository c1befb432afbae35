//! Lists of rows that wait for the end of a load, in memory or in a file.
//!
//! A load that is read list by list need not fit memory: rows that exceed their share are written to a file, and read
//! back when their list is taken. They are serialized as they are for another process.
//!
//! *Cost*: each row that does not fit is written once and read once. *State*: the rows that fit, and 24 bytes for each
//! block of rows in the file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use differential_dataflow::ExchangeData;
use timely::bytes::arc::BytesMut;
use timely::dataflow::channels::ContainerBytes;

use crate::chunked_vec::ChunkedVec;

/// Where rows wait that do not fit memory, and how much memory they have.
///
/// The files have no names, so nothing of them is left however the process ends.
#[derive(Clone)]
pub struct Spill {
    folder: PathBuf,
    bytes: usize,
    is_scarce: Rc<dyn Fn() -> bool>,
    on_block: Rc<dyn Fn(io::Result<usize>)>,
}

impl Spill {
    /// Waiting rows that exceed `bytes` are written to files in `folder`. The limit is one for each operator and
    /// worker, and approximate: the size of a row is estimated from its serialized form.
    ///
    /// `on_block` is called with the size of each block that is written. If a block can't be written or read, it is
    /// called with the error: rows are lost then, so the job must end.
    pub fn new(folder: &Path, bytes: usize, on_block: impl Fn(io::Result<usize>) + 'static) -> Spill {
        Spill { folder: folder.to_owned(), bytes, is_scarce: Rc::new(|| false), on_block: Rc::new(on_block) }
    }

    /// The same, with an eighth of that memory while `is_scarce` returns true. It is called every 16,384 rows.
    #[must_use]
    pub fn with_less_while(self, is_scarce: impl Fn() -> bool + 'static) -> Spill {
        Spill { is_scarce: Rc::new(is_scarce), ..self }
    }

    /// Checks that a file can be made in a folder.
    ///
    /// # Errors
    ///
    /// If it can't.
    pub fn check(folder: &Path) -> io::Result<()> {
        tempfile::tempfile_in(folder).map(drop)
    }
}

/// Lists of rows. Each is filled, and then taken as a whole.
pub(crate) struct WaitingLists<E> {
    lists: Vec<WaitingList<E>>,
    /// The number of rows in memory.
    in_memory: usize,
    file: Option<SpillFile>,
}

struct WaitingList<E> {
    rows: ChunkedVec<E>,
    blocks: Vec<Block>,
}

/// Rows in the file.
#[derive(Clone, Copy)]
struct Block {
    at: u64,
    bytes: usize,
    rows: usize,
}

/// The file of some lists.
struct SpillFile {
    spill: Spill,
    /// Made when it is first needed.
    file: Option<Rc<File>>,
    written: u64,
    buffer: Vec<u8>,
    /// The number of rows that were measured, and their serialized size.
    measured_rows: usize,
    measured_bytes: usize,
    /// The most rows in memory.
    rows_max: usize,
}

/// One row in so many is measured.
const MEASURED_EVERY: usize = 1 << 8;
/// After so many rows it is checked whether memory is scarce.
const CHECKED_EVERY: usize = 1 << 14;
/// The most rows of a block, which is in memory twice while it is written or read.
const BLOCK_ROWS: usize = 1 << 12;

impl<E> WaitingLists<E> {
    /// So many empty lists, which stay in memory.
    pub(crate) fn new(lists: usize) -> Self {
        let lists = (0..lists).map(|_| WaitingList { rows: ChunkedVec::default(), blocks: Vec::new() }).collect();
        WaitingLists { lists, in_memory: 0, file: None }
    }

    /// The same, of which what does not fit is spilled.
    pub(crate) fn spilling(self, spill: Option<Spill>) -> Self {
        let (measured_rows, measured_bytes, rows_max) = (0, 0, 0);
        let (file, written, buffer) = (None, 0, Vec::new());
        let new = |spill| SpillFile { spill, file, written, buffer, measured_rows, measured_bytes, rows_max };
        WaitingLists { file: spill.map(new), ..self }
    }

    pub(crate) fn is_empty(&self, list: usize) -> bool {
        self.lists[list].rows.is_empty() && self.lists[list].blocks.is_empty()
    }

    /// The number of rows of a list.
    pub(crate) fn len(&self, list: usize) -> usize {
        let WaitingList { rows, blocks } = &self.lists[list];
        rows.len() + blocks.iter().map(|block| block.rows).sum::<usize>()
    }

    /// The memory of a row, estimated.
    pub(crate) fn row_bytes(&self) -> usize {
        self.file.as_ref().map_or(size_of::<E>(), SpillFile::row_bytes::<E>)
    }

    /// The rows of a list that are in memory.
    pub(crate) fn in_memory(&self, list: usize) -> impl Iterator<Item = &E> {
        self.lists[list].rows.iter()
    }
}

impl<E: ExchangeData> WaitingLists<E> {
    #[inline]
    pub(crate) fn push(&mut self, list: usize, row: E) {
        if self.file.is_some() {
            self.make_room_for(&row);
        }
        self.lists[list].rows.push(row);
        self.in_memory += 1;
    }

    /// Takes the rows of a list, those in the file block by block.
    pub(crate) fn take(&mut self, list: usize) -> impl Iterator<Item = E> + use<E> {
        let WaitingList { rows, blocks } = &mut self.lists[list];
        let (rows, blocks) = (std::mem::take(rows), std::mem::take(blocks));
        self.in_memory -= rows.len();
        let file = self.file.as_ref().and_then(|file| Some((Rc::clone(file.file.as_ref()?), file.spill.clone())));
        let read = blocks.into_iter().flat_map(move |block| {
            let (file, spill) = file.as_ref().expect("blocks are in a file");
            read_block(file, block).unwrap_or_else(|error| {
                (spill.on_block)(Err(error));
                Vec::new()
            })
        });
        read.chain(rows)
    }

    /// Writes all rows to the file if they exceed their share of memory, which is less while memory is scarce.
    pub(crate) fn make_room(&mut self) {
        let Some(file) = &mut self.file else { return };
        if self.in_memory <= file.rows_max / 8 || (self.in_memory <= file.rows_max && !(file.spill.is_scarce)()) {
            return;
        }
        for WaitingList { rows, blocks } in self.lists.iter_mut().filter(|list| !list.rows.is_empty()) {
            let rows = std::mem::take(rows);
            self.in_memory -= rows.len();
            let (mut rows, mut block) = (rows.into_iter(), Vec::new());
            loop {
                block.clear();
                block.extend(rows.by_ref().take(BLOCK_ROWS));
                if block.is_empty() {
                    break;
                }
                match file.write(&block) {
                    Ok(block) => blocks.push(block),
                    Err(error) => return (file.spill.on_block)(Err(error)),
                }
            }
        }
    }

    /// The same, before a row is added.
    #[inline]
    fn make_room_for(&mut self, row: &E) {
        if self.in_memory.is_multiple_of(MEASURED_EVERY)
            && let Some(file) = &mut self.file
        {
            file.measure(row);
        }
        let rows_max = self.file.as_ref().map_or(usize::MAX, |file| file.rows_max);
        if self.in_memory > rows_max || self.in_memory.is_multiple_of(CHECKED_EVERY) {
            self.make_room();
        }
    }
}

impl SpillFile {
    /// The mean serialized size of a row, which has what the row refers to, and its own size if that is greater.
    fn row_bytes<E>(&self) -> usize {
        self.measured_bytes.checked_div(self.measured_rows).unwrap_or(0).max(size_of::<E>())
    }

    fn measure<E: ExchangeData>(&mut self, row: &E) {
        self.measured_rows += 1;
        // What a row refers to is an allocation of its own, of which the row has the address.
        self.measured_bytes += vec![row.clone()].length_in_bytes();
        self.rows_max = self.spill.bytes / self.row_bytes::<E>();
    }

    fn write<E: ExchangeData>(&mut self, rows: &Vec<E>) -> io::Result<Block> {
        self.buffer.clear();
        rows.into_bytes(&mut self.buffer);
        if self.file.is_none() {
            self.file = Some(Rc::new(tempfile::tempfile_in(&self.spill.folder)?));
        }
        if let Some(file) = &self.file {
            let mut file = &**file;
            file.seek(SeekFrom::Start(self.written))?;
            file.write_all(&self.buffer)?;
        }
        let block = Block { at: self.written, bytes: self.buffer.len(), rows: rows.len() };
        self.written += block.bytes as u64;
        (self.spill.on_block)(Ok(block.bytes));
        Ok(block)
    }
}

fn read_block<E: ExchangeData>(mut file: &File, block: Block) -> io::Result<Vec<E>> {
    let mut bytes = vec![0; block.bytes];
    file.seek(SeekFrom::Start(block.at))?;
    file.read_exact(&mut bytes)?;
    Ok(Vec::from_bytes(BytesMut::from(bytes).freeze()))
}
