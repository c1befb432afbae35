//! Paths that are URLs.

use std::path::{Path, PathBuf};

#[cfg(feature = "s3")]
use crate::model::InputTable;

/// True if a path is the URL of a folder in object storage.
pub(crate) fn is_url(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme != "file" && scheme.chars().all(|letter| letter.is_ascii_alphanumeric()))
}

/// A path on this machine without `file://`.
pub(crate) fn local_path(path: PathBuf) -> PathBuf {
    match path.to_str().and_then(|text| text.strip_prefix("file://")) {
        Some(rest) if rest.starts_with('/') => PathBuf::from(rest),
        _ => path,
    }
}

/// True for the name of an object of an input folder that belongs to a table.
#[cfg(feature = "s3")]
pub(crate) fn is_input(name: &str) -> bool {
    InputTable::ALL.iter().any(|table| name.strip_prefix(table.name()).is_some_and(|rest| rest.starts_with(['/', '.'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_known_by_its_scheme() {
        for (path, is) in
            [("s3://bucket/shop", true), ("gs://b", true), ("file:///shop", false), ("/a://b", false), ("shop", false)]
        {
            assert_eq!(is_url(Path::new(path)), is, "{path}");
        }
        assert_eq!(local_path("file:///data/shop".into()), Path::new("/data/shop"));
        assert_eq!(local_path("file://host/shop".into()), Path::new("file://host/shop"));
        assert_eq!(local_path("shop".into()), Path::new("shop"));
    }
}
