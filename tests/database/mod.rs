//! A PostgreSQL server of its own for a test.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, reason = "this is a module of each test binary")]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use postgres::{Client, NoTls};
use serde_json::Value;
use tempfile::TempDir;

/// A server that is stopped when it is dropped.
pub struct Database {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

/// The name of the database.
const NAME: &str = "shop";

impl Database {
    /// Starts a server; `None`, and says so, where none is installed.
    pub fn start() -> Option<Database> {
        let Some(programs) = programs() else {
            eprintln!("no PostgreSQL in /usr/lib/postgresql: nothing is tested with it");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        if is_root() {
            let owned = Command::new("chown").arg("postgres").arg(folder.path()).status();
            assert!(owned.expect("chown").success());
        }
        let database = Database { programs, port: free_port(), folder };
        database.execute("initdb", &["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]);
        let settings = format!(
            "port = {}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nwal_level = logical\n\
             fsync = off\n",
            database.port
        );
        let path = database.data().join("postgresql.conf");
        let former = fs::read_to_string(&path).expect("settings");
        fs::write(&path, former + &settings).expect("settings");
        database.begin();
        Client::connect(&database.url_of("postgres"), NoTls)
            .and_then(|mut client| client.batch_execute(&format!("CREATE DATABASE {NAME}")))
            .expect("a database");
        Some(database)
    }

    /// Starts the server.
    pub fn begin(&self) {
        let log = self.folder.path().join("log");
        self.execute("pg_ctl", &["--wait", "--silent", &format!("--log={}", log.display()), "start"]);
    }

    /// Stops the server as a power cut would.
    pub fn kill(&self) {
        self.execute("pg_ctl", &["--wait", "--silent", "--mode=immediate", "stop"]);
    }

    /// The URL of the database.
    pub fn url(&self) -> String {
        self.url_of(NAME)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn url_of(&self, name: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.url(), NoTls).expect("a connection")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn execute(&self, program: &str, arguments: &[&str]) {
        let program = self.programs.join(program);
        let mut command = match is_root() {
            true => Command::new("setpriv"),
            false => Command::new(&program),
        };
        if is_root() {
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(&program);
        }
        command.arg("--pgdata").arg(self.data()).args(arguments).current_dir("/").stdin(Stdio::null());
        let output = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it starts");
        assert!(output.success(), "{}: {output}", program.display());
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let data = self.data();
        let process = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        if let Some(process) = process.lines().next() {
            let _ = Command::new("kill").args(["-QUIT", process]).status();
        }
    }
}

/// The rows of a table in a form in which they can be compared: numbers as doubles, sorted.
pub fn rows_there(client: &mut Client, table: &str) -> Vec<String> {
    let rows = client.query(&format!("SELECT row_to_json(t)::text FROM {table} AS t"), &[]).expect("rows");
    let rows = rows.iter().map(|row| serde_json::from_str(row.get(0)).expect("JSON"));
    comparable(rows)
}

/// Rows as [`rows_there`] has them.
pub fn comparable(rows: impl IntoIterator<Item = Value>) -> Vec<String> {
    let mut rows: Vec<_> = rows.into_iter().map(|row| with_doubles(row).to_string()).collect();
    rows.sort();
    rows
}

fn with_doubles(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Object(columns) => columns
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, with_doubles(value)))
            .collect(),
        other => other,
    }
}

fn programs() -> Option<PathBuf> {
    let found = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|version| version.path().join("bin"));
    found.filter(|programs| programs.join("initdb").exists()).max()
}

fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0)
}

/// A port that nobody listens at.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}
