//! The lane of this job, from the flag or from what the CI system says of its branch.

use super::{Environment, SettingsError, env_vars};
use crate::store::Lane;

/// The lane; `None` where nothing tells, as on a laptop.
pub(super) fn resolve(flag: Option<&str>, environment: &Environment) -> Result<Option<Lane>, SettingsError> {
    if let Some(name) = flag {
        return Lane::try_from(name.to_owned())
            .map(Some)
            .map_err(|error| SettingsError::flag("lane", error.to_string()));
    }
    if let Some(name) = environment.get(env_vars::LARDER_LANE) {
        return Lane::try_from(name.to_owned()).map(Some).map_err(|error| SettingsError::Variable {
            variable: env_vars::LARDER_LANE,
            reason: error.to_string(),
        });
    }
    let get = |name: &str| environment.get(name);
    let request = |variable| get(variable).map(|number| format!("pr-{number}"));
    let found = request(env_vars::CHANGE_ID)
        .or_else(|| request(env_vars::CI_MERGE_REQUEST_IID))
        .or_else(|| get(env_vars::GITHUB_REF).and_then(pull_request))
        .or_else(|| get(env_vars::BRANCH_NAME).map(str::to_owned))
        .or_else(|| get(env_vars::CI_COMMIT_REF_NAME).map(str::to_owned))
        .or_else(|| get(env_vars::CI_COMMIT_REF_SLUG).map(str::to_owned))
        .or_else(|| {
            get(env_vars::GITHUB_REF).map(|name| name.strip_prefix("refs/heads/").unwrap_or(name).to_owned())
        });
    // What a CI system says is no one's mistake here.
    Ok(found.and_then(|name| Lane::try_from(name).ok()))
}

/// `refs/pull/7/merge` is pull request 7.
fn pull_request(name: &str) -> Option<String> {
    let (number, _) = name.strip_prefix("refs/pull/")?.split_once('/')?;
    Some(format!("pr-{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lane_is_the_pull_request_or_the_branch_that_the_ci_system_names() {
        type Variables = &'static [(&'static str, &'static str)];
        let table: &[(Variables, Option<&str>)] = &[
            (&[], None),
            (&[("BRANCH_NAME", "main")], Some("main")),
            (&[("BRANCH_NAME", "PR-12"), ("CHANGE_ID", "12")], Some("pr-12")),
            (&[("CI_COMMIT_REF_SLUG", "feature-x")], Some("feature-x")),
            (&[("CI_COMMIT_REF_SLUG", "rel-1"), ("CI_COMMIT_REF_NAME", "rel/1")], Some("rel/1")),
            (&[("CI_COMMIT_REF_SLUG", "feature-x"), ("CI_MERGE_REQUEST_IID", "3")], Some("pr-3")),
            (&[("GITHUB_REF", "refs/heads/a/b")], Some("a/b")),
            (&[("GITHUB_REF", "refs/pull/7/merge")], Some("pr-7")),
            (&[("GITHUB_REF", "refs/tags/v1")], Some("refs/tags/v1")),
            (&[("LARDER_LANE", "own"), ("BRANCH_NAME", "main")], Some("own")),
        ];
        for (variables, lane) in table {
            let environment: Environment =
                variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let found = resolve(None, &environment).unwrap().map(|lane| lane.to_string());
            assert_eq!(found.as_deref(), *lane, "{variables:?}");
        }
        let environment = Environment::from_iter([("LARDER_LANE".to_owned(), "a\nb".to_owned())]);
        assert_eq!(resolve(Some("flag"), &environment).unwrap().unwrap().to_string(), "flag");
        assert!(resolve(Some(""), &environment).is_err());
        assert!(resolve(None, &environment).is_err());
    }
}
