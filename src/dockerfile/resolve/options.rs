//! What a resolution is asked, and how it can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::dockerfile::{ExpandError, InvalidPlatform, SyntaxError};

/// What the build was asked for, as far as it decides what is reached.
///
/// `Debug` shows the names of build arguments, never their values.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// `--target`: a stage's name in any case, or its number from 0; the last
    /// stage if `None`.
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--platform`: one platform. A build for several is several resolutions.
    pub platform: Option<String>,
    /// The builder's own platform.
    pub build_platform: String,
    /// The names given with `--build-context`.
    pub named_contexts: BTreeSet<String>,
    /// The ONBUILD triggers of base images, by the expanded reference (or the
    /// context's name); an empty list says that there are none. For a base
    /// that is not listed the resolution assumes that triggers may read all of
    /// the context and see all build arguments.
    pub triggers: BTreeMap<String, Vec<String>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            target: None,
            build_args: BTreeMap::new(),
            platform: None,
            build_platform: "linux/amd64".to_owned(),
            named_contexts: BTreeSet::new(),
            triggers: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("target", &self.target)
            .field("build_args", &self.build_args.keys().collect::<Vec<_>>())
            .field("platform", &self.platform)
            .field("build_platform", &self.build_platform)
            .field("named_contexts", &self.named_contexts)
            .field("triggers", &self.triggers)
            .finish()
    }
}

/// A target that cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No stage has the target's name or number.
    #[error("no stage `{target}`; there are {}{}", stages.join(", "), meant(suggestion.as_ref()))]
    UnknownTarget {
        /// What was asked for.
        target: String,
        /// The stages, by name where they have one, else by number.
        stages: Vec<String>,
        /// The name that was probably meant.
        suggestion: Option<String>,
    },
    /// A word does not expand.
    #[error("line {line}: cannot expand a variable")]
    Expand {
        /// The instruction's first line.
        line: usize,
        /// Why not.
        #[source]
        source: ExpandError,
    },
    /// A FROM whose base or platform expands to nothing.
    #[error("line {line}: `{written}` expands to nothing")]
    Blank {
        /// The FROM's line.
        line: usize,
        /// The word as written.
        written: String,
    },
    /// A platform is not one.
    #[error("invalid platform")]
    Platform(#[from] InvalidPlatform),
    /// `COPY --from=` with a variable.
    #[error("line {line}: --from takes no variable: name a stage and use that")]
    VariableInFrom {
        /// The instruction's first line.
        line: usize,
    },
    /// `COPY --from=` with a number that no stage has.
    #[error("line {line}: there is no stage {index}")]
    NoSuchStage {
        /// The instruction's first line.
        line: usize,
        /// The number.
        index: usize,
    },
    /// An ONBUILD trigger is no instruction.
    #[error("an ONBUILD trigger of `{base}` cannot be read")]
    Trigger {
        /// The base that brings it.
        base: String,
        /// What is wrong with it.
        #[source]
        source: SyntaxError,
    },
}

fn meant(suggestion: Option<&String>) -> String {
    suggestion.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}
