//! README.md tells the truth: its commands, flags, links and examples exist.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::tree::{Tree, Violations, files, none, root, tree, word};

/// Short programs that README.md shows and `tests/clients` runs.
const EXAMPLES: &str = "tests/clients/examples";

const COMMANDS: [&str; 2] = ["cargo run --release -- demo", "cargo test --workspace"];

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
