//! Sanitises and measures text from other programs, for display on a terminal.
//!
//! The output of a step may contain anything: colours, cursor movements, window titles, bells. Only characters that
//! occupy cells of a line are retained, so that a step cannot garble larder's screen.

use unicode_width::UnicodeWidthChar;

/// The number of columns between two tab stops.
const TAB_WIDTH: usize = 8;

/// The state of a parser of escape sequences (ECMA-48).
#[derive(Clone, Copy, PartialEq, Eq)]
enum EscapeState {
    Text,
    /// After ESC.
    Escape,
    /// In a control sequence: `ESC [ … final`.
    Control,
    /// In a string: `ESC ] … BEL`, or one of the other strings that end with `ESC \`.
    String,
    /// After ESC in a string.
    StringEscape,
}

impl EscapeState {
    /// Returns the state after `character`.
    fn after(self, character: char) -> Self {
        match (self, character) {
            (Self::Text | Self::Escape | Self::Control, '\u{1b}') | (Self::Escape, ' '..='/') => Self::Escape,
            (Self::Text, '\u{9b}') | (Self::Escape, '[') => Self::Control,
            (Self::Text, '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}')
            | (Self::Escape, ']' | 'P' | 'X' | '^' | '_') => Self::String,
            (Self::Text | Self::Escape, _)
            | (Self::Control, '@'..='~')
            | (Self::String, '\u{7}' | '\u{9c}')
            | (Self::StringEscape, '\\') => Self::Text,
            (Self::Control, _) => Self::Control,
            (Self::String | Self::StringEscape, '\u{1b}') => Self::StringEscape,
            (Self::String | Self::StringEscape, _) => Self::String,
        }
    }
}

/// Returns the visible part of `text`: without escape sequences (ECMA-48), control characters and overrides of the
/// writing direction, and with spaces instead of tabs and line ends.
///
/// A backspace removes the character before it, as on a terminal.
pub(crate) fn screen_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut column = 0;
    let mut within = EscapeState::Text;
    for character in text.chars() {
        let before = within;
        within = before.after(character);
        if (before, within) != (EscapeState::Text, EscapeState::Text) {
            continue;
        }
        match character {
            '\t' => {
                let gap = TAB_WIDTH - column % TAB_WIDTH;
                shown.extend(std::iter::repeat_n(' ', gap));
                column += gap;
            }
            '\n' | '\r' | '\u{2028}' | '\u{2029}' => {
                shown.push(' ');
                column += 1;
            }
            '\u{8}' => column -= shown.pop().map_or(0, cells),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            control if control.is_control() => {}
            visible => {
                shown.push(visible);
                column += cells(visible);
            }
        }
    }
    shown
}

/// Joins the lines and tab-separated parts of a name with single spaces. Other whitespace is unchanged.
pub(crate) fn join_lines(text: &str) -> String {
    let parts: Vec<_> = text.split(['\n', '\r', '\t']).filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

/// Returns the number of columns that `text` occupies, or slightly more: if a terminal joins several characters into
/// one glyph (an emoji sequence), each of them is counted.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(cells).sum()
}

/// Returns the longest prefix of `text` that fits into `limit` columns.
pub(crate) fn truncate(text: &str, limit: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, character)| {
        used += cells(*character);
        used > limit
    });
    end.map_or(text, |(index, _)| &text[..index])
}

fn cells(character: char) -> usize {
    match character {
        // The emoji selector occupies no cell, but may widen the preceding character.
        '\u{fe0f}' => 1,
        other => other.width().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    #[test]
    fn only_visible_characters_are_retained() {
        for (written, shown) in [
            ("plain", "plain"),
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{1b}[2J\u{1b}[Hhome", "home"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;https://example.org\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}Psixel\u{1b}\\after", "after"),
            ("\u{1b}(Bcharset", "charset"),
            ("\u{1b}7saved\u{1b}8", "saved"),
            ("\u{9b}31mred", "red"),
            ("a\tb\tc", "a       b       c"),
            ("€\tb", "€       b"),
            ("bell\u{7}", "bell"),
            ("spin|\u{8}/\u{8}-", "spin-"),
            ("\u{8}x", "x"),
            ("cut off \u{1b}[3", "cut off "),
            ("nul\0 del\u{7f}", "nul del"),
            ("two\nlines", "two lines"),
            ("\u{202e}reversed", "reversed"),
            ("naïve 漢字 🦀", "naïve 漢字 🦀"),
        ] {
            assert_eq!(screen_text(written), shown, "{written:?}");
        }
    }

    #[test]
    fn a_wide_character_is_not_cut_in_half() {
        assert_eq!(truncate("漢字", 3), "漢");
        assert_eq!(truncate("漢字", 4), "漢字");
        assert_eq!(truncate("ab", 0), "");
        // A combining mark stays with its letter.
        assert_eq!(truncate("e\u{301}x", 1), "e\u{301}");
    }

    #[test]
    fn a_name_of_several_lines_becomes_one() {
        assert_eq!(join_lines("RUN a \\\n\tb"), "RUN a \\ b");
    }

    proptest! {
        #[test]
        fn the_result_has_no_control_characters_and_fits_the_columns(text in any::<String>(), limit in 0usize..40) {
            let shown = screen_text(&text);
            prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
            let cut = truncate(&shown, limit);
            prop_assert!(columns(cut) <= limit);
            prop_assert!(cut.width() <= columns(cut));
        }
    }
}
