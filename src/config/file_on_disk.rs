//! Reading the config file.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

use super::file::ConfigFile;
use super::{keys, yaml};

/// Reads a config file; without a path, returns the default.
///
/// # Errors
///
/// If it can't be read, is not YAML, or has an unknown key or an invalid value.
pub(super) fn read(path: Option<&Path>) -> Result<ConfigFile> {
    let Some(path) = path else { return Ok(ConfigFile::default()) };
    let invalid = |cause: &dyn fmt::Display| Error::usage(format!("{}: {cause}", path.display()));
    let text = fs::read_to_string(path).map_err(|cause| invalid(&cause))?;
    if text.trim().is_empty() {
        return Ok(ConfigFile::default());
    }
    let document: serde_json::Value = yaml::parse(&text).map_err(|cause| invalid(&cause))?;
    if document.is_null() {
        return Ok(ConfigFile::default());
    }
    keys::check(&document).map_err(|cause| invalid(&cause))?;
    // Read again from the text, and not from the document, so that errors name the line.
    yaml::parse(&text).map_err(|cause| invalid(&cause))
}
