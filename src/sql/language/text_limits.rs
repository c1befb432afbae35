//! Limits on the texts of queries: parsing, planning and forgetting them takes some of the stack of a thread for each
//! level of nesting, and parsing nested calls takes twice the time for each.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{ObjectName, Query, Statement, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::sql::sql_state::QueryProblem;

/// The stack of a thread that takes queries.
pub(crate) const STACK_BYTES: usize = 256 << 20;
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Operators and keywords: a chain of `+` or `AND` nests as deeply as it is long.
const OPERATORS_MAX: usize = 4_000;
const CALLS_DEPTH_MAX: usize = 16;
const RELATIONS_MAX: usize = 200;

fn too_complex(found: String) -> Result<(), QueryProblem> {
    Err(QueryProblem::new(QueryProblem::TOO_COMPLEX, found))
}

/// Refuses a text that would take more than the stack of a thread, or too long to be parsed.
pub(crate) fn check_text(text: &str) -> Result<(), QueryProblem> {
    if text.len() > TEXT_BYTES_MAX {
        return too_complex(format!("found a text of {} bytes, wanted at most {TEXT_BYTES_MAX}", text.len()));
    }
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize().unwrap_or_default();
    let (mut operators, mut open, mut calls, mut before) = (0, Vec::new(), 0, &Token::EOF);
    for token in tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))) {
        operators += usize::from(is_operator(token));
        match token {
            Token::LParen => {
                let is_call = matches!(before, Token::Word(word) if is_called(word.keyword));
                calls += usize::from(is_call);
                open.push(is_call);
            }
            // Parsing an element of an array takes as long.
            Token::LBracket => {
                calls += 1;
                open.push(true);
            }
            Token::RParen | Token::RBracket => calls -= usize::from(open.pop().unwrap_or(false)),
            _ => (),
        }
        if calls > CALLS_DEPTH_MAX {
            return too_complex(format!("found more than {CALLS_DEPTH_MAX} calls or brackets within each other"));
        }
        before = token;
    }
    if operators > OPERATORS_MAX {
        return too_complex(format!("found {operators} operators and keywords, wanted at most {OPERATORS_MAX}"));
    }
    Ok(())
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword,
        Token::Comma | Token::Number(..) | Token::SingleQuotedString(_) => false,
        _ => true,
    }
}

/// False of words that stand before a parenthesis and call nothing.
fn is_called(word: Keyword) -> bool {
    use Keyword::{
        ALL, AND, ANY, AS, BY, ELSE, EXISTS, FROM, HAVING, IN, JOIN, ON, OR, SELECT, THEN, UNION, VALUES, WHEN, WHERE,
    };
    !matches!(
        word,
        ALL | AND
            | ANY
            | AS
            | BY
            | ELSE
            | EXISTS
            | FROM
            | HAVING
            | IN
            | JOIN
            | ON
            | OR
            | SELECT
            | THEN
            | UNION
            | VALUES
            | WHEN
            | WHERE
    )
}

/// Refuses a statement that names too many tables: joins nest, too. A table of `WITH` counts as many as it names each
/// time that it is named, for it is planned as often.
pub(crate) fn check_relations(statement: &Statement) -> Result<(), QueryProblem> {
    let mut counted = CountedTables::default();
    let _ = Visit::visit(statement, &mut counted);
    match counted.found {
        0..=RELATIONS_MAX => Ok(()),
        found => too_complex(format!("found {found} tables, wanted at most {RELATIONS_MAX}")),
    }
}

#[derive(Default)]
struct CountedTables {
    found: usize,
    /// How many tables those of `WITH` name.
    named: BTreeMap<String, usize>,
    /// The queries around this place: what was found before each, and the tables of its `WITH` that are still to come.
    around: Vec<(usize, VecDeque<String>)>,
}

impl Visitor for CountedTables {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let names =
            query.with.iter().flat_map(|with| &with.cte_tables).map(|table| table.alias.name.value.to_lowercase());
        self.around.push((self.found, names.collect()));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        let (before, _) = self.around.pop().unwrap_or_default();
        // The queries of `WITH` come before all others.
        if let Some(name) = self.around.last_mut().and_then(|(_, names)| names.pop_front()) {
            self.named.insert(name, (self.found - before).max(1));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let tables = self.named.get(&relation.to_string().to_lowercase()).copied().unwrap_or(1);
        self.found = self.found.saturating_add(tables);
        match self.found {
            0..=RELATIONS_MAX => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }
}
