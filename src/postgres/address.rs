//! The address of a database, and connections to it.

use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ::postgres::config::{Host, SslMode};
use ::postgres::{Client, Config, Error as ClientError};
use pgwire_replication::{ReplicationConfig, TlsConfig};

use crate::error::{Error, Result};

use super::tls::{Trust, connector};

/// A database and how to connect to it. It is shown without the password.
#[derive(Clone)]
pub struct PostgresAddress {
    config: Config,
    trust: Trust,
}

/// How long to wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may be silent before the server is asked whether it is there.
const SILENT_FOR: Duration = Duration::from_secs(10);
/// How long what was sent may be unacknowledged.
const UNACKNOWLEDGED_FOR: Duration = Duration::from_secs(30);

impl PostgresAddress {
    /// Reads a URL, `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE`.
    ///
    /// The modes are those of libpq: `disable`, `prefer` (the default), `require`, which does not check who the server
    /// is, and `verify-full`, which does by the certificates of `sslrootcert`, or those that browsers trust.
    ///
    /// # Errors
    ///
    /// If it is not such a URL. The message does not quote it.
    pub fn parse(url: &str) -> Result<PostgresAddress> {
        let wanted = "wanted postgres://USER:PASSWORD@HOST:PORT/DATABASE";
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(Error::usage(format!("url: {wanted}")));
        }
        if !has_plain_authority(url) {
            let cause = "special characters in the user and the password are written as %xx, such as %40 for @";
            return Err(Error::usage(format!("url: {cause}; {wanted}")));
        }
        let (base, parameters) = url.split_once('?').unwrap_or((url, ""));
        let (mut rest, mut mode, mut authority) = (Vec::new(), "prefer", None);
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = value,
                Some(("sslrootcert", value)) => authority = Some(PathBuf::from(value)),
                _ => rest.push(parameter),
            }
        }
        let config = format!("{base}?{}", rest.join("&")).parse::<Config>();
        let mut config = config.map_err(|cause| Error::usage(format!("url: {wanted}: {}", in_words(&cause))))?;
        let (ssl_mode, trust) = match mode {
            "disable" => (SslMode::Disable, Trust::Anyone),
            "prefer" => (SslMode::Prefer, authority.map_or(Trust::Anyone, Trust::Authority)),
            "require" => (SslMode::Require, authority.map_or(Trust::Anyone, Trust::Authority)),
            "verify-full" => (SslMode::Require, authority.map_or(Trust::Browsers, Trust::Authority)),
            found => {
                let wanted = "wanted disable, prefer, require or verify-full";
                let found = if found.chars().all(|letter| letter.is_ascii_alphabetic()) { found } else { "another" };
                return Err(Error::usage(format!("url: sslmode: found {found}, {wanted}")));
            }
        };
        if config.get_hosts().is_empty() || config.get_dbname().is_none() || config.get_user().is_none() {
            return Err(Error::usage(format!("url: it lacks the host, the database or the user; {wanted}")));
        }
        config.ssl_mode(ssl_mode).connect_timeout(CONNECT_WITHIN).tcp_user_timeout(UNACKNOWLEDGED_FOR);
        config.keepalives_idle(SILENT_FOR).keepalives_interval(SILENT_FOR / 2).keepalives_retries(3);
        // Such as that a table is there already.
        config.notice_callback(|_| ());
        if config.get_application_name().is_none() {
            config.application_name("millstream");
        }
        Ok(PostgresAddress { config, trust })
    }

    /// How to connect for replication.
    ///
    /// # Errors
    ///
    /// If the password is not UTF-8.
    pub(crate) fn replication(&self, slot: &str, publication: &str) -> Result<ReplicationConfig> {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => String::new(),
        };
        let password = self.config.get_password().unwrap_or_default();
        let password = std::str::from_utf8(password).map_err(|_| Error::usage("url: the password is not UTF-8"))?;
        let (user, database) =
            (self.config.get_user().unwrap_or_default(), self.config.get_dbname().unwrap_or_default());
        let mut replication = ReplicationConfig::new(host, user, password, database, slot, publication);
        replication.port = self.config.get_ports().first().copied().unwrap_or(5432);
        replication.tls = match (self.config.get_ssl_mode(), &self.trust) {
            (SslMode::Disable, _) => TlsConfig::disabled(),
            (_, Trust::Authority(path)) => TlsConfig::verify_full(Some(path.clone())),
            (_, Trust::Browsers) => TlsConfig::verify_full(None),
            (SslMode::Prefer, Trust::Anyone) => {
                TlsConfig { mode: pgwire_replication::SslMode::Prefer, ..TlsConfig::default() }
            }
            (_, Trust::Anyone) => TlsConfig::require(),
        };
        Ok(replication)
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// If the server can't be reached, or does not let the user in.
    pub(crate) fn connect(&self) -> Result<Client> {
        // The timeout of the client is one of the network: a server may take a connection and then say nothing.
        let (config, connector) = (self.config.clone(), connector(&self.trust)?);
        let (give, given) = mpsc::channel();
        thread::spawn(move || drop(give.send(config.connect(connector))));
        match given.recv_timeout(2 * CONNECT_WITHIN) {
            Ok(connected) => connected.map_err(server_error),
            Err(_) => Err(Error::failed("the server does not answer")),
        }
    }
}

/// True unless the user or the password of a URL have characters that end them, or would make it hard to hide them.
fn has_plain_authority(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, _) = authority.rsplit_once('@').unwrap_or(("", authority));
    let is_odd = |letter: char| letter.is_whitespace() || "@\"'<>,\\".contains(letter);
    !user.contains(is_odd) && !path.split('?').next().unwrap_or_default().contains('@')
}

/// Without the password.
impl fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        });
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let (hosts, database) = (hosts.collect::<Vec<_>>().join(","), self.config.get_dbname().unwrap_or_default());
        write!(f, "postgres://{hosts}:{port}/{database}")
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An error of the server, or of the way to it. It is [`ErrorKind::Usage`](crate::error::ErrorKind::Usage) if the
/// server refuses what was asked for: a role, a database, a right, a name.
pub(crate) fn server_error(error: ClientError) -> Error {
    const REFUSED: [&str; 4] = ["28", "3D", "3F", "42"];
    let words = in_words(&error);
    let is_refused = error.code().is_some_and(|code| REFUSED.iter().any(|class| code.code().starts_with(class)));
    if is_refused { Error::usage(words).caused_by(error) } else { Error::failed(words).caused_by(error) }
}

/// An error in the words of the server, with its code, or else with its cause.
fn in_words(error: &ClientError) -> String {
    if let Some(told) = error.as_db_error() {
        let detail = told.detail().map_or_else(String::new, |detail| format!(" {detail}"));
        let hint = told.hint().map_or_else(String::new, |hint| format!(" Hint: {hint}"));
        return format!("{}{detail}{hint} ({})", told.message(), told.code().code());
    }
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = inner.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        let address = PostgresAddress::parse("postgres://me:hidden@db.example:5433/shop?sslmode=disable");
        let address = address.expect("an address");
        assert_eq!(address.to_string(), "postgres://db.example:5433/shop");
        assert_eq!(format!("{address:?}"), "postgres://db.example:5433/shop");
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_quoted() {
        for (url, words) in [
            ("db.example", "url: wanted postgres://USER:PASSWORD@HOST:PORT/DATABASE"),
            ("postgres://me:hidden@db.example:port/shop", "url: wanted postgres://"),
            ("postgres://me:hidden@db.example", "it lacks the host, the database or the user"),
            ("postgres://me:hidden@db/shop?sslmode=on", "sslmode: found on, wanted disable, prefer, require"),
            (
                "postgres://me:hid/den#hidden@db/shop",
                "special characters in the user and the password are written as %xx",
            ),
            ("postgres://me:hid@hidden@db/shop", "special characters in the user and the password are written as %xx"),
        ] {
            let error = PostgresAddress::parse(url).expect_err(url).to_string();
            assert!(error.contains(words) && !error.contains("hidden"), "{error}");
        }
    }
}
