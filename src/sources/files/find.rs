//! Finding the files of a table.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::folder_names::{NULL_PARTITION, decode, natural_order};
use crate::model::InputTable;
use crate::printable::printable;

use super::options::FileOrder;

/// The format of an input file, which its extension tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputFormat {
    /// Parquet.
    Parquet,
    /// The stream format of Arrow IPC, without compression.
    ArrowStream,
    /// CSV, in the dialect of the job.
    Csv,
    /// A JSON object in each line.
    JsonLines,
}

impl InputFormat {
    /// True if the format does not store column types.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, InputFormat::Csv | InputFormat::JsonLines)
    }
}

/// How a text file is compressed, determined by its last extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
}

/// A file of a table.
#[derive(Clone, Debug)]
pub(crate) struct InputFile {
    pub(crate) path: PathBuf,
    /// The path relative to the input folder, for messages and for ordering files.
    pub(crate) name: String,
    pub(crate) format: InputFormat,
    pub(crate) compression: Option<Compression>,
    /// The columns of its `key=value` folders; `None` is a null.
    pub(crate) partition: Vec<(String, Option<String>)>,
}

const ENDINGS: [(&str, InputFormat); 6] = [
    ("parquet", InputFormat::Parquet),
    ("arrows", InputFormat::ArrowStream),
    ("csv", InputFormat::Csv),
    ("jsonl", InputFormat::JsonLines),
    ("ndjson", InputFormat::JsonLines),
    ("json", InputFormat::JsonLines),
];
const COMPRESSIONS: [(&str, Compression); 2] = [("gz", Compression::Gzip), ("zst", Compression::Zstd)];
/// The greatest depth of folders.
const DEPTH: usize = 64;

/// The files of a table, in order: all files below `INPUT/<table>/`, or the single file
/// `INPUT/<table>.<extension>`.
///
/// # Errors
///
/// If no file exists, or one has an unknown extension.
pub(crate) fn find(input: &Path, table: InputTable, order: FileOrder) -> Result<Vec<InputFile>> {
    let folder = input.join(table.name());
    let beside = fs::read_dir(input).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut candidates: Vec<_> = beside.filter(|path| is_of_table(path, table)).collect();
    candidates.sort();
    candidates.extend(folder.is_dir().then(|| folder.clone()));
    if let [first, second, ..] = candidates.as_slice() {
        let both = format!("{} and {}", first.display(), second.display());
        return Err(Error::unusable(format!("found table {table} in both {both}; wanted one of them")));
    }
    let mut paths = Vec::new();
    if folder.is_dir() {
        let root = folder.canonicalize().map_err(Error::reading(&folder))?;
        let mut search = FileSearch { root, linked: HashSet::new(), paths, problems: Vec::new(), links: Vec::new() };
        search.collect(&folder, 0);
        search.links.iter().for_each(|link| tracing::warn!("{link}"));
        if let Some(problem) = search.problems.into_iter().next() {
            return Err(problem);
        }
        paths = search.paths;
    } else {
        paths = candidates
    }
    if paths.is_empty() {
        return Err(nothing_found(input, table));
    }
    in_order(paths.into_iter().map(|path| describe(input, path)).collect::<Result<Vec<_>>>()?, order)
}

/// True for a file beside the folders of tables that has this table.
fn is_of_table(path: &Path, table: InputTable) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_named = name.split_once('.').is_some_and(|(name, _)| name == table.name());
    let endings = name.matches('.').count() - usize::from(format_of(path).is_some_and(|(_, packed)| packed.is_some()));
    is_named && endings == 1 && format_of(path).is_some() && path.is_file()
}

fn in_order(mut files: Vec<InputFile>, order: FileOrder) -> Result<Vec<InputFile>> {
    match order {
        FileOrder::Natural => files.sort_by(|a, b| natural_order(&a.name, &b.name)),
        FileOrder::Name => files.sort_by(|a, b| a.name.cmp(&b.name)),
        FileOrder::Modified => files = by_time(files)?,
    }
    Ok(files)
}

fn by_time(files: Vec<InputFile>) -> Result<Vec<InputFile>> {
    let modified = |file: InputFile| {
        let time = fs::metadata(&file.path).and_then(|metadata| metadata.modified());
        Ok((time.map_err(Error::reading(&file.path))?, file))
    };
    let mut files = files.into_iter().map(modified).collect::<Result<Vec<_>>>()?;
    files.sort_by(|(a, of_a), (b, of_b)| a.cmp(b).then_with(|| natural_order(&of_a.name, &of_b.name)));
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

/// The files of a table that there are, in order, and what is wrong with others.
pub(crate) fn list(input: &Path, table: InputTable, order: FileOrder) -> (Vec<InputFile>, Vec<Error>) {
    let folder = input.join(table.name());
    let beside = fs::read_dir(input).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<_> = beside.filter(|path| is_of_table(path, table)).collect();
    let mut problems = Vec::new();
    if let Ok(root) = folder.canonicalize() {
        let mut search =
            FileSearch { root, linked: HashSet::new(), paths: Vec::new(), problems: Vec::new(), links: Vec::new() };
        search.collect(&folder, 0);
        problems.extend(search.problems);
        problems.extend(search.links.into_iter().map(Error::unusable));
        paths.extend(search.paths);
    }
    let (mut files, mut described) = (Vec::new(), paths.into_iter().map(|path| describe(input, path)));
    described.by_ref().for_each(|file| match file {
        Ok(file) => files.push(file),
        Err(problem) => problems.push(problem),
    });
    match in_order(files, order) {
        Ok(files) => (files, problems),
        Err(problem) => (Vec::new(), vec![problem]),
    }
}

/// Collects the files below a folder. Names starting with `_` or `.` are not data, as in Spark.
struct FileSearch {
    /// The folder of the table.
    root: PathBuf,
    /// The folders that links lead to.
    linked: HashSet<PathBuf>,
    paths: Vec<PathBuf>,
    /// What can't be read.
    problems: Vec<Error>,
    /// What is told of links.
    links: Vec<String>,
}

impl FileSearch {
    fn collect(&mut self, folder: &Path, depth: usize) {
        match fs::read_dir(folder).map_err(Error::reading(folder)) {
            Ok(_) if depth > DEPTH => {
                let cause = format!("{}: more than {DEPTH} folders deep", folder.display());
                self.problems.push(Error::unusable(cause));
            }
            Ok(entries) => {
                let mut paths = Vec::new();
                for entry in entries {
                    match entry.map_err(Error::reading(folder)) {
                        Ok(entry) => paths.push(entry.path()),
                        Err(problem) => self.problems.push(problem),
                    }
                }
                paths.sort();
                for path in paths {
                    let problem = self.collect_entry(path, depth).err();
                    self.problems.extend(problem);
                }
            }
            Err(problem) => self.problems.push(problem),
        }
    }

    fn collect_entry(&mut self, path: PathBuf, depth: usize) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // As in Spark, `_column=value` is the folder of a column.
        if name.starts_with('.') || name.starts_with('_') && !name.contains('=') {
            return Ok(());
        }
        let found = fs::metadata(&path).map_err(Error::reading(&path))?;
        if found.is_dir() {
            if !path.is_symlink() || self.is_new(&path)? {
                self.collect(&path, depth + 1);
            }
        } else if found.is_file() {
            self.paths.push(path);
        } else {
            let cause = "neither a file nor a folder, but a pipe, socket or device";
            return Err(Error::unusable(format!("{}: {cause}", path.display())));
        }
        Ok(())
    }

    /// True if a link leads to a folder that is not read under another name.
    fn is_new(&mut self, link: &Path) -> Result<bool> {
        let folder = link.canonicalize().map_err(Error::reading(link))?;
        let is_around = self.root.starts_with(&folder) || folder.starts_with(&self.root);
        let is_new = !is_around && self.linked.insert(folder);
        if !is_new {
            self.links.push(format!("{}: is read already, under another name", printable(&link.to_string_lossy())));
        }
        Ok(is_new)
    }
}

/// The format and compression of a file; `None` if its extension is unknown.
fn format_of(path: &Path) -> Option<(InputFormat, Option<Compression>)> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let compression = COMPRESSIONS.iter().find(|(ending, _)| name.ends_with(&format!(".{ending}")));
    let name = compression.map_or(name.as_str(), |(ending, _)| &name[..name.len() - ending.len() - 1]);
    let (_, ending) = name.rsplit_once('.')?;
    let (_, format) = ENDINGS.iter().find(|(known, _)| *known == ending)?;
    // Parquet is compressed within.
    (format.is_text() || compression.is_none()).then_some((*format, compression.map(|(_, compression)| *compression)))
}

fn describe(input: &Path, path: PathBuf) -> Result<InputFile> {
    let name = path.strip_prefix(input).unwrap_or(&path).to_string_lossy().into_owned();
    let Some((format, compression)) = format_of(&path) else {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let found = if ending.is_empty() { "no extension".into() } else { format!("the extension .{ending}") };
        return Err(Error::unusable(format!("{}: {found}, wanted {}", path.display(), endings())));
    };
    let folders = name.rsplit_once('/').map_or("", |(folders, _)| folders);
    let partition = folders.split('/').filter_map(|folder| folder.split_once('='));
    let partition = partition.map(|(key, value)| (decode(key), (value != NULL_PARTITION).then(|| decode(value))));
    Ok(InputFile { partition: partition.collect(), format, compression, name, path })
}

/// A file of JSON lines.
fn endings() -> String {
    let endings = ENDINGS.map(|(ending, _)| format!(".{ending}"));
    format!("{}; text files may be compressed (.gz, .zst)", endings.join(", "))
}

fn nothing_found(input: &Path, table: InputTable) -> Error {
    if !input.is_dir() {
        let is_address = input.to_string_lossy().contains("://");
        let hint = if is_address { "; only local folders are read" } else { "" };
        return Error::unusable(format!("{}: there is no such folder{hint}, wanted the input folder", input.display()));
    }
    let entries = fs::read_dir(input).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let found = if names.is_empty() { "it is empty".into() } else { format!("it has {}", names.join(", ")) };
    let wanted = format!("a folder {table}/ with files, or a file {table} with the extension {}", endings());
    Error::unusable(format!("{}: no table {table}: {found}; wanted {wanted}", input.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count_by_value() {
        let mut names = ["day-10", "day-9", "day-1", "day-02", "b", "day-2", "a10b2", "a10b10", "a9", "", "day-"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["", "a9", "a10b2", "a10b10", "b", "day-", "day-1", "day-02", "day-2", "day-9", "day-10"]);
    }

    #[test]
    fn formats_are_told_by_extensions() {
        let of = |name: &str| format_of(Path::new(name));
        assert_eq!(of("a.CSV.gz"), Some((InputFormat::Csv, Some(Compression::Gzip))));
        assert_eq!(of("a.b.jsonl.zst"), Some((InputFormat::JsonLines, Some(Compression::Zstd))));
        assert_eq!(of("a.json"), Some((InputFormat::JsonLines, None)));
        assert_eq!(of("a.snappy.parquet"), Some((InputFormat::Parquet, None)));
        for unknown in ["a", "a.parquet.gz", "a.gz", "a.xlsx", ".csv.zip"] {
            assert_eq!(of(unknown), None, "{unknown}");
        }
    }
}
