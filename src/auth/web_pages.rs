//! Requests that a web page makes its visitor's browser send.

use axum::http::HeaderMap;
use axum::http::header::ORIGIN;

/// Any web page can make its visitor's browser send requests to this machine, and a job may run a program.
/// Browsers mark such requests with an `Origin`; programs do not send one.
pub(crate) fn sent(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_marks_what_a_page_sends_and_a_program_does_not() {
        let mut headers = HeaderMap::new();
        assert!(!sent(&headers));
        headers.insert(ORIGIN, "https://example.org".parse().unwrap());
        assert!(sent(&headers));
    }
}
