//! Escapes text for the templates of HTML and SVG.

use std::fmt;

use askama::filters::{Escaper, Html};

use crate::screen_text::screen_text;

/// Escapes markup and omits what a page must not contain: escape sequences, control characters, overrides of the writing
/// direction, and the characters that XML 1.0 forbids.
#[derive(Debug, Clone, Copy)]
pub(super) struct Markup;

impl Escaper for Markup {
    fn write_escaped_str<W: fmt::Write>(&self, dest: W, string: &str) -> fmt::Result {
        let text = screen_text(string).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}");
        Html.write_escaped_str(dest, &text)
    }
}

/// Returns the address of a page that may be linked to, or `None` for any other text, such as `javascript:`.
pub(super) fn web_address(url: &str) -> Option<&str> {
    let scheme = url.split_once("://")?.0;
    let is_web = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    (is_web && url.chars().all(|letter| !letter.is_control() && !letter.is_whitespace())).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_forbidden_characters_are_not_written() {
        let mut text = String::new();
        Markup
            .write_escaped_str(&mut text, "<b a=\"'&\u{0}\u{b}\u{1b}[31m\u{202e}\u{fffe}\u{ffff}é")
            .unwrap();
        assert!(!text.contains(['<', '>', '"', '\'']), "{text}");
        assert!(text.ends_with("\u{fffd}\u{fffd}é"), "{text}");
        assert!(!text.contains(|letter: char| letter.is_control() || letter == '\u{202e}'), "{text}");
    }

    #[test]
    fn only_web_pages_are_linked_to() {
        for (url, expected) in [
            ("https://ci.example/job/7/", true),
            ("HTTP://ci.example", true),
            ("javascript:alert(1)", false),
            ("javascript://https://x", false),
            ("data:text/html,x", false),
            ("https://ci.example/a b", false),
            ("//ci.example", false),
        ] {
            assert_eq!(web_address(url).is_some(), expected, "{url}");
        }
    }
}
