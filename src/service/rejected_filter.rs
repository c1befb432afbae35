//! Which rejected rows a request is about.

use std::num::NonZeroU64;

use serde::{Deserialize, Deserializer};

use crate::model::{InputTable, Rejection};

/// The rejected rows that have all of this; a filter without anything has all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RejectedFilter {
    /// The input table.
    #[serde(deserialize_with = "input_table")]
    pub table: Option<InputTable>,
    /// The file or request that the row is from.
    #[serde(deserialize_with = "not_null")]
    pub file: Option<String>,
    /// Its number there, from 1.
    #[serde(deserialize_with = "not_null")]
    pub row_number: Option<NonZeroU64>,
    /// The reason, with the value that was found or without it.
    #[serde(deserialize_with = "not_null")]
    pub reason: Option<String>,
    /// The row.
    #[serde(deserialize_with = "not_null")]
    pub row: Option<String>,
}

impl RejectedFilter {
    /// True if a row matches.
    #[must_use]
    pub fn matches(&self, rejected: &Rejection) -> bool {
        let Rejection { table, origin, reason, row } = rejected;
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let origin = origin.as_ref();
        self.table.is_none_or(|wanted| wanted.name() == &**table)
            && (is(&self.reason, &reason.text) || is(&self.reason, &reason.kind))
            && is(&self.row, row)
            && (self.file.is_none() || self.file.as_deref() == origin.map(|origin| &*origin.file))
            && (self.row_number.is_none()
                || self.row_number.map(NonZeroU64::get) == origin.map(|origin| origin.row + 1))
    }
}

/// A field that is there must have a value: one that a client has not set would match too many rows.
fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

fn input_table<'de, D: Deserializer<'de>>(name: D) -> Result<Option<InputTable>, D::Error> {
    let name = String::deserialize(name)?;
    let unknown = || serde::de::Error::custom(format!("there is no input table {name}"));
    InputTable::named(&name).map(Some).ok_or_else(unknown)
}
