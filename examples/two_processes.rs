//! One run on two processes: this program starts itself twice, and both make one output folder together.
//!
//! On two machines each would be started there, with the same list of hosts, over a folder that both see.
//!
//! ```text
//! cargo run --release --example two_processes
//! ```

use std::error::Error;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use millstream::batch;
use millstream::config::{ClusterArgs, RunArgs, RunConfig};
use millstream::report::Report;
use millstream::runtime::Progress;

fn main() -> Result<(), Box<dyn Error>> {
    match env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => start_both(),
        [process, hosts, folder] => {
            let hosts = hosts.split(',').map(str::to_owned).collect();
            let cluster = ClusterArgs { process: Some(process.parse()?), hosts: Some(hosts), ..ClusterArgs::default() };
            let report = run(folder.into(), cluster)?;
            println!("process {process}: done; {} processes made {}", report.processes, rows(&report));
            Ok(())
        }
        _ => Err("usage: two_processes".into()),
    }
}

fn start_both() -> Result<(), Box<dyn Error>> {
    let folder = env::temp_dir().join(format!("two_processes-{}", std::process::id()));
    millstream::generate::generate(0.01, &folder.join("in"))?;
    let alone = run(folder.clone(), ClusterArgs::default())?;
    println!("one process made {}", rows(&alone));

    // Two ports at which nobody listens; on machines of their own, any port will do.
    let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    let hosts = format!("{},{}", listeners[0].local_addr()?, listeners[1].local_addr()?);
    drop(listeners);
    let start = |process: &str| Command::new(env::current_exe()?).args([process, &hosts]).arg(&folder).spawn();
    let mut processes = [start("1")?, start("0")?];
    for process in &mut processes {
        assert!(process.wait()?.success(), "it says why");
    }
    Ok(fs::remove_dir_all(folder)?)
}

fn run(folder: PathBuf, cluster: ClusterArgs) -> Result<Report, Box<dyn Error>> {
    let (input, output) = (Some(folder.join("in")), Some(folder.join("out")));
    let args = RunArgs { input, output, workers: Some(1), cluster, ..RunArgs::default() };
    Ok(batch::run(&RunConfig::resolve(&args)?, &Arc::new(Progress::default()))?)
}

fn rows(report: &Report) -> String {
    let rows = |table: &millstream::sinks::TableReport| format!("{} {}", table.written.rows, table.name);
    report.tables.iter().map(rows).collect::<Vec<_>>().join(", ")
}
