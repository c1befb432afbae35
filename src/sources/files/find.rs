//! Finding the files of a table.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::folder_names::{NULL_PARTITION, decode};
use crate::model::InputTable;

/// The format of an input file, determined by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputFormat {
    Parquet,
    Csv,
    JsonLines,
}

impl InputFormat {
    /// True if the format does not store column types.
    pub(crate) fn is_text(self) -> bool {
        self != InputFormat::Parquet
    }
}

/// A file of a table.
#[derive(Clone, Debug)]
pub(crate) struct InputFile {
    pub(crate) path: PathBuf,
    /// The path relative to the input folder, for messages and for ordering files.
    pub(crate) name: String,
    pub(crate) format: InputFormat,
    /// The columns of its `key=value` folders; `None` is a null.
    pub(crate) partition: Vec<(String, Option<String>)>,
}

const ENDINGS: [(&str, InputFormat); 4] = [
    ("parquet", InputFormat::Parquet),
    ("csv", InputFormat::Csv),
    ("jsonl", InputFormat::JsonLines),
    ("ndjson", InputFormat::JsonLines),
];

/// The files of a table, sorted by name: all files below `INPUT/<table>/`, or the single file
/// `INPUT/<table>.<extension>`.
///
/// # Errors
///
/// If no file exists, or one has an unknown extension.
pub(crate) fn find(input: &Path, table: InputTable) -> Result<Vec<InputFile>> {
    let folder = input.join(table.name());
    let mut paths = Vec::new();
    let single = ENDINGS.map(|(ending, _)| input.join(format!("{table}.{ending}")));
    let mut candidates: Vec<_> = single.into_iter().filter(|path| path.is_file()).collect();
    candidates.extend(folder.is_dir().then(|| folder.clone()));
    if let [first, second, ..] = candidates.as_slice() {
        let both = format!("{} and {}", first.display(), second.display());
        return Err(Error::unusable(format!("found table {table} in both {both}; wanted one of them")));
    }
    if folder.is_dir() {
        collect(&folder, &mut paths)?
    } else {
        paths = candidates
    }
    if paths.is_empty() {
        return Err(nothing_found(input, table));
    }
    let mut files = paths.into_iter().map(|path| describe(input, path)).collect::<Result<Vec<_>>>()?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Collects the files below a folder. Names starting with `_` or `.` are not data, as in Spark.
fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::reading(folder))? {
        let path = entry.map_err(Error::reading(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(['_', '.']) {
            continue;
        }
        if path.is_dir() { collect(&path, paths)? } else { paths.push(path) }
    }
    Ok(())
}

fn describe(input: &Path, path: PathBuf) -> Result<InputFile> {
    let name = path.strip_prefix(input).unwrap_or(&path).to_string_lossy().into_owned();
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let Some((_, format)) = ENDINGS.iter().find(|(known, _)| *known == ending) else {
        let found = if ending.is_empty() { "no extension".into() } else { format!("the extension .{ending}") };
        return Err(Error::unusable(format!("{}: {found}, wanted {}", path.display(), endings())));
    };
    let folders = name.rsplit_once('/').map_or("", |(folders, _)| folders);
    let partition = folders.split('/').filter_map(|folder| folder.split_once('='));
    let partition = partition.map(|(key, value)| (decode(key), (value != NULL_PARTITION).then(|| decode(value))));
    Ok(InputFile { partition: partition.collect(), format: *format, name, path })
}

fn endings() -> String {
    let endings = ENDINGS.map(|(ending, _)| format!(".{ending}"));
    format!("{} or {}", endings[..3].join(", "), endings[3])
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
