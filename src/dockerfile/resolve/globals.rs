//! The variables visible in FROM lines.

use super::options::{Options, ResolveError};
use crate::dockerfile::scope::Scope;
use crate::dockerfile::{Dockerfile, InstructionKind};
use crate::platform::Platform;

/// The arguments that the frontend sets by itself.
#[rustfmt::skip]
pub(crate) const PLATFORM_ARGS: [&str; 11] = [
    "BUILDPLATFORM", "BUILDOS", "BUILDOSVERSION", "BUILDARCH", "BUILDVARIANT", "TARGETPLATFORM", "TARGETOS",
    "TARGETOSVERSION", "TARGETARCH", "TARGETVARIANT", "TARGETSTAGE",
];

pub(super) struct GlobalScope {
    /// The scope before the first FROM.
    pub(super) scope: Scope,
    pub(super) platform: Platform,
    pub(super) build_platform: Platform,
    pub(super) declared: Vec<String>,
}

impl GlobalScope {
    pub(super) fn of(dockerfile: &Dockerfile, options: &Options) -> Result<Self, ResolveError> {
        let build = Platform::parse(&options.build_platform, None)?;
        let platform = match &options.platform {
            Some(platform) => Platform::parse(platform, Some(&build))?,
            None => build.clone(),
        };
        let last = dockerfile.stages.last().and_then(|stage| stage.name.clone());
        let stage = options.target.clone().filter(|target| !target.is_empty()).or(last);
        let parts = |of: &Platform| {
            let Platform { os, os_version, architecture, variant } = of.clone();
            [of.to_string(), os, os_version, architecture, variant]
        };
        let stage = stage.unwrap_or_else(|| "default".to_owned());
        let mut scope = Scope::default();
        let values = parts(&build).into_iter().chain(parts(&platform)).chain([stage]);
        for (name, value) in PLATFORM_ARGS.iter().zip(values) {
            scope.set(name, options.build_args.get(*name).unwrap_or(&value));
        }
        let mut declared = Vec::new();
        for instruction in &dockerfile.global_args {
            let InstructionKind::Arg(args) = &instruction.kind else { continue };
            for (name, default) in args {
                let value = match (options.build_args.get(name), default) {
                    (Some(value), _) => Some(value.clone()),
                    (None, Some(default)) => {
                        let line = *instruction.lines.start();
                        let expanded = scope.expand(default, dockerfile.directives.escape);
                        Some(expanded.map_err(|source| ResolveError::expand(line, default, source))?.text)
                    }
                    (None, None) => None,
                };
                if let Some(value) = value {
                    scope.set(name, &value);
                }
                declared.push(name.clone());
            }
        }
        Ok(Self { scope, platform, build_platform: build, declared })
    }
}
