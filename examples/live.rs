//! A durable live job in a program: a shop in a folder, a sink of one's own, a file that arrives, and a restart.
//!
//! `cargo run --release --example live`

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use millstream::config::RunConfig;
use millstream::generate::generate;
use millstream::model::Day;
use millstream::runtime::{Phase, Progress};
use millstream::service::{ServiceConfig, ServiceHandle, serve};
use millstream::sinks::{ChangeFeed, Sink};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let shop = folder.path().join("shop");
    generate(0.001, &shop)?;
    let as_of = Day::from_ymd(2024, 12, 31).expect("a day");
    let config = ServiceConfig::new(RunConfig::new(&shop, &folder.path().join("tables"), as_of));

    // The first start: the shop is the first epoch, and a file that arrives the second.
    let feed = ChangeFeed::new();
    follow(&config, &feed, || {
        let rows = "order_id,customer_id,product_id,order_date,quantity,discount\n1000000,1,1,2024-05-01,2,0.1\n";
        arrive(&shop.join("orders"), "today.csv", rows)?;
        let changes = loop {
            match feed.take() {
                Some((_, changes)) => break changes,
                None => thread::sleep(Duration::from_millis(10)),
            }
        };
        for table in changes {
            println!("{}: {} rows in, {} out", table.table.name, table.plus.num_rows(), table.minus.num_rows());
        }
        Ok(())
    })?;

    // The second start: everything is there already.
    follow(&config, &ChangeFeed::new(), || {
        println!("and again, from the state");
        Ok(())
    })
}

/// Runs the service while a function is called, and then stops it.
fn follow(
    config: &ServiceConfig,
    feed: &ChangeFeed,
    meanwhile: impl FnOnce() -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let (requests, progress) = (ServiceHandle::default(), Arc::new(Progress::default()));
    let sinks = || vec![Box::new(feed.clone()) as Box<dyn Sink>];
    thread::scope(|scope| {
        let service = scope.spawn(|| serve(config, sinks, &progress, &requests));
        while progress.phase() != Phase::Live && !service.is_finished() {
            thread::sleep(Duration::from_millis(10));
        }
        let done = meanwhile();
        requests.stop.store(true, Ordering::Relaxed);
        service.join().expect("the service does not panic")?;
        done
    })
}

/// Puts a file into a folder in one step.
fn arrive(folder: &Path, name: &str, content: &str) -> std::io::Result<()> {
    let hidden = folder.join(format!(".{name}"));
    fs::write(&hidden, content)?;
    fs::rename(hidden, folder.join(name))
}
