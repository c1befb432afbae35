//! A registry of schemas, which has them by id.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::error::{Error, Result};
use crate::printable::printable;
use crate::redacted::without_credentials;

/// A schema registry and how to connect to it. It is shown without credentials.
#[derive(Clone)]
pub struct SchemaRegistry {
    url: String,
    authorization: Option<String>,
    agent: Agent,
    /// Clones share it.
    known: Arc<Mutex<KnownSchemas>>,
}

/// What a registry has answered.
#[derive(Default)]
struct KnownSchemas {
    /// A schema never changes.
    schemas: BTreeMap<u32, RegisteredSchema>,
    /// Since when schemas are missing.
    missing: BTreeMap<u32, Instant>,
}

/// A schema, with those that it refers to, each after those that it refers to itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegisteredSchema {
    pub(crate) schema: String,
    pub(crate) references: Vec<String>,
}

/// Why a schema is unavailable.
#[derive(Debug)]
pub(crate) enum RegistryError {
    /// The registry does not know it.
    Missing(String),
    /// It is none of Avro, or a registry would not take it: asking again would change nothing.
    Unusable(String),
    /// The registry can't be reached, or refuses to answer.
    Failed(Error),
}

/// An answer with a schema.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaAnswer {
    schema: String,
    #[serde(default)]
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<SchemaReference>>,
}

#[derive(Deserialize)]
struct SchemaReference {
    subject: String,
    version: u32,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error_code: u32,
    message: String,
}

/// The answer to a schema that is registered, or looked up.
#[derive(Deserialize)]
struct SchemaId {
    id: u32,
}

/// The error codes of a subject, a version or a schema that is not known.
const MISSING: [u32; 3] = [40401, 40402, 40403];
/// Those of a schema that is in conflict with others of its subject, or invalid.
const UNUSABLE: [u32; 2] = [409, 42201];

/// How long it may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// How long a schema is waited for that the registry does not know.
const COMES_WITHIN: Duration = Duration::from_secs(5);
/// By so many ids may a schema be newer than all that are known.
const COMING: u32 = 1_000;
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// A schema refers to so many others at most, of which each may refer to others.
const REFERENCES_MAX: usize = 100;

impl SchemaRegistry {
    /// Takes the URL of a registry, a user name and password if it wants them, and a file with the CA certificates to
    /// trust, in place of those that are generally trusted.
    ///
    /// # Errors
    ///
    /// If it is no URL, has credentials, or the file has no certificates. The message has no credentials.
    pub fn new(url: &str, user: Option<(&str, &str)>, ca: Option<&Path>) -> Result<SchemaRegistry> {
        let url = url.trim().trim_end_matches('/');
        let wanted = "wanted one such as https://registry.example:8081; credentials are username and password";
        if url.contains('@') {
            return Err(Error::usage(format!("url: found '@' in it, {wanted}")));
        }
        if !url.parse::<Uri>().is_ok_and(|uri| is_base(&uri)) {
            return Err(Error::usage(format!("url: found {:?}, {wanted}", without_credentials(url))));
        }
        let mut config = Agent::config_builder().timeout_global(Some(ANSWERS_WITHIN)).http_status_as_error(false);
        if let Some(path) = ca {
            config = config.tls_config(TlsConfig::builder().root_certs(certificates(path)?).build());
        }
        let authorization =
            user.map(|(name, password)| format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))));
        let (agent, known) = (config.build().into(), Arc::default());
        Ok(SchemaRegistry { url: url.to_owned(), authorization, agent, known })
    }

    /// The schema with an id.
    pub(crate) fn schema(&self, id: u32) -> Result<RegisteredSchema, RegistryError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = known().schemas.get(&id) {
            return Ok(schema.clone());
        }
        let path = format!("/schemas/ids/{id}");
        let answer = self.get(&path).map_err(|error| match error {
            RegistryError::Missing(cause) if known().may_come(id) => self.failed(&path, &cause),
            error => error,
        });
        let SchemaAnswer { schema, schema_type, references } = answer?;
        if let Some(found) = schema_type.filter(|found| found != "AVRO") {
            return Err(RegistryError::Unusable(format!("it is {}, wanted AVRO", printable(&found))));
        }
        let mut found = Vec::new();
        self.add_references(references, &mut Vec::new(), &mut found)?;
        let references = found.into_iter().map(|(_, schema)| schema).collect();
        let schema = RegisteredSchema { schema, references };
        known().schemas.insert(id, schema.clone());
        Ok(schema)
    }

    /// Adds those that a schema refers to, once each. `path` are the subjects that refer to it.
    fn add_references(
        &self,
        references: Option<Vec<SchemaReference>>,
        path: &mut Vec<(String, u32)>,
        found: &mut Vec<((String, u32), String)>,
    ) -> Result<(), RegistryError> {
        for SchemaReference { subject, version } in references.into_iter().flatten() {
            let at = (subject, version);
            if found.iter().any(|(known, _)| *known == at) {
                continue;
            }
            if path.contains(&at) {
                return Err(RegistryError::Unusable("its references are cyclic".to_owned()));
            }
            if found.len() + path.len() >= REFERENCES_MAX {
                return Err(RegistryError::Unusable(format!("it has more than {REFERENCES_MAX} references")));
            }
            let (subject, version) = &at;
            let subject = percent_encoded(subject);
            let answer: SchemaAnswer = self.get(&format!("/subjects/{subject}/versions/{version}"))?;
            path.push(at.clone());
            self.add_references(answer.references, path, found)?;
            path.pop();
            found.push((at, answer.schema));
        }
        Ok(())
    }

    /// The id of a schema under a subject, which is registered unless it is.
    ///
    /// # Errors
    ///
    /// If the registry can't be reached, or refuses it.
    pub(crate) fn register(&self, subject: &str, schema: &str) -> Result<u32> {
        let (body, path) = (json!({ "schema": schema }), format!("/subjects/{}", percent_encoded(subject)));
        // Looking may need fewer rights, and may be refused.
        let found = self.post::<SchemaId>(&path, &body).or_else(|_| self.post(&format!("{path}/versions"), &body));
        let (cause, what_to_do) = match found {
            Ok(SchemaId { id }) => return Ok(id),
            Err(RegistryError::Failed(error)) => return Err(error),
            Err(RegistryError::Missing(cause)) => (cause, "is the URL right?"),
            Err(RegistryError::Unusable(cause)) => {
                (cause, "if nobody reads its old records, delete the subject, or set its compatibility to NONE")
            }
        };
        Err(Error::usage(format!("schema registry {self}: subject {subject}: {cause}; {what_to_do}")))
    }

    /// Checks that it responds.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub(crate) fn check(&self) -> Result<()> {
        match self.get::<Vec<String>>("/subjects") {
            Ok(_) => Ok(()),
            Err(RegistryError::Failed(error)) => Err(error),
            Err(RegistryError::Unusable(cause) | RegistryError::Missing(cause)) => {
                Err(Error::failed(format!("schema registry {self}: {cause}")))
            }
        }
    }

    fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, RegistryError> {
        let mut request = self.agent.get(format!("{}{path}", self.url)).header("accept", MEDIA_TYPE);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        self.answer(path, request.call(), &[])
    }

    fn post<T: for<'de> Deserialize<'de>>(&self, path: &str, body: &serde_json::Value) -> Result<T, RegistryError> {
        let mut request = self.agent.post(format!("{}{path}", self.url)).header("content-type", MEDIA_TYPE);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        self.answer(path, request.send(body.to_string()), &UNUSABLE)
    }

    fn answer<T: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        answer: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>,
        refusals: &[u32],
    ) -> Result<T, RegistryError> {
        let mut answer = answer.map_err(|error| self.failed(path, &error))?;
        let status = answer.status();
        let text = answer.body_mut().read_to_string().map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(most) => RegistryError::Unusable(format!("it has more than {most} bytes")),
            error => self.failed(path, &error),
        })?;
        if status.is_success() {
            let unexpected = |error| self.failed(path, &format!("unexpected response: {error}"));
            return serde_json::from_str(&text).map_err(unexpected);
        }
        // Whatever is between may answer with the same status.
        let Ok(ErrorAnswer { error_code, message }) = serde_json::from_str(&text) else {
            return Err(self.failed(path, &status));
        };
        let cause = format!("{status}: {}", printable(&message));
        match error_code {
            code if MISSING.contains(&code) => Err(RegistryError::Missing(cause)),
            code if refusals.contains(&code) => Err(RegistryError::Unusable(cause)),
            _ => Err(self.failed(path, &cause)),
        }
    }

    fn failed(&self, path: &str, cause: &dyn fmt::Display) -> RegistryError {
        RegistryError::Failed(Error::failed(format!("schema registry {self}{path}: {cause}")))
    }
}

impl KnownSchemas {
    /// True if a schema that is missing may still come, as from a registry that lags behind another. Ids are given in
    /// order, so one far beyond all others is none.
    fn may_come(&mut self, id: u32) -> bool {
        let greatest = self.schemas.last_key_value().map_or(0, |(id, _)| *id);
        if id > greatest.saturating_add(COMING) {
            return false;
        }
        self.missing.entry(id).or_insert_with(Instant::now).elapsed() < COMES_WITHIN
    }
}

/// Its URL.
impl fmt::Display for SchemaRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl fmt::Debug for SchemaRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchemaRegistry").field("url", &self.url).finish_non_exhaustive()
    }
}

/// True for a scheme, a host and perhaps a port and a path.
fn is_base(uri: &Uri) -> bool {
    let is_known = ["http", "https"].contains(&uri.scheme_str().unwrap_or_default());
    let Some(authority) = uri.authority().filter(|_| is_known && uri.query().is_none()) else { return false };
    match authority.as_str().strip_prefix(authority.host()) {
        Some("") => true,
        Some(port) => authority.port_u16().is_some_and(|number| format!(":{number}") == port),
        None => false,
    }
}

fn certificates(path: &Path) -> Result<RootCerts> {
    let wrong = |cause: String| Error::usage(format!("ca: {}: {cause}", path.display()));
    let file = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&file) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| wrong(error.to_string()))? {
            found.push(certificate);
        }
    }
    match found.is_empty() {
        true => Err(wrong("found no certificate, wanted some in PEM".to_owned())),
        false => Ok(RootCerts::from(found)),
    }
}

/// A subject as a part of a path.
fn percent_encoded(subject: &str) -> String {
    const KEPT: AsciiSet = NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-').remove(b'~');
    utf8_percent_encode(subject, &KEPT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_without_credentials() {
        for url in [
            "",
            "registry:8081",
            "http://",
            "ftp://x",
            "http://x:99999",
            "http://a:1,http://b:2",
            "http://u:s3cret@x:8081",
            "u:s3cret@x:8081",
            "http://x/?token=s3cret",
        ] {
            let error = SchemaRegistry::new(url, None, None).expect_err(url).to_string();
            assert!(error.contains("wanted one such as") && !error.contains("s3cret"), "{error}");
        }
        SchemaRegistry::new("HTTPS://x/api", None, None).expect("valid");
        let registry = SchemaRegistry::new("http://x:1/", Some(("u", "s3cret")), None).expect("valid");
        assert_eq!(format!("{registry} {registry:?}"), "http://x:1 SchemaRegistry { url: \"http://x:1\", .. }");
        let error = SchemaRegistry::new("https://x", None, Some(Path::new("Cargo.toml"))).expect_err("no certificate");
        assert_eq!(error.to_string(), "ca: Cargo.toml: found no certificate, wanted some in PEM");
        assert_eq!(percent_encoded("a b/ü.c"), "a%20b%2F%C3%BC.c");
    }
}
