//! The columns of text files, which do not store types.

use arrow::datatypes::{DataType, Field, Schema};

use crate::columns::ColumnKind;
use crate::columns::integer_text::{is_canonical, whole};
use crate::model::InputTable;
use crate::sources::files::options::{Renames, canonical};

/// A column of a text file.
pub(super) struct InferredColumn {
    pub(super) name: String,
    /// The type in which it is carried.
    pub(super) data_type: DataType,
    /// Which of its values are numbers.
    pub(super) numbers: IdNumbers,
}

impl InferredColumn {
    /// A column that is carried as text.
    pub(super) fn of_text(name: String, numbers: IdNumbers) -> InferredColumn {
        InferredColumn { name, data_type: DataType::Utf8, numbers }
    }
}

/// Whether the values of a column are whole numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IdNumbers {
    has_whole: bool,
    has_other: bool,
}

impl IdNumbers {
    /// Looks at a value. An empty one is null.
    pub(super) fn see(&mut self, value: &str) {
        if !value.is_empty() {
            let is_whole = is_canonical(whole(value));
            self.has_whole |= is_whole;
            self.has_other |= !is_whole;
        }
    }

    /// The type of ids with these values; null if there are none, because nothing tells.
    fn id_type(self) -> DataType {
        match (self.has_whole, self.has_other) {
            (_, true) => DataType::Utf8,
            (true, false) => DataType::Int64,
            (false, false) => DataType::Null,
        }
    }
}

/// The schema of a text file: core columns have the type that the job wants, whatever their values are. Values of other
/// types are rejected row by row.
pub(super) fn as_wanted(columns: &[InferredColumn], table: InputTable, renames: &Renames) -> Schema {
    let fields = columns.iter().map(|column| {
        let wanted = kind_of(&column.name, table, renames).map(|kind| match kind {
            ColumnKind::Id => column.numbers.id_type(),
            ColumnKind::Date | ColumnKind::Text => DataType::Utf8,
            ColumnKind::Quantity => DataType::Int64,
            ColumnKind::Money => DataType::Float64,
        });
        Field::new(&column.name, wanted.unwrap_or_else(|| column.data_type.clone()), true)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// The kind of a column of a file, if it is a core column.
pub(super) fn kind_of(own_name: &str, table: InputTable, renames: &Renames) -> Option<ColumnKind> {
    let name = canonical(own_name, renames);
    table.cores().iter().find(|core| core.name == name).map(|core| core.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_integers_if_all_of_them_are() {
        let of = |values: &[&str]| {
            let mut numbers = IdNumbers::default();
            values.iter().for_each(|value| numbers.see(value));
            numbers.id_type()
        };
        assert_eq!(of(&["1", "", "-20", "3.0", "4.00"]), DataType::Int64);
        for other in ["007", "+5", "1.5", "A1", "1.", "9223372036854775808", "1e3"] {
            assert_eq!(of(&["1", other]), DataType::Utf8, "{other}");
        }
        assert_eq!(of(&["", ""]), DataType::Null);
    }
}
