//! The versions of an output folder. A version has all tables of a run, and takes the place of the former one in a
//! single step.
//!
//! ```text
//! OUTPUT/daily_sales ─▶ .millstream/current/daily_sales
//! OUTPUT/.millstream/current ─▶ runs/<run>              replacing this link is the commit
//! OUTPUT/.millstream/runs/<run>/daily_sales/…           the current version, and the one before it
//! OUTPUT/.millstream/staging/<run>/daily_sales/…        a version that is being written
//! OUTPUT/.millstream/lock                               locked while a run writes
//! ```
//!
//! Tables that a run does not write are linked from the version before. A version knows its predecessor, which is kept
//! until the next commit for readers that have begun to read it. What killed runs leave lies in `staging`, or in `runs`
//! but is neither the current version nor its predecessor, and is removed by the next run.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::crash;
use crate::error::{Error, Result};
use crate::sinks::Written;

use super::disk::{Syncer, create_folder, create_folders, entries, is_own_folder, remove_or_leave, sync_folder};

const WORK: &str = ".millstream";
const CURRENT: &str = "current";
const RUNS: &str = "runs";
const STAGING: &str = "staging";
/// In a version: a link to its predecessor.
const FORMER: &str = ".former";
/// In a table: marks it as complete.
const SUCCESS: &str = "_SUCCESS";

/// An output folder, locked by this run.
pub(crate) struct OutputFolder {
    root: PathBuf,
    run: String,
    /// Holds the lock while open; `None` if another process of the run holds it.
    lock: Option<File>,
    syncer: Arc<Syncer>,
}

impl OutputFolder {
    /// Locks an output folder, and removes leftovers of killed runs.
    ///
    /// # Errors
    ///
    /// If the folder can't be created or written, another run holds the lock, or something that is not a table of
    /// millstream has the name of one of `tables`.
    pub(crate) fn open(root: &Path, run: &str, tables: &[String]) -> Result<OutputFolder> {
        let work = root.join(WORK);
        create_folders(root)?;
        create_folder(&work)?;
        let path = work.join("lock");
        let lock = File::options().create(true).append(true).open(&path).map_err(Error::writing(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::failed(format!("{}: another run is writing here", root.display())));
            }
            Err(TryLockError::Error(cause)) => return Err(Error::writing(&path)(cause)),
        }
        let output =
            OutputFolder { root: root.to_owned(), run: run.to_owned(), lock: Some(lock), syncer: Arc::default() };
        output.clean_up()?;
        // A link to something else is an error now rather than after the work.
        output.current()?;
        tables.iter().try_for_each(|table| output.check_place(table))?;
        create_folder(&output.work().join(RUNS))?;
        create_folder(&output.work().join(STAGING))?;
        create_folder(&output.staged())?;
        output.check_links()?;
        Ok(output)
    }

    /// Opens an output folder that another process of this run has locked; `None` if its staging folder is not visible
    /// (yet).
    pub(crate) fn join(root: &Path, run: &str) -> Option<OutputFolder> {
        let staged = root.join(WORK).join(STAGING).join(run);
        let join = || OutputFolder { root: root.to_owned(), run: run.to_owned(), lock: None, syncer: Arc::default() };
        staged.is_dir().then(join)
    }

    /// The staging folder of a table.
    pub(crate) fn staging(&self, table: &str) -> PathBuf {
        self.staged().join(table)
    }

    /// Syncs the files of the tables.
    pub(crate) fn syncer(&self) -> Arc<Syncer> {
        Arc::clone(&self.syncer)
    }

    /// Waits until all closed files are synced.
    ///
    /// # Errors
    ///
    /// If one could not be.
    pub(crate) fn finish_syncing(&self) -> Result<()> {
        self.syncer.finish()
    }

    /// The folder of the current version.
    ///
    /// # Errors
    ///
    /// If another run made it.
    pub(crate) fn current_version(&self, run: &str) -> Result<PathBuf> {
        match self.current()? {
            Some(found) if found == run => Ok(self.version(run)),
            found => {
                let (root, found) = (self.root.display(), found.unwrap_or_else(|| "none".into()));
                Err(Error::failed(format!("{root}: the current version is {found}, wanted {run}")))
            }
        }
    }

    /// True if this run made the current version or its predecessor.
    pub(crate) fn has_committed(&self, run: &str) -> bool {
        self.kept_versions().is_ok_and(|kept| kept.iter().any(|kept| kept == run))
    }

    /// Checks that the file system has symbolic links.
    fn check_links(&self) -> Result<()> {
        let link = self.staged().join("link");
        let made = symlink("target", &link).and_then(|()| fs::remove_file(&link));
        made.map_err(|cause| {
            let root = self.root.display();
            Error::failed(format!("{root}: symbolic links can't be made here: {cause}; choose another output folder"))
        })
    }

    /// Makes the staged tables the current version, of which these numbers of files and bytes were written. Each is
    /// completed before: that is given its name, its folder, and that of the version before, if there is one.
    ///
    /// # Errors
    ///
    /// If the file system fails, or what is staged is not what was written. Readers then see the former version, unless
    /// the message says otherwise.
    pub(crate) fn commit(
        &self,
        written: &[(&str, Written)],
        complete: impl Fn(&str, &Path, Option<&Path>) -> Result<()>,
    ) -> Result<()> {
        let (work, version) = (self.work(), self.version(&self.run));
        let former = self.current()?.map(|former| self.version(&former));
        for (table, written) in written {
            let staged = self.staging(table);
            mark_complete(&staged)?;
            check_and_sync(&staged, *written)?;
            complete(table, &staged, former.as_ref().map(|former| former.join(table)).as_deref())?;
            sync_folder(&staged)?;
        }
        crash::point("staged");
        self.link_other_tables(written)?;
        sync_folder(&self.staged())?;
        fs::rename(self.staged(), &version).map_err(Error::writing(&version))?;
        sync_folder(&work.join(RUNS))?;
        crash::point("moved");
        written.iter().try_for_each(|(table, _)| self.link_table(table))?;
        sync_folder(&self.root)?;
        crash::point("linked");
        let next = work.join(format!("{CURRENT}.{}", self.run));
        let current = work.join(CURRENT);
        let swapped = symlink(Path::new(RUNS).join(&self.run), &next).and_then(|()| fs::rename(&next, &current));
        swapped.map_err(Error::writing(&current))?;
        crash::point("swapped");
        let unsure =
            |error| Error::failed(format!("the new tables are in place, but may not survive a power cut: {error}"));
        sync_folder(&work).map_err(unsure)?;
        self.remove_old_versions();
        crash::point("cleaned");
        Ok(())
    }

    /// Links the tables of the current version that this run does not write, and the version itself.
    fn link_other_tables(&self, written: &[(&str, Written)]) -> Result<()> {
        let Some(former) = self.current()? else { return Ok(()) };
        for table in entries(&self.version(&former))? {
            let name = table.file_name().unwrap_or_default();
            if name == FORMER || written.iter().any(|(written, _)| *written == name) {
                continue;
            }
            let origin = fs::read_link(&table).unwrap_or_else(|_| Path::new("..").join(&former).join(name));
            let link = self.staged().join(name);
            symlink(origin, &link).map_err(Error::writing(&link))?;
        }
        let link = self.staged().join(FORMER);
        symlink(Path::new("..").join(&former), &link).map_err(Error::writing(&link))
    }

    /// Links a table in the output folder to that of the current version, unless it is linked already.
    fn link_table(&self, table: &str) -> Result<()> {
        self.check_place(table)?;
        let place = self.root.join(table);
        match symlink(link_of(table), &place) {
            Err(cause) if cause.kind() != ErrorKind::AlreadyExists => Err(Error::writing(&place)(cause)),
            _ => Ok(()),
        }
    }

    /// Checks that a table's place is free, or has the table.
    fn check_place(&self, table: &str) -> Result<()> {
        let place = self.root.join(table);
        let found = match fs::symlink_metadata(&place) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
            Err(cause) => return Err(Error::writing(&place)(cause)),
            Ok(found) => found,
        };
        if fs::read_link(&place).is_ok_and(|target| target == link_of(table)) {
            return Ok(());
        }
        let kind = if found.is_dir() {
            "a folder"
        } else if found.is_symlink() {
            "a link"
        } else {
            "a file"
        };
        Err(Error::usage(format!(
            "{}: found {kind} in the place of table {table}, wanted nothing or a link made by this version of \
             millstream; it is left alone: move or remove it, or choose another output folder",
            place.display()
        )))
    }

    fn work(&self) -> PathBuf {
        self.root.join(WORK)
    }

    fn staged(&self) -> PathBuf {
        self.work().join(STAGING).join(&self.run)
    }

    fn version(&self, run: &str) -> PathBuf {
        self.work().join(RUNS).join(run)
    }

    /// The run that made the current version.
    fn current(&self) -> Result<Option<String>> {
        target(&self.work().join(CURRENT))
    }

    /// The runs that made the current version and its predecessor.
    fn kept_versions(&self) -> Result<Vec<String>> {
        let Some(current) = self.current()? else { return Ok(Vec::new()) };
        let former = target(&self.version(&current).join(FORMER))?;
        Ok(std::iter::once(current).chain(former).collect())
    }

    /// Removes what killed runs have left.
    fn clean_up(&self) -> Result<()> {
        let work = self.work();
        let is_swap = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.strip_prefix(CURRENT).is_some_and(|rest| rest.starts_with('.'))
        };
        entries(&work)?.iter().filter(is_swap).for_each(|link| remove_or_leave(link));
        if is_own_folder(&work.join(STAGING)) {
            entries(&work.join(STAGING))?.iter().for_each(|run| remove_or_leave(run));
        }
        self.remove_old_versions();
        // Links that were made for a version that was not committed. If the current version is unknown, all seem so.
        if self.current()?.is_none() {
            return Ok(());
        }
        for place in entries(&self.root)? {
            let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if fs::read_link(&place).is_ok_and(|target| target == link_of(&name)) && !place.exists() {
                remove_or_leave(&place);
            }
        }
        Ok(())
    }

    /// Removes the versions that are neither the current one nor its predecessor, unless these have tables of them. If
    /// it can't be told which these are, all are left.
    fn remove_old_versions(&self) {
        let runs = self.work().join(RUNS);
        let kept = match self.versions_in_use() {
            Ok(kept) if kept.is_empty() || !is_own_folder(&runs) => return,
            Ok(kept) => kept,
            Err(error) => return tracing::warn!("old versions are left: {error}"),
        };
        for version in entries(&runs).unwrap_or_default() {
            let name = version.file_name().unwrap_or_default();
            if !kept.iter().any(|run| name == run.as_str()) {
                remove_or_leave(&version);
            }
        }
    }

    /// The runs that made the kept versions, and the tables that these have from earlier ones.
    fn versions_in_use(&self) -> Result<Vec<String>> {
        let mut used = self.kept_versions()?;
        for version in used.clone() {
            for table in entries(&self.version(&version))? {
                if table.is_symlink() && !table.ends_with(FORMER) {
                    used.extend(run_of(&fs::read_link(&table).map_err(Error::writing(&table))?));
                }
            }
        }
        Ok(used)
    }
}

/// A failed run removes its staging folder. Every run unlocks the output folder.
impl Drop for OutputFolder {
    fn drop(&mut self) {
        if let Some(lock) = &self.lock {
            remove_or_leave(&self.staged());
            // Closing the file does not unlock it if a child process that this one is just starting has a copy.
            let _ = lock.unlock();
        }
    }
}

/// What the link in the place of a table points to.
fn link_of(table: &str) -> PathBuf {
    [WORK, CURRENT, table].iter().collect()
}

/// The run that a link such as `runs/<run>` or `../<run>` points to; `None` if there is no link.
///
/// # Errors
///
/// If something else is there, or the link can't be read.
fn target(link: &Path) -> Result<Option<String>> {
    let found = match fs::read_link(link) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        found => found.map_err(Error::writing(link))?,
    };
    let run = Some(&found).filter(|found| found.components().count() == 2).and_then(|found| run_of(found));
    let foreign =
        || Error::failed(format!("{}: found a link to {}, wanted one to a version", link.display(), found.display()));
    run.map(Some).ok_or_else(foreign)
}

/// The run in `runs/<run>`, `../<run>` or `../<run>/<table>`.
fn run_of(target: &Path) -> Option<String> {
    let mut parts = target.components();
    let is_version = match parts.next()? {
        Component::ParentDir => true,
        Component::Normal(name) => name == RUNS,
        _ => false,
    };
    match parts.next()? {
        Component::Normal(run) if is_version => run.to_str().map(str::to_owned),
        _ => None,
    }
}

/// True for the name of a file that only says that a table is complete.
pub(super) fn is_mark(name: &str) -> bool {
    name == SUCCESS
}

fn mark_complete(table: &Path) -> Result<()> {
    let path = table.join(SUCCESS);
    File::create_new(&path).and_then(|file| file.sync_all()).map_err(Error::writing(&path))
}

/// Checks that a folder has the files that were written, and syncs it and its folders.
fn check_and_sync(table: &Path, written: Written) -> Result<()> {
    let found = count_and_sync(table)?;
    if (found.files, found.bytes) == (written.files, written.bytes) {
        return Ok(());
    }
    Err(Error::failed(format!(
        "{}: found {} files of {} bytes, but {} files of {} bytes were written: something else has changed the folder",
        table.display(),
        found.files,
        found.bytes,
        written.files,
        written.bytes
    )))
}

fn count_and_sync(folder: &Path) -> Result<Written> {
    let mut found = Written::default();
    for path in entries(folder)? {
        let metadata = fs::symlink_metadata(&path).map_err(Error::writing(&path))?;
        if metadata.is_dir() {
            found.add(count_and_sync(&path)?);
        } else if path.file_name().is_some_and(|name| !is_mark(&name.to_string_lossy())) {
            found.files += 1;
            found.bytes += metadata.len();
        }
    }
    sync_folder(folder)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn open(root: &Path, run: &str, tables: &[&str]) -> Result<OutputFolder> {
        let tables: Vec<_> = tables.iter().map(|table| (*table).to_owned()).collect();
        OutputFolder::open(root, run, &tables)
    }

    /// Stages tables, each with one file containing the name of the run.
    fn stage(root: &Path, run: &str, tables: &[&str]) -> OutputFolder {
        let output = open(root, run, tables).expect("opens");
        for table in tables {
            fs::create_dir(output.staging(table)).expect("made");
            fs::write(output.staging(table).join("file"), run).expect("written");
        }
        output
    }

    fn commit(output: &OutputFolder, run: &str, tables: &[&str]) -> Result<()> {
        let written = Written { rows: 1, files: 1, bytes: run.len() as u64 };
        output.commit(&tables.iter().map(|table| (*table, written)).collect::<Vec<_>>(), |_, _, _| Ok(()))
    }

    fn publish(root: &Path, run: &str, tables: &[&str]) {
        let output = stage(root, run, tables);
        commit(&output, run, tables).expect("committed");
    }

    fn read(root: &Path, table: &str) -> Option<String> {
        fs::read_to_string(root.join(table).join("file")).ok()
    }

    /// The names in a folder below `.millstream`.
    fn left(root: &Path, folder: &str) -> Vec<String> {
        let names = entries(&root.join(WORK).join(folder)).expect("readable");
        let mut names: Vec<_> =
            names.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
        names.sort();
        names
    }

    #[test]
    fn all_tables_change_at_once_and_the_version_before_is_kept() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        for run in ["1", "2", "3"] {
            let before = read(root, "t");
            let output = stage(root, run, &["t", "u"]);
            assert_eq!(read(root, "t"), before);
            commit(&output, run, &["t", "u"]).expect("committed");
            assert_eq!([read(root, "t"), read(root, "u")], [Some(run.to_owned()), Some(run.to_owned())]);
        }
        assert_eq!(left(root, RUNS), ["2", "3"]);
        assert_eq!(left(root, STAGING), [""; 0]);
    }

    #[test]
    fn a_reader_that_has_resolved_a_table_keeps_its_files_until_the_commit_after_the_next() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        publish(root, "1", &["t"]);
        let resolved = root.join("t").canonicalize().expect("a table");
        publish(root, "2", &["t"]);
        assert_eq!(fs::read_to_string(resolved.join("file")).ok().as_deref(), Some("1"));
        publish(root, "3", &["t"]);
        assert!(!resolved.exists());
    }

    #[test]
    fn tables_that_a_run_does_not_write_stay() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        publish(root, "1", &["t", "u"]);
        for run in ["2", "3", "4", "5"] {
            publish(root, run, &["t"]);
            assert_eq!([read(root, "t"), read(root, "u")], [Some(run.to_owned()), Some("1".into())]);
        }
        assert_eq!(left(root, RUNS), ["1", "4", "5"], "the first has a table of the current version");
        publish(root, "6", &["u"]);
        publish(root, "7", &["u"]);
        assert_eq!([read(root, "t"), read(root, "u")], [Some("5".into()), Some("7".into())]);
        assert_eq!(left(root, RUNS), ["5", "6", "7"]);
    }

    #[test]
    fn readers_never_see_tables_of_two_runs_and_never_none() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        publish(root, "0", &["t", "u"]);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                // Not by `canonicalize`, which takes several steps, between which two commits may happen.
                let resolve = || root.join(WORK).join(fs::read_link(root.join(WORK).join(CURRENT)).expect("a link"));
                while !is_over.load(Ordering::Relaxed) {
                    assert!(root.join("t").is_symlink());
                    let version = resolve();
                    let read = |table: &str| fs::read_to_string(version.join(table).join("file")).ok();
                    let is_whole = read("t").is_some() && read("t") == read("u");
                    // A slow reader may find its version gone, after two commits.
                    assert!(is_whole || version != resolve(), "{version:?} is the current version");
                }
            });
            for run in 1..100 {
                publish(root, &run.to_string(), &["t", "u"]);
            }
            is_over.store(true, Ordering::Relaxed);
            watch.join().expect("each version was whole");
        });
    }

    #[test]
    fn two_runs_do_not_write_to_one_folder() {
        let root = tempfile::tempdir().expect("a folder");
        let _first = stage(root.path(), "1", &["t"]);
        let second = open(root.path(), "2", &["t"]).err().expect("refused");
        assert!(second.to_string().contains("another run is writing here"));
    }

    #[test]
    fn what_is_staged_must_be_what_was_written() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        publish(root, "1", &["t"]);
        let output = stage(root, "2", &["t"]);
        fs::remove_file(output.staging("t").join("file")).expect("removed");
        let error = commit(&output, "2", &["t"]).expect_err("a file is missing");
        assert!(error.to_string().contains("found 0 files of 0 bytes, but 1 files of 1 bytes were written"), "{error}");
        fs::remove_dir_all(root.join(WORK).join(STAGING)).expect("removed");
        assert!(commit(&output, "2", &["t"]).is_err(), "the folder is missing");
        assert_eq!(read(root, "t").as_deref(), Some("1"));
    }

    #[test]
    fn what_others_have_made_is_left_alone() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        fs::create_dir_all(root.join("theirs")).expect("made");
        fs::write(root.join("theirs/file"), "theirs").expect("written");
        let refused = |found: &str| {
            let error = open(root, "1", &["t"]).err().expect("refused").to_string();
            assert!(error.contains(&format!("t: found {found} in the place of table t")), "{error}");
        };
        fs::write(root.join("t"), "a file").expect("written");
        refused("a file");
        fs::remove_file(root.join("t")).expect("removed");
        symlink("theirs", root.join("t")).expect("linked");
        refused("a link");
        fs::remove_file(root.join("t")).expect("removed");
        fs::rename(root.join("theirs"), root.join("t")).expect("moved");
        refused("a folder");
        assert_eq!(read(root, "t").as_deref(), Some("theirs"));
    }

    #[test]
    fn links_among_the_leftovers_are_not_followed() {
        let (root, victim) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (root, victim) = (root.path(), victim.path());
        publish(root, "1", &["t"]);
        fs::write(victim.join("file"), "precious").expect("written");
        for folder in [STAGING, RUNS] {
            symlink(victim, root.join(WORK).join(folder).join("evil")).expect("linked");
        }
        publish(root, "2", &["t"]);
        assert_eq!(left(root, RUNS), ["1", "2"]);
        assert!(victim.join("file").is_file());
        fs::remove_dir_all(root.join(WORK).join(STAGING)).expect("removed");
        symlink(victim, root.join(WORK).join(STAGING)).expect("linked");
        assert!(open(root, "3", &["t"]).err().expect("refused").to_string().contains("found a file or a link"));
        assert!(victim.join("file").is_file());
    }

    #[test]
    fn no_version_is_removed_while_it_is_unknown_which_one_is_current() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        publish(root, "1", &["t"]);
        publish(root, "2", &["t"]);
        let current = root.join(WORK).join(CURRENT);
        fs::remove_file(&current).expect("removed");
        drop(open(root, "3", &["t"]).expect("opens"));
        assert_eq!(left(root, RUNS), ["1", "2"]);
        symlink("/elsewhere", &current).expect("linked");
        let error = open(root, "4", &["t"]).err().expect("refused").to_string();
        assert!(error.contains("current: found a link to /elsewhere, wanted one to a version"), "{error}");
        assert_eq!(left(root, RUNS), ["1", "2"]);
        fs::remove_file(&current).expect("removed");
        symlink("runs/2", &current).expect("linked");
        assert_eq!(read(root, "t").as_deref(), Some("2"));
    }
}
