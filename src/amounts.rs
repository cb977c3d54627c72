//! Formats numbers and sizes for display: `1 entry`, `2 entries`, `186.40 MB`. Sizes are in powers of 1000.

use humansize::{DECIMAL, format_size};

/// Returns a number with its noun in the singular or plural. A number that does not fit into a `u64` is omitted.
pub(crate) fn count(number: impl TryInto<u64>, one: &str, many: &str) -> String {
    match number.try_into() {
        Ok(1) => format!("1 {one}"),
        Ok(number) => format!("{number} {many}"),
        Err(_) => many.to_owned(),
    }
}

/// Returns a number of bytes in a suitable unit.
pub(crate) fn size(bytes: u64) -> String {
    format_size(bytes, DECIMAL)
}
