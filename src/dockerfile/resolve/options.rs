//! The options and errors of a resolution.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::dockerfile::suggest::suggestion_text;
use crate::dockerfile::{ExpandError, SyntaxError};
use crate::platform::InvalidPlatform;

/// The options of a build that determine the reached stages, images and files.
///
/// `Debug` shows the names of build arguments, never their values.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// `--target`: a stage's name in any case; `None` means the last stage.
    pub target: Option<String>,
    /// The build arguments (`--build-arg`), by name.
    pub build_args: BTreeMap<String, String>,
    /// `--platform`: one platform. A build for several platforms needs one resolution for each.
    pub platform: Option<String>,
    /// The builder's default platform.
    pub build_platform: String,
    /// The names given with `--build-context`.
    pub named_contexts: BTreeSet<String>,
    /// The ONBUILD triggers of base images, by expanded reference (or context name). For a base that is not listed,
    /// triggers are assumed to read the whole context and all build arguments.
    pub triggers: BTreeMap<String, Vec<String>>,
    /// The initial settings of RUN instructions, by expanded reference of the base image. For a base that is not
    /// listed, any variable may be set, and the working directory is assumed to be the root.
    pub base_settings: BTreeMap<String, BaseSettings>,
}

/// The initial settings of a RUN based on an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BaseSettings {
    /// `NAME=VALUE`, in order.
    pub(crate) environment: Vec<String>,
    /// `USER[:GROUP]`; empty for root.
    pub(crate) user: String,
    /// Empty for the root directory.
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
            base_settings: BTreeMap::new(),
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
            .field("starts", &self.base_settings.keys())
            .finish()
    }
}

/// An error that prevents the resolution of a target.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum ResolveError {
    #[error("there is no stage `{target}`; {}{}", named_stages(stages), suggestion_text(suggestion.as_deref()))]
    UnknownTarget { target: String, stages: Vec<String>, suggestion: Option<String> },
    #[error("line {line}: cannot expand a variable")]
    Expand {
        line: usize,
        written: String,
        #[source]
        source: ExpandError,
    },
    #[error("line {line}: `{written}` expands to an empty string")]
    EmptyExpansion { line: usize, written: String },
    #[error("invalid platform")]
    Platform(#[from] InvalidPlatform),
    #[error("line {line}: invalid platform")]
    FromPlatform {
        line: usize,
        written: String,
        #[source]
        source: InvalidPlatform,
    },
    #[error("line {line}: variables are not allowed in --from: declare a stage and use its name")]
    VariableInFrom { line: usize, written: String },
    #[error("line {line}: there is no stage with index {written}")]
    NoSuchStage { line: usize, written: String },
    #[error("cannot parse an ONBUILD trigger of `{base}`")]
    Trigger {
        base: String,
        #[source]
        source: SyntaxError,
    },
}

fn named_stages(stages: &[String]) -> String {
    if stages.is_empty() {
        return "no stage has a name".to_owned();
    }
    let stages: Vec<String> = stages.iter().map(|name| format!("`{name}`")).collect();
    format!("the named stages are {}", stages.join(", "))
}

impl ResolveError {
    pub(super) fn expand(line: usize, word: &str, source: ExpandError) -> Self {
        Self::Expand { line, written: word.to_owned(), source }
    }

    /// Returns the error with its position in `text`, the Dockerfile, or `None` if the error is in the options.
    pub fn locate(&self, text: &str) -> Option<SyntaxError> {
        let (line, written, message) = match self {
            Self::UnknownTarget { .. } | Self::Platform(_) | Self::Trigger { .. } => return None,
            Self::Expand { line, written, source } => (line, written, source.to_string()),
            Self::FromPlatform { line, written, source } => (line, written, source.to_string()),
            Self::EmptyExpansion { line, written }
            | Self::VariableInFrom { line, written }
            | Self::NoSuchStage { line, written } => {
                let message = self.to_string();
                (
                    line,
                    written,
                    message.strip_prefix(&format!("line {line}: ")).unwrap_or(&message).to_owned(),
                )
            }
        };
        let behind = text.split_inclusive('\n').skip(line.saturating_sub(1)).collect::<String>();
        let flag = matches!(self, Self::VariableInFrom { .. } | Self::NoSuchStage { .. });
        let flag = if flag { format!("--from={written}") } else { String::new() };
        Some(SyntaxError::at_part(*line, &behind, &[&flag, written], message))
    }
}
