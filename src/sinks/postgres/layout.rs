//! The tables there: made at the first start, checked and extended at later ones.

use ::postgres::{Client, Error as ClientError};

use crate::error::{Error, Result};
use crate::postgres::{in_words, literal, plain_names, quoted};
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
    pub(super) fn prepare(&self, client: &mut Client) -> Result<bool, Unprepared> {
        let found = client.query(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(obj_description(c.oid, 'pg_class'), '')
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             WHERE n.nspname = $1 AND c.relname = $2",
            &[&self.schema, &self.name],
        )?;
        let Some(first) = found.first() else {
            self.create(client)?;
            return Ok(true);
        };
        if !first.get::<_, String>(2).starts_with(MARK) {
            let cause = "exists and was not made by millstream; drop it, or choose another schema";
            return Err(Error::usage(format!("table {} {cause}", self.qualified())).into());
        }
        let known: Vec<(String, String)> =
            found.iter().filter_map(|row| Some((row.get::<_, Option<_>>(0)?, row.get(1)))).collect();
        let mut is_other = false;
        for column in &self.columns {
            let Some((name, kind)) = known.iter().find(|(name, _)| *name == column.name) else {
                let (table, name) = (self.qualified(), quoted(&column.name));
                client.batch_execute(&format!("ALTER TABLE {table} ADD COLUMN {name} {}", column.kind))?;
                is_other = true;
                continue;
            };
            if *kind != column.kind {
                let (table, wanted) = (self.qualified(), &column.kind);
                let what_to_do = "drop the table, which is then made anew, or choose another schema";
                let cause = format!("table {table}: column {name} has the type {kind}, wanted {wanted}; {what_to_do}");
                return Err(Error::usage(cause).into());
            }
        }
        Ok(is_other)
    }

    fn create(&self, client: &mut Client) -> Result<(), ClientError> {
        let columns: Vec<_> =
            self.columns.iter().map(|column| format!("{} {}", quoted(&column.name), column.kind)).collect();
        let (table, key) = (self.qualified(), self.names(&self.key));
        let comment = literal(&format!("{MARK} one row for each {key}; do not write to it").replace('"', ""));
        let of_columns = self.columns.iter().filter_map(|column| {
            let comment = literal(column.comment.as_ref()?);
            Some(format!("COMMENT ON COLUMN {table}.{} IS {comment};", quoted(&column.name)))
        });
        let mut transaction = client.transaction()?;
        transaction.batch_execute(&format!(
            "CREATE TABLE {table} ({}, UNIQUE NULLS NOT DISTINCT ({key})); COMMENT ON TABLE {table} IS {comment}; {}",
            columns.join(", "),
            of_columns.collect::<String>(),
        ))?;
        transaction.commit()
    }
}

/// The version of the server.
///
/// # Errors
///
/// If it is too old.
pub(super) fn check_server(client: &mut Client) -> Result<i32, Unprepared> {
    let version = client.query_one("SELECT current_setting('server_version_num')::int", &[])?.get::<_, i32>(0);
    let found = version / 10_000;
    if version < OLDEST_SERVER {
        return Err(Error::usage(format!("the server is PostgreSQL {found}, wanted 15 or later")).into());
    }
    Ok(found)
}

/// True if there is a table of this name that no sink has made.
pub(super) fn is_foreign(client: &mut Client, schema: &str, table: &str) -> Result<bool> {
    let found = client.query_opt(
        "SELECT coalesce(obj_description(c.oid, 'pg_class'), '') FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
        &[&schema, &table],
    );
    let found = found.map_err(|error| Error::failed(in_words(&error)).caused_by(error))?;
    Ok(found.is_some_and(|row| !row.get::<_, String>(0).starts_with(MARK)))
}

/// Checks the version of the server, and makes the schema if it is not there.
pub(super) fn prepare_schema(client: &mut Client, schema: &str) -> Result<(), Unprepared> {
    check_server(client)?;
    let exists = client.query_one("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", &[&schema])?;
    if !exists.get::<_, bool>(0) {
        client.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(schema)))?;
    }
    Ok(())
}

/// Why the tables can't be used.
pub(super) enum Unprepared {
    /// What the server says.
    Server(ClientError),
    /// What is wrong with what is there.
    Found(Error),
}

impl From<ClientError> for Unprepared {
    fn from(error: ClientError) -> Unprepared {
        Unprepared::Server(error)
    }
}

impl From<Error> for Unprepared {
    fn from(error: Error) -> Unprepared {
        Unprepared::Found(error)
    }
}

impl Unprepared {
    /// As an error of the sink.
    pub(super) fn into_error(self) -> Error {
        match self {
            Unprepared::Server(error) => Error::failed(in_words(&error)).caused_by(error),
            Unprepared::Found(error) => error,
        }
    }
}
