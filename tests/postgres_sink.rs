//! Tables that are delivered to PostgreSQL, with a real server.

mod database;
mod files;
mod served;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use database::{Database, comparable, rows_there};
use fastrand::Rng;
use files::processes::Running;
use files::serving::{PATIENCE, service, shop_with_folder, stop};
use files::{Shop, check, command, finish};
use postgres::Client;
use serde_json::{Value, json};
use served::{IsOver, PEN, Served, order, pen, random_orders};

/// The tables that a sink has by default.
const TABLES: [&str; 6] =
    ["daily_sales", "product_sales", "customer_patterns", "rfm_analysis", "cohort_analysis", "customer_product_matrix"];

/// Writes a config file with a sink, and further keys.
fn configured(shop: &Shop, url: &str, more: &str) -> String {
    let path = shop.path("config.yaml");
    let sink = format!("sinks: [{{name: bi, type: postgres, url: \"{url}\"}}]\n{more}\n");
    std::fs::write(&path, sink).expect("written");
    path.display().to_string()
}

fn start(shop: &Shop, config: &str) -> Served {
    Served::start(shop, &["--config", config])
}

/// The epoch that the tables there have, and 0 if they have none.
fn epoch_there(client: &mut Client) -> i64 {
    let row = client.query_opt("SELECT epoch FROM shop.millstream_progress WHERE sink = 'bi'", &[]);
    row.expect("the progress").and_then(|row| row.get::<_, Option<i64>>(0)).unwrap_or(0)
}

fn epoch_here(served: &Served) -> i64 {
    served.get("/v1/status").expect(200).json()["epoch"].as_i64().expect("an epoch")
}

/// Waits until the tables there have the newest epoch.
fn await_delivery(served: &Served, client: &mut Client) {
    let started = Instant::now();
    while epoch_there(client) != epoch_here(served) {
        assert!(started.elapsed() < PATIENCE, "{} {}", served.get("/v1/sinks").text(), served.running.log());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Checks that all tables there are those that are served, once they have the newest epoch.
fn check_there(served: &Served, client: &mut Client, context: &str) {
    await_delivery(served, client);
    for table in TABLES {
        let (found, wanted) = (rows_there(client, &format!("shop.{table}")), comparable(served.rows(table)));
        assert_eq!(found, wanted, "{table}, {context}");
    }
}

/// Orders of all kinds: of guests, of unknown products, without a day, corrected, deleted.
fn odd_orders(random: &mut Rng) -> Value {
    let mut rows = random_orders(random);
    let id = random.u64(40..60);
    let extra = match random.u8(..4) {
        0 => {
            json!({ "order_id": id, "customer_id": null, "product_id": 10, "order_date": "2024-03-06", "quantity": 2 })
        }
        1 => json!({ "order_id": id, "customer_id": 2, "product_id": null, "order_date": null, "quantity": 1 }),
        2 => {
            json!({ "order_id": id, "customer_id": 77, "product_id": 999_999, "order_date": "2024-01-31" })
        }
        _ => json!({ "order_id": id, "_op": "d" }),
    };
    rows.as_array_mut().expect("rows").push(extra);
    rows
}

#[test]
fn each_epoch_is_there_and_a_restart_delivers_what_differs() {
    let Some(database) = Database::start() else { return };
    let (shop, mut client, mut random) = (shop_with_folder(), database.client(), Rng::with_seed(1));
    let config = configured(&shop, &database.url(), "");
    let served = start(&shop, &config);
    check_there(&served, &mut client, "at first");
    for round in 0..25 {
        served.post_json("orders", &odd_orders(&mut random)).expect(200);
        check_there(&served, &mut client, &format!("round {round}"));
    }
    served.post_json("products", &json!([pen()])).expect(200);
    served.post_json("orders", &json!([order(500, 1, PEN, "2024-03-07", 3)])).expect(200);
    check_there(&served, &mut client, "with a new product");
    let sink = served.get("/v1/sinks").expect(200).json()["sinks"][1].clone();
    assert_eq!((&sink["state"], &sink["name"], &sink["failures"]), (&json!("up_to_date"), &json!("bi"), &json!(0)));
    stop(served.running);

    // Nothing is written when nothing has changed.
    let written = |client: &mut Client| -> i64 {
        let rows = client.query_one("SELECT max(xmin::text::bigint) FROM shop.customer_patterns", &[]).expect("a row");
        rows.get(0)
    };
    let before = written(&mut client);
    let served = start(&shop, &config);
    check_there(&served, &mut client, "after a restart");
    assert_eq!(written(&mut client), before);
    stop(served.running);

    // A table that somebody has dropped is made anew, and nothing else is written.
    client.batch_execute("DROP TABLE shop.rfm_analysis").expect("dropped");
    let served = start(&shop, &config);
    check_there(&served, &mut client, "after a table was dropped");
    assert_eq!(written(&mut client), before);
    stop(served.running);

    // With other tiers, only the rows that have another one are.
    let tiers = "tiers: [{name: Rich, from: 300}, {name: Bronze}]";
    let served = start(&shop, &configured(&shop, &database.url(), tiers));
    check_there(&served, &mut client, "with other tiers");
    let others = "SELECT count(*) FILTER (WHERE xmin::text::bigint > $1), count(*) FROM shop.customer_patterns";
    let counts = client.query_one(others, &[&before]).expect("a row");
    let (changed, all): (i64, i64) = (counts.get(0), counts.get(1));
    assert!(changed > 0 && changed < all, "{changed} of {all}");
    let patterns = client.query_one("SELECT max(xmin::text::bigint) FROM shop.daily_sales", &[]).expect("a row");
    assert!(patterns.get::<_, i64>(0) <= before, "no day has changed");
    stop(served.running);
}

#[test]
fn a_process_that_dies_at_any_step_leaves_tables_that_the_next_completes() {
    let Some(database) = Database::start() else { return };
    let (mut client, mut random) = (database.client(), Rng::with_seed(2));
    let steps = [
        "postgres: tables prepared",
        "postgres: tables taken over",
        "postgres: progress moved",
        "postgres: table changed",
        "postgres: committed",
        "log synced",
        "epoch visible",
    ];
    for (step, is_first) in steps.iter().flat_map(|step| [(step, true), (step, false)]) {
        client.batch_execute("DROP SCHEMA IF EXISTS shop CASCADE").expect("dropped");
        let shop = shop_with_folder();
        let config = configured(&shop, &database.url(), "");
        if !is_first {
            stop(start(&shop, &config).running);
        }
        let mut dying = service(&shop, &["--listen", "127.0.0.1:0", "--config", &config]);
        dying.env("MILLSTREAM_CRASH_AT", step);
        if step.starts_with("postgres: tables") && step != &"postgres: table changed" {
            Running::start(dying).end();
            let served = start(&shop, &config);
            check_there(&served, &mut client, step);
            stop(served.running);
            continue;
        }
        let mut served = Served::start_loading(dying);
        let started = Instant::now();
        while !served.running.is_over() {
            let rows = odd_orders(&mut random).to_string();
            let post = served.agent.post(format!("{}/v1/orders", served.base));
            let _ = post.header("content-type", "application/json").send(rows.as_bytes());
            assert!(started.elapsed() < PATIENCE, "it dies at {step:?}: {}", served.running.log());
        }
        let served = start(&shop, &config);
        check_there(&served, &mut client, step);
        served.post_json("orders", &odd_orders(&mut random)).expect(200);
        check_there(&served, &mut client, step);
        stop(served.running);
    }
}

#[test]
fn a_server_that_is_gone_delays_nothing_and_gets_everything_once_it_is_back() {
    let Some(database) = Database::start() else { return };
    let (shop, mut random) = (shop_with_folder(), Rng::with_seed(3));
    let served = start(&shop, &configured(&shop, &database.url(), ""));
    for round in 0..3 {
        await_delivery(&served, &mut database.client());
        database.kill();
        for _ in 0..5 {
            served.post_json("orders", &odd_orders(&mut random)).expect(200);
        }
        let sink = || served.get("/v1/sinks").expect(200).json()["sinks"][1].clone();
        let started = Instant::now();
        while sink()["state"] != "retrying" {
            assert!(started.elapsed() < PATIENCE, "{}", sink());
            thread::sleep(Duration::from_millis(5));
        }
        let reason = sink()["last_failure"]["reason"].to_string();
        assert!(reason.contains(&format!("127.0.0.1:{}/shop", database.port())), "{reason}");
        assert!(sink()["behind_seconds"].as_f64().is_some_and(|behind| behind > 0.0), "{}", sink());
        database.begin();
        check_there(&served, &mut database.client(), &format!("round {round}"));
    }
    stop(served.running);
}

#[test]
fn every_transaction_there_has_all_tables_as_of_one_epoch() {
    let Some(database) = Database::start() else { return };
    let (shop, is_over) = (shop_with_folder(), AtomicBool::new(false));
    let served = start(&shop, &configured(&shop, &database.url(), ""));
    await_delivery(&served, &mut database.client());
    let reads = thread::scope(|scope| {
        for seed in 0..2 {
            let (served, is_over) = (&served, &is_over);
            scope.spawn(move || {
                let mut random = Rng::with_seed(seed);
                while !is_over.load(Ordering::Relaxed) {
                    served.post_json("orders", &random_orders(&mut random)).expect(200);
                }
            });
        }
        let over = IsOver(&is_over);
        let (mut client, started, mut epochs) = (database.client(), Instant::now(), Vec::new());
        while started.elapsed() < Duration::from_secs(4) {
            let mut transaction = client
                .build_transaction()
                .isolation_level(postgres::IsolationLevel::RepeatableRead)
                .start()
                .expect("begun");
            let mut sum = |column: &str, table: &str| -> String {
                let query = format!("SELECT coalesce(sum(round({column}::numeric, 4)), 0)::text FROM shop.{table}");
                transaction.query_one(&query, &[]).expect("a sum").get(0)
            };
            let days = sum("daily_revenue", "daily_sales");
            assert_eq!(sum("total_revenue", "product_sales"), days);
            assert_eq!(sum("total_spent", "customer_patterns"), days);
            let epoch = transaction.query_one("SELECT epoch FROM shop.millstream_progress", &[]).expect("the progress");
            epochs.push(epoch.get::<_, i64>(0));
        }
        drop(over);
        epochs
    });
    assert!(reads.is_sorted() && reads.last() > reads.first(), "{reads:?}");
    check_there(&served, &mut database.client(), "in the end");
    stop(served.running);
}

#[test]
fn a_process_that_was_displaced_writes_no_more() {
    let Some(database) = Database::start() else { return };
    let (shop, other, mut client) = (shop_with_folder(), shop_with_folder(), database.client());
    let first = start(&shop, &configured(&shop, &database.url(), ""));
    await_delivery(&first, &mut client);
    // Another job with the same sink: a copy of the configuration, say.
    let second = start(&other, &configured(&other, &database.url(), ""));
    second.post_json("orders", &json!([order(600, 1, 10, "2024-03-08", 9)])).expect(200);
    check_there(&second, &mut client, "the second");
    first.post_json("orders", &json!([order(601, 1, 10, "2024-03-08", 9)])).expect(200);
    let started = Instant::now();
    let state = || first.get("/v1/sinks").expect(200).json()["sinks"][1]["state"].clone();
    while state() != "displaced" {
        assert!(started.elapsed() < PATIENCE, "{}", first.running.log());
        thread::sleep(Duration::from_millis(5));
    }
    first.post_json("orders", &json!([order(602, 1, 10, "2024-03-08", 9)])).expect(200);
    check_there(&second, &mut client, "the second, still");
    stop(first.running);
    // Also if the other process has not moved the progress yet.
    let epoch = epoch_there(&mut client);
    client.batch_execute("UPDATE shop.millstream_progress SET writer = 'a third'").expect("taken over");
    second.post_json("orders", &json!([order(603, 1, 10, "2024-03-08", 9)])).expect(200);
    let state = || second.get("/v1/sinks").expect(200).json()["sinks"][1]["state"].clone();
    while state() != "displaced" {
        assert!(started.elapsed() < PATIENCE, "{}", second.running.log());
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(epoch_there(&mut client), epoch);
    stop(second.running);
}

/// Without an address nothing is applied again at a start, so that the tables there have the first epoch already.
#[test]
fn a_table_that_is_new_there_is_filled_whatever_else_is_there() {
    let Some(database) = Database::start() else { return };
    let (shop, mut client) = (shop_with_folder(), database.client());
    let with_tables = |tables: &str| {
        let path = shop.path("config.yaml");
        let url = database.url();
        let sink = format!("sinks: [{{name: bi, type: postgres, url: \"{url}\", tables: [{tables}]}}]\n");
        std::fs::write(&path, sink).expect("written");
        path.display().to_string()
    };
    let both = "daily_sales, rfm_analysis";
    let run = |tables: &str, crash: Option<&str>| {
        let mut command = service(&shop, &["--config", &with_tables(tables)]);
        if let Some(step) = crash {
            command.env("MILLSTREAM_CRASH_AT", step);
        }
        let mut running = Running::start(command);
        if crash.is_some() {
            running.end();
            return;
        }
        running.await_line("live at epoch");
        stop(running);
    };
    let count = |client: &mut Client, table: &str| -> i64 {
        client.query_one(&format!("SELECT count(*) FROM shop.{table}"), &[]).expect("a count").get(0)
    };
    run(both, None);
    let (days, customers) = (count(&mut client, "daily_sales"), count(&mut client, "rfm_analysis"));
    assert!(days > 0 && customers > 0);
    client.batch_execute("DROP TABLE shop.rfm_analysis").expect("dropped");
    run(both, None);
    assert_eq!(count(&mut client, "rfm_analysis"), customers, "it was dropped");
    client.batch_execute("DROP TABLE shop.rfm_analysis").expect("dropped");
    run(both, Some("postgres: tables taken over"));
    run(both, None);
    assert_eq!(count(&mut client, "rfm_analysis"), customers, "the process died when it was made");
    run("daily_sales", None);
    client.batch_execute("DELETE FROM shop.rfm_analysis").expect("emptied, as if it had missed epochs");
    run(both, None);
    assert_eq!(count(&mut client, "rfm_analysis"), customers, "it was left out for a while");
    assert_eq!(count(&mut client, "daily_sales"), days);
}

/// A start trains the model anew, from other orders: every score is another one, also of orders that have not changed.
#[test]
fn scores_of_a_model_that_is_trained_anew_replace_the_former_ones() {
    let Some(database) = Database::start() else { return };
    let (shop, mut client, mut random) = (shop_with_folder(), database.client(), Rng::with_seed(4));
    let path = shop.path("config.yaml");
    let url = database.url();
    let sink = format!("sinks: [{{name: bi, type: postgres, url: \"{url}\", tables: [order_anomalies]}}]\n");
    std::fs::write(&path, sink).expect("written");
    let path = path.display().to_string();
    let served = Served::start(&shop, &["--config", &path, "--tables", "all"]);
    await_delivery(&served, &mut client);
    let former = rows_there(&mut client, "shop.order_anomalies");
    assert_eq!(former, comparable(served.rows("order_anomalies")));
    (0..30).for_each(|_| drop(served.post_json("orders", &random_orders(&mut random)).expect(200)));
    await_delivery(&served, &mut client);
    stop(served.running);
    // Without an address nothing is applied again, so the model is trained on all orders, as that of a publication is.
    let mut running = Running::start(service(&shop, &["--config", &path, "--tables", "all"]));
    running.await_line("live at epoch");
    stop(running);
    let published = shop.read("order_anomalies").iter().flat_map(files::as_json).collect::<Vec<_>>();
    let published = published.iter().map(|row| serde_json::from_str(row).expect("a row"));
    assert_eq!(rows_there(&mut client, "shop.order_anomalies"), comparable(published));
}

/// A check of the server refuses a row; the correction of the row is delivered without a restart.
#[test]
fn what_is_refused_goes_on_once_it_is_corrected() {
    let Some(database) = Database::start() else { return };
    let (shop, mut client) = (shop_with_folder(), database.client());
    let served = start(&shop, &configured(&shop, &database.url(), ""));
    await_delivery(&served, &mut client);
    client.batch_execute("ALTER TABLE shop.daily_sales ADD CHECK (daily_customers < 3)").expect("altered");
    let orders = |quantity: u64| {
        let rows: Vec<_> = (1..4).map(|one| order(800 + one, one, 10, "2024-03-20", quantity)).collect();
        json!(rows)
    };
    served.post_json("orders", &orders(1)).expect(200);
    let started = Instant::now();
    let sink = || served.get("/v1/sinks").expect(200).json()["sinks"][1].clone();
    while sink()["state"] != "retrying" {
        assert!(started.elapsed() < PATIENCE, "{}", sink());
        thread::sleep(Duration::from_millis(5));
    }
    let reason = sink()["last_failure"]["reason"].to_string();
    assert!(reason.contains("daily_sales") && reason.contains("check constraint"), "{reason}");
    let delete = json!([{ "order_id": 803, "_op": "d" }]);
    served.post_json("orders", &delete).expect(200);
    check_there(&served, &mut client, "once it is corrected");
    stop(served.running);
}

#[test]
fn a_table_is_delivered_by_one_sink() {
    let Some(database) = Database::start() else { return };
    let (shop, other, mut client) = (shop_with_folder(), shop_with_folder(), database.client());
    let first = start(&shop, &configured(&shop, &database.url(), ""));
    await_delivery(&first, &mut client);
    let config = configured(&other, &database.url(), "");
    std::fs::write(&config, std::fs::read_to_string(&config).expect("read").replace("bi", "other")).expect("written");
    let words = "is delivered by the sink bi; choose another schema, or if that sink is gone: DELETE FROM";
    check(&finish(service(&other, &["--config", &config])), 2, &[words]);
    stop(first.running);
    client.execute("DELETE FROM shop.millstream_progress WHERE sink = 'bi'", &[]).expect("deleted");
    let mut second = Running::start(service(&other, &["--config", &config]));
    second.await_line("live at epoch");
    stop(second);
}

#[test]
fn a_server_that_is_not_there_at_the_start_gets_everything_later() {
    let Some(database) = Database::start() else { return };
    let shop = shop_with_folder();
    database.kill();
    let served = start(&shop, &configured(&shop, &database.url(), ""));
    served.post_json("orders", &json!([order(700, 1, 10, "2024-03-09", 2)])).expect(200);
    let sink = served.get("/v1/sinks").expect(200).json()["sinks"][1].clone();
    assert!(sink["state"] == "retrying" && sink["last_failure"]["reason"].to_string().contains("refused"), "{sink}");
    database.begin();
    let (mut client, started) = (database.client(), Instant::now());
    while client.query("SELECT FROM shop.millstream_progress", &[]).is_err() {
        assert!(started.elapsed() < PATIENCE, "{}", served.running.log());
        thread::sleep(Duration::from_millis(20));
    }
    check_there(&served, &mut client, "once it is there");
    stop(served.running);
}

#[test]
fn a_check_says_what_is_missing_and_writes_nothing() {
    let Some(database) = Database::start() else { return };
    let (shop, mut client) = (Shop::small(), database.client());
    client.batch_execute("CREATE ROLE reader LOGIN").expect("made");
    let reader = database.url().replace("postgres@", "reader@");
    for (url, status, words) in [
        (database.url(), 0, "ok    sink bi: no table is somebody else's: 6 tables"),
        (reader, 3, "FAIL  sink bi: tables can be made: schema shop: a right is missing"),
        (database.url().replace("/shop", "/none"), 3, "FAIL  sink bi: the server can be reached"),
    ] {
        let mut command = command(&["check", "--config", &configured(&shop, &url, "")]);
        command.arg("--input").arg(shop.input()).arg("--output").arg(shop.output());
        let done = finish(command);
        assert!(done.status == status && done.stdout.contains(words), "{done:?}");
    }
    let schemas = client.query_one("SELECT count(*) FROM pg_namespace WHERE nspname = 'shop'", &[]).expect("a row");
    assert_eq!(schemas.get::<_, i64>(0), 0);
}

#[test]
fn what_can_not_be_used_is_said_at_the_start() {
    let Some(database) = Database::start() else { return };
    let (shop, mut client) = (Shop::small(), database.client());
    client
        .batch_execute(
            "CREATE ROLE reader LOGIN; CREATE SCHEMA theirs; CREATE TABLE theirs.daily_sales (day date);
             CREATE SCHEMA mine; CREATE TABLE mine.rfm_analysis (customer_id text);
             COMMENT ON TABLE mine.rfm_analysis IS 'Kept by millstream: for a test'",
        )
        .expect("made");
    let reader = database.url().replace("postgres@", "reader@");
    let nobody = database.url().replace("postgres@", "nobody@");
    let place = format!("sink bi: postgres://127.0.0.1:{}/shop: ", database.port());
    for (url, keys, status, words) in [
        ("mysql://db/shop".to_owned(), "", 2, "sinks: bi: url: wanted postgres://USER:PASSWORD@HOST:PORT/DATABASE"),
        (database.url(), "tables: [daily_sale]", 2, "sink bi: table daily_sale is not one of this job"),
        (database.url(), "tables: [rejected]", 2, "sink bi: table rejected: its rows are too long for a key there"),
        (database.url(), "schema: theirs", 2, "table \"theirs\".\"daily_sales\" exists and was not made by millstream"),
        (database.url(), "schema: mine", 2, "column customer_id has the type text, wanted bigint; drop the table"),
        (reader, "", 2, "permission denied for database shop (42501)"),
        (nobody, "", 2, "role \"nobody\" does not exist"),
    ] {
        let comma = if keys.is_empty() { "" } else { ", " };
        let path = shop.path("config.yaml");
        let config = format!("sinks: [{{name: bi, type: postgres, url: \"{url}\"{comma}{keys}}}]");
        std::fs::write(&path, config).expect("written");
        let done = finish(service(&shop, &["--config", &path.display().to_string()]));
        check(&done, status, &[words]);
        if words.starts_with("table") || words.starts_with("column") {
            assert!(done.stderr.contains(&place), "{done:?}");
        }
    }
}
