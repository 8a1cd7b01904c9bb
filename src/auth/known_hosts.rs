//! Which hosts a request may name.
//!
//! A web page can make its own name lead to 127.0.0.1 (DNS rebinding); then its visitor's browser takes the server for a
//! part of that page and lets it read every answer. What gives it away is the name: the browser still sends that of the
//! page as the `Host`. So a server that only this machine reaches answers for the names of this machine alone.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};

/// The hosts that a server answers for.
#[derive(Clone, Debug)]
pub(crate) struct KnownHosts {
    /// None answers for any host.
    names: Option<Vec<String>>,
    /// The address that the server listens on.
    bound: IpAddr,
}

impl KnownHosts {
    /// Those of a server that listens on `address`, and those that an operator names. Where the network reaches it, only an
    /// operator knows its names: without one it answers for any.
    pub(crate) fn of(address: SocketAddr, named: &[String]) -> KnownHosts {
        let bound = address.ip();
        let is_any_known = named.is_empty() && !bound.is_loopback();
        KnownHosts { names: (!is_any_known).then(|| named.iter().map(|name| bare(name)).collect()), bound }
    }

    /// The first host of a request that is not among them. A request without any names none: no browser sends one.
    pub(crate) fn unknown_in(&self, uri: &Uri, headers: &HeaderMap) -> Option<String> {
        let names = self.names.as_ref()?;
        let of_headers = headers.get_all(HOST).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let of_uri = uri.authority().map(|authority| authority.as_str().into());
        of_uri.into_iter().chain(of_headers).find(|host| !self.knows(names, host)).map(Into::into)
    }

    fn knows(&self, names: &[String], host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let host = bare(authority.host());
        match host.parse::<IpAddr>() {
            Ok(ip) if ip.to_canonical().is_loopback() || ip == self.bound => true,
            _ => host == "localhost" || names.contains(&host),
        }
    }
}

/// A host's name as it is compared: without brackets, a dot at its end, and capital letters.
fn bare(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(hosts: &KnownHosts, uri: &str, headers: &[&str]) -> Option<String> {
        let headers = headers.iter().map(|host| (HOST, host.parse().unwrap())).collect();
        hosts.unknown_in(&uri.parse().unwrap(), &headers)
    }

    fn on(address: &str, named: &[&str]) -> KnownHosts {
        let named: Vec<_> = named.iter().map(|&name| name.to_owned()).collect();
        KnownHosts::of(address.parse().unwrap(), &named)
    }

    /// Row 81.
    #[test]
    fn on_loopback_only_the_names_of_this_machine_and_those_of_an_operator_are_known() {
        let hosts = on("127.0.0.1:9090", &["Queue.Example.org"]);
        for host in [
            "localhost",
            "LOCALHOST:9090",
            "localhost.:1",
            "127.0.0.1",
            "127.8.9.1:9090",
            "[::1]:9090",
            "[::ffff:127.0.0.1]",
            "queue.example.org:443",
        ] {
            assert_eq!(unknown(&hosts, "/jobs", &[host]), None, "{host}");
        }
        for host in [
            "rebound.example:9090",
            "localhost.example",
            "127.0.0.1.example",
            "128.0.0.1",
            "example.org",
            "localhost@example.org",
            "a b",
            "",
        ] {
            assert_eq!(unknown(&hosts, "/jobs", &[host]), Some(host.to_owned()), "{host}");
        }
    }

    #[test]
    fn each_place_in_which_a_request_names_a_host_counts() {
        let hosts = on("[::1]:9090", &[]);
        assert_eq!(unknown(&hosts, "/", &[]), None, "as programs of long ago ask");
        let two = ["localhost", "rebound.example"];
        assert_eq!(unknown(&hosts, "/", &two), Some("rebound.example".to_owned()));
        let whole = "http://rebound.example/jobs";
        assert_eq!(unknown(&hosts, whole, &["localhost"]), Some("rebound.example".to_owned()));
    }

    #[test]
    fn where_the_network_reaches_it_a_server_answers_for_any_host_unless_some_are_named() {
        for address in ["0.0.0.0:9090", "192.0.2.7:9090"] {
            assert_eq!(unknown(&on(address, &[]), "/", &["anything.example"]), None);
        }
        let named = on("192.0.2.7:9090", &["queue.example"]);
        for host in ["queue.example", "192.0.2.7:9090", "localhost"] {
            assert_eq!(unknown(&named, "/", &[host]), None, "{host}");
        }
        assert!(unknown(&named, "/", &["other.example"]).is_some());
    }
}
