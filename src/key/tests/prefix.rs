//! The cuts of prefixes, and the changes that affect their keys.

use super::*;

/// Returns a build of `text` in which all images have a digest.
fn build(text: &str) -> Case {
    changed(|case| {
        case.text = text.to_owned();
        case.pins = map([("", "sha256:aa")]);
        case.files = vec![
            file("requirements.txt", "flask==3.0\n"),
            file("src/app.py", "print()"),
            file("data.bin", "data"),
            file("web/package.json", "{}"),
            file("install.sh", "pip install -r requirements.txt\n"),
        ];
        case.files.push(("src".to_owned(), "dir".to_owned(), 0o755, Vec::new()));
    })
}

/// Returns the lines of the last instructions of all prefixes, the deepest first, or the reason why there are none.
fn cut_lines(case: &Case) -> Result<Vec<usize>, String> {
    let found = keys(case).prefixes.map_err(|reason| reason.to_string())?;
    assert!(!found.is_empty() && found.is_sorted_by(|one, other| one.cut > other.cut));
    let dockerfile = Dockerfile::parse(&case.text).unwrap();
    for prefix in &found {
        let stage = &dockerfile.stages[prefix.cut.stage];
        assert_eq!(*stage.instructions[prefix.cut.instructions - 1].lines.start(), prefix.line);
    }
    Ok(found.iter().map(|prefix| prefix.line).collect())
}

const NOTHING: &[usize] = &[];

#[test]
fn a_prefix_ends_after_the_last_step_of_a_builder_and_after_the_last_installation() {
    const PIP: &str = "RUN pip install -r requirements.txt";
    let table: &[(&str, &[usize])] = &[
        // Nothing that a builder must make.
        ("FROM python\nCOPY . .\nCMD x", NOTHING),
        ("FROM scratch\nCOPY . .", NOTHING),
        ("FROM python\nENV A=b\nWORKDIR /app", NOTHING),
        ("FROM scratch AS a\nCOPY . .\nFROM a\nLABEL a=b", NOTHING),
        // One or two positions in a single stage.
        ("FROM python\nCOPY requirements.txt .\n{PIP}\nCOPY . .\nCMD x", &[3]),
        ("FROM python\n{PIP}\nRUN echo\nCOPY . .", &[3, 2]),
        ("FROM python\nRUN echo\n{PIP}\nCOPY . .", &[3]),
        ("FROM python\nRUN echo\nCOPY . .", &[2]),
        ("FROM python\n{PIP}\nRUN apt-get install -y curl\nRUN id\nRUN id", &[5, 3]),
        ("FROM python\n# note\n\n{PIP}\n\n# end\nUSER app", &[4]),
        ("FROM python\nRUN <<EOF\npip install flask\nEOF\nCOPY . .", &[2]),
        ("FROM python\nRUN pip \\\n  install flask\nLABEL a=b", &[2]),
        ("FROM python\nCOPY <<EOF /etc/x\nhello\nEOF\nLABEL a=b", NOTHING),
        ("FROM python\nCOPY install.sh requirements.txt ./\nRUN ./install.sh\nRUN echo", &[4, 3]),
        // Other stages.
        ("FROM python AS b\n{PIP}\nFROM python\nCOPY --from=b /venv /venv\nCOPY . .", &[4]),
        ("FROM python AS b\nCOPY . .\nRUN echo\nFROM python\nCOPY --from=b /out /out\nCOPY . .", &[5]),
        ("FROM python AS b\n{PIP}\nFROM b AS c\nFROM python\nCOPY --from=c /venv /venv\nRUN echo", &[6, 5]),
        ("FROM python AS b\n{PIP}\nFROM b\nCOPY . .", &[3]),
        ("FROM python AS b\n{PIP}\nFROM b AS c\nENV A=b\nFROM c\nCOPY . .", &[5]),
        ("FROM python AS b\n{PIP}\nFROM b\nCOPY . .\nRUN echo\nCMD x", &[5, 3]),
        ("FROM python AS b\nRUN echo\nFROM b\nCOPY . .", &[3]),
        (
            "FROM python AS b\n{PIP}\nFROM python\nRUN echo\nRUN --mount=from=b,target=/b cp -r /b /c\nRUN id",
            &[6, 5],
        ),
        ("FROM python\nCOPY --from=node /bin/node /bin/\nCOPY . .", &[2]),
        ("FROM python\nCOPY --from=data /model /model\nCOPY . .", &[2]),
        ("FROM python\n{PIP}\nFROM scratch\nCOPY --from=0 / /\nLABEL a=b", &[4]),
        // ADD.
        ("FROM python\nADD data.bin /data\nCOPY . .", &[2]),
        ("FROM python\nADD site.tar.gz /data\nCOPY . .", &[2]),
        ("FROM python\nADD . /app\nCMD x", NOTHING),
        ("FROM python\nADD src /app\nADD src/ /app\nADD src/app.py requirements.txt /app/", NOTHING),
        ("FROM python\nRUN id\nADD src/app.py /app/\nADD data* /app/", &[4]),
    ];
    for (text, lines) in table {
        let text = text.replace("{PIP}", PIP);
        let expected = if lines.is_empty() {
            Err("the target stage runs nothing and copies from no other stage".to_owned())
        } else {
            Ok(lines.to_vec())
        };
        assert_eq!(cut_lines(&build(&text)), expected, "{text}");
    }
}

#[test]
fn a_trigger_of_the_base_belongs_to_its_from() {
    let triggered = |text: &str, triggers: &[&str]| {
        let mut case = build(text);
        case.onbuild =
            [("python".to_owned(), triggers.iter().map(|line| (*line).to_owned()).collect())].into();
        cut_lines(&case).unwrap()
    };
    assert_eq!(triggered("FROM python\nCOPY . .", &["RUN pip install flask"]), [1]);
    assert_eq!(
        triggered("FROM python\nRUN echo\nCOPY . .", &["COPY . /src", "RUN pip install flask"]),
        [2, 1]
    );
    let base = "FROM python AS b\nONBUILD RUN echo\nFROM b\nCOPY . .";
    assert_eq!(cut_lines(&build(base)).unwrap(), [3]);
}

#[test]
fn the_target_stage_is_the_one_that_is_cut() {
    let mut case = build("FROM python AS a\nRUN echo\nCOPY . .\nFROM a AS b\nRUN id\nRUN id");
    assert_eq!(cut_lines(&case).unwrap(), [6]);
    case.target = Some("a".to_owned());
    assert_eq!(cut_lines(&case).unwrap(), [2]);
}
