//! Which file imports which: the graph that the rules about circles and floors look at.
//!
//! Read from the text: `use` lines and paths in code, resolved through re-exports to the file that has the name. Comments,
//! literals and inline test modules do not count, nor does a `mod.rs` that only hands on what its children have.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{Tree, word};

/// A module's path from its crate's root; empty for the root itself.
pub(crate) type Module = Vec<String>;

/// The files of one crate and what each takes from which other.
pub(crate) struct Graph {
    /// The file that a module is in, as a path from the repository's root.
    pub paths: BTreeMap<Module, String>,
    /// For each module, the modules that it imports from and one name that it takes.
    pub imports: BTreeMap<Module, BTreeMap<Module, String>>,
}

/// An import as it is written: whether it is handed on, its path, and the name it is known by.
struct Use {
    is_public: bool,
    path: Vec<String>,
    name: String,
}

struct Parsed {
    uses: Vec<Use>,
    paths: Vec<Vec<String>>,
    items: BTreeSet<String>,
}

impl Graph {
    /// Of the crate whose sources are below `src`, such as `actors/src/`.
    pub fn of(tree: &Tree, src: &str) -> Graph {
        let mut paths = BTreeMap::new();
        let mut parsed = BTreeMap::new();
        for (path, text) in tree {
            let Some(module) = module_of(path, src) else { continue };
            parsed.insert(module.clone(), parse(text));
            paths.insert(module, path.clone());
        }
        let imports = parsed.iter().map(|(module, file)| {
            let mut taken = BTreeMap::new();
            let of_uses = file.uses.iter().filter_map(|one| {
                let path = absolute(&parsed, module, &one.path)?;
                let hands_on_a_child = one.is_public && path.starts_with(module) && path.len() > module.len();
                (!hands_on_a_child).then_some(path)
            });
            let in_code = file.paths.iter().filter_map(|path| absolute(&parsed, module, path));
            for path in of_uses.chain(in_code) {
                let (from, name) = resolve(&parsed, &path, &mut BTreeSet::new());
                if from != *module && !from.is_empty() {
                    taken.entry(from).or_insert(name);
                }
            }
            (module.clone(), taken)
        });
        let imports = imports.collect();
        Graph { paths, imports }
    }

    /// Sets of two or more modules each of which needs all others of its set (Tarjan's algorithm).
    pub fn circles(&self) -> Vec<Vec<Module>> {
        let mut search = Search::default();
        for module in self.imports.keys() {
            if !search.index.contains_key(module) {
                search.visit(self, module);
            }
        }
        search.found
    }
}

#[derive(Default)]
struct Search {
    index: BTreeMap<Module, usize>,
    lowest: BTreeMap<Module, usize>,
    stack: Vec<Module>,
    found: Vec<Vec<Module>>,
}

impl Search {
    fn visit(&mut self, graph: &Graph, module: &Module) {
        let number = self.index.len();
        self.index.insert(module.clone(), number);
        self.lowest.insert(module.clone(), number);
        self.stack.push(module.clone());
        for next in graph.imports.get(module).into_iter().flat_map(BTreeMap::keys) {
            let reached = match self.index.get(next) {
                None => {
                    self.visit(graph, next);
                    self.lowest[next]
                }
                Some(number) if self.stack.contains(next) => *number,
                Some(_) => continue,
            };
            let lowest = self.lowest[module].min(reached);
            self.lowest.insert(module.clone(), lowest);
        }
        if self.lowest[module] == number {
            let at = self.stack.iter().position(|one| one == module).expect("it was put there above");
            let set = self.stack.split_off(at);
            if set.len() > 1 {
                self.found.push(set);
            }
        }
    }
}

/// The module that a file is; none for tests and for the program's own main file.
fn module_of(path: &str, src: &str) -> Option<Module> {
    let path = path.strip_prefix(src)?.strip_suffix(".rs")?;
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" => Some(Vec::new()),
        "main" => None,
        _ if path.ends_with("/tests") => None,
        _ => Some(path.split('/').map(str::to_owned).collect()),
    }
}

fn absolute(parsed: &BTreeMap<Module, Parsed>, module: &Module, path: &[String]) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let (_, parent) = module.split_last()?;
            match rest.first().is_some_and(|next| next == "super") {
                true => absolute(parsed, &parent.to_vec(), rest),
                false => Some([parent, rest].concat()),
            }
        }
        child => {
            let child = [module.as_slice(), &[child.to_owned()]].concat();
            parsed.contains_key(&child).then(|| [module.as_slice(), path].concat())
        }
    }
}

/// The module that has what a path names, and the rest of the path; re-exports are followed.
fn resolve(
    parsed: &BTreeMap<Module, Parsed>,
    path: &[String],
    seen: &mut BTreeSet<Vec<String>>,
) -> (Module, String) {
    let len = (0..=path.len()).rev().find(|len| parsed.contains_key(&path[..*len])).unwrap_or_default();
    let (module, rest) = (path[..len].to_vec(), &path[len..]);
    let here = (module.clone(), rest.join("::"));
    let (Some(name), Some(file)) = (rest.first(), parsed.get(&module)) else { return here };
    if !seen.insert(path.to_vec()) || file.items.contains(name) {
        return here;
    }
    for one in file.uses.iter().filter(|one| one.is_public) {
        let Some(target) = absolute(parsed, &module, &one.path) else { continue };
        if one.name == *name {
            return resolve(parsed, &[&target, &rest[1..]].concat(), seen);
        }
        if one.name == "*" {
            let (_, target) = target.split_last().expect("a path ends in the star");
            let target: Vec<String> = target.iter().chain(rest).cloned().collect();
            let (found, rest) = resolve(parsed, &target, seen);
            if parsed.get(&found).is_some_and(|file| file.items.contains(name)) {
                return (found, rest);
            }
        }
    }
    here
}

fn parse(text: &str) -> Parsed {
    let code = code_of(text);
    let mut parsed = Parsed { uses: Vec::new(), paths: Vec::new(), items: BTreeSet::new() };
    let mut others = String::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let Some((is_public, start)) = use_of(line) else {
            others.push_str(line);
            others.push('\n');
            continue;
        };
        let mut tree = start.to_owned();
        while !tree.contains(';') {
            let Some(more) = lines.next() else { break };
            tree.push_str(more);
        }
        let tree = tree.split(';').next().unwrap_or_default().to_owned();
        for (path, name) in leaves(&tree, &[]) {
            parsed.uses.push(Use { is_public, path, name });
        }
    }
    for line in others.lines() {
        let mut words =
            line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
        while let Some(keyword) = words.next() {
            if ["struct", "enum", "fn", "trait", "type", "const", "static", "mod", "macro_rules"]
                .contains(&keyword)
                && let Some(name) = words.next()
            {
                parsed.items.insert(name.to_owned());
            }
        }
    }
    parsed.paths = paths_in(&others);
    parsed
}

/// What follows `use`, and whether it is handed on.
fn use_of(line: &str) -> Option<(bool, &str)> {
    let line = line.trim_start();
    if let Some(rest) = line.strip_prefix("use ") {
        return Some((false, rest));
    }
    let rest = line.strip_prefix("pub")?;
    let rest = match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(')')?.1,
        None => rest,
    };
    Some((true, rest.strip_prefix(" use ")?))
}

/// The paths of a tree of imports, each with the name it is known by.
fn leaves(tree: &str, before: &[String]) -> Vec<(Vec<String>, String)> {
    let tree = tree.trim();
    let segments = |text: &str| -> Vec<String> {
        let parts = text.split("::").map(str::trim).filter(|part| !part.is_empty());
        before.iter().cloned().chain(parts.map(str::to_owned)).collect()
    };
    let Some((head, group)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias)));
        let path = segments(path);
        let name =
            alias.map_or_else(|| path.last().cloned().unwrap_or_default(), |alias| alias.trim().to_owned());
        return match path.last().is_some_and(|last| last == "self") {
            true => leaves("", &path[..path.len() - 1]),
            false => vec![(path, name)],
        };
    };
    let head = segments(head);
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                if !group[start..at].trim().is_empty() {
                    found.extend(leaves(&group[start..at], &head));
                }
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// Paths of two or more parts that begin with a module's name, `crate`, `self` or `super`.
fn paths_in(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("::") {
        let before = &rest[..at];
        let start = before
            .char_indices()
            .rev()
            .take_while(|(_, c)| c.is_alphanumeric() || *c == '_')
            .last()
            .map_or(at, |(start, _)| start);
        let mut path = vec![before[start..].to_owned()];
        let mut end = at;
        while let Some(next) = rest[end..].strip_prefix("::") {
            let part = word(next);
            if part.is_empty() {
                break;
            }
            end += 2 + part.len();
            path.push(part);
        }
        let is_module = path[0].starts_with(|c: char| c.is_ascii_lowercase());
        if path.len() > 1 && is_module {
            found.push(path);
        }
        rest = &rest[end.max(at + 2)..];
    }
    found
}

/// The code without comments, literals and inline test modules.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut is_cfg_test = false;
    for line in text.lines() {
        let line = without_literals(line);
        let line = line.split("//").next().unwrap_or_default().trim_end();
        // Inline tests stand at the end of their file.
        if is_cfg_test && line.contains("mod ") && line.ends_with('{') {
            break;
        }
        is_cfg_test = line.trim() == "#[cfg(test)]";
        code.push_str(line);
        code.push('\n');
    }
    code
}

fn without_literals(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c != '"' {
            out.push(c);
            continue;
        }
        out.push_str("\"\"");
        while let Some(c) = chars.next() {
            match c {
                '\\' => drop(chars.next()),
                '"' => break,
                _ => {}
            }
        }
    }
    out
}
