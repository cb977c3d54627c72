//! Amazon ECR, imitated by `MiniStack`, which serves both the API and the registry. An nginx in front of it requires
//! the token.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::engines::{any_engine, engines};
use crate::object_servers::{ObjectServer, free_port};
use crate::polling::await_true;
use crate::registry_tiers::front::{Fault, RegistryProxy};
use crate::support::{BUSYBOX, Run, TestContext, json, run_to_end};

/// The token that `MiniStack` returns.
const TOKEN: &str = "ministack-auth-token";

/// A registry for one test. It stops when dropped.
struct Ecr {
    nginx: Child,
    host: String,
    directory: TempDir,
    _ministack: ObjectServer,
}

impl Ecr {
    fn start() -> Self {
        let (ministack, port) = (ObjectServer::ministack(), free_port());
        let directory = TempDir::with_prefix("larder-ecr-").unwrap();
        let at = directory.path().display();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(directory.path().join("htpasswd"), format!("AWS:{{PLAIN}}{TOKEN}\n")).unwrap();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
            .concat();
        let upstream =
            format!("proxy_pass http://127.0.0.1:{}; proxy_set_header Host $http_host;", ministack.port);
        let config = format!(
            "daemon off; pid {at}/pid; error_log {at}/errors; worker_processes 1; user root;\n\
             events {{}}\n\
             http {{ {temporary}\n\
             log_format calls '$request_method $uri $status $bytes_sent $request_length'; access_log {at}/calls calls;\n\
             client_max_body_size 0;\n\
             server {{ listen 127.0.0.1:{port};\n\
             location /v2/ {{ auth_basic ecr; auth_basic_user_file {at}/htpasswd; {upstream} }}\n\
             location / {{ {upstream} proxy_set_header Accept-Encoding ''; sub_filter_types *; sub_filter_once off;\n\
             sub_filter 'https://000000000000.dkr.ecr.us-east-1.amazonaws.com' 'http://127.0.0.1:{port}'; }}\n\
             }} }}\n"
        );
        let path = directory.path().join("nginx.conf");
        std::fs::write(&path, config).unwrap();
        let program =
            if std::path::Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
        let nginx = Command::new(program)
            .arg("-c")
            .arg(&path)
            .args(["-e", "stderr"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let listens = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        await_true(Duration::from_secs(20), "nginx listens", listens);
        Self { nginx, host: format!("127.0.0.1:{port}"), directory, _ministack: ministack }
    }

    /// Returns a larder command with valid AWS credentials.
    fn command(&self, context: &TestContext, arguments: &[&str]) -> Command {
        let mut command = context.command(arguments);
        command
            .env("AWS_ENDPOINT_URL_ECR", format!("http://{}", self.host))
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1");
        command
    }

    fn larder(&self, context: &TestContext, arguments: &[&str]) -> Run {
        run_to_end(&mut self.command(context, arguments), None)
    }

    /// Builds with the cache directory of this agent. Returns the metadata.
    fn build(&self, context: &TestContext, agent: &str, arguments: &[&str]) -> Value {
        let path = |name: &str| context.path(&format!("{agent}-{name}")).to_string_lossy().into_owned();
        let own = ["build", "--cache-dir", &path("cache"), "--metadata-file", &path("metadata.json")];
        self.larder(context, &[&own[..], arguments, &["."]].concat()).success();
        json(path("metadata.json").as_ref())
    }

    /// Calls an operation of the ECR API without arguments. Returns the HTTP response.
    fn call(&self, operation: &str) -> String {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        let head = format!(
            "POST / HTTP/1.0\r\nHost: {}\r\nX-Amz-Target: AmazonEC2ContainerRegistry_V20150921.{operation}\r\n\
             Content-Type: application/x-amz-json-1.1\r\nContent-Length: 2\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/ecr/aws4_request\r\n\r\n{{}}",
            self.host
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    /// Returns the requests so far, each as `METHOD PATH STATUS BYTES-SENT BYTES-RECEIVED`.
    fn calls(&self) -> Vec<String> {
        let mut text = String::new();
        let path = self.directory.path().join("calls");
        std::fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Ecr {
    fn drop(&mut self) {
        // On SIGQUIT, nginx also stops its worker.
        let pid = self.nginx.id().to_string();
        drop(Command::new("kill").args(["-QUIT", &pid]).status());
        drop(self.nginx.wait());
    }
}

fn project() -> TestContext {
    let context = TestContext::new(&any_engine());
    write(&context);
    context
}

fn write(context: &TestContext) {
    let mark = context.tag("ecr");
    context
        .write("app.py", "1\n")
        .write("Dockerfile", format!("FROM {BUSYBOX}\nRUN echo {mark} > /installed\nCOPY app.py /\n"));
}

#[test]
fn a_build_pushes_and_finds_its_image_again_without_a_login() {
    let ecr = Ecr::start();
    for (index, engine) in engines().iter().enumerate() {
        let context = TestContext::new(engine);
        write(&context);
        let name = |tag: &str| format!("{}/app-{index}:{tag}", ecr.host);
        let missing = ecr.larder(&context, &["build", "--push", "-t", &name("1"), "."]);
        missing.failure(1, "cannot push").hint("--create-repository");
        let elsewhere = format!("{}/missing-{index}", ecr.host);
        let tag = context.tag("missing");
        let built = ecr.build(&context, "m", &["--cache-repo", &elsewhere, "-t", &tag, "--key-extra", "m=1"]);
        assert!(built["tiers"].to_string().contains("create the repository"), "{built}");
        let built = ecr.build(
            &context,
            "a",
            &["--push", "--create-repository", "-t", &name("1"), "--key-extra", "a=1"],
        );
        assert_eq!(built["outcome"], "built", "{built}");
        let references = built["kept_layers"]["references"].to_string();
        assert!(references.contains(":cache"), "{references}");
        let before = ecr.calls().len();
        let hit = ecr.build(&context, "b", &["--push", "-t", &name("2"), "--key-extra", "a=1"]);
        assert_eq!(hit["hit_tier"], "registry", "{hit}");
        // No request was large enough to transfer a layer.
        for call in &ecr.calls()[before..] {
            let bytes = call.split(' ').skip(3).map(|bytes| bytes.parse::<u64>().unwrap()).max();
            assert!(bytes < Some(20_000), "{call}");
        }
        context.write("app.py", "2\n");
        let push = |tag: &str| ["--push", "-t", tag, "--key-extra", "a=1"].map(str::to_owned);
        let (third, fourth) = (push(&name("3")), push(&name("4")));
        let grafted = ecr.build(&context, "c", &third.each_ref().map(String::as_str));
        assert!(grafted["tiers"].to_string().contains("made on the layers"), "{grafted}");
        context.write("app.py", "3\n");
        let fourth = fourth.each_ref().map(String::as_str);
        let again = ecr.build(&context, "d", &[&fourth[..], &["--load"]].concat());
        assert_eq!(again["steps"]["imported"], 1, "{again}");
    }
    let api_calls = ecr.calls().iter().filter(|call| call.starts_with("POST / 200")).count();
    assert!(api_calls > 0);
    let refused = ecr.calls().iter().any(|call| call.contains("/v2/") && call.contains(" 401 "));
    assert!(refused, "the registry requires a login");
}

#[test]
fn a_token_is_requested_once_and_stored_with_private_permissions() {
    let ecr = Ecr::start();
    let context = project();
    let run = ecr.larder(&context, &["ecr", "login", &ecr.host]).success();
    assert!(run.stderr.contains("logged in to"), "{}", run.stderr);
    let printed = ecr.larder(&context, &["ecr", "login", "--print", &ecr.host]).success();
    assert_eq!(printed.stdout, format!("{TOKEN}\n"));
    assert!(!printed.stderr.contains(TOKEN) && !run.stderr.contains(TOKEN));
    let api_calls = ecr.calls().iter().filter(|call| call.starts_with("POST / ")).count();
    assert_eq!(api_calls, 1);
    let files: Vec<_> = std::fs::read_dir(context.path("docker/larder")).unwrap().flatten().collect();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);

    // A token that the registry rejects is replaced.
    let stored = std::fs::read_to_string(files[0].path()).unwrap();
    std::fs::write(files[0].path(), stored.replace(TOKEN, "revoked")).unwrap();
    let built = ecr.build(&context, "a", &["--cache-repo", &format!("{}/app", ecr.host)]);
    let tier = built["tiers"].as_array().unwrap().iter().find(|tier| tier["tier"] == "registry").unwrap();
    assert!(tier["reason"].as_str().unwrap().contains("no image of this key"), "{tier}");
    assert!(std::fs::read_to_string(files[0].path()).unwrap().contains(TOKEN));
    // A build that only pushes replaces it, too.
    for engine in engines() {
        let context = TestContext::new(&engine);
        write(&context);
        ecr.larder(&context, &["ecr", "login", &ecr.host]).success();
        let path = std::fs::read_dir(context.path("docker/larder")).unwrap().flatten().next().unwrap().path();
        let token = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, token.replace(TOKEN, "revoked")).unwrap();
        let name = format!("{}/late:{}", ecr.host, engine.name);
        ecr.build(&context, "late", &["--push", "--create-repository", "--tiers", "engine", "-t", &name]);
    }

    let docker = ecr.larder(&context, &["ecr", "login", "--docker", &ecr.host]);
    docker.success();
    let config = json(&context.path("docker/config.json"));
    assert!(config["auths"][&ecr.host]["auth"].is_string(), "{config}");
}

#[test]
fn images_are_pushed_to_a_new_repository_then_pulled_and_removed() {
    let ecr = Ecr::start();
    let context = project();
    let repository = format!("{}/shop/app", ecr.host);
    let name = |tag: &str| format!("{repository}:{tag}");
    for tag in ["1", "larder-a", "larder-b", "cache"] {
        context.write("app.py", tag);
        ecr.build(&context, "a", &["-t", &name(tag), "--tiers", "engine"]);
    }
    ecr.larder(&context, &["ecr", "pull", &name("1")]).success();
    ecr.larder(&context, &["ecr", "pull", "--strict", &name("1")]).failure(1, "does not exist");
    ecr.larder(&context, &["ecr", "push", &name("1")]).failure(1, "cannot push").hint("--create");
    for tag in ["1", "larder-a", "larder-b", "cache"] {
        ecr.larder(&context, &["ecr", "push", "--create", "--immutable", "--scan-on-push", &name(tag)])
            .success();
    }
    let described = ecr.call("DescribeRepositories");
    assert!(described.contains("IMMUTABLE_WITH_EXCLUSION"), "{described}");
    assert!(described.contains("\"scanOnPush\": true"), "{described}");
    let removed = context.engine.docker().args(["rmi", &name("1")]).stdout(Stdio::null()).status().unwrap();
    assert!(removed.success());
    let pulled = ecr.larder(&context, &["ecr", "pull", &name("1")]).success();
    assert!(pulled.stderr.contains(&format!("pulled {}", name("1"))), "{}", pulled.stderr);

    ecr.larder(&context, &["ecr", "clean", &repository])
        .failure(2, "no images are selected")
        .hint("--untagged");
    let clean = |more: &[&str]| {
        let arguments = [&["ecr", "clean", &repository, "--format", "json"], more].concat();
        let run = ecr.larder(&context, &arguments).success();
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        let tags = report["removed"]
            .as_array()
            .unwrap()
            .iter()
            .map(|image| image["tag"].as_str().unwrap().to_owned());
        tags.collect::<Vec<String>>()
    };
    assert_eq!(clean(&["--tag", "larder-*", "--keep", "1", "--dry-run"]).len(), 1);
    assert_eq!(clean(&["--tag", "larder-*", "--older-than", "1d"]).len(), 0);
    assert_eq!(clean(&["--tag", "larder-*"]).len(), 2);
    assert_eq!(clean(&["--tag", "larder-*"]).len(), 0);
    assert_eq!(clean(&["--tag", "cache"]), ["cache"]);
    let mut stats = ecr.command(&context, &["cache", "stats", "--format", "json"]);
    let stats = run_to_end(stats.env("LARDER_CACHE_REPO", &repository), None).success();
    let stats: Value = serde_json::from_str(&stats.stdout).unwrap();
    assert_eq!(
        (&stats["registries"][0]["repository"], &stats["registries"][0]["images"]),
        (&repository.into(), &1.into())
    );
    ecr.larder(&context, &["ecr", "clean", &format!("{}/nothing", ecr.host), "--untagged"])
        .failure(2, "does not exist");
}

#[test]
fn a_repository_is_created_only_for_an_image_that_can_be_pushed() {
    let ecr = Ecr::start();
    let context = project();
    let name = format!("{}/shop/app:1", ecr.host);
    let push = || ecr.larder(&context, &["ecr", "push", "--create", &name]);
    push().failure(1, "the engine has no image").hint("larder build -t");
    let tagged = context.engine.docker().args(["tag", BUSYBOX, &name]).status().unwrap();
    assert!(tagged.success());
    let other = format!("{}/shop/missing:1", ecr.host);
    ecr.larder(&context, &["ecr", "push", "--create", &name, &other]).failure(1, "the engine has no image");
    let htpasswd = ecr.directory.path().join("htpasswd");
    std::fs::write(&htpasswd, "AWS:{PLAIN}different\n").unwrap();
    push().failure(2, "401");
    let described = ecr.call("DescribeRepositories");
    assert!(described.contains("200 OK") && !described.contains("shop/app"), "{described}");
    std::fs::write(&htpasswd, format!("AWS:{{PLAIN}}{TOKEN}\n")).unwrap();
    push().success();
}

#[test]
fn manifests_that_belong_to_a_tagged_index_do_not_count_as_untagged() {
    let Some(engine) = engines().into_iter().find(crate::engines::Engine::is_containerd) else { return };
    let ecr = Ecr::start();
    let context = TestContext::new(&engine);
    write(&context);
    let repository = format!("{}/app", ecr.host);
    let push = |more: &[&str]| {
        let name = format!("{repository}:1");
        let own = ["--push", "--create-repository", "--tiers", "engine", "-t", &name, "--provenance=true"];
        ecr.build(&context, "a", &[&own[..], more].concat());
    };
    let untagged = || {
        let clean = ["ecr", "clean", &repository, "--untagged", "--dry-run", "--format", "json"];
        let report: Value = serde_json::from_str(&ecr.larder(&context, &clean).success().stdout).unwrap();
        report["removed"].as_array().unwrap().len()
    };
    push(&[]);
    assert_eq!(untagged(), 0, "an index and its manifests");
    context.write("app.py", "2");
    push(&[]);
    assert_eq!(untagged(), 3, "the previous index, its image and its attestation");
}

#[test]
fn a_lifecycle_policy_is_shown_compared_and_applied() {
    let ecr = Ecr::start();
    let context = project();
    let name = format!("{}/app:1", ecr.host);
    ecr.build(&context, "a", &["--push", "--create-repository", "-t", &name]);
    let repository = format!("{}/app", ecr.host);
    let lifecycle =
        |more: &[&str]| ecr.larder(&context, &[&["ecr", "lifecycle", &repository], more].concat()).success();
    let refused = |more: &[&str], cause: &str| {
        let arguments = [&["ecr", "lifecycle", &repository, "--keep", "50"], more].concat();
        ecr.larder(&context, &arguments).failure(2, cause).hint("--protect PATTERN");
    };
    // An image with a cache key can also have a release tag, and ECR removes an image with all its tags.
    refused(&["--apply"], "--keep requires --protect or --any-tag");
    refused(&["--protect", "release-*", "--apply"], &format!("{name} is not protected"));
    let untouched = lifecycle(&[]);
    assert!(untouched.stdout.lines().all(|line| line.starts_with('+')), "{}", untouched.stdout);
    let any = lifecycle(&["--keep", "50", "--any-tag"]);
    let lifecycle = |more: &[&str]| lifecycle(&[&["--protect", "1"], more].concat());
    let shown = lifecycle(&["--keep", "50"]);
    assert!(
        any.stdout.contains("larder-*") && !any.stdout.contains("keep images tagged 1"),
        "{}",
        any.stdout
    );
    assert!(shown.stdout.lines().all(|line| line.starts_with('+')), "{}", shown.stdout);
    assert!(shown.stdout.contains("larder-*") && shown.stdout.contains("untagged"), "{}", shown.stdout);
    assert!(shown.stderr.contains("nothing was written"), "{}", shown.stderr);
    lifecycle(&["--keep", "50", "--apply"]);
    let again = lifecycle(&["--keep", "50", "--apply"]);
    assert!(again.stderr.contains("already has this policy"), "{}", again.stderr);
    let other = lifecycle(&["--keep", "20"]);
    let changed: Vec<&str> = other.stdout.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(changed.len(), 2, "{}", other.stdout);
}

#[test]
fn the_error_for_a_denied_permission_names_it() {
    let ecr = Ecr::start();
    let context = project();
    let front = RegistryProxy::before(&ecr.host);
    let denied =
        r#"{"__type":"AccessDeniedException","message":"User: arn:aws:iam::1:user/ci is not authorized"}"#;
    front.fail(
        "POST",
        "/",
        Fault::Answer("400 Bad Request\r\ncontent-type: application/x-amz-json-1.1", denied),
        99,
    );
    for (arguments, action) in [
        (&["login", "HOST"][..], "ecr:GetAuthorizationToken"),
        (&["clean", "HOST/app", "--untagged"], "ecr:DescribeImages"),
        (&["lifecycle", "HOST/app"], "ecr:GetLifecyclePolicy"),
    ] {
        let arguments: Vec<String> = arguments.iter().map(|word| word.replace("HOST", &front.host)).collect();
        let arguments: Vec<&str> = ["ecr"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        let mut command = ecr.command(&context, &arguments);
        command.env("AWS_ENDPOINT_URL_ECR", format!("http://{}", front.host));
        run_to_end(&mut command, None)
            .failure(2, "is not authorized")
            .hint(&format!("allow this identity {action} on"));
    }
}

#[test]
fn in_an_immutable_repository_the_tags_of_larder_stay_mutable() {
    let ecr = Ecr::start();
    let context = project();
    let front = RegistryProxy::before(&ecr.host);
    let name = format!("{}/app:1", front.host);
    let tagged = context.engine.docker().args(["tag", BUSYBOX, &name]).status().unwrap();
    assert!(tagged.success());
    let larder = |arguments: &[&str]| {
        let mut command = ecr.command(&context, arguments);
        run_to_end(command.env("AWS_ENDPOINT_URL_ECR", format!("http://{}", front.host)), None)
    };
    larder(&["ecr", "login", &front.host]).success();
    front.fail("POST", "/", Fault::Answer("400 Bad Request", "{}"), usize::MAX);
    larder(&["ecr", "push", "--create", "--immutable", &name]).failure(2, "ecr:CreateRepository");
    // MiniStack does not store the exclusion filters, so check the request.
    let calls = front.seen();
    let create = calls.iter().find(|call| call.body.contains("repositoryName")).unwrap();
    let request: Value = serde_json::from_str(&create.body).unwrap();
    let filters = request["imageTagMutabilityExclusionFilters"].as_array().unwrap().iter();
    let filters: Vec<&str> = filters.map(|filter| filter["filter"].as_str().unwrap()).collect();
    assert_eq!(filters, ["cache*", "buildcache*", "larder-*"]);
}

#[test]
fn missing_credentials_and_hosts_that_are_not_ecr_are_reported() {
    let context = TestContext::new(&any_engine());
    context.larder(&["ecr", "login", "registry.example"]).failure(2, "is not an ECR registry");
    let ecr = Ecr::start();
    let mut command = ecr.command(&context, &["ecr", "lifecycle", &format!("{}/app", ecr.host)]);
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    run_to_end(&mut command, None).failure(2, "no usable AWS identity").hint("AWS_PROFILE");
    // The host in the repository name decides, whatever endpoint the environment sets.
    let tagged = format!("{}/app:1", ecr.host);
    for (arguments, cause) in [
        (&["ecr", "clean", "registry.example/app", "--tag", "9"][..], "is not an ECR registry"),
        (&["ecr", "lifecycle", "127.0.0.1:9/app", "--apply"], "is not an ECR registry"),
        (&["ecr", "push", "--create", "127.0.0.1:9/app:1"], "is not an ECR registry"),
        (&["ecr", "clean", &tagged, "--tag", "9"], "leave the tag out"),
        (&["ecr", "lifecycle", &tagged], "leave the tag out"),
        (&["--read-only", "ecr", "clean", "a/b", "--tag", "9"], "--read-only"),
        (&["--read-only", "ecr", "lifecycle", "a/b", "--apply"], "--read-only"),
        (&["ecr", "lifecycle", "a/b", "--untagged-days", "0"], "0 is not in 1"),
        (&["ecr", "clean", "a/b", "--tag", ""], "--tag"),
    ] {
        ecr.larder(&context, arguments).failure(2, cause);
    }
    // The SDK would use an empty string as an endpoint URL.
    let mut command = context.command(&["ecr", "login", "registry.example"]);
    let run = run_to_end(command.env("AWS_ENDPOINT_URL", "").env("AWS_ENDPOINT_URL_STS", ""), None);
    run.failure(2, "is not an ECR registry");
    let mut command = context.command(&["ecr", "login", "123456789012.dkr.ecr.eu-north-1.amazonaws.com"]);
    run_to_end(command.env("AWS_ENDPOINT_URL", "garbage"), None).failure(2, "`garbage` is not the address");
    let mut command = context.command(&["ecr", "lifecycle", "127.0.0.1:9/app"]);
    command
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test");
    run_to_end(&mut command, None).failure(2, "cannot reach AWS for ecr:GetLifecyclePolicy").hint("region");
}
