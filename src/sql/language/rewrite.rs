//! Queries as DataFusion takes them: what it lacks of PostgreSQL's language and `datafusion-pg-catalog` leaves.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Fetch, FunctionArg, FunctionArgExpr, FunctionArguments, LimitClause, ObjectNamePart, Query, Set,
    Statement, TableFactor, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion_pg_catalog::sql::rules::{
    CurrentUserVariableToSessionUserFunctionCall, FixArrayLiteral, FixVersionColumnName, RewriteArrayAnyAllOperation,
    SqlStatementRewriteRule, StripCallableQualifier, StripCollate,
};
use pgwire::api::Type;

use super::catalog_questions::CatalogQuestions;
use super::catalog_rules::catalog_statements;
use super::column_names::{name_column_of_function, name_columns};
use super::date_formats::chrono_format;
use super::expressions::{has_name, last_name, parsed};
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

/// How asyncpg asks for types, by a recursion that DataFusion does not plan. Its parameter and its columns must be of
/// types that it knows without asking.
pub(crate) const TYPE_TREE: &str = "typeinfo_tree(";

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
    let text = if text.contains(TYPE_TREE) { TYPES } else { text };
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
        match asks_catalog(&statement) {
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

fn rewritten(mut statement: Statement, asks_catalog: bool) -> Result<Statement, QueryProblem> {
    check_relations(&statement)?;
    set_time_zone(&mut statement);
    if let ControlFlow::Break(problem) = VisitMut::visit(&mut statement, &mut OtherWays { asks_catalog, depth: 0 }) {
        return Err(problem);
    }
    if asks_catalog {
        without_system_columns(&mut statement);
        let _ = VisitMut::visit(&mut statement, &mut CatalogQuestions);
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
pub(crate) fn asks_catalog(statement: &Statement) -> bool {
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
    asks_catalog: bool,
    /// How many queries there are around this place.
    depth: usize,
}

impl VisitorMut for OtherWays {
    type Break = QueryProblem;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<QueryProblem> {
        name_columns(&mut query.body, self.asks_catalog && self.depth == 0);
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
                if matches!(count, Expr::Value(ValueWithSpan { value: Value::Placeholder(_), .. }))
                    && let Some(whole) = parsed(&format!("CAST({count} AS BIGINT)"))
                {
                    *count = whole;
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
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<QueryProblem> {
        if let Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } = expr
            && let Err(problem) = escape_by_backslash(pattern, escape_char, self.asks_catalog)
        {
            return ControlFlow::Break(problem);
        }
        if matches!(expr, Expr::SimilarTo { .. }) {
            let problem = QueryProblem::new(QueryProblem::FEATURE_NOT_SUPPORTED, "SIMILAR TO is not supported");
            return ControlFlow::Break(problem.with_hint("Wanted LIKE, or ~ with a regular expression."));
        }
        if let Expr::Substring { expr: text, substring_from: Some(pattern), substring_for: None, .. } = expr
            && matches!(&**pattern, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)))
            && let Some(matched) = parsed(&format!("array_element(regexp_match({text}, {pattern}), 1)"))
        {
            *expr = matched;
        }
        if let Expr::AtTimeZone { timestamp, time_zone } = expr
            && let Some(call) = parsed(&format!("timezone({time_zone}, {timestamp})"))
        {
            *expr = call;
        }
        if let Expr::Function(function) = expr
            && UNSIGNED.iter().any(|name| has_name(function, name))
            && let Some(signed) = parsed(&format!("CAST({function} AS BIGINT)"))
        {
            *expr = signed;
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
                let series = format!("unnest(generate_series(1, CAST(array_length({array}, {dimension}) AS BIGINT)))");
                if let Some(series) = parsed(&series) {
                    *expr = series;
                }
            }
            (Some("mod"), [number, by]) => {
                if let Some(rest) = parsed(&format!("({number}) % ({by})")) {
                    *expr = rest;
                }
            }
            (Some("set_config"), [_, value, _]) => {
                if let Some(value) = parsed(&format!("CAST({value} AS TEXT)")) {
                    *expr = value;
                }
            }
            _ => (),
        }
        ControlFlow::Continue(())
    }
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
