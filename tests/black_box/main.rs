//! The real program on a real directory: started, asked over HTTP and on the command line, killed, started again.
//!
//! One binary, one module a story. Nothing here knows the inside of beaver; only [`files`] knows the layouts of
//! files that `wal/mod.rs` and `snapshot/format.rs` publish, to damage them with care.
//!
//! # The rows of the fault list (docs/faults.md) that ask for a real process
//!
//! | row | fault | test |
//! |---|---|---|
//! | 1 | SIGKILL at random moments under load | `torture::fifty_kills_under_load_lose_nothing_and_nothing_runs_after_its_completion`, `crash::what_any_client_was_answered_survives_eight_kills_and_exists_once` |
//! | 11, 17, 19, 39 to 41 | failed, full and slow disk, panics inside of actors, by `beaver_actors::internals::base::failpoint` | `failpoints` |
//! | 10 | killed while it recovers | the first of these, `crash::a_server_killed_while_it_starts_starts_all_the_same` |
//! | 17 | full disk | `full_disk` |
//! | 18 | file size limit, no file descriptors | `full_disk::a_limit_on_file_sizes_is_a_storage_failure_that_says_so`, `limits::without_file_descriptors_a_server_waits_without_spinning_and_goes_on_after`, `limits::with_far_too_few_file_descriptors_a_server_refuses_to_start_and_says_why` |
//! | 20, 24, 27, 28 | damaged, missing and foreign files | `damage`, `doctor` |
//! | 31 | two servers on one directory, lock file removed | `faults::a_second_server_is_refused_also_when_the_lock_file_was_removed` |
//! | 33, 34 | stopped for longer than a lease | `faults::a_server_that_stood_still_for_longer_than_its_leases_loses_no_job_and_accepts_no_stale_report` |
//! | 35, 36, 51 | connection lost before the answer, asked again | `faults::a_request_whose_connection_broke_is_done_once_however_often_it_is_sent`; with kills in between: row 1 |
//! | 44 | poison jobs | `faults::jobs_that_always_fail_or_are_killed_end_dead_after_their_attempts_while_others_get_done`, `crash::a_job_that_kills_the_server_again_and_again_is_dead_in_the_end_and_the_others_are_done` |
//! | 45 to 47 | programs that fork, flood, outlive | `exec` |
//! | 49 | slow and half-open connections | `limits::two_hundred_slow_clients_hold_up_nobody_and_are_got_rid_of`, `bad_input::half_a_request_and_then_silence_is_cut_off` |
//! | 50 | malformed and oversized requests | `bad_input` |
//! | 53 | SIGTERM under load, twice, amid snapshots | `faults::sigterm_under_load_and_amid_snapshots_keeps_all_that_was_accepted`, `lifecycle::a_second_signal_ends_the_server_at_once_and_loses_nothing` |
//! | 54 | no memory | `limits::a_server_that_runs_out_of_memory_has_lost_nothing_at_its_next_start` |
//! | 56 | a long replay, cut off, with little memory | `limits::replay_takes_far_less_memory_than_the_log_is_long_also_when_it_was_cut_off_half_way`: an eighth of a GiB, and a whole one with `BEAVER_TORTURE=8` or more |
//! | 61 | files damaged under a running server | `rescue` |
//! | 62, 63, 69, 72, 73 | the server's own shortage: descriptors, threads, processes, space | `shortage`: each with a flood of idle connections, and for longer with `BEAVER_TORTURE` |
//! | 67 | a clock that nobody vouches for | `clock` |
//! | 68, 74, 75 | memory that clients can make the server take | `memory` |
//! | 76 | orphans that become children of the server | `orphans` |
//! | 77 | programs that try to stay | `stays`: some ways with some ends, and with `BEAVER_TORTURE` all with all |
//! | 83 | reports while the server is suspended or down | `away` |
//! | 57, 58 | deliberate bugs, by `BEAVER_BUG` | `bugs` |
//!
//! What is not built with a real process, and why:
//!
//! | row | fault | reason, and where it is tested instead |
//! |---|---|---|
//! | 18 | EDQUOT, ENFILE | the one needs a file system with quotas, the other would starve the whole machine; to beaver they are the errors ENOSPC and EMFILE |
//! | 32 | clock jumps | setting the clock takes root and meets everybody on the machine: `actors` of the engine's tests, `tests/simulation` |
//! | 43 | standstill inside of actors | nothing from outside reaches them: `supervision` of the engine's tests |
//! | 47 | a process id used again by a stranger | ids cannot be chosen without root; what decides, the mark in the environment, is tested in `handlers/exec` |
//! | 48 | 100,000 requests behind one slow fsync | needs that fsync: `load` of the engine's tests |
//! | 49 | 10,000 idle connections | more than an ordinary limit of file descriptors; 200 here, and the cap in `bad_input` |
//!
//! Deliberate bugs (`beaver_actors::testing::Bug`) that cannot be noticed from outside of a real process, and why; the
//! crash explorer and `tests/simulation` notice them:
//!
//! | bug | reason |
//! |---|---|
//! | `AckBeforeFsync`, `NoDirectorySync` | SIGKILL takes the process, not the power: the kernel keeps bytes and names that were never synced |
//! | `NoGraceAtBoot`, `PutBackUnfenced` | the explorer notices each at once; here they would take seconds of waiting |
//! | `RequeueAsTwoRecords` | it replaces a command of the engine without actors, which a real server does not have; only the crash explorer notices it |

mod fwp_client;
mod harness;
mod http_client;

mod files;

mod away;
mod clock;
mod crash;
mod exec;
mod failpoints;
mod faults;
mod lifecycle;
mod limits;
mod memory;
mod moved;
mod orphans;
mod rescue;
mod shortage;
mod stays;
mod torture;

mod acts;
mod both_ways;
mod cli;
mod cli_offline;
mod inspect;
mod odd_texts;
mod queues;
mod terminal;

mod bad_input;
mod bugs;
mod damage;
mod doctor;
mod full_disk;
mod fwp;
mod http;
