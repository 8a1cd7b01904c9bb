//! `beaver enqueue`: adds jobs, and returns when they are durable.
//!
//! The whole input is read and checked before anything is sent, and it travels as one request that is done
//! entirely or not at all.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use beaver_actors::jobs::{JobSpec, Payload};
use clap::Args;
use serde::Serialize;

use super::exit::{CliFailure, Exit};
use super::output::Output;
use super::send::{self, Request};
use super::target::{Access, TargetArgs};
use crate::config::Settings;
use crate::wire::job::{self, JobDefaults};

/// Examples below `beaver enqueue --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  beaver enqueue --kind simulate --payload '{\"sleep_ms\": 200}'
  beaver enqueue --kind mail --id order-17 --delay 5m --payload '{\"to\": \"ann\"}'
  beaver enqueue --kind mail --backoff '{\"kind\":\"fixed\",\"delay\":\"10s\"}' --exhausted drop
  beaver enqueue -- ./backup.sh /srv       # a program, with run --allow-exec
  beaver enqueue --timeout 1h --max-retry 3 -- rsync -a /srv /backup
  beaver enqueue --file jobs.json          # an array, one object, or one a line
  produce-jobs | beaver enqueue --file - --json

A job in a file: {\"kind\": \"mail\", \"payload\": {...}}; if wanted, with id, queue,
priority (0-9), delay (\"5m\") or run_at (RFC 3339), timeout (\"30s\"), max_retry, and
  backoff    pauses between attempts: \"server\", \"quartic\" (15 s, growing with the fourth
             power), {\"kind\":\"fixed\",\"delay\":\"10s\"}, or
             {\"kind\":\"exponential\",\"first\":\"1s\",\"max\":\"10m\",\"jitter_percent\":50}
  exhausted  what becomes of it when all attempts failed: \"dead\", or \"drop\" (cancelled)
  custom     an object that travels with the job unread
Nothing of a file with a bad job is enqueued.

A program runs in the directory in which this command was given, without a time limit, and
once: not again when it fails, nor after a crash, unless --max-retry asks for it (only a run
that an orderly stop of the server has cut off begins again).";

/// Flags of `beaver enqueue`.
#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = true, args = ["file", "kind", "payload", "program"])]
pub(crate) struct EnqueueArgs {
    /// Read jobs from this file (- is stdin): a JSON array, one object, or one object a line
    #[arg(short, long, value_name = "FILE", conflicts_with_all = [
        "kind", "payload", "id", "queue", "priority", "delay", "run_at", "max_retry", "backoff",
        "exhausted", "custom", "timeout", "env", "cwd", "program",
    ])]
    file: Option<PathBuf>,
    /// Which handler runs the job [default: default_kind of the configuration, if it has one]
    #[arg(short, long, value_name = "KIND", conflicts_with = "program")]
    kind: Option<String>,
    /// What the handler gets: any JSON value [default: {}]
    #[arg(short, long, value_name = "JSON", conflicts_with = "program")]
    payload: Option<String>,
    /// The job's id; an id that exists already adds nothing [default: generated]
    #[arg(short, long, value_name = "ID")]
    id: Option<String>,
    /// The line in which it waits [default: default_queue of the configuration]
    #[arg(short, long, value_name = "QUEUE")]
    queue: Option<String>,
    /// 0 to 9, 9 first [default: 5]
    #[arg(long, value_name = "0-9", value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// Not before this time has passed, such as 90s or 1h30m
    #[arg(long, value_name = "DURATION", conflicts_with = "run_at")]
    delay: Option<String>,
    /// Not before this moment, such as 2030-01-31T09:30:00Z
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// How many more runs it gets after a failed one [default: max_retry of the server's configuration, for PROGRAM
    /// exec_max_retry, which is 0]
    #[arg(long, value_name = "N")]
    max_retry: Option<u32>,
    /// Pauses between its attempts: server, quartic, or a JSON object as below [default: server]
    #[arg(long, value_name = "WORD|JSON")]
    backoff: Option<String>,
    /// What becomes of it when all attempts failed: dead, or drop [default: dead]
    #[arg(long, value_name = "WORD")]
    exhausted: Option<String>,
    /// A JSON object that travels with the job unread
    #[arg(long, value_name = "JSON")]
    custom: Option<String>,
    /// Longest run of one attempt, such as 30s, or none [default: task_timeout of the server's configuration, for PROGRAM
    /// exec_timeout, which is none]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Set a variable for PROGRAM, which has no others but PATH, HOME, LANG, USER, SHELL, TZ and those of exec_env; may be
    /// repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    #[arg(requires = "program", conflicts_with_all = ["kind", "payload"])]
    env: Vec<(String, String)>,
    /// Run PROGRAM in this directory [default: the one in which you are]
    #[arg(long, value_name = "DIR")]
    #[arg(requires = "program", conflicts_with_all = ["kind", "payload"])]
    cwd: Option<PathBuf>,
    /// Print {"id","created"} for each job instead of its id alone
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
    /// Run this program as a job of kind exec, without a shell
    #[arg(last = true, value_name = "PROGRAM [ARGS]")]
    program: Vec<String>,
}

/// Runs `beaver enqueue`.
///
/// # Errors
/// Nothing was enqueued; or, as the message then says, the outcome is unknown.
pub(crate) fn run(args: &EnqueueArgs) -> Result<(), CliFailure> {
    let loaded = args.target.load()?;
    let request = Request::identified(args.jobs(&loaded.settings)?);
    let enqueued = args
        .target
        .with_target(&loaded, Access::Change, async |target| send::enqueue(target, &request).await)?;
    let mut output = Output::stdout();
    for job in enqueued {
        match args.json {
            true => output.json(&job)?,
            false => output.line(job.id)?,
        }
    }
    output.finish()
}

impl EnqueueArgs {
    /// The jobs that the command line describes, checked.
    fn jobs(&self, settings: &Settings) -> Result<Vec<JobSpec>, CliFailure> {
        let defaults = JobDefaults {
            // The limits are the server's own; those configured here may be others.
            payload_bytes_max: usize::MAX,
            jobs_bytes_max: usize::MAX,
            ..JobDefaults::of(settings)
        };
        if let Some(path) = &self.file {
            let text = read_text(path)?;
            let jobs = job::parse_jobs(&text, &defaults).map_err(|bad| {
                CliFailure::new(Exit::Rejected, format!("{}: {bad}", shown(path)))
                    .hint("nothing was enqueued; correct it and run the command again")
            })?;
            return Ok(jobs.specs);
        }
        let text = self.described()?;
        let jobs = job::parse_jobs(&text, &defaults)
            .map_err(|bad| CliFailure::usage(bad.message).hint("see `beaver enqueue --help`"))?;
        Ok(jobs.specs)
    }

    /// The flags as the JSON object that a file would have: one reader, one set of rules.
    fn described(&self) -> Result<String, CliFailure> {
        #[derive(Serialize)]
        struct Described<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            queue: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            kind: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            payload: Option<Payload>,
            #[serde(skip_serializing_if = "Option::is_none")]
            priority: Option<u8>,
            #[serde(skip_serializing_if = "Option::is_none")]
            delay: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            run_at: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            timeout: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            max_retry: Option<u32>,
            #[serde(skip_serializing_if = "Option::is_none")]
            backoff: Option<Payload>,
            #[serde(skip_serializing_if = "Option::is_none")]
            exhausted: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            custom: Option<Payload>,
        }
        let is_exec = !self.program.is_empty();
        let described = Described {
            id: self.id.as_deref(),
            queue: self.queue.as_deref(),
            kind: if is_exec { Some("exec") } else { self.kind.as_deref() },
            payload: if is_exec {
                Some(self.exec_payload()?)
            } else {
                given("payload", self.payload.as_deref())?
            },
            priority: self.priority,
            delay: self.delay.as_deref(),
            run_at: self.run_at.as_deref(),
            timeout: self.timeout.as_deref(),
            max_retry: self.max_retry,
            backoff: self.given_backoff()?,
            exhausted: self.exhausted.as_deref(),
            custom: given("custom", self.custom.as_deref())?,
        };
        Ok(serde_json::to_string(&described).expect("text, numbers and valid JSON are always written"))
    }

    /// A word needs no quotes here.
    fn given_backoff(&self) -> Result<Option<Payload>, CliFailure> {
        match self.backoff.as_deref() {
            Some(word) if !word.trim_start().starts_with(['{', '"']) => {
                let quoted = serde_json::Value::from(word).to_string();
                given("backoff", Some(&quoted))
            }
            text => given("backoff", text),
        }
    }

    fn exec_payload(&self) -> Result<Payload, CliFailure> {
        #[derive(Serialize)]
        struct Exec<'a> {
            command: &'a [String],
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            env: BTreeMap<&'a str, &'a str>,
            cwd: PathBuf,
        }
        let cwd = absolute(self.cwd.as_deref().unwrap_or(Path::new(".")))?;
        let env = self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let exec = Exec { command: &self.program, env, cwd };
        Payload::from_value(&exec).map_err(|error| CliFailure::usage(error.to_string()))
    }
}

/// The JSON that a flag gives.
fn given(flag: &str, text: Option<&str>) -> Result<Option<Payload>, CliFailure> {
    text.map(Payload::parse).transpose().map_err(|error| {
        let problem = error.to_string();
        let problem = problem.strip_prefix("payload ").unwrap_or(&problem);
        CliFailure::usage(format!("--{flag} {problem}"))
    })
}

fn read_text(path: &Path) -> Result<String, CliFailure> {
    let mut bytes = Vec::new();
    let read = match path.as_os_str() == "-" {
        true => io::stdin().lock().read_to_end(&mut bytes),
        false => File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    read.map_err(|error| CliFailure::new(Exit::Failure, format!("cannot read {}: {error}", shown(path))))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
        CliFailure::new(Exit::Rejected, format!("{}: line {line}: not UTF-8 text", shown(path)))
            .hint("nothing was enqueued")
    })
}

fn shown(path: &Path) -> String {
    match path.as_os_str() == "-" {
        true => "stdin".to_owned(),
        false => path.display().to_string(),
    }
}

/// A relative directory means one here, not one where the server happens to run.
fn absolute(path: &Path) -> Result<PathBuf, CliFailure> {
    let told = |problem: &dyn fmt::Display| {
        let hint = "--cwd names a directory for PROGRAM, such as --cwd /";
        CliFailure::usage(format!("directory {}: {problem}", path.display())).hint(hint)
    };
    // "." at the end means nothing, but is in the way where the path is shown.
    let absolute = std::path::absolute(path).map_err(|error| told(&error))?;
    match absolute.to_str() {
        Some(_) => Ok(absolute.components().collect()),
        None => Err(told(&format!("{absolute:?} is not UTF-8, which the text of a job has to be"))),
    }
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it must look like NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use beaver_actors::ids::KindName;
    use beaver_actors::jobs::{Backoff, NO_TIMEOUT};
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct EnqueueLine {
        #[command(flatten)]
        args: EnqueueArgs,
    }

    fn jobs(line: &[&str]) -> Result<Vec<JobSpec>, CliFailure> {
        let args = EnqueueLine::try_parse_from([&["enqueue"], line].concat()).unwrap().args;
        args.jobs(&Settings::default())
    }

    fn only(line: &[&str]) -> JobSpec {
        let mut jobs = jobs(line).unwrap();
        assert_eq!(jobs.len(), 1);
        jobs.remove(0)
    }

    #[test]
    fn flags_describe_a_job_as_a_file_would() {
        let line = [
            "--kind",
            "mail",
            "--payload",
            "{\"to\": 1}",
            "--id",
            "a",
            "--queue",
            "q",
            "--priority",
            "9",
            "--delay",
            "5m",
            "--max-retry",
            "7",
            "--timeout",
            "30s",
            "--backoff",
            "quartic",
            "--exhausted",
            "drop",
            "--custom",
            "{\"trace\": 1}",
        ];
        let mut as_line = Vec::new();
        job::write_line(&only(&line), &mut as_line);
        let job: serde_json::Value = serde_json::from_slice(&as_line).unwrap();
        assert_eq!(job["id"], "a");
        assert_eq!(job["kind"], "mail");
        assert_eq!(job["queue"], "q");
        assert_eq!(job["payload"], serde_json::json!({"to": 1}));
        assert_eq!(job["priority"], 9);
        assert_eq!(job["max_retry"], 7);
        assert_eq!((&job["backoff"], &job["exhausted"]), (&"quartic".into(), &"drop".into()));
        assert_eq!(job["custom"], serde_json::json!({"trace": 1}));
    }

    #[test]
    fn a_back_off_with_numbers_is_given_as_json() {
        let job = only(&["--kind", "a", "--backoff", r#"{"kind":"fixed","delay":"10s"}"#]);
        assert_eq!(job.backoff, Backoff::Fixed { delay_ms: 10_000 });
    }

    #[test]
    fn what_the_flags_leave_out_comes_from_the_configuration() {
        let kind = KindName::parse("mail").unwrap();
        let settings = Settings { default_kind: Some(kind.clone()), ..Settings::default() };
        let args = EnqueueLine::try_parse_from(["enqueue", "--payload", "[1, 2]"]).unwrap().args;
        let job = args.jobs(&settings).unwrap().remove(0);
        assert_eq!((job.kind, job.queue), (kind, settings.default_queue));
        assert_eq!(job.payload.as_str(), "[1,2]");
        assert_eq!((job.timeout, job.max_retry), (None, None));
    }

    #[test]
    fn a_program_becomes_an_exec_job_with_its_arguments_untouched() {
        let job = only(&["--env", "A=b=c", "--cwd", "/srv", "--", "ls", "--file", "$HOME"]);
        assert_eq!(job.kind.as_str(), "exec");
        let expected = r#"{"command":["ls","--file","$HOME"],"env":{"A":"b=c"},"cwd":"/srv"}"#;
        assert_eq!(job.payload.as_str(), expected);
        assert_eq!((job.timeout, job.max_retry), (None, None), "they are the server's");
        let job = only(&["--timeout", "none", "--", "ls"]);
        assert_eq!(job.timeout, Some(NO_TIMEOUT));
    }

    /// Row 98.
    #[test]
    fn a_program_runs_where_its_caller_is_and_a_relative_directory_is_one_of_the_caller() {
        let here = std::env::current_dir().unwrap();
        for (line, cwd) in [(&["--", "ls"][..], here.clone()), (&["--cwd", "x", "--", "ls"], here.join("x"))]
        {
            let payload: serde_json::Value = serde_json::from_str(only(line).payload.as_str()).unwrap();
            assert_eq!(payload["cwd"], cwd.to_str().unwrap());
        }
    }

    #[test]
    fn a_bad_flag_is_a_usage_error_and_a_bad_file_is_rejected_with_its_line() {
        for (line, told) in [
            (&["--payload", "{"][..], "--payload is not JSON"),
            (&["--kind", ""], "kind"),
            (&["--kind", "a", "--custom", "{"], "--custom is not JSON"),
        ] {
            let failure = jobs(line).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{line:?}");
            assert!(failure.to_string().contains(told), "{failure}");
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jobs");
        for (content, told) in [
            (&b"{\"kind\":\"a\"}\n\n{\"kind\":1}\n"[..], "jobs: line 3: "),
            (b"{\"kind\":\"a\"}\n\xff\n", "jobs: line 2: not UTF-8"),
            (b"", "jobs: no jobs"),
        ] {
            std::fs::write(&file, content).unwrap();
            let failure = jobs(&["--file", file.to_str().unwrap()]).unwrap_err();
            assert_eq!(failure.exit, Exit::Rejected);
            assert!(failure.to_string().contains(told), "{failure}");
        }
        let missing = jobs(&["--file", dir.path().join("none").to_str().unwrap()]).unwrap_err();
        assert_eq!(missing.exit, Exit::Failure);
    }
}
