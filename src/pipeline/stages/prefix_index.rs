//! Creates the index of a prefix: the list of the files in its file system, which the courier collects in the builder.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::STATUS_BUFFER;
use super::cut_image::CutImageError;
use super::job::Job;
use super::prefix::PrefixLookup;
use super::visit_request::{VISIT_STAGE_PREFIX, is_visit_step};
use crate::buildkit::ConnectError;
use crate::buildkit::session::new_id;
use crate::buildkit::trace::{StepKind, Trace};
use crate::courier::protocol::{Moment, MountNodeKind};
use crate::dockerfile::Dockerfile;
use crate::graft::{ACCOUNT_FILES, Accounts, Attributes, ImageNode, ImageTree, PrefixIndex};
use crate::key::PrefixKey;
use crate::mounts::{
    ConversationError, StageScan, VisitBuild, VisitError, VisitTerms, scan, visit_stage, with_scan,
};
use crate::pipeline::blocking::blocking;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::request::request_of_stage;

const DEADLINE: Duration = Duration::from_secs(30);

/// The reason why a prefix has no index. Images cannot be grafted on it then.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrefixIndexError {
    #[error(transparent)]
    Cut(#[from] CutImageError),
    #[error("cannot give the stage a name")]
    Stage,
    #[error("the Dockerfile cannot be written")]
    Write(#[from] io::Error),
    #[error(transparent)]
    NoEngine(#[from] Arc<ConnectError>),
    #[error(transparent)]
    Visit(Box<VisitError>),
    #[error(transparent)]
    Scan(#[from] ConversationError),
    #[error("the builder ran steps again")]
    RanAgain,
    #[error("its passwd or group file cannot be read")]
    Accounts,
    #[error("the target of a link is not UTF-8")]
    Link,
    #[error("it has too many files")]
    TooLarge,
}

impl From<VisitError> for PrefixIndexError {
    fn from(error: VisitError) -> Self {
        Self::Visit(Box::new(error))
    }
}

impl Job<'_> {
    pub(super) async fn prefix_index(
        &self,
        (keys, key): (&BuildKeys, &PrefixKey),
        prefixes: &PrefixLookup,
    ) -> Result<String, PrefixIndexError> {
        let (cut_text, stage) = self.cut_text(key, prefixes)?;
        let visit = format!("{VISIT_STAGE_PREFIX}{}", new_id()?);
        let (named, name) =
            with_stage_name(&cut_text, stage, &format!("{visit}-of")).ok_or(PrefixIndexError::Stage)?;
        let directory = self.inputs.write_dockerfile(&with_scan(&named, &visit, &name))?;
        let (request, attachments) = request_of_stage(
            self.build,
            self.inputs,
            (&visit, directory.path()),
            self.registries().login().clone(),
            &self.repeated_conditions(Some(keys)),
        );
        let (status, mut updates) = mpsc::channel(STATUS_BUFFER);
        let tracing = tokio::spawn(async move {
            let mut trace = Trace::default();
            while let Some(update) = updates.recv().await {
                trace.apply(update);
            }
            trace
        });
        let within = VisitBuild { request, attachments, status, timeout: Some(DEADLINE) };
        let terms = VisitTerms {
            deadline: DEADLINE,
            cancel: CancellationToken::new(),
            name: "[larder] listing the files of the prefix".to_owned(),
        };
        let work = |conversation| scan(conversation, &ACCOUNT_FILES);
        let scanned = Box::pin(visit_stage(self.client()?, within, work, &terms)).await?;
        let scanned = scanned.ok_or(ConversationError::Ended)??;
        let trace = tracing.await.unwrap_or_default();
        let is_own = |name: &str| !is_visit_step(name);
        let again = trace.steps().into_iter().find(|step| {
            is_own(&step.name) && !step.is_cached && matches!(step.kind(), StepKind::Run | StepKind::Copy)
        });
        if again.is_some() {
            return Err(PrefixIndexError::RanAgain);
        }
        blocking(move || index_of_scan(&scanned)?.encode().ok_or(PrefixIndexError::TooLarge)).await
    }
}

/// Returns the Dockerfile with a name for the stage, which is added if the stage has none, and the name.
fn with_stage_name(text: &str, stage: usize, name: &str) -> Option<(String, String)> {
    let dockerfile = Dockerfile::parse(text).ok()?;
    if let Some(name) = &dockerfile.stages[stage].name {
        return Some((text.to_owned(), name.clone()));
    }
    let last = *dockerfile.stages[stage].instructions[0].lines.end();
    let lines = text.split_inclusive('\n').zip(1..).map(|(line, number)| {
        let content = line.trim_end();
        if number == last {
            format!("{content} AS {name}{}", &line[content.len()..])
        } else {
            line.to_owned()
        }
    });
    let named: String = lines.collect();
    let is_named = Dockerfile::parse(&named).ok()?.stages.get(stage)?.name.as_deref() == Some(name);
    is_named.then(|| (named, name.to_owned()))
}

/// Returns the index of the scanned files. Names that are not UTF-8 are left out, because no instruction can name them.
fn index_of_scan(StageScan { root, nodes, contents }: &StageScan) -> Result<PrefixIndex, PrefixIndexError> {
    let directory = |mode, uid, gid, Moment { seconds, .. }| Attributes { mode, uid, gid, modified: seconds };
    let mut tree = ImageTree::default();
    tree.insert(
        String::new(),
        ImageNode::Directory(directory(root.mode, root.uid, root.gid, Moment::default())),
    );
    for found in nodes {
        let Some(path) = found.path.to_str() else { continue };
        let node = match &found.kind {
            MountNodeKind::Directory => {
                ImageNode::Directory(directory(found.mode, found.uid, found.gid, found.modified))
            }
            MountNodeKind::Symlink(target) => match target.to_str() {
                Some(target) => ImageNode::Link(target.to_owned()),
                None => return Err(PrefixIndexError::Link),
            },
            MountNodeKind::File(_) | MountNodeKind::HardLink(_) => ImageNode::File,
        };
        tree.insert(path.to_owned(), node);
    }
    let account = |path: &str| match (contents.get(path), tree.follow(path)) {
        (Some(content), _) if content.contains(&0) => Err(PrefixIndexError::Accounts),
        (Some(content), _) => String::from_utf8(content.clone()).map_err(|_| PrefixIndexError::Accounts),
        (None, Ok(path)) if tree.get(&path).is_some() => Err(PrefixIndexError::Accounts),
        (None, Ok(_)) => Ok(String::new()),
        (None, Err(_)) => Err(PrefixIndexError::Accounts),
    };
    let [passwd, group] = ACCOUNT_FILES.map(account);
    let accounts = Accounts { passwd: passwd?, group: group? };
    Ok(PrefixIndex { tree, accounts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_without_a_name_gets_one() {
        let text = "FROM a AS one\nRUN x\nFROM c";
        for (stage, named, name) in [(0, text.to_owned(), "one"), (1, format!("{text} AS new"), "new")] {
            assert_eq!(with_stage_name(text, stage, "new"), Some((named, name.to_owned())));
        }
        let named = with_stage_name("FROM a\r\nRUN b\n", 0, "new").unwrap().0;
        assert_eq!(named, "FROM a AS new\r\nRUN b\n");
        assert_eq!(with_stage_name("FROM a \\\n# end\n", 0, "new"), None);
    }
}
