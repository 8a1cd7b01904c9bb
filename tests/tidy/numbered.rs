//! What has a number keeps it: the rows of the fault list, which tests name, and the decisions.

use std::collections::BTreeSet;

use crate::docs::pages;
use crate::tree::{Tree, Violations, none, one, sources, tree};

const FAULTS: &str = "docs/faults.md";
const DECISIONS: &str = "docs/decisions/";

/// What the table at the head of a decision says.
const DECISION_ROWS: [&str; 4] = ["date", "commit", "machine", "command"];

#[test]
fn the_fault_list_names_tests_that_exist_and_all_that_name_its_rows() {
    none(faults(&pages()[FAULTS], &tree()));

    let tree = one(
        "actors/tests/engine/wal.rs",
        "/// Rows 1 and 3 to 4: a sentence of 2030.\n#[test]\nfn is_it() {}\n",
    );
    let of = |text: &str| faults(text, &tree).len();
    let good = "| 1 | a | b | `engine::wal::is_it` |\n| 2 | a | b | `engine::wal`, `RLIMIT` |\n\n| 3 | a | b |\n| 4 | a | b |\n";
    assert_eq!(of(good), 0);
    assert_eq!(of(&good.replace("| 2 |", "| 5 |")), 1, "numbers have no gap");
    assert_eq!(of(&good.replace("| 4 |", "| 3 |")), 2, "and no double; row 4 is named by a test");
    assert_eq!(
        of(&good.replace("| 1 |", "| 9 |").replace("| 2 |", "| 1 |").replace("| 9 |", "| 2 |")),
        1,
        "in order"
    );
    assert_eq!(
        of("| 3 | a | `engine::wal::is_it` |\n\n| 1 | a |\n| 2 | a |\n| 4 | a |\n"),
        0,
        "of their table"
    );
    assert_eq!(
        of(&good.replace("engine::wal::is_it", "engine::wal::is_it_not")),
        2,
        "nothing of that name; unnamed"
    );
    assert_eq!(of(&good.replace("engine::wal::is_it", "engine::log::is_it")), 1, "not in that file");
    assert_eq!(of(&good.replace("`engine::wal`", "`engine::log`")), 1, "no such file");
}

#[test]
fn decisions_are_numbered_and_say_when_and_how_they_were_measured() {
    none(decisions(&pages()));

    let text =
        "# 0001: Yes\n\n| | |\n|---|---|\n| date | a |\n| commit | b |\n| machine | c |\n| command | d |\n";
    let of = |path: &str, text: &str| {
        let mut pages = one("docs/decisions/README.md", "");
        pages.insert(path.to_owned(), text.to_owned());
        decisions(&pages).len()
    };
    assert_eq!(of("docs/decisions/0001-yes.md", text), 0);
    assert_eq!(of("docs/decisions/0002-yes.md", text), 2, "neither the first nor its heading's");
    assert_eq!(of("docs/decisions/yes.md", text), 1);
    assert_eq!(of("docs/decisions/0001-yes.md", &text.replace("| machine |", "| place |")), 1);
    assert_eq!(of("docs/decisions/0001-yes.md", &text.replace("# 0001: ", "# ")), 1);
}

fn faults(list: &str, tree: &Tree) -> Violations {
    let mut found = Violations::new();
    let mut rows = BTreeSet::new();
    let mut before = 0;
    for line in list.lines() {
        let Some(number) = row_number(line) else {
            // A row that is mended moves up, so the order is one of each table.
            before = 0;
            continue;
        };
        if !rows.insert(number) || number <= before {
            found.push(format!("{FAULTS}: row {number} stands behind row {before}, or twice"));
        }
        before = number;
        for name in code_spans(line).filter(|name| name.contains("::") && !is_there(name, tree)) {
            found
                .push(format!("{FAULTS}: row {number} names {name}, which is neither a function nor a file"));
        }
    }
    if let Some(gap) = (1..=rows.len()).find(|number| !rows.contains(number)) {
        found.push(format!("{FAULTS}: there is no row {gap}"));
    }
    for (path, text) in sources(tree) {
        for (numbers, test) in cited(text) {
            if !code_spans(list).any(|name| name.rsplit("::").next() == Some(test)) {
                found.push(format!("{path}: {test} names a row of {FAULTS}: name it there, too"));
            }
            for number in numbers.into_iter().filter(|number| !rows.contains(number)) {
                found.push(format!("{path}: {test} names row {number}, which {FAULTS} does not have"));
            }
        }
    }
    found
}

fn decisions(pages: &Tree) -> Violations {
    let mut found = Violations::new();
    let written = pages.iter().filter_map(|(path, text)| Some((path, path.strip_prefix(DECISIONS)?, text)));
    for (before, (path, name, text)) in written.filter(|(_, name, _)| *name != "README.md").enumerate() {
        let Some(number) =
            name.split('-').next().filter(|number| number.len() == 4 && number.parse::<u16>().is_ok())
        else {
            found.push(format!("{path}: a decision is called NNNN-what-it-is-about.md"));
            continue;
        };
        if number.parse() != Ok(before + 1) {
            found.push(format!("{path}: should be number {:04}: no gaps, no doubles", before + 1));
        }
        if !text.starts_with(&format!("# {number}: ")) {
            found.push(format!("{path}: begins with \"# {number}: \" and the decision in a sentence"));
        }
        for row in DECISION_ROWS.iter().filter(|row| !text.contains(&format!("\n| {row} | "))) {
            found.push(format!(
                "{path}: has no row {row:?} in the table at its head; \"not recorded\" is an answer"
            ));
        }
    }
    found
}

/// The number of a row of the fault list.
fn row_number(line: &str) -> Option<usize> {
    line.strip_prefix("| ")?.split_once(" |")?.0.parse().ok()
}

fn code_spans(markdown: &str) -> impl Iterator<Item = &str> {
    markdown.split('`').skip(1).step_by(2)
}

/// Whether `a::b` is a file, or a function `b` in a file `a`, told by the end of its path.
fn is_there(name: &str, tree: &Tree) -> bool {
    let (modules, function) = name.rsplit_once("::").expect("a name with a file in front");
    let function = format!("fn {function}(");
    sources(tree).any(|(path, text)| {
        let path = path.strip_suffix(".rs").unwrap_or(path);
        let path = ["/mod", "/main", "/tests"].iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path);
        let ends_in = |modules: &str| path.ends_with(&format!("/{}", modules.replace("::", "/")));
        ends_in(name) || (ends_in(modules) && text.contains(&function))
    })
}

/// The rows that tests name in the first sentence of their docs, with the names of these tests.
fn cited(text: &str) -> Vec<(BTreeSet<usize>, &str)> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let Some(rows) = line.strip_prefix("/// Row ").or_else(|| line.strip_prefix("/// Rows ")) else {
            continue;
        };
        let test = text.lines().skip(at).find_map(|line| {
            let (_, name) = line.split_once("fn ")?;
            Some(name.split_once('(')?.0)
        });
        found.extend(test.map(|test| (numbers(rows), test)));
    }
    found
}

/// `1 and 3 to 5, 7: and so on in 2030` are 1, 3, 4, 5 and 7.
fn numbers(rows: &str) -> BTreeSet<usize> {
    let mut numbers = BTreeSet::new();
    let mut from = None;
    for word in rows.split_inclusive([' ', ',', '.', ':', ';']) {
        let ends = word.ends_with(['.', ':', ';']);
        match word.trim_end_matches([' ', ',', '.', ':', ';']) {
            "to" => from = numbers.last().copied(),
            "and" | "" => {}
            word => {
                let Ok(number) = word.parse() else { break };
                numbers.extend(from.take().unwrap_or(number)..=number);
            }
        }
        if ends {
            break;
        }
    }
    numbers
}
