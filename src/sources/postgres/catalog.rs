//! The tables of a publication.

use std::collections::HashMap;
use std::sync::Arc;

use ::postgres::Client;
use arrow::datatypes::{DataType, Field, Schema};

use crate::columns::{ColumnKind, OPERATION};
use crate::error::{Error, Result};
use crate::model::InputTable;
use crate::postgres::{qualified, quoted, server_error};
use crate::sources::files::FileOptions;

use super::pgoutput::RelationMessage;
use super::settings::PostgresSourceConfig;
use super::types::{NUMERIC, arrow_type};

/// A table there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) columns: Vec<RelationColumn>,
}

/// A column of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RelationColumn {
    pub(super) name: String,
    /// True if old rows have it.
    pub(super) is_key: bool,
    pub(super) data_type: DataType,
    /// True for a `numeric`.
    is_numeric: bool,
}

/// The places of a `numeric` without places that the job computes with; further ones are rounded.
const FREE_PLACES: i8 = 9;

/// A table that is replicated, as the catalog has it.
#[derive(Clone, Debug)]
pub(crate) struct ReplicatedTable {
    /// Identifies it, whatever it is called.
    pub(crate) id: u32,
    pub(crate) table: InputTable,
    pub(crate) relation: Relation,
    /// The condition of the rows that are published.
    pub(super) filter: Option<String>,
    /// True if its rows are in partitions.
    pub(super) has_partitions: bool,
}

/// The base types of domains, and their modifiers, by the ids of the domains.
pub(super) type Domains = HashMap<u32, (u32, i32)>;

/// The first version whose catalog tells the columns of a publication.
const OLDEST_SERVER: i32 = 15;
/// Built-in types have lower ids.
const FIRST_OF_USERS: u32 = 16_384;

impl Relation {
    /// A table as the stream describes it.
    pub(super) fn of_message(message: RelationMessage, domains: &Domains) -> Relation {
        let columns = message.columns.into_iter().map(|column| {
            let written = (column.type_id, column.modifier);
            let (type_id, modifier) = domains.get(&column.type_id).copied().unwrap_or(written);
            let (data_type, is_numeric) = (arrow_type(type_id, modifier), type_id == NUMERIC);
            RelationColumn { name: column.name, is_key: column.is_key, data_type, is_numeric }
        });
        Relation { schema: message.schema, name: message.name, columns: columns.collect() }
    }

    /// With the types that a table of the job needs: a `numeric` without places is a decimal where the job computes
    /// with it, and one without a fraction is an integer where it is an id.
    pub(super) fn for_table(mut self, table: InputTable, options: &FileOptions) -> Relation {
        for column in &mut self.columns {
            let kind = options.core_kind(table, &column.name);
            column.data_type = match (kind, &column.data_type) {
                (Some(ColumnKind::Money | ColumnKind::Quantity), DataType::Utf8) if column.is_numeric => {
                    DataType::Decimal128(38, FREE_PLACES)
                }
                (Some(ColumnKind::Id), DataType::Decimal128(..=18, 0)) => DataType::Int64,
                (_, other) => other.clone(),
            };
        }
        self
    }

    /// The columns, and the one that says what a row does.
    pub(super) fn to_arrow(&self) -> Schema {
        let fields = self.columns.iter().map(|column| Field::new(&column.name, column.data_type.clone(), true));
        Schema::new(fields.chain([Field::new(OPERATION, DataType::Utf8, true)]).map(Arc::new).collect::<Vec<_>>())
    }

    /// Its name, as messages have it.
    pub(crate) fn shown(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    pub(super) fn qualified(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    /// The names of its columns, as a list.
    pub(super) fn column_list(&self) -> String {
        self.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
    }
}

/// What of a user's types the table of a message has that is not known yet.
pub(super) fn unknown_types(message: &RelationMessage, known: &Domains) -> Vec<u32> {
    let of_users = message.columns.iter().map(|column| column.type_id).filter(|id| *id >= FIRST_OF_USERS);
    of_users.filter(|id| !known.contains_key(id)).collect()
}

/// Adds what these types are to those that are known.
pub(super) fn look_up_types(client: &mut Client, types: &[u32], known: &mut Domains) -> Result<(), ::postgres::Error> {
    let found = client.query(
        "SELECT oid, CASE typtype WHEN 'd' THEN typbasetype ELSE oid END, typtypmod FROM pg_type WHERE oid = ANY ($1)",
        &[&types],
    )?;
    known.extend(found.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))));
    Ok(())
}

impl ReplicatedTable {
    /// Reads the tables of a source from the catalog.
    ///
    /// # Errors
    ///
    /// If one is not published as it must be; the message says what to do.
    pub(crate) fn all(client: &mut Client, config: &PostgresSourceConfig) -> Result<Vec<ReplicatedTable>> {
        let wal_level: String = asked(client.query_one("SHOW wal_level", &[]))?.get(0);
        if wal_level != "logical" {
            let what_to_do = "set it in postgresql.conf, and restart the server";
            return Err(Error::usage(format!("wal_level is {wal_level}, wanted logical; {what_to_do}")));
        }
        let settings = "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding')";
        let settings = asked(client.query_one(settings, &[]))?;
        if settings.get::<_, i32>(0) < OLDEST_SERVER {
            let found: i32 = settings.get(0);
            return Err(Error::usage(format!("the server is PostgreSQL {found}, wanted 15 or later")));
        }
        if settings.get::<_, &str>(1) == "SQL_ASCII" {
            return Err(Error::usage("the encoding of the database is SQL_ASCII, wanted one whose texts are UTF-8"));
        }
        config.tables.iter().map(|(table, name)| ReplicatedTable::find(client, config, *table, name)).collect()
    }

    fn find(
        client: &mut Client,
        config: &PostgresSourceConfig,
        table: InputTable,
        (schema, name): &(String, String),
    ) -> Result<ReplicatedTable> {
        let (publication, shown) = (&config.publication, format!("{schema}.{name}"));
        let found = asked(client.query_opt(
            "SELECT c.oid, c.relkind = 'p' AND NOT p.pubviaroot,
                    p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate,
                    t.attnames::text[], t.rowfilter, c.relkind = 'p'
             FROM pg_publication p JOIN pg_publication_tables t ON t.pubname = p.pubname
             JOIN pg_namespace n ON n.nspname = t.schemaname
             JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
             WHERE p.pubname = $1 AND t.schemaname = $2 AND t.tablename = $3",
            &[publication, schema, name],
        ))?;
        let Some(found) = found else {
            let has_partitions = asked(client.query_opt(
                "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind = 'p'",
                &[schema, name],
            ))?;
            if has_partitions.is_some() {
                return Err(partitioned(table, &shown, publication));
            }
            let what_to_do = format!(
                "wanted it there: CREATE PUBLICATION {publication} FOR TABLE {shown}, or ALTER PUBLICATION \
                 {publication} ADD TABLE {shown}"
            );
            return Err(Error::usage(format!("{table}: publication {publication} has no table {shown}; {what_to_do}")));
        };
        if found.get(1) {
            return Err(partitioned(table, &shown, publication));
        }
        if !found.get::<_, bool>(2) {
            let what_to_do =
                format!("ALTER PUBLICATION {publication} SET (publish = 'insert, update, delete, truncate')");
            return Err(Error::usage(format!(
                "{table}: publication {publication} leaves changes out; wanted {what_to_do}"
            )));
        }
        let columns = asked(client.query(
            "SELECT a.attname::text, CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END,
                    CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE a.atttypmod END,
                    c.relreplident = 'f' OR EXISTS (
                        SELECT FROM pg_index i WHERE i.indrelid = c.oid
                        AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
                        AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END)
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
             AND a.attname = ANY ($2) ORDER BY a.attnum",
            &[&found.get::<_, u32>(0), &found.get::<_, Vec<String>>(3)],
        ))?;
        let columns = columns.iter().map(|row| RelationColumn {
            name: row.get(0),
            data_type: arrow_type(row.get(1), row.get(2)),
            is_numeric: row.get::<_, u32>(1) == NUMERIC,
            is_key: row.get(3),
        });
        let (schema, name, columns) = (schema.clone(), name.clone(), columns.collect());
        let relation = Relation { schema, name, columns };
        Ok(ReplicatedTable { id: found.get(0), table, relation, filter: found.get(4), has_partitions: found.get(5) })
    }
}

/// What to do about a table with partitions.
fn partitioned(table: InputTable, shown: &str, publication: &str) -> Error {
    let wanted = format!("ALTER PUBLICATION {publication} SET (publish_via_partition_root = true)");
    Error::usage(format!("{table}: {shown} has partitions; wanted it in the publication, and {wanted}"))
}

/// An answer of the server.
pub(super) fn asked<T>(answer: Result<T, ::postgres::Error>) -> Result<T> {
    answer.map_err(server_error)
}
