//! SQL over the live tables, by a client over the network.

mod files;
mod served;
mod sql_catalog;
mod sql_command;
mod sql_language;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use files::processes::Running;
use files::serving::{PATIENCE, service, shop_with_folder, stop};
use files::{Shop, check, finish};
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, Config, IsolationLevel, NoTls, SimpleQueryMessage};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use served::{IsOver, PEN, Served, TABLES, order, pen};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A service that also speaks PostgreSQL's protocol.
fn start(shop: &Shop, args: &[&str]) -> Served {
    Served::start(shop, &[&["--postgres", "127.0.0.1:0"], args].concat())
}

fn port(running: &Running) -> u16 {
    let log = running.log();
    let address = log.split("PostgreSQL clients at ").nth(1).and_then(|rest| rest.split_whitespace().next());
    address.and_then(|address| address.rsplit(':').next()).and_then(|port| port.parse().ok()).expect("a port")
}

fn config(served: &Served) -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port(&served.running)).user("me").dbname("millstream");
    config
}

fn connect(served: &Served) -> Client {
    config(served).connect(NoTls).expect("connected")
}

/// The rows of a query, each value as a text.
fn texts(client: &mut Client, query: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(query).unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|place| row.get(place).map(str::to_owned)).collect()),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// The one value of a query.
fn value(client: &mut Client, query: &str) -> String {
    let rows = texts(client, query);
    rows.into_iter().flatten().next().flatten().unwrap_or_else(|| panic!("{query} has no value"))
}

/// The code and the words that a query is refused with.
fn refused(client: &mut Client, query: &str) -> (String, String) {
    let error = client.simple_query(query).expect_err(query);
    let error = error.as_db_error().unwrap_or_else(|| panic!("{query}: {error:?}"));
    let hint = error.hint().unwrap_or_default();
    (error.code().code().to_owned(), format!("{} {hint}", error.message()))
}

/// A number as it is printed here: there may be other ways.
fn comparable(text: &str) -> String {
    text.parse::<f64>().map_or_else(|_| text.to_owned(), |number| number.to_string())
}

#[test]
fn every_table_has_the_rows_that_are_served() {
    let shop = Shop::generated("0.002");
    let served = start(&shop, &["--as-of", "2024-12-31"]);
    let mut client = connect(&served);
    for (table, key) in TABLES {
        let of_csv = |text: &str| {
            let mut rows = csv::Reader::from_reader(text.as_bytes());
            let head: Vec<_> = rows.headers().expect("a header").iter().map(str::to_owned).collect();
            let row = |row: csv::StringRecord| row.iter().map(comparable).collect::<Vec<_>>();
            (head, rows.records().map(|record| row(record.expect("a row"))).collect::<Vec<_>>())
        };
        let wanted = of_csv(&served.get(&format!("/v1/tables/{table}?format=csv")).expect(200).text());
        let query = format!(
            "COPY (SELECT * FROM shop.{table} ORDER BY {} NULLS FIRST) TO STDOUT WITH (FORMAT csv, HEADER)",
            key.join(", ")
        );
        let mut found = String::new();
        client.copy_out(&query).expect("copied").read_to_string(&mut found).expect("read");
        let found = of_csv(&found);
        let other = found.1.iter().zip(&wanted.1).find(|(found, wanted)| found != wanted);
        assert!(other.is_none() && found.0 == wanted.0 && found.1.len() == wanted.1.len(), "{table}: {other:?}");
        assert_eq!(value(&mut client, &format!("SELECT count(*) FROM {table}")), wanted.1.len().to_string());
    }
    stop(served.running);
}

/// What is asked of keys is found by them, and is the same as when all rows are looked at.
#[test]
fn ranges_of_keys_lose_no_row() {
    let shop = Shop::generated("0.002");
    let served = start(&shop, &["--as-of", "2024-12-31"]);
    let mut client = connect(&served);
    for filter in [
        "customer_id = 5",
        "5 = customer_id AND rank = 2",
        "customer_id IN (3, 5, 5, 90, 1000000)",
        "customer_id = 7 OR customer_id = 5",
        "customer_id IN (1, 2, 3, 4, 5, 6, 7, 8) AND rank IN (1, 3) AND rank < 3",
        "customer_id = 5 AND rank BETWEEN 2 AND 4",
        "customer_id > 20 AND customer_id <= 25",
        "customer_id >= 20 AND customer_id < 25 AND rank = 1",
        "customer_id = 5 AND customer_id = 7",
        "customer_id = 5 OR rank = 1",
        "NOT customer_id = 5",
        "customer_id NOT IN (5, 7)",
        "customer_id IS NULL",
        "customer_id = 5.0",
        "customer_id + 1 = 6",
    ] {
        let select = |filter: &str| {
            let table = "SELECT customer_id, rank, product_id FROM customer_product_matrix";
            format!("{table} WHERE {filter} ORDER BY customer_id, rank, product_id")
        };
        // Of an expression, nothing is known before it is computed.
        let hidden = filter.replace("customer_id", "(customer_id + 0)").replace("rank", "(rank + 0)");
        assert_eq!(texts(&mut client, &select(filter)), texts(&mut client, &select(&hidden)), "{filter}");
    }
    let by_day = "SELECT count(*) FROM daily_sales WHERE order_date BETWEEN '1995-01-01' AND '1995-12-31'";
    let by_text = by_day.replace("order_date", "CAST(order_date AS text)");
    assert_eq!(value(&mut client, by_day), value(&mut client, &by_text));
    let plan = |client: &mut Client, query: &str| format!("{:?}", texts(client, &format!("EXPLAIN {query}")));
    let ordered =
        plan(&mut client, "SELECT * FROM customer_product_matrix ORDER BY customer_id NULLS FIRST, rank NULLS FIRST");
    assert!(!ordered.contains("SortExec"), "{ordered}");
    stop(served.running);
}

#[test]
fn a_transaction_reads_one_epoch_while_orders_arrive() {
    let shop = shop_with_folder();
    let served = start(&shop, &[]);
    served.post_json("products", &json!([pen()])).expect(200);
    served.post_json("orders", &json!([order(1, 1, PEN, "2024-03-05", 1)])).expect(200);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (poster, over) = (&served, &is_over);
        scope.spawn(move || {
            for quantity in 1.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let day = format!("2024-03-{:02}", 1 + quantity % 28);
                poster.post_json("orders", &json!([order(1, 1, PEN, &day, quantity)])).expect(200);
            }
        });
        let _over = IsOver(&is_over);
        let mut client = connect(&served);
        let mut epochs = BTreeMap::new();
        let epoch = "SELECT epoch FROM millstream.epochs WHERE is_read";
        let sums = [
            "SELECT sum(daily_revenue) FROM daily_sales",
            "SELECT sum(total_revenue) FROM product_sales",
            "SELECT sum(total_spent) FROM customer_patterns",
        ];
        let started = Instant::now();
        while epochs.len() < 40 {
            assert!(started.elapsed() < PATIENCE, "{} epochs", epochs.len());
            let mut transaction = client.transaction().expect("begun");
            let read = |transaction: &mut postgres::Transaction, query: &str| {
                let messages = transaction.simple_query(query).expect(query);
                let SimpleQueryMessage::Row(row) = &messages[1] else { panic!("{messages:?}") };
                row.get(0).expect("a value").to_owned()
            };
            // What is looked up is of the newest epoch, so it comes first.
            let enriched = read(&mut transaction, "SELECT count(*) FROM enriched_data WHERE customer_id = 1");
            let first = read(&mut transaction, epoch);
            for _ in 0..2 {
                let found = sums.iter().map(|sum| read(&mut transaction, sum)).collect::<Vec<_>>();
                assert_eq!(read(&mut transaction, epoch), first);
                let known = epochs.entry(first.clone()).or_insert_with(|| found.clone());
                assert_eq!(*known, found);
            }
            assert_ne!(enriched, "0");
            transaction.commit().expect("committed");
            // Tables of one statement are of one epoch, too, with what is looked up.
            let both = "SELECT (SELECT total_orders FROM customer_patterns WHERE customer_id = 1) AS a, count(*), \
                        (SELECT sum(total_spent) FROM customer_patterns WHERE customer_id = 1) AS b, sum(total_amount) \
                        FROM enriched_data WHERE customer_id = 1";
            let row = &texts(&mut client, both)[0];
            assert_eq!((&row[0], &row[2]), (&row[1], &row[3]), "{row:?}");
        }
    });
    // A transaction that has read an older epoch is not given rows of a newer one.
    let mut client = connect(&served);
    let mut transaction =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().expect("begun");
    transaction.simple_query("SELECT count(*) FROM daily_sales").expect("read");
    served.post_json("orders", &json!([order(2, 1, PEN, "2024-03-05", 1)])).expect(200);
    let error = transaction.simple_query("SELECT * FROM enriched_data WHERE order_id = 2").expect_err("refused");
    assert_eq!(error.code().map(|code| code.code().to_owned()).as_deref(), Some("40001"));
    stop(served.running);
}

#[test]
fn enriched_data_is_looked_up_by_what_is_asked() {
    let shop = shop_with_folder();
    let served = start(&shop, &[]);
    served.post_json("products", &json!([pen()])).expect(200);
    let orders: Vec<_> =
        (1..=60).map(|id| order(id, id % 5, PEN, &format!("2024-03-{:02}", 1 + id % 28), id)).collect();
    served.post_json("orders", &json!(orders)).expect(200);
    let mut client = connect(&served);
    let of = |filter: &str| format!("SELECT count(*), sum(quantity) FROM enriched_data WHERE {filter}");
    for (filter, wanted) in [
        ("order_id = 7", (1, 7)),
        ("order_id IN (7, 8, 900)", (2, 15)),
        ("customer_id = 3 AND product_id = 900", (12, 366)),
        ("order_date = '2024-03-02'", (3, 1 + 29 + 57)),
        ("order_date >= '2024-03-02' AND order_date < '2024-03-04'", (6, 87 + 90)),
        ("order_date BETWEEN '2024-03-02' AND '2024-03-03' AND quantity > 50", (2, 57 + 58)),
        ("product_id = 900", (60, 1830)),
        ("order_id = 7 AND order_id = 8", (0, 0)),
    ] {
        let row = &texts(&mut client, &of(filter))[0];
        let number = |text: &Option<String>| text.as_ref().map_or(0, |text| text.parse().expect("a number"));
        assert_eq!((number(&row[0]), number(&row[1])), wanted, "{filter}");
    }
    for (query, code, words) in [
        ("SELECT count(*) FROM enriched_data", "0A000", "Compare order_id, customer_id, product_id or order_date"),
        ("SELECT * FROM enriched_data WHERE quantity = 7", "0A000", "does not say which rows it wants"),
        ("SELECT * FROM enriched_data WHERE order_id = 7 OR quantity = 1", "0A000", "does not say"),
        ("SELECT * FROM enriched_data WHERE order_date > '2024-03-02'", "0A000", "does not say"),
    ] {
        let (found, message) = refused(&mut client, query);
        assert!(found == code && message.contains(words), "{query}: {found} {message}");
    }
    stop(served.running);
}

#[test]
fn nothing_can_be_changed() {
    let shop = shop_with_folder();
    let served = start(&shop, &[]);
    let mut client = connect(&served);
    let before = texts(&mut client, "SELECT * FROM daily_sales");
    let file = shop.path("of_a_client").display().to_string();
    for (query, code) in [
        ("INSERT INTO daily_sales VALUES ('2024-01-01', 1, 1, 1)", "25006"),
        ("UPDATE daily_sales SET daily_revenue = 0", "25006"),
        ("DELETE FROM daily_sales", "25006"),
        ("TRUNCATE daily_sales", "25006"),
        ("CREATE TABLE a AS SELECT 1", "25006"),
        ("CREATE SCHEMA a", "25006"),
        ("CREATE EXTERNAL TABLE a STORED AS CSV LOCATION '/etc/passwd'", "42601"),
        ("DROP TABLE daily_sales", "25006"),
        ("SELECT 1 AS a INTO b", "25006"),
        ("COPY daily_sales FROM STDIN", "25006"),
        (&format!("COPY daily_sales TO '{file}'"), "25006"),
        (&format!("COPY (SELECT 1) TO PROGRAM 'touch {file}'"), "25006"),
        ("EXPLAIN ANALYZE INSERT INTO daily_sales VALUES ('2024-01-01', 1, 1, 1)", "25006"),
        ("PREPARE p AS DELETE FROM daily_sales", "25006"),
        ("SET datafusion.runtime.memory_limit = '100G'", "42501"),
        ("SELECT * FROM '/etc/passwd'", "42P01"),
        ("SELECT * FROM read_csv('/etc/passwd')", "42883"),
    ] {
        let (found, message) = refused(&mut client, query);
        assert_eq!(found, code, "{query}: {message}");
        // Nor by the extended protocol.
        let extended = client.query(query, &[]).expect_err(query);
        let extended = extended.as_db_error().map(|error| error.code().code().to_owned());
        assert_eq!(extended.as_deref(), Some(code), "{query}");
    }
    assert!(!shop.path("of_a_client").exists());
    assert_eq!(texts(&mut client, "SELECT * FROM daily_sales"), before);
    stop(served.running);
}

#[test]
fn statements_end_in_time_and_when_cancelled() {
    let shop = Shop::generated("0.005");
    let served = start(&shop, &["--as-of", "2024-12-31"]);
    let mut client = connect(&served);
    let endless = "SELECT count(*) FROM customer_product_matrix a, customer_product_matrix b, \
                   customer_product_matrix c WHERE a.rank + b.rank + c.rank = 4";
    client.batch_execute("SET statement_timeout = '200ms'").expect("set");
    let (code, message) = refused(&mut client, endless);
    assert!(code == "57014" && message.contains("statement timeout"), "{code} {message}");
    client.batch_execute("SET statement_timeout = 0").expect("set");
    let cancel = client.cancel_token();
    let cancelling = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        cancel.cancel_query(NoTls).expect("sent");
    });
    let (code, message) = refused(&mut client, endless);
    assert!(code == "57014" && message.contains("user request"), "{code} {message}");
    cancelling.join().expect("cancelled");
    // Rows that nobody takes any more are not looked for.
    let many = "SELECT a.rank FROM customer_product_matrix a, customer_product_matrix b";
    let cancel = client.cancel_token();
    let mut rows = client.query_raw(many, &[] as &[&str]).expect("begun");
    assert!(rows.next().expect("a row").is_some());
    let mut taken = 0_u64;
    thread::spawn(move || cancel.cancel_query(NoTls).expect("sent"));
    let code = loop {
        match rows.next() {
            Ok(Some(_)) => taken += 1,
            Ok(None) => panic!("it was not cancelled: {taken} rows"),
            Err(error) => break error.code().map(|code| code.code().to_owned()),
        }
    };
    assert_eq!(code.as_deref(), Some("57014"));
    drop(rows);
    assert_eq!(value(&mut client, "SELECT 1"), "1");
    stop(served.running);
}

/// A transaction that is left open is ended: it holds what has changed since it began. A session may wait, also if its
/// last statement has failed.
#[test]
fn a_transaction_that_waits_for_its_client_is_ended() {
    let shop = shop_with_folder();
    let config = shop.path("config.yaml");
    fs::write(&config, "serve: {query_timeout: 1s}").expect("written");
    let served = start(&shop, &["--config", config.to_str().expect("UTF-8")]);
    let (mut idle, mut waiting) = (connect(&served), connect(&served));
    let _ = refused(&mut idle, "SELECT 1 / (count(*) - count(*)) FROM daily_sales");
    assert_eq!(value(&mut idle, "SELECT 1"), "1");
    let _ = refused(&mut idle, "SELECT 1 / (count(*) - count(*)) FROM daily_sales");
    waiting.batch_execute("BEGIN; SELECT count(*) FROM daily_sales").expect("begun");
    let begun = Instant::now();
    while !served.running.log().contains("its transaction was idle") {
        assert!(begun.elapsed() < PATIENCE, "{}", served.running.log());
        thread::sleep(Duration::from_millis(10));
    }
    assert!(waiting.batch_execute("SELECT 1").is_err());
    assert_eq!(value(&mut idle, "SELECT 1"), "1");
    stop(served.running);
}

#[test]
fn what_is_subscribed_to_is_the_table() {
    let shop = shop_with_folder();
    let served = start(&shop, &[]);
    served.post_json("products", &json!([pen()])).expect(200);
    let mut follower = connect(&served);
    let cancel = follower.cancel_token();
    let rows =
        follower.copy_out("COPY (SUBSCRIBE daily_sales) TO STDOUT WITH (FORMAT csv, HEADER, PROGRESS)").expect("begun");
    let mut lines = BufReader::new(rows).lines();
    assert_eq!(lines.next().expect("a header").expect("read").split(',').next(), Some("epoch"));
    let mut last = 0;
    for quantity in 1..=20_u64 {
        let day = format!("2024-02-{:02}", 1 + quantity % 3);
        last = served.post_json("orders", &json!([order(1, 1, PEN, &day, quantity)])).expect(200).epoch();
    }
    let mut client = connect(&served);
    let mut now = String::new();
    let query = "COPY daily_sales TO STDOUT WITH (FORMAT csv)";
    client.copy_out(query).expect("copied").read_to_string(&mut now).expect("read");
    let wanted: BTreeMap<_, _> = now.lines().map(|row| (row.to_owned(), 1_i64)).collect();
    // Whatever goes wrong, it ends.
    let (done, is_done) = mpsc::channel::<()>();
    let watch = thread::spawn(move || is_done.recv_timeout(PATIENCE).err().map(|_| cancel.cancel_query(NoTls)));
    let (mut table, mut seen): (BTreeMap<String, i64>, u64) = Default::default();
    while seen < last || table != wanted {
        let line = lines.next().expect("a line").expect("read");
        let (epoch, rest) = line.split_once(',').expect("an epoch");
        let (diff, row) = rest.split_once(',').expect("a diff");
        let epoch: u64 = epoch.parse().expect("a number");
        assert!(epoch >= seen);
        seen = epoch;
        if diff == "0" {
            continue;
        }
        *table.entry(row.to_owned()).or_default() += diff.parse::<i64>().expect("a number");
        table.retain(|_, weight| *weight != 0);
    }
    done.send(()).expect("watched");
    watch.join().expect("watched");
    // It goes on from an epoch that is kept, and says so of one that is not.
    let (code, message) = refused(&mut client, "COPY (SUBSCRIBE daily_sales SINCE 1000000) TO STDOUT");
    assert!(code == "55000" && message.contains("subscribe again"), "{code} {message}");
    stop(served.running);
}

#[test]
fn only_who_knows_the_token_connects_also_by_tls() {
    let shop = shop_with_folder();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (shop.path("cert.pem"), shop.path("key.pem"));
    fs::write(&cert, made.cert.pem()).expect("written");
    fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let serve = format!(
        "serve: {{listen: '127.0.0.1:0', postgres: '127.0.0.1:0', token: sesame, tls: {{cert: '{}', key: '{}'}}}}",
        cert.display(),
        key.display()
    );
    fs::write(shop.path("config.yaml"), serve).expect("written");
    let mut running = Running::start(service(&shop, &["--config", &shop.path("config.yaml").display().to_string()]));
    running.await_line("live at epoch");
    let mut config = Config::new();
    config.host("localhost").port(port(&running)).user("anybody").dbname("any");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert.der().to_vec())).expect("a root");
    let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let tls = tls.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots);
    let tls = MakeRustlsConnect::new(tls.with_no_client_auth());
    for password in ["", "open", "sesame "] {
        let error = config.clone().password(password).connect(tls.clone()).err().expect("refused");
        let code = error.code().map(|code| code.code().to_owned());
        assert!(code.is_none_or(|code| code == "28P01"), "{error:?}");
    }
    let mut client =
        config.clone().password("sesame").ssl_mode(postgres::config::SslMode::Require).connect(tls).expect("in");
    assert_eq!(value(&mut client, "SELECT count(*) >= 0 FROM daily_sales"), "t");
    drop(client);
    let plain = config.ssl_mode(postgres::config::SslMode::Disable).connect(NoTls).err().expect("refused");
    assert_eq!(plain.code().map(|code| code.code().to_owned()).as_deref(), Some("28000"));
    stop(running);
    // What others can reach has a token.
    let open = service(&shop, &["--listen", "127.0.0.1:0", "--postgres", "0.0.0.0:0"]);
    check(&finish(open), 2, &["serve.postgres: found 0.0.0.0:0, which others can reach, and no token"]);
    let alone = service(&shop, &["--postgres", "127.0.0.1:0"]);
    check(&finish(alone), 2, &["serve.postgres: it needs an address of HTTP, too"]);
}

#[test]
fn http_answers_queries() {
    let shop = shop_with_folder();
    let served = start(&shop, &[]);
    served.post_json("products", &json!([pen()])).expect(200);
    let epoch = served.post_json("orders", &json!([order(1, 1, PEN, "2024-02-01", 3)])).expect(200).epoch();
    let query = "select%20order_date%2C%20count(*)%20from%20daily_sales%20\
                 where%20order_date%20%3D%20%272024-02-01%27%20group%20by%201";
    let answer = served.get(&format!("/v1/sql?q={query}")).expect(200);
    assert_eq!(answer.epoch(), epoch);
    assert_eq!(answer.json()["rows"], json!([{ "order_date": "2024-02-01", "count": 1 }]));
    assert_eq!(
        served.get(&format!("/v1/sql?q={query}&format=csv")).expect(200).text(),
        "order_date,count\n2024-02-01,1\n"
    );
    for format in ["jsonl", "arrow", "parquet"] {
        assert!(!served.get(&format!("/v1/sql?q={query}&format={format}")).expect(200).body.is_empty());
    }
    for (query, words) in [
        ("selec", "found: selec"),
        ("", "there is no query"),
        ("drop%20table%20daily_sales", "that is not a query"),
        ("set%20a%20%3D%201", "that is not a query"),
        ("select%201%3B%20select%202", "found 2 statements, wanted one"),
        ("select%20*%20from%20enriched_data", "Compare order_id"),
        ("select%20*%20from%20none", "relation \"shop.none\" does not exist"),
    ] {
        let problem = served.get(&format!("/v1/sql?q={query}")).expect(400).json();
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(words)), "{query}: {problem}");
    }
    served.get("/v1/sql").expect(400);
    served.get("/v1/sql?q=select%201&format=none").expect(400);
    stop(served.running);
}
