//! LLB definitions: solves without a frontend.
//!
//! Supports what larder needs: a file, a directory, and a command with mounts. An operation is identified by the digest
//! of its encoding, so two definitions of the same operations are identical for BuildKit.
//!
//! Based on moby/buildkit, `solver/pb/ops.proto` and `client/llb/`.

use std::collections::BTreeMap;

use bollard_buildkit_proto::pb;
pub(crate) use pb::Definition;
use pb::file_action::Action;
use pb::op::Op;
use pb::user_opt::User;
use prost::Message;

use crate::digest::Digest;

/// No input, or an output that is not used.
const NO_INDEX: i64 = -1;
/// A timestamp that the engine chooses.
const NO_TIME: i64 = -1;

#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    operations: Vec<Vec<u8>>,
    metadata: BTreeMap<String, pb::OpMetadata>,
}

/// The file system that an operation produces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LlbOutput(String);

#[derive(Debug, Clone)]
pub(crate) struct Exec {
    /// The root file system; changes to it are discarded with the result.
    pub(crate) root: LlbOutput,
    pub(crate) arguments: Vec<String>,
    /// Variables in the form `NAME=value`.
    pub(crate) environment: Vec<String>,
    pub(crate) caches: Vec<CacheMountInput>,
    /// The id of a stream of the session, and the path of its socket.
    pub(crate) socket: Option<(String, String)>,
    pub(crate) name: String,
    /// `true` to use the network of the builder's machine, which requires an entitlement; otherwise there is no
    /// network.
    pub(crate) host_network: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheMountInput {
    /// BuildKit's id of the mount, including its namespace.
    pub(crate) id: String,
    /// The initial content: an output and a directory in it. Part of the mount's identity.
    pub(crate) parent: Option<(LlbOutput, String)>,
    pub(crate) sharing: Sharing,
    pub(crate) target: String,
}

/// How a cache mount handles concurrent commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Sharing {
    /// All commands use the same mount.
    #[default]
    Shared,
    /// Each additional command gets an empty mount.
    Private,
    /// Each command waits until the mount is free.
    Locked,
}

impl Graph {
    /// Creates a file in an otherwise empty file system.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> LlbOutput {
        self.action(Action::Mkfile(pb::FileActionMkFile {
            path: path.to_owned(),
            mode: mode.cast_signed(),
            data: content.to_owned(),
            owner: None,
            timestamp: NO_TIME,
        }))
    }

    /// Creates an empty directory in an otherwise empty file system. Only the permission bits of `mode` are used.
    pub(crate) fn directory(&mut self, path: &str, mode: u32, uid: u32, gid: u32) -> LlbOutput {
        let by_id = |id| Some(pb::UserOpt { user: Some(User::ById(id)) });
        self.action(Action::Mkdir(pb::FileActionMkDir {
            path: path.to_owned(),
            mode: (mode & 0o777).cast_signed(),
            make_parents: false,
            owner: Some(pb::ChownOpt { user: by_id(uid), group: by_id(gid) }),
            timestamp: NO_TIME,
        }))
    }

    /// Returns the root file system after a command.
    pub(crate) fn exec(&mut self, exec: Exec) -> LlbOutput {
        let mut inputs = vec![exec.root];
        let mut mounts =
            vec![pb::Mount { input: 0, dest: "/".to_owned(), output: 0, ..pb::Mount::default() }];
        for cache in exec.caches {
            let (input, selector) = match cache.parent {
                None => (NO_INDEX, String::new()),
                Some((output, directory)) => {
                    let known = inputs.iter().position(|input| *input == output);
                    let place = known.unwrap_or_else(|| {
                        inputs.push(output);
                        inputs.len() - 1
                    });
                    (i64::try_from(place).unwrap_or(NO_INDEX), directory)
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
                output: NO_INDEX,
                mount_type: pb::MountType::Cache.into(),
                cache_opt: Some(pb::CacheOpt { id: cache.id, sharing: sharing.into() }),
                ..pb::Mount::default()
            });
        }
        mounts.extend(exec.socket.map(|(id, dest)| pb::Mount {
            input: NO_INDEX,
            dest,
            output: NO_INDEX,
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

    pub(crate) fn define(mut self, output: LlbOutput) -> Definition {
        // The last operation has no content: its input is the requested output.
        self.add(vec![output], None, None);
        Definition { def: self.operations, metadata: self.metadata, source: None }
    }

    fn action(&mut self, action: Action) -> LlbOutput {
        let action =
            pb::FileAction { input: NO_INDEX, secondary_input: NO_INDEX, output: 0, action: Some(action) };
        self.add(Vec::new(), Some(Op::File(pb::FileOp { actions: vec![action] })), None)
    }

    fn add(&mut self, inputs: Vec<LlbOutput>, operation: Option<Op>, name: Option<String>) -> LlbOutput {
        let inputs = inputs.into_iter().map(|LlbOutput(digest)| pb::Input { digest, index: 0 }).collect();
        let bytes = pb::Op { inputs, op: operation, ..pb::Op::default() }.encode_to_vec();
        let digest = Digest::of(&bytes).to_string();
        let description = name.map(|name| ("llb.customname".to_owned(), name)).into_iter().collect();
        let metadata = pb::OpMetadata { description, ..pb::OpMetadata::default() };
        if self.metadata.insert(digest.clone(), metadata).is_none() {
            self.operations.push(bytes);
        }
        LlbOutput(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_operations_are_merged() {
        let mut graph = Graph::default();
        let first = graph.directory("/cache", 0o7755, 1000, 0);
        assert_eq!(first, graph.directory("/cache", 0o755, 1000, 0), "only permission bits count");
        assert_ne!(first, graph.directory("/cache", 0o755, 0, 0));
        let definition = graph.define(first.clone());
        assert_eq!(definition.def.len(), 3);
        let last = pb::Op::decode(definition.def[2].as_slice()).unwrap();
        assert_eq!((last.inputs[0].digest.clone(), last.op), (first.0, None));
    }
}
