//! The service: what it publishes is what `run` makes of the same files, wherever it is killed, and with whatever
//! number of workers it starts again.

mod files;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use files::processes::Running;
use files::serving::{
    HEADER, PATIENCE, await_lines, check_published, check_published_with, drop_file, service, shop_with_folder, stop,
    tables,
};
use files::{Shop, as_json, check, command, finish};

/// A file of random changes: orders that are new, written again, deleted, or bad.
fn changes(random: &mut Rng) -> String {
    let row = |_| {
        let (id, customer, product) = (random.u32(1..30), random.u32(1..6), random.u32(1..6));
        match random.u8(..10) {
            0 => format!("{id},,,,,,d\n"),
            1 => format!("{id},{customer},{product},yesterday,1,0,\n"),
            _ => format!(
                "{id},{customer},{product},2024-0{}-11,{},0.{},u\n",
                random.u8(1..4),
                random.u8(1..9),
                random.u8(..9)
            ),
        }
    };
    HEADER.to_owned() + &(0..20).map(row).collect::<String>()
}

#[test]
fn what_arrives_is_in_the_tables_when_the_service_stops_and_starts_again() {
    let shop = shop_with_folder();
    let mut running = Running::start(service(&shop, &[]));
    running.await_line("live at epoch 1");
    drop_file(&shop, "orders/a.csv", &format!("{HEADER}1,1,1,2024-03-01,7,0,\n900,2,1,2024-03-02,1,0.5,c\n"));
    running.await_line("epoch 2: 2 rows of 1 files");
    drop_file(
        &shop,
        "orders/b.jsonl",
        "{\"order_id\":900,\"_op\":\"d\"}\n{\"order_id\":901,\"customer_id\":1,\"product_id\":1,\"quantity\":2}\n",
    );
    running.await_line("epoch 3: 2 rows of 1 files");
    stop(running);
    check_published(&shop, "after it stopped");
    for workers in ["1", "4"] {
        let mut running = Running::start(service(&shop, &["--workers", workers]));
        running.await_line("live at epoch");
        drop_file(
            &shop,
            &format!("orders/c-{workers}.csv"),
            &format!("{HEADER}901,2,2,2024-03-0{workers},{workers},0,\n"),
        );
        await_lines(&running, "rows of 1 files", 1);
        stop(running);
        check_published(&shop, "after it stopped");
    }
}

/// A shop whose orders lie in a folder.
/// The service is killed at any moment, again and again, while files arrive; it also makes checkpoints and publishes.
#[test]
fn killed_at_any_moment_it_loses_nothing_and_does_nothing_twice() {
    let rounds = std::env::var("MILLSTREAM_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(15);
    let (shop, mut random) = (shop_with_folder(), Rng::with_seed(7));
    for round in 0..rounds {
        let workers = random.u8(1..4).to_string();
        let args = ["--workers", &workers, "--checkpoint-every", "20KB", "--publish-every", "300ms"];
        let mut running = Running::start(service(&shop, &args));
        let until = Instant::now() + Duration::from_millis(random.u64(0..2500));
        let mut number = 0;
        while Instant::now() < until {
            drop_file(&shop, &format!("orders/{:04}-{number}.csv", round + 1), &changes(&mut random));
            number += 1;
            thread::sleep(Duration::from_millis(random.u64(0..400)));
        }
        running.kill();
        running.end();
    }
    let mut running = Running::start(service(&shop, &[]));
    await_files(&shop, &mut running);
    stop(running);
    check_published(&shop, "after all");
    check(&finish(verify(&shop)), 0, &[]);
}

fn verify(shop: &Shop) -> std::process::Command {
    verify_with(shop, &[])
}

fn verify_with(shop: &Shop, args: &[&str]) -> std::process::Command {
    let mut command = command(&["verify", "--as-of", "2024-03-31"]);
    command.arg("--input").arg(shop.input()).arg("--output").arg(shop.output()).args(args);
    command
}

/// Waits until the service has taken a last file, before which it has taken all others.
fn await_files(shop: &Shop, running: &mut Running) {
    running.await_line("live at epoch");
    drop_file(shop, "orders/9999.csv", &format!("{HEADER}31,1,1,2024-03-11,1,0,\n"));
    running.await_line("the last orders/9999.csv");
}

#[test]
fn a_process_that_dies_at_any_step_leaves_a_state_from_which_the_next_goes_on() {
    let steps = [
        "state created",
        "segment created",
        "segment begun",
        "log written",
        "log synced",
        "log rewritten",
        "log cut",
        "epoch visible",
        "segment ended",
        "checkpoint written",
        "checkpoint named",
        "checkpoint cleaned",
        "staged",
        "moved",
        "linked",
        "swapped",
        "cleaned",
        "tables published",
    ];
    // Once more, of a publication of what has changed.
    let again = ["files rewritten", "staged", "moved", "linked", "swapped", "cleaned", "tables published"];
    let mut random = Rng::with_seed(3);
    for (step, is_published) in steps.map(|step| (step, false)).into_iter().chain(again.map(|step| (step, true))) {
        let shop = shop_with_folder();
        if is_published {
            stop_after_start(&shop, &[]);
        }
        if matches!(step, "log rewritten" | "log cut") {
            let mut running = Running::start(service(&shop, &[]));
            running.await_line("live at epoch 1");
            running.kill();
            running.end();
        }
        let mut dying = service(&shop, &["--checkpoint-every", "1KB", "--publish-every", "100ms"]);
        dying.env("MILLSTREAM_CRASH_AT", step);
        let mut running = Running::start(dying);
        for number in (1..).take_while(|number| *number < 400 && !running.is_over()) {
            drop_file(&shop, &format!("orders/{number:02}.csv"), &changes(&mut random));
            thread::sleep(Duration::from_millis(300));
        }
        let done = running.end();
        assert_eq!(done.status, -1, "it dies at {step:?}: {done:?}");
        let mut running = Running::start(service(&shop, &[]));
        await_files(&shop, &mut running);
        stop(running);
        check_published(&shop, step);
    }
}

#[test]
fn a_second_service_is_refused_and_takes_over_once_the_first_is_dead() {
    let shop = Shop::small();
    let mut first = Running::start(service(&shop, &[]));
    first.await_line("live at epoch 1");
    check(&finish(service(&shop, &[])), 1, &[&format!("in use by process {}", first.id())]);
    first.kill();
    first.end();
    let mut second = Running::start(service(&shop, &[]));
    second.await_line("live at epoch 1");
    stop(second);
}

#[test]
fn it_publishes_and_verifies_when_asked_to() {
    let shop = shop_with_folder();
    let mut running = Running::start(service(&shop, &[]));
    running.await_line("live at epoch 1");
    running.signal("-USR1");
    running.await_line("published epoch 1");
    check_published(&shop, "on request");
    drop_file(&shop, "orders/01.csv", &format!("{HEADER}1,1,1,2024-03-01,7,0,\n"));
    running.await_line("epoch 2: 1 rows");
    running.signal("-USR2");
    running.await_line("verified epoch 2");
    check(&finish(verify(&shop)), 1, &["in use by process"]);
    stop(running);
    let verified = finish(verify(&shop));
    check(&verified, 0, &[]);
    assert!(verified.stdout.contains("epoch 2: 8 tables are what is recomputed"), "{verified:?}");
    // A fault that is put in on purpose: another table's file in the place of one.
    let file = |table: &str| -> PathBuf {
        let files = fs::read_dir(shop.output().join(table)).expect("a table").flatten().map(|entry| entry.path());
        files.filter(|file| file.extension().is_some()).min().expect("a file")
    };
    let former = fs::read(file("daily_sales")).expect("read");
    let other = Shop::small();
    other.write("orders.csv", &format!("{HEADER}1,1,1,2024-03-01,8,0,\n"));
    check(&other.run(&[]), 0, &[]);
    let daily = other.files("daily_sales");
    fs::copy(other.output().join("daily_sales").join(&daily[0]), file("daily_sales")).expect("copied");
    check(&finish(verify(&shop)), 3, &["epoch 2: rows differ", "daily_sales: wanted {"]);
    fs::write(file("daily_sales"), former).expect("put back");
    check(&finish(verify(&shop)), 0, &[]);
}

#[test]
fn bad_files_are_rejected_with_a_reason_and_those_behind_them_are_taken() {
    let shop = shop_with_folder();
    let mut running = Running::start(service(&shop, &[]));
    running.await_line("live at epoch 1");
    drop_file(&shop, "orders/01.csv", "order_id,customer_id\n1,1\n");
    drop_file(&shop, "orders/02.parquet", "PAR1 no PAR1");
    drop_file(&shop, "orders/03.xlsx", "no table");
    // A file that can't be read is given a minute, in case it is still being written, unless it is a day old.
    for name in ["01.csv", "02.parquet"] {
        let file = fs::File::options().write(true).open(shop.input().join("orders").join(name)).expect("a file");
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60))
            .expect("its time is set");
    }
    drop_file(&shop, "orders/04.csv", &format!("{HEADER}77,1,1,2024-03-01,7,0,\n"));
    running.await_line("03.xlsx: the extension .xlsx");
    let started = Instant::now();
    while running.log().matches(" files").count() == 0 || running.log().matches("rows of").count() < 1 {
        assert!(started.elapsed() < PATIENCE, "{}", running.log());
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_secs(2));
    drop_file(&shop, "orders/00.csv", &format!("{HEADER}78,1,1,2024-03-01,7,0,\n"));
    running.await_line("00.csv: it has changed since it was read");
    stop(running);
    let rejected: Vec<_> = shop.read("rejected").iter().flat_map(as_json).collect();
    let of = |file: &str| rejected.iter().find(|row| row.contains(file)).cloned().unwrap_or_default();
    assert!(of("orders/01.csv").contains("no column product_id"), "{rejected:?}");
    assert!(of("orders/02.parquet").contains("not a Parquet file, or truncated"), "{rejected:?}");
    let orders: Vec<_> = shop.read("enriched_data").iter().flat_map(as_json).collect();
    assert!(orders.iter().any(|order| order.contains("\"order_id\":77")), "{orders:?}");
    assert!(!orders.iter().any(|order| order.contains("\"order_id\":78")), "{orders:?}");
}

#[test]
fn wrong_settings_are_refused_by_name() {
    let shop = Shop::small();
    let refused = |config: &str, words: &str| {
        let path = shop.path("config.yaml");
        fs::write(&path, config).expect("written");
        check(&finish(service(&shop, &["--config", path.to_str().expect("text")])), 2, &[words]);
    };
    refused("sources: [{name: erp, type: mqtt, topic: b}]", "unknown key sources.topic");
    refused("sources: [{name: erp, type: mqtt}]", "sources: erp: there is no source of the type mqtt; wanted folder");
    refused("sinks: [{name: bi, type: mqtt}]", "sinks: bi: found the type mqtt: there is no sink of this type; wanted");
    refused("sinks: [{name: bi, type: postgres}]", "sinks: bi: url: wanted the URL of a database");
    refused("durability: maybe", "durability: found maybe, wanted fsync, os or none");
    refused("cluster: {process: 0, hosts: ['a:1', 'b:1']}", "cluster: a service runs in one process");
}

#[test]
fn current_rows_can_be_exported_and_rejected_ones_listed_and_dropped() {
    let shop = shop_with_folder();
    let mut running = Running::start(service(&shop, &["--checkpoint-every", "1KB"]));
    running.await_line("made a checkpoint of epoch 1");
    drop_file(&shop, "orders/01.csv", &format!("{HEADER}1,1,1,2024-03-01,7,0,\n2,,,,,,d\n3,1,1,31.12.2024,7,0,\n"));
    running.await_line("the last orders/01.csv");
    stop(running);
    let of_state = |words: &[&str], more: &[&str]| {
        let mut of_state = command(words);
        of_state.arg("--input").arg(shop.input()).arg("--output").arg(shop.output()).args(more);
        finish(of_state)
    };
    // `run` makes the same tables of the current rows.
    let exported = shop.path("exported");
    check(&of_state(&["checkpoint", "export"], &[exported.to_str().expect("text")]), 0, &[]);
    let again = of_state(&["checkpoint", "export"], &[exported.to_str().expect("text")]);
    check(&again, 2, &["it is not empty; wanted another folder"]);
    let alone = shop.path("alone");
    let mut run = command(&["run", "--as-of", "2024-03-31"]);
    run.arg("--input").arg(&exported).arg("--output").arg(&alone);
    check(&finish(run), 0, &[]);
    let accepted =
        |output: &Path| tables(output).into_iter().filter(|(name, _)| name != "rejected").collect::<Vec<_>>();
    for (alone, served) in accepted(&alone).into_iter().zip(accepted(&shop.output())) {
        assert_eq!(alone, served);
    }

    let listed = of_state(&["rejected", "list"], &[]);
    check(&listed, 0, &[]);
    let wanted = tables(&shop.output()).into_iter().find(|(name, _)| name == "rejected").expect("published").1;
    assert_eq!(listed.stdout.lines().count(), wanted.len(), "{listed:?}");
    assert!(listed.stdout.contains("order_date 31.12.2024 is not an ISO 8601 date"), "{listed:?}");
    // They stay rejected, also if another configuration could use them: a correction may have come since.
    let config = shop.path("config.yaml");
    fs::write(&config, "date_format: '%Y-%m-%d'").expect("written");
    let mut running = Running::start(service(&shop, &["--config", config.to_str().expect("text")]));
    running.await_line("live at epoch 2");
    stop(running);
    assert_eq!(of_state(&["rejected", "list"], &[]).stdout, listed.stdout);
    fs::write(&config, "version: channel").expect("written");
    let other = finish(service(&shop, &["--config", config.to_str().expect("text")]));
    check(&other, 2, &["version: found Some(Named(\"channel\")), but the rows of"]);
    check(&of_state(&["rejected", "drop"], &[]), 0, &[]);
    assert_eq!(of_state(&["rejected", "list"], &[]).stdout, "");
    let state = shop.path("none");
    check(&of_state(&["rejected", "list", "--state"], &[]), 2, &[]);
    check(
        &of_state(&["rejected", "list"], &["--state", state.to_str().expect("text")]),
        2,
        &["none: there is no state"],
    );
}

/// The rows of `enriched_data`, as JSON.
fn orders(shop: &Shop) -> Vec<String> {
    shop.read("enriched_data").iter().flat_map(as_json).collect()
}

#[test]
fn a_file_is_taken_once_it_is_still_whatever_arrives_beside_it() {
    let shop = shop_with_folder();
    let mut running = Running::start(service(&shop, &[]));
    running.await_line("live at epoch 1");
    // Written in place, row by row, while other files arrive: epochs are made all the time.
    let slow = shop.input().join("orders/50-slow.csv");
    let mut file = fs::File::create(&slow).expect("created");
    file.write_all(HEADER.as_bytes()).expect("written");
    for number in 0..30 {
        file.write_all(format!("{},1,1,2024-03-11,1,0,\n", 500 + number).as_bytes()).expect("written");
        drop_file(&shop, &format!("orders/40-{number:02}.csv"), &format!("{HEADER}1,1,1,2024-03-11,{number},0,\n"));
        thread::sleep(Duration::from_millis(100));
    }
    drop(file);
    // Others of the folder are no files: they hide none.
    std::os::unix::fs::symlink("nowhere", shop.input().join("orders/01-link.csv")).expect("linked");
    await_files(&shop, &mut running);
    assert!(!running.log().contains("has changed since"), "{}", running.log());
    assert!(running.log().contains("01-link.csv: can't be read"), "{}", running.log());
    stop(running);
    fs::remove_file(shop.input().join("orders/01-link.csv")).expect("removed");
    let taken =
        (500..530).filter(|id| orders(&shop).iter().any(|order| order.contains(&format!("\"order_id\":{id},"))));
    assert_eq!(taken.count(), 30);
    check_published(&shop, "with a slow file");
}

#[test]
fn rejected_rows_stay_rejected_and_undo_nothing() {
    let shop = shop_with_folder();
    drop_file(
        &shop,
        "orders/01.csv",
        &format!("{HEADER}61,1,1,,1,0,\n63,1,1,31.12.2024,1,0,\n65,1,1,,5,0,\n7,1,1,,7,0,\n"),
    );
    let args = ["--checkpoint-every", "1KB"];
    let mut running = Running::start(service(&shop, &args));
    running.await_line("made a checkpoint of epoch 1");
    // A correction and a delete, of which one is rejected; ids that are no integers of this shop.
    let least = i64::MIN;
    let rows = format!("61,1,1,31.12.2024,9,0,\n63,,,,,,d\n65,{least},1,,9,0,\n007,1,1,,9,0,\n{least},1,1,,9,0,\n");
    // Enough of others for another checkpoint.
    let filler: String = (0..500).map(|number| format!("62,1,1,,{number},0,\n")).collect();
    drop_file(&shop, "orders/02.csv", &format!("{HEADER}{rows}{filler}"));
    running.await_line("made a checkpoint of epoch 2");
    stop(running);
    let before = orders(&shop);
    let config = shop.path("config.yaml");
    fs::write(&config, "{date_format: '%d.%m.%Y', tables: all}").expect("written");
    stop_after_start(&shop, &["--config", config.to_str().expect("text"), "--checkpoint-every", "1KB"]);
    stop_after_start(&shop, &args);
    let after = orders(&shop);
    for (id, quantity) in [(61, Some(1)), (63, None), (65, Some(5)), (7, Some(7))] {
        let of_id =
            |orders: &[String]| orders.iter().find(|order| order.contains(&format!("\"order_id\":{id},"))).cloned();
        let has = |order: Option<String>| {
            order.and_then(|order| order.split_once("\"quantity\":")?.1.split(',').next()?.parse().ok())
        };
        assert_eq!(has(of_id(&before)), quantity, "{id} in {before:?}");
        assert_eq!(has(of_id(&after)), quantity, "{id} in {after:?}");
    }
}

fn stop_after_start(shop: &Shop, args: &[&str]) {
    let mut running = Running::start(service(shop, args));
    running.await_line("live at epoch");
    stop(running);
}

#[test]
fn a_state_that_lacks_a_file_is_refused_and_left_alone() {
    let shop = shop_with_folder();
    let mut running = Running::start(service(&shop, &["--checkpoint-every", "1KB"]));
    running.await_line("made a checkpoint of epoch 1");
    drop_file(&shop, "orders/01.csv", &changes(&mut Rng::with_seed(1)));
    running.await_line("the last orders/01.csv");
    running.kill();
    running.end();
    let state = shop.output().join(".millstream/state");
    let names = || {
        let names = fs::read_dir(&state).expect("a state").flatten().map(|entry| entry.file_name());
        let mut names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
        names.sort();
        names
    };
    let whole = names();
    for name in whole.iter().filter(|name| !matches!(name.as_str(), "lock" | "published.json")) {
        let (path, aside) = (state.join(name), shop.path("aside"));
        fs::rename(&path, &aside).expect("moved");
        check(&finish(service(&shop, &[])), 3, &[name]);
        fs::rename(&aside, &path).expect("moved back");
        assert_eq!(names(), whole, "without {name}");
    }
    stop_after_start(&shop, &[]);
    check_published(&shop, "after all");
}

#[test]
fn tables_that_others_replaced_are_published_again_and_publications_take_no_room() {
    let shop = shop_with_folder();
    let mut running = Running::start(service(&shop, &["--publish-every", "100ms"]));
    running.await_line("published epoch 1");
    for epoch in 2..8 {
        drop_file(&shop, &format!("orders/{epoch:02}.csv"), &format!("{HEADER}1,1,1,2024-03-11,{epoch},0,\n"));
        running.await_line(&format!("published epoch {epoch}"));
    }
    stop(running);
    let state = shop.output().join(".millstream/state");
    let segments = fs::read_dir(&state).expect("a state").flatten();
    let segments = segments.filter(|entry| entry.file_name().to_string_lossy().starts_with("log-"));
    let bytes: u64 = segments.map(|segment| segment.metadata().expect("a file").len()).sum();
    assert!(bytes < 1 << 20, "{bytes} bytes of log");
    check_published(&shop, "every epoch");
    let other = Shop::small();
    let mut run = command(&["run", "--as-of", "2024-03-31"]);
    run.arg("--input").arg(other.input()).arg("--output").arg(shop.output());
    check(&finish(run), 0, &[]);
    check(&finish(verify(&shop)), 3, &["something else has published since"]);
    stop_after_start(&shop, &[]);
    check_published(&shop, "published again");
}

#[test]
fn what_is_published_of_changes_is_what_a_run_makes_of_all_rows() {
    let layouts = [
        "",
        "output: {target_file_size: 1KB}",
        "output: {sort_by: [order_id], target_file_size: 2KB}",
        "output: {partition_by: [month, category], sort_by: [quantity]}",
        "output: {partition_by: [customer_tier], bucket_by: {columns: [order_id], buckets: 3}, target_file_size: 1KB}",
    ];
    for (seed, layout) in (5..).zip(layouts) {
        let (shop, mut random) = (shop_with_folder(), Rng::with_seed(seed));
        let config = shop.path("config.yaml");
        fs::write(&config, layout).expect("written");
        fs::create_dir(shop.input().join("products")).expect("a folder");
        fs::rename(shop.input().join("products.csv"), shop.input().join("products/00.csv")).expect("moved");
        let args = ["--config", config.to_str().expect("a path")];
        let mut running = Running::start(service(&shop, &[&args[..], &["--publish-every", "50ms"]].concat()));
        running.await_line("published epoch 1: 8 tables, written anew");
        for epoch in 2..10 {
            drop_file(&shop, &format!("orders/{epoch:02}.csv"), &changes(&mut random));
            running.await_line(&format!("published epoch {epoch}"));
            check_published_with(&shop, &args, &format!("{layout}, epoch {epoch}"));
        }
        drop_file(&shop, "products/more.csv", "product_id,price,category,product_name\n3,7.25,Toys,Robot\n");
        running.await_line("published epoch 10");
        check_published_with(&shop, &args, &format!("{layout}, a product"));
        assert_eq!(running.log().matches("anew").count(), 1, "{}", running.log());
        assert_eq!(running.log().matches("files written").count(), 9, "{}", running.log());
        stop(running);
        check(&finish(verify_with(&shop, &args)), 0, &[]);
    }
}

#[test]
fn a_start_with_other_settings_publishes_the_tables_that_differ() {
    let shop = shop_with_folder();
    stop_after_start(&shop, &[]);
    let place = |table: &str| fs::canonicalize(shop.output().join(table)).expect("a table");
    let before = (place("daily_sales"), place("rfm_analysis"));
    // Recency depends on the day; the sales of days do not.
    stop_after_start(&shop, &["--as-of", "2024-04-30"]);
    let after = (place("daily_sales"), place("rfm_analysis"));
    assert!(before.0 == after.0 && before.1 != after.1, "{before:?} {after:?}");
    check_published_with(&shop, &["--as-of", "2024-04-30"], "as of another day");
    stop_after_start(&shop, &[]);
    check_published(&shop, "as of the first day");
}

#[test]
fn late_orders_are_rejected_if_that_is_asked_for() {
    let shop = shop_with_folder();
    let config = shop.path("config.yaml");
    fs::write(&config, "late: {after: 30d, then: reject}").expect("written");
    let args = ["--config", config.to_str().expect("a path")];
    let order = |id: u32, day: &str| format!("{HEADER}{id},1,1,{day},1,0,\n");
    let mut running = Running::start(service(&shop, &args));
    running.await_line("live at epoch 1");
    // A day after the reference date does not make the others late.
    for (file, day) in [(1, "2024-03-30"), (2, "2024-12-01"), (3, "2024-02-28"), (4, "2024-02-29")] {
        drop_file(&shop, &format!("orders/{file}.csv"), &order(800 + file, day));
        await_lines(&running, "rows of 1 files", file as usize);
    }
    stop(running);
    // What was seen is known after a restart, too.
    let mut running = Running::start(service(&shop, &args));
    running.await_line("live at epoch 5");
    drop_file(&shop, "orders/5.csv", &order(805, "2024-02-28"));
    await_lines(&running, "rows of 1 files", 1);
    // An order without a day is not late, and a delete never is.
    drop_file(&shop, "orders/6.csv", &(order(806, "") + "801,,,,,,d\n"));
    await_lines(&running, "rows of 1 files", 2);
    stop(running);
    let mut retry = command(&["rejected", "retry"]);
    retry.arg("--input").arg(shop.input()).arg("--output").arg(shop.output()).args(args);
    assert!(finish(retry).stdout.starts_with("0 rows are accepted now"), "late orders stay rejected");
    let tables = tables(&shop.output());
    let of = |table: &str| &tables.iter().find(|(name, _)| name == table).expect("a table").1;
    let late = of("rejected").iter().filter(|row| row.contains("late: order_date 2024-02-28 is more than 30 days"));
    assert_eq!(late.count(), 2, "{:?}", of("rejected"));
    let accepted = [802, 804, 806].map(|id| of("enriched_data").iter().any(|row| row.contains(&format!("{id}"))));
    assert_eq!(accepted, [true; 3], "{:?}", of("enriched_data"));
    let others = ["801", "803", "805"];
    assert!(!of("enriched_data").iter().any(|row| others.iter().any(|other| row.contains(other))));
    check(&finish(verify_with(&shop, &args)), 0, &[]);
}

#[test]
fn rejected_rows_can_be_tried_again_with_other_settings() {
    let shop = shop_with_folder();
    let mut running = Running::start(service(&shop, &[]));
    running.await_line("live at epoch 1");
    let rows = ["801,1,1,01.03.2024,2,0,", "802,1,1,02.03.2024,2,0,", "803,1,1,2024-03-03,many,0,"];
    drop_file(&shop, "orders/1.csv", &format!("{HEADER}{}\n", rows.join("\n")));
    drop_file(&shop, "orders/2.parquet", "not a file");
    running.await_line("epoch 2: 3 rows of 1 files");
    stop(running);
    let retry = |args: &[&str]| {
        let mut retry = command(&["rejected", "retry"]);
        retry.arg("--input").arg(shop.input()).arg("--output").arg(shop.output()).args(args);
        let done = finish(retry);
        check(&done, 0, &[]);
        done.stdout
    };
    let rejected_before = tables(&shop.output()).into_iter().find(|(name, _)| name == "rejected").expect("a table").1;
    assert!(retry(&[]).starts_with(&format!("0 rows are accepted now, {} are still", rejected_before.len())));
    let config = shop.path("config.yaml");
    fs::write(&config, "date_format: '%d.%m.%Y'").expect("written");
    let args = ["--config", config.to_str().expect("a path")];
    // Dates of Parquet files are dates in any case; those of the shop's text files must not become unusable.
    let done = retry(&args);
    assert!(done.starts_with("2 rows are accepted now"), "{done}");
    assert!(retry(&args).starts_with("0 rows are accepted now"));
    let listed = |args: &[&str]| {
        let mut list = command(&["rejected", "list"]);
        list.arg("--input").arg(shop.input()).arg("--output").arg(shop.output()).args(args);
        finish(list).stdout
    };
    let left = listed(&args);
    assert!(left.contains("orders/1.csv") && left.contains("many") && !left.contains("\"801\""), "{left}");
}

#[test]
fn a_new_column_is_carried_from_the_next_start_on() {
    let shop = shop_with_folder();
    let mut running = Running::start(service(&shop, &[]));
    running.await_line("live at epoch 1");
    let row = |id: u32, color: &str| {
        format!("order_id,customer_id,product_id,order_date,quantity,discount,color\n{id},1,1,2024-03-01,1,0,{color}\n")
    };
    drop_file(&shop, "orders/1.csv", &row(801, "red"));
    running.await_line("orders: column color is new: it is ignored until the next start");
    await_lines(&running, "rows of 1 files", 1);
    stop(running);
    let mut running = Running::start(service(&shop, &["--checkpoint-every", "1KB"]));
    running.await_line("orders: column color is carried from now on");
    drop_file(&shop, "orders/2.csv", &row(802, "blue"));
    running.await_line("epoch 3: 1 rows of 1 files");
    stop(running);
    stop_after_start(&shop, &[]);
    let tables = tables(&shop.output());
    let enriched = &tables.iter().find(|(name, _)| name == "enriched_data").expect("a table").1;
    let colors = |color: &str| enriched.iter().filter(|row| row.contains(color)).count();
    assert_eq!((colors("blue"), colors("red")), (1, 0), "{enriched:?}");
    check(&finish(verify(&shop)), 0, &[]);
}

#[test]
fn the_live_demo_goes_on_after_it_was_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = || {
        let mut demo = command(&[
            "demo",
            "--live",
            "--scale",
            "0.001",
            "--rate",
            "50",
            "--output",
            "d",
            "--listen",
            "127.0.0.1:0",
        ]);
        demo.current_dir(folder.path());
        Running::start(demo)
    };
    // A line is printed once a second, so not every epoch has one.
    let shown_epoch = |running: &Running| {
        let output = running.output();
        let line = output.lines().rfind(|line| line.contains("is in all tables"))?;
        line.split("epoch ").nth(1)?.split(' ').next()?.parse::<u64>().ok()
    };
    let await_epoch = |running: &Running, epoch: u64| {
        let started = Instant::now();
        while shown_epoch(running) < Some(epoch) {
            assert!(started.elapsed() < PATIENCE, "epoch {epoch}: {} {}", running.output(), running.log());
            thread::sleep(Duration::from_millis(20));
        }
    };
    let running = demo();
    await_epoch(&running, 3);
    let mut second = command(&["demo", "--live", "--output", "d"]);
    second.current_dir(folder.path());
    check(&finish(second), 2, &["another demo runs there"]);
    running.signal("-KILL");
    running.end();
    let running = demo();
    // The first epoch is the shop; each of the others has a file.
    await_epoch(&running, 6);
    running.signal("-INT");
    check(&running.end(), 0, &[]);
    let files = fs::read_dir(folder.path().join("d/incoming/orders")).expect("orders arrived").count();
    assert!(files >= 4, "{files} files");
    let mut verify = command(&["verify", "--config", "d/demo.yaml"]);
    verify.current_dir(folder.path());
    check(&finish(verify), 0, &[]);
}

#[test]
fn log_lines_can_be_json_with_the_epoch_and_the_source() {
    let shop = shop_with_folder();
    let mut running = Running::start(service(&shop, &["--log", "json"]));
    running.await_line("live at epoch 1");
    drop_file(
        &shop,
        "orders/01.csv",
        "order_id,customer_id,product_id,order_date,quantity,discount\n70,1,1,2024-03-01,1,0\n",
    );
    running.await_line("epoch 2");
    let done = stop(running);
    let lines: Vec<serde_json::Value> =
        done.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let of = |words: &str| {
        let has =
            |line: &&serde_json::Value| line["message"].as_str().is_some_and(|message| message.starts_with(words));
        lines.iter().find(has).unwrap_or_else(|| panic!("{words}: {lines:?}"))
    };
    let epoch = of("epoch 2: 1 rows");
    assert_eq!((&epoch["epoch"], &epoch["source"], &epoch["level"]), (&2.into(), &"folder".into(), &"INFO".into()));
    assert_eq!((&of("published")["epoch"], &of("published")["task"]), (&2.into(), &"publish".into()));
}

#[test]
fn a_new_column_that_can_not_be_carried_stops_no_start() {
    let shop = shop_with_folder();
    let mut running = Running::start(service(&shop, &[]));
    running.await_line("live at epoch 1");
    let row = |id: u32, weight: &str| {
        format!(
            "{{\"order_id\":{id},\"customer_id\":1,\"product_id\":1,\"order_date\":\"2024-03-01\",\"quantity\":1,\
             \"discount\":0,\"total_spent\":1,\"weight\":{weight}}}\n"
        )
    };
    // A name that a computed column has, and a type that later files widen.
    for (file, weight) in [(1, "1"), (2, "1.5")] {
        drop_file(&shop, &format!("orders/{file}.jsonl"), &row(800 + file, weight));
        await_lines(&running, "rows of 1 files", file as usize);
    }
    stop(running);
    let mut running = Running::start(service(&shop, &[]));
    running.await_line("orders: column total_spent can't be carried");
    running.await_line("orders: column weight is carried from now on");
    running.await_line("live at epoch 3");
    drop_file(&shop, "orders/3.jsonl", &row(803, "2.5"));
    await_lines(&running, "rows of 1 files", 1);
    stop(running);
    let tables = tables(&shop.output());
    let enriched = &tables.iter().find(|(name, _)| name == "enriched_data").expect("a table").1;
    assert!(enriched.iter().any(|row| row.contains("2.5")), "{enriched:?}");
    check(&finish(verify(&shop)), 0, &[]);
}

#[test]
fn files_may_arrive_in_a_folder_of_their_own() {
    let shop = shop_with_folder();
    let drops = shop.path("drops");
    fs::create_dir_all(drops.join("orders")).expect("a folder");
    let config = shop.path("config.yaml");
    fs::write(&config, format!("sources: [{{name: drops, type: folder, path: {}}}]", drops.display()))
        .expect("written");
    // It has the name of a file of the input folder.
    fs::write(drops.join("orders/00.csv"), format!("{HEADER}1,1,1,2024-03-11,77,0,\n")).expect("written");
    let with_drops = ["--config", config.to_str().expect("text")];
    let mut running = Running::start(service(&shop, &with_drops));
    running.await_line("epoch 2: 1 rows of 1 files, the last orders/00.csv");
    stop(running);
    // Without the folder, the files of the input are not read again; with it, neither are its own.
    for args in [&[][..], &with_drops, &[]] {
        let mut running = Running::start(service(&shop, args));
        running.await_line("live at epoch 2");
        thread::sleep(Duration::from_secs(2));
        assert!(!running.log().contains("epoch 3"), "{}", running.log());
        stop(running);
    }
    assert!(orders(&shop).iter().any(|order| order.contains("\"quantity\":77")), "{:?}", orders(&shop));
}
