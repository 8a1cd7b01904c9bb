//! The house rules that a reviewer would otherwise have to repeat, checked over the source tree.
//!
//! A rule is a function from a [`Tree`] to its violations, each of which says how to fix it. Every rule is also run
//! on a tree that breaks it: a check that cannot fail checks nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The repository's text files by path from its root, such as `src/main.rs`.
type Tree = BTreeMap<String, String>;
type Violations = Vec<String>;

const SOURCE_DIRS: [&str; 4] = ["src", "actors", "tests", "benches"];
const LINES_MAX: usize = 650;

const TOP_LEVEL: [&str; 11] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "Makefile",
    "LICENSE",
    "CHANGELOG.md",
    "src",
    "actors",
    "tests",
    "benches",
    "configs",
];
/// Short programs that README.md shows and `tests/clients` runs.
const EXAMPLES: &str = "tests/clients/examples";
const TARGETS: [&str; 5] = ["build", "test", "demo", "torture", "clean"];
const COMMANDS: [&str; 2] = ["cargo run --release -- demo", "cargo test --workspace"];

/// What each part of the engine may import of the crate; the longest prefix of a path counts.
///
/// The parts that are not here tie the others together: `boot`, `doctor`, `supervisor`, `engine`, `inspect`, `testing`.
/// `messages` and the actors know more than `design.md` says: the types that travel, and what an actor translates.
const ENGINE_IMPORTS: [(&str, &[&str]); 23] = [
    ("ids", &[]),
    ("jobs", &["bugs", "ids", "jobs"]),
    ("storage", &["bugs"]),
    ("uring", &["storage"]),
    ("urgent", &[]),
    ("msgpack", &[]),
    ("stored", &["ids", "jobs"]),
    // What can be asked and answered, without the engine that does it.
    ("requests", &["ids", "jobs"]),
    ("status", &["ids", "jobs", "snapshot"]),
    ("metrics", &[]),
    ("clock", &["ids"]),
    ("options", &["jobs"]),
    ("wal", &["failpoint", "bugs", "ids", "jobs", "msgpack", "storage", "stored", "wal"]),
    ("wal/actor", &["failpoint", "clock", "engine", "guard", "ids", "messages", "metrics", "options", "wal"]),
    ("snapshot", &["bodies", "bugs", "ids", "jobs", "msgpack", "options", "snapshot", "storage", "stored"]),
    ("snapshot/actor", &["failpoint", "clock", "guard", "ids", "jobs", "messages", "metrics", "snapshot"]),
    ("guard", &["ids", "messages"]),
    // What travels in them, but no actor: see `messages_know_no_actor`.
    ("messages", &["engine", "ids", "jobs", "snapshot", "wal", "worker"]),
    ("journal", &["ids", "jobs", "wal"]),
    ("worker", &["ids", "jobs", "worker"]),
    ("worker/attempt", &["ids", "jobs", "messages", "worker"]),
    ("worker/actor", &["guard", "ids", "jobs", "messages", "worker"]),
    (
        "manager",
        &[
            "failpoint",
            "clock",
            "engine",
            "guard",
            "ids",
            "jobs",
            "journal",
            "manager",
            "messages",
            "metrics",
            "options",
            "wal",
            "worker",
        ],
    ),
];
/// The only modules with unsafe code: system calls that nothing wraps. Each says why at its head.
const UNSAFE: [&str; 2] = ["actors/src/uring.rs", "actors/src/urgent.rs"];
/// Who sends, receives or is a message of actix's.
const ACTIX_IMPORTERS: [&str; 8] =
    ["manager", "supervisor", "wal/actor", "snapshot/actor", "worker/actor", "messages", "guard", "engine"];
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
const PUBLIC_MODULES: [&str; 10] =
    ["clock", "doctor", "engine", "ids", "inspect", "jobs", "metrics", "options", "oracle", "worker"];

#[test]
fn engine_modules_import_only_what_the_design_lets_them() {
    none(engine_imports(&tree()));

    let of = |path, text| engine_imports(&one(path, text)).len();
    assert_eq!(of("actors/src/wal/reader.rs", "use crate::{ids::{Lsn, Token}, snapshot::store};\n"), 1);
    assert_eq!(of("actors/src/wal/reader.rs", "use super::super::snapshot;\n"), 1);
    assert_eq!(of("actors/src/jobs/job.rs", "let now = crate::clock::now();\n"), 1);
    assert_eq!(of("actors/src/wal/actor.rs", "// not crate::manager\nuse crate::messages::End;\n"), 0);
}

#[test]
fn messages_know_no_actor() {
    none(messages_imports(&tree()));
    assert_eq!(
        messages_imports(&one("actors/src/messages.rs", "use crate::wal::actor::WalActor;\n")).len(),
        1
    );
    assert_eq!(messages_imports(&one("actors/src/messages.rs", "use crate::manager::X;\n")).len(), 1);
}

#[test]
fn only_actors_and_their_messages_import_actix() {
    none(actix_imports(&tree()));
    assert_eq!(actix_imports(&one("actors/src/wal/writer.rs", "use actix::Actor;\n")).len(), 1);
    assert_eq!(actix_imports(&one("actors/src/wal/actor.rs", "use actix::Actor;\n")).len(), 0);
}

#[test]
fn the_job_table_is_pure() {
    none(impure(&tree()));
    assert_eq!(impure(&one("actors/src/jobs/table.rs", "let now = std::time::Instant::now();\n")).len(), 1);
    assert_eq!(impure(&one("actors/src/jobs/table.rs", "// an Instant\nlet in_an_instant = 1;\n")).len(), 0);
}

#[test]
fn unsafe_code_stays_in_its_two_modules() {
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
    let broken = "use beaver_actors::{ids::Lsn, wal::codec, storage};\n";
    assert_eq!(product_imports(&one("src/cli/run.rs", broken)).len(), 2);
}

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

#[test]
fn the_readme_tells_the_truth_about_commands_and_files() {
    let tree = tree();
    let subcommands = subcommands(&help(&[]));
    none(readme(&tree["README.md"], &tree[".ci/run"], &subcommands, &|path| root().join(path).exists()));

    let subcommands = BTreeSet::from(["run".to_owned()]);
    let of = |text: &str| {
        let text = format!("`{}` `{}` `beaver run`\n{text}", COMMANDS[0], COMMANDS[1]);
        readme(&text, &COMMANDS.join("\n"), &subcommands, &|path| path == "LICENSE").len()
    };
    assert_eq!(of("beaver is fine, see [it](LICENSE) and [that](https://example.org)"), 0);
    assert_eq!(of("`beaver sing`"), 1);
    assert_eq!(of("```sh\nls | A=1 /usr/bin/beaver sing\n```"), 1);
    assert_eq!(of("[it](gone.md#there)"), 1);
    assert_eq!(of("[it](#nowhere)"), 1);
    assert_eq!(of("# Now here!\n[it](#now-here)"), 0);
    assert_eq!(readme("`beaver run`", "", &subcommands, &|_| true).len(), 4);
    assert_eq!(readme(&COMMANDS.join("\n"), &COMMANDS.join("\n"), &subcommands, &|_| true).len(), 1);
}

#[test]
fn every_flag_in_the_readme_exists() {
    let used = flags(&fs::read_to_string(root().join("README.md")).unwrap());
    assert!(!used.is_empty());
    let unknown = used.into_iter().filter(|(command, flag)| !knows(&help(&[command]), flag));
    none(unknown.map(|(command, flag)| format!("README.md: beaver {command} has no {flag}")).collect());
    let used = flags("`FOO=1 beaver run --sing-along=3 -- --not-ours | jq --nor-this`");
    assert_eq!(used, BTreeSet::from([("run".to_owned(), "--sing-along".to_owned())]));
    assert!(!knows(&help(&["run"]), "--sing-along") && !knows(&help(&["run"]), "--work"));
}

#[test]
fn the_readme_shows_the_examples_that_are_run() {
    none(examples(&tree()["README.md"], &files(EXAMPLES)));

    let files = Tree::from([("e/greet.py".to_owned(), "print(1)\nprint(2)\n".to_owned())]);
    let of = |text: &str| examples(text, &files).len();
    assert_eq!(of("# Python\n<!-- e/greet.py -->\n```python\nprint(1)\nprint(2)\n```\n"), 0);
    assert_eq!(of("<!-- e/greet.py -->\n```python\nprint(1)\n```\nprint(2)\n```\n"), 1);
    assert_eq!(of("```python\nprint(1)\nprint(2)\n```\n"), 1);
    assert_eq!(examples("<!-- tests/clients/examples/gone.py -->", &Tree::new()).len(), 1);
}

// The rules.

fn engine_imports(tree: &Tree) -> Violations {
    let mut found = Vec::new();
    for (module, text) in engine(tree) {
        let rules = ENGINE_IMPORTS.iter().filter(|(part, _)| is_part(&module, part));
        let Some((_, allowed)) = rules.max_by_key(|(part, _)| part.len()) else { continue };
        for imported in imports(text, "crate::") {
            if !allowed.contains(&imported.as_str()) {
                found.push(format!(
                    "actors/src/{module}.rs: imports crate::{imported}, but may only know {allowed:?}: move what it \
                     needs into one of these, or hand it in as an argument"
                ));
            }
        }
        if code(text).any(|line| line.contains("super::super::")) {
            found.push(format!(
                "actors/src/{module}.rs: super::super:: hides what is imported: write crate::"
            ));
        }
    }
    found
}

fn messages_imports(tree: &Tree) -> Violations {
    let lines = engine(tree).filter(|(module, _)| module == "messages").flat_map(|(_, text)| code(text));
    let actors = lines.filter(|line| line.contains("::actor::") || line.contains("crate::manager"));
    actors
        .map(|line| format!("actors/src/messages.rs: names an actor: use a Recipient: {}", line.trim()))
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
            if !PUBLIC_MODULES.contains(&module.as_str()) {
                found.push(format!(
                    "{path}: beaver_actors::{module} is the engine's own business: ask one of {PUBLIC_MODULES:?}"
                ));
            }
        }
    }
    found
}

/// Put together, so that this file does not contain them.
const LATER: [&str; 6] = [
    concat!("to", "do!"),
    concat!("unim", "plemented!"),
    concat!("#[ig", "nore"),
    concat!("db", "g!"),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
];

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

fn readme(text: &str, ci: &str, subcommands: &BTreeSet<String>, exists: &dyn Fn(&str) -> bool) -> Violations {
    let mut found = Violations::new();
    for command in COMMANDS {
        for (name, text) in [("README.md", text), (".ci/run", ci)] {
            if !text.contains(command) {
                found.push(format!("{name}: lacks {command:?}, one of the two commands"));
            }
        }
    }
    let named: BTreeSet<_> = calls(text).into_iter().map(|(subcommand, _)| subcommand).collect();
    for name in named.difference(subcommands) {
        found.push(format!("README.md: there is no `beaver {name}`: see beaver --help"));
    }
    for name in subcommands.difference(&named) {
        found.push(format!("README.md: `beaver {name}` is not mentioned: add it to the table of commands"));
    }
    for target in text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)) {
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        if target.contains("://") {
            continue;
        }
        if !path.is_empty() && !exists(path) {
            found.push(format!("README.md: links to {path}, which does not exist"));
        }
        if path.is_empty() && !anchors(text).contains(anchor) {
            found.push(format!("README.md: links to #{anchor}, but has no such heading"));
        }
    }
    found
}

/// Each example stands in a code block right below a comment with its path, word for word.
fn examples(text: &str, files: &Tree) -> Violations {
    let shown = |path: &str| {
        let (_, rest) = text.split_once(&format!("<!-- {path} -->\n```"))?;
        Some(rest.split_once('\n')?.1.split_once("```")?.0)
    };
    let mut found = Violations::new();
    for (path, _) in files.iter().filter(|(path, text)| shown(path) != Some(text.as_str())) {
        found.push(format!("README.md: does not show {path} as it is, right below a line <!-- {path} -->"));
    }
    let named = text.split("<!-- ").skip(1).filter_map(|rest| Some(rest.split_once(" -->")?.0));
    for path in named.filter(|path| path.starts_with(EXAMPLES) && !files.contains_key(*path)) {
        found.push(format!("README.md: shows {path}, which does not exist"));
    }
    found
}

// What the rules look at.

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn tree() -> Tree {
    let mut tree = Tree::new();
    SOURCE_DIRS.iter().for_each(|dir| walk(dir, &mut tree));
    for path in ["Makefile", "README.md", ".ci/run"] {
        tree.insert(path.to_owned(), fs::read_to_string(root().join(path)).expect(path));
    }
    tree
}

fn walk(dir: &str, tree: &mut Tree) {
    tree.extend(files(dir).into_iter().filter(|(path, _)| path.ends_with(".rs")));
}

/// All files below a directory.
fn files(dir: &str) -> Tree {
    let mut tree = Tree::new();
    for entry in fs::read_dir(root().join(dir)).expect(dir) {
        let entry = entry.unwrap();
        let path = format!("{dir}/{}", entry.file_name().to_str().expect("a UTF-8 name"));
        if entry.file_type().unwrap().is_dir() {
            tree.append(&mut files(&path));
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            tree.insert(path, text);
        }
    }
    tree
}

fn one(path: &str, text: &str) -> Tree {
    Tree::from([(path.to_owned(), text.to_owned())])
}

fn none(violations: Violations) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

fn sources(tree: &Tree) -> impl Iterator<Item = (&String, &String)> {
    tree.iter().filter(|(path, _)| path.ends_with(".rs"))
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
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| line.split_once(" // ").map_or(line, |(code, _)| code))
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_part_of_a_word) && !line[at + word.len()..].starts_with(is_part_of_a_word)
    })
}

/// The modules named right behind `prefix`, alone or in braces.
fn imports(text: &str, prefix: &str) -> BTreeSet<String> {
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

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The commands in Markdown's code, in blocks and in lines.
fn commands(markdown: &str) -> Vec<&str> {
    let mut code = Vec::new();
    for (number, block) in markdown.split("```").enumerate() {
        match number % 2 {
            0 => code.extend(block.split('`').skip(1).step_by(2)),
            _ => code.extend(block.lines().skip(1)),
        }
    }
    code.into_iter().flat_map(|line| line.split(['|', ';', '&', '('])).collect()
}

/// Each use of beaver in Markdown's code: the subcommand, and the words behind it.
fn calls(markdown: &str) -> Vec<(String, Vec<&str>)> {
    let mut calls = Vec::new();
    for command in commands(markdown) {
        let mut words = command.split_whitespace().skip_while(|word| {
            word.rsplit(['=', '/']).next() != Some("beaver") && (word.contains('=') || word.contains('$'))
        });
        let is_beaver = words.next().is_some_and(|word| word.rsplit(['=', '/']).next() == Some("beaver"));
        if let (true, Some(subcommand)) = (is_beaver, words.next())
            && subcommand.chars().all(|c| c.is_ascii_lowercase())
        {
            calls.push((subcommand.to_owned(), words.collect()));
        }
    }
    calls
}

/// Flags of beaver in Markdown's code, with their subcommands.
fn flags(markdown: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for (subcommand, words) in calls(markdown) {
        let ours = words.into_iter().take_while(|word| *word != "--");
        for flag in ours.filter(|word| word.starts_with("--")) {
            let flag = flag.split('=').next().unwrap_or(flag);
            found.insert((subcommand.clone(), flag.to_owned()));
        }
    }
    found
}

/// The anchors of Markdown's headings.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings =
        markdown.lines().filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').trim()));
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

fn help(of: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_beaver")).args(of).arg("--help").output().unwrap();
    assert!(output.status.success(), "beaver {of:?} --help: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn subcommands(help: &str) -> BTreeSet<String> {
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    listed.map(|line| word(line.trim())).filter(|name| name != "help").collect()
}

fn knows(help: &str, flag: &str) -> bool {
    help.split(|c: char| c.is_whitespace() || ['[', '=', ',', '<', '|', '>'].contains(&c))
        .any(|word| word == flag)
}
