//! What a bench was asked for on its command line.

use std::str::FromStr;

/// Whether it is to measure. Without `--bench`, which cargo adds, it only checks that everything still works.
pub fn is_to_measure() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// The first argument that is a number: how much is measured at most.
pub fn number<N: FromStr>() -> Option<N> {
    std::env::args().skip(1).find_map(|argument| argument.parse().ok())
}
