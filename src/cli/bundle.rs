//! A support bundle: an archive of texts without secrets, and without what is known to be rows of the shop.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tar::{Builder, Header};

use crate::atomic_file::AtomicFile;
use crate::config;
use crate::error::{Error, Result};
use crate::redacted::{HIDDEN, without_credentials, without_secrets};

/// The files of a bundle.
#[derive(Default)]
pub(super) struct Bundle {
    files: Vec<(String, String)>,
    /// Is in none of the files.
    token: Option<String>,
}

/// The folder in which the files are.
const FOLDER: &str = "millstream-bundle";
/// Only its owner reads the archive.
const MODE: u32 = 0o600;

impl Bundle {
    /// No file will have this token.
    pub(super) fn hide(&mut self, token: &str) {
        self.token = Some(token.to_owned()).filter(|token| !token.is_empty());
    }

    pub(super) fn add_text(&mut self, name: &str, text: String) {
        self.files.push((name.to_owned(), text));
    }

    /// What the service answered to `/v1/NAME`.
    pub(super) fn add_answer(&mut self, name: &str, mut answer: Value) {
        remove_values(name, &mut answer);
        self.add_text(&format!("{name}.json"), format!("{answer:#}\n"));
    }

    /// The settings in force, and the config file.
    pub(super) fn add_settings(&mut self, file: Option<&Path>, in_force: Result<Vec<String>>) {
        let in_force = in_force.map_or_else(|error| error.to_string(), |lines| lines.join("\n"));
        self.add_text("settings.txt", in_force + "\n");
        if let Ok(document @ Value::Object(_)) = config::document(file) {
            self.add_text("config.json", format!("{:#}\n", without_secrets(document)));
        }
    }

    /// Writes the files as a compressed archive; says which.
    ///
    /// # Errors
    ///
    /// If there is something already, or it can't be written.
    pub(super) fn write(&self, path: &Path) -> Result<String> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(Error::usage(format!("--bundle: {} exists, wanted a new file", path.display())));
        }
        let mut archive = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (name, text) in &self.files {
            let mut text = without_credentials(text);
            if let Some(token) = &self.token {
                text = text.replace(token, HIDDEN);
            }
            let mut header = Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(MODE);
            archive.append_data(&mut header, format!("{FOLDER}/{name}"), text.as_bytes()).map_err(Error::failed)?;
        }
        let content = archive.into_inner().and_then(GzEncoder::finish).map_err(Error::failed)?;
        let mut file = AtomicFile::replacing(path)?;
        file.write(&content)?;
        file.put_in_place()?;
        fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(Error::writing(path))?;
        let names: Vec<_> = self.files.iter().map(|(name, _)| &**name).collect();
        Ok(format!("{}: {}", path.display(), names.join(", ")))
    }
}

/// Removes the parts of an answer that quote values of rows.
fn remove_values(name: &str, answer: &mut Value) {
    let (list, fields): (_, &[&str]) = match name {
        "rejected" => ("reasons", &["example"]),
        "sources" => ("sources", &["last_rejected", "offset"]),
        _ => return,
    };
    let remove = |value: &mut Value, field: &str| value.as_object_mut().and_then(|object| object.remove(field));
    if name == "rejected" {
        remove(answer, "rows");
    }
    for one in answer.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
        fields.iter().for_each(|field| drop(remove(one, field)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_and_values_are_left_out_and_the_rest_stays() {
        let config = json!({
            "serve": {"token": 12345, "token_file": "/run/token", "tls": {"key": "key.pem"}},
            "sinks": [{"Password": ["12345"]}, {"password": "${BI_PASSWORD}"}],
        });
        let shown = without_secrets(config).to_string();
        assert!(!shown.contains("12345"), "{shown}");
        for kept in ["/run/token", "key.pem", "${BI_PASSWORD}"] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
        let mut rejected =
            json!({"rows": [{"row": "Ann"}], "reasons": [{"rows": 3, "example": "Ann", "reason": "bad"}]});
        remove_values("rejected", &mut rejected);
        assert_eq!(rejected, json!({"reasons": [{"rows": 3, "reason": "bad"}]}));
        let mut sources = json!({"sources": [{"offset": "Ann", "last_rejected": {"reason": "Ann"}, "rows": 2}]});
        remove_values("sources", &mut sources);
        assert_eq!(sources, json!({"sources": [{"rows": 2}]}));
        let mut history = json!({"rows": [1, 2]});
        remove_values("history", &mut history);
        assert_eq!(history, json!({"rows": [1, 2]}));
    }

    #[test]
    fn a_token_is_in_no_file_and_what_exists_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bundle.tar.gz");
        let mut bundle = Bundle::default();
        bundle.hide("sesame");
        bundle.add_text("one.txt", "open sesame, or a://user:x@host\n".into());
        bundle.write(&path).expect("written");
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(&path).expect("a file")));
        let mut text = String::new();
        let mut file = archive.entries().expect("an archive").next().expect("a file").expect("a file");
        std::io::Read::read_to_string(&mut file, &mut text).expect("a text");
        assert_eq!(text, "open (a secret), or a://(a secret)@host\n");
        assert!(bundle.write(&path).is_err_and(|error| error.to_string().contains("exists, wanted a new file")));
        assert!(bundle.write(&folder.path().join("none/bundle")).is_err());
    }
}
