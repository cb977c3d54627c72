//! The direct transport (Docker 29.2 and newer, buildkitd), against servers of the tests' own, and
//! against the endpoint that `LARDER_TEST_BUILDKIT` names.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use larder::digest::Digest;
use serde_json::Value;

use crate::direct_server::{DirectServer, Product};
use crate::engines::{Engine, any_engine, engines, upgraded_engines};
use crate::proxy::Proxy;
use crate::support::{BUSYBOX, TestContext, finish};

/// An endpoint with the direct transport.
struct Direct {
    /// As larder is told of it.
    engine: Engine,
    /// The server of the tests' own; `None` for a given endpoint.
    server: Option<DirectServer>,
    /// The engine to ask what came of it.
    peer: Engine,
}

/// All endpoints that play or are `product`.
fn endpoints(product: Product) -> Vec<Direct> {
    let served = engines().into_iter().map(|behind| {
        let server = DirectServer::start(product, &behind.host);
        let engine = behind.at(&format!("{product:?} before {}", behind.name), server.host());
        Direct { engine, server: Some(server), peer: behind }
    });
    let given = std::env::var("LARDER_TEST_BUILDKIT").ok().filter(|host| !host.is_empty());
    let given = given.filter(|host| product_at(host) == product).map(|host| {
        let engine = any_engine().at("LARDER_TEST_BUILDKIT", &host);
        Direct { engine: engine.clone(), server: None, peer: engine }
    });
    served.chain(given).collect()
}

/// Docker answers a ping in HTTP/1, buildkitd does not.
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

impl Direct {
    /// A project whose context holds a root file system, since the endpoint may have no base image.
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

    /// Whether its frontend reads named contexts.
    fn reads_named_contexts(&self) -> bool {
        self.server.is_none() || self.peer.major() >= 23
    }

    fn assert_direct(&self) {
        if let Some(server) = &self.server {
            let seen = server.seen();
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
fn a_whole_build_goes_over_the_direct_transport() {
    let big: Vec<u8> = (0..5_u32 << 20).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let sum = Digest::of(&big).hex();
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
        let told = std::fs::read_to_string(context.path("out/sum")).unwrap();
        assert!(told.starts_with(&sum), "{}: {told}", direct.engine.name);
        let hit = context.build(&["--secret", "id=token,src=../token", "-t", &tag, "."]);
        assert_eq!((&hit["outcome"], &hit["hit_tier"]), (&Value::from("image-hit"), &Value::from("engine")));
        assert_eq!(hit["image_id"], direct.peer.inspect(&tag)["Id"], "{}", direct.engine.name);
        direct.assert_direct();
    }
}

#[test]
fn a_failing_step_over_the_direct_transport_keeps_its_message_and_output() {
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
fn files_come_back_over_the_direct_transport() {
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
fn a_named_context_comes_over_the_direct_transport() {
    let all = [Product::Docker, Product::Buildkitd].into_iter().flat_map(endpoints);
    for direct in all.filter(Direct::reads_named_contexts) {
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
fn buildkitd_keeps_no_image_and_larder_says_so() {
    for direct in endpoints(Product::Buildkitd) {
        let context = direct.project("RUN true\n");
        let run = context.larder(&["build", "."]).success();
        assert!(run.stderr.contains("warning: buildkitd keeps no images"), "{}", run.stderr);
        assert!(run.stderr.contains("buildkitd keeps no images"), "{}", run.stderr);
        let name = context.tag("nowhere");
        context.larder(&["build", "--load", "-t", &name, "."]).failure(2, "nowhere to load").hint("--push");
        if let Some(server) = &direct.server {
            assert!(server.seen().contains(&"HTTP/1".to_owned()), "it was asked in HTTP/1 first");
        }
    }
}

#[test]
fn an_engine_without_the_direct_transport_is_upgraded_and_never_spoken_to_directly() {
    for engine in upgraded_engines() {
        let proxy = Proxy::unix(&engine.host);
        let context = TestContext::new(&engine);
        context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN true\n"));
        finish(context.command(&["build", "."]).env("DOCKER_HOST", proxy.host()), None).success();
        let seen = proxy.seen();
        for first in ["GET /_ping HTTP/1.1", "POST /grpc HTTP/1.1", "POST /session HTTP/1.1"] {
            assert!(seen.iter().any(|line| line == first), "{first} on {}: {seen:?}", engine.name);
        }
        assert!(!seen.iter().any(|line| line.starts_with("PRI ")), "{}: {seen:?}", engine.name);
    }
}

#[test]
fn the_platform_is_the_builders_also_behind_a_socket_of_this_machine() {
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
        let asked = server.seen().into_iter().filter(|path| path.ends_with("ListWorkers")).count();
        // A buildkitd is known by that answer, too.
        assert_eq!(asked, if product == Product::Docker { 1 } else { 2 }, "{product:?}");
    }
}
