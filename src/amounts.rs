//! Numbers and sizes as people read them: `1 entry`, `2 entries`, `186.40 MB`. Sizes are in powers of 1000.

use humansize::{DECIMAL, format_size};

/// So many of something.
pub(crate) fn count(number: impl TryInto<u64>, one: &str, many: &str) -> String {
    match number.try_into() {
        Ok(1) => format!("1 {one}"),
        Ok(number) => format!("{number} {many}"),
        Err(_) => many.to_owned(),
    }
}

/// So many bytes.
pub(crate) fn size(bytes: u64) -> String {
    format_size(bytes, DECIMAL)
}
