//! The colours of the charts. Those of the page are in `templates/style.css`.

/// Text.
pub(super) const INK: &str = "#1f2328";
/// Less important text.
pub(super) const MUTED: &str = "#59636e";
/// The lines of axes.
pub(super) const AXIS: &str = "#818b98";
/// The lines behind a chart, which carry no information.
pub(super) const GRID: &str = "#e4e8ec";
pub(super) const PAPER: &str = "#ffffff";

pub(super) const BLUE: &str = "#2563b8";
pub(super) const GREEN: &str = "#1a7f4b";
pub(super) const TEAL: &str = "#0e7490";
pub(super) const AMBER: &str = "#9a5b00";
pub(super) const PURPLE: &str = "#7a3fb5";
pub(super) const GREY: &str = "#6b7480";
pub(super) const RED: &str = "#c0262d";

// The patterns that `templates/chart.svg` defines, so that no chart depends on colours alone.
pub(super) const TEAL_STRIPES: &str = "url(#teal-stripes)";
pub(super) const AMBER_DOTS: &str = "url(#amber-dots)";
pub(super) const PURPLE_BARS: &str = "url(#purple-bars)";
pub(super) const RED_STRIPES: &str = "url(#red-stripes)";

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the contrast of two colours, `#rrggbb`, as WCAG 2.2 defines it.
    fn contrast(one: &str, other: &str) -> f64 {
        let luminance = |colour: &str| -> f64 {
            let channel = |at: usize| {
                let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
                if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
        };
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// Returns the value of a custom property of the style sheet.
    fn of_page(name: &str) -> &'static str {
        let (_, rest) = super::super::STYLE.split_once(&format!("--{name}: ")).expect(name);
        rest.split_once(';').unwrap().0
    }

    #[test]
    fn the_contrast_of_two_colours_is_that_of_wcag() {
        assert!((contrast("#ffffff", "#000000") - 21.0).abs() < 1e-9);
        assert!((contrast("#777777", "#ffffff") - 4.48).abs() < 0.01);
    }

    #[test]
    fn text_and_graphics_can_be_told_from_their_background() {
        for text in [INK, MUTED] {
            assert!(contrast(text, PAPER) >= 4.5, "{text}");
        }
        for graphic in [AXIS, BLUE, GREEN, TEAL, AMBER, PURPLE, GREY, RED] {
            assert!(contrast(graphic, PAPER) >= 3.0, "{graphic}");
        }
        for text in ["ink", "muted", "link", "good", "bad", "caution"] {
            for background in ["paper", "page", "quiet"] {
                let (text, background) = (of_page(text), of_page(background));
                assert!(contrast(text, background) >= 4.5, "{text} on {background}");
            }
        }
    }
}
