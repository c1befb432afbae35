//! The tables of `pg_catalog` that describe ours: with keys, comments, and object ids that stay as they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow_pg::datatypes::{PG_OID_ALIAS_KEY, into_pg_type};
use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef as QueriedSchema};
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::common::Result as QueryResult;
use pgwire::api::Type;
use serde_json::{Map, Value, json};

use super::missing_tables::missing_tables;
use super::settings::SETTINGS;
use crate::sql::tables::service::rows_of_json;

/// A table, as those who ask for it see it.
pub(crate) struct DescribedTable {
    pub(crate) schema: &'static str,
    pub(crate) name: String,
    pub(crate) columns: QueriedSchema,
    /// The columns of the primary key; none if there is none.
    pub(crate) key: Vec<String>,
    pub(crate) comment: String,
    /// Of a view, its query.
    pub(crate) view: Option<String>,
}

/// The name of the one database.
pub(crate) const DATABASE: &str = "millstream";
/// The schemas that tables are in, with their object ids.
pub(crate) const SHOP: &str = "shop";
pub(crate) const MILLSTREAM: &str = "millstream";
const SCHEMAS: [(&str, u32); 5] =
    [("pg_catalog", 11), ("public", 2200), ("information_schema", 13_000), (SHOP, 16_385), (MILLSTREAM, 16_386)];

/// Object ids of tables and indexes are from this one on.
const FIRST_ID: u32 = 20_000;
/// The object ids of those of the catalog's own tables that clients ask for.
pub(crate) const OF_CATALOG: [(&str, u32); 26] = [
    ("pg_am", 2601),
    ("pg_attrdef", 2604),
    ("pg_attribute", 1249),
    ("pg_authid", 1260),
    ("pg_cast", 2605),
    ("pg_class", PG_CLASS),
    ("pg_collation", 3456),
    ("pg_constraint", 2606),
    ("pg_conversion", 2607),
    ("pg_database", 1262),
    ("pg_description", 2609),
    ("pg_event_trigger", 3466),
    ("pg_extension", 3079),
    ("pg_index", 2610),
    ("pg_language", 2612),
    ("pg_namespace", 2615),
    ("pg_opclass", 2616),
    ("pg_operator", 2617),
    ("pg_opfamily", 2753),
    ("pg_proc", 1255),
    ("pg_rewrite", 2618),
    ("pg_tablespace", 1213),
    ("pg_trigger", 2620),
    ("pg_ts_config", 3602),
    ("pg_ts_dict", 3600),
    ("pg_type", 1247),
];
/// Tables of the catalog that have no rows, for there is nothing of what they describe.
pub(crate) const EMPTY_TABLES: [&str; 20] = [
    "pg_attrdef",
    "pg_default_acl",
    "pg_event_trigger",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_inherits",
    "pg_partitioned_table",
    "pg_policy",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_seclabel",
    "pg_sequence",
    "pg_shseclabel",
    "pg_statistic_ext",
    "pg_subscription",
    "pg_subscription_rel",
    "pg_trigger",
    "pg_user_mapping",
];
const PG_CLASS: u32 = 1259;
/// The object id of who owns everything.
const OWNER: u32 = 10;
/// Access methods.
const HEAP: u32 = 2;
const BTREE: u32 = 403;
/// The default collation of texts.
const COLLATION: u32 = 100;

/// What functions of the catalog say of an object, by its id.
#[derive(Debug, Default)]
pub(crate) struct CatalogTexts {
    pub(crate) constraints: BTreeMap<i64, String>,
    /// The definition of an index, and behind it the columns.
    pub(crate) indexes: BTreeMap<i64, Vec<String>>,
    pub(crate) comments: BTreeMap<i64, String>,
    /// The queries of views.
    pub(crate) views: BTreeMap<i64, String>,
    /// The ids of tables, by their names with and without that of the schema.
    pub(crate) tables: BTreeMap<String, i64>,
    /// Tables that are only found by their names with the schema.
    pub(crate) hidden: BTreeSet<i64>,
    /// Tables and indexes, named as briefly as can be.
    pub(crate) classes: BTreeMap<i64, String>,
}

impl CatalogTexts {
    /// Of these tables.
    pub(crate) fn of(tables: &[DescribedTable]) -> CatalogTexts {
        let (ids, mut texts) = (object_ids(tables), CatalogTexts::default());
        for (name, id) in OF_CATALOG {
            texts.tables.insert(name.to_owned(), i64::from(id));
            texts.tables.insert(format!("pg_catalog.{name}"), i64::from(id));
        }
        texts.classes = OF_CATALOG.iter().map(|(name, id)| (i64::from(*id), (*name).to_owned())).collect();
        for table in tables {
            let (oid, index) = (i64::from(ids[&name_of(table)]), i64::from(ids[&index_of(table)]));
            texts.comments.insert(oid, table.comment.clone());
            texts.views.extend(table.view.iter().map(|query| (oid, format!("{query};"))));
            texts.tables.insert(name_of(table), oid);
            let (in_schema, brief) = (name_of(table), table.name.clone());
            let brief = if table.schema == SHOP { brief } else { in_schema };
            texts.classes.extend([(index, format!("{brief}_pkey")), (oid, brief)]);
            match table.schema {
                SHOP => drop(texts.tables.insert(table.name.clone(), oid)),
                _ => drop(texts.hidden.insert(oid)),
            }
            let columns = table.key.join(", ");
            if !columns.is_empty() {
                texts.indexes.insert(index, [&[index_definition(table)], &table.key[..]].concat());
                texts.constraints.insert(index + 1, format!("PRIMARY KEY ({columns})"));
            }
        }
        texts
    }
}

/// `pg_catalog`: tables of ours, and all others.
#[derive(Debug)]
pub(crate) struct CatalogTables {
    others: Arc<dyn SchemaProvider>,
    ours: HashMap<&'static str, Arc<MemTable>>,
}

impl CatalogTables {
    /// What describes these tables, before other tables of `pg_catalog`.
    pub(crate) async fn new(others: Arc<dyn SchemaProvider>, tables: &[DescribedTable]) -> QueryResult<CatalogTables> {
        let mut rows: BTreeMap<&'static str, Vec<Value>> = BTreeMap::new();
        for name in ["pg_attribute", "pg_class", "pg_constraint", "pg_description", "pg_index", "pg_views"] {
            rows.insert(name, Vec::new());
        }
        let mut add = |table, row| rows.entry(table).or_default().push(row);
        for (name, oid) in SCHEMAS {
            add("pg_namespace", json!({ "oid": oid, "nspname": name, "nspowner": OWNER }));
        }
        for (name, oid) in OF_CATALOG {
            add(
                "pg_class",
                json!({ "oid": oid, "relname": name, "relnamespace": 11, "relkind": "r", "relowner": OWNER }),
            );
        }
        add("pg_roles", role());
        for (name, setting) in SETTINGS {
            add("pg_settings", json!({ "name": name, "setting": setting, "context": "internal" }));
        }
        let ids = object_ids(tables);
        for table in tables {
            describe(table, &ids, &mut add);
        }
        let mut ours = missing_tables(&mut rows)?;
        for (name, rows) in rows {
            let Some(known) = others.table(name).await? else { continue };
            let schema = with_arrays(name, &known.schema());
            let rows: Vec<_> = rows.into_iter().map(|row| with_defaults(row, &schema)).collect();
            let rows = rows_of_json(&rows, &schema)?;
            ours.insert(name, Arc::new(MemTable::try_new(schema, vec![vec![rows]])?));
        }
        Ok(CatalogTables { others, ours })
    }

    /// A table that is made here.
    pub(crate) fn kept(&self, name: &str) -> Option<Arc<MemTable>> {
        self.ours.get(name).cloned()
    }
}

#[async_trait]
impl SchemaProvider for CatalogTables {
    fn table_names(&self) -> Vec<String> {
        let others = self.others.table_names().into_iter().filter(|name| !self.ours.contains_key(name.as_str()));
        self.ours.keys().map(|name| (*name).to_owned()).chain(others).collect()
    }

    async fn table(&self, name: &str) -> QueryResult<Option<Arc<dyn TableProvider>>> {
        match self.ours.get(name) {
            Some(table) => Ok(Some(Arc::clone(table) as _)),
            None => self.others.table(name).await,
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.ours.contains_key(name) || self.others.table_exist(name)
    }
}

/// Who owns everything. Whoever connects may have any name.
fn role() -> Value {
    json!({
        "oid": OWNER, "rolname": "postgres", "rolinherit": true, "rolcanlogin": true, "rolconnlimit": -1,
        "rolpassword": "********",
    })
}

/// The ids of tables and indexes, by their names: a hash, or the next one that is free.
fn object_ids(tables: &[DescribedTable]) -> BTreeMap<String, u32> {
    let mut names: Vec<_> = tables.iter().flat_map(|table| [name_of(table), index_of(table)]).collect();
    names.sort_unstable();
    let (mut ids, mut taken) = (BTreeMap::new(), BTreeSet::new());
    for name in names {
        let mut id = FIRST_ID + crc32fast::hash(name.as_bytes()) % 1_000_000_000;
        // The one after that of an index is that of its constraint.
        while taken.contains(&id) || taken.contains(&(id + 1)) {
            id += 2;
        }
        taken.extend([id, id + 1]);
        ids.insert(name, id);
    }
    ids
}

fn name_of(table: &DescribedTable) -> String {
    format!("{}.{}", table.schema, table.name)
}

fn index_definition(table: &DescribedTable) -> String {
    let (name, place, columns) = (&table.name, name_of(table), table.key.join(", "));
    format!("CREATE UNIQUE INDEX {name}_pkey ON {place} USING btree ({columns})")
}

fn index_of(table: &DescribedTable) -> String {
    format!("{}_pkey", name_of(table))
}

/// Adds the rows that describe a table.
fn describe(table: &DescribedTable, ids: &BTreeMap<String, u32>, add: &mut impl FnMut(&'static str, Value)) {
    let schema = SCHEMAS.iter().find(|(name, _)| *name == table.schema).map_or(0, |(_, oid)| *oid);
    let (oid, index) = (ids[&name_of(table)], ids[&index_of(table)]);
    let (columns, has_key) = (table.columns.fields(), !table.key.is_empty());
    let relation = |oid: u32, name: &str, kind: &str, access: u32, columns: usize| {
        json!({
            "oid": oid, "relname": name, "relnamespace": schema, "relowner": OWNER, "relam": access,
            "relfilenode": oid, "reltuples": -1.0, "relhasindex": kind == "r" && has_key, "relpersistence": "p",
            "relkind": kind, "relnatts": columns, "relispopulated": true, "relreplident": "d",
        })
    };
    let (kind, access) = if table.view.is_some() { ("v", 0) } else { ("r", HEAP) };
    add("pg_class", relation(oid, &table.name, kind, access, columns.len()));
    if let Some(query) = &table.view {
        let view = json!({ "schemaname": table.schema, "viewname": table.name, "definition": format!("{query};") });
        add("pg_views", view);
    }
    add("pg_description", json!({ "objoid": oid, "classoid": PG_CLASS, "objsubid": 0, "description": table.comment }));
    for (number, field) in (1..).zip(columns) {
        let is_nullable = field.is_nullable() || table.view.is_some();
        add("pg_attribute", attribute(oid, number, &field.as_ref().clone().with_nullable(is_nullable)));
    }
    if !has_key {
        return;
    }
    let place = |name: &String| table.columns.index_of(name).map_or(0, |place| place + 1);
    let (places, constraint) = (table.key.iter().map(place).collect::<Vec<_>>(), format!("{}_pkey", table.name));
    add("pg_class", relation(index, &constraint, "i", BTREE, places.len()));
    for (number, place) in (1..).zip(&places) {
        if let Some(field) = place.checked_sub(1).map(|place| columns[place].as_ref()) {
            add("pg_attribute", attribute(index, number, field));
        }
    }
    add(
        "pg_index",
        json!({
            "indexrelid": index, "indrelid": oid, "indnatts": places.len(), "indnkeyatts": places.len(),
            "indisunique": true, "indisprimary": true, "indimmediate": true, "indisvalid": true, "indisready": true,
            "indislive": true, "indkey": places, "indclass": vec![0; places.len()], "indoption": vec![0; places.len()],
        }),
    );
    add(
        "pg_indexes",
        json!({
            "schemaname": table.schema, "tablename": table.name, "indexname": constraint,
            "indexdef": index_definition(table),
        }),
    );
    add(
        "pg_constraint",
        json!({
            "oid": index + 1, "conname": constraint, "connamespace": schema, "contype": "p", "convalidated": true,
            "conrelid": oid, "conindid": index, "conislocal": true, "connoinherit": true, "conkey": places,
        }),
    );
}

/// The row of a column.
fn attribute(table: u32, number: u32, field: &Field) -> Value {
    let of_type = into_pg_type(field.data_type()).unwrap_or(Type::TEXT);
    let (length, modifier) = type_size_and_modifier(&of_type, field.data_type());
    let is_text = matches!(of_type, Type::TEXT | Type::VARCHAR);
    json!({
        "attrelid": table, "attname": field.name(), "atttypid": of_type.oid(), "attstattarget": -1, "attlen": length,
        "attnum": number, "attcacheoff": -1, "atttypmod": modifier, "attbyval": length > 0, "attalign": "i",
        "attstorage": if length > 0 { "p" } else { "x" }, "attnotnull": !field.is_nullable(),
        "attislocal": true, "attcollation": if is_text { COLLATION } else { 0 },
    })
}

/// The bytes of a type, -1 if their number varies, and what else is said of it: how many digits a decimal has.
pub(crate) fn type_size_and_modifier(of_type: &Type, data_type: &DataType) -> (i16, i32) {
    let size = match *of_type {
        Type::BOOL | Type::CHAR => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::DATE | Type::FLOAT4 | Type::OID | Type::REGCLASS | Type::REGTYPE | Type::REGPROC => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        Type::INTERVAL => 16,
        _ => -1,
    };
    let modifier = match data_type {
        DataType::Decimal128(precision, scale) => (i32::from(*precision) << 16 | i32::from(*scale)) + 4,
        _ => -1,
    };
    (size, modifier)
}

/// Marks columns that PostgreSQL has as vectors, by the type of their elements.
pub(crate) const VECTOR: &str = "millstream.vector";

/// The columns of a table of the catalog, with those that are arrays as such, and those that it lacks.
fn with_arrays(name: &str, schema: &Schema) -> QueriedSchema {
    let list = |name: &str, of: DataType| Arc::new(Field::new(name, DataType::new_list(of, true), true));
    let vector = |list: Arc<Field>, of: &str| {
        let mark = HashMap::from([(VECTOR.to_owned(), of.to_owned())]);
        Arc::new(list.as_ref().clone().with_metadata(mark))
    };
    let field = |field: &Arc<Field>| match field.name().as_str() {
        "conkey" | "confkey" => list(field.name(), DataType::Int16),
        "indkey" | "indoption" => vector(list(field.name(), DataType::Int16), "int2"),
        "indclass" | "indcollation" => vector(list(field.name(), DataType::Int32), "oid"),
        // Of PostgreSQL's, these are plain ids.
        "atttypid" | "attrelid" | "relnamespace" | "reltype" | "attcollation" | "relam" | "reltablespace" => {
            let kind = HashMap::from([(PG_OID_ALIAS_KEY.to_owned(), "oid".to_owned())]);
            Arc::new(field.as_ref().clone().with_metadata(kind))
        }
        _ => Arc::clone(field),
    };
    let missing = match name {
        "pg_class" => vec![list("reloptions", DataType::Utf8), list("relacl", DataType::Utf8)],
        _ => Vec::new(),
    };
    let missing = missing.into_iter().filter(|field| schema.index_of(field.name()).is_err());
    Arc::new(Schema::new(schema.fields().iter().map(field).chain(missing).collect::<Vec<_>>()))
}

/// A row in which what is not given has the value that PostgreSQL has by default.
fn with_defaults(row: Value, schema: &Schema) -> Value {
    let default = |field: &Field| match field.data_type() {
        _ if field.is_nullable() => Value::Null,
        DataType::Boolean => json!(false),
        DataType::Utf8 => json!(""),
        _ => json!(0),
    };
    let mut all: Map<_, _> = schema.fields().iter().map(|field| (field.name().clone(), default(field))).collect();
    if let Value::Object(row) = row {
        all.extend(row);
    }
    Value::Object(all)
}
