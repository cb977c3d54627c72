//! Sizes in settings.

use super::origin::FromText;

/// A size in bytes, written as Docker reads sizes (docker/go-units, `RAMInBytes`): `500m`, `500MB` and `500MiB` are all
/// 500 × 2²⁰ bytes, `4096` is a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ByteSize(pub(super) u64);

impl FromText for ByteSize {
    fn from_text(text: &str) -> Result<Self, String> {
        parse_bytes(text).map(Self).ok_or_else(|| format!("`{text}` is not a size such as 64m or 2GB"))
    }
}

fn parse_bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let split = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, suffix) = lower.split_at(split);
    let shift = match suffix.trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // Further digits are smaller than a byte.
    let (fraction, digits) = (&fraction[..fraction.len().min(9)], u32::try_from(fraction.len().min(9)).ok()?);
    let part = if digits == 0 { 0 } else { (fraction.parse::<u128>().ok()? << shift) / 10_u128.pow(digits) };
    whole.parse::<u64>().ok()?.checked_mul(1 << shift)?.checked_add(u64::try_from(part).ok()?)
}

/// A limit in gigabytes (10⁹ bytes), for flags and keys whose names end in `gb`. 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gigabytes(pub(super) Option<u64>);

impl Gigabytes {
    fn new(size: f64) -> Option<Self> {
        let is_valid = (0.0..1e9).contains(&size);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
        let bytes = (size * 1e9) as u64;
        is_valid.then_some(Self((bytes > 0).then_some(bytes)))
    }
}

impl FromText for Gigabytes {
    fn from_text(text: &str) -> Result<Self, String> {
        let size = text.parse().ok().and_then(Self::new);
        size.ok_or_else(|| format!("`{text}` is not a number of gigabytes such as 20 or 0.5"))
    }

    fn from_number(size: f64) -> Result<Self, Option<String>> {
        Self::new(size)
            .ok_or_else(|| Some(format!("`{size}` is not a number of gigabytes such as 20 or 0.5")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_dockers_suffixes() {
        for (text, expected) in [
            ("4096", Some(4096)),
            ("500MB", Some(500 << 20)),
            ("500m", Some(500 << 20)),
            ("500MiB", Some(500 << 20)),
            ("2GiB", Some(2 << 30)),
            ("1.5 GB", Some(3 << 29)),
            ("0.5k", Some(512)),
            ("1TB", Some(1 << 40)),
            ("0", Some(0)),
            ("", None),
            ("GB", None),
            ("1.2.3", None),
            ("-1", None),
            ("1XB", None),
            ("1q", None),
            ("99999999999TB", None),
        ] {
            assert_eq!(parse_bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn gigabytes_are_decimal_and_zero_is_no_limit() {
        assert_eq!(Gigabytes::from_text("0.5"), Ok(Gigabytes(Some(500_000_000))));
        assert_eq!(Gigabytes::from_text("0"), Ok(Gigabytes(None)));
        for wrong in ["-1", "much", "", "1e300", "NaN"] {
            assert!(Gigabytes::from_text(wrong).is_err(), "{wrong}");
        }
    }
}
