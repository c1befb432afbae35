//! Checks a service from outside, and packs a support bundle.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustix::fs::Access;
use serde_json::Value;

use crate::config::{ListenConfig, RunArgs, ServeArgs, ServeSettings};
use crate::error::{Error, Result};
use crate::grouped::grouped;
use crate::model::InputTable;
use crate::printable::printable;
use crate::process_memory;
use crate::service::ServiceConfig;
use crate::sources::{FileSource, Source};
use crate::validate::Check;

use super::bundle::Bundle;
use super::checks::report_checks;
use super::remote::Remote;

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
    /// Write a support bundle to this file (.tar.gz): settings, state, metrics and log, without secrets.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Print the checks as JSON.
    #[arg(long)]
    json: bool,
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a bundle has of a running service, beside its metrics.
const ANSWERS: [&str; 8] = ["status", "sources", "sinks", "tables", "history", "dataflow", "rejected", "logs"];

impl DoctorArgs {
    /// The settings of the job.
    pub(super) fn run_args(&self) -> &RunArgs {
        &self.args
    }

    /// Examines the service, writes the bundle, and reports. `in_force` has a line for each setting.
    ///
    /// # Errors
    ///
    /// If a check fails, or the bundle can't be written.
    pub(super) fn run(&self, in_force: Result<Vec<String>>) -> Result<()> {
        let (mut checks, mut bundle) = (vec![Check::of("program", Ok(of_program()))], Bundle::default());
        if self.is_configured() {
            let config = ServiceConfig::resolve(&self.args, &self.serve);
            let valid = config.as_ref().map_err(Error::clone).and_then(|config| config.run.validate());
            checks.push(Check::of("settings", valid.map(|()| "valid".into())));
            bundle.add_settings(self.args.config.as_deref(), in_force);
            if let Ok(config) = &config {
                checks.extend(of_folders(config));
                bundle.add_text("state.txt", files_of(&config.state).unwrap_or_else(|error| error.to_string()));
            }
        }
        match self.remote() {
            Ok(Some(remote)) => {
                remote.token.iter().for_each(|token| bundle.hide(token));
                examine(&remote, &mut checks, &mut bundle);
            }
            Ok(None) => checks.push(Check::of("service", Ok("not checked: serve.listen is not set".into()))),
            Err(error) => checks.push(Check::of("service", Err(error))),
        }
        if let Some(path) = &self.bundle {
            bundle.add_text("doctor.txt", checks.iter().map(|check| format!("{check}\n")).collect());
            checks.push(Check::of("bundle", bundle.write(path)));
        }
        report_checks(&checks, self.json)
    }

    /// True unless only the address of a service is given.
    fn is_configured(&self) -> bool {
        let RunArgs { config, input, output, .. } = &self.args;
        self.url.is_none() || config.is_some() || input.is_some() || output.is_some()
    }

    /// The service; `None` if it has no address. What is wrong with the settings of the job does not matter here.
    fn remote(&self) -> Result<Option<Remote>> {
        let mut serve = self.serve.clone();
        if self.url.is_some() && serve.listen.is_none() {
            // So that the token is resolved in any case.
            serve.listen = Some("127.0.0.1:0".into());
        }
        let listen = ServeSettings::resolve(&self.args, &serve)?.listen;
        let url = match (&self.url, &listen) {
            (Some(url), _) => url.clone(),
            (None, Some(listen)) => url_of(listen)?,
            (None, None) => return Ok(None),
        };
        let token = listen.filter(|listen| !listen.token.is_empty());
        let token = token.map(|listen| String::from_utf8_lossy(listen.token.bytes()).into_owned());
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
    let followed = config.postgres_source.iter().flat_map(|source| source.tables.iter().map(|(table, _)| *table));
    let followed: Vec<_> = followed.collect();
    let in_files = InputTable::ALL.into_iter().filter(|table| !followed.contains(table));
    let input = in_files.map(|table| {
        let found = FileSource::open_some(&config.run.input.path, &[table], &config.run.input.files);
        let found = found.map(|source| {
            let (files, columns) = (source.file_count(table), source.schema(table).order.len());
            format!("{files} files, {columns} columns")
        });
        Check::of(format!("input, {table}"), found)
    });
    let output = Check::of("output folder", room(&config.run.output.path));
    let state = room(&config.state).and_then(|room| Ok(format!("{}; {room}", used_by(&config.state)?)));
    input.chain([output, Check::of("state folder", state)]).collect()
}

/// The room in a folder, or where it would be created.
fn room(folder: &Path) -> Result<String> {
    let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    let refused = |cause: &dyn std::fmt::Display| Error::unusable(format!("{}: {cause}", existing.display()));
    if !existing.is_dir() {
        return Err(refused(&"not a folder"));
    }
    rustix::fs::access(existing, Access::WRITE_OK).map_err(|cause| refused(&cause))?;
    let found = rustix::fs::statvfs(existing).map_err(|cause| refused(&cause))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    if free == 0 {
        return Err(refused(&"no space is left"));
    }
    let is_new = if existing == folder { "" } else { ", which is to be created" };
    Ok(format!("{}{is_new}: {} are free", folder.display(), mebibytes(free)))
}

/// The size of a state, and the last process that used it.
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
    let metrics = remote.text("/metrics").map(|metrics| bundle.add_text("metrics.txt", metrics));
    let answers = |()| {
        ANSWERS.iter().try_for_each(|name| {
            bundle.add_answer(name, remote.get(&format!("/v1/{name}"))?);
            Ok(())
        })
    };
    // The first that fails is the last that is asked for: each may take all of its time.
    if let Err(error) = metrics.and_then(answers) {
        checks.push(Check::of("answers", Err(error)));
    }
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
