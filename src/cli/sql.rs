//! `millstream sql`: queries of a running service, or of the tables that a run has written.

mod backend;
mod format;
mod output;
mod prompt;
mod script;

use std::io::{IsTerminal, Read, stdin};
use std::path::PathBuf;

use clap::Args;

use crate::config::ByteSize;
use crate::error::{Error, Result};

use super::remote::RemoteArgs;

use backend::Backend;
use format::AnswerFormat;
use output::Output;
use script::Script;

/// What to ask, whom, and how the answer is given.
#[derive(Debug, Args)]
pub(super) struct SqlArgs {
    /// A query, or several with semicolons [default: a prompt, or what comes from the standard input].
    #[arg(value_name = "QUERY")]
    query: Option<String>,
    /// Query the tables that a run has written to this folder, and not a running service.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// With --folder: the config file, whose views can be queried.
    #[arg(long, env = "MILLSTREAM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// With --folder: the memory of a query; sorts and aggregates beyond it use the folder for temporary files
    /// [default: half of the machine's].
    #[arg(long, value_name = "SIZE", requires = "folder")]
    query_memory: Option<ByteSize>,
    /// How rows are given.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = AnswerFormat::Table)]
    format: AnswerFormat,
    /// Write the rows to this file instead of the standard output. It takes one query.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    remote: RemoteArgs,
}

impl SqlArgs {
    /// Answers the queries.
    ///
    /// # Errors
    ///
    /// If nobody answers, or a query is wrong; at a prompt, that is printed.
    pub(super) fn run(&self) -> Result<()> {
        let mut backend =
            Backend::open(self.folder.as_deref(), self.config.as_deref(), self.query_memory, &self.remote)?;
        let mut output = Output { format: self.format, to: self.to.clone() };
        let text = match &self.query {
            Some(query) => query.clone(),
            None if stdin().is_terminal() && self.to.is_some() => {
                return Err(Error::usage("--to: wanted a query, whose rows the file gets"));
            }
            None if stdin().is_terminal() => return prompt::run(&mut backend, &mut output),
            None => {
                let mut text = String::new();
                let failed = |cause| Error::usage(format!("standard input: {cause}; wanted queries"));
                stdin().read_to_string(&mut text).map_err(failed)?;
                text
            }
        };
        let Script { mut statements, rest } = Script::of(&text);
        statements.extend(Some(rest).filter(|rest| !rest.is_empty()));
        if statements.is_empty() {
            return Err(Error::usage("found no query, wanted one"));
        }
        // The rows of one query are a whole document.
        let is_document = matches!(self.format, AnswerFormat::Json | AnswerFormat::Parquet | AnswerFormat::Arrow);
        if statements.len() > 1 && (is_document || self.to.is_some()) {
            let found = statements.len();
            let what = if self.to.is_some() { "--to" } else { "--format" };
            return Err(Error::usage(format!("{what}: found {found} queries, wanted one")));
        }
        statements.iter().try_for_each(|statement| output.write(backend.answer(statement, output.format)?))
    }
}
