//! What a service has, whether that is in order, and a bundle of it for whoever looks for a fault.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgMatches, Args};
use serde_json::Value;

use crate::config::{ListenConfig, RunArgs, ServeArgs};
use crate::error::{Error, Result};
use crate::grouped::grouped;
use crate::model::InputTable;
use crate::printable::printable;
use crate::process_memory;
use crate::service::ServiceConfig;
use crate::sources::{FileSource, Source};
use crate::validate::Check;

use super::bundle::Bundle;
use super::print::print_line;
use super::remote::{Remote, token_of};
use super::{report_checks, settings_in_force};

/// Which service is examined.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    args: RunArgs,
    #[command(flatten)]
    serve: ServeArgs,
    /// Where the service listens [default: where its settings say].
    #[arg(long, env = "MILLSTREAM_URL", value_name = "URL")]
    url: Option<String>,
    /// Write settings without secrets, state, metrics and log to this file (.tar.gz), for whoever looks for a fault.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Print the checks as JSON.
    #[arg(long)]
    json: bool,
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a bundle has of a running service.
const ANSWERS: [&str; 8] = ["status", "sources", "sinks", "tables", "history", "dataflow", "rejected", "logs"];

impl DoctorArgs {
    /// Examines the service, writes the bundle, and tells what was found.
    ///
    /// # Errors
    ///
    /// If something is not in order, or the bundle can't be written.
    pub(super) fn run(&self, matches: &ArgMatches) -> Result<()> {
        let (mut checks, mut bundle) = (vec![Check::of("program", Ok(of_program()))], Bundle::default());
        let config = ServiceConfig::resolve(&self.args, &self.serve).and_then(|config| {
            config.run.validate()?;
            Ok(config)
        });
        if self.is_configured() {
            let found = config.as_ref().map(|_| "valid".to_owned()).map_err(Error::clone);
            checks.push(Check::of("settings", found));
            bundle.add_settings(self.args.config.as_deref(), settings_in_force(&self.args, matches));
        }
        if let Ok(config) = &config {
            checks.extend(of_folders(config));
            bundle.add_text("state.txt", files_of(&config.state).unwrap_or_else(|error| error.to_string()));
        }
        let listen = config.as_ref().ok().and_then(|config| config.listen.as_ref());
        match self.remote(listen) {
            Ok(Some(remote)) => examine(&remote, &mut checks, &mut bundle),
            Ok(None) => checks.push(Check::of("service", Ok("it listens nowhere, so it is not asked".into()))),
            Err(error) => checks.push(Check::of("service", Err(error))),
        }
        if let Some(path) = &self.bundle {
            bundle.add_text("doctor.txt", checks.iter().map(|check| format!("{check}\n")).collect());
            bundle.write(path)?;
            if !self.json {
                print_line(format_args!("{}: {}", path.display(), bundle.names().join(", ")))?;
            }
        }
        report_checks(&checks, self.json)
    }

    /// True unless only the address of a service is given.
    fn is_configured(&self) -> bool {
        let RunArgs { config, input, output, .. } = &self.args;
        self.url.is_none() || config.is_some() || input.is_some() || output.is_some()
    }

    /// The service; `None` if it has no address.
    fn remote(&self, listen: Option<&ListenConfig>) -> Result<Option<Remote>> {
        let url = match (&self.url, listen) {
            (Some(url), _) => url.clone(),
            (None, Some(listen)) => url_of(listen)?,
            (None, None) => return Ok(None),
        };
        let token = match listen.filter(|listen| !listen.token.is_empty()) {
            Some(listen) => Some(String::from_utf8_lossy(listen.token.bytes()).into_owned()),
            None => token_of(self.serve.token_file.as_deref())?,
        };
        Ok(Some(Remote::at(&url, token, Some(PATIENCE))))
    }
}

/// How a program on the same machine reaches a service.
fn url_of(listen: &ListenConfig) -> Result<String> {
    if listen.address.port() == 0 {
        return Err(Error::usage("serve.listen: port 0 is any free one; say with --url where the service listens"));
    }
    let mut address = listen.address;
    if address.ip().is_unspecified() {
        address.set_ip(match address.is_ipv4() {
            true => IpAddr::V4(Ipv4Addr::LOCALHOST),
            false => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    Ok(format!("{}://{address}", if listen.tls.is_some() { "https" } else { "http" }))
}

fn of_program() -> String {
    let system = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = process_memory::of_machine().map_or("unknown".into(), mebibytes);
    let (name, release, machine) = (text(system.sysname()), text(system.release()), text(system.machine()));
    format!("millstream {}, {name} {release} {machine}, {cores} cores, {memory} of memory", env!("CARGO_PKG_VERSION"))
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", grouped(bytes >> 20))
}

/// The folders of a service.
fn of_folders(config: &ServiceConfig) -> Vec<Check> {
    let input = InputTable::ALL.map(|table| {
        let found = FileSource::open_one(&config.run.input.path, table, &config.run.input.files);
        let found = found.map(|source| {
            let (files, columns) = (source.file_count(table), source.schema(table).order.len());
            format!("{files} files, {columns} columns")
        });
        Check::of(format!("input, {table}"), found)
    });
    let output = Check::of("output folder", room(&config.run.output.path));
    let state = room(&config.state).and_then(|room| Ok(format!("{}; {room}", used_by(&config.state)?)));
    input.into_iter().chain([output, Check::of("state folder", state)]).collect()
}

/// The room that there is in a folder, or where it would be created.
fn room(folder: &Path) -> Result<String> {
    let existing = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let found =
        rustix::fs::statvfs(existing).map_err(|cause| Error::unusable(format!("{}: {cause}", existing.display())))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let is_new = if existing == folder { "" } else { ", which is to be created" };
    let found = format!("{}{is_new}: {} are free", folder.display(), mebibytes(free));
    match free {
        0 => Err(Error::unusable(format!("{found}: nothing more can be written there"))),
        _ => Ok(found),
    }
}

/// What a state consists of, and which process had it last.
fn used_by(state: &Path) -> Result<String> {
    if !state.is_dir() {
        return Ok("there is none yet".into());
    }
    let owner = fs::read_to_string(state.join("lock")).unwrap_or_default();
    let owner = if owner.is_empty() { "no process".into() } else { printable(&owner).to_string() };
    let bytes: u64 = entries_of(state)?.iter().map(|(_, bytes)| bytes).sum();
    Ok(format!("{}, last used by {owner}", mebibytes(bytes)))
}

/// The files of a state and their sizes.
fn files_of(state: &Path) -> Result<String> {
    Ok(entries_of(state)?.iter().map(|(name, bytes)| format!("{bytes:>15} {name}\n")).collect())
}

fn entries_of(folder: &Path) -> Result<Vec<(String, u64)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::reading(folder))? {
        let entry = entry.map_err(Error::reading(folder))?;
        // What a running service removes meanwhile is left out.
        if let Ok(found) = entry.metadata() {
            entries.push((entry.file_name().to_string_lossy().into_owned(), found.len()));
        }
    }
    entries.sort();
    Ok(entries)
}

/// Asks a running service.
fn examine(remote: &Remote, checks: &mut Vec<Check>, bundle: &mut Bundle) {
    let status = remote.get("/v1/status").and_then(|status| match status["epoch"].is_u64() {
        true => Ok(status),
        false => Err(remote.is_another()),
    });
    let status = match status {
        Ok(status) => status,
        Err(error) => return checks.push(Check::of("service", Err(error))),
    };
    checks.push(Check::of("service", live(remote, &status)));
    checks.extend(status["ended_tasks"].as_array().into_iter().flatten().map(of_task));
    for name in ANSWERS {
        bundle.add_json(&format!("{name}.json"), remote.get(&format!("/v1/{name}")));
    }
    bundle.add_text("metrics.txt", remote.text("/metrics").unwrap_or_else(|error| error.to_string()));
}

fn live(remote: &Remote, status: &Value) -> Result<String> {
    let text = |name: &str| printable(status[name].as_str().unwrap_or("?")).to_string();
    let (base, epoch) = (&remote.base, status["epoch"].as_u64().unwrap_or_default());
    let (version, behind) = (text("version"), status["behind_seconds"].as_f64().unwrap_or_default());
    match status["ready"].as_bool() {
        Some(true) => {
            Ok(format!("{base}: millstream {version}, live at epoch {}, {behind:.3} s behind", grouped(epoch)))
        }
        _ => Err(Error::unusable(format!("{base}: millstream {version}: not ready; {}", text("phase")))),
    }
}

/// How a task beside the epochs ended last.
fn of_task(task: &Value) -> Check {
    let text = |name: &str| printable(task[name].as_str().unwrap_or("?")).to_string();
    let found = format!("{} at {}: {}", text("outcome"), text("began_at"), text("message"));
    let is_done = task["outcome"] == "done";
    Check::of(format!("last {}", text("task")), if is_done { Ok(found) } else { Err(Error::unusable(found)) })
}
