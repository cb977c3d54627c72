//! Sizes in settings.

/// Parses a size in bytes: `500MB`, `2GiB`, `1.5 GB`, `4096`. As in `500MB`, `500M` counts in powers of 1000.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    bytes(text).ok_or_else(|| format!("`{text}` is no size such as 500MB or 2GB"))
}

fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let (prefix, step) = match unit.strip_suffix("ib") {
        Some(prefix) => (prefix, 1024_u64),
        None => (unit.strip_suffix('b').unwrap_or(&unit), 1000),
    };
    let power = match prefix {
        "" if step == 1000 => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let unit = step.pow(power);
    let tenths = match fraction {
        "" => 0,
        digits if digits.len() <= 3 => {
            digits.parse::<u64>().ok()? * unit / 10_u64.pow(u32::try_from(digits.len()).ok()?)
        }
        _ => return None,
    };
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(tenths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("4096", Some(4096)),
            ("500MB", Some(500_000_000)),
            ("500m", Some(500_000_000)),
            ("2GiB", Some(2 << 30)),
            ("1.5 GB", Some(1_500_000_000)),
            ("0.25KiB", Some(256)),
            ("1TB", Some(1_000_000_000_000)),
            ("0", Some(0)),
            ("", None),
            ("GB", None),
            ("1.2.3", None),
            ("-1", None),
            ("1XB", None),
            ("ib", None),
            ("1ib", None),
            ("99999999999TB", None),
        ] {
            assert_eq!(parse(text).ok(), bytes, "{text}");
        }
    }
}
