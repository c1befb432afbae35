//! Statements that end before their rows do: because the client cancels them, or because they take too long.

use std::future::pending;
use std::sync::Arc;

use futures_channel::oneshot;
use futures_util::future::{BoxFuture, Shared};
use futures_util::stream::{self, StreamExt};
use futures_util::{FutureExt, Stream};
use pgwire::api::results::{QueryResponse, Response};
use pgwire::api::{ClientInfo, ConnectionHandle};
use pgwire::error::{PgWireError, PgWireResult};
use tokio::time::{Instant, sleep_until};

use crate::sql::sql_state::QueryProblem;

/// Why a statement ends before its rows do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stopped {
    ByUser,
    ByTimeout,
}

impl From<Stopped> for PgWireError {
    fn from(stopped: Stopped) -> PgWireError {
        let why = match stopped {
            Stopped::ByUser => "canceling statement due to user request",
            Stopped::ByTimeout => "canceling statement due to statement timeout",
        };
        QueryProblem::new(QueryProblem::QUERY_CANCELED, why).into()
    }
}

/// Ends when a statement must.
pub(crate) type Stop = Shared<BoxFuture<'static, Stopped>>;

/// Ends when the client cancels the statement.
pub(crate) async fn cancelled(client: &impl ClientInfo) -> BoxFuture<'static, ()> {
    let cancelled = match client.session_extensions().get::<Arc<ConnectionHandle>>() {
        Some(handle) => handle.start_query().await,
        None => oneshot::channel().1,
    };
    let cancelled = async {
        // What is dropped was replaced by that of the next statement.
        if cancelled.await.is_err() {
            pending::<()>().await;
        }
    };
    cancelled.boxed()
}

/// Ends at a time, or when the client cancels the statement; to be called once the statement has begun, since what
/// cancelled it until then is replaced.
pub(crate) async fn stop(client: &impl ClientInfo, deadline: Option<Instant>) -> Stop {
    let cancelled = cancelled(client).await;
    let passed = async move {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => pending().await,
        }
    };
    let stopped = async move {
        tokio::select! {
            () = cancelled => Stopped::ByUser,
            () = passed => Stopped::ByTimeout,
        }
    };
    stopped.boxed().shared()
}

/// The same rows, until they must stop.
pub(crate) fn stoppable(response: Response, stop: &Stop) -> Response {
    match response {
        Response::Query(QueryResponse { command_tag, row_schema, data_rows, .. }) => {
            let mut response = QueryResponse::new(row_schema, until(data_rows, stop));
            response.set_command_tag(&command_tag);
            Response::Query(response)
        }
        Response::CopyOut(mut response) => {
            response.data_stream = Box::pin(until(response.data_stream, stop));
            Response::CopyOut(response)
        }
        response => response,
    }
}

fn until<R: Send + 'static>(
    rows: impl Stream<Item = PgWireResult<R>> + Send + Unpin + 'static,
    stop: &Stop,
) -> impl Stream<Item = PgWireResult<R>> + Send + 'static {
    stream::try_unfold((rows, stop.clone()), |(mut rows, mut stop)| async move {
        tokio::select! {
            biased;
            stopped = &mut stop => Err(PgWireError::from(stopped)),
            row = rows.next() => Ok(row.transpose()?.map(|row| (row, (rows, stop)))),
        }
    })
}
