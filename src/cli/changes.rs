//! Following a table of a running service in a terminal.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use ureq::Agent;
use ureq::http::StatusCode;

use crate::error::{Error, Result};

use super::print::print_line;

/// Which table to follow, and from where.
#[derive(Debug, Args)]
pub(super) struct ChangesArgs {
    /// The table.
    #[arg(value_name = "TABLE")]
    table: String,
    /// The epoch after which changes are wanted [default: the rows of now, and then what changes].
    #[arg(long, value_name = "EPOCH")]
    since: Option<u64>,
    /// Where the service listens.
    #[arg(long, env = "MILLSTREAM_URL", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// File with the token of the service [default: MILLSTREAM_TOKEN].
    #[arg(long, env = "MILLSTREAM_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// How long to wait for a service that does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl ChangesArgs {
    /// Prints the rows of the table, and then those that each epoch deletes and inserts, until the process is ended. If
    /// the service is started anew, it goes on.
    pub(super) fn run(&self) -> Result<()> {
        let token = self.token()?;
        let agent = Agent::config_builder().http_status_as_error(false).build().new_agent();
        let base = format!("{}/v1/tables/{}/changes", self.url.trim_end_matches('/'), self.table);
        let (mut last, mut has_begun) = (None, false);
        loop {
            let query = match (last, self.since) {
                (Some(_), _) => String::new(),
                (None, Some(since)) => format!("?since={since}"),
                (None, None) => "?snapshot=true".to_owned(),
            };
            let request = agent.get(format!("{base}{query}"));
            let request =
                last.iter().fold(request, |request, last: &u64| request.header("last-event-id", last.to_string()));
            let request =
                token.iter().fold(request, |request, token| request.header("authorization", format!("Bearer {token}")));
            match request.call() {
                Ok(mut response) if response.status() == StatusCode::OK => {
                    has_begun = true;
                    let lines = BufReader::new(response.body_mut().as_reader()).lines().map_while(std::io::Result::ok);
                    follow(lines, &mut last)?;
                }
                // It loads.
                Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE => {}
                Ok(mut response) => {
                    let problem = response.body_mut().read_to_string().unwrap_or_default();
                    let problem: Value = serde_json::from_str(&problem).unwrap_or_default();
                    let detail = problem["detail"].as_str().unwrap_or("it gave no reason");
                    return Err(Error::usage(format!("{base}: {}: {detail}", response.status())));
                }
                Err(error) if !has_begun => return Err(Error::usage(format!("--url: {}: {error}", self.url))),
                Err(_) => {}
            }
            thread::sleep(RETRY_AFTER);
        }
    }

    fn token(&self) -> Result<Option<String>> {
        let Some(path) = &self.token_file else {
            return Ok(std::env::var("MILLSTREAM_TOKEN").ok().filter(|token| !token.is_empty()));
        };
        let token = std::fs::read_to_string(path);
        let token = token.map_err(|cause| Error::usage(format!("--token-file: {}: {cause}", path.display())))?;
        Ok(Some(token.trim().to_owned()))
    }
}

/// Prints the events of a stream; remembers the last that was whole.
fn follow(lines: impl Iterator<Item = String>, last: &mut Option<u64>) -> Result<()> {
    let (mut kind, mut id) = (String::new(), None);
    for line in lines {
        match line.split_once(": ") {
            Some(("id", epoch)) => id = epoch.parse().ok(),
            Some(("event", event)) => event.clone_into(&mut kind),
            Some(("data", data)) => {
                let data: Value = serde_json::from_str(data).map_err(Error::failed)?;
                if kind == "gone" {
                    return Err(Error::failed(data["detail"].as_str().unwrap_or("the changes are not kept any more")));
                }
                print_rows(&data)?;
                *last = id.take().or(*last);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Prints a line for each row: its sign, the epoch, the row.
fn print_rows(data: &Value) -> Result<()> {
    let epoch = &data["epoch"];
    for (member, sign) in [("minus", '-'), ("rows", '+'), ("plus", '+')] {
        for row in data[member].as_array().into_iter().flatten() {
            print_line(format_args!("{sign} {epoch} {row}"))?;
        }
    }
    Ok(())
}
