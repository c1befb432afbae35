//! The process is killed at each step of a commit. Then all tables are of the former run, or all of the new one, and
//! the next run cleans up.

// Only debug builds have crash points.
#![cfg(debug_assertions)]

mod files;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use files::{Done, Shop, check, finish};

/// The steps of a commit, and whether readers see the new tables once the process has died there.
const STEPS: [(&str, bool); 6] =
    [("staged", false), ("moved", false), ("linked", false), ("swapped", true), ("cleaned", true), ("model", true)];

/// A run of a job with a model, which depends on the seed as the tables depend on the date.
fn run(shop: &Shop, seed: u64) -> Command {
    let config = shop.path(&format!("config-{seed}.yaml"));
    fs::write(&config, format!("anomaly: {{seed: {seed}}}")).expect("written");
    let mut command = shop.command(&["--tables", "rfm_analysis,daily_sales,order_anomalies", "--config"]);
    command.arg(config).arg("--save-model").arg(model(shop));
    command
}

fn model(shop: &Shop) -> PathBuf {
    shop.path("model.json")
}

fn seed_of_model(shop: &Shop) -> u64 {
    let model: serde_json::Value = serde_json::from_slice(&fs::read(model(shop)).expect("a model")).expect("JSON");
    model["seed"].as_u64().expect("a seed")
}

/// The run ids of the files of all tables.
fn runs(shop: &Shop) -> Vec<String> {
    let files = shop.tables().into_iter().flat_map(|table| shop.files(&table));
    let mut runs: Vec<_> =
        files.map(|file| file.split(['-', '.']).skip(2).take(2).collect::<Vec<_>>().join("-")).collect();
    runs.sort();
    runs.dedup();
    runs
}

fn die_at(mut command: Command, step: &str) {
    let output = command.env("MILLSTREAM_CRASH_AT", step).output().expect("the command starts");
    assert_eq!(output.status.code(), None, "it dies at {step}: {}", String::from_utf8_lossy(&output.stderr));
}

fn done(command: Command) -> Done {
    let done = finish(command);
    check(&done, 0, &[]);
    done
}

/// The names in a folder below `.millstream`.
fn left(shop: &Shop, folder: &str) -> usize {
    fs::read_dir(shop.output().join(".millstream").join(folder)).expect("a folder").count()
}

#[test]
fn a_process_that_dies_in_a_commit_leaves_tables_of_one_run() {
    let shop = Shop::small();
    done(run(&shop, 1));
    let (mut former, mut seed) = (runs(&shop), 1);
    for (step, is_new) in STEPS {
        let tables = shop.tables();
        die_at(run(&shop, seed + 1), step);
        assert_eq!(shop.tables(), tables);
        let now = runs(&shop);
        assert_eq!(now.len(), 1, "{step}: all tables are of one run");
        assert_eq!(now != former, is_new, "{step}");
        assert_eq!(seed_of_model(&shop), seed, "{step}: the model is moved last");

        // A run that gets no further than opening its sinks finishes what the other has begun, or undoes it.
        let mut failing = run(&shop, seed + 2);
        failing.args(["--max-rejected", "0"]);
        check(&finish(failing), 3, &["more than 0 rows rejected"]);
        assert_eq!(runs(&shop), now, "{step}");
        assert_eq!(
            seed_of_model(&shop),
            if is_new { seed + 1 } else { seed },
            "{step}: tables and model belong together"
        );
        assert_eq!(left(&shop, "staging"), 0, "{step}");
        assert!(left(&shop, "runs") <= 2, "{step}: a version and the one before");
        let beside = fs::read_dir(shop.path("")).expect("a folder").flatten();
        let staged = beside.filter(|entry| entry.file_name().to_string_lossy().ends_with(".staged")).count();
        assert_eq!(staged, 0, "{step}");

        seed += 3;
        done(run(&shop, seed));
        assert_eq!(seed_of_model(&shop), seed);
        former = runs(&shop);
    }
}

#[test]
fn a_first_run_that_dies_in_a_commit_leaves_no_table_or_all() {
    for (step, is_new) in STEPS {
        let shop = Shop::small();
        die_at(run(&shop, 1), step);
        let readable = shop.tables().into_iter().filter(|table| shop.output().join(table).exists()).count();
        assert_eq!(readable, if is_new { 4 } else { 0 }, "{step}");
        done(run(&shop, 2));
        assert_eq!(runs(&shop).len(), 1);
        assert_eq!(shop.tables().len(), 4, "rejected is the fourth");
    }
}
