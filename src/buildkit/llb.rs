//! LLB: what BuildKit is asked to solve where no frontend makes it out of a Dockerfile.
//!
//! As much of it as larder needs: a file, a directory, and a command with
//! mounts. An operation is known by the digest of its encoding, so that two
//! definitions of the same operations are the same to BuildKit.
//!
//! After moby/buildkit, `solver/pb/ops.proto` and `client/llb/`.

use std::collections::BTreeMap;

use bollard_buildkit_proto::pb;
use pb::file_action::Action;
use pb::op::Op;
use pb::user_opt::User;
use prost::Message;

use crate::digest::Digest;

/// An input that is nothing, and an output that nobody takes.
const NONE: i64 = -1;
/// A time that is left to the engine.
const NO_TIME: i64 = -1;

/// Operations that build upon each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    operations: Vec<Vec<u8>>,
    metadata: BTreeMap<String, pb::OpMetadata>,
}

/// What an operation makes: a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output(String);

/// A graph and which of its outputs is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Definition(pb::Definition);

/// A command and what it sees.
#[derive(Debug, Clone)]
pub(crate) struct Exec {
    /// Its file system; what it writes is thrown away with the result.
    pub(crate) root: Output,
    /// The program and its arguments.
    pub(crate) arguments: Vec<String>,
    /// `NAME=value`.
    pub(crate) environment: Vec<String>,
    /// Cache mounts.
    pub(crate) caches: Vec<CacheMount>,
    /// Where the socket of the session's stream `id` is: `(id, path)`.
    pub(crate) socket: Option<(String, String)>,
    /// What it is called in the progress.
    pub(crate) name: String,
    /// Whether it is in the network of the builder's machine, which takes the right to that; else it has none.
    pub(crate) host_network: bool,
}

/// A cache mount of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheMount {
    /// By which BuildKit knows it, its namespace included.
    pub(crate) id: String,
    /// What it is made from when it is new, and the directory of that; part of what it is known by.
    pub(crate) parent: Option<(Output, String)>,
    /// What becomes of several users at once.
    pub(crate) sharing: Sharing,
    /// Where it stands.
    pub(crate) target: String,
}

/// What becomes of a cache mount that several commands use at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Sharing {
    /// They write to the same one.
    #[default]
    Shared,
    /// Others get an empty one.
    Private,
    /// They wait for each other.
    Locked,
}

impl Graph {
    /// A file in an otherwise empty file system.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Output {
        self.action(Action::Mkfile(pb::FileActionMkFile {
            path: path.to_owned(),
            mode: mode.cast_signed(),
            data: content.to_owned(),
            owner: None,
            timestamp: NO_TIME,
        }))
    }

    /// An empty directory in an otherwise empty file system. Of `mode` the permission bits count.
    pub(crate) fn directory(&mut self, path: &str, mode: u32, uid: u32, gid: u32) -> Output {
        let by_id = |id| Some(pb::UserOpt { user: Some(User::ById(id)) });
        self.action(Action::Mkdir(pb::FileActionMkDir {
            path: path.to_owned(),
            mode: (mode & 0o777).cast_signed(),
            make_parents: false,
            owner: Some(pb::ChownOpt { user: by_id(uid), group: by_id(gid) }),
            timestamp: NO_TIME,
        }))
    }

    /// What a command leaves behind.
    pub(crate) fn exec(&mut self, exec: Exec) -> Output {
        let mut inputs = vec![exec.root];
        let mut mounts =
            vec![pb::Mount { input: 0, dest: "/".to_owned(), output: 0, ..pb::Mount::default() }];
        for cache in exec.caches {
            let (input, selector) = match cache.parent {
                None => (NONE, String::new()),
                Some((output, directory)) => {
                    let known = inputs.iter().position(|input| *input == output);
                    let place = known.unwrap_or_else(|| {
                        inputs.push(output);
                        inputs.len() - 1
                    });
                    (i64::try_from(place).unwrap_or(NONE), directory)
                }
            };
            let sharing = match cache.sharing {
                Sharing::Shared => pb::CacheSharingOpt::Shared,
                Sharing::Private => pb::CacheSharingOpt::Private,
                Sharing::Locked => pb::CacheSharingOpt::Locked,
            };
            mounts.push(pb::Mount {
                input,
                selector,
                dest: cache.target,
                output: NONE,
                mount_type: pb::MountType::Cache.into(),
                cache_opt: Some(pb::CacheOpt { id: cache.id, sharing: sharing.into() }),
                ..pb::Mount::default()
            });
        }
        mounts.extend(exec.socket.map(|(id, dest)| pb::Mount {
            input: NONE,
            dest,
            output: NONE,
            mount_type: pb::MountType::Ssh.into(),
            ssh_opt: Some(pb::SshOpt { id, uid: 0, gid: 0, mode: 0o600, optional: false }),
            ..pb::Mount::default()
        }));
        let operation = Op::Exec(pb::ExecOp {
            meta: Some(pb::Meta {
                args: exec.arguments,
                env: exec.environment,
                cwd: "/".to_owned(),
                ..pb::Meta::default()
            }),
            mounts,
            network: if exec.host_network { pb::NetMode::Host } else { pb::NetMode::None }.into(),
            ..pb::ExecOp::default()
        });
        self.add(inputs, Some(operation), Some(exec.name))
    }

    /// The graph up to `wanted`.
    pub(crate) fn define(mut self, wanted: Output) -> Definition {
        // The last operation is none: its input is what is wanted.
        self.add(vec![wanted], None, None);
        Definition(pb::Definition { def: self.operations, metadata: self.metadata, source: None })
    }

    fn action(&mut self, action: Action) -> Output {
        let action = pb::FileAction { input: NONE, secondary_input: NONE, output: 0, action: Some(action) };
        self.add(Vec::new(), Some(Op::File(pb::FileOp { actions: vec![action] })), None)
    }

    fn add(&mut self, inputs: Vec<Output>, operation: Option<Op>, name: Option<String>) -> Output {
        let inputs = inputs.into_iter().map(|Output(digest)| pb::Input { digest, index: 0 }).collect();
        let bytes = pb::Op { inputs, op: operation, ..pb::Op::default() }.encode_to_vec();
        let digest = Digest::of(&bytes).to_string();
        let description = name.map(|name| ("llb.customname".to_owned(), name)).into_iter().collect();
        let metadata = pb::OpMetadata { description, ..pb::OpMetadata::default() };
        if self.metadata.insert(digest.clone(), metadata).is_none() {
            self.operations.push(bytes);
        }
        Output(digest)
    }
}

impl Definition {
    pub(super) fn into_message(self) -> pb::Definition {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_operations_are_one() {
        let mut graph = Graph::default();
        let first = graph.directory("/cache", 0o7755, 1000, 0);
        assert_eq!(first, graph.directory("/cache", 0o755, 1000, 0), "only permission bits count");
        assert_ne!(first, graph.directory("/cache", 0o755, 0, 0));
        let Definition(definition) = graph.define(first.clone());
        assert_eq!(definition.def.len(), 3);
        let last = pb::Op::decode(definition.def[2].as_slice()).unwrap();
        assert_eq!((last.inputs[0].digest.clone(), last.op), (first.0, None));
    }
}
