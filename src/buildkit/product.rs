//! Engine products and the abilities of their versions.
//!
//! A buildkitd is assumed to be recent, because its protocol reports no version.

use std::fmt;

/// A Docker Engine API version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u32,
    /// Increases with engine releases.
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

/// The product behind an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineProduct {
    /// A Docker engine, which has an image store and an API besides BuildKit.
    Docker {
        /// The newest API version it supports.
        api: ApiVersion,
        /// The `Server` header, for example `Docker/28.5.2 (linux)`.
        server: String,
    },
    /// A stand-alone buildkitd, without image store and API.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ability {
    /// Variables in the options of cache mounts are expanded without a `# syntax=` line. Docker 23.0.
    ExpandedMounts,
    /// Attestations are attached, and images may be in containerd's store. Docker 23.0, BuildKit 0.11.
    Attestations,
    /// Registry caches that are images are read and written. Docker 25.0, BuildKit 0.12.
    RegistryCaches,
    /// A solve may have several exporters; older versions ignore all but one. Docker 26.0, BuildKit 0.13.
    SeveralExporters,
    /// gRPC is served directly; the HTTP/1 upgrades are deprecated. Docker 29.2.
    DirectTransport,
}

impl EngineProduct {
    pub(crate) fn supports(&self, ability: Ability) -> bool {
        let Self::Docker { api, .. } = self else { return true };
        let minor = match ability {
            Ability::ExpandedMounts | Ability::Attestations => 42,
            Ability::RegistryCaches => 44,
            Ability::SeveralExporters => 45,
            Ability::DirectTransport => 53,
        };
        *api >= ApiVersion { major: 1, minor }
    }

    pub(crate) fn is_docker(&self) -> bool {
        matches!(self, Self::Docker { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_depend_on_the_version() {
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
            assert_eq!(all.map(|ability| product.supports(ability)), expected, "{product:?}");
        }
    }
}
