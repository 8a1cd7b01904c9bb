//! Takes a snapshot: the next stretch of sealed log becomes the next layer.

use crate::ids::{Seq, Timestamp};
use crate::jobs::Event;
use crate::snapshot::SnapshotError;
use crate::snapshot::fold::Delta;
use crate::snapshot::policy::Layering;
use crate::snapshot::store::{PassedOver, SnapshotInfo, SnapshotStore};

/// Takes one event; an error ends the reading.
pub type Visit<'a> = dyn FnMut(Seq, Event) -> Result<(), String> + 'a;

/// Hands every event of the log behind the first position, up to the second, to the visitor.
pub type ReadLog<'a> = dyn Fn(Seq, Seq, &mut Visit<'_>) -> Result<(), SnapshotError> + 'a;

/// A snapshot that was just published, and what went wrong on the way.
#[derive(Debug)]
pub struct Taken {
    /// The snapshot.
    pub info: SnapshotInfo,
    /// Layers that turned out to be damaged and were left out; they are in quarantine now.
    pub quarantined: PassedOver,
}

/// Folds the events behind the newest snapshot into the next one, as many as fit into memory; `None` if there are none
/// up to `sealed`.
///
/// A damaged layer is passed over; the log reaches back to the one before it.
///
/// # Errors
/// See [`SnapshotError`].
pub fn take_next(
    store: &SnapshotStore,
    log: &ReadLog<'_>,
    sealed: Seq,
    store_id: [u8; 16],
    now: Timestamp,
) -> Result<Option<Taken>, SnapshotError> {
    let mut damaged = PassedOver::new();
    loop {
        let without: Vec<_> = damaged.iter().map(|(name, _)| *name).collect();
        let taken = store.newest_without(&without).and_then(|before| {
            let (last, last_at) = before
                .as_ref()
                .map(|before| (before.header().last, before.header().last_at))
                .unwrap_or_default();
            if last >= sealed {
                return Ok(None);
            }
            let sections = before.as_ref().map(|before| before.sections().clone()).unwrap_or_default();
            let delta = Delta::after(last, last_at, sections);
            let delta = read(log, delta, sealed, store.layering())?;
            store.write(before, delta, store_id, now).map(Some)
        });
        match taken {
            Ok(info) => {
                for (name, _) in &damaged {
                    store.quarantine(*name)?;
                }
                return Ok(info.map(|info| Taken { info, quarantined: damaged }));
            }
            Err(error) => match store.damaged(&error).filter(|name| !without.contains(name)) {
                Some(name) => damaged.push((name, error)),
                None => return Err(error),
            },
        }
    }
}

fn read(log: &ReadLog<'_>, mut delta: Delta, sealed: Seq, policy: &Layering) -> Result<Delta, SnapshotError> {
    let after = delta.last;
    let mut is_full = false;
    let mut take = |seq, event| {
        is_full = policy.is_enough_log(delta.bytes() as u64);
        if is_full {
            return Err("that is enough for one layer".to_owned());
        }
        delta.take(seq, event).map_err(|misfit| misfit.to_string())
    };
    match log(after, sealed, &mut take) {
        Err(error) if !is_full => Err(error),
        _ => Ok(delta),
    }
}
