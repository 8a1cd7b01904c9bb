//! Requests that a web page makes its visitor's browser send.
//!
//! Any web page can make its visitor's browser send requests to this machine, and a job may run a program. Browsers mark
//! what they send with `Sec-Fetch-Site` (who asks whom) and `Origin` (the page), which no page can change; programs send
//! neither.

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderMap, HeaderValue, Uri};

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Whether a request may change something: it comes from a program, from a page of this very server, or from a person who
/// opened it.
pub(crate) fn may_write(headers: &HeaderMap) -> bool {
    let site = only(headers, SEC_FETCH_SITE);
    let origin = only(headers, ORIGIN.as_str());
    match (&site, &origin) {
        (Sent::No, Sent::No) => return true,
        (Sent::Once(site), _) if *site == "same-origin" || *site == "none" => return true,
        _ => {}
    }
    match (origin, only(headers, HOST.as_str())) {
        (Sent::Once(origin), Sent::Once(host)) => is_of(origin, host),
        _ => false,
    }
}

/// What a header says.
enum Sent<'h> {
    No,
    Once(&'h HeaderValue),
    /// Which one counts, nobody knows.
    Often,
}

fn only<'h>(headers: &'h HeaderMap, name: &str) -> Sent<'h> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Sent::No,
        (Some(value), None) => Sent::Once(value),
        (Some(_), Some(_)) => Sent::Often,
    }
}

/// Whether a page of `origin` is one of `host`. The port counts: another one is another server.
fn is_of(origin: &HeaderValue, host: &HeaderValue) -> bool {
    let same = || {
        let origin: Uri = origin.to_str().ok()?.parse().ok()?;
        let host: Authority = host.to_str().ok()?.parse().ok()?;
        let port_default = if *origin.scheme()? == Scheme::HTTPS { 443 } else { 80 };
        let port = |authority: &Authority| authority.port_u16().unwrap_or(port_default);
        let page = origin.authority()?;
        Some(page.host().eq_ignore_ascii_case(host.host()) && port(page) == port(&host))
    };
    same().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(headers: &[(&'static str, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        may_write(&headers.collect())
    }

    /// Row 81.
    #[test]
    fn programs_and_pages_of_the_server_itself_may_write_and_pages_of_others_may_not() {
        let (host, site) = (("host", "localhost:9090"), "sec-fetch-site");
        let (own, other) = (("origin", "http://localhost:9090"), ("origin", "https://example.org"));
        assert!(may(&[]) && may(&[host]));
        assert!(may(&[host, (site, "same-origin"), own]));
        assert!(may(&[host, (site, "none")]), "typed by a person");
        assert!(may(&[host, own]), "a browser that does not know Sec-Fetch-Site");
        // A proxy that speaks TLS to the browser, and does not pass on the name.
        assert!(may(&[host, (site, "same-origin"), other]));
        for refused in [
            &[host, other][..],
            &[host, (site, "cross-site")],
            &[host, (site, "cross-site"), other],
            &[host, (site, "same-site")],
            &[host, ("origin", "null")],
            &[host, ("origin", "http://localhost:3000"), (site, "same-site")],
            &[host, ("origin", "http://localhost")],
            &[own],
            &[host, (site, "same-origin"), (site, "cross-site")],
            &[host, own, other],
            &[host, (site, "")],
        ] {
            assert!(!may(refused), "{refused:?}");
        }
    }

    #[test]
    fn a_port_that_goes_without_saying_is_the_same() {
        assert!(may(&[("host", "queue.example"), ("origin", "https://Queue.example")]));
        assert!(may(&[("host", "queue.example:443"), ("origin", "https://queue.example")]));
        assert!(!may(&[("host", "queue.example:80"), ("origin", "https://queue.example")]));
        assert!(may(&[("host", "[::1]:9090"), ("origin", "http://[::1]:9090")]));
    }
}
