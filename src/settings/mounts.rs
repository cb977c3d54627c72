//! Resolves the settings for cache mounts.

use std::path::Path;
use std::time::Duration;

use super::options::OptionLayer;
use super::{BuildContextSource, Environment, MountSettings, env_vars};

const DEFAULT_UNUSED_BUILDS: u32 = 5;
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(5);

impl MountSettings {
    /// Resolves the settings. For an image of `larder.yaml`, `directory` is the directory of this file; its name is the
    /// scope, so that the images share downloads.
    pub(super) fn resolve(
        options: &OptionLayer,
        allow_shrink: bool,
        context: &BuildContextSource,
        directory: Option<&Path>,
        environment: &Environment,
    ) -> Self {
        let scope = options.mount_scope.clone();
        let scope = scope.or_else(|| scope_from_ci(environment)).or_else(|| directory_name(directory?));
        let unused_builds = options.mount_unused_builds.unwrap_or(DEFAULT_UNUSED_BUILDS);
        Self {
            auto: options.auto_mounts.unwrap_or_default(),
            scope: scope.unwrap_or_else(|| scope_from_context(context)),
            max_size: options.max_mount_size.map(|size| size.0).filter(|size| *size > 0),
            unused_builds: Some(unused_builds).filter(|builds| *builds > 0),
            timeout: options.mount_timeout.unwrap_or(DEFAULT_TIMEOUT),
            allow_shrink,
        }
    }
}

fn scope_from_ci(environment: &Environment) -> Option<String> {
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

fn directory_name(directory: &Path) -> Option<String> {
    Some(std::path::absolute(directory).ok()?.file_name()?.to_string_lossy().into_owned())
}

/// Returns the name of the context's directory, or of the remote repository.
fn scope_from_context(context: &BuildContextSource) -> String {
    match context {
        BuildContextSource::Directory(directory) => {
            directory_name(directory).unwrap_or_else(|| "/".to_owned())
        }
        BuildContextSource::Remote(address) => {
            let plain = address.split(['#', '?']).next().unwrap_or_default().trim_end_matches('/');
            plain.rsplit('/').next().unwrap_or_default().trim_end_matches(".git").to_owned()
        }
        BuildContextSource::Stdin => "stdin".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_is_the_name_of_the_project_in_the_ci_system() {
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
            assert_eq!(scope_from_ci(&environment).as_deref(), *scope, "{variables:?}");
        }
    }
}
