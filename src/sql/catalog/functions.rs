//! Functions of PostgreSQL that describe tables, for clients that ask for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, BooleanArray, Int32Array, ListBuilder, StringArray, StringBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::catalog::{MemTable, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result as QueryResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility, create_udf,
};
use datafusion::prelude::SessionContext;

use super::settings::{SETTINGS, server_version};
use super::tables::{CatalogTables, CatalogTexts, SHOP};

/// The number of an encoding.
const UTF8: i64 = 6;

/// Registers the functions, after those of `datafusion-pg-catalog`, some of which they take the place of.
pub(crate) async fn register(context: &SessionContext, texts: CatalogTexts) -> QueryResult<()> {
    let CatalogTexts { constraints, indexes, comments, views, tables, hidden, classes } = texts;
    let whole = |texts: BTreeMap<i64, String>| texts.into_iter().map(|(object, text)| (object, vec![text])).collect();
    for (name, texts) in [
        ("pg_get_constraintdef", whole(constraints)),
        ("pg_get_indexdef", indexes),
        ("obj_description", whole(comments)),
        ("pg_get_viewdef", whole(views)),
        ("class_name", whole(classes)),
        ("pg_encoding_to_char", whole(BTreeMap::from([(UTF8, "UTF8".to_owned())]))),
    ] {
        context.register_udf(ScalarUDF::from(TextOfObject::new(name, texts)));
    }
    for name in [
        "col_description",
        "pg_database_size",
        "pg_get_expr",
        "pg_get_function_arguments",
        "pg_get_function_identity_arguments",
        "pg_get_function_result",
        "pg_get_function_sqlbody",
        "pg_get_functiondef",
        "pg_get_ruledef",
        "pg_get_serial_sequence",
        "pg_size_pretty",
        "pg_table_size",
        "pg_tablespace_location",
        "shobj_description",
    ] {
        context.register_udf(ScalarUDF::from(TextOfObject::new(name, BTreeMap::new())));
    }
    let encodings = BTreeMap::from([("UTF8".to_owned(), UTF8)]);
    let ids = [("to_regclass", tables), ("to_regtype", types(context).await?), ("pg_char_to_encoding", encodings)];
    for (name, ids) in ids {
        context.register_udf(id_of_name(name, ids));
    }
    context.register_udf(current_setting());
    register_answers(context, hidden);
    context.register_udf(current_schemas());
    let version = concat!("PostgreSQL ", server_version!(), " (millstream ", env!("CARGO_PKG_VERSION"), ")");
    context.register_udf(constant("version", version));
    context.register_udf(constant("current_schema", SHOP));
    context.register_udf(constant("getdatabaseencoding", "UTF8"));
    // Nothing is written, so that transactions need no numbers, and there are no temporary tables.
    context.register_udf(number("txid_current", ScalarValue::Int64(Some(3))));
    context.register_udf(number("pg_my_temp_schema", ScalarValue::Int32(Some(0))));
    // Nobody has locks; pools of connections let them go.
    context.register_udf(constant("pg_advisory_unlock_all", ""));
    let no = |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(false))));
    context.register_udf(create_udf(
        "pg_is_in_recovery",
        Vec::new(),
        DataType::Boolean,
        Volatility::Stable,
        Arc::new(no),
    ));
    Ok(())
}

/// Functions that say yes or no of an object.
fn register_answers(context: &SessionContext, hidden: BTreeSet<i64>) {
    context.register_udf(ScalarUDF::from(IsOfObject::new("pg_table_is_visible", true, hidden)));
    for kind in [
        "collation",
        "conversion",
        "function",
        "opclass",
        "operator",
        "opfamily",
        "statistics_obj",
        "ts_config",
        "type",
    ] {
        context.register_udf(ScalarUDF::from(IsOfObject::new(&format!("pg_{kind}_is_visible"), true, BTreeSet::new())));
    }
    context.register_udf(ScalarUDF::from(IsOfObject::new("pg_is_other_temp_schema", false, BTreeSet::new())));
    context.register_udf(ScalarUDF::from(IsOfObject::new("has_function_privilege", true, BTreeSet::new())));
}

/// Functions that stand for tables, which are tables of the catalog.
pub(crate) fn register_tables(context: &SessionContext, catalog: &CatalogTables) {
    for (function, table) in
        [("pg_show_all_settings", "pg_settings"), ("pg_available_extensions", "pg_available_extensions")]
    {
        if let Some(table) = catalog.kept(table) {
            context.register_udtf(function, Arc::new(TableOfCatalog(table)));
        }
    }
}

#[derive(Debug)]
struct TableOfCatalog(Arc<MemTable>);

impl TableFunctionImpl for TableOfCatalog {
    fn call_with_args(&self, _: TableFunctionArgs) -> QueryResult<Arc<dyn TableProvider>> {
        Ok(Arc::clone(&self.0) as _)
    }
}

/// The ids of types, by name.
async fn types(context: &SessionContext) -> QueryResult<BTreeMap<String, i64>> {
    let rows = context.sql("SELECT CAST(typname AS TEXT), CAST(oid AS BIGINT) FROM pg_catalog.pg_type").await?;
    let mut types = BTreeMap::new();
    for rows in rows.collect().await? {
        let (names, ids) = (cast(rows.column(0), &DataType::Utf8)?, rows.column(1).as_primitive::<Int64Type>());
        let names = names.as_string::<i32>().iter().flatten().map(str::to_owned);
        types.extend(names.zip(ids.values().iter().copied()));
    }
    Ok(types)
}

/// A function from a name to the id of an object; null if there is none.
fn id_of_name(function: &str, ids: BTreeMap<String, i64>) -> ScalarUDF {
    let id = move |args: &[ColumnarValue]| {
        let names = ColumnarValue::values_to_arrays(args)?.swap_remove(0);
        let id = |name: Option<&str>| ids.get(name?).and_then(|id| i32::try_from(*id).ok());
        let ids: Int32Array = names.as_string::<i32>().iter().map(id).collect();
        Ok(ColumnarValue::Array(Arc::new(ids)))
    };
    create_udf(function, vec![DataType::Utf8], DataType::Int32, Volatility::Stable, Arc::new(id))
}

/// `current_setting`; null if there is no such setting.
fn current_setting() -> ScalarUDF {
    let value = |name: Option<&str>| {
        let name = name?;
        SETTINGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    };
    let values = move |args: &[ColumnarValue]| {
        let names = ColumnarValue::values_to_arrays(args)?.swap_remove(0);
        let values: StringArray = names.as_string::<i32>().iter().map(value).collect();
        Ok(ColumnarValue::Array(Arc::new(values)))
    };
    create_udf("current_setting", vec![DataType::Utf8], DataType::Utf8, Volatility::Stable, Arc::new(values))
}

/// A function without arguments, to a number.
fn number(name: &str, value: ScalarValue) -> ScalarUDF {
    let of_type = value.data_type();
    let number = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(value.clone()));
    create_udf(name, Vec::new(), of_type, Volatility::Stable, Arc::new(number))
}

/// A function without arguments.
fn constant(name: &str, value: &'static str) -> ScalarUDF {
    let value = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(value.to_owned()))));
    create_udf(name, Vec::new(), DataType::Utf8, Volatility::Stable, Arc::new(value))
}

/// `current_schemas`: where names without a schema are looked for.
fn current_schemas() -> ScalarUDF {
    let schemas = |args: &[ColumnarValue]| {
        let with_catalog = ColumnarValue::values_to_arrays(args)?.swap_remove(0);
        let of = |with_catalog: Option<bool>| {
            let all = if with_catalog? { &["pg_catalog", SHOP][..] } else { &[SHOP] };
            Some(all.iter().copied().map(Some))
        };
        let mut schemas = ListBuilder::new(StringBuilder::new());
        with_catalog.as_boolean().iter().for_each(|with_catalog| schemas.append_option(of(with_catalog)));
        Ok(ColumnarValue::Array(Arc::new(schemas.finish())))
    };
    let of_type = DataType::new_list(DataType::Utf8, true);
    create_udf("current_schemas", vec![DataType::Boolean], of_type, Volatility::Stable, Arc::new(schemas))
}

/// A function from the id of an object to the same answer, but for some objects.
#[derive(Debug, PartialEq, Eq, Hash)]
struct IsOfObject {
    name: String,
    is: bool,
    others: BTreeSet<i64>,
    signature: Signature,
}

impl IsOfObject {
    fn new(name: &str, is: bool, others: BTreeSet<i64>) -> IsOfObject {
        let any = TypeSignature::OneOf((1..=3).map(TypeSignature::Any).collect());
        IsOfObject { name: name.to_owned(), is, others, signature: Signature::new(any, Volatility::Stable) }
    }
}

impl ScalarUDFImpl for IsOfObject {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> QueryResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> QueryResult<ColumnarValue> {
        // Of a name, nothing else is known.
        if args.args[0].data_type().is_string() {
            return Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(self.is))));
        }
        let objects = cast(&args.args[0].to_array(args.number_rows)?, &DataType::Int64)?;
        let objects = objects.as_primitive::<Int64Type>().iter();
        let answers: BooleanArray = objects.map(|object| Some(self.is != self.others.contains(&object?))).collect();
        Ok(ColumnarValue::Array(Arc::new(answers)))
    }
}

/// A function from the id of an object, and perhaps the number of a part of it, to a text; null for other objects.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TextOfObject {
    name: &'static str,
    texts: BTreeMap<i64, Vec<String>>,
    signature: Signature,
}

impl TextOfObject {
    fn new(name: &'static str, texts: BTreeMap<i64, Vec<String>>) -> TextOfObject {
        let any = TypeSignature::OneOf((1..=3).map(TypeSignature::Any).collect());
        TextOfObject { name, texts, signature: Signature::new(any, Volatility::Stable) }
    }
}

impl ScalarUDFImpl for TextOfObject {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> QueryResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> QueryResult<ColumnarValue> {
        if self.texts.is_empty() {
            return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None)));
        }
        let objects = cast(&args.args[0].to_array(args.number_rows)?, &DataType::Int64)?;
        let parts = args.args.get(1).map(|part| part.to_array(args.number_rows)).transpose()?;
        let parts = parts.filter(|parts| parts.data_type().is_integer()).map(|parts| cast(&parts, &DataType::Int64));
        let parts = parts.transpose()?;
        let text = |(row, object): (usize, Option<i64>)| {
            let part = parts.as_ref().map_or(0, |parts| parts.as_primitive::<Int64Type>().value(row));
            self.texts.get(&object?)?.get(usize::try_from(part).ok()?).map(String::as_str)
        };
        let texts: StringArray = objects.as_primitive::<Int64Type>().iter().enumerate().map(text).collect();
        Ok(ColumnarValue::Array(Arc::new(texts)))
    }
}
