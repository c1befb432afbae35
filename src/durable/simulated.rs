//! A disk in memory that loses what is not synced.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};

/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;

/// A disk in memory. Clones are the same disk.
///
/// It keeps what is not synced apart: [`crash`](Self::crash) gives a disk as it may be found after a power cut, on
/// which any part of that is lost. From a chosen call on, every call that changes something can be made to fail.
#[derive(Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<DiskState>>);

#[derive(Clone, Default)]
struct DiskState {
    files: Vec<SimulatedFile>,
    /// The names as programs see them.
    names: BTreeMap<PathBuf, usize>,
    /// The names on stable storage.
    durable_names: BTreeMap<PathBuf, usize>,
    /// The changes of names since, in order.
    renames: Vec<NameChange>,
    /// Calls that change something.
    calls: u64,
    fault: Option<Fault>,
}

/// A change of names in a folder.
#[derive(Clone)]
enum NameChange {
    Set(PathBuf, usize),
    Move(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Clone, Default)]
struct SimulatedFile {
    /// The content as programs see it.
    content: Vec<u8>,
    /// The content on stable storage.
    durable: Vec<u8>,
    /// What was written since, in order.
    writes: Vec<(usize, Vec<u8>)>,
}

/// What happens to calls that change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// From this call on, all of them fail and do nothing, as if the process were dead.
    DeadFrom(u64),
    /// This call fails and does nothing.
    FailsAt(u64),
    /// From this call on, files can't be created, for there is no room.
    FullFrom(u64),
}

impl SimulatedDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> SimulatedDisk {
        SimulatedDisk::default()
    }

    /// Makes calls fail; their numbers count from 1.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// How many calls have changed something.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The disk as it may be found after a power cut at this moment: of each file, each sector that was written and not
    /// synced has its new content or the old one; of each folder, each change of names that was not synced happened or
    /// not. `choose` decides.
    #[must_use]
    pub fn crash(&self, mut choose: impl FnMut() -> bool) -> SimulatedDisk {
        let state = self.state();
        let mut files = state.files.clone();
        for file in &mut files {
            let writes = std::mem::take(&mut file.writes);
            for (offset, bytes) in &writes {
                let mut start = *offset;
                while start < offset + bytes.len() {
                    let end = (start / SECTOR * SECTOR + SECTOR).min(offset + bytes.len());
                    if choose() {
                        file.durable.resize(file.durable.len().max(end), 0);
                        file.durable[start..end].copy_from_slice(&bytes[start - offset..end - offset]);
                    }
                    start = end;
                }
            }
            file.content = file.durable.clone();
        }
        let mut names = state.durable_names.clone();
        for change in &state.renames {
            if choose() {
                apply(change, &mut names);
            }
        }
        let durable_names = names.clone();
        SimulatedDisk(Arc::new(Mutex::new(DiskState { files, names, durable_names, ..DiskState::default() })))
    }

    /// The disk as another process finds it after one was killed at this moment: nothing is lost, and what is not
    /// synced still is not.
    #[must_use]
    pub fn killed(&self) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(DiskState { fault: None, ..self.state().clone() })))
    }

    /// Changes a file on stable storage, as a fault of the disk does.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.names[path];
        let file = &mut state.files[file];
        change(&mut file.content);
        file.durable = file.content.clone();
        file.writes.clear();
    }

    /// Another disk with the same content, all of it synced.
    #[must_use]
    pub fn copy(&self) -> SimulatedDisk {
        self.crash(|| true)
    }

    fn state(&self) -> MutexGuard<'_, DiskState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call that changes something; an error if it is to fail.
    fn change(&self) -> io::Result<MutexGuard<'_, DiskState>> {
        let mut state = self.state();
        state.calls += 1;
        let calls = state.calls;
        match state.fault {
            Some(Fault::DeadFrom(call)) if calls >= call => Err(io::Error::other("the process is dead")),
            Some(Fault::FailsAt(call)) if calls == call => Err(io::Error::other("the disk failed")),
            _ => Ok(state),
        }
    }
}

fn apply(change: &NameChange, names: &mut BTreeMap<PathBuf, usize>) {
    match change {
        NameChange::Set(path, file) => drop(names.insert(path.clone(), *file)),
        NameChange::Move(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        NameChange::Remove(path) => drop(names.remove(path)),
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("{} does not exist", path.display()))
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &Path, length: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.change()?;
        if state.names.contains_key(path) {
            return Err(io::Error::new(ErrorKind::AlreadyExists, format!("{} exists", path.display())));
        }
        if let Some(Fault::FullFrom(call)) = state.fault
            && state.calls >= call
        {
            return Err(ErrorKind::StorageFull.into());
        }
        let number = state.files.len();
        let zeros = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        state.files.push(SimulatedFile { content: zeros.clone(), durable: Vec::new(), writes: vec![(0, zeros)] });
        state.names.insert(path.to_owned(), number);
        state.renames.push(NameChange::Set(path.to_owned(), number));
        drop(state);
        Ok(Box::new(SimulatedHandle { disk: self.clone(), number }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|file| state.files[*file].content.clone()).ok_or_else(|| not_found(path))
    }

    fn rewrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let number = self.state().names.get(path).copied().ok_or_else(|| not_found(path))?;
        let mut file = SimulatedHandle { disk: self.clone(), number };
        file.write_at(0, bytes)?;
        file.sync()
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        let mut state = self.change()?;
        let file = state.names.get(path).copied().ok_or_else(|| not_found(path))?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        state.files[file].content.truncate(length);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        if !state.names.contains_key(from) {
            return Err(not_found(from));
        }
        let change = NameChange::Move(from.to_owned(), to.to_owned());
        apply(&change, &mut state.names);
        state.renames.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        state.names.remove(path).ok_or_else(|| not_found(path))?;
        state.renames.push(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        state.renames.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let below = state.names.keys().filter(|name| name.parent() == Some(path));
        Ok(below.filter_map(|name| Some(name.file_name()?.to_string_lossy().into_owned())).collect())
    }
}

struct SimulatedHandle {
    disk: SimulatedDisk,
    number: usize,
}

impl DiskFile for SimulatedHandle {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.change()?;
        let (file, offset) = (&mut state.files[self.number], usize::try_from(offset).map_err(io::Error::other)?);
        file.content.resize(file.content.len().max(offset + bytes.len()), 0);
        file.content[offset..offset + bytes.len()].copy_from_slice(bytes);
        file.writes.push((offset, bytes.to_vec()));
        Ok(())
    }

    /// If this fails, what was written since the last time is lost but for the cache, and later calls do not tell, as
    /// it is with a real disk.
    fn sync(&mut self) -> io::Result<()> {
        let changed = self.disk.change().map(drop);
        let mut state = self.disk.state();
        let is_dead = matches!(state.fault, Some(Fault::DeadFrom(call)) if state.calls >= call);
        let file = &mut state.files[self.number];
        if is_dead {
            return changed;
        }
        for (offset, bytes) in std::mem::take(&mut file.writes) {
            if changed.is_ok() {
                file.durable.resize(file.durable.len().max(offset + bytes.len()), 0);
                file.durable[offset..offset + bytes.len()].copy_from_slice(&bytes);
            }
        }
        changed
    }
}
