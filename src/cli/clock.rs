//! `beaver clock`: whether the server believes its clock; saying that it is right.

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::json;

use super::answer::answer_of;
use super::exit::CliFailure;
use super::output::Output;
use super::status_view::ClockAnswer;
use super::target::{Access, TargetArgs};

/// Examples below `beaver clock --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  beaver clock            # is it believed?
  beaver clock confirm    # yes, it is this late

A clock that is suddenly more than 7 days ahead is doubted until the kernel says that it is synchronised.
While it is, everything runs as the clock says, but no finished job is forgotten for its age. A clock that was
wrong and is right again needs no confirmation.";

/// Flags of `beaver clock`.
#[derive(Debug, Args)]
pub(crate) struct ClockArgs {
    /// What to do
    #[arg(value_enum, value_name = "ACTION", default_value_t = ClockAction::Show)]
    action: ClockAction,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ClockAction {
    /// Show whether it is believed
    Show,
    /// Say that it is right
    Confirm,
}

/// The part of a status that is about the clock.
#[derive(Deserialize)]
struct ClockOfStatus {
    clock: ClockAnswer,
}

/// Runs `beaver clock`.
///
/// # Errors
/// Nobody answers.
pub(crate) fn run(args: &ClockArgs) -> Result<(), CliFailure> {
    let mut output = Output::stdout();
    match args.action {
        ClockAction::Show => {
            let status = args.target.ask(Access::Look, async |client| client.status().await)?;
            let ClockOfStatus { clock } = answer_of(&*status)?;
            match args.json {
                true => output.json(&clock)?,
                false => output.line(told_clock(&clock))?,
            }
        }
        ClockAction::Confirm => {
            let confirmed = args.target.ask(Access::Change, async |client| client.confirm_clock().await)?;
            match (args.json, confirmed.was_doubted) {
                (true, _) => output.json(&json!(confirmed))?,
                (false, true) => output.line("confirmed: finished jobs are forgotten for their age again")?,
                (false, false) => output.line("nobody doubts the clock")?,
            }
        }
    }
    output.finish()
}

/// A sentence.
pub(super) fn told_clock(clock: &ClockAnswer) -> String {
    let believed = match clock.doubted_since {
        Some(since) => format!(
            "DOUBTED: days ahead of {since}, the last moment that is known; no finished job is forgotten for its age: \
             `beaver clock confirm`, if it is right"
        ),
        None => "believed".to_owned(),
    };
    match clock.set_back_to {
        Some(to) => format!("{believed}; was set back to {to}"),
        None => believed,
    }
}
