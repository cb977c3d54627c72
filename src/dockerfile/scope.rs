//! The variables that one place in a Dockerfile sees.
//!
//! A scope holds what ARG and ENV set so far. It is *open* when it stands on
//! an image from elsewhere: then a variable it lacks may still be set by that
//! image, and what is expanded from such a variable is only a guess.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::expand::{ExpandError, expand};

/// Variables with their values. Its `Debug` shows names alone, since values
/// may come from build arguments. A clone shares what it was cloned from: every
/// resolved instruction keeps one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Scope {
    variables: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    open: bool,
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("names", &self.variables.keys().collect::<Vec<_>>())
            .field("open", &self.open)
            .finish()
    }
}

/// A word expanded in a scope.
pub(super) struct Word {
    pub(super) text: String,
    /// Whether a base image could make it something else.
    pub(super) certain: bool,
}

/// A word that does not expand.
#[derive(Debug)]
pub(super) struct Unexpandable {
    pub(super) word: String,
    pub(super) source: ExpandError,
}

impl Scope {
    /// The scope of a stage that stands on an image.
    pub(super) fn on_image() -> Self {
        Self { open: true, ..Self::default() }
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        Arc::make_mut(&mut self.variables).insert(name.into(), value.into());
    }

    /// The scope of a stage whose base image has known variables.
    pub(super) fn on_known_image(environment: &[String]) -> Self {
        let mut scope = Self::default();
        for (name, value) in environment.iter().filter_map(|variable| variable.split_once('=')) {
            scope.set(name, value);
        }
        scope
    }

    /// All variables with their values.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(AsRef::as_ref)
    }

    /// Expands `word`, or says `None` if that fails or a base image could
    /// make it something else.
    pub(crate) fn known(&self, word: &str, escape: char) -> Option<String> {
        self.expand(word, escape).ok().filter(|word| word.certain).map(|word| word.text)
    }

    pub(super) fn expand(&self, word: &str, escape: char) -> Result<Word, Unexpandable> {
        let expanded = expand(word, escape, &|name| self.get(name).map(str::to_owned))
            .map_err(|source| Unexpandable { word: word.to_owned(), source })?;
        // `PATH` is always set, to what only the engine knows.
        let elsewhere = |missed: &BTreeSet<String>| {
            if self.open { !missed.is_empty() } else { missed.contains("PATH") }
        };
        Ok(Word { certain: !elsewhere(&expanded.unmatched), text: expanded.text })
    }
}
