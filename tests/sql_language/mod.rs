//! What PostgreSQL's language means here, and what is refused.

use std::fs;
use std::io::Read;

use postgres::Client;
use postgres::types::Type;
use serde_json::json;

use crate::files::Shop;
use crate::files::serving::{shop_with_folder, stop};
use crate::served::{PEN, order, pen};
use crate::{connect, refused, start, texts, value};

#[test]
fn errors_have_the_codes_of_postgresql_and_end_no_session() {
    let shop = shop_with_folder();
    let served = start(&shop, &[]);
    let mut client = connect(&served);
    for (query, code, words) in [
        ("SELEC 1", "42601", "found: SELEC"),
        ("SELECT 1; SELEC 2", "42601", "found: SELEC"),
        ("SELECT none FROM daily_sales", "42703", "none"),
        ("SELECT * FROM none", "42P01", "relation \"shop.none\" does not exist Tables are in the schemas shop and"),
        ("SELECT none(1)", "42883", "none"),
        ("SELECT 1 / 0", "22012", "zero"),
        ("SELECT CAST('x' AS int)", "22P02", "'x'"),
        ("SELECT to_char(order_date, 'YYYY Q') FROM daily_sales", "0A000", "to_char"),
        ("COPY (SELECT 1) TO STDOUT WITH (FORMAT xml)", "0A000", "Wanted FORMAT binary, or text"),
        ("SELECT 'a' SIMILAR TO 'a'", "0A000", "Wanted LIKE"),
        ("COPY (SUBSCRIBE none) TO STDOUT", "42P01", "none"),
        ("COPY (SUBSCRIBE daily_sales) TO somewhere", "42601", "wanted COPY (SUBSCRIBE table"),
    ] {
        let (found, message) = refused(&mut client, query);
        assert!(found == code && message.contains(words), "{query}: {found} {message}");
        assert_eq!(value(&mut client, "SELECT 1"), "1");
    }
    // In a transaction, an error ends it, unless it goes back to a savepoint.
    client.batch_execute("BEGIN; SAVEPOINT a").expect("begun");
    assert_eq!(refused(&mut client, "SELECT none").0, "42703");
    assert_eq!(refused(&mut client, "SELECT 1").0, "25P02");
    client.batch_execute("ROLLBACK TO SAVEPOINT a").expect("gone back");
    assert_eq!(value(&mut client, "SELECT 1"), "1");
    client.batch_execute("COMMIT").expect("committed");
    assert_eq!(value(&mut client, "SELECT 1"), "1");
    stop(served.running);
}

/// What DataFusion would answer in another way than PostgreSQL, and says nothing.
/// Queries, and their first values.
const ANSWERS: &[(&str, &str)] = &[
    ("SELECT 0.1 + 0.2 = 0.3", "t"),
    ("SELECT 1.10 * 3", "3.30"),
    ("SELECT to_char(DATE '2024-03-05', 'YYYY-MM-DD Mon')", "2024-03-05 Mar"),
    ("SELECT to_char(TIMESTAMP '2024-03-05 07:08:09', 'HH24:MI:SS')", "07:08:09"),
    ("SELECT '50!' LIKE '50!!' ESCAPE '!'", "t"),
    ("SELECT '50\\' LIKE '50!!' ESCAPE '!'", "f"),
    ("SELECT '5%' LIKE '5!%' ESCAPE '!'", "t"),
    ("SELECT '55' LIKE '5!%' ESCAPE '!'", "f"),
    ("SELECT count(*) FROM (SELECT customer_id FROM customer_patterns FETCH FIRST 2 ROWS ONLY) a", "2"),
    ("SELECT count FROM (SELECT count(*) FROM customer_patterns WHERE customer_id < 3) a", "3"),
    ("SELECT 2 = ANY(ARRAY[1, 2])", "t"),
    ("SELECT 'pg_catalog' || ARRAY_TO_STRING(ARRAY[1, 2], ',')", "pg_catalog1,2"),
    ("SELECT version() LIKE 'PostgreSQL 16%'", "t"),
    ("SELECT TIMESTAMPTZ '2024-07-01 12:00:00Z' AT TIME ZONE 'Europe/Berlin'", "2024-07-01 14:00:00"),
    (
        "SELECT date_trunc('hour', TIMESTAMP '2024-01-01 12:30:00' AT TIME ZONE 'america/new_york') \
          AT TIME ZONE 'UTC'",
        "2024-01-01 17:00:00",
    ),
    ("SELECT DATE '2024-07-01' AT TIME ZONE 'Asia/Tokyo'", "2024-07-01 09:00:00"),
    ("SELECT 0.1::float8 * 3, 1e16::float8, 2::float8", "0.30000000000000004"),
    ("SELECT sum(n) FROM (SELECT generate_series(1, 4) AS n) a", "10"),
    ("SELECT substring('width=12' FROM '=([0-9]+)')", "12"),
    ("SELECT array_position(ARRAY[2, 6], 2 * mod(7, 4))", "2"),
    ("SELECT 1e15::float8", "1e+15"),
    ("SELECT 1.5e2", "150"),
    ("SELECT 'typeinfo_tree('", "typeinfo_tree("),
    ("SELECT extract(second FROM TIMESTAMP '2024-01-01 00:00:03.25')", "3.25"),
    (
        "SELECT date_trunc('hour', TIMESTAMP '2024-01-01 10:17:03') + INTERVAL '5 minutes' * \
             floor(extract(minute FROM TIMESTAMP '2024-01-01 10:17:03') / 5)",
        "2024-01-01 10:15:00",
    ),
    ("SELECT true, true::text, true::text", "t"),
    // A name that a column has, too, is that of the column.
    ("SELECT count(*) FROM (SELECT 5 AS count) a GROUP BY count HAVING count > 3", "1"),
    ("SELECT *, rank() OVER (ORDER BY rank) FROM (SELECT 4 AS rank) a", "4"),
    ("SELECT count FROM (SELECT *, count(*) OVER () FROM customer_patterns) a", "3"),
    ("SELECT count(*), customer_id FROM customer_patterns GROUP BY 2 HAVING count(*) > 0 ORDER BY count LIMIT 1", "1"),
    (
        "SELECT 1 AS customer_id, c.customer_id, r.customer_id FROM customer_patterns c JOIN rfm_analysis r \
             ON c.customer_id = r.customer_id",
        "1",
    ),
    ("SELECT sum(g) FROM (SELECT generate_series(1, 3) AS g ORDER BY g DESC LIMIT 2) a", "5"),
    ("SELECT (SELECT count(*)::int FROM pg_catalog.pg_namespace) > 3 FROM pg_catalog.pg_namespace", "t"),
    ("SELECT indkey::varchar FROM pg_catalog.pg_index WHERE indnkeyatts = 2 LIMIT 1", "1 4"),
    ("WITH pg_x AS (SELECT 7 AS a, count(*) FROM pg_catalog.pg_class) SELECT a FROM pg_x", "7"),
    ("SELECT format('%I.%L %s', 'a b', NULL, 7)", "\"a b\".NULL 7"),
    ("SELECT max(n - 5) FROM (SELECT row_number() OVER () AS n FROM customer_patterns) a", "-2"),
    ("SHOW TIME ZONE", "UTC"),
    ("SET timezone = 'Europe/Berlin'; SHOW timezone", "Europe/Berlin"),
    ("RESET timezone; SELECT current_setting('TimeZone')", "UTC"),
    (
        "SELECT string_agg(CAST(n AS text), ',' ORDER BY n) FROM (SELECT (SELECT count(*) FROM \
             customer_product_matrix m WHERE m.customer_id = c.customer_id) AS n FROM customer_patterns c \
             WHERE customer_id IN (0, 1, 2)) a",
        "3,3,3",
    ),
];

/// Queries, and the codes that they are refused with.
const REFUSED: &[(&str, &str)] = &[
    ("SELECT to_char(order_date, f) FROM daily_sales, (SELECT 'YYYY' AS f) a", "0A000"),
    ("SELECT 'a' LIKE customer_tier ESCAPE '!' FROM customer_patterns", "0A000"),
    ("DECLARE c CURSOR FOR SELECT 1", "25P01"),
    ("BEGIN; DECLARE c BINARY CURSOR FOR SELECT 1", "0A000"),
    ("SELECT now() AT TIME ZONE 'Middle/Earth'", "22023"),
    ("SHOW nothing", "42704"),
    ("SET timezone = 'Middle/Earth'", "22023"),
    ("SELECT x FROM (VALUES (1)) a(x) RIGHT JOIN (VALUES (2)) b(x) USING (x)", "0A000"),
    ("SELECT * FROM (VALUES (1)) a(x) FULL JOIN (VALUES (2)) b(x) USING (x)", "0A000"),
    ("BEGIN; DECLARE c CURSOR FOR SELECT 1; DECLARE c CURSOR FOR SELECT 2", "42P03"),
    ("COPY (SELECT 1) TO STDOUT (DELIMITER 'n')", "22023"),
    ("COPY (SELECT 1) TO STDOUT (DELIMITER '|', NULL 'a|')", "22023"),
    ("COPY (SELECT 1) TO STDOUT WITH (FORMAT csv, DELIMITER '\n')", "22023"),
];

#[test]
fn answers_are_those_of_postgresql() {
    let shop = shop_with_folder();
    let served = start(&shop, &[]);
    served.post_json("products", &json!([pen()])).expect(200);
    let orders: Vec<_> = (1..=9).map(|id| order(id, id % 3, PEN, &format!("2024-03-0{id}"), id)).collect();
    served.post_json("orders", &json!(orders)).expect(200);
    let mut client = connect(&served);
    for (query, wanted) in ANSWERS {
        assert_eq!(value(&mut client, query), *wanted, "{query}");
    }
    for (query, code) in REFUSED {
        assert_eq!(refused(&mut client, query).0, *code, "{query}");
        client.batch_execute("ROLLBACK").expect("rolled back");
    }
    // Each statement of a text begins and ends transactions for the next one.
    client.batch_execute("BEGIN; COMMIT; BEGIN").expect("begun");
    assert_eq!(refused(&mut client, "SELECT none").0, "42703");
    assert_eq!(refused(&mut client, "SELECT 1").0, "25P02");
    client.batch_execute("ROLLBACK").expect("rolled back");
    assert_eq!(refused(&mut client, "BEGIN; SELECT none").0, "42703");
    assert_eq!(refused(&mut client, "SELECT 1").0, "25P02");
    client.batch_execute("ROLLBACK; PREPARE p AS SELECT 1; DEALLOCATE p; PREPARE p AS SELECT 2").expect("prepared");
    assert_eq!(value(&mut client, "EXECUTE p"), "2");
    stop(served.running);
}

/// Whatever a client sends, the service goes on.
#[test]
fn what_is_too_large_is_refused() {
    let shop = shop_with_folder();
    let config = shop.path("config.yaml");
    fs::write(&config, "serve: {query_memory: 16MB, query_timeout: 1h}").expect("written");
    let served = start(&shop, &["--config", &config.display().to_string()]);
    let mut client = connect(&served);
    for (text, code) in [
        (format!("SELECT 1{}", " + 1".repeat(100_000)), "54001"),
        (format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000)), "54001"),
        (format!("SELECT {}1{}", "abs(".repeat(40), ")".repeat(40)), "54001"),
        (format!("SELECT {}true", "not ".repeat(900)), "42601"),
        (format!("SELECT {}1{}", "array[".repeat(48), "]".repeat(48)), "54001"),
        (doubled_tables(20), "54001"),
        (format!("SELECT 1 FROM daily_sales{}", ", daily_sales".repeat(300)), "54001"),
        ("SELECT repeat('x', 1000000000)".to_owned(), "42000"),
        (format!("SELECT '{}'", "x".repeat(2 << 20)), "54001"),
        (
            "SELECT sum(a.a + b.b) FROM generate_series(1, 3000000) a JOIN generate_series(1, 3000000) b ON a.a = b.b"
                .to_owned(),
            "53200",
        ),
    ] {
        let (found, message) = refused(&mut client, &text);
        assert_eq!(found, code, "{message}");
    }
    assert_eq!(value(&mut client, &format!("SELECT ({}) IS NULL", doubled_zones(40))), "f");
    // What is allowed is answered or refused, and takes no stack that is not there.
    let ends = |client: &mut Client, text: &str| drop(client.simple_query(text));
    ends(&mut client, &format!("SELECT {}1{}", "abs(".repeat(12), ")".repeat(12)));
    ends(&mut client, &format!("SELECT 1 WHERE 1 = 1{}", " AND 1 = 1".repeat(500)));
    ends(&mut client, &format!("SELECT 1{}", "::int".repeat(500)));
    ends(&mut client, &format!("SELECT 'a'{}", " || 'a'".repeat(1_000)));
    let sum = format!("SELECT 1{}", " + 1".repeat(1_000));
    assert_eq!(value(&mut client, &sum), "1001");
    // Sorting writes to the disk what does not fit.
    let sorted = "SELECT count(*) FROM (SELECT value, row_number() OVER (ORDER BY -value) AS n \
                  FROM generate_series(1, 2000000)) a WHERE n > 0";
    assert_eq!(value(&mut client, sorted), "2000000");
    served.get("/readyz").expect(200);
    stop(served.running);
}

#[test]
fn parameters_portals_and_cursors() {
    let shop = Shop::generated("0.002");
    let served = start(&shop, &["--as-of", "2024-12-31"]);
    let mut client = connect(&served);
    let statement =
        client.prepare("SELECT rank, product_id FROM customer_product_matrix WHERE customer_id = $1 ORDER BY rank");
    let statement = statement.expect("prepared");
    let of = |client: &mut Client, customer: i64| client.query(&statement, &[&customer]).expect("rows").len();
    assert!((1..=10).contains(&of(&mut client, 5)));
    assert_eq!(of(&mut client, 1 << 40), 0);
    // A prepared statement sees what has changed since.
    served.post_json("products", &json!([pen()])).expect(200);
    served.post_json("orders", &json!([order(90_000_000, 1 << 40, PEN, "2024-05-01", 2)])).expect(200);
    assert_eq!(of(&mut client, 1 << 40), 1);
    let all: usize = value(&mut client, "SELECT count(*) FROM customer_product_matrix").parse().expect("a number");
    let mut transaction = client.transaction().expect("begun");
    let portal = transaction.bind("SELECT * FROM customer_product_matrix", &[]).expect("bound");
    let mut fetched = 0;
    loop {
        let rows = transaction.query_portal(&portal, 100).expect("rows").len();
        assert!(rows <= 100);
        fetched += rows;
        if rows == 0 {
            break;
        }
    }
    assert_eq!(fetched, all);
    transaction
        .batch_execute("DECLARE c CURSOR FOR SELECT customer_id FROM customer_product_matrix")
        .expect("declared");
    assert_eq!(transaction.query("FETCH 7 FROM c", &[]).expect("rows").len(), 7);
    transaction.batch_execute("CLOSE c").expect("closed");
    let declared = "DECLARE d CURSOR FOR SELECT customer_id FROM customer_product_matrix WHERE customer_id = $1";
    transaction.execute(declared, &[&(1_i64 << 40)]).expect("declared");
    assert_eq!(transaction.query("FETCH ALL FROM d", &[]).expect("rows").len(), 1);
    transaction.commit().expect("committed");
    assert_eq!(refused(&mut client, "FETCH 1 FROM c").0, "34000");
    // A cursor that is held goes on, as of its epoch, until it is closed or the transaction it was declared in fails.
    client
        .batch_execute("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT customer_id FROM customer_patterns")
        .expect("held");
    client.batch_execute("DECLARE gone CURSOR FOR SELECT 1; COMMIT").expect("committed");
    let before = texts(&mut client, "SELECT customer_id FROM customer_patterns");
    served.post_json("orders", &json!([order(90_000_001, 1 << 41, PEN, "2024-05-01", 2)])).expect(200);
    assert_eq!(refused(&mut client, "FETCH 1 FROM gone").0, "34000");
    let held = [texts(&mut client, "FETCH 3 FROM c"), texts(&mut client, "FETCH ALL FROM c")].concat();
    assert_eq!(held, before);
    client.batch_execute("CLOSE c").expect("closed");
    assert_eq!(refused(&mut client, "FETCH 1 FROM c").0, "34000");
    client.batch_execute("DECLARE c CURSOR WITH HOLD FOR SELECT 1; BEGIN; SELECT 1; COMMIT").expect("held");
    assert_eq!(value(&mut client, "FETCH NEXT FROM c"), "1");
    // A parameter is what the client says it is.
    let half =
        client.query_typed("SELECT count(*) FROM daily_sales WHERE daily_customers = $1", &[(&0.5_f64, Type::FLOAT8)]);
    assert_eq!(half.expect("rows")[0].get::<_, i64>(0), 0);
    // An array has the type of what it is compared with.
    let some =
        client.query("SELECT customer_id FROM customer_patterns WHERE customer_id = ANY($1)", &[&vec![5_i64, 7]]);
    assert!(some.expect("rows").len() <= 2);
    // Counts have signs, as all numbers of PostgreSQL.
    let counts = "SELECT row_number() OVER () AS a, ntile(2) OVER (ORDER BY customer_id) AS b, \
                  array_length(ARRAY[1], 1) AS c FROM customer_patterns";
    let counts = client.prepare(counts).expect("prepared");
    assert!(counts.columns().iter().all(|column| *column.type_() == Type::INT8), "{:?}", counts.columns());
    stop(served.running);
}

#[test]
fn what_is_copied() {
    let shop = shop_with_folder();
    let served = start(&shop, &[]);
    let mut client = connect(&served);
    // A COPY that fails has begun, and ends with an error.
    let mut failed =
        client.copy_out("COPY (SELECT 1 / (2 - value) FROM generate_series(1, 3)) TO STDOUT").expect("begun");
    let error = failed.read_to_string(&mut String::new()).expect_err("it fails").to_string();
    drop(failed);
    assert!(error.contains("zero") || error.contains("db error"), "{error}");
    // Binary: a signature, a row of one value of eight bytes, and the end.
    let mut binary = Vec::new();
    client.copy_out("COPY (SELECT 7) TO STDOUT BINARY").expect("copied").read_to_end(&mut binary).expect("read");
    assert_eq!(binary[..11], *b"PGCOPY\n\xff\r\n\0");
    assert_eq!(binary[19..], [0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7, 0xff, 0xff]);
    let mut copied = String::new();
    let query = "COPY (SELECT 'a,\"b' AS x, NULL AS y, '' AS z, 1.50 AS w) TO STDOUT WITH (FORMAT csv, HEADER)";
    client.copy_out(query).expect("copied").read_to_string(&mut copied).expect("read");
    assert_eq!(copied, "x,y,z,w\n\"a,\"\"b\",,\"\",1.50\n");
    for (query, wanted) in [
        (
            "COPY (SELECT 'a;b' AS x, 1 AS y, NULL AS z) TO STDOUT CSV HEADER DELIMITER ';' NULL '-'",
            "x;y;z\n\"a;b\";1;-\n",
        ),
        ("COPY (SELECT 'a|b' AS x, '-' AS y, NULL AS z) TO STDOUT (DELIMITER '|', NULL '-')", "a\\|b|-|-\n"),
        ("COPY (SELECT '-' AS x, NULL AS y) TO STDOUT (FORMAT csv, NULL '-', ENCODING 'UTF-8')", "\"-\",-\n"),
    ] {
        copied.clear();
        client.copy_out(query).expect(query).read_to_string(&mut copied).expect("read");
        assert_eq!(copied, wanted, "{query}");
    }
    let query = "COPY (SELECT 'a\tb\\c' AS x, NULL AS y) TO STDOUT";
    copied.clear();
    client.copy_out(query).expect("copied").read_to_string(&mut copied).expect("read");
    assert_eq!(copied, "a\\tb\\\\c\t\\N\n");
    stop(served.running);
}

/// PostgreSQL has no maps.
#[test]
fn maps_are_texts_of_json() {
    let shop = shop_with_folder();
    let served = start(&shop, &["--tables", "product_features"]);
    let mut pen = pen();
    pen["metadata"] = json!("{\"colour\": \"red \\\"ink\\\"\"}");
    served.post_json("products", &json!([pen])).expect(200);
    let mut client = connect(&served);
    let query = format!("SELECT * FROM product_features WHERE product_id = {PEN}");
    let row = &texts(&mut client, &query)[0];
    assert_eq!(row.last().expect("a column").as_deref(), Some("{\"colour\":\"red \\\"ink\\\"\"}"), "{row:?}");
    let prepared = client.query(&query, &[]).expect("rows");
    assert_eq!(prepared[0].get::<_, Option<String>>("metadata"), *row.last().expect("a column"));
    assert_eq!(value(&mut client, &format!("{query} AND metadata['colour'] LIKE 'red%'")), PEN.to_string());
    stop(served.running);
}

/// Tables of which each reads the one before twice.
fn doubled_tables(depth: usize) -> String {
    let tables = (1..depth).map(|table| format!(", a{table} AS (SELECT a.x FROM a{0} a, a{0} b)", table - 1));
    format!("WITH a0 AS (SELECT 1 AS x){} SELECT count(*) FROM a{}", tables.collect::<String>(), depth - 1)
}

/// A time that is converted so often.
fn doubled_zones(depth: usize) -> String {
    format!("now(){}", " AT TIME ZONE 'UTC'".repeat(depth))
}

/// Cursors that are held outlive other transactions, and end when they are closed or their own transaction fails.
#[test]
fn held_cursors_end_when_they_should() {
    let shop = shop_with_folder();
    let served = start(&shop, &[]);
    let mut client = connect(&served);
    let declare = "DECLARE c CURSOR WITH HOLD FOR SELECT 1 AS x UNION ALL SELECT 1";
    client.batch_execute(&format!("BEGIN; {declare}; COMMIT; BEGIN; SELECT 1; ROLLBACK")).expect("held");
    assert_eq!(value(&mut client, "FETCH NEXT FROM c"), "1");
    client.batch_execute("CLOSE c").expect("closed");
    assert_eq!(refused(&mut client, "CLOSE c").0, "34000");
    client.batch_execute(&format!("BEGIN; {declare}")).expect("declared");
    assert_eq!(refused(&mut client, "SELECT none").0, "42703");
    client.batch_execute("COMMIT").expect("rolled back");
    assert_eq!(refused(&mut client, "FETCH 1 FROM c").0, "34000");
    client.batch_execute(&format!("{declare}; DISCARD ALL")).expect("discarded");
    assert_eq!(refused(&mut client, "FETCH 1 FROM c").0, "34000");
    // A name that was held before is not afterwards.
    client.batch_execute(&format!("{declare}; CLOSE ALL; BEGIN; DECLARE c CURSOR FOR SELECT 1; COMMIT")).expect("done");
    assert_eq!(refused(&mut client, "FETCH 1 FROM c").0, "34000");
    stop(served.running);
}
