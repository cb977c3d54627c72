//! Platforms, written as `os/architecture[/variant]` and normalised to one spelling.
//!
//! Spellings follow containerd's `platforms` package: `x86_64` is `amd64`, `aarch64` and `arm64/v8` are `arm64`, a bare
//! `arm` is `arm/v7`.

use std::fmt;
use std::str::FromStr;

/// A platform, in its normalised spelling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Platform {
    /// For example `linux`.
    pub(crate) os: String,
    /// For example `10.0.17763`; Windows only.
    pub(crate) os_version: String,
    /// For example `amd64`.
    pub(crate) architecture: String,
    /// For example `v7`, or empty.
    pub(crate) variant: String,
}

/// Returns the platform of containers on this machine: Linux with the architecture of the machine.
pub(crate) fn local_container_platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{architecture}")
}

/// A text that is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform: expected os/architecture or os/architecture/variant")]
pub struct InvalidPlatform(String);

const SYSTEMS: &str = "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd \
    openbsd plan9 solaris windows zos";
const ARCHITECTURES: &str = "386 amd64 amd64p32 arm arm64 arm64be armbe loong64 mips mips64 mips64le \
    mips64p32 mips64p32le mipsle ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm";

impl Platform {
    /// Parses `text`. Parts that it omits are taken from `default`.
    ///
    /// Rejects more than three parts, invalid characters, and a single part that is neither a known system nor a known
    /// architecture.
    pub(crate) fn parse(text: &str, default: Option<&Self>) -> Result<Self, InvalidPlatform> {
        let invalid = || InvalidPlatform(text.to_owned());
        let parts: Vec<&str> = text.trim().split('/').collect();
        let (system, version) = match parts[0].split_once('(') {
            Some((system, version)) => (system, version.strip_suffix(')').ok_or_else(invalid)?),
            None => (parts[0], ""),
        };
        let is_valid = |part: &str| {
            !part.is_empty() && part.chars().all(|char| char.is_ascii_alphanumeric() || "_.-".contains(char))
        };
        if parts.len() > 3 || !is_valid(system) || !parts[1..].iter().all(|part| is_valid(part)) {
            return Err(invalid());
        }
        let system = system.to_ascii_lowercase();
        let os = if system == "macos" { "darwin".to_owned() } else { system.clone() };
        let (os, architecture, variant) = match parts[1..] {
            [] => {
                let default = default.ok_or_else(invalid)?;
                if SYSTEMS.split(' ').any(|known| known == os) {
                    (os, default.architecture.clone(), default.variant.clone())
                } else {
                    let normal = normalize(&system, "").0;
                    let known = ARCHITECTURES.split(' ').any(|known| known == normal);
                    (known.then(|| default.os.clone()).ok_or_else(invalid)?, system, String::new())
                }
            }
            [architecture] => (os, architecture.to_ascii_lowercase(), String::new()),
            [architecture, variant, ..] => {
                (os, architecture.to_ascii_lowercase(), variant.to_ascii_lowercase())
            }
        };
        let (architecture, variant) = normalize(&architecture, &variant);
        Ok(Self { os, os_version: version.to_owned(), architecture, variant })
    }
}

/// Returns the normalised architecture and variant, as `normalizeArch` in containerd does.
fn normalize(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, None)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        if !self.os_version.is_empty() {
            write!(f, "({})", self.os_version)?;
        }
        write!(f, "/{}", self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_platform_are_normalised_to_one() {
        let default: Platform = "linux/amd64".parse().unwrap();
        let table = [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("arm64", "linux/arm64"),
            ("armhf", "linux/arm/v7"),
            ("windows", "windows/amd64"),
            ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
        ];
        for (text, normal) in table {
            assert_eq!(Platform::parse(text, Some(&default)).unwrap().to_string(), normal);
        }
        for text in ["", "linux/", "linux/a/b/c", "linux/amd64,linux/arm64", "a(b/c", "arm64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        assert!(Platform::parse("potato", Some(&default)).is_err());
    }
}
