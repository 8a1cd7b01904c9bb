//! File descriptors: how many this process may have, what is kept back for the queue itself, and how many connections the
//! rest is enough for.
//!
//! Without this, some thousand idle connections would take the descriptor that the log needs for its next segment.
//! So what the log, the snapshots and the programs of jobs need is never given to connections.

use std::fs;
use std::io;

use beaver_actors::api::options::Layering;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, info, warn};

use crate::auth::places::{ConnectionLimits, descriptors_for, places_in};
use crate::config::Settings;

/// Below this, nothing is tried.
const LEAST: u64 = 128;
/// For the log, its witness, locks, listeners, the runtime, standard streams, and what is open for a moment.
const KEPT_BACK: u64 = 48;
/// The pipes of a program and the socket to its keeper, and what starting it takes for a moment.
const KEPT_BACK_PER_PROGRAM: u64 = 5;
/// The newest state's layers, those that they become, and those before, each open once.
const STATES_OPEN: u64 = 2;
/// A listener is given at least these: for a few connections, and those that are told that there is no place for them.
const LEAST_PER_LISTENER: u64 = 6;
/// Connections of monitoring at the same time; `connections_max` if that is less.
const MONITORING_MAX: usize = 64;

/// What this process may open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptors {
    limit: u64,
    /// The limit that it was started with.
    before: u64,
    /// What its caller has left open.
    inherited: u64,
}

/// There are not enough of them.
#[derive(Debug, thiserror::Error)]
#[error("{limit} file descriptors are too few: with this configuration beaver needs at least {needed}")]
pub(crate) struct TooFewDescriptors {
    limit: u64,
    needed: u64,
}

impl TooFewDescriptors {
    /// The way out.
    pub(crate) const HINT: &str = "raise the hard limit (`ulimit -Hn`, LimitNOFILE= of systemd, --ulimit nofile= of a \
                                   container)";
}

impl Descriptors {
    /// Raises the limit of this process to the most that it may have.
    pub(crate) fn raise() -> Descriptors {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // None is no limit, which the kernel does not have here; a number stands for it.
        let (before, most) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
        let mut limit = before;
        if before < most {
            match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
                Ok(()) => limit = most,
                Err(error) => debug!(%error, "the limit on file descriptors stays as it is"),
            }
        }
        Descriptors { limit, before, inherited: inherited().unwrap_or_default() }
    }

    /// What programs of jobs get: some walk over every descriptor that they might have.
    pub(crate) fn for_children(self) -> u64 {
        self.before
    }

    /// Lowers the limits on connections to what is left for them.
    ///
    /// # Errors
    /// There are not even enough for a few connections.
    pub(crate) fn limit_connections(
        self,
        settings: &mut Settings,
    ) -> Result<ConnectionLimits, TooFewDescriptors> {
        let layers = STATES_OPEN * (Layering::default().layers_max as u64 + 2);
        let programs = if settings.allow_exec { settings.engine.worker_count as u64 } else { 0 };
        let wished = [
            settings.http.connections_max,
            settings.fwp.port.map_or(0, |_| settings.fwp.limits.connections_max),
            settings.fwp.web_port.map_or(0, |_| settings.http.connections_max.min(MONITORING_MAX)),
        ];
        let listeners = wished.iter().filter(|wish| **wish > 0).count() as u64;
        let least = listeners * LEAST_PER_LISTENER;
        let needed = LEAST.max(self.inherited + KEPT_BACK + layers + least);
        if self.limit < needed {
            return Err(TooFewDescriptors { limit: self.limit, needed });
        }
        // A program that finds none is started later, so these may be fewer than all of them together need.
        let for_programs = KEPT_BACK_PER_PROGRAM * programs;
        let left = self.limit - self.inherited - KEPT_BACK - layers - least;
        if for_programs > left {
            warn!(
                needed = for_programs,
                "the file descriptors of this process are not enough for a program on each worker: some of them will \
                 wait; raise its hard limit (ulimit -Hn, LimitNOFILE= of systemd), or lower worker_count"
            );
        }
        let kept_back = KEPT_BACK + layers + for_programs.min(left);
        let [http, faktory, monitoring] = shares(self.limit - self.inherited - kept_back, wished);
        (settings.http.connections_max, settings.fwp.limits.connections_max) = (http, faktory);
        Ok(ConnectionLimits {
            descriptors: self.limit,
            kept_back,
            http,
            faktory: settings.fwp.port.map(|_| faktory),
            monitoring: settings.fwp.web_port.map(|_| monitoring),
            wished: wished.iter().sum(),
        })
    }
}

/// Says how many connections are served.
pub(super) fn tell(limits: &ConnectionLimits) {
    let ConnectionLimits { descriptors, kept_back, http, faktory, monitoring, wished } = *limits;
    let (faktory, monitoring) = (faktory.unwrap_or(0), monitoring.unwrap_or(0));
    if http + faktory + monitoring < wished {
        warn!(
            descriptors,
            kept_back,
            http,
            faktory,
            monitoring,
            "fewer connections are served than are configured ({wished}): the file descriptors of this process are not \
             enough for more; raise its hard limit (ulimit -Hn, LimitNOFILE= of systemd)"
        );
    } else {
        info!(descriptors, kept_back, http, faktory, monitoring, "connections at the same time");
    }
}

/// How many connections each listener gets of those that it is configured for, from `there` descriptors, which are enough
/// for the least; one that is configured for none is off.
fn shares<const N: usize>(there: u64, wished: [usize; N]) -> [usize; N] {
    let wishes = wished.map(|wish| if wish == 0 { 0 } else { descriptors_for(wish) });
    let (sum, listeners) = (wishes.iter().sum::<u64>(), wishes.iter().filter(|wish| **wish > 0).count());
    if sum <= there {
        return wished;
    }
    let least = listeners as u64 * LEAST_PER_LISTENER;
    // What is left above the least is divided as it is configured.
    let share = |wish: u64| {
        LEAST_PER_LISTENER + (u128::from(there - least) * u128::from(wish) / u128::from(sum)) as u64
    };
    let mut given = [0; N];
    for (given, wish) in given.iter_mut().zip(wishes).filter(|(_, wish)| *wish > 0) {
        *given = places_in(share(wish).min(wish));
    }
    given
}

/// What was open before this process opened anything, beside its standard streams.
fn inherited() -> io::Result<u64> {
    let numbers =
        fs::read_dir("/proc/self/fd")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let numbers: Vec<u64> = numbers.collect();
    // One of them was the directory itself.
    Ok((numbers.iter().filter(|number| **number > 2).count() as u64).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 62.
    #[test]
    fn connections_get_what_is_not_kept_back_and_each_listener_its_part() {
        assert_eq!(shares(20_000, [1_024, 2_000, 64]), [1_024, 2_000, 64], "there is enough for all");
        for there in [18, 60, 120, 176, 944, 1_920, 2_920] {
            for wished in [[1_024, 2_000, 0], [1_024, 2_000, 64], [1_000_000, 1, 0], [4, 1_000_000, 4]] {
                let given = shares(there, wished);
                let used: u64 =
                    given.iter().filter(|given| **given > 0).map(|given| descriptors_for(*given)).sum();
                assert!(used <= there, "{there}: {given:?} take {used}");
                assert!(used + 12 >= there || given == wished, "{there}: {given:?} leave much unused");
                for (given, wish) in given.into_iter().zip(wished) {
                    assert!(given <= wish && (given > 0) == (wish > 0), "{there}: {given} of {wish}");
                    assert!(given >= wish.min(4), "{there}: {given} of {wish}");
                }
            }
        }
    }

    fn limits(descriptors: u64, inherited: u64, programs: usize) -> Result<ConnectionLimits, String> {
        let descriptors = Descriptors { limit: descriptors, before: descriptors, inherited };
        let mut settings = Settings { allow_exec: programs > 0, ..Settings::default() };
        settings.engine.worker_count = if programs > 0 { programs } else { 4_096 };
        let limits = descriptors.limit_connections(&mut settings).map_err(|error| error.to_string())?;
        assert_eq!(limits.http, settings.http.connections_max);
        assert_eq!(limits.faktory, Some(settings.fwp.limits.connections_max));
        Ok(limits)
    }

    /// Row 62.
    #[test]
    fn too_few_descriptors_are_refused_with_what_is_needed() {
        let told = limits(127, 0, 0).unwrap_err();
        assert!(told.contains("127 file descriptors are too few") && told.contains("at least 128"), "{told}");
        assert!(limits(128, 0, 0).is_ok());
        let told = limits(1_000, 950, 0).unwrap_err();
        assert!(told.contains("at least 1030"), "{told}");
    }

    /// Row 62.
    #[test]
    fn what_programs_need_is_kept_back_where_they_may_run_and_there_is_as_much() {
        let kept_back = |descriptors, programs| limits(descriptors, 3, programs).unwrap().kept_back;
        assert_eq!(kept_back(1_000, 16), kept_back(1_000, 0) + 80);
        let scarce = limits(128, 0, 32).unwrap();
        assert_eq!(scarce.kept_back, 128 - 2 * LEAST_PER_LISTENER);
        assert!(scarce.http >= 4 && scarce.faktory >= Some(4), "{scarce:?}");
    }
}
