//! The canonical form of an instruction: its text without anything that does not affect the result.
//!
//! Two instructions with the same canonical form, the same sources (see [`super::ResolvedInstruction::sources`]) and
//! the same variables are equivalent. The form omits comments and line continuations, the spelling of the keyword,
//! blanks between words (but not within a shell command), and the names of stages.
//!
//! Invariant: parts that this module does not recognise are kept as written.

use super::heredoc::Heredoc;
use super::mount::Mount;
use super::words::{self, InstructionWords};

/// Returns the fields of the canonical form; their order and number are part of it.
pub(super) fn canonical(command: &InstructionWords, heredocs: &[Heredoc], escape: char) -> Vec<String> {
    let InstructionWords { keyword, flags, arguments, .. } = command;
    let mut fields = vec![keyword.clone()];
    if keyword == "FROM" {
        // The base is compared by its resolution, and the name of a stage does not affect the image.
        return fields;
    }
    for flag in flags {
        fields.push(format!("--{}", flag.name));
        match (keyword.as_str(), flag.name.as_str(), &flag.value) {
            ("COPY" | "ADD", "from", _) | (_, _, None) => {}
            ("RUN", "mount", Some(value)) => fields.extend(mount_fields(value)),
            (_, _, Some(value)) => fields.push(value.clone()),
        }
    }
    fields.push("--".to_owned());
    fields.extend(operand_fields(keyword, arguments, escape));
    for Heredoc { name, expand, strip_tabs, content } in heredocs {
        fields.push(format!("<< expand={expand} strip_tabs={strip_tabs}"));
        fields.extend([name.clone(), content.clone()]);
    }
    fields
}

/// Returns the options of a mount without the value of `from`, which is compared by its resolution.
fn mount_fields(value: &str) -> Vec<String> {
    let Ok(mount) = Mount::parse(value) else { return vec![value.to_owned()] };
    let options = mount.options.iter().map(|(key, value)| match value {
        Some(value) if key != "from" => format!("{key}={value}"),
        _ => key.clone(),
    });
    options.collect()
}

fn operand_fields(keyword: &str, arguments: &str, escape: char) -> Vec<String> {
    let verbatim = || vec![arguments.to_owned()];
    if let Some(Ok(words)) = words::parse_json_array(arguments) {
        return [vec!["[]".to_owned()], words].concat();
    }
    match keyword {
        "COPY" | "ADD" | "EXPOSE" | "VOLUME" => words::split_at_blanks(arguments),
        "ARG" => words::split_quoted(arguments, escape),
        "ENV" | "LABEL" => words::parse_pairs(arguments, escape, keyword).map_or_else(
            |_| verbatim(),
            |pairs| pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
        ),
        _ => verbatim(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Dockerfile;

    fn form(body: &str) -> Vec<String> {
        let dockerfile = Dockerfile::parse(&format!("FROM a AS one\nFROM b\n{body}\n")).unwrap();
        dockerfile.stages[1].instructions[1].canonical.clone()
    }

    #[test]
    fn equivalent_instructions_have_one_form() {
        let table = [
            ("run make", "RUN make"),
            ("RUN make \\\n  all", "RUN make \\\n  # why\n\n  all"),
            ("COPY a b /x/", "COPY   a\tb \\\n /x/"),
            ("COPY --from=one /a /b", "COPY --from=0 /a /b"),
            ("COPY [\"a\", \"b\"]", "COPY [ \"a\",\"b\" ]"),
            ("RUN --mount=type=cache,dst=/x make", "RUN --mount=type=cache,target=/x  make"),
            ("RUN --mount=from=one,target=/x make", "RUN --mount=from=0,target=/x make"),
            ("ENV A=1   B=2", "ENV A=1 \\\n B=2"),
            ("LABEL a=b  c=d", "LABEL a=b c=d"),
            ("CMD [\"a\",\"b\"]", "CMD [ \"a\", \"b\" ]"),
        ];
        for (one, other) in table {
            assert_eq!(form(one), form(other), "{one}");
        }
    }

    #[test]
    fn instructions_that_may_differ_have_different_forms() {
        let table = [
            ("RUN echo a  b", "RUN echo a b"),
            ("RUN [\"a\"]", "RUN a"),
            ("COPY [\"a b\", \"c\"]", "COPY a b c"),
            ("COPY --link a b", "COPY a b"),
            ("COPY --chown=1 a b", "COPY --chown=2 a b"),
            ("COPY --from=one a b", "COPY a b"),
            ("COPY --new=1 a b", "COPY --new=2 a b"),
            ("RUN --device=a make", "RUN --device=b make"),
            (
                "RUN --mount=from=one,target=/x --mount=target=/y a",
                "RUN --mount=target=/x --mount=from=one,target=/y a",
            ),
            ("RUN <<A\nx\nA", "RUN <<A\ny\nA"),
            ("RUN <<A\nx\nA", "RUN <<'A'\nx\nA"),
            ("COPY <<a /d/\nx\na", "COPY <<b /d/\nx\nb"),
            ("HEALTHCHECK --interval=1s CMD a", "HEALTHCHECK --interval=2s CMD a"),
            ("ONBUILD RUN a", "ONBUILD RUN b"),
            ("ARG A", "ARG A="),
            ("ENV A b c", "ENV A=b c=d"),
        ];
        for (one, other) in table {
            assert_ne!(form(one), form(other), "{one}");
        }
    }
}
