//! The `millstream` command: parse, do, and end with a status that says how it went.

use std::process::ExitCode;

use millstream::cli::Cli;

/// Rows and columns are allocated on one worker and freed on another, by the million.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse_arguments().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The further lines of a message are indented.
            eprintln!("error: {}", error.to_string().replace('\n', "\n  "));
            ExitCode::from(error.exit_status())
        }
    }
}
