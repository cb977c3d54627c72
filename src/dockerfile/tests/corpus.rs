//! Parses and resolves a corpus of Dockerfiles like those of real projects, and compares the results with snapshots.
//!
//! Each file is resolved with default options. Comments in the file request more resolutions and define triggers:
//!
//! ```text
//! # larder: target=test platform=linux/arm64 arg:NAME=value context:name     resolve once more, with these options
//! # larder-trigger: base:tag COPY . /app                                     the base image has this ONBUILD trigger
//! ```
//!
//! Other base images have no triggers. After an intended change, run `cargo insta review` and compare the snapshots
//! with how BuildKit's Dockerfile frontend reads the file.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::dockerfile::{CacheMount, Options, Resolution, Source};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/dockerfiles")
}

/// Returns the name and the text of every file, sorted by name.
fn corpus() -> Vec<(String, String)> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut read: Vec<_> = files
        .map(|path| {
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap())
        })
        .collect();
    read.sort();
    read
}

/// Returns the default options, and those that the file's `# larder:` comments request, each with a heading.
fn resolutions(text: &str) -> Vec<(String, Options)> {
    let mut all = vec![(String::new(), Options::default())];
    for line in text.lines() {
        let Some(requested) = line.strip_prefix("# larder: ") else { continue };
        let mut options = Options::default();
        for word in requested.split_whitespace() {
            if let Some(target) = word.strip_prefix("target=") {
                options.target = Some(target.to_owned());
            } else if let Some(platform) = word.strip_prefix("platform=") {
                options.platform = Some(platform.to_owned());
            } else if let Some((name, value)) = word.strip_prefix("arg:").and_then(|arg| arg.split_once('='))
            {
                options.build_args.insert(name.to_owned(), value.to_owned());
            } else if let Some(name) = word.strip_prefix("context:") {
                options.named_contexts.insert(name.to_owned());
            } else {
                panic!("unknown option `{word}`");
            }
        }
        all.push((format!(" with {requested}"), options));
    }
    all
}

fn resolve(dockerfile: &Dockerfile, text: &str, mut options: Options) -> Resolution {
    for line in text.lines() {
        if let Some((base, trigger)) =
            line.strip_prefix("# larder-trigger: ").and_then(|rest| rest.split_once(' '))
        {
            options.triggers.entry(base.to_owned()).or_default().push(trigger.to_owned());
        }
    }
    // The names of the base images are known only after a first resolution.
    let first = dockerfile.resolve(&options).unwrap();
    let contexts = options.named_contexts.iter();
    for base in first.bases.iter().map(|base| &base.reference).chain(contexts) {
        options.triggers.entry(base.clone()).or_default();
    }
    dockerfile.resolve(&options).unwrap()
}

fn dump(text: &str) -> String {
    let dockerfile =
        Dockerfile::parse(text).unwrap_or_else(|error| panic!("{}", error.caret("Dockerfile", text)));
    let mut out = String::new();
    let directives = &dockerfile.directives;
    let directives = [
        directives.syntax.as_ref().map(|syntax| format!("syntax {syntax}")),
        (directives.escape != '\\').then(|| format!("escape {}", directives.escape)),
        directives.check.as_ref().map(|check| format!("check {check}")),
    ];
    for directive in directives.into_iter().flatten() {
        let _ = writeln!(out, "{directive}");
    }
    instructions(&mut out, &dockerfile.global_args);
    for stage in &dockerfile.stages {
        let name = stage.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let _ =
            writeln!(out, "stage {}{name}, lines {}-{}", stage.index, stage.lines.start(), stage.lines.end());
        instructions(&mut out, &stage.instructions);
    }
    for (requested, options) in resolutions(text) {
        let resolution = resolve(&dockerfile, text, options);
        let _ = writeln!(out, "\nresolved{requested}");
        resolved(&mut out, &dockerfile.global_args, &resolution);
    }
    out
}

fn instructions(out: &mut String, instructions: &[Instruction]) {
    for instruction in instructions {
        let (first, last) = (instruction.lines.start(), instruction.lines.end());
        let lines = if first == last { first.to_string() } else { format!("{first}-{last}") };
        let _ = writeln!(out, "  {lines:<6} {} {}", instruction.keyword, detail(&instruction.kind));
    }
}

fn detail(kind: &InstructionKind) -> String {
    match kind {
        InstructionKind::From(from) => {
            let platform = from.platform.as_ref().map(|platform| format!(" on {platform}"));
            let name = from.name.as_ref().map(|name| format!(" as {name}"));
            format!("{}{}{}", from.base, platform.unwrap_or_default(), name.unwrap_or_default())
        }
        InstructionKind::Arg(args) => {
            let args = args.iter().map(|(name, value)| match value {
                Some(value) => format!("{name} = {value}"),
                None => name.clone(),
            });
            args.collect::<Vec<_>>().join(" | ")
        }
        InstructionKind::Env(pairs) => {
            let pairs = pairs.iter().map(|(name, value)| format!("{name} = {value}"));
            pairs.collect::<Vec<_>>().join(" | ")
        }
        InstructionKind::Run(run) => {
            let mut shown = String::new();
            for mount in &run.mounts {
                let _ = write!(shown, "{{{}}} ", options(mount));
            }
            let _ = match &run.command {
                RunCommand::Shell(command) => write!(shown, "{command}"),
                RunCommand::Exec(argv) => write!(shown, "{argv:?}"),
            };
            for (name, value) in [("network", &run.network), ("security", &run.security)] {
                if let Some(value) = value {
                    let _ = write!(shown, "\n         {name} {value}");
                }
            }
            shown + &documents(&run.heredocs)
        }
        InstructionKind::Copy(transfer) | InstructionKind::Add(transfer) => {
            format!("{}{}", files(transfer), documents(&transfer.heredocs))
        }
        InstructionKind::Onbuild(onbuild) => {
            let inner = &onbuild.instruction;
            format!("{} {}", inner.keyword, detail(&inner.kind))
        }
        InstructionKind::Workdir(text) | InstructionKind::User(text) | InstructionKind::Other(text) => {
            text.clone()
        }
        InstructionKind::Shell(argv) => format!("{argv:?}"),
    }
}

fn options(mount: &Mount) -> String {
    let options = mount.options.iter().map(|(key, value)| match value {
        Some(value) => format!("{key}={value}"),
        None => key.clone(),
    });
    options.collect::<Vec<_>>().join(" ")
}

fn files(transfer: &CopyInstruction) -> String {
    let flags = transfer.flags.iter().map(|flag| match &flag.value {
        Some(value) => format!("--{}={value} ", flag.name),
        None => format!("--{} ", flag.name),
    });
    format!("{}{:?} -> {:?}", flags.collect::<String>(), transfer.sources, transfer.destination)
}

fn documents(heredocs: &[Heredoc]) -> String {
    let mut shown = String::new();
    for Heredoc { name, expand, strip_tabs, content } in heredocs {
        let expand = if *expand { " expanded" } else { "" };
        let strip = if *strip_tabs { " stripped" } else { "" };
        let _ = write!(shown, "\n         <<{name:?}{expand}{strip} {content:?}");
    }
    shown
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum BaseUse {
    From,
    Copy,
    Mount,
}

/// Returns the ways in which the reached stages use the image with this index.
fn base_uses(resolution: &Resolution, index: usize) -> BTreeSet<BaseUse> {
    let image = Source::Image(index);
    let mut uses = BTreeSet::new();
    for stage in &resolution.stages {
        uses.extend((stage.base == image).then_some(BaseUse::From));
        for resolved in stage.instructions.iter().filter(|resolved| resolved.sources.contains(&image)) {
            let is_run = matches!(resolved.instruction.kind, InstructionKind::Run(_));
            uses.insert(if is_run { BaseUse::Mount } else { BaseUse::Copy });
        }
    }
    uses
}

fn resolved(out: &mut String, global_args: &[Instruction], resolution: &Resolution) {
    let listed = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
    let mut line = |label: &str, text: String| {
        if !text.is_empty() {
            let _ = writeln!(out, "  {label}: {text}");
        }
    };
    let source = |source: &Source| match source {
        Source::Stage(index) => format!("stage {index}"),
        Source::Image(index) => format!("image {}", resolution.bases[*index].reference),
        Source::Context(name) => format!("context {name}"),
        Source::Scratch => "scratch".to_owned(),
    };
    line("platform", resolution.platform.to_string());
    let target = format!("stage {}, {} steps", resolution.target, resolution.step_count());
    line("target", target);
    for stage in &resolution.stages {
        let sources = stage.instructions.iter().flat_map(|resolved| {
            let line = resolved.instruction.lines.start();
            resolved.sources.iter().map(move |from| format!("{} in line {line}", source(from)))
        });
        let sources = listed(&mut sources.collect::<Vec<_>>().into_iter());
        let sources = if sources.is_empty() { sources } else { format!("; reads from {sources}") };
        let triggered = stage.instructions.iter().filter(|resolved| resolved.is_trigger);
        let triggered = listed(&mut triggered.map(|resolved| resolved.instruction.text.clone()));
        let triggered = if triggered.is_empty() { triggered } else { format!("; triggers {triggered}") };
        line(&format!("stage {}", stage.index), format!("on {}{sources}{triggered}", source(&stage.base)));
    }
    for (index, base) in resolution.bases.iter().enumerate() {
        line(
            "base",
            format!("{} for {}, as {:?}", base.reference, base.platform, base_uses(resolution, index)),
        );
    }
    for stage in &resolution.stages {
        for resolved in &stage.instructions {
            let from = resolved.instruction.lines.start();
            let seen =
                resolved.context.iter().map(|seen| format!("{:?} -> {:?}", seen.path, seen.destination));
            line(&format!("context in line {from}"), listed(&mut seen.collect::<Vec<_>>().into_iter()));
        }
    }
    let all = if resolution.context.is_everything() { "everything" } else { "" };
    line("context", if resolution.context.is_empty() { "nothing" } else { all }.to_owned());
    for CacheMount { stage, line: number, options, from, is_certain: certain, written: _ } in
        &resolution.cache_mounts
    {
        let rest =
            options.iter().filter(|(key, _)| !matches!(key.as_str(), "type" | "id" | "target" | "from"));
        let rest = rest.map(|(key, value)| format!(" {key}={value}")).collect::<Vec<_>>().concat();
        let from = from.as_ref().map(|from| format!(" from {}", source(from))).unwrap_or_default();
        let target = options.get("target").map_or("", String::as_str);
        let id = options.get("id").filter(|id| !id.is_empty());
        let identity = id.map_or_else(|| format!("target {target}"), |id| format!("id {id} at {target}"));
        let guess = if *certain { "" } else { ", uncertain" };
        line(
            &format!("cache mount in line {number} of stage {stage}"),
            format!("{identity}{rest}{from}{guess}"),
        );
    }
    line("named contexts", listed(&mut resolution.named_contexts.iter().cloned()));
    line("secrets", listed(&mut resolution.secrets.iter().cloned()));
    line("ssh", listed(&mut resolution.ssh.iter().cloned()));
    line("any secret", if resolution.may_use_any_secret { "yes" } else { "" }.to_owned());
    let own =
        resolution.stages.iter().flat_map(|stage| &stage.instructions).map(|resolved| &resolved.instruction);
    let declared = global_args.iter().chain(own).filter_map(|instruction| match &instruction.kind {
        InstructionKind::Arg(args) => Some(args.iter().map(|(name, _)| name.clone())),
        _ => None,
    });
    line("arguments", listed(&mut declared.flatten().collect::<BTreeSet<_>>().into_iter()));
    line("unknown triggers", listed(&mut resolution.unknown_triggers.iter().cloned()));
    line("remote", if resolution.has_remote_source { "yes" } else { "" }.to_owned());
}

#[test]
fn every_dockerfile_is_resolved_as_in_its_snapshot() {
    let corpus = corpus();
    assert!(corpus.len() >= 64, "the corpus has shrunk to {} files", corpus.len());
    insta::with_settings!({
        snapshot_path => "../../../tests/corpus/snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        for (name, text) in &corpus {
            insta::assert_snapshot!(name.as_str(), dump(text));
        }
    });
}

#[test]
fn every_snapshot_has_a_dockerfile() {
    let names: Vec<String> = corpus().into_iter().map(|(name, _)| name).collect();
    for entry in std::fs::read_dir(folder().with_file_name("snapshots")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.split('.').next().unwrap();
        assert!(names.iter().any(|known| known == name), "the snapshot {name} has no Dockerfile");
    }
}

/// The files that `parse-dockerfile` 0.1.9 parses differently from BuildKit, and why.
const KNOWN_DIFFERENCES: &[(&str, &str)] = &[
    ("byte-order-mark", "its spans do not count the byte order mark"),
    ("continuations", "it treats a doubled escape character at the end of a line as a continuation"),
    ("heredocs-many", "it supports only one here-document in a RUN, at its start"),
    ("onbuild-stages", "it parses the instruction of an ONBUILD, which BuildKit does only in the next build"),
];

/// Returns the first line and the keyword of each instruction, as `parse-dockerfile` parses the file.
fn parse_with_other_parser(text: &str) -> Result<Vec<String>, String> {
    use parse_dockerfile::Instruction as Other;
    let other = parse_dockerfile::parse(text).map_err(|error| error.to_string())?;
    let shown = other.instructions.iter().map(|instruction| {
        let (keyword, span) = match instruction {
            Other::Add(it) => ("ADD", it.add.span.clone()),
            Other::Arg(it) => ("ARG", it.arg.span.clone()),
            Other::Cmd(it) => ("CMD", it.cmd.span.clone()),
            Other::Copy(it) => ("COPY", it.copy.span.clone()),
            Other::Entrypoint(it) => ("ENTRYPOINT", it.entrypoint.span.clone()),
            Other::Env(it) => ("ENV", it.env.span.clone()),
            Other::Expose(it) => ("EXPOSE", it.expose.span.clone()),
            Other::From(it) => ("FROM", it.from.span.clone()),
            Other::Healthcheck(it) => ("HEALTHCHECK", it.healthcheck.span.clone()),
            Other::Label(it) => ("LABEL", it.label.span.clone()),
            Other::Maintainer(it) => ("MAINTAINER", it.maintainer.span.clone()),
            Other::Onbuild(it) => ("ONBUILD", it.onbuild.span.clone()),
            Other::Run(it) => ("RUN", it.run.span.clone()),
            Other::Shell(it) => ("SHELL", it.shell.span.clone()),
            Other::Stopsignal(it) => ("STOPSIGNAL", it.stopsignal.span.clone()),
            Other::User(it) => ("USER", it.user.span.clone()),
            Other::Volume(it) => ("VOLUME", it.volume.span.clone()),
            Other::Workdir(it) => ("WORKDIR", it.workdir.span.clone()),
            _ => return "?".to_owned(),
        };
        format!("{} {keyword}", text[..span.start].matches('\n').count() + 1)
    });
    Ok(shown.collect())
}

#[test]
fn a_second_parser_agrees_except_for_known_differences() {
    let corpus = corpus();
    let mut differing = Vec::new();
    for (name, text) in &corpus {
        let parsed = Dockerfile::parse(text).unwrap();
        let all = parsed.global_args.iter().chain(parsed.stages.iter().flat_map(|stage| &stage.instructions));
        let shown: Vec<_> =
            all.map(|instruction| format!("{} {}", instruction.lines.start(), instruction.keyword)).collect();
        let other = parse_with_other_parser(text);
        if other.as_ref() != Ok(&shown) {
            if !KNOWN_DIFFERENCES.iter().any(|(known, _)| known == name) {
                println!("{name}: {other:?}\n{shown:?}");
            }
            differing.push(name.as_str());
        }
    }
    let known: Vec<_> = KNOWN_DIFFERENCES.iter().map(|(name, _)| *name).collect();
    assert_eq!(differing, known);
}
