//! Tables in a lake: Delta tables that are those of the service, whatever happens to it.

#[cfg(feature = "s3")]
mod bucket;
mod files;
mod lake;
mod served;

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use files::processes::Running;
use files::serving::{PATIENCE, service, shop_with_folder, stop};
use files::{Shop, check, millstream};
use lake::{Lake, sorted};
use serde_json::{Value, json};
use served::{PEN, Served, TABLES, order, pen, random_orders};

/// Writes a config file with a sink and further keys; returns its path and the folder of the lake.
fn configured(shop: &Shop, of_sink: &str, more: &str) -> (String, Lake) {
    let (path, lake) = (shop.path("config.yaml"), shop.path("lake"));
    let sink = format!("{{name: lake, type: delta, path: {}, publish: {{every: 0s}}{of_sink}}}", lake.display());
    fs::write(&path, format!("sinks: [{sink}]\n{more}\n")).expect("written");
    (path.display().to_string(), Lake(lake))
}

fn start(shop: &Shop, config: &str) -> Served {
    Served::start(shop, &["--config", config])
}

fn state(served: &Served) -> Value {
    served.get("/v1/sinks").expect(200).json()["sinks"][1].clone()
}

fn await_state(served: &Served, wanted: &str) {
    let started = Instant::now();
    while state(served)["state"] != wanted {
        assert!(started.elapsed() < PATIENCE, "{} {}", state(served), served.running.log());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the lake has the newest epoch.
fn await_delivery(served: &Served, lake: &Lake) {
    let newest = served.get("/v1/status").expect(200).json()["epoch"].as_u64().expect("an epoch");
    let started = Instant::now();
    while lake.epoch() != newest {
        assert!(started.elapsed() < PATIENCE, "{} {}", state(served), served.running.log());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Checks that all tables there are those that are served, once they have the newest epoch.
fn check_there(served: &Served, lake: &Lake, context: &str) {
    await_delivery(served, lake);
    for (table, _) in TABLES {
        assert_eq!(lake.rows(table), sorted(served.rows(table)), "{table}, {context}");
    }
}

/// Checks that other readers have the same rows.
fn check_others(served: &Served, lake: &Lake) {
    for (table, _) in TABLES {
        for (reader, rows) in lake.rows_of_others(table) {
            assert_eq!(rows, sorted(served.rows(table)), "{table} as {reader} reads it");
        }
    }
}

#[test]
fn each_epoch_is_there_and_a_restart_delivers_what_differs() {
    let (shop, mut random) = (shop_with_folder(), Rng::with_seed(1));
    let (config, lake) = configured(&shop, "", "");
    let served = start(&shop, &config);
    check_there(&served, &lake, "at first");
    for round in 0..15 {
        served.post_json("orders", &random_orders(&mut random)).expect(200);
        check_there(&served, &lake, &format!("round {round}"));
    }
    served.post_json("products", &json!([pen()])).expect(200);
    let epoch = served.post_json("orders", &json!([order(500, 1, PEN, "2024-03-07", 3)])).expect(200).epoch();
    check_there(&served, &lake, "with a new product");
    // A commit says which epoch it has, and takes the files away whose rows are in new ones.
    assert_eq!(lake.transaction("daily_sales", "millstream/lake"), Some(epoch));
    let sink = state(&served);
    assert_eq!((&sink["state"], &sink["type"], &sink["failures"]), (&json!("up_to_date"), &json!("delta"), &json!(0)));
    check_others(&served, &lake);
    stop(served.running);
    // Nothing is written again if nothing has changed.
    let active = |lake: &Lake| TABLES.map(|(table, _)| lake.active(table).keys().cloned().collect::<Vec<_>>());
    let before = active(&lake);
    let served = start(&shop, &config);
    check_there(&served, &lake, "after a restart");
    assert_eq!(active(&lake), before);
    stop(served.running);
    // A table that somebody has removed is made anew, and the others stay.
    fs::remove_dir_all(lake.0.join("rfm_analysis")).expect("removed");
    let served = start(&shop, &config);
    check_there(&served, &lake, "after a table was removed");
    let changed = active(&lake).iter().zip(&before).filter(|(now, then)| now != then).count();
    assert_eq!(changed, 1);
    stop(served.running);
    // Other columns replace those of a table, in the commit that has its rows.
    let before = active(&lake);
    let commits = lake.commits("daily_sales").len();
    let column = "udfs: [{function: weekday, table: daily_sales, columns: [order_date], as: day}]";
    let served = start(&shop, &configured(&shop, "", column).0);
    check_there(&served, &lake, "with another column");
    assert!(lake.rows("daily_sales").iter().all(|row| row.get("day").is_some()));
    let changed = active(&lake).iter().zip(&before).filter(|(now, then)| now != then).count();
    assert_eq!(changed, 1, "the other tables stay");
    // One commit says who delivers, and one has the rows.
    assert_eq!(lake.commits("daily_sales").len(), commits + 2);
    stop(served.running);
    // With another state, what is the same stays.
    fs::remove_dir_all(shop.output().join(".millstream/state")).expect("removed");
    let before = active(&lake);
    let served = start(&shop, &config);
    check_there(&served, &lake, "with another state");
    assert_ne!(active(&lake), before, "the posted orders are gone");
    stop(served.running);
}

#[test]
fn a_process_that_dies_at_any_step_leaves_tables_that_the_next_completes() {
    let steps = [
        "delta: tables taken over",
        "delta: files written",
        "delta: table committed",
        "delta: progress written",
        "log synced",
        "epoch visible",
    ];
    let mut random = Rng::with_seed(2);
    for mode in ["", ", mode: changes"] {
        for (step, is_first) in steps.iter().flat_map(|step| [(step, true), (step, false)]) {
            let shop = shop_with_folder();
            let (config, lake) = configured(&shop, mode, "");
            if !is_first {
                stop(start(&shop, &config).running);
            }
            let mut dying = service(&shop, &["--listen", "127.0.0.1:0", "--config", &config]);
            dying.env("MILLSTREAM_CRASH_AT", step);
            if *step == "delta: tables taken over" {
                Running::start(dying).end();
            } else {
                let mut served = Served::start_loading(dying);
                let started = Instant::now();
                while !served.running.is_over() {
                    let rows = random_orders(&mut random).to_string();
                    let post = served.agent.post(format!("{}/v1/orders", served.base));
                    let _ = post.header("content-type", "application/json").send(rows.as_bytes());
                    assert!(started.elapsed() < PATIENCE, "it dies at {step:?}: {}", served.running.log());
                }
            }
            let served = start(&shop, &config);
            let check = if mode.is_empty() { check_there } else { check_log };
            check(&served, &lake, step);
            served.post_json("orders", &random_orders(&mut random)).expect(200);
            check(&served, &lake, step);
            stop(served.running);
        }
    }
}

/// Checks that what the log of each table inserts and deletes is the table.
fn check_log(served: &Served, lake: &Lake, context: &str) {
    await_delivery(served, lake);
    for (table, _) in TABLES {
        let mut weights: BTreeMap<String, i64> = BTreeMap::new();
        for mut row in lake.rows(table) {
            let own = row.as_object_mut().expect("an object");
            let operation = own.remove("_op").expect("an operation");
            assert!(own.remove("_epoch").is_some() && own.remove("_committed_at").is_some());
            *weights.entry(row.to_string()).or_default() += if operation == "insert" { 1 } else { -1 };
        }
        weights.retain(|_, weight| *weight != 0);
        let wanted: BTreeMap<String, i64> =
            sorted(served.rows(table)).into_iter().map(|row| (row.to_string(), 1)).collect();
        assert_eq!(weights, wanted, "{table}, {context}");
    }
}

#[test]
fn a_log_of_changes_has_what_each_epoch_changes() {
    let (shop, mut random) = (shop_with_folder(), Rng::with_seed(3));
    let (config, lake) = configured(&shop, ", mode: changes", "");
    let served = start(&shop, &config);
    check_log(&served, &lake, "at first");
    for round in 0..10 {
        served.post_json("orders", &random_orders(&mut random)).expect(200);
        check_log(&served, &lake, &format!("round {round}"));
    }
    let epoch = served.post_json("orders", &json!([order(1, 1, 10, "2024-03-09", 7)])).expect(200).epoch();
    check_log(&served, &lake, "in the end");
    let of_epoch = lake.rows("daily_sales").into_iter().filter(|row| row["_epoch"] == epoch).count();
    assert!(of_epoch > 0);
    assert!(lake.commits("daily_sales").iter().flatten().all(|action| action.get("remove").is_none()));
    stop(served.running);
    let lines = |lake: &Lake| lake.rows("daily_sales").len();
    let before = lines(&lake);
    let served = start(&shop, &config);
    check_log(&served, &lake, "after a restart");
    assert_eq!(lines(&lake), before);
    stop(served.running);
}

#[test]
fn a_process_that_was_displaced_writes_no_more() {
    let (shop, other) = (shop_with_folder(), shop_with_folder());
    let (config, lake) = configured(&shop, "", "");
    let first = start(&shop, &config);
    await_delivery(&first, &lake);
    // Another job with the same sink: a copy of the configuration, say.
    let second = start(&other, &config);
    second.post_json("orders", &json!([order(600, 1, 10, "2024-03-08", 9)])).expect(200);
    check_there(&second, &lake, "the second");
    first.post_json("orders", &json!([order(601, 1, 10, "2024-03-08", 9)])).expect(200);
    await_state(&first, "displaced");
    first.post_json("orders", &json!([order(602, 1, 10, "2024-03-08", 9)])).expect(200);
    second.post_json("orders", &json!([order(603, 1, 10, "2024-03-08", 9)])).expect(200);
    check_there(&second, &lake, "the second, still");
    stop(first.running);
    stop(second.running);
}

/// Somebody else commits: if the files are the same, nothing happens; if not, the next start delivers what differs.
#[test]
fn commits_of_others_are_seen() {
    let shop = shop_with_folder();
    let (config, lake) = configured(&shop, "", "");
    let mut served = start(&shop, &config);
    await_delivery(&served, &lake);
    let commit = |actions: &[Value]| lake.commit("daily_sales", actions);
    let info = json!({ "commitInfo": { "timestamp": 1, "operation": "SET TBLPROPERTIES" } });
    commit(std::slice::from_ref(&info));
    served.post_json("orders", &json!([order(700, 1, 10, "2024-03-08", 9)])).expect(200);
    check_there(&served, &lake, "after a commit that changes nothing");
    assert_eq!(state(&served)["failures"], 0);
    // Somebody puts the files of the table together, or adds some, named as Spark does. The second has rows that ours
    // have, too, in a file that begins with the same key.
    for is_added in [false, true] {
        let (name, added) = lake.active("daily_sales").pop_first().expect("a file");
        let other = format!("part-0000{}-c000.snappy.parquet", u8::from(is_added));
        fs::copy(lake.0.join("daily_sales").join(&name), lake.0.join("daily_sales").join(&other)).expect("copied");
        let mut copied = added.clone();
        copied["path"] = json!(other);
        let remove = json!({ "remove": { "path": name, "deletionTimestamp": 1, "dataChange": false } });
        let actions = [info.clone(), json!({ "add": copied }), remove];
        commit(&actions[..if is_added { 2 } else { 3 }]);
        let last = if is_added { 702 } else { 701 };
        served.post_json("orders", &json!([order(last, 1, 10, "2024-03-08", 9)])).expect(200);
        await_state(&served, "displaced");
        stop(served.running);
        served = start(&shop, &config);
        check_there(&served, &lake, "after a restart");
        assert!(lake.active("daily_sales").keys().all(|name| name.starts_with("millstream-")));
    }
    stop(served.running);
}

#[test]
fn files_that_are_gone_for_long_enough_are_removed() {
    let (shop, mut random) = (shop_with_folder(), Rng::with_seed(5));
    let (config, lake) = configured(&shop, ", retention: 0s", "");
    let served = start(&shop, &config);
    let commits = || fs::read_dir(lake.0.join("customer_patterns/_delta_log")).map_or(0, Iterator::count);
    let mut most = 0;
    for _ in 0..40 {
        served.post_json("orders", &random_orders(&mut random)).expect(200);
        await_delivery(&served, &lake);
        most = most.max(commits());
    }
    // Commits before a checkpoint are gone, so the table is read as others do.
    assert!(most < 40, "{most} files in the log");
    let wanted = sorted(served.rows("customer_patterns"));
    // Until then it may still delete.
    stop(served.running);
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let count = fs::read_dir(lake.0.join("customer_patterns")).expect("a folder").map(name);
    assert!(count.filter(|name| name.to_string_lossy().ends_with(".parquet")).count() <= 2);
    for (reader, rows) in lake.rows_of_others("customer_patterns") {
        assert_eq!(rows, wanted, "{reader}");
    }
    let served = start(&shop, &config);
    served.post_json("orders", &json!([order(800, 1, 10, "2024-03-08", 9)])).expect(200);
    await_delivery(&served, &lake);
    assert_eq!(state(&served)["failures"], 0);
    stop(served.running);
}

/// Random kills: `MILLSTREAM_KILLS` says how many.
#[test]
fn no_kill_leaves_a_table_that_is_none_of_the_service() {
    let kills = std::env::var("MILLSTREAM_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(4_u64);
    let (shop, mut random) = (shop_with_folder(), Rng::with_seed(kills));
    let (config, lake) = configured(&shop, "", "");
    let mut served = start(&shop, &config);
    for round in 0..kills {
        let until = Instant::now() + Duration::from_millis(random.u64(..600));
        while Instant::now() < until {
            served.post_json("orders", &random_orders(&mut random)).expect(200);
        }
        served.running.kill();
        served.running.end();
        served = start(&shop, &config);
        check_there(&served, &lake, &format!("round {round}"));
    }
    check_others(&served, &lake);
    stop(served.running);
}

/// Files are removed from a table in deliveries that do not change it, too. What others have committed meanwhile still
/// conflicts with the next commit.
#[test]
fn what_others_commit_is_seen_though_the_table_is_tidied_up() {
    let shop = shop_with_folder();
    let (config, lake) = configured(&shop, ", retention: 4s", "");
    let served = start(&shop, &config);
    await_delivery(&served, &lake);
    let files = || {
        let entries = fs::read_dir(lake.0.join("daily_sales")).expect("a folder").map(|entry| entry.expect("an entry"));
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("millstream-")).count()
    };
    // The second one changes the row of the first.
    for id in [700, 702] {
        served.post_json("orders", &json!([order(id, 1, 10, "2024-03-08", 9)])).expect(200);
        await_delivery(&served, &lake);
    }
    assert!(files() > lake.active("daily_sales").len(), "a file is not removed yet");
    let (name, mut added) = lake.active("daily_sales").pop_first().expect("a file");
    let other = "part-00000-c000.snappy.parquet";
    fs::copy(lake.0.join("daily_sales").join(&name), lake.0.join("daily_sales").join(other)).expect("copied");
    added["path"] = json!(other);
    lake.commit("daily_sales", &[json!({ "add": added })]);
    thread::sleep(Duration::from_millis(4100));
    let before = lake.commits("daily_sales").len();
    served.post_json("customers", &json!([{ "customer_id": 1, "tier": "other" }])).expect(200);
    await_delivery(&served, &lake);
    assert_eq!(lake.commits("daily_sales").len(), before, "only other tables have changed");
    // A table is tidied up once the delivery is done.
    let started = Instant::now();
    while files() != lake.active("daily_sales").len() - 1 {
        assert!(started.elapsed() < PATIENCE, "files are not removed: {}", files());
        thread::sleep(Duration::from_millis(5));
    }
    served.post_json("orders", &json!([order(701, 1, 10, "2024-03-08", 9)])).expect(200);
    await_state(&served, "displaced");
    stop(served.running);
}

/// The same in object storage.
#[cfg(feature = "s3")]
#[test]
fn tables_in_a_bucket_are_those_of_the_service() {
    let (shop, mut random) = (shop_with_folder(), Rng::with_seed(9));
    let Some(bucket) = bucket::Bucket::with(&shop) else { return };
    let config = shop.path("config.yaml");
    let sink = "{name: lake, type: delta, path: \"s3://bucket/lake\", publish: {every: 0s}}";
    fs::write(&config, format!("sinks: [{sink}]\n")).expect("written");
    let begin = || {
        let mut command = service(&shop, &["--listen", "127.0.0.1:0", "--config", &config.display().to_string()]);
        bucket.configured(&mut command);
        Served::start_command(command)
    };
    let check = |served: &Served, context: &str| {
        let newest = served.get("/v1/status").expect(200).json()["epoch"].clone();
        let started = Instant::now();
        loop {
            let progress = bucket.get("lake/_millstream/lake.json").unwrap_or_default();
            let progress = serde_json::from_slice::<Value>(&progress).unwrap_or_default();
            if progress["epoch"] == newest {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{} {}", state(served), served.running.log());
            thread::sleep(Duration::from_millis(20));
        }
        let copy = shop.path("copy");
        drop(fs::remove_dir_all(&copy));
        bucket.download("lake", &copy);
        for (table, _) in TABLES {
            assert_eq!(Lake(copy.clone()).rows(table), sorted(served.rows(table)), "{table}, {context}");
        }
        check_others(served, &Lake(copy));
    };
    let mut served = begin();
    check(&served, "at first");
    for round in 0..3 {
        for _ in 0..3 {
            served.post_json("orders", &random_orders(&mut random)).expect(200);
        }
        served.running.kill();
        served.running.end();
        served = begin();
        check(&served, &format!("after {round} kills"));
    }
    stop(served.running);
}

#[test]
fn what_can_not_be_used_is_said_at_the_start() {
    let shop = shop_with_folder();
    let (config, lake) = configured(&shop, "", "");
    let served = start(&shop, &config);
    await_delivery(&served, &lake);
    stop(served.running);
    let sink = |keys: &str| format!("sinks: [{{name: other, type: delta{keys}}}]");
    let place = lake.0.display();
    for (keys, status, words) in [
        (sink(""), 2, "sinks: other: path"),
        (sink(&format!(", path: {place}")), 2, "it is delivered by the sink lake"),
        (format!("sinks: [{{name: lake, type: delta, path: {place}, mode: changes}}]"), 2, "another mode"),
        (sink(", path: lake, mode: some"), 2, "mode"),
        (sink(", path: lake, tables: [rejected]"), 2, "rejected"),
        (sink(", path: lake, tables: [none]"), 2, "none"),
        (sink(", path: lake, brokers: 'a:1'"), 2, "brokers"),
        (sink(", path: lake, publish: {on_stop: true}"), 2, "wanted no on_stop"),
        (sink(", path: /proc/lake"), 0, "/proc/lake"),
        ("sinks: [{name: a, type: delta, path: x}, {name: b, type: delta, path: ./x}]".to_owned(), 2, "the sink a"),
        (sink(&format!(", path: {}", shop.output().display())), 2, "the output folder"),
        (sink(&format!(", path: {}/lake", shop.output().display())), 2, "the output folder"),
    ] {
        fs::write(shop.path("wrong.yaml"), &keys).expect("written");
        let args = ["--listen", "127.0.0.1:0", "--config", &shop.path("wrong.yaml").display().to_string()];
        let mut running = Running::start(service(&shop, &args));
        let started = Instant::now();
        while !running.is_over() && !running.log().contains(words) {
            assert!(started.elapsed() < PATIENCE, "{keys}: {}", running.log());
            thread::sleep(Duration::from_millis(10));
        }
        // What may be better later does not end the service.
        let done = if status == 0 { stop(running) } else { running.end() };
        assert!(done.stderr.contains(words), "{keys}: {}", done.stderr);
        assert_eq!(done.status, status, "{keys}: {done:?}");
    }
    let (input, output) = (shop.input().display().to_string(), shop.output().display().to_string());
    let checked = millstream(&["check", "--input", &input, "--output", &output, "--config", &config]);
    check(&checked, 0, &[]);
    assert!(checked.stdout.contains("6 tables are there, 0 will be made; they have epoch"), "{}", checked.stdout);
}

/// Each run adds a commit to the log of each table, which replaces all files.
#[test]
fn runs_write_tables_of_delta() {
    let (shop, plain) = (Shop::generated("0.002"), Shop::generated("0.002"));
    check(&plain.run(&["--as-of", "2024-12-31", "--tables", "all"]), 0, &[]);
    let lake = Lake(shop.output());
    for runs in 1..=3 {
        check(&shop.run(&["--as-of", "2024-12-31", "--tables", "all", "--format", "delta"]), 0, &[]);
        for table in plain.tables() {
            let wanted = plain.read(&table).iter().flat_map(files::as_json).collect::<Vec<_>>();
            let wanted = wanted.iter().map(|row| serde_json::from_str(row).expect("an object")).collect();
            assert_eq!(lake.rows(&table), sorted(wanted), "{table} after {runs} runs");
            assert_eq!(lake.commits(&table).len(), 1 + runs, "{table}");
        }
    }
    for (reader, rows) in lake.rows_of_others("enriched_data") {
        assert_eq!(rows.len(), lake.rows("enriched_data").len(), "{reader}");
    }
    let (input, output) = (shop.input().display().to_string(), shop.output().display().to_string());
    check(&millstream(&["validate", "output", "--input", &input, "--output", &output, "--tables", "all"]), 0, &[]);
    for (args, words) in [
        (&["--format", "delta", "--partition-by", "order_year"][..], "delta wants no partitions"),
        (&["--format", "delta", "--output", "s3://bucket/lake"], "a folder on a disk"),
    ] {
        check(&shop.run(args), 2, &[words]);
    }
    let serving = service(&shop, &["--format", "delta"]);
    check(&Running::start(serving).end(), 2, &["a sink of the type delta"]);
}
