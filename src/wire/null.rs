//! What is read where a program wrote `null`.

use serde::{Deserialize, Deserializer};

/// Many programs write what they do not know as null.
pub(crate) fn null_means_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
