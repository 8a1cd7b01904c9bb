//! What programs get as their environment beside what their job says.
//!
//! | variable | is that of the server; if it has none |
//! |---|---|
//! | `PATH` | `/usr/local/bin:/usr/bin:/bin` |
//! | `HOME` | the home directory of its user in `/etc/passwd`, else `/` |
//! | `USER` | the name of its user in `/etc/passwd`, else its number |
//! | `SHELL` | `/bin/sh` |
//! | `LANG` | `C.UTF-8` |
//! | `TZ` | `:/etc/localtime`, which is what a program takes that has none |
//!
//! What an operator sets with `exec_env` comes before both. Nothing else is passed on: a server's environment has
//! secrets in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;

use rustix::process::getuid;

const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// The variables of every program.
pub(super) type Environment = BTreeMap<OsString, OsString>;

/// Those that this server gives, with what its operator has set.
pub(super) fn of_this_server(set: &BTreeMap<String, String>) -> Environment {
    let uid = getuid().as_raw();
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    environment(|name| std::env::var_os(name), uid, &accounts, set)
}

fn environment(
    ours: impl Fn(&str) -> Option<OsString>,
    uid: u32,
    accounts: &str,
    set: &BTreeMap<String, String>,
) -> Environment {
    let (user, home) = account(uid, accounts).unwrap_or_else(|| (uid.to_string(), "/".to_owned()));
    let defaults = [
        ("PATH", PATH_DEFAULT.to_owned()),
        ("HOME", home),
        ("USER", user),
        ("SHELL", "/bin/sh".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("TZ", ":/etc/localtime".to_owned()),
    ];
    let of_server = defaults.into_iter().map(|(name, default)| {
        let ours = ours(name).filter(|value| !value.is_empty());
        (OsString::from(name), ours.unwrap_or_else(|| default.into()))
    });
    of_server.chain(set.iter().map(|(name, value)| (name.into(), value.into()))).collect()
}

/// Name and home directory of a user: see `passwd(5)`.
fn account(uid: u32, accounts: &str) -> Option<(String, String)> {
    accounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, number, _, _, home, _] = fields[..] else { return None };
        (number.parse() == Ok(uid) && !home.is_empty()).then(|| (name.to_owned(), home.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNTS: &str =
        "root:x:0:0:root:/root:/bin/bash\nbroken:x:7\nann:x:7:7:Ann,,,:/home/ann:/bin/zsh\n";

    fn shown(environment: &Environment) -> Vec<String> {
        environment.iter().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect()
    }

    /// Row 98.
    #[test]
    fn six_variables_always_have_a_value_and_nothing_else_of_the_servers_is_passed_on() {
        let bare = environment(|_| None, 7, ACCOUNTS, &BTreeMap::new());
        let expected = [
            "HOME=/home/ann",
            "LANG=C.UTF-8",
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "SHELL=/bin/sh",
            "TZ=:/etc/localtime",
            "USER=ann",
        ];
        assert_eq!(shown(&bare), expected);
        let unknown = environment(|_| None, 8, ACCOUNTS, &BTreeMap::new());
        assert!(
            shown(&unknown).contains(&"USER=8".to_owned()) && shown(&unknown).contains(&"HOME=/".to_owned())
        );

        let ours = |name: &str| Some(OsString::from(if name == "LANG" { "" } else { name }));
        let set =
            [("TZ", "UTC"), ("COLOUR", "brown")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let full = environment(ours, 7, ACCOUNTS, &set.into());
        let expected =
            ["COLOUR=brown", "HOME=HOME", "LANG=C.UTF-8", "PATH=PATH", "SHELL=SHELL", "TZ=UTC", "USER=USER"];
        assert_eq!(shown(&full), expected);
    }
}
