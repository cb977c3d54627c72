//! The direct transport (Docker 29.2 and newer, buildkitd), with servers of the tests and with the endpoint in
//! `LARDER_TEST_BUILDKIT`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::direct_server::{DirectServer, Product};
use crate::engines::{Engine, any_engine, engines, upgraded_engines};
use crate::proxy::Proxy;
use crate::support::{BUSYBOX, TestContext, run_to_end, sha256};

/// An endpoint with the direct transport.
struct DirectEndpoint {
    /// The engine with the address that larder gets.
    engine: Engine,
    /// The server of the test; `None` for a given endpoint.
    server: Option<DirectServer>,
    /// The engine in which the results are inspected.
    peer: Engine,
}

/// Returns all endpoints of this product, simulated and real ones.
fn endpoints(product: Product) -> Vec<DirectEndpoint> {
    let served = engines().into_iter().map(|behind| {
        let server = DirectServer::start(product, &behind.host);
        let engine = behind.at(&format!("{product:?} before {}", behind.name), server.host());
        DirectEndpoint { engine, server: Some(server), peer: behind }
    });
    let given = std::env::var("LARDER_TEST_BUILDKIT").ok().filter(|host| !host.is_empty());
    let given = given.filter(|host| product_at(host) == product).map(|host| {
        let engine = any_engine().at("LARDER_TEST_BUILDKIT", &host);
        DirectEndpoint { engine: engine.clone(), server: None, peer: engine }
    });
    served.chain(given).collect()
}

/// Returns the product at an address. Docker answers a ping in HTTP/1, buildkitd does not.
fn product_at(host: &str) -> Product {
    fn ping(mut stream: impl Read + Write) -> bool {
        stream
            .write_all(b"GET /_ping HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")
            .expect("it listens");
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).is_ok_and(|()| answer.starts_with(b"HTTP/1.1"))
    }
    let is_docker = match host.split_once("://") {
        Some(("unix", path)) => ping(UnixStream::connect(path).expect("LARDER_TEST_BUILDKIT listens")),
        Some(("tcp", address)) => ping(TcpStream::connect(address).expect("LARDER_TEST_BUILDKIT listens")),
        _ => panic!("LARDER_TEST_BUILDKIT is unix://… or tcp://…, not {host}"),
    };
    if is_docker { Product::Docker } else { Product::Buildkitd }
}

impl DirectEndpoint {
    /// Creates a project whose context contains a root file system, because the endpoint may have no base image.
    fn project(&self, dockerfile: &str) -> TestContext {
        let base = TestContext::new(&any_engine());
        base.write("Dockerfile", format!("FROM {BUSYBOX}\n"));
        let context = TestContext::new(&self.engine);
        let rootfs = context.project().join("rootfs");
        base.larder(&["build", "--output", &rootfs.to_string_lossy(), "."]).success();
        context.write(
            "Dockerfile",
            format!(
                "FROM scratch AS base\nCOPY rootfs /\nENV TEST={}\nFROM base AS work\n{dockerfile}",
                context.tag("unique")
            ),
        );
        context
    }

    /// Returns `true` if its frontend supports named contexts.
    fn reads_named_contexts(&self) -> bool {
        self.server.is_none() || self.peer.major() >= 23
    }

    fn assert_direct(&self) {
        if let Some(server) = &self.server {
            let seen = server.requests();
            for method in ["Solve", "Status", "Session"] {
                let path = format!("/moby.buildkit.v1.Control/{method}");
                assert!(seen.contains(&path), "{path} on {}: {seen:?}", self.engine.name);
            }
            let upgrades = seen
                .iter()
                .filter(|path| path.starts_with("POST /grpc") || path.starts_with("POST /session"));
            assert_eq!(upgrades.count(), 0, "{seen:?}");
        }
    }
}

#[test]
fn a_build_with_a_secret_works_over_the_direct_transport() {
    let big: Vec<u8> = (0..5_u32 << 20).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let sum = sha256(&big);
    for direct in endpoints(Product::Docker) {
        let context = direct.project(
            "COPY big /big\n\
             RUN --mount=type=secret,id=token test $(cat /run/secrets/token) = hunter2 && sha256sum /big > /sum\n\
             FROM base\nCOPY --from=work /sum /big /\nRUN echo shown on stderr >&2\n",
        );
        context.write("big", &big);
        std::fs::write(context.path("token"), "hunter2").unwrap();
        let tag = context.tag("direct");
        let arguments =
            ["build", "--progress", "plain", "--secret", "id=token,src=../token", "-t", &tag, "."];
        let run = context.larder(&arguments).success();
        for shown in
            ["[internal] load build context", "RUN echo shown on stderr", "shown on stderr\n", " DONE "]
        {
            assert!(run.stderr.contains(shown), "{shown} on {}:\n{}", direct.engine.name, run.stderr);
        }
        context.build(&["--secret", "id=token,src=../token", "--output", "../out", "."]);
        let written = std::fs::read_to_string(context.path("out/sum")).unwrap();
        assert!(written.starts_with(&sum), "{}: {written}", direct.engine.name);
        let hit = context.build(&["--secret", "id=token,src=../token", "-t", &tag, "."]);
        assert_eq!((&hit["outcome"], &hit["hit_tier"]), (&Value::from("image-hit"), &Value::from("engine")));
        assert_eq!(hit["image_id"], direct.peer.inspect(&tag)["Id"], "{}", direct.engine.name);
        direct.assert_direct();
    }
}

#[test]
fn a_failing_step_over_the_direct_transport_is_reported_with_its_message_and_output() {
    for product in [Product::Docker, Product::Buildkitd] {
        for direct in endpoints(product) {
            let context = direct.project("RUN echo last words && exit 9\n");
            let run = context.larder(&["build", "."]).failure(1, "exit code: 9");
            assert!(run.stderr.contains(" last words\n"), "{}", run.stderr);
            assert!(
                run.stderr.contains(">>> RUN echo last words"),
                "{}:\n{}",
                direct.engine.name,
                run.stderr
            );
        }
    }
}

#[test]
fn a_local_output_is_received_over_the_direct_transport() {
    for product in [Product::Docker, Product::Buildkitd] {
        for direct in endpoints(product) {
            let context = direct.project(
                "RUN mkdir /out && seq 1 100000 > /out/numbers\nFROM scratch\nCOPY --from=work /out /\n",
            );
            let metadata = context.build(&["--output", "type=local,dest=../out", "."]);
            assert_eq!(metadata["outcome"], "built");
            let numbers = std::fs::read_to_string(context.path("out/numbers")).unwrap();
            assert_eq!(numbers.lines().count(), 100_000, "{}", direct.engine.name);
            direct.assert_direct();
        }
    }
}

#[test]
fn a_named_context_is_sent_over_the_direct_transport() {
    let all = [Product::Docker, Product::Buildkitd].into_iter().flat_map(endpoints);
    for direct in all.filter(DirectEndpoint::reads_named_contexts) {
        let context = direct.project("FROM scratch\nCOPY --from=extra file /\n");
        std::fs::create_dir(context.path("extra")).unwrap();
        std::fs::write(context.path("extra/file"), "from elsewhere").unwrap();
        context.build(&["--build-context", "extra=../extra", "--output", "../out", "."]);
        assert_eq!(
            std::fs::read_to_string(context.path("out/file")).unwrap(),
            "from elsewhere",
            "{}",
            direct.engine.name
        );
    }
}

#[test]
fn a_build_with_buildkitd_warns_that_no_image_is_stored() {
    for direct in endpoints(Product::Buildkitd) {
        let context = direct.project("RUN true\n");
        let run = context.larder(&["build", "."]).success();
        assert!(run.stderr.contains("warning: buildkitd stores no images"), "{}", run.stderr);
        assert!(run.stderr.contains("buildkitd stores no images"), "{}", run.stderr);
        let name = context.tag("nowhere");
        context.larder(&["build", "--load", "-t", &name, "."]).failure(2, "stores no images").hint("--push");
        if let Some(server) = &direct.server {
            assert!(server.requests().contains(&"HTTP/1".to_owned()), "the first request was in HTTP/1");
        }
    }
}

#[test]
fn an_engine_without_the_direct_transport_gets_only_upgraded_connections() {
    for engine in upgraded_engines() {
        let proxy = Proxy::unix(&engine.host);
        let context = TestContext::new(&engine);
        context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN true\n"));
        run_to_end(context.command(&["build", "."]).env("DOCKER_HOST", proxy.host()), None).success();
        let seen = proxy.seen();
        for first in ["GET /_ping HTTP/1.1", "POST /grpc HTTP/1.1", "POST /session HTTP/1.1"] {
            assert!(seen.iter().any(|line| line == first), "{first} on {}: {seen:?}", engine.name);
        }
        assert!(!seen.iter().any(|line| line.starts_with("PRI ")), "{}: {seen:?}", engine.name);
    }
}

#[test]
fn the_platform_is_that_of_the_builder_even_behind_a_local_socket() {
    let engine = any_engine();
    for product in [Product::Docker, Product::Buildkitd] {
        let server = DirectServer::with_architecture(product, &engine.host, "s390x");
        let context = TestContext::new(&engine.at("forwarded", server.host()));
        context
            .write("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY on-$TARGETARCH /\n")
            .write("on-amd64", "")
            .write("on-arm64", "")
            .write("on-s390x", "");
        let key = context.larder(&["key", "--explain", "."]).success().stdout;
        assert!(key.contains("  on-s390x\n") && !key.contains("  on-a"), "{product:?}:\n{key}");
        let queries = server.requests().into_iter().filter(|path| path.ends_with("ListWorkers")).count();
        // For a buildkitd, the same query is also used to detect the product.
        assert_eq!(queries, if product == Product::Docker { 1 } else { 2 }, "{product:?}");
    }
}
