//! What clients are told of tables and of the service.

use std::process::{Command, Stdio};

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
