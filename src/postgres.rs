//! What sources and sinks in PostgreSQL share: its address, connections, names, and errors in the words of the server.

mod address;
mod names;
mod tls;

pub use address::PostgresAddress;
pub(crate) use address::server_error;
pub(crate) use names::{literal, plain_names, qualified, quoted};
