//! Typed forms of the instructions that only change the config of an image. Pure.

use super::healthcheck::parse_nanoseconds;
use super::words;
use super::{Instruction, InstructionKind};

/// The typed form of an [`InstructionKind::Other`], before any variable is expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConfigInstruction {
    Label(Vec<(String, String)>),
    /// `Ok` with the words of the JSON form, or `Err` with the text of the shell form; as for `Entrypoint`.
    Command(Result<Vec<String>, String>),
    Entrypoint(Result<Vec<String>, String>),
    /// The ports, sorted as in the frontend.
    Expose(Vec<String>),
    Volume(Vec<String>),
    StopSignal(String),
    /// A health check. Times are in nanoseconds; 0 is the default.
    Healthcheck {
        test: Vec<String>,
        interval: i64,
        timeout: i64,
        start_period: i64,
        start_interval: i64,
        retries: i64,
    },
    Maintainer(String),
}

impl ConfigInstruction {
    /// Returns the typed form, or `None` if the instruction is unknown or invalid.
    pub(crate) fn of(instruction: &Instruction, escape: char) -> Option<Self> {
        let InstructionKind::Other(arguments) = &instruction.kind else { return None };
        let command = || match words::parse_json_array(arguments) {
            Some(words) => words.ok().map(Ok),
            None => (!arguments.is_empty()).then(|| Err(arguments.clone())),
        };
        Some(match instruction.keyword.as_str() {
            "LABEL" => Self::Label(words::parse_pairs(arguments, escape, "LABEL").ok()?),
            "CMD" => Self::Command(command()?),
            "ENTRYPOINT" => Self::Entrypoint(command()?),
            "EXPOSE" => {
                let mut ports = words::split_at_blanks(arguments);
                ports.sort_unstable();
                Self::Expose(ports)
            }
            "VOLUME" => {
                let json = words::parse_json_array(arguments).transpose().ok()?;
                let words = json.unwrap_or_else(|| words::split_at_blanks(arguments));
                Self::Volume(words.into_iter().map(|word| word.trim().to_owned()).collect())
            }
            "STOPSIGNAL" => Self::StopSignal(arguments.clone()),
            "HEALTHCHECK" => healthcheck(instruction, arguments)?,
            "MAINTAINER" => Self::Maintainer(arguments.clone()),
            _ => return None,
        })
    }
}

fn healthcheck(instruction: &Instruction, arguments: &str) -> Option<ConfigInstruction> {
    let (kind, test) = arguments.split_once(char::is_whitespace).unwrap_or((arguments, ""));
    let flag = |name: &str| {
        let mut fields = instruction.canonical.iter().take_while(|field| *field != "--");
        fields.find(|field| field.strip_prefix("--") == Some(name))?;
        fields.next().map(String::as_str).filter(|value| !value.is_empty())
    };
    let is_none = kind.eq_ignore_ascii_case("none");
    let time = |name: &str| flag(name).filter(|_| !is_none).map_or(Some(0), parse_nanoseconds);
    let retries = flag("retries").filter(|_| !is_none).map_or(Some(0), |retries| retries.parse().ok())?;
    let test = match words::parse_json_array(test.trim_start()) {
        _ if is_none => vec!["NONE".to_owned()],
        Some(words) => std::iter::once("CMD".to_owned()).chain(words.ok()?).collect(),
        None => vec!["CMD-SHELL".to_owned(), test.trim_start().to_owned()],
    };
    Some(ConfigInstruction::Healthcheck {
        test,
        interval: time("interval")?,
        timeout: time("timeout")?,
        start_period: time("start-period")?,
        start_interval: time("start-interval")?,
        retries,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Dockerfile;
    use super::*;

    fn metadata(line: &str) -> Option<ConfigInstruction> {
        let dockerfile = Dockerfile::parse(&format!("FROM a\n{line}\n")).unwrap();
        ConfigInstruction::of(&dockerfile.stages[0].instructions[1], '\\')
    }

    #[test]
    fn metadata_instructions_are_parsed_into_their_parts() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let check = |test: &[&str], interval, retries| ConfigInstruction::Healthcheck {
            test: words(test),
            interval,
            timeout: 0,
            start_period: 0,
            start_interval: 0,
            retries,
        };
        for (line, expected) in [
            (
                "LABEL a=b \"c d\"=\"e f\"",
                ConfigInstruction::Label(vec![pair("a", "b"), pair("\"c d\"", "\"e f\"")]),
            ),
            ("LABEL a b c", ConfigInstruction::Label(vec![pair("a", "b c")])),
            ("CMD a  b", ConfigInstruction::Command(Err("a  b".to_owned()))),
            ("CMD [\"a\", \"b c\"]", ConfigInstruction::Command(Ok(words(&["a", "b c"])))),
            ("ENTRYPOINT []", ConfigInstruction::Entrypoint(Ok(Vec::new()))),
            ("EXPOSE 90/udp 80", ConfigInstruction::Expose(words(&["80", "90/udp"]))),
            ("VOLUME /a $B", ConfigInstruction::Volume(words(&["/a", "$B"]))),
            ("VOLUME [\"/a b\"]", ConfigInstruction::Volume(words(&["/a b"]))),
            ("STOPSIGNAL $S", ConfigInstruction::StopSignal("$S".to_owned())),
            ("MAINTAINER a <b@c>", ConfigInstruction::Maintainer("a <b@c>".to_owned())),
            ("HEALTHCHECK none", check(&["NONE"], 0, 0)),
            (
                "HEALTHCHECK --interval=90s --retries=3 CMD curl  x || exit 1",
                check(&["CMD-SHELL", "curl  x || exit 1"], 90_000_000_000, 3),
            ),
            ("HEALTHCHECK --interval=0 cmd [\"a\", \"b\"]", check(&["CMD", "a", "b"], 0, 0)),
        ] {
            assert_eq!(metadata(line), Some(expected), "{line}");
        }
        for line in ["CMD", "COPY a b", "ENV a=b"] {
            assert_eq!(metadata(line), None, "{line}");
        }
    }
}
