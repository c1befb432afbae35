//! Settings of a server, as clients of PostgreSQL ask for them: by `SHOW`, `current_setting` and `pg_settings`.

/// The version of PostgreSQL that clients take this for.
macro_rules! server_version {
    () => {
        "16.6"
    };
}
pub(crate) use server_version;

/// The settings, which nobody can change.
pub(crate) const SETTINGS: [(&str, &str); 30] = [
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("DateStyle", "ISO, MDY"),
    ("default_table_access_method", "heap"),
    ("default_transaction_isolation", "repeatable read"),
    ("default_transaction_read_only", "on"),
    ("integer_datetimes", "on"),
    ("IntervalStyle", "postgres"),
    ("is_superuser", "off"),
    ("jit", "off"),
    ("lc_collate", "C"),
    ("lc_ctype", "C"),
    ("lc_messages", "C"),
    ("max_connections", "200"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("row_security", "off"),
    ("search_path", "shop"),
    ("server_encoding", "UTF8"),
    ("server_version", server_version!()),
    ("server_version_num", "160006"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("TimeZone", "UTC"),
    ("transaction isolation level", "repeatable read"),
    ("transaction_isolation", "repeatable read"),
    ("transaction_read_only", "on"),
    ("wal_level", "replica"),
];
