//! The house rules that a reviewer would otherwise have to repeat, checked over the source tree.
//!
//! A rule is a function from a [`Tree`] to its violations, each of which says how to fix it. Every rule is also run
//! on a tree that breaks it: a check that cannot fail checks nothing. Here are the rules about files as a whole;
//! what may know what is in `imports`, what README.md and docs/ promise in `docs`, what has a number in `numbered`, what
//! types are called in `names`, and what comments call things in `words`.

mod circles;
mod docs;
mod graph;
mod imports;
mod names;
mod numbered;
mod product;
mod tree;
mod words;

use std::collections::BTreeMap;
use std::fs;

use imports::{code, has_word};
use tree::{Tree, Violations, none, one, root, sources, tree};

const LINES_MAX: usize = 650;

const TOP_LEVEL: [&str; 12] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "Makefile",
    "LICENSE",
    "CHANGELOG.md",
    "docs",
    "src",
    "actors",
    "tests",
    "benches",
    "configs",
];

const TARGETS: [&str; 5] = ["build", "test", "demo", "torture", "clean"];

/// Put together, so that this file does not contain them.
const LATER: [&str; 6] = [
    concat!("to", "do!"),
    concat!("unim", "plemented!"),
    concat!("#[ig", "nore"),
    concat!("db", "g!"),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
];

#[test]
fn nothing_is_left_for_later() {
    none(left_for_later(&tree()));
    for mark in LATER {
        assert_eq!(left_for_later(&one("src/a.rs", &format!("//! A.\n    {mark}\n"))).len(), 1, "{mark}");
    }
}

#[test]
fn every_file_fits_a_reader_and_says_first_what_it_promises() {
    none(shapes(&tree()));
    assert_eq!(shapes(&one("src/a.rs", "use std::io;\n")).len(), 1);
    assert_eq!(shapes(&one("src/a.rs", &format!("//! A.\n{}", "\n".repeat(LINES_MAX)))).len(), 1);
}

#[test]
fn a_room_says_at_its_head_what_it_holds() {
    none(unnamed_modules(&tree()));
    for path in ["src/a/mod.rs", "actors/src/a/mod.rs", "actors/src/lib.rs"] {
        let of = |text| unnamed_modules(&one(path, text)).len();
        assert_eq!(of("//! Reads: `one`, [`mod@two`].\n\nmod one;\npub(crate) mod two;\n"), 0);
        assert_eq!(of("//! Reads one thing after the other: `one`.\n\nmod one;\nmod thing;\nmod two;\n"), 2);
        assert_eq!(of("//! Reads.\n\n#[cfg(test)]\nmod tests;\n"), 0);
    }
    assert_eq!(unnamed_modules(&one("tests/a/mod.rs", "//! A.\nmod b;\n")), Violations::new());
}

#[test]
fn the_makefile_has_five_targets_of_one_line() {
    none(makefile(&tree()["Makefile"]));
    let good = "build:\n\ta\n\ntest:\n\tb\n\ndemo:\n\tc\n\ntorture:\n\tt\n\nclean:\n\td\n";
    assert_eq!(makefile(good), Violations::new());
    assert_eq!(makefile(&format!("{good}\nlint:\n\te\n")).len(), 1);
    assert_eq!(makefile(&good.replace("\tb\n", "\tb\n\tb\n")).len(), 1);
}

#[test]
fn the_top_level_is_tidy() {
    let names = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap();
    none(top_level(names, &ignored));
    let names = ["src", ".ci", "target", "notes.txt"].map(str::to_owned);
    assert_eq!(top_level(names.into_iter(), "/target\n").len(), 1);
}

fn unnamed_modules(tree: &Tree) -> Violations {
    let mut found = Violations::new();
    let is_room = |path: &str| {
        let within = path.strip_prefix("actors/").unwrap_or(path);
        within.starts_with("src/") && (path.ends_with("/mod.rs") || within == "src/lib.rs")
    };
    let rooms = tree.iter().filter(|(path, _)| is_room(path));
    for (path, text) in rooms {
        let head: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        let modules = code(text).filter_map(|line| line.strip_suffix(';')?.rsplit_once("mod "));
        for module in modules.map(|(_, name)| name).filter(|name| !["tests", "testing"].contains(name)) {
            let is_named = ["", "mod@"].iter().any(|sort| has_word(&head, &format!("`{sort}{module}`")));
            if !is_named {
                found.push(format!("{path}: its //! lines do not name `{module}`: say what is in it"));
            }
        }
    }
    found
}

fn left_for_later(tree: &Tree) -> Violations {
    let mut found = Violations::new();
    for (path, text) in sources(tree) {
        for (number, line) in (1..).zip(text.lines()) {
            for mark in LATER.iter().filter(|mark| line.contains(**mark)) {
                found.push(format!("{path}:{number}: {mark}: do it now, or open an issue and take it out"));
            }
        }
    }
    found
}

fn shapes(tree: &Tree) -> Violations {
    let mut found = Violations::new();
    for (path, text) in sources(tree) {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            found.push(format!(
                "{path}: {lines} lines, at most {LINES_MAX}: when a story gets a second hero, it becomes two files"
            ));
        }
        if !text.starts_with("//! ") {
            found.push(format!("{path}: begins without a //! line: say what this file promises"));
        }
    }
    found
}

fn makefile(text: &str) -> Violations {
    let mut recipes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut target = "";
    for line in text.lines() {
        if line.starts_with('\t') {
            *recipes.entry(target).or_default() += 1;
        } else if let Some((name, _)) = line.split_once(':')
            && !name.starts_with('.')
        {
            target = name;
            recipes.insert(target, 0);
        }
    }
    let expected = TARGETS.map(|target| (target, 1)).into();
    match recipes == expected {
        true => Violations::new(),
        false => {
            vec![format!("Makefile: recipes {recipes:?}, should be {expected:?}: more belongs into .ci/run")]
        }
    }
}

fn top_level(names: impl Iterator<Item = String>, ignored: &str) -> Violations {
    let is_ignored = |name: &str| ignored.lines().any(|line| line.trim_matches('/') == name);
    names
        .filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()) && !is_ignored(name))
        .map(|name| {
            format!("{name}: not one of the top level's: move it into a directory, or into .gitignore")
        })
        .collect()
}
