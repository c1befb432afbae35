//! A schema registry for a test, as that of Confluent answers, behind a network that can break.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, reason = "this is a module of each test binary")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::network::Proxy;

/// A registry that is there for as long as the test.
pub struct Registry {
    pub network: Proxy,
    schemas: Arc<Mutex<Schemas>>,
}

#[derive(Default)]
struct Schemas {
    /// What is registered, by number less one: a subject, and what an answer has.
    known: Vec<(String, Value)>,
    /// The subjects of which no other schema is taken.
    closed: Vec<String>,
    /// True while something in between answers in its place.
    is_hidden: bool,
    /// True if it only takes schemas, and looks none up.
    takes_only: bool,
}

impl Registry {
    pub fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let schemas = Arc::new(Mutex::new(Schemas::default()));
        let shared = Arc::clone(&schemas);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || answer(&connection, &shared));
            }
        });
        Registry { network: Proxy::to(port), schemas }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.network.port)
    }

    /// Has a schema under a subject, with further members of its answer; returns its number.
    pub fn add(&self, subject: &str, schema: &str, further: &Value) -> u32 {
        let mut schemas = self.schemas.lock().expect("no panic");
        let mut entry = json!({ "schema": schema });
        further.as_object().into_iter().flatten().for_each(|(name, value)| entry[name] = value.clone());
        schemas.known.push((subject.to_owned(), entry));
        u32::try_from(schemas.known.len()).expect("few")
    }

    /// Takes no other schema of a subject.
    pub fn close(&self, subject: &str) {
        self.schemas.lock().expect("no panic").closed.push(subject.to_owned());
    }

    /// Has a proxy answer in its place for as long as that is true.
    pub fn hide(&self, is_hidden: bool) {
        self.schemas.lock().expect("no panic").is_hidden = is_hidden;
    }

    /// Refuses to look schemas up from now on.
    pub fn take_only(&self) {
        self.schemas.lock().expect("no panic").takes_only = true;
    }

    /// The schema with a number.
    pub fn schema(&self, id: u32) -> String {
        let schemas = self.schemas.lock().expect("no panic");
        schemas.known[id as usize - 1].1["schema"].as_str().expect("text").to_owned()
    }

    pub fn subjects(&self) -> Vec<String> {
        self.schemas.lock().expect("no panic").known.iter().map(|(subject, _)| subject.clone()).collect()
    }
}

/// Answers one request.
fn answer(connection: &TcpStream, schemas: &Mutex<Schemas>) {
    let mut reader = BufReader::new(connection);
    let mut lines = reader.by_ref().lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).map(|line| line.to_lowercase()).collect();
    let header = |name: &str| headers.iter().find_map(|line| line.strip_prefix(name));
    let length: usize = header("content-length: ").map_or(0, |length| length.parse().expect("a number"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a whole body");
    // The password of `ann` is `s3cret`.
    let is_allowed = header("authorization: ").is_none_or(|given| given == "basic yw5uonmzy3jlda==");
    let (status, answer) = match is_allowed {
        true => found(&request, &body, &mut schemas.lock().expect("no panic")),
        false => (401, json!({"error_code": 401, "message": "Unauthorized"})),
    };
    let answer = answer.to_string();
    let (kind, length) = ("application/vnd.schemaregistry.v1+json", answer.len());
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\ncontent-length: {length}");
    let mut connection = connection;
    let _ = connection.write_all(format!("{head}\r\n\r\n{answer}").as_bytes());
}

fn found(request: &str, body: &[u8], schemas: &mut Schemas) -> (u16, Value) {
    let mut words = request.split(' ');
    let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let missing = || (404, json!({"error_code": 40403, "message": "Schema not found"}));
    if schemas.is_hidden {
        return (404, json!("default backend"));
    }
    match (method, parts.as_slice()) {
        ("GET", ["subjects"]) => (200, schemas.known.iter().map(|(subject, _)| subject.clone()).collect()),
        ("GET", ["schemas", "ids", id]) => {
            let entry = schemas.known.get(id.parse::<usize>().expect("a number").wrapping_sub(1));
            entry.map_or_else(missing, |(_, entry)| (200, entry.clone()))
        }
        ("GET", ["subjects", subject, "versions", version]) => {
            let mut versions = schemas.known.iter().filter(|(known, _)| known == subject);
            let entry = versions.nth(version.parse::<usize>().expect("a number") - 1);
            entry.map_or_else(missing, |(_, entry)| (200, entry.clone()))
        }
        ("POST", ["subjects", subject, rest @ ..]) => {
            let entry: Value = serde_json::from_slice(body).expect("JSON");
            let known = schemas.known.iter().position(|(of, known)| of == subject && *known == entry);
            if rest.is_empty() && schemas.takes_only {
                return (403, json!({"error_code": 40301, "message": "Forbidden"}));
            }
            if known.is_none() && rest.is_empty() {
                return missing();
            }
            if known.is_none() && schemas.closed.iter().any(|closed| closed == subject) {
                return (409, json!({"error_code": 409, "message": "Schema being registered is incompatible"}));
            }
            let index = known.unwrap_or(schemas.known.len());
            if index == schemas.known.len() {
                schemas.known.push(((*subject).to_owned(), entry));
            }
            (200, json!({ "id": index + 1 }))
        }
        _ => (404, json!({"error_code": 404, "message": "HTTP 404 Not Found"})),
    }
}
