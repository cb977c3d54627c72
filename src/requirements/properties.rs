//! Property tests of canonical requirement files: changes that pip ignores do not change the canonical text, and all
//! other changes do.

use proptest::prelude::*;

use super::text::{canonical, decode, logical_lines};

/// One requirement: its words, each with `true` if a line ends before it.
type Entry = Vec<(String, bool)>;

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let word = "[a-zA-Z][a-zA-Z0-9._-]{0,6}|[a-z]{1,4}(==|>=|~=)[0-9]{1,2}|--hash=sha256:[0-9a-f]{4}|-r|-c|a#b|\\$\\{NAME\\}|;";
    let entry = prop::collection::vec((word, any::<bool>()), 1..5);
    prop::collection::vec(entry, 0..8)
}

/// Returns text that may occur between two requirements, and after one.
fn noise() -> impl Strategy<Value = Vec<(String, String)>> {
    let between = "(\r?\n|[ \t]+\r?\n|[ \t]*#[ a-z=\\\\'\"-]{0,10}\r?\n){0,3}";
    // A comment after a requirement can be continued, so it does not end in a backslash. A comment line cannot.
    let behind = "[ \t]{0,3}|[ \t]{1,3}#[ a-z=\\\\'\"-]{0,10}[a-z ]";
    prop::collection::vec((between, behind), 9)
}

fn written(entries: &[Entry], noise: Option<&[(String, String)]>) -> String {
    let mut text = String::new();
    for (number, entry) in entries.iter().enumerate() {
        if let Some(noise) = noise {
            text.push_str(&noise[number].0);
        }
        for (position, (word, continued)) in entry.iter().enumerate() {
            text.push_str(if position == 0 {
                ""
            } else if *continued {
                " \\\n"
            } else {
                " "
            });
            text.push_str(word);
        }
        if let Some(noise) = noise {
            text.push_str(&noise[number].1);
        }
        text.push('\n');
    }
    text
}

fn canon(text: &str) -> String {
    canonical(&logical_lines(text))
}

proptest! {
    #[test]
    fn comments_blank_lines_and_outer_blanks_do_not_change_the_canonical_text(entries in entries(), noise in noise()) {
        let (plain, noisy) = (written(&entries, None), written(&entries, Some(&noise)));
        prop_assert_eq!(canon(&plain), canon(&noisy), "{:?} {:?}", plain, noisy);
        let crlf = plain.replace('\n', "\r\n");
        prop_assert_eq!(canon(&plain), canon(&crlf));
        let marked = format!("\u{feff}{plain}");
        prop_assert_eq!(canon(&plain), canon(&decode(marked.as_bytes()).unwrap()));
    }

    #[test]
    fn changing_any_word_changes_the_canonical_text(mut entries in entries(), line: prop::sample::Index, word: prop::sample::Index, to in "[a-z]{1,5}") {
        prop_assume!(!entries.is_empty());
        let before = canon(&written(&entries, None));
        let line = line.index(entries.len());
        let word = word.index(entries[line].len());
        prop_assume!(entries[line][word].0 != to);
        entries[line][word].0 = to;
        prop_assert_ne!(before, canon(&written(&entries, None)));
    }

    #[test]
    fn removing_or_reordering_requirements_changes_the_canonical_text(mut entries in entries(), line: prop::sample::Index) {
        prop_assume!(entries.len() > 1);
        let before = canon(&written(&entries, None));
        let line = line.index(entries.len() - 1);
        let text = |entry: &Entry| canon(&written(std::slice::from_ref(entry), None));
        if text(&entries[line]) != text(&entries[line + 1]) {
            let mut swapped = entries.clone();
            swapped.swap(line, line + 1);
            prop_assert_ne!(&before, &canon(&written(&swapped, None)));
        }
        entries.remove(line);
        prop_assert_ne!(before, canon(&written(&entries, None)));
    }

    #[test]
    fn the_canonical_text_of_a_canonical_text_is_equal(text in "([ -~]|[\n\r\t#\\\\ ]|\u{a0}|\u{2028}|\u{feff}|\u{c}){0,40}") {
        let once = canon(&text);
        let again = decode(once.as_bytes()).expect("UTF-8");
        prop_assert_eq!(&once, &canon(&again));
    }
}
