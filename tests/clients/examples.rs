//! The examples of the README, run as they are: each pushes one job and runs it. All they are told is where the
//! server is. (Those in Ruby and Go are shown, not run: their clients come from registries that CI does not ask.)

use std::os::unix::fs::symlink;
use std::path::PathBuf;
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
    greets(&place, Command::new(rust_example()));
}

/// Cargo builds it along with all tests, but not along with this target alone.
fn rust_example() -> PathBuf {
    let deps = env::current_exe().unwrap();
    let built = deps.ancestors().nth(2).unwrap().join("examples/greet");
    let age = |path: &PathBuf| fs::metadata(path).and_then(|about| about.modified()).ok();
    if age(&built) < age(&source("examples/rust/greet.rs")) {
        let built = Command::new(env!("CARGO")).args(["build", "--quiet", "--example", "greet"]).status();
        assert!(built.unwrap().success(), "the example does not build");
    }
    built
}
