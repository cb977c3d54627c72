//! Byte counts of progress rows in Docker's format: `123B`, `1.20MB / 3.40MB`.

use humansize::{DECIMAL, FormatSizeOptions, format_size};

use crate::buildkit::status::VertexStatus;

/// Returns the completed share of the row's bytes, if it counts bytes.
pub(super) fn amount(status: &VertexStatus) -> Option<String> {
    match (status.current, status.total) {
        (0, 0) => None,
        (current, 0) => Some(bytes(current)),
        (current, total) => Some(format!("{} / {}", bytes(current), bytes(total))),
    }
}

fn bytes(count: i64) -> String {
    let count = u64::try_from(count).unwrap_or_default();
    if count < 1_000 {
        return format!("{count}B");
    }
    let format = FormatSizeOptions::from(DECIMAL).space_after_value(false).decimal_zeroes(2);
    format_size(count, format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_formatted_as_in_docker() {
        for (count, text) in [
            (-1, "0B"),
            (0, "0B"),
            (999, "999B"),
            (1_000, "1.00kB"),
            (1_234_567, "1.23MB"),
            (32_108_000_000, "32.11GB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
