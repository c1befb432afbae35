//! Queries as DataFusion takes them: what it lacks of PostgreSQL's language and `datafusion-pg-catalog` leaves.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, CastKind, DataType, Expr, Fetch, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, LimitClause, ObjectName, ObjectNamePart, Query, SelectItem, SetExpr, Statement,
    TableFactor, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_pg_catalog::sql::rules::{
    CurrentUserVariableToSessionUserFunctionCall, FixArrayLiteral, FixVersionColumnName, RewriteArrayAnyAllOperation,
    SqlStatementRewriteRule, StripCallableQualifier, StripCollate,
};
use pgwire::api::Type;

use super::catalog_expressions::with_known_types;
use super::catalog_tables::OF_CATALOG;
use super::date_formats::chrono_format;
use super::parsed_expression::parsed;
use super::sql_state::QueryProblem;
use super::text_limits::{check_relations, check_text};

/// For questions to the catalog: all rules of `datafusion-pg-catalog`, and its answers to some clients' own queries.
static CATALOG: LazyLock<PostgresCompatibilityParser> = LazyLock::new(PostgresCompatibilityParser::new);

/// For all other statements: the rules that do not change what they mean.
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

/// The statements of a text, as DataFusion takes them.
pub(super) fn statements(text: &str) -> Result<Vec<Statement>, QueryProblem> {
    check_text(text)?;
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_statements());
    let parsed = match parsed {
        Ok(parsed) => parsed,
        // Some of what clients ask the catalog is not parsed as it stands.
        Err(_) if text.contains("pg_catalog") => {
            return of_catalog(text)?.into_iter().map(|statement| rewritten(statement, true)).collect();
        }
        Err(cause) => return Err(syntax(&cause)),
    };
    let is_one = parsed.len() == 1;
    let mut all = Vec::new();
    for statement in parsed {
        match asks_catalog(&statement) {
            true => {
                let own = if is_one { text.to_owned() } else { statement.to_string() };
                for statement in of_catalog(&own)? {
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

/// The statements of a text that asks the catalog.
fn of_catalog(text: &str) -> Result<Vec<Statement>, QueryProblem> {
    CATALOG.parse(&with_known_objects(text)).map_err(|cause| syntax(&cause))
}

fn syntax(cause: &impl std::fmt::Display) -> QueryProblem {
    let message = cause.to_string();
    QueryProblem::new(QueryProblem::SYNTAX, message.strip_prefix("sql parser error: ").unwrap_or(&message))
}

fn rewritten(mut statement: Statement, asks_catalog: bool) -> Result<Statement, QueryProblem> {
    check_relations(&statement)?;
    if let ControlFlow::Break(problem) = VisitMut::visit(&mut statement, &mut OtherWays { asks_catalog }) {
        return Err(problem);
    }
    if asks_catalog {
        let _ = VisitMut::visit(&mut statement, &mut CatalogQuestions);
    }
    Ok(statement)
}

/// True if a statement reads tables of the catalog and no others, or names types that only the catalog has.
fn asks_catalog(statement: &Statement) -> bool {
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
pub(super) fn declare_parameters(statement: &mut Statement, types: &[Type]) {
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

/// Names of objects of the catalog as their ids, and those of functions as they stand in `pg_type`.
fn with_known_objects(text: &str) -> String {
    let mut text = text.to_owned();
    if !text.contains("::") {
        return text;
    }
    for in_schema in ["", "pg_catalog."] {
        text = text.replace(&format!("'{in_schema}array_in'::regproc"), "'array_in'");
        for (name, id) in OF_CATALOG {
            for kind in ["pg_catalog.regclass", "regclass"] {
                text = text.replace(&format!("'{in_schema}{name}'::{kind}"), &format!("CAST({id} AS INT)"));
            }
        }
    }
    text
}

/// What is written in another way: `FETCH FIRST`, formats of dates, subscripts of arrays.
struct OtherWays {
    asks_catalog: bool,
}

impl VisitorMut for OtherWays {
    type Break = QueryProblem;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<QueryProblem> {
        name_columns(&mut query.body);
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
            (Some("set_config"), [_, FunctionArg::Unnamed(FunctionArgExpr::Expr(value)), _]) => *expr = value.clone(),
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

/// Escapes by a backslash, the only character that DataFusion knows, what is escaped by another one in a pattern.
fn escape_by_backslash(
    pattern: &mut Box<Expr>,
    escape: &mut Option<ValueWithSpan>,
    asks_catalog: bool,
) -> Result<(), QueryProblem> {
    let Some(Value::SingleQuotedString(character)) = escape.as_ref().map(|escape| &escape.value) else {
        return Ok(());
    };
    if character == "\\" {
        return Ok(());
    }
    let unsupported = |found: &dyn std::fmt::Display| {
        let message = format!("LIKE {found} ESCAPE '{character}': wanted a constant, and one character that escapes");
        QueryProblem::new(QueryProblem::FEATURE_NOT_SUPPORTED, message)
    };
    let mut letters = character.chars();
    let (Some(by), None) = (letters.next(), letters.next()) else { return Err(unsupported(pattern)) };
    match &mut **pattern {
        Expr::Value(value) => {
            let Value::SingleQuotedString(text) = &mut value.value else { return Err(unsupported(value)) };
            *text = escaped_by_backslash(text, by);
        }
        // Clients ask for schemas by a parameter, in which only a wildcard is escaped.
        other if asks_catalog => {
            let replaced = parsed(&format!("replace({other}, '{}', '\\')", by.to_string().replace('\'', "''")));
            *other = replaced.ok_or_else(|| unsupported(&character))?;
        }
        other => return Err(unsupported(other)),
    }
    *escape = None;
    Ok(())
}

/// A pattern that means the same with another escape.
fn escaped_by_backslash(pattern: &str, by: char) -> String {
    let (mut letters, mut made) = (pattern.chars(), String::new());
    while let Some(letter) = letters.next() {
        let (letter, is_escaped) = if letter == by { (letters.next().unwrap_or(by), true) } else { (letter, false) };
        if letter == '\\' || (is_escaped && matches!(letter, '%' | '_')) {
            made.push('\\');
        }
        made.push(letter);
    }
    made
}

/// What clients ask the catalog and DataFusion can't answer as it is asked.
struct CatalogQuestions;

impl VisitorMut for CatalogQuestions {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        with_known_types(expr);
        match expr {
            // Of identities and collations, of which there are none.
            Expr::Subquery(query) if query.to_string().contains("json_build_object(") => *expr = no_text(query),
            Expr::Subquery(query) => at_most_one_row(query),
            Expr::Function(function) if has_name(function, "_pg_expandarray") => rename(function, "unnest"),
            Expr::CompoundFieldAccess { .. } => {
                if let Some(part) = part_of_array(expr) {
                    *expr = part;
                }
            }
            _ => (),
        }
        if let Expr::Function(function) = expr
            && matches!(function.args, FunctionArguments::Subquery(_))
            && has_name(function, "array")
        {
            // Of options and rights, of which there are none.
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(Expr::value(Value::Null)),
                data_type: DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None)),
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    }
}

/// A null, in which the parameters of a query are still there, so that the others keep their places.
fn no_text(query: &Query) -> Expr {
    let text = query.to_string();
    let parameters = text.split('$').skip(1).filter_map(|behind| {
        let digits = behind.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(behind.len());
        (digits > 0).then(|| format!("CAST(${} AS TEXT)", &behind[..digits]))
    });
    let parameters: Vec<_> = parameters.collect();
    let nothing = || Expr::value(Value::Null);
    if parameters.is_empty() {
        return nothing();
    }
    parsed(&format!("CASE WHEN coalesce({}) IS NULL THEN NULL ELSE CAST(NULL AS TEXT) END", parameters.join(", ")))
        .unwrap_or_else(nothing)
}

/// The aggregates that clients ask the catalog for.
const AGGREGATES: [&str; 8] = ["array_agg", "bool_and", "bool_or", "count", "max", "min", "string_agg", "sum"];

/// A row is found by its id in these: DataFusion wants an aggregate where a subquery names columns outside it.
fn at_most_one_row(query: &mut Query) {
    let SetExpr::Select(select) = &mut *query.body else { return };
    if query.limit_clause.is_none()
        && let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] = &mut select.projection[..]
        && !matches!(expr, Expr::Function(function) if AGGREGATES.iter().any(|name| has_name(function, name)))
        && let Some(greatest) = parsed(&format!("max({expr})"))
    {
        *expr = greatest;
    }
}

/// The part of what `_pg_expandarray` gives: `n` is the subscript, and `x` the element, which is all that we give.
fn part_of_array(expr: &Expr) -> Option<Expr> {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return None };
    let [AccessExpr::Dot(Expr::Identifier(part))] = &access_chain[..] else { return None };
    let Expr::Nested(root) = &**root else { return None };
    match (part.value.as_str(), &**root) {
        ("n", Expr::Function(function)) if has_name(function, "unnest") => {
            let FunctionArguments::List(arguments) = &function.args else { return None };
            let array = arguments.args.first()?;
            parsed(&format!("unnest(generate_series(1, CAST(array_length({array}, 1) AS BIGINT)))"))
        }
        ("x", root) => Some(root.clone()),
        _ => None,
    }
}

fn has_name(function: &Function, name: &str) -> bool {
    last_name(&function.name.0).is_some_and(|known| known.eq_ignore_ascii_case(name))
}

fn rename(function: &mut Function, name: &str) {
    function.name = ObjectName::from(vec![Ident::new(name)]);
}

/// Names the columns of a query as PostgreSQL does: that of a function has its name, that of a cast the name of what is
/// cast.
fn name_columns(body: &mut SetExpr) {
    let select = match body {
        SetExpr::Select(select) => select,
        SetExpr::SetOperation { left, .. } => return name_columns(left),
        _ => return,
    };
    let mut names = BTreeSet::new();
    for item in &mut select.projection {
        let name = match &*item {
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.value.clone()),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => names.last().map(|name| name.value.clone()),
            SelectItem::UnnamedExpr(expr) => named(expr),
            SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
            _ => None,
        };
        let is_new = name.as_ref().is_some_and(|name| names.insert(name.clone()));
        if let SelectItem::UnnamedExpr(expr) = item
            && let Some(alias) = named(expr).filter(|_| is_new)
        {
            let alias = Ident::with_quote('"', alias);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// The name that PostgreSQL gives a column of this; `None` if it has none, or DataFusion gives the same.
fn named(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Function(function) => last_name(&function.name.0).map(str::to_lowercase),
        Expr::Cast { expr, .. } => match &**expr {
            Expr::Identifier(name) => Some(name.value.clone()),
            Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.clone()),
            expr => named(expr),
        },
        Expr::Case { .. } => Some("case".to_owned()),
        Expr::Exists { .. } => Some("exists".to_owned()),
        _ => None,
    }
}

fn last_name(parts: &[ObjectNamePart]) -> Option<&str> {
    parts.last().and_then(ObjectNamePart::as_ident).map(|name| name.value.as_str())
}
