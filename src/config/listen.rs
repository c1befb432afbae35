//! Where a service listens, and to whom.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, Result};

use super::byte_size::ByteSize;
use super::cluster::{Secret, read_secret};
use super::ends::some_time;
use super::environment::expanded;

/// `serve`: where a service listens.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListenKeys {
    pub(super) listen: Option<String>,
    pub(super) token: Option<String>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) tls: Option<TlsKeys>,
    pub(super) postgres: Option<String>,
    pub(super) query_memory: Option<ByteSize>,
    #[serde(deserialize_with = "some_time")]
    pub(super) query_timeout: Option<Duration>,
}

/// `serve.tls`: the files of a certificate.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TlsKeys {
    cert: PathBuf,
    key: PathBuf,
}

/// Without the token.
impl fmt::Debug for ListenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenKeys").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// Where a service listens, and to whom.
#[derive(Clone, Debug)]
pub struct ListenConfig {
    /// The address.
    pub address: SocketAddr,
    /// What clients must know; empty for nothing.
    pub token: Secret,
    /// The files of the certificate chain and of its key, in PEM; `None` without TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// True if rows may be posted.
    pub takes_rows: bool,
    /// Where PostgreSQL's protocol is spoken; `None` for nowhere.
    pub postgres: Option<SocketAddr>,
    /// The bytes of memory that queries have together.
    pub query_memory: u64,
    /// How long a query may run, if its session does not say.
    pub query_timeout: Duration,
}

/// The memory of queries, and their time, if the configuration does not say.
const QUERY_MEMORY: u64 = 512 << 20;
const QUERY_TIMEOUT: Duration = Duration::from_secs(300);

impl ListenConfig {
    /// Resolves where to listen; `None` if that is nowhere. `default_token` is what the environment has.
    pub(super) fn decide(
        (address, postgres): (Option<&str>, Option<&str>),
        token_file: Option<PathBuf>,
        file: ListenKeys,
        default_token: Option<String>,
        takes_rows: bool,
    ) -> Result<Option<ListenConfig>> {
        let ListenKeys { listen, token, token_file: file_of_file, tls, postgres: postgres_of_file, .. } = file;
        let postgres = postgres.or(postgres_of_file.as_deref());
        let Some(text) = address.or(listen.as_deref()) else {
            return match postgres {
                None => Ok(None),
                Some(_) => Err(Error::usage("serve.postgres: it needs an address of HTTP, too; wanted serve.listen")),
            };
        };
        let address = address_of("serve.listen", text, "127.0.0.1:8080")?;
        let postgres = postgres.map(postgres_address).transpose()?;
        let token = match (token_file.or(file_of_file), token) {
            (Some(path), _) => read_secret(path)?,
            (None, Some(token)) => Secret::new(expanded("serve.token", &token)?.trim().as_bytes()),
            (None, None) => default_token.map_or_else(Secret::default, |token| Secret::new(token.trim().as_bytes())),
        };
        for (key, address, such) in
            [("serve.listen", Some(address), "127.0.0.1:8080"), ("serve.postgres", postgres, "127.0.0.1:5433")]
        {
            let Some(address) = address.filter(|address| !address.ip().is_loopback() && token.is_empty()) else {
                continue;
            };
            return Err(Error::usage(format!(
                "{key}: found {address}, which others can reach, and no token; wanted a token (serve.token_file, \
                 --token-file or MILLSTREAM_TOKEN), or an address such as {such}"
            )));
        }
        let query_memory = file.query_memory.map_or(QUERY_MEMORY, ByteSize::bytes);
        let query_timeout = file.query_timeout.unwrap_or(QUERY_TIMEOUT);
        let tls = tls.map(|tls| (tls.cert, tls.key));
        Ok(Some(ListenConfig { address, token, tls, takes_rows, postgres, query_memory, query_timeout }))
    }
}

fn postgres_address(text: &str) -> Result<SocketAddr> {
    if !cfg!(feature = "sql") {
        return Err(Error::usage("serve.postgres: this build is without it; wanted one with the feature sql"));
    }
    address_of("serve.postgres", text, "127.0.0.1:5433")
}

fn address_of(key: &str, text: &str, such: &str) -> Result<SocketAddr> {
    let wanted = || Error::usage(format!("{key}: found {text}, wanted an address such as {such}"));
    text.replace("localhost:", "127.0.0.1:").parse().map_err(|_| wanted())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(address: &str, token: Option<&str>, default: Option<&str>) -> Result<Option<ListenConfig>> {
        let file = ListenKeys { token: token.map(str::to_owned), ..ListenKeys::default() };
        ListenConfig::decide((Some(address), None), None, file, default.map(str::to_owned), true)
    }

    #[test]
    fn whom_others_can_reach_has_a_token() {
        let open = decided("localhost:0", None, None).expect("valid").expect("it listens");
        assert!(open.address.ip().is_loopback() && open.token.is_empty());
        let closed = decided("0.0.0.0:8080", None, Some("of the environment")).expect("valid").expect("it listens");
        assert_eq!(closed.token.bytes(), b"of the environment");
        assert_eq!(format!("{:?}", closed.token), "a secret");
        let of_file = decided("[::]:8080", Some("s"), Some("of the environment")).expect("valid").expect("it listens");
        assert_eq!(of_file.token.bytes(), b"s");
        assert!(ListenConfig::decide((None, None), None, ListenKeys::default(), None, true).expect("valid").is_none());
        for (address, token, words) in [
            ("0.0.0.0:8080", None, "found 0.0.0.0:8080, which others can reach, and no token"),
            ("[::]:8080", None, "which others can reach"),
            ("8080", None, "serve.listen: found 8080, wanted an address such as 127.0.0.1:8080"),
            (
                "127.0.0.1:0",
                Some("${NAME:-sesame}"),
                "serve.token: wanted ${NAME} for the value of an environment variable",
            ),
            ("127.0.0.1:0", Some("${MILLSTREAM_NOT_SET}"), "the environment variable MILLSTREAM_NOT_SET is not set"),
        ] {
            let error = decided(address, token, None).expect_err(address).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
