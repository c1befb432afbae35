//! Runs of several processes: the same tables as a single process, and a common end.

mod files;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use files::processes::{Running, all_files, all_rows, check_all, hosts, start_two, work_of_runs};
use files::{Done, Shop, command, finish};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

#[test]
fn any_number_of_processes_makes_the_same_tables() {
    let shop = Shop::generated("0.01");
    assert_eq!(shop.run(&["--tables", "all"]).status, 0);
    let alone = all_rows(&shop);
    for processes in [2, 3] {
        fs::remove_dir_all(shop.output()).expect("removed");
        let done = shop.run_on(processes, &["--tables", "all"]);
        check_all(&done, 0, &[]);
        assert_eq!(all_rows(&shop), alone, "{processes} processes");
        assert!(done.iter().all(|other| other.stdout == done[0].stdout), "all end with the summary of the whole run");
        assert!(done[0].stdout.contains(&format!("{processes} workers in {processes} processes")), "{done:?}");
        assert_eq!(work_of_runs(&shop).len(), 0, "nothing is left");
    }
}

#[test]
fn the_report_of_several_processes_is_that_of_one() {
    let shop = Shop::small();
    let report = |done: &Done, path: PathBuf| {
        assert_eq!(done.status, 0, "{done:?}");
        let mut report: serde_json::Value = serde_json::from_slice(&fs::read(path).expect("written")).expect("JSON");
        // The ids of runs differ, and the files of the tables that are in one for each process.
        for table in report["tables"].as_array_mut().expect("tables") {
            table["files"].take();
            table["bytes"].take();
        }
        (report["inputs"].take(), report["tables"].take())
    };
    let (one, all) = (shop.path("one.json"), shop.path("all.json"));
    let alone = report(&shop.run(&["--report", one.to_str().expect("text")]), one);
    let rows = all_rows(&shop);
    let done = shop.run_on(3, &["--report", all.to_str().expect("text")]);
    assert_eq!(report(&done[0], all.clone()), alone);
    assert_eq!(all_rows(&shop), rows, "rejected rows too");
    let config = shop.path("config.yaml");
    fs::write(&config, "cluster: {hosts: ['a:1', 'b:1']}").expect("written");
    let mut validated = command(&["validate", "output", "--report"]);
    validated.arg(&all).arg("--config").arg(config).arg(shop.output());
    assert_eq!(finish(validated).status, 0);
}

#[test]
fn text_ids_and_tables_without_rows_work_on_several_processes() {
    let shop = Shop::small();
    shop.write(
        "orders.csv",
        "order_id,customer_id,product_id,order_date,quantity,discount\nA,1,10,2024-01-05,2,\nB,,10,,,\n",
    );
    assert_eq!(shop.run(&["--tables", "all"]).status, 0);
    let alone = all_rows(&shop);
    check_all(&shop.run_on(2, &["--tables", "all"]), 0, &[]);
    assert_eq!(all_rows(&shop), alone);
    shop.write("orders.csv", "order_id,customer_id,product_id,order_date,quantity,discount\n");
    check_all(&shop.run_on(3, &["--tables", "all"]), 0, &[]);
    assert!(shop.rows("enriched_data").is_empty());
    assert_eq!(shop.files("enriched_data").len(), 1, "a file without rows");
}

#[test]
fn folders_and_sorted_buckets_have_files_of_each_process() {
    let shop = Shop::generated("0.002");
    let config = shop.path("config.yaml");
    let udfs = "udfs: [{function: weekday, columns: [order_date], as: weekday}]\n";
    fs::write(&config, udfs).expect("written");
    let config = config.to_str().expect("text").to_owned();
    assert_eq!(shop.run(&["--config", &config, "--tables", "enriched_data"]).status, 0);
    let alone = all_rows(&shop);
    let text = "output: {bucket_by: {columns: [customer_id], buckets: 2}, sort_by: [order_id]}";
    fs::write(&config, udfs.to_owned() + text).expect("written");
    check_all(&shop.run_on(2, &["--config", &config, "--tables", "enriched_data"]), 0, &[]);
    assert_eq!(all_rows(&shop), alone);
    let files = shop.files("enriched_data");
    let part = |file: &String| file.split('-').nth(1).and_then(|part| part.parse::<u32>().ok()).expect("a number");
    let mut parts: Vec<_> = files.iter().map(part).collect();
    parts.sort_unstable();
    assert_eq!(parts, [0, 1, 2, 3], "two files of each process, and no number twice: {files:?}");
    let mut buckets: Vec<BTreeSet<i64>> = vec![BTreeSet::new(); 2];
    for file in &files {
        let bucket = usize::from(file.contains("_00001."));
        let mut orders: Vec<i64> = Vec::new();
        for batch in files::read_parquet(&shop.output().join("enriched_data").join(file)) {
            let column = |name: &str| batch[name].as_primitive::<Int64Type>().clone();
            orders.extend(column("order_id").values());
            buckets[bucket].extend(column("customer_id").iter().flatten());
        }
        assert!(!orders.is_empty() && orders.is_sorted(), "{file}");
    }
    assert!(buckets[0].is_disjoint(&buckets[1]), "a customer has one bucket, whoever writes");
}

#[test]
fn text_files_are_written_and_a_model_is_saved_once() {
    let shop = Shop::generated("0.002");
    let (alone, together) = (shop.path("alone.json"), shop.path("together.json"));
    let save = |path: &PathBuf| {
        ["--tables", "order_anomalies", "--format", "csv", "--save-model"]
            .map(str::to_owned)
            .into_iter()
            .chain([path.to_str().expect("text").to_owned()])
            .collect::<Vec<_>>()
    };
    let lines = |shop: &Shop| {
        let files = shop.files("order_anomalies");
        let text = |file: &String| fs::read_to_string(shop.output().join("order_anomalies").join(file)).expect("text");
        let mut lines: Vec<_> =
            files.iter().flat_map(|file| text(file).lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        lines.sort();
        lines.dedup();
        lines
    };
    let args = save(&alone);
    assert_eq!(shop.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).status, 0);
    let rows = lines(&shop);
    let args = save(&together);
    check_all(&shop.run_on(2, &args.iter().map(String::as_str).collect::<Vec<_>>()), 0, &[]);
    assert_eq!(lines(&shop), rows);
    assert_eq!(fs::read(&alone).expect("a model"), fs::read(&together).expect("a model"));
    let model = together.to_str().expect("text");
    check_all(&shop.run_on(2, &["--tables", "order_anomalies", "--format", "csv", "--model", model]), 0, &[]);
    assert_eq!(lines(&shop), rows);
}

#[test]
fn who_was_asked_for_something_else_ends_the_run_on_all() {
    let shop = Shop::small();
    assert_eq!(shop.run(&[]).status, 0);
    let before = all_files(&shop);
    let ended = |args: [&[&str]; 2], status, words: &[&str]| {
        check_all(&start_two(&shop, args).map(Running::end), status, words);
        assert_eq!(all_files(&shop), before);
    };
    ended([&[], &["--as-of", "2024-04-01"]], 2, &["process 1 has another as_of: 2024-04-01", "has 2024-03-31"]);
    ended([&["--workers", "2"], &[]], 2, &["process 1 has another workers: 1", "has 2"]);
    ended([&[], &["--tables", "all"]], 2, &["process 1 has another tables"]);
    let other = Shop::small();
    other.write("products.csv", "product_id,product_name,category,price\n10,Teapot,Kitchen,1\n");
    let input = other.input();
    let input = input.to_str().expect("text");
    ended([&[], &["--input", input]], 3, &["process 1 (127.0.0.1:", "reads other products", "1 files"]);
    ended([&[], &["--input", "/nowhere"]], 3, &["/nowhere", "there is no such folder"]);
    let elsewhere = shop.path("elsewhere");
    ended([&[], &["--output", elsewhere.to_str().expect("text")]], 1, &["all processes must share one"]);
    ended([&["--max-rejected", "4"], &["--max-rejected", "4"]], 3, &["more than 4 rows rejected"]);
}

#[test]
fn all_of_three_hear_why() {
    let shop = Shop::small();
    for odd in 0..3 {
        let hosts = hosts(3);
        let day = |process| if process == odd { "2024-04-01" } else { "2024-03-31" };
        let running =
            [0, 1, 2].map(|process| Running::start(shop.process(process, &hosts, &["--as-of", day(process)])));
        check_all(&running.map(Running::end), 2, &["another as_of: 2024-0"]);
    }
}

#[test]
fn who_starts_after_two_others_disagreed_hears_why() {
    let shop = Shop::small();
    let hosts = hosts(3);
    let start = |process, day| Running::start(shop.process(process, &hosts, &["--as-of", day]));
    let others = [start(1, "2024-03-31"), start(2, "2024-04-01")];
    thread::sleep(Duration::from_secs(1));
    check_all(&[start(0, "2024-03-31").end()], 2, &["process 2 has another as_of: 2024-04-01"]);
    check_all(&others.map(Running::end), 2, &["process 2 has another as_of: 2024-04-01"]);
}

#[test]
fn who_starts_after_the_first_two_disagreed_hears_why() {
    let shop = Shop::small();
    let hosts = hosts(3);
    let start = |process, day| Running::start(shop.process(process, &hosts, &["--as-of", day]));
    let others = [start(0, "2024-03-31"), start(1, "2024-04-01")];
    thread::sleep(Duration::from_secs(1));
    check_all(&[start(2, "2024-03-31").end()], 2, &["process 1 has another as_of: 2024-04-01"]);
    check_all(&others.map(Running::end), 2, &["process 1 has another as_of: 2024-04-01"]);
}

#[test]
fn who_comes_to_a_run_that_goes_on_does_it_no_harm() {
    let shop = Shop::generated("0.05");
    let hosts = hosts(2);
    let mut running = [0, 1].map(|process| Running::start(shop.process(process, &hosts, &[])));
    running[0].await_line("reading");
    let answer = introduce(&hosts, "0.0.1");
    assert!(answer.contains("Taken") && answer.contains("is connected to a process 1 already"), "{answer}");
    check_all(&running.map(Running::end), 0, &[]);
}

#[test]
fn another_version_ends_the_run() {
    let shop = Shop::small();
    let hosts = hosts(2);
    let running = Running::start(shop.process(0, &hosts, &[]));
    let answer = introduce(&hosts, "0.0.1");
    assert!(answer.contains("Refused"), "{answer}");
    check_all(&[running.end()], 2, &["process 1 has another version: 0.0.1", "process 0 (127.0.0.1:"]);
}

#[test]
fn strangers_are_turned_away() {
    let shop = Shop::small();
    let hosts = hosts(2);
    let mut first = Running::start(shop.process(0, &hosts, &[]));
    let mut stream = connect(&hosts);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").expect("sent");
    first.await_line("not a process of this version of millstream");
    let silent = connect(&hosts);
    let second = Running::start(shop.process(1, &hosts, &[]));
    check_all(&[first.end(), second.end()], 0, &[]);
    drop(silent);
}

#[test]
fn strangers_do_no_harm_to_a_run() {
    let shop = Shop::small();
    let hosts = hosts(2);
    let mut first = Running::start(shop.process(0, &hosts, &[]));
    first.await_line("waiting for process 1");
    let silent: Vec<_> = (0..200).map(|_| connect(&hosts)).collect();
    let announced: Vec<_> = (0..20).map(|_| connect(&hosts)).collect();
    for mut stream in &announced {
        let _ = stream.write_all(b"millstr\x02\x0f\xff\xff\xff{");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", first.id())).expect("it runs");
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).expect("a number")
    };
    assert!(number("Threads:") < 120, "threads are bounded: {status}");
    assert!(number("VmHWM:") < 200_000, "memory is bounded: {status}");
    let second = Running::start(shop.process(1, &hosts, &[]));
    check_all(&[first.end(), second.end()], 0, &[]);
    drop((silent, announced));
}

#[test]
fn a_stranger_of_another_version_does_no_harm_to_a_run_at_work() {
    let shop = Shop::generated("0.05");
    let hosts = hosts(2);
    let mut running = [0, 1].map(|process| Running::start(shop.process(process, &hosts, &[])));
    running[0].await_line("reading");
    let mut other = connect(&hosts);
    let _ = other.write_all(b"millstr\x63");
    check_all(&running.map(Running::end), 0, &[]);
    drop(other);
}

#[test]
fn who_does_not_know_the_secret_does_not_join() {
    let shop = Shop::small();
    let (hosts, secret, other) = (hosts(2), shop.path("secret"), shop.path("other"));
    fs::write(&secret, "correct horse\n").expect("written");
    fs::write(&other, "battery staple\n").expect("written");
    let (secret, other) = (secret.to_str().expect("text"), other.to_str().expect("text"));
    let mut first = Running::start(shop.process(0, &hosts, &["--secret-file", secret]));
    first.await_line("waiting for process 1");
    for args in [vec![], vec!["--secret-file", other]] {
        let stranger = Running::start(shop.process(1, &hosts, &args)).end();
        check_all(&[stranger], 2, &["process 0 (127.0.0.1:", "has another secret"]);
    }
    let mut version = connect(&hosts);
    version.write_all(b"millstr\x63").expect("sent");
    let second = Running::start(shop.process(1, &hosts, &["--secret-file", secret]));
    let done = [first.end(), second.end()];
    check_all(&done, 0, &[]);
    assert!(!format!("{done:?}").contains("horse"), "a secret is not shown");
}

/// Requests to join process 0 as process 1 of another version; returns the response.
fn introduce(hosts: &str, version: &str) -> String {
    let mut stream = connect(hosts);
    stream.write_all(b"millstr\x02").expect("sent");
    let mut challenge = [0; 32];
    stream.read_exact(&mut challenge).expect("a challenge");
    let mut proof = Hmac::<Sha256>::new_from_slice(&[]).expect("a key");
    proof.update(&challenge);
    proof.update(b"joining 1 Control");
    let proof = proof.finalize().into_bytes().to_vec();
    let hello = serde_json::json!({
        "process": 1, "purpose": "Control", "facts": {"version": version}, "proof": proof, "challenge": challenge
    });
    let hello = hello.to_string();
    stream.write_all(&u32::try_from(hello.len()).expect("few").to_be_bytes()).expect("sent");
    stream.write_all(hello.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer, then the end");
    String::from_utf8_lossy(&answer).into_owned()
}

fn connect(hosts: &str) -> TcpStream {
    let host = hosts.split(',').next().expect("a host");
    for _ in 0..3000 {
        match TcpStream::connect(host) {
            Ok(stream) => return stream,
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
    panic!("nobody listens at {host}");
}

#[test]
fn who_does_not_come_is_named() {
    let shop = Shop::small();
    let hosts = hosts(3);
    let mut running = [0, 2].map(|process| Running::start(shop.process(process, &hosts, &["--wait", "6"])));
    running[0].await_line("waiting for process 1 (127.0.0.1:");
    check_all(&running.map(Running::end), 1, &["waited 6 seconds for process 1 (127.0.0.1:"]);
    assert!(!shop.output().exists());
    // Nor does one that comes when all is over find anybody.
    check_all(&[Running::start(shop.process(1, &hosts, &["--wait", "1"])).end()], 1, &["Connection refused"]);
}

#[test]
fn a_number_that_is_given_twice_is_refused() {
    let shop = Shop::small();
    let hosts = hosts(3);
    let mut running = [0, 1].map(|process| Running::start(shop.process(process, &hosts, &[])));
    running[0].await_line("waiting for process 2");
    let twice = Running::start(shop.process(0, &hosts, &[]));
    check_all(&[twice.end()], 1, &["this process can't listen there"]);
    check_all(&[Running::start(shop.process(2, &hosts, &[])).end()], 0, &[]);
    check_all(&running.map(Running::end), 0, &[]);
}

#[test]
fn hosts_come_from_flags_environment_file_and_config() {
    let shop = Shop::small();
    let at = hosts(2);
    let [first, second] = [at.split(',').next().expect("one"), at.split(',').nth(1).expect("two")];
    let (config, list) = (shop.path("config.yaml"), shop.path("hosts"));
    fs::write(&config, format!("cluster: {{process: 0, hosts: ['{first}', '{second}'], wait_seconds: 60}}"))
        .expect("written");
    fs::write(&list, format!("# where they are\n{first}\n\n{second}\n")).expect("written");
    let mut by_config = shop.command(&["--workers", "1", "--config"]);
    by_config.arg(&config);
    let mut by_environment = shop.command(&["--workers", "1"]);
    by_environment.env("MILLSTREAM_PROCESS", "1").env("MILLSTREAM_HOSTS_FILE", &list);
    check_all(&[by_config, by_environment].map(Running::start).map(Running::end), 0, &[]);
    assert_eq!(all_rows(&shop).len(), 8);
}

#[test]
fn processes_that_are_named_wrongly_are_refused() {
    let shop = Shop::small();
    for (args, words) in [
        (
            vec!["--process", "0"],
            "needs the addresses of its processes: give --hosts, set MILLSTREAM_HOSTS, or put cluster.hosts",
        ),
        (vec!["--hosts", "a:1,b:1"], "needs the number of this process: give --process"),
        (vec!["--hosts", "a:1,b:1", "--process", "2"], "process 2 of 2, but they are numbered from 0"),
        (vec!["--hosts", "a:1,b", "--process", "0"], "the host of process 1 is \"b\", wanted host:port"),
        (vec!["--hosts", "a:1,a:1", "--process", "0"], "processes 0 and 1 are both at a:1"),
        (vec!["--hosts-file", "/nowhere", "--process", "0"], "/nowhere"),
        (vec!["--hosts", "a:1", "--hosts-file", "b", "--process", "0"], "cannot be used with"),
    ] {
        check_all(&[shop.run(&args)], 2, &[words]);
    }
    check_all(&[shop.run(&["--hosts", "nobody:1", "--process", "0"])], 0, &[]);
}
