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

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::SettingsError;
use super::named_image::{self, NamedImage};

const DEFAULT_NAME: &str = "larder.yaml";

/// The file's content. A key that is not listed here is an error, not a no-op.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "larder.yaml"))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct ConfigFile {
    /// Directory of the cache.
    pub(super) cache_dir: Option<PathBuf>,
    /// Form of the progress: auto, plain, tty, quiet or json.
    pub(super) progress: Option<String>,
    /// Fail when a cache is at fault, instead of building without it.
    pub(super) strict: Option<bool>,
    /// How long a build may take, such as `30m`.
    pub(super) timeout: Option<String>,
    /// `true` archives images in the store, `false` builds without any of larder's caches.
    pub(super) enabled: Option<bool>,
    /// Tiers that are used: some of engine, registry, prefix, graft, archive, layers, mounts.
    pub(super) tiers: Option<Vec<String>>,
    /// How long moving a whole image into or out of the store, or layers to a registry, may take.
    pub(super) archive_timeout: Option<String>,
    /// Repository for what is kept in a registry, such as `registry.example/app`. By default the one that is pushed to.
    pub(super) cache_repo: Option<String>,
    /// Who pushes images of Docker engines with a graph driver: auto, engine or larder.
    pub(super) push_with: Option<String>,
    /// Compression of pushed layers: gzip or zstd.
    pub(super) push_compression: Option<String>,
    /// Repository for base images, such as `registry.example/app-base`. By default they stay in the engine.
    pub(super) base_repo: Option<String>,
    /// Shared store behind the cache's directory, such as `s3://BUCKET/PREFIX`.
    pub(super) remote: Option<String>,
    /// How long a request to that store may take.
    pub(super) remote_timeout: Option<String>,
    /// Lane of the default branch, which every job reads.
    pub(super) trunk: Option<String>,
    /// Save nothing and remove nothing.
    pub(super) read_only: Option<bool>,
    /// Use only entries that a trusted key has signed.
    pub(super) require_signature: Option<bool>,
    /// Public keys whose signatures are trusted, in base64.
    pub(super) trusted_keys: Vec<String>,
    /// Gigabytes that the cache may take; 0 is no limit.
    pub(super) cache_max_size_gb: Option<f64>,
    /// Gigabytes that a save leaves free on the cache's disk; 0 fills it. By default 5 % of it or 1, whichever is larger.
    pub(super) cache_min_free_gb: Option<f64>,
    /// Gigabytes that the shared store may take; 0 is no limit.
    pub(super) remote_max_size_gb: Option<f64>,
    /// Entries that the cache may have; 0 is no limit.
    pub(super) cache_max_entries: Option<u64>,
    /// Build anew what was built longer ago, such as `30d`, and evict what was not used for so long.
    pub(super) max_age: Option<String>,
    /// Add cache mounts to steps that install packages without one.
    pub(super) auto_mounts: Option<bool>,
    /// Whose cache mounts these are.
    pub(super) mount_scope: Option<String>,
    /// Bytes that a cache mount may have in the store, such as `2GB`.
    pub(super) max_mount_size: Option<String>,
    /// Leave out files of cache mounts that so many builds in a row did not read; 0 keeps them.
    pub(super) mount_unused_builds: Option<u32>,
    /// How long carrying mounts in or out may take.
    pub(super) mount_timeout: Option<String>,
    /// Images that are built and run by their names.
    #[serde(deserialize_with = "named_image::unique")]
    pub(super) images: BTreeMap<String, NamedImage>,
    #[serde(skip)]
    path: PathBuf,
    #[serde(skip)]
    text: String,
    /// The image whose settings override those of the file, see `for_image`.
    #[serde(skip)]
    image: Option<String>,
}

impl ConfigFile {
    /// Returns the error for a malformed value.
    pub(super) fn fault(&self, key: &str, reason: impl std::fmt::Display) -> SettingsError {
        let of_image = self.image.as_ref().map(|name| ["images", name, key]);
        let of_image = of_image.filter(|path| line_of(&self.text, path).is_some());
        self.fault_at(of_image.as_ref().map_or(&[key], |path| &path[..]), reason)
    }

    /// Returns the error for the value of `keys` of an image.
    pub(super) fn fault_of_image(
        &self,
        name: &str,
        keys: &[&str],
        reason: impl std::fmt::Display,
    ) -> SettingsError {
        self.fault_at(&[&["images", name], keys].concat(), reason)
    }

    /// Returns the error for a name that is neither a context nor an image.
    pub(super) fn fault_of_no_image(&self, name: &str) -> SettingsError {
        let known: Vec<&str> = self.images.keys().map(String::as_str).collect();
        let reason = format!("`{name}` is no directory, and none of its images ({})", known.join(", "));
        SettingsError::File { path: self.path.clone(), reason }
    }

    fn fault_at(&self, path: &[&str], reason: impl std::fmt::Display) -> SettingsError {
        // A key in flow style has no line of its own, so the line of the enclosing key is used.
        let mut depths = (1..=path.len()).rev();
        let line = depths.find_map(|depth| line_of(&self.text, &path[..depth]));
        let line = line.map(|line| format!(" at line {line}"));
        let reason = format!("{}: {reason}{}", path.join("."), line.unwrap_or_default());
        SettingsError::File { path: self.path.clone(), reason }
    }

    /// Returns the absolute directory that the paths of its images are relative to.
    pub(super) fn directory(&self) -> PathBuf {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        path.parent().map(Path::to_owned).unwrap_or_default()
    }

    pub(super) fn is_for_image(&self) -> bool {
        self.image.is_some()
    }

    /// Returns the file with the settings of this image, which override those for all images.
    pub(super) fn for_image(&self, name: &str, image: &NamedImage) -> Self {
        let own = image.clone();
        Self {
            image: Some(name.to_owned()),
            tiers: own.tiers.or_else(|| self.tiers.clone()),
            timeout: own.timeout.or_else(|| self.timeout.clone()),
            archive_timeout: own.archive_timeout.or_else(|| self.archive_timeout.clone()),
            cache_repo: own.cache_repo.or_else(|| self.cache_repo.clone()),
            max_mount_size: own.max_mount_size.or_else(|| self.max_mount_size.clone()),
            ..self.clone()
        }
    }

    /// Reads the given file, or `larder.yaml` if it exists.
    pub(super) fn load(asked_for: Option<&Path>) -> Result<Self, SettingsError> {
        let path = asked_for.unwrap_or(Path::new(DEFAULT_NAME));
        let failed = |reason: String| SettingsError::File { path: path.to_owned(), reason };
        match std::fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => Ok(Self::default()),
            Ok(text) => {
                let file: Self =
                    serde_yaml::from_str(&text).map_err(|error| failed(with_line(&error, &text)))?;
                Ok(Self { path: path.to_owned(), text, ..file })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && asked_for.is_none() => {
                Ok(Self::default())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(failed("there is no such file".to_owned()))
            }
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

    #[test]
    fn a_misspelt_key_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("larder.yaml");
        std::fs::write(&path, "cache_dirr: /x\n").unwrap();
        let error = ConfigFile::load(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("cache_dirr"), "{error}");
        std::fs::write(&path, "cache_dir: /x\nstrict: true\n").unwrap();
        let file = ConfigFile::load(Some(&path)).unwrap();
        assert_eq!((file.cache_dir.unwrap().to_str(), file.strict), (Some("/x"), Some(true)));
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
            ("images:\n  a: {}\n  b: {}\n  a: {}\n", "images: `a` is there twice", "line"),
            ("images: {a: \n", "did not find expected", "line 2"),
        ] {
            let error = message(text);
            assert!(error.contains(what) && error.contains(line), "{error}");
        }
        std::fs::write(&path, "max_age: 3\nimages:\n  b: {}\n  \"a\":\n    timeout: soon\n").unwrap();
        let file = ConfigFile::load(Some(&path)).unwrap();
        assert!(file.fault("max_age", "no").to_string().ends_with("max_age: no at line 1"));
        let of_image = file.for_image("a", &file.images["a"]);
        assert!(of_image.fault("timeout", "no").to_string().ends_with("images.a.timeout: no at line 5"));
        assert!(of_image.fault("max_age", "no").to_string().ends_with("max_age: no at line 1"));
        assert!(file.fault_of_image("b", &[], "no").to_string().ends_with("images.b: no at line 3"));
        assert!(file.fault("timeout", "no").to_string().ends_with("timeout: no"));
        // Not those of the next image, nor those that are deeper.
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
    fn the_example_in_the_documentation_is_understood() {
        let page = include_str!("../../docs/images.md");
        let example = page.split("```yaml\n").find(|block| block.starts_with("images:\n")).unwrap();
        let file: ConfigFile = serde_yaml::from_str(example.split("```").next().unwrap()).unwrap();
        assert_eq!(file.images.keys().collect::<Vec<_>>(), ["bert", "gpt"]);
        assert_eq!(file.images["bert"].tags, ["nlp", "pytorch"]);
    }

    /// `LARDER_WRITE_SCHEMA=1 cargo test schema` writes it anew.
    #[test]
    fn the_schema_for_editors_is_that_of_the_file() {
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(ConfigFile)).unwrap() + "\n";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("larder.schema.json");
        if std::env::var_os("LARDER_WRITE_SCHEMA").is_some() {
            std::fs::write(&path, &schema).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), schema);
    }

    #[test]
    fn a_given_file_must_exist() {
        assert!(ConfigFile::load(Some(Path::new("/nonexistent/larder.yaml"))).is_err());
    }
}
