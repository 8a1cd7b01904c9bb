//! `beaver doctor`: what is fine, torn or damaged in a stopped data directory, and a repair for who accepts the
//! loss.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use beaver_actors::base::clock::{Clock, SystemClock};
use beaver_actors::jobs::JobSpec;
use beaver_actors::tools::doctor::report::{Diagnosis, Report};
use beaver_actors::tools::doctor::{Doctor, DoctorError};
use clap::Args;
use serde_json::json;

use super::exit::{CliFailure, Exit};
use super::output::Output;
use super::setup;
use crate::config::DataFlags;
use crate::handlers::exec;
use crate::server::address_file;
use crate::wire::job;

/// Examples below `beaver doctor --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  beaver doctor
  beaver doctor --data-dir /var/lib/beaver --json | jq .verdict
  beaver doctor --repair                      # only says what a repair would do, and what you would lose
  beaver doctor --repair --accept-data-loss   # does it; the originals are in quarantine/ afterwards
  beaver doctor --save-jobs saved.jsonl       # jobs that would be lost and can be added again, one a line

Exit code 0 if the directory is healthy (also after a crash) or was repaired, 65 if it is damaged, 3 if there is
no data.";

/// Flags of `beaver doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Say what a repair would do; with --accept-data-loss, do it
    #[arg(long)]
    repair: bool,
    /// Go on without what is damaged; nothing is deleted, the originals are kept in quarantine/
    #[arg(long, requires = "repair")]
    accept_data_loss: bool,
    /// Write the jobs that would be lost and can be added again to a new file, for `beaver enqueue --file`
    #[arg(long, value_name = "FILE")]
    save_jobs: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: DataFlags,
}

/// Runs `beaver doctor`.
///
/// # Errors
/// The directory is damaged and was not repaired, a server is running on it, or nothing is there.
pub(crate) fn run(args: &DoctorArgs) -> Result<(), CliFailure> {
    let engine = setup::load(&args.data.clone().into())?.settings.engine;
    let product_files = address_file::FILES.into_iter().chain([exec::STORE_FILE]);
    let doctor = Doctor::on_disk(engine).map_err(failed)?.with_product_files(product_files);
    let report = doctor.examine().map_err(failed)?;
    let mut output = Output::stdout();
    if let Some(path) = &args.save_jobs {
        save(&doctor.savable().map_err(failed)?, path)?;
    }
    let is_consent = args.repair && args.accept_data_loss;
    let repaired = match &report.verdict {
        Diagnosis::Damaged { plan, .. } if is_consent => {
            Some(doctor.apply(plan, SystemClock::default().now()).map_err(failed)?)
        }
        _ => None,
    };
    match args.json {
        true => {
            let mut whole = json!(report);
            if args.repair {
                whole["repaired"] = json!(repaired);
            }
            output.json(&whole)?;
        }
        false => {
            output.line(&report)?;
            match &repaired {
                Some(repaired) => output.line(repaired)?,
                None if args.repair => output.line(unrepaired(&report))?,
                None => {}
            }
        }
    }
    output.finish()?;
    match &report.verdict {
        _ if repaired.is_some() => Ok(()),
        Diagnosis::Healthy | Diagnosis::HealthyAfterCrash { .. } => Ok(()),
        // A start works as it is, so a request for a repair is fulfilled.
        Diagnosis::Spared { .. } if args.repair => Ok(()),
        Diagnosis::Spared { .. } => {
            Err(CliFailure::new(Exit::Damaged, "something is damaged that nothing depends on"))
        }
        Diagnosis::Damaged { .. } if args.repair => {
            Err(CliFailure::new(Exit::Damaged, "nothing was changed")
                .hint("a backup may lose less; to lose what is said above: --repair --accept-data-loss"))
        }
        Diagnosis::Damaged { .. } => Err(CliFailure::new(Exit::Damaged, "the data directory is damaged")
            .hint("restore a backup, or see what `beaver doctor --repair` would do")),
        Diagnosis::Hopeless { reason, .. } => Err(CliFailure::new(Exit::Damaged, reason.clone())),
    }
}

/// Writes jobs to a file that is not there yet, durably: a repair may follow.
fn save(jobs: &[JobSpec], path: &Path) -> Result<(), CliFailure> {
    let mut lines = Vec::new();
    jobs.iter().for_each(|job| job::write_line(job, &mut lines));
    let written = File::create_new(path).and_then(|mut file| {
        file.write_all(&lines)?;
        file.sync_all()
    });
    written
        .map_err(|error| CliFailure::new(Exit::Failure, format!("{}: cannot write: {error}", path.display())))
}

/// Why nothing was repaired, or what would be.
fn unrepaired(report: &Report) -> String {
    match &report.verdict {
        Diagnosis::Damaged { plan, .. } => {
            let steps: String = plan.steps.iter().map(|step| format!("\n  {step}")).collect();
            format!("a repair would, with the originals copied to quarantine first:{steps}")
        }
        Diagnosis::Hopeless { .. } => "nothing was changed".to_owned(),
        _ => "there is nothing to repair: `beaver run` starts; nothing was changed".to_owned(),
    }
}

fn failed(error: DoctorError) -> CliFailure {
    let message = error.to_string();
    match error {
        DoctorError::NotFound { .. } => {
            CliFailure::new(Exit::NotFound, message).hint("--data-dir names the data directory")
        }
        DoctorError::Locked(_) => CliFailure::new(Exit::Failure, message)
            .hint("stop the server first; `beaver inspect` works on a live directory"),
        DoctorError::Storage(_) => CliFailure::new(Exit::Storage, message),
        DoctorError::Failed { .. } => CliFailure::new(Exit::Damaged, message),
    }
}
