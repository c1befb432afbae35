//! Processes that are lost, stopped or killed at any moment of a run: all processes end, and every table is complete.

mod files;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use files::Shop;
use files::processes::{Running, all_files, all_rows, check_all, hosts, start_two, work_of_runs};

/// The run ids of a table's files.
fn runs_of(shop: &Shop, table: &str) -> Vec<String> {
    let run = |file: &String| file.split('-').skip(2).collect::<Vec<_>>().join("-");
    let mut runs: Vec<_> = shop.files(table).iter().map(run).collect();
    runs.sort();
    runs.dedup();
    runs
}

#[test]
fn a_process_that_is_lost_while_it_works_ends_the_run_on_all() {
    let shop = Shop::generated("0.1");
    check_all(&shop.run_on(3, &["--tables", "daily_sales"]), 0, &[]);
    let before = all_files(&shop);
    for phase in ["reading", "computing"] {
        for victim in 0..3 {
            let hosts = hosts(3);
            let start = |process| Running::start(shop.process(process, &hosts, &[]));
            let mut running: Vec<_> = (0..3).map(start).collect();
            running[victim].await_line(phase);
            running[victim].kill();
            let mut done: Vec<_> = running.into_iter().map(Running::end).collect();
            let killed = done.remove(victim);
            assert_eq!(killed.status, -1, "it was killed while {phase}: {killed:?}");
            check_all(&done, 1, &[&format!("process {victim} (127.0.0.1:"), "was lost: it closed the connection"]);
            assert_eq!(all_files(&shop), before, "the former tables are there");
        }
    }
    check_all(&shop.run_on(2, &[]), 0, &[]);
    assert_eq!(work_of_runs(&shop).len(), 0, "what was left is removed");
}

#[test]
fn a_process_that_is_told_to_stop_tells_the_others() {
    let shop = Shop::generated("0.05");
    for (signal, victim) in [("-TERM", 1), ("-INT", 0), ("-HUP", 1)] {
        let mut running = start_two(&shop, [&[], &[]]);
        running[victim].await_line("computing");
        running[victim].signal(signal);
        let done = running.map(Running::end);
        check_all(&done, 1, &["cancelled"]);
        assert!(done[1 - victim].stderr.contains(&format!("process {victim} (127.0.0.1:")), "{done:?}");
        assert!(shop.tables().is_empty());
    }
}

#[test]
fn a_process_that_is_told_to_stop_while_it_sorts_does_so() {
    let shop = Shop::generated("0.1");
    let config = shop.path("config.yaml");
    std::fs::write(&config, "output: {sort_by: [order_id], target_file_size: 64KB}").expect("written");
    let args = ["--config", config.to_str().expect("text")];
    let running = start_two(&shop, [&args, &args]);
    // Nothing is written before it is sorted; then file after file is.
    let started = Instant::now();
    let is_sorting = |run: &PathBuf| std::fs::read_dir(run.join("enriched_data")).is_ok_and(|files| files.count() > 0);
    while !work_of_runs(&shop).iter().any(is_sorting) {
        assert!(started.elapsed() < Duration::from_secs(120), "{}", running[0].log());
        thread::sleep(Duration::from_millis(2));
    }
    running[1].signal("-TERM");
    let done = running.map(Running::end);
    check_all(&done, 1, &["cancelled"]);
    assert!(shop.tables().is_empty());
}

/// Wherever the run is interrupted, all tables are complete and from a single run.
#[test]
fn a_process_that_is_lost_while_tables_are_published_leaves_those_of_one_run() {
    let shop = Shop::generated("0.002");
    assert_eq!(shop.run(&["--tables", "all"]).status, 0);
    let rows = all_rows(&shop);
    for round in 0..12 {
        let (former, left) = (all_files(&shop), work_of_runs(&shop));
        let victim = round % 2;
        let mut running = start_two(&shop, [&["--tables", "all"], &["--tables", "all"]]);
        // The first table is marked as whole: all shares are there, and tables are about to be put into place.
        let is_whole = |run: &PathBuf| !left.contains(run) && run.join("enriched_data/_SUCCESS").is_file();
        let started = Instant::now();
        while !work_of_runs(&shop).iter().any(is_whole) && all_files(&shop) == former {
            assert!(started.elapsed() < Duration::from_secs(120), "{}", running[0].log());
        }
        thread::sleep(Duration::from_micros(100 * round as u64));
        running[victim].kill();
        let [first, second] = running.map(Running::end);
        assert_eq!(all_rows(&shop), rows, "round {round}");
        let mut runs: Vec<_> = shop.tables().iter().flat_map(|table| runs_of(&shop, table)).collect();
        runs.dedup();
        assert_eq!(runs.len(), 1, "all tables are of one run");
        match victim {
            // All that process 1 had to give was there.
            1 => check_all(&[first], 0, &[]),
            _ if second.status == 0 => assert_ne!(all_files(&shop), former),
            _ => check_all(&[second], 1, &["process 0 (127.0.0.1:", "the tables are all new ones, or all former ones"]),
        }
    }
}
