//! Property tests of keys.

use proptest::prelude::*;

use super::*;

/// The name of a build argument or file.
const NAME: &str = "[A-Z][A-Z0-9_]{0,8}";

proptest! {
    #[test]
    fn comments_and_blank_lines_never_change_a_key(
        comments in prop::collection::vec(("( |\t){0,3}# note [ -~]{0,40}", 0..40_usize), 0..6),
        blank in 0..40_usize,
    ) {
        let mut lines: Vec<String> = TEXT.lines().map(str::to_owned).collect();
        for (comment, place) in comments {
            // At any position after the directive, even within an instruction of several lines.
            lines.insert(place % lines.len() + 1, comment);
        }
        lines.insert(blank % lines.len() + 1, String::new());
        let text = lines.join("\n");
        prop_assert_eq!(anywhere(keys(&changed(|case| case.text = text))), anywhere(keys(&case())));
    }

    #[test]
    fn arguments_that_nothing_declares_never_change_a_key(
        others in prop::collection::btree_map("X_[A-Z]{1,6}", "[ -~]{0,12}", 0..5),
    ) {
        prop_assert_eq!(anywhere(keys(&changed(|case| case.build_args.extend(others)))), anywhere(keys(&case())));
    }

    #[test]
    fn the_order_of_inputs_never_changes_a_key(
        inputs in prop::collection::btree_map((NAME, any::<bool>()), any::<[u8; 4]>(), 0..8),
        seed in any::<prop::sample::Index>(),
    ) {
        let inputs: Vec<Input> = inputs
            .into_iter()
            .map(|((name, label), value)| {
                let kind = if label { InputKind::Label } else { InputKind::File };
                Input::of_values(kind, name, &[&value])
            })
            .collect();
        let mut turned = inputs.clone();
        if !turned.is_empty() {
            let middle = seed.index(turned.len());
            turned.rotate_left(middle);
            turned[..middle].reverse();
        }
        let key = |inputs: Vec<Input>| {
            let mut key = KeyBuilder::default();
            for input in inputs {
                key.add(input).unwrap();
            }
            key.finish(KeyRole::Image, &Seal::cheap())
        };
        prop_assert_eq!(key(inputs), key(turned));
    }

    #[test]
    fn bytes_moved_to_the_next_field_change_an_input(
        bytes in prop::collection::vec(any::<u8>(), 1..40),
        first in any::<prop::sample::Index>(),
        second in any::<prop::sample::Index>(),
    ) {
        let cut = |at: usize| Input::of_values(InputKind::Label, "x", &[&bytes[..at], &bytes[at..]]).digest;
        let (first, second) = (first.index(bytes.len() + 1), second.index(bytes.len() + 1));
        prop_assert_eq!(cut(first) == cut(second), first == second);
        let whole = Input::of_values(InputKind::Label, "x", &[&bytes]).digest;
        prop_assert_ne!(whole, cut(first));
    }

    #[test]
    fn any_change_of_a_visible_file_changes_the_image_key(
        name in "[a-z]{1,6}", text in "[ -~]{0,20}", mode in 0..0o7777_u32,
    ) {
        let with = |name: &str, text: &str, mode: u32| {
            keys(&changed(|case| {
                case.files.push((format!("src/x{name}"), "file".to_owned(), mode, text.as_bytes().to_vec()));
            }))
            .image
        };
        let key = with(&name, &text, mode);
        prop_assert_ne!(key, with(&format!("{name}a"), &text, mode));
        prop_assert_ne!(key, with(&name, &format!("{text}a"), mode));
        prop_assert_ne!(key, with(&name, &text, mode ^ 1));
        prop_assert_ne!(key, keys(&case()).image);
    }

    #[test]
    fn two_values_of_any_input_make_two_keys(
        which in 0..SETTERS.len(),
        one in "[a-z0-9./: -]{0,12}",
        other in "[a-z0-9./: -]{0,12}",
    ) {
        let key = |value: &str| keys(&changed(|case| SETTERS[which](case, value))).image;
        prop_assert_eq!(key(&one) == key(&other), one == other, "input {}", which);
    }

    #[test]
    fn a_value_moved_to_the_next_input_changes_the_key(
        which in 0..SETTERS.len(),
        to in 0..SETTERS.len(),
        value in "[a-z]{1,8}",
    ) {
        let key = |which: usize| keys(&changed(|case| SETTERS[which](case, &value))).image;
        prop_assert_eq!(key(which) == key(to), which == to);
    }
}

/// Functions that each set one relevant input.
const SETTERS: [fn(&mut Case, &str); 11] = [
    |case, value| case.build_args.extend(map([("INDEX", value)])),
    |case, value| case.build_args.extend(map([("VERSION", value)])),
    |case, value| case.labels = map([("a", value)]),
    |case, value| case.labels = map([("b", value)]),
    |case, value| case.extra = map([("a", value)]),
    |case, value| case.additional_context = Some(value.to_owned()),
    |case, value| case.pins = map([("python:3.11", value)]),
    |case, value| case.network = Some(value.to_owned()),
    |case, value| _ = case.run_options.insert("a".to_owned(), vec![value.to_owned()]),
    |case, value| _ = case.image_options.insert("a".to_owned(), vec![value.to_owned()]),
    |case, value| case.text.extend(["LABEL x=\"", value, "\"\n"]),
];
