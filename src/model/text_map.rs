//! Texts by their names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Text;

/// A map of texts, by key; a value may be null.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TextMap(pub BTreeMap<Text, Option<Text>>);
