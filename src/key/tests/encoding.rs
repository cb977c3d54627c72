//! Tests of the encoding of keys.

use super::*;

#[test]
fn the_encoding_is_the_documented_one() {
    // The expected values were computed by a separate program from the module's documentation.
    let input = |kind, name, values: &[&[u8]]| Input::of_values(kind, name, values);
    let app = input(
        InputKind::File,
        "app.py",
        &[b"file", &0o644_u32.to_le_bytes(), Digest::of(b"hello").as_bytes()],
    );
    assert_eq!(app.digest.hex(), "e0bf46ed2326a8dacce151f48e0fbeae9c28e5d3c673e7bd9cbbe4a37c1f1058");
    let (empty, seal) = (KeyBuilder::default(), Seal::default());
    let image = "daee1c7cb6b9560ff446f345038070672d8dea924a7ef3749692c7d530511c2a";
    assert_eq!(empty.finish(KeyRole::Image, &seal).to_string(), image);
    let dependency = "3ba27e4430a8cede6ee729d5a1b72850698b200780c7699179ce100c13aff4bf";
    assert_eq!(empty.finish(KeyRole::Dependency, &seal).to_string(), dependency);
    let mut some = KeyBuilder::default();
    some.add(input(InputKind::Target, "stage", &[b"1"])).unwrap();
    some.add(app).unwrap();
    some.add(input(InputKind::BuildArg, "VERSION", &[b"1.2"])).unwrap();
    some.add(input(InputKind::BuildArg, "A", &[b""])).unwrap();
    let image = "c02c281e63c0daea16f4043514c5b0e8e64910602944f8185e5d726c3bb98a89";
    assert_eq!(some.finish(KeyRole::Image, &seal).to_string(), image);
    let dependency = "f17adc5bf2ee9ee2eabcb5f3e727311ca2a5bf99819cf476f080173b73f2d152";
    assert_eq!(some.finish(KeyRole::Dependency, &seal).to_string(), dependency);
    let prefix = "93c79dcc4e72e11c907a0f6f7debc940c4615d8f119286c0d4d128e1720a2d83";
    assert_eq!(some.finish(KeyRole::Prefix, &seal).to_string(), prefix);
}

#[test]
fn keys_are_the_same_if_they_are_finished_together_or_alone() {
    let key = |inputs: &[(InputKind, &str)]| {
        let mut key = KeyBuilder::default();
        for (kind, name) in inputs {
            key.add_values(*kind, *name, &[b"1"]).unwrap();
        }
        key
    };
    let open = key(&[(InputKind::File, "a")]);
    let one = key(&[(InputKind::File, "a"), (InputKind::BuildArg, "A")]);
    let same = key(&[(InputKind::File, "b"), (InputKind::BuildArg, "A")]);
    let two = key(&[(InputKind::BuildArg, "A"), (InputKind::StageArg, "0/B")]);
    let seal = Seal::cheap();
    let keys = [&one, &open, &two, &same, &open, &one].map(|key| (KeyRole::Prefix, key));
    let alone: Vec<CacheKey> = keys.iter().map(|(role, key)| key.finish(*role, &seal)).collect();
    assert_eq!(KeyBuilder::finish_all(&keys, &seal), alone);
    assert_eq!(alone.iter().collect::<BTreeSet<_>>().len(), 4);
}

#[test]
fn the_keys_of_a_known_build_are_stable() {
    // A change here makes every stored image a miss: raise the version and announce it.
    let keys = keys(&case());
    assert_eq!(keys.image.to_string(), "671f1448c70cd55499e2f2ca7758ad64f52cddcf7c66a59a6b5ebf62c563f965");
    assert_eq!(
        keys.dependency.to_string(),
        "14d5c9bbc83dee56a47256cab88bfcecb632f15e4a94fc2c49eb9adeff6d6e95"
    );
}

#[test]
fn a_key_is_64_hex_digits_everywhere() {
    let key = keys(&case()).image;
    let text = key.to_string();
    assert_eq!(text.len(), 64);
    assert_eq!(text.parse::<CacheKey>().unwrap(), key);
    assert_eq!(serde_json::to_string(&key).unwrap(), format!("\"{text}\""));
    assert_eq!(serde_json::from_str::<CacheKey>(&format!("\"{text}\"")).unwrap(), key);
    for wrong in ["", "ab", &text.to_uppercase(), &format!("sha256:{text}")] {
        assert!(wrong.parse::<CacheKey>().is_err(), "{wrong}");
    }
}

#[test]
fn kinds_are_stored_under_the_names_that_are_hashed() {
    let input = Input::of_values(InputKind::MissingRequirement, "x", &[]);
    let json = serde_json::to_value(&input).unwrap();
    assert_eq!(json["kind"], InputKind::MissingRequirement.name());
    assert_eq!(serde_json::from_value::<Input>(json).unwrap(), input);
}

#[test]
fn two_inputs_with_one_name_are_rejected() {
    let mut key = KeyBuilder::default();
    key.add_values(InputKind::File, "a", &[b"1"]).unwrap();
    key.add_values(InputKind::Label, "a", &[b"1"]).unwrap();
    let error = key.add_values(InputKind::File, "a", &[b"1"]).unwrap_err();
    assert_eq!(error.to_string(), "two key inputs of kind file are named `a`");
}
