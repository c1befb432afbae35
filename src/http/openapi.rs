//! What the server has, for people and programs.

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

/// The OpenAPI document of a build with all features.
const DOCUMENT: &str = include_str!("openapi.json");

/// The OpenAPI document of this build.
fn built() -> Value {
    let mut document: Value = serde_json::from_str(DOCUMENT).unwrap_or_default();
    if !cfg!(feature = "sql")
        && let Some(paths) = document["paths"].as_object_mut()
    {
        paths.remove("/v1/sql");
    }
    document
}

pub(super) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], built().to_string())
}

/// The paths, with what they are for.
pub(super) fn overview() -> Json<Value> {
    let mut paths = serde_json::Map::new();
    for (path, methods) in built()["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            paths.insert(format!("{} {path}", method.to_uppercase()), operation["summary"].clone());
        }
    }
    Json(json!({ "name": "millstream", "version": env!("CARGO_PKG_VERSION"), "paths": paths }))
}
