//! A client of a service: posts an order, reads a table, looks an order up, follows a change.
//!
//! ```text
//! millstream serve --listen 127.0.0.1:8080 …
//! cargo run --example http_client -- http://localhost:8080
//! ```

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let base = std::env::args().nth(1).unwrap_or("http://localhost:8080".to_owned());

    // With a key, the request can be repeated until it is answered.
    let orders = json!([{ "order_id": 9000003, "customer_id": 3, "product_id": 1, "order_date": "2024-05-02" }]);
    let posted: Value = ureq::post(format!("{base}/v1/orders"))
        .header("content-type", "application/json")
        .header("idempotency-key", "order 9000003")
        .send(orders.to_string())?
        .body_mut()
        .read_to_string()?
        .parse()?;
    println!("in all tables since epoch {}", posted["epoch"]);

    let read = |path: &str| -> Result<Value, Box<dyn std::error::Error>> {
        Ok(ureq::get(format!("{base}/v1/tables/{path}")).call()?.body_mut().read_to_string()?.parse()?)
    };
    println!("{}", read("daily_sales?key=2024-05-02")?["rows"]);
    println!("{}", read("enriched_data?order_id=9000003")?["rows"]);

    // The snapshot comes first, then what each epoch changes.
    let changes = ureq::get(format!("{base}/v1/tables/daily_sales/changes?snapshot=true")).call()?;
    let lines = BufReader::new(changes.into_body().into_reader()).lines();
    for line in lines.take(3) {
        println!("{:.100}", line?);
    }
    Ok(())
}
