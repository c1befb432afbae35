//! What clients are told of tables and of the service.

use std::fs;
use std::process::{Command, Stdio};

use postgres::SimpleQueryMessage;
use serde_json::json;

use crate::files::serving::{shop_with_folder, stop};
use crate::served::{PEN, order, pen};
use crate::{connect, port, start, texts, value};

#[test]
fn the_catalog_describes_the_tables_with_ids_that_stay() {
    let shop = shop_with_folder();
    let served = start(&shop, &[]);
    let mut client = connect(&served);
    let ids = "SELECT n.nspname, c.relname, c.oid, c.relkind FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
               ON n.oid = c.relnamespace WHERE n.nspname IN ('shop', 'millstream') ORDER BY 1, 2";
    let before = texts(&mut client, ids);
    assert!(before.len() > 15, "{before:?}");
    let key = "SELECT k.column_name, k.ordinal_position FROM information_schema.table_constraints t \
               JOIN information_schema.key_column_usage k USING (constraint_name) \
               WHERE t.table_name = 'customer_product_matrix' AND t.constraint_type = 'PRIMARY KEY' ORDER BY 2";
    let names: Vec<_> = texts(&mut client, key).into_iter().filter_map(|row| row[0].clone()).collect();
    assert_eq!(names, ["customer_id", "rank"]);
    let types = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'daily_sales' \
                 ORDER BY ordinal_position";
    let types: Vec<_> = texts(&mut client, types).into_iter().filter_map(|row| row[1].clone()).collect();
    assert_eq!(types, ["date", "double precision", "bigint", "double precision"]);
    if Command::new("psql").arg("--version").output().is_ok() {
        let port = port(&served.running).to_string();
        let psql = |command: &str| {
            let mut psql = Command::new("psql");
            psql.args(["-h", "127.0.0.1", "-p", &port, "-U", "me", "-d", "millstream", "-X", "-A", "-c", command]);
            let done = psql.stdin(Stdio::null()).output().expect("psql");
            let text = [done.stdout, done.stderr].concat();
            String::from_utf8(text).expect("text")
        };
        for (command, words) in [
            ("\\d customer_product_matrix", "PRIMARY KEY, btree (customer_id, rank)"),
            ("\\d+ daily_sales", "daily_customers|bigint"),
            ("\\dt", "shop|product_sales|table"),
            ("\\di", "product_sales_pkey"),
            ("\\dn", "millstream"),
            ("\\l", "millstream"),
            ("\\dv", "Did not find any relations"),
        ] {
            let text = psql(command);
            assert!(text.contains(words) && !text.contains("ERROR"), "{command}: {text}");
        }
    } else {
        eprintln!("psql is not installed: its commands are not tried");
    }
    drop(client);
    stop(served.running);
    let served = start(&shop, &["--tables", "product_sales,daily_sales,rfm_analysis"]);
    let mut client = connect(&served);
    let after = texts(&mut client, ids);
    assert!(after.len() < before.len() && after.iter().all(|row| before.contains(row)), "{before:?} {after:?}");
    stop(served.running);
}

/// What clients ask by themselves, each with how many rows and columns it must have.
#[test]
fn what_clients_ask_of_the_catalog_is_answered() {
    let shop = shop_with_folder();
    let config = shop.path("views.yaml");
    let views = "views:
  best_days: SELECT order_date, daily_revenue, rank() OVER (ORDER BY daily_revenue DESC) AS place FROM daily_sales
  big_spenders: SELECT customer_id, monetary FROM rfm_analysis WHERE monetary > 10000
";
    fs::write(&config, views).expect("written");
    let served = start(&shop, &["--tables", "all", "--config", config.to_str().expect("UTF-8")]);
    let mut client = connect(&served);
    let (mut asked, mut wrong) = (0, Vec::new());
    for entry in include_str!("queries.sql").split("\n-- ").skip(2) {
        let (wanted, query) = entry.split_once('\n').expect("a query");
        let (tool, size) = wanted.rsplit_once(": ").expect("a size");
        let found = match client.simple_query(query.trim().trim_end_matches(';')) {
            Ok(messages) => {
                let columns = messages.iter().find_map(|message| match message {
                    SimpleQueryMessage::RowDescription(columns) => Some(columns.len()),
                    _ => None,
                });
                let rows = messages.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_))).count();
                format!("{rows} rows of {}", columns.unwrap_or(0))
            }
            Err(error) => error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string),
        };
        asked += 1;
        if found != size {
            wrong.push(format!("{tool}: wanted {size}, found {found}: {query}"));
        }
    }
    assert!(wrong.is_empty() && asked > 150, "{} of {asked}\n{}", wrong.len(), wrong.join("\n"));
    stop(served.running);
}

/// Tables that are said to be empty are.
#[test]
fn tables_of_the_catalog_that_are_taken_for_empty_are() {
    let shop = shop_with_folder();
    let served = start(&shop, &[]);
    let mut client = connect(&served);
    let source = include_str!("../../src/sql/catalog/tables.rs");
    let list = source.split("EMPTY_TABLES: [").nth(1).and_then(|behind| behind.split("];").next()).expect("a list");
    let names: Vec<_> = list.split('"').skip(1).step_by(2).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert_eq!(value(&mut client, &format!("SELECT count(*) FROM pg_catalog.{name}")), "0", "{name}");
    }
    stop(served.running);
}

/// Queries by which clients load types and list tables, each with what it must answer. They were found by running the
/// clients, or in their sources.
#[test]
fn what_clients_ask_is_answered() {
    let shop = shop_with_folder();
    let served = start(&shop, &[]);
    let mut client = connect(&served);
    for (tool, query, wanted) in [
        (
            "Npgsql",
            "SELECT p.proname FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_proc AS p ON p.oid = t.typreceive \
             WHERE t.typname = 'bool'",
            "boolrecv",
        ),
        ("Power BI", "select character_set_name from INFORMATION_SCHEMA.character_sets", "UTF8"),
        (
            "Power BI",
            "select count(*) from INFORMATION_SCHEMA.referential_constraints r \
             join INFORMATION_SCHEMA.key_column_usage k on r.constraint_name = k.constraint_name",
            "0",
        ),
        (
            "Grafana",
            "select count(*) from information_schema.tables where table_name = 'daily_sales' and \
             quote_ident(table_schema) not in ('information_schema', 'pg_catalog')",
            "1",
        ),
        (
            "Superset",
            "SELECT count(*) FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid \
             WHERE c.relname = 'daily_sales' AND i.indisprimary = 't'",
            "1",
        ),
        (
            "Superset",
            "SELECT count(*) FROM daily_sales WHERE order_date >= TO_DATE('1990-01-01', 'YYYY-MM-DD') AND \
             order_date < TO_DATE('1990-01-02', 'YYYY-MM-DD')",
            "0",
        ),
        ("Metabase", "SELECT mod(17, 5)", "2"),
        ("asyncpg", "SELECT count(pg_advisory_unlock_all())", "1"),
    ] {
        assert_eq!(value(&mut client, query), wanted, "{tool}: {query}");
    }
    // Of a parameter behind LIMIT, no client says the type.
    let rows = client.query("SELECT table_name FROM information_schema.tables ORDER BY 1 LIMIT $1", &[&2_i64]);
    assert_eq!(rows.expect("rows").len(), 2);
    let rows = client.query("SELECT order_date FROM daily_sales ORDER BY 1 LIMIT $1 OFFSET $2", &[&1_i64, &1_i64]);
    assert_eq!(rows.expect("rows").len(), 1);
    stop(served.running);
}

#[test]
fn the_state_of_the_service_is_tables() {
    let shop = shop_with_folder();
    let served = start(&shop, &[]);
    served.post_json("products", &json!([pen()])).expect(200);
    let epoch =
        served.post_json("orders", &json!([order(1, 1, PEN, "2024-02-01", 1), { "order_id": 2 }])).expect(200).epoch();
    let mut client = connect(&served);
    assert_eq!(value(&mut client, "SELECT max(epoch) FROM millstream.epochs"), epoch.to_string());
    assert_eq!(value(&mut client, "SELECT epoch FROM millstream.epochs WHERE is_read"), epoch.to_string());
    assert_eq!(value(&mut client, "SELECT count(*) FROM millstream.epochs WHERE committed_at > now()"), "0");
    assert_eq!(value(&mut client, "SELECT rows FROM millstream.sources WHERE type = 'http'"), "3");
    assert_eq!(value(&mut client, "SELECT waiting_rows FROM millstream.lag WHERE name = 'tables'"), "0");
    assert_eq!(value(&mut client, "SELECT type FROM millstream.sinks"), "folder");
    let rejected = served.rows("rejected").len().to_string();
    assert_eq!(value(&mut client, "SELECT count(*) FROM millstream.rejected"), rejected);
    stop(served.running);
}
