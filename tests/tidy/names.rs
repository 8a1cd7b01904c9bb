//! A name of a type means one thing, in the engine and in the product alike.

use std::collections::BTreeMap;

use crate::tree::{Tree, Violations, none, one, sources, tree, word};

/// Where types have names of their own.
const CHECKED: [&str; 2] = ["actors/src/", "src/"];

#[test]
fn no_two_types_have_the_same_name() {
    none(shared_names(&tree()));

    let with = |other: (&str, &str)| {
        let mut tree = one("actors/src/a.rs", "pub(crate) struct Page(u8);\n");
        tree.extend(one(other.0, other.1));
        shared_names(&tree)
    };
    for text in
        ["enum Page {}\n", "    pub struct Page;\n", "pub(super) trait Page {}\n", "struct Page<T>(T);\n"]
    {
        for path in ["actors/src/b.rs", "src/b.rs"] {
            let found = with((path, text));
            assert_eq!(found.len(), 1, "{path} {text}: {found:?}");
            assert!(found[0].contains("actors/src/a.rs") && found[0].contains(path), "{found:?}");
        }
    }
    for (path, text) in [
        ("src/b.rs", "struct Pages;\nuse a::Page;\nimpl Page {}\n// struct Page\n"),
        ("src/b.rs", "struct B;\n\n#[cfg(test)]\nmod tests {\n    struct Page;\n}\n"),
        ("src/b/tests.rs", "struct Page;\n"),
        ("tests/b.rs", "struct Page;\n"),
    ] {
        assert_eq!(with((path, text)), Violations::new(), "{path} {text}");
    }
}

fn shared_names(tree: &Tree) -> Violations {
    let mut places: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let is_checked =
        |path: &str| CHECKED.iter().any(|dir| path.starts_with(dir)) && !path.ends_with("tests.rs");
    for (path, text) in sources(tree).filter(|(path, _)| is_checked(path)) {
        // What only tests of a file see stands at its end.
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for name in text.lines().filter_map(type_name) {
            places.entry(name).or_default().push(path);
        }
    }
    let shared = places.into_iter().filter(|(_, paths)| paths.len() > 1);
    let told = shared.map(|(name, paths)| {
        format!("{name} is a type in each of {}: say in its name what sets it apart", paths.join(", "))
    });
    told.collect()
}

/// The name of the type that is declared in this line.
fn type_name(line: &str) -> Option<String> {
    let line = line.trim_start();
    let item = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.strip_prefix(' ')?,
        None => line,
    };
    let name = ["struct ", "enum ", "trait "].iter().find_map(|keyword| item.strip_prefix(keyword))?;
    Some(word(name)).filter(|name| name.starts_with(char::is_uppercase))
}
