//! Another description of the same content.

use super::*;

#[test]
fn an_entry_gets_another_description_and_keeps_its_content_and_its_age() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    let bytes = noise(1, 3_000_000);
    let before = save(&store, "app", &bytes).entry;
    let others = files(base.path()).len();
    let told = Subject { nodes: NonZeroU32::new(4), ..before.manifest.subject.clone() };
    let amended = store.amend(&before, told.clone()).unwrap().unwrap().entry;
    assert_eq!(find(&store, "app").unwrap(), amended);
    assert_eq!((&amended.manifest.subject, &amended.manifest.chunks), (&told, &before.manifest.chunks));
    assert_eq!(amended.manifest.added_bytes, before.manifest.added_bytes);
    assert!(amended.manifest.created.duration_since(before.manifest.created).as_millis() <= 1);
    assert_eq!(content(&store, &amended).unwrap().0, bytes);
    // Whatever the digests are: the last one counts.
    let mut last = amended;
    for nodes in 5..15 {
        let told = Subject { nodes: NonZeroU32::new(nodes), ..told.clone() };
        last = store.amend(&last, told).unwrap().unwrap().entry;
        assert_eq!(find(&store, "app").unwrap(), last);
    }
    assert_eq!(store.census(Place::Local).unwrap().0.entries.len(), 1);
    assert!(files(base.path()).len() <= others + 1, "{:?}", files(base.path()));
}

#[test]
fn the_trunks_entry_is_told_of_in_ones_own_lane() {
    let base = tempfile::tempdir().unwrap();
    let (trunk, ours) = (open(base.path(), None, terms("main")), open(base.path(), None, terms("pr-1")));
    let before = save(&trunk, "app", b"content").entry;
    let told = Subject { title: "ours".to_owned(), ..before.manifest.subject.clone() };
    ours.amend(&before, told).unwrap().unwrap();
    assert_eq!(find(&ours, "app").unwrap().manifest.subject.title, "ours");
    assert_eq!(find(&trunk, "app").unwrap(), before);
}

#[test]
fn what_has_gone_is_not_told_of() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    let before = save(&store, "app", b"content").entry;
    let chunk = files(base.path()).into_iter().find(|path| path.to_str().unwrap().contains("/chunks/"));
    std::fs::remove_file(chunk.unwrap()).unwrap();
    assert!(store.amend(&before, before.manifest.subject.clone()).unwrap().is_none());
    assert_eq!(find(&store, "app").unwrap(), before);
}
