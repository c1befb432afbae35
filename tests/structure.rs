//! The import rules of ARCHITECTURE.md: imports point down the list of folders, and files have no import cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::{Attribute, Item, UseTree};

/// The modules of the crate, each of which may import those before it.
const LAYERS: &[&str] = &[
    "error", "suggest", "grouped", "folder_names", "model", "forest", "pipeline", "columns", "udf", "sinks", "tables", "sources",
    "config", "report", "runtime", "batch", "validate", "generate", "cli",
];

/// A module, by its path, and what its file imports or declares.
#[derive(Default)]
struct Module {
    /// Paths of other modules' items, absolute.
    imports: Vec<Vec<String>>,
    /// Names that the file makes available, and where they come from.
    names: BTreeMap<String, Vec<String>>,
}

type Modules = BTreeMap<Vec<String>, Module>;

#[test]
fn imports_point_down_the_list_of_folders() {
    let modules = modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let layer = |module: &[String]| LAYERS.iter().position(|layer| Some(*layer) == module.first().map(String::as_str));
    for (from, to) in edges(&modules).into_iter().filter(|(from, to)| !from.is_empty() && !to.is_empty()) {
        let (Some(above), Some(below)) = (layer(&from), layer(&to)) else {
            panic!("{} or {} is in no layer", from.join("::"), to.join("::"));
        };
        assert!(above >= below, "{} imports {}, which lies above it", from.join("::"), to.join("::"));
    }
}

#[test]
fn no_files_import_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "operators/src"] {
        let edges = edges(&modules(&root.join(folder)));
        if let Some(circle) = circle(&edges) {
            let names: Vec<_> = circle.iter().map(|module| module.join("::")).collect();
            panic!("{folder}: a circle of imports: {}", names.join(" → "));
        }
    }
}

#[test]
fn a_type_name_occurs_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for folder in ["src", "operators/src"] {
        for (path, items) in files(&root.join(folder)) {
            for name in items.iter().filter_map(type_name) {
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
fn the_pipeline_has_no_arrow_and_only_the_runtime_has_threads() {
    let modules = modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    for (path, module) in &modules {
        let imports = |start: &[&str]| module.imports.iter().any(|import| starts_with(import, start));
        if ["model", "forest", "pipeline"].iter().any(|layer| path.first().is_some_and(|first| first == layer)) {
            assert!(!imports(&["arrow"]) && !imports(&["parquet"]), "{} imports Arrow", path.join("::"));
            assert!(
                !imports(&["std", "thread"]) && !imports(&["std", "time"]),
                "{} knows threads or clocks",
                path.join("::")
            );
        }
    }
}

fn starts_with(path: &[String], start: &[&str]) -> bool {
    path.len() >= start.len() && path.iter().zip(start).all(|(part, wanted)| part == wanted)
}

/// Which files import which.
fn edges(modules: &Modules) -> BTreeSet<(Vec<String>, Vec<String>)> {
    let mut edges = BTreeSet::new();
    for (from, module) in modules {
        for import in module.imports.iter().filter(|import| import.first().is_some_and(|root| root == "crate")) {
            let to = resolve(modules, &import[1..], 0);
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

/// All modules below a folder, tests left out.
fn modules(root: &Path) -> Modules {
    files(root).into_iter().map(|(path, items)| (path.clone(), read(&path, &items))).collect()
}

/// The items of all files below a folder, by module, tests left out.
fn files(root: &Path) -> BTreeMap<Vec<String>, Vec<Item>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the sources can be read") {
            let path = entry.expect("the sources can be read").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let relative = path.strip_prefix(root).expect("it is below the root").with_extension("");
            let mut module: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if ["main", "tests"].contains(&module.last().expect("a file has a name").as_str()) {
                continue;
            }
            module.retain(|part| part != "lib");
            let file = fs::read_to_string(&path).expect("the sources can be read");
            files.insert(module, syn::parse_file(&file).expect("it parses").items);
        }
    }
    files
}

fn read(path: &[String], items: &[Item]) -> Module {
    let mut module = Module::default();
    for item in items {
        if let Item::Use(item) = item
            && !is_test(&item.attrs)
        {
            let mut found = Vec::new();
            flatten(&item.tree, &mut Vec::new(), &mut found);
            for (name, import) in found {
                let import = absolute(path, import);
                module.names.insert(name, import.clone());
                module.imports.push(import);
            }
        }
    }
    module
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("cfg"))
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
