//! Lanes: the branch or pull request whose builds an entry belongs to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a lane: not empty, without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lane(String);

#[derive(Debug, thiserror::Error)]
#[error("`{}` is not the name of a lane: it is empty or contains control characters", .0.escape_debug())]
pub struct InvalidLane(String);

impl TryFrom<String> for Lane {
    type Error = InvalidLane;

    fn try_from(name: String) -> Result<Self, InvalidLane> {
        if name.is_empty() || name.contains(char::is_control) {
            Err(InvalidLane(name))
        } else {
            Ok(Self(name))
        }
    }
}

impl From<Lane> for String {
    fn from(lane: Lane) -> Self {
        lane.0
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The lanes of one job, used for both the store and registries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lanes {
    own: Lane,
    trunk: Vec<Lane>,
    reads: Vec<Lane>,
}

impl Lanes {
    /// Returns the lanes of a job that writes `own`. It reads `own` first, then the target branch of the merge, then
    /// the trunk, which has several possible names if the default branch is unknown.
    pub(crate) fn new(own: Lane, target: Option<Lane>, trunk: Vec<Lane>) -> Self {
        let mut reads = vec![own.clone()];
        for lane in target.into_iter().chain(trunk.iter().cloned()) {
            if !reads.contains(&lane) {
                reads.push(lane);
            }
        }
        Self { own, trunk, reads }
    }

    pub(crate) fn of_trunk(lane: Lane) -> Self {
        Self::new(lane.clone(), None, vec![lane])
    }

    pub(crate) fn own(&self) -> &Lane {
        &self.own
    }

    pub(crate) fn trunk(&self) -> &[Lane] {
        &self.trunk
    }

    /// Returns the lanes to read, in the order of precedence and without duplicates.
    pub(crate) fn reads(&self) -> &[Lane] {
        &self.reads
    }
}

impl fmt::Display for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.reads.iter().map(Lane::to_string).collect();
        write!(f, "lane {}", names.join(" or "))
    }
}
