//! SSH mounts: with the user's agent, and with an agent that larder runs for key files.

use std::path::Path;
use std::process::Command;

use signature::Verifier;
use ssh_key::{Algorithm, PublicKey, Signature};

use super::{Bench, on_engines};
use crate::engines::Engine;

/// The message numbers of the agent protocol (draft-miller-ssh-agent).
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const FAILURE: u8 = 5;
/// The flags of requests to sign with RSA.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// The data that the steps request a signature of.
const MESSAGE: &[u8] = b"sign this";

const DOCKERFILE: &str = "
FROM larder-test/busybox:1
COPY run.sh /
COPY requests/client /client
COPY requests/list requests/sign-* /requests/
RUN --mount=type=ssh,id=ID for request in /requests/*; do /client < $request > /response-${request##*/} || exit; done
RUN --mount=type=ssh,id=absent test ! -e \"$SSH_AUTH_SOCK\"
";

/// Creates a project with a step that connects to the agent `id`, and a key pair of each kind. Returns the public keys,
/// too.
fn bench(engine: &Engine, id: &str, kinds: &[&str]) -> (Bench, Vec<PublicKey>) {
    let bench = Bench::with_files(engine, &DOCKERFILE.replace("ID", id));
    let requests = bench.context.project().join("requests");
    std::fs::create_dir(&requests).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/equivalence/agent.c");
    let mut compiler = Command::new("cc");
    run(compiler.args(["-static", "-Os", "-s", "-o"]).arg(requests.join("client")).arg(source));
    let keys = kinds.iter().map(|kind| key(&bench.context.path(kind), kind)).collect::<Vec<_>>();
    std::fs::write(requests.join("list"), framed(&[REQUEST_IDENTITIES])).unwrap();
    for key in &keys {
        for (name, flags) in signature_requests(key) {
            let mut request = vec![SIGN_REQUEST];
            request.extend(string(&key.to_bytes().unwrap()));
            request.extend(string(MESSAGE));
            request.extend(flags.to_be_bytes());
            std::fs::write(requests.join(name), framed(&request)).unwrap();
        }
    }
    (bench, keys)
}

/// Returns the name and flags of each kind of signature request that a key supports.
fn signature_requests(key: &PublicKey) -> &'static [(&'static str, u32)] {
    match key.algorithm() {
        Algorithm::Rsa { .. } => &[("sign-rsa-256", RSA_SHA2_256), ("sign-rsa-512", RSA_SHA2_512)],
        _ => &[("sign-ed25519", 0)],
    }
}

/// Creates a key pair at `path`. Returns the public key.
fn key(path: &Path, kind: &str) -> PublicKey {
    run(Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-C", "", "-f"]).arg(path));
    PublicKey::read_openssh_file(&path.with_extension("pub")).unwrap()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

fn framed(message: &[u8]) -> Vec<u8> {
    string(message)
}

/// Returns the agent's response to the request `name`, which a step saved in the image.
fn response(engine: &Engine, image: &str, name: &str) -> Vec<u8> {
    engine.read(image, &format!("/response-{name}"))
}

/// Asserts that the agent had exactly these keys and signed with each of them.
fn assert_served(engine: &Engine, image: &str, keys: &[PublicKey], comment: &str) {
    let mut expected = vec![IDENTITIES_ANSWER];
    expected.extend(u32::try_from(keys.len()).unwrap().to_be_bytes());
    for key in keys {
        expected.extend(string(&key.to_bytes().unwrap()));
        expected.extend(string(comment.as_bytes()));
    }
    assert_eq!(response(engine, image, "list"), expected, "{}", engine.name);
    for key in keys {
        for (name, _) in signature_requests(key) {
            let response = response(engine, image, name);
            assert_eq!(response[0], SIGN_RESPONSE, "{name} on {}", engine.name);
            let signature = Signature::try_from(&response[5..]).unwrap();
            key.key_data().verify(MESSAGE, &signature).unwrap();
        }
    }
}

#[test]
fn a_step_can_use_the_agent_of_the_user() {
    on_engines(0, |engine| {
        let (mut bench, keys) = bench(engine, "default", &["ed25519"]);
        let socket = bench.context.path("agent").to_string_lossy().into_owned();
        let agent = Agent::start(&socket);
        run(Command::new("ssh-add")
            .arg("-q")
            .arg(bench.context.path("ed25519"))
            .env("SSH_AUTH_SOCK", &socket));
        let by_path = format!("default={socket}");
        bench.variables.push(("SSH_AUTH_SOCK", socket));
        for flag in ["default", &by_path] {
            let image = bench.assert_same(flag, &["--ssh", flag, &bench.directory], None);
            // If a key has no comment, ssh-add sets the comment to its path.
            assert_served(engine, &image, &keys, &bench.context.path("ed25519").to_string_lossy());
        }
        drop(agent);
    });
}

#[test]
fn key_files_are_served_by_an_agent_of_larder() {
    on_engines(0, |engine| {
        let (bench, keys) = bench(engine, "deploy", &["ed25519", "rsa"]);
        let path = |kind: &str| bench.context.path(kind).to_string_lossy().into_owned();
        let flag = format!("deploy={},{}", path("ed25519"), path("rsa"));
        let image = bench.assert_same("--ssh with keys", &["--ssh", &flag, &bench.directory], None);
        assert_served(engine, &image, &keys, "");
    });
}

#[test]
fn the_agent_for_key_files_does_not_sign_with_other_keys() {
    let engine = crate::engines::any_engine();
    let (bench, _) = bench(&engine, "deploy", &["ed25519"]);
    key(&bench.context.path("other"), "ed25519");
    let flag = format!("deploy={}", bench.context.path("other").display());
    let image = bench.context.tag("other");
    bench.larder(&["--ssh", &flag, "-t", &image, "."], None).success();
    assert_eq!(response(&engine, &image, "sign-ed25519"), [FAILURE]);
}

/// A running `ssh-agent`. It stops when dropped.
struct Agent(String);

impl Agent {
    fn start(socket: &str) -> Self {
        // When it listens, it prints its process id and continues in the background.
        let output = run(Command::new("ssh-agent").args(["-s", "-a", socket]));
        let pid = output.split_once("SSH_AGENT_PID=").and_then(|(_, rest)| rest.split(';').next());
        Self(pid.expect("a process id").to_owned())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(Command::new("ssh-agent").arg("-k").env("SSH_AGENT_PID", &self.0).output());
    }
}
