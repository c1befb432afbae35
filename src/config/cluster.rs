//! The processes of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, Result};

/// How long a process waits for the others by default.
const WAIT_SECONDS: u64 = 300;

/// Flags and environment variables of a run of several processes. Unset ones are taken from the config file.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
pub struct ClusterArgs {
    /// Number of this process, from 0, in a run of several.
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_PROCESS", value_name = "N"))]
    pub process: Option<usize>,
    /// Addresses of all processes; the same list in every process.
    #[cfg_attr(
        feature = "cli",
        arg(long, env = "MILLSTREAM_HOSTS", value_name = "HOST:PORT,...", value_delimiter = ',')
    )]
    pub hosts: Option<Vec<String>>,
    /// File with the addresses, one HOST:PORT per line.
    #[cfg_attr(
        feature = "cli",
        arg(long, env = "MILLSTREAM_HOSTS_FILE", value_name = "FILE", conflicts_with = "hosts")
    )]
    pub hosts_file: Option<PathBuf>,
    /// File with a secret that all processes of the run must know.
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_SECRET_FILE", value_name = "FILE"))]
    pub secret_file: Option<PathBuf>,
    /// Maximum wait for the other processes to connect [default: 300].
    #[cfg_attr(feature = "cli", arg(long, env = "MILLSTREAM_WAIT", value_name = "SECONDS"))]
    pub wait: Option<u64>,
}

/// The `cluster` key of the config file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ClusterKeys {
    pub(super) process: Option<usize>,
    pub(super) hosts: Option<Vec<String>>,
    pub(super) hosts_file: Option<PathBuf>,
    pub(super) secret_file: Option<PathBuf>,
    pub(super) wait_seconds: Option<u64>,
}

/// What a process must know to join a run, or a client of a service. Empty: nothing.
#[derive(Clone, Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// A secret with these bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Secret {
        Secret(bytes.to_vec())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Without its content.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "no secret" } else { "a secret" })
    }
}

/// The processes of a run, and the number of this one.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The number of this process.
    pub process: usize,
    /// The address of each process, as `host:port`. Each listens at its own.
    pub hosts: Vec<String>,
    /// The maximum wait for the other processes to connect.
    pub wait: Duration,
    /// What all processes must know. Connections are neither encrypted nor, once they are accepted, signed.
    pub secret: Secret,
    /// Further settings that all processes must share, by name, such as those of the program's sinks. A process that
    /// has another value for a name can't join.
    pub shared: BTreeMap<String, String>,
}

impl ClusterConfig {
    /// Process `process` of those at `hosts`, each a `host:port`. It waits up to five minutes for the others.
    #[must_use]
    pub fn new(process: usize, hosts: Vec<String>) -> ClusterConfig {
        ClusterConfig {
            process,
            hosts,
            wait: Duration::from_secs(WAIT_SECONDS),
            secret: Secret::default(),
            shared: BTreeMap::new(),
        }
    }

    /// Resolves the processes; `None` for a single process.
    pub(super) fn decide(args: &ClusterArgs, file: ClusterKeys) -> Result<Option<ClusterConfig>> {
        let hosts = match (&args.hosts, &args.hosts_file) {
            (Some(hosts), _) => Some(hosts.clone()),
            (None, Some(path)) => Some(read_hosts(path.clone())?),
            (None, None) if file.hosts.is_some() && file.hosts_file.is_some() => {
                return Err(Error::usage("cluster: found both hosts and hosts_file, wanted one"));
            }
            (None, None) => file.hosts.or(file.hosts_file.map(read_hosts).transpose()?),
        };
        let wait = Duration::from_secs(args.wait.or(file.wait_seconds).unwrap_or(WAIT_SECONDS));
        match (args.process.or(file.process), hosts) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(missing("the addresses of its processes", "--hosts", "MILLSTREAM_HOSTS", "hosts")),
            (None, Some(_)) => Err(missing("the number of this process", "--process", "MILLSTREAM_PROCESS", "process")),
            (Some(process), Some(hosts)) => {
                let secret = args.secret_file.clone().or(file.secret_file).map(read_secret).transpose()?;
                let secret = secret.unwrap_or_default();
                Ok(Some(ClusterConfig { wait, secret, ..ClusterConfig::new(process, hosts) }))
            }
        }
    }

    /// Checks the addresses.
    pub(super) fn validate(&self) -> Result<()> {
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
                return Err(Error::usage(format!("{found}, wanted host:port, such as 10.0.0.1:2101")));
            }
            if let Some(other) = self.hosts[..process].iter().position(|other| other == host) {
                return Err(Error::usage(format!("cluster: processes {other} and {process} are both at {host}")));
            }
        }
        Ok(())
    }
}

fn missing(what: &str, flag: &str, variable: &str, key: &str) -> Error {
    Error::usage(format!(
        "a run of several processes needs {what}: give {flag}, set {variable}, or put cluster.{key} into the \
         config file"
    ))
}

/// The content of a file, without the white space around it.
pub(super) fn read_secret(path: PathBuf) -> Result<Secret> {
    let secret = fs::read(&path).map_err(|cause| Error::usage(format!("{}: {cause}", path.display())))?;
    match secret.trim_ascii() {
        [] => Err(Error::usage(format!("{}: empty, wanted a secret", path.display()))),
        secret => Ok(Secret::new(secret)),
    }
}

/// The lines of a hosts file; empty lines and those starting with `#` are skipped.
fn read_hosts(path: PathBuf) -> Result<Vec<String>> {
    let text = fs::read_to_string(&path).map_err(|cause| Error::usage(format!("{}: {cause}", path.display())))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}
