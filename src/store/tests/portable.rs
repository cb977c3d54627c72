//! Tests of export and import.

use std::io;

use super::*;

fn exported(store: &Store, names: &[&str]) -> Vec<u8> {
    let entries: Vec<Entry> = names.iter().map(|name| find(store, name).unwrap()).collect();
    let mut file = Vec::new();
    let carried = store.export(StoreLocation::Local, &entries, &mut file, &|_| {}).unwrap();
    assert_eq!(carried.entries, names.len());
    file
}

fn import(file: &[u8]) -> (tempfile::TempDir, Result<TransferAmounts, PortableError>) {
    let base = tempfile::tempdir().unwrap();
    let carried = open(base.path(), None, terms("main"))
        .import(StoreLocation::Local, file, &|_| {})
        .map(|(carried, _)| carried);
    (base, carried)
}

#[test]
fn exported_entries_can_be_imported_on_a_different_machine() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    let bytes = noise(71, 3_000_000);
    save(&store, "first", &bytes);
    save(&store, "second", &bytes);
    let file = exported(&store, &["first", "second"]);
    assert!(file.len() < 3_100_000, "shared chunks are exported once");
    let (other, carried) = import(&file);
    assert_eq!(carried.unwrap().entries, 2);
    let other = open(other.path(), None, terms("main"));
    for name in ["first", "second"] {
        assert!(content(&other, &find(&other, name).unwrap()).unwrap().0 == bytes);
    }
    let (again, _) = other.import(StoreLocation::Local, &file[..], &|_| {}).unwrap();
    assert_eq!((again.chunks, again.bytes), (0, 0));
}

#[test]
fn an_invalid_file_is_refused_and_imports_no_entry() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    save(&store, "entry", &noise(72, 3_000_000));
    let file = exported(&store, &["entry"]);
    let members = || {
        let mut archive = tar::Archive::new(&file[..]);
        let read = |member: io::Result<tar::Entry<'_, &[u8]>>| {
            let mut member = member.unwrap();
            let mut content = Vec::new();
            io::Read::read_to_end(&mut member, &mut content).unwrap();
            (member.path().unwrap().to_str().unwrap().to_owned(), content)
        };
        archive.entries().unwrap().map(read).collect::<Vec<_>>()
    };
    let pack = |members: &[(String, Vec<u8>)]| {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            // `append_data` refuses paths that lead outside.
            header.as_gnu_mut().unwrap().name[..path.len().min(100)]
                .copy_from_slice(&path.as_bytes()[..path.len().min(100)]);
            if path.len() > 100 {
                archive.append_data(&mut header, path, &content[..]).unwrap();
            } else {
                header.set_cksum();
                archive.append(&header, &content[..]).unwrap();
            }
        }
        archive.into_inner().unwrap()
    };
    assert!(import(&pack(&members())).1.is_ok());
    let mut lacking = members();
    lacking.remove(1);
    let headless = members()[1..].to_vec();
    let mut cut = members();
    cut.pop();
    let mut flipped = members();
    flipped[1].1[20_000] ^= 1;
    let mut renamed = members();
    renamed.last_mut().unwrap().0 = renamed.last().unwrap().0.replace("/main/", "/other/");
    let mut forged = members();
    forged.last_mut().unwrap().1[10] ^= 1;
    let with = |path: &str| [members(), vec![(path.to_owned(), b"x".to_vec())]].concat();
    let cases = [
        (pack(&lacking), "needs a chunk that is not in the file"),
        (pack(&flipped), ""),
        (pack(&headless), "is not the first member"),
        (pack(&cut), "is truncated"),
        (Vec::new(), "is truncated"),
        (pack(&renamed), "is invalid: its path does not match"),
        (pack(&forged), "does not match the digest"),
        (pack(&with("../../etc/passwd")), "neither a chunk nor an entry"),
        (pack(&with("/etc/passwd")), "neither a chunk nor an entry"),
        (pack(&with("chunks/aa/x")), "neither a chunk nor an entry"),
        (b"no archive at all, but something else".repeat(100), ""),
    ];
    for (file, reason) in cases {
        let (base, carried) = import(&file);
        let error = carried.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert!(files(&base.path().join("entries")).is_empty(), "{reason}");
    }
}
