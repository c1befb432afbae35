//! Folders in object storage, with a server that speaks S3 (moto).

#![cfg(feature = "s3")]

mod files;
mod served;

use std::env;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use files::processes::Running;
use files::serving::{PATIENCE, stop, tables};
use files::{Shop, check, command, finish};
use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3Builder;
use serde_json::Value;
use served::{Served, agent};
use tokio::runtime::Builder;

/// A server that is stopped when it is dropped.
struct Bucket {
    process: Child,
    base: String,
}

impl Bucket {
    /// Starts a server with a bucket that has a shop; `None`, and says so, where none is installed.
    fn with(shop: &Shop) -> Option<Bucket> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let mut server = Command::new("python3");
        server.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        if let Some(packages) = env::var_os("MILLSTREAM_MOTO") {
            server.env("PYTHONPATH", packages);
        }
        let mut process = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if process.try_wait().expect("a process").is_some() {
                eprintln!("no moto for python3, nor in MILLSTREAM_MOTO: nothing is tested with object storage");
                return None;
            }
            assert!(started.elapsed() < PATIENCE, "the server listens");
            thread::sleep(Duration::from_millis(50));
        }
        let bucket = Bucket { process, base: format!("http://127.0.0.1:{port}/bucket") };
        bucket.put("", b"");
        for entry in fs::read_dir(shop.input()).expect("a folder").flatten().filter(|entry| entry.path().is_file()) {
            let content = fs::read(entry.path()).expect("a file");
            bucket.put(&format!("/shop/{}", entry.file_name().to_string_lossy()), &content);
        }
        Some(bucket)
    }

    fn put(&self, key: &str, content: &[u8]) {
        let put = agent().put(format!("{}{key}", self.base)).send(content).expect("an answer");
        assert_eq!(put.status(), 200, "{key}");
    }

    /// The content of an object; `None` if it is not there.
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        let endpoint = self.base.strip_suffix("/bucket").expect("a bucket");
        let store = AmazonS3Builder::new().with_endpoint(endpoint).with_allow_http(true).with_bucket_name("bucket");
        let store = store.with_access_key_id("key").with_secret_access_key("secret").with_region("us-east-1");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = store.build().expect("a store");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            match store.get(&key.into()).await {
                Ok(found) => Some(found.bytes().await.expect("a whole object").to_vec()),
                Err(object_store::Error::NotFound { .. }) => None,
                Err(error) => panic!("{key}: {error}"),
            }
        })
    }

    /// What the current version is.
    fn manifest(&self) -> Value {
        serde_json::from_slice(&self.get("/tables/current.json").expect("it is there")).expect("JSON")
    }

    /// Fetches the current version, file by file as a reader does, into a folder.
    fn fetch(&self, shop: &Shop) {
        let manifest = self.manifest();
        let version = manifest["version"].as_str().expect("a version");
        for file in
            manifest["tables"].as_object().expect("tables").values().flat_map(|files| files.as_array().expect("files"))
        {
            let path = file["path"].as_str().expect("a path");
            let below = path.strip_prefix(&format!("versions/{version}/")).expect("of the version");
            let content = self.get(&format!("/tables/{path}")).expect("it is there");
            assert_eq!(content.len() as u64, file["bytes"].as_u64().expect("bytes"));
            let local = shop.path("fetched").join(below);
            fs::create_dir_all(local.parent().expect("a folder")).expect("made");
            fs::write(local, content).expect("written");
        }
    }

    fn configured(&self, command: &mut Command) {
        let endpoint = self.base.strip_suffix("/bucket").expect("a bucket");
        command.env("AWS_ENDPOINT", endpoint).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "s3cret-of-a-test");
    }

    fn run(&self) -> Command {
        let mut run = command(&["run", "--as-of", "2024-03-31", "--input", "s3://bucket/shop"]);
        run.args(["--output", "s3://bucket/tables"]);
        self.configured(&mut run);
        run
    }

    fn service(&self, shop: &Shop) -> Command {
        let mut serve = command(&["serve", "--as-of", "2024-03-31", "--listen", "127.0.0.1:0"]);
        serve.args(["--input", "s3://bucket/shop", "--output", "s3://bucket/tables", "--state"]);
        serve.arg(shop.path("state"));
        self.configured(&mut serve);
        serve
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
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
    check(&finish(bucket.run()), 0, &[]);
    bucket.fetch(&shop);
    let wanted = wanted(&shop);
    assert_eq!(tables(&shop.path("fetched")), wanted);
    let first = bucket.manifest();
    let key = |manifest: &Value| {
        let file = &manifest["tables"]["daily_sales"][0]["path"];
        format!("/tables/{}", file.as_str().expect("a path"))
    };
    // Readers of the version before go on; those of the one before that have had their time.
    check(&finish(bucket.run()), 0, &[]);
    let second = bucket.manifest();
    assert!(second["version"] != first["version"] && second["previous"] == first["version"], "{second}");
    assert!(bucket.get(&key(&first)).is_some() && bucket.get(&key(&second)).is_some());
    check(&finish(bucket.run()), 0, &[]);
    assert!(bucket.get(&key(&first)).is_none() && bucket.get(&key(&second)).is_some());
}

#[test]
fn a_run_that_dies_leaves_the_version_before() {
    let shop = Shop::small();
    let Some(bucket) = Bucket::with(&shop) else { return };
    check(&finish(bucket.run()), 0, &[]);
    let former = bucket.manifest();
    let mut dying = bucket.run();
    dying.env("MILLSTREAM_CRASH_AT", "objects: files put");
    Running::start(dying).end();
    assert_eq!(bucket.manifest(), former);
    let mut dying = bucket.run();
    dying.env("MILLSTREAM_CRASH_AT", "objects: version switched");
    Running::start(dying).end();
    assert_eq!(bucket.manifest()["previous"], former["version"]);
    check(&finish(bucket.run()), 0, &[]);
    bucket.fetch(&shop);
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
    let served = Served::start_command(bucket.service(&shop));
    let more = "order_id,customer_id,product_id,order_date,quantity,discount\n777,1,10,2024-03-09,4,0\n";
    bucket.put("/shop/orders/1.csv", more.as_bytes());
    fs::write(shop.input().join("orders/1.csv"), more).expect("written");
    let started = Instant::now();
    while !served.get("/v1/tables/daily_sales?format=jsonl").text().contains("2024-03-09") {
        assert!(started.elapsed() < PATIENCE, "{}", served.running.log());
        thread::sleep(Duration::from_millis(50));
    }
    stop(served.running);
    bucket.fetch(&shop);
    assert_eq!(tables(&shop.path("fetched")), wanted(&shop));
    // Nothing is taken twice, and nothing has changed.
    let version = bucket.manifest()["version"].clone();
    stop(Served::start_command(bucket.service(&shop)).running);
    assert_eq!(bucket.manifest()["version"], version);
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
    let done = finish(bucket.run());
    check(&done, 2, &["current.json", "it was not made by millstream; choose another folder"]);
    let mut serve = command(&["serve", "--input", "s3://bucket/shop", "--output", "s3://bucket/tables"]);
    bucket.configured(&mut serve);
    check(&finish(serve), 2, &["wanted --state with a local folder"]);
}
