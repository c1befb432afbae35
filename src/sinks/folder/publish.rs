//! Publishing: tables are written to a staging folder, then swapped with the former ones atomically.
//!
//! ```text
//! OUTPUT/daily_sales/…                    seen by readers
//! OUTPUT/.millstream/lock                 locked while a run writes
//! OUTPUT/.millstream/<run>/daily_sales/…  staging
//! ```
//!
//! Publishing *exchanges* the two folders in one atomic operation, so readers never find a missing or mixed table. On
//! file systems without an atomic exchange (NFS), the table is stored below `.millstream/tables/<run>`, and readers
//! see a symbolic link to it, which can be replaced atomically. Only a former table that is a plain folder must be
//! moved aside before the first link is created; if the run is killed between the two steps, the next run restores it.
//! Leftovers of killed runs lie below `.millstream`, where readers do not look, and are removed by the next run.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::error::{Error, Result};

const WORK: &str = ".millstream";
/// Below a run's folder: former tables that were moved aside.
const OLD: &str = "old";
/// Below `.millstream`: linked tables, by run.
const TABLES: &str = "tables";

/// An output folder, locked by this run.
pub(crate) struct OutputFolder {
    root: PathBuf,
    run: String,
    /// Holds the lock while open; `None` if another process of the run holds it.
    lock: Option<File>,
}

impl OutputFolder {
    /// Locks an output folder, and removes leftovers of killed runs.
    ///
    /// # Errors
    ///
    /// If the folder can't be created or written, or another run holds the lock.
    pub(crate) fn open(root: &Path, run: &str) -> Result<OutputFolder> {
        let work = root.join(WORK);
        fs::create_dir_all(&work).map_err(Error::writing(&work))?;
        let path = work.join("lock");
        let lock = File::options().create(true).append(true).open(&path).map_err(Error::writing(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::failed(format!("{}: another run is writing here", root.display())));
            }
            Err(TryLockError::Error(cause)) => return Err(Error::writing(&path)(cause)),
        }
        let output = OutputFolder { root: root.to_owned(), run: run.to_owned(), lock: Some(lock) };
        output.clean_up()?;
        fs::create_dir(output.work()).map_err(Error::writing(&output.work()))?;
        Ok(output)
    }

    /// Opens an output folder that another process of this run has locked; `None` if its staging folder is not visible
    /// (yet).
    pub(crate) fn join(root: &Path, run: &str) -> Option<OutputFolder> {
        let output = OutputFolder { root: root.to_owned(), run: run.to_owned(), lock: None };
        output.work().is_dir().then_some(output)
    }

    /// The staging folder of a table.
    pub(crate) fn staging(&self, table: &str) -> PathBuf {
        self.work().join(table)
    }

    /// The published folder of a table.
    pub(crate) fn table(&self, table: &str) -> PathBuf {
        self.root.join(table)
    }

    /// Publishes a table and removes the former one.
    ///
    /// # Errors
    ///
    /// If the file system fails; readers then see either the former or the new table.
    pub(crate) fn publish(&self, table: &str) -> Result<()> {
        let (made, place) = (self.staging(table), self.table(table));
        let done = match renameat_with(CWD, &made, CWD, &place, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::NOENT) => fs::rename(&made, &place),
            Err(_) => self.replace_link(table),
        };
        done.map_err(Error::writing(&place))
    }

    /// Publishes a table as a symbolic link, where folders can't be exchanged.
    fn replace_link(&self, table: &str) -> std::io::Result<()> {
        let place = self.table(table);
        let kept: PathBuf = [WORK, TABLES, &self.run, table].iter().collect();
        fs::create_dir_all(self.root.join(&kept).parent().unwrap_or(&self.root))?;
        fs::rename(self.staging(table), self.root.join(&kept))?;
        // No table has this name.
        let link = self.work().join(format!("{table}.link"));
        symlink(&kept, &link)?;
        let former = fs::read_link(&place).ok();
        let aside = self.work().join(OLD).join(table);
        if former.is_none() && place.exists() {
            fs::create_dir_all(self.work().join(OLD))?;
            fs::rename(&place, &aside)?;
        }
        fs::rename(&link, &place).inspect_err(|_| {
            // Restore the former table.
            let _ = fs::rename(&aside, &place);
        })?;
        // Only remove the target of a link that was created by millstream.
        let ours = former.filter(|former| former.starts_with(Path::new(WORK).join(TABLES)));
        ours.iter().for_each(|former| remove_or_leave(&self.root.join(former)));
        Ok(())
    }

    /// Removes the staging folder.
    pub(crate) fn finish(self) {
        remove_or_leave(&self.work());
    }

    fn work(&self) -> PathBuf {
        self.root.join(WORK).join(&self.run)
    }

    /// Restores tables that a killed run had moved aside, and removes its staging folder.
    fn clean_up(&self) -> Result<()> {
        let work = self.root.join(WORK);
        let kept = work.join(TABLES);
        for run in folders(&work)?.into_iter().filter(|run| *run != kept) {
            for old in folders(&run.join(OLD))? {
                let place = self.table(&old.file_name().unwrap_or_default().to_string_lossy());
                if !place.exists() {
                    fs::rename(&old, &place).map_err(Error::writing(&place))?;
                }
            }
            remove_or_leave(&run);
        }
        for run in folders(&kept)? {
            for table in folders(&run)?.into_iter().filter(|table| !self.is_linked(table)) {
                remove_or_leave(&table);
            }
            // Fails where tables are left, and should.
            let _ = fs::remove_dir(&run);
        }
        Ok(())
    }

    /// True if a published link points to this folder.
    fn is_linked(&self, folder: &Path) -> bool {
        let name = folder.file_name().unwrap_or_default();
        fs::read_link(self.root.join(name)).is_ok_and(|target| self.root.join(target) == folder)
    }
}

/// A failed run removes its staging folder. Every run unlocks the output folder.
impl Drop for OutputFolder {
    fn drop(&mut self) {
        if let Some(lock) = &self.lock {
            remove_or_leave(&self.work());
            // Closing the file does not unlock it if a child process that this one is just starting has a copy.
            let _ = lock.unlock();
        }
    }
}

/// The subfolders of a folder; none if it does not exist.
fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(cause) => Err(Error::reading(folder)(cause)),
    }
}

/// Removes a folder that readers do not see. On failure, because a process still uses it, it is left to a later run.
fn remove_or_leave(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => {
            tracing::warn!("{}: can't be removed now: {cause}", folder.display());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Stages the table `t`, with one file containing `text`.
    fn make(root: &Path, run: &str, text: &str) -> OutputFolder {
        let output = OutputFolder::open(root, run).expect("opens");
        fs::create_dir_all(output.staging("t")).expect("made");
        fs::write(output.staging("t").join("file"), text).expect("written");
        output
    }

    fn read(root: &Path) -> Option<String> {
        fs::read_to_string(root.join("t/file")).ok()
    }

    /// The number of staging folders.
    fn left(root: &Path) -> usize {
        folders(&root.join(WORK)).expect("readable").len()
    }

    #[test]
    fn a_table_is_seen_when_it_is_published_and_not_before() {
        let root = tempfile::tempdir().expect("a folder");
        for (run, text) in [("1", "one"), ("2", "two")] {
            let before = read(root.path());
            let output = make(root.path(), run, text);
            assert_eq!(read(root.path()), before);
            output.publish("t").expect("published");
            assert_eq!(read(root.path()).as_deref(), Some(text));
            output.finish();
            assert_eq!(left(root.path()), 0);
        }
    }

    #[test]
    fn there_is_no_moment_without_the_table() {
        let root = tempfile::tempdir().expect("a folder");
        make(root.path(), "0", "first").publish("t").expect("published");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut looks = 0;
                while !is_over.load(Ordering::Relaxed) {
                    assert!(root.path().join("t").is_dir(), "after {looks} looks");
                    looks += 1;
                }
            });
            for run in 1..500 {
                make(root.path(), &run.to_string(), "next").publish("t").expect("published");
            }
            is_over.store(true, Ordering::Relaxed);
            watch.join().expect("the table was always there");
        });
    }

    #[test]
    fn two_runs_do_not_write_to_one_folder() {
        let root = tempfile::tempdir().expect("a folder");
        let _first = make(root.path(), "1", "one");
        let second = OutputFolder::open(root.path(), "2").err().expect("refused");
        assert!(second.to_string().contains("another run is writing here"));
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_it_moved_aside_is_put_back() {
        let root = tempfile::tempdir().expect("a folder");
        make(root.path(), "1", "one").publish("t").expect("published");
        let killed = root.path().join(WORK).join("2");
        fs::create_dir_all(killed.join("t")).expect("made");
        fs::create_dir_all(killed.join(OLD)).expect("made");
        fs::rename(root.path().join("t"), killed.join(OLD).join("t")).expect("moved");
        assert_eq!(read(root.path()), None);
        OutputFolder::open(root.path(), "3").expect("opens").finish();
        assert_eq!(read(root.path()).as_deref(), Some("one"));
        assert_eq!(left(root.path()), 0);
    }

    /// Publishes the table `t` as a link.
    fn link(root: &Path, run: &str, text: &str) {
        let output = make(root, run, text);
        output.replace_link("t").expect("replaced");
        assert_eq!(read(root).as_deref(), Some(text));
        output.finish();
    }

    #[test]
    fn where_folders_cannot_be_exchanged_links_are() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        make(root, "1", "a folder").publish("t").expect("published");
        for (run, text) in [("2", "a link in its place"), ("3", "another")] {
            link(root, run, text);
            assert_eq!(folders(&root.join(WORK).join(TABLES)).expect("readable").len(), if run == "2" { 1 } else { 2 });
        }
        let output = make(root, "4", "four");
        assert_eq!(folders(&root.join(WORK).join(TABLES)).expect("readable").len(), 1, "what is not seen is removed");
        assert_eq!(read(root).as_deref(), Some("another"));
        // On a file system that can exchange them again, the folder takes the place of the link.
        output.publish("t").expect("published");
        assert!(!root.join("t").is_symlink());
        output.finish();
        OutputFolder::open(root, "5").expect("opens").finish();
        assert_eq!(read(root).as_deref(), Some("four"));
        assert_eq!(folders(&root.join(WORK).join(TABLES)).expect("readable").len(), 0);
        assert!(make(root, "6", "six").replace_link("u").is_err(), "there is nothing to put into its place");
        // Somebody's own link is replaced, and what it points to is left alone.
        fs::rename(root.join("t"), root.join("theirs")).expect("moved");
        symlink("theirs", root.join("t")).expect("a link");
        link(root, "7", "ours");
        assert!(root.join("theirs/file").is_file());
    }

    #[test]
    fn there_is_no_moment_without_the_link() {
        let root = tempfile::tempdir().expect("a folder");
        link(root.path(), "0", "first");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    assert!(root.path().join("t").is_symlink());
                }
            });
            (1..200).for_each(|run| link(root.path(), &run.to_string(), "next"));
            is_over.store(true, Ordering::Relaxed);
        });
    }
}
