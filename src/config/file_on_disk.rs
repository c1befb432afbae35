//! Reading the config file.

use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};

use super::file::ConfigFile;
use super::{keys, yaml};

/// Reads a config file; without a path, returns the default.
///
/// # Errors
///
/// If it can't be read, is not YAML, or has an unknown key or an invalid value.
pub(super) fn read(path: Option<&Path>) -> Result<ConfigFile> {
    let Some((path, text, _)) = checked(path)? else { return Ok(ConfigFile::default()) };
    // Read again from the text, and not from the document, so that errors name the line.
    yaml::parse(&text).map_err(|cause| invalid(path, &cause))
}

/// The keys and values of a config file; null without a path, or if the file has none.
///
/// # Errors
///
/// As [`read`].
#[cfg(feature = "cli")]
pub(crate) fn document(path: Option<&Path>) -> Result<Value> {
    read(path)?;
    Ok(checked(path)?.map_or(Value::Null, |(_, _, document)| document))
}

/// The text of a file and what it has, if it has only known keys; `None` if it has nothing.
fn checked(path: Option<&Path>) -> Result<Option<(&Path, String, Value)>> {
    let Some(path) = path else { return Ok(None) };
    let text = fs::read_to_string(path).map_err(|cause| invalid(path, &cause))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let document: Value = yaml::parse(&text).map_err(|cause| invalid(path, &cause))?;
    if document.is_null() {
        return Ok(None);
    }
    keys::check(&document).map_err(|cause| invalid(path, &cause))?;
    Ok(Some((path, text, document)))
}

fn invalid(path: &Path, cause: &dyn fmt::Display) -> Error {
    Error::usage(format!("{}: {cause}", path.display()))
}
