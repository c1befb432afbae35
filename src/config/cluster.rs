//! Which processes run together.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, Result};

/// What flags and environment say of the processes of a run; what they leave open, the file says.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ClusterArgs {
    /// The number of this process, from 0, in a run of several.
    #[arg(long, env = "MILLSTREAM_PROCESS", value_name = "N")]
    pub process: Option<usize>,
    /// Where each process of the run is found: the same list for all of them.
    #[arg(long, env = "MILLSTREAM_HOSTS", value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub hosts: Option<Vec<String>>,
    /// A file that has this list, a HOST:PORT on each line.
    #[arg(long, env = "MILLSTREAM_HOSTS_FILE", value_name = "FILE", conflicts_with = "hosts")]
    pub hosts_file: Option<PathBuf>,
    /// How long to wait for the other processes to come [default: 300].
    #[arg(long, env = "MILLSTREAM_WAIT", value_name = "SECONDS")]
    pub wait: Option<u64>,
}

/// `cluster` in the config file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ClusterKeys {
    pub(super) process: Option<usize>,
    pub(super) hosts: Option<Vec<String>>,
    pub(super) hosts_file: Option<PathBuf>,
    pub(super) wait_seconds: Option<u64>,
}

/// The processes that make the tables together, and which of them this is.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The number of this process.
    pub process: usize,
    /// Where each process is found, as `host:port`. Each listens at its own.
    pub hosts: Vec<String>,
    /// How long to wait for the others to come.
    pub wait: Duration,
}

impl ClusterConfig {
    /// Decides who runs together; `None` if this process does all by itself.
    pub(super) fn decide(args: &ClusterArgs, file: ClusterKeys) -> Result<Option<ClusterConfig>> {
        let hosts = match (&args.hosts, &args.hosts_file) {
            (Some(hosts), _) => Some(hosts.clone()),
            (None, Some(path)) => Some(read_hosts(path.clone())?),
            (None, None) if file.hosts.is_some() && file.hosts_file.is_some() => {
                return Err(Error::usage("cluster: hosts and hosts_file both say where the processes are; wanted one"));
            }
            (None, None) => file.hosts.or(file.hosts_file.map(read_hosts).transpose()?),
        };
        let wait = Duration::from_secs(args.wait.or(file.wait_seconds).unwrap_or(300));
        match (args.process.or(file.process), hosts) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(missing("where the processes are", "--hosts", "MILLSTREAM_HOSTS", "hosts")),
            (None, Some(_)) => Err(missing("which of them this is", "--process", "MILLSTREAM_PROCESS", "process")),
            (Some(process), Some(hosts)) => ClusterConfig { process, hosts, wait }.checked().map(Some),
        }
    }

    fn checked(self) -> Result<ClusterConfig> {
        let processes = self.hosts.len();
        if self.process >= processes {
            let process = self.process;
            return Err(Error::usage(format!(
                "cluster: process {process} of {processes}, but they are numbered from 0; give a host:port for each"
            )));
        }
        for (process, host) in self.hosts.iter().enumerate() {
            let port = host.rsplit_once(':').filter(|(name, _)| !name.is_empty());
            if port.and_then(|(_, port)| port.parse::<u16>().ok()).is_none_or(|port| port == 0) {
                let found = format!("cluster: the host of process {process} is {host:?}");
                return Err(Error::usage(format!("{found}, wanted host:port, as 10.0.0.1:2101")));
            }
            if let Some(other) = self.hosts[..process].iter().position(|other| other == host) {
                return Err(Error::usage(format!("cluster: processes {other} and {process} are both at {host}")));
            }
        }
        Ok(self)
    }
}

fn missing(what: &str, flag: &str, variable: &str, key: &str) -> Error {
    Error::usage(format!(
        "a run of several processes must be told {what}: give {flag}, set {variable}, or put cluster.{key} into the \
         config file"
    ))
}

/// The lines of a hosts file; empty ones, and those that begin with `#`, are left out.
fn read_hosts(path: PathBuf) -> Result<Vec<String>> {
    let text = fs::read_to_string(&path).map_err(|cause| Error::usage(format!("{}: {cause}", path.display())))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}
