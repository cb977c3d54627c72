//! Suggestions for misspelt names.

use strsim::osa_distance;

/// Returns the name nearest to `typed`, if it is similar enough.
pub(crate) fn nearest_name<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let bound = (typed.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|name| (osa_distance(&typed, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Returns the end of a message that may suggest a name.
pub(super) fn suggestion_text(name: Option<&str>) -> String {
    name.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_near_name_is_suggested() {
        let names = ["builder", "runtime", "test"];
        assert_eq!(nearest_name("biulder", names), Some("builder"));
        assert_eq!(nearest_name("Run-time", names), Some("runtime"));
        assert_eq!(nearest_name("production", names), None);
    }
}
