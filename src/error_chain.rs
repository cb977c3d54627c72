//! Formats an error and its sources as one line of text.

use std::error::Error;

/// Returns the messages of an error and its sources on one line. Omits a source whose message is already included.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = message(error);
    let mut source = error.source();
    while let Some(error) = source {
        let message = message(error);
        if !line.contains(&message) {
            line = format!("{line}: {message}");
        }
        source = error.source();
    }
    line
}

/// Returns the message of one error on one line, without the `(os error N)` at its end.
fn message(error: &(dyn Error + 'static)) -> String {
    let line = one_line(&error.to_string());
    match line.rfind(" (os error ") {
        Some(at) if line.ends_with(')') => line[..at].to_owned(),
        _ => line,
    }
}

/// Replaces each run of whitespace by one space.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_chain_is_one_line_without_repetitions() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read\n  the file")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("disk on fire"));
        assert_eq!(chain(&error), "cannot read the file: disk on fire");
        let error = Outer(std::io::Error::from_raw_os_error(2));
        assert_eq!(chain(&error), "cannot read the file: No such file or directory");
    }
}
