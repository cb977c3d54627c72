//! Keeps the JSON schemas in the root of the repository up to date.

use std::path::Path;

/// Fails if the file `name` differs from the schema. Updates it then, so that the test passes the next time.
#[track_caller]
pub(crate) fn assert_up_to_date(name: &str, schema: &schemars::Schema) {
    let schema = serde_json::to_string_pretty(schema).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::fs::read_to_string(&path).ok().as_ref() != Some(&schema) {
        std::fs::write(&path, &schema).unwrap();
        panic!("{name} was not up to date: commit the new version");
    }
}
