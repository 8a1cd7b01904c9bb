//! README.md and docs/ tell the truth: their commands, flags, links and examples exist.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::tree::{Tree, Violations, files, none, one, root, sources, tree, word};

/// README sells and starts; everything else has a page in docs/.
const README_LINES_MAX: usize = 250;

/// Short programs that pages show and tests run.
const EXAMPLES: [&str; 2] = ["tests/clients/examples", "actors/examples"];

/// How the path of something in the repository begins.
const PLACES: [&str; 7] = ["actors/", "src/", "tests/", "benches/", "configs/", "docs/", ".ci/"];

const COMMANDS: [&str; 2] = ["cargo run --release -- demo", "cargo test --workspace"];

#[test]
fn the_readme_is_short_and_names_the_two_commands_and_all_of_beavers() {
    let subcommands = subcommands(&help(&[]));
    none(readme(&pages()["README.md"], &tree()[".ci/run"], &subcommands));

    let subcommands = BTreeSet::from(["run".to_owned()]);
    let text = format!("`{}` `{}` `beaver run`\n", COMMANDS[0], COMMANDS[1]);
    let ci = COMMANDS.join("\n");
    assert_eq!(readme(&text, &ci, &subcommands), Violations::new());
    assert_eq!(readme(&format!("{text}{}", "\n".repeat(README_LINES_MAX)), &ci, &subcommands).len(), 1);
    assert_eq!(readme("`beaver run`", "", &subcommands).len(), 4);
    assert_eq!(readme(&ci, &ci, &subcommands).len(), 1);
}

#[test]
fn every_command_and_flag_in_a_page_exists() {
    // What has changed when may name commands that are gone since.
    let pages: Tree = pages().into_iter().filter(|(path, _)| path != "CHANGELOG.md").collect();
    let known = subcommands(&help(&[]));
    none(unknown_commands(&pages, &known));
    none(unknown_flags(&pages, &|command, flag| knows(&help(&[command]), flag)));
    assert!(pages.values().any(|text| !flags(text).is_empty()));

    let known = BTreeSet::from(["run".to_owned()]);
    let of = |text: &str| unknown_commands(&one("docs/a.md", text), &known).len();
    assert_eq!(of("beaver is fine, as is `beaver run --sing`"), 0);
    assert_eq!(of("`beaver sing`"), 1);
    assert_eq!(of("```sh\nls | A=1 /usr/bin/beaver sing\n```"), 1);
    let of = |text: &str| unknown_flags(&one("docs/a.md", text), &|_, flag| flag == "--work").len();
    assert_eq!(of("`FOO=1 beaver run --work=3 -- --not-ours | jq --nor-this`"), 0);
    assert_eq!(of("`beaver run --sing-along=3`"), 1);
    assert!(!knows(&help(&["run"]), "--sing-along") && !knows(&help(&["run"]), "--work"));
    assert!(knows(&help(&["run"]), "--workers"));
}

#[test]
fn every_link_in_a_page_leads_somewhere() {
    none(dead_links(&pages(), &|path| root().join(path).exists()));

    let of = |text: &str| {
        let mut pages = one("docs/deep/a.md", text);
        pages.insert("docs/b.md".to_owned(), "# Now here!\n```sh\n# not here\n```\n".to_owned());
        dead_links(&pages, &|path| ["LICENSE", "docs/b.md"].contains(&path)).len()
    };
    assert_eq!(of("see [it](../../LICENSE) and [that](https://example.org) and ![this](../b.md)"), 0);
    assert_eq!(of("[it](LICENSE)"), 1);
    assert_eq!(of("[it](gone.md#there)"), 1);
    assert_eq!(of("[it](../../../LICENSE)"), 1);
    assert_eq!(of("[it](#nowhere)"), 1);
    assert_eq!(of("# Now here!\n[it](#now-here)"), 0);
    assert_eq!(of("[it](../b.md#now-here)"), 0);
    assert_eq!(of("[it](../b.md#not-here)"), 1);
    assert_eq!(of("[it](../../LICENSE#mit)"), 1);
    assert_eq!(of("```c\na[1](gone)\n```\n"), 0);
}

#[test]
fn what_pages_name_in_the_repository_is_there_and_so_is_every_page_that_something_names() {
    let exists = |path: &str| root().join(path).exists();
    none(gone_paths(&pages(), &exists));
    // The engine names its own tests as seen from its crate.
    none(gone_paths(&comments(&tree()), &|path| exists(path) || exists(&format!("actors/{path}"))));
    let of = |page: &str, text: &str| gone_paths(&one(page, text), &|path| path == "src/cli").len();
    assert_eq!(
        of("docs/a.md", "`src/cli`, `source/cli`, `src/NNNN-*.md`, `ls src/sing`\n```\nsrc/sing\n```\n"),
        0
    );
    assert_eq!(of("docs/a.md", "as `src/sing` does"), 1);
    assert_eq!(of("docs/decisions/0001-a.md", "as `src/sing` did"), 0);
    let of = |text: &str| gone_paths(&comments(&one("src/a.rs", text)), &|path| path == "src/b.rs").len();
    assert_eq!(of("//! See `src/b.rs`.\nlet a = \"`src/c.rs`\";\n"), 0);
    assert_eq!(of("//! | a limit | `src/b.rs` (`B`), `src/c.rs` |\n    // Not as in `src/d.rs`.\n"), 2);

    none(gone_pages(&tree(), &pages()));
    let of = |text: &str| gone_pages(&one("src/a.rs", text), &one("docs/decisions/0007-b.md", "")).len();
    assert_eq!(of("//! A (docs/decisions/0007, docs/decisions/0007-b.md).\n\"../docs/\", \"mydocs/x\""), 0);
    assert_eq!(of("// Why: docs/decisions/0008."), 1);
    assert_eq!(of("// See docs/b.md, and docs/decisions/0007-c.md."), 2);
}

#[test]
fn every_target_that_a_page_has_cargo_run_exists() {
    none(unknown_targets(&pages(), &targets()));

    let known = BTreeSet::from(["engine".to_owned()]);
    let of = |text: &str| unknown_targets(&one("docs/a.md", text), &known).len();
    assert_eq!(of("`cargo bench --bench engine -- --test sing`, `A=1 cargo test --test engine sing`"), 0);
    assert_eq!(of("`cargo bench --bench sing`"), 1);
    assert_eq!(of("```sh\nA=1 cargo test --test sing\n```"), 1);
    assert!(targets().contains("engine") && targets().contains("tidy") && !targets().contains("sing"));
}

#[test]
fn every_page_is_found_from_the_readme() {
    none(lost_pages(&pages()));

    let mut pages = one("README.md", "[a](docs/a.md)");
    pages.insert("docs/a.md".to_owned(), "[b](deep/b.md#there)".to_owned());
    pages.insert("docs/deep/b.md".to_owned(), "[a](../a.md)".to_owned());
    assert_eq!(lost_pages(&pages), Violations::new());
    pages.insert("README.md".to_owned(), String::new());
    assert_eq!(lost_pages(&pages).len(), 2);
}

#[test]
fn the_pages_show_the_examples_that_are_run() {
    let examples: Tree = EXAMPLES.iter().flat_map(|dir| files(dir)).collect();
    none(shown_examples(&pages(), &examples));

    let examples = Tree::from([("e/greet.py".to_owned(), "print(1)\nprint(2)\n".to_owned())]);
    let of = |text: &str| shown_examples(&one("docs/a.md", text), &examples).len();
    assert_eq!(of("# Python\n<!-- e/greet.py -->\n```python\nprint(1)\nprint(2)\n```\n"), 0);
    assert_eq!(of("<!-- e/greet.py -->\n```python\nprint(1)\n```\nprint(2)\n```\n"), 1);
    assert_eq!(of("```python\nprint(1)\nprint(2)\n```\n"), 1);
    let gone = format!("<!-- {}/gone.py -->", EXAMPLES[0]);
    assert_eq!(shown_examples(&one("docs/a.md", &gone), &Tree::new()).len(), 1);
}

/// What is written for people: README, the changes, and docs/.
pub(crate) fn pages() -> Tree {
    let mut pages: Tree = files("docs").into_iter().filter(|(path, _)| path.ends_with(".md")).collect();
    for path in ["README.md", "CHANGELOG.md"] {
        pages.insert(path.to_owned(), std::fs::read_to_string(root().join(path)).expect(path));
    }
    pages
}

fn readme(text: &str, ci: &str, subcommands: &BTreeSet<String>) -> Violations {
    let mut found = Violations::new();
    let lines = text.lines().count();
    if lines > README_LINES_MAX {
        found.push(format!(
            "README.md: {lines} lines, at most {README_LINES_MAX}: what does not sell or start goes to a page in docs/"
        ));
    }
    for command in COMMANDS {
        for (name, text) in [("README.md", text), (".ci/run", ci)] {
            if !text.contains(command) {
                found.push(format!("{name}: lacks {command:?}, one of the two commands"));
            }
        }
    }
    let named: BTreeSet<_> = calls(text).into_iter().map(|(subcommand, _)| subcommand).collect();
    for name in subcommands.difference(&named) {
        found.push(format!("README.md: `beaver {name}` is not mentioned: add it to the table of commands"));
    }
    found
}

fn unknown_commands(pages: &Tree, known: &BTreeSet<String>) -> Violations {
    let mut found = Violations::new();
    for (path, text) in pages {
        let named: BTreeSet<_> = calls(text).into_iter().map(|(subcommand, _)| subcommand).collect();
        for name in named.difference(known) {
            found.push(format!("{path}: there is no `beaver {name}`: see beaver --help"));
        }
    }
    found
}

fn unknown_flags(pages: &Tree, knows: &dyn Fn(&str, &str) -> bool) -> Violations {
    let mut found = Violations::new();
    for (path, text) in pages {
        let unknown = flags(text).into_iter().filter(|(command, flag)| !knows(command, flag));
        found.extend(unknown.map(|(command, flag)| format!("{path}: beaver {command} has no {flag}")));
    }
    found
}

fn dead_links(pages: &Tree, exists: &dyn Fn(&str) -> bool) -> Violations {
    let mut found = Violations::new();
    for (page, text) in pages {
        for target in links(text) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let Some(path) = resolved(page, path) else {
                found.push(format!("{page}: links to {target}, which is outside of the repository"));
                continue;
            };
            if path != *page && !exists(&path) {
                found.push(format!("{page}: links to {path}, which does not exist"));
            } else if !anchor.is_empty()
                && !pages.get(&path).is_some_and(|text| anchors(text).contains(anchor))
            {
                found.push(format!("{page}: links to #{anchor} of {path}, which has no such heading"));
            }
        }
    }
    found
}

/// What the comments of each source file say. Those of the rules make paths up.
fn comments(tree: &Tree) -> Tree {
    sources(tree)
        .filter(|(path, _)| !path.starts_with("tests/tidy/"))
        .map(|(path, text)| {
            let comments = text.lines().filter(|line| line.trim_start().starts_with("//"));
            (path.clone(), comments.map(|line| format!("{line}\n")).collect())
        })
        .collect()
}

/// Paths in the code of pages and comments. A decision tells of its own time, and what changed when of all times.
fn gone_paths(pages: &Tree, exists: &dyn Fn(&str) -> bool) -> Violations {
    let mut found = Violations::new();
    let of_today = |page: &str| page != "CHANGELOG.md" && !page.starts_with("docs/decisions/0");
    for (page, text) in pages.iter().filter(|(page, _)| of_today(page)) {
        let code = text.split("```").step_by(2).flat_map(|prose| prose.split('`').skip(1).step_by(2));
        let paths = code.filter(|code| PLACES.iter().any(|place| code.starts_with(place)));
        for path in paths.filter(|path| !path.contains([' ', '*', ':']) && !exists(path)) {
            found.push(format!("{page}: names {path}, which does not exist"));
        }
    }
    found
}

/// Pages that are named outside of pages, such as `docs/faults.md`, or a decision by its number.
fn gone_pages(tree: &Tree, pages: &Tree) -> Violations {
    let mut found = Violations::new();
    // This file makes some up.
    for (path, text) in
        tree.iter().filter(|(path, _)| !pages.contains_key(*path) && !path.starts_with("tests/tidy/"))
    {
        for (at, _) in text.match_indices("docs/") {
            let is_whole = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '/');
            let name: String =
                text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || "/-_.".contains(*c)).collect();
            let name = name.trim_end_matches('.');
            let is_there = |page: &String| page == name || page.starts_with(&format!("{name}-"));
            if is_whole && name != "docs/" && !pages.keys().any(is_there) {
                found.push(format!("{path}: names {name}, and there is no such page"));
            }
        }
    }
    found
}

fn unknown_targets(pages: &Tree, known: &BTreeSet<String>) -> Violations {
    let mut found = Violations::new();
    for (page, text) in pages {
        for command in commands(text) {
            let ours = command.split_whitespace().take_while(|word| *word != "--").collect::<Vec<_>>();
            let is_cargo = ours.iter().find(|word| !word.contains('=')) == Some(&"cargo");
            let named = ours.windows(2).filter(|pair| is_cargo && ["--bench", "--test"].contains(&pair[0]));
            for target in named.map(|pair| pair[1]).filter(|target| !known.contains(*target)) {
                found.push(format!("{page}: there is no bench or test {target}"));
            }
        }
    }
    found
}

/// What cargo can run by name: the directories of tests, and what manifests name.
fn targets() -> BTreeSet<String> {
    let manifests = ["Cargo.toml", "actors/Cargo.toml"]
        .map(|path| std::fs::read_to_string(root().join(path)).expect(path));
    let lines = manifests.iter().flat_map(|text| text.lines());
    let named =
        lines.filter_map(|line| Some(line.strip_prefix("name = \"")?.trim_end_matches('"').to_owned()));
    let dirs = ["tests", "actors/tests"].map(|dir| std::fs::read_dir(root().join(dir)).expect(dir));
    let tests = dirs.into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    named.chain(tests).collect()
}

fn lost_pages(pages: &Tree) -> Violations {
    let mut seen = BTreeSet::new();
    let mut next = vec!["README.md".to_owned()];
    while let Some(page) = next.pop() {
        if let Some(text) = pages.get(&page)
            && seen.insert(page.clone())
        {
            let paths = links(text).filter_map(|target| target.split('#').next());
            next.extend(paths.filter_map(|path| resolved(&page, path)));
        }
    }
    let lost = pages.keys().filter(|page| !seen.contains(*page));
    lost.map(|page| format!("{page}: no chain of links leads there from README.md")).collect()
}

/// Each example stands on a page in a code block right below a comment with its path, word for word.
fn shown_examples(pages: &Tree, examples: &Tree) -> Violations {
    let mut found = Violations::new();
    for (path, text) in examples {
        let heading = format!("<!-- {path} -->\n```");
        let shown = pages.values().filter_map(|page| {
            let (_, rest) = page.split_once(&heading)?;
            Some(rest.split_once('\n')?.1.split_once("```")?.0)
        });
        if !shown.eq([text.as_str()]) {
            found.push(format!("{path}: one page shows it as it is, right below a line <!-- {path} -->"));
        }
    }
    for (page, text) in pages {
        let named = text.split("<!-- ").skip(1).filter_map(|rest| Some(rest.split_once(" -->")?.0));
        let ours = named.filter(|path| EXAMPLES.iter().any(|dir| path.starts_with(dir)));
        for path in ours.filter(|path| !examples.contains_key(*path)) {
            found.push(format!("{page}: shows {path}, which does not exist"));
        }
    }
    found
}

/// The targets of Markdown's links within the repository.
fn links(markdown: &str) -> impl Iterator<Item = &str> {
    let targets = markdown.split("```").step_by(2).flat_map(|prose| prose.split("](").skip(1));
    targets.filter_map(|rest| Some(rest.split_once(')')?.0)).filter(|target| !target.contains("://"))
}

/// A path from the repository's root, given one from a page; an empty one is the page itself.
fn resolved(page: &str, path: &str) -> Option<String> {
    if path.is_empty() {
        return Some(page.to_owned());
    }
    let mut resolved = PathBuf::from(page);
    resolved.pop();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => resolved.push(name),
            Component::ParentDir if resolved.pop() => {}
            Component::CurDir => {}
            _ => return None,
        }
    }
    resolved.into_os_string().into_string().ok()
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
    let lines = markdown.split("```").step_by(2).flat_map(str::lines);
    let headings = lines.filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').trim()));
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
