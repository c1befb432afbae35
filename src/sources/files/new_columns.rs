//! Columns that a job did not have when it started.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};

use crate::columns::can_be_carried;
use crate::model::InputTable;
use crate::printable::printable;

use super::common_type::common_type;

/// The new columns of each table, with a type that holds the values of all who had them. Each is told once.
#[derive(Default)]
pub(crate) struct NewColumns(BTreeMap<(InputTable, String), DataType>);

/// More new columns are ignored: somebody writes values where names belong.
const MOST: usize = 100;
/// So many characters of a name are shown.
const LONGEST_NAME: usize = 100;

/// The name of a column, for a message.
fn name_shown(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => printable(&format!("{}…", &name[..end])),
        None => printable(name),
    }
}

impl NewColumns {
    /// Columns that were found in a file or request: those that can be carried from the next start on, and are new or
    /// have another type than was known.
    pub(crate) fn found(&mut self, table: InputTable, columns: &[FieldRef]) -> Vec<(InputTable, FieldRef)> {
        columns.iter().filter_map(|column| Some((table, self.found_one(table, column)?))).collect()
    }

    fn found_one(&mut self, table: InputTable, column: &FieldRef) -> Option<FieldRef> {
        let (name, found) = (column.name(), column.data_type());
        let known = self.0.get(&(table, name.clone()));
        if known == Some(found) || known.is_none() && self.0.len() >= MOST {
            return None;
        }
        let both = known.map_or(Some(found.clone()), |known| common_type(known, found)).unwrap_or(DataType::Utf8);
        let can_be = both != DataType::Null && can_be_carried(&both);
        if known.is_none() {
            let shown = name_shown(name);
            match can_be {
                true => tracing::warn!("{table}: column {shown} is new: it is ignored until the next start"),
                false => tracing::warn!("{table}: column {shown} is new, and a {found}: it is ignored"),
            }
        }
        let is_other = known != Some(&both);
        self.0.insert((table, name.clone()), both.clone());
        (can_be && is_other).then(|| Arc::new(Field::new(name, both, true)))
    }
}
