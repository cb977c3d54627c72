//! Compatibility of an image's platform with the requested one.
//!
//! The rules follow containerd's `platforms.Only`: an image of an older variant is compatible, the closest first; so is
//! 386 with amd64, and 32-bit ARM with arm64.

use crate::platform::Platform;

/// Returns the rank of an image of platform `has` if `wanted` is requested: 0 for the best, `None` if it is not
/// compatible.
///
/// Both are `OS[(VERSION)]/ARCHITECTURE[/VARIANT]`; the version is compared if both have one.
pub(crate) fn compatibility_rank(has: &str, wanted: &str) -> Option<usize> {
    let mut has = Platform::parse(has, None).ok()?;
    let mut wanted = Platform::parse(wanted, None).ok()?;
    let (version, least) = (std::mem::take(&mut has.os_version), std::mem::take(&mut wanted.os_version));
    if !version.is_empty() && !least.is_empty() && !version.starts_with(&least) {
        return None;
    }
    compatible_platforms(&wanted).iter().position(|platform| *platform == has)
}

/// Returns the compatible platforms, best first.
fn compatible_platforms(wanted: &Platform) -> Vec<Platform> {
    let of = |architecture: &str, variant: String| Platform {
        architecture: architecture.to_owned(),
        variant,
        ..wanted.clone()
    };
    let number = |text: &str| text.strip_prefix('v').and_then(|number| number.parse::<u8>().ok());
    let mut served = vec![wanted.clone()];
    let mut arm = |from: u8| served.extend((5..=from).rev().map(|version| of("arm", format!("v{version}"))));
    match wanted.architecture.as_str() {
        "amd64" => {
            let older = number(&wanted.variant).map_or(0, |version| version.saturating_sub(1));
            served.extend((2..=older).rev().map(|version| of("amd64", format!("v{version}"))));
            if !wanted.variant.is_empty() {
                served.push(of("amd64", String::new()));
            }
            served.push(of("386", String::new()));
        }
        "arm" => {
            if let Some(older) = number(&wanted.variant).filter(|version| *version > 5) {
                arm(older - 1);
            }
        }
        "arm64" => {
            let variant = if wanted.variant.is_empty() { "v8" } else { &wanted.variant };
            let (major, minor) = variant.split_once('.').unwrap_or((variant, "0"));
            let minor: u8 = minor.parse().unwrap_or_default();
            // ARMv9.N includes ARMv8.(N+5).
            let highest_v8 = match major {
                "v8" => minor.saturating_sub(1),
                "v9" => {
                    let ninth = (0..minor).rev().map(|minor| {
                        of("arm64", if minor == 0 { "v9".to_owned() } else { format!("v9.{minor}") })
                    });
                    served.extend(ninth);
                    minor.saturating_add(5).min(9)
                }
                _ => return served,
            };
            served.extend((1..=highest_v8).rev().map(|minor| of("arm64", format!("v8.{minor}"))));
            if !wanted.variant.is_empty() {
                served.push(of("arm64", String::new()));
            }
            served.extend((5..=8).rev().map(|version| of("arm", format!("v{version}"))));
        }
        _ => {}
    }
    served
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_compatible_with_its_own_platform_and_newer_variants() {
        let table: &[(&str, &[&str], &[&str])] = &[
            (
                "linux/amd64",
                &["linux/amd64", "linux/x86_64", "linux/amd64/v1", "linux/386"],
                &["linux/amd64/v2", "linux/arm64", "windows/amd64"],
            ),
            (
                "linux/amd64/v3",
                &["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"],
                &["linux/amd64/v4"],
            ),
            (
                "linux/arm/v7",
                &["linux/arm", "linux/arm/v6", "linux/arm/v5"],
                &["linux/arm/v8", "linux/arm64"],
            ),
            ("linux/arm/v6", &["linux/arm/v6", "linux/arm/v5"], &["linux/arm/v7", "linux/arm"]),
            (
                "linux/arm64",
                &["linux/arm64/v8", "linux/arm/v8", "linux/arm/v7"],
                &["linux/arm64/v9", "linux/amd64"],
            ),
            (
                "linux/arm64/v9.1",
                &["linux/arm64/v9.1", "linux/arm64/v9", "linux/arm64/v8.6", "linux/arm64", "linux/arm/v8"],
                &["linux/arm64/v8.7"],
            ),
            ("linux/s390x", &["linux/s390x"], &["linux/ppc64le", "unknown/unknown", "linux"]),
            (
                "windows(10.0.17763)/amd64",
                &["windows/amd64", "windows(10.0.17763.1)/amd64"],
                &["windows(10.0.20348)/amd64"],
            ),
        ];
        for (wanted, serving, others) in table {
            let ranks: Vec<_> = serving.iter().map(|has| compatibility_rank(has, wanted)).collect();
            assert!(ranks.iter().all(Option::is_some) && ranks.is_sorted(), "{wanted}: {ranks:?}");
            for other in *others {
                assert_eq!(compatibility_rank(other, wanted), None, "{other} for {wanted}");
            }
        }
    }
}
