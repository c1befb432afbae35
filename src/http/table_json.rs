//! A table in the list of tables.

use arrow::datatypes::FieldRef;
use serde_json::{Value, json};

use crate::sinks::TableInfo;

/// A table and its columns; `rows` is how many it has, if that is known.
pub(super) fn table_json(table: &TableInfo, rows: Option<u64>) -> Value {
    let column = |field: &FieldRef| {
        let data_type = field.data_type().to_string();
        json!({ "name": field.name(), "type": data_type, "nullable": field.is_nullable() })
    };
    let columns: Vec<Value> = table.schema.fields().iter().map(column).collect();
    json!({ "name": table.name, "key": table.key, "rows": rows, "columns": columns })
}
