//! What is on disk turned out to be damaged while the engine runs: the state is written out whole from memory, and the damaged
//! files go to quarantine once that is published and read back.
//!
//! New jobs are refused from the moment in which damage is met. The manager [stands still](super::manager) meanwhile and shows
//! its jobs in slices of a few milliseconds; here they are put in order, their texts read, and the layer written. If it fails,
//! everything stays as it was, new jobs stay refused, and it is tried again with the next snapshot and at the stop.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::engine::messages::{Damaged, RescueStep, Seal, SetAside, SnapshotTaken};
use crate::engine::snapshot_settings::SnapshotSettings;
use crate::jobs::table::list::Slot;
use crate::snapshot::SnapshotError;
use crate::snapshot::rescue::{Rescue, Rescued};

/// Jobs that are asked for at a time; the manager shows fewer where its slice of time is over.
const JOBS_AT_ONCE: usize = 4096;

/// Runs it. What is still damaged afterwards, if it failed.
pub(super) async fn rescue(settings: SnapshotSettings, problem: String) -> Result<(), String> {
    let started = settings.clock.ticks();
    tracing::error!(
        actor = "supervisor/snapshot",
        problem,
        "data on disk is damaged: no new jobs are accepted until the whole state is written out anew from memory"
    );
    settings.metrics.damage_met.add(1);
    settings.damage.do_send(Damaged(Some(problem.clone())));
    // What is found on the way is known.
    settings.texts.watch_damage(false);
    let rescued = write_out(&settings).await;
    settings.texts.watch_damage(true);
    let took: Duration = settings.clock.ticks().saturating_sub(started);
    match rescued {
        Ok(Rescued { info, lost }) => {
            settings.metrics.rescues.add(1);
            settings.taken.do_send(SnapshotTaken(info));
            tracing::warn!(
                actor = "supervisor/snapshot",
                seq = info.header.last.0,
                jobs = info.jobs,
                bytes = info.bytes,
                jobs_without_payload = lost.len(),
                milliseconds = took.as_secs_f64() * 1e3,
                "the state was written out anew and read back; new jobs are accepted again: look at the disk"
            );
            settings.damage.do_send(Damaged(None));
            settings.rescue.do_send(RescueStep::MoveOn { mended: Some(lost) });
            Ok(())
        }
        Err(error) => {
            tracing::error!(
                actor = "supervisor/snapshot",
                error,
                "the state could not be written out anew: no new jobs are accepted; it is tried again with the next snapshot"
            );
            let problem = format!("{problem}; the state could not be written out anew: {error}");
            settings.damage.do_send(Damaged(Some(problem)));
            settings.rescue.do_send(RescueStep::MoveOn { mended: None });
            Err(error)
        }
    }
}

async fn write_out(settings: &SnapshotSettings) -> Result<Rescued, String> {
    let words = |error: SnapshotError| error.to_string();
    let outline = ask(settings, |shown| RescueStep::StandStill { still: shown }).await?;
    let (done, sealed) = oneshot::channel();
    settings.seal.do_send(Seal { done });
    match sealed.await {
        Ok(Some(sealed)) if sealed == outline.last => {}
        Ok(Some(sealed)) => return Err(format!("the log was sealed at {sealed}, not at {}", outline.last)),
        Ok(None) | Err(_) => return Err("the log has no space for another segment".to_owned()),
    }
    let (last, slots) = (outline.last, outline.slots);
    let mut numbers = Vec::new();
    let mut from = 0;
    while from < slots {
        let (some, next) = ask(settings, |shown| RescueStep::ShowNumbers { from, shown }).await?;
        numbers.extend(some);
        from = next;
    }
    numbers.sort_unstable();
    let slots: Vec<Slot> = numbers.into_iter().map(|(_, slot)| slot).collect();
    let now = settings.clock.now();
    let mut rescue = Rescue::begin(&settings.store, settings.store_id, outline, now).map_err(words)?;
    let mut rest = slots.as_slice();
    while !rest.is_empty() {
        let some = rest[..rest.len().min(JOBS_AT_ONCE)].to_vec();
        let jobs = ask(settings, |shown| RescueStep::ShowJobs { slots: some, shown }).await?;
        rest = &rest[jobs.len()..];
        for (profile, job) in jobs {
            rescue.add(&*settings.texts, &profile, job).map_err(words)?;
        }
    }
    let rescued = rescue.publish().map_err(words)?;
    for (name, error) in settings.store.set_aside_damaged(last).map_err(words)? {
        let file = name.file_name();
        tracing::error!(actor = "supervisor/snapshot", file, %error, "a snapshot is damaged and was moved to quarantine");
    }
    let (done, moved) = oneshot::channel();
    settings.set_aside.do_send(SetAside { quarantine: settings.quarantine.clone(), done });
    for path in moved.await.map_err(|_| GONE)?.map_err(|error| error.to_string())? {
        let file = path.display();
        tracing::error!(actor = "supervisor/snapshot", %file, "a segment is damaged, or is before one: it was moved to quarantine");
    }
    settings.show_and_retain().map_err(words)?;
    Ok(rescued)
}

const GONE: &str = "the engine is ending";

async fn ask<T>(
    settings: &SnapshotSettings,
    step: impl FnOnce(oneshot::Sender<T>) -> RescueStep,
) -> Result<T, String> {
    let (shown, answer) = oneshot::channel();
    settings.rescue.do_send(step(shown));
    answer.await.map_err(|_| GONE.to_owned())
}
