//! The demo of a service: orders arrive all the time, and a page shows what they move.
//!
//! ```text
//! demo ─ a file of orders every second ─▶ folder ─▶ millstream serve ─▶ page
//!  └─ starts it again when it was killed             └─ rate of the stream, kill ◀─┘
//! ```

use std::collections::VecDeque;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use ureq::Agent;

use crate::atomic_file::AtomicFile;
use crate::error::{Error, Result};
use crate::generate::generate;
use crate::grouped::grouped;
use crate::http::{demo_rate, demo_stream_file, set_demo_rate};
use crate::runtime::Progress;
use crate::service::ServiceHandle;

use super::print::print_line;
use super::signals;

/// What the demo is asked for.
pub(super) struct LiveDemo<'a> {
    pub(super) folder: &'a Path,
    pub(super) scale: f64,
    pub(super) workers: Option<usize>,
    /// Orders a second, until the page says something else.
    pub(super) rate: u32,
    /// Where the page is.
    pub(super) listen: SocketAddr,
}

/// The environment variable that tells a service the folder of the demo that it is of.
pub(super) const DEMO: &str = "MILLSTREAM_DEMO";

/// The day of the orders that arrive: the one after the last of the shop, so that its figures go on.
const DAY: &str = "1998-08-03";
/// How often a file of orders is written.
const EVERY: Duration = Duration::from_secs(1);
/// Of so many orders that were written last, some are corrected or deleted.
const RECENT: usize = 10_000;
/// After so many kills before it was live, the service is not started again.
const KILLS_MOST: u32 = 5;
/// How long a service may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(2);

impl LiveDemo<'_> {
    /// Runs until it is stopped. If it is killed, the next one goes on where this one was.
    pub(super) fn run(&self) -> Result<()> {
        let _lock = lock(self.folder)?;
        self.make_shop(&self.folder.join("shop"))?;
        let orders = self.folder.join("incoming/orders");
        fs::create_dir_all(&orders).map_err(Error::writing(&orders))?;
        let listen = free_address(self.listen)?;
        set_demo_rate(self.folder, self.rate)?;
        let (progress, requests) = (Arc::new(Progress::default()), ServiceHandle::default());
        signals::request_on_signals(&progress, &requests)?;
        let (folder, rate) = (self.folder.display(), grouped(self.rate.into()));
        print_line(format_args!(
            "Open http://{listen}/ in a browser.\n\
             Every second {rate} orders arrive in {folder}/incoming: most are new, some correct or delete others.\n\
             Ctrl-C stops, and publishes the tables to {folder}/live. After kill -9, start again: nothing is lost.\n"
        ))?;
        let written = AtomicU64::new(0);
        thread::scope(|scope| {
            let streamed = scope.spawn(|| {
                // What ends the stream ends the demo.
                let streamed = self.stream(&orders, &written, &requests);
                requests.stop.store(true, Ordering::Relaxed);
                streamed
            });
            let served = self.keep_serving(listen, &written, &requests);
            requests.stop.store(true, Ordering::Relaxed);
            served.and(streamed.join().unwrap_or(Ok(())))
        })?;
        print_line(format_args!("Stopped; the tables are in {folder}/live. Remove {folder} when you are done."))
    }

    fn make_shop(&self, shop: &Path) -> Result<()> {
        if shop.exists() {
            return Ok(());
        }
        print_line(format_args!("Generating a shop in {}…", shop.display()))?;
        let making = shop.with_extension("making");
        let _ = fs::remove_dir_all(&making);
        generate(self.scale, &making)?;
        fs::rename(&making, shop).map_err(Error::writing(shop))
    }

    /// Serves until it is stopped, and starts the service again when it was killed.
    fn keep_serving(&self, listen: SocketAddr, written: &AtomicU64, requests: &ServiceHandle) -> Result<()> {
        let (config, mut kills) = (self.write_config(listen)?, 0);
        loop {
            let mut was_live = false;
            let (mut service, started) = (self.start_service(&config)?, Instant::now());
            let status = loop {
                if let Some(status) = service.try_wait().map_err(Error::failed)? {
                    break status;
                }
                if requests.stop.load(Ordering::Relaxed) {
                    print_line("Stopping: the tables are published…")?;
                    let pid = i32::try_from(service.id()).ok().and_then(Pid::from_raw);
                    pid.map(|pid| kill_process(pid, Signal::TERM)).transpose().map_err(Error::failed)?;
                    break service.wait().map_err(Error::failed)?;
                }
                was_live |= tell(listen, started, written)?;
            };
            if requests.stop.load(Ordering::Relaxed) && status.success() {
                return Ok(());
            }
            kills = if was_live { 0 } else { kills + 1 };
            if kills > KILLS_MOST || status.code().is_some() {
                let log = self.log().display().to_string();
                return Err(Error::failed(format!("the service has ended ({status}); what it said is in {log}")));
            }
            print_line("The service was killed. It is started again…")?;
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("live.log")
    }

    /// Writes the configuration of the service.
    fn write_config(&self, listen: SocketAddr) -> Result<PathBuf> {
        let path = self.folder.join("demo.yaml");
        let of = |name: &str| std::path::absolute(self.folder.join(name)).map_err(Error::failed);
        let config = json!({
            "data": { "input_path": of("shop")?, "output_path": of("live")? },
            "sources": [
                { "name": "stream", "type": "folder", "path": of("incoming")? },
                { "name": "page", "type": "http" },
            ],
            "serve": { "listen": listen.to_string() },
            "tables": "all",
            "as_of": DAY,
        });
        // JSON is YAML.
        let text = serde_json::to_string_pretty(&config).map_err(Error::failed)?;
        fs::write(&path, text).map_err(Error::writing(&path))?;
        Ok(path)
    }

    fn start_service(&self, config: &Path) -> Result<Child> {
        let path = self.log();
        let log = File::options().create(true).append(true).open(&path).map_err(Error::writing(&path))?;
        let mut command = Command::new(std::env::current_exe().map_err(Error::failed)?);
        command.arg("serve").arg("--config").arg(config);
        command.args(self.workers.iter().flat_map(|workers| ["--workers".to_owned(), workers.to_string()]));
        // The demo decides all settings, and its page needs no token.
        let is_setting = |name: &str| name.starts_with("MILLSTREAM_") || name == "INPUT_PATH" || name == "OUTPUT_PATH";
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_setting)) {
            command.env_remove(name);
        }
        command.env(DEMO, std::path::absolute(self.folder).map_err(Error::failed)?).stderr(log);
        // Ctrl-C is for the demo, which then stops the service.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn().map_err(Error::failed)
    }

    /// Writes a file of orders every second.
    fn stream(&self, folder: &Path, written: &AtomicU64, requests: &ServiceHandle) -> Result<()> {
        let micros = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        // Later than those of an earlier demo.
        let first = u64::try_from(micros).map_err(Error::failed)?;
        let mut orders = OrderStream {
            random: Pcg64Mcg::seed_from_u64(first),
            next: first,
            recent: VecDeque::new(),
            scale: self.scale,
        };
        let (mut next, mut rate) = (Instant::now() + EVERY, self.rate);
        for number in 1_u32.. {
            while Instant::now() < next && !requests.stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(20));
            }
            if requests.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            // Seconds that were missed are not made up for.
            next = (next + EVERY).max(Instant::now());
            rate = demo_rate(self.folder).unwrap_or(rate);
            if rate == 0 {
                continue;
            }
            let lines: String = (0..rate).map(|_| orders.next()).collect();
            let name = format!("{first}-{number:06}.jsonl");
            write_whole(&folder.join(&name), &lines)?;
            let rows = written.fetch_add(rate.into(), Ordering::Relaxed) + u64::from(rate);
            write_whole(&demo_stream_file(self.folder), &json!({ "rows": rows, "last_file": name }).to_string())?;
        }
        Ok(())
    }
}

/// Tells how far the service is, after a second; true if it is live.
fn tell(listen: SocketAddr, started: Instant, written: &AtomicU64) -> Result<bool> {
    thread::sleep(EVERY);
    let agent: Agent = Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
    let status = agent.get(format!("http://{listen}/v1/status")).call();
    let text = status.ok().and_then(|mut status| status.body_mut().read_to_string().ok());
    let status: Value = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    if status["ready"] != true {
        return Ok(false);
    }
    let (seconds, orders) = (started.elapsed().as_secs(), grouped(written.load(Ordering::Relaxed)));
    let (epoch, rows) = (&status["epoch"], &status["tables"]["rejected"]["rows"]);
    print_line(format_args!(
        "{seconds} s: {orders} orders have arrived, epoch {epoch} is in all tables, {rows} rows are rejected"
    ))?;
    Ok(true)
}

/// Writes a file that is there as a whole or not at all.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let mut file = AtomicFile::replacing(path)?;
    file.write(text.as_bytes())?;
    file.put_in_place()
}

/// Keeps other demos out of a folder, as long as it lives.
fn lock(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder).map_err(Error::writing(folder))?;
    let path = folder.join(".demo.lock");
    let lock = File::create(&path).map_err(Error::writing(&path))?;
    lock.try_lock().map_err(|_| Error::usage(format!("--output: {}: another demo runs there", folder.display())))?;
    Ok(lock)
}

/// This address if nobody listens there, otherwise one with another port.
fn free_address(wanted: SocketAddr) -> Result<SocketAddr> {
    let taken = |_| TcpListener::bind((wanted.ip(), 0));
    let listener = TcpListener::bind(wanted).or_else(taken);
    let address = listener.and_then(|listener| listener.local_addr());
    address.map_err(|cause| Error::usage(format!("--listen: {wanted}: {cause}")))
}

/// Orders of customers who are known, for products that are known.
struct OrderStream {
    random: Pcg64Mcg,
    /// The next id.
    next: u64,
    recent: VecDeque<u64>,
    scale: f64,
}

impl OrderStream {
    /// The next order as a line of JSON.
    fn next(&mut self) -> String {
        let is_recent = !self.recent.is_empty() && self.random.random_range(0..10) == 0;
        let id = match is_recent {
            true => self.recent[self.random.random_range(0..self.recent.len())],
            false => self.next,
        };
        if is_recent && self.random.random_range(0..3) == 0 {
            return format!("{{\"order_id\":{id},\"_op\":\"d\"}}\n");
        }
        if !is_recent {
            self.next += 1;
            self.recent.push_back(id);
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        let (customers, products) = (self.one_of(150_000.0), self.one_of(200_000.0));
        let quantity = self.random.random_range(1..=50);
        let discount = f64::from(self.random.random_range(0..10)) / 100.0;
        format!(
            "{{\"order_id\":{id},\"customer_id\":{customers},\"product_id\":{products},\"order_date\":\"{DAY}\",\
             \"quantity\":{quantity},\"discount\":{discount}}}\n"
        )
    }

    /// A number up to what a shop of scale 1 has so many of.
    fn one_of(&mut self, of_scale_1: f64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 200,000,000")]
        let most = (of_scale_1 * self.scale).max(1.0) as u64;
        self.random.random_range(1..=most)
    }
}
