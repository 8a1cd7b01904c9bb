//! The harness is tested itself: each deliberate bug is noticed. That it notices nothing without one, the tests in
//! `explorer.rs` show.

use std::panic::catch_unwind;

use beaver_actors::testing::explorer::{Effort, explore, survey};
use beaver_actors::testing::{Bug, plant};

/// What the explorer says of an engine with this bug; an invariant that stops it speaks, too.
fn explored(bug: Bug) -> String {
    let result = catch_unwind(|| {
        let _planted = plant(bug);
        explore(Effort { seed: 1, samples: 1, deep_every: u64::MAX, fail_every: 1, findings_max: 1 })
    });
    match result {
        Ok(report) => {
            assert!(!report.findings.is_empty(), "{bug:?} went unnoticed: {report}");
            report.findings.join("\n")
        }
        Err(panic) => *panic.downcast::<String>().expect("a broken invariant has a message"),
    }
}

/// What damage does to a directory under this bug.
fn surveyed(bug: Bug) -> Vec<String> {
    let _planted = plant(bug);
    survey::closed(1).every_accident(&survey::closed(2)).1
}

/// Row 58.
#[test]
fn an_acknowledgement_before_fsync_is_noticed() {
    let findings = explored(Bug::AckBeforeFsync);
    // The first to be told of something that is not there is boot itself.
    assert!(findings.contains("power cut after boot"), "{findings}");
}

/// Row 58.
#[test]
fn a_directory_that_is_not_synced_is_noticed() {
    let findings = explored(Bug::NoDirectorySync);
    assert!(findings.contains("was acknowledged, but only") || findings.contains("is missing"), "{findings}");
}

/// Row 58.
#[test]
fn cutting_the_log_at_any_error_is_noticed() {
    let findings = surveyed(Bug::TruncateOnAnyError);
    assert!(findings.iter().any(|finding| finding.contains("the state is another one")), "{findings:#?}");
}

/// Row 58.
#[test]
fn reports_under_stale_tokens_are_noticed() {
    let findings = explored(Bug::NoTokenCheck);
    assert!(findings.contains("stale token"), "{findings}");
}

/// Row 58: chain and positions still keep the old bytes from being applied, but they are there.
#[test]
fn a_recycled_segment_without_a_salt_is_noticed() {
    let findings = explored(Bug::RecycledWithoutSalt);
    assert!(findings.contains("torn tail") || findings.contains("cannot be read"), "{findings}");
}

/// Row 58.
#[test]
fn a_requeue_in_two_records_is_noticed() {
    let findings = explored(Bug::RequeueAsTwoRecords);
    assert!(
        findings.contains("only half of the operation") || findings.contains("follows attempt"),
        "{findings}"
    );
}

/// Row 58.
#[test]
fn a_log_that_is_deleted_too_early_is_noticed() {
    let _planted = plant(Bug::LogDeletedTooEarly);
    let rest = survey::closed(1);
    let newest = rest.files.iter().rfind(|path| path.extension().is_some_and(|end| end == "snap")).unwrap();
    let disk = rest.disk.fork();
    // All layers that lead there: one may have been made of others.
    let position = newest.file_name().unwrap().to_string_lossy()[..20].to_owned();
    let leads_there = |path: &&std::path::PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&position))
    };
    for path in rest.files.iter().filter(leads_there) {
        disk.tamper(path, |bytes| bytes[70] ^= 1);
    }
    let options = beaver_actors::testing::explorer::workload::options();
    let refused = beaver_actors::testing::StepEngine::with(disk, options, 1).err();
    assert!(
        refused.is_some_and(|error| error.message.contains("is needed")),
        "the older snapshot has its log"
    );
}

/// Row 58: and row 83, whose rule it breaks.
#[test]
fn a_boot_that_gives_no_time_back_to_remote_workers_is_noticed() {
    let findings = explored(Bug::NoGraceAtBoot);
    assert!(findings.contains("boot has spared leases 0 times"), "{findings}");
}

/// Row 58: and rows 83 and 89, whose rules it breaks.
#[test]
fn a_late_success_of_a_job_that_was_put_back_by_hand_is_noticed() {
    let findings = explored(Bug::PutBackUnfenced);
    assert!(findings.contains("accepted under the stale token"), "{findings}");
}

/// Row 57.
#[test]
fn the_order_of_a_hash_map_is_noticed() {
    let findings = explored(Bug::HashMapOrder);
    assert!(findings.contains("is not what the events"), "{findings}");
}
