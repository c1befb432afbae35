//! Damaged files of every kind that a user may give: readers end with rows or an error, and never panic.
//!
//! Files of `tests/corpus` are changed at random, from a fixed seed. More changes are made with
//! `MILLSTREAM_FUZZ=100000 cargo test --test fuzz`.

mod files;

use std::fs;
use std::path::{Path, PathBuf};

use chrono_tz::Tz;
use fastrand::Rng;
use files::Shop;
use millstream::config::{RunArgs, RunConfig};
use millstream::forest::Forest;
use millstream::model::{AnyId, InputTable};
use millstream::sources::{FileOptions, FileSource, Source, changes};

/// How many changed files are read, of each kind.
fn rounds() -> usize {
    std::env::var("MILLSTREAM_FUZZ").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(400)
}

/// Texts that mean something to one of the readers.
const WORDS: &[&str] = &[
    "\"",
    "\\",
    "\n",
    "\r\n",
    ",",
    ";",
    "{",
    "}",
    "[",
    "]",
    ":",
    "null",
    "true",
    "-",
    "1e999",
    "NaN",
    "\u{feff}",
    "\0",
    "\x1b[31m",
    "18446744073709551616",
    "9999-12-31",
    "-262143-01-01T00:00:00Z",
    "&a",
    "*a",
    "!!",
    "|",
    "'",
    "PAR1",
    "\u{fffd}",
];

/// Changes some bytes.
fn changed(original: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..rng.usize(1..=6) {
        let at = rng.usize(0..=bytes.len());
        match rng.u8(0..7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, rng.choice(WORDS).expect("some").bytes())),
            2 => drop(bytes.splice(at..(at + rng.usize(0..40)).min(bytes.len()), [])),
            3 => {
                let copy = bytes[at..(at + rng.usize(0..40)).min(bytes.len())].to_vec();
                let to = rng.usize(0..=bytes.len());
                bytes.splice(to..to, copy);
            }
            4 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = rng.u8(..)),
            5 => bytes.iter_mut().skip(at).take(8).for_each(|byte| *byte = 0xff),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << rng.u8(0..8)),
        }
    }
    bytes
}

/// The files of the corpus with this ending.
fn corpus(ending: &str) -> Vec<PathBuf> {
    let files = fs::read_dir("tests/corpus").expect("a corpus").flatten().map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    files.sort();
    assert!(!files.is_empty(), "there are files ending with {ending}");
    files
}

/// Reads all rows of an input folder.
fn read_all(folder: &Path) -> Result<usize, millstream::error::Error> {
    let source = FileSource::open(folder, &FileOptions::default())?;
    let mut rows = 0;
    for table in InputTable::ALL {
        for change in changes::<AnyId>(&source, table, Tz::UTC)? {
            change?;
            rows += 1;
        }
    }
    for split in source.splits() {
        source.read(&split, 100)?.for_each(drop);
    }
    Ok(rows)
}

/// Reads a shop whose orders are changed files.
fn fuzz_orders(originals: &[Vec<u8>], ending: &str) {
    let shop = Shop::small();
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    let path = shop.input().join(format!("orders.{ending}"));
    let mut rng = Rng::with_seed(7);
    let mut read = 0;
    for original in originals {
        fs::write(&path, original).expect("written");
        read_all(&shop.input()).expect("the original is read");
    }
    for _ in 0..rounds() {
        let original = rng.choice(originals).expect("some");
        fs::write(&path, changed(original, &mut rng)).expect("written");
        read += usize::from(read_all(&shop.input()).is_ok());
    }
    assert!(read > 0, "not every change makes a file unreadable");
}

fn contents(files: &[PathBuf]) -> Vec<Vec<u8>> {
    files.iter().map(|path| fs::read(path).expect("a file")).collect()
}

#[test]
fn damaged_csv() {
    fuzz_orders(&contents(&corpus(".csv")), "csv");
}

#[test]
fn damaged_json_lines() {
    fuzz_orders(&contents(&corpus(".jsonl")), "jsonl");
}

#[test]
fn damaged_arrow_streams() {
    fuzz_orders(&contents(&corpus(".arrows")), "arrows");
}

#[test]
fn damaged_compressed_files() {
    fuzz_orders(&contents(&corpus(".csv.gz")), "csv.gz");
    fuzz_orders(&contents(&corpus(".jsonl.zst")), "jsonl.zst");
}

#[test]
fn damaged_parquet() {
    fuzz_orders(&contents(&corpus(".parquet")), "parquet");
}

#[test]
fn damaged_config() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.yaml");
    let originals = contents(&corpus(".yaml"));
    let mut rng = Rng::with_seed(7);
    for _ in 0..rounds() * 5 {
        let original = rng.choice(&originals).expect("some");
        fs::write(&path, changed(original, &mut rng)).expect("written");
        let args = RunArgs {
            config: Some(path.clone()),
            input: Some("in".into()),
            output: Some("out".into()),
            ..RunArgs::default()
        };
        if let Err(error) = RunConfig::resolve(&args) {
            let message = error.to_string();
            assert!(message.chars().all(|character| character == '\n' || !character.is_control()), "{message:?}");
        }
    }
}

#[test]
fn damaged_models() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.json");
    let originals = contents(&corpus(".model.json"));
    let mut rng = Rng::with_seed(7);
    for _ in 0..rounds() * 5 {
        let original = rng.choice(&originals).expect("some");
        fs::write(&path, changed(original, &mut rng)).expect("written");
        drop(Forest::load(&path));
    }
}
