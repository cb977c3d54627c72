//! Mistakes in `larder.yaml` and in environment variables.

use crate::engines::any_engine;
use crate::support::{BUSYBOX, TestContext, run_to_end};

fn context() -> TestContext {
    let context = TestContext::new(&any_engine());
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN true\n"));
    context
}

#[test]
fn the_error_for_a_mistake_in_the_file_names_the_file_and_the_key() {
    let context = context();
    for (text, cause) in [
        ("cach_dir: /x\n", "configuration file larder.yaml: unknown field `cach_dir`"),
        ("strict: maybe\n", "configuration file larder.yaml: strict"),
        ("timeout: soon\n", "configuration file larder.yaml: timeout: `soon` is not a duration"),
        ("progress: loud\n", "configuration file larder.yaml: progress: `loud` is not one of"),
        ("cache_dir: [x\n", "configuration file larder.yaml: "),
        ("just words\n", "configuration file larder.yaml: "),
    ] {
        context.write("larder.yaml", text);
        context.larder(&["build", "."]).failure(2, cause).hint("larder.schema.json");
    }
    context.write("larder.yaml", "# nothing yet\n");
    context.larder(&["build", "."]).success();
}

#[test]
fn the_error_for_a_mistake_in_an_image_names_its_key_and_line() {
    let context = context();
    for (text, cause) in [
        ("names: [ok, 'app:feature/x']", "names: invalid image reference `app:feature/x`: a tag has"),
        ("context: nope", "context: build context `"),
        ("dockerfile: nope", "dockerfile: `"),
        ("platforms: [a/b/c/d]", "platforms: `a/b/c/d` is not a platform"),
        ("timeout: soon", "timeout: `soon` is not a duration"),
        ("max_mount_size: big", "max_mount_size: `big` is not a size"),
        ("cache_repo: App", "cache_repo: invalid image reference `App`"),
        ("secrets: ['id=x,src=nope']", "secrets: `"),
        ("build_contexts: {x: nope}", "build_contexts: `"),
        ("additional_context: {'a b': c}", "additional_context: `"),
    ] {
        context.write("larder.yaml", format!("images:\n  shop:\n    labels: {{a: b}}\n    {text}\n"));
        let cause = format!("configuration file larder.yaml: images.shop.{cause}");
        let run = context.larder(&["build", "shop"]).failure(2, &cause).hint("larder.schema.json");
        assert!(run.stderr.contains(" at line 4"), "{}", run.stderr);
    }
    for (text, cause) in [
        ("shm_size: big", "shm_size: `big` is not a size"),
        ("publish: ['99999']", "publish: `99999` is not"),
        ("devices: [kfd]", "devices: `kfd` is not"),
        ("gpus: some", "gpus: `some` is neither"),
    ] {
        context.write("larder.yaml", format!("images:\n  shop:\n    run:\n      {text}\n"));
        let cause = format!("configuration file larder.yaml: images.shop.run.{cause}");
        let run = context.larder(&["run", "shop"]).failure(2, &cause).hint("larder.schema.json");
        assert!(run.stderr.contains(" at line 4"), "{}", run.stderr);
    }
}

#[test]
fn a_configuration_file_from_the_command_line_that_does_not_exist_is_an_error() {
    let context = context();
    context
        .larder(&["build", "--config", "ci.yaml", "."])
        .failure(2, "ci.yaml: there is no such file")
        .hint("--config");
}

#[test]
fn the_error_for_a_mistake_in_a_variable_names_the_variable() {
    let context = context();
    for (variable, value, cause) in [
        ("LARDER_TIMEOUT", "soon", "LARDER_TIMEOUT: `soon` is not a duration"),
        ("LARDER_PROGRESS", "loud", "LARDER_PROGRESS: `loud` is not one of"),
        ("BUILDKIT_PROGRESS", "loud", "BUILDKIT_PROGRESS: `loud` is not one of"),
        ("DOCKER_HOST", "build.example", "DOCKER_HOST: `build.example` is not an engine address"),
        ("LARDER_MOUNT_TIMEOUT", "soon", "LARDER_MOUNT_TIMEOUT: `soon` is not a duration"),
        ("LARDER_MAX_MOUNT_SIZE", "big", "LARDER_MAX_MOUNT_SIZE: `big` is not a size"),
        (
            "LARDER_MOUNT_UNUSED_BUILDS",
            "few",
            "LARDER_MOUNT_UNUSED_BUILDS: `few` is not a whole number such as 5",
        ),
        ("LARDER_CACHE_REPO", "App", "LARDER_CACHE_REPO: invalid image reference `App`"),
        ("LARDER_CERTS_DIR", "/nonexistent", "LARDER_CERTS_DIR: `/nonexistent` is not a directory"),
        ("LARDER_TRUSTED_KEYS", "x", "LARDER_TRUSTED_KEYS: `x`: not a key (32 bytes in base64"),
        ("DOCKER_DEFAULT_PLATFORM", "a/b/c/d", "DOCKER_DEFAULT_PLATFORM: `a/b/c/d` is not a platform"),
        ("SOURCE_DATE_EPOCH", "today", "SOURCE_DATE_EPOCH: `today` is not a number of seconds"),
        (
            "DOCKER_HOST",
            "tcp://build.example:many",
            "DOCKER_HOST: `tcp://build.example:many` has an invalid port",
        ),
    ] {
        let run = run_to_end(context.command(&["build", "."]).env(variable, value), None);
        run.failure(2, cause).hint(&format!("correct {variable} or unset it"));
    }
    let run = run_to_end(context.command(&["build", "."]).env("LARDER_CONFIG", "/nonexistent.yaml"), None);
    run.failure(2, "/nonexistent.yaml: there is no such file").hint("LARDER_CONFIG");
}
