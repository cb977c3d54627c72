//! Tests of the dependency key.

use super::*;

#[test]
fn the_dependency_key_depends_on_the_installation_and_its_files() {
    let before = keys(&case()).dependency;
    let same = [
        ("code", rewritten("src/app.py", "print(1)")),
        ("a later instruction", edited("> version", "> /version")),
        ("a later argument", changed(|case| case.build_args.extend(map([("VERSION", "1")])))),
        ("a comment in a requirement file", rewritten("requirements.txt", "flask==3.0 # web\n\n-r more.txt")),
        ("a label", changed(|case| case.labels = map([("a", "b")]))),
    ];
    for (what, case) in same {
        assert_eq!(keys(&case).dependency, before, "{what}");
    }
    let other = [
        ("a requirement", rewritten("requirements.txt", "flask==3.1\n-r more.txt\n")),
        ("an included requirement", rewritten("more.txt", "pandas==2.2.0\n")),
        ("one requirement file less", changed(|case| _ = case.files.remove(0))),
        ("one included file less", changed(|case| _ = case.files.remove(1))),
        ("the installing RUN", edited("pip install -i", "pip install --pre -i")),
        ("an earlier ENV", edited("NO_CACHE_DIR=1", "NO_CACHE_DIR=0")),
        ("an argument that the RUN sees", changed(|case| case.build_args.extend(map([("INDEX", "x")])))),
        ("a base's digest", changed(|case| case.pins = map([("python:3.11", "sha256:bb")]))),
        ("the base", changed(|case| case.build_args.extend(map([("PY", "3.12")])))),
        ("the platform", changed(|case| case.platform = Some("linux/arm64".to_owned()))),
        ("the network", changed(|case| case.network = Some("none".to_owned()))),
        ("a user-defined input", changed(|case| case.extra = map([("week", "1")]))),
    ];
    for (what, case) in other {
        assert_ne!(keys(&case).dependency, before, "{what}");
    }
}

/// Returns the dependency files in the key of a Dockerfile. Missing ones have a `?`.
fn dependency_files(body: &str, files: &[&str]) -> Vec<String> {
    let case = Case {
        text: format!("FROM scratch AS first\n{body}"),
        files: files.iter().map(|path| file(path, "x\n")).collect(),
        ..case()
    };
    let keys = keys(&case);
    let shown = keys.dependency_inputs.iter().filter_map(|input| match input.kind {
        InputKind::Requirement | InputKind::File => Some(input.name.clone()),
        InputKind::MissingRequirement => Some(format!("{}?", input.name)),
        _ => None,
    });
    let mut shown: Vec<String> = shown.collect();
    shown.sort();
    shown
}

#[test]
fn dependency_files_are_found_in_the_context() {
    let table: &[(&str, &[&str], &[&str])] = &[
        (
            "COPY requirements.txt more.txt /app/\nRUN pip install -r /app/requirements.txt",
            &["requirements.txt"],
            &["requirements.txt"],
        ),
        (
            "WORKDIR /srv\nCOPY . .\nRUN pip install -r reqs/dev.txt",
            &["reqs/dev.txt", "dev.txt", "app.py"],
            &["reqs/dev.txt"],
        ),
        ("COPY r.txt /tmp/deps.txt\nRUN pip install -r /tmp/deps.txt", &["r.txt"], &["r.txt"]),
        ("COPY reqs/*.txt /t/\nRUN pip install -r /t/a.txt", &["reqs/a.txt", "a.txt"], &["reqs/a.txt"]),
        (
            "COPY reqs /t\nWORKDIR /t\nRUN cd sub && pip install -r b.txt",
            &["reqs/sub/b.txt"],
            &["reqs/sub/b.txt"],
        ),
        (
            "RUN --mount=type=bind,source=svc/r.txt,target=/r.txt pip install -r /r.txt",
            &["svc/r.txt", "r.txt"],
            &["svc/r.txt"],
        ),
        ("WORKDIR /w\nRUN --mount=target=. pip install -r a/r.txt", &["a/r.txt"], &["a/r.txt"]),
        // By name: named by a pattern, moved by a command, or in a directory from a different stage.
        (
            "COPY reqs /r\nRUN for f in /r/*.txt; do pip install -r $f; done",
            &["reqs/a.txt", "reqs/b.txt", "reqs/c.md"],
            &["reqs/a.txt", "reqs/b.txt"],
        ),
        (
            "WORKDIR /a\nCOPY . .\nRUN cp requirements/prod.txt /tmp/ && pip install -r /tmp/prod.txt",
            &["requirements/prod.txt", "app.py"],
            &["requirements/prod.txt"],
        ),
        (
            "WORKDIR /a\nCOPY . .\nFROM scratch\nCOPY --from=first /a/reqs /r\nRUN pip install -r /r/prod.txt",
            &["reqs/prod.txt", "app.py"],
            &["reqs/prod.txt"],
        ),
        // By name: through a different stage.
        (
            "COPY deep/r.txt /x/\nFROM scratch\nCOPY --from=first /x /y\nRUN pip install -r /y/r.txt",
            &["deep/r.txt", "other.txt"],
            &["deep/r.txt"],
        ),
        // Based on the stage that copied the file.
        ("COPY a/r.txt /x/\nFROM first\nRUN pip install -r /x/r.txt", &["a/r.txt"], &["a/r.txt"]),
        ("RUN pip install -r /opt/r.txt", &["other"], &["/opt/r.txt?"]),
        ("ARG R=dev\nCOPY . /s\nRUN pip install -r /s/$R.txt", &["dev.txt"], &["dev.txt"]),
        ("COPY . /s\nRUN pip install -r /s/$(arch).txt", &["dev.txt"], &["/s/$.txt?"]),
        ("ENV PIP_CONSTRAINT=/s/c.txt\nCOPY . /s\nRUN pip install flask", &["c.txt"], &["c.txt"]),
        // A script that is copied before an installation belongs to it.
        ("COPY setup.sh /\nRUN /setup.sh && apt-get install -y x", &["setup.sh", "b"], &["setup.sh"]),
        ("COPY . /s\nRUN [\"pip\", \"install\", \"-r\", \"/s/r.txt\"]", &["r.txt"], &["r.txt"]),
        ("COPY . /s\nRUN <<E\ncd /s\npip install -r r.txt\nE", &["r.txt"], &["r.txt"]),
        ("RUN make\nCOPY a /a", &["a"], &[]),
        // A file that the build cannot see is not found.
        ("COPY a /a\nRUN pip install -r /r.txt", &["a"], &["/r.txt?", "a"]),
        (
            "ARG D=reqs\nCOPY . /s\nRUN for f in a b; do pip install -r /s/$D/$f.txt; done",
            &["reqs/a.txt", "reqs/b.txt", "b.txt"],
            &["reqs/a.txt", "reqs/b.txt"],
        ),
        ("COPY . /s\nRUN cat /s/deps.lst | xargs pip install", &["deps.lst", "x"], &["deps.lst"]),
        ("ENV PIP_CONSTRAINT=/nowhere/c.txt\nRUN pip install flask", &[], &["${PIP_CONSTRAINT}?"]),
        (
            "ENV PIP_CONSTRAINT=\"/s/a.txt /s/b.txt\"\nCOPY . /s\nRUN pip install flask",
            &["a.txt", "b.txt"],
            &["a.txt", "b.txt"],
        ),
    ];
    for (body, files, found) in table {
        assert_eq!(dependency_files(body, files), *found, "{body}");
    }
}

/// Like [`dependency_files`], with the text of each file.
fn included_files(body: &str, build_args: &[(&str, &str)], files: &[(&str, &str)]) -> Vec<String> {
    let case = Case {
        text: format!("FROM scratch\n{body}"),
        files: files.iter().map(|(path, text)| file(path, text)).collect(),
        build_args: build_args
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..case()
    };
    let inputs = keys(&case).dependency_inputs;
    let named = |kind| inputs.iter().filter(move |input| input.kind == kind).map(|input| input.name.clone());
    let missing = named(InputKind::MissingRequirement).map(|name| name + "?");
    named(InputKind::Requirement).chain(missing).collect()
}

#[test]
fn includes_are_found_where_the_command_sees_them() {
    let base = ("reqs/base.txt", "flask\n");
    for (body, files, found) in [
        // The files are copied to one directory, but come from different directories of the context.
        (
            "COPY requirements.txt reqs/base.txt /app/\nWORKDIR /app\nRUN pip install -r requirements.txt",
            &[("requirements.txt", "-r base.txt\n"), base][..],
            &["reqs/base.txt", "requirements.txt"][..],
        ),
        (
            "COPY . /app\nRUN pip install -r /app/r.txt",
            &[("r.txt", "-r reqs/base.txt"), base],
            &["r.txt", "reqs/base.txt"],
        ),
        // Moved by a command: the include is relative to the including file in the context.
        (
            "COPY . /app\nRUN mv /app /b && pip install -r /b/r.txt",
            &[("r.txt", "-c reqs/base.txt"), base],
            &["r.txt", "reqs/base.txt"],
        ),
        // A local project is relative to pip's working directory.
        (
            "WORKDIR /w\nCOPY . .\nRUN pip install -r reqs/base.txt",
            &[("reqs/base.txt", "-e ./lib"), ("lib/pyproject.toml", ""), ("reqs/lib/pyproject.toml", "")],
            &["lib/pyproject.toml", "reqs/base.txt", "lib/setup.cfg?", "lib/setup.py?"],
        ),
        (
            "COPY . .\nRUN conda env create -f env.yml",
            &[("env.yml", "dependencies:\n- pip:\n  - -r reqs/base.txt\n"), base],
            &[
                "env.yml",
                "reqs/base.txt",
                "conda-lock.yml?",
                "environment.yaml?",
                "environment.yml?",
                "pixi.lock?",
                "pixi.toml?",
            ],
        ),
    ] {
        assert_eq!(included_files(body, &[], files), found, "{body}");
    }
}

#[test]
fn a_variable_in_an_include_is_looked_up_and_its_value_is_not_shown() {
    let body = "ARG DIR\nCOPY . /app\nRUN pip install -r /app/r.txt";
    let files = [("r.txt", "-r ${DIR}/base.txt\n"), ("reqs/base.txt", "flask\n")];
    assert_eq!(included_files(body, &[("DIR", "reqs")], &files), ["r.txt", "reqs/base.txt"]);
    assert_eq!(
        included_files(body, &[("DIR", "hunter2")], &files),
        ["r.txt", "reqs/base.txt"],
        "by its name"
    );
    assert_eq!(included_files(body, &[("DIR", "hunter2")], &files[..1]), ["r.txt", "${DIR}/base.txt?"]);
    let own = "COPY . /app\nRUN DIR=reqs pip install -r /app/r.txt";
    assert_eq!(included_files(own, &[], &files), ["r.txt", "reqs/base.txt"]);
}

#[test]
fn without_an_installation_everything_before_the_context_is_included() {
    let key = |body: &str| keys(&Case { text: format!("FROM scratch\n{body}"), ..case() }).dependency;
    assert_eq!(key("RUN a\nCOPY src /\nRUN b"), key("RUN a\nCOPY src /\nRUN c"));
    assert_ne!(key("RUN a\nCOPY src /\nRUN b"), key("RUN z\nCOPY src /\nRUN b"));
}

#[test]
fn a_stage_that_an_installation_copies_from_is_included_in_full() {
    let key = |step: &str| {
        let text = format!(
            "FROM scratch AS tools\nRUN pip install x\n{step}\nFROM scratch\n\
             COPY --from=tools /t /t\nRUN pip install y\nRUN later"
        );
        keys(&Case { text, ..case() }).dependency
    };
    assert_ne!(key("RUN one"), key("RUN two"));
}

#[test]
fn the_key_determines_a_layer_if_no_other_part_of_the_context_was_copied_before() {
    let decided = |body: &str| -> Vec<usize> {
        let case = Case {
            text: format!("FROM scratch AS first\n{body}"),
            files: ["requirements.txt", "setup.sh", "src/app.py"].map(|path| file(path, "x\n")).into(),
            ..case()
        };
        keys(&case).layers.runs.into_iter().map(|(_, line)| line).collect()
    };
    for (body, expected) in [
        ("COPY requirements.txt .\nRUN pip install -r requirements.txt\nCOPY . .\nRUN pytest", vec![3]),
        ("RUN apt-get install x\nCOPY . .\nRUN pip install -r requirements.txt", vec![2]),
        ("COPY setup.sh .\nRUN ./setup.sh\nRUN pip install x", vec![3, 4]),
        ("COPY missing.sh .\nRUN pip install x", vec![]),
        ("RUN --mount=target=/src pip install x", vec![]),
        ("RUN --mount=source=setup.sh,target=/s pip install x", vec![2]),
        ("COPY src /src\nFROM first\nRUN pip install x", vec![]),
        ("COPY setup.sh /\nFROM first\nRUN pip install x", vec![4]),
        ("COPY src /src\nFROM scratch\nCOPY --from=first /src /\nRUN pip install x", vec![]),
    ] {
        assert_eq!(decided(body), expected, "{body}");
    }
    let digest = |case: &Case| keys(case).layers.digest(keys(case).dependency);
    let before = digest(&case());
    for (what, case) in [
        ("a comment in a requirement file", rewritten("requirements.txt", "flask==3.0 # web\n\n-r more.txt")),
        ("a mode", changed(|case| case.files[0].2 = 0o755)),
        ("a requirement", rewritten("requirements.txt", "flask==3.1\n-r more.txt\n")),
    ] {
        assert_ne!(digest(&case), before, "{what}");
    }
    assert_eq!(digest(&rewritten("src/app.py", "print(1)")), before);
}

/// Returns those of these files that affect a Dockerfile's dependency key.
fn files_that_count(body: &str, files: &[(&str, &str)]) -> Vec<String> {
    let case = |changed: &str| {
        let text = |path: &str, text: &str| match path {
            path if path != changed => text.to_owned(),
            // Must remain valid JSON.
            "package.json" => format!("{text}\n"),
            _ => format!("{text}more==1\n"),
        };
        let files = files.iter().map(|(path, content)| file(path, &text(path, content)));
        Case { text: format!("FROM scratch AS first\n{body}"), files: files.collect(), ..case() }
    };
    let before = keys(&case("")).dependency;
    let counts = |path: &&str| keys(&case(path)).dependency != before;
    files.iter().map(|(path, _)| *path).filter(counts).map(str::to_owned).collect()
}

#[test]
fn the_installations_of_a_script_or_recipe_are_those_of_the_run() {
    let files = [
        (
            "Makefile",
            "REQS = reqs/main.txt\ndeps: tools\n\tpip install -r $(REQS)\ntools:\n\t./bin/setup.sh\nbuild:\n\tcc main.c\n",
        ),
        ("bin/install.sh", "#!/bin/sh\nset -e\ncd reqs\npip install -r main.txt\n"),
        ("bin/pip-install", "#!/bin/sh\nset -e\nexec pip install \"$@\"\n"),
        ("bin/setup.py", "#!/usr/bin/env python3\nimport subprocess\n"),
        ("bin/setup.sh", "#!/bin/sh\necho nothing\n"),
        ("deps.lst", "flask==3\n"),
        ("package.json", r#"{"scripts": {"deps": "npm ci", "lint": "eslint ."}}"#),
        ("reqs/lint.txt", "ruff==1\n"),
        ("reqs/main.txt", "flask==3\n-r more.txt\n"),
        ("reqs/more.txt", "idna==3\n"),
        ("src/main.py", "print(1)\n"),
    ];
    let main = ["reqs/main.txt", "reqs/more.txt"];
    let with = |more: &[&'static str]| -> Vec<&'static str> {
        let mut all: Vec<&'static str> = more.iter().copied().chain(main).collect();
        all.sort_unstable();
        all
    };
    let table: &[(&str, Vec<&str>)] = &[
        ("COPY bin /bin\nCOPY reqs reqs\nRUN /bin/install.sh\nCOPY src .", with(&["bin/install.sh"])),
        ("COPY . .\nRUN ./bin/install.sh", with(&["bin/install.sh"])),
        ("COPY . .\nRUN sh -eu bin/install.sh", with(&["bin/install.sh"])),
        ("COPY . .\nRUN [\"bash\", \"bin/install.sh\"]", with(&["bin/install.sh"])),
        ("COPY . .\nRUN sh -c 'cd bin && . ./install.sh'", with(&["bin/install.sh"])),
        ("COPY . .\nRUN make deps", with(&["Makefile", "bin/setup.sh"])),
        ("COPY . .\nRUN make -f Makefile tools deps", with(&["Makefile", "bin/setup.sh"])),
        ("COPY package.json .\nRUN npm run deps\nCOPY . .", vec!["package.json"]),
        // The words of the command line, and the mounts.
        (
            "COPY bin/* /usr/local/bin/\nRUN --mount=src=reqs/,dst=reqs/ pip-install -r reqs/main.txt\nCOPY src /src",
            with(&["bin/pip-install", "reqs/lint.txt"]),
        ),
        (
            "COPY bin /opt/\nENV PATH=/opt:$PATH\nCOPY . .\nRUN pip-install -r reqs/main.txt",
            with(&["bin/pip-install"]),
        ),
        (
            "COPY bin bin\nCOPY deps.lst reqs/ ./\nRUN bin/pip-install deps.lst --file=main.txt",
            with(&["bin/pip-install", "deps.lst"]),
        ),
        // Unknown scripts may install before the code is copied.
        (
            "COPY bin bin\nCOPY deps.lst .\nRUN bin/setup.py deps.lst\nCOPY . .",
            vec!["bin/setup.py", "deps.lst"],
        ),
        (
            "COPY bin bin\nCOPY deps.lst .\nRUN python bin/setup.py deps.lst\nCOPY . .",
            vec!["bin/setup.py", "deps.lst"],
        ),
        ("COPY Makefile deps.lst ./\nRUN make of-more\nCOPY . .", vec!["Makefile", "deps.lst"]),
        ("RUN --mount=type=cache,target=/c --mount=src=deps.lst,dst=d fetch d\nCOPY . .", vec!["deps.lst"]),
        // The build itself, or commands that install nothing.
        ("RUN apk add x\nCOPY . .\nRUN make of-more", vec![]),
        ("RUN apk add x\nCOPY . .\nRUN --mount=type=cache,target=/c make build", vec![]),
        ("RUN apk add x\nCOPY package.json src ./\nRUN npm run lint", vec![]),
        ("RUN apk add x\nCOPY bin bin\nRUN bin/setup.sh", vec![]),
        ("RUN --mount=target=. pip install -r reqs/main.txt", with(&[])),
    ];
    let wrong = table.iter().filter_map(|(body, expected)| {
        let found = files_that_count(body, &files);
        (found != *expected).then(|| format!("{body}\n  {found:?}\n  {expected:?}\n"))
    });
    assert_eq!(wrong.collect::<String>(), "");
}
