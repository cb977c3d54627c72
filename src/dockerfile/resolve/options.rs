//! What a resolution is asked, and how it can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::dockerfile::scope::Unexpandable;
use crate::dockerfile::{ExpandError, SyntaxError};
use crate::platform::InvalidPlatform;

/// What the build was asked for, as far as it decides what is reached.
///
/// `Debug` shows the names of build arguments, never their values.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// `--target`: a stage's name in any case; the last stage if `None`.
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
    /// What RUNs on top of base images start with, by the expanded reference. Of a base that is not listed, any variable
    /// may be set, and its working directory is taken for the root.
    pub starts: BTreeMap<String, BaseStart>,
}

/// What a RUN on top of a base image starts with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BaseStart {
    /// `NAME=VALUE`, in order.
    pub(crate) environment: Vec<String>,
    /// User and perhaps group; empty for root.
    pub(crate) user: String,
    /// The working directory; empty for the root.
    pub(crate) workdir: String,
    /// The shell of RUN; empty for `/bin/sh`.
    pub(crate) shell: Vec<String>,
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
            starts: BTreeMap::new(),
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
            .field("starts", &self.starts.keys())
            .finish()
    }
}

/// A target that cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No stage has the target's name.
    #[error("no stage `{target}`; {}{}", named(stages), meant(suggestion.as_ref()))]
    UnknownTarget {
        /// What was asked for.
        target: String,
        /// The names of the stages that have one.
        stages: Vec<String>,
        /// The name that was probably meant.
        suggestion: Option<String>,
    },
    /// A word does not expand.
    #[error("line {line}: cannot expand a variable")]
    Expand {
        /// The instruction's first line.
        line: usize,
        /// The word as written.
        written: String,
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
    /// A platform that was asked for is not one.
    #[error("invalid platform")]
    Platform(#[from] InvalidPlatform),
    /// A FROM's platform is not one.
    #[error("line {line}: invalid platform")]
    FromPlatform {
        /// The FROM's line.
        line: usize,
        /// The platform as written.
        written: String,
        /// What it expands to.
        #[source]
        source: InvalidPlatform,
    },
    /// `COPY --from=` with a variable.
    #[error("line {line}: --from takes no variable: name a stage and use that")]
    VariableInFrom {
        /// The instruction's first line.
        line: usize,
        /// The word as written.
        written: String,
    },
    /// `COPY --from=` with a number that no stage has.
    #[error("line {line}: there is no stage {written}")]
    NoSuchStage {
        /// The instruction's first line.
        line: usize,
        /// The number as written.
        written: String,
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

fn named(stages: &[String]) -> String {
    if stages.is_empty() {
        return "no stage has a name".to_owned();
    }
    let stages: Vec<String> = stages.iter().map(|name| format!("`{name}`")).collect();
    format!("there are {}", stages.join(", "))
}

fn meant(suggestion: Option<&String>) -> String {
    suggestion.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

impl ResolveError {
    pub(super) fn expand(line: usize, fault: Unexpandable) -> Self {
        Self::Expand { line, written: fault.word, source: fault.source }
    }

    /// Where in `text`, the Dockerfile, it is; `None` if it is in what was asked.
    pub fn place(&self, text: &str) -> Option<SyntaxError> {
        let (line, written, message) = match self {
            Self::UnknownTarget { .. } | Self::Platform(_) | Self::Trigger { .. } => return None,
            Self::Expand { line, written, source } => (line, written, source.to_string()),
            Self::Blank { line, written } => (line, written, format!("`{written}` expands to nothing")),
            Self::FromPlatform { line, written, source } => (line, written, source.to_string()),
            Self::VariableInFrom { line, written } => {
                (line, written, "--from takes no variable: name a stage and use that".to_owned())
            }
            Self::NoSuchStage { line, written } => (line, written, format!("there is no stage {written}")),
        };
        let behind = text.split_inclusive('\n').skip(line.saturating_sub(1)).collect::<String>();
        let flag = matches!(self, Self::VariableInFrom { .. } | Self::NoSuchStage { .. });
        let flag = if flag { format!("--from={written}") } else { String::new() };
        Some(SyntaxError::within(*line, &behind, &[&flag, written], message))
    }
}
