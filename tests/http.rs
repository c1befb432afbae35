//! The server: rows that are posted, who may ask, and what it says of itself, against a real process over the network.

mod files;
mod served;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{Date32Array, Float64Array, Int32Array, Int64Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use fastrand::Rng;
use files::processes::Running;
use files::serving::{PATIENCE, await_lines, check_published, service, shop_with_folder, stop};
use files::{Shop, as_json, check, command, finish};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use served::{Answer, IsOver, PEN, Served, agent, events, order, pen, random_orders, ten_thousandths};
use ureq::Agent;

/// Orders in columns.
fn orders(rows: &[(i64, i64, i64, i32, i32)]) -> RecordBatch {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let schema = Schema::new(vec![
        field("order_id", DataType::Int64),
        field("customer_id", DataType::Int64),
        field("product_id", DataType::Int64),
        field("order_date", DataType::Date32),
        field("quantity", DataType::Int32),
        field("discount", DataType::Float64),
    ]);
    let columns: Vec<arrow::array::ArrayRef> = vec![
        std::sync::Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
        std::sync::Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1))),
        std::sync::Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))),
        std::sync::Arc::new(Date32Array::from_iter_values(rows.iter().map(|row| row.3))),
        std::sync::Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.4))),
        std::sync::Arc::new(Float64Array::from_iter_values(rows.iter().map(|_| 0.0))),
    ];
    RecordBatch::try_new(schema.into(), columns).expect("a batch")
}

#[test]
fn a_posted_row_is_in_all_tables_when_it_is_answered() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    served.post_json("products", &pen()).expect(200);
    let day = "/v1/tables/daily_sales?key=2024-03-09";
    assert_eq!(served.get(day).expect(200).json()["rows"], json!([]));
    for quantity in 1..20 {
        let posted = served.post_json("orders", &json!([order(500, 1, PEN, "2024-03-09", quantity)])).expect(200);
        let (answer, read) = (posted.json(), served.get(day).expect(200));
        assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(1), &json!([])));
        assert_eq!((posted.epoch(), answer["epoch"].as_u64()), (read.epoch(), Some(read.epoch())));
        let row = &read.json()["rows"][0];
        assert_eq!(row["daily_revenue"].as_f64(), Some(10.0 * quantity as f64), "{row}");
    }
    let deleted = served.post_json("orders", &json!({ "order_id": 500, "_op": "d" })).expect(200);
    assert_eq!(deleted.json()["accepted"], 1);
    assert_eq!(served.get(day).expect(200).json()["rows"], json!([]));
    stop(served.running);
}

/// The same rows in every format, and how they are compressed; what is published is what `run` makes of them.
#[test]
fn rows_are_taken_in_every_format() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    let batch = |first: i64| orders(&[(first, 1, 1, 19_800, 2), (first + 1, 2, 2, 19_801, 3)]);
    let lines = |first: i64| as_json(&batch(first)).join("\n");
    let csv =
        "order_id,customer_id,product_id,order_date,quantity,discount\n730,1,2,2024-03-17,4,0\n731,,9,2024-03-18,1,\n";
    let mut stream = StreamWriter::try_new(Vec::new(), &batch(0).schema()).expect("a writer");
    stream.write(&batch(740)).and_then(|()| stream.write(&batch(742))).expect("written");
    let stream = stream.into_inner().expect("finished");
    let mut parquet = ArrowWriter::try_new(Vec::new(), batch(0).schema(), None).expect("a writer");
    parquet.write(&batch(750)).expect("written");
    let parquet = parquet.into_inner().expect("finished");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(lines(760).as_bytes()).expect("written");
    let gzip = gzip.finish().expect("finished");
    let zstd = zstd::encode_all(lines(770).as_bytes(), 0).expect("encoded");
    let array = format!("[{}]", as_json(&batch(700)).join(",\n"));
    let ndjson = "application/x-ndjson";
    let bodies: [(&str, &str, &[u8], u64); 7] = [
        ("application/json", "", array.as_bytes(), 2),
        (ndjson, "", lines(710).leak().as_bytes(), 2),
        ("text/csv; charset=utf-8", "", csv.as_bytes(), 2),
        ("application/vnd.apache.arrow.stream", "", &stream, 4),
        ("application/vnd.apache.parquet", "", &parquet, 2),
        (ndjson, "gzip", &gzip, 2),
        (ndjson, "zstd", &zstd, 2),
    ];
    for (kind, encoding, body, rows) in bodies {
        let headers = [("content-type", kind), ("content-encoding", encoding)];
        let headers = &headers[..if encoding.is_empty() { 1 } else { 2 }];
        let answer = served.post_with("orders", headers, body).expect(200).json();
        assert_eq!(answer["accepted"], rows, "{kind} {encoding}: {answer}");
    }
    stop(served.running);
    // What was posted, as files.
    let folder = shop.input().join("orders");
    fs::write(folder.join("1.jsonl"), as_json(&batch(700)).join("\n") + "\n" + &lines(710)).expect("written");
    fs::write(folder.join("2.csv"), csv).expect("written");
    fs::write(folder.join("3.arrows"), stream).expect("written");
    fs::write(folder.join("4.parquet"), parquet).expect("written");
    fs::write(folder.join("5.jsonl.gz"), gzip).expect("written");
    fs::write(folder.join("6.jsonl.zst"), zstd).expect("written");
    check_published(&shop, "after posts in all formats");
}

#[test]
fn a_bad_row_is_rejected_and_a_bad_request_refused() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    let rows = json!([order(1, 1, 1, "2024-03-01", 1), order(2, 1, 1, "soon", 1), 5, { "order_id": null }]);
    let answer = served.post_json("orders", &rows).expect(200).json();
    assert_eq!((&answer["accepted"], &answer["rejected_rows"]), (&json!(1), &json!(3)), "{answer}");
    let mut numbers: Vec<_> =
        answer["rejected"].as_array().expect("rows").iter().map(|row| &row["row_number"]).collect();
    numbers.sort_by_key(|number| number.as_u64());
    assert_eq!(numbers, [2, 3, 4]);
    assert!(answer["rejected"].to_string().contains("order_date soon"), "{answer}");
    let rejected = served.get("/v1/tables/rejected").expect(200).json();
    assert!(rejected["rows"].to_string().contains("soon"), "{rejected}");
    let epoch = served.get("/v1/status").json()["epoch"].clone();
    let json = "application/json";
    let mut stream = StreamWriter::try_new(Vec::new(), &orders(&[]).schema()).expect("a writer");
    stream.write(&orders(&[(1, 1, 1, 1, 1)])).expect("written");
    let stream = stream.into_inner().expect("finished");
    let bodies: [(&str, &[(&str, &str)], &[u8], u16, &str); 14] = [
        ("order", &[("content-type", json)], b"[]", 404, "wanted orders, products or customers"),
        ("orders", &[("content-type", "text/plain")], b"[]", 415, "found \\\"text/plain\\\""),
        ("orders", &[("content-type", json), ("content-encoding", "br")], b"[]", 415, "found br, wanted gzip or zstd"),
        ("orders", &[("content-type", json), ("content-encoding", "gzip")], b"[]", 400, "can't be read"),
        ("orders", &[("content-type", json)], b"[{", 400, "ends within an element"),
        ("orders", &[("content-type", json)], b"[{\"a\": 1}]", 400, "the body: no column order_id"),
        ("orders", &[("content-type", "text/csv")], b"a,b\n1,2\n", 400, "the body: no column order_id"),
        ("orders", &[("content-type", "application/vnd.apache.parquet")], b"PAR1", 400, "the body: not a Parquet file"),
        (
            "orders",
            &[("content-type", "application/vnd.apache.arrow.stream")],
            b"ARROW1",
            400,
            "the body: not an Arrow",
        ),
        (
            "orders",
            &[("content-type", "application/vnd.apache.arrow.stream")],
            &stream[..stream.len() - 60],
            400,
            "the body: not an Arrow",
        ),
        ("orders?wait=long", &[("content-type", json)], b"[]", 400, "wanted visible or committed"),
        ("orders?when=now", &[("content-type", json)], b"[]", 400, "unknown field"),
        ("orders", &[("content-type", json), ("idempotency-key", "")], b"[]", 400, "wanted 1 to 255"),
        ("orders", &[("content-type", json), ("content-length", "99999999999")], b"", 413, "more than 64 MiB"),
    ];
    for (path, headers, body, status, words) in bodies {
        let (status_line, text) = raw_post(&served, path, headers, body);
        assert!(
            status_line.contains(&format!(" {status} ")) && text.contains(words),
            "{path} {headers:?}: {status_line} {text}"
        );
    }
    assert_eq!(served.get("/v1/status").json()["epoch"], epoch, "nothing was applied");
    stop(served.running);
}

/// A post as a client that knows no better would send it; the first line of the answer, and the rest.
fn raw_post(served: &Served, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (String, String) {
    let address = served.base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("connected");
    let mut head = format!("POST /v1/{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    if !headers.iter().any(|(name, _)| *name == "content-length") {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).expect("sent");
    stream.write_all(body).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (first, rest) = answer.split_once("\r\n").unwrap_or((&answer, ""));
    (first.to_owned(), rest.to_owned())
}

#[test]
fn a_request_that_is_repeated_is_applied_once_also_after_a_kill() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    let headers = [("content-type", "application/json"), ("idempotency-key", "first")];
    let of = |quantity| order(700, 1, PEN, "2024-03-09", quantity).to_string();
    let (first, second) = (of(1), of(7));
    served.post_json("products", &pen()).expect(200);
    let answer = served.post_with("orders", &headers, first.as_bytes()).expect(200).json();
    assert_eq!((&answer["repeated"], &answer["accepted"]), (&json!(false), &json!(1)));
    served.post("orders", "application/json", second.as_bytes()).expect(200);
    let check_repeated = |served: &Served| {
        let again = served.post_with("orders", &headers, first.as_bytes()).expect(200).json();
        assert_eq!((&again["repeated"], &again["epoch"]), (&json!(true), &answer["epoch"]), "{again}");
        served.post_with("orders", &headers, second.as_bytes()).expect(422);
        served.post_with("products", &headers, first.as_bytes()).expect(422);
        let day = served.get("/v1/tables/daily_sales?key=2024-03-09").json();
        assert_eq!(day["rows"][0]["daily_revenue"].as_f64(), Some(70.0), "{day}");
    };
    check_repeated(&served);
    let mut running = served.running;
    running.kill();
    running.end();
    let served = Served::start(&shop, &["--checkpoint-every", "1KB"]);
    check_repeated(&served);
    let mut running = served.running;
    running.await_line("made a checkpoint");
    running.kill();
    running.end();
    let served = Served::start(&shop, &[]);
    check_repeated(&served);
    stop(served.running);
}

/// Clients post with retries while the process is killed again and again. Each has an order of its own, whose last
/// value that was acknowledged must be there in the end. Now and then they repeat a request that a later one has
/// overwritten, as a retry does that was long on its way: if it were applied again, the later value would be lost.
#[test]
fn killed_at_any_moment_it_loses_no_acknowledged_request_and_applies_none_twice() {
    let kills = std::env::var("MILLSTREAM_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(8_u64);
    let (shop, mut random) = (shop_with_folder(), Rng::with_seed(kills));
    let port = files::processes::hosts(1).rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
    let listen = format!("127.0.0.1:{port}");
    let (base, is_over) = (format!("http://{listen}"), AtomicBool::new(false));
    let start = || {
        let args = ["--listen", &listen, "--checkpoint-every", "20KB", "--publish-every", "500ms"];
        Running::start(service(&shop, &args))
    };
    let mut running = start();
    running.await_line("live at epoch");
    let posted = agent().post(format!("{base}/v1/products")).header("content-type", "application/json");
    assert_eq!(posted.send(pen().to_string()).expect("an answer").status(), 200);
    let values: Vec<i64> = thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|client| {
                scope.spawn({
                    let (base, is_over) = (&base, &is_over);
                    move || post_until(base, client, is_over)
                })
            })
            .collect();
        for _ in 0..kills {
            // At any moment of a start, or some time after it, so that clients get ahead however slow the machine is.
            if random.bool() {
                running.await_line("live at epoch");
            }
            thread::sleep(Duration::from_millis(random.u64(0..700)));
            running.kill();
            while !running.is_over() {
                thread::sleep(Duration::from_millis(1));
            }
            running = start();
            if clients.iter().any(thread::ScopedJoinHandle::is_finished) {
                // One of them has panicked, and the others wait in vain, too.
                break;
            }
        }
        running.await_line("live at epoch");
        thread::sleep(Duration::from_secs(1));
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("no client panicked")).collect()
    });
    for (client, value) in values.iter().enumerate() {
        let day = Answer::of(
            agent()
                .get(format!("{base}/v1/tables/daily_sales?key=2023-01-{:02}", client + 1))
                .call()
                .expect("an answer"),
        );
        let revenue = day.expect(200).json()["rows"][0]["daily_revenue"].clone();
        assert_eq!(ten_thousandths(&revenue), 100_000 * value, "client {client}");
    }
    let acknowledged: i64 = values.iter().sum();
    println!("{kills} kills, {acknowledged} acknowledged");
    assert!(acknowledged > 0);
    stop(running);
}

/// Writes ever new quantities of an order of a client's own day, and repeats each until it is answered. Returns the
/// last one, which is also how many were acknowledged.
fn post_until(base: &str, client: u64, is_over: &AtomicBool) -> i64 {
    let (agent, mut quantity) = (agent(), 0_i64);
    while !is_over.load(Ordering::Relaxed) {
        quantity += 1;
        post_until_answered(&agent, base, client, quantity);
        if quantity % 4 == 2 {
            let repeated = post_until_answered(&agent, base, client, quantity - 1);
            assert_eq!(repeated["repeated"], true, "client {client}: {repeated}");
        }
    }
    quantity
}

/// Posts the quantity of a client's order until the answer is there.
fn post_until_answered(agent: &Agent, base: &str, client: u64, quantity: i64) -> Value {
    let day = format!("2023-01-{:02}", client + 1);
    let body = json!([order(1000 + client, 1, PEN, &day, quantity.unsigned_abs())]).to_string();
    let started = Instant::now();
    loop {
        let request = agent.post(format!("{base}/v1/orders")).header("content-type", "application/json");
        match request.header("idempotency-key", format!("{client}-{quantity}")).send(&body) {
            Ok(mut response) if response.status() == 200 => {
                // A kill may come between the head of an answer and its body.
                let text = response.body_mut().read_to_string().unwrap_or_default();
                if let Ok(answer) = serde_json::from_str(&text) {
                    return answer;
                }
            }
            Ok(response) => assert!(matches!(response.status().as_u16(), 409 | 429 | 503), "{response:?}"),
            Err(_) => {}
        }
        assert!(started.elapsed() < PATIENCE, "client {client} gets no answer");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Clients that go away as soon as they have sent their rows do not disturb those of others, and what they sent is
/// applied as a whole or not at all.
#[test]
fn clients_that_go_away_do_not_disturb_others() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    let rows = |client: u64| -> String {
        let rows =
            (0..200).map(|row| order(10_000 * (client + 1) + row, 1, PEN, &format!("2022-01-{:02}", client + 1), 1));
        rows.map(|row| row.to_string() + "\n").collect()
    };
    served.post_json("products", &pen()).expect(200);
    let address = served.base.trim_start_matches("http://");
    for client in 0..20 {
        let (body, mut stream) = (rows(client), TcpStream::connect(address).expect("connected"));
        let head = "POST /v1/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n";
        let head = format!("{head}idempotency-key: {client}\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("sent");
        drop(stream);
    }
    for client in 0..20 {
        let (body, key) = (rows(client), client.to_string());
        let headers = [("content-type", "application/x-ndjson"), ("idempotency-key", &key)];
        let started = Instant::now();
        loop {
            let answer = served.post_with("orders", &headers, body.as_bytes());
            if answer.status == 200 {
                assert_eq!(answer.json()["accepted"], 200);
                break;
            }
            assert!(matches!(answer.status, 409 | 429) && started.elapsed() < PATIENCE, "{answer:?}");
        }
        let day = served.get(&format!("/v1/tables/daily_sales?key=2022-01-{:02}", client + 1)).expect(200).json();
        assert_eq!(day["rows"][0]["daily_revenue"].as_f64(), Some(2000.0), "client {client}: {day}");
    }
    stop(served.running);
}

#[test]
fn whom_others_can_reach_asks_for_a_token() {
    let shop = shop_with_folder();
    check(&finish(service(&shop, &["--listen", "0.0.0.0:0"])), 2, &["which others can reach, and no token"]);
    fs::write(shop.path("token"), "open sesame\n").expect("written");
    let token = shop.path("token").display().to_string();
    let served = Served::start(&shop, &["--listen", "127.0.0.1:0", "--token-file", &token]);
    assert!(!served.running.log().contains("sesame"));
    for path in ["/", "/metrics", "/v1/tables", "/v1/tables/daily_sales/changes", "/v1/openapi.json", "/nothing"] {
        let refused = served.get(path).expect(401);
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
    }
    served.get("/healthz").expect(200);
    for (sent, status) in
        [("Bearer open sesame", 200), ("bearer open sesame", 200), ("Bearer open", 401), ("Basic x", 401)]
    {
        let request = served.agent.get(format!("{}/v1/tables", served.base)).header("authorization", sent);
        assert_eq!(request.call().expect("an answer").status(), status, "{sent}");
    }
    let refused = served.post_json("orders", &json!([]));
    refused.expect(401);
    stop(served.running);
}

#[test]
fn tls_is_spoken_with_the_certificate_of_the_configuration() {
    let shop = shop_with_folder();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (shop.path("cert.pem"), shop.path("key.pem"));
    fs::write(&cert, made.cert.pem()).expect("written");
    fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let config = |cert: &std::path::Path| {
        let tls =
            format!("serve: {{listen: 'localhost:0', tls: {{cert: '{}', key: '{}'}}}}", cert.display(), key.display());
        fs::write(shop.path("tls.yaml"), tls).expect("written");
        shop.path("tls.yaml").display().to_string()
    };
    let of_key = config(&key);
    check(&finish(service(&shop, &["--config", &of_key])), 2, &["serve.tls: ", "it has no certificate"]);
    let right = config(&cert);
    let mut running = Running::start(service(&shop, &["--config", &right]));
    running.await_line("live at epoch");
    let log = running.log();
    let port = log.split("https://127.0.0.1:").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a port");
    let root = ureq::tls::Certificate::from_pem(made.cert.pem().as_bytes()).expect("a certificate");
    let tls = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::new_with_certs(&[root])).build();
    let agent = Agent::config_builder().tls_config(tls).build().new_agent();
    let answer = Answer::of(agent.get(format!("https://localhost:{port}/v1/tables")).call().expect("an answer"));
    assert!(answer.expect(200).json()["tables"].as_array().is_some_and(|tables| tables.len() > 5));
    // Who does not speak it gets nothing, and disturbs nobody.
    let mut plain = TcpStream::connect(format!("127.0.0.1:{port}")).expect("connected");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    let mut nothing = Vec::new();
    let _ = plain.read_to_end(&mut nothing);
    assert!(!nothing.starts_with(b"HTTP"));
    stop(running);
}

/// Each path and method of the OpenAPI document is there, and answers only as the document says.
#[test]
fn the_openapi_document_is_true() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    let document = served.get("/v1/openapi.json").expect(200).json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let mut operations = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let concrete = path.replace("{table}", "daily_sales").replace("{input}", "orders");
        for (method, operation) in methods.as_object().expect("methods") {
            operations += 1;
            let answers = match method.as_str() {
                "post" if path == "/v1/{input}" => vec![
                    served.post_json("orders", &json!([order(1, 1, 1, "2024-03-01", 1)])),
                    served.post("orders", "text/plain", b""),
                    served.post("orders", "application/json", b"["),
                    served.post("none", "application/json", b"[]"),
                ],
                "post" if path != "/v1/{input}" => {
                    vec![served.post_with(&path["/v1/".len()..], &[], b""), foreign_post(&served, path)]
                }
                _ if path == "/v1/overview/changes" => Vec::new(),
                _ if path == "/v1/explain" => {
                    vec![
                        served.get("/v1/explain?customer_id=1"),
                        served.get("/v1/explain"),
                        served.get("/v1/explain?customer_id=x"),
                    ]
                }
                _ if path == "/v1/sql" => vec![
                    served.get("/v1/sql?q=select%201%20as%20one"),
                    served.get("/v1/sql?q=select%201%20as%20one&format=csv"),
                    served.get("/v1/sql?q=selec"),
                    served.get("/v1/sql"),
                ],
                _ if path == "/v1/history" => vec![served.get(path), served.get("/v1/history?since=x")],
                _ if path.ends_with("changes") => vec![
                    served.get(&format!("{concrete}?since=100000")),
                    served.get(&format!("{concrete}?since=x")),
                    served.get("/v1/tables/none/changes"),
                ],
                _ => vec![served.get(&concrete), served.get(&path.replace("{table}", "none"))],
            };
            for answer in answers {
                let known = &operation["responses"][answer.status.to_string()];
                assert!(known.is_object(), "{method} {path}: {} {}", answer.status, answer.text());
                let kind = answer.headers["content-type"].split(';').next().expect("a type").to_owned();
                let content = known["content"].as_object().expect("content");
                assert!(content.contains_key(&kind), "{method} {path}: {} {kind}", answer.status);
                if answer.status < 300 && kind == "application/json" {
                    let schema = &content[&kind]["schema"];
                    let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
                    let schema = name.map_or(schema, |name| &document["components"]["schemas"][name]);
                    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
                    let (body, members) = (answer.json(), required.collect::<Vec<_>>());
                    assert!(members.iter().all(|member| body.get(member).is_some()), "{method} {path}: {body}");
                }
            }
        }
    }
    assert_eq!(operations, if cfg!(feature = "sql") { 24 } else { 23 });
    // And nothing is there that the document does not have.
    let overview = served.get("/").expect(200).json();
    assert_eq!(overview["paths"].as_object().map(serde_json::Map::len), Some(operations));
    stop(served.running);
}

/// A post that a page of another origin sends.
fn foreign_post(served: &Served, path: &str) -> Answer {
    let request = served.agent.post(format!("{}{path}", served.base)).header("origin", "http://example.org");
    Answer::of(request.send_empty().expect("an answer"))
}

#[test]
fn while_it_loads_it_says_so_and_when_it_stops_it_answers_what_it_took() {
    let shop = Shop::generated("0.02");
    let served = Served::start_loading(service(&shop, &["--listen", "127.0.0.1:0", "--as-of", "2024-12-31"]));
    let early = [served.get("/readyz"), served.get("/v1/tables"), served.post_json("orders", &json!([]))];
    for answer in early.into_iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.expect(503).headers["retry-after"], "1");
    }
    served.get("/healthz").expect(200);
    let started = Instant::now();
    while served.get("/readyz").status != 200 {
        assert!(started.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(5));
    }
    let metrics = served.get("/metrics").expect(200).text();
    for name in
        ["millstream_epoch 1\n", "millstream_table_rows{table=\"daily_sales\"}", "millstream_log_bytes 0\n", "# EOF\n"]
    {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
    let mut stream = events(&served, "/v1/tables/daily_sales/changes", None);
    let Served { running, base, .. } = served;
    let posting = thread::spawn(move || {
        let (agent, mut last) = (agent(), None);
        for id in 0.. {
            let body = json!([order(90_000_000 + id, 1, 1, "2024-05-01", 1)]).to_string();
            let request = agent.post(format!("{base}/v1/orders")).header("content-type", "application/json");
            match request.send(&body).map(Answer::of) {
                Ok(answer) if answer.status == 200 => last = Some(answer.epoch()),
                Ok(answer) => return (last, Some(answer.expect(503).status)),
                Err(_) => return (last, None),
            }
        }
        (last, None)
    });
    thread::sleep(Duration::from_millis(500));
    running.signal("-TERM");
    let (last, _) = posting.join().expect("no client panicked");
    let done = running.end();
    check(&done, 0, &[]);
    let last = last.expect("some were answered");
    assert!(done.stderr.contains(&format!("published epoch {last}")), "{last}: {}", done.stderr);
    // Who follows changes has all of them, or is cut off.
    while stream.next().is_some() {}
    check(&finish(command(&["health"])), 2, &[]);
}

/// What is published and verified while rows are posted is of one epoch, in all tables.
#[test]
fn publications_and_verifications_beside_posts_are_of_one_epoch() {
    for workers in ["1", "2"] {
        let (shop, is_over) = (shop_with_folder(), AtomicBool::new(false));
        let served = Served::start(&shop, &["--workers", workers]);
        thread::scope(|scope| {
            let posting = scope.spawn(|| {
                let mut random = Rng::with_seed(11);
                while !is_over.load(Ordering::Relaxed) {
                    served.post_json("orders", &random_orders(&mut random)).expect(200);
                }
            });
            let over = IsOver(&is_over);
            for times in 1..=4 {
                served.running.signal("-USR1");
                await_lines(&served.running, "published epoch", times);
                served.running.signal("-USR2");
                await_lines(&served.running, "verified epoch", times);
            }
            drop(over);
            posting.join().expect("no post failed");
        });
        let log = served.running.log();
        assert!(!log.contains("in the background"), "{log}");
        let done = stop(served.running);
        assert!(done.stderr.contains("files written"), "the changes are written: {}", done.stderr);
        let mut verify = command(&["verify", "--as-of", "2024-03-31"]);
        verify.arg("--input").arg(shop.input()).arg("--output").arg(shop.output());
        check(&finish(verify), 0, &[]);
    }
}

/// A column that a function computes is one of the rows that are looked up; a service that has nothing else to do
/// answers.
#[test]
fn rows_that_are_looked_up_have_the_columns_of_functions() {
    let shop = shop_with_folder();
    fs::write(shop.path("udfs.yaml"), "udfs: [{function: clean_text, columns: [product_name], as: clean}]")
        .expect("written");
    let served = Served::start(&shop, &["--config", shop.path("udfs.yaml").to_str().expect("text")]);
    for path in ["order_id=1", "customer_id=1"] {
        let found = served.get(&format!("/v1/tables/enriched_data?{path}&columns=clean")).expect(200).json();
        assert_eq!(found["rows"][0]["clean"], "teapot", "{found}");
    }
    stop(served.running);
}
