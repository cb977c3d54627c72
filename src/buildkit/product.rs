//! Which product answers, and what its version can do.
//!
//! A buildkitd is assumed to be recent: its protocol reports no version.

use std::fmt;

/// A Docker Engine API version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u32,
    /// Grows with each engine release.
    pub minor: u32,
}

impl ApiVersion {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Which product answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineProduct {
    /// A Docker engine, which has an image store and an API beside BuildKit.
    Docker {
        /// Its newest API.
        api: ApiVersion,
        /// Its `Server` header, e.g. `Docker/28.5.2 (linux)`.
        server: String,
    },
    /// A stand-alone buildkitd: no image store, no API.
    Buildkitd,
}

impl fmt::Display for EngineProduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Docker { server, .. } => f.write_str(server.split_whitespace().next().unwrap_or("Docker")),
            Self::Buildkitd => f.write_str("buildkitd"),
        }
    }
}

/// What not every version can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ability {
    /// Expands variables in the options of cache mounts without a `# syntax=` line. Docker 23.0.
    ExpandedMounts,
    /// Attaches attestations, and may keep images in containerd's store. Docker 23.0, BuildKit 0.11.
    Attestations,
    /// Reads and writes registry caches that are images. Docker 25.0, BuildKit 0.12.
    RegistryCaches,
    /// Runs several exporters in a solve; older versions ignore all but one. Docker 26.0, BuildKit 0.13.
    SeveralExporters,
    /// Serves gRPC at once; the upgrades of HTTP/1 are deprecated. Docker 29.2.
    DirectTransport,
}

impl Ability {
    /// Returns the minor version of Docker's API 1 that it came with.
    fn since(self) -> u32 {
        match self {
            Self::ExpandedMounts | Self::Attestations => 42,
            Self::RegistryCaches => 44,
            Self::SeveralExporters => 45,
            Self::DirectTransport => 53,
        }
    }
}

impl EngineProduct {
    /// Returns `true` if this version has the ability.
    pub(crate) fn can(&self, ability: Ability) -> bool {
        match self {
            Self::Docker { api, .. } => *api >= ApiVersion { major: 1, minor: ability.since() },
            Self::Buildkitd => true,
        }
    }

    /// Returns `true` for a Docker engine, which keeps images.
    pub(crate) fn is_docker(&self) -> bool {
        matches!(self, Self::Docker { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_come_with_versions() {
        let docker =
            |major, minor| EngineProduct::Docker { api: ApiVersion { major, minor }, server: String::new() };
        for (product, expected) in [
            (docker(1, 41), [false, false, false, false, false]),
            (docker(1, 43), [true, true, false, false, false]),
            (docker(1, 44), [true, true, true, false, false]),
            (docker(1, 51), [true, true, true, true, false]),
            (docker(1, 53), [true; 5]),
            (docker(2, 0), [true; 5]),
            (EngineProduct::Buildkitd, [true; 5]),
        ] {
            let all = [
                Ability::ExpandedMounts,
                Ability::Attestations,
                Ability::RegistryCaches,
                Ability::SeveralExporters,
                Ability::DirectTransport,
            ];
            assert_eq!(all.map(|ability| product.can(ability)), expected, "{product:?}");
        }
    }
}
