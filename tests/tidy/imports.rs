//! What may know what: the engine's parts each other, actix and unsafe code, the product the engine.

use std::collections::BTreeSet;

use crate::tree::{Tree, Violations, none, one, sources, tree, word};

/// The only modules with unsafe code: system calls that nothing wraps. They say why at their heads.
const UNSAFE: [&str; 3] =
    ["actors/src/storage/sched.rs", "actors/src/base/kernel_clock.rs", "src/server/give_back.rs"];

/// Who sends, receives or is a message of actix's.
const ACTIX_IMPORTERS: [&str; 1] = ["engine"];

/// `jobs/` gets time and dice as arguments, and never touches a file, a clock or an actor.
const NOT_PURE: [&str; 10] = [
    "actix",
    "tokio",
    "jiff",
    "std::fs",
    "std::io",
    "std::net",
    "std::thread",
    "std::env",
    "SystemTime",
    "Instant",
];

/// What the product may know of the engine.
const PUBLIC_MODULES: [&str; 6] = ["api", "base", "engine", "ids", "jobs", "tools"];

#[test]
fn imports_of_the_engine_can_be_read_where_they_stand() {
    none(hidden_imports(&tree()));
    assert_eq!(hidden_imports(&one("actors/src/wal/reader.rs", "use super::super::snapshot;\n")).len(), 1);
}

#[test]
fn messages_know_no_actor() {
    none(messages_imports(&tree()));
    assert_eq!(
        messages_imports(&one("actors/src/engine/messages.rs", "use crate::wal::actor::WalActor;\n")).len(),
        1
    );
    assert_eq!(
        messages_imports(&one("actors/src/engine/messages.rs", "use crate::engine::manager::X;\n")).len(),
        1
    );
}

#[test]
fn only_actors_and_their_messages_import_actix() {
    none(actix_imports(&tree()));
    assert_eq!(actix_imports(&one("actors/src/wal/writer.rs", "use actix::Actor;\n")).len(), 1);
    assert_eq!(actix_imports(&one("actors/src/engine/log/actor.rs", "use actix::Actor;\n")).len(), 0);
}

#[test]
fn the_job_table_is_pure() {
    none(impure(&tree()));
    assert_eq!(impure(&one("actors/src/jobs/table.rs", "let now = std::time::Instant::now();\n")).len(), 1);
    assert_eq!(impure(&one("actors/src/jobs/table.rs", "// an Instant\nlet in_an_instant = 1;\n")).len(), 0);
}

#[test]
fn unsafe_code_stays_in_its_module() {
    none(unsafe_exceptions(&tree()));
    let exception = concat!("#![expect(unsafe", "_code, reason = \"fast\")]\n");
    assert_eq!(unsafe_exceptions(&one("actors/src/wal/writer.rs", exception)).len(), 1);
    assert_eq!(unsafe_exceptions(&one(UNSAFE[0], exception)).len(), 0);
    let silent = exception.replace("expect", "allow");
    assert_eq!(unsafe_exceptions(&one("src/main.rs", &silent)).len(), 1);
}

#[test]
fn the_product_uses_only_public_modules_of_the_engine() {
    none(product_imports(&tree()));
    let broken = "use beaver_actors::{ids::Seq, wal::codec, storage};\n";
    assert_eq!(product_imports(&one("src/cli/run.rs", broken)).len(), 2);
    let testing = "use beaver_actors::testing::accepted;\n";
    assert_eq!(product_imports(&one("src/cli/run.rs", testing)).len(), 1);
    assert_eq!(product_imports(&one("src/cli/run/tests.rs", testing)).len(), 0);
}

fn hidden_imports(tree: &Tree) -> Violations {
    let hides = |text: &str| code(text).any(|line| line.contains("super::super::"));
    let files = engine(tree).filter(|(_, text)| hides(text));
    files
        .map(|(module, _)| {
            format!("actors/src/{module}.rs: super::super:: hides what is imported: write crate::")
        })
        .collect()
}

fn messages_imports(tree: &Tree) -> Violations {
    let lines =
        engine(tree).filter(|(module, _)| module == "engine/messages").flat_map(|(_, text)| code(text));
    let actors = lines.filter(|line| line.contains("::actor::") || line.contains("crate::engine::manager"));
    actors
        .map(|line| {
            format!("actors/src/engine/messages.rs: names an actor: use a Recipient: {}", line.trim())
        })
        .collect()
}

fn actix_imports(tree: &Tree) -> Violations {
    engine(tree)
        .filter(|(module, _)| !ACTIX_IMPORTERS.iter().any(|part| is_part(module, part)))
        .filter(|(_, text)| code(text).any(|line| has_word(line, "actix") || has_word(line, "actix_rt")))
        .map(|(module, _)| {
            format!("actors/src/{module}.rs: knows actix: keep rules in plain types and messages in an actor.rs beside them")
        })
        .collect()
}

fn impure(tree: &Tree) -> Violations {
    let mut found = Violations::new();
    for (module, text) in engine(tree).filter(|(module, _)| is_part(module, "jobs")) {
        for word in NOT_PURE.iter().filter(|word| code(text).any(|line| has_word(line, word))) {
            found.push(format!(
                "actors/src/{module}.rs: {word} is not pure: take what it gives as an argument"
            ));
        }
    }
    found
}

/// The lint itself is denied in Cargo.toml; only an exception from it lets unsafe code in.
fn unsafe_exceptions(tree: &Tree) -> Violations {
    let others = sources(tree).filter(|(path, _)| !UNSAFE.contains(&path.as_str()));
    others
        .filter(|(_, text)| code(text).any(|line| has_word(line, concat!("unsafe", "_code"))))
        .map(|(path, _)| {
            format!("{path}: an exception for unsafe code: find a safe wrapper, or put it into {UNSAFE:?}")
        })
        .collect()
}

fn product_imports(tree: &Tree) -> Violations {
    let mut found = Violations::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.starts_with("src/")) {
        for module in imports(text, "beaver_actors::") {
            let is_for_tests = module == "testing" && path.ends_with("/tests.rs");
            if !PUBLIC_MODULES.contains(&module.as_str()) && !is_for_tests {
                found.push(format!(
                    "{path}: beaver_actors::{module} is the engine's own business: ask one of {PUBLIC_MODULES:?}"
                ));
            }
        }
    }
    found
}

/// The engine's files by module path, such as `wal/reader`; that of `wal/mod.rs` is `wal`.
fn engine(tree: &Tree) -> impl Iterator<Item = (String, &str)> {
    tree.iter().filter_map(|(path, text)| {
        let module = path.strip_prefix("actors/src/")?.strip_suffix(".rs")?;
        Some((module.strip_suffix("/mod").unwrap_or(module).to_owned(), text.as_str()))
    })
}

fn is_part(module: &str, of: &str) -> bool {
    module.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The lines that are not comments, each without a comment at its end.
pub(crate) fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| line.split_once(" // ").map_or(line, |(code, _)| code))
}

pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let is_part_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_part_of_a_word) && !line[at + word.len()..].starts_with(is_part_of_a_word)
    })
}

/// The modules named right behind `prefix`, alone or in braces.
pub(crate) fn imports(text: &str, prefix: &str) -> BTreeSet<String> {
    let text = code(text).collect::<Vec<_>>().join("\n");
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices(prefix) {
        let rest = &text[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.insert(word(rest));
            continue;
        };
        let (mut depth, mut start) = (0, 0);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    names.insert(word(group[start..at].trim()));
                    start = at + 1;
                    if c == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    names.retain(|name| !name.is_empty());
    names
}
