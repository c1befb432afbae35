//! `GET /v1/tables/enriched_data`: rows that are looked up, since the table is not kept.

use arrow::record_batch::RecordBatch;
use axum::response::Response;
use chrono::NaiveDate;
use tokio::sync::oneshot;

use crate::error::Error;
use crate::model::{AnyId, Day};
use crate::pipeline::EnrichedRowsOf;
use crate::service::NotPosted;
use crate::sinks::TableInfo;

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
    let (found, finding) = oneshot::channel();
    let look_up = app.requests.ingest.look_up(rows_of, |epoch, rows| _ = found.send((epoch, rows)));
    look_up.map_err(not_posted)?;
    let (epoch, rows) = finding.await.map_err(|_| not_posted(NotPosted::NotLive))?;
    let rows: Vec<RecordBatch> = rows?;
    let answer = Answer { table, uri, query, format, epoch };
    let encoded = tokio::task::spawn_blocking(move || {
        let key = [(LOOKED_UP_BY[0].to_owned(), false)];
        let order = if answer.query.order.is_empty() { &key[..] } else { &answer.query.order };
        let rows = sorted(&answer.table, &rows, order, answer.query.limit)?;
        answer.of_page(vec![rows], None)
    });
    encoded.await.map_err(Error::failed)?
}

/// Which rows a request asks for.
fn rows_of(query: &ReadQuery) -> Result<EnrichedRowsOf<AnyId>, Problem> {
    let refused = query.from.is_some() || query.to.is_some() || query.epoch.is_some() || query.cursor.is_some();
    let key = query.key.as_ref().map(|key| (LOOKED_UP_BY[0], key));
    let given = query.values.iter().map(|(column, value)| (column.as_str(), value)).chain(key);
    let [(column, value)] = given.collect::<Vec<_>>()[..] else {
        return Err(Problem::bad_request(
            "enriched_data is not kept in memory but joined when it is read, as of the newest epoch: wanted one of \
             order_id, customer_id and order_date",
        ));
    };
    if refused {
        return Err(Problem::bad_request(format!("from, to, epoch and cursor can't be given together with {column}")));
    }
    Ok(match column {
        "order_id" => EnrichedRowsOf::Order(AnyId::from(value.as_str())),
        "customer_id" => EnrichedRowsOf::Customer(AnyId::from(value.as_str())),
        _ => {
            let wanted = || Problem::bad_request(format!("order_date: found {value}, wanted a day such as 2024-12-31"));
            EnrichedRowsOf::Day(value.parse::<NaiveDate>().ok().and_then(Day::from_date).ok_or_else(wanted)?)
        }
    })
}
