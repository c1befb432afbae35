//! A running service in a terminal.

use std::io::{IsTerminal, stdout};
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};
use ratatui::{DefaultTerminal, Frame};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::grouped::grouped;
use crate::printable::printable;

use super::print::print_line;
use super::remote::{Remote, RemoteArgs};

/// What is shown, and of which service.
#[derive(Debug, Args)]
pub(super) struct TopArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// Print it once, as text, and end.
    #[arg(long)]
    once: bool,
}

/// How often the service is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How long its answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the service said last.
#[derive(Default)]
struct Told {
    status: Value,
    history: Value,
    operators: Vec<Value>,
    sources: Vec<Value>,
    /// What was asked of it.
    note: String,
    /// Why it could not be asked; what it said is old then.
    failed: Option<String>,
}

/// By what operators are sorted.
#[derive(Clone, Copy, PartialEq)]
enum OperatorOrder {
    Memory,
    Time,
    Rows,
}

impl TopArgs {
    /// Shows the service until a key ends it.
    pub(super) fn run(&self) -> Result<()> {
        let remote = self.remote.open(Some(PATIENCE))?;
        // A wrong address is told before the screen is taken.
        let told = Told::ask(&remote)?;
        if self.once || !stdout().is_terminal() {
            return told.lines().into_iter().try_for_each(print_line);
        }
        let mut terminal = ratatui::try_init().map_err(Error::failed)?;
        let shown = show(&mut terminal, &remote, told);
        ratatui::restore();
        shown
    }
}

fn show(terminal: &mut DefaultTerminal, remote: &Remote, mut told: Told) -> Result<()> {
    let (mut order, mut asked) = (OperatorOrder::Memory, Instant::now());
    loop {
        terminal.draw(|frame| draw(frame, &told, order)).map_err(Error::failed)?;
        let patience = EVERY.saturating_sub(asked.elapsed());
        if event::poll(patience).map_err(Error::failed)?
            && let Event::Key(key) = event::read().map_err(Error::failed)?
            && key.kind == KeyEventKind::Press
        {
            let is_ended = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                _ if is_ended => return Ok(()),
                KeyCode::Char('m') => order = OperatorOrder::Memory,
                KeyCode::Char('t') => order = OperatorOrder::Time,
                KeyCode::Char('r') => order = OperatorOrder::Rows,
                KeyCode::Char('v') => told.note = asked_for(remote, "verify"),
                KeyCode::Char('p') => told.note = asked_for(remote, "publish"),
                _ => {}
            }
        }
        if asked.elapsed() >= EVERY {
            asked = Instant::now();
            match Told::ask(remote) {
                Ok(next) => told = Told { note: std::mem::take(&mut told.note), ..next },
                Err(error) => told.failed = Some(error.to_string()),
            }
        }
    }
}

fn asked_for(remote: &Remote, what: &str) -> String {
    match remote.post(&format!("/v1/{what}")) {
        Ok(_) => format!("{what} is asked for; it begins when nothing else runs in the background"),
        Err(error) => error.to_string(),
    }
}

impl Told {
    fn ask(remote: &Remote) -> Result<Told> {
        let list = |mut answer: Value, name: &str| match answer.get_mut(name).map(Value::take) {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        let status = remote.get("/v1/status")?;
        if !status["epoch"].is_u64() {
            return Err(remote.is_another());
        }
        Ok(Told {
            status,
            history: remote.get("/v1/history")?,
            operators: list(remote.get("/v1/dataflow")?, "operators"),
            sources: list(remote.get("/v1/sources")?, "sources"),
            note: String::new(),
            failed: None,
        })
    }

    /// The last values of a column of the history.
    fn last(&self, column: &Value, count: usize) -> Vec<u64> {
        let values: Vec<u64> = column.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        values[values.len().saturating_sub(count)..].to_vec()
    }

    fn worst(&self) -> u64 {
        self.last(&self.history["visible_us"]["p99"], 60).into_iter().max().unwrap_or_default()
    }

    fn sorted_operators(&self, order: OperatorOrder) -> Vec<&Value> {
        let by = |operator: &&Value| {
            let column = match order {
                OperatorOrder::Memory => "bytes",
                OperatorOrder::Time => "busy_us",
                OperatorOrder::Rows => "records",
            };
            std::cmp::Reverse(operator[column].as_u64().unwrap_or_default())
        };
        let mut operators: Vec<&Value> = self.operators.iter().collect();
        operators.sort_by_key(by);
        operators
    }

    /// The first line: how late it is.
    fn headline(&self) -> String {
        let status = &self.status;
        if let Some(failed) = &self.failed {
            return format!("it does not answer: {}", printable(failed));
        }
        if status["ready"] != true {
            return format!("{}: the tables are not there yet", text(&status["phase"]));
        }
        let behind = status["behind_seconds"].as_f64().unwrap_or_default();
        let late = if behind > 0.05 { format!("{behind:.1} s behind") } else { "up to date".to_owned() };
        let (epoch, waiting) = (number(&status["epoch"]), number(&status["waiting"]["rows"]));
        format!("epoch {epoch}, {late}; {waiting} rows wait; slowest epoch of the last minute {}", micros(self.worst()))
    }

    /// All there is, for those who have no terminal.
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.headline()];
        lines.extend(self.facts().into_iter().map(|(name, value)| format!("{name}: {value}")));
        lines.push(format!("{:32}{:>12}{:>14}{:>12}", "operator", "memory", "rows kept", "time"));
        for operator in self.sorted_operators(OperatorOrder::Memory).into_iter().take(12) {
            let [name, memory, rows, time] = cells(operator);
            lines.push(format!("{name:32}{memory:>12}{rows:>14}{time:>12}"));
        }
        lines
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let status = &self.status;
        let task = match &status["task"] {
            Value::Null => "nothing".to_owned(),
            task => format!("{} of epoch {}", text(&task["task"]), number(&task["epoch"])),
        };
        let ended = status["ended_tasks"].as_array().into_iter().flatten();
        let ended: Vec<String> = ended
            .map(|task| {
                format!("{} {} (epoch {})", text(&task["task"]), text(&task["outcome"]), number(&task["epoch"]))
            })
            .collect();
        let rejected = number(&status["tables"]["rejected"]["rows"]);
        let (log, checkpoint) = (bytes(&status["log_bytes"]), bytes(&status["checkpoint_bytes"]));
        vec![
            ("memory", format!("{}, {} workers", bytes(&status["memory_bytes"]), number(&status["workers"]))),
            ("log", format!("{log} since the checkpoint of {checkpoint}, durability {}", text(&status["durability"]))),
            ("rejected", format!("{rejected} rows")),
            ("background", task),
            ("last tasks", if ended.is_empty() { "none".to_owned() } else { ended.join(", ") }),
        ]
    }
}

fn draw(frame: &mut Frame<'_>, told: &Told, order: OperatorOrder) {
    let [head, curves, middle, operators, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Min(4),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let is_late = told.status["behind_seconds"].as_f64().unwrap_or_default() > 1.0
        || told.status["ready"] != true
        || told.failed.is_some();
    let colour = if is_late { Color::Red } else { Color::Green };
    let headline = Line::from(vec!["millstream  ".bold(), Span::styled(told.headline(), Style::new().fg(colour))]);
    frame.render_widget(headline, head);

    let [rows, visible] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(curves);
    draw_curve(frame, rows, "rows a second", told.last(&told.history["rows"], rows.width.into()), grouped);
    let took = told.last(&told.history["visible_us"]["p99"], visible.width.into());
    draw_curve(frame, visible, "p99 until visible", took, micros);

    let [facts, sources] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(middle);
    let lines: Vec<Line> = told
        .facts()
        .into_iter()
        .map(|(name, value)| Line::from(vec![format!("{name:12}").dim(), value.into()]))
        .collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title("service")), facts);
    let row =
        |source: &Value| {
            let names = ["type", "rows", "rejected_rows", "offset"];
            Row::new(names.map(|name| {
                Cell::from(if source[name].is_number() { number(&source[name]) } else { text(&source[name]) })
            }))
        };
    let widths = [Constraint::Length(8), Constraint::Length(14), Constraint::Length(10), Constraint::Fill(1)];
    let table = Table::new(told.sources.iter().map(row), widths)
        .header(Row::new(["source", "rows", "rejected", "offset"]).dim())
        .block(Block::bordered().title("sources"));
    frame.render_widget(table, sources);

    let mark = |wanted: OperatorOrder, name: &'static str| {
        if order == wanted { format!("{name} ▼") } else { name.to_owned() }
    };
    let header = [
        "operator".to_owned(),
        mark(OperatorOrder::Memory, "memory"),
        mark(OperatorOrder::Rows, "rows kept"),
        mark(OperatorOrder::Time, "time"),
    ];
    let widths = [Constraint::Fill(1), Constraint::Length(12), Constraint::Length(14), Constraint::Length(12)];
    let rows = told.sorted_operators(order).into_iter().map(|operator| Row::new(cells(operator)));
    let table = Table::new(rows, widths).header(Row::new(header).dim()).block(Block::bordered().title("operators"));
    frame.render_widget(table, operators);
    let keys = "q quit   m memory  t time  r rows   v verify  p publish";
    let note = if told.note.is_empty() { keys.dim() } else { format!("{}   {keys}", told.note).into() };
    frame.render_widget(note, foot);
}

fn draw_curve(frame: &mut Frame<'_>, area: Rect, title: &str, values: Vec<u64>, show: fn(u64) -> String) {
    let last = values.last().copied().unwrap_or_default();
    let title = format!("{title}: {}", show(last));
    frame.render_widget(Sparkline::default().data(values).block(Block::bordered().title(title)), area);
}

/// Name, memory, rows and time of an operator.
fn cells(operator: &Value) -> [String; 4] {
    let busy = operator["busy_us"].as_u64().unwrap_or_default();
    [text(&operator["name"]), bytes(&operator["bytes"]), number(&operator["records"]), micros(busy)]
}

/// What a remote service says can't write to the terminal.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| "–".to_owned(), |text| printable(text).to_string())
}

fn number(value: &Value) -> String {
    value.as_u64().map_or_else(|| "–".to_owned(), grouped)
}

fn bytes(value: &Value) -> String {
    value.as_u64().map_or_else(|| "–".to_owned(), |bytes| format!("{} KiB", grouped(bytes >> 10)))
}

fn micros(micros: u64) -> String {
    match micros {
        0 => "–".to_owned(),
        1..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}
