//! Queries as DataFusion takes them: what it lacks of PostgreSQL's language and `datafusion-pg-catalog` leaves.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, DateTimeField, Expr, Fetch, FunctionArg, FunctionArgExpr, FunctionArguments,
    JoinConstraint, JoinOperator, LimitClause, ObjectNamePart, Query, Set, SetExpr, Statement, TableFactor,
    TableWithJoins, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion_pg_catalog::sql::rules::{
    CurrentUserVariableToSessionUserFunctionCall, FixArrayLiteral, FixVersionColumnName, RewriteArrayAnyAllOperation,
    SqlStatementRewriteRule, StripCallableQualifier, StripCollate,
};
use pgwire::api::Type;

use super::catalog_queries::CatalogQueries;
use super::catalog_rules::catalog_statements;
use super::column_names::{name_column_of_function, name_columns};
use super::date_formats::chrono_format;
use super::expressions::{argument, call, cast, has_name, last_name, parsed};
use super::like_patterns::escape_by_backslash;
use super::system_columns::without_system_columns;
use super::text_limits::{check_relations, check_text};
use crate::sql::sql_state::QueryProblem;

/// For statements that do not ask the catalog alone: the rules that do not change what they mean.
static RULES: LazyLock<Vec<Box<dyn SqlStatementRewriteRule>>> = LazyLock::new(|| {
    vec![
        Box::new(RewriteArrayAnyAllOperation),
        Box::new(StripCallableQualifier),
        Box::new(FixArrayLiteral),
        Box::new(CurrentUserVariableToSessionUserFunctionCall),
        Box::new(StripCollate),
        Box::new(FixVersionColumnName),
    ]
});

/// True of the query by which asyncpg asks for types, a recursion that DataFusion does not plan. Its parameter and its
/// columns must be of types that it knows without asking.
pub(crate) fn asks_for_types(text: &str) -> bool {
    text.trim_start().starts_with("WITH RECURSIVE typeinfo_tree(")
}

/// What it is told: types are plain, or arrays of such.
const TYPES: &str = "SELECT t.oid AS oid, ns.nspname AS ns, t.typname AS name, t.typtype AS kind, \
    CAST(NULL AS INT) AS basetype, t.typelem AS elemtype, el.typdelim AS elemdelim, \
    CAST(NULL AS INT) AS range_subtype, CAST(NULL AS TEXT[]) AS attrtypoids, CAST(NULL AS TEXT[]) AS attrnames, \
    CAST(0 AS INT) AS depth, CAST(NULL AS TEXT) AS basetype_name, el.typname AS elemtype_name, \
    CAST(NULL AS TEXT) AS range_subtype_name \
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace ns ON ns.oid = t.typnamespace \
    LEFT JOIN pg_catalog.pg_type el ON el.oid = t.typelem WHERE t.oid = any($1::oid[])";

/// The statements of a text, as DataFusion takes them.
pub(crate) fn statements(text: &str) -> Result<Vec<Statement>, QueryProblem> {
    check_text(text)?;
    let text = if asks_for_types(text) { TYPES } else { text };
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_statements());
    let parsed = match parsed {
        Ok(parsed) => parsed,
        // Some of what clients ask the catalog is not parsed as it stands.
        Err(_) if text.contains("pg_catalog") => {
            let statements = catalog_statements(text).map_err(|cause| syntax(&cause))?;
            return statements.into_iter().map(|statement| rewritten(statement, true)).collect();
        }
        Err(cause) => return Err(syntax(&cause)),
    };
    let is_one = parsed.len() == 1;
    let mut all = Vec::new();
    for statement in parsed {
        match is_catalog_query(&statement) {
            true => {
                let own = if is_one { text.to_owned() } else { statement.to_string() };
                for statement in catalog_statements(&own).map_err(|cause| syntax(&cause))? {
                    all.push(rewritten(statement, true)?);
                }
            }
            false => {
                let statement = RULES.iter().fold(statement, |statement, rule| rule.rewrite(statement));
                all.push(rewritten(statement, false)?);
            }
        }
    }
    Ok(all)
}

fn syntax(cause: &impl std::fmt::Display) -> QueryProblem {
    let message = cause.to_string();
    QueryProblem::new(QueryProblem::SYNTAX, message.strip_prefix("sql parser error: ").unwrap_or(&message))
}

fn rewritten(mut statement: Statement, is_catalog_query: bool) -> Result<Statement, QueryProblem> {
    check_relations(&statement)?;
    set_time_zone(&mut statement);
    let mut ways = OtherWays { is_catalog_query, depth: 0 };
    if let ControlFlow::Break(problem) = VisitMut::visit(&mut statement, &mut ways) {
        return Err(problem);
    }
    if is_catalog_query {
        without_system_columns(&mut statement);
        let _ = VisitMut::visit(&mut statement, &mut CatalogQueries::default());
    }
    Ok(statement)
}

/// Makes `SET timezone = …` `SET TIME ZONE …`.
fn set_time_zone(statement: &mut Statement) {
    if let Statement::Set(set) = statement
        && let Set::SingleAssignment { variable, values, .. } = set
        && variable.to_string().eq_ignore_ascii_case("timezone")
        && let Some(value) = values.pop()
    {
        *set = Set::SetTimeZone { local: false, value };
    }
}

/// True if a statement reads tables of the catalog and no others, or names types that only the catalog has.
pub(crate) fn is_catalog_query(statement: &Statement) -> bool {
    let mut asked = ReadTables::default();
    let _ = Visit::visit(statement, &mut asked);
    let others = asked.others.iter().any(|name| !asked.own.contains(name));
    asked.of_catalog && !others
}

/// What a statement reads.
#[derive(Default)]
struct ReadTables {
    of_catalog: bool,
    /// Tables that are none of the catalog.
    others: BTreeSet<String>,
    /// What the statement itself names.
    own: BTreeSet<String>,
}

impl Visitor for ReadTables {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.own.extend(tables.map(|table| table.alias.name.value.to_lowercase()));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, args, .. } = table else { return ControlFlow::Continue(()) };
        let names: Vec<_> =
            name.0.iter().filter_map(ObjectNamePart::as_ident).map(|name| name.value.to_lowercase()).collect();
        match &names[..] {
            [name] if name.starts_with("pg_") => self.of_catalog = true,
            [.., schema, _] if schema == "pg_catalog" || schema == "information_schema" => self.of_catalog = true,
            // A function may stand where a table does.
            _ if args.is_some() => {}
            names => {
                self.others.insert(names.join("."));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.of_catalog |= match expr {
            Expr::Cast { data_type: DataType::Regclass, .. } => true,
            Expr::Cast { data_type: DataType::Custom(name, _), .. } => name.to_string().contains("reg"),
            _ => false,
        };
        ControlFlow::Continue(())
    }
}

/// Gives parameters the types that a client says they have, where DataFusion would take them for whole numbers.
pub(crate) fn declare_parameters(statement: &mut Statement, types: &[Type]) {
    let _ = visit_expressions_mut(statement, |expr| {
        let Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) = expr else {
            return ControlFlow::<()>::Continue(());
        };
        let place = name.trim_start_matches('$').parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let cast = match place.and_then(|place| types.get(place)) {
            Some(&Type::NUMERIC) => "DECIMAL(38, 10)",
            Some(&Type::FLOAT4 | &Type::FLOAT8) => "DOUBLE PRECISION",
            _ => return ControlFlow::Continue(()),
        };
        if let Some(declared) = parsed(&format!("CAST({name} AS {cast})")) {
            *expr = declared;
        }
        ControlFlow::Continue(())
    });
}

/// Functions whose counts DataFusion has without a sign. PostgreSQL has no such numbers.
const UNSIGNED: [&str; 9] = [
    "approx_distinct",
    "array_length",
    "array_ndims",
    "array_position",
    "cardinality",
    "dense_rank",
    "ntile",
    "rank",
    "row_number",
];

/// What is written in another way: `FETCH FIRST`, `AT TIME ZONE`, counts, formats of dates, subscripts of arrays.
struct OtherWays {
    is_catalog_query: bool,
    /// How many queries there are around this place.
    depth: usize,
}

impl VisitorMut for OtherWays {
    type Break = QueryProblem;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<QueryProblem> {
        if let SetExpr::Select(select) = &*query.body
            && select.from.iter().any(loses_keys)
        {
            return ControlFlow::Break(lost_keys());
        }
        name_columns(query, self.depth == 0, self.is_catalog_query);
        self.depth += 1;
        if let Some(Fetch { with_ties: false, percent: false, quantity }) = &query.fetch
            && query.limit_clause.is_none()
        {
            let limit = quantity.clone().unwrap_or_else(|| Expr::value(Value::Number("1".to_owned(), false)));
            query.limit_clause =
                Some(LimitClause::LimitOffset { limit: Some(limit), offset: None, limit_by: Vec::new() });
            query.fetch = None;
        }
        // Clients do not say of which type such parameters are.
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
            for count in limit.iter_mut().chain(offset.iter_mut().map(|offset| &mut offset.value)) {
                if matches!(count, Expr::Value(ValueWithSpan { value: Value::Placeholder(_), .. })) {
                    *count = cast(count.clone(), DataType::BigInt(None));
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<QueryProblem> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<QueryProblem> {
        name_column_of_function(table);
        match table {
            TableFactor::NestedJoin { table_with_joins, .. } if loses_keys(table_with_joins) => {
                ControlFlow::Break(lost_keys())
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<QueryProblem> {
        if let Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } = expr
            && let Err(problem) = escape_by_backslash(pattern, escape_char, self.is_catalog_query)
        {
            return ControlFlow::Break(problem);
        }
        if matches!(expr, Expr::SimilarTo { .. }) {
            let problem = QueryProblem::new(QueryProblem::FEATURE_NOT_SUPPORTED, "SIMILAR TO is not supported");
            return ControlFlow::Break(problem.with_hint("Wanted LIKE, or ~ with a regular expression."));
        }
        let rewritten = match expr {
            Expr::Substring { expr: text, substring_from: Some(pattern), substring_for: None, .. }
                if is_text(pattern) =>
            {
                let matched = call("regexp_match", [(**text).clone(), (**pattern).clone()]);
                Some(call("array_element", [matched, whole(1)]))
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                Some(call("timezone", [(**time_zone).clone(), (**timestamp).clone()]))
            }
            Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) => without_exponent(number),
            Expr::BinaryOp { left, op: BinaryOperator::Multiply, right } if is_interval(left) => {
                Some(interval_product(left, right))
            }
            Expr::BinaryOp { left, op: BinaryOperator::Multiply, right } if is_interval(right) => {
                Some(interval_product(right, left))
            }
            Expr::Extract { field: DateTimeField::Second | DateTimeField::Seconds, expr: time, .. } => {
                Some(exact_seconds(time))
            }
            Expr::Function(function) if UNSIGNED.iter().any(|name| has_name(function, name)) => {
                Some(cast(Expr::Function(function.clone()), DataType::BigInt(None)))
            }
            _ => None,
        };
        if let Some(rewritten) = rewritten {
            *expr = rewritten;
            return ControlFlow::Continue(());
        }
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let FunctionArguments::List(arguments) = &mut function.args else { return ControlFlow::Continue(()) };
        match (last_name(&function.name.0).map(str::to_lowercase).as_deref(), &mut arguments.args[..]) {
            (Some("to_char" | "to_date" | "to_timestamp"), [_, format]) => {
                if let Err(problem) = format_of_chrono(format) {
                    return ControlFlow::Break(problem);
                }
            }
            (Some("generate_subscripts"), [array, dimension, ..]) => {
                if let (Some(array), Some(dimension)) = (argument(array), argument(dimension)) {
                    let length = cast(call("array_length", [array, dimension]), DataType::BigInt(None));
                    *expr = call("unnest", [call("generate_series", [whole(1), length])]);
                }
            }
            (Some("mod"), [number, by]) => {
                if let (Some(number), Some(by)) = (argument(number), argument(by)) {
                    let nested = |expr| Box::new(Expr::Nested(Box::new(expr)));
                    let (left, right) = (nested(number), nested(by));
                    *expr = Expr::Nested(Box::new(Expr::BinaryOp { left, op: BinaryOperator::Modulo, right }));
                }
            }
            (Some("set_config"), [_, value, _]) => {
                if let Some(value) = argument(value) {
                    *expr = cast(value, DataType::Text);
                }
            }
            _ => (),
        }
        ControlFlow::Continue(())
    }
}

/// True if DataFusion would give nulls for keys that only the right side of a join has.
fn loses_keys(tables: &TableWithJoins) -> bool {
    tables.joins.iter().any(|join| match &join.join_operator {
        JoinOperator::Right(by) | JoinOperator::RightOuter(by) | JoinOperator::FullOuter(by) => {
            matches!(by, JoinConstraint::Using(_) | JoinConstraint::Natural)
        }
        _ => false,
    })
}

fn lost_keys() -> QueryProblem {
    let message = "RIGHT and FULL JOIN with USING, and NATURAL ones, are not supported";
    QueryProblem::new(QueryProblem::FEATURE_NOT_SUPPORTED, message)
        .with_hint("Wanted ON, and coalesce of the columns of both sides.")
}

/// A number with an exponent, such as `1e15`, as DataFusion takes it: without one if it has few digits.
fn without_exponent(number: &str) -> Option<Expr> {
    let (mantissa, exponent) = number.split_once(['e', 'E'])?;
    let (before, behind) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i64 = exponent.parse().ok()?;
    let point = i64::try_from(before.len()).ok()? + exponent;
    let digits = format!("{before}{behind}");
    let length = i64::try_from(digits.len()).ok()?;
    if !(-20..=30).contains(&point) || length > 30 {
        let double = DataType::DoublePrecision;
        return Some(cast(Expr::value(Value::SingleQuotedString(number.to_owned())), double));
    }
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    let plain = match point {
        ..=0 => format!("0.{}{digits}", zeros(-point)),
        _ if point >= length => format!("{digits}{}", zeros(point - length)),
        _ => {
            let place = usize::try_from(point).ok()?;
            format!("{}.{}", &digits[..place], &digits[place..])
        }
    };
    Some(Expr::value(Value::Number(plain, false)))
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(_), .. }))
}

fn is_interval(expr: &Expr) -> bool {
    match expr {
        Expr::Interval(_) => true,
        Expr::Nested(expr) => is_interval(expr),
        Expr::Cast { data_type, .. } => matches!(data_type, DataType::Interval { .. }),
        _ => false,
    }
}

fn interval_product(interval: &Expr, number: &Expr) -> Expr {
    call("interval_product", [interval.clone(), cast(number.clone(), DataType::DoublePrecision)])
}

/// Seconds with their fraction, which DataFusion cuts off.
fn exact_seconds(time: &Expr) -> Expr {
    let unit = Expr::value(Value::SingleQuotedString("microsecond".to_owned()));
    let left = cast(call("date_part", [unit, time.clone()]), DataType::DoublePrecision);
    let right = Expr::value(Value::Number("1000000".to_owned(), false));
    let quotient = Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::Divide, right: Box::new(right) };
    Expr::Nested(Box::new(quotient))
}

fn whole(number: u8) -> Expr {
    Expr::value(Value::Number(number.to_string(), false))
}

/// Makes a format that PostgreSQL knows one that chrono does.
fn format_of_chrono(format: &mut FunctionArg) -> Result<(), QueryProblem> {
    let unsupported = |found: &dyn std::fmt::Display| {
        let message = format!("to_char: the format {found} is not supported");
        QueryProblem::new(QueryProblem::FEATURE_NOT_SUPPORTED, message)
            .with_hint("Wanted a constant of YYYY, MM, DD, HH24, MI, SS, Mon, Month and the like.")
    };
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) = format else {
        return Err(unsupported(format));
    };
    let Value::SingleQuotedString(text) = &mut value.value else { return Err(unsupported(value)) };
    *text = chrono_format(text).ok_or_else(|| unsupported(text))?;
    Ok(())
}
