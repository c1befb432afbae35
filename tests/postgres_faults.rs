//! A database that is followed, and delivered to, while the service is killed, the server is killed, and the network
//! between them breaks or stands still.

mod database;
mod files;
mod network;
mod served;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use database::Database;
use fastrand::Rng;
use files::Shop;
use files::processes::Running;
use files::serving::{PATIENCE, service, stop};
use network::Proxy;
use postgres::Client;
use served::IsOver;

/// A shop whose orders all have a product, a customer, a day and an amount.
const SHOP: &str = "
    CREATE TABLE products (product_id bigint PRIMARY KEY, category text, price numeric(12,4));
    CREATE TABLE customers (customer_id bigint PRIMARY KEY);
    CREATE TABLE orders (order_id bigint PRIMARY KEY, customer_id bigint, product_id bigint, order_date date,
        quantity integer, discount numeric(5,4));
    INSERT INTO products SELECT id, 'Category ' || id % 3, id * 1.25 FROM generate_series(0, 20) AS id;
    INSERT INTO customers SELECT generate_series(0, 30);
    INSERT INTO orders SELECT id, 1 + id % 30, 1 + id % 20,
        '2024-01-01'::date + (id % 80)::int, 1 + id % 5, id % 4 / 20.0
        FROM generate_series(1, 300) AS id;
    CREATE PUBLICATION shop FOR TABLE orders, products, customers;
";

/// What the delivered tables must have, computed by the server from the tables that are followed.
const DEFINITIONS: [(&str, &str); 3] = [
    (
        "daily_sales",
        "SELECT order_date, round(sum(amount), 8), count(DISTINCT customer_id) FROM amounts GROUP BY order_date",
    ),
    (
        "product_sales",
        "SELECT product_id, round(sum(amount), 8), sum(quantity)::bigint FROM amounts GROUP BY product_id",
    ),
    ("customer_patterns", "SELECT customer_id, round(sum(amount), 8), count(*) FROM amounts GROUP BY customer_id"),
];

const DELIVERED: [&str; 3] = [
    "SELECT order_date, round(daily_revenue::numeric, 8), daily_customers FROM shop.daily_sales",
    "SELECT product_id, round(total_revenue::numeric, 8), total_quantity FROM shop.product_sales",
    "SELECT customer_id, round(total_spent::numeric, 8), total_orders FROM shop.customer_patterns",
];

/// Statements of a transaction.
fn transaction(random: &mut Rng) -> String {
    let mut statements = "BEGIN;\n".to_owned();
    for _ in 0..random.u8(1..5) {
        let (id, other) = (random.u64(1..330), random.u64(1..330));
        let (customer, product, day) = (random.u64(1..31), random.u64(1..21), random.u64(1..29));
        let _ = match random.u8(..8) {
            0..4 => writeln!(
                statements,
                "INSERT INTO orders VALUES ({id}, {customer}, {product}, '2024-03-{day:02}', {}, 0.1)
                 ON CONFLICT (order_id) DO UPDATE SET quantity = orders.quantity % 100 + 1;",
                random.u8(1..9)
            ),
            4 => writeln!(statements, "UPDATE orders SET customer_id = {customer} WHERE order_id = {id};"),
            5 => writeln!(
                statements,
                "UPDATE orders SET order_id = {other} WHERE order_id = {id}
                 AND NOT EXISTS (SELECT FROM orders WHERE order_id = {other});"
            ),
            6 => writeln!(statements, "DELETE FROM orders WHERE order_id = {id};"),
            _ => {
                writeln!(statements, "UPDATE products SET price = (price * 7) % 900 + 1 WHERE product_id = {product};")
            }
        };
    }
    statements + "COMMIT;"
}

/// A client, once the server takes one.
fn client_of(database: &Database) -> Client {
    let started = Instant::now();
    loop {
        match Client::connect(&database.url(), postgres::NoTls) {
            Ok(client) => return client,
            Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until what was committed up to now is delivered, and compares the tables with their definitions.
fn check_delivered(database: &Database, running: &Running, round: u64) {
    let mut client = client_of(database);
    let marker = format!(
        "INSERT INTO orders VALUES (0, 0, 1, '2024-01-01', {round}, 0)
         ON CONFLICT (order_id) DO UPDATE SET quantity = {round}"
    );
    client.batch_execute(&marker).expect("marked");
    let is_there = "SELECT EXISTS (SELECT FROM shop.customer_patterns WHERE customer_id = 0 AND total_spent::numeric =
                    (SELECT price * $1::int FROM products WHERE product_id = 1))";
    let (started, quantity) = (Instant::now(), i32::try_from(round).expect("few rounds"));
    while !client.query_one(is_there, &[&quantity]).expect("an answer").get::<_, bool>(0) {
        assert!(started.elapsed() < PATIENCE, "round {round}: {}", running.log());
        thread::sleep(Duration::from_millis(5));
    }
    let amounts = "WITH amounts AS (SELECT o.*, price * quantity * (1 - discount) AS amount
                   FROM orders o JOIN products USING (product_id))";
    for ((table, definition), delivered) in DEFINITIONS.iter().zip(DELIVERED) {
        let difference = format!(
            "{amounts}, wanted AS ({definition}), found AS ({delivered})
             SELECT count(*) FROM ((TABLE wanted EXCEPT TABLE found)
             UNION ALL (TABLE found EXCEPT TABLE wanted)) AS other"
        );
        let others: i64 = client.query_one(&difference, &[]).expect("a count").get(0);
        assert_eq!(others, 0, "{table} in round {round}: {}", running.log());
    }
}

/// Writes a config file that follows and delivers over two networks.
fn configured(shop: &Shop, database: &Database, [near, far]: [&Proxy; 2]) -> PathBuf {
    let url = |proxy: &Proxy| database.url().replace(&database.port().to_string(), &proxy.port.to_string());
    let tables = "tables: {orders: orders, products: products, customers: customers}";
    let config = format!(
        "sources: [{{name: db, type: postgres, url: \"{}\", publication: shop, {tables}}}]\n\
         sinks: [{{name: bi, type: postgres, url: \"{}\", tables: [daily_sales, product_sales, customer_patterns]}}]\n",
        url(near),
        url(far)
    );
    let path = shop.path("config.yaml");
    std::fs::write(&path, config).expect("written");
    path
}

/// `MILLSTREAM_KILLS` says how many rounds there are.
#[test]
fn no_transaction_is_lost_and_none_is_there_in_part_whatever_fails() {
    let Some(database) = Database::start() else { return };
    let rounds = std::env::var("MILLSTREAM_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(12_u64);
    client_of(&database).batch_execute(SHOP).expect("a shop");
    let (shop, mut random) = (Shop::empty(), Rng::with_seed(rounds));
    let (near, far) = (Proxy::to(database.port()), Proxy::to(database.port()));
    let path = configured(&shop, &database, [&near, &far]);
    let start = || {
        let mut running = Running::start(service(&shop, &["--config", &path.display().to_string()]));
        running.await_line("live at epoch");
        running
    };
    let (is_over, committed) = (AtomicBool::new(false), AtomicU64::new(0));
    // Held while the marker is written and the tables are compared: a comparison wants nothing to change meanwhile.
    let writing = Mutex::new(());
    let mut kinds = [0_u64; 4];
    thread::scope(|scope| {
        for seed in 0..2 {
            let (database, is_over, committed, writing) = (&database, &is_over, &committed, &writing);
            scope.spawn(move || {
                let (mut client, mut random) = (client_of(database), Rng::with_seed(seed));
                while !is_over.load(Ordering::Relaxed) {
                    let turn = writing.lock().unwrap_or_else(PoisonError::into_inner);
                    match client.batch_execute(&transaction(&mut random)) {
                        Ok(()) => drop(committed.fetch_add(1, Ordering::Relaxed)),
                        // A deadlock, or the server is gone.
                        Err(_) if client.is_closed() => client = client_of(database),
                        Err(_) => drop(client.batch_execute("ROLLBACK")),
                    }
                    drop(turn);
                    thread::sleep(Duration::from_millis(random.u64(..4)));
                }
            });
        }
        let over = IsOver(&is_over);
        let mut running = start();
        for round in 1..=rounds {
            thread::sleep(Duration::from_millis(random.u64(..300)));
            let kind = random.usize(..kinds.len());
            kinds[kind] += 1;
            let time = Duration::from_millis(random.u64(10..400));
            match kind {
                0 => {
                    running.kill();
                    running.end();
                    running = start();
                }
                1 => {
                    let turn = writing.lock().unwrap_or_else(PoisonError::into_inner);
                    database.kill();
                    database.begin();
                    drop(turn);
                }
                2 => [&near, &far][random.usize(..2)].cut(time),
                _ => [&near, &far][random.usize(..2)].stand_still(time),
            }
            if round % 4 == 0 || round == rounds {
                let turn = writing.lock().unwrap_or_else(PoisonError::into_inner);
                check_delivered(&database, &running, round);
                drop(turn);
            }
        }
        drop(over);
        stop(running);
    });
    let [kills, server, cuts, stalls] = kinds;
    let committed = committed.into_inner();
    println!("{committed} transactions, {kills} kills, {server} of the server, {cuts} cuts, {stalls} standstills");
}
