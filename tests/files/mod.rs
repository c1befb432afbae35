//! Shared by the command tests: a shop in a temporary folder, and the command run on it.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, reason = "this is a module of each test binary")]

pub mod processes;
pub mod serving;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

/// The result of a command.
#[derive(Debug)]
pub struct Done {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The command, without environment variables that affect it. Whoever runs the tests in the background may have signals
/// ignored, which the command would then do, too.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/env");
    command.args(["--default-signal=HUP,INT,TERM", env!("CARGO_BIN_EXE_millstream")]);
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

pub fn finish(mut command: Command) -> Done {
    let output = command.output().expect("the command starts");
    Done {
        status: output.status.code().expect("it was not killed"),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub fn millstream(args: &[&str]) -> Done {
    finish(command(args))
}

/// Checks the exit status and that the output contains these words.
pub fn check(done: &Done, status: i32, words: &[&str]) {
    assert_eq!(done.status, status, "{done:?}");
    for word in words {
        assert!(done.stderr.contains(word), "{word:?} in {done:?}");
    }
    assert!(!done.stderr.contains("panicked"), "{done:?}");
}

/// A shop and its output.
pub struct Shop {
    folder: TempDir,
}

impl Shop {
    /// A folder without a shop.
    pub fn empty() -> Shop {
        let shop = Shop { folder: tempfile::tempdir().expect("a folder") };
        fs::create_dir(shop.input()).expect("a folder");
        shop
    }

    /// The shop of `tests/golden/shop`, small enough to check by hand, with every kind of dirt.
    pub fn small() -> Shop {
        let shop = Shop::empty();
        for table in ["orders", "products", "customers"] {
            shop.copy_golden(table, &format!("{table}.csv"));
        }
        shop
    }

    /// A generated shop.
    pub fn generated(scale: &str) -> Shop {
        let shop = Shop::empty();
        let done = millstream(&["generate", "--scale", scale, "--output", shop.path("in").to_str().expect("text")]);
        assert_eq!(done.status, 0, "{done:?}");
        shop
    }

    /// Puts a table of the small shop into a file.
    pub fn copy_golden(&self, table: &str, name: &str) {
        self.write(name, &fs::read_to_string(format!("tests/golden/shop/{table}.csv")).expect("a golden file"));
    }

    /// Writes a file below the input folder.
    pub fn write(&self, name: &str, content: &str) {
        let path = self.input().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("written");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn input(&self) -> PathBuf {
        self.path("in")
    }

    pub fn output(&self) -> PathBuf {
        self.path("out")
    }

    /// The command that runs the job on this shop, with a fixed reference date.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command(&["run", "--workers", "2", "--as-of", "2024-03-31"]);
        command.arg("--input").arg(self.input()).arg("--output").arg(self.output()).args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> Done {
        finish(self.command(args))
    }

    /// The names of the existing tables.
    pub fn tables(&self) -> Vec<String> {
        let entries = fs::read_dir(self.output()).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }

    /// The data files of a table, by path below its folder.
    pub fn files(&self, table: &str) -> Vec<String> {
        let folder = self.output().join(table);
        let mut names = Vec::new();
        collect(&folder, &folder, &mut names);
        names.sort();
        names
    }

    /// All rows of a Parquet table.
    pub fn read(&self, table: &str) -> Vec<RecordBatch> {
        let files = self.files(table);
        files.iter().flat_map(|name| read_parquet(&self.output().join(table).join(name))).collect()
    }

    /// All rows of a Parquet table as text, sorted.
    pub fn rows(&self, table: &str) -> Vec<String> {
        let mut rows: Vec<String> = self.read(table).iter().flat_map(as_lines).collect();
        rows.sort();
        rows
    }
}

fn collect(root: &Path, folder: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(root, &path, names);
        } else if !entry.file_name().to_string_lossy().starts_with('_') {
            names.push(path.strip_prefix(root).expect("below").to_string_lossy().into_owned());
        }
    }
}

pub fn read_parquet(path: &Path) -> Vec<RecordBatch> {
    let file = File::open(path).expect("a file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|reader| reader.build());
    reader.expect("Parquet").collect::<Result<_, _>>().expect("readable")
}

/// The rows of a batch as CSV.
pub fn as_lines(batch: &RecordBatch) -> Vec<String> {
    let mut text = Vec::new();
    let mut writer = arrow::csv::WriterBuilder::new().with_header(false).build(&mut text);
    writer.write(batch).expect("written");
    drop(writer);
    String::from_utf8(text).expect("text").lines().map(str::to_owned).collect()
}

/// The rows of a batch as JSON, which has lists and maps too.
pub fn as_json(batch: &RecordBatch) -> Vec<String> {
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(batch).expect("written");
    writer.finish().expect("written");
    String::from_utf8(writer.into_inner()).expect("text").lines().map(str::to_owned).collect()
}

/// A CSV table: the header, then all rows, sorted where the table has no order.
pub fn read_csv(folder: &Path, sorted: bool) -> String {
    let file = fs::read_dir(folder).expect("a table").flatten().find(|entry| entry.path().extension().is_some());
    let text = fs::read_to_string(file.expect("a file").path()).expect("text");
    let mut lines: Vec<&str> = text.lines().collect();
    if sorted {
        lines[1..].sort_unstable();
    }
    lines.join("\n") + "\n"
}

/// Writes a Parquet file below the input folder.
pub fn write_parquet(shop: &Shop, name: &str, batch: &RecordBatch) {
    shop.write(name, "");
    let file = fs::File::create(shop.input().join(name)).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(batch).expect("written");
    writer.close().expect("closed");
}
