//! The command line.

mod bundle;
mod changes;
mod checks;
mod demo;
mod demo_live;
mod display;
mod doctor;
mod effective;
mod memory;
mod print;
mod remote;
mod show;
mod signals;
mod sql;
mod status;
mod top;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::atomic_file::AtomicFile;
use crate::batch;
use crate::config::{
    self, ByteSize, InputConfig, JobConfig, MemoryBudget, OutputConfig, RunArgs, RunConfig, ServeArgs,
};
use crate::error::{Error, Result};
use crate::generate::generate;
use crate::grouped::grouped;
use crate::http::{DEMO_RATE_MOST, HttpServer};
use crate::report::Report;
use crate::runtime::Progress;
use crate::service::{self, RecentLog, ServiceConfig, ServiceHandle};
use crate::validate::{self, Check};

use changes::ChangesArgs;
use checks::report_checks;
use display::LogFormat;
use doctor::DoctorArgs;
use print::print_line;
use signals::stop_on_signals;
use sql::SqlArgs;
use top::TopArgs;

/// Incremental e-commerce analytics.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None, after_help = "Exit status: 0 success; 1 the job failed; 2 invalid flags \
or config; 3 unusable input or a failed validation.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How log lines are written to standard error.
    #[arg(long, global = true, env = "MILLSTREAM_LOG", value_name = "FORMAT", value_enum, default_value_t)]
    log: LogFormat,
    #[arg(skip)]
    matches: ArgMatches,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Generate a shop, run the job, show its tables, then apply changes while the job is live.
    Demo(DemoArgs),
    /// Run the batch job: read the input tables, write the output tables.
    #[command(args_override_self = true)]
    Run(RunCommand),
    /// Run the job and stay: take files that arrive, keep the tables up to date and durable, publish them.
    #[command(args_override_self = true)]
    Serve(ServeCommand),
    /// Print the settings that `serve` would have with these flags, this environment and this file, and where each is
    /// from.
    #[command(args_override_self = true)]
    Config(ServeCommand),
    /// Follow a table of a running service: its rows, and then what each epoch changes.
    Changes(ChangesArgs),
    /// Query the tables of a running service, or those that a run has written: a query, or a prompt.
    Sql(SqlArgs),
    /// Show a running service in the terminal: how late it is, what it does, and which operators take time and memory.
    Top(TopArgs),
    /// Check the settings, the folders and the running service, and write a support bundle.
    #[command(args_override_self = true)]
    Doctor(DoctorArgs),
    /// Check the sources and sinks of a service in other systems: connect, and read a row of each source. Nothing is
    /// written.
    #[command(args_override_self = true)]
    Check(CheckCommand),
    /// Recompute the tables of a stopped service, and compare them with the published ones.
    Verify(StateCommand),
    /// The rows that a stopped service could not use.
    #[command(subcommand)]
    Rejected(RejectedCommand),
    /// The current rows of a stopped service.
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Generate a sample shop: TPC-H data with some invalid rows.
    Generate(GenerateArgs),
    /// Check the input before a run or the output after it.
    #[command(subcommand)]
    Validate(Validate),
    /// Check whether the run with this status file is alive, for container health checks.
    Health(HealthArgs),
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Folder for the shop and its tables.
    #[arg(long, value_name = "DIR", default_value = "millstream-demo")]
    output: PathBuf,
    /// Scale factor: 1 is 6 million orders.
    #[arg(long, value_name = "F", default_value_t = 0.05)]
    scale: f64,
    /// Worker threads [default: number of cores].
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// A service instead: orders arrive all the time, and a page shows what they move, until it is stopped.
    #[arg(long)]
    live: bool,
    /// With --live: orders a second.
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "live", value_parser = orders_a_second())]
    rate: u32,
    /// With --live: where the page is; another port if somebody listens there.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", requires = "live")]
    listen: SocketAddr,
}

/// Rates of a stream of orders.
fn orders_a_second() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=DEMO_RATE_MOST.into())
}

#[derive(Debug, Args)]
struct RunCommand {
    #[command(flatten)]
    args: RunArgs,
    /// Write the report as JSON to one or several files; only process 0 does.
    #[arg(long, value_name = "FILE,...", value_delimiter = ',')]
    report: Vec<PathBuf>,
    /// Maintain a status file for `millstream health`.
    #[arg(long, env = "MILLSTREAM_STATUS", value_name = "FILE")]
    status: Option<PathBuf>,
    /// Keep within this much memory, such as 8GB, and end with an error above it: orders that do not fit wait in files
    /// [default: 95 % of what the machine or container has].
    #[arg(long, env = "MILLSTREAM_MEMORY_LIMIT", value_name = "SIZE")]
    memory_limit: Option<ByteSize>,
    /// Folder for orders that do not fit [default: the output folder].
    #[arg(long, env = "MILLSTREAM_SPILL_FOLDER", value_name = "DIR")]
    spill_folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ServeCommand {
    #[command(flatten)]
    args: RunArgs,
    #[command(flatten)]
    serve: ServeArgs,
    /// Maintain a status file for `millstream health`.
    #[arg(long, env = "MILLSTREAM_STATUS", value_name = "FILE")]
    status: Option<PathBuf>,
    /// End with an error above this much memory, such as 8GB [default: 95 % of what the machine or container has].
    #[arg(long, env = "MILLSTREAM_MEMORY_LIMIT", value_name = "SIZE")]
    memory_limit: Option<ByteSize>,
}

#[derive(Debug, Subcommand)]
enum RejectedCommand {
    /// Print them, each as a line of JSON.
    List(StateCommand),
    /// Read them once more, with the settings of now.
    Retry(StateCommand),
    /// Forget them.
    Drop(StateCommand),
}

#[derive(Debug, Subcommand)]
enum CheckpointCommand {
    /// Write them as an input folder.
    Export(ExportCommand),
}

#[derive(Debug, Args)]
struct ExportCommand {
    /// The folder, which is created.
    dir: PathBuf,
    #[command(flatten)]
    of: StateCommand,
}

/// A service that has stopped.
#[derive(Debug, Args)]
struct StateCommand {
    #[command(flatten)]
    args: RunArgs,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Args)]
struct CheckCommand {
    #[command(flatten)]
    of: StateCommand,
    /// Print the checks as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct HealthArgs {
    /// Status file of the run.
    #[arg(long, env = "MILLSTREAM_STATUS", value_name = "FILE")]
    status: PathBuf,
}

#[derive(Debug, Args)]
struct GenerateArgs {
    /// Scale factor: 1 is 6,060,999 orders.
    #[arg(long, value_name = "F")]
    scale: f64,
    /// Output folder.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Validate {
    /// Check that the input exists, is readable, and has the right columns.
    Input(ValidateInput),
    /// Check that the tables exist, are complete, readable, and from the given run.
    Output(ValidateOutput),
}

#[derive(Debug, Args)]
struct ValidateInput {
    /// Input folder [default: as for run].
    dir: Option<PathBuf>,
    #[command(flatten)]
    args: RunArgs,
    /// Print the checks as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ValidateOutput {
    /// Output folder [default: as for run].
    dir: Option<PathBuf>,
    #[command(flatten)]
    args: RunArgs,
    /// JSON report of the run that must have written the tables.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the checks as JSON.
    #[arg(long)]
    json: bool,
}

impl Cli {
    /// Parses the command line. An empty environment variable counts as unset: compose and Helm leave such.
    #[must_use]
    pub fn parse_arguments() -> Cli {
        let matches = without_empty(Cli::command()).get_matches();
        let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        Cli { matches, ..cli }
    }

    /// Runs the command.
    ///
    /// # Errors
    ///
    /// The kind of the error determines the exit status.
    pub fn run(self) -> Result<()> {
        let is_shown = matches!(self.command, Command::Demo(DemoArgs { live: true, .. }));
        let log = display::start_logging(if is_shown { "warn" } else { "info" }, self.log);
        match self.command {
            Command::Demo(DemoArgs { output, scale, workers, live: true, rate, listen }) => {
                demo_live::LiveDemo { folder: &output, scale, workers, rate, listen }.run()
            }
            Command::Demo(args) => demo::demo(&args.output, args.scale, args.workers),
            Command::Run(command) => run(&command),
            Command::Serve(command) => serve(&command, log),
            Command::Config(command) => show_config(&command, &self.matches),
            Command::Changes(args) => args.run(),
            Command::Sql(args) => args.run(),
            Command::Top(args) => args.run(),
            Command::Doctor(args) => args.run(settings_in_force(args.run_args(), &self.matches)),
            Command::Check(command) => check_connectors(&command),
            Command::Verify(command) => print_line(service::verify(&command.config()?)?),
            Command::Rejected(RejectedCommand::List(command)) => service::each_rejected(&command.config()?, |row| {
                print_line(serde_json::to_string(row).map_err(Error::failed)?)
            }),
            Command::Rejected(RejectedCommand::Retry(command)) => {
                let service::Retried { accepted, rejected } = service::retry_rejected(&command.config()?)?;
                print_line(format_args!("{accepted} rows are accepted now, {rejected} are still rejected"))
            }
            Command::Rejected(RejectedCommand::Drop(command)) => service::drop_rejected(&command.config()?),
            Command::Checkpoint(CheckpointCommand::Export(command)) => {
                service::export(&command.of.config()?, &command.dir)
            }
            Command::Generate(args) => generate_shop(&args.output, args.scale),
            Command::Validate(Validate::Input(command)) => validate_input(command),
            Command::Validate(Validate::Output(command)) => validate_output(command),
            Command::Health(args) => print_line(status::check(&args.status)?),
        }
    }
}

fn without_empty(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &clap::Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|arg| if is_empty(&arg) { arg.env(None::<&'static str>) } else { arg });
    command.mut_subcommands(without_empty)
}

fn run(command: &RunCommand) -> Result<()> {
    let mut config = RunConfig::resolve(&command.args)?;
    let memory_limit = command.memory_limit.map(ByteSize::bytes).or_else(memory::available);
    let budget = |bytes| MemoryBudget { bytes, folder: command.spill_folder.clone() };
    config.job.memory = memory_limit.map(budget);
    let progress = Arc::new(Progress::default());
    let others = config.job.anomaly.save_model.iter().chain(&command.status);
    if let Some(twice) = others.into_iter().find(|path| command.report.contains(path)) {
        let cause = "is both the report and the saved model or the status file; wanted different files";
        return Err(Error::usage(format!("--report: {} {cause}", twice.display())));
    }
    stop_on_signals(&progress)?;
    memory::limit(memory_limit, &progress, command.status.as_deref());
    // Only process 0 writes the report, because processes may share the folder.
    let is_first = config.job.cluster.as_ref().is_none_or(|cluster| cluster.process == 0);
    let report_to = |path: &PathBuf| AtomicFile::clean_up(path).and_then(|()| AtomicFile::replacing(path));
    let reports = command.report.iter().filter(|_| is_first).map(report_to);
    let reports = reports.collect::<Result<Vec<_>>>()?;
    let status = command.status.as_deref().map(|path| status::StatusFile::keep(path, &progress)).transpose()?;
    let shown = display::ProgressDisplay::show(&progress);
    let report = batch::run(&config, &progress);
    drop((shown, status));
    let report = report?;
    // The tables are in place: the run has succeeded, even if its report can't be delivered.
    let told =
        reports.into_iter().map(|file| write_report(file, &report)).chain([print_line(format_args!("{report}"))]);
    told.filter_map(Result::err).for_each(|error| eprintln!("warning: the tables are in place, but {error}"));
    Ok(())
}

fn serve(command: &ServeCommand, log: RecentLog) -> Result<()> {
    let (progress, mut requests) = (Arc::new(Progress::default()), ServiceHandle { log, ..Default::default() });
    signals::request_on_signals(&progress, &requests)?;
    let mut config = ServiceConfig::resolve(&command.args, &command.serve)?;
    config.run.validate()?;
    config.demo = std::env::var_os(demo_live::DEMO).map(PathBuf::from);
    if config.demo.is_some() {
        // It does not outlive the demo that has started it.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).map_err(Error::failed)?;
    }
    if config.listen.is_some() {
        config.replayed_rows = HttpServer::REPLAYED_ROWS;
    }
    let memory_limit = command.memory_limit.map(ByteSize::bytes).or_else(memory::available);
    memory::limit(memory_limit, &progress, command.status.as_deref());
    let status = command.status.as_deref().map(|path| status::StatusFile::keep(path, &progress)).transpose()?;
    // Or the message would be that its address is taken.
    service::check_not_running(&config)?;
    let server = HttpServer::start(&config, &mut requests, &progress)?;
    let sinks = || server.as_ref().map_or_else(Vec::new, HttpServer::sinks);
    let served = service::serve(&config, sinks, &progress, &requests);
    drop((status, server));
    served
}

/// Prints the settings, and then says what is wrong with them.
fn show_config(command: &ServeCommand, matches: &ArgMatches) -> Result<()> {
    settings_in_force(&command.args, matches)?.into_iter().try_for_each(print_line)?;
    ServiceConfig::resolve(&command.args, &command.serve)?.run.validate()
}

/// A line for each setting of the command that is given.
fn settings_in_force(args: &RunArgs, matches: &ArgMatches) -> Result<Vec<String>> {
    let file = config::document(args.config.as_deref())?;
    let mut all = Cli::command();
    // So that each command has the flags of all.
    all.build();
    let (name, given) = matches.subcommand().ok_or_else(|| Error::failed("internal error: no command"))?;
    let of_command = all.find_subcommand(name).ok_or_else(|| Error::failed("internal error: no command"))?;
    Ok(effective::lines(given, of_command, &file))
}

/// Checks the sources and sinks in other systems.
fn check_connectors(command: &CheckCommand) -> Result<()> {
    let config = command.of.config()?;
    let findings = service::check_connectors(&config);
    if findings.is_empty() && !command.json {
        return print_line("no source or sink is in another system; `millstream validate input` checks files");
    }
    let checks: Vec<_> = findings.into_iter().map(|(name, found)| Check::of(name, found)).collect();
    report_checks(&checks, command.json)
}

impl StateCommand {
    fn config(&self) -> Result<ServiceConfig> {
        ServiceConfig::resolve(&self.args, &self.serve)
    }
}

fn write_report(mut file: AtomicFile, report: &Report) -> Result<()> {
    file.write(&serde_json::to_vec_pretty(report).map_err(Error::failed)?)?;
    file.sync()?;
    file.put_durably()
}

fn generate_shop(output: &Path, scale: f64) -> Result<()> {
    for table in generate(scale, output)? {
        print_line(format_args!("{:<12}{:>14} rows", table.name, grouped(table.rows)))?;
    }
    Ok(())
}

fn validate_input(command: ValidateInput) -> Result<()> {
    let args = RunArgs { input: command.dir.or(command.args.input.clone()), ..command.args };
    let (input, job) = (InputConfig::resolve(&args)?, JobConfig::resolve_alone(&args)?);
    report_checks(&validate::input(&input, &job), command.json)
}

fn validate_output(command: ValidateOutput) -> Result<()> {
    let args = RunArgs { output: command.dir.or(command.args.output.clone()), ..command.args };
    let (tables, output) = (JobConfig::resolve_alone(&args)?.tables, OutputConfig::resolve(&args)?);
    let report = command.report.as_deref().map(read_report).transpose()?;
    report_checks(&validate::output(&output.path, &tables, report.as_ref()), command.json)
}

fn read_report(path: &Path) -> Result<Report> {
    let text = fs::read_to_string(path).map_err(Error::reading(path))?;
    serde_json::from_str(&text).map_err(Error::reading(path))
}
