//! Finds and reads the inputs of a build: its context and its Dockerfile. The files of the context are not read here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tempfile::{NamedTempFile, TempDir};

use super::base_lookup::KnownBases;
use crate::context::{archive, ignorefile};
use crate::dockerfile::{Dockerfile, SyntaxError};
use crate::plan::{BuildContextSource, DockerfileSource, SourceSettings};

#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) context: BuildContext,
    pub(crate) dockerfile: DockerfileInput,
    /// The files written by larder that are left out of the context, by directory.
    pub(crate) withheld: BTreeMap<PathBuf, Vec<String>>,
    pub(crate) known_bases: KnownBases,
}

#[derive(Debug)]
pub(crate) enum BuildContext {
    Directory(PathBuf),
    /// An empty directory: the Dockerfile was read from stdin without a context.
    Empty(TempDir),
    Archive(NamedTempFile),
    /// An address from which the engine fetches the context.
    Remote(String),
}

#[derive(Debug)]
pub(crate) enum DockerfileInput {
    /// A file on this machine. No other file of its directory is needed.
    Local {
        directory: PathBuf,
        name: String,
        text: DockerfileText,
        /// The version that is built instead, if larder has added to the Dockerfile.
        changed: Option<ChangedDockerfile>,
        _temporary: Option<TempDir>,
    },
    /// The path of a file in the remote or archived context.
    InContext(String),
}

#[derive(Debug)]
pub(crate) struct ChangedDockerfile {
    /// The directory that contains this version under the name of the user's Dockerfile, and a copy of its ignore file.
    pub(crate) directory: TempDir,
    /// The same lines as the user's Dockerfile, some of them longer.
    pub(crate) text: DockerfileText,
}

#[derive(Debug)]
pub(crate) struct DockerfileText {
    text: String,
    parsed: OnceLock<Result<Arc<Dockerfile>, Box<SyntaxError>>>,
}

impl DockerfileText {
    pub(crate) fn new(text: String) -> Self {
        Self { text, parsed: OnceLock::new() }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn parsed(&self) -> Result<&Arc<Dockerfile>, &SyntaxError> {
        let parse = || Dockerfile::parse(&self.text).map(Arc::new).map_err(Box::new);
        self.parsed.get_or_init(parse).as_ref().map_err(|error| &**error)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("there is no Dockerfile at {}", .0.display())]
    NoDockerfile(PathBuf),
    #[error("cannot read the Dockerfile {}", .0.display())]
    Dockerfile(PathBuf, #[source] io::Error),
    #[error("cannot read the ignore file {}", .0.display())]
    IgnoreFile(PathBuf, #[source] io::Error),
    #[error("the Dockerfile {} is not UTF-8", .0.display())]
    NotUtf8(PathBuf),
    #[error("the Dockerfile on stdin is empty")]
    EmptyStdin,
    #[error("stdin contains a Dockerfile, but --file names a different one")]
    SeveralDockerfiles,
    #[error("cannot read stdin")]
    Stdin(#[source] io::Error),
}

const DEFAULT_NAME: &str = "Dockerfile";

pub(crate) const NOT_LOCAL: &str = "the Dockerfile is in a context that only the engine can read";

impl Inputs {
    fn new(context: BuildContext, dockerfile: DockerfileInput) -> Self {
        Self { context, dockerfile, withheld: BTreeMap::new(), known_bases: KnownBases::default() }
    }

    pub(crate) fn read(source: &SourceSettings) -> Result<Self, InputError> {
        match &source.context {
            BuildContextSource::Directory(directory) => {
                let dockerfile = match &source.dockerfile {
                    DockerfileSource::Default => read_dockerfile(directory, DEFAULT_NAME)?,
                    DockerfileSource::File(path) => read_dockerfile_at(path)?,
                    DockerfileSource::Stdin => read_dockerfile_from_stdin(&mut io::stdin().lock())?,
                };
                check_ignore_file(directory, &dockerfile)?;
                Ok(Self::new(BuildContext::Directory(directory.clone()), dockerfile))
            }
            BuildContextSource::Remote(address) => {
                let dockerfile = match &source.dockerfile {
                    DockerfileSource::Default => DockerfileInput::InContext(DEFAULT_NAME.to_owned()),
                    DockerfileSource::File(path) if path.is_absolute() => read_dockerfile_at(path)?,
                    DockerfileSource::File(path) => {
                        DockerfileInput::InContext(path.to_string_lossy().into_owned())
                    }
                    DockerfileSource::Stdin => read_dockerfile_from_stdin(&mut io::stdin().lock())?,
                };
                Ok(Self::new(BuildContext::Remote(address.clone()), dockerfile))
            }
            BuildContextSource::Stdin => read_stdin(&source.dockerfile),
        }
    }

    pub(crate) fn dockerfile_path(&self) -> Option<PathBuf> {
        let DockerfileInput::Local { directory, name, .. } = &self.dockerfile else { return None };
        Some(directory.join(name))
    }

    pub(crate) fn stage_names(&self) -> Vec<&str> {
        let dockerfile = self.user_text().and_then(|(_, text)| text.parsed().ok());
        dockerfile.iter().flat_map(|file| &file.stages).filter_map(|stage| stage.name.as_deref()).collect()
    }

    pub(crate) fn withheld(&self, directory: &Path) -> Vec<String> {
        self.withheld.get(directory).cloned().unwrap_or_default()
    }

    /// Returns the text that is built, with larder's additions, or `None` if the Dockerfile is not on this machine.
    pub(crate) fn built_text(&self) -> Option<&DockerfileText> {
        let DockerfileInput::Local { text, changed, .. } = &self.dockerfile else { return None };
        Some(changed.as_ref().map_or(text, |changed| &changed.text))
    }

    pub(crate) fn replace_dockerfile(&mut self, text: String) -> io::Result<()> {
        let directory = self.write_dockerfile(&text)?;
        if let DockerfileInput::Local { changed, .. } = &mut self.dockerfile {
            *changed = Some(ChangedDockerfile { directory, text: DockerfileText::new(text) });
        }
        Ok(())
    }

    /// Writes `text` to a new directory, under the name of the Dockerfile.
    pub(crate) fn write_dockerfile(&self, text: &str) -> io::Result<TempDir> {
        let DockerfileInput::Local { directory, name, .. } = &self.dockerfile else {
            return Err(io::Error::other(NOT_LOCAL));
        };
        let own = TempDir::new()?;
        std::fs::write(own.path().join(name), text)?;
        let ignored = format!("{name}.dockerignore");
        match std::fs::copy(directory.join(&ignored), own.path().join(&ignored)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(own),
        }
    }

    /// Returns the name and the user's text, or `None` if the Dockerfile is not on this machine.
    pub(crate) fn user_text(&self) -> Option<(&str, &DockerfileText)> {
        let DockerfileInput::Local { name, text, .. } = &self.dockerfile else { return None };
        Some((name, text))
    }
}

/// Returns the paths of the possible ignore files of a directory, in order of precedence.
pub(crate) fn ignore_files(directory: &Path, dockerfile: &DockerfileInput) -> Vec<PathBuf> {
    let next_to_dockerfile = match dockerfile {
        DockerfileInput::Local { directory, name, changed, .. } => {
            // The engine reads the ignore file next to the Dockerfile that it receives.
            let directory = changed.as_ref().map_or(directory.as_path(), |changed| changed.directory.path());
            Some(directory.join(format!("{name}.dockerignore")))
        }
        DockerfileInput::InContext(_) => None,
    };
    next_to_dockerfile.into_iter().chain([directory.join(ignorefile::FILE_NAME)]).collect()
}

/// Fails if an ignore file cannot be read. The engine would treat it as missing and include the ignored files.
fn check_ignore_file(directory: &Path, dockerfile: &DockerfileInput) -> Result<(), InputError> {
    for path in ignore_files(directory, dockerfile) {
        match File::open(&path) {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(InputError::IgnoreFile(path, error));
            }
            Err(_) => {}
        }
    }
    Ok(())
}

fn read_stdin(dockerfile: &DockerfileSource) -> Result<Inputs, InputError> {
    let mut stdin = io::stdin().lock();
    let mut header = Vec::new();
    stdin.by_ref().take(archive::HEADER_SIZE as u64).read_to_end(&mut header).map_err(InputError::Stdin)?;
    let mut input = header.as_slice().chain(stdin);
    if !archive::is_archive(&header) {
        if *dockerfile != DockerfileSource::Default {
            return Err(InputError::SeveralDockerfiles);
        }
        let context = BuildContext::Empty(TempDir::new().map_err(InputError::Stdin)?);
        return Ok(Inputs::new(context, read_dockerfile_from_stdin(&mut input)?));
    }
    let mut spool = || {
        let mut file = NamedTempFile::new()?;
        io::copy(&mut input, &mut file)?;
        file.flush()?;
        Ok(file)
    };
    let file = spool().map_err(InputError::Stdin)?;
    let name = match dockerfile {
        DockerfileSource::File(path) => path.to_string_lossy().into_owned(),
        DockerfileSource::Default | DockerfileSource::Stdin => DEFAULT_NAME.to_owned(),
    };
    Ok(Inputs::new(BuildContext::Archive(file), DockerfileInput::InContext(name)))
}

fn read_dockerfile_from_stdin(stdin: &mut dyn Read) -> Result<DockerfileInput, InputError> {
    let mut bytes = Vec::new();
    stdin.read_to_end(&mut bytes).map_err(InputError::Stdin)?;
    if bytes.is_empty() {
        return Err(InputError::EmptyStdin);
    }
    let text = String::from_utf8(bytes).map_err(|_| InputError::NotUtf8(PathBuf::from("-")))?;
    let write = || {
        let directory = TempDir::new()?;
        File::create(directory.path().join(DEFAULT_NAME))?.write_all(text.as_bytes())?;
        Ok(directory)
    };
    let directory = write().map_err(InputError::Stdin)?;
    Ok(DockerfileInput::Local {
        directory: directory.path().to_owned(),
        name: DEFAULT_NAME.to_owned(),
        text: DockerfileText::new(text),
        changed: None,
        _temporary: Some(directory),
    })
}

fn read_dockerfile_at(path: &Path) -> Result<DockerfileInput, InputError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| InputError::NoDockerfile(path.to_owned()))?;
    read_dockerfile(directory, &name.to_string_lossy())
}

/// Reads `name` in `directory`. As in Docker, the default name may also be in lower case.
fn read_dockerfile(directory: &Path, name: &str) -> Result<DockerfileInput, InputError> {
    let lower = directory.join(name.to_ascii_lowercase());
    let (path, name) = match directory.join(name) {
        path if !path.exists() && name == DEFAULT_NAME && lower.is_file() => {
            (lower, name.to_ascii_lowercase())
        }
        path => (path, name.to_owned()),
    };
    let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => InputError::NoDockerfile(path.clone()),
        _ => InputError::Dockerfile(path.clone(), error),
    })?;
    let text = String::from_utf8(bytes).map_err(|_| InputError::NotUtf8(path))?;
    Ok(DockerfileInput::Local {
        directory: directory.to_owned(),
        name,
        text: DockerfileText::new(text),
        changed: None,
        _temporary: None,
    })
}
