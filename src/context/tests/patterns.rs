//! Tests of ignore patterns against moby's `patternmatcher`.

use proptest::prelude::*;

use super::super::patterns::{MatchState, PatternError, PatternMatcher};

/// Matches as a walk does: passes the state of each directory to its content.
fn matches_in_walk(matcher: &PatternMatcher, path: &str) -> bool {
    let mut state = MatchState::default();
    for (at, _) in path.match_indices('/') {
        state = matcher.matches_below(&path[..at], &state).1;
    }
    matcher.matches_below(path, &state).0
}

/// Patterns, path, and the expected result.
const MATCHES: &[(&[&str], &str, bool)] = &[
    // `**` alone and at the front.
    (&["**"], "file", true),
    (&["**"], "dir/file", true),
    (&["**/"], "file", true),
    (&["**/**"], "dir/file", true),
    (&["**/file"], "file", true),
    (&["**/file"], "dir/file", true),
    (&["**/file"], "a/b/file", true),
    (&["**/file"], "afile", false),
    (&["**/file"], "file/inside", true),
    (&["**file"], "afile", true),
    // A byte order mark that does not start a file.
    (&["\u{feff}**"], "file", false),
    (&["\u{feff}**"], "\u{feff}**", true),
    (&["\u{feff}a**"], "\u{feff}ab", true),
    (&["**file"], "dir/afile", true),
    (&["**/file*txt"], "dir/file.txt", true),
    (&["**/file*.txt*"], "a/b/file.txts", true),
    (&["**/*.txt"], "file.txt", true),
    (&["**/*.txt"], "a/b/file.txt", true),
    (&["**/*.txt"], "a/b/file.text", false),
    (&["**/.git"], ".git/config", true),
    (&["**/.git"], "x.git", false),
    (&["**/a/**/b"], "a/b", true),
    (&["**/a/**/b"], "x/a/y/z/b", true),
    (&["**/a/**"], "x/a/y", true),
    (&["**/a/**"], "x/a", false),
    (&["***"], "a/b", true),
    (&["**/+.*"], "d/+.txt", true),
    // `**` inside and at the end.
    (&["dir/**"], "dir", false),
    (&["dir/**"], "dir/", true),
    (&["dir/**"], "dir/a/b", true),
    (&["dir/**"], "dirx/a", false),
    (&["dir**"], "dirx/a", true),
    (&["dir/**/file"], "dir/file", true),
    (&["dir/**/file"], "dir/a/b/file", true),
    (&["dir/**/file"], "dir/afile", false),
    (&["a*/**"], "ax/y/z", true),
    (&["a*/**"], "ax", false),
    (&["a**/*.x"], "abc/d/e.x", true),
    (&["a**b"], "axb", false),
    (&["a**b"], "ax/b", true),
    (&["a**b"], "ab", true),
    // `*`, `?` and directories.
    (&["*"], "file", true),
    (&["*"], "dir/file", true),
    (&["*/"], "file", true),
    (&["*/*"], "file", false),
    (&["*/*"], "dir/file", true),
    (&["dir/*"], "dir", false),
    (&["dir/*"], "dir/file", true),
    (&["dir/*"], "dir/sub/file", true),
    (&["dir/*/file"], "dir/a/b/file", false),
    (&["*.md"], "README.md", true),
    (&["*.md"], "docs/README.md", false),
    (&["a?c"], "abc", true),
    (&["a?c"], "a/c", false),
    (&["?"], "é", true),
    (&["dir"], "dir/a/b", true),
    (&["dir/"], "dir/a", true),
    (&["dir"], "dirx", false),
    (&["a/b"], "a", false),
    // Cleaning, white space, absolute paths.
    (&["./a//b/../c/"], "a/c", true),
    (&["."], "a", false),
    (&["."], ".", true),
    (&["/abs"], "abs", false),
    (&["../a"], "a", false),
    (&[" a \t"], "a", true),
    (&["a b "], "a b", true),
    (&["", "  ", "a"], "a", true),
    // Classes and escapes.
    (&["[a-z]"], "q", true),
    (&["[a-z]"], "Q", false),
    (&["[^a-z]"], "Q", true),
    (&["[^a-z]"], "q", false),
    (&["[!a]"], "!", true),
    (&["[!a]"], "b", false),
    (&["[ab]/x"], "b/x", true),
    (&["[.]x"], "ax", false),
    (&["[\\]]"], "]", true),
    (&["[a\\-z]"], "-", true),
    (&["[a\\-z]"], "q", false),
    (&["[é-ü]"], "ö", true),
    (&["\\*"], "*", true),
    (&["\\*"], "a", false),
    (&["\\?\\["], "?[", true),
    (&["a\\\\b"], "a\\b", true),
    (&["\\!a"], "!a", true),
    (&["a]"], "a]", true),
    // Special characters of regular expressions that are literal here.
    (&["a.b*"], "axb", false),
    (&["a+(b)$*"], "a+(b)$x", true),
    (&["*.{js,ts}"], "x.js", false),
    (&["*.{js,ts}"], "x.{js,ts}", true),
    // Special characters of regular expressions that moby keeps if there is a wildcard.
    (&["a|b"], "a|b", true),
    (&["a|*b"], "ax", true),
    (&["a^b"], "a^b", true),
    (&["a^b*"], "a^b", false),
    (&["^a*"], "ab", true),
    (&["a{2}?"], "aax", true),
    (&["\\d*"], "7up", true),
    (&["\\d*"], "dx", false),
    (&["src\\bin"], "srcbin", false),
    (&["src\\tmp"], "src\tmp", true),
    (&["[[:alpha:]]x"], "ax", true),
    (&["[*]"], "*", false),
    (&["[*]"], "[]", true),
    (&["*x"], "a\nx", true),
    (&["a**x"], "a\n/x", false),
    // The last matching pattern decides.
    (&["a", "!a/b"], "a/b", false),
    (&["a", "!a/b"], "a/c", true),
    (&["!a/b", "a"], "a/b", true),
    (&["*", "!a"], "a/b", false),
    (&["*", "!a/b"], "a", true),
    (&["*", "!a/b"], "a/b/c", false),
    (&["a", "!a/b", "a/b/c"], "a/b/c", true),
    (&["**", "!**/*.py"], "a/b.py", false),
    (&["**", "!**/*.py"], "a/b.pyc", true),
    (&["*", "!a", "!b"], "b", false),
    (&["a", "! a"], "a", true),
    (&["foo/bar", "!foo"], "foo/x", false),
    // Unicode.
    (&["größe/*"], "größe/日本", true),
    (&["日?"], "日本", true),
    (&["日"], "日本", false),
];

#[test]
fn patterns_match_as_in_moby() {
    for (patterns, path, expected) in MATCHES {
        let matcher = PatternMatcher::new(*patterns).unwrap_or_else(|error| panic!("{patterns:?}: {error}"));
        assert_eq!(matcher.matches(path), *expected, "{patterns:?} on {path:?}");
        assert_eq!(matches_in_walk(&matcher, path), *expected, "walking, {patterns:?} on {path:?}");
    }
}

#[test]
fn malformed_patterns_are_reported() {
    for pattern in ["[", "a[", "[]", "[a-]", "[-a]", "a\\", "!a\\", "[^]", "[z-a]", "a\\c", "*{2}", "[?[]"] {
        let text = pattern.trim_start_matches('!').to_owned();
        let error = PatternMatcher::new(["ok", pattern]).unwrap_err();
        assert_eq!(error, PatternError::Syntax(text), "{pattern}");
    }
    for pattern in ["!", " ! ", "!/"] {
        assert_eq!(PatternMatcher::new([pattern]).unwrap_err(), PatternError::LoneExclamation, "{pattern}");
    }
}

#[test]
fn a_walk_ignores_patterns_that_did_not_affect_the_directory() {
    // The original has the same difference between complete paths and walks.
    for (patterns, path, walked) in [(["a/b", "!a", "z"], "a/b", true), (["a", "!a/b", "a"], "a/b", false)] {
        let matcher = PatternMatcher::new(patterns).unwrap();
        assert_eq!(matches_in_walk(&matcher, path), walked, "{patterns:?}");
        assert_eq!(matcher.matches(path), !walked, "{patterns:?}");
    }
}

#[test]
fn only_literal_patterns_rule_out_a_directory() {
    // Pattern, directory, and `true` if something in the directory may match.
    let table = [
        ("a/b/c", "a", true),
        ("a/b/c", "a/b", true),
        ("a/b/c", "a/b/c", true),
        ("a/b/c", "a/x", false),
        ("a/b/c", "a/b/c/d", false),
        ("ab", "a", false),
        ("a/**", "a", true),
        ("a/*", "b", false),
        ("a/*/**", "b", false),
        ("*", "b", true),
        ("**/a", "b", true),
        ("a?/b", "z", true),
        ("\\a", "z", true),
    ];
    for (pattern, directory, may_match) in table {
        let rule = PatternMatcher::new([pattern]).unwrap();
        assert_eq!(rule.may_match_below(directory), may_match, "{pattern} in {directory}");
        assert!(!rule.may_have_exception_below(directory) && !rule.has_exclusions());
        let exception = PatternMatcher::new([format!("!{pattern}")]).unwrap();
        assert_eq!(exception.may_have_exception_below(directory), may_match, "!{pattern} in {directory}");
        assert!(!exception.may_match_below(directory) && exception.has_exclusions());
    }
}

fn pattern() -> impl Strategy<Value = String> {
    let element =
        prop::sample::select(vec!["a", "b", "ab", "*", "?", "**", "a*", "*b", "[ab]", "[^a]", "**b", "a**"]);
    prop::collection::vec(element, 1..4).prop_map(|elements| elements.join("/"))
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "c"]), 1..5)
        .prop_map(|names| names.join("/"))
}

proptest! {
    #[test]
    fn without_exceptions_a_walk_matches_the_same_as_complete_paths(
        patterns in prop::collection::vec(pattern(), 0..5),
        path in path(),
    ) {
        let matcher = PatternMatcher::new(&patterns).unwrap();
        prop_assert_eq!(matches_in_walk(&matcher, &path), matcher.matches(&path));
    }

    #[test]
    fn without_a_parents_state_all_parents_are_checked(
        patterns in prop::collection::vec((any::<bool>(), pattern()), 0..6),
        path in path(),
    ) {
        let patterns = patterns.into_iter().map(|(exception, text)| if exception { format!("!{text}") } else { text });
        let matcher = PatternMatcher::new(patterns.collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(matcher.matches_below(&path, &MatchState::default()).0, matcher.matches(&path));
    }

    #[test]
    fn a_ruled_out_directory_contains_no_match(pattern in pattern(), path in path()) {
        // The original removes both suffixes of these patterns.
        prop_assume!(!pattern.ends_with("/*/**"));
        let matcher = PatternMatcher::new([&pattern]).unwrap();
        for (at, _) in path.match_indices('/') {
            let directory = &path[..at];
            if !matcher.may_match_below(directory) && !matcher.matches(directory) {
                prop_assert!(!matcher.matches(&path), "{} in {}", pattern, directory);
            }
        }
    }

    #[test]
    fn no_pattern_and_no_path_panics(pattern in any::<String>(), path in any::<String>()) {
        if let Ok(matcher) = PatternMatcher::new([&pattern]) {
            matcher.matches(&path);
        }
    }

    #[test]
    fn no_expression_like_pattern_panics(pattern in r"[\[\]\\^*?{},:|0-9a-zQEx-]{0,12}", path in "[a-c/]{0,6}") {
        if let Ok(matcher) = PatternMatcher::new([&pattern]) {
            matcher.matches(&path);
        }
    }
}
