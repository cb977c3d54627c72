//! Explains failed builds: extracts the cause from BuildKit's message and adds hints.

use std::path::Path;

use crate::buildkit::BuildFailure;
use crate::dockerfile::nearest_name;
use crate::error_chain::one_line;

#[derive(Debug, Default)]
pub(crate) struct FailureContext<'a> {
    /// The name of the vertex that failed: `[builder 2/3] COPY app /app`.
    pub(crate) vertex: Option<&'a str>,
    pub(crate) output: String,
    pub(crate) context: Option<&'a Path>,
    pub(crate) stages: Vec<&'a str>,
    pub(crate) input_error: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct FailedBuild {
    pub(crate) cause: String,
    pub(crate) hints: Vec<String>,
}

impl FailedBuild {
    fn new(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), hints: Vec::new() }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(crate) fn of(failure: &BuildFailure) -> Self {
        Self::explained(failure, &FailureContext::default())
    }

    pub(crate) fn explained(failure: &BuildFailure, context: &FailureContext<'_>) -> Self {
        let message = one_line(plain_message(&failure.message));
        let explanations =
            [missing_file, unavailable_image, bad_name, missing_credential, full_disk, exit_code];
        let explained = explanations.iter().find_map(|explain| explain(&message, context));
        let finding = context.input_error.as_ref().filter(|finding| !message.contains(*finding));
        let mut failed = explained.unwrap_or_else(|| Self::new(message.clone()));
        failed.hints.extend(finding.cloned().or_else(|| newer_frontend(&message)));
        failed
    }
}

fn missing_file(message: &str, context: &FailureContext<'_>) -> Option<FailedBuild> {
    if !message.contains("not found") || !(message.contains("cache key") || message.contains("checksum")) {
        return None;
    }
    let path = message.split('"').nth(1)?.trim_start_matches('/');
    let instruction = instruction(context.vertex.unwrap_or_default());
    let from = instruction.split_whitespace().find_map(|word| word.strip_prefix("--from="));
    let place = from.unwrap_or("the build context");
    let cause = if instruction.is_empty() {
        format!("there is no {path} in {place}")
    } else {
        format!("{instruction}: there is no {path} in {place}")
    };
    let hint = match (from, context.context) {
        (Some(from), _) => format!("check the path, and that the file system of `{from}` contains it"),
        (None, Some(context)) if context.join(path).symlink_metadata().is_ok() => {
            format!("{} exists, but .dockerignore excludes it", context.join(path).display())
        }
        (None, Some(context)) => {
            let context = std::path::absolute(context).unwrap_or_else(|_| context.to_owned());
            format!("sources are read from {}", context.display())
        }
        (None, None) => {
            "sources are read from the build context, and .dockerignore may exclude them".to_owned()
        }
    };
    Some(FailedBuild::new(cause).hint(hint))
}

fn unavailable_image(message: &str, context: &FailureContext<'_>) -> Option<FailedBuild> {
    let vertex = context.vertex.unwrap_or_default();
    let image = vertex
        .strip_prefix("[internal] load metadata for ")
        .or_else(|| instruction(vertex).strip_prefix("FROM "))
        .map(|image| image.split_whitespace().next().unwrap_or_default())?;
    let reason = ["failed to resolve source metadata for ", "failed to load cache key: "]
        .iter()
        .find_map(|prefix| message.split_once(prefix))
        .map_or(message, |(_, rest)| rest);
    let reason = reason.strip_prefix(image).map_or(reason, |rest| rest.trim_start_matches(": "));
    let hint = if ["denied", "nauthorized", "authorization"].iter().any(|word| reason.contains(word)) {
        "check the name; if the repository is private, log in first (docker login)"
    } else if reason.contains("no match for platform") || reason.contains("no matching manifest") {
        "the image does not exist for this platform: --platform selects a different one"
    } else if reason.contains("not found") {
        "check the image's name and tag"
    } else {
        "the engine itself fetches it: check the image's name, and the engine's network, DNS and proxy"
    };
    let error = FailedBuild::new(format!("the engine cannot get {image}: {reason}"));
    // BuildKit treats an unknown stage name as an image on Docker Hub.
    let name = image.strip_prefix("docker.io/library/").and_then(|name| name.split([':', '@']).next());
    let similar = name.and_then(|name| Some((name, nearest_name(name, context.stages.iter().copied())?)));
    Some(match similar {
        Some((name, stage)) => error.hint(format!("no stage is called `{name}`; did you mean `{stage}`?")),
        None => error.hint(hint),
    })
}

/// Explains a file name in the context that cannot be sent to an engine.
fn bad_name(message: &str, _: &FailureContext<'_>) -> Option<FailedBuild> {
    let cause = message.strip_prefix("error from sender: ").unwrap_or(message);
    let bad = cause.contains("is not valid UTF-8");
    bad.then(|| FailedBuild::new(cause).hint("rename it, or exclude it with .dockerignore"))
}

fn missing_credential(message: &str, _: &FailureContext<'_>) -> Option<FailedBuild> {
    let hint = if let Some(rest) = message.strip_prefix("secret ").filter(|rest| rest.contains("not found")) {
        let id = rest.split([' ', ':']).next()?;
        format!("pass it with --secret id={id},src=FILE or --secret id={id},env=VARIABLE")
    } else if message.to_lowercase().contains("no ssh ") {
        "pass an agent with --ssh default, or a key with --ssh default=KEY".to_owned()
    } else {
        return None;
    };
    Some(FailedBuild::new(message).hint(hint))
}

fn full_disk(message: &str, context: &FailureContext<'_>) -> Option<FailedBuild> {
    const FULL: &str = "no space left on device";
    let cause = if message.contains(FULL) {
        message.to_owned()
    } else if context.output.to_lowercase().contains(FULL) {
        format!("{message}: {FULL}")
    } else {
        return None;
    };
    Some(FailedBuild::new(cause).hint(
        "the engine's disk is full: docker system df shows its usage, docker builder prune empties the build cache",
    ))
}

fn exit_code(message: &str, _: &FailureContext<'_>) -> Option<FailedBuild> {
    let hint = match message.rsplit_once("exit code: ")?.1.trim() {
        "137" => "the step was killed, usually because memory ran out: check the engine's log",
        "127" => "a program that the step runs is not in the image: the output above names it",
        "126" => {
            "a program that the step runs cannot be executed: it needs chmod +x, or it is a binary for a different platform"
        }
        _ => return None,
    };
    Some(FailedBuild::new(message).hint(hint))
}

fn newer_frontend(message: &str) -> Option<String> {
    let lower = message.to_lowercase();
    let unknown = lower.contains("unknown flag") || lower.contains("unknown instruction");
    unknown.then(|| {
        "if the engine is too old for it, add `# syntax=docker/dockerfile:1` as the first line to use a newer frontend".to_owned()
    })
}

/// Returns the instruction in a vertex name: `COPY app /app` for `[builder 2/3] COPY app /app`.
fn instruction(vertex: &str) -> &str {
    let rest = vertex.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    rest.map_or(vertex, |(_, instruction)| instruction)
}

fn plain_message(message: &str) -> &str {
    const PREFIXES: [&str; 5] = [
        "failed to solve: ",
        "failed to solve with frontend dockerfile.v0: ",
        "rpc error: code = Unknown desc = ",
        "failed to create LLB definition: ",
        "failed to read dockerfile: ",
    ];
    let mut message = message.trim();
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| message.strip_prefix(prefix)) {
        message = rest;
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(message: &str, circumstances: &FailureContext<'_>) -> (String, String) {
        let failure = BuildFailure { message: message.to_owned(), vertex: None, location: None };
        let error = FailedBuild::explained(&failure, circumstances);
        (error.cause, error.hints.join("; "))
    }

    #[test]
    fn buildkits_prefixes_are_removed() {
        let message = "failed to solve with frontend dockerfile.v0: failed to create LLB definition: \
                       dockerfile parse error line 2: unknown instruction: RUNN";
        assert_eq!(plain_message(message), "dockerfile parse error line 2: unknown instruction: RUNN");
    }

    #[test]
    fn the_instruction_of_a_missing_file_is_named_for_every_engine() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("kept-out"), "").unwrap();
        for (message, vertex, cause, hint) in [
            (
                "failed to compute cache key: \"/nope\" not found: not found",
                "[2/2] COPY nope /x",
                "COPY nope /x: there is no nope in the build context",
                "sources are read from ",
            ),
            (
                "failed to compute cache key: failed to calculate checksum of ref a::b: \"/kept-out\": not found",
                "[app 2/2] COPY kept-out /x",
                "COPY kept-out /x: there is no kept-out in the build context",
                ".dockerignore excludes it",
            ),
            (
                "failed to compute cache key: \"/a\" not found: not found",
                "[2/2] COPY --from=build /a /b",
                "COPY --from=build /a /b: there is no a in build",
                "`build`",
            ),
        ] {
            let circumstances = FailureContext {
                vertex: Some(vertex),
                context: Some(directory.path()),
                ..FailureContext::default()
            };
            let (explained, hinted) = failed(message, &circumstances);
            assert_eq!(explained, cause);
            assert!(hinted.contains(hint), "{hinted}");
        }
    }

    #[test]
    fn an_unavailable_image_is_named_once() {
        let newer = "a.example/b:1: failed to resolve source metadata for a.example/b:1: no such host";
        let load = "[internal] load metadata for a.example/b:1";
        for (message, vertex, cause, hint) in [
            (newer, load, "the engine cannot get a.example/b:1: no such host", "network"),
            ("no such host", load, "the engine cannot get a.example/b:1: no such host", "network"),
            (
                "failed to load cache key: pull access denied",
                "FROM a.example/b:1",
                "the engine cannot get a.example/b:1: pull access denied",
                "log in",
            ),
            (
                "a.example/b:1: not found",
                load,
                "the engine cannot get a.example/b:1: not found",
                "name and tag",
            ),
        ] {
            let circumstances = FailureContext { vertex: Some(vertex), ..FailureContext::default() };
            let (explained, hinted) = failed(message, &circumstances);
            assert_eq!(explained, cause);
            assert!(hinted.contains(hint), "{hinted}");
        }
    }

    #[test]
    fn hints_match_the_failure() {
        let full =
            FailureContext { output: "dd: No space left on device".to_owned(), ..FailureContext::default() };
        let none = FailureContext::default();
        for (message, circumstances, hint) in [
            ("write /x: no space left on device", &none, "docker builder prune"),
            ("process \"dd\" did not complete successfully: exit code: 1", &full, "docker builder prune"),
            ("secret tok not found: not found", &none, "--secret id=tok,src=FILE"),
            ("secret tok: not found", &none, "--secret id=tok,src=FILE"),
            ("no SSH key \"\" forwarded from the client", &none, "--ssh default"),
            ("process \"x\" did not complete successfully: exit code: 137", &none, "memory"),
            ("dockerfile parse error line 2: Unknown flag: mont", &none, "# syntax="),
        ] {
            let (explained, hinted) = failed(message, circumstances);
            assert!(hinted.contains(hint), "{message}: {hinted}");
            assert!(explained.starts_with(message), "{explained}");
        }
        assert_eq!(failed("process \"make\" did not complete successfully: exit code: 2", &none).1, "");
    }

    #[test]
    fn a_misspelt_stage_is_not_explained_as_an_image_of_docker_hub() {
        let vertex = |image: &str| format!("[internal] load metadata for docker.io/library/{image}");
        for (image, hint) in [
            ("biulder:latest", "no stage is called `biulder`; did you mean `builder`?"),
            ("python:3.12", "check the image's name and tag"),
        ] {
            let vertex = vertex(image);
            let circumstances = FailureContext {
                vertex: Some(&vertex),
                stages: vec!["builder", "test"],
                ..FailureContext::default()
            };
            assert_eq!(failed("manifest not found", &circumstances).1, hint);
        }
    }

    #[test]
    fn an_error_found_by_larder_is_a_hint_unless_the_engine_reports_it() {
        let finding =
            |text: &str| FailureContext { input_error: Some(text.to_owned()), ..FailureContext::default() };
        let circumstances = finding("there is no stage `b`; the named stages are `a`");
        assert_eq!(
            failed("target stage b could not be found", &circumstances).1,
            "there is no stage `b`; the named stages are `a`"
        );
        assert_eq!(failed("there is no stage `b`; the named stages are `a`", &circumstances).1, "");
    }
}
