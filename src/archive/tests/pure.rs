//! Tests of pure functions: the plan, trimming, and the index.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[test]
fn a_chunk_is_reused_if_half_of_it_is_needed() {
    // Four chunks of 100 bytes.
    let sizes = [100; 4];
    for (spans, chunks, kept) in [
        (&[(0, 100), (100, 300)][..], &[0, 1, 2, 3][..], &[true, true][..]),
        (&[(0, 50)], &[0], &[true]),
        (&[(0, 49)], &[], &[false]),
        // The large file would keep its chunks, but most of the last one is not needed.
        (&[(0, 210)], &[], &[false]),
        (&[(0, 210), (210, 40)], &[0, 1, 2], &[true, true]),
        // Reading a file again makes the next chunk unneeded as well.
        (&[(60, 50), (110, 45), (155, 50)], &[], &[false, false, false]),
        (&[(0, 0), (300, 100)], &[3], &[true, true]),
    ] {
        let plan = ReusePlan::new(&sizes, spans);
        assert_eq!((&plan.chunks[..], &plan.kept[..]), (chunks, kept), "{spans:?}");
    }
    let plan = ReusePlan::new(&sizes, &[(100, 100), (310, 80)]);
    assert_eq!((plan.new_offset(100), plan.new_offset(310), plan.new_offset(5)), (Some(0), Some(110), None));
}

proptest! {
    #[test]
    fn kept_spans_are_completely_in_chunks_that_are_half_needed(
        sizes in proptest::collection::vec(1_u32..50, 1..12),
        cuts in proptest::collection::vec((0_u64..60, any::<bool>()), 0..20),
    ) {
        let end: u64 = sizes.iter().map(|size| u64::from(*size)).sum();
        let (mut at, mut spans) = (0, Vec::new());
        for (size, wanted) in cuts {
            let size = size.min(end - at);
            if wanted {
                spans.push((at, size));
            }
            at += size;
        }
        let plan = ReusePlan::new(&sizes, &spans);
        let content: Vec<usize> = (0..usize::try_from(end).unwrap()).collect();
        let mut starts = vec![0];
        for size in &sizes {
            starts.push(starts[starts.len() - 1] + *size as usize);
        }
        let taken: Vec<usize> =
            plan.chunks.iter().flat_map(|chunk| content[starts[*chunk]..starts[chunk + 1]].to_vec()).collect();
        let mut wanted = vec![0; sizes.len()];
        for ((at, size), kept) in spans.iter().zip(&plan.kept) {
            if *kept && *size > 0 {
                let (at, size) = (usize::try_from(*at).unwrap(), usize::try_from(*size).unwrap());
                let moved = usize::try_from(plan.new_offset(at as u64).unwrap()).unwrap();
                prop_assert_eq!(&taken[moved..moved + size], &content[at..at + size]);
                for byte in at..at + size {
                    wanted[starts.partition_point(|start| *start <= byte) - 1] += 1;
                }
            }
        }
        for chunk in &plan.chunks {
            prop_assert!(wanted[*chunk] * 2 >= sizes[*chunk]);
        }
    }
}

fn found(path: &str, size: u64, used: i64, modified: i64) -> WalkedNode {
    let kind = NodeKind::File(FileData { size, used, ..FileData::default() });
    of_kind(path, kind, modified, size)
}

fn of_kind(path: &str, kind: NodeKind, modified: i64, allocated: u64) -> WalkedNode {
    let mtime = NodeTime(modified, 0);
    let node = Node { path: path.into(), kind, mode: 0, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() };
    WalkedNode { node, stamp: None, allocated }
}

fn kept(mut found: Vec<WalkedNode>, limit: u64, by_use: bool) -> (String, Trimmed) {
    let trimmed = trim(&mut found, limit, by_use);
    let names: Vec<String> =
        found.iter().map(|found| found.node.path.to_string_lossy().into_owned()).collect();
    (names.join(" "), trimmed)
}

#[test]
fn the_least_recently_used_units_are_left_out_first() {
    let names = [
        pip_response_path(0),
        pip_response_path(1),
        pip_response_path(2),
        pip_response_path(2) + ".body",
        pip_response_path(3) + ".body",
    ];
    let [old, new, head, body, unused] = names.each_ref().map(String::as_str);
    let in_wheel = |name: &str| format!("{}/{name}", pip_wheel_directory());
    let link = NodeKind::HardLink { target: in_wheel("a.json").into() };
    let files = || {
        vec![
            of_kind("http-v2", NodeKind::Directory, 0, 0),
            found(old, 50, 20, 1),
            found(new, 50, 30, 40),
            found(head, 10, 10, 1),
            found(body, 100, 90, 1),
            found(unused, 7, 5, 1),
            of_kind("wheels", NodeKind::Directory, 0, 0),
            of_kind(&pip_wheel_directory(), NodeKind::Directory, 0, 0),
            found(&in_wheel("a.json"), 1, 1, 1),
            of_kind(&in_wheel("b.json"), link.clone(), 0, 0),
            found(&in_wheel("x.whl"), 1, 3, 1),
        ]
    };
    let kept = |limit: u64, by_use: bool| kept(files(), limit, by_use);
    let all: Vec<_> = files().iter().map(|found| found.node.path.to_str().unwrap().to_owned()).collect();
    assert_eq!(kept(219, true), (all.join(" "), Trimmed { files: 0, bytes: 0 }));
    // A directory is left out together with the links in it.
    let all_but_wheel = format!("http-v2 {old} {new} {head} {body} {unused} wheels");
    assert_eq!(kept(218, true), (all_but_wheel, Trimmed { files: 2, bytes: 2 }));
    // An unused response is kept for its body.
    assert_eq!(kept(110, true).0, format!("http-v2 {head} {body} wheels"));
    assert_eq!(kept(0, true).0, "http-v2 wheels");
    // Without access times, the modification time decides.
    assert_eq!(kept(50, false).0, format!("http-v2 {new} wheels"));
}

proptest! {
    #[test]
    fn an_unknown_directory_is_left_out_completely_or_not_at_all(
        files in proptest::collection::btree_map("[a-c](/[a-d]){0,3}", (0_u64..100, 0_i64..10), 1..20),
        limit in 0_u64..1000,
    ) {
        let all: Vec<WalkedNode> = files.iter().map(|(path, (size, used))| found(path, *size, *used, 0)).collect();
        let bytes: u64 = files.values().map(|(size, _)| size).sum();
        let (names, trimmed) = kept(all, limit, true);
        if bytes <= limit {
            prop_assert_eq!(names.split(' ').count(), files.len());
            prop_assert_eq!(trimmed, Trimmed::default());
        } else {
            prop_assert_eq!((names.as_str(), trimmed.bytes), ("", bytes));
        }
    }
}

#[test]
fn a_decoded_index_equals_the_encoded_one_and_a_damaged_one_is_refused() {
    let bench = TestDirectories::new();
    bench.write("file", b"x");
    let saved = bench.save(None);
    let mut index = saved.index;
    for found in bench.walk().found {
        index.insert(found.node.path, found.stamp.unwrap());
    }
    let bytes = index.encode();
    assert_eq!(DirectoryIndex::decode(&bytes), Some(index));
    for end in 0..bytes.len() {
        assert_eq!(DirectoryIndex::decode(&bytes[..end]), None, "{end}");
    }
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        assert_eq!(DirectoryIndex::decode(&damaged), None, "{place}");
    }
}
