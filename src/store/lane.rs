//! Lanes: whose builds an entry belongs to, usually a branch or a pull request.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a lane: not empty, without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lane(String);

/// A text that names no lane.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is not the name of a lane: it is empty or holds control characters", .0.escape_debug())]
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
