//! Lifecycle policies, by which ECR removes images automatically.
//!
//! ECR removes images, not tags: a rule for `larder-*` would also remove the image of a release, because one image has
//! both tags. A rule does not apply to images that a rule of higher priority selects; therefore the protected tags come
//! first, in a rule that never expires anything.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::EcrImage;
use super::selection::matches_pattern;

const DESCRIPTION_PREFIX: &str = "larder: ";
const KEY_TAG_PATTERN: &str = "larder-*";
/// An image count that no repository can reach.
const UNREACHABLE_COUNT: u32 = 100_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LifecycleRules {
    pub(crate) untagged_days: u32,
    /// The number of images with a key's tag to keep; `None` keeps all.
    pub(crate) keep: Option<u32>,
    /// Patterns of tags whose images are never removed; `*` matches any text.
    pub(crate) protected: Vec<String>,
}

impl LifecycleRules {
    /// Returns a tag that does not contain a key, but whose image would be removed, because it also has a tag with a
    /// key and no protected tag.
    pub(crate) fn endangered_tag<'a>(&self, images: &'a [EcrImage]) -> Option<&'a str> {
        let has =
            |image: &EcrImage, pattern: &str| image.tags.iter().any(|tag| matches_pattern(tag, pattern));
        let may_go = |image: &&EcrImage| {
            has(image, KEY_TAG_PATTERN) && !self.protected.iter().any(|pattern| has(image, pattern))
        };
        let tags = images.iter().filter(|_| self.keep.is_some()).filter(may_go).flat_map(|image| &image.tags);
        tags.map(String::as_str).find(|tag| !matches_pattern(tag, KEY_TAG_PATTERN))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LifecyclePolicy {
    rules: Vec<Value>,
}

impl LifecyclePolicy {
    /// Parses a policy; `None` is a policy without rules. The error is a message for the user.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, String> {
        let Some(text) = text else { return Ok(Self { rules: Vec::new() }) };
        let mut policy: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match policy.get_mut("rules").map(Value::take) {
            Some(Value::Array(rules)) if rules.iter().all(Value::is_object) => Ok(Self { rules }),
            _ => Err("it does not contain a list of rules".to_owned()),
        }
    }

    /// Returns the policy with `wanted` in place of larder's earlier rules. The user's rules keep their order and come
    /// first, except for rules that select any image, which AWS requires to be last. AWS allows one rule for untagged
    /// images; the user's rule takes precedence.
    #[must_use]
    pub(crate) fn with_rules(&self, wanted: &LifecycleRules) -> Self {
        let is_own = |rule: &&Value| {
            rule["description"].as_str().is_some_and(|text| text.starts_with(DESCRIPTION_PREFIX))
        };
        let others: Vec<Value> = self.rules.iter().filter(|rule| !is_own(rule)).cloned().collect();
        let status = |rule: &Value, status: &str| rule["selection"]["tagStatus"] == status;
        let have_untagged = others.iter().any(|rule| status(rule, "untagged"));
        let own = own_rules(wanted).into_iter().filter(|rule| !(have_untagged && status(rule, "untagged")));
        let (any, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|rule| status(rule, "any"));
        let mut rules: Vec<Value> = others.into_iter().chain(own).chain(any).collect();
        for (index, rule) in rules.iter_mut().enumerate() {
            rule["rulePriority"] = json!(index + 1);
        }
        Self { rules }
    }

    pub(crate) fn to_json(&self) -> String {
        json!({ "rules": self.rules }).to_string()
    }

    /// Returns the rules, one per line: prefixed with `-` if only `self` has them, with `+` if only `other` has them,
    /// and with a space if both have them.
    pub(crate) fn diff(&self, other: &Self) -> String {
        let mut text = String::new();
        for rule in self.rules.iter().filter(|rule| !other.rules.contains(rule)) {
            let _ = writeln!(text, "- {rule}");
        }
        for rule in &other.rules {
            let _ = writeln!(text, "{} {rule}", if self.rules.contains(rule) { ' ' } else { '+' });
        }
        text
    }
}

fn own_rules(wanted: &LifecycleRules) -> Vec<Value> {
    let rule = |text: String, selection: Value| {
        json!({
            "description": format!("{DESCRIPTION_PREFIX}{text}"),
            "selection": selection,
            "action": { "type": "expire" },
        })
    };
    let tagged = |pattern: &str, count: u32| {
        json!({ "tagStatus": "tagged", "tagPatternList": [pattern],
                "countType": "imageCountMoreThan", "countNumber": count })
    };
    let mut rules = Vec::new();
    if let Some(keep) = wanted.keep {
        // A rule has at most four patterns, and an image must match all of them; so each pattern gets its own rule.
        for pattern in &wanted.protected {
            rules.push(rule(format!("keep images tagged {pattern}"), tagged(pattern, UNREACHABLE_COUNT)));
        }
        rules.push(rule(format!("keep the newest {keep} images with a key"), tagged(KEY_TAG_PATTERN, keep)));
    }
    let days = wanted.untagged_days;
    let untagged = json!({ "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days",
                           "countNumber": days });
    rules.push(rule(format!("remove untagged images after {days} days"), untagged));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(keep: Option<u32>) -> LifecycleRules {
        LifecycleRules { untagged_days: 7, keep, protected: vec!["cache*".to_owned(), "v*".to_owned()] }
    }

    #[test]
    fn rules_that_protect_come_before_rules_that_remove() {
        let policy = LifecyclePolicy::parse(None).unwrap().with_rules(&wanted(Some(50)));
        let patterns: Vec<&Value> =
            policy.rules.iter().map(|rule| &rule["selection"]["tagPatternList"]).collect();
        assert_eq!(patterns, [&json!(["cache*"]), &json!(["v*"]), &json!(["larder-*"]), &Value::Null]);
        let priorities: Vec<&Value> = policy.rules.iter().map(|rule| &rule["rulePriority"]).collect();
        assert_eq!(priorities, [1, 2, 3, 4]);
        let without = LifecyclePolicy::parse(None).unwrap().with_rules(&wanted(None));
        assert_eq!(without.rules.len(), 1);
        assert_eq!(without.rules[0]["selection"]["tagStatus"], "untagged");
    }

    #[test]
    fn a_release_that_has_the_tag_of_a_key_is_endangered_unless_it_is_protected() {
        let image = |tags: &[&str]| EcrImage {
            digest: String::new(),
            is_index: false,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            bytes: 0,
            pushed: None,
            pulled: None,
        };
        for (tags, endangered) in [
            (&["larder-1", "1.4.2"][..], Some("1.4.2")),
            (&["larder-1", "larder-1-pr"], None),
            (&["larder-1", "1.4.2", "v1"], None),
            (&["larder-1", "cache-main"], None),
            (&["1.4.2"], None),
            (&[], None),
        ] {
            let images = [image(&["larder-0"]), image(tags)];
            assert_eq!(wanted(Some(5)).endangered_tag(&images), endangered, "{tags:?}");
            assert_eq!(wanted(None).endangered_tag(&images), None, "{tags:?}");
        }
    }

    #[test]
    fn the_users_rules_are_preserved_and_larders_rules_are_replaced() {
        let theirs = r#"{"rules":[{"rulePriority":5,"description":"theirs","selection":{},"action":{}}]}"#;
        let before = LifecyclePolicy::parse(Some(theirs)).unwrap();
        let first = before.with_rules(&wanted(Some(50)));
        assert_eq!(first.rules[0]["description"], "theirs");
        let again = LifecyclePolicy::parse(Some(&first.to_json())).unwrap();
        assert_eq!(again.with_rules(&wanted(Some(50))), first);
        let diff = again.diff(&again.with_rules(&wanted(Some(20))));
        let signs: Vec<char> = diff.lines().filter_map(|line| line.chars().next()).collect();
        assert_eq!(signs, ['-', ' ', ' ', ' ', '+', ' '], "{diff}");
        let theirs =
            r#"{"rules":[{"selection":{"tagStatus":"any"}},{"selection":{"tagStatus":"untagged"}}]}"#;
        let merged = LifecyclePolicy::parse(Some(theirs)).unwrap().with_rules(&wanted(None));
        let statuses: Vec<&Value> = merged.rules.iter().map(|rule| &rule["selection"]["tagStatus"]).collect();
        assert_eq!(statuses, ["untagged", "any"]);
        for text in ["{}", "x", "[]", r#"{"rules":[1]}"#] {
            assert!(LifecyclePolicy::parse(Some(text)).is_err(), "{text}");
        }
    }
}
