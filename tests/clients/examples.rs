//! The examples of README and docs/, run as they are: each adds one job and runs it. All they are told is where the
//! server is. (Those in Ruby and Go are shown, not run: their clients come from registries that CI does not ask.)

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::fwp::{start, url};
use crate::harness::Place;
use crate::script::{Language, Script, source};

fn greets(place: &Place, mut command: Command) {
    let (server, port) = start(place, &[]);
    command.env("FAKTORY_URL", url(port));
    let script = Script::start(place, command);
    script.says("hello Ada");
    let status = server.until("a job done", |status| status["jobs"]["completed"] == 1);
    for state in ["pending", "in_flight", "retrying", "dead"] {
        assert_eq!(status["jobs"][state], 0, "{status}");
    }
}

#[test]
fn the_python_example_works() {
    let Some(dir) = Language::installed() else { return };
    let place = Place::new();
    let mut command = Command::new(dir.join("venv/bin/python"));
    command.arg(source("examples/python/greet.py"));
    greets(&place, command);
}

#[test]
fn the_node_example_works() {
    let Some(dir) = Language::installed() else { return };
    let place = Place::new();
    // As in a directory where somebody has run `npm install`.
    fs::copy(source("examples/node/greet.js"), place.path("greet.js")).unwrap();
    symlink(dir.join("node_modules"), place.path("node_modules")).unwrap();
    let mut command = Command::new("node");
    command.arg(place.path("greet.js"));
    greets(&place, command);
}

#[test]
fn the_rust_example_works() {
    let place = Place::new();
    greets(&place, Command::new(built("greet", "tests/clients/examples/rust/greet.rs")));
}

/// Needs no server: the engine is a part of it.
#[test]
fn the_example_of_a_program_of_ones_own_works() {
    let place = Place::new();
    let mut command = Command::new(built("greetings", "actors/examples/greetings.rs"));
    command.current_dir(place.path(""));
    let said = Script::start(&place, command).ends_well();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.contains(&"hello Ada, attempt 1".to_owned()), "{said:?}");
}

/// An example in Rust. Cargo builds it along with all tests, but not along with this target alone.
fn built(name: &str, source: &str) -> PathBuf {
    let deps = env::current_exe().unwrap();
    let built = deps.ancestors().nth(2).unwrap().join("examples").join(name);
    let age = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
    if age(&built) < age(&Path::new(env!("CARGO_MANIFEST_DIR")).join(source)) {
        let arguments = ["build", "--quiet", "--workspace", "--example", name];
        let status = Command::new(env!("CARGO")).args(arguments).status();
        assert!(status.unwrap().success(), "the example {name} does not build");
    }
    built
}
