//! Functions that make long texts, within bounds: what they make is not counted by the memory limit of queries.

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result as QueryResult, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use datafusion::prelude::SessionContext;

/// The most characters of the texts that are made at a time.
const CHARACTERS_MAX: i64 = 64 << 20;

/// Puts bounds on the functions that make a text as long as their second argument says.
pub(crate) fn bound_functions(context: &SessionContext) {
    for name in ["repeat", "lpad", "rpad"] {
        let inner = context.state().scalar_functions().get(name).cloned();
        if let Some(inner) = inner {
            context.register_udf(ScalarUDF::from(BoundedFunction { inner }));
        }
    }
}

/// The same function, if it makes no more than so many characters.
#[derive(Debug, PartialEq, Eq, Hash)]
struct BoundedFunction {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for BoundedFunction {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> QueryResult<DataType> {
        self.inner.return_type(arguments)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> QueryResult<ColumnarValue> {
        let lengths = cast(&args.args[1].to_array(args.number_rows)?, &DataType::Int64)?;
        // Of `repeat`, the length is that of its text as often.
        let text = if self.name() == "repeat" { longest(&args.args[0].to_array(args.number_rows)?)? } else { 1 };
        let lengths = lengths.as_primitive::<Int64Type>().iter().flatten().map(|length| length.max(0));
        let made = lengths.fold(0_i64, |made, length| made.saturating_add(length.saturating_mul(text)));
        if made > CHARACTERS_MAX {
            return exec_err!("{}: found {made} characters, wanted at most {CHARACTERS_MAX} at a time", self.name());
        }
        self.inner.invoke_with_args(args)
    }
}

/// The bytes of the longest text.
fn longest(texts: &datafusion::arrow::array::ArrayRef) -> QueryResult<i64> {
    let texts = cast(texts, &DataType::Utf8)?;
    let lengths = texts.as_string::<i32>().iter().flatten().map(str::len);
    Ok(i64::try_from(lengths.max().unwrap_or(0)).unwrap_or(i64::MAX))
}
