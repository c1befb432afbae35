//! A bucket on a server that speaks S3 (moto).

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, reason = "this is a module of each test binary")]

use std::env;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::{Builder, Runtime};

use crate::files::Shop;
use crate::files::serving::PATIENCE;
use crate::served::agent;

/// A server that is stopped when it is dropped.
pub struct Bucket {
    process: Child,
    base: String,
}

impl Bucket {
    /// Starts a server with a bucket that has a shop; `None`, and says so, where none is installed.
    pub fn with(shop: &Shop) -> Option<Bucket> {
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

    pub fn put(&self, key: &str, content: &[u8]) {
        let put = agent().put(format!("{}{key}", self.base)).send(content).expect("an answer");
        assert_eq!(put.status(), 200, "{key}");
    }

    /// The content of an object; `None` if it is not there.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        let (store, runtime) = self.store();
        runtime.block_on(async {
            match store.get(&key.into()).await {
                Ok(found) => Some(found.bytes().await.expect("a whole object").to_vec()),
                Err(object_store::Error::NotFound { .. }) => None,
                Err(error) => panic!("{key}: {error}"),
            }
        })
    }

    /// The part before all keys.
    pub fn endpoint(&self) -> &str {
        self.base.strip_suffix("/bucket").expect("a bucket")
    }

    /// Copies all objects below a key into a folder.
    pub fn download(&self, key: &str, folder: &Path) {
        let (store, runtime) = self.store();
        runtime.block_on(async {
            let objects: Vec<_> = store.list(Some(&key.into())).try_collect().await.expect("listed");
            for object in objects {
                let below = object.location.as_ref().strip_prefix(&format!("{key}/")).expect("below").to_owned();
                let path = folder.join(below);
                fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                let content = store.get(&object.location).await.expect("found").bytes().await.expect("whole");
                fs::write(path, content).expect("written");
            }
        });
    }

    fn store(&self) -> (AmazonS3, Runtime) {
        let store = AmazonS3Builder::new().with_endpoint(self.endpoint()).with_allow_http(true);
        let store = store.with_bucket_name("bucket").with_region("us-east-1");
        let store = store.with_access_key_id("key").with_secret_access_key("secret");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        (store.build().expect("a store"), runtime)
    }

    /// Tells a command where the bucket is.
    pub fn configured(&self, command: &mut Command) {
        command.env("AWS_ENDPOINT", self.endpoint()).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "s3cret-of-a-test");
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}
