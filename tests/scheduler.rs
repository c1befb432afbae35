//! `validate` before and after a run, and `health` during it.

mod files;

use std::fs;

use files::processes::Running;
use files::{Done, Shop, millstream};

fn check(done: &Done, status: i32, words: &[&str]) {
    assert_eq!(done.status, status, "{done:?}");
    for word in words {
        assert!(done.stdout.contains(word) || done.stderr.contains(word), "{word:?} in {done:?}");
    }
    assert!(!done.stderr.contains("panicked"), "{done:?}");
}

#[test]
fn validation_says_what_is_wrong_and_ends_with_status_3() {
    let shop = Shop::small();
    let (input, output) = (shop.input(), shop.output());
    let (input, output) = (input.to_str().expect("text"), output.to_str().expect("text"));
    assert_eq!(millstream(&["validate", "input", input]).status, 0);
    let before = millstream(&["validate", "output", output]);
    assert_eq!(before.status, 3);
    assert!(before.stdout.contains("FAIL  daily_sales is whole"), "{before:?}");
    let report = shop.path("report.json");
    let report = report.to_str().expect("text");
    check(&shop.run(&["--report", report]), 0, &[]);
    let after = millstream(&["validate", "output", output, "--report", report]);
    assert_eq!(after.status, 0, "{after:?}");
    assert!(after.stdout.contains("ok    rejected is from this run"), "{after:?}");
    check(&shop.run(&["--report", report, "--status", report]), 2, &["is both the report and the saved model or"]);
    check(&shop.run(&[]), 0, &[]);
    let stale = millstream(&["validate", "output", output, "--report", report]);
    assert!(stale.status == 3 && stale.stdout.contains("wanted run"), "{stale:?}");
    shop.write("customers.csv", "customer_id\n");
    check(&shop.run(&["--report", report, "--target-file-size", "1KB"]), 0, &[]);
    fs::remove_file(shop.output().join("enriched_data").join(&shop.files("enriched_data")[0])).expect("removed");
    let incomplete = millstream(&["validate", "output", output, "--report", report]);
    assert!(
        incomplete.status == 3 && incomplete.stdout.contains("FAIL  enriched_data is from this run"),
        "{incomplete:?}"
    );
    let empty = millstream(&["validate", "input", input, "--json"]);
    assert!(empty.status == 3 && empty.stdout.contains("\"passed\": false"), "{empty:?}");
}

#[test]
fn an_input_that_cannot_be_used_fails_a_check_of_its_own() {
    let shop = Shop::small();
    let input = shop.input();
    let input = input.to_str().expect("text");
    let ask = || millstream(&["validate", "input", input]);
    check(
        &ask(),
        0,
        &["ok    orders can be opened: 1 files", "ok    orders has usable rows: 4 rejected: 1 × orders: "],
    );
    shop.write("orders.csv", "order_id,customer_id,product_id,order_date,quantity,discount\n,1,10,,,\n,2,11,,,\n");
    check(
        &ask(),
        3,
        &[
            "FAIL  orders has usable rows: orders: 2 of 2 rows rejected",
            "max_rejected_share",
            "order_id is null",
            "ok    orders has rows: 2",
        ],
    );
    shop.write("orders.csv", "order_id,customer_id\n1,2\n");
    check(&ask(), 3, &["FAIL  orders can be opened", "no column product_id"]);
    fs::remove_file(shop.input().join("orders.csv")).expect("removed");
    check(&ask(), 3, &["FAIL  orders can be opened", "no table orders", "ok    products has rows"]);
    check(&millstream(&["validate", "input", "/nowhere"]), 3, &["there is no such folder"]);
}

#[test]
fn a_damaged_output_cannot_be_read() {
    let shop = Shop::generated("0.002");
    let output = shop.output();
    let report = shop.path("report.json");
    let (output, report) = (output.to_str().expect("text"), report.to_str().expect("text"));
    for (format, codec) in [("parquet", "snappy"), ("csv", "gzip"), ("jsonl", "zstd"), ("jsonl", "none")] {
        let args = ["--format", format, "--compression", codec, "--report", report];
        check(&shop.run(&args), 0, &[]);
        let ask = || millstream(&["validate", "output", output, "--report", report]);
        check(&ask(), 0, &["ok    enriched_data is from this run", "ok    daily_sales has rows: 1,738"]);
        let path = shop.output().join("enriched_data").join(&shop.files("enriched_data")[0]);
        let mut bytes = fs::read(&path).expect("read");
        let half = bytes.len() / 2;
        match codec {
            // The header of the first page; a file's footer tells nothing of it.
            "snappy" => bytes[4..68].fill(0xff),
            // The middle of what gzip has a checksum of.
            "gzip" => bytes[half..half + 64].fill(0xff),
            _ => bytes.truncate(half),
        }
        fs::write(&path, bytes).expect("written");
        check(&ask(), 3, &["FAIL  enriched_data", "checks failed"]);
    }
}

#[test]
fn a_run_that_is_alive_says_what_it_does() {
    let shop = Shop::generated("0.05");
    let status = shop.path("status");
    let status = status.to_str().expect("text");
    let ask = || millstream(&["health", "--status", status]);
    check(&ask(), 1, &["no run"]);
    let mut running = Running::start(shop.command(&["--status", status]));
    running.await_line("reading");
    check(&ask(), 0, &["rows read"]);
    running.kill();
    running.end();
    let kept = fs::read_to_string(status).expect("a run that is killed leaves it");
    let seconds = kept.split("\"unix_seconds\":").nth(1).and_then(|rest| rest.split(',').next()).expect("a time");
    let earlier = (seconds.parse::<u64>().expect("a number") - 60).to_string();
    fs::write(status, kept.replace(seconds, &earlier)).expect("written");
    check(&ask(), 1, &["not updated for 6"]);
    fs::write(status, kept.replace("\"still_seconds\":0", "\"still_seconds\":2000")).expect("written");
    check(&ask(), 1, &["no progress for 2000 seconds"]);
    check(&shop.run(&["--status", status]), 0, &[]);
    check(&ask(), 1, &["no run"]);
}
