//! Lists of rows that wait in memory, and on a disk if they take more than they may.
//!
//! An epoch that is read once, list by list, need not fit memory: what waits is written to a file, and read back when
//! its list is taken. Rows are serialized as they are when they are sent to another process.
//!
//! *Cost*: a row that does not fit is written once and read once. *State*: the rows that fit, and 24 bytes for each
//! block of a list in the file.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use differential_dataflow::ExchangeData;
use timely::bytes::arc::BytesMut;
use timely::dataflow::channels::ContainerBytes;

use crate::chunked_vec::ChunkedVec;

/// Where rows go that there is no memory for, and how much memory there is.
///
/// Its files have no name, so that nothing of them is left however the process ends.
#[derive(Clone)]
pub struct Spill {
    folder: PathBuf,
    bytes: usize,
    tell: Rc<dyn Fn(io::Result<usize>)>,
}

impl Spill {
    /// Rows beyond `bytes` go to files in `folder`. Each operator on each worker has this much memory for what waits.
    ///
    /// `tell` is called with the size of each block that is written. If one can't be written or read, it gets the error:
    /// rows are lost then, so the job must end.
    pub fn new(folder: &Path, bytes: usize, tell: impl Fn(io::Result<usize>) + 'static) -> Spill {
        Spill { folder: folder.to_owned(), bytes, tell: Rc::new(tell) }
    }
}

/// Lists of rows. Each is filled, and then taken as a whole.
pub(crate) struct WaitingLists<E> {
    lists: Vec<WaitingList<E>>,
    spill: Option<Spilled>,
    /// How many rows are in memory.
    in_memory: usize,
    sizes: RowSizes,
}

/// The sizes of some rows, with what they refer to.
#[derive(Default)]
struct RowSizes {
    rows: usize,
    bytes: usize,
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

/// What is on the disk.
struct Spilled {
    to: Spill,
    /// Made when it is first needed.
    file: Option<File>,
    written: u64,
    buffer: Vec<u8>,
}

/// Of so many rows, the size of one is measured.
const MEASURED: usize = 1 << 8;

impl<E> WaitingLists<E> {
    /// So many empty lists, in memory.
    pub(crate) fn new(lists: usize) -> Self {
        let lists = (0..lists).map(|_| WaitingList { rows: ChunkedVec::default(), blocks: Vec::new() }).collect();
        WaitingLists { lists, spill: None, in_memory: 0, sizes: RowSizes::default() }
    }

    /// The same, of which what does not fit is spilled.
    pub(crate) fn spilling(self, spill: Option<Spill>) -> Self {
        let spill = spill.map(|to| Spilled { to, file: None, written: 0, buffer: Vec::new() });
        WaitingLists { spill, ..self }
    }

    pub(crate) fn is_empty(&self, list: usize) -> bool {
        self.lists[list].rows.is_empty() && self.lists[list].blocks.is_empty()
    }

    /// How many rows a list has.
    pub(crate) fn len(&self, list: usize) -> usize {
        let WaitingList { rows, blocks } = &self.lists[list];
        rows.len() + blocks.iter().map(|block| block.rows).sum::<usize>()
    }

    /// The memory of a row, about.
    pub(crate) fn row_bytes(&self) -> usize {
        self.sizes.bytes.checked_div(self.sizes.rows).unwrap_or(0).max(size_of::<E>())
    }

    /// The rows of a list that are in memory.
    pub(crate) fn in_memory(&self, list: usize) -> impl Iterator<Item = &E> {
        self.lists[list].rows.iter()
    }
}

impl<E: ExchangeData> WaitingLists<E> {
    #[inline]
    pub(crate) fn push(&mut self, list: usize, row: E) {
        self.in_memory += 1;
        if self.spill.is_some() {
            self.make_room(&row);
        }
        self.lists[list].rows.push(row);
    }

    /// Takes the rows of a list, those on the disk block by block.
    pub(crate) fn take(&mut self, list: usize) -> impl Iterator<Item = E> + use<E> {
        let WaitingList { rows, blocks } = &mut self.lists[list];
        let (rows, blocks) = (std::mem::take(rows), std::mem::take(blocks));
        self.in_memory -= rows.len();
        let file = self.spill.as_ref().and_then(|spill| Some((spill.file.as_ref()?.try_clone(), spill.to.clone())));
        let read = blocks.into_iter().flat_map(move |block| {
            let (file, spill) = file.as_ref().expect("blocks are in a file");
            let rows = match file {
                Ok(file) => read_block(file, block),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            rows.unwrap_or_else(|error| {
                (spill.tell)(Err(error));
                Vec::new()
            })
        });
        read.chain(rows)
    }

    /// Writes all rows to the disk if they take more memory than they may with one like this.
    fn make_room(&mut self, row: &E) {
        if self.in_memory % MEASURED == 1 {
            self.sizes.rows += 1;
            self.sizes.bytes += vec![row.clone()].length_in_bytes();
        }
        let taken = self.in_memory * self.row_bytes();
        let Some(spill) = self.spill.as_mut().filter(|spill| taken > spill.to.bytes) else { return };
        self.in_memory = 1;
        for WaitingList { rows, blocks } in self.lists.iter_mut().filter(|list| !list.rows.is_empty()) {
            let rows: Vec<E> = std::mem::take(rows).into_iter().collect();
            match spill.write(&rows) {
                Ok(block) => blocks.push(block),
                Err(error) => return (spill.to.tell)(Err(error)),
            }
        }
    }
}

impl Spilled {
    fn write<E: ExchangeData>(&mut self, rows: &Vec<E>) -> io::Result<Block> {
        self.buffer.clear();
        rows.into_bytes(&mut self.buffer);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&self.to.folder)?),
        };
        file.write_all(&self.buffer)?;
        let block = Block { at: self.written, bytes: self.buffer.len(), rows: rows.len() };
        self.written += block.bytes as u64;
        (self.to.tell)(Ok(block.bytes));
        Ok(block)
    }
}

fn read_block<E: ExchangeData>(file: &File, block: Block) -> io::Result<Vec<E>> {
    let mut bytes = vec![0; block.bytes];
    file.read_exact_at(&mut bytes, block.at)?;
    Ok(Vec::from_bytes(BytesMut::from(bytes).freeze()))
}
