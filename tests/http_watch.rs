//! The server as those who watch it see it: overview, explanations, history, operators, rejected rows.

mod files;
mod served;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use files::processes::{Running, hosts};
use files::serving::{PATIENCE, service, shop_with_folder, stop, tables};
use files::{check, command, finish};
use serde_json::{Value, json};
use served::{PEN, Served, events, order, pen, random_orders, ten_thousandths};

fn sum(rows: &[Value], column: &str) -> i64 {
    rows.iter().map(|row| ten_thousandths(&row[column])).sum()
}

/// What an overview must say of the tables.
fn check_overview(overview: &Value, of: impl Fn(&str) -> Vec<Value>) {
    let (days, products, customers, rfm) =
        (of("daily_sales"), of("product_sales"), of("customer_patterns"), of("rfm_analysis"));
    let totals = &overview["totals"];
    assert_eq!(ten_thousandths(&totals["revenue"]), sum(&products, "total_revenue"), "{totals}");
    assert_eq!(totals["orders"].as_i64(), customers.iter().map(|row| row["total_orders"].as_i64()).sum());
    let known: Vec<&Value> = customers.iter().filter(|row| !row["customer_id"].is_null()).collect();
    assert_eq!(totals["customers"].as_u64(), Some(known.len() as u64));

    let dated = days.iter().filter(|row| !row["order_date"].is_null());
    let wanted: Vec<_> = dated.map(|row| (row["order_date"].clone(), ten_thousandths(&row["daily_revenue"]))).collect();
    let found = overview["days"].as_array().expect("days").iter();
    let found: Vec<_> = found.map(|day| (day["day"].clone(), ten_thousandths(&day["revenue"]))).collect();
    assert_eq!(found, wanted[wanted.len().saturating_sub(180)..]);

    let by = |rows: &[Value], name: &str, column: &str| {
        let mut sums = BTreeMap::<String, i64>::new();
        rows.iter().for_each(|row| *sums.entry(row[name].to_string()).or_default() += ten_thousandths(&row[column]));
        sums
    };
    let listed = |name: &str| overview[name].as_array().expect("a list").clone();
    assert_eq!(by(&listed("categories"), "category", "revenue"), by(&products, "category", "total_revenue"));
    let known: Vec<Value> = known.into_iter().cloned().collect();
    assert_eq!(by(&listed("tiers"), "tier", "spent"), by(&known, "customer_tier", "total_spent"));
    let counted: u64 = overview["rfm"]["customers"]
        .as_array()
        .expect("rows")
        .iter()
        .flat_map(|row| row.as_array().expect("cells").clone())
        .map(|cell| cell.as_u64().expect("a count"))
        .sum();
    let wanted = rfm.iter().filter(|row| !row["customer_id"].is_null() && !row["recency"].is_null()).count();
    assert_eq!(counted, wanted as u64);

    let mut revenues: Vec<i64> = products
        .iter()
        .filter(|row| !row["total_revenue"].is_null())
        .map(|row| ten_thousandths(&row["total_revenue"]))
        .collect();
    revenues.sort_unstable_by(|one, other| other.cmp(one));
    revenues.truncate(10);
    let best = overview["products"]["best"].as_array().expect("products");
    assert_eq!(best.iter().map(|row| ten_thousandths(&row["revenue"])).collect::<Vec<_>>(), revenues);
}

/// A history of random orders, corrections and deletes, watched all the time: whenever it rests, the overview is what
/// the tables add up to, though it only ever adds up what has changed.
#[test]
fn the_overview_is_what_the_tables_add_up_to() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    let mut watched = events(&served, "/v1/overview/changes", None);
    let mut random = Rng::with_seed(7);
    let mut seen = 0;
    for _ in 0..12 {
        let steps = random.u32(1..15);
        (0..steps).for_each(|_| drop(served.post_json("orders", &random_orders(&mut random)).expect(200)));
        if random.bool() {
            let product = json!({"product_id": random.u32(1..5), "category": "other", "price": random.u32(1..50)});
            served.post_json("products", &product).expect(200);
        }
        let epoch = served.get("/v1/status").epoch();
        let of = |table: &str| served.rows(table);
        // The products are looked for less often than the rest.
        let is_there = |overview: &Value| overview["epoch"] == epoch && overview["products"]["epoch"] == epoch;
        let overview = loop {
            let event = watched.next().expect("the stream goes on");
            seen += 1;
            if is_there(&event.data) {
                break event.data;
            }
        };
        check_overview(&overview, of);
        assert_eq!(served.get("/v1/overview").expect(200).json()["totals"], overview["totals"]);
    }
    assert!(seen > 12, "{seen} overviews");
    stop(served.running);
}

#[test]
fn who_crosses_into_another_tier_is_told_and_what_gained() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    served.post_json("products", &pen()).expect(200);
    let mut watched = events(&served, "/v1/overview/changes", None);
    watched.next().expect("an overview");
    let gold = order(9_000, 77, PEN, "2024-03-01", 600);
    served.post_json("orders", &json!([order(8_999, 77, 1, "2024-03-01", 1)])).expect(200);
    watched.next().expect("an overview");
    served.post_json("orders", &gold).expect(200);
    let overview = loop {
        let event = watched.next().expect("an overview").data;
        if event["tier_crossings"].as_array().is_some_and(|crossed| !crossed.is_empty())
            && event["products"]["gained"].as_array().is_some_and(|gained| !gained.is_empty())
        {
            break event;
        }
    };
    let crossing = &overview["tier_crossings"][0];
    assert_eq!((&crossing["customer_id"], &crossing["to"]), (&json!(77), &json!("Gold")), "{crossing}");
    assert_eq!(overview["products"]["gained"][0]["product_id"], PEN);
    stop(served.running);
}

#[test]
fn an_explanation_has_the_rows_their_inputs_and_the_last_changes_of_one_epoch() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    served.post_json("products", &pen()).expect(200);
    served.post_json("orders", &json!([order(900, 50, PEN, "2024-03-05", 2)])).expect(200);
    let second = served.post_json("orders", &json!([order(900, 50, PEN, "2024-03-05", 3)])).expect(200).epoch();
    let of = |query: String| served.get(&format!("/v1/explain?{query}")).expect(200).json();
    let customer = of("customer_id=50".to_owned());
    assert_eq!(customer["epoch"], second);
    let names = |explained: &Value| {
        explained["tables"]
            .as_array()
            .expect("tables")
            .iter()
            .map(|table| table["table"].as_str().expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&customer), ["customer_patterns", "customer_product_matrix", "rfm_analysis"]);
    assert_eq!((&customer["inputs"]["all_rows"], &customer["inputs"]["rows"][0]["quantity"]), (&json!(1), &json!(3)));
    let newest = &customer["changes"][0];
    assert_eq!((&newest["epoch"], newest["plus"].as_array().map(Vec::len)), (&json!(second), Some(1)), "{customer}");
    let product = of(format!("product_id={PEN}"));
    assert_eq!(product["inputs"]["rows"][0]["order_id"], 900);
    assert!(names(&product).contains(&"product_sales".to_owned()));
    assert_eq!(of("order_id=900".to_owned())["inputs"]["rows"][0]["customer_id"], 50);
    let day = of("order_date=2024-03-05".to_owned());
    assert_eq!((&names(&day)[..], &day["inputs"]["all_rows"]), (&["daily_sales".to_owned()][..], &json!(1)));
    // Columns are in their order.
    let text = served.get("/v1/explain?order_date=2024-03-05").text();
    assert!(text.find("\"order_date\":").expect("a column") < text.find("\"daily_revenue\":").expect("a column"));
    let unknown = of("customer_id=987654".to_owned());
    assert!(unknown["tables"].as_array().expect("tables").iter().all(|table| table["rows"] == json!([])));
    for (query, words) in [
        ("", "wanted one of order_id"),
        ("day=1", "wanted one of order_id"),
        ("order_date=soon", "wanted a day"),
        ("customer_id=x", "wanted an integer"),
    ] {
        let problem = served.get(&format!("/v1/explain?{query}")).expect(400).json();
        assert!(problem["detail"].as_str().expect("a detail").contains(words), "{problem}");
    }
    stop(served.running);
}

#[test]
fn seconds_operators_sources_and_tasks_are_told() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    served
        .post_json("orders", &json!([order(901, 1, 1, "2024-03-05", 2), {"order_id": 902, "order_date": "soon"}]))
        .expect(200);
    let until = |what: &str, path: &str, is_so: &dyn Fn(&Value) -> bool| {
        let started = Instant::now();
        loop {
            let answer = served.get(path).expect(200).json();
            if is_so(&answer) {
                return answer;
            }
            assert!(started.elapsed() < PATIENCE, "{what}: {answer}");
            thread::sleep(Duration::from_millis(20));
        }
    };
    let all = |history: &Value, column: &str| {
        history[column].as_array().expect("a column").iter().filter_map(Value::as_u64).sum::<u64>()
    };
    let history = until("history", "/v1/history", &|history| all(history, "rows") == 2);
    assert_eq!((all(&history, "epochs"), all(&history, "rejected_rows")), (1, 1));
    assert_eq!(all(&history["distribution"], "epochs"), 1);
    let last = history["seconds"].as_array().and_then(|seconds| seconds.last()?.as_u64()).expect("a second");
    assert_eq!(served.get(&format!("/v1/history?since={}", last + 100)).json()["seconds"], json!([]));

    let dataflow = served.get("/v1/dataflow").expect(200).json();
    let operators = dataflow["operators"].as_array().expect("operators");
    let named = |name: &str| {
        operators.iter().find(|operator| operator["name"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
    };
    let orders = named("Order lines");
    let rows = served.get("/v1/overview").json()["totals"]["orders"].as_u64().expect("a count");
    assert!(
        orders["records"].as_u64().expect("a count") >= rows && orders["bytes"].as_u64() > Some(rows * 8),
        "{orders}"
    );
    assert!(orders["busy_us"].as_u64() > Some(0) && orders["records_sent"].as_u64() >= Some(rows), "{orders}");
    assert!(orders["to"].as_array().expect("names").contains(&json!("Order lines by customer")));
    assert_eq!(named("Order lines by customer")["records"], rows);

    let sources = served.get("/v1/sources").json();
    let http = &sources["sources"][1];
    assert_eq!((&http["arrivals"], &http["rows"], &http["rejected_rows"]), (&json!(1), &json!(2), &json!(1)));
    assert!(http["last_rejected"]["reason"].as_str().expect("a reason").contains("soon"));

    served.post_with("verify", &[], b"").expect(202);
    let status = until("verified", "/v1/status", &|status| {
        status["ended_tasks"].as_array().is_some_and(|ended| !ended.is_empty())
    });
    let task = &status["ended_tasks"][0];
    assert_eq!(
        (&task["task"], &task["outcome"], &task["epoch"]),
        (&json!("verify"), &json!("done"), &json!(2)),
        "{task}"
    );
    served.post_with("publish", &[], b"").expect(202);
    until("published", "/v1/sinks", &|sinks| sinks["sinks"][0]["last_publication"]["outcome"] == "done");
    stop(served.running);
}

/// Rejected rows of a running service are dropped and tried again, also while others are rejected, and a start after a
/// kill has what the answers said.
#[test]
fn rejected_rows_of_a_running_service_are_tried_again_and_dropped() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    let at_first = served.get("/v1/rejected").json()["all_rows"].as_u64().expect("a count");
    let bad = |id: u64| json!({"order_id": id, "order_date": "soon", "customer_id": 1, "product_id": 1});
    served.post_json("orders", &json!([bad(1), bad(2), order(903, 1, 1, "2024-03-05", 2)])).expect(200);
    let rejected = served.get("/v1/rejected").expect(200).json();
    assert_eq!(rejected["all_rows"], at_first + 2);
    let reasons = rejected["reasons"].as_array().expect("reasons");
    assert!(reasons.iter().any(|reason| reason["rows"] == 3 && reason["table"] == "orders"), "{rejected}");
    let retried = served.post_with("rejected/retry", &[], b"").expect(200).json();
    assert_eq!((&retried["accepted"], &retried["rejected"]), (&json!(0), &json!(at_first + 2)), "{retried}");
    // Others are rejected meanwhile.
    let dropped = thread::scope(|scope| {
        let posting =
            scope.spawn(|| (10..40).for_each(|id| drop(served.post_json("orders", &json!([bad(id)])).expect(200))));
        let dropped = served.post_with("rejected/drop", &[], b"").expect(200).json();
        posting.join().expect("posted");
        dropped
    });
    let left = served.get("/v1/rejected").json()["all_rows"].as_u64().expect("a count");
    assert_eq!(dropped["dropped"].as_u64(), Some(at_first + 32 - left), "{dropped}");
    served.post_with("verify", &[], b"").expect(202);
    let Served { mut running, .. } = served;
    running.await_line("verified epoch");
    running.kill();
    running.end();
    let served = Served::start(&shop, &[]);
    assert_eq!(served.get("/v1/rejected").json()["all_rows"], left);
    let rest = served.post_with("rejected/drop", &[], b"").expect(200).json();
    assert_eq!((&rest["dropped"], &served.get("/v1/rejected").json()["all_rows"]), (&json!(left), &json!(0)));
    assert_eq!(served.get("/v1/rejected").json()["reasons"], json!([]));
    stop(served.running);
    let published = tables(&shop.output());
    assert!(published.iter().any(|(name, rows)| name == "rejected" && rows.is_empty()));
    let mut verify = command(&["verify", "--as-of", "2024-03-31"]);
    verify.arg("--input").arg(shop.input()).arg("--output").arg(shop.output());
    check(&finish(verify), 0, &[]);
}

fn rejected_rows(served: &Served) -> Vec<Value> {
    served.get("/v1/rejected").expect(200).json()["rows"].as_array().expect("rows").clone()
}

/// Asks for the rejected rows that match a filter to be dropped or tried again.
fn ask_for_rejected(served: &Served, what: &str, filter: &Value) -> served::Answer {
    let headers = [("content-type", "application/json")];
    served.post_with(&format!("rejected/{what}"), &headers, filter.to_string().as_bytes())
}

/// What may be meant otherwise drops nothing.
#[test]
fn a_filter_that_is_not_clear_is_refused() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    let all = rejected_rows(&served);
    for (wrong, words) in [
        (json!({"rows": 1}), "unknown field"),
        (json!([]), "the body: "),
        (json!("x"), "the body: "),
        (json!({}), "found an empty object"),
        (json!({"reason": null}), "null"),
        (json!({"table": "daily_sales"}), "there is no input table daily_sales"),
        (json!({"row_number": 0}), "nonzero"),
    ] {
        let refused = ask_for_rejected(&served, "drop", &wrong).expect(400);
        assert!(refused.text().contains(words), "{}", refused.text());
    }
    served.post_with("rejected/drop?table=orders", &[], b"").expect(400);
    served.post_with("rejected/drop", &[("connection", "close")], &vec![b' '; 3 << 20]).expect(413);
    assert!(!all.is_empty() && rejected_rows(&served) == all);
    stop(served.running);
}

/// Rejected rows that match a filter are dropped or tried again, and the others stay as they were, also while more are
/// rejected, and after a kill.
#[test]
fn some_rejected_rows_are_dropped_or_tried_again_and_the_others_stay() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    served.post_with("rejected/drop", &[], b"").expect(200);
    let bad = |id: u64, day: &str| json!({"order_id": id, "product_id": 1, "order_date": day, "quantity": 1});
    let no_id = json!({"order_date": "2024-03-01"});
    served.post_json("orders", &json!([bad(1, "soon"), bad(2, "late"), no_id])).expect(200);
    served.post_json("products", &json!([{"product_id": 1, "price": "dear"}])).expect(200);
    let all = rejected_rows(&served);
    assert_eq!(all.len(), 4);
    let epoch = served.get("/v1/status").epoch();
    for nothing in [json!({"reason": "none"}), json!({"table": "orders", "row_number": 9}), json!({"file": "none"})] {
        assert_eq!(ask_for_rejected(&served, "drop", &nothing).expect(200).json()["dropped"], 0, "{nothing}");
        let retried = ask_for_rejected(&served, "retry", &nothing).expect(200).json();
        assert_eq!((&retried["accepted"], &retried["rejected"]), (&json!(0), &json!(0)), "{nothing}");
    }
    assert_eq!(served.get("/v1/status").epoch(), epoch, "nothing is no epoch");
    let reason = json!({"reason": "order_date is not an ISO 8601 date in the years 1 to 9999"});
    assert_eq!(ask_for_rejected(&served, "retry", &reason).expect(200).json()["rejected"], 2);

    let without = |words: &[&str]| -> Vec<Value> {
        let has = |row: &&Value| !words.iter().any(|words| row.to_string().contains(words));
        all.iter().filter(has).cloned().collect()
    };
    let late = all.iter().find(|row| row["row"].to_string().contains("late")).expect("a row");
    assert_eq!(ask_for_rejected(&served, "drop", late).expect(200).json()["dropped"], 1);
    assert_eq!(rejected_rows(&served), without(&["late"]));
    let dropped = thread::scope(|scope| {
        let posting = scope.spawn(|| {
            (100..130)
                .for_each(|id| drop(served.post_json("orders", &json!({"order_id": id, "quantity": "x"})).expect(200)));
        });
        let dropped = ask_for_rejected(&served, "drop", &reason).expect(200).json();
        posting.join().expect("posted");
        dropped
    });
    assert_eq!(dropped["dropped"], 1);
    assert_eq!(rejected_rows(&served).len(), without(&["late", "soon"]).len() + 30);
    assert_eq!(
        ask_for_rejected(&served, "drop", &json!({"reason": "quantity is not a number"})).expect(200).json()["dropped"],
        30
    );
    assert_eq!(rejected_rows(&served), without(&["late", "soon"]));

    served.post_json("orders", &json!([bad(13, "13.03.2024"), bad(14, "14.03.2024")])).expect(200);
    let config = shop.path("config.yaml");
    fs::write(&config, "date_format: '%d.%m.%Y'").expect("written");
    let start = || {
        let command = service(&shop, &["--listen", "127.0.0.1:0", "--config", config.to_str().expect("text")]);
        Served::start_command(command)
    };
    let kill = |served: Served| {
        let Served { mut running, .. } = served;
        running.kill();
        running.end();
    };
    kill(served);
    let served = start();
    let retried = ask_for_rejected(&served, "retry", &json!({"table": "orders", "row_number": 2})).expect(200).json();
    assert_eq!((&retried["accepted"], &retried["rejected"]), (&json!(1), &json!(0)), "{retried}");
    kill(served);
    let served = start();
    let left = rejected_rows(&served);
    let has = |day: &str| left.iter().any(|row| row.to_string().contains(day));
    assert!(has("13.03.2024") && !has("14.03.2024"), "{left:?}");
    let day = served.get("/v1/tables/daily_sales?key=2024-03-14").json();
    assert_eq!(day["rows"].as_array().map(Vec::len), Some(1), "{day}");
    stop(served.running);
}

/// A failed check is reported, and a support bundle has neither secrets nor rows.
#[test]
fn the_doctor_examines_a_service_and_packs_what_helps() {
    let shop = shop_with_folder();
    let address = hosts(1);
    let config = shop.path("config.yaml");
    fs::write(&config, format!("serve: {{listen: '{address}', token: sesame}}\nmatrix_size: 7\n")).expect("written");
    let doctor = |more: &[&str]| {
        let mut doctor = command(&["doctor", "--config", config.to_str().expect("text")]);
        doctor.arg("--input").arg(shop.input()).arg("--output").arg(shop.output()).args(more);
        finish(doctor)
    };
    let before = doctor(&[]);
    check(&before, 3, &["1 of 8 checks failed"]);
    assert!(before.stdout.contains("ok    settings: valid") && before.stdout.contains("FAIL  service: "), "{before:?}");
    let mut command = service(&shop, &["--config", config.to_str().expect("text")]);
    command.env_remove("MILLSTREAM_TOKEN");
    let mut running = Running::start(command);
    running.await_line("live at epoch 1");
    let agent = served::agent();
    let posted = agent.post(format!("http://{address}/v1/orders")).header("authorization", "Bearer sesame");
    let bad = json!({"order_id": 7, "order_date": "Rumpelstiltskin"});
    let posted = posted.header("content-type", "application/json").send(bad.to_string()).expect("an answer");
    assert_eq!(posted.status(), 200);
    let bundle = shop.path("bundle.tar.gz");
    let found = doctor(&["--bundle", bundle.to_str().expect("text")]);
    check(&found, 0, &[]);
    assert!(found.stdout.contains("live at epoch 2, 0.000 s behind"), "{}", found.stdout);
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(&bundle).expect("a bundle")));
    let mut files = BTreeMap::new();
    for entry in archive.entries().expect("an archive") {
        let (mut entry, mut text) = (entry.expect("a file"), String::new());
        entry.read_to_string(&mut text).expect("a text");
        let name = entry.path().expect("a path").to_str().expect("text").to_owned();
        files.insert(name.strip_prefix("millstream-bundle/").expect("the folder").to_owned(), text);
    }
    for (name, words) in [
        ("doctor.txt", "ok    service: "),
        ("settings.txt", "matrix_size"),
        ("config.json", "(a secret)"),
        ("state.txt", "manifest.json"),
        ("status.json", "\"epoch\": 2"),
        ("rejected.json", "order_date is not an ISO 8601 date in the years 1 to 9999"),
        ("metrics.txt", "millstream_ready 1"),
        ("logs.json", "live at epoch 1"),
        ("dataflow.json", "operators"),
    ] {
        assert!(files.get(name).is_some_and(|text| text.contains(words)), "{name}: {files:?}");
    }
    for (name, text) in &files {
        assert!(!text.contains("sesame") && !text.contains("Rumpelstiltskin"), "{name}: {text}");
    }
    // What is wrong with the job's settings does not hide the service; what exists is not replaced.
    let again = doctor(&["--matrix-size", "0", "--bundle", bundle.to_str().expect("text")]);
    check(&again, 3, &["2 of 4 checks failed"]);
    for words in ["FAIL  settings: ", "ok    service: ", "FAIL  bundle: --bundle: "] {
        assert!(again.stdout.contains(words), "{words}: {}", again.stdout);
    }
    stop(running);
    assert!(doctor(&["--durability", "often"]).stdout.contains("FAIL  settings: durability: found often"));
    fs::write(shop.path("file"), "").expect("written");
    let no_folder = doctor(&["--json", "--state", shop.path("file/state").to_str().expect("text")]);
    assert!(serde_json::from_str::<Value>(&no_folder.stdout).is_ok_and(|checks| checks.is_array()), "{no_folder:?}");
    assert!(no_folder.stdout.contains("not a folder"), "{no_folder:?}");
    fs::write(&config, format!("serve: {{listen: '{address}', token: \"sesame}}")).expect("written");
    let broken = doctor(&[]);
    assert!(broken.stdout.contains("FAIL  settings: ") && !broken.stdout.contains("sesame"), "{broken:?}");
}

/// A rejected row of any length is taken back as it was rejected.
#[test]
fn a_rejected_row_that_was_shortened_is_dropped() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    served.post_with("rejected/drop", &[], b"").expect(200);
    let long = format!("{{\"order_id\": 1, \"order_date\": \"{}\"}}\n{}\n", "ä".repeat(200_000), "x".repeat(300_000));
    served.post("orders", "application/x-ndjson", long.as_bytes()).expect(200);
    let rejected = served.get("/v1/rejected").expect(200).json();
    assert_eq!((&rejected["all_rows"], rejected["rows"].as_array().map(Vec::len)), (&json!(2), Some(2)));
    assert_eq!(served.post_with("rejected/retry", &[], b"").expect(200).json()["rejected"], 2);
    assert_eq!(served.post_with("rejected/drop", &[], b"").expect(200).json()["dropped"], 2);
    assert_eq!(served.get("/v1/rejected").json()["all_rows"], 0);
    stop(served.running);
}

/// A process that dies when rejected rows are forgotten, before it has answered, has forgotten those that matched, and
/// no others.
#[test]
fn killed_when_rejected_rows_are_forgotten_it_has_forgotten_them() {
    let shop = shop_with_folder();
    let dies_when_asked = |filter: &str| {
        let mut command = service(&shop, &["--listen", "127.0.0.1:0"]);
        command.env("MILLSTREAM_CRASH_AT", "rejected rows forgotten");
        let served = Served::start_command(command);
        let before = rejected_rows(&served);
        assert!(served.agent.post(format!("{}/v1/rejected/drop", served.base)).send(filter).is_err(), "no answer");
        served.running.end();
        before
    };
    let before = dies_when_asked(r#"{"table": "orders"}"#);
    let others: Vec<Value> = before.iter().filter(|row| row["table"] != "orders").cloned().collect();
    assert!(!others.is_empty() && others.len() < before.len(), "{before:?}");
    assert_eq!(dies_when_asked(""), others);
    let served = Served::start(&shop, &[]);
    assert_eq!(served.get("/v1/rejected").json()["all_rows"], 0);
    stop(served.running);
}

/// What a job does not compute is null, not nothing.
#[test]
fn an_overview_without_tables_has_no_figures() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &["--tables", "daily_sales"]);
    let overview = served.get("/v1/overview").expect(200).json();
    assert_eq!(overview["totals"], json!({ "revenue": null, "orders": null, "customers": null }));
    assert_eq!((&overview["tiers"], &overview["products"]), (&Value::Null, &Value::Null));
    assert!(overview["days"].as_array().is_some_and(|days| !days.is_empty()));
    let explained = served.get("/v1/explain?customer_id=1").expect(200).json();
    assert_eq!((&explained["inputs"], &explained["tables"]), (&Value::Null, &json!([])));
    stop(served.running);
}

/// What another origin's page, or one of no known origin, sends is refused; what `top` shows of others can't move a
/// cursor, and what is no millstream service is named.
#[test]
fn strangers_are_refused() {
    let shop = shop_with_folder();
    let served = Served::start(&shop, &[]);
    for origin in [&b"http://evil.example"[..], b"null", b"http://evil\xff.example"] {
        let origin = ureq::http::HeaderValue::from_bytes(origin).expect("a value");
        let request = served.agent.post(format!("{}/v1/verify", served.base)).header("origin", origin);
        assert_eq!(served::Answer::of(request.send_empty().expect("an answer")).status, 403);
    }
    let own = served.agent.post(format!("{}/v1/verify", served.base)).header("origin", &served.base);
    assert_eq!(served::Answer::of(own.send_empty().expect("an answer")).status, 202);
    let top = |url: &str| {
        let mut top = command(&["top", "--once", "--url", url]);
        top.env_remove("MILLSTREAM_TOKEN");
        finish(top)
    };
    check(&top(&served.base), 0, &[]);
    assert!(top(&served.base).stdout.contains("Order lines by customer"));
    stop(served.running);
    check(&top("http://127.0.0.1:1"), 2, &["--url: http://127.0.0.1:1"]);
    for body in ["[1,2]", "{}", "<p>"] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                use std::io::{Read, Write};
                let _ = stream.read(&mut [0; 4096]);
                let length = body.len();
                let _ =
                    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            }
        });
        check(&top(&url), 2, &["does not answer as a millstream service does"]);
    }
}

#[test]
fn a_page_is_for_everyone_and_what_it_asks_for_is_not() {
    let shop = shop_with_folder();
    let mut command = service(&shop, &["--listen", "127.0.0.1:0"]);
    command.env("MILLSTREAM_TOKEN", "secret");
    let served = Served::start_loading(command);
    let get = |path: &str, accept: &str| {
        let request = served.agent.get(format!("{}{path}", served.base)).header("accept", accept);
        served::Answer::of(request.call().expect("an answer"))
    };
    let page = get("/", "text/html,application/xhtml+xml");
    assert_eq!((page.status, &page.headers["content-type"][..]), (200, "text/html; charset=utf-8"));
    let policy = &page.headers["content-security-policy"];
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    get("/console/main.js", "*/*").expect(200);
    for path in ["/", "/v1/overview", "/v1/status", "/v1/explain?order_id=1", "/v1/rejected"] {
        get(path, "application/json").expect(401);
    }
    for path in ["/console/none.js", "/console/../Cargo.toml", "/console/%2e%2e/Cargo.toml"] {
        assert_eq!(get(path, "*/*").status, 404, "{path}");
    }
    stop(served.running);
}
