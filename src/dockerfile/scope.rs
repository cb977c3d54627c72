//! The variables that are visible at one point of a Dockerfile.
//!
//! A scope contains the values of the preceding ARG and ENV instructions. It is *open* if it is based on an image with
//! unknown variables: the image may set a variable that the scope does not contain, so an expansion that uses such a
//! variable may be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::expand::{ExpandError, expand, expand_content};

/// The variables with their values. `Debug` shows only names, because values may come from build arguments. Clones
/// share their data, because every resolved instruction stores one.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    variables: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    is_open: bool,
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("names", &self.variables.keys().collect::<Vec<_>>())
            .field("open", &self.is_open)
            .finish()
    }
}

pub(super) struct ExpandedWord {
    pub(super) text: String,
    /// `true` if no base image can change `text`.
    pub(super) is_certain: bool,
}

impl Scope {
    pub(super) fn of_unknown_image() -> Self {
        Self { is_open: true, ..Self::default() }
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        Arc::make_mut(&mut self.variables).insert(name.into(), value.into());
    }

    pub(super) fn of_known_image(environment: &[String]) -> Self {
        let mut scope = Self::default();
        for (name, value) in environment.iter().filter_map(|variable| variable.split_once('=')) {
            scope.set(name, value);
        }
        scope
    }

    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(AsRef::as_ref)
    }

    /// Expands `word`. Returns `None` if that fails or if a base image could change the result.
    pub(crate) fn expand_certain(&self, word: &str, escape: char) -> Option<String> {
        self.expand(word, escape).ok().filter(|word| word.is_certain).map(|word| word.text)
    }

    /// Like [`Self::expand_certain`], for the content of a here-document.
    pub(crate) fn expand_certain_content(&self, content: &str) -> Option<String> {
        let expanded = expand_content(content, &|name| self.get(name).map(str::to_owned)).ok()?;
        self.is_certain(&expanded.unset).then_some(expanded.text)
    }

    pub(super) fn expand(&self, word: &str, escape: char) -> Result<ExpandedWord, ExpandError> {
        let expanded = expand(word, escape, &|name| self.get(name).map(str::to_owned))?;
        Ok(ExpandedWord { is_certain: self.is_certain(&expanded.unset), text: expanded.text })
    }

    /// Returns `true` if a base image can set none of these unset variables.
    fn is_certain(&self, unset: &BTreeSet<String>) -> bool {
        // The engine always sets `PATH`, to a value that is not known here.
        if self.is_open { unset.is_empty() } else { !unset.contains("PATH") }
    }
}
