//! Fuzzes the matching of ignore files.
//!
//! The input is an ignore file, a NUL, and paths to match, one per line.
#![no_main]

use larder::context::ignorefile;
use larder::context::{MatchState, PatternMatcher};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut halves = data.splitn(2, |byte| *byte == 0);
    let patterns = ignorefile::parse(halves.next().unwrap_or_default());
    let Ok(matcher) = PatternMatcher::new(&patterns) else { return };
    let Ok(paths) = std::str::from_utf8(halves.next().unwrap_or_default()) else { return };
    let single: Vec<PatternMatcher> = patterns
        .iter()
        .map(|pattern| pattern.trim().trim_start_matches('!'))
        .filter_map(|pattern| PatternMatcher::new([pattern]).ok())
        .collect();
    for path in paths.lines().filter(|path| is_clean(path)).take(64) {
        check(path, &patterns, &matcher, &single);
    }
});

/// Checks that the different ways to match a path agree where their documentation says so.
fn check(path: &str, patterns: &[String], matcher: &PatternMatcher, single: &[PatternMatcher]) {
    let whole = matcher.matches(path);
    assert_eq!(matcher.matches_below(path, &MatchState::default()).0, whole, "{path}");
    let directories: Vec<&str> = path.match_indices('/').map(|(end, _)| &path[..end]).collect();
    let mut state = MatchState::default();
    for directory in &directories {
        state = matcher.matches_below(directory, &state).1;
    }
    let walked = matcher.matches_below(path, &state).0;
    // A walk over the directories does not keep a match of a directory that did not change the result, so the results
    // may differ if there are exclusions.
    let named = |directory: &&str| single.iter().any(|pattern| pattern.matches(directory));
    if !matcher.has_exclusions() || !directories.iter().any(named) {
        assert_eq!(walked, whole, "{path}");
    }
    // `may_match_below` looks only at the text of a pattern. As in the upstream library, it does not recognise `|` and
    // `{}`, which are special in Go's regular expressions.
    let plain = !patterns.iter().any(|pattern| pattern.contains(['|', '{', '}']));
    for directory in directories.iter().filter(|_| plain) {
        let could = matcher.matches(directory) || matcher.may_match_below(directory);
        assert!(could || !whole, "{path} below {directory}");
    }
}

fn is_clean(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}
