//! Lists of rows that wait in memory, and on a disk if they take more than they may.
//!
//! An epoch that is read once, list by list, need not fit memory: what waits is written to a file, and read back when
//! its list is taken. Rows are serialized as they are when they are sent to another process.
//!
//! *Cost*: a row that does not fit is written once and read once. *State*: the rows that fit, and 24 bytes for each
//! block of a list in the file.

use std::fs::File;
use std::io;
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
    is_scarce: Rc<dyn Fn() -> bool>,
    tell: Rc<dyn Fn(io::Result<usize>)>,
}

impl Spill {
    /// Rows beyond `bytes` go to files in `folder`. Each operator on each worker has this much memory for what waits.
    ///
    /// `tell` is called with the size of each block that is written. If one can't be written or read, it gets the error:
    /// rows are lost then, so the job must end.
    pub fn new(folder: &Path, bytes: usize, tell: impl Fn(io::Result<usize>) + 'static) -> Spill {
        Spill { folder: folder.to_owned(), bytes, is_scarce: Rc::new(|| false), tell: Rc::new(tell) }
    }

    /// The same, with less memory for what waits while this is true: an eighth. It is asked now and then.
    #[must_use]
    pub fn with_less_while(self, is_scarce: impl Fn() -> bool + 'static) -> Spill {
        Spill { is_scarce: Rc::new(is_scarce), ..self }
    }
}

/// Lists of rows. Each is filled, and then taken as a whole.
pub(crate) struct WaitingLists<E> {
    lists: Vec<WaitingList<E>>,
    /// How many rows are in memory.
    in_memory: usize,
    spill: Option<SpillFile>,
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
    to: Spill,
    /// Made when it is first needed.
    file: Option<Rc<File>>,
    written: u64,
    buffer: Vec<u8>,
    /// The rows whose size was measured, and their bytes, with what they refer to.
    measured: [usize; 2],
    /// How many rows may be in memory.
    most: usize,
}

/// Of so many rows, the size of one is measured.
const MEASURED: usize = 1 << 8;
/// After so many rows, it is asked whether memory is scarce.
const ASKED: usize = 1 << 14;

impl<E> WaitingLists<E> {
    /// So many empty lists, in memory.
    pub(crate) fn new(lists: usize) -> Self {
        let lists = (0..lists).map(|_| WaitingList { rows: ChunkedVec::default(), blocks: Vec::new() }).collect();
        WaitingLists { lists, in_memory: 0, spill: None }
    }

    /// The same, of which what does not fit is spilled.
    pub(crate) fn spilling(self, spill: Option<Spill>) -> Self {
        let file = |to| SpillFile { to, file: None, written: 0, buffer: Vec::new(), measured: [0; 2], most: 0 };
        WaitingLists { spill: spill.map(file), ..self }
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
        let measured = self.spill.as_ref().and_then(|spill| spill.measured[1].checked_div(spill.measured[0]));
        measured.unwrap_or(0).max(size_of::<E>())
    }

    /// The rows of a list that are in memory.
    pub(crate) fn in_memory(&self, list: usize) -> impl Iterator<Item = &E> {
        self.lists[list].rows.iter()
    }
}

impl<E: ExchangeData> WaitingLists<E> {
    #[inline]
    pub(crate) fn push(&mut self, list: usize, row: E) {
        if self.spill.is_some() {
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
        let spill = self.spill.as_ref().and_then(|spill| Some((Rc::clone(spill.file.as_ref()?), spill.to.clone())));
        let read = blocks.into_iter().flat_map(move |block| {
            let (file, to) = spill.as_ref().expect("blocks are in a file");
            read_block(file, block).unwrap_or_else(|error| {
                (to.tell)(Err(error));
                Vec::new()
            })
        });
        read.chain(rows)
    }

    /// Writes all rows to the file if they take more than their share of memory, which is less while memory is scarce.
    pub(crate) fn make_room(&mut self) {
        let Some(spill) = &mut self.spill else { return };
        if self.in_memory <= spill.most / 8 || (self.in_memory <= spill.most && !(spill.to.is_scarce)()) {
            return;
        }
        for WaitingList { rows, blocks } in self.lists.iter_mut().filter(|list| !list.rows.is_empty()) {
            let rows: Vec<E> = std::mem::take(rows).into_iter().collect();
            self.in_memory -= rows.len();
            match spill.write(&rows) {
                Ok(block) => blocks.push(block),
                Err(error) => return (spill.to.tell)(Err(error)),
            }
        }
    }

    /// The same, before a row is added.
    #[inline]
    fn make_room_for(&mut self, row: &E) {
        if self.in_memory.is_multiple_of(MEASURED) {
            self.measure(row);
        }
        let most = self.spill.as_ref().map_or(usize::MAX, |spill| spill.most);
        if self.in_memory > most || self.in_memory.is_multiple_of(ASKED) {
            self.make_room();
        }
    }

    fn measure(&mut self, row: &E) {
        let row_bytes = vec![row.clone()].length_in_bytes();
        if let Some(spill) = &mut self.spill {
            spill.measured = [spill.measured[0] + 1, spill.measured[1] + row_bytes];
            spill.most = spill.to.bytes / (spill.measured[1] / spill.measured[0]).max(size_of::<E>());
        }
    }
}

impl SpillFile {
    fn write<E: ExchangeData>(&mut self, rows: &Vec<E>) -> io::Result<Block> {
        self.buffer.clear();
        rows.into_bytes(&mut self.buffer);
        if self.file.is_none() {
            self.file = Some(Rc::new(tempfile::tempfile_in(&self.to.folder)?));
        }
        if let Some(file) = &self.file {
            file.write_all_at(&self.buffer, self.written)?;
        }
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
