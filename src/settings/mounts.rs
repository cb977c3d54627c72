//! Resolves the settings for cache mounts.

use std::path::Path;
use std::time::Duration;

use super::precedence::Fallback;
use super::{
    ContextSource, Environment, MountSettings, Settings, SettingsError, SourceSettings, duration, env_vars,
    size,
};
use crate::cli::CarryArgs;

const DEFAULT_UNUSED_BUILDS: u32 = 5;
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(5);

impl MountSettings {
    pub(crate) fn resolve(
        args: &CarryArgs,
        source: &SourceSettings,
        settings: &Settings,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let file = &settings.file;
        let fallback = Fallback { environment, file };
        let max_size = fallback.first(
            ("max-mount-size", args.max_mount_size.as_deref()),
            env_vars::LARDER_MAX_MOUNT_SIZE,
            ("max_mount_size", file.max_mount_size.as_deref()),
            size::parse,
        )?;
        let unused_builds = fallback.first(
            ("mount-unused-builds", args.mount_unused_builds.as_deref()),
            env_vars::LARDER_MOUNT_UNUSED_BUILDS,
            ("mount_unused_builds", file.mount_unused_builds.map(|builds| builds.to_string()).as_deref()),
            |text| text.parse::<u32>().map_err(|_| format!("`{text}` is no number of builds such as 5")),
        )?;
        let timeout = fallback.first(
            ("mount-timeout", args.mount_timeout.as_deref()),
            env_vars::LARDER_MOUNT_TIMEOUT,
            ("mount_timeout", file.mount_timeout.as_deref()),
            duration::parse,
        )?;
        let scope = fallback.first(
            ("mount-scope", args.mount_scope.as_deref()),
            env_vars::LARDER_MOUNT_SCOPE,
            ("mount_scope", file.mount_scope.as_deref()),
            |text| {
                Some(text.to_owned()).filter(|text| !text.is_empty()).ok_or_else(|| "it is empty".to_owned())
            },
        )?;
        Ok(Self {
            auto: fallback.switched_on(args.auto_mounts, env_vars::LARDER_AUTO_MOUNTS, file.auto_mounts)?,
            scope: scope
                .or_else(|| of_ci(environment))
                .or_else(|| of_file(settings))
                .unwrap_or_else(|| of_context(source)),
            max_size: max_size.filter(|size| *size > 0),
            unused_builds: Some(unused_builds.unwrap_or(DEFAULT_UNUSED_BUILDS)).filter(|builds| *builds > 0),
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            allow_shrink: args.allow_shrink,
        })
    }
}

/// Returns the name of the project in the CI system.
fn of_ci(environment: &Environment) -> Option<String> {
    let get = |name| environment.get(name).map(str::to_owned);
    let of_jenkins = || {
        let job = environment.get(env_vars::JOB_NAME)?;
        // In a multibranch job, the last component is the branch.
        let project = match (environment.get(env_vars::BRANCH_NAME), job.rsplit_once('/')) {
            (Some(_), Some((project, _))) => project,
            _ => job,
        };
        Some(project.to_owned())
    };
    get(env_vars::CI_PROJECT_PATH).or_else(|| get(env_vars::GITHUB_REPOSITORY)).or_else(of_jenkins)
}

/// Returns the name of the directory of `larder.yaml` for one of its images, so that its images share downloads.
fn of_file(settings: &Settings) -> Option<String> {
    let directory = settings.file.is_for_image().then(|| settings.file.directory())?;
    Some(directory.file_name()?.to_string_lossy().into_owned())
}

/// Returns the name of the context's directory, or of the remote repository.
fn of_context(source: &SourceSettings) -> String {
    let name = |directory: &Path| {
        let absolute = std::path::absolute(directory).ok()?;
        Some(absolute.file_name()?.to_string_lossy().into_owned())
    };
    match &source.context {
        ContextSource::Directory(directory) => name(directory).unwrap_or_else(|| "/".to_owned()),
        ContextSource::Remote(address) => {
            let plain = address.split(['#', '?']).next().unwrap_or_default();
            plain
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .trim_end_matches(".git")
                .to_owned()
        }
        ContextSource::Stdin => "stdin".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_has_its_name_in_the_ci_system() {
        type Variables = &'static [(&'static str, &'static str)];
        let table: &[(Variables, Option<&str>)] = &[
            (&[], None),
            (&[("GITHUB_REPOSITORY", "acme/shop")], Some("acme/shop")),
            (&[("CI_PROJECT_PATH", "acme/web/shop")], Some("acme/web/shop")),
            (&[("JOB_NAME", "shop")], Some("shop")),
            (&[("JOB_NAME", "acme/shop/PR-7"), ("BRANCH_NAME", "PR-7")], Some("acme/shop")),
            (&[("JOB_NAME", "acme/shop-nightly")], Some("acme/shop-nightly")),
        ];
        for (variables, scope) in table {
            let environment: Environment =
                variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(of_ci(&environment).as_deref(), *scope, "{variables:?}");
        }
    }
}
