//! Inputs of a key: each has a kind, a name, and a digest of its value.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fields::FieldHasher;
use crate::digest::Digest;
use crate::requirements::DependencyLine;

/// The kind of an input. The names of the kinds are part of the encoding of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum InputKind {
    /// The whole text of a Dockerfile whose instructions are unknown.
    Dockerfile,
    Directive,
    /// The base of a reached stage.
    Stage,
    Instruction,
    /// A base image, by its digest if known.
    BaseImage,
    /// The expanded name of a base image without a digest.
    BaseName,
    /// A file, directory or link of the main context.
    File,
    /// A build argument as given.
    BuildArg,
    /// An argument's value as a reached stage sees it.
    StageArg,
    /// The built stage, by its position among the reached stages.
    Target,
    Platform,
    /// The names of all inputs on one of several platforms.
    PlatformInputs,
    SecretId,
    SshId,
    NamedContext,
    Label,
    Network,
    /// Any other option that can change the result.
    Option,
    /// A user-defined input from `--key-extra`.
    Extra,
    /// A user-defined tag from `--tags`.
    Tag,
    AdditionalContext,
    /// The sealed digest of all values that could be guessed. It is used only to compute a key.
    Sealed,
    /// A dependency file, in its canonical form.
    Requirement,
    MissingRequirement,
}

impl InputKind {
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

    /// Returns `true` if the digest must stay inside the process, because the value could be guessed from it.
    pub(crate) fn is_confidential(self) -> bool {
        matches!(self, Self::BuildArg | Self::StageArg | Self::BaseName)
    }
}

impl fmt::Display for InputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One input of a key. Two are equal if their kinds, names and digests are.
#[derive(Clone, Serialize, Deserialize)]
pub struct Input {
    pub(crate) kind: InputKind,
    /// Unique within the kind.
    pub(crate) name: String,
    pub(crate) digest: Digest,
    /// A description of the value, which is not part of a key. Empty if the value must not be shown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) about: String,
    /// The line in the Dockerfile, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<usize>,
    /// The pins of a dependency file. They are not part of a key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pins: Vec<DependencyLine>,
}

impl PartialEq for Input {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.name, self.digest) == (other.kind, &other.name, other.digest)
    }
}

impl Eq for Input {}

impl Input {
    pub(crate) fn of_values(kind: InputKind, name: impl Into<String>, values: &[&[u8]]) -> Self {
        let mut fields = FieldHasher::new("larder-input-v1");
        fields.field(kind.name().as_bytes());
        fields.count(values.len());
        for value in values {
            fields.field(value);
        }
        Self::with_digest(kind, name, fields.digest())
    }

    /// Returns the number of an input's stage and the position in the stage: `2/7 RUN` is (2, 7), and `2` is (2,
    /// [`usize::MAX`]). Inputs without numbers come last.
    pub(crate) fn stage_and_number(&self) -> (usize, usize) {
        let place = self.name.split(' ').next().unwrap_or_default();
        let (stage, number) = place.split_once('/').unwrap_or((place, ""));
        (stage.parse().unwrap_or(usize::MAX), number.parse().unwrap_or(usize::MAX))
    }

    pub(crate) fn with_digest(kind: InputKind, name: impl Into<String>, digest: Digest) -> Self {
        Self { kind, name: name.into(), digest, about: String::new(), line: None, pins: Vec::new() }
    }

    #[must_use]
    pub(super) fn about(mut self, text: impl Into<String>) -> Self {
        self.about = text.into();
        self
    }

    #[must_use]
    pub(super) fn pinning(mut self, pins: Vec<DependencyLine>) -> Self {
        self.pins = pins;
        self
    }

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
