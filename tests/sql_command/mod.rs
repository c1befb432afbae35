//! Views, and the command that asks a service or a folder.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::files::serving::{service, shop_with_folder, stop};
use crate::files::{Shop, check, command, finish, millstream, read_parquet};
use crate::served::{PEN, Served, order, pen};
use crate::{connect, refused, start, texts, value};

/// Views, of which one reads another one, one has too much, and one is wrong.
const VIEWS: &str = "views:
  best: SELECT order_date, daily_revenue FROM good WHERE daily_revenue > 15;
  good: SELECT order_date, CAST(daily_revenue AS BIGINT) AS daily_revenue FROM daily_sales
  lacking: SELECT nothing FROM daily_sales
  of_customer: SELECT e.customer_id, e.order_id, e.total_amount FROM enriched_data e
";

fn shop_with_views(views: &str) -> (Shop, String) {
    let shop = shop_with_folder();
    let path = shop.path("views.yaml");
    fs::write(&path, views).expect("written");
    let path = path.to_str().expect("UTF-8").to_owned();
    (shop, path)
}

/// Posts an order of each of some days; returns the newest epoch.
fn post_orders(served: &Served) -> u64 {
    served.post_json("products", &json!([pen()])).expect(200);
    let orders: Vec<_> = (1..=4).map(|id| order(id, 1, PEN, &format!("2024-02-0{id}"), id)).collect();
    served.post_json("orders", &json!(orders)).expect(200).epoch()
}

#[test]
fn views_are_tables_that_are_computed_when_they_are_read() {
    let (shop, views) = shop_with_views(VIEWS);
    let served = start(&shop, &["--config", &views]);
    let epoch = post_orders(&served);
    let mut client = connect(&served);
    let query = "SELECT order_date, CAST(daily_revenue AS BIGINT) FROM daily_sales WHERE daily_revenue > 15 ORDER BY 1";
    let wanted = texts(&mut client, query);
    assert!(!wanted.is_empty());
    assert_eq!(texts(&mut client, "SELECT * FROM best ORDER BY 1"), wanted);
    // A transaction sees a view as of its epoch, and an order that has arrived since only afterwards.
    client.batch_execute("BEGIN").expect("begun");
    let days = "SELECT count(*) FROM shop.good";
    let before = value(&mut client, days);
    served.post_json("orders", &json!([order(9, 1, PEN, "2024-03-01", 9)])).expect(200);
    assert_eq!(value(&mut client, days), before);
    client.batch_execute("COMMIT").expect("committed");
    assert_ne!(value(&mut client, days), before);
    // What a view is asked goes to what it reads.
    let of_customer = "SELECT count(*) FROM of_customer WHERE customer_id = 1";
    let looked_up = value(&mut client, "SELECT count(*) FROM enriched_data WHERE customer_id = 1");
    assert_eq!(value(&mut client, of_customer), looked_up);
    let (code, _) = refused(&mut client, "SELECT count(*) FROM of_customer");
    assert_eq!(code, "0A000");
    let (code, message) = refused(&mut client, "SELECT * FROM lacking");
    assert!(code == "42703" && message.contains("view lacking"), "{code} {message}");
    assert!(served.running.log().contains("view lacking"), "{}", served.running.log());
    // The catalog has it.
    let kinds = "SELECT table_type FROM information_schema.tables WHERE table_name = 'best'";
    assert_eq!(value(&mut client, kinds), "VIEW");
    assert_eq!(value(&mut client, "SELECT relkind FROM pg_class WHERE relname = 'best'"), "v");
    let definition = "SELECT pg_get_viewdef(oid) FROM pg_class WHERE relname = 'good'";
    assert!(value(&mut client, definition).starts_with("SELECT order_date, CAST"));
    assert_eq!(value(&mut client, "SELECT count(*) FROM pg_views WHERE schemaname = 'shop'"), "3");
    // And so does HTTP.
    let tables = served.get("/v1/tables").expect(200).json();
    let best = tables["tables"].as_array().and_then(|all| all.iter().find(|table| table["name"] == "best")).cloned();
    let best = best.unwrap_or_else(|| panic!("{tables}"));
    assert!(best["view"].as_str().is_some_and(|query| query.ends_with("> 15")) && best["key"] == json!([]), "{best}");
    let answer = served.get("/v1/tables/best?columns=order_date&order=-order_date&limit=2").expect(200);
    assert!(answer.epoch() > epoch);
    let newest = texts(&mut client, "SELECT CAST(order_date AS TEXT) FROM best ORDER BY 1 DESC LIMIT 2");
    let newest: Vec<_> = newest.into_iter().map(|row| json!({ "order_date": row[0] })).collect();
    assert_eq!(answer.json()["rows"], json!(newest));
    let csv = served.get("/v1/tables/best?format=csv&order=order_date").expect(200).text();
    assert!(csv.starts_with("order_date,daily_revenue\n2024-02-0"), "{csv}");
    for query in ["key=1", "from=1", "epoch=1", "order=none", "columns=none", "customer_id=1"] {
        served.get(&format!("/v1/tables/best?{query}")).expect(400);
    }
    served.get("/v1/tables/best/changes").expect(404);
    let lacking = served.get("/v1/tables/lacking").expect(404).json();
    assert!(lacking["detail"].as_str().is_some_and(|detail| detail.contains("nothing")), "{lacking}");
    stop(served.running);
}

#[test]
fn views_that_are_no_queries_are_refused_at_the_start() {
    for (views, words) in [
        ("views: {daily_sales: SELECT 1}", "views: daily_sales: a table has this name"),
        ("views: {rejected: SELECT 1}", "views: rejected: a table has this name"),
        ("views: {Best: SELECT 1}", "views: Best: wanted a name"),
        ("views: {1st: SELECT 1}", "views: 1st: wanted a name"),
        ("views: {best: ''}", "views: best: found no query"),
        ("views: {best: SELECT 1; SELECT 2}", "views: best: found 2 statements"),
        ("views: {best: DELETE FROM daily_sales}", "views: best: found a statement that is not a query"),
        ("views: {best: EXPLAIN SELECT 1}", "views: best: found a statement that is not a query"),
        ("views: {best: SELEC}", "views: best: "),
        ("views: [best]", "views"),
    ] {
        let (shop, path) = shop_with_views(views);
        check(&finish(service(&shop, &["--listen", "127.0.0.1:0", "--config", &path])), 2, &[words]);
    }
}

/// A command `sql` that asks a service.
fn asking(served: &Served, args: &[&str]) -> Command {
    let mut command = command(&[&["sql", "--url", &served.base], args].concat());
    command.stdin(Stdio::null());
    command
}

#[test]
fn the_command_asks_a_service() {
    let (shop, views) = shop_with_views(VIEWS);
    let served = start(&shop, &["--config", &views]);
    post_orders(&served);
    let query = "SELECT order_date, CAST(daily_revenue AS BIGINT) AS revenue FROM daily_sales ORDER BY 1 LIMIT 2";
    let table = finish(asking(&served, &[query]));
    check(&table, 0, &[]);
    let lines: Vec<_> = table.stdout.lines().collect();
    assert!(lines.len() == 5 && lines[0].starts_with("| order_date | revenue |"), "{}", table.stdout);
    assert_eq!(lines[4], "(2 rows)");
    let csv = finish(asking(&served, &["--format", "csv", query]));
    assert!(csv.stdout.starts_with("order_date,revenue\n2024-02-01,"), "{}", csv.stdout);
    let json = finish(asking(&served, &["--format", "json", query])).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap_or_else(|_| panic!("{json}"));
    assert_eq!(json.as_array().map(Vec::len), Some(2), "{json}");
    let jsonl = finish(asking(&served, &["--format", "jsonl", query]));
    assert_eq!(jsonl.stdout.lines().count(), 2);
    let file = shop.path("best.parquet");
    let to = file.to_str().expect("UTF-8");
    check(&finish(asking(&served, &["--format", "parquet", "--to", to, "SELECT * FROM best"])), 0, &[]);
    assert!(read_parquet(&file).iter().map(|rows| rows.num_rows()).sum::<usize>() > 0);
    // Several at a time, from the standard input.
    let mut command = asking(&served, &["--format", "csv"]);
    let mut running = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
    let mut stdin = running.stdin.take().expect("piped");
    stdin.write_all(b"select 1 as a; -- one;\nselect ';' as b").expect("written");
    drop(stdin);
    let done = running.wait_with_output().expect("ended");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "a\n1\nb\n;\n");
    for (args, words) in [
        (&["selec"][..], "found: selec"),
        (&["DROP TABLE daily_sales"], "that is not a query"),
        (&[" ; "], "found no query"),
        (&["--to", to, "select 1; select 2"], "found 2 queries"),
        (&["--format", "json", "select 1; select 2"], "found 2 queries"),
        (&["--query-memory", "1GB", "select 1"], "--folder"),
        (&["--format", "xml", "select 1"], "xml"),
        (&["--folder", "/nowhere", "select 1"], "/nowhere"),
    ] {
        let done = finish(asking(&served, args));
        assert!(done.status != 0 && done.stderr.contains(words), "{args:?}: {}", done.stderr);
    }
    stop(served.running);
    check(&millstream(&["sql", "--url", "http://127.0.0.1:9", "select 1"]), 2, &["http://127.0.0.1:9"]);
}

/// On a terminal there is a prompt, which goes on after an error, and has a history.
#[test]
fn the_prompt_answers_until_its_end() {
    let shop = shop_with_folder();
    let served = start(&shop, &[]);
    post_orders(&served);
    let program = env!("CARGO_BIN_EXE_millstream");
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &format!("{program} sql --url {}", served.base), "/dev/null"]);
    terminal.env("XDG_STATE_HOME", shop.path("state")).env("TERM", "dumb");
    let mut running = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script is there");
    let mut typed = running.stdin.take().expect("piped");
    typed
        .write_all(b"select nothing;\nselect count(*)\nfrom daily_sales;\n\\d daily_sales\n\\none\n\\q\n")
        .expect("typed");
    let done = running.wait_with_output().expect("ended");
    let shown = String::from_utf8_lossy(&done.stdout);
    for words in ["error: ", "| count |", "(1 row)", "| daily_revenue", "there is no command \\none"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let history = fs::read_to_string(shop.path("state/millstream/sql_history")).expect("a history");
    assert!(history.contains("\\d daily_sales"), "{history}");
    stop(served.running);
}

/// What a folder has is what a service has, in every format of files.
#[test]
fn the_command_asks_a_folder() {
    let mut known = None;
    for format in ["parquet", "csv", "jsonl"] {
        let shop = Shop::generated("0.002");
        let (_kept, views) = shop_with_views("views: {days: SELECT count(*) AS days FROM daily_sales}");
        check(&shop.run(&["--as-of", "2024-12-31", "--format", format, "--compression", "zstd"]), 0, &[]);
        let output = shop.output();
        let folder = output.to_str().expect("UTF-8");
        let ask = |query: &str, format: &str| {
            let done = millstream(&["sql", "--folder", folder, "--config", &views, "--format", format, query]);
            check(&done, 0, &[]);
            done.stdout
        };
        let days = ask("SELECT order_date FROM daily_sales ORDER BY 1", "csv");
        assert_eq!(known.get_or_insert_with(|| days.clone()), &days, "{format}");
        let of_view = ask("SELECT * FROM days", "csv");
        assert_eq!(of_view, format!("days\n{}\n", days.lines().count() - 1), "{format}");
        let joined = "SELECT count(*) AS n, sum(s.total_quantity) = \
                      (SELECT sum(quantity) FROM enriched_data) AS same FROM product_sales s";
        assert!(ask(joined, "csv").contains(",true"), "{format}");
        assert!(ask("SELECT count(*) AS n FROM millstream.rejected", "csv").starts_with("n\n"));
        assert!(ask("SELECT relname FROM pg_class WHERE relname = 'days'", "csv").contains("days"));
        let refused = millstream(&["sql", "--folder", folder, "SELECT nothing FROM daily_sales"]);
        check(&refused, 2, &["nothing"]);
    }
}
