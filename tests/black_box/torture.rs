//! `beaver torture`: kills under load, judged by the oracle; and what it does with a directory that is not its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use beaver_actors::testing::times;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Place, is_alive, run_within, wait};
use crate::http_client::request;

/// Kills of one run, of which there are two, or many: `BEAVER_TORTURE=100 cargo test --test black_box torture`.
const KILLS: u64 = 25;
/// Every run of these tests has the same plan, so that a failure can be asked for again.
const SEED: u64 = 20_261_121;

/// Ten seconds on an idle machine; beside a hundred other tests, or on a slow disk, many times that.
const KILLS_PATIENCE: Duration = Duration::from_secs(600);

/// Row 1, and on a real disk rows 10 and 36: some kills meet a server that recovers, and clients ask again.
#[test]
fn fifty_kills_under_load_lose_nothing_and_nothing_runs_after_its_completion() {
    let place = Place::new();
    let (data_dir, kills) = (place.text("disk"), KILLS.to_string());
    for part in 0..2 * times() {
        let seed = (SEED + part).to_string();
        println!("seed {seed}");
        let args = ["torture", "--json", "--data-dir", &data_dir, "--kills", &kills, "--seed", &seed];
        let ran = run_within(place.command().args(args), b"", KILLS_PATIENCE).exits(0);
        let report = ran.json();
        println!("{report}");
        assert_eq!(report["kills"], KILLS, "{report}");
        assert_eq!((&report["lost"], &report["broken"]), (&json!([]), &json!([])), "{report}");
        // It was under load: jobs were accepted and run, and kills met some of them.
        for (name, least) in [("acknowledged", KILLS * 5), ("events", KILLS * 15), ("duplicated", 1)] {
            assert!(report[name].as_u64().unwrap() >= least, "{name} of {report}");
        }
        assert_eq!(fs::read_dir(&data_dir).unwrap().count(), 0, "nothing is left of it");
    }
}

/// A torture that goes on until it is told to end.
struct Endless {
    child: Child,
    /// It works in a directory of its own below the one that it was given.
    own: PathBuf,
}

impl Endless {
    fn start(place: &Place) -> Endless {
        let mut command = place.command();
        command.args(["torture", "--for", "1h", "--json", "--data-dir", "disk"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let own = wait("a server at work", None, || {
            let own = fs::read_dir(place.path("disk")).ok()?.flatten().next()?.path();
            own.join("data/http.addr").exists().then_some(own)
        });
        Endless { child, own }
    }

    /// Ctrl-C; returns its end, and its last servers.
    fn interrupt(self) -> (Output, Vec<u32>) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = fs::read_to_string(children).unwrap_or_default();
        let servers = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        (self.child.wait_with_output().unwrap(), servers)
    }
}

#[test]
fn ctrl_c_ends_it_with_a_verdict_and_leaves_no_server_behind() {
    let place = Place::new();
    let (output, servers) = Endless::start(&place).interrupt();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["lost"], &report["broken"]), (&json!([]), &json!([])), "{report}");
    assert!(!servers.into_iter().any(is_alive), "a server outlived its test");
    assert_eq!(fs::read_dir(place.path("disk")).unwrap().count(), 0, "nothing is left of it");
}

/// It can fail: a stranger's job is one that none of its clients asked for.
#[test]
fn what_must_not_be_ends_it_with_exit_code_1_and_the_directory_is_kept() {
    let place = Place::new();
    let torture = Endless::start(&place);
    wait("an accepted job", None, || {
        let address = fs::read_to_string(torture.own.join("data/http.addr")).ok()?;
        let job = br#"{"id": "a-strangers", "kind": "noop"}"#;
        request(address.trim(), "POST", "/api/v1/jobs", job).ok().filter(|answer| answer.status == 201)
    });
    let own = torture.own.clone();
    let (output, _) = torture.interrupt();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["broken"], json!(["job a-strangers is there, and nobody asked for it"]));
    assert!(told.contains("error: ") && told.contains("nobody asked for it"), "{told}");
    assert!(told.contains(&format!("kept {}", own.display())), "{told}");
    assert!(own.join("server.log").exists() && own.join("data/wal").exists());
}

#[test]
fn a_directory_that_holds_anything_is_refused_and_left_alone() {
    let place = Place::new();
    place.start(&["--workers", "0"]).terminate();
    let before = fs::read_dir(place.path("data")).unwrap().count();
    place.beaver(&["torture", "--data-dir", "data", "--for", "1s"]).exits(2).says(&["data is not empty"]);
    assert_eq!(fs::read_dir(place.path("data")).unwrap().count(), before);
}
