//! Determines what the instructions after a prefix do: the layers that they add and the settings that they change. Does
//! no input or output.

use std::collections::{BTreeMap, BTreeSet};

use super::refusal::Refusal;
use super::settings::GraftedConfig;
use crate::dockerfile::{
    ConfigInstruction, CopyInstruction, Cut, Dockerfile, Instruction, InstructionKind, PLATFORM_ARGS,
    PrefixObstacle, Resolution, ResolvedInstruction, Scope, clean_path, is_remote, resolve_path,
};
use jiff::Timestamp;

/// The maximum number of layers of a grafted image. Images with more than 127 layers cannot be run.
const MAX_LAYERS: usize = 120;

const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The options of a build that the last instructions depend on.
#[derive(Debug, Clone)]
pub(crate) struct TailOptions<'a> {
    pub(crate) build_args: &'a BTreeMap<String, String>,
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) created: Timestamp,
}

pub(crate) struct Tail {
    pub(crate) config: GraftedConfig,
    /// The layers, lowest first.
    pub(crate) layers: Vec<PlannedLayer>,
    /// The config after each layer, for a prefix that ends there.
    pub(crate) configs: Vec<GraftedConfig>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PlannedLayer {
    Copy(PlannedCopy),
    Workdir {
        line: usize,
        /// Without a leading slash.
        path: String,
        /// `USER[:GROUP]`.
        user: Option<String>,
    },
}

/// A COPY or ADD of files of the context, with expanded variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedCopy {
    pub(crate) line: usize,
    pub(crate) is_add: bool,
    pub(crate) is_linked: bool,
    /// Paths in the context, which may be patterns; cleaned and without a leading slash.
    pub(crate) sources: Vec<String>,
    pub(crate) contents: Vec<(String, String)>,
    /// An absolute path. A slash or `/.` at its end means that it is a directory.
    pub(crate) destination: String,
    /// Patterns relative to each source.
    pub(crate) exclude: Vec<String>,
    /// `USER[:GROUP]`.
    pub(crate) owner: Option<String>,
    pub(crate) mode: Option<u32>,
}

impl PlannedLayer {
    pub(crate) fn line(&self) -> usize {
        match self {
            Self::Copy(copy) => copy.line,
            Self::Workdir { line, .. } => *line,
        }
    }
}

impl Tail {
    /// Computes the effects of the target's instructions after `cut` on the image with the config `prefix`.
    ///
    /// `resolution` must have been computed with the initial settings of the base image.
    ///
    /// Fails if an instruction needs a builder, or if a variable is unknown.
    pub(crate) fn of(
        dockerfile: &Dockerfile,
        resolution: &Resolution,
        cut: Cut,
        prefix: &[u8],
        options: &TailOptions<'_>,
    ) -> Result<Self, Refusal> {
        PrefixObstacle::check(dockerfile, resolution, cut.stage)?;
        if !options.build_args.contains_key(SOURCE_DATE_EPOCH) && dockerfile.declares_arg(SOURCE_DATE_EPOCH) {
            return Err(Refusal::SourceDateEpoch);
        }
        let stage = resolution.stages.iter().find(|stage| stage.index == cut.stage);
        let stage = stage.ok_or(Refusal::UnknownBase)?;
        let after: Vec<usize> = (0..stage.instructions.len())
            .filter(|index| !stage.instructions[*index].is_trigger)
            .skip(cut.instructions)
            .collect();
        let first = after.first().copied().unwrap_or(stage.instructions.len());
        let has_command = stage.instructions[..first].iter().any(|at| at.instruction.keyword == "CMD");
        let config =
            GraftedConfig::parse(prefix, has_command, options.created).ok_or(Refusal::UnreadableConfig)?;
        let before = first.checked_sub(1).map(|before| &stage.instructions[before].scope);
        if before.is_some_and(|scope| !config.has_environment(scope)) {
            return Err(Refusal::UnknownBase);
        }
        let globals = dockerfile.global_args.iter().flat_map(|at| match &at.kind {
            InstructionKind::Arg(args) => args.as_slice(),
            _ => &[],
        });
        let mut tail = TailBuilder {
            escape: dockerfile.directives.escape,
            globals: globals.filter(|(_, value)| value.is_some()).map(|(name, _)| name.as_str()).collect(),
            options,
            config,
            layers: Vec::new(),
            configs: Vec::new(),
        };
        for index in after {
            let before = index.checked_sub(1).map(|before| &stage.instructions[before]);
            let scope = before.map(|before| before.scope.clone()).unwrap_or_default();
            let workdir = before.map_or("", |before| before.workdir.as_str());
            tail.add(&stage.instructions[index], &scope, workdir)?;
        }
        let TailBuilder { mut config, layers, configs, .. } = tail;
        let triggers = stage.instructions.iter().filter(|at| !at.is_trigger).filter_map(|at| {
            match &at.instruction.kind {
                InstructionKind::Onbuild(trigger) => Some(trigger.expression.clone()),
                _ => None,
            }
        });
        config.triggers(triggers.collect());
        for (name, value) in options.labels {
            config.label(name.clone(), value.clone());
        }
        if config.layer_count() > MAX_LAYERS {
            return Err(Refusal::TooManyLayers(MAX_LAYERS));
        }
        Ok(Self { config, layers, configs })
    }

    /// Returns the number of COPY and ADD instructions.
    pub(crate) fn copy_count(&self) -> usize {
        self.layers.iter().filter(|layer| matches!(layer, PlannedLayer::Copy(_))).count()
    }
}

struct TailBuilder<'a> {
    escape: char,
    /// The names of global arguments with a value.
    globals: BTreeSet<&'a str>,
    options: &'a TailOptions<'a>,
    config: GraftedConfig,
    layers: Vec<PlannedLayer>,
    configs: Vec<GraftedConfig>,
}

impl TailBuilder<'_> {
    fn add(&mut self, at: &ResolvedInstruction, before: &Scope, workdir: &str) -> Result<(), Refusal> {
        let instruction = &at.instruction;
        let line = *instruction.lines.start();
        let expanding = WordExpander { escape: self.escape, scope: before, line };
        match &instruction.kind {
            InstructionKind::Onbuild(_) => {}
            InstructionKind::From(_) | InstructionKind::Run(_) => {
                return Err(Refusal::at(line, format!("{} needs a builder", instruction.keyword)));
            }
            InstructionKind::Arg(args) => self.arg(args, at, &expanding)?,
            InstructionKind::Env(pairs) => self.config.env(&expanding.pairs(pairs)?),
            InstructionKind::User(user) => {
                self.config.set_text("USER", "User", expanding.word(user)?, false);
            }
            InstructionKind::Shell(words) => self.config.shell(words),
            InstructionKind::Workdir(_) => {
                let path = at.workdir.clone();
                let user = self.config.user().map(str::to_owned);
                let has_layer = !path.is_empty();
                self.config.set_text("WORKDIR", "WorkingDir", format!("/{path}"), has_layer);
                if has_layer {
                    self.push(PlannedLayer::Workdir { line, path, user });
                }
            }
            InstructionKind::Copy(transfer) | InstructionKind::Add(transfer) => {
                if !at.sources.is_empty() {
                    return Err(Refusal::at(line, "it copies from something other than the build context"));
                }
                let is_add = matches!(instruction.kind, InstructionKind::Add(_));
                let copy = self.copy(transfer, is_add, &expanding, workdir)?;
                self.push(PlannedLayer::Copy(copy));
            }
            InstructionKind::Other(_) => self.metadata(instruction, &expanding)?,
        }
        Ok(())
    }

    fn push(&mut self, layer: PlannedLayer) {
        self.layers.push(layer);
        self.configs.push(self.config.clone());
    }

    fn arg(
        &mut self,
        args: &[(String, Option<String>)],
        at: &ResolvedInstruction,
        expanding: &WordExpander<'_>,
    ) -> Result<(), Refusal> {
        let mut words = Vec::new();
        for (name, default) in args {
            if name.contains('$') {
                return Err(Refusal::at(expanding.line, "the name of an ARG contains a variable"));
            }
            let is_given = self.options.build_args.contains_key(name);
            if let (false, Some(default)) = (is_given, default) {
                // Fails if the value depends on an unknown variable.
                expanding.word(default)?;
                at.scope.expand_certain(default, self.escape).ok_or_else(|| expanding.unknown(default))?;
            }
            let is_global = self.globals.contains(name.as_str()) || PLATFORM_ARGS.contains(&name.as_str());
            let value = (is_given || default.is_some() || is_global).then(|| at.scope.get(name)).flatten();
            words.push(value.map_or_else(|| name.clone(), |value| format!("{name}={value}")));
        }
        self.config.add_history_entry(&format!("ARG {}", words.join(" ")), false);
        Ok(())
    }

    fn metadata(&mut self, instruction: &Instruction, expanding: &WordExpander<'_>) -> Result<(), Refusal> {
        let line = expanding.line;
        let metadata = ConfigInstruction::of(instruction, self.escape);
        let metadata =
            metadata.ok_or_else(|| Refusal::at(line, format!("unsupported {} form", instruction.keyword)))?;
        match metadata {
            ConfigInstruction::Label(pairs) => self.config.labels(expanding.pairs(&pairs)?),
            ConfigInstruction::Command(words) => self.config.command(words),
            ConfigInstruction::Entrypoint(words) => self.config.entrypoint(words),
            ConfigInstruction::Expose(words) => {
                let mut ports = Vec::new();
                for word in words {
                    for port in expanding.word(&word)?.split_whitespace() {
                        ports.extend(parse_ports(port).ok_or_else(|| {
                            Refusal::at(line, format!("the port `{port}` is not in a supported form"))
                        })?);
                    }
                }
                self.config.add_names("EXPOSE", "ExposedPorts", ports);
            }
            ConfigInstruction::Volume(words) => {
                let volumes = words.iter().map(|word| expanding.word(word)).collect::<Result<Vec<_>, _>>()?;
                if volumes.iter().any(String::is_empty) {
                    return Err(Refusal::at(line, "a VOLUME is empty"));
                }
                self.config.add_names("VOLUME", "Volumes", volumes);
            }
            ConfigInstruction::StopSignal(signal) => {
                let signal = expanding.word(&signal)?;
                if !is_signal(&signal) {
                    return Err(Refusal::at(line, format!("the signal `{signal}` is unknown")));
                }
                self.config.set_text("STOPSIGNAL", "StopSignal", signal, false);
            }
            ConfigInstruction::Healthcheck {
                test,
                interval,
                timeout,
                start_period,
                start_interval,
                retries,
            } => {
                let times = [interval, timeout, start_period, start_interval];
                self.config.healthcheck(&test, times, retries);
            }
            ConfigInstruction::Maintainer(author) => self.config.maintainer(author),
        }
        Ok(())
    }

    fn copy(
        &mut self,
        transfer: &CopyInstruction,
        is_add: bool,
        expanding: &WordExpander<'_>,
        workdir: &str,
    ) -> Result<PlannedCopy, Refusal> {
        let line = expanding.line;
        let refuse = |what: &str| Err(Refusal::at(line, what));
        let (mut owner, mut mode, mut is_linked, mut exclude) = (None, None, false, Vec::new());
        for flag in &transfer.flags {
            let value = flag.value.as_deref();
            let is_on = !value.is_some_and(|value| value.eq_ignore_ascii_case("false"));
            match flag.name.as_str() {
                "chown" => owner = Some(expanding.word(value.unwrap_or_default())?),
                "chmod" => mode = Some(expanding.word(value.unwrap_or_default())?),
                "link" => is_linked = is_on,
                "exclude" => exclude.extend(value.map(str::to_owned)),
                "parents" if !is_on => {}
                name => return refuse(&format!("--{name} needs a builder")),
            }
        }
        let (owner, mode) = (owner.filter(|owner| !owner.is_empty()), mode.filter(|mode| !mode.is_empty()));
        let bits = mode.as_ref().map(|mode| {
            u32::from_str_radix(mode, 8).ok().filter(|bits| *bits <= 0o7777 && !mode.starts_with('+'))
        });
        if bits == Some(None) {
            return refuse("--chmod is not an octal number");
        }
        let sources = transfer.sources.iter().map(|source| expanding.word(source));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        if is_add && sources.iter().any(|source| is_remote(source)) {
            return refuse("ADD of a remote address needs a builder");
        }
        let mut contents = Vec::new();
        for heredoc in &transfer.heredocs {
            let mut text = heredoc.content.clone();
            if heredoc.strip_tabs {
                text = text.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect();
            }
            if heredoc.expand {
                text = expanding
                    .scope
                    .expand_certain_content(&text)
                    .ok_or_else(|| expanding.unknown(&heredoc.name))?;
            }
            if heredoc.name.contains('/') || matches!(heredoc.name.as_str(), "." | "..") {
                return refuse("the name of a here-document is not a file name");
            }
            contents.push((heredoc.name.clone(), text));
        }
        let written = expanding.word(&transfer.destination)?;
        let mut text = if is_add { "ADD" } else { "COPY" }.to_owned();
        let options = [("chown", &owner), ("chmod", &mode)];
        let options =
            options.iter().filter_map(|(name, value)| Some(format!("--{name}={}", value.as_ref()?)));
        let heredocs = contents.iter().map(|(name, _)| format!("<<{name}"));
        for word in options.chain(sources.iter().cloned()).chain(heredocs).chain([written.clone()]) {
            text.extend([" ", &word]);
        }
        self.config.add_history_entry(&format!("{text} # buildkit"), true);
        Ok(PlannedCopy {
            line,
            is_add,
            // `BuildKit` ignores --link for a copy with a mode.
            is_linked: is_linked && mode.is_none(),
            sources: sources.iter().map(|source| clean_path(source)).collect(),
            contents,
            destination: destination(workdir, &written),
            exclude,
            owner,
            mode: bits.flatten(),
        })
    }
}

/// The expansion of variables in the words of an instruction.
struct WordExpander<'a> {
    escape: char,
    /// The variables before the instruction.
    scope: &'a Scope,
    line: usize,
}

impl WordExpander<'_> {
    fn unknown(&self, word: &str) -> Refusal {
        Refusal::at(self.line, format!("the variables of `{word}` cannot be expanded"))
    }

    fn word(&self, word: &str) -> Result<String, Refusal> {
        self.scope.expand_certain(word, self.escape).ok_or_else(|| self.unknown(word))
    }

    fn pairs(&self, pairs: &[(String, String)]) -> Result<Vec<(String, String)>, Refusal> {
        pairs.iter().map(|(name, value)| Ok((self.word(name)?, self.word(value)?))).collect()
    }
}

/// Returns the absolute destination of a copy: cleaned, and with a slash or `/.` at its end if it must be a directory.
fn destination(workdir: &str, written: &str) -> String {
    let path = resolve_path(workdir, written);
    let end = match written {
        _ if path.is_empty() => "",
        _ if written.ends_with("/.") => "/.",
        "" | "." => "/",
        _ if written.ends_with('/') => "/",
        _ => "",
    };
    format!("/{path}{end}")
}

/// Parses a word of EXPOSE, `PORT[-PORT][/PROTOCOL]`, into single ports. Returns `None` for other forms.
fn parse_ports(word: &str) -> Option<Vec<String>> {
    let (ports, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_ascii_lowercase() };
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return None;
    }
    let number = |text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| is_plain)
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last) = number(first).zip(number(last))?;
    (first <= last).then(|| (first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// Returns `true` if the text is the name or number of a Linux signal. With any other text, a build fails.
fn is_signal(text: &str) -> bool {
    const NAMES: [&str; 33] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
        "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
        "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU",
    ];
    if let Ok(number) = text.parse::<u32>() {
        return (1..=64).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    NAMES.contains(&upper.strip_prefix("SIG").unwrap_or(&upper))
}
