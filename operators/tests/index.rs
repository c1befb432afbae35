//! The README's tables and the prelude have what the crate exports.

use std::collections::BTreeSet;

const LIBRARY: &str = include_str!("../src/lib.rs");
const PRELUDE: &str = include_str!("../src/prelude.rs");
const README: &str = include_str!("../README.md");

/// Exports that the prelude leaves out: those for operators that are written over batches, and for programs that read the
/// log of states.
const LEFT_OUT: [&str; 12] = [
    "Batch",
    "DiffOf",
    "KeyBatch",
    "KeyOf",
    "ProductOf",
    "STATE_LOG",
    "SortedBatch",
    "SortedTrace",
    "StateEvent",
    "StateEventBuilder",
    "ToWorker",
    "ValOf",
];

/// The names that a file exports from this crate: all after `pub use` but the modules of their paths.
fn exports(source: &str) -> BTreeSet<&str> {
    let statements = source.split("\npub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let own = statements.filter(|statement| !statement.contains("differential_dataflow"));
    own.flat_map(|statement| {
        let names = statement.rsplit_once("::{").map_or_else(
            || statement.rsplit("::").next().unwrap_or(statement),
            |(_, names)| names.trim_end().trim_end_matches('}'),
        );
        names.split(',').map(str::trim).filter(|name| !name.is_empty())
    })
    .collect()
}

/// The names in the first column of the README's tables.
fn indexed() -> BTreeSet<&'static str> {
    let rows = README.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

/// The operators among the names: functions, and what is built from functions.
fn operators<'a>(names: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    let is_operator = |name: &&str| name.starts_with(char::is_lowercase) || *name == "SharedReduce";
    names.iter().copied().filter(is_operator).collect()
}

#[test]
fn every_operator_is_in_a_table_of_the_readme() {
    let exported = operators(&exports(LIBRARY));
    assert!(exported.contains("aggregate") && exported.len() > 30, "found {exported:?}");
    // The functions of windows have a table of their own.
    let indexed = indexed();
    let missing: Vec<_> = exported.difference(&indexed).filter(|name| !name.starts_with("window")).collect();
    assert!(missing.is_empty(), "not in a table of the README: {missing:?}");
}

#[test]
fn every_name_in_a_table_of_the_readme_exists() {
    let windows: String = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/window"))
        .expect("the sources of windows")
        .map(|entry| entry.expect("an entry").path())
        .chain([concat!(env!("CARGO_MANIFEST_DIR"), "/src/window.rs").into()])
        .filter(|path| path.is_file())
        .map(|path| std::fs::read_to_string(path).expect("a source"))
        .collect();
    let exported = exports(LIBRARY);
    let is_method = |name: &str| ["(", "<"].iter().any(|next| windows.contains(&format!("pub fn {name}{next}")));
    let unknown: Vec<_> = indexed().into_iter().filter(|name| !exported.contains(name) && !is_method(name)).collect();
    assert!(unknown.is_empty(), "in a table of the README, but not exported: {unknown:?}");
}

#[test]
fn every_export_is_in_the_prelude() {
    let left_out = BTreeSet::from(LEFT_OUT);
    let in_prelude = exports(PRELUDE);
    let exported = exports(LIBRARY);
    let missing: Vec<_> = exported.difference(&in_prelude).filter(|name| !left_out.contains(*name)).collect();
    assert!(missing.is_empty(), "not in the prelude: {missing:?}");
    assert!(left_out.is_subset(&exported), "an exception that does not exist");
}
