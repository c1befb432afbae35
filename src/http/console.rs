//! The console: a page that shows the shop and the job. Its files are part of the program, and ask nothing of any other
//! host.

use std::io::Write;
use std::sync::OnceLock;

use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::openapi;
use super::problem::Problem;

/// A file of the page.
struct Asset {
    path: &'static str,
    media_type: &'static str,
    content: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! assets {
    ($($path:literal: $media_type:expr,)*) => {
        &[$(Asset {
            path: $path,
            media_type: $media_type,
            content: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/console/", $path)),
        }),*]
    };
}

/// The first is the page itself.
const ASSETS: &[Asset] = assets! {
    "index.html": HTML,
    "style.css": STYLE,
    "main.js": SCRIPT,
    "api.js": SCRIPT,
    "charts.js": SCRIPT,
    "demo.js": SCRIPT,
    "dom.js": SCRIPT,
    "explain.js": SCRIPT,
    "format.js": SCRIPT,
    "job.js": SCRIPT,
    "rejected.js": SCRIPT,
    "shop.js": SCRIPT,
    "tables.js": SCRIPT,
    "icon.svg": "image/svg+xml",
    "vendor/uPlot.iife.min.js": SCRIPT,
    "vendor/uPlot.min.css": STYLE,
};

/// What the page may load and do: only what this server has.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file as it is sent.
struct Packed {
    gzip: Bytes,
    tag: HeaderValue,
}

/// `GET /`: the page for browsers, the paths for programs.
pub(super) async fn page(headers: HeaderMap) -> Response {
    match wants_page(&headers) {
        true => sent(&ASSETS[0], &headers),
        false => openapi::overview().into_response(),
    }
}

/// True if a request for `/` is that of a browser.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// A file of the page.
pub(super) async fn asset(path: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Result<Response, Problem> {
    let Path(path) = path?;
    let asset = ASSETS.iter().find(|asset| asset.path == path);
    let asset = asset.ok_or_else(|| Problem::not_found(format!("the console has no file {path}")))?;
    Ok(sent(asset, &headers))
}

fn sent(asset: &'static Asset, headers: &HeaderMap) -> Response {
    let packed = packed(asset);
    let common = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.media_type)),
        (header::ETAG, packed.tag.clone()),
        // Asked for each time, so that a page and its scripts are always of one version.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::VARY, HeaderValue::from_static("accept, accept-encoding")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer")),
    ];
    if headers.get(header::IF_NONE_MATCH) == Some(&packed.tag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|accepted| accepted.to_str().ok());
    match accepted.is_some_and(|accepted| accepted.contains("gzip")) {
        true => {
            let encoding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
            (common, encoding, packed.gzip.clone()).into_response()
        }
        false => (common, asset.content).into_response(),
    }
}

/// The file as it is sent, made when it is first asked for.
fn packed(asset: &'static Asset) -> &'static Packed {
    static PACKED: [OnceLock<Packed>; ASSETS.len()] = [const { OnceLock::new() }; ASSETS.len()];
    let place = ASSETS.iter().position(|other| other.path == asset.path).unwrap_or_default();
    PACKED[place].get_or_init(|| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        let packed = gzip.write_all(asset.content).and_then(|()| gzip.finish()).expect("memory can be written");
        let digest: String = Sha256::digest(asset.content)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let tag = HeaderValue::try_from(format!("\"{digest}\"")).expect("digits");
        Packed { gzip: packed.into(), tag }
    })
}

/// True for a request that is answered to anyone: the page has no data.
pub(super) fn is_public(path: &str, headers: &HeaderMap) -> bool {
    path.starts_with("/console/") || (path == "/" && wants_page(headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page and all its files over the wire.
    const WIRE_BYTES_MAX: usize = 150 << 10;

    #[test]
    fn the_page_is_small_and_whole() {
        let wire: usize = ASSETS.iter().map(|asset| packed(asset).gzip.len()).sum();
        assert!(wire <= WIRE_BYTES_MAX, "{wire} bytes");
        let texts = || ASSETS.iter().map(|asset| (asset.path, std::str::from_utf8(asset.content).expect("UTF-8")));
        for (path, text) in texts().filter(|(path, _)| !path.starts_with("vendor/")) {
            let quoted = text.split(['"', '\'']).filter(|part| part.starts_with("./") && part.ends_with(".js"));
            for module in quoted.map(|part| part.trim_start_matches("./")) {
                assert!(ASSETS.iter().any(|asset| asset.path == module), "{path} imports {module}");
            }
            assert!(!text.contains("https://") || path == "icon.svg", "{path} names another host");
        }
    }

    #[test]
    fn what_others_wrote_is_unchanged() {
        let sums = include_str!("../../console/vendor/SHA256SUMS");
        for line in sums.lines() {
            let (wanted, name) = line.split_once("  ").expect("a sum and a name");
            let asset = ASSETS.iter().find(|asset| asset.path == format!("vendor/{name}")).expect("it is served");
            let found: String = Sha256::digest(asset.content).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, wanted, "{name}");
        }
        assert_eq!(sums.lines().count(), 2);
    }
}
