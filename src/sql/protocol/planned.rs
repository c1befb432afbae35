//! Queries as they are planned and described for clients: their columns have types that PostgreSQL has.

use std::sync::Arc;

use arrow_pg::datatypes::arrow_schema_to_pg_fields;
use arrow_pg::datatypes::df::encode_dataframe;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result as QueryResult};
use datafusion::functions_nested::expr_fn::array_to_string;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarUDF, lit};
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::parser::Statement as AnyStatement;
use datafusion::sql::sqlparser::ast::Statement;
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldInfo, QueryResponse};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::types::format::FormatOptions;

use super::map_text::MapText;
use super::text_values::as_postgresql;
use crate::sql::catalog::tables::{VECTOR, type_size_and_modifier};
use crate::sql::language::catalog_subqueries::{columns_with_subqueries, null_subqueries};
use crate::sql::language::column_names::shown_name;
use crate::sql::language::rewrite::is_catalog_query;

/// The plan of a query, in which maps are texts of JSON, and vectors of the catalog texts, too.
pub(crate) async fn planned(context: &SessionContext, statement: &Statement) -> PgWireResult<LogicalPlan> {
    let plan = match is_catalog_query(statement) {
        true => plan_of_catalog(context, statement).await,
        false => plan(context, statement).await,
    };
    plan.and_then(with_typed_arrays)
        .and_then(with_postgres_types)
        .map_err(|error| PgWireError::ApiError(Box::new(error)))
}

async fn plan(context: &SessionContext, statement: &Statement) -> QueryResult<LogicalPlan> {
    let statement = AnyStatement::Statement(Box::new(statement.clone()));
    context.state().statement_to_plan(statement).await
}

/// The plan of a catalog query, in which subqueries among the columns that DataFusion can't plan are null.
async fn plan_of_catalog(context: &SessionContext, statement: &Statement) -> QueryResult<LogicalPlan> {
    let places = columns_with_subqueries(statement);
    if places.is_empty() {
        return plan(context, statement).await;
    }
    if let Some(whole) = runnable_plan(context, statement).await {
        return Ok(whole);
    }
    let without = |nulls: &[usize]| {
        let mut less = statement.clone();
        null_subqueries(&mut less, nulls);
        less
    };
    let mut nulls = places.clone();
    for place in places {
        let fewer: Vec<_> = nulls.iter().copied().filter(|null| *null != place).collect();
        if runnable_plan(context, &without(&fewer)).await.is_some() {
            nulls = fewer;
        }
    }
    match runnable_plan(context, &without(&nulls)).await {
        Some(plan) => Ok(plan),
        None => plan(context, statement).await,
    }
}

/// A plan, if it can be run.
async fn runnable_plan(context: &SessionContext, statement: &Statement) -> Option<LogicalPlan> {
    let plan = plan(context, statement).await.ok()?;
    let optimized = context.state().optimize(&plan).ok()?;
    has_no_subquery(&optimized).then_some(plan)
}

/// True if none is left that depends on the rows around it.
fn has_no_subquery(plan: &LogicalPlan) -> bool {
    let is_subquery = |expr: &Expr| match expr {
        Expr::ScalarSubquery(subquery) => !subquery.outer_ref_columns.is_empty(),
        Expr::Exists(_) | Expr::InSubquery(_) => true,
        _ => false,
    };
    let has = plan.exists(|plan| {
        let mut found = false;
        plan.apply_expressions(|expr| {
            found |= expr.exists(|expr| Ok(is_subquery(expr)))?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    });
    has.is_ok_and(|has| !has)
}

/// A plan in which the parameter of `column = ANY($1)` is an array of the column's type, unless it has a type.
fn with_typed_arrays(plan: LogicalPlan) -> QueryResult<LogicalPlan> {
    let types = plan.get_parameter_types()?;
    if types.values().all(Option::is_some) {
        return Ok(plan);
    }
    let typed = |node: LogicalPlan| {
        let schema = merge_schema(&node.inputs());
        node.map_expressions(|expr| {
            expr.transform_up(|expr| match expr {
                Expr::ScalarFunction(mut call) if ["array_has", "array_contains"].contains(&call.func.name()) => {
                    if let [Expr::Placeholder(array @ Placeholder { field: None, .. }), column] = &mut call.args[..]
                        && let Ok(of_type) = column.get_type(&schema)
                    {
                        array.field = Some(Arc::new(Field::new("", DataType::new_list(of_type, true), true)));
                    }
                    Ok(Transformed::yes(Expr::ScalarFunction(call)))
                }
                expr => Ok(Transformed::no(expr)),
            })
        })
    };
    plan.transform_up_with_subqueries(typed).map(|typed| typed.data)
}

fn with_postgres_types(plan: LogicalPlan) -> QueryResult<LogicalPlan> {
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
    // A cast keeps the mark.
    field.metadata().contains_key(VECTOR) && field.data_type().is_list()
}

/// The rows of a planned query, as text.
pub(crate) async fn text_rows(rows: DataFrame, options: Option<FormatOptions>) -> PgWireResult<QueryResponse> {
    let schema = Arc::clone(rows.logical_plan().schema());
    let mut rows = encode_dataframe(rows, &Format::UnifiedText, options.map(Arc::new)).await?;
    let fields = rows.row_schema.iter().cloned().collect();
    rows.row_schema = Arc::new(described(fields, &schema, true));
    Ok(as_postgresql(rows))
}

/// The columns of a planned query, as text.
pub(crate) fn text_columns(plan: &LogicalPlan) -> PgWireResult<Vec<FieldInfo>> {
    let fields = arrow_schema_to_pg_fields(plan.schema().as_arrow(), &Format::UnifiedText, None)?;
    Ok(described(fields, plan.schema(), true))
}

/// Columns with what else PostgreSQL says of them: how many digits a number has, and, in texts, which are vectors.
pub(crate) fn described(columns: Vec<FieldInfo>, schema: &DFSchema, is_text: bool) -> Vec<FieldInfo> {
    let described = columns.into_iter().zip(schema.fields()).map(|(column, field)| {
        let of_type = match field.metadata().get(VECTOR).map(String::as_str) {
            Some("int2") if is_text => Type::INT2_VECTOR,
            Some("oid") if is_text => Type::OID_VECTOR,
            _ => column.datatype().clone(),
        };
        let column = renamed(&column, of_type);
        let (size, modifier) = type_size_and_modifier(column.datatype(), field.data_type());
        column.with_type_size(size).with_type_modifier(modifier)
    });
    described.collect()
}

/// A column with its name as clients see it.
fn renamed(column: &FieldInfo, of_type: Type) -> FieldInfo {
    let name = shown_name(column.name()).to_owned();
    FieldInfo::new(name, column.table_id(), column.column_id(), of_type, column.format())
        .with_format_options(Arc::clone(column.format_options()))
}
