//! The product's rooms: which knows which.

use crate::imports::{code, imports};
use crate::tree::{Tree, Violations, none, one, tree};

/// The rooms of `src/`, from the top: each knows those further down. Those that stand side by side do not know each
/// other, so that one can go, or a further one come, without the others.
const ROOMS: [&[&str]; 12] = [
    &["cli"],
    &["server"],
    &["http", "fwp", "dashboard"],
    &["client"],
    &["auth"],
    &["remote"],
    &["query"],
    &["wire"],
    &["handlers"],
    &["config"],
    &["telemetry"],
    &["suggest", "plain"],
];

#[test]
fn a_room_of_the_product_knows_only_those_below_it() {
    none(arrows_up(&tree()));
    let of = |path, text| arrows_up(&one(path, text)).len();
    assert_eq!(of("src/cli/run.rs", "use crate::server::serve;\nuse crate::config::Settings;\n"), 0);
    assert_eq!(of("src/http/body.rs", "use crate::http::error::ApiError;\nuse super::deadline;\n"), 0);
    assert_eq!(of("src/http/body.rs", "use crate::fwp::FwpState;\n"), 1, "side by side");
    assert_eq!(of("src/fwp/session.rs", "fn a(api: &crate::http::context::Api) {}\n"), 1, "side by side");
    assert_eq!(of("src/dashboard/page.rs", "use crate::fwp::line;\n"), 1, "side by side");
    assert_eq!(of("src/wire/job/read.rs", "use crate::{query::glob::Glob, suggest::nearest};\n"), 1);
    assert_eq!(of("src/suggest.rs", "use crate::config::Settings;\n"), 1);
    assert_eq!(of("src/wire/job/read.rs", "use super::super::super::query::glob;\n"), 1);
    assert_eq!(of("src/attic/a.rs", "// nothing\n"), 1, "a room that is not in the table");
    assert_eq!(of("src/lib.rs", "pub use crate::cli::main;\n"), 0);
}

fn arrows_up(tree: &Tree) -> Violations {
    let mut found = Violations::new();
    for (path, text) in tree {
        let Some(module) = path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs")) else {
            continue;
        };
        // They only say which rooms there are.
        if module == "lib" || module == "main" {
            continue;
        }
        let room = module.split('/').next().unwrap_or(module);
        let Some(level) = level(room) else {
            found.push(format!("{path}: {room} is no room of the product: give it a place in {ROOMS:?}"));
            continue;
        };
        for imported in imports(text, "crate::") {
            let is_below = imported == room || self::level(&imported).is_none_or(|of| of > level);
            if !is_below {
                found.push(format!(
                    "{path}: imports crate::{imported}, which is not below {room}: move what both need further down, or \
                     hand it in as an argument"
                ));
            }
        }
        if code(text).any(|line| line.contains("super::super::")) {
            found.push(format!("{path}: super::super:: hides what is imported: write crate::"));
        }
    }
    found
}

fn level(room: &str) -> Option<usize> {
    ROOMS.iter().position(|side_by_side| side_by_side.contains(&room))
}
