//! Directories, servers and commands of a test. Everything that waits is bounded and says what it waited for.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;
use tempfile::TempDir;

use crate::http_client::{Answer, request};

/// Far more than anything here takes on a busy machine; who waits longer waits for ever.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Lines of the server's log that a failed wait shows.
const TAIL_LINES: usize = 25;
/// What a server gets unless the test says otherwise. Small segments, so that they are filled and sealed.
const DEFAULT_FLAGS: [(&str, &str); 2] = [("--log-format", "json"), ("--segment-bytes", "1MiB")];

/// What the caller of the tests left open (an editor's terminal, the pipes of `make -j`, a lock) is closed before a limit
/// on descriptors counts it.
const CLOSE_INHERITED: &str = "exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-";

/// A directory of one test: `data` in it is beaver's, and it is where commands run.
pub struct Place {
    dir: TempDir,
}

/// A `beaver run` that answers. Dropping it kills it.
pub struct Server {
    child: Child,
    address: String,
    log: PathBuf,
}

/// A command that has ended.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Place { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// As [`Place::path`], as text for a command line.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn data(&self, name: &str) -> PathBuf {
        self.path("data").join(name)
    }

    /// Starts a server on `data` and waits until it is ready.
    pub fn start(&self, flags: &[&str]) -> Server {
        self.start_under("true", flags)
    }

    /// As [`Place::start`], after a line of shell in the same process, such as `ulimit -n 200`.
    pub fn start_under(&self, limits: &str, flags: &[&str]) -> Server {
        // What a killed server left there would name a port that is not ours any more.
        let _ = fs::remove_file(self.data("http.addr"));
        let _ = fs::remove_file(self.data("fwp.addr"));
        let log = self.path("server.log");
        let stderr = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = self.run_command(limits, flags);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = command.spawn().unwrap();
        let mut server = Server { child, address: String::new(), log };
        let address = self.data("http.addr");
        wait(&format!("ready server {flags:?}"), Some(&server.log), || {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {ended:?}\n{}", tail(&server.log));
            let found = fs::read_to_string(&address).ok()?.trim().to_owned();
            let is_ready = request(&found, "GET", "/readyz", &[]).is_ok_and(|answer| answer.status == 200);
            is_ready.then_some(found)
        })
        .clone_into(&mut server.address);
        server
    }

    /// Makes `data` a store without jobs.
    pub fn make_store(&self) {
        self.start(&["--workers", "0"]).terminate();
    }

    /// Runs a server that is expected to end by itself, with a log for people.
    pub fn run_to_its_end(&self, flags: &[&str]) -> Ran {
        self.run_to_its_end_under("true", flags)
    }

    /// As [`Place::run_to_its_end`], after a line of shell in the same process.
    pub fn run_to_its_end_under(&self, limits: &str, flags: &[&str]) -> Ran {
        let mut command = self.run_command(limits, &[flags, &["--log-format", "human"]].concat());
        run(&mut command, b"")
    }

    /// As [`Place::beaver`], after a line of shell in the same process.
    pub fn beaver_under(&self, limits: &str, args: &[&str]) -> Ran {
        run(self.command_under(limits).args(args), b"")
    }

    /// A command of beaver in the process that has run a line of shell before.
    fn command_under(&self, limits: &str) -> Command {
        let script = format!("{CLOSE_INHERITED}; {limits} && exec \"$0\" \"$@\"");
        let mut command = self.command_of("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_beaver")]);
        command
    }

    fn run_command(&self, limits: &str, flags: &[&str]) -> Command {
        let mut command = self.command_under(limits);
        command.args(run_args(flags));
        command
    }

    /// Starts a server on `data` that is to be killed before anybody asks it anything.
    pub fn start_in_passing(&self, flags: &[&str], log: Stdio) -> Child {
        let mut command = self.command();
        command.args(run_args(flags)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().unwrap()
    }

    /// Runs a command of beaver, without input.
    pub fn beaver(&self, args: &[&str]) -> Ran {
        self.beaver_with(args, "")
    }

    /// Runs a command of beaver that reads `input`.
    pub fn beaver_with(&self, args: &[&str], input: &str) -> Ran {
        run(self.command().args(args), input.as_bytes())
    }

    /// A command with nobody's configuration: no `beaver.yaml`, no variables.
    pub fn command(&self) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_beaver"))
    }

    fn command_of(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("BEAVER_") || text.starts_with("FAKTORY_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), content).unwrap();
        self.text(name)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    /// What `beaver inspect` says about the directory: rows, and the summary.
    pub fn inspect(&self, what: &str) -> (Vec<Value>, Value) {
        let ran = self.beaver(&["inspect", what, "--data-dir", "data"]);
        let mut rows = ran.json_lines();
        let summary = rows.pop().unwrap_or_else(|| panic!("no summary: {}", ran.told()));
        (rows, summary["summary"].clone())
    }
}

impl Server {
    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; the server must end with exit code 0.
    pub fn terminate(mut self) {
        self.signal(Signal::TERM);
        let status = self.ended();
        assert_eq!(status.code(), Some(0), "after SIGTERM: {status}\n{}", tail(&self.log));
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// From now on the process may have only this many descriptors open: with fewer than it has, it opens no more. None
    /// is the most that it may ask for.
    pub fn may_open(&self, descriptors: Option<u64>) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let most = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current: descriptors.or(most), maximum: most };
        prlimit(pid, Resource::Nofile, limit).unwrap();
    }

    /// How the process has ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for the end of the process.
    pub fn ended(&mut self) -> ExitStatus {
        let (child, log) = (&mut self.child, &self.log);
        wait("end of the server", Some(log), || child.try_wait().unwrap())
    }

    pub fn request(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> Answer {
        request(&self.address, method, path, body.as_ref())
            .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", tail(&self.log)))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "")
    }

    pub fn post(&self, body: impl AsRef<[u8]>) -> Answer {
        self.request("POST", "/api/v1/jobs", body)
    }

    /// Adds jobs, each a JSON object; all must be new.
    pub fn enqueue(&self, jobs: impl IntoIterator<Item = Value>) {
        let body: String = jobs.into_iter().map(|job| format!("{job}\n")).collect();
        let answer = self.post(body);
        assert_eq!(answer.status, 201, "{}", answer.body);
    }

    pub fn job(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api/v1/jobs/{id}"));
        assert_eq!(answer.status, 200, "job {id}: {}", answer.body);
        answer.json()
    }

    /// What `/proc` tells of its memory under a name such as `VmRSS`, in bytes.
    pub fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let told = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        told.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    pub fn status(&self) -> Value {
        let answer = self.get("/api/v1/status");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// Jobs in a state.
    pub fn count(&self, state: &str) -> u64 {
        count(&self.status(), state)
    }

    /// Waits until the queue's status is as hoped for.
    pub fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait(what, Some(&self.log), || Some(self.status()).filter(&is_so))
    }

    /// Waits until this many jobs are completed.
    pub fn until_completed(&self, jobs: u64) -> Value {
        self.until(&format!("{jobs} jobs completed"), |status| count(status, "completed") >= jobs)
    }

    /// Waits until a job is in a state.
    pub fn until_job_is(&self, id: &str, state: &str) -> Value {
        let what = format!("job {id} {state}");
        wait(&what, Some(&self.log), || Some(self.job(id)).filter(|job| job["status"] == state))
    }

    /// Runs a command of beaver against this server.
    pub fn beaver(&self, place: &Place, args: &[&str]) -> Ran {
        let (command, rest) = args.split_first().unwrap();
        place.beaver(&[&[*command, "--url", &self.url()], rest].concat())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `kill9` and the like it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ran {
    /// Asserts how it ended.
    #[track_caller]
    pub fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{}", self.told());
        self
    }

    /// Asserts that stderr has all these texts.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Ran {
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is missing in {}", self.told());
        }
        self
    }

    /// Asserts that stdout has all these texts.
    #[track_caller]
    pub fn prints(self, texts: &[&str]) -> Ran {
        for text in texts {
            assert!(self.stdout.contains(text), "{text:?} is missing in {}", self.told());
        }
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.told()))
    }

    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let read = |line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}: {}", self.stderr))
        };
        self.stdout.lines().map(read).collect()
    }

    pub fn told(&self) -> String {
        format!("exit {:?}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr)
    }
}

/// The arguments of a `beaver run` with these flags.
fn run_args(flags: &[&str]) -> Vec<String> {
    let ours = [("--data-dir", "data"), ("--metrics-port", "0"), ("--faktory-port", "0")];
    let missing = DEFAULT_FLAGS.iter().chain(&ours).filter(|(flag, _)| !flags.contains(flag));
    let missing = missing.flat_map(|(flag, value)| [*flag, *value]);
    ["run"].into_iter().chain(missing).chain(flags.iter().copied()).map(str::to_owned).collect()
}

/// Runs a command to its end, which must come.
pub fn run(command: &mut Command, input: &[u8]) -> Ran {
    run_within(command, input, PATIENCE)
}

/// As [`run`], for a command that may take longer.
pub fn run_within(command: &mut Command, input: &[u8], patience: Duration) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    let feeder = thread::spawn(move || {
        // A command that has seen enough closes its end.
        let _ = stdin.write_all(&input);
    });
    let (done, is_done) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        let ran_too_long = is_done.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout);
        if ran_too_long {
            let _ = kill_process(pid, Signal::KILL);
        }
        ran_too_long
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    feeder.join().unwrap();
    let ran = Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    assert!(!watchdog.join().unwrap(), "{command:?} did not end within {patience:?}: {}", ran.told());
    ran
}

/// Looks again and again until there is what is waited for.
#[track_caller]
pub fn wait<T>(what: &str, log: Option<&Path>, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        let log = log.map(tail).unwrap_or_default();
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for: {what}\n{log}");
        thread::sleep(LOOK_EVERY);
    }
}

/// Jobs in a state, of a status.
pub fn count(status: &Value, state: &str) -> u64 {
    status["jobs"][state].as_u64().unwrap_or_else(|| panic!("no count of {state} in {status}"))
}

/// Whether a process is there and is not only waiting to be reaped.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|state| !state.starts_with('Z'))
}

/// Processor time that a process uses within a while, in ticks of 10 ms.
pub fn cpu_ticks_in(pid: u32, window: Duration) -> u64 {
    let before = cpu_ticks(pid);
    // Not a wait for anything: what counts is what happens meanwhile.
    thread::sleep(window);
    cpu_ticks(pid) - before
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // utime and stime are fields 14 and 15; the third is the first here.
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn tail(log: &Path) -> String {
    let log = fs::read(log).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<_> = log.lines().collect();
    let mut tail = "the end of the server's log:\n".to_owned();
    for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
        let _ = writeln!(tail, "  {line}");
    }
    tail
}
