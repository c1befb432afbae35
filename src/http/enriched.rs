//! `GET /v1/tables/enriched_data`: rows that are looked up, since the table is not kept.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::NaiveDate;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::error::{Error, Result as MillstreamResult};
use crate::model::{AnyId, Day};
use crate::pipeline::EnrichedRowsOf;
use crate::service::NotPosted;
use crate::sinks::{Committed, TableInfo, TablesSnapshot};

use super::answer::{Answer, sorted};
use super::app::App;
use super::enriched_info::LOOKED_UP_BY;
use super::post::not_posted;
use super::problem::Problem;
use super::query::ReadQuery;
use super::rows::RowFormat;

/// Rows of the table.
pub(super) async fn rows(
    app: &App,
    table: TableInfo,
    uri: String,
    query: ReadQuery,
    format: RowFormat,
) -> Result<Response, Problem> {
    let rows_of = rows_of(&query)?;
    let mut answer = Answer { table, uri, query, format, epoch: Committed::default() };
    if answer.query.order.is_empty() {
        answer.query.order = vec![(LOOKED_UP_BY[0].to_owned(), false)];
    }
    answer.schema()?;
    sorted(&answer.table, &[], &answer.query.order, None)?;
    let LookedUpRows { tables, rows, permit } = look_up(app, rows_of).await?;
    answer.epoch = tables.committed().unwrap_or_default();
    let encoded = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let rows = sorted(&answer.table, &rows, &answer.query.order, answer.query.limit)?;
        answer.of_page(vec![rows], None)
    });
    encoded.await.map_err(Error::failed)?
}

/// Rows that were looked up.
pub(super) struct LookedUpRows {
    /// The tables that are kept, as of the same epoch.
    pub(super) tables: TablesSnapshot,
    pub(super) rows: Vec<RecordBatch>,
    /// Held until the rows are encoded, whether or not the client is still there.
    pub(super) permit: OwnedSemaphorePermit,
}

/// Looks rows up.
pub(super) async fn look_up(app: &App, rows_of: EnrichedRowsOf<AnyId>) -> Result<LookedUpRows, Problem> {
    let busy = || Problem::retry(StatusCode::TOO_MANY_REQUESTS, 1, "too much is looked up at the moment");
    let permit = Arc::clone(&app.lookups).try_acquire_owned().map_err(|_| busy())?;
    let (found, finding) = oneshot::channel();
    // Between two epochs, the tables are as of the one before.
    let tables = app.tables.clone();
    let begun = move || {
        let tables = tables.snapshot();
        move |rows: MillstreamResult<_>| _ = found.send(rows.map(|rows| LookedUpRows { tables, rows, permit }))
    };
    let looked_up = app.requests.ingest.look_up(rows_of, begun);
    looked_up.map_err(|why| if matches!(why, NotPosted::Busy) { busy() } else { not_posted(why) })?;
    let stuck = || Problem::retry(StatusCode::SERVICE_UNAVAILABLE, 1, "rows can't be looked up now: the job is stuck");
    Ok(finding.await.map_err(|_| stuck())??)
}

/// Which rows a request asks for.
fn rows_of(query: &ReadQuery) -> Result<EnrichedRowsOf<AnyId>, Problem> {
    let refused = query.from.is_some() || query.to.is_some() || query.epoch.is_some() || query.cursor.is_some();
    let key = query.key.as_ref().map(|key| (LOOKED_UP_BY[0], key));
    let given = query.values.iter().map(|(column, value)| (column.as_str(), value)).chain(key);
    let [(column, value)] = given.collect::<Vec<_>>()[..] else {
        return Err(Problem::bad_request(
            "enriched_data is not kept in memory but joined when it is read, as of the newest epoch: wanted one of \
             order_id, customer_id, product_id and order_date",
        ));
    };
    if refused {
        return Err(Problem::bad_request(format!("from, to, epoch and cursor can't be given together with {column}")));
    }
    of_column(column, value)
}

/// The rows whose column has a value.
pub(super) fn of_column(column: &str, value: &str) -> Result<EnrichedRowsOf<AnyId>, Problem> {
    Ok(match column {
        "order_id" => EnrichedRowsOf::Order(AnyId::from(value)),
        "customer_id" => EnrichedRowsOf::Customer(AnyId::from(value)),
        "product_id" => EnrichedRowsOf::Product(AnyId::from(value)),
        _ => {
            let wanted = || Problem::bad_request(format!("order_date: found {value}, wanted a day such as 2024-12-31"));
            let day = value.parse::<NaiveDate>().ok().and_then(Day::from_date).ok_or_else(wanted)?;
            EnrichedRowsOf::Days(day, day)
        }
    })
}
