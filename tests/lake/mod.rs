//! A folder of Delta tables as readers see it: by the definition of the protocol, and by the Python packages
//! `deltalake` and `polars` if `MILLSTREAM_DELTALAKE` names a Python that has them.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, reason = "this is a module of each test binary")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::files::{as_json, read_parquet};

/// A folder of tables.
pub struct Lake(pub PathBuf);

impl Lake {
    /// The commits of a table, each a list of actions, from the first on.
    pub fn commits(&self, table: &str) -> Vec<Vec<Value>> {
        let log = self.0.join(table).join("_delta_log");
        let mut files: Vec<_> = fs::read_dir(&log).map_or_else(
            |_| Vec::new(),
            |entries| entries.map(|entry| entry.expect("an entry").path()).filter(|path| is_commit(path)).collect(),
        );
        files.sort();
        let actions = |path: &PathBuf| {
            let text = fs::read_to_string(path).expect("a commit");
            text.lines().map(|line| serde_json::from_str(line).expect("an action")).collect()
        };
        files.iter().map(actions).collect()
    }

    /// Commits actions to a table, as somebody else would.
    pub fn commit(&self, table: &str, actions: &[Value]) {
        let log = self.0.join(table).join("_delta_log");
        let names = fs::read_dir(&log).expect("a log").map(|entry| entry.expect("an entry").path());
        let numbers = names.filter(|path| is_commit(path)).filter_map(|path| path.file_stem()?.to_str()?.parse().ok());
        let number = numbers.max().map_or(0, |newest: u64| newest + 1);
        let lines: String = actions.iter().map(|action| format!("{action}\n")).collect();
        fs::write(log.join(format!("{number:020}.json")), lines).expect("written");
    }

    /// The files of a table, by the actions of all commits.
    pub fn active(&self, table: &str) -> BTreeMap<String, Value> {
        let mut files = BTreeMap::new();
        for commit in self.commits(table) {
            let of = |kind: &str| commit.iter().filter_map(|action| action.get(kind).cloned()).collect::<Vec<_>>();
            for removed in of("remove") {
                let name = removed["path"].as_str().expect("a path");
                assert!(files.remove(name).is_some(), "{table}: {name} is removed and was not there");
            }
            for added in of("add") {
                let name = added["path"].as_str().expect("a path").to_owned();
                assert!(files.insert(name.clone(), added).is_none(), "{table}: {name} is added twice");
            }
        }
        files
    }

    /// The rows of a table as JSON objects with sorted keys, in an order of their own.
    pub fn rows(&self, table: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        for (name, added) in self.active(table) {
            let batches = read_parquet(&self.0.join(table).join(&name));
            let lines: Vec<_> = batches.iter().flat_map(as_json).collect();
            let stats: Value = serde_json::from_str(added["stats"].as_str().expect("statistics")).expect("JSON");
            assert_eq!(stats["numRecords"], lines.len(), "{table}/{name}");
            rows.extend(lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("an object")));
        }
        sorted(rows)
    }

    /// The version of an identifier of transactions, after all commits.
    pub fn transaction(&self, table: &str, id: &str) -> Option<u64> {
        let commits = self.commits(table);
        let transactions = commits.iter().flatten().filter_map(|action| action.get("txn"));
        transactions.filter(|txn| txn["appId"] == id).filter_map(|txn| txn["version"].as_u64()).next_back()
    }

    /// The epoch that all tables have, as the sink `lake` has written it.
    pub fn epoch(&self) -> u64 {
        let progress = fs::read_to_string(self.0.join("_millstream/lake.json")).unwrap_or_default();
        serde_json::from_str::<Value>(&progress).ok().and_then(|progress| progress["epoch"].as_u64()).unwrap_or(0)
    }

    /// The rows of a table as other readers have them, each with its name: `deltalake`, and Polars if it is installed.
    pub fn rows_of_others(&self, table: &str) -> Vec<(String, Vec<Value>)> {
        let Some(python) = std::env::var_os("MILLSTREAM_DELTALAKE") else { return Vec::new() };
        let mut running = Command::new(python)
            .args(["-", &self.0.join(table).display().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Python");
        running.stdin.take().expect("piped").write_all(READERS.as_bytes()).expect("written");
        let done = running.wait_with_output().expect("ended");
        assert!(done.status.success(), "{table} can't be read: {}", String::from_utf8_lossy(&done.stderr));
        let text = String::from_utf8(done.stdout).expect("text");
        let mut readers = BTreeMap::<String, Vec<Value>>::new();
        for line in text.lines() {
            let (reader, row) = line.split_once('\t').expect("a reader and a row");
            let rows = readers.entry(reader.to_owned()).or_default();
            rows.extend((!row.is_empty()).then(|| serde_json::from_str::<Value>(row).expect("an object")));
        }
        readers.into_iter().map(|(reader, rows)| (reader, sorted(rows))).collect()
    }
}

/// Prints the rows of a table, as each reader has them.
const READERS: &str = "
import sys, json
from deltalake import DeltaTable
def tell(reader, rows):
    print(reader + '\\t')
    for row in rows: print(reader + '\\t' + json.dumps(row, default=str))
tell('deltalake', DeltaTable(sys.argv[1]).to_pyarrow_table().to_pylist())
try:
    import polars
    tell('Polars', polars.read_delta(sys.argv[1]).to_dicts())
except ImportError: pass
";

fn is_commit(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.len() == 25 && name.ends_with(".json")
}

/// Rows without their nulls, in an order of their own.
pub fn sorted(rows: Vec<Value>) -> Vec<Value> {
    let without_nulls = |row: Value| match row {
        Value::Object(row) => Value::Object(row.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        other => other,
    };
    let mut rows: Vec<_> = rows.into_iter().map(without_nulls).collect();
    rows.sort_by_key(Value::to_string);
    rows
}
