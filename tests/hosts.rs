//! Two hosts in separate network namespaces, connected by a switch that can be unplugged.
//!
//! Requires root and `ip`; otherwise the tests print a note and pass.

mod files;

use std::io::Write;
use std::process::{Command, Stdio};

use files::Shop;
use files::processes::{Running, all_rows};

/// Two hosts and a switch between them, removed on drop.
struct Network {
    name: String,
}

impl Network {
    /// `None`, with a note, if network namespaces can't be created.
    fn make(name: &str) -> Option<Network> {
        let network = Network { name: format!("ms{}{name}", std::process::id()) };
        let switch = network.space("s");
        let is_possible =
            ip(&["netns", "add", &switch]) && in_space(&switch, &["link", "add", "br0", "type", "bridge"]);
        if !is_possible {
            // Not captured by the test harness, so that whoever reads the log sees what was not tested.
            let _ =
                writeln!(std::io::stderr(), "SKIPPED: two hosts ({name}): no root, no `ip`, or no network namespaces");
            return None;
        }
        assert!(in_space(&switch, &["link", "set", "br0", "up"]));
        for host in ["0", "1"] {
            let (space, address) =
                (network.space(host), format!("10.213.7.{}/24", 1 + host.parse::<u8>().expect("0 or 1")));
            assert!(ip(&["netns", "add", &space]));
            let (port, peer) = (format!("port{host}"), ["peer", "name", "eth0", "netns", &space]);
            assert!(in_space(&switch, &[&["link", "add", &port, "type", "veth"], &peer[..]].concat()));
            assert!(in_space(&switch, &["link", "set", &port, "master", "br0", "up"]));
            assert!(in_space(&space, &["address", "add", &address, "dev", "eth0"]));
            assert!(in_space(&space, &["link", "set", "eth0", "up"]));
            assert!(in_space(&space, &["link", "set", "lo", "up"]));
        }
        Some(network)
    }

    fn space(&self, host: &str) -> String {
        format!("{}{host}", self.name)
    }

    /// Process `number` on its host; the hosts share the disk.
    fn start(&self, shop: &Shop, process: usize, args: &[&str]) -> Running {
        let command = shop.process(process, "10.213.7.1:2101,10.213.7.2:2101", args);
        let mut on_host = Command::new("ip");
        on_host.args(["netns", "exec", &self.space(&process.to_string())]);
        on_host.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        Running::start(on_host)
    }

    /// Takes host 1 off the switch; neither host's own card notices.
    fn cut(&self) {
        assert!(in_space(&self.space("s"), &["link", "set", "port1", "nomaster"]));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in ["0", "1", "s"] {
            ip(&["netns", "del", &self.space(host)]);
        }
    }
}

fn ip(args: &[&str]) -> bool {
    let done = Command::new("ip").args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

fn in_space(space: &str, args: &[&str]) -> bool {
    ip(&[&["-n", space], args].concat())
}

#[test]
fn two_hosts_make_the_tables_of_one() {
    let Some(network) = Network::make("a") else { return };
    let shop = Shop::generated("0.01");
    assert_eq!(shop.run(&["--tables", "all"]).status, 0);
    let alone = all_rows(&shop);
    let second = network.start(&shop, 1, &["--tables", "all"]);
    let first = network.start(&shop, 0, &["--tables", "all"]);
    for done in [first.end(), second.end()] {
        assert_eq!(done.status, 0, "{done:?}");
        assert!(done.stdout.contains("2 workers in 2 processes"), "{done:?}");
    }
    assert_eq!(all_rows(&shop), alone);
}

#[test]
fn a_link_that_is_cut_ends_the_run_on_both_hosts() {
    let Some(network) = Network::make("b") else { return };
    let shop = Shop::generated("0.1");
    assert_eq!(shop.run(&["--tables", "daily_sales"]).status, 0);
    let before = shop.files("daily_sales");
    let mut running = [0, 1].map(|process| network.start(&shop, process, &[]));
    running[0].await_line("reading");
    network.cut();
    let [first, second] = running.map(Running::end);
    for (done, other) in [(first, "process 1 (10.213.7.2:2101)"), (second, "process 0 (10.213.7.1:2101)")] {
        assert_eq!(done.status, 1, "{done:?}");
        let expected = format!("{other} was lost: no heartbeat for 10 seconds");
        assert!(done.stderr.contains(&expected), "{expected:?} in {done:?}");
        assert!(!done.stderr.contains("panicked"), "{done:?}");
    }
    assert_eq!(shop.files("daily_sales"), before, "the former table is there");
}

#[test]
fn hosts_that_cannot_reach_each_other_say_whom_they_wait_for() {
    let Some(network) = Network::make("c") else { return };
    let shop = Shop::small();
    network.cut();
    let running = [0, 1].map(|process| network.start(&shop, process, &["--wait", "4"]));
    let [first, second] = running.map(Running::end);
    assert!(
        first.stderr.contains("waited 4 seconds for process 1 (10.213.7.2:2101): it has not connected"),
        "{first:?}"
    );
    assert!(second.stderr.contains("waited 4 seconds for process 0 (10.213.7.1:2101)"), "{second:?}");
    assert!(first.status == 1 && second.status == 1);
}
