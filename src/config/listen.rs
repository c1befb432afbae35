//! Where a service listens, and to whom.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::error::{Error, Result};

use super::cluster::{Secret, read_secret};
use super::environment::expanded;

/// `serve`: where a service listens.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListenKeys {
    pub(super) listen: Option<String>,
    pub(super) token: Option<String>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) tls: Option<TlsKeys>,
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
}

impl ListenConfig {
    /// Resolves where to listen; `None` if that is nowhere. `default_token` is what the environment has.
    pub(super) fn decide(
        address: Option<&str>,
        token_file: Option<PathBuf>,
        file: ListenKeys,
        default_token: Option<String>,
        takes_rows: bool,
    ) -> Result<Option<ListenConfig>> {
        let ListenKeys { listen, token, token_file: file_of_file, tls } = file;
        let Some(text) = address.or(listen.as_deref()) else { return Ok(None) };
        let address = address_of(text)?;
        let token = match (token_file.or(file_of_file), token) {
            (Some(path), _) => read_secret(path)?,
            (None, Some(token)) => Secret::new(expanded("serve.token", &token)?.trim().as_bytes()),
            (None, None) => default_token.map_or_else(Secret::default, |token| Secret::new(token.trim().as_bytes())),
        };
        if !address.ip().is_loopback() && token.is_empty() {
            return Err(Error::usage(format!(
                "serve.listen: found {text}, which others can reach, and no token; wanted a token (serve.token_file, \
                 --token-file or MILLSTREAM_TOKEN), or an address such as 127.0.0.1:8080"
            )));
        }
        Ok(Some(ListenConfig { address, token, tls: tls.map(|tls| (tls.cert, tls.key)), takes_rows }))
    }
}

fn address_of(text: &str) -> Result<SocketAddr> {
    let wanted = || Error::usage(format!("serve.listen: found {text}, wanted an address such as 127.0.0.1:8080"));
    text.replace("localhost:", "127.0.0.1:").parse().map_err(|_| wanted())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(address: &str, token: Option<&str>, default: Option<&str>) -> Result<Option<ListenConfig>> {
        let file = ListenKeys { token: token.map(str::to_owned), ..ListenKeys::default() };
        ListenConfig::decide(Some(address), None, file, default.map(str::to_owned), true)
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
        assert!(ListenConfig::decide(None, None, ListenKeys::default(), None, true).expect("valid").is_none());
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
