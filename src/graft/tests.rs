//! Tests of refusals and of the bytes of layers. `tests/it/grafts` compares the images with those of engines.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Accounts, Attributes, CopySources, ImageNode, ImageTree, LayerTarReader, Refusal, Tail, TailOptions,
    make_layer,
};
use crate::context::Filter;
use crate::dockerfile::{BaseSettings, Cut, Dockerfile, Options};

const PREFIX: &str = r#"{"larder.prefix":{},"larder.index":"","config":{"Env":["PATH=/bin"],"Cmd":["x"]},
    "rootfs":{"diff_ids":["sha256:1"]},"history":[{"created_by":"RUN x"}]}"#;

/// Evaluates the instructions after `FROM base` and `RUN x`.
fn tail(instructions: &str) -> Result<Tail, Refusal> {
    let dockerfile = Dockerfile::parse(&format!("FROM base\nRUN x\n{instructions}\n")).unwrap();
    let start = BaseSettings { environment: vec!["PATH=/bin".to_owned()], ..BaseSettings::default() };
    let options = Options {
        triggers: BTreeMap::from([("base".to_owned(), Vec::new())]),
        base_settings: BTreeMap::from([("base".to_owned(), start)]),
        ..Options::default()
    };
    let resolution = dockerfile.resolve(&options).unwrap();
    let none = BTreeMap::new();
    let options = TailOptions { build_args: &none, labels: &none, created: Timestamp::UNIX_EPOCH };
    Tail::of(&dockerfile, &resolution, Cut { stage: 0, instructions: 2 }, PREFIX.as_bytes(), &options)
}

/// Returns the entries of the layers that these instructions create on an image with the directory `/there`.
fn layers(context: &Path, instructions: &str) -> Result<Vec<Vec<String>>, Refusal> {
    let tail = tail(instructions)?;
    let sources = CopySources::walk(context, &Filter::default(), &tail.layers)?;
    let mut tree = ImageTree::default();
    let there = Attributes { mode: 0o1777, uid: 5, gid: 6, modified: 77 };
    tree.insert("there".to_owned(), ImageNode::Directory(there));
    let accounts = Accounts::default();
    let made = tail.layers.iter().map(|planned| {
        let layer = make_layer(planned, &sources, &tree, Some(&accounts), 0)?;
        layer.apply_to(&mut tree);
        let mut archive = tar::Archive::new(LayerTarReader::new(layer).unwrap());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            let header = entry.header();
            format!(
                "{} {:o} {}:{} {text:?} {:?}",
                entry.path().unwrap().display(),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap(),
                entry.link_name().unwrap().unwrap_or_default()
            )
        });
        Ok(entries.collect())
    });
    made.collect()
}

#[test]
fn instructions_that_need_a_builder_are_refused_with_their_line() {
    for (instructions, reason) in [
        ("COPY --parents a /", "--parents needs a builder"),
        ("COPY --new=x a /", "--new needs a builder"),
        ("COPY --chmod=u+x a /", "--chmod is not an octal number"),
        ("COPY --chmod=17777 a /", "--chmod is not an octal number"),
        ("COPY --from=other a /", "it copies from something other than the build context"),
        ("ADD https://x.example/a /", "ADD of a remote address needs a builder"),
        ("RUN y", "RUN needs a builder"),
        ("EXPOSE 1.2.3.4:80:80", "the port `1.2.3.4:80:80` is not in a supported form"),
        ("EXPOSE 99999", "the port `99999` is not in a supported form"),
        ("STOPSIGNAL SIGNONE", "the signal `SIGNONE` is unknown"),
        ("VOLUME $NONE", "a VOLUME is empty"),
        ("LABEL a=${b?needed}", "the variables of `${b?needed}` cannot be expanded"),
    ] {
        let refusal = tail(instructions).err().map(|refusal| refusal.to_string());
        assert_eq!(refusal, Some(format!("line 3: {reason}")), "{instructions}");
    }
    let many = "COPY a /\n".repeat(120);
    assert_eq!(tail(&many).err(), Some(Refusal::TooManyLayers(120)));
    let checked = "# check=error=true\nFROM base\nRUN x\nCOPY a /\n";
    let dockerfile = Dockerfile::parse(checked).unwrap();
    let resolution = dockerfile.resolve(&Options::default()).unwrap();
    let none = BTreeMap::new();
    let options = TailOptions { build_args: &none, labels: &none, created: Timestamp::UNIX_EPOCH };
    let cut = Cut { stage: 0, instructions: 2 };
    assert!(Tail::of(&dockerfile, &resolution, cut, PREFIX.as_bytes(), &options).is_err());
}

#[test]
fn later_instructions_change_the_config_of_the_prefix() {
    let tail = tail("ENV A=1 PATH=$PATH:/x\nCOPY a /\nENTRYPOINT [\"run\"]\nONBUILD RUN z").unwrap();
    let config = |bytes: Vec<u8>| -> Value { serde_json::from_slice(&bytes).unwrap() };
    let whole = config(tail.config.with_layers(["sha256:2".to_owned()]));
    assert_eq!(
        whole["config"],
        json!({ "Env": ["PATH=/bin:/x", "A=1"], "Entrypoint": ["run"], "OnBuild": ["RUN z"] })
    );
    assert_eq!(whole["rootfs"]["diff_ids"], json!(["sha256:1", "sha256:2"]));
    let history: Vec<&str> = whole["history"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["created_by"].as_str())
        .collect();
    assert_eq!(history, ["RUN x", "ENV A=1 PATH=/bin:/x", "COPY a / # buildkit", "ENTRYPOINT [\"run\"]"]);
    assert!(whole.get("larder.prefix").is_none() && whole.get("larder.index").is_none());
    // The config of a prefix after the copy contains neither later instructions nor triggers.
    let prefix = config(tail.configs[0].with_layers(["sha256:2".to_owned()]));
    assert_eq!(prefix["config"], json!({ "Env": ["PATH=/bin:/x", "A=1"], "Cmd": ["x"] }));
}

#[test]
fn a_layer_contains_parent_directories_and_hard_links() {
    let context = tempfile::tempdir().unwrap();
    std::fs::create_dir(context.path().join("d")).unwrap();
    std::fs::write(context.path().join("d/one"), "1").unwrap();
    std::fs::hard_link(context.path().join("d/one"), context.path().join("d/two")).unwrap();
    let made = layers(context.path(), "COPY --chown=7 --chmod=644 d /there/new\nWORKDIR /there").unwrap();
    assert_eq!(
        made,
        [
            vec![
                "there/ 1777 5:6 \"\" \"\"",
                "there/new/ 644 7:7 \"\" \"\"",
                "there/new/one 644 7:7 \"1\" \"\"",
                "there/new/two 644 7:7 \"\" \"there/new/one\"",
            ],
            vec![],
        ]
    );
}

#[test]
fn an_empty_layer_differs_from_that_of_a_builder() {
    let context = tempfile::tempdir().unwrap();
    let tail = tail("COPY none* /").unwrap();
    let sources = CopySources::walk(context.path(), &Filter::default(), &tail.layers).unwrap();
    let layer = make_layer(&tail.layers[0], &sources, &ImageTree::default(), None, 0).unwrap();
    let mut archive = Vec::new();
    LayerTarReader::new(layer).unwrap().read_to_end(&mut archive).unwrap();
    assert!(archive.iter().all(|byte| *byte == 0) && archive.len() > 1024, "{}", archive.len());
}

#[test]
fn a_time_before_1970_is_refused() {
    let context = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(context.path().join("a")).unwrap();
    file.set_modified(UNIX_EPOCH - Duration::from_secs(5)).unwrap();
    let refusal = layers(context.path(), "COPY a /").unwrap_err();
    assert_eq!(refusal, Refusal::at(3, "the time of /a is before 1970"));
}

#[test]
fn a_file_that_changes_while_its_layer_is_read_is_an_error() {
    let context = tempfile::tempdir().unwrap();
    let file = context.path().join("a");
    std::fs::write(&file, "before").unwrap();
    let tail = tail("COPY a /").unwrap();
    let sources = CopySources::walk(context.path(), &Filter::default(), &tail.layers).unwrap();
    let layer = make_layer(&tail.layers[0], &sources, &ImageTree::default(), None, 0).unwrap();
    let mut reader = LayerTarReader::new(layer).unwrap();
    std::fs::write(&file, "after it").unwrap();
    let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
    assert!(error.to_string().contains("has changed"), "{error}");
}

#[test]
fn archives_are_recognised_by_their_first_bytes() {
    let context = tempfile::tempdir().unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut tar::Header::new_ustar(), "x", io::empty()).unwrap();
    let tar = tar.into_inner().unwrap();
    let mut old = tar.clone();
    old[257..265].fill(0);
    let sum: u32 = (0..512).map(|at| u32::from(if (148..156).contains(&at) { b' ' } else { old[at] })).sum();
    old[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    for (name, bytes, is_archive) in [
        ("tar", tar.as_slice(), true),
        ("old", &old, true),
        ("gzip", b"\x1f\x8b\x08rest", true),
        ("bzip2", b"BZh9", true),
        ("xz", b"\xfd7zXZ\0", true),
        ("zstd", b"\x28\xb5\x2f\xfd", true),
        ("text", b"some text", false),
        ("zeros", &[0; 2048], false),
        ("elf", &[0x7f; 600], false),
    ] {
        std::fs::write(context.path().join(name), bytes).unwrap();
        let added = layers(context.path(), &format!("ADD {name} /"));
        assert_eq!(added.is_err(), is_archive, "{name}");
        assert!(layers(context.path(), &format!("COPY {name} /")).is_ok(), "{name}");
    }
}
