//! Expressions by which clients ask the catalog, and that DataFusion's types do not allow.

use datafusion::sql::sqlparser::ast::{BinaryOperator, CastKind, DataType, Expr, Ident, Value};

use super::expressions::{call, cast, column_name};

/// Rewrites a comparison, or a cast to `regclass`.
pub(crate) fn with_known_types(expr: &mut Expr) {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::Eq | BinaryOperator::NotEq, right } => {
            compare(left, right);
            compare(right, left);
        }
        Expr::Cast { data_type: of_type @ DataType::Custom(..), .. } if is_name(of_type) => *of_type = DataType::Text,
        Expr::Cast { data_type, expr: object, .. } if is_text(data_type) => {
            let is_vector = column_name(object).is_some_and(|name| VECTORS.contains(&name.value.as_str()));
            if is_vector {
                let blank = Expr::value(Value::SingleQuotedString(" ".to_owned()));
                *expr = call("array_to_string", [(**object).clone(), blank]);
            } else if let Some(name) = name_of_object(object) {
                *expr = name;
            }
        }
        // Npgsql and psqlODBC have names of tables in columns and parameters.
        Expr::Cast {
            expr: name, data_type: DataType::Regclass, kind: CastKind::Cast | CastKind::DoubleColon, ..
        } if !matches!(**name, Expr::Value(_)) => {
            *expr = call("to_regclass", [cast((**name).clone(), DataType::Text)]);
        }
        _ => {}
    }
}

/// Columns that PostgreSQL has as vectors.
pub(crate) const VECTORS: [&str; 4] = ["indclass", "indcollation", "indkey", "indoption"];

/// The types of names and letters, which are texts.
fn is_name(of_type: &DataType) -> bool {
    ["name", "pg_catalog.name", "\"char\"", "pg_catalog.\"char\""].contains(&of_type.to_string().as_str())
}

fn is_text(of_type: &DataType) -> bool {
    matches!(of_type, DataType::Text | DataType::Varchar(None) | DataType::CharacterVarying(None))
        || of_type.to_string() == "pg_catalog.text"
}

/// The name of an object whose id was cast to a type of ids.
fn name_of_object(object: &Expr) -> Option<Expr> {
    let Expr::Cast { expr: id, data_type, .. } = object else { return None };
    match data_type.to_string().to_lowercase().trim_start_matches("pg_catalog.") {
        "regtype" => Some(call("format_type", [(**id).clone(), Expr::value(Value::Null)])),
        "regclass" if !matches!(**id, Expr::Value(_)) => Some(call("class_name", [(**id).clone()])),
        _ => None,
    }
}

/// Makes two sides of a comparison comparable, of which the first is a column.
fn compare(column: &mut Expr, other: &mut Expr) {
    let Some(name) = column_name(column).map(|name| name.value.clone()) else { return };
    let is_function = ["typreceive", "typinput", "typoutput", "typsend"].contains(&name.as_str());
    match other {
        // The functions of a type stand as names, which are as unique as their ids.
        _ if is_function && column_name(other).is_some_and(|other| other.value == "oid") => {
            if let Some(other) = last_part_mut(other) {
                other.value = "proname".to_owned();
            }
        }
        Expr::Value(value) if is_function && matches!(&value.value, Value::Number(zero, _) if zero == "0") => {
            value.value = Value::SingleQuotedString("-".to_owned());
        }
        Expr::Value(value) if ["indis", "rol", "att", "con"].iter().any(|start| name.starts_with(start)) => {
            let flag = match &value.value {
                Value::SingleQuotedString(text) if text == "t" => true,
                Value::SingleQuotedString(text) if text == "f" => false,
                _ => return,
            };
            // `contype = 'f'` is a letter.
            if name != "contype" && name != "confupdtype" && name != "confdeltype" && name != "confmatchtype" {
                value.value = Value::Boolean(flag);
            }
        }
        _ => {}
    }
}

fn last_part_mut(expr: &mut Expr) -> Option<&mut Ident> {
    match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last_mut(),
        _ => None,
    }
}
