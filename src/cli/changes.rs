//! Following a table of a running service in a terminal.

use std::io::{BufRead, BufReader};
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use ureq::http::StatusCode;

use crate::error::{Error, Result};

use super::print::print_line;
use super::remote::RemoteArgs;

/// Which table to follow, and from where.
#[derive(Debug, Args)]
pub(super) struct ChangesArgs {
    /// The table.
    #[arg(value_name = "TABLE")]
    table: String,
    /// The epoch after which changes are wanted [default: the rows of now, and then what changes].
    #[arg(long, value_name = "EPOCH")]
    since: Option<u64>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// How long to wait for a service that does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl ChangesArgs {
    /// Prints the rows of the table, and then those that each epoch deletes and inserts, until the process is ended. If
    /// the service is started anew, it goes on.
    pub(super) fn run(&self) -> Result<()> {
        let remote = self.remote.open(None)?;
        let path = format!("/v1/tables/{}/changes", self.table);
        let (mut last, mut has_begun) = (None, false);
        loop {
            let query = match (last, self.since) {
                (Some(_), _) => String::new(),
                (None, Some(since)) => format!("?since={since}"),
                (None, None) => "?snapshot=true".to_owned(),
            };
            let request = remote.request(&format!("{path}{query}"));
            let request =
                last.iter().fold(request, |request, last: &u64| request.header("last-event-id", last.to_string()));
            match request.call() {
                Ok(mut response) if response.status() == StatusCode::OK => {
                    has_begun = true;
                    let lines = BufReader::new(response.body_mut().as_reader()).lines().map_while(std::io::Result::ok);
                    follow(lines, &mut last)?;
                }
                // It loads.
                Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE => {}
                Ok(mut response) => return Err(remote.problem(&path, &mut response)),
                Err(error) if !has_begun => return Err(Error::usage(format!("--url: {}: {error}", remote.base))),
                Err(_) => {}
            }
            thread::sleep(RETRY_AFTER);
        }
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
