//! The `millstream` command: parse, do, and end with a status that says how it went.

use std::process::ExitCode;

use clap::Parser;
use millstream::cli::Cli;

/// Rows and columns are allocated on one worker and freed on another, by the million.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}
