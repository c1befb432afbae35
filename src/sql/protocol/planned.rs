//! Queries as they are planned and described for clients: their columns have types that PostgreSQL has.

use std::sync::Arc;

use arrow_pg::datatypes::arrow_schema_to_pg_fields;
use arrow_pg::datatypes::df::encode_dataframe;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::{DFSchema, Result as QueryResult};
use datafusion::functions_nested::expr_fn::array_to_string;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, ScalarUDF, lit};
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::parser::Statement as AnyStatement;
use datafusion::sql::sqlparser::ast::Statement;
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldInfo, QueryResponse};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::types::format::FormatOptions;

use super::map_text::MapText;
use crate::sql::catalog::tables::{VECTOR, type_size_and_modifier};

/// The plan of a query, in which maps are texts of JSON, and vectors of the catalog texts, too.
pub(crate) async fn planned(context: &SessionContext, statement: &Statement) -> PgWireResult<LogicalPlan> {
    let statement = AnyStatement::Statement(Box::new(statement.clone()));
    let plan = context.state().statement_to_plan(statement).await.and_then(with_known_types);
    plan.map_err(|error| PgWireError::ApiError(Box::new(error)))
}

fn with_known_types(plan: LogicalPlan) -> QueryResult<LogicalPlan> {
    let is_known = |field: &Arc<Field>| !is_vector(field) && !matches!(field.data_type(), DataType::Map(..));
    if plan.schema().fields().iter().all(is_known) {
        return Ok(plan);
    }
    let columns = plan.schema().iter().map(|(table, field)| {
        let column = Expr::Column((table, field).into());
        if is_known(field) {
            return column;
        }
        let text = match field.data_type() {
            DataType::Map(..) => ScalarUDF::from(MapText::default()).call(vec![column]),
            _ => array_to_string(column, lit(" ")),
        };
        let metadata = FieldMetadata::from(field.metadata());
        text.alias_qualified_with_metadata(table.cloned(), field.name(), Some(metadata))
    });
    let columns: Vec<_> = columns.collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

fn is_vector(field: &Field) -> bool {
    field.metadata().contains_key(VECTOR)
}

/// The rows of a planned query, as text.
pub(crate) async fn text_rows(rows: DataFrame, options: Option<FormatOptions>) -> PgWireResult<QueryResponse> {
    let schema = Arc::clone(rows.logical_plan().schema());
    let mut rows = encode_dataframe(rows, &Format::UnifiedText, options.map(Arc::new)).await?;
    let fields = rows.row_schema.iter().cloned().collect();
    rows.row_schema = Arc::new(described(fields, &schema, true));
    Ok(rows)
}

/// The columns of a planned query, as text.
pub(crate) fn text_columns(plan: &LogicalPlan) -> PgWireResult<Vec<FieldInfo>> {
    let fields = arrow_schema_to_pg_fields(plan.schema().as_arrow(), &Format::UnifiedText, None)?;
    Ok(described(fields, plan.schema(), true))
}

/// Columns with what else PostgreSQL says of them: how many digits a number has, and, in texts, which are vectors.
pub(crate) fn described(columns: Vec<FieldInfo>, schema: &DFSchema, is_text: bool) -> Vec<FieldInfo> {
    let described = columns.into_iter().zip(schema.fields()).map(|(column, field)| {
        let column = match field.metadata().get(VECTOR).map(String::as_str) {
            Some("int2") if is_text => with_type(&column, Type::INT2_VECTOR),
            Some("oid") if is_text => with_type(&column, Type::OID_VECTOR),
            _ => column,
        };
        let (size, modifier) = type_size_and_modifier(column.datatype(), field.data_type());
        column.with_type_size(size).with_type_modifier(modifier)
    });
    described.collect()
}

fn with_type(column: &FieldInfo, of_type: Type) -> FieldInfo {
    FieldInfo::new(column.name().to_owned(), column.table_id(), column.column_id(), of_type, column.format())
        .with_format_options(Arc::clone(column.format_options()))
}
