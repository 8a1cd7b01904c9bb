//! No two files need each other, nor any ring of files; and rooms import only rooms below them.

use crate::graph::{Graph, Module};
use crate::tree::{Tree, Violations, none, tree};

/// The engine's rooms, from the ground up; those on one floor never import each other.
const FLOORS: [&[&str]; 10] = [
    &["ids"],
    &["base"],
    &["storage"],
    &["jobs"],
    &["wal", "snapshot"],
    &["api"],
    &["recovery"],
    &["engine"],
    &["tools"],
    &["testing"],
];

#[test]
fn no_files_need_each_other() {
    let tree = tree();
    for src in ["actors/src/", "src/"] {
        none(circles(&tree, src));
    }
    let of = |files: &[(&str, &str)]| circles(&small(files), "actors/src/").len();
    assert_eq!(of(&[("a", "use crate::b::B;\n"), ("b", "use crate::a::A;\n")]), 1);
    assert_eq!(of(&[("a", "use crate::b::B;\n"), ("b", "use super::a;\n")]), 1);
    assert_eq!(of(&[("a", "use crate::b::B;\n"), ("b", "fn f() { crate::a::g() }\n")]), 1);
    assert_eq!(of(&[("a", "use crate::{c::C, b::B};\n"), ("b", "//! See crate::a::A.\n"), ("c", "")]), 0);
    assert_eq!(
        of(&[("a", "use crate::b::B;\n"), ("b", "#[cfg(test)]\nmod tests {\nuse crate::a::A;\n}\n")]),
        0
    );
    let handed_on = [
        ("a/mod", "mod b;\nmod c;\npub use self::b::B;\n"),
        ("a/b", "use super::c::C;\npub struct B;\n"),
        ("a/c", "pub struct C;\n"),
    ];
    assert_eq!(of(&handed_on), 0);
    let through_the_parent = [handed_on[0], handed_on[1], ("a/c", "use crate::a::B;\npub struct C;\n")];
    assert_eq!(of(&through_the_parent), 1);
    let used_by_the_parent =
        [("a/mod", "use self::b::B;\nstruct A;\n"), ("a/b", "use super::A;\npub struct B;\n")];
    assert_eq!(of(&used_by_the_parent), 1);
}

#[test]
fn rooms_of_the_engine_import_only_rooms_below_them() {
    none(upward(&tree()));
    let of = |files: &[(&str, &str)]| upward(&small(files)).len();
    assert_eq!(of(&[("wal/reader", "use crate::jobs::Event;\n"), ("jobs/mod", "pub struct Event;\n")]), 0);
    assert_eq!(of(&[("jobs/mod", "use crate::wal::reader::R;\n"), ("wal/reader", "")]), 1);
    assert_eq!(of(&[("snapshot/fold", "use crate::wal::reader::R;\n"), ("wal/reader", "")]), 1);
    assert_eq!(of(&[("cellar/mod", "")]), 1);
}

fn circles(tree: &Tree, src: &str) -> Violations {
    let graph = Graph::of(tree, src);
    let described = graph.circles().into_iter().map(|set| {
        let ties = set.iter().flat_map(|from| {
            let imports = graph.imports[from].iter().filter(|(to, _)| set.contains(to));
            imports.map(|(to, name)| format!("{} takes {name} of {}", graph.paths[from], graph.paths[to]))
        });
        let ties: Vec<_> = ties.collect();
        format!(
            "{} files need each other: move what several of them need into a file below them:\n    {}",
            set.len(),
            ties.join("\n    ")
        )
    });
    described.collect()
}

fn upward(tree: &Tree) -> Violations {
    let graph = Graph::of(tree, "actors/src/");
    let floor = |module: &Module| {
        let room = module.first()?;
        FLOORS.iter().position(|rooms| rooms.contains(&room.as_str()))
    };
    let mut found = Violations::new();
    for (from, imports) in graph.imports.iter().filter(|(module, _)| !module.is_empty()) {
        let path = &graph.paths[from];
        let Some(here) = floor(from) else {
            found.push(format!("{path}: is in no room of the map: give it a floor in {}", file!()));
            continue;
        };
        for (to, name) in imports.iter().filter(|(to, _)| to.first() != from.first()) {
            if floor(to).is_some_and(|there| there >= here) {
                let to = &graph.paths[to];
                found.push(format!(
                    "{path}: takes {name} of {to}, which is not below it: hand it in, or move it down"
                ));
            }
        }
    }
    found
}

fn small(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(name, text)| (format!("actors/src/{name}.rs"), (*text).to_owned())).collect()
}
