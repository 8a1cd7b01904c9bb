//! What a machine that was set up for Faktory has for its server: variables, and files in its directories. Each of them is
//! honoured, or the start is refused, or the log says that it is not read: a server that was meant to ask for a
//! password must not be open without a word.
//!
//! | there | what beaver does with it |
//! |---|---|
//! | `FAKTORY_PASSWORD` | the password, or, if it begins with `/`, the file that holds it; beaver's own keys win |
//! | `password` in `/etc/faktory` or `~/.faktory` | the file that holds it, if nothing else says so |
//! | `FAKTORY_ENV=production` | without a password the start is refused, unless `FAKTORY_SKIP_PASSWORD` is set |
//! | a password in `conf.d/*.toml` there | without another password the start is refused |
//! | everything else | named in the log |

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::loaded::LoadedConfig;
use super::origin::Origin;

/// Read as if it were beaver's own, in `load`.
pub(super) const PASSWORD_VARIABLE: &str = "FAKTORY_PASSWORD";
const PREFIX: &str = "FAKTORY_";
const SYSTEM_DIR: &str = "/etc/faktory";
const HOME_DIR: &str = ".faktory";
/// Files of a directory of Faktory's that its server would use for TLS.
const TLS_FILES: [&str; 2] = ["public.cert.pem", "private.key.pem"];
/// The way out of a refusal.
const WAY_OUT: &str = "set faktory_password_file (or FAKTORY_PASSWORD), or turn faktory_port off";

/// A thing that was meant for Faktory, and what becomes of it.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Honoured(String),
    NotRead(String),
}

/// Honours what is there for Faktory on this machine, and tells in the log what is not read.
///
/// # Errors
/// The server would be open although it was meant to ask for a password.
pub(crate) fn honour(loaded: &mut LoadedConfig) -> Result<(), ConfigError> {
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home.map(|home| Path::new(&home).join(HOME_DIR));
    let dirs: Vec<PathBuf> = [PathBuf::from(SYSTEM_DIR)].into_iter().chain(home).collect();
    for finding in honour_in(loaded, &env, &dirs)? {
        match finding {
            Finding::Honoured(told) => tracing::info!("{told}"),
            Finding::NotRead(told) => tracing::warn!("{told}"),
        }
    }
    Ok(())
}

fn honour_in(
    loaded: &mut LoadedConfig,
    env: &BTreeMap<String, OsString>,
    dirs: &[PathBuf],
) -> Result<Vec<Finding>, ConfigError> {
    if loaded.settings.fwp.port.is_none() && loaded.settings.fwp.web_port.is_none() {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    let from_variable = is_from_variable(loaded);
    let fwp = &mut loaded.settings.fwp;
    let mut has_password = fwp.password.is_some() || fwp.password_file.is_some();
    for file in dirs.iter().map(|dir| dir.join("password")).filter(|file| file.exists()) {
        if has_password {
            findings
                .push(Finding::NotRead(format!("{} is not read: another password is set", file.display())));
        } else {
            findings
                .push(Finding::Honoured(format!("remote workers need the password in {}", file.display())));
            (fwp.password_file, has_password) = (Some(file), true);
        }
    }
    for file in dirs.iter().flat_map(|dir| toml_files(&dir.join("conf.d"))) {
        if !has_password && sets_password(&file) {
            let problem = format!("sets a password that is not read, and no other one is set: {WAY_OUT}");
            return Err(ConfigError::MeantForFaktory { place: file.display().to_string(), problem });
        }
        let keys = "beaver has a configuration of its own (`beaver config`)";
        findings.push(Finding::NotRead(format!("{} is not read: {keys}", file.display())));
    }
    for file in dirs.iter().flat_map(|dir| TLS_FILES.map(|name| dir.join(name))).filter(|file| file.exists())
    {
        if fwp.tls_cert.is_none() {
            let keys = "see faktory_tls_cert and faktory_tls_key";
            findings.push(Finding::NotRead(format!("{} is not read: {keys}", file.display())));
        }
    }
    let text = |name: &str| env.get(name).map(|value| value.to_string_lossy().into_owned());
    let skips = text("FAKTORY_SKIP_PASSWORD").is_some_and(|value| !["", "0", "false"].contains(&&*value));
    if text("FAKTORY_ENV").as_deref() == Some("production") && !has_password && !skips {
        let problem =
            format!("no password is set, which production needs: {WAY_OUT}, or set FAKTORY_SKIP_PASSWORD=1");
        return Err(ConfigError::MeantForFaktory { place: "FAKTORY_ENV=production".to_owned(), problem });
    }
    findings.extend(env.iter().map(|(name, value)| {
        let value = value.to_string_lossy();
        match name.as_str() {
            PASSWORD_VARIABLE if value.is_empty() => {
                Finding::NotRead(format!("{name} is set to nothing, so it is no password"))
            }
            PASSWORD_VARIABLE if from_variable => {
                Finding::Honoured(format!("remote workers need the password that {name} says"))
            }
            PASSWORD_VARIABLE => Finding::NotRead(format!("{name} is not read: beaver's own keys name a password")),
            "FAKTORY_ENV" if value == "production" => {
                Finding::Honoured(format!("{name}=production: a password is needed, and nothing else follows from it"))
            }
            "FAKTORY_ENV" => Finding::Honoured(format!("{name} changes nothing unless it is production")),
            "FAKTORY_SKIP_PASSWORD" => {
                Finding::Honoured(format!("{name}: FAKTORY_ENV=production needs no password while it is set"))
            }
            "FAKTORY_URL" | "FAKTORY_PROVIDER" if value.contains('@') && !has_password => Finding::NotRead(format!(
                "{name} has a password for clients, and no password is set for the server: anybody is let in; {WAY_OUT}"
            )),
            "FAKTORY_URL" | "FAKTORY_PROVIDER" => Finding::Honoured(format!(
                "{name} is for clients: the server listens where the keys bind and faktory_port say"
            )),
            _ => Finding::NotRead(format!("the environment variable {name} is not read by beaver")),
        }
    }));
    Ok(findings)
}

/// Whether the password in force is that of the variable.
fn is_from_variable(loaded: &LoadedConfig) -> bool {
    let variable = Origin::Env(PASSWORD_VARIABLE.to_owned());
    loaded.values.iter().any(|value| value.origin == variable)
}

/// The files of a directory that Faktory would read, in its order; none if there is no such directory.
fn toml_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    files
}

/// Whether a line gives a value to `password`. A file that cannot be read might.
fn sets_password(file: &Path) -> bool {
    let Ok(text) = fs::read(file) else { return true };
    String::from_utf8_lossy(&text).lines().filter_map(|line| line.split_once('=')).any(|(key, _)| {
        let last = key.rsplit('.').next().unwrap_or(key);
        last.trim().trim_matches(['"', '\'']) == "password" && !key.trim_start().starts_with('#')
    })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::config::load::load_from;
    use crate::config::{ConfigFlags, Secret};

    /// A machine with Faktory's things on it.
    struct Machine {
        dir: TempDir,
        env: BTreeMap<String, OsString>,
        flags: ConfigFlags,
    }

    impl Machine {
        fn new(variables: &[(&str, &str)]) -> Machine {
            let env = variables.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
            Machine { dir: tempfile::tempdir().unwrap(), env, flags: ConfigFlags::default() }
        }

        fn file(self, name: &str, text: &str) -> Machine {
            let file = self.dir.path().join("faktory").join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
            self
        }

        fn flag(mut self, key: &'static str, value: &str) -> Machine {
            self.flags.values.insert(key, value.to_owned());
            self
        }

        /// The settings, and what is told, without the directory of the test.
        fn start(&self) -> Result<(LoadedConfig, String), String> {
            let without_dir = |text: String| text.replace(&format!("{}/", self.dir.path().display()), "");
            let told = |error: ConfigError| without_dir(error.to_string());
            let mut loaded = load_from(&self.flags, &self.env, self.dir.path()).map_err(told)?;
            let dirs = [self.dir.path().join("nowhere"), self.dir.path().join("faktory")];
            let findings = honour_in(&mut loaded, &self.env, &dirs).map_err(told)?;
            let told: Vec<String> = findings.iter().map(|finding| format!("{finding:?}")).collect();
            Ok((loaded, without_dir(told.join("\n"))))
        }

        fn password(&self) -> (Option<Secret>, Option<PathBuf>) {
            let fwp = self.start().unwrap().0.settings.fwp;
            (fwp.password, fwp.password_file)
        }
    }

    /// Row 80.
    #[test]
    fn the_password_of_faktory_is_the_one_in_force_unless_beaver_has_its_own() {
        let machine = Machine::new(&[("FAKTORY_PASSWORD", "open sesame")]);
        assert_eq!(machine.password(), (Some(Secret::new("open sesame")), None));
        assert!(machine.start().unwrap().0.render().contains("env FAKTORY_PASSWORD"));
        assert!(!machine.start().unwrap().1.contains("sesame"));
        let machine = Machine::new(&[("FAKTORY_PASSWORD", "/run/secret")]);
        assert_eq!(machine.password(), (None, Some(PathBuf::from("/run/secret"))));
        let own = machine.flag("faktory_password", "mine");
        assert_eq!(own.password(), (Some(Secret::new("mine")), None));
        assert!(own.start().unwrap().1.contains("NotRead(\"FAKTORY_PASSWORD is not read"));
        let mut own =
            Machine::new(&[("FAKTORY_PASSWORD", "theirs"), ("BEAVER_FAKTORY_PASSWORD_FILE", "/mine")]);
        assert_eq!(own.password(), (None, Some(PathBuf::from("/mine"))));
        own.env.remove("FAKTORY_PASSWORD");
        let file = own.file("password", "x").dir;
        let machine = Machine { dir: file, ..Machine::new(&[]) };
        assert_eq!(machine.password(), (None, Some(machine.dir.path().join("faktory/password"))));
        assert!(
            machine
                .start()
                .unwrap()
                .1
                .contains("Honoured(\"remote workers need the password in faktory/password")
        );
    }

    /// Row 80.
    #[test]
    fn a_server_that_was_meant_to_ask_for_a_password_does_not_start_without_one() {
        let production = [("FAKTORY_ENV", "production")];
        let refused = Machine::new(&production).start().unwrap_err();
        assert!(refused.starts_with("FAKTORY_ENV=production: no password is set"), "{refused}");
        assert!(Machine::new(&[production[0], ("FAKTORY_PASSWORD", "")]).start().is_err());
        assert!(Machine::new(&[production[0], ("FAKTORY_SKIP_PASSWORD", "false")]).start().is_err());
        assert!(Machine::new(&[production[0], ("FAKTORY_SKIP_PASSWORD", "1")]).start().is_ok());
        assert!(Machine::new(&[production[0], ("FAKTORY_PASSWORD", "x")]).start().is_ok());
        assert!(Machine::new(&production).flag("faktory_port", "off").start().is_ok());

        for text in [
            "[faktory]\npassword = \"x\"\n",
            "faktory.password='x'",
            "\"password\"=\"x\"",
            "[faktory]\n  password=\"x\"",
        ] {
            let machine = Machine::new(&[]).file("conf.d/b.toml", "[cron]").file("conf.d/c.toml", text);
            let refused = machine.start().unwrap_err();
            assert!(
                refused.starts_with("faktory/conf.d/c.toml: sets a password that is not read"),
                "{refused}"
            );
            let told = machine.flag("faktory_password", "y").start().unwrap().1;
            assert!(
                told.contains("faktory/conf.d/b.toml is not read") && told.contains("c.toml is not read"),
                "{told}"
            );
        }
        assert!(
            Machine::new(&[])
                .file("conf.d/c.toml", "# password = \"x\"\nuser = \"password\"")
                .start()
                .is_ok()
        );
        assert!(Machine::new(&[]).file("conf.d/c.txt", "password = 1").start().unwrap().1.is_empty());
    }

    /// Row 80.
    #[test]
    fn what_is_not_honoured_is_named() {
        let told = |name, value| Machine::new(&[(name, value)]).start().unwrap().1;
        assert!(told("FAKTORY_PASSWORD", "").starts_with("NotRead"));
        assert!(
            told("FAKTORY_URL", "tcp://localhost:7419").starts_with("Honoured(\"FAKTORY_URL is for clients")
        );
        assert!(told("FAKTORY_URL", "tcp://:pw@localhost:7419").contains("anybody is let in"));
        assert!(!told("FAKTORY_URL", "tcp://:sesame@localhost:7419").contains("sesame"));
        assert!(told("FAKTORY_LICENSE", "x").contains("FAKTORY_LICENSE is not read by beaver"));
        assert!(told("FAKTORY_ENV", "staging").contains("unless it is production"));
        let machine = Machine::new(&[]).file("public.cert.pem", "").file("private.key.pem", "");
        let told = machine.start().unwrap().1;
        assert!(
            told.contains("public.cert.pem is not read") && told.contains("private.key.pem is not read"),
            "{told}"
        );
        assert_eq!(Machine::new(&[]).start().unwrap().1, "");
    }
}
