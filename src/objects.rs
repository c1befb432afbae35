//! Folders in object storage, by URL: `s3://`, `gs://`, `az://`.
//!
//! ```text
//! URL/orders/part-0.parquet … ─ fetched ─▶ a local folder, which is read as any other
//! a local version of tables ─ put ─▶ URL/versions/VERSION/TABLE/…
//!                                 ─▶ URL/current.json names VERSION: a conditional put, which is the commit
//! ```
//!
//! A reader reads `current.json`, and then the files that it lists. Those of the version before stay until the next one
//! is there.

mod location;
#[cfg(feature = "s3")]
mod manifest;
#[cfg(feature = "s3")]
mod mirror;
#[cfg(feature = "s3")]
mod publish;
#[cfg(feature = "s3")]
mod store;

#[cfg(feature = "s3")]
pub(crate) use location::is_input;
pub(crate) use location::{is_url, local_path};
#[cfg(feature = "s3")]
pub(crate) use mirror::Mirror;
#[cfg(feature = "s3")]
pub(crate) use store::ObjectFolder;
