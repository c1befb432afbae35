//! `information_schema`, as PostgreSQL has it: with its names of types, and with keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_pg::datatypes::into_pg_type;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef as QueriedSchema};
use datafusion::catalog::MemTable;
use datafusion::common::Result as QueryResult;
use pgwire::api::Type;
use serde_json::{Value, json};

use super::fixed_schema::FixedSchema;
use super::tables::{DATABASE, DescribedTable, MILLSTREAM, SHOP};
use crate::sql::tables::service::rows_of_json;

/// The tables that describe these.
pub(crate) fn information_schema(tables: &[DescribedTable]) -> QueryResult<FixedSchema> {
    let mut rows: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for schema in [SHOP, MILLSTREAM, "information_schema", "pg_catalog", "public"] {
        rows.entry("schemata").or_default().push(json!({ "catalog_name": DATABASE, "schema_name": schema }));
    }
    let encoding = json!({
        "character_set_name": "UTF8", "character_repertoire": "UCS", "form_of_use": "UTF8",
        "default_collate_catalog": DATABASE, "default_collate_schema": "pg_catalog", "default_collate_name": "default",
    });
    rows.entry("character_sets").or_default().push(encoding);
    for table in tables {
        let place = json!({ "table_catalog": DATABASE, "table_schema": table.schema, "table_name": table.name });
        let kind = if table.view.is_some() { "VIEW" } else { "BASE TABLE" };
        let kind = json!({ "table_type": kind, "is_insertable_into": "NO" });
        rows.entry("tables").or_default().push(with(&place, kind));
        if let Some(query) = &table.view {
            let view = json!({ "view_definition": query, "check_option": "NONE", "is_updatable": "NO" });
            rows.entry("views").or_default().push(with(&place, view));
        }
        for (number, field) in (1..).zip(table.columns.fields()) {
            let is_nullable = field.is_nullable() || table.view.is_some();
            let field = field.as_ref().clone().with_nullable(is_nullable);
            rows.entry("columns").or_default().push(with(&place, column(number, &field)));
        }
        if table.key.is_empty() {
            continue;
        }
        let constraint = format!("{}_pkey", table.name);
        let named = json!({
            "constraint_catalog": DATABASE, "constraint_schema": table.schema, "constraint_name": constraint,
        });
        let kind = json!({ "constraint_type": "PRIMARY KEY", "is_deferrable": "NO", "initially_deferred": "NO" });
        rows.entry("table_constraints").or_default().push(with(&with(&place, named.clone()), kind));
        for (number, name) in (1..).zip(&table.key) {
            let part = json!({ "column_name": name, "ordinal_position": number });
            rows.entry("key_column_usage").or_default().push(with(&with(&place, named.clone()), part));
        }
    }
    let mut all = FixedSchema::default();
    for (name, schema) in schemas() {
        let rows = rows_of_json(&rows.remove(name).unwrap_or_default(), &schema)?;
        all.tables.insert(name.to_owned(), Arc::new(MemTable::try_new(schema, vec![vec![rows]])?));
    }
    Ok(all)
}

/// Of the columns of a table, which have none of their own.
const COLLATION: [&str; 3] = ["collation_catalog", "collation_schema", "collation_name"];

/// The columns of the tables: texts, and numbers.
fn schemas() -> [(&'static str, QueriedSchema); 8] {
    let of = |texts: &[&str], numbers: &[&str]| {
        let texts = texts.iter().map(|name| Field::new(*name, DataType::Utf8, true));
        let numbers = numbers.iter().map(|name| Field::new(*name, DataType::Int32, true));
        Arc::new(Schema::new(texts.chain(numbers).collect::<Vec<_>>()))
    };
    let place = ["table_catalog", "table_schema", "table_name"];
    let constraint = ["constraint_catalog", "constraint_schema", "constraint_name"];
    let columns = ["column_name", "column_default", "is_nullable", "data_type", "udt_schema", "udt_name"];
    let generated = ["is_identity", "is_generated", "is_updatable"];
    let numbers = [
        "ordinal_position",
        "character_maximum_length",
        "character_octet_length",
        "numeric_precision",
        "numeric_precision_radix",
        "numeric_scale",
        "datetime_precision",
    ];
    let deferred = ["constraint_type", "is_deferrable", "initially_deferred"];
    let unique = ["unique_constraint_catalog", "unique_constraint_schema", "unique_constraint_name"];
    let referential = ["match_option", "update_rule", "delete_rule"];
    let encoding = ["character_set_catalog", "character_set_schema", "character_set_name", "character_repertoire"];
    let default = ["form_of_use", "default_collate_catalog", "default_collate_schema", "default_collate_name"];
    [
        ("character_sets", of(&[&encoding[..], &default].concat(), &[])),
        ("referential_constraints", of(&[&constraint[..], &unique, &referential].concat(), &[])),
        ("schemata", of(&["catalog_name", "schema_name", "schema_owner"], &[])),
        ("tables", of(&[&place[..], &["table_type", "is_insertable_into"]].concat(), &[])),
        ("columns", of(&[&place[..], &columns, &generated, &encoding[..3], &COLLATION].concat(), &numbers)),
        ("views", of(&[&place[..], &["view_definition", "check_option", "is_updatable"]].concat(), &[])),
        ("table_constraints", of(&[&constraint[..], &place, &deferred].concat(), &[])),
        ("key_column_usage", of(&[&constraint[..], &place, &["column_name"]].concat(), &["ordinal_position"])),
    ]
}

/// The row of a column, without its table.
fn column(number: u32, field: &Field) -> Value {
    let of_type = into_pg_type(field.data_type()).unwrap_or(Type::TEXT);
    let name = match of_type {
        Type::BOOL => "boolean",
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::VARCHAR => "character varying",
        Type::TIMESTAMP => "timestamp without time zone",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        _ if field.data_type().is_nested() => "ARRAY",
        _ => of_type.name(),
    };
    let (precision, scale) = match field.data_type() {
        DataType::Decimal128(precision, scale) => (Some(*precision), Some(*scale)),
        _ => (None, None),
    };
    json!({
        "column_name": field.name(), "ordinal_position": number, "data_type": name, "udt_schema": "pg_catalog",
        "is_nullable": if field.is_nullable() { "YES" } else { "NO" }, "udt_name": of_type.name(),
        "numeric_precision": precision, "numeric_scale": scale, "is_identity": "NO", "is_generated": "NEVER",
        "is_updatable": "NO",
    })
}

/// An object with what another one has, too.
fn with(object: &Value, more: Value) -> Value {
    let mut all = object.clone();
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
        all.extend(more);
    }
    all
}
