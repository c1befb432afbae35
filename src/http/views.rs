//! Views as tables: what they are, and their rows as of the newest epoch.

use axum::response::Response;
use serde_json::{Value, json};

use crate::sql::{PlannedViews, ViewInfo};

use super::answer::Answer;
use super::app::App;
use super::problem::Problem;
use super::query::{DEFAULT_LIMIT, ReadQuery};
use super::rows::RowFormat;
use super::sql::answered;
use super::table_json::table_json;

/// The views, which are planned at the first time, on a thread whose stack is large enough.
async fn planned(app: &App) -> PlannedViews {
    let engine = app.queries.engine.clone();
    app.queries.threads.spawn(async move { engine.views().await }).await.unwrap_or_default()
}

/// The views that can be read, in the list of tables.
pub(super) async fn listed(app: &App) -> Vec<Value> {
    if !app.queries.engine.has_views() {
        return Vec::new();
    }
    let json = |view: &ViewInfo| {
        let mut json = table_json(&view.table, None);
        json["view"] = json!(view.query);
        json
    };
    planned(app).await.readable.iter().map(json).collect()
}

/// The view of a name, if there is one.
pub(super) async fn named(app: &App, name: &str) -> Result<Option<ViewInfo>, Problem> {
    if !app.queries.engine.has_view(name) {
        return Ok(None);
    }
    let PlannedViews { readable, unreadable } = planned(app).await;
    if let Some((_, problem)) = unreadable.into_iter().find(|(view, _)| view == name) {
        return Err(Problem::not_found(problem.message));
    }
    Ok(readable.into_iter().find(|view| view.table.name == name))
}

/// Rows of a view.
pub(super) async fn rows(
    app: &App,
    view: ViewInfo,
    uri: String,
    query: ReadQuery,
    format: RowFormat,
) -> Result<Response, Problem> {
    let epoch = crate::sinks::Committed::default();
    let mut answer = Answer { table: view.table, uri, query, format, epoch };
    answer.schema()?;
    let text = query_of(&answer)?;
    answered(app, text, move |found| {
        answer.epoch = found.epoch;
        Ok(answer.of_page(found.rows, None))
    })
    .await?
}

/// The query for the rows that are asked for.
fn query_of(Answer { table, query, format, .. }: &Answer) -> Result<String, Problem> {
    let others = [
        ("key", query.key.is_some()),
        ("from", query.from.is_some()),
        ("to", query.to.is_some()),
        ("epoch", query.epoch.is_some()),
        ("cursor", query.cursor.is_some()),
        ("order_id, customer_id, product_id or order_date", !query.values.is_empty()),
    ];
    if let Some((name, _)) = others.iter().find(|(_, is_given)| *is_given) {
        let (name, view) = (*name, &table.name);
        let wanted = "wanted columns, order, limit and format; /v1/sql takes any condition";
        return Err(Problem::bad_request(format!("{name}: {view} is a view, computed when it is read; {wanted}")));
    }
    if let Some((name, _)) = query.order.iter().find(|(name, _)| table.schema.index_of(name).is_err()) {
        return Err(Problem::bad_request(format!("order: {} has no column {name}", table.name)));
    }
    let limit = query.limit.or((*format == RowFormat::Json).then_some(DEFAULT_LIMIT));
    let limit = limit.map_or_else(String::new, |limit| format!(" LIMIT {limit}"));
    let by =
        |(name, descending): &(String, bool)| format!("{}{}", quoted(name), if *descending { " DESC" } else { "" });
    let order = query.order.iter().map(by).collect::<Vec<_>>().join(", ");
    let order = if order.is_empty() { order } else { format!(" ORDER BY {order}") };
    Ok(format!("SELECT * FROM {}{order}{limit}", quoted(&table.name)))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
