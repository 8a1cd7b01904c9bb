//! What a pattern is held against: the JSON that remote workers see of a job.

use std::sync::Arc;

use beaver_actors::jobs::JobTest;

use super::glob::Glob;
use super::spelling::shortest;
use crate::wire::faktory_job;

/// The condition of a filter that only jobs pass whose JSON a pattern fits: in the shortest spelling, so that a text is found
/// however its producer wrote it, or as it was written, for patterns that spell it out.
pub(crate) fn condition(glob: Glob) -> JobTest {
    Arc::new(move |view| {
        let mut text = Vec::with_capacity(512);
        faktory_job::write(view, &mut text);
        let written = String::from_utf8_lossy(&text);
        let shortest = shortest(&written);
        glob.matches(&shortest) || shortest != written && glob.matches(&written)
    })
}
