//! The command line as people type it.

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

fn parse(line: &[&str]) -> Result<Cli, ErrorKind> {
    Cli::try_parse_from([&["beaver"], line].concat()).map_err(|error| error.kind())
}

fn refused(line: &[&str]) -> ErrorKind {
    parse(line).unwrap_err()
}

#[test]
fn the_definitions_of_all_commands_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_examples_in_its_help() {
    for command in Cli::command().get_subcommands_mut() {
        let help = command.render_long_help().to_string();
        assert!(help.contains("Examples:\n  "), "{}: {help}", command.get_name());
        assert!(help.contains("beaver"), "{help}");
    }
}

#[test]
fn no_command_shows_the_help_and_an_unknown_one_is_refused() {
    assert_eq!(refused(&[]), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
    assert_eq!(refused(&["dig"]), ErrorKind::InvalidSubcommand);
    assert_eq!(refused(&["--version"]), ErrorKind::DisplayVersion);
}

/// Row 94.
#[test]
fn habits_of_other_tools_are_told_what_they_are_called_here() {
    let hint = |line: &[&str]| {
        let args: Vec<_> = line.iter().map(|&word| word.to_owned()).collect();
        let error = Cli::try_parse_from([&["beaver"], line].concat()).unwrap_err();
        mistakes::hint(&error, &args).unwrap_or_default()
    };
    assert_eq!(hint(&["enqueue", "ls", "-la"]), "a program goes behind --: beaver enqueue -- ls -la");
    assert_eq!(
        hint(&["enqueue", "--timeout", "1h", "du", "a b"]),
        "a program goes behind --: beaver enqueue --timeout 1h -- du 'a b'"
    );
    assert_eq!(hint(&["enqueue", "--colour", "red"]), "");
    for (word, here) in [
        ("add", "beaver enqueue -- PROGRAM"),
        ("ls", "beaver jobs list"),
        ("logs", "beaver output ID"),
        ("retry", "beaver jobs run-now"),
        ("Start", "beaver run"),
    ] {
        assert!(hint(&[word]).contains(here), "{word}: {}", hint(&[word]));
    }
    assert_eq!(hint(&["frobnicate"]), "");
}

#[test]
fn jobs_come_from_a_file_from_flags_or_from_a_program_but_never_from_two_of_them() {
    for line in [
        vec!["enqueue", "--file", "-"],
        vec!["enqueue", "--kind", "mail"],
        vec!["enqueue", "--payload", "{}", "--id", "a", "--priority", "9", "--max-retry", "0"],
        vec!["enqueue", "--timeout", "1h", "--env", "A=b=c", "--cwd", "/", "--", "ls", "-l", "--file"],
    ] {
        assert!(parse(&line).is_ok(), "{line:?}");
    }
    for line in [
        vec!["enqueue", "--file", "jobs.json", "--kind", "mail"],
        vec!["enqueue", "--file", "jobs.json", "--id", "a"],
        vec!["enqueue", "--file", "jobs.json", "--", "ls"],
        vec!["enqueue", "--kind", "mail", "--", "ls"],
        vec!["enqueue", "--payload", "{}", "--", "ls"],
        vec!["enqueue", "--kind", "mail", "--cwd", "/"],
        vec!["enqueue", "--kind", "mail", "--delay", "5m", "--run-at", "2030-01-01T00:00:00Z"],
    ] {
        assert_eq!(refused(&line), ErrorKind::ArgumentConflict, "{line:?}");
    }
}

#[test]
fn an_enqueue_without_a_job_is_refused() {
    for line in [vec!["enqueue"], vec!["enqueue", "--queue", "mail"], vec!["enqueue", "--cwd", "/"]] {
        assert_eq!(refused(&line), ErrorKind::MissingRequiredArgument, "{line:?}");
    }
}

#[test]
fn a_flag_with_a_bad_value_is_refused() {
    assert_eq!(refused(&["enqueue", "--kind", "a", "--priority", "10"]), ErrorKind::ValueValidation);
    assert_eq!(refused(&["enqueue", "--env", "novalue", "--", "env"]), ErrorKind::ValueValidation);
    assert_eq!(refused(&["run", "--log-format", "xml"]), ErrorKind::InvalidValue);
    assert_eq!(refused(&["demo", "--jobs", "1"]), ErrorKind::ValueValidation);
}

#[test]
fn only_the_log_and_the_snapshot_can_be_inspected() {
    assert!(parse(&["inspect", "wal", "--data-dir", "d"]).is_ok());
    assert!(parse(&["inspect", "snapshot"]).is_ok());
    assert_eq!(refused(&["inspect", "logs"]), ErrorKind::InvalidValue);
}

#[test]
fn a_server_and_no_server_cannot_both_be_asked_for() {
    assert_eq!(refused(&["status", "--url", "http://a:1", "--offline"]), ErrorKind::ArgumentConflict);
}

#[test]
fn configuration_is_given_by_flags() {
    let cli =
        parse(&["run", "--workers", "3", "--allow-exec", "--metrics-port", "0", "--data-dir", "d"]).unwrap();
    let CliCommand::Run(args) = cli.command else { panic!("not run") };
    assert!(format!("{args:?}").contains("worker_count"), "{args:?}");
}

#[test]
fn an_id_of_ten_kilobytes_is_refused_in_few_words() {
    let failure = setup::parse_id(&"x".repeat(10_000)).unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.to_string().len() < 200, "{failure}");
}
