//! The recording of a scenario, in which all values that differ between runs are replaced.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::engines::{Engine, every_engine};
use crate::object_servers::{ObjectServer, PASSWORD, USER};
use crate::registries::Registry;
use crate::registry_tiers::front::{RecordedCall, RegistryProxy};
use crate::running::Running;
use crate::support::{BUSYBOX, Run, TestContext, json, run_to_end};

/// Regular expressions and their replacements, which are applied in this order.
const FILTERS: [(&str, &str); 26] = [
    (r"sha256:[0-9a-f]{64}", "sha256:DIGEST"),
    (r"sha256:[0-9a-f]{12}\b", "sha256:ID"),
    (r"[0-9a-f]{64}", "KEY"),
    (r"\b[0-9a-f]{12}\b", "ID"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.0-9]*(Z| UTC)", "WHEN"),
    (r"\b\d+(\.\d+)?(ms|s)\b", "TIME"),
    (r"\b\d+(\.\d+)? (kB|MB|GB|B)\b", "SIZE"),
    (r#"(millis|bytes|added_bytes|restored_bytes|saved_bytes)(": ?|: )[1-9]\d*"#, "$1${2}N"),
    (r#"(millis": ?)0"#, "${1}N"),
    // The comparison with a build without larder depends on the time that both take.
    (r"(?m)^((?:\S+ \| )?  (?:built|image hit \(\w+\)) in TIME).*$", "$1"),
    (
        r"(made on the layers|has the layers|is in its registry|of \d+ restored|loaded from)(.*), spared TIME",
        "$1$2",
    ),
    (r#","spared_millis":N"#, ""),
    (r#""phases":\[[^\]]*\],|"solve":\{[^}]*\},"#, ""),
    (r#""was_builder_empty":(true|false),|,"without_millis":N|"stored_bytes":N,"#, ""),
    (r#""digest": ?"[^"]*""#, r#""digest":"…""#),
    (r"(hits?|miss|skipped)(?: {2,}|  )[-A-Z]+(?: {2,})TIME", "$1  SIZE  TIME"),
    (r"containerimage\.descriptor: .*", "containerimage.descriptor: …"),
    (r"(?m)^\d+\.\d{3} ", "TIME "),
    (r"(?m)^(\S+ \| )?\w+ the image: SIZE of SIZE\n", ""),
    (r"127\.0\.0\.1:\d+->127\.0\.0\.1:\d+", "CONNECTION"),
    (r"\[::1\]:\d+", "HOST"),
    (r"127\.0\.0\.1:\d{2,5}", "HOST"),
    (r"\b\d{4}-\d\d-\d\d \d\d:\d\d UTC", "WHEN"),
    (r"(?m) +$", ""),
    (r" {3,}", "  "),
    (r"\n{2,}", "\n"),
];

/// An agent with everything that a scenario can use, and its recording so far.
pub(super) struct Scenario {
    pub(super) context: TestContext,
    registry: Option<(Registry, RegistryProxy)>,
    store: Option<(ObjectServer, RegistryProxy)>,
    /// The name of the agent, which selects its cache directory.
    agent: &'static str,
    text: String,
}

/// Returns the engine with this name. Returns `None`, and prints that the test is skipped, if there is no such engine.
pub(super) fn recorded_engine(name: &str) -> Option<Engine> {
    let engine = every_engine().into_iter().find(|engine| engine.name == name);
    if engine.is_none() {
        let mut stdout = std::io::stdout();
        writeln!(stdout, "SKIPPED: the engine {name} of the recordings is not available").unwrap();
    }
    engine
}

impl Scenario {
    /// Creates a project with two stages, dependencies and code.
    pub(super) fn new(engine: &Engine) -> Self {
        let context = TestContext::new(engine);
        let mark = context.tag("mark");
        context.write("requirements.txt", format!("{mark}\n")).write("app.py", format!("{mark} 1\n")).write(
            "Dockerfile",
            format!(
                "FROM {BUSYBOX} AS wheels\nCOPY requirements.txt /\nRUN echo {mark} > /wheels\n\
                 FROM {BUSYBOX}\nCOPY --from=wheels /wheels /wheels\nRUN echo {mark} > /installed\nCOPY app.py /\n"
            ),
        );
        Self { context, registry: None, store: None, agent: "a", text: String::new() }
    }

    /// Starts a registry for this scenario.
    pub(super) fn with_registry(mut self) -> Self {
        let registry = Registry::open();
        let front = RegistryProxy::before(&registry.host);
        self.registry = Some((registry, front));
        self
    }

    /// Starts an S3 server as the remote store of the builds.
    pub(super) fn with_store(mut self) -> Self {
        let server = ObjectServer::s3s_fs();
        let front = RegistryProxy::before(&format!("127.0.0.1:{}", server.port));
        self.store = Some((server, front));
        self
    }

    /// Continues as a different agent, with an empty cache.
    pub(super) fn as_agent(&mut self, agent: &'static str) -> &mut Self {
        self.agent = agent;
        self
    }

    /// Returns the front of the registry.
    pub(super) fn front(&self) -> &RegistryProxy {
        &self.registry.as_ref().unwrap().1
    }

    /// Returns the front of the store.
    pub(super) fn store_front(&self) -> &RegistryProxy {
        &self.store.as_ref().unwrap().1
    }

    /// Returns an image name in the registry.
    pub(super) fn name(&self, tag: &str) -> String {
        format!("{}/app:{tag}", self.front().host)
    }

    fn path(&self, name: &str) -> String {
        self.context.path(&format!("{}-{name}", self.agent)).to_string_lossy().into_owned()
    }

    /// Returns a larder command of this agent. Adds `--metadata-file` to `build`, unless it is in the arguments.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let (cache, metadata) = (self.path("cache"), self.path("metadata.json"));
        let mut all = vec![arguments[0], "--cache-dir", &cache];
        let has_own = arguments.iter().any(|argument| argument.starts_with("--metadata-file"));
        if arguments[0] == "build" && !has_own {
            all.extend(["--metadata-file", &metadata]);
        }
        all.extend(&arguments[1..]);
        let mut command = self.context.command(&all);
        if let Some((server, front)) = &self.store {
            let port = front.host.rsplit_once(':').unwrap().1.parse().unwrap();
            command
                .env("LARDER_REMOTE", format!("{}&region=us-east-1", server.url_at(port)))
                .env("AWS_ACCESS_KEY_ID", USER)
                .env("AWS_SECRET_ACCESS_KEY", PASSWORD);
        }
        command
    }

    /// Runs larder to its end and records the result.
    pub(super) fn larder(&mut self, arguments: &[&str]) -> &mut Self {
        let run = run_to_end(&mut self.command(arguments), None);
        self.record(arguments, &run)
    }

    /// Starts larder, waits, interrupts it, and records its end.
    pub(super) fn interrupted(&mut self, arguments: &[&str], wait: impl FnOnce(&Running)) -> &mut Self {
        let running = Running::start(&mut self.command(arguments));
        wait(&running);
        running.signal(rustix::process::Signal::INT);
        let run = running.end(std::time::Duration::from_secs(30));
        if let Some((_, front)) = &self.registry {
            front.heal();
        }
        self.record(arguments, &run)
    }

    /// Records the result of a run.
    pub(super) fn record(&mut self, arguments: &[&str], run: &Run) -> &mut Self {
        let mut text = String::new();
        let shown: Vec<&str> = arguments.iter().map(|argument| argument.trim()).collect();
        writeln!(text, "$ larder {}", shown.join(" ")).unwrap();
        writeln!(text, "exit code {}", run.code).unwrap();
        for (name, output) in [("stdout", &run.stdout), ("stderr", &run.stderr)] {
            let mut lines: Vec<&str> = output.lines().filter(|line| !is_engine_output(line)).collect();
            if arguments.contains(&"--host") {
                // The engines run in parallel.
                lines.sort_unstable();
            }
            if !lines.is_empty() {
                writeln!(text, "--- {name}\n{}", lines.join("\n")).unwrap();
            }
        }
        let metadata = self.path("metadata.json");
        let ledger = std::fs::read_to_string(Path::new(&self.path("cache")).join("v1/ledger.jsonl"));
        let ledger: Vec<Value> = ledger
            .unwrap_or_default()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_default())
            .collect();
        if Path::new(&metadata).exists() {
            let record = json(metadata.as_ref());
            let is_same = if ledger.last() == Some(&record) { "the same" } else { "not this" };
            writeln!(text, "--- metadata (the last line of the ledger is {is_same})\n{}", fields(&record))
                .unwrap();
            std::fs::remove_file(metadata).unwrap();
        } else if arguments[0] == "build" {
            writeln!(text, "--- no metadata").unwrap();
        }
        writeln!(text, "--- {} builds in the ledger", ledger.len()).unwrap();
        let fronts = [
            ("registry", self.registry.as_ref().map(|of| &of.1)),
            ("store", self.store.as_ref().map(|of| &of.1)),
        ];
        for (name, front) in fronts {
            let Some(front) = front else { continue };
            writeln!(text, "--- {name}\n{}", calls(&front.seen())).unwrap();
        }
        self.text.push_str(&self.replace_names(&text));
        self.text.push('\n');
        self
    }

    /// Replaces the names and addresses of this scenario by placeholders.
    fn replace_names(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if let Some((_, front)) = &self.registry {
            text = text.replace(&front.host, "REGISTRY");
        }
        if let Some((_, front)) = &self.store {
            text = text.replace(&front.host, "STORE");
        }
        let mark = self.context.tag("mark").replace("/mark:1", "");
        text = text.replace(&self.context.path("").to_string_lossy().into_owned(), "DIR/");
        for (place, engine) in std::iter::once(&self.context.engine).chain(&every_engine()).enumerate() {
            text = text.replace(&engine.host, if place == 0 { "ENGINE" } else { "OTHER-ENGINE" });
        }
        text = text
            .replace(env!("CARGO_PKG_VERSION"), "VERSION")
            .replace(&self.context.engine.version, "ENGINE-VERSION");
        text.replace(&mark, "MARK")
    }

    /// Compares the whole text with the recording.
    #[track_caller]
    pub(super) fn compare(&self, name: &str) {
        insta::with_settings!({ filters => FILTERS.to_vec(), omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(name, &self.text);
        });
    }
}

/// Returns `true` for a line of the engine's own progress output, and for an empty line.
fn is_engine_output(line: &str) -> bool {
    let is_step =
        line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    let is_event =
        |kind: &str| line.starts_with(&format!(r#"{{"schema":"larder.progress.v1","event":"{kind}""#));
    is_step || line.trim().is_empty() || ["vertex", "status", "log"].into_iter().any(is_event)
}

/// Returns the fields of a record, with one line for each element of a list.
fn fields(record: &Value) -> String {
    let mut lines = Vec::new();
    // These depend on the duration of the build, and on what other tests did with the engine.
    let is_stable = |name: &str| {
        !["phases", "solve", "stored_bytes", "without_millis", "was_builder_empty"].contains(&name)
    };
    for (name, value) in record.as_object().into_iter().flatten().filter(|(name, _)| is_stable(name)) {
        match value {
            Value::Array(list) if list.iter().any(Value::is_object) => {
                let mut list: Vec<&Value> = list.iter().collect();
                if name == "step_list" {
                    // Independent steps run in parallel.
                    list.sort_by_key(|step| step["name"].to_string());
                }
                lines.extend(list.iter().map(|element| format!("{name} - {element}")));
            }
            value => lines.push(format!("{name}: {value}")),
        }
    }
    lines.join("\n")
}

/// Returns each kind of call once, because the number of repetitions varies.
fn calls(seen: &[RecordedCall]) -> String {
    let shape = |call: &RecordedCall| {
        let (path, query) = call.path.split_once('?').unwrap_or((&call.path, ""));
        // An upload has a random id, and may be a mount of a blob from a different repository. Objects of the store are
        // in directories that are named after the first digits of their digests.
        let ends =
            ["/uploads/", "/chunks/", "/saving/", "/sweeping/", "/used/", "/linux~2famd64/", "/builds/"];
        let end = ends.iter().find_map(|end| Some(path.find(end)? + end.len())).unwrap_or(path.len());
        let list = if query.contains("list-type") { " to list" } else { "" };
        let mut shape = format!("{} {}{list}", call.method, &path[..end]);
        while let Some(at) = digest_in(&shape) {
            shape.replace_range(at..at + 64, "KEY");
        }
        shape
    };
    let shapes: BTreeSet<String> = seen.iter().map(shape).collect();
    shapes.into_iter().collect::<Vec<_>>().join("\n")
}

/// Returns the position of the first 64 hexadecimal digits.
fn digest_in(text: &str) -> Option<usize> {
    let is_digest = |part: &[u8]| part.iter().all(u8::is_ascii_hexdigit);
    text.as_bytes().windows(64).position(is_digest)
}
