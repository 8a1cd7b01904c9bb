//! A keeper: the small process between the server and one program, which ends all that the program started.
//!
//! A program can leave its process group, its session and its parent. What it cannot leave is its line of
//! descent: a keeper is a child subreaper, so a process that loses its parent becomes its child. As long as the keeper
//! has a child, something of the program is left; when it has none, nothing is. That is exact, where a look
//! through `/proc` only finds what happens to be there.
//!
//! The server starts keepers as `beaver exec-keeper` and gives each a program at a time. When the socket
//! between them closes, the server is gone, however it died, and the keeper ends what runs. A keeper that has
//! nothing left takes the next program ([why](../../../../docs/decisions/0022-keepers-are-kept.md)).
//!
//! | file | story |
//! |---|---|
//! | `messages` | what the two say to each other |
//! | `process` | the keeper itself |
//! | `descendants` | whom it finds below itself |
//! | `link` | the server's end: keepers that run a program, and those that wait for one |

mod descendants;
mod link;
mod messages;
mod process;

pub(super) use link::{Heard, KeeperProgram, Keepers, RunningProgram};
pub(super) use messages::ProgramOrder;
pub(crate) use process::{SUBCOMMAND, run};
