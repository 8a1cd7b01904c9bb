//! A server that gets the orphans of others, as the first process of a container does.
//!
//! To be the first process takes a namespace, which not everybody may make; a child subreaper gets its orphans, too.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{env, fs};

use rustix::process::{Pid, Signal, getpid, kill_process, set_child_subreaper};
use serde_json::json;

use crate::harness::{Place, is_alive, wait};

/// What [`server_that_gets_orphans`] starts its server with, apart by blanks.
const ARGUMENTS: &str = "BLACK_BOX_SUBREAPER";

/// What the other test starts its server by: being a subreaper outlives the change of programs. Run by anybody else, it is
/// nothing.
#[test]
fn server_that_gets_orphans() {
    if let Ok(arguments) = env::var(ARGUMENTS) {
        set_child_subreaper(Some(getpid())).unwrap();
        let mut server = Command::new(env!("CARGO_BIN_EXE_beaver"));
        panic!("{}", server.args(arguments.split(' ')).env_remove(ARGUMENTS).exec());
    }
}

/// Row 76.
#[test]
fn orphans_that_became_children_of_the_server_leave_no_zombies_and_keepers_are_still_waited_for() {
    let place = Place::new();
    let this = env::current_exe().unwrap();
    let entry = "orphans::server_that_gets_orphans";
    let starter =
        format!("export {ARGUMENTS}=\"$*\" && exec '{}' --exact {entry} --nocapture", this.display());
    let server = place.start_under(&starter, &["--workers", "2", "--allow-exec"]);
    for round in 0..3 {
        let (job, file) = (format!("orphans-{round}"), place.path(&format!("pids-{round}")));
        // The keeper is killed; what it leaves becomes the server's, which ends it by its mark.
        let script = format!("sleep 600 & echo $PPID $$ $! > '{}'; wait", file.display());
        let command = json!({"command": ["sh", "-c", script]});
        server.enqueue([json!({"id": job, "kind": "exec", "max_retry": 0, "payload": command})]);
        let pids: Vec<u32> = wait("three process ids", None, || {
            let text = fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'))?;
            Some(text.split_whitespace().map(|pid| pid.parse().unwrap()).collect())
        });
        kill_process(Pid::from_raw(pids[0].try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
        server.until_job_is(&job, "dead");
        assert!(!pids.iter().any(|pid| is_alive(*pid)), "nothing is left");
        for pid in &pids {
            let gone = || (!fs::exists(format!("/proc/{pid}")).unwrap()).then_some(());
            wait(&format!("the end of zombie {pid} of {pids:?}"), None, gone);
        }
    }
    // Those that the server has started are not taken away from it.
    server.enqueue((0..20).map(|number| {
        json!({"id": format!("after-{number}"), "kind": "exec", "payload": {"command": ["sh", "-c", "exit 0"]}})
    }));
    server.until_completed(20);
    server.terminate();
}
