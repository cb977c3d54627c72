//! Computes the keys of an image for several platforms.
//!
//! Their inputs are the union of the inputs on each platform. If an input is different on a further platform, its name
//! there ends in `on PLATFORM`. An additional input for each platform contains the names of its inputs, except those of
//! files, which are determined by the instructions.

use super::dependency::DependencyLayers;
use super::encoding::{DuplicateInput, KeyBuilder, KeyRole};
use super::image::Keys;
use super::input::{Input, InputKind};
use super::prefix::NoPrefixReason;
use super::seal::Seal;

impl Keys {
    /// Combines the keys for these platforms, in this order. The combined dependency key determines no layers, and
    /// there are no prefixes.
    pub(crate) fn of_platforms(platforms: &[(String, Self)], seal: &Seal) -> Result<Self, DuplicateInput> {
        let image = joined(platforms, |keys| &keys.inputs)?;
        let dependency = joined(platforms, |keys| &keys.dependency_inputs)?;
        let builders = [(KeyRole::Image, &image), (KeyRole::Dependency, &dependency)];
        let mut finished = KeyBuilder::finish_all(&builders, seal).into_iter();
        let mut next = || finished.next().expect("each collection of inputs has a key");
        Ok(Self {
            image: next(),
            dependency: next(),
            inputs: image.into_inputs(),
            dependency_inputs: dependency.into_inputs(),
            layers: DependencyLayers::none(),
            prefixes: Err(NoPrefixReason::SeveralPlatforms),
            grafted: Vec::new(),
        })
    }
}

fn joined(
    platforms: &[(String, Keys)],
    inputs: impl Fn(&Keys) -> &[Input],
) -> Result<KeyBuilder, DuplicateInput> {
    let mut all = KeyBuilder::default();
    for (platform, keys) in platforms {
        let mut names = Vec::new();
        for input in inputs(keys) {
            let is_other = all.get(input.kind, &input.name).is_some_and(|known| known != input);
            let name = if is_other { format!("{} on {platform}", input.name) } else { input.name.clone() };
            if input.kind != InputKind::File {
                names.extend([input.kind.name().to_owned(), name.clone()]);
            }
            if is_other || all.get(input.kind, &name).is_none() {
                all.add(Input { name, ..input.clone() })?;
            }
        }
        let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
        all.add_values(InputKind::PlatformInputs, platform, &names)?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::CacheKey;

    /// Returns keys whose inputs have these names and values.
    fn keys(inputs: &[(&str, &str)]) -> Keys {
        let inputs = inputs.iter().map(|(name, value)| {
            let kind = if name.contains('/') { InputKind::Instruction } else { InputKind::File };
            Input::of_values(kind, *name, &[value.as_bytes()])
        });
        let mut key = KeyBuilder::default();
        inputs.for_each(|input| key.add(input).unwrap());
        let (image, dependency) =
            [KeyRole::Image, KeyRole::Dependency].map(|role| key.finish(role, &Seal::default())).into();
        let inputs = key.into_inputs();
        Keys {
            image,
            dependency,
            inputs: inputs.clone(),
            dependency_inputs: inputs,
            layers: DependencyLayers::none(),
            prefixes: Err(NoPrefixReason::NoBuilderStep),
            grafted: Vec::new(),
        }
    }

    fn both(amd64: &[(&str, &str)], arm64: &[(&str, &str)]) -> Keys {
        let platforms = [("linux/amd64".to_owned(), keys(amd64)), ("linux/arm64".to_owned(), keys(arm64))];
        Keys::of_platforms(&platforms, &Seal::default()).unwrap()
    }

    #[test]
    fn inputs_that_are_the_same_on_all_platforms_occur_once() {
        let joined =
            both(&[("app.py", "1"), ("0/1 RUN", "a")], &[("app.py", "1"), ("0/1 RUN", "b"), ("more", "2")]);
        let names: Vec<&str> = joined.inputs.iter().map(|input| input.name.as_str()).collect();
        assert_eq!(
            names,
            ["app.py", "more", "0/1 RUN", "0/1 RUN on linux/arm64", "linux/amd64", "linux/arm64"]
        );
    }

    #[test]
    fn the_key_depends_on_the_platform_of_each_input() {
        let (one, two): (&[_], &[_]) = (&[("0/1 RUN", "a")], &[("0/1 RUN", "a"), ("0/2 RUN", "b")]);
        let digests: std::collections::BTreeSet<CacheKey> =
            [both(one, two), both(two, one), both(two, two)].iter().map(|keys| keys.image).collect();
        assert_eq!(digests.len(), 3);
        assert_ne!(both(one, two).dependency, both(two, one).dependency);
        let base = |keys: Keys| keys.base(Some(Vec::new()), &Seal::default()).unwrap();
        assert_ne!(base(both(one, two)), base(both(two, one)));
        assert_eq!(
            base(both(one, two)),
            base(both(one, &[("0/1 RUN", "a"), ("0/2 RUN", "b"), ("app.py", "1")]))
        );
        assert!(
            Keys::of_platforms(&[("a".to_owned(), keys(one)), ("a".to_owned(), keys(two))], &Seal::default())
                .is_err()
        );
    }
}
