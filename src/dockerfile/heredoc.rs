//! Here-documents: `RUN <<EOF`, `COPY <<a.txt <<b.txt /dest/`.

use super::expand;

/// A here-document of a RUN, COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heredoc {
    /// The delimiter without quotes; for COPY and ADD also the name of the file.
    pub(crate) name: String,
    /// `true` if variables in it are expanded (the delimiter is not quoted).
    pub(crate) expand: bool,
    /// `true` if leading tabs are removed (`<<-`).
    pub(crate) strip_tabs: bool,
    /// The lines as written, including leading tabs.
    pub(crate) content: String,
}

/// Returns `command` followed by the here-documents that it opens.
pub(super) fn with_content(command: &str, heredocs: &[Heredoc]) -> String {
    let heredocs = heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.content, heredoc.name));
    std::iter::once(command.to_owned()).chain(heredocs).collect()
}

impl Heredoc {
    /// Parses a word such as `<<EOF`, `<<-'EOF'` or `3<<EOF`; returns `None` for any other.
    pub(super) fn of_word(word: &str) -> Result<Option<Self>, expand::ExpandError> {
        let rest = word.trim_start_matches(|char: char| char.is_ascii_digit());
        let Some(rest) = rest.strip_prefix("<<") else { return Ok(None) };
        let (strip_tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
        let rest = rest.trim_start();
        if rest.is_empty() || rest.contains('<') {
            return Ok(None);
        }
        let mut plain = expand::words(rest, false, false)?;
        let quoted = expand::words(rest, true, false)?;
        if plain.len() != 1 {
            return Ok(None);
        }
        let name = plain.remove(0);
        let count = |text: &str| text.matches(['\'', '"']).count();
        let expand = quoted.iter().map(|word| count(word)).sum::<usize>() == count(&name);
        Ok(Some(Self { name, expand, strip_tabs, content: String::new() }))
    }

    /// Returns the here-documents that a joined line opens, in order.
    pub(super) fn of_line(line: &str) -> Result<Vec<Self>, expand::ExpandError> {
        // A line that cannot be lexed, for example because of a lone apostrophe, opens none.
        let words = expand::words(line, true, true).unwrap_or_default();
        words.iter().filter_map(|word| Self::of_word(word).transpose()).collect()
    }

    /// `line` is without its line end.
    pub(super) fn is_closed_by(&self, line: &str) -> bool {
        let line = if self.strip_tabs { line.trim_start_matches('\t') } else { line };
        line == self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_open_here_documents_as_in_the_frontend() {
        type Opened = (&'static str, bool, bool);
        let table: &[(&str, &[Opened])] = &[
            ("RUN <<EOF", &[("EOF", true, false)]),
            ("RUN 3<<EOF cat /dev/fd/3", &[("EOF", true, false)]),
            ("RUN <<-\"EOF\"", &[("EOF", false, true)]),
            ("RUN <<- EOF", &[]),
            ("RUN << -EOF", &[("-EOF", true, false)]),
            ("RUN <<-'EOF'", &[("EOF", false, true)]),
            ("RUN <<eo'f'", &[("eof", false, false)]),
            (r"RUN <<eo\'f", &[("eo'f", true, false)]),
            ("RUN <<'one two'", &[("one two", false, false)]),
            ("RUN <<$EOF", &[("$EOF", true, false)]),
            ("RUN cat <<A <<B > /x", &[("A", true, false), ("B", true, false)]),
            ("RUN cat > /x <<EOF && echo ok", &[("EOF", true, false)]),
            ("COPY <<file.txt /dest", &[("file.txt", true, false)]),
            (r#"RUN "<<NO""#, &[]),
            ("RUN cat <<<here", &[]),
            ("RUN echo $((1<<2))", &[]),
            ("RUN echo don't <<EOF", &[]),
        ];
        for (line, opened) in table {
            let heredocs = Heredoc::of_line(line).unwrap();
            let seen: Vec<_> =
                heredocs.iter().map(|doc| (doc.name.as_str(), doc.expand, doc.strip_tabs)).collect();
            assert_eq!(seen, *opened, "{line}");
        }
    }
}
