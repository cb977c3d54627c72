//! Resolves the lanes of this job from flags, the CI system and the checkout.
//!
//! | setting | the first of these that is known |
//! |---|---|
//! | lane | `--lane`, `LARDER_LANE`; in a CI job, its pull request (`pr-7`), tag (`tag-v1`) or branch, then the branch of `HEAD`; `local` |
//! | trunk | `--trunk`, `LARDER_TRUNK`, `trunk` in `larder.yaml`; the default branch that the CI system reports; `refs/remotes/origin/HEAD`; the one of `main` and `master` that exists on the remote, that the job builds, or that the pull request targets; both |
//!
//! Pull requests, and jobs whose branch is not known, never write the lane of a branch: the names of their lanes are
//! reserved.

use std::collections::BTreeMap;
use std::path::Path;

use super::checkout::{Checkout, USUAL_DEFAULT_BRANCHES};
use super::ci::{BuiltReference, CiVariables, parse_java_properties};
use super::config_file::DEFAULT_NAME;
use super::options::OptionLayer;
use super::origin::{Origin, Sourced};
use super::{Environment, env_vars};
use crate::ledger::CiJobRecord;
use crate::plan::JobLanes;
use crate::store::{Lane, Lanes};

/// The lane of jobs whose branch is not known, and of builds outside CI.
const LOCAL_LANE: &str = "local";
/// Prefixes of lanes that are not named like a branch.
const RESERVED_PREFIXES: [&str; 3] = ["pr-", "tag-", "branch-"];

impl JobLanes {
    pub(crate) fn warning(&self) -> Option<String> {
        let trunk: Vec<String> = self.lanes.trunk().iter().map(Lane::to_string).collect();
        let warning = || {
            format!(
                "the branch of this job is not known: it saves to lane {} and only reads the trunk ({}); set {} to the \
                 branch and {} to the default branch",
                self.lanes.own(),
                trunk.join(" or "),
                env_vars::LARDER_LANE,
                env_vars::LARDER_TRUNK,
            )
        };
        self.is_branch_unknown.then(warning)
    }
}

#[derive(Debug, Default)]
pub(super) struct LaneSources {
    parameters: BTreeMap<String, String>,
    event: Option<serde_json::Value>,
    checkout: Checkout,
}

impl LaneSources {
    /// Reads the files named in the environment, and the checkout that contains `directory`.
    pub(super) fn read(environment: &Environment, directory: &Path) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let event = environment.get(env_vars::GITHUB_EVENT_PATH).and_then(read);
        let properties = environment.get(env_vars::TEAMCITY_BUILD_PROPERTIES_FILE).and_then(read);
        let properties = properties.map(|text| parse_java_properties(&text)).unwrap_or_default();
        let parameters = properties.get("teamcity.configuration.properties.file").and_then(|path| read(path));
        Self {
            parameters: parameters.map(|text| parse_java_properties(&text)).unwrap_or_default(),
            event: event.and_then(|text| serde_json::from_str(&text).ok()),
            checkout: Checkout::containing(directory),
        }
    }

    fn variables<'a>(&'a self, environment: &'a Environment) -> CiVariables<'a> {
        CiVariables { environment, parameters: &self.parameters, event: self.event.as_ref() }
    }
}

/// Returns what the CI system says about this job, or `None` outside CI.
pub(super) fn ci_job(environment: &Environment, facts: &LaneSources) -> Option<CiJobRecord> {
    Some(facts.variables(environment).detect_job()?.record)
}

pub(super) fn resolve(options: &OptionLayer, environment: &Environment, facts: &LaneSources) -> JobLanes {
    let named = |lane: &Option<Sourced<Lane>>| {
        let Sourced { value, origin } = lane.clone()?;
        let from = match origin {
            Origin::Flag("lane") => "--lane",
            Origin::Flag(_) => "--trunk",
            Origin::Variable(variable) => variable,
            Origin::File | Origin::Key { .. } => DEFAULT_NAME,
        };
        Some((value, from))
    };
    lanes_of_job(named(&options.lane), named(&options.trunk), environment, facts)
}

/// Returns the lanes of a job; `lane` and `trunk` are configured explicitly, with the names of their sources.
fn lanes_of_job(
    lane: Option<(Lane, &'static str)>,
    trunk: Option<(Lane, &'static str)>,
    environment: &Environment,
    facts: &LaneSources,
) -> JobLanes {
    let checkout = &facts.checkout;
    let job = facts.variables(environment).detect_job();
    let is_ci = job.is_some() || environment.is_enabled(env_vars::CI);
    let job = job.unwrap_or_default();
    let of_head = || Some((BuiltReference::Branch(checkout.head.clone()?), "HEAD")).filter(|_| is_ci);
    let built = job.built.or_else(of_head);
    let of_built = built.and_then(|(built, from)| Some((lane_of_reference(&built)?, from)));
    let is_unknown = is_ci && lane.is_none() && of_built.is_none();
    let unnamed = || {
        let local = Lane::try_from(LOCAL_LANE.to_owned()).expect("a valid name of a lane");
        (local, if is_ci { "the branch is not known" } else { "no CI job" })
    };
    let (own, own_from) = lane.or(of_built).unwrap_or_else(unnamed);
    let target = job.target.as_deref().and_then(lane_of_branch);

    let named = trunk.map(|(lane, from)| (vec![lane], from));
    let of_ci = || job.default_branch.and_then(|(name, from)| Some((vec![lane_of_branch(&name)?], from)));
    let of_clone =
        || Some((vec![lane_of_branch(checkout.origin_head.as_deref()?)?], "refs/remotes/origin/HEAD"));
    let only = |names: &[&str], from| match names {
        [name] => Some((vec![lane_of_branch(name)?], from)),
        _ => None,
    };
    let of_remote = || only(&checkout.usual_default_branches, "refs/remotes/origin");
    let is_ours = |name: &&str| {
        [Some(&own), target.as_ref()].into_iter().flatten().any(|lane| lane.to_string() == **name)
    };
    let of_name = || {
        let ours: Vec<&str> = USUAL_DEFAULT_BRANCHES.into_iter().filter(|name| is_ours(name)).collect();
        only(&ours, "its name")
    };
    let guessed = || (USUAL_DEFAULT_BRANCHES.into_iter().filter_map(lane_of_branch).collect(), "not known");
    let (trunk, trunk_from) =
        named.or_else(of_ci).or_else(of_clone).or_else(of_remote).or_else(of_name).unwrap_or_else(guessed);
    JobLanes { lanes: Lanes::new(own, target, trunk), own_from, trunk_from, is_branch_unknown: is_unknown }
}

/// Returns the lane for what is built, or `None` if that is not known.
fn lane_of_reference(built: &BuiltReference) -> Option<Lane> {
    match built {
        BuiltReference::Branch(name) => lane_of_branch(name),
        BuiltReference::Tag(name) => Lane::try_from(format!("tag-{name}")).ok(),
        BuiltReference::PullRequest(number) => Lane::try_from(format!("pr-{number}")).ok(),
        BuiltReference::Unknown => None,
    }
}

/// Returns the lane of a branch: its name, with a prefix if the name is reserved.
fn lane_of_branch(name: &str) -> Option<Lane> {
    let is_taken = name == LOCAL_LANE || RESERVED_PREFIXES.iter().any(|start| name.starts_with(start));
    let name = if is_taken { format!("branch-{name}") } else { name.to_owned() };
    Lane::try_from(name).ok()
}

#[cfg(test)]
mod tests;
