//! Tables of PostgreSQL that a service follows, with a real server.

mod database;
mod files;
mod served;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::json::ReaderBuilder;
use database::Database;
use fastrand::Rng;
use files::serving::{PATIENCE, service, stop, tables};
use files::{Shop, check, command, finish, write_parquet};
use postgres::Client;
use serde_json::{Value, json};
use served::Served;

/// A shop in a database: orders with some types of every kind.
const SHOP: &str = "
    CREATE EXTENSION citext;
    CREATE TYPE channel AS ENUM ('web', 'store');
    CREATE DOMAIN share AS numeric(5,4) CHECK (VALUE BETWEEN 0 AND 1);
    CREATE TABLE products (product_id bigint PRIMARY KEY, product_name text, category citext, price numeric(12,4),
        brand text, metadata jsonb);
    CREATE TABLE customers (customer_id bigint PRIMARY KEY, email citext, since timestamptz, tags text[], code uuid);
    CREATE TABLE orders (order_id bigint PRIMARY KEY, customer_id bigint, product_id bigint, order_date timestamptz,
        quantity integer, discount share, channel channel, note text, weight numeric, raw bytea);
    INSERT INTO products SELECT id, 'Product ' || id, 'Category ' || id % 3, id * 1.25, NULL, '{\"a\": [1, 2]}'
        FROM generate_series(1, 20) AS id;
    INSERT INTO customers SELECT id, 'One' || id || '@Example.com', '2024-01-01 00:00+02', '{a,\"b c\"}',
        gen_random_uuid() FROM generate_series(1, 30) AS id;
    INSERT INTO orders SELECT id, 1 + id % 30, 1 + id % 20,
        '2024-01-01 10:00+00'::timestamptz + id % 80 * interval '1 day',
        1 + id % 5, id % 4 / 20.0, 'web', E'a\\tb\\nc\\\\d', id / 7.0, '\\x00ff' FROM generate_series(1, 300) AS id;
    CREATE PUBLICATION shop FOR TABLE orders, products, customers;
";

const TABLES: &str = "tables: {orders: public.orders, products: products, customers: customers}";

fn configured(shop: &Shop, database: &Database, more: &str) -> String {
    let path = shop.path("config.yaml");
    let url = database.url();
    let source = format!("{{name: db, type: postgres, url: \"{url}\", publication: shop, {TABLES}{more}}}");
    std::fs::write(&path, format!("sources: [{source}, {{name: web, type: http}}]\n")).expect("written");
    path.display().to_string()
}

fn start(shop: &Shop, config: &str) -> Served {
    Served::start(shop, &["--config", config, "--tables", "all"])
}

/// A shop without an input folder, and a database that has it.
fn shop_in_database() -> Option<(Shop, Database, Client)> {
    let database = Database::start()?;
    let mut client = database.client();
    client.batch_execute(SHOP).expect("a shop");
    Some((Shop::empty(), database, client))
}

/// Waits until everything is there that was committed in the database.
fn await_commits(served: &Served, client: &mut Client) {
    let marker = format!("marker {}", fastrand::u64(..));
    let marked = "INSERT INTO products (product_id, product_name, category, price) VALUES (999, $1, 'Marker', 1)
                  ON CONFLICT (product_id) DO UPDATE SET product_name = EXCLUDED.product_name";
    client.execute(marked, &[&marker]).expect("marked");
    client
        .batch_execute(
            "INSERT INTO orders (order_id, product_id, quantity) VALUES (999999, 999, 1) ON CONFLICT DO NOTHING",
        )
        .expect("an order");
    let started = Instant::now();
    while !served.get("/v1/tables/product_features?key=999").text().contains(&marker) {
        assert!(started.elapsed() < PATIENCE, "{} {}", served.get("/v1/sources").text(), served.running.log());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Writes what the database has as an input folder, and checks that the service publishes what a run makes of it.
fn check_published(shop: &Shop, client: &mut Client, context: &str) {
    let export = Shop::empty();
    for (table, columns) in COLUMNS {
        let rows = client.query(&format!("SELECT row_to_json(t)::text FROM {table} AS t"), &[]).expect("rows");
        let lines: String = rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect();
        let fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let mut decoder = ReaderBuilder::new(schema).with_batch_size(1 << 20).build_decoder().expect("a decoder");
        decoder.decode(lines.as_bytes()).expect("rows");
        let batch = decoder.flush().expect("rows").expect("at least one");
        write_parquet(&export, &format!("{table}.parquet"), &batch);
    }
    let mut run = command(&["run", "--as-of", "2024-03-31", "--tables", TESTED]);
    run.arg("--input").arg(export.input()).arg("--output").arg(export.output());
    check(&finish(run), 0, &[]);
    let (found, wanted) = (tables(&shop.output()), tables(&export.output()));
    for (name, wanted) in wanted.iter().filter(|(name, _)| name != "rejected") {
        let found = found.iter().find(|(found, _)| found == name).map(|(_, rows)| rows);
        assert_eq!(found, Some(wanted), "{name}, {context}");
    }
}

/// The tables that carry no columns.
const TESTED: &str = "daily_sales,product_sales,customer_patterns,rfm_analysis,cohort_analysis,customer_product_matrix";

/// The columns that these tables are made of, with the types that they have in the database.
const COLUMNS: [(&str, &[(&str, DataType)]); 3] = [
    (
        "orders",
        &[
            ("order_id", DataType::Int64),
            ("customer_id", DataType::Int64),
            ("product_id", DataType::Int64),
            ("order_date", DataType::Timestamp(TimeUnit::Microsecond, None)),
            ("quantity", DataType::Int32),
            ("discount", DataType::Decimal128(5, 4)),
        ],
    ),
    (
        "products",
        &[
            ("product_id", DataType::Int64),
            ("product_name", DataType::Utf8),
            ("category", DataType::Utf8),
            ("price", DataType::Decimal128(12, 4)),
        ],
    ),
    ("customers", &[("customer_id", DataType::Int64)]),
];

/// Statements of one transaction.
fn transaction(random: &mut Rng) -> String {
    let mut statements = "BEGIN;\n".to_owned();
    for _ in 0..random.u8(1..6) {
        let (id, other) = (random.u64(1..330), random.u64(1..330));
        let (customer, product, day) = (random.u64(1..33), random.u64(1..22), random.u64(1..29));
        let _ = match random.u8(..12) {
            0..4 => writeln!(
                statements,
                "INSERT INTO orders VALUES ({id}, {customer}, {product}, '2024-03-{day:02} 23:30:00+02', {}, 0.1, \
                 'store', repeat('x', {}), 1.5, '\\x01') ON CONFLICT (order_id) \
                 DO UPDATE SET quantity = orders.quantity + 1;",
                random.u8(1..9),
                random.u16(..3000),
            ),
            4 => writeln!(statements, "UPDATE orders SET customer_id = {customer} WHERE order_id = {id};"),
            5 => writeln!(
                statements,
                "UPDATE orders SET order_id = {other} WHERE order_id = {id} AND NOT EXISTS (SELECT FROM orders WHERE \
                 order_id = {other});"
            ),
            6 => writeln!(statements, "DELETE FROM orders WHERE order_id = {id};"),
            7 => writeln!(statements, "UPDATE products SET price = price * 1.1 WHERE product_id = {product};"),
            8 => writeln!(
                statements,
                "INSERT INTO products VALUES ({product}, 'New', 'Category 9', 3.5) ON CONFLICT (product_id) DO NOTHING;"
            ),
            9 => writeln!(statements, "DELETE FROM customers WHERE customer_id = {customer};"),
            10 => writeln!(
                statements,
                "INSERT INTO customers (customer_id) VALUES ({customer}) ON CONFLICT (customer_id) DO NOTHING;"
            ),
            _ => writeln!(statements, "UPDATE orders SET quantity = NULL, discount = NULL WHERE order_id = {id};"),
        };
    }
    statements + if random.u8(..8) == 0 { "ROLLBACK;" } else { "COMMIT;" }
}

#[test]
fn tables_follow_every_transaction_and_go_on_after_restarts() {
    let Some((shop, database, mut client)) = shop_in_database() else { return };
    let (config, mut random) = (configured(&shop, &database, ""), Rng::with_seed(1));
    for round in 0..4 {
        let mut served = start(&shop, &config);
        for _ in 0..60 {
            client.batch_execute(&transaction(&mut random)).expect("a transaction");
        }
        if round % 2 == 0 {
            // What it had not committed comes again.
            served.running.kill();
            served.running.end();
            for _ in 0..10 {
                client.batch_execute(&transaction(&mut random)).expect("a transaction");
            }
            served = start(&shop, &config);
        }
        await_commits(&served, &mut client);
        stop(served.running);
        check_published(&shop, &mut client, &format!("round {round}"));
    }
}

#[test]
fn a_process_that_dies_at_any_step_leaves_a_state_from_which_the_next_goes_on() {
    let steps = [
        "postgres: slot named",
        "postgres: slot made",
        "postgres: tables copied",
        "state created",
        "log synced",
        "epoch visible",
    ];
    let Some((_, database, mut client)) = shop_in_database() else { return };
    let mut random = Rng::with_seed(2);
    for (number, step) in steps.into_iter().enumerate() {
        let shop = Shop::empty();
        let config = configured(&shop, &database, &format!(", slot: step_{number}"));
        if step == "epoch visible" {
            stop(start(&shop, &config).running);
        }
        let mut dying = service(&shop, &["--config", &config, "--tables", "all", "--listen", "127.0.0.1:0"]);
        dying.env("MILLSTREAM_CRASH_AT", step);
        let mut running = files::processes::Running::start(dying);
        let started = Instant::now();
        while !running.is_over() {
            client.batch_execute(&transaction(&mut random)).expect("a transaction");
            assert!(started.elapsed() < PATIENCE, "it dies at {step:?}: {}", running.log());
            thread::sleep(Duration::from_millis(2));
        }
        running.end();
        let served = start(&shop, &config);
        await_commits(&served, &mut client);
        stop(served.running);
        check_published(&shop, &mut client, step);
        client.execute("SELECT pg_drop_replication_slot($1)", &[&format!("step_{number}")]).expect("dropped");
    }
}

/// The rows of `enriched_data` of an order.
fn order_of(served: &Served, id: u64) -> Vec<Value> {
    served.get(&format!("/v1/tables/enriched_data?order_id={id}")).expect(200).json()["rows"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

#[test]
fn values_of_all_types_come_whole() {
    let Some((shop, database, mut client)) = shop_in_database() else { return };
    let served = start(&shop, &configured(&shop, &database, ""));
    let wide = "x".repeat(200_000);
    client
        .execute(
            "INSERT INTO orders SELECT 2000, 1, 1, '2024-03-01 12:00+00', 2, 0.05, 'store', \
             string_agg(md5(i::text), ''), \
             123456789012345678901234567890.123456789, '\\xdeadbeef' FROM generate_series(1, 2000) AS i",
            &[],
        )
        .expect("an order with a long note, which is stored apart");
    client.execute("UPDATE orders SET quantity = 3 WHERE order_id = 2000", &[]).expect("the note is not sent");
    client.batch_execute("ALTER TABLE orders REPLICA IDENTITY FULL").expect("whole old rows");
    client.execute("UPDATE orders SET quantity = 4 WHERE order_id = 2000", &[]).expect("the old row has the note");
    client.execute("UPDATE orders SET note = $1 WHERE order_id = 3", &[&wide]).expect("a long note");
    // No date that a job could have; an order without one comes after it.
    client
        .batch_execute("INSERT INTO orders (order_id, order_date) VALUES (2001, 'infinity'), (2002, NULL)")
        .expect("orders");
    client
        .batch_execute("UPDATE customers SET tags = '{}', since = '0044-03-15 BC' WHERE customer_id = 2")
        .expect("a customer");
    await_commits(&served, &mut client);
    let note: String = client.query_one("SELECT note FROM orders WHERE order_id = 2000", &[]).expect("a row").get(0);
    for (id, snapshot) in [(2000, false), (3, true)] {
        let rows = order_of(&served, id);
        let row = rows.first().unwrap_or_else(|| panic!("order {id}: {rows:?}"));
        assert_eq!(row["note"], if snapshot { wide.as_str() } else { note.as_str() }, "{id}");
    }
    let row = &order_of(&served, 2000)[0];
    assert_eq!((&row["quantity"], &row["channel"]), (&json!(4), &json!("store")));
    assert_eq!(row["weight"], "123456789012345678901234567890.123456789");
    let row = &order_of(&served, 4)[0];
    assert_eq!((&row["note"], &row["channel"]), (&json!("a\tb\nc\\d"), &json!("web")));
    assert_eq!(row["order_date"], "2024-01-05");
    assert!(order_of(&served, 2001).is_empty());
    assert_eq!(order_of(&served, 2002).len(), 1);
    let rejected = served.get("/v1/tables/rejected?format=jsonl").expect(200).text();
    assert!(rejected.contains("order_date: found infinity") && rejected.contains("public.orders at "), "{rejected}");
    assert!(rejected.contains("since: found 0044-03-15"), "{rejected}");
    stop(served.running);
    check_published(
        &shop,
        &mut {
            client.batch_execute("DELETE FROM orders WHERE order_id = 2001").expect("deleted");
            client
        },
        "in the end",
    );
}

#[test]
fn columns_that_come_and_go_and_tables_that_are_emptied() {
    let Some((shop, database, mut client)) = shop_in_database() else { return };
    let config = configured(&shop, &database, "");
    let served = start(&shop, &config);
    client
        .batch_execute(
            "ALTER TABLE orders ADD COLUMN gift text; ALTER TABLE orders DROP COLUMN weight;
             INSERT INTO orders (order_id, customer_id, product_id, quantity, gift) VALUES (3000, 1, 1, 1, 'wrapped')",
        )
        .expect("changed");
    await_commits(&served, &mut client);
    assert!(
        served.running.log().contains("column gift is new: it is ignored until the next start"),
        "{}",
        served.running.log()
    );
    stop(served.running);
    let served = start(&shop, &config);
    client.batch_execute("UPDATE orders SET gift = 'in a box' WHERE order_id = 3000").expect("changed");
    await_commits(&served, &mut client);
    assert_eq!(order_of(&served, 3000)[0]["gift"], "in a box");
    // The job can't do without this one: rows are rejected while it is away.
    client
        .batch_execute(
            "ALTER TABLE orders RENAME COLUMN quantity TO pieces;
             INSERT INTO orders (order_id, pieces) VALUES (3001, 2);
             ALTER TABLE orders RENAME COLUMN pieces TO quantity;
             INSERT INTO orders (order_id, quantity) VALUES (3002, 2)",
        )
        .expect("changed");
    await_commits(&served, &mut client);
    let rejected = served.get("/v1/tables/rejected?format=jsonl").expect(200).text();
    assert!(rejected.contains("public.orders: no column quantity"), "{rejected} {}", served.running.log());
    assert!(rejected.contains("\\\"pieces\\\":\\\"2\\\""), "what it said is kept: {rejected}");
    assert!(order_of(&served, 3001).is_empty() && order_of(&served, 3002).len() == 1, "{rejected}");
    // Transactions without rows for the job, and a table that is emptied when it is empty.
    client
        .batch_execute("CREATE TABLE audit (id bigint PRIMARY KEY); ALTER PUBLICATION shop ADD TABLE audit")
        .expect("made");
    for _ in 0..3 {
        client.batch_execute("INSERT INTO audit SELECT coalesce(max(id), 0) + 1 FROM audit").expect("written");
        client.batch_execute("TRUNCATE customers").expect("emptied");
    }
    client.batch_execute("INSERT INTO customers (customer_id) VALUES (1)").expect("a customer");
    await_commits(&served, &mut client);
    client
        .batch_execute(
            "BEGIN; INSERT INTO orders (order_id) VALUES (3003); TRUNCATE orders; \
             INSERT INTO orders (order_id, customer_id, product_id, quantity) VALUES (3004, 1, 1, 1); COMMIT",
        )
        .expect("emptied");
    await_commits(&served, &mut client);
    assert!(order_of(&served, 3003).is_empty() && order_of(&served, 5).is_empty());
    assert_eq!(order_of(&served, 3004).len(), 1);
    stop(served.running);
    check_published(&shop, &mut client, "emptied");
}

#[test]
fn a_server_that_is_gone_comes_back_and_a_slot_that_is_gone_is_said() {
    let Some((shop, database, mut client)) = shop_in_database() else { return };
    let config = configured(&shop, &database, "");
    let served = start(&shop, &config);
    let mut random = Rng::with_seed(5);
    let source = || served.get("/v1/sources").expect(200).json()["sources"][0].clone();
    let await_state = |wanted: &str| {
        let started = Instant::now();
        while source()["state"] != wanted {
            assert!(started.elapsed() < PATIENCE, "{} {}", source(), served.running.log());
            thread::sleep(Duration::from_millis(5));
        }
    };
    for _ in 0..2 {
        client.batch_execute(&transaction(&mut random)).expect("a transaction");
        database.kill();
        await_state("retrying");
        // Whatever else arrives is taken.
        served.post_json("orders", &json!([served::order(5000, 1, 1, "2024-01-01", 1)])).expect(200);
        served.post_json("orders", &json!([{"order_id": 5000, "_op": "d"}])).expect(200);
        database.begin();
        client = database.client();
        await_commits(&served, &mut client);
    }
    await_state("streaming");
    let pid = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'millstream_db'";
    client.batch_execute(&format!("SELECT pg_terminate_backend(({pid}))")).expect("ended");
    let started = Instant::now();
    while client.execute("SELECT pg_drop_replication_slot('millstream_db')", &[]).is_err() {
        let _ = client.execute(&format!("SELECT pg_terminate_backend(({pid}))"), &[]);
        assert!(started.elapsed() < PATIENCE);
    }
    await_state("lost");
    assert!(source()["last_failure"]["reason"].to_string().contains("begin anew with another state"), "{}", source());
    served.get("/v1/tables/daily_sales").expect(200);
    stop(served.running);
    check_published(&shop, &mut client, "up to the end of the slot");
}

#[test]
fn rows_that_do_not_fit_are_rejected_one_by_one() {
    let Some(database) = Database::start() else { return };
    let (shop, mut client) = (Shop::empty(), database.client());
    client.batch_execute(&SHOP.replace("order_id bigint PRIMARY KEY", "order_id integer PRIMARY KEY")).expect("a shop");
    client.batch_execute("ALTER TABLE orders ADD COLUMN small smallint").expect("a column");
    let served = start(&shop, &configured(&shop, &database, ""));
    let rejected = || served.get("/v1/tables/rejected?format=jsonl").expect(200).text();
    client
        .batch_execute(
            "ALTER TABLE orders ALTER small TYPE bigint, ALTER order_id TYPE bigint;
             DELETE FROM orders WHERE order_id < 10;
             INSERT INTO orders (order_id, quantity, small) VALUES (4001, 1, 7), (4002, 1, 70000), (4003, 1, 8);
             INSERT INTO orders (order_id, quantity) VALUES (5000000001, 1)",
        )
        .expect("changed");
    await_commits(&served, &mut client);
    assert!(order_of(&served, 5).is_empty() && order_of(&served, 4002).is_empty());
    assert_eq!((order_of(&served, 4001).len(), order_of(&served, 4003).len()), (1, 1));
    let text = rejected();
    assert!(text.contains("small: found 70000") && text.contains("order_id is out of range"), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
    let wide = served.post_json("orders", &json!([served::order(5_000_000_002, 1, 1, "2024-01-01", 1)])).expect(200);
    assert_eq!(wide.json()["rejected_rows"], 1, "{}", wide.text());
    // A delete needs no more than the id, whatever the rest of the old row is.
    client
        .batch_execute(
            "DELETE FROM orders WHERE order_id > 5000000000; ALTER TABLE orders REPLICA IDENTITY FULL;
             UPDATE orders SET order_date = 'infinity' WHERE order_id = 20; DELETE FROM orders WHERE order_id = 20",
        )
        .expect("deleted");
    await_commits(&served, &mut client);
    assert!(order_of(&served, 20).is_empty());
    // Without the id in what old rows have, nothing says which row is gone: that is rejected, with a reason.
    client
        .batch_execute(
            "UPDATE orders SET note = order_id::text; ALTER TABLE orders REPLICA IDENTITY DEFAULT;
             ALTER TABLE orders DROP CONSTRAINT orders_pkey; ALTER TABLE orders ADD PRIMARY KEY (note);
             DELETE FROM orders WHERE order_id = 30; ALTER TABLE orders DROP CONSTRAINT orders_pkey;
             ALTER TABLE orders ALTER note DROP NOT NULL, ADD PRIMARY KEY (order_id)",
        )
        .expect("another key for a while");
    await_commits(&served, &mut client);
    assert!(rejected().contains("order_id is not part of the replica identity of public.orders"), "{}", rejected());
    stop(served.running);
}

#[test]
fn a_table_that_is_renamed_is_followed_and_one_in_its_place_is_not() {
    let Some((shop, database, mut client)) = shop_in_database() else { return };
    let served = start(&shop, &configured(&shop, &database, ""));
    client
        .batch_execute(
            "ALTER TABLE orders RENAME TO others; INSERT INTO others (order_id, quantity) VALUES (6001, 1);
             ALTER TABLE others RENAME TO orders",
        )
        .expect("renamed");
    await_commits(&served, &mut client);
    assert_eq!(order_of(&served, 6001).len(), 1);
    client
        .batch_execute(
            "CREATE TABLE newer (LIKE orders INCLUDING ALL); ALTER TABLE orders RENAME TO older;
             ALTER TABLE newer RENAME TO orders; ALTER PUBLICATION shop ADD TABLE orders",
        )
        .expect("swapped");
    let source = || served.get("/v1/sources").expect(200).json()["sources"][0].clone();
    let started = Instant::now();
    while source()["state"] != "lost" {
        assert!(started.elapsed() < PATIENCE, "{} {}", source(), served.running.log());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(source()["last_failure"]["reason"].to_string().contains("orders: it is another table"), "{}", source());
    stop(served.running);
}

/// Copies a folder with all it has.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied")),
        }
    }
}

#[test]
fn a_state_that_was_put_back_is_not_taken_for_the_newest() {
    let Some((shop, database, mut client)) = shop_in_database() else { return };
    let config = configured(&shop, &database, "");
    let (state, kept) = (shop.output().join(".millstream/state"), shop.path("kept"));
    stop(start(&shop, &config).running);
    copy(&state, &kept);
    let served = start(&shop, &config);
    client.batch_execute("DELETE FROM orders WHERE order_id = 7").expect("deleted");
    await_commits(&served, &mut client);
    // The server is told once a second.
    let position = served.get("/v1/sources").expect(200).json()["sources"][0]["offset"].clone();
    let position = position.as_str().expect("a position");
    let confirmed = &format!("SELECT confirmed_flush_lsn >= '{position}' FROM pg_replication_slots");
    let started = Instant::now();
    while !client.query_one(confirmed, &[]).expect("a slot").get::<_, bool>(0) {
        assert!(started.elapsed() < PATIENCE, "{}", served.get("/v1/sources").text());
        thread::sleep(Duration::from_millis(20));
    }
    stop(served.running);
    std::fs::remove_dir_all(&state).expect("removed");
    copy(&kept, &state);
    let served = start(&shop, &config);
    let source = || served.get("/v1/sources").expect(200).json()["sources"][0].clone();
    let started = Instant::now();
    while source()["state"] != "lost" {
        assert!(started.elapsed() < PATIENCE, "{} {}", source(), served.running.log());
        thread::sleep(Duration::from_millis(5));
    }
    assert!(source()["last_failure"]["reason"].to_string().contains("the state is an older copy"), "{}", source());
    stop(served.running);
}

#[test]
fn what_can_not_be_used_is_said_at_the_start() {
    let Some((shop, database, mut client)) = shop_in_database() else { return };
    client
        .batch_execute(
            "CREATE TABLE others (order_id bigint PRIMARY KEY, total text); CREATE TABLE loose (LIKE customers);
             CREATE PUBLICATION others FOR TABLE others, loose;
             CREATE PUBLICATION partial FOR TABLE orders, products, customers WITH (publish = 'insert')",
        )
        .expect("made");
    client.execute("SELECT pg_create_logical_replication_slot('taken', 'pgoutput')", &[]).expect("made");
    let url = database.url();
    let start = |keys: &str| {
        let path = shop.path("config.yaml");
        std::fs::write(&path, format!("sources: [{{name: db, type: postgres, {keys}}}]\n")).expect("written");
        finish(service(&shop, &["--config", &path.display().to_string()]))
    };
    let with = |more: &str| format!("url: \"{url}\", {more}");
    for (keys, status, words) in [
        ("publication: shop, tables: {orders: orders}".to_owned(), 2, "sources: db: url: wanted the URL of a database"),
        (with("tables: {orders: orders}"), 2, "sources: db: publication: wanted its name"),
        (with("publication: shop"), 2, "sources: db: tables: wanted at least one"),
        (with("publication: shop, tables: {sales: sales}"), 2, "tables: sales is none of orders, products, customers"),
        (
            with(&format!("publication: shop, slot: A-b, {TABLES}")),
            2,
            "slot: found A-b, wanted at most 63 of a-z, 0-9 and _",
        ),
        (
            with(&format!("publication: none, {TABLES}")),
            2,
            "publication none has no table public.customers; wanted it there: CREATE PUBLICATION none",
        ),
        (
            with(&format!("publication: partial, {TABLES}")),
            2,
            "publication partial leaves changes out; wanted ALTER PUBLICATION",
        ),
        (with(&format!("publication: shop, slot: taken, {TABLES}")), 1, "there is a slot taken already"),
        (with("publication: others, tables: {orders: others}"), 3, "public.others: no column customer_id"),
        (
            with("publication: others, tables: {customers: loose}"),
            2,
            "column customer_id is not part of the replica identity of public.loose; wanted a primary key with it",
        ),
        (
            with(&format!("publication: shop, {TABLES}")).replace("postgres@", "nobody@"),
            2,
            "role \"nobody\" does not exist",
        ),
    ] {
        std::fs::create_dir_all(shop.input()).expect("a folder");
        shop.copy_golden("orders", "orders.csv");
        shop.copy_golden("products", "products.csv");
        shop.copy_golden("customers", "customers.csv");
        check(&start(&keys), status, &[words]);
    }
    let path = shop.path("config.yaml");
    std::fs::write(
        &path,
        format!("sources: [{{name: db, type: postgres, url: \"{url}\", publication: shop, {TABLES}}}]\n"),
    )
    .expect("written");
    let mut checked = command(&["check", "--config", &path.display().to_string()]);
    checked.arg("--output").arg(shop.output());
    let checked = finish(checked);
    assert_eq!(checked.status, 0, "{checked:?}");
    assert!(checked.stdout.contains("ok    source db: public.orders can be read: a row was read"), "{checked:?}");
    assert!(checked.stdout.contains("millstream_db is made at the first start"), "{checked:?}");
    let slots =
        client.query_one("SELECT count(*) FROM pg_replication_slots WHERE slot_name <> 'taken'", &[]).expect("a row");
    assert_eq!(slots.get::<_, i64>(0), 0, "no slot is left behind");
}
