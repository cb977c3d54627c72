//! Tests that an untrusted courier cannot exceed any limit.

use std::io::{Cursor, Read};

use super::*;
use crate::courier::protocol::{
    FailureNotes, Message, Moment, MountNode, MountNodeKind, Owner, ReadOutcome, VERSION, send,
};
use crate::store::Meter;

fn node(path: &str, kind: MountNodeKind) -> MountNode {
    let time = Moment::default();
    MountNode { kind, path: path.into(), mode: 0o644, uid: 0, gid: 0, modified: time, used: time }
}

fn listed(nodes: u64) -> Message {
    Message::Listed {
        nodes,
        records_access_times: true,
        root: Owner::default(),
        notes: FailureNotes::default(),
    }
}

/// Saves the mount of a courier that sends exactly these messages.
fn save_from(messages: &[Message]) -> Result<SavedMount, MountError> {
    let bench = TestStore::new();
    let mut bytes = Vec::new();
    for message in std::iter::once(&Message::Hello { version: VERSION, mount: 0 }).chain(messages) {
        send(&mut bytes, message).unwrap();
    }
    let (_, talk) = Conversation::accept(Cursor::new(bytes), std::io::sink()).unwrap();
    save(&bench.store, None, talk, &terms(), &Meter::default())
}

fn refusal(messages: &[Message]) -> String {
    match save_from(messages) {
        Err(MountError::Conversation(ConversationError::Refused(reason))) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn impossible_listings_are_refused() {
    let file = |path: &str| node(path, MountNodeKind::File(1));
    for (nodes, count, reason) in [
        (vec![file("b"), file("a")], 2, "twice or out of order"),
        (vec![file("a"), file("a")], 2, "twice or out of order"),
        (vec![file("a/b")], 1, "its parent is not listed as a directory"),
        (vec![node("a", MountNodeKind::Symlink("/".into())), file("a/b")], 2, "its parent is not listed"),
        (vec![node("a", MountNodeKind::HardLink("b".into()))], 1, "is not a file listed before it"),
        (vec![file("a")], 2, "a different number of files than announced"),
        (vec![node("a", MountNodeKind::File(u64::MAX))], 1, "exceeds the limit"),
    ] {
        let refusal = refusal(&[Message::Nodes(nodes), listed(count)]);
        assert!(refusal.contains(reason), "{refusal}");
    }
}

#[test]
fn content_that_was_not_announced_is_refused() {
    let list = |size| [Message::Nodes(vec![node("a", MountNodeKind::File(size))]), listed(1)];
    let whole = Message::Done(ReadOutcome::Complete);
    for (messages, reason) in [
        (vec![Message::Content(vec![0; 11])], "more bytes than announced"),
        (vec![Message::Content(vec![0; 9]), whole.clone()], "fewer bytes than announced"),
        (vec![Message::Finish], "unexpected message in the content"),
        (vec![listed(0)], "unexpected message in the content"),
    ] {
        let refusal = refusal(&[list(10).as_slice(), &messages].concat());
        assert!(refusal.contains(reason), "{refusal}");
    }
    let cut = save_from(&[list(10).as_slice(), &[Message::Content(vec![0; 9])]].concat());
    assert!(matches!(cut, Err(MountError::Conversation(ConversationError::Ended))), "{cut:?}");
    assert!(matches!(save_from(&list(10)), Err(MountError::Conversation(ConversationError::Ended))));
}

#[test]
fn an_incomplete_unit_is_not_saved() {
    let listing = |paths: [&str; 4]| {
        let mut nodes: Vec<MountNode> =
            (paths[0].match_indices('/').map(|(end, _)| node(&paths[0][..end], MountNodeKind::Directory)))
                .collect();
        nodes.extend(paths.map(|path| node(path, MountNodeKind::File(2))));
        [Message::Nodes(nodes.clone()), listed(nodes.len() as u64)]
    };
    let response = crate::archive::pip_response_path(1);
    let [first, head, body, last] =
        ["0", "1", "1.body", "2"].map(|end| format!("{}{end}", &response[..response.len() - 1]));
    let whole = || [Message::Content(vec![1, 2]), Message::Done(ReadOutcome::Complete)];
    let content = |outcome| {
        [whole().as_slice(), &[Message::Content(vec![1]), Message::Done(outcome)], &whole(), &whole()]
            .concat()
    };
    let saved = |paths, outcome| save_from(&[listing(paths).as_slice(), &content(outcome)].concat()).unwrap();
    for outcome in [ReadOutcome::Changed, ReadOutcome::Unreadable] {
        // In pip's cache, a response and its body are one unit.
        let SaveOutcome::Saved(entry) = saved([&first, &head, &body, &last], outcome).outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!((entry.entry.manifest.subject.files, entry.entry.manifest.subject.bytes), (2, 4));
        let SaveOutcome::Incomplete(reason) = saved(["x/a", "x/b", "x/c", "x/d"], outcome).outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(reason, "x/b was changed or could not be read");
    }
    let mut notes = FailureNotes::default();
    notes.add(std::ffi::OsStr::new("x"), &"no");
    let end = Message::Listed { nodes: 0, records_access_times: true, root: Owner::default(), notes };
    let SaveOutcome::Incomplete(reason) = save_from(&[end]).unwrap().outcome else { panic!() };
    assert_eq!(reason, "x: no");
}

#[test]
fn an_endless_stream_is_read_no_further_than_one_frame() {
    let mut bytes = Vec::new();
    send(&mut bytes, &Message::Hello { version: VERSION, mount: 0 }).unwrap();
    let endless = Cursor::new(bytes).chain(std::io::repeat(0xff));
    let (_, mut talk) = Conversation::accept(endless, std::io::sink()).unwrap();
    let error = talk.list().unwrap_err().to_string();
    assert!(error.contains("a frame that is too large"), "{error}");
    let other = [1, 6, 0, 0, 0, 9, 0, 0, 0, 0, 0];
    let error = Conversation::accept(Cursor::new(other), std::io::sink()).err().unwrap().to_string();
    assert!(error.contains("it uses version 9 of the protocol"), "{error}");
}
