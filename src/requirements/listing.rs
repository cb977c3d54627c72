//! Lists what a dependency file pins, line by line, in a form that can be stored, shown and compared.
//!
//! A pip requirements file is listed by logical lines, a lock file by packages with their versions; other files are not
//! listed. A listing contains no secrets: credentials are removed from addresses, and variables are not expanded.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::catalogue::is_requirements_name;
use super::{address, locks, text};

pub(crate) const MAX_LINES: usize = 20_000;
const MAX_FILE_BYTES: usize = 64 << 20;

/// A line of a dependency file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DependencyLine {
    /// The identity of the line across changes: the normalised name of a package, an option, or else the line itself.
    /// Empty for the mark at the end of a truncated listing.
    pub(crate) name: String,
    pub(crate) shown: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// The whole line without hashes, if it contains more than the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) hashes: usize,
    /// A short digest of the hashes; empty without hashes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) fold: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl DependencyLine {
    pub(super) fn of_package(name: &str, version: &str) -> Self {
        let version = Some(address::without_secrets(version, false));
        let (name, shown) = (name.to_owned(), name.to_owned());
        Self { name, shown, version, text: None, hashes: 0, fold: String::new() }
    }

    pub(super) fn of_python_package(name: &str, version: &str) -> Self {
        Self { name: normalize_name(name), ..Self::of_package(name, version) }
    }

    fn truncation_mark() -> Self {
        Self { name: String::new(), shown: "…".to_owned(), ..Self::of_package("", "") }
    }

    pub(crate) fn is_truncation_mark(&self) -> bool {
        self.name.is_empty()
    }

    pub(crate) fn display_text(&self) -> String {
        match (&self.text, &self.version) {
            (Some(text), _) => text.clone(),
            (None, Some(version)) => format!("{} {version}", self.shown),
            (None, None) => self.shown.clone(),
        }
    }

    fn of_pip(line: &str) -> Self {
        let (requirement, options) = text::parts(line);
        let (hashes, options) = without_hashes(options);
        let index = requirement.is_empty();
        let words = std::iter::once(&requirement).chain(&options).filter(|word| !word.is_empty());
        let shown = words.map(String::as_str).collect::<Vec<_>>().join(" ");
        let shown = address::without_secrets(&shown, index);
        let fold = hash_digest(&hashes);
        let hashes = hashes.len();
        let line = |name, shown, version, text| Self { name, shown, version, text, hashes, fold };
        if requirement.is_empty() {
            let option = options.first().map(String::as_str).unwrap_or_default();
            let option = option.split_once('=').map_or(option, |(option, _)| option);
            // An index or a switch occurs at most once; included files, projects and hosts may occur several times.
            let name = match option {
                "-i" | "--index-url" | "--pypi-url" | "--no-index" | "--pre" | "--prefer-binary"
                | "--require-hashes" => option,
                _ => shown.as_str(),
            };
            let name = egg_name(&shown).map_or_else(|| name.to_owned(), normalize_name);
            return line(name, shown.clone(), None, Some(shown));
        }
        let written = name_of(&requirement);
        if written.is_empty() {
            let name = egg_name(&shown).map_or_else(|| shown.clone(), normalize_name);
            return line(name, shown.clone(), None, Some(shown));
        }
        let rest = requirement[written.len()..].trim();
        let version = rest.strip_prefix("==").map(str::trim).filter(|version| is_version(version));
        if let Some(version) = version.filter(|_| options.is_empty()) {
            return line(normalize_name(written), written.to_owned(), Some(version.to_owned()), None);
        }
        line(normalize_name(written), written.to_owned(), None, Some(shown))
    }
}

/// Returns the listing of the file at `path` with this content; empty if the format is not supported.
pub fn listing(path: &str, content: &[u8]) -> Vec<DependencyLine> {
    if content.len() > MAX_FILE_BYTES {
        return vec![DependencyLine::truncation_mark()];
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut lines = match locks::lock_file_reader(name) {
        Some(read) => read(&String::from_utf8_lossy(content)),
        None if is_pip(name) => {
            let text = text::decode(content).unwrap_or_else(|| text::latin1(content));
            let lines = text::logical_lines(&text);
            lines.iter().take(MAX_LINES + 1).map(|line| DependencyLine::of_pip(line)).collect()
        }
        None => Vec::new(),
    };
    if lines.len() > MAX_LINES {
        lines.truncate(MAX_LINES);
        lines.push(DependencyLine::truncation_mark());
    }
    lines
}

fn is_pip(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    is_requirements_name(name)
        || matches!(extension, "txt" | "in" | "pip" | "lst" | "list")
        || (name.starts_with("requirements") && extension == "lock")
}

fn without_hashes(options: Vec<String>) -> (Vec<String>, Vec<String>) {
    let (mut hashes, mut others) = (Vec::new(), Vec::new());
    let mut options = options.into_iter();
    while let Some(option) = options.next() {
        match option.strip_prefix("--hash") {
            Some("") => hashes.extend(options.next()),
            Some(hash) => hashes.push(hash.trim_start_matches('=').to_owned()),
            None => others.push(option),
        }
    }
    hashes.sort_unstable();
    (hashes, others)
}

fn hash_digest(hashes: &[String]) -> String {
    if hashes.is_empty() {
        return String::new();
    }
    let digest =
        hashes.iter().fold(Sha256::new(), |digest, hash| digest.chain_update(hash).chain_update(b"\n"));
    let bytes = digest.finalize();
    bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// Returns the name at the start of a requirement (PEP 508); empty if it is a path or an address.
fn name_of(requirement: &str) -> &str {
    let end = requirement.find(|char: char| !(char.is_ascii_alphanumeric() || "-_.".contains(char)));
    let name = &requirement[..end.unwrap_or(requirement.len())];
    let rest = requirement[name.len()..].trim_start();
    let is_name = name.starts_with(|char: char| char.is_ascii_alphanumeric())
        && !rest.starts_with(['/', ':', '\\', '+'])
        && ![".whl", ".zip", ".tar.gz"].iter().any(|suffix| name.ends_with(suffix));
    if is_name { name } else { "" }
}

/// Returns the package name in the `#egg=` fragment of an address.
fn egg_name(text: &str) -> Option<&str> {
    let name = text.split_once("#egg=").or_else(|| text.split_once("&egg="))?.1;
    Some(name.split(['&', '[', ' ']).next().unwrap_or(name)).filter(|name| !name.is_empty())
}

fn is_version(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|char| char.is_ascii_alphanumeric() || ".+!-_".contains(char))
}

/// Returns a Python package's normalised name (PEP 503).
pub(super) fn normalize_name(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for char in name.chars() {
        match char {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            char => normal.push(char.to_ascii_lowercase()),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str, text: &str) -> Vec<String> {
        listing(path, text.as_bytes())
            .iter()
            .map(|line| format!("{}|{}", line.name, line.display_text()))
            .collect()
    }

    #[test]
    fn the_listing_of_a_requirement_file_contains_its_logical_lines() {
        let text = "# top\n\
                    Flask_Login[async]>=2,<3 ; python_version > '3.8' # c\n\
                    pandas==2.1.4 \\\n  --hash=sha256:aa \\\n  --hash sha256:bb\n\
                    --index-url https://user:pass@host/simple?token=t\n\
                    --extra-index-url=https://${USER}:${TOKEN}@host/\n\
                    -e git+ssh://git@host/x@main#egg=My.Pkg\n\
                    -r base.txt\n\
                    ./lib[dev]\n\
                    torch @ https://u:p@host/torch.whl\n\
                    six\n";
        assert_eq!(
            shown("requirements.txt", text),
            [
                "flask-login|Flask_Login[async]>=2,<3 ; python_version > '3.8'",
                "pandas|pandas 2.1.4",
                "--index-url|--index-url https://host/simple",
                "--extra-index-url=https://host/|--extra-index-url=https://host/",
                "my-pkg|-e git+ssh://host/x@main#egg=My.Pkg",
                "-r base.txt|-r base.txt",
                "./lib[dev]|./lib[dev]",
                "torch|torch @ https://host/torch.whl",
                "six|six",
            ]
        );
        let pandas = &listing("requirements.txt", text.as_bytes())[1];
        assert_eq!((pandas.hashes, pandas.fold.len()), (2, 16));
        let kept = serde_json::to_string(pandas).unwrap();
        assert_eq!(&serde_json::from_str::<DependencyLine>(&kept).unwrap(), pandas);
        assert!(!kept.contains("aa") || pandas.fold.contains("aa"), "{kept}");
    }

    #[test]
    fn files_in_other_formats_have_an_empty_listing() {
        for path in ["pyproject.toml", "setup.py", "Dockerfile", "package.json", "go.mod"] {
            assert_eq!(shown(path, "flask==1\n"), [""; 0], "{path}");
        }
    }

    #[test]
    fn a_listing_is_bounded_and_marked_as_truncated() {
        let text = (0..=MAX_LINES).map(|n| format!("p{n}==1\n")).collect::<Vec<_>>().concat();
        let lines = listing("requirements.txt", text.as_bytes());
        assert_eq!(lines.len(), MAX_LINES + 1);
        assert!(lines[MAX_LINES].is_truncation_mark() && !lines[0].is_truncation_mark());
        assert!(listing("requirements.txt", &vec![b'a'; MAX_FILE_BYTES + 1])[0].is_truncation_mark());
    }
}
