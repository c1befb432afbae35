//! The prompt.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use arrow::array::AsArray;
use clap::ValueEnum;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper, Highlighter, Hinter};

use crate::cli::print::print_line;
use crate::error::{Error, Result};

use super::backend::{Backend, SqlAnswer};
use super::format::AnswerFormat;
use super::output::Output;
use super::script::Script;

const HELP: &str = r"A query ends with a semicolon. Tab completes names of tables and columns.
\d          the tables
\d TABLE    the columns of a table
\format F   how rows are given: table, csv, json, jsonl
\q          end (also Ctrl-D)";

/// Lines kept of former times.
const HISTORY_LINES: usize = 10_000;

/// Answers queries as they are typed, until the end.
pub(super) fn run(backend: &mut Backend, output: &mut Output) -> Result<()> {
    let names = Completions::of(backend)?;
    let config = Config::builder().max_history_size(HISTORY_LINES).and_then(|config| config.history_ignore_dups(true));
    let config = config.map_err(Error::failed)?.completion_type(CompletionType::List).build();
    let mut editor = Editor::<Typing, DefaultHistory>::with_config(config).map_err(Error::failed)?;
    editor.set_helper(Some(Typing(names)));
    let history = history_file();
    // There is none at the first time.
    let _ = history.as_ref().map(|path| editor.load_history(path));
    print_line("\\? for help, \\q to end")?;
    loop {
        match editor.readline("millstream> ") {
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => {
                let _ = editor.add_history_entry(text.trim());
                let _ = history.as_ref().map(|path| editor.append_history(path));
                match text.trim().strip_prefix('\\') {
                    Some("q") => return Ok(()),
                    Some(command) => report(do_command(command, backend, output)),
                    None => report(answer(&text, backend, output)),
                }
            }
            // What was typed is dropped.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(Error::failed(format!("the prompt: {error}"))),
        }
    }
}

/// Prints what went wrong.
fn report(done: Result<()>) {
    if let Err(error) = done {
        eprintln!("error: {error}");
    }
}

fn answer(text: &str, backend: &Backend, output: &mut Output) -> Result<()> {
    for statement in Script::of(text).statements {
        let begun = Instant::now();
        output.write(backend.answer(&statement, output.format)?)?;
        if output.format == AnswerFormat::Table {
            print_line(format_args!("{:.3} s", begun.elapsed().as_secs_f64()))?;
        }
    }
    Ok(())
}

fn do_command(command: &str, backend: &Backend, output: &mut Output) -> Result<()> {
    let (name, argument) = command.split_once(' ').unwrap_or((command, ""));
    match (name, argument.trim().trim_end_matches(';')) {
        ("?", _) => print_line(HELP),
        ("d", "") => print_table(
            backend,
            "SELECT table_schema AS schema, table_name AS name, lower(table_type) AS type \
             FROM information_schema.tables WHERE table_schema IN ('shop', 'millstream') ORDER BY 1 DESC, 2",
        ),
        ("d", table) => {
            let table = table.rsplit('.').next().unwrap_or(table).replace('\'', "''");
            print_table(
                backend,
                &format!(
                    "SELECT column_name AS column, data_type AS type, is_nullable AS nullable \
                     FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position"
                ),
            )
        }
        ("format", name) => {
            let of_terminal = |format: &AnswerFormat| !matches!(format, AnswerFormat::Parquet | AnswerFormat::Arrow);
            output.format = AnswerFormat::from_str(name, true)
                .ok()
                .filter(of_terminal)
                .ok_or_else(|| Error::usage(format!("\\format: found {name:?}, wanted table, csv, json or jsonl")))?;
            Ok(())
        }
        (name, _) => Err(Error::usage(format!("there is no command \\{name}; \\? lists them"))),
    }
}

/// Shows an answer as a table, whatever the format of others is.
fn print_table(backend: &Backend, query: &str) -> Result<()> {
    Output { format: AnswerFormat::Table, to: None }.write(backend.answer(query, AnswerFormat::Table)?)
}

/// Where the lines of former times are.
fn history_file() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")))?;
    let folder = folder.join("millstream");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("sql_history"))
}

/// The columns of each table.
struct Completions(BTreeMap<String, Vec<String>>);

impl Completions {
    fn of(backend: &Backend) -> Result<Completions> {
        let query = "SELECT table_name, column_name FROM information_schema.columns \
                     WHERE table_schema IN ('shop', 'millstream') ORDER BY 1, 2";
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let SqlAnswer::Rows(_, rows) = backend.answer(query, AnswerFormat::Table)? else {
            return Ok(Completions(names));
        };
        for rows in rows {
            let text = |place: usize| arrow::compute::cast(rows.column(place), &arrow::datatypes::DataType::Utf8);
            let (tables, columns) = (text(0).map_err(Error::failed)?, text(1).map_err(Error::failed)?);
            for (table, column) in tables.as_string::<i32>().iter().zip(columns.as_string::<i32>()) {
                let (Some(table), Some(column)) = (table, column) else { continue };
                names.entry(table.to_owned()).or_default().push(column.to_owned());
            }
        }
        Ok(Completions(names))
    }

    /// The names that begin like this; columns, only those of tables that the text names, if it names one.
    fn beginning(&self, start: &str, text: &str) -> Vec<String> {
        let named: Vec<_> = self.0.iter().filter(|(table, _)| text.contains(table.as_str())).collect();
        let of_tables = if named.is_empty() { self.0.iter().collect() } else { named };
        let columns = of_tables.into_iter().flat_map(|(_, columns)| columns);
        let mut found: Vec<String> =
            self.0.keys().chain(columns).filter(|name| name.starts_with(start)).cloned().collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// What helps while a query is typed: it is read until its semicolon, and names are completed.
#[derive(Helper, Highlighter, Hinter)]
struct Typing(Completions);

impl Validator for Typing {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        let text = context.input().trim();
        let is_whole = text.is_empty() || text.starts_with('\\') || Script::of(text).rest.is_empty();
        Ok(if is_whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Completer for Typing {
    type Candidate = String;

    fn complete(&self, line: &str, place: usize, _: &Context) -> rustyline::Result<(usize, Vec<String>)> {
        let is_of_name = |letter: char| letter.is_alphanumeric() || letter == '_';
        let before = line.get(..place).unwrap_or(line);
        let start = before.rfind(|letter| !is_of_name(letter)).map_or(0, |at| at + 1);
        let word = before.get(start..).unwrap_or_default();
        Ok((start, if word.is_empty() { Vec::new() } else { self.0.beginning(word, line) }))
    }
}
