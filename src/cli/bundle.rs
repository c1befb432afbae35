//! A file with what is needed to find a fault: no secrets, and no rows of the shop.

use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tar::{Builder, Header};

use crate::atomic_file::AtomicFile;
use crate::config;
use crate::error::{Error, Result};

/// The files of a bundle.
#[derive(Default)]
pub(super) struct Bundle {
    files: Vec<(String, String)>,
}

/// The folder in which they are.
const FOLDER: &str = "millstream-bundle";
/// Stands for a secret.
const HIDDEN: &str = "(a secret)";
/// What the name of a key has whose value is a secret.
const SECRETS: [&str; 5] = ["token", "password", "secret", "credential", "access_key"];
/// What may have values of the shop.
const VALUES: [&str; 3] = ["rows", "example", "last_rejected"];

impl Bundle {
    pub(super) fn add_text(&mut self, name: &str, text: String) {
        self.files.push((name.to_owned(), text));
    }

    /// An answer of the service, or why there is none.
    pub(super) fn add_json(&mut self, name: &str, answer: Result<Value>) {
        let text = match answer {
            Ok(answer) => serde_json::to_string_pretty(&without_values(answer)).unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        self.add_text(name, text);
    }

    /// The settings in force, and the config file.
    pub(super) fn add_settings(&mut self, file: Option<&Path>, in_force: Result<Vec<String>>) {
        let in_force = in_force.map_or_else(|error| error.to_string(), |lines| lines.join("\n"));
        self.add_text("settings.txt", in_force + "\n");
        if let (Some(path), Ok(document)) = (file, config::document(file)) {
            let text = serde_json::to_string_pretty(&without_secrets(document)).unwrap_or_default();
            self.add_text("config.json", format!("{text}\n"));
            self.add_text("config_path.txt", format!("{}\n", path.display()));
        }
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.files.iter().map(|(name, _)| &**name).collect()
    }

    /// Writes the files as a compressed archive.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let mut archive = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (name, text) in &self.files {
            let mut header = Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            archive.append_data(&mut header, format!("{FOLDER}/{name}"), text.as_bytes()).map_err(Error::failed)?;
        }
        let content = archive.into_inner().and_then(GzEncoder::finish).map_err(Error::failed)?;
        let mut file = AtomicFile::replacing(path)?;
        file.write(&content)?;
        file.put_in_place()
    }
}

/// A config file without its secrets.
fn without_secrets(value: Value) -> Value {
    match value {
        Value::Object(entries) => entries
            .into_iter()
            .map(|(key, value)| match is_secret(&key) && !value.is_null() {
                true => (key, HIDDEN.into()),
                false => (key, without_secrets(value)),
            })
            .collect(),
        Value::Array(values) => values.into_iter().map(without_secrets).collect(),
        Value::String(text) => without_password(&text).into(),
        other => other,
    }
}

/// True for a key with a secret; not for one with a file that has it.
fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    !key.ends_with("_file") && SECRETS.iter().any(|secret| key.contains(secret))
}

/// A URL without who uses it.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{HIDDEN}{}", &rest[at..]),
        None => text.to_owned(),
    }
}

/// An answer of the service without values of the shop: its counts stay.
fn without_values(answer: Value) -> Value {
    match answer {
        Value::Object(entries) => entries
            .into_iter()
            .filter(|(key, value)| !VALUES.contains(&&**key) || value.is_number())
            .map(|(key, value)| (key, without_values(value)))
            .collect(),
        Value::Array(values) => values.into_iter().map(without_values).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_and_values_are_left_out_and_the_rest_stays() {
        let config = json!({
            "serve": {"token": "s3cret", "token_file": "/run/token", "tls": {"key": "key.pem"}},
            "sinks": [{"url": "postgres://shop:s3cret@db:5432/shop?x=@", "Password": "s3cret"}, {"url": "s3://b/@x"}],
            "tiers": [1, 2],
        });
        let shown = without_secrets(config).to_string();
        assert!(!shown.contains("s3cret"), "{shown}");
        for kept in ["/run/token", "key.pem", "@db:5432/shop?x=@", "s3://b/@x", "[1,2]"] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
        let answer = json!({
            "all_rows": 3, "rows": [{"row": "Ann"}], "reasons": [{"rows": 3, "example": "name Ann", "reason": "bad"}],
            "tables": {"daily_sales": {"rows": 7}}, "last_rejected": {"reason": "Ann"},
        });
        let wanted =
            json!({"all_rows": 3, "reasons": [{"rows": 3, "reason": "bad"}], "tables": {"daily_sales": {"rows": 7}}});
        assert_eq!(without_values(answer), wanted);
    }
}
