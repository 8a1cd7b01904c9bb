//! Values that are lists: names of hosts, variables of an environment.

use std::collections::BTreeMap;

/// The names in a list; ports do not belong there, since a browser's name for a server counts with any.
pub(super) fn hosts(text: &str) -> Result<Vec<String>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(host).collect()
}

fn host(name: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    let has_port = name.contains(':') && !name.starts_with('[');
    match name.chars().all(is_plain) && !has_port {
        true => Ok(name.to_owned()),
        false => {
            Err(format!("has {name:?}, which is no host's name (write it without scheme, port and path)"))
        }
    }
}

/// Variables of an environment, one a line.
pub(super) fn read_variables(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut variables = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once('=').filter(|(name, _)| !name.trim().is_empty()) else {
            return Err(format!("has a line {line:?} that is not NAME=VALUE"));
        };
        if name.starts_with("BEAVER_") {
            return Err(format!("sets {name}: names that start like this are beaver's"));
        }
        if name.contains('\0') || value.contains('\0') {
            return Err(format!("sets {name:?} with a NUL character, which no program could read"));
        }
        if variables.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("sets {name} twice"));
        }
    }
    Ok(variables)
}
