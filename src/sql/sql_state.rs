//! Errors of queries, with the codes that PostgreSQL has for them.

use std::error::Error as StdError;
use std::fmt;

use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use pgwire::error::{ErrorInfo, PgWireError};

use crate::error::Error;

/// An error that we know the code of.
#[derive(Clone, Debug)]
pub(crate) struct QueryProblem {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl QueryProblem {
    pub(crate) const NOT_NOW: &str = "57P03";
    /// An object is not in the state that is wanted.
    pub(super) const GONE: &str = "55000";
    pub(super) const INVALID_PARAMETER: &str = "22023";
    pub(super) const FEATURE_NOT_SUPPORTED: &str = "0A000";
    pub(crate) const INTERNAL: &str = "XX000";
    pub(super) const PROGRAM_LIMIT: &str = "54000";
    pub(super) const FAILED_TRANSACTION: &str = "25P02";
    pub(super) const ACTIVE_TRANSACTION: &str = "25001";
    pub(super) const NO_TRANSACTION: &str = "25P01";
    pub(super) const TOO_COMPLEX: &str = "54001";
    pub(crate) const QUERY_CANCELED: &str = "57014";
    pub(super) const READ_ONLY: &str = "25006";
    pub(crate) const SERIALIZATION_FAILURE: &str = "40001";
    pub(super) const SYNTAX: &str = "42601";
    pub(crate) const TOO_MANY: &str = "53300";
    const ARITHMETIC: &str = "22003";
    const DIVISION_BY_ZERO: &str = "22012";
    const INVALID_TEXT: &str = "22P02";
    pub(crate) const OUT_OF_MEMORY: &str = "53200";
    const PLAN: &str = "42000";
    const UNDEFINED_COLUMN: &str = "42703";
    const AMBIGUOUS_COLUMN: &str = "42702";
    const UNDEFINED_FUNCTION: &str = "42883";
    pub(super) const UNDEFINED_TABLE: &str = "42P01";

    pub(super) fn new(code: &'static str, message: impl Into<String>) -> QueryProblem {
        QueryProblem { code, message: message.into(), hint: None }
    }

    pub(super) fn with_hint(self, hint: impl Into<String>) -> QueryProblem {
        QueryProblem { hint: Some(hint.into()), ..self }
    }

    /// What is wrong with a query.
    pub(super) fn of(error: &DataFusionError) -> QueryProblem {
        let root = error.find_root();
        let message = without_prefix(&root.to_string());
        let (code, hint) = match root {
            DataFusionError::External(external) => return QueryProblem::of_external(&**external),
            DataFusionError::SQL(..) => (QueryProblem::SYNTAX, None),
            DataFusionError::SchemaError(error, _) => match **error {
                SchemaError::FieldNotFound { .. } => (QueryProblem::UNDEFINED_COLUMN, None),
                _ => (QueryProblem::AMBIGUOUS_COLUMN, None),
            },
            DataFusionError::Plan(text) if text.starts_with("table '") && text.ends_with("' not found") => {
                let name = text.trim_start_matches("table '").trim_end_matches("' not found");
                let name = name.strip_prefix("millstream.").unwrap_or(name);
                let problem =
                    QueryProblem::new(QueryProblem::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"));
                return problem.with_hint("Tables are in the schemas shop and millstream.");
            }
            DataFusionError::Plan(text) if text.contains("Invalid function") || text.starts_with("table function ") => {
                (QueryProblem::UNDEFINED_FUNCTION, None)
            }
            DataFusionError::Plan(_) => (QueryProblem::PLAN, None),
            DataFusionError::NotImplemented(_) => (QueryProblem::FEATURE_NOT_SUPPORTED, None),
            DataFusionError::ResourcesExhausted(_) => (
                QueryProblem::OUT_OF_MEMORY,
                Some("Queries share serve.query_memory; ask for fewer rows or columns, or allow more memory."),
            ),
            DataFusionError::ArrowError(error, _) => match **error {
                ArrowError::DivideByZero => (QueryProblem::DIVISION_BY_ZERO, None),
                ArrowError::ArithmeticOverflow(_) => (QueryProblem::ARITHMETIC, None),
                ArrowError::CastError(_) | ArrowError::ParseError(_) => (QueryProblem::INVALID_TEXT, None),
                _ => (QueryProblem::INTERNAL, None),
            },
            DataFusionError::Execution(_) => (QueryProblem::PLAN, None),
            _ => (QueryProblem::INTERNAL, None),
        };
        QueryProblem { code, message, hint: hint.map(str::to_owned) }
    }

    fn of_external(error: &(dyn StdError + Send + Sync + 'static)) -> QueryProblem {
        if let Some(problem) = error.downcast_ref::<QueryProblem>() {
            return problem.clone();
        }
        let code = if error.is::<Error>() { QueryProblem::PLAN } else { QueryProblem::INTERNAL };
        QueryProblem::new(code, error.to_string())
    }

    /// The message that ends a connection.
    pub(super) fn fatal(&self) -> Vec<u8> {
        let fields = [("S", "FATAL"), ("V", "FATAL"), ("C", self.code), ("M", &self.message)];
        let fields: String = fields.iter().map(|(field, text)| format!("{field}{text}\0")).collect();
        let length = u32::try_from(fields.len() + 5).unwrap_or(u32::MAX);
        [b"E", &length.to_be_bytes()[..], fields.as_bytes(), b"\0"].concat()
    }

    /// The same, as it is sent.
    pub(super) fn info(self) -> ErrorInfo {
        let mut info = ErrorInfo::new("ERROR".to_owned(), self.code.to_owned(), self.message);
        info.hint = self.hint;
        info
    }
}

/// Gives an error of DataFusion the code and the words that it is sent with.
pub(super) fn translate(error: &mut PgWireError) {
    let PgWireError::ApiError(cause) = error else { return };
    let problem = match (cause.downcast_ref::<DataFusionError>(), cause.downcast_ref::<QueryProblem>()) {
        (Some(error), _) => QueryProblem::of(error),
        (_, Some(problem)) => problem.clone(),
        _ => QueryProblem::new(QueryProblem::SYNTAX, without_prefix(&cause.to_string())),
    };
    *error = PgWireError::UserError(Box::new(problem.info()));
}

/// A message without what DataFusion says of where it arose.
fn without_prefix(message: &str) -> String {
    let first = message.split("\n\n").next().unwrap_or(message);
    let prefixes = ["Error during planning: ", "Execution error: ", "Arrow error: ", "Schema error: ", "SQL error: "];
    prefixes.iter().fold(first, |text, prefix| text.strip_prefix(prefix).unwrap_or(text)).to_owned()
}

impl fmt::Display for QueryProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for QueryProblem {}

impl From<QueryProblem> for DataFusionError {
    fn from(problem: QueryProblem) -> DataFusionError {
        DataFusionError::External(Box::new(problem))
    }
}

impl From<QueryProblem> for PgWireError {
    fn from(problem: QueryProblem) -> PgWireError {
        PgWireError::UserError(Box::new(problem.info()))
    }
}
