//! Secrets of a build: `id=NAME[,src=FILE|,env=VARIABLE]`, in flags and in `larder.yaml`.

use std::path::{Path, PathBuf};

use super::{Environment, fields};
use crate::buildkit::session::SecretSource;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Secret {
    Variable(String),
    File(PathBuf),
    /// The variable with the secret's id, if it is set, or else the file with that name.
    VariableOrFile,
    FileNamedById,
}

impl Secret {
    pub(super) fn parse(text: &str) -> Result<(String, Self), String> {
        let (mut id, mut src, mut env, mut kind) = (None, None, None, None);
        for (key, value) in fields::parse(text)? {
            let slot = match key.as_str() {
                "id" => &mut id,
                "src" | "source" => &mut src,
                "env" => &mut env,
                "type" => &mut kind,
                _ => return Err(format!("`{key}` is not one of id, src, env, type")),
            };
            *slot = value;
        }
        let id = id.filter(|id| !id.is_empty()).ok_or_else(|| format!("`{text}` has no id"))?;
        let kind = kind.as_deref();
        if let Some(other) = kind.filter(|kind| !matches!(*kind, "file" | "env")) {
            return Err(format!("type `{other}` is neither file nor env"));
        }
        let secret = match (env, src) {
            (Some(variable), _) => Self::Variable(variable),
            // With this type, `src` names a variable.
            (None, Some(src)) if kind == Some("env") => Self::Variable(src),
            (None, Some(src)) => Self::File(PathBuf::from(src)),
            (None, None) if kind == Some("file") => Self::FileNamedById,
            (None, None) => Self::VariableOrFile,
        };
        Ok((id, secret))
    }

    /// Makes the path of a file relative to `directory`.
    pub(super) fn in_directory(self, directory: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(directory.join(path)),
            other => other,
        }
    }

    /// Reads a variable, or checks that a file exists.
    pub(super) fn resolve(&self, id: &str, environment: &Environment) -> Result<SecretSource, String> {
        let path = match self {
            // Like Docker's client, treats an unset variable as an empty secret.
            Self::Variable(name) => return Ok(variable_secret(name, environment)),
            Self::VariableOrFile if environment.raw(id).is_some() => {
                return Ok(variable_secret(id, environment));
            }
            Self::VariableOrFile | Self::FileNamedById => PathBuf::from(id),
            Self::File(path) => path.clone(),
        };
        if path.is_file() {
            Ok(SecretSource::File(path))
        } else {
            Err(format!("`{}` of secret {id} is not a file", path.display()))
        }
    }
}

fn variable_secret(variable: &str, environment: &Environment) -> SecretSource {
    SecretSource::Value(environment.bytes(variable).unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Result<SecretSource, String> {
        let environment: Environment = [("TOKEN".to_owned(), "v".to_owned())].into_iter().collect();
        let (id, secret) = Secret::parse(text)?;
        secret.resolve(&id, &environment)
    }

    #[test]
    fn a_secret_is_a_file_or_a_variable() {
        for text in ["id=a,env=TOKEN", "id=TOKEN", "id=a,type=env,src=TOKEN"] {
            let source = resolved(text).unwrap();
            assert!(matches!(&source, SecretSource::Value(value) if value == b"v"), "{text}");
            assert!(!format!("{source:?}").contains("118"), "a secret's bytes are not in its debug output");
        }
        assert!(matches!(resolved("id=a,src=Cargo.toml"), Ok(SecretSource::File(_))));
        for (text, reason) in [
            ("src=/x", "has no id"),
            ("id=a,src=/nonexistent", "is not a file"),
            ("id=TOKEN,type=file", "is not a file"),
            ("id=a,colour=red", "is not one of"),
            ("id=a,type=vault", "neither file nor env"),
        ] {
            let error = resolved(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn only_files_are_relative_to_the_directory_of_larder_yaml() {
        let parsed = |text| Secret::parse(text).unwrap().1.in_directory(Path::new("/shop"));
        assert_eq!(parsed("id=a,src=token"), Secret::File("/shop/token".into()));
        assert_eq!(parsed("id=a,src=/token"), Secret::File("/token".into()));
        assert_eq!(parsed("id=a,type=env,src=TOKEN"), Secret::Variable("TOKEN".to_owned()));
    }
}
