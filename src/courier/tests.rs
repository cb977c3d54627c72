//! Tests of the protocol, including messages of a hostile peer.

use std::ffi::OsString;

use proptest::prelude::*;

use super::protocol::{
    FailureNotes, MAX_FRAME, Message, Moment, MountNode, MountNodeKind, Owner, PIECE_SIZE, ReadOutcome,
    receive, send,
};

fn node(path: &str, kind: MountNodeKind) -> MountNode {
    let modified = Moment { seconds: -5, nanoseconds: 999_999_999 };
    let path = OsString::from(path);
    MountNode { kind, path, mode: 0o4755, uid: 1000, gid: 7, modified, used: Moment::default() }
}

fn sent(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    send(&mut bytes, message).unwrap();
    bytes
}

#[test]
fn a_received_message_equals_the_sent_one() {
    let nodes = vec![
        node("a", MountNodeKind::Directory),
        node("a/b", MountNodeKind::File(u64::MAX)),
        node("a/c", MountNodeKind::Symlink("/elsewhere/../x".into())),
        node("a/d", MountNodeKind::HardLink("a/b".into())),
    ];
    let remarks = FailureNotes { count: 7, first: vec!["a: it cannot be read".to_owned()] };
    let messages = [
        Message::Hello { version: 1, mount: 3 },
        Message::List,
        Message::Scan,
        Message::Nodes(nodes.clone()),
        Message::Listed {
            nodes: 4,
            records_access_times: false,
            root: Owner::default(),
            notes: remarks.clone(),
        },
        Message::Read(vec![0, 4, u32::MAX]),
        Message::Content(vec![1; PIECE_SIZE]),
        Message::Done(ReadOutcome::Complete),
        Message::Done(ReadOutcome::Changed),
        Message::Done(ReadOutcome::Unreadable),
        Message::Make { number: 9, node: nodes[2].clone() },
        Message::Piece { number: 9, offset: 1 << 40, bytes: vec![2; PIECE_SIZE] },
        Message::Finish,
        Message::Made { files: 2, notes: remarks },
        Message::Bye,
    ];
    let bytes: Vec<u8> = messages.iter().flat_map(sent).collect();
    let mut from = bytes.as_slice();
    for message in messages {
        assert_eq!(receive(&mut from).unwrap(), Some(message));
    }
    assert_eq!(receive(&mut from).unwrap(), None);
}

#[test]
fn a_message_with_a_path_outside_of_the_mount_is_refused() {
    for path in ["", "/a", "../a", "a/../../b", "a//b", "./a", "a/", "a\0b"] {
        let invalid = [node(path, MountNodeKind::Directory), node("a", MountNodeKind::HardLink(path.into()))];
        for node in invalid {
            let bytes = sent(&Message::Nodes(vec![node]));
            assert!(receive(&mut bytes.as_slice()).is_err(), "{path:?}");
        }
    }
    let mode = MountNode { mode: 0o10000, ..node("a", MountNodeKind::Directory) };
    assert!(receive(&mut sent(&Message::Nodes(vec![mode])).as_slice()).is_err());
}

#[test]
fn a_frame_that_is_too_large_is_refused_before_memory_is_reserved() {
    let mut frame = vec![4];
    frame.extend(u32::MAX.to_le_bytes());
    assert!(receive(&mut frame.as_slice()).is_err());
    let error = send(&mut Vec::new(), &Message::Content(vec![0; MAX_FRAME + 1])).unwrap_err();
    assert!(error.to_string().contains("larger"), "{error}");
}

proptest! {
    #[test]
    fn the_reader_does_not_panic_whatever_it_receives(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut from = bytes.as_slice();
        while let Ok(Some(message)) = receive(&mut from) {
            let again = sent(&message);
            prop_assert_eq!(receive(&mut again.as_slice()).unwrap(), Some(message));
        }
    }
}
