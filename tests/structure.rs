//! The rules of ARCHITECTURE.md that concern the source text: which paths may name what, that files do not depend on
//! each other in a circle, and how long a line may be.
//!
//! Every path counts: those of `use`, wherever it stands, and those in types, expressions, patterns and macro calls.
//! Tests within files and examples in documentation do not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use millstream::tables::Catalog;
use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, ItemMod, ItemUse, LitStr, Macro, UseTree, Visibility};

/// The modules of the crate, each of which may use those before it.
const LAYERS: &[&str] = &[
    "crash",
    "printable",
    "process_memory",
    "redacted",
    "error",
    "atomic_file",
    "suggest",
    "grouped",
    "folder_names",
    "model",
    "panics",
    "forest",
    "pipeline",
    "kafka",
    "objects",
    "postgres",
    "columns",
    "udf",
    "sources",
    "durable",
    "sinks",
    "tables",
    "config",
    "report",
    "runtime",
    "batch",
    "service",
    "validate",
    "sql",
    "http",
    "generate",
    "cli",
];

/// What the runtime may name of the tables: what all tables have in common, and the table of rejected rows.
const TABLES_IN_RUNTIME: &[&str] = &["catalog", "table", "end", "rows_end", "layout", "derived", "rejected", "lookups"];

/// The longest line, in characters. A row of a table in documentation may be longer, because it can't be broken.
const LINE_MAX: usize = 120;

/// A module, by its path, and what its file names or declares.
#[derive(Default)]
struct Module {
    /// Paths in the file. Those of the crate start with `crate`.
    paths: Vec<Vec<String>>,
    /// Names that the file makes available, and where they come from.
    names: BTreeMap<String, Vec<String>>,
    /// Its text literals.
    texts: Vec<String>,
}

type Modules = BTreeMap<Vec<String>, Module>;

#[test]
fn paths_point_down_the_list_of_folders() {
    assert_eq!(upward(&modules("src")), [""; 0]);
}

/// The uses of a module that lies above.
fn upward(modules: &Modules) -> Vec<String> {
    let layer = |module: &[String]| {
        let position = LAYERS.iter().position(|layer| Some(*layer) == module.first().map(String::as_str));
        position.unwrap_or_else(|| panic!("{} is in no layer", module.join("::")))
    };
    let edges = edges(modules).into_iter().filter(|(from, to)| !from.is_empty() && !to.is_empty());
    let upward = edges.filter(|(from, to)| layer(from) < layer(to));
    upward.map(|(from, to)| format!("{} uses {}, which lies above it", from.join("::"), to.join("::"))).collect()
}

#[test]
fn a_path_that_points_up_is_found_wherever_it_stands() {
    let above = "pub struct Live; impl Live { pub fn start() -> u8 { 0 } }";
    for below in [
        "use crate::runtime::Live;",
        "use crate::{error, runtime::{Live as Other}};",
        "fn f() { let started = 1 + crate::runtime::Live::start(); }",
        "fn f() { use crate::runtime::Live; }",
        "fn f() { if true { loop { use super::runtime as above; above::Live::start(); } } }",
        "fn f(live: &crate::runtime::Live) {}",
        "struct S { field: Vec<Option<super::runtime::Live>> }",
        "impl Iterator for crate::runtime::Live { type Item = u8; }",
        "fn f() { assert!(matches!(crate::runtime::Live::start(), 0)); }",
        "fn f() { match g() { crate::runtime::Live => {} } }",
        "fn f<T: crate::runtime::Live>() {}",
        "macro_rules! m { () => { $crate::runtime::Live } }",
    ] {
        let sources = [(vec!["model".to_owned()], below), (vec!["runtime".to_owned()], above)];
        let modules: Modules =
            sources.map(|(path, text)| (path.clone(), Module::read(&path, &syn::parse_file(text).expect(text)))).into();
        assert_eq!(upward(&modules), ["model uses runtime, which lies above it"], "{below}");
    }
    let test = "#[cfg(test)] mod tests { use crate::runtime::Live; } /// [`crate::runtime::Live`]\nfn f() {}";
    let path = vec!["model".to_owned()];
    assert!(Module::read(&path, &syn::parse_file(test).expect(test)).paths.is_empty());
}

#[test]
fn no_files_use_each_other() {
    for folder in ["src", "operators/src"] {
        let edges = edges(&modules(folder));
        if let Some(circle) = circle(&edges) {
            let names: Vec<_> = circle.iter().map(|module| module.join("::")).collect();
            panic!("{folder}: a circle of files: {}", names.join(" → "));
        }
    }
}

#[test]
fn a_type_name_occurs_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for folder in ["src", "operators/src"] {
        for (path, file) in files(&root.join(folder)) {
            for name in file.items.iter().filter_map(type_name) {
                let place = format!("{folder}/{}", path.join("/"));
                if let Some(first) = seen.insert(name.clone(), place.clone()) {
                    panic!("{name} is defined in {first} and in {place}");
                }
            }
        }
    }
}

/// The name of a type or trait that an item defines.
fn type_name(item: &Item) -> Option<String> {
    match item {
        Item::Struct(item) => Some(item.ident.to_string()),
        Item::Enum(item) => Some(item.ident.to_string()),
        Item::Trait(item) => Some(item.ident.to_string()),
        Item::Type(item) => Some(item.ident.to_string()),
        _ => None,
    }
}

#[test]
fn the_operators_know_nothing_of_shops_files_or_arrow() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("operators/Cargo.toml"));
    let manifest = manifest.expect("the operators have a manifest");
    let dependencies = manifest.split("[dependencies]").nth(1).and_then(|rest| rest.split("\n[").next());
    let dependencies = dependencies.expect("it has dependencies");
    for foreign in ["arrow", "parquet", "clap", "mimalloc", "millstream", "chrono", "cc"] {
        let is_there = dependencies.lines().any(|line| line.starts_with(foreign));
        assert!(!is_there, "operators/Cargo.toml: {foreign}");
    }
}

#[test]
fn the_model_the_forests_and_the_pipeline_have_no_arrow_no_threads_and_no_clock() {
    for (path, module) in modules("src") {
        if ["model", "forest", "pipeline"].iter().any(|layer| path.first().is_some_and(|first| first == layer)) {
            for foreign in [&["arrow"][..], &["parquet"], &["std", "thread"], &["std", "time"]] {
                let found = module.paths.iter().find(|path| starts_with(path, foreign));
                assert!(found.is_none(), "{} uses {}", path.join("::"), foreign.join("::"));
            }
        }
    }
}

#[test]
fn the_runtime_knows_no_table_but_the_rejected_rows_and_no_folder() {
    let modules = modules("src");
    let tables = Catalog::standard();
    let in_runtime = |path: &[String]| path.first().is_some_and(|layer| layer == "runtime");
    for (from, to) in edges(&modules).iter().filter(|(from, _)| in_runtime(from)) {
        let (from, name) = (from.join("::"), to.join("::"));
        assert!(!name.starts_with("sinks::folder") && !name.starts_with("sources::files"), "{from} uses {name}");
        if let [first, table, ..] = to.as_slice()
            && first == "tables"
        {
            assert!(TABLES_IN_RUNTIME.contains(&table.as_str()), "{from} uses {name}");
        }
    }
    for (path, module) in modules.iter().filter(|(path, _)| in_runtime(path)) {
        let named = module.texts.iter().find(|text| tables.contains(text));
        assert!(named.is_none(), "{} names the table {named:?}", path.join("::"));
    }
}

#[test]
fn no_line_is_longer_than_120_characters() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut long = Vec::new();
    for folder in ["src", "tests", "operators/src", "operators/examples", "benches", "examples"] {
        for path in rust_files(&root.join(folder)) {
            let text = fs::read_to_string(&path).expect("the sources can be read");
            let lines = text.lines().zip(1..).filter(|(line, _)| is_long(line));
            long.extend(
                lines.map(|(_, number)| format!("{}:{number}", path.strip_prefix(root).expect("below").display())),
            );
        }
    }
    assert!(long.is_empty(), "{} lines are too long:\n{}", long.len(), long.join("\n"));
}

fn is_long(line: &str) -> bool {
    let is_row = ["//! |", "/// |"].iter().any(|start| line.trim_start().starts_with(start));
    line.chars().count() > LINE_MAX && !is_row
}

fn starts_with(path: &[String], start: &[&str]) -> bool {
    path.len() >= start.len() && path.iter().zip(start).all(|(part, wanted)| part == wanted)
}

/// Which files use which.
fn edges(modules: &Modules) -> BTreeSet<(Vec<String>, Vec<String>)> {
    let mut edges = BTreeSet::new();
    for (from, module) in modules {
        for path in module.paths.iter().filter(|path| path.first().is_some_and(|root| root == "crate")) {
            let to = resolve(modules, &path[1..], 0);
            // What a file takes from its own modules, or they from a name it passes on, is resolved to where it is
            // defined.
            if to != *from {
                edges.insert((from.clone(), to));
            }
        }
    }
    edges
}

/// The module in which an item is defined: names that a file passes on are followed.
fn resolve(modules: &Modules, path: &[String], depth: usize) -> Vec<String> {
    let known = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]));
    let length = known.unwrap_or(0);
    let module = path[..length].to_vec();
    let passed_on = path.get(length).and_then(|name| modules.get(&module)?.names.get(name));
    match passed_on {
        Some(source) if depth < 8 && source.first().is_some_and(|root| root == "crate") => {
            resolve(modules, &source[1..], depth + 1)
        }
        _ => module,
    }
}

/// A cycle in a graph, if any.
fn circle(edges: &BTreeSet<(Vec<String>, Vec<String>)>) -> Option<Vec<Vec<String>>> {
    let mut left: BTreeSet<_> = edges.clone();
    loop {
        let sources: BTreeSet<_> = left.iter().map(|(from, _)| from.clone()).collect();
        let before = left.len();
        left.retain(|(_, to)| sources.contains(to));
        if left.len() == before {
            break;
        }
    }
    let mut path = vec![left.first()?.0.clone()];
    loop {
        let last = path.last().expect("not empty").clone();
        let next = &left.iter().find(|(from, _)| *from == last).expect("all ends were removed").1;
        if let Some(start) = path.iter().position(|module| module == next) {
            path.push(next.clone());
            return Some(path.split_off(start));
        }
        path.push(next.clone());
    }
}

/// All modules below a folder of the repository, tests left out.
fn modules(folder: &str) -> Modules {
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    files.into_iter().map(|(path, file)| (path.clone(), Module::read(&path, &file))).collect()
}

/// All files below a folder, by module, tests left out.
fn files(root: &Path) -> BTreeMap<Vec<String>, File> {
    let mut files = BTreeMap::new();
    for path in rust_files(root) {
        let relative = path.strip_prefix(root).expect("it is below the root").with_extension("");
        let mut module: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if !["main", "tests"].contains(&module.last().expect("a file has a name").as_str()) {
            module.retain(|part| part != "lib");
            let file = fs::read_to_string(&path).expect("the sources can be read");
            files.insert(module, syn::parse_file(&file).expect("it parses"));
        }
    }
    files
}

/// The paths of all Rust files below a folder.
fn rust_files(root: &Path) -> Vec<std::path::PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the sources can be read") {
            let path = entry.expect("the sources can be read").path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

impl Module {
    fn read(path: &[String], file: &File) -> Module {
        let mut imports = Imports::default();
        imports.visit_file(file);
        let mut module = Module::default();
        for (name, import) in imports.0 {
            let import = absolute(path, import);
            module.names.insert(name, import.clone());
            module.paths.push(import);
        }
        let mut found = Paths::default();
        found.visit_file(file);
        for part in found.paths {
            let start = part.first().and_then(|first| module.names.get(first));
            module.paths.push(match start {
                Some(import) => import.iter().cloned().chain(part.into_iter().skip(1)).collect(),
                None => absolute(path, part),
            });
        }
        module.texts = found.texts;
        module
    }
}

/// What a file imports, wherever the `use` stands.
#[derive(Default)]
struct Imports(Vec<(String, Vec<String>)>);

impl<'ast> Visit<'ast> for Imports {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        flatten(&item.tree, &mut Vec::new(), &mut self.0);
    }
}

/// The paths of several parts in a file, `use` left out, and its text literals.
#[derive(Default)]
struct Paths {
    paths: Vec<Vec<String>>,
    texts: Vec<String>,
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let is_empty = item.content.as_ref().is_none_or(|(_, items)| items.is_empty());
        assert!(is_empty, "{}: a module in a file, whose `super` this test would misread", item.ident);
    }

    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    /// `pub(in path)` names a module above, but uses nothing of it.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_lit_str(&mut self, text: &'ast LitStr) {
        self.texts.push(text.value());
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        visit::visit_macro(self, call);
        let tokens = call.tokens.to_string();
        self.paths.extend(paths_of(&tokens));
        self.texts.extend(tokens.split('"').skip(1).step_by(2).map(str::to_owned));
    }
}

/// The paths of several parts in the tokens of a macro call, which no parser knows.
fn paths_of(tokens: &str) -> Vec<Vec<String>> {
    let tokens = tokens.replace("::", " :: ").replace('$', " ");
    let is_kept =
        |character: char| character.is_alphanumeric() || character.is_whitespace() || "_:".contains(character);
    let words = tokens.replace(|character: char| !is_kept(character), " ; ");
    let (mut paths, mut path, mut joins) = (Vec::new(), Vec::new(), false);
    for word in words.split_whitespace().filter(|word| *word != ":") {
        if word == "::" {
            joins = true;
        } else {
            if !joins && path.len() > 1 {
                paths.push(std::mem::take(&mut path));
            }
            if !joins {
                path.clear();
            }
            path.push(word.to_owned());
            joins = false;
        }
    }
    paths.extend(Some(path).filter(|path| path.len() > 1));
    paths
}

/// True if an item exists only when tests are built.
fn is_test(item: &Item) -> bool {
    let attributes = match item {
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        _ => return false,
    };
    let only = |attribute: &Attribute| {
        attribute.meta.require_list().is_ok_and(|list| ["test", "doctest"].contains(&list.tokens.to_string().as_str()))
    };
    attributes.iter().any(|attribute| attribute.path().is_ident("cfg") && only(attribute))
}

/// The names that a `use` brings in, each with its path.
fn flatten(tree: &UseTree, before: &mut Vec<String>, found: &mut Vec<(String, Vec<String>)>) {
    let with = |name: String, before: &[String]| before.iter().cloned().chain([name]).collect::<Vec<_>>();
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, found);
            before.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            found.push((before.last().cloned().unwrap_or_default(), before.clone()));
        }
        UseTree::Name(name) => found.push((name.ident.to_string(), with(name.ident.to_string(), before))),
        UseTree::Rename(name) => found.push((name.rename.to_string(), with(name.ident.to_string(), before))),
        UseTree::Glob(_) => found.push(("*".into(), before.clone())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, found)),
    }
}

/// A path from the root of the crate.
fn absolute(module: &[String], import: Vec<String>) -> Vec<String> {
    let supers = import.iter().take_while(|part| *part == "super").count();
    let root = || vec!["crate".to_owned()];
    match import.first().map(String::as_str) {
        Some("super") => {
            let parent = &module[..module.len().saturating_sub(supers)];
            root().into_iter().chain(parent.iter().cloned()).chain(import.into_iter().skip(supers)).collect()
        }
        Some("self") => root().into_iter().chain(module.iter().cloned()).chain(import.into_iter().skip(1)).collect(),
        Some("crate") => import,
        // A name of the file's own modules, or another crate's.
        Some(name) if is_own(module, name) => root().into_iter().chain(module.iter().cloned()).chain(import).collect(),
        _ => import,
    }
}

/// True if a file has a module of this name.
fn is_own(module: &[String], name: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["src", "operators/src"].iter().any(|folder| {
        let folder = module.iter().fold(root.join(folder), |folder, part| folder.join(part));
        folder.join(format!("{name}.rs")).is_file()
    })
}
