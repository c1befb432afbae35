//! A network between a service and a server that can stand still, or break.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, reason = "this is a module of each test binary")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Forwards connections to a port of this machine.
pub struct Proxy {
    pub port: u16,
    network: Arc<Network>,
}

#[derive(Default)]
struct Network {
    /// True while nothing is forwarded, and nobody is told.
    stands_still: AtomicBool,
    /// True while connections are refused.
    is_cut: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = listener.local_addr().expect("an address").port();
        let network = Arc::new(Network::default());
        let shared = Arc::clone(&network);
        thread::spawn(move || {
            for incoming in listener.incoming().flatten() {
                let Ok(outgoing) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                if shared.is_cut.load(Ordering::Relaxed) {
                    continue;
                }
                let _ = (incoming.set_nodelay(true), outgoing.set_nodelay(true));
                let both = [(&incoming, &outgoing), (&outgoing, &incoming)];
                for (from, to) in both.map(|(from, to)| (from.try_clone(), to.try_clone())) {
                    let (Ok(from), Ok(to), network) = (from, to, Arc::clone(&shared)) else { continue };
                    thread::spawn(move || network.forward(from, to));
                }
                shared.connections.lock().expect("no panic").extend([incoming, outgoing]);
            }
        });
        Proxy { port: own, network }
    }

    /// Forwards nothing for a while; the ends are not told.
    pub fn stand_still(&self, time: Duration) {
        self.network.stands_still.store(true, Ordering::Relaxed);
        thread::sleep(time);
        self.network.stands_still.store(false, Ordering::Relaxed);
    }

    /// Breaks all connections, and takes none for a while.
    pub fn cut(&self, time: Duration) {
        self.network.is_cut.store(true, Ordering::Relaxed);
        for connection in self.network.connections.lock().expect("no panic").drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        thread::sleep(time);
        self.network.is_cut.store(false, Ordering::Relaxed);
    }
}

impl Network {
    fn forward(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            while self.stands_still.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(5));
            }
            if to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}
