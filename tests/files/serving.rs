//! Services on a shop.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::processes::{Patience, Running};
use super::{Done, Shop, as_json, check, command, finish, read_parquet};

/// The columns of orders, and what a row does.
pub const HEADER: &str = "order_id,customer_id,product_id,order_date,quantity,discount,_op\n";
/// How long to wait for what must come.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A service on a shop.
pub fn service(shop: &Shop, args: &[&str]) -> Command {
    let mut command = command(&["serve", "--as-of", "2024-03-31", "--workers", "2"]);
    command.arg("--input").arg(shop.input()).arg("--output").arg(shop.output()).args(args);
    command
}

/// Puts a file into the input folder in one step.
pub fn drop_file(shop: &Shop, name: &str, content: &str) {
    let path = shop.input().join(name);
    let hidden = path.with_file_name(format!(".{}", path.file_name().expect("a name").to_string_lossy()));
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(&hidden, content).expect("written");
    fs::rename(&hidden, &path).expect("renamed");
}

pub fn await_lines(running: &Running, words: &str, times: usize) {
    let mut patience = Patience::new();
    while running.log().matches(words).count() < times {
        assert!(patience.has_with(running), "{words:?} was not said {times} times: {}", running.log());
        thread::sleep(Duration::from_millis(5));
    }
}

pub fn stop(running: Running) -> Done {
    running.signal("-TERM");
    let done = running.end();
    check(&done, 0, &[]);
    done
}

/// The rows of all tables of an output folder, `rejected` included.
pub fn tables(output: &Path) -> Vec<(String, Vec<String>)> {
    let mut tables = Vec::new();
    let mut names: Vec<_> = fs::read_dir(output).expect("published").flatten().map(|entry| entry.path()).collect();
    names.sort();
    for path in names.into_iter().filter(|path| path.is_dir() && !path.ends_with(".millstream")) {
        let mut rows = Vec::new();
        add_rows(&path, "", &mut rows);
        rows.sort();
        tables.push((path.file_name().expect("a name").to_string_lossy().into_owned(), rows));
    }
    tables
}

/// Adds the rows of the files below a folder, each with the folders that it is in.
fn add_rows(folder: &Path, partition: &str, rows: &mut Vec<String>) {
    for path in fs::read_dir(folder).expect("a table").flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            add_rows(&path, &format!("{partition}/{}", path.file_name().expect("a name").display()), rows);
        } else if path.extension().is_some_and(|ending| ending == "parquet") {
            let batches = read_parquet(&path);
            rows.extend(batches.iter().flat_map(as_json).map(|row| format!("{partition} {row}")));
        }
    }
}

/// Checks that what is published is what `run` makes of the files.
pub fn check_published(shop: &Shop, context: &str) {
    check_published_with(shop, &[], context);
}

/// The same with more arguments.
pub fn check_published_with(shop: &Shop, args: &[&str], context: &str) {
    let alone = shop.path("alone");
    let mut run = command(&["run", "--as-of", "2024-03-31", "--workers", "1"]);
    run.args(args);
    run.arg("--input").arg(shop.input()).arg("--output").arg(&alone);
    check(&finish(run), 0, &[]);
    let (found, wanted) = (tables(&shop.output()), tables(&alone));
    assert_eq!(found.len(), wanted.len(), "{context}");
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted, "{context}");
    }
}

/// A shop whose orders are in a folder.
pub fn shop_with_folder() -> Shop {
    let shop = Shop::small();
    fs::create_dir(shop.input().join("orders")).expect("a folder");
    fs::rename(shop.input().join("orders.csv"), shop.input().join("orders/00.csv")).expect("moved");
    shop
}
