//! Secrets: only the steps that mount a secret get it, and it does not change the key.

use super::{Bench, on_engines};
use crate::support::sha256;

/// The first engine version whose frontend supports `RUN --mount=type=secret,env=`.
const SECRETS_AS_VARIABLES: u32 = 28;

/// Binary data, so that the test detects conversions.
const SECRET: &[u8] = b"s3cr\0\xff\r\n";

#[test]
fn a_step_gets_secrets_as_files() {
    let dockerfile = "FROM larder-test/busybox:1\nCOPY run.sh /\n\
                      RUN --mount=type=secret,id=token sha256sum < /run/secrets/token > /file\n\
                      RUN --mount=type=secret,id=variable,target=/elsewhere,uid=1000,mode=0444,required=true \
                      stat -c %u:%a /elsewhere > /mode && sha256sum < /elsewhere > /variable\n\
                      RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent\n";
    on_engines(0, |engine| {
        let mut bench = Bench::with_files(engine, dockerfile);
        let path = bench.context.path("token");
        std::fs::write(&path, SECRET).unwrap();
        bench.variables.push(("OUR_TOKEN", "from the environment".to_owned()));
        let file = format!("id=token,src={}", path.display());
        let flags = ["--secret", &file, "--secret", "id=variable,env=OUR_TOKEN", &bench.directory];
        let image = bench.assert_same("secrets", &flags, None);
        let digests = [SECRET, b"from the environment"].map(sha256);
        for (path, expected) in [("/file", &*digests[0]), ("/variable", &digests[1]), ("/mode", "1000:444")] {
            let seen = String::from_utf8(engine.read(&image, path)).unwrap();
            assert!(seen.starts_with(expected), "{}: {path}: {seen}", engine.name);
        }
    });
}

#[test]
fn a_step_gets_secrets_as_variables() {
    let dockerfile = "FROM larder-test/busybox:1\nCOPY run.sh /\n\
                      RUN --mount=type=secret,id=token,env=T printf %s \"$T\" | sha256sum > /variable\n";
    on_engines(SECRETS_AS_VARIABLES, |engine| {
        let mut bench = Bench::with_files(engine, dockerfile);
        bench.variables.push(("token", "named by its id".to_owned()));
        for flag in ["id=token", "id=token,type=env", "type=env,id=token,src=token"] {
            let image = bench.assert_same(flag, &["--secret", flag, &bench.directory], None);
            let seen = String::from_utf8(engine.read(&image, "/variable")).unwrap();
            assert!(seen.starts_with(&sha256(b"named by its id")), "{}: {seen}", engine.name);
        }
    });
}

#[test]
fn the_value_of_a_secret_does_not_change_the_key() {
    let dockerfile =
        "FROM larder-test/busybox:1\nCOPY run.sh /\nRUN --mount=type=secret,id=a wc -c /run/secrets/a\n";
    let engine = crate::engines::any_engine();
    let mut bench = Bench::with_files(&engine, dockerfile);
    for (value, outcome) in [("first", "built"), ("a second one", "image-hit")] {
        bench.variables = vec![("VALUE", value.to_owned())];
        bench.larder(&["--secret", "id=a,env=VALUE", "."], None).success();
        assert_eq!(bench.record()["outcome"], outcome);
    }
}
