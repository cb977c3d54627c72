//! Dockerfiles that are cut in two: the unit tests rewrite them, and the engine tests compare the images.
//!
//! ```text
//! ==== the case's name
//! = newer                            Docker 20.10 does not know its syntax
//! = target NAME                      --target
//! = arg NAME=VALUE                   --build-arg; `\n` is a line break
//! = context NAME=VALUE               --build-context, from the project
//! = flag FLAG                        one more flag
//! = secret                           --secret, with the id `token`
//! = base INSTRUCTION                 an instruction of the base image that the text calls BASE
//! = crlf, = bom                      lines end in CR LF; the text starts with a byte order mark
//! = unbuilt                          no engine can build it without the network
//! = unkeyed                          a base or its triggers are not known exactly, so there may be no prefix
//! = refused MESSAGE                  no build continues at the cut, for this reason
//! FROM …
//! # cut                              a cut; there can be several
//! ```

use std::path::Path;

/// The image that each case is based on.
pub(crate) const BUSYBOX: &str = "larder-test/busybox:1";

/// A Dockerfile and the options of its build.
#[derive(Debug, Clone, Default)]
pub(crate) struct Case {
    /// The name of its file.
    pub(crate) topic: String,
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) newer: bool,
    pub(crate) target: Option<String>,
    pub(crate) arguments: Vec<(String, String)>,
    pub(crate) contexts: Vec<(String, String)>,
    pub(crate) flags: Vec<String>,
    pub(crate) secret: bool,
    /// The Dockerfile of the image that the text calls BASE.
    pub(crate) base: Option<String>,
    pub(crate) unbuilt: bool,
    pub(crate) unkeyed: bool,
    pub(crate) refused: Option<String>,
}

impl Case {
    /// Returns the lines of the cuts, from 1.
    pub(crate) fn cuts(&self) -> impl Iterator<Item = usize> {
        let lines = self.text.lines().zip(1..);
        lines.filter(|(line, _)| *line == "# cut").map(|(_, number)| number)
    }

    fn option(&mut self, option: &str) {
        let (name, value) = option.split_once(' ').unwrap_or((option, ""));
        let pair = || {
            let (name, value) = value.split_once('=').expect("NAME=VALUE");
            (name.to_owned(), value.replace("\\n", "\n"))
        };
        match name {
            "newer" => self.newer = true,
            "target" => self.target = Some(value.to_owned()),
            "arg" => self.arguments.push(pair()),
            "context" => self.contexts.push(pair()),
            "flag" => self.flags.push(value.to_owned()),
            "secret" => self.secret = true,
            "base" => {
                let base = self.base.get_or_insert_with(|| format!("FROM {BUSYBOX}\n"));
                base.push_str(value);
                base.push('\n');
            }
            "crlf" => self.text = self.text.replace('\n', "\r\n"),
            "bom" => self.text.insert(0, '\u{feff}'),
            "unbuilt" => self.unbuilt = true,
            "unkeyed" => self.unkeyed = true,
            "refused" => self.refused = Some(value.to_owned()),
            _ => panic!("{}: what is `{option}`?", self.name),
        }
    }
}

/// Reads all cases.
pub(crate) fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/prefixes");
    let mut files: Vec<_> =
        folder.read_dir().expect("a folder").map(|file| file.expect("a file").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let topic = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let content = std::fs::read_to_string(&file).expect("a text");
        for section in content.split("==== ").skip(1) {
            let (name, mut text) = section.split_once('\n').expect("a text");
            let mut options = Vec::new();
            while let Some((option, rest)) = text.strip_prefix("= ").and_then(|rest| rest.split_once('\n')) {
                options.push(option);
                text = rest;
            }
            let mut case = Case {
                topic: topic.clone(),
                name: name.to_owned(),
                text: text.to_owned(),
                ..Case::default()
            };
            for option in options {
                case.option(option);
            }
            cases.push(case);
        }
    }
    cases
}
