//! Views: queries that are given a name.

use crate::error::{Error, Result};
use crate::tables::{Catalog, RejectedTable};

use super::file::ConfigFile;
#[cfg(all(feature = "cli", feature = "sql"))]
use super::file_on_disk;

/// An entry of `views`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewKeys {
    /// Its name.
    pub name: String,
    /// Its query.
    pub query: String,
}

/// The views of a config file.
///
/// # Errors
///
/// If the file can't be read, or a view is invalid.
#[cfg(all(feature = "cli", feature = "sql"))]
pub(crate) fn views_of(config: Option<&std::path::Path>) -> Result<Vec<ViewKeys>> {
    views(&file_on_disk::read(config)?)
}

/// The views of a config file.
///
/// # Errors
///
/// If the name of one is invalid, or that of a table.
pub(super) fn views(file: &ConfigFile) -> Result<Vec<ViewKeys>> {
    if !file.views.is_empty() && !cfg!(feature = "sql") {
        return Err(Error::usage("views: this build is without them; wanted one with the feature sql"));
    }
    let (job, own) = (Catalog::standard(), &file.views);
    let taken = |name: &str| job.names().any(|table| table == name) || name == RejectedTable::NAME;
    let view = |(name, query): (&String, &String)| {
        let wrong = |cause: &str| Err(Error::usage(format!("views: {name}: {cause}")));
        match name.as_str() {
            name if !is_plain(name) => wrong("wanted a name of at most 63 of a-z, 0-9 and _, not a digit first"),
            name if name.starts_with("pg_") => wrong("wanted a name that does not begin as those of the catalog, pg_"),
            name if taken(name) => wrong("a table has this name; wanted another one"),
            name => Ok(ViewKeys { name: name.to_owned(), query: query.trim().trim_end_matches(';').to_owned() }),
        }
    };
    own.iter().map(view).collect()
}

fn is_plain(name: &str) -> bool {
    let is_letter = |letter: u8| letter.is_ascii_lowercase() || letter == b'_';
    let (first, rest) = name.as_bytes().split_first().map_or((b'0', &[][..]), |(first, rest)| (*first, rest));
    is_letter(first) && name.len() <= 63 && rest.iter().all(|letter| is_letter(*letter) || letter.is_ascii_digit())
}
