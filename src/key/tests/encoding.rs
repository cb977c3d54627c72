use super::*;

#[test]
fn the_encoding_is_the_documented_one() {
    // Computed by a separate program from the module's documentation.
    let input = |kind, name, values: &[&[u8]]| Input::of_values(kind, name, values);
    let app = input(
        InputKind::File,
        "app.py",
        &[b"file", &0o644_u32.to_le_bytes(), Digest::of(b"hello").as_bytes()],
    );
    assert_eq!(app.digest.hex(), "e0bf46ed2326a8dacce151f48e0fbeae9c28e5d3c673e7bd9cbbe4a37c1f1058");
    let (empty, seal) = (KeyBuilder::default(), Seal::default());
    let image = "df163be07c45a6489f0c36804de92883a7d87f515a760e0233d4ec96a5475a7e";
    assert_eq!(empty.finish(KeyRole::Image, &seal).to_string(), image);
    let dependency = "8282edb97da3da5cf8476a38de5c0505cf87b2db846bdbf24d04808a3cd1e00c";
    assert_eq!(empty.finish(KeyRole::Dependency, &seal).to_string(), dependency);
    let mut some = KeyBuilder::default();
    some.add(input(InputKind::Target, "stage", &[b"1"])).unwrap();
    some.add(app).unwrap();
    some.add(input(InputKind::BuildArg, "VERSION", &[b"1.2"])).unwrap();
    some.add(input(InputKind::BuildArg, "A", &[b""])).unwrap();
    let image = "23929a16b10fa2d9a0e2c94b75df20e7a53706d9c798139375b566eec9fae33d";
    assert_eq!(some.finish(KeyRole::Image, &seal).to_string(), image);
    let dependency = "8d836e2ebea0140277d972c814628240f933b42d8d483765c7e042877ff0a488";
    assert_eq!(some.finish(KeyRole::Dependency, &seal).to_string(), dependency);
}

#[test]
fn the_keys_of_a_known_build_are_stable() {
    // A change here makes every stored image a miss: raise the version and announce it.
    let keys = keys(&case());
    assert_eq!(keys.image.to_string(), "9ad2127de8f6f8b678164b34ca49a111cf5d37c86ca667af62fb2a828bd4daf0");
    assert_eq!(
        keys.dependency.to_string(),
        "cd102f1eebc91a96b444c03823c96f158adbc885754c840efc18b21660f3576c"
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
fn two_inputs_with_one_name_are_refused() {
    let mut key = KeyBuilder::default();
    key.add_values(InputKind::File, "a", &[b"1"]).unwrap();
    key.add_values(InputKind::Label, "a", &[b"1"]).unwrap();
    let error = key.add_values(InputKind::File, "a", &[b"1"]).unwrap_err();
    assert_eq!(error.to_string(), "two key inputs of kind file are named `a`");
}
