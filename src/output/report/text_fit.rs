//! Estimates how wide text is in a sans-serif font, and shortens it. SVG neither measures nor wraps text.

use unicode_width::UnicodeWidthChar;

/// The widths of the characters from U+0020 to U+007E in hundredths of the font size. They are those of `DejaVu` Sans,
/// which is wider than the other fonts of the charts.
const WIDTHS: [u8; 95] = [
    32, 40, 46, 84, 64, 95, 78, 27, 39, 39, 50, 84, 32, 36, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    34, 34, 84, 84, 84, 53, 100, 68, 69, 70, 77, 63, 58, 77, 75, 29, 29, 66, 56, 86, 75, 79, 60, 79, 69, 63,
    61, 73, 68, 99, 69, 61, 69, 39, 34, 39, 84, 50, 50, 61, 63, 55, 63, 62, 35, 63, 63, 28, 28, 58, 28, 97,
    63, 61, 63, 63, 41, 52, 39, 63, 59, 82, 59, 59, 52, 64, 34, 64, 84,
];
/// The width of the widest letters, for every letter without a known width.
const WIDE: f64 = 1.1;
const ELLIPSIS: char = '…';

/// Returns the width of `text` at this font size, or slightly more.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(em).sum::<f64>() * size
}

/// Returns the width of a character in units of the font size.
fn em(letter: char) -> f64 {
    let known = usize::try_from(u32::from(letter)).ok().and_then(|code| WIDTHS.get(code.checked_sub(0x20)?));
    match (known, letter) {
        (Some(hundredths), _) => f64::from(*hundredths) / 100.0,
        (None, '\u{a0}'..='\u{17f}' | '–') => 0.85,
        // The width of a character in cells of a terminal is 0 for marks that are drawn over the one before.
        (None, _) => {
            if letter.width() == Some(0) {
                0.0
            } else {
                WIDE
            }
        }
    }
}

/// Returns `text`, or as much of its beginning as fits, with an ellipsis.
pub(super) fn shorten(text: &str, size: f64, available: f64) -> String {
    if width(text, size) <= available {
        return text.to_owned();
    }
    let mut left = available - em(ELLIPSIS) * size;
    let fits = |letter: &char| {
        left -= em(*letter) * size;
        left >= 0.0
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.truncate(short.trim_end().len());
    short.push(ELLIPSIS);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_fits_is_unchanged_and_longer_text_ends_with_an_ellipsis() {
        assert_eq!(shorten("RUN make", 10.0, 100.0), "RUN make");
        let short = shorten("RUN make install", 10.0, 66.0);
        assert_eq!(short, "RUN make…");
        assert!(width(&short, 10.0) <= 66.0);
        for text in ["漢字漢字漢字漢字", "ЩЩЩЩЩЩЩЩ", "😀😀😀😀😀😀😀"] {
            let short = shorten(text, 10.0, 45.0);
            assert!(width(&short, 10.0) <= 45.0 && short.ends_with('…'), "{short}");
        }
        assert_eq!(shorten("wide", 10.0, 3.0), "…");
    }
}
