//! Names of tables.

use serde::Deserialize;

/// `tables`: a list of names, or `all`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum TableNames {
    One(String),
    Several(Vec<String>),
}

impl TableNames {
    pub(super) fn into_names(self) -> Vec<String> {
        match self {
            TableNames::One(name) => vec![name],
            TableNames::Several(names) => names,
        }
    }
}
