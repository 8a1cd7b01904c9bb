//! What the rules look at: the repository's text files, and what they found in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The repository's text files by path from its root, such as `src/main.rs`.
pub(crate) type Tree = BTreeMap<String, String>;

pub(crate) type Violations = Vec<String>;

pub(crate) const SOURCE_DIRS: [&str; 4] = ["src", "actors", "tests", "benches"];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn tree() -> Tree {
    let mut tree = Tree::new();
    SOURCE_DIRS.iter().for_each(|dir| walk(dir, &mut tree));
    for path in ["Makefile", "README.md", ".ci/run"] {
        tree.insert(path.to_owned(), fs::read_to_string(root().join(path)).expect(path));
    }
    tree
}

pub(crate) fn walk(dir: &str, tree: &mut Tree) {
    tree.extend(files(dir).into_iter().filter(|(path, _)| path.ends_with(".rs")));
}

/// All files below a directory.
pub(crate) fn files(dir: &str) -> Tree {
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

pub(crate) fn one(path: &str, text: &str) -> Tree {
    Tree::from([(path.to_owned(), text.to_owned())])
}

pub(crate) fn none(violations: Violations) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

pub(crate) fn sources(tree: &Tree) -> impl Iterator<Item = (&String, &String)> {
    tree.iter().filter(|(path, _)| path.ends_with(".rs"))
}

pub(crate) fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}
