//! Errors as clients get them: problem details (RFC 9457).

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::{Error, ErrorKind};

/// Why a request was not answered as wanted.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into(), header: None }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    /// A problem that is over after some seconds.
    pub(super) fn retry(status: StatusCode, seconds: u32, detail: impl Into<String>) -> Problem {
        Problem::new(status, detail).with(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub(super) fn with(self, name: HeaderName, value: HeaderValue) -> Problem {
        Problem { header: Some((name, value)), ..self }
    }
}

/// What the caller asked for does not exist, or what it sent can't be used; all else is the server's fault.
impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let status = match error.kind() {
            ErrorKind::Usage | ErrorKind::Unusable => StatusCode::BAD_REQUEST,
            ErrorKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Problem::new(status, error.to_string())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Problem {
        Problem::bad_request(rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Problem {
        Problem::bad_request(rejection.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!("a request failed: {}", self.detail);
        }
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = json!({ "status": self.status.as_u16(), "title": title, "detail": self.detail });
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let mut response = (self.status, [kind], body.to_string()).into_response();
        response.headers_mut().extend(self.header.map(|(name, value)| (Some(name), value)));
        response
    }
}
