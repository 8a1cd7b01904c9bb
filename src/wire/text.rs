//! Text in JSON, as readers get it.

use std::borrow::Cow;

use serde::Deserialize;

/// The name of a field, or its value; borrowed unless it was written with escapes.
#[derive(Deserialize)]
pub(super) struct Text<'t>(#[serde(borrow)] pub(super) Cow<'t, str>);
