//! What a pattern is held against: the JSON that remote workers see of a job.

use std::sync::Arc;

use beaver_actors::jobs::JobTest;

use super::glob::Glob;
use crate::wire::faktory_job;

/// The condition of a filter that only jobs pass whose JSON a pattern fits.
pub(crate) fn condition(glob: Glob) -> JobTest {
    Arc::new(move |view| {
        let mut text = Vec::with_capacity(512);
        faktory_job::write(view, &mut text);
        glob.matches(&String::from_utf8_lossy(&text))
    })
}
