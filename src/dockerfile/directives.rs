//! Parser directives: `# syntax=…`, `# escape=…`, `# check=…`.
//!
//! They are at the top of the file, one per line, and end at the first line that is not a directive. Behaviour after
//! `BuildKit`'s `frontend/dockerfile/parser/directives.go`.

use super::error::SyntaxError;

/// The parser directives of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directives {
    /// The frontend image of `# syntax=`, as written.
    pub(crate) syntax: Option<String>,
    /// The escape character: `\` or the backtick.
    pub(crate) escape: char,
    /// The linter settings of `# check=`.
    pub(crate) check: Option<String>,
}

/// Names under which Docker publishes the frontend whose rules this module implements.
const KNOWN_FRONTENDS: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];

impl Directives {
    /// Returns `true` if this module implements the rules of `frontend` (an image reference).
    pub(crate) fn is_known_frontend(frontend: &str) -> bool {
        let name = frontend.split_whitespace().next().unwrap_or_default();
        let name = name.split_once('@').map_or(name, |(name, _)| name);
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        let name = name.split_once(':').map_or(name, |(name, _)| name);
        KNOWN_FRONTENDS.contains(&name)
    }

    /// Parses the directives of `text`.
    ///
    /// The engine parses them twice. The parser of `syntax` and `check` skips a shebang line before them but ends at a
    /// line that starts with a blank; the parser of `escape` does the opposite.
    pub(super) fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut directives = Self { syntax: None, escape: '\\', check: None };
        let mut seen = Vec::new();
        let shebang = text.starts_with("#!");
        let mut unindented = true;
        for (index, source) in text.lines().enumerate().skip(usize::from(shebang)) {
            let Some((name, value)) = parse_directive(source) else { break };
            unindented &= source.starts_with('#');
            let error = |message| Err(SyntaxError::at_line(index + 1, source, message));
            if seen.contains(&name) {
                if shebang {
                    break;
                }
                return error(format!("only one `{name}` directive can be used"));
            }
            match name.as_str() {
                "syntax" if unindented => directives.syntax = Some(value.to_owned()),
                "check" if unindented => directives.check = Some(value.to_owned()),
                "escape" if !shebang => match value {
                    "\\" => directives.escape = '\\',
                    "`" => directives.escape = '`',
                    _ => return error(format!("invalid escape character `{value}`: use `\\` or a backtick")),
                },
                _ => {}
            }
            seen.push(name);
        }
        Ok(directives)
    }
}

fn parse_directive(source: &str) -> Option<(String, &str)> {
    let comment = source.trim_start().strip_prefix('#')?.trim_start();
    let (name, value) = comment.split_once('=')?;
    let name = name.trim_end().to_lowercase();
    let value = value.trim();
    let known = matches!(name.as_str(), "syntax" | "escape" | "check");
    (known && !value.is_empty()).then_some((name, value))
}
