//! Folders in object storage, with a server that speaks S3 (moto).

#![cfg(feature = "s3")]

mod bucket;
mod files;
mod served;

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use bucket::Bucket;
use files::processes::Running;
use files::serving::{PATIENCE, stop, tables};
use files::{Shop, check, command, finish};
use serde_json::Value;
use served::Served;

/// What the current version is.
fn manifest(bucket: &Bucket) -> Value {
    serde_json::from_slice(&bucket.get("/tables/current.json").expect("it is there")).expect("JSON")
}

/// Fetches the current version, file by file as a reader does, into a folder.
fn fetch(bucket: &Bucket, shop: &Shop) {
    let manifest = manifest(bucket);
    let version = manifest["version"].as_str().expect("a version");
    for file in
        manifest["tables"].as_object().expect("tables").values().flat_map(|files| files.as_array().expect("files"))
    {
        let path = file["path"].as_str().expect("a path");
        let below = path.strip_prefix(&format!("versions/{version}/")).expect("of the version");
        let content = bucket.get(&format!("/tables/{path}")).expect("it is there");
        assert_eq!(content.len() as u64, file["bytes"].as_u64().expect("bytes"));
        let local = shop.path("fetched").join(below);
        fs::create_dir_all(local.parent().expect("a folder")).expect("made");
        fs::write(local, content).expect("written");
    }
}

/// A run from the bucket to it.
fn run(bucket: &Bucket) -> Command {
    let mut run = command(&["run", "--as-of", "2024-03-31", "--input", "s3://bucket/shop"]);
    run.args(["--output", "s3://bucket/tables"]);
    bucket.configured(&mut run);
    run
}

/// A service over the bucket.
fn service(bucket: &Bucket, shop: &Shop) -> Command {
    let mut serve = command(&["serve", "--as-of", "2024-03-31", "--listen", "127.0.0.1:0"]);
    serve.args(["--input", "s3://bucket/shop", "--output", "s3://bucket/tables", "--state"]);
    serve.arg(shop.path("state"));
    bucket.configured(&mut serve);
    serve
}

/// What a run from folder to folder makes of a shop.
fn wanted(shop: &Shop) -> Vec<(String, Vec<String>)> {
    let mut run = command(&["run", "--as-of", "2024-03-31"]);
    run.arg("--input").arg(shop.input()).arg("--output").arg(shop.output());
    check(&finish(run), 0, &[]);
    tables(&shop.output())
}

#[test]
fn a_run_from_bucket_to_bucket_makes_what_one_from_folder_to_folder_does() {
    let shop = Shop::small();
    let Some(bucket) = Bucket::with(&shop) else { return };
    check(&finish(run(&bucket)), 0, &[]);
    fetch(&bucket, &shop);
    let wanted = wanted(&shop);
    assert_eq!(tables(&shop.path("fetched")), wanted);
    let first = manifest(&bucket);
    let key = |manifest: &Value| {
        let file = &manifest["tables"]["daily_sales"][0]["path"];
        format!("/tables/{}", file.as_str().expect("a path"))
    };
    // Readers of the version before go on; those of the one before that have had their time.
    check(&finish(run(&bucket)), 0, &[]);
    let second = manifest(&bucket);
    assert!(second["version"] != first["version"] && second["previous"] == first["version"], "{second}");
    assert!(bucket.get(&key(&first)).is_some() && bucket.get(&key(&second)).is_some());
    check(&finish(run(&bucket)), 0, &[]);
    assert!(bucket.get(&key(&first)).is_none() && bucket.get(&key(&second)).is_some());
}

#[test]
fn a_run_that_dies_leaves_the_version_before() {
    let shop = Shop::small();
    let Some(bucket) = Bucket::with(&shop) else { return };
    check(&finish(run(&bucket)), 0, &[]);
    let former = manifest(&bucket);
    let mut dying = run(&bucket);
    dying.env("MILLSTREAM_CRASH_AT", "objects: files put");
    Running::start(dying).end();
    assert_eq!(manifest(&bucket), former);
    let mut dying = run(&bucket);
    dying.env("MILLSTREAM_CRASH_AT", "objects: version switched");
    Running::start(dying).end();
    assert_eq!(manifest(&bucket)["previous"], former["version"]);
    check(&finish(run(&bucket)), 0, &[]);
    fetch(&bucket, &shop);
    assert_eq!(tables(&shop.path("fetched")), wanted(&shop));
}

#[test]
fn a_service_takes_objects_that_arrive_and_publishes_to_a_bucket() {
    let shop = Shop::small();
    fs::create_dir(shop.input().join("orders")).expect("a folder");
    fs::rename(shop.input().join("orders.csv"), shop.input().join("orders/0.csv")).expect("moved");
    let Some(bucket) = Bucket::with(&shop) else { return };
    bucket.put("/shop/orders/0.csv", &fs::read(shop.input().join("orders/0.csv")).expect("read"));
    // What marks a folder, as consoles make it.
    bucket.put("/shop/orders/", b"");
    let served = Served::start_command(service(&bucket, &shop));
    let more = "order_id,customer_id,product_id,order_date,quantity,discount\n777,1,10,2024-03-09,4,0\n";
    bucket.put("/shop/orders/1.csv", more.as_bytes());
    fs::write(shop.input().join("orders/1.csv"), more).expect("written");
    let started = Instant::now();
    while !served.get("/v1/tables/daily_sales?format=jsonl").text().contains("2024-03-09") {
        assert!(started.elapsed() < PATIENCE, "{}", served.running.log());
        thread::sleep(Duration::from_millis(50));
    }
    stop(served.running);
    fetch(&bucket, &shop);
    assert_eq!(tables(&shop.path("fetched")), wanted(&shop));
    // Nothing is taken twice, and nothing has changed.
    let version = manifest(&bucket)["version"].clone();
    stop(Served::start_command(service(&bucket, &shop)).running);
    assert_eq!(manifest(&bucket)["version"], version);
}

#[test]
fn what_can_not_be_used_is_said_without_secrets() {
    let shop = Shop::small();
    let Some(bucket) = Bucket::with(&shop) else { return };
    for (input, output, status, words) in [
        ("s3://nowhere/shop", "s3://bucket/tables", 1, "s3://nowhere/shop: "),
        ("s3://bucket/none", "s3://bucket/tables", 3, "no table"),
        ("ftp://bucket/shop", "s3://bucket/tables", 2, "wanted s3://BUCKET/FOLDER"),
        ("s3://key:s3cret-of-a-test@bucket/shop", "s3://bucket/tables", 2, "credentials do not belong into a URL"),
    ] {
        let mut run = command(&["run", "--as-of", "2024-03-31", "--input", input, "--output", output]);
        bucket.configured(&mut run);
        let done = finish(run);
        assert!(done.status == status && done.stderr.contains(words), "{input}: {done:?}");
        assert!(!done.stderr.contains("s3cret-of-a-test"), "{done:?}");
    }
    bucket.put("/tables/current.json", b"[]");
    let done = finish(run(&bucket));
    check(&done, 2, &["current.json", "it was not made by millstream; choose another folder"]);
    let mut serve = command(&["serve", "--input", "s3://bucket/shop", "--output", "s3://bucket/tables"]);
    bucket.configured(&mut serve);
    check(&finish(serve), 2, &["wanted --state with a local folder"]);
}
