//! A server with its work-protocol port, and what the tests ask of it besides real clients.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::fwp_client::{Fwp, address};
use crate::harness::{Place, Server};

/// A queue that is always empty.
const NOWHERE: &str = "nowhere";

/// Starts a server on any free ports, of which the work protocol's is the second part of what comes back.
pub fn start(place: &Place, flags: &[&str]) -> (Server, u16) {
    start_at(place, 0, flags)
}

/// As [`start`], at a port that is known beforehand.
pub fn start_at(place: &Place, port: u16, flags: &[&str]) -> (Server, u16) {
    let port = port.to_string();
    // No handlers at home, unless a test wants some: the clients do the work.
    let workers = if flags.contains(&"--workers") { &[][..] } else { &["--workers", "0"] };
    let server = place.start(&[&["--faktory-port", &port], workers, flags].concat());
    let address = address(place).parse::<SocketAddr>().unwrap();
    (server, address.port())
}

/// What goes into `FAKTORY_URL`.
pub fn url(port: u16) -> String {
    format!("tcp://127.0.0.1:{port}")
}

/// A port that is free now and that the kernel gives to nobody who asks for any: a server can have it again after
/// it was killed, although clients and other tests open connections all the while.
pub fn lasting_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let number = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = (std::process::id() * 7 + number) % COUNT;
        let port = FIRST + u16::try_from(offset).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
        assert!(number < COUNT / 2, "no free port below the ones for outgoing connections");
    }
}

/// Waits until every FETCH that waits for a job by now has been answered: they all take equally long.
pub fn outlast_fetches(place: &Place) {
    assert_eq!(Fwp::worker(place, "somebody-else").ask(&format!("FETCH {NOWHERE}")), "$-1");
}

/// Tells a remote worker to fetch no more (`quiet`) or to end (`terminate`): it hears of it at its next heartbeat.
pub fn tell_worker(server: &Server, wid: &str, what: &str) {
    let answer = server.request("POST", &format!("/api/v1/workers/{wid}/{what}"), "");
    assert_eq!(answer.status, 200, "{}", answer.body);
}
