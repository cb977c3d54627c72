//! Lifecycle policies: what ECR removes by itself.
//!
//! ECR removes images, not tags: a rule for `larder-*` would also remove the
//! image that a release stands for, since the same image has both tags. What a
//! rule of higher priority is about no later rule removes; therefore the tags
//! that must stay come first, in a rule that never comes to act.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::EcrImage;
use super::wanted::is_like;

/// Marks rules that larder has written.
const MARK: &str = "larder: ";
/// The tags that images have for their keys.
const OF_KEYS: &str = "larder-*";
/// A rule about more images than a repository can have.
const NEVER: u32 = 100_000;

/// What is wanted of a repository's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LifecycleRules {
    /// Images without a tag go after so many days.
    pub(crate) untagged_days: u32,
    /// Of images that have a tag of a key, so many stay; none go where this is not given.
    pub(crate) keep: Option<u32>,
    /// Images with such a tag never go; `*` stands for anything.
    pub(crate) protected: Vec<String>,
}

impl LifecycleRules {
    /// Returns a tag that is not a key's and would go one day, for its image has a key's tag too and nothing protects it.
    pub(crate) fn endangered<'a>(&self, images: &'a [EcrImage]) -> Option<&'a str> {
        let has = |image: &EcrImage, pattern: &str| image.tags.iter().any(|tag| is_like(tag, pattern));
        let may_go = |image: &&EcrImage| {
            has(image, OF_KEYS) && !self.protected.iter().any(|pattern| has(image, pattern))
        };
        let tags = images.iter().filter(|_| self.keep.is_some()).filter(may_go).flat_map(|image| &image.tags);
        tags.map(String::as_str).find(|tag| !is_like(tag, OF_KEYS))
    }
}

/// A repository's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LifecyclePolicy {
    rules: Vec<Value>,
}

impl LifecyclePolicy {
    /// Reads a policy as AWS has it; none is one without rules.
    ///
    /// # Errors
    ///
    /// Fails with what is wrong.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, String> {
        let Some(text) = text else { return Ok(Self { rules: Vec::new() }) };
        let mut policy: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match policy.get_mut("rules").map(Value::take) {
            Some(Value::Array(rules)) if rules.iter().all(Value::is_object) => Ok(Self { rules }),
            _ => Err("it has no list of rules".to_owned()),
        }
    }

    /// The same with `wanted` instead of what larder has written before. Rules of others stay, in their order: in front, but
    /// for those about any image, which AWS wants to be the last. It takes one rule about images without a tag; theirs counts.
    #[must_use]
    pub(crate) fn with(&self, wanted: &LifecycleRules) -> Self {
        let is_own = |rule: &&Value| rule["description"].as_str().is_some_and(|text| text.starts_with(MARK));
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

    /// As AWS takes it.
    pub(crate) fn json(&self) -> String {
        json!({ "rules": self.rules }).to_string()
    }

    /// The lines of both, `-` before those that only `self` has, `+` before those that only `other` has.
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
    let mut rules = Vec::new();
    let expire = json!({ "type": "expire" });
    if let Some(keep) = wanted.keep {
        // A rule names at most four patterns, and all of them must be met by one image: each has a rule of its own.
        for pattern in &wanted.protected {
            rules.push(json!({
                "description": format!("{MARK}images tagged {pattern} stay"),
                "selection": { "tagStatus": "tagged", "tagPatternList": [pattern],
                               "countType": "imageCountMoreThan", "countNumber": NEVER },
                "action": expire,
            }));
        }
        rules.push(json!({
            "description": format!("{MARK}the newest {keep} images with a key stay"),
            "selection": { "tagStatus": "tagged", "tagPatternList": [OF_KEYS],
                           "countType": "imageCountMoreThan", "countNumber": keep },
            "action": expire,
        }));
    }
    rules.push(json!({
        "description": format!("{MARK}images without a tag go after {} days", wanted.untagged_days),
        "selection": { "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days",
                       "countNumber": wanted.untagged_days },
        "action": expire,
    }));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(keep: Option<u32>) -> LifecycleRules {
        LifecycleRules { untagged_days: 7, keep, protected: vec!["cache*".to_owned(), "v*".to_owned()] }
    }

    #[test]
    fn what_must_stay_stands_before_what_may_go() {
        let policy = LifecyclePolicy::parse(None).unwrap().with(&wanted(Some(50)));
        let patterns: Vec<&Value> =
            policy.rules.iter().map(|rule| &rule["selection"]["tagPatternList"]).collect();
        assert_eq!(patterns, [&json!(["cache*"]), &json!(["v*"]), &json!(["larder-*"]), &Value::Null]);
        let priorities: Vec<&Value> = policy.rules.iter().map(|rule| &rule["rulePriority"]).collect();
        assert_eq!(priorities, [1, 2, 3, 4]);
        let without = LifecyclePolicy::parse(None).unwrap().with(&wanted(None));
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
            assert_eq!(wanted(Some(5)).endangered(&images), endangered, "{tags:?}");
            assert_eq!(wanted(None).endangered(&images), None, "{tags:?}");
        }
    }

    #[test]
    fn rules_of_others_stay_and_our_own_are_replaced() {
        let theirs = r#"{"rules":[{"rulePriority":5,"description":"theirs","selection":{},"action":{}}]}"#;
        let before = LifecyclePolicy::parse(Some(theirs)).unwrap();
        let first = before.with(&wanted(Some(50)));
        assert_eq!(first.rules[0]["description"], "theirs");
        let again = LifecyclePolicy::parse(Some(&first.json())).unwrap();
        assert_eq!(again.with(&wanted(Some(50))), first);
        let diff = again.diff(&again.with(&wanted(Some(20))));
        let signs: Vec<char> = diff.lines().filter_map(|line| line.chars().next()).collect();
        assert_eq!(signs, ['-', ' ', ' ', ' ', '+', ' '], "{diff}");
        let theirs =
            r#"{"rules":[{"selection":{"tagStatus":"any"}},{"selection":{"tagStatus":"untagged"}}]}"#;
        let merged = LifecyclePolicy::parse(Some(theirs)).unwrap().with(&wanted(None));
        let statuses: Vec<&Value> = merged.rules.iter().map(|rule| &rule["selection"]["tagStatus"]).collect();
        assert_eq!(statuses, ["untagged", "any"]);
        for text in ["{}", "x", "[]", r#"{"rules":[1]}"#] {
            assert!(LifecyclePolicy::parse(Some(text)).is_err(), "{text}");
        }
    }
}
