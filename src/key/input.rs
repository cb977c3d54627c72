//! One input of a key: its kind, its name, and a digest of its value.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fields::Fields;
use crate::digest::Digest;
use crate::requirements::Line;

/// What an input is. The names are part of the key's encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputKind {
    /// The Dockerfile as a whole text, where its instructions cannot be told apart.
    Dockerfile,
    /// A parser directive: `syntax`, `escape`.
    Directive,
    /// What a reached stage stands on.
    Stage,
    /// One instruction of a reached stage, with what it takes files from.
    Instruction,
    /// An image from elsewhere, by its digest if one is known.
    BaseImage,
    /// The name, variables expanded, of such an image without a digest.
    BaseName,
    /// A file, directory or link of the main context.
    File,
    /// A build argument as it was given.
    BuildArg,
    /// An argument's value as a reached stage sees it.
    StageArg,
    /// The target among the reached stages.
    Target,
    /// The platform.
    Platform,
    /// Which inputs count on one of several platforms.
    PlatformInputs,
    /// A secret, by its id alone.
    SecretId,
    /// An SSH agent, by its id alone.
    SshId,
    /// A named context.
    NamedContext,
    /// An image label given on the command line.
    Label,
    /// The network of RUN steps.
    Network,
    /// Any other option that can change what is built.
    Option,
    /// What the user adds with `--key-extra`.
    Extra,
    /// What the user adds with `--tags`.
    Tag,
    /// What the user adds with `--additional-context`.
    AdditionalContext,
    /// All values that could be guessed, sealed; stands in a key alone.
    Sealed,
    /// A dependency file, in its canonical form.
    Requirement,
    /// A dependency file that is named and not there.
    MissingRequirement,
}

impl InputKind {
    /// Its stable name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dockerfile => "dockerfile",
            Self::Directive => "directive",
            Self::Stage => "stage",
            Self::Instruction => "instruction",
            Self::BaseImage => "base-image",
            Self::BaseName => "base-name",
            Self::File => "file",
            Self::BuildArg => "build-arg",
            Self::StageArg => "stage-arg",
            Self::Target => "target",
            Self::Platform => "platform",
            Self::PlatformInputs => "platform-inputs",
            Self::SecretId => "secret-id",
            Self::SshId => "ssh-id",
            Self::NamedContext => "named-context",
            Self::Label => "label",
            Self::Network => "network",
            Self::Option => "option",
            Self::Extra => "extra",
            Self::Tag => "tag",
            Self::AdditionalContext => "additional-context",
            Self::Sealed => "sealed",
            Self::Requirement => "requirement",
            Self::MissingRequirement => "missing-requirement",
        }
    }

    /// Whether the digest of such an input is to stay inside the process,
    /// because its value could be guessed from it.
    pub(crate) fn is_confidential(self) -> bool {
        matches!(self, Self::BuildArg | Self::StageArg | Self::BaseName)
    }
}

impl fmt::Display for InputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One input of a key. Two are equal when their kinds, names and digests are.
#[derive(Clone, Serialize, Deserialize)]
pub struct Input {
    /// What it is.
    pub(crate) kind: InputKind,
    /// Its name, unique in its kind.
    pub(crate) name: String,
    /// The digest of its value.
    pub digest: Digest,
    /// What people are told of the value; no part of a key, and empty where it cannot be told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) about: String,
    /// The line of the Dockerfile that it stands on, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<usize>,
    /// What a dependency file pins; no part of a key either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pins: Vec<Line>,
}

impl PartialEq for Input {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.name, self.digest) == (other.kind, &other.name, other.digest)
    }
}

impl Eq for Input {}

impl Input {
    /// An input whose value is a list of fields.
    pub fn of_values(kind: InputKind, name: impl Into<String>, values: &[&[u8]]) -> Self {
        let mut fields = Fields::new("larder-input-v1");
        fields.field(kind.name().as_bytes());
        fields.count(values.len());
        for value in values {
            fields.field(value);
        }
        Self::with_digest(kind, name, fields.digest())
    }

    /// Returns the numbers of an input's stage and of its place there: `2/7 RUN` is (2, 7), and `2` (2, [`usize::MAX`]).
    /// What is not numbered comes last.
    pub(crate) fn stage_and_number(&self) -> (usize, usize) {
        let place = self.name.split(' ').next().unwrap_or_default();
        let (stage, number) = place.split_once('/').unwrap_or((place, ""));
        (stage.parse().unwrap_or(usize::MAX), number.parse().unwrap_or(usize::MAX))
    }

    /// The input of which only the digest is known.
    pub(crate) fn with_digest(kind: InputKind, name: impl Into<String>, digest: Digest) -> Self {
        Self { kind, name: name.into(), digest, about: String::new(), line: None, pins: Vec::new() }
    }

    /// The input with what people are told of its value.
    #[must_use]
    pub(super) fn about(mut self, text: impl Into<String>) -> Self {
        self.about = text.into();
        self
    }

    /// The input with what its file pins.
    #[must_use]
    pub(super) fn pinning(mut self, pins: Vec<Line>) -> Self {
        self.pins = pins;
        self
    }

    /// The input with the line that it stands on.
    #[must_use]
    pub(super) fn on_line(mut self, line: usize) -> Self {
        self.line = Some(line).filter(|line| *line > 0);
        self
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind, self.name)?;
        if self.kind.is_confidential() { Ok(()) } else { write!(f, " {}", self.digest) }
    }
}
