//! All rows of one query.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result as QueryResult};
use datafusion::prelude::SessionContext;
use futures_util::StreamExt;

use crate::error::Error;

use super::language::column_names::shown_name;
use super::language::statements::{Asked, asked};
use super::sql_state::QueryProblem;
use super::tables::arrow_versions::{answered_rows, answered_schema};

/// The rows of one query; fails if their columns have more bytes than this.
pub(super) async fn rows_of_query(
    context: &SessionContext,
    sql: &str,
    most: usize,
) -> QueryResult<(SchemaRef, Vec<RecordBatch>)> {
    let statement = match asked(sql)? {
        Asked::Query(statement) => statement,
        Asked::Nothing => return Err(QueryProblem::new(QueryProblem::SYNTAX, "there is no query").into()),
        Asked::Other => {
            let message = "found a statement that is not a query; wanted SELECT, WITH, VALUES or EXPLAIN";
            return Err(QueryProblem::new(QueryProblem::FEATURE_NOT_SUPPORTED, message).into());
        }
    };
    let plan = context.state().statement_to_plan(*statement).await?;
    let mut found = context.execute_logical_plan(plan).await?.execute_stream().await?;
    let failed = |error: Error| DataFusionError::External(Box::new(error));
    let schema = answered_schema(&found.schema()).map(|schema| with_different_names(&schema)).map_err(failed)?;
    let (mut rows, mut bytes) = (Vec::new(), 0_usize);
    while let Some(next) = found.next().await {
        let next = answered_rows(&next?, &schema).map_err(failed)?;
        let next = if next.num_columns() == 0 {
            next
        } else {
            RecordBatch::try_new(Arc::clone(&schema), next.columns().to_vec())
                .map_err(|error| failed(Error::failed(error)))?
        };
        bytes = bytes.saturating_add(next.get_array_memory_size());
        if bytes > most {
            let problem = QueryProblem::new(QueryProblem::PROGRAM_LIMIT, "the answer is too large");
            return Err(problem.with_hint("Add LIMIT, or read it through PostgreSQL's protocol.").into());
        }
        rows.push(next);
    }
    Ok((schema, rows))
}

/// Columns whose names differ: a second one called `a` is `a_2`.
fn with_different_names(schema: &SchemaRef) -> SchemaRef {
    let mut times = BTreeMap::<String, usize>::new();
    let field = |field: &Arc<Field>| {
        let name = shown_name(field.name());
        let times = times.entry(name.to_owned()).or_default();
        *times += 1;
        let name = if *times > 1 { format!("{name}_{times}") } else { name.to_owned() };
        field.as_ref().clone().with_name(name)
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}
