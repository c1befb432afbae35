//! PostgreSQL's protocol: connections, logins, sessions, cursors, `COPY`, `SUBSCRIBE`.

pub(super) mod array_parameters;
pub(super) mod cancellation;
pub(super) mod copy;
pub(super) mod cursor_hook;
pub(super) mod extended_query;
pub(super) mod login;
pub(super) mod map_text;
pub(super) mod planned;
pub(super) mod server;
pub(super) mod session;
pub(super) mod session_hook;
pub(super) mod subscribe;
pub(super) mod text_values;
