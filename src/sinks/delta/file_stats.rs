//! What readers know of a file without opening it: by that they leave out files.

use arrow::array::{ArrayRef, AsArray, StructArray};
use arrow::compute::{SortOptions, sort_to_indices, take};
use arrow::datatypes::{DataType, FieldRef};
use arrow::record_batch::RecordBatch;
use serde_json::{Map, Value, json};

use crate::columns::row_json::row_json;
use crate::error::{Error, Result};

/// Longer texts have no bounds.
const TEXT_BYTES_MAX: usize = 64;

/// The statistics of a file, as JSON: its rows, and of each column the nulls, the least and the greatest value.
pub(super) fn file_stats(rows: &RecordBatch) -> Result<String> {
    let schema = rows.schema();
    let columns = || schema.fields().iter().zip(rows.columns());
    let nulls = columns().filter(|(field, _)| !field.data_type().is_nested());
    let nulls: Map<_, _> = nulls.map(|(field, column)| (field.name().clone(), json!(column.null_count()))).collect();
    let bound = |descending: bool| {
        let bounds = columns().filter(|(field, _)| has_bounds(field.data_type()));
        let bounds = bounds.filter_map(|(field, column)| bound(field, column, descending).transpose());
        let bounds = bounds.collect::<Result<Vec<_>>>()?;
        if bounds.is_empty() {
            return Ok(Value::Object(Map::new()));
        }
        let row = RecordBatch::from(StructArray::from(bounds));
        serde_json::from_str::<Value>(&row_json(&row, 0)?).map_err(Error::failed)
    };
    let stats = json!({
        "numRecords": rows.num_rows(), "minValues": bound(false)?, "maxValues": bound(true)?, "nullCount": nulls,
        "tightBounds": true,
    });
    Ok(stats.to_string())
}

/// True if the values of a type are written as the protocol wants them.
fn has_bounds(data_type: &DataType) -> bool {
    data_type.is_integer() || matches!(data_type, DataType::Date32 | DataType::Utf8)
}

/// The least or greatest value of a column, if there is one that is not too long.
fn bound(field: &FieldRef, column: &ArrayRef, descending: bool) -> Result<Option<(FieldRef, ArrayRef)>> {
    let order = SortOptions { descending, nulls_first: false };
    let first = sort_to_indices(column, Some(order), Some(1)).map_err(Error::failed)?;
    let value = take(column, &first, None).map_err(Error::failed)?;
    let is_long = value.as_string_opt::<i32>().is_some_and(|text| text.value_data().len() > TEXT_BYTES_MAX);
    Ok((value.len() == 1 && value.is_valid(0) && !is_long).then(|| (field.clone(), value)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Float64Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn statistics_bound_what_is_in_the_file() {
        let long = "x".repeat(65);
        let rows = RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(vec![Some(3), None, Some(-2)])) as ArrayRef),
            ("day", Arc::new(Date32Array::from(vec![19_754, 19_753, 19_755]))),
            ("short", Arc::new(StringArray::from(vec!["b", "a", "c"]))),
            ("long", Arc::new(StringArray::from(vec!["b", "a", long.as_str()]))),
            ("share", Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5]))),
            ("none", Arc::new(Int64Array::from(vec![None, None, None]))),
        ])
        .expect("columns");
        let stats: Value = serde_json::from_str(&file_stats(&rows).expect("statistics")).expect("JSON");
        assert_eq!(
            stats,
            json!({
                "numRecords": 3,
                "minValues": { "id": -2, "day": "2024-01-31", "short": "a", "long": "a" },
                "maxValues": { "id": 3, "day": "2024-02-02", "short": "c" },
                "nullCount": { "id": 1, "day": 0, "short": 0, "long": 0, "share": 0, "none": 3 },
                "tightBounds": true,
            })
        );
    }
}
