//! The tables there: made at the first start, checked and extended at later ones.

use ::postgres::GenericClient;

use crate::error::{Error, Result};
use crate::postgres::{literal, plain_names, quoted, server_error};
use crate::sinks::sink::TableInfo;

use super::columns::sql_type;

/// A table there.
#[derive(Clone, Debug)]
pub(super) struct TargetTable {
    pub(super) schema: String,
    pub(super) name: String,
    /// The columns, in the order of the table that is delivered.
    pub(super) columns: Vec<TargetColumn>,
    /// Which of them are the key.
    pub(super) key: Vec<usize>,
}

/// A column there.
#[derive(Clone, Debug)]
pub(super) struct TargetColumn {
    pub(super) name: String,
    pub(super) kind: String,
    /// The name that it has elsewhere, if that needs quotes.
    comment: Option<String>,
}

/// The first version of the server with keys that may be null.
const OLDEST_SERVER: i32 = 150_000;
/// What the comments of tables begin with that a sink has made.
const MARK: &str = "Kept by millstream:";

impl TargetTable {
    /// The table, its columns and their types: what the progress remembers of it.
    pub(super) fn fingerprint(&self) -> String {
        let columns = self.columns.iter().map(|column| format!("{} {}", column.name, column.kind));
        format!("{} ({})", self.name, columns.collect::<Vec<_>>().join(", "))
    }

    pub(super) fn new(schema: &str, table: &TableInfo) -> TargetTable {
        let fields = table.schema.fields();
        let names = plain_names(fields.iter().map(|field| field.name().as_str()));
        let columns = names.into_iter().zip(fields).map(|(name, field)| TargetColumn {
            kind: sql_type(field.data_type()),
            comment: (name != *field.name()).then(|| field.name().clone()),
            name,
        });
        let key = table.key.iter().filter_map(|key| table.schema.index_of(key).ok()).collect();
        TargetTable { schema: schema.to_owned(), name: table.name.clone(), columns: columns.collect(), key }
    }

    /// Makes the table if it is not there, and adds columns that it lacks; true if it did.
    ///
    /// # Errors
    ///
    /// If a column has another type, the table is somebody else's, or a right is missing.
    pub(super) fn prepare(&self, client: &mut impl GenericClient) -> Result<bool> {
        let found = client.query(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(obj_description(c.oid, 'pg_class'), '')
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             WHERE n.nspname = $1 AND c.relname = $2",
            &[&self.schema, &self.name],
        );
        let found = found.map_err(server_error)?;
        let Some(first) = found.first() else {
            self.create(client)?;
            return Ok(true);
        };
        if !first.get::<_, String>(2).starts_with(MARK) {
            let cause = "exists and was not made by millstream; drop it, or choose another schema";
            return Err(Error::usage(format!("table {} {cause}", self.qualified())));
        }
        let known: Vec<(String, String)> =
            found.iter().filter_map(|row| Some((row.get::<_, Option<_>>(0)?, row.get(1)))).collect();
        let mut is_other = false;
        for column in &self.columns {
            let Some((name, kind)) = known.iter().find(|(name, _)| *name == column.name) else {
                let (table, name) = (self.qualified(), quoted(&column.name));
                let comment = column.comment.as_ref().map_or_else(String::new, |comment| {
                    format!("COMMENT ON COLUMN {table}.{name} IS {}", literal(comment))
                });
                let add = format!("ALTER TABLE {table} ADD COLUMN {name} {}; {comment}", column.kind);
                client.batch_execute(&add).map_err(server_error)?;
                is_other = true;
                continue;
            };
            if *kind != column.kind {
                let (table, wanted) = (self.qualified(), &column.kind);
                let what_to_do = "drop the table, which is then made anew, or choose another schema";
                let cause = format!("table {table}: column {name} has the type {kind}, wanted {wanted}; {what_to_do}");
                return Err(Error::usage(cause));
            }
        }
        Ok(is_other)
    }

    fn create(&self, client: &mut impl GenericClient) -> Result<()> {
        let columns: Vec<_> =
            self.columns.iter().map(|column| format!("{} {}", quoted(&column.name), column.kind)).collect();
        let (table, key) = (self.qualified(), self.names(&self.key));
        let comment = literal(&format!("{MARK} one row for each {key}; do not write to it").replace('"', ""));
        let of_columns = self.columns.iter().filter_map(|column| {
            let comment = literal(column.comment.as_ref()?);
            Some(format!("COMMENT ON COLUMN {table}.{} IS {comment};", quoted(&column.name)))
        });
        let create = format!(
            "CREATE TABLE {table} ({}, UNIQUE NULLS NOT DISTINCT ({key})); COMMENT ON TABLE {table} IS {comment}; {}",
            columns.join(", "),
            of_columns.collect::<String>(),
        );
        client.batch_execute(&create).map_err(server_error)
    }
}

/// The version of the server.
///
/// # Errors
///
/// If it is too old.
pub(super) fn check_server(client: &mut impl GenericClient) -> Result<i32> {
    let version = client.query_one("SELECT current_setting('server_version_num')::int", &[]);
    let version = version.map_err(server_error)?.get::<_, i32>(0);
    let found = version / 10_000;
    if version < OLDEST_SERVER {
        return Err(Error::usage(format!("the server is PostgreSQL {found}, wanted 15 or later")));
    }
    Ok(found)
}

/// True if there is a table of this name that no sink has made.
pub(super) fn is_foreign(client: &mut impl GenericClient, schema: &str, table: &str) -> Result<bool> {
    let found = client.query_opt(
        "SELECT coalesce(obj_description(c.oid, 'pg_class'), '') FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
        &[&schema, &table],
    );
    let found = found.map_err(server_error)?;
    Ok(found.is_some_and(|row| !row.get::<_, String>(0).starts_with(MARK)))
}

/// Checks the version of the server, and makes the schema if it is not there.
pub(super) fn prepare_schema(client: &mut impl GenericClient, schema: &str) -> Result<()> {
    check_server(client)?;
    let exists = client.query_one("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", &[&schema]);
    match exists.map_err(server_error)?.get::<_, bool>(0) {
        true => Ok(()),
        false => client.batch_execute(&format!("CREATE SCHEMA {}", quoted(schema))).map_err(server_error),
    }
}
