//! Maps as texts.

use std::sync::Arc;

use datafusion::arrow::array::{Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::json::LineDelimitedWriter;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result as QueryResult, exec_datafusion_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// A function from a map to a JSON object.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct MapText {
    signature: Signature,
}

impl Default for MapText {
    fn default() -> MapText {
        MapText { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for MapText {
    fn name(&self) -> &str {
        "map_text"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> QueryResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> QueryResult<ColumnarValue> {
        let maps = args.args[0].to_array(args.number_rows)?;
        let field = Field::new(COLUMN, maps.data_type().clone(), true);
        let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::clone(&maps)])?;
        let mut lines = LineDelimitedWriter::new(Vec::new());
        lines.write(&rows)?;
        lines.finish()?;
        let lines = String::from_utf8(lines.into_inner()).map_err(|error| exec_datafusion_err!("{error}"))?;
        let object = |(row, line): (usize, &str)| {
            let object = line.strip_prefix("{\"\":").and_then(|rest| rest.strip_suffix('}'));
            object.filter(|_| maps.is_valid(row)).map(str::to_owned)
        };
        let objects: StringArray = lines.lines().enumerate().map(object).collect();
        Ok(ColumnarValue::Array(Arc::new(objects)))
    }
}

/// The name of the only column, which stands before each object.
const COLUMN: &str = "";
