//! Finds the cache mounts that the target of a build reaches, and decides which of them larder can save and restore.

use super::inputs::DockerfileText;
use super::keys::resolve_options;
use crate::buildkit::{Ability, Client, ConnectError, EngineProduct};
use crate::dockerfile::SyntaxError;
use crate::error_chain::chain;
use crate::mounts::{Mounts, SkippedMount, Variables, cache_mounts, can_be_visited};
use crate::plan::SourceSettings;

pub(crate) enum ReachedMountsError {
    Builder(Box<ConnectError>),
    /// The message, and the place in the Dockerfile if it is known.
    Dockerfile(String, Option<SyntaxError>),
}

/// Returns the cache mounts that a Dockerfile's target reaches. Queries the builder for its platform only if the result
/// depends on it.
pub(crate) async fn reached_mounts(
    client: &Client,
    source: &SourceSettings,
    text: &DockerfileText,
) -> Result<Mounts, ReachedMountsError> {
    let on = |platform: &str| resolve_mounts(source, text, client.product(), platform.to_owned());
    let mounts = on("linux/amd64")?;
    if mounts == on("linux/arm64")? {
        return Ok(mounts);
    }
    let worker = client.worker().await.map_err(|error| ReachedMountsError::Builder(Box::new(error)))?;
    on(&worker.platform())
}

fn resolve_mounts(
    source: &SourceSettings,
    text: &DockerfileText,
    engine: &EngineProduct,
    platform: String,
) -> Result<Mounts, ReachedMountsError> {
    let options = resolve_options(source, platform);
    let dockerfile = text.parsed().map_err(|error| {
        ReachedMountsError::Dockerfile(
            format!("the Dockerfile has an error: {}", chain(error)),
            Some(error.clone()),
        )
    })?;
    let text = text.as_str();
    let resolution = dockerfile
        .resolve(&options)
        .map_err(|error| ReachedMountsError::Dockerfile(chain(&error), error.locate(text)))?;
    let syntax = source.build_args.get("BUILDKIT_SYNTAX").or(dockerfile.directives.syntax.as_ref());
    let variables = variable_handling(syntax.map(String::as_str), engine);
    let mut found = cache_mounts(&resolution, &source.build_args, variables);
    for mount in std::mem::take(&mut found.supported) {
        let has_origin = mount.id.origin.is_some();
        let reason = if has_origin && source.platforms.len() > 1 {
            Some("its initial content is different on each platform")
        } else if has_origin && !can_be_visited(&mount, text, &options, variables) {
            Some("its options cannot be repeated at the end of this Dockerfile")
        } else {
            None
        };
        match reason {
            None => found.supported.push(mount),
            Some(reason) => {
                found.skipped.extend(mount.uses.into_iter().map(|used| SkippedMount { used, reason }));
            }
        }
    }
    Ok(found)
}

/// Returns how the frontend treats variables in the options of mounts. The frontend is the one that the Dockerfile
/// names, or else the one built into the engine.
fn variable_handling(syntax: Option<&str>, engine: &EngineProduct) -> Variables {
    let is_old = match (syntax, engine) {
        (Some(image), _) => has_version(image, &["1.0", "1.1", "1.2"]),
        (None, engine) => !engine.supports(Ability::ExpandedMounts),
    };
    if is_old { Variables::AsWritten } else { Variables::Expanded }
}

/// Returns `true` if a directive (`docker/dockerfile:1.2.1-labs@sha256:…`) names one of these versions (`1.2`).
pub(crate) fn has_version(syntax: &str, versions: &[&str]) -> bool {
    let image = syntax
        .trim_start()
        .split(|char: char| char.is_whitespace() || char == '@')
        .next()
        .unwrap_or_default();
    let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
    let is_tagged = |rest: &str| rest.is_empty() || rest.starts_with(['.', '-']);
    versions.iter().any(|version| tag.strip_prefix(version).is_some_and(is_tagged))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buildkit::ApiVersion;

    #[test]
    fn variables_are_expanded_by_frontends_from_dockerfile_1_3_on() {
        let docker =
            |minor| EngineProduct::Docker { api: ApiVersion { major: 1, minor }, server: String::new() };
        for (syntax, engine, expected) in [
            (None, docker(41), Variables::AsWritten),
            (None, docker(43), Variables::Expanded),
            (None, EngineProduct::Buildkitd, Variables::Expanded),
            (Some("docker/dockerfile:1"), docker(41), Variables::Expanded),
            (Some("docker/dockerfile"), docker(41), Variables::Expanded),
            (Some("docker/dockerfile:1.2"), docker(43), Variables::AsWritten),
            (Some("host:5000/dockerfile:1.2.1-labs@sha256:0"), docker(43), Variables::AsWritten),
            (Some("docker/dockerfile:1.20 x"), docker(43), Variables::Expanded),
            (Some("host:1.2/dockerfile"), docker(43), Variables::Expanded),
        ] {
            assert_eq!(variable_handling(syntax, &engine), expected, "{syntax:?}");
        }
    }
}
