//! Detects the branch that a CI job builds and the default branch, from the variables in
//! [`ci_systems`](super::ci_systems).

use std::collections::BTreeMap;

use serde_json::Value;

use super::ci_systems::{CI_SYSTEMS, CiSystem, GIT_BRANCH, IS_DEFAULT_BRANCH, TAG_NAME};
use super::{Environment, env_vars};
use crate::ledger::CiJobRecord;

/// TeamCity's name of the default branch.
const TEAMCITY_DEFAULT_BRANCH: &str = "<default>";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BuiltReference {
    Branch(String),
    Tag(String),
    /// The number of a pull request.
    PullRequest(String),
    /// A pull request without a known number, or anything else that is not known to be a branch.
    Unknown,
}

pub(super) type FromVariable<T> = (T, &'static str);

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CiJob {
    pub(super) record: CiJobRecord,
    pub(super) built: Option<FromVariable<BuiltReference>>,
    /// The branch that the pull request would be merged into.
    pub(super) target: Option<String>,
    pub(super) default_branch: Option<FromVariable<String>>,
}

pub(super) struct CiVariables<'a> {
    pub(super) environment: &'a Environment,
    /// TeamCity's configuration parameters.
    pub(super) parameters: &'a BTreeMap<String, String>,
    /// GitHub's event file.
    pub(super) event: Option<&'a Value>,
}

impl CiVariables<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let parameter = || self.parameters.get(name).map(String::as_str).filter(|value| !value.is_empty());
        self.environment.get(name).or_else(parameter)
    }

    fn first_set(&self, names: &[&'static str]) -> Option<FromVariable<&str>> {
        names.iter().find_map(|name| Some((self.get(name)?, *name)))
    }

    /// Returns the properties of the job, or `None` if no supported CI system is detected.
    pub(super) fn detect_job(&self) -> Option<CiJob> {
        let system = CI_SYSTEMS.iter().find(|system| self.first_set(system.markers).is_some())?;
        let of_event = self.event.map(job_from_event).unwrap_or_default();
        let default_branch = of_event.default_branch.or_else(|| {
            let (name, from) = self.first_set(system.default_branch)?;
            Some((branch_name(name).to_owned(), from))
        });
        let built = of_event.built.or_else(|| self.built(system));
        let built = match built {
            Some((BuiltReference::Branch(name), from)) if name == TEAMCITY_DEFAULT_BRANCH => {
                default_branch.clone().map(|(name, _)| (BuiltReference::Branch(name), from))
            }
            built => built,
        };
        let default_branch = default_branch.or_else(|| match &built {
            Some((BuiltReference::Branch(name), _)) => {
                let (_, from) = self.first_set(IS_DEFAULT_BRANCH).filter(|(value, _)| *value == "true")?;
                Some((name.clone(), from))
            }
            _ => None,
        });
        let is_request = matches!(built, Some((BuiltReference::PullRequest(_) | BuiltReference::Unknown, _)));
        let target = self.first_set(system.target).filter(|_| is_request);
        let target = target.map(|(name, _)| branch_name(name).to_owned()).or(of_event.target);
        Some(CiJob { record: self.record(system, built.as_ref()), built, target, default_branch })
    }

    fn record(&self, system: &CiSystem, built: Option<&FromVariable<BuiltReference>>) -> CiJobRecord {
        let value = |names| self.first_set(names).map(|(value, _)| value.to_owned());
        CiJobRecord {
            system: system.name.to_owned(),
            job: value(system.job),
            number: value(system.number),
            url: self.expand(system.url),
            branch: match built {
                Some((BuiltReference::Branch(name), _)) => Some(name.clone()),
                _ => None,
            },
            revision: value(system.revision),
        }
    }

    /// Replaces the names of variables in braces. Returns `None` if one of them is not set, or if there are none.
    fn expand(&self, template: &str) -> Option<String> {
        let mut parts = template.split('{');
        let mut text = parts.next()?.to_owned();
        let mut has_variable = false;
        for part in parts {
            let (name, after) = part.split_once('}')?;
            text.push_str(self.get(name)?);
            text.push_str(after);
            has_variable = true;
        }
        has_variable.then_some(text)
    }

    fn built(&self, system: &CiSystem) -> Option<FromVariable<BuiltReference>> {
        for name in system.pull_request {
            match self.get(name) {
                None | Some("false") => {}
                // Codefresh does not substitute variables without a value.
                Some(value) if value.starts_with("${") => {}
                Some(value) => return Some((parse_pull_request(value), *name)),
            }
        }
        let branch = self
            .first_set(system.branch)
            .and_then(|(value, from)| Some((parse_reference(value, from)?, from)));
        let event = self.first_set(system.events).filter(|(event, _)| is_pull_request_event(event));
        match (event, branch) {
            // The job builds a pull request, so the branch is its target or belongs to a fork.
            (Some((_, from)), Some((BuiltReference::Branch(_), _)) | None) => {
                Some((BuiltReference::Unknown, from))
            }
            (_, branch) => {
                let is_tag =
                    |name: &str, from| from != TAG_NAME || self.get(env_vars::BRANCH_NAME) == Some(name);
                let tag = self.first_set(system.tag).filter(|(name, from)| is_tag(name, *from));
                tag.map(|(name, from)| (BuiltReference::Tag(name.to_owned()), from)).or(branch)
            }
        }
    }
}

fn parse_pull_request(value: &str) -> BuiltReference {
    let number = value.rsplit('/').next().unwrap_or_default();
    if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        BuiltReference::PullRequest(number.to_owned())
    } else {
        BuiltReference::Unknown
    }
}

/// Returns `true` if `event`, in any system's spelling, is a pull request.
fn is_pull_request_event(event: &str) -> bool {
    let word: String = event.chars().filter(char::is_ascii_alphanumeric).collect();
    let word = word.to_ascii_lowercase();
    word.contains("pullrequest") || word.contains("mergerequest") || word == "merge"
}

/// Returns the branch or tag that the value of the variable `from` names, or `None` if it names neither.
fn parse_reference(value: &str, from: &str) -> Option<BuiltReference> {
    let is_trigger = from == "CODEBUILD_WEBHOOK_TRIGGER";
    let short = branch_name(value);
    let short = if from == GIT_BRANCH { short.strip_prefix("origin/").unwrap_or(short) } else { short };
    if ["HEAD", "detached"].contains(&short) {
        return None;
    }
    if let Some(built) = parse_pull_request_reference(short.strip_prefix("refs/").unwrap_or(short)) {
        return Some(built);
    }
    if let Some(name) = short.strip_prefix("refs/tags/") {
        return Some(BuiltReference::Tag(name.to_owned()));
    }
    if is_trigger {
        return Some(match short.split_once('/') {
            Some(("branch", name)) => BuiltReference::Branch(name.to_owned()),
            Some(("tag", name)) => BuiltReference::Tag(name.to_owned()),
            _ => BuiltReference::Unknown,
        });
    }
    Some(if short.starts_with("refs/") {
        BuiltReference::Unknown
    } else {
        BuiltReference::Branch(short.to_owned())
    })
}

/// Parses a reference such as `pull/7/merge` in the notation of any host.
fn parse_pull_request_reference(reference: &str) -> Option<BuiltReference> {
    let mut parts = reference.split('/');
    let kind = parts.next()?;
    let number = parts.next()?;
    let is_request = ["pull", "pr", "pull-requests", "merge-requests"].contains(&kind)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit());
    is_request.then(|| BuiltReference::PullRequest(number.to_owned()))
}

/// Strips the prefix of a full reference.
fn branch_name(name: &str) -> &str {
    let remote = name.strip_prefix("refs/remotes/").or_else(|| name.strip_prefix("remotes/"));
    let of_remote = remote.and_then(|name| name.split_once('/')).map(|(_, name)| name);
    of_remote.or_else(|| name.strip_prefix("refs/heads/")).unwrap_or(name)
}

/// Reads GitHub's event: the default branch, and the pull request of jobs whose variables only name a branch.
fn job_from_event(event: &Value) -> CiJob {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let number = |pointer: &str| event.pointer(pointer).and_then(Value::as_u64);
    let is_run_of_request = text("/workflow_run/event").is_some_and(is_pull_request_event);
    let is_request = event.get("pull_request").is_some_and(Value::is_object);
    let is_comment = event.pointer("/issue/pull_request").is_some();
    let number = if is_request {
        number("/pull_request/number")
    } else if is_comment {
        number("/issue/number")
    } else if is_run_of_request {
        number("/workflow_run/pull_requests/0/number")
    } else {
        None
    };
    let built = (is_request || is_comment || is_run_of_request).then(|| {
        let built =
            number.map_or(BuiltReference::Unknown, |number| BuiltReference::PullRequest(number.to_string()));
        (built, env_vars::GITHUB_EVENT_PATH)
    });
    let target = text("/pull_request/base/ref")
        .or_else(|| text("/merge_group/base_ref"))
        .or_else(|| text("/workflow_run/pull_requests/0/base/ref"));
    let default_branch = text("/repository/default_branch");
    CiJob {
        record: CiJobRecord::default(),
        built,
        target: target.map(|name| branch_name(name).to_owned()),
        default_branch: default_branch.map(|name| (name.to_owned(), env_vars::GITHUB_EVENT_PATH)),
    }
}

/// Parses a Java properties file of TeamCity, with only the escapes that occur in branch names.
pub(super) fn parse_java_properties(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter(|line| !line.trim_start().starts_with(['#', '!']));
    let pairs = pairs.filter_map(|line| line.trim_start().split_once('='));
    pairs.map(|(name, value)| (name.trim().replace('\\', ""), value.trim().replace('\\', ""))).collect()
}
