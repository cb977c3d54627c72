//! `larder.yaml`: the settings of a project.
//!
//! ```yaml
//! cache_dir: /var/cache/larder
//! progress: plain
//! strict: false
//! timeout: 30m
//! enabled: true
//! tiers: [engine, registry, prefix, graft, archive, layers, mounts]
//! archive_timeout: 10m
//! cache_repo: registry.example/app
//! push_with: auto
//! push_compression: gzip
//! base_repo: registry.example/app-base
//! remote: s3://bucket/larder?region=eu-north-1
//! remote_timeout: 1m
//! trunk: main
//! read_only: false
//! require_signature: false
//! trusted_keys: [base64…]
//! cache_max_size_gb: 100
//! cache_min_free_gb: 5
//! remote_max_size_gb: 500
//! cache_max_entries: 0
//! max_age: 30d
//! auto_mounts: false
//! mount_scope: shop
//! max_mount_size: 2GB
//! mount_unused_builds: 5
//! mount_timeout: 5m
//! images: {}
//! ```
//!
//! The keys of `images` are described in `named_image`.

use std::io;
use std::path::{Path, PathBuf};

use super::SettingsError;
use super::named_image::NamedImage;
use super::options::OptionLayer;
use super::origin::Origin;

pub(super) const DEFAULT_NAME: &str = "larder.yaml";

/// A configuration file that was read; empty if there is none.
#[derive(Debug, Clone, Default)]
pub(super) struct ConfigFile {
    pub(super) options: OptionLayer,
    path: PathBuf,
    text: String,
}

impl ConfigFile {
    pub(super) fn image(&self, name: &str) -> Option<&NamedImage> {
        self.options.images.get(name)
    }

    /// Returns the origin of the value at these keys of an image.
    pub(super) fn origin(&self, image: &str, keys: &[&str]) -> Origin {
        let path = [&["images", image], keys].concat();
        // A key in flow style has no line of its own, so the line of the enclosing key is used.
        let line = (1..=path.len()).rev().find_map(|depth| line_of(&self.text, &path[..depth]));
        Origin::Key { file: self.path.clone(), path: path.join("."), line }
    }

    /// Returns the error for a name that is neither a context nor an image.
    pub(super) fn no_such_image(&self, name: &str) -> SettingsError {
        let known: Vec<&str> = self.options.images.keys().map(String::as_str).collect();
        let reason = format!("`{name}` is neither a directory nor one of its images ({})", known.join(", "));
        SettingsError::File { path: self.path.clone(), reason }
    }

    /// Returns the absolute directory that the paths of its images are relative to.
    pub(super) fn directory(&self) -> PathBuf {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        path.parent().map(Path::to_owned).unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn at(path: &str) -> Self {
        Self { path: PathBuf::from(path), ..Self::default() }
    }

    /// Reads the file at `requested`, which must exist, or `larder.yaml` if it exists.
    pub(super) fn load(requested: Option<&Path>) -> Result<Self, SettingsError> {
        let path = requested.unwrap_or(Path::new(DEFAULT_NAME));
        let failed = |reason: String| SettingsError::File { path: path.to_owned(), reason };
        match std::fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => Ok(Self::default()),
            Ok(text) => {
                let options =
                    serde_yaml::from_str(&text).map_err(|error| failed(with_line(&error, &text)))?;
                Ok(Self { options, path: path.to_owned(), text })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => match requested {
                Some(_) => Err(failed("there is no such file".to_owned())),
                None => Ok(Self::default()),
            },
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

/// Returns the message with its line number, which the parser omits for top-level errors.
fn with_line(error: &serde_yaml::Error, text: &str) -> String {
    let message = error.to_string();
    let key = message.split('`').nth(1).filter(|_| error.location().is_none());
    match key.and_then(|key| line_of(text, &[key])) {
        Some(line) => format!("{message} at line {line}"),
        None => message,
    }
}

/// Returns the line, counted from 1, of the key at `path` in mappings in block style.
fn line_of(text: &str, path: &[&str]) -> Option<usize> {
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line, line.trim_start()));
    let mut lines = lines.filter(|(_, _, words)| !words.is_empty() && !words.starts_with('#')).peekable();
    let (mut found, mut outer) = (None, None);
    for part in path {
        let own = lines.peek().map(|(_, line, words)| line.len() - words.len())?;
        let (number, _, _) = lines
            .by_ref()
            .take_while(|(_, line, words)| outer.is_none_or(|outer| line.len() - words.len() > outer))
            .find(|(_, line, words)| line.len() - words.len() == own && is_key(words, part))?;
        (found, outer) = (Some(number), Some(own));
    }
    found
}

fn is_key(words: &str, key: &str) -> bool {
    words.split(':').next().is_some_and(|first| first.trim_matches(['"', '\'']) == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::published_schema;

    #[test]
    fn a_misspelt_key_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("larder.yaml");
        std::fs::write(&path, "cache_dirr: /x\n").unwrap();
        let error = ConfigFile::load(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("cache_dirr"), "{error}");
        std::fs::write(&path, "cache_dir: /x\nstrict: true\n").unwrap();
        let file = ConfigFile::load(Some(&path)).unwrap();
        assert_eq!((file.options.cache_dir.unwrap().to_str(), file.options.strict), (Some("/x"), Some(true)));
    }

    #[test]
    fn errors_have_their_line_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("larder.yaml");
        let message = |text: &str| {
            std::fs::write(&path, text).unwrap();
            ConfigFile::load(Some(&path)).map(drop).unwrap_err().to_string()
        };
        for (text, what, line) in [
            (
                "strict: true\n\nimages:\n  a:\n    contexxt: .\n",
                "images.a: unknown field `contexxt`",
                "line 5",
            ),
            ("images:\n  a:\n    run:\n      gpu: all\n", "images.a.run: unknown field `gpu`", "line 4"),
            ("images:\n  a:\n    tags: nlp\n", "expected a sequence", "line 3"),
            ("images:\n  a: [1]\n", "images.a: invalid type: sequence, expected a mapping", "line 2"),
            ("strict: true\nstrictt: true\n", "unknown field `strictt`", "at line 2"),
            ("images:\n  a: {}\n  b: {}\n  a: {}\n", "images: `a` is defined twice", "line"),
            ("images: {a: \n", "did not find expected", "line 2"),
            ("strict: true\ntimeout: soon\n", "timeout: `soon` is not a duration", "line 2"),
            ("max_age: 30\n", "max_age: ", "line 1"),
            ("images:\n  a:\n    timeout: soon\n", "images.a.timeout: `soon`", "line 3"),
            ("cache_max_size_gb: 1e12\n", "is not a number of gigabytes", "line 1"),
            ("trusted_keys: [hunter2]\n", "trusted_keys", "line 1"),
        ] {
            let error = message(text);
            assert!(error.contains(what) && error.contains(line), "{error}");
        }
        std::fs::write(&path, "images:\n  b: {}\n  \"a\":\n    context: x\n").unwrap();
        let file = ConfigFile::load(Some(&path)).unwrap();
        let message = |image, keys: &[&str]| file.origin(image, keys).error("no").to_string();
        assert!(message("a", &["context"]).ends_with("images.a.context: no at line 4"));
        assert!(message("b", &[]).ends_with("images.b: no at line 2"));
        // The keys of the next image and nested keys do not match.
        let text = "timeout: soon\nimages:\n  a:\n    args:\n      b: '1'\n      timeout: '2'\n  b:\n    timeout: 3m\n";
        for (path, line) in [
            (&["images", "a", "timeout"][..], None),
            (&["images", "b"], Some(7)),
            (&["images", "b", "timeout"], Some(8)),
            (&["images", "a", "args", "timeout"], Some(6)),
            (&["timeout"], Some(1)),
        ] {
            assert_eq!(line_of(text, path), line, "{path:?}");
        }
    }

    #[test]
    fn the_example_in_the_documentation_is_valid() {
        let page = include_str!("../../docs/images.md");
        let example = page.split("```yaml\n").find(|block| block.starts_with("images:\n")).unwrap();
        let options: OptionLayer = serde_yaml::from_str(example.split("```").next().unwrap()).unwrap();
        assert_eq!(options.images.keys().collect::<Vec<_>>(), ["bert", "gpt"]);
        assert_eq!(options.images["bert"].tags, ["nlp", "pytorch"]);
    }

    #[test]
    fn the_schema_for_editors_is_up_to_date() {
        published_schema::assert_up_to_date("larder.schema.json", &schemars::schema_for!(OptionLayer));
    }

    #[test]
    fn a_requested_file_must_exist() {
        assert!(ConfigFile::load(Some(Path::new("/nonexistent/larder.yaml"))).is_err());
    }
}
