//! Resolves the settings of `larder build`.

use std::collections::BTreeMap;

use super::options::OptionLayer;
use super::origin::{FromText, Origin};
use super::source::{SourceLayer, parse_image_name, parse_reference};
use super::{
    BuildSettings, Environment, MountSettings, OutputKind, ProgressMode, PushSettings, Settings,
    SettingsError, TierSettings, fields, output,
};
use crate::buildkit::solve::CacheEntry;
use crate::cli::{BuildArgs, ProgressArg};
use crate::registry::ImageRef;

impl FromText for ProgressMode {
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "plain" => Ok(Self::Plain),
            "tty" => Ok(Self::Tty),
            "quiet" | "none" => Ok(Self::Quiet),
            "json" | "rawjson" => Ok(Self::Json),
            other => Err(format!("`{other}` is not one of auto, plain, tty, quiet, json")),
        }
    }
}

impl From<ProgressArg> for ProgressMode {
    fn from(arg: ProgressArg) -> Self {
        match arg {
            ProgressArg::Auto => Self::Auto,
            ProgressArg::Plain => Self::Plain,
            ProgressArg::Tty => Self::Tty,
            ProgressArg::Quiet => Self::Quiet,
            ProgressArg::Json => Self::Json,
        }
    }
}

impl ProgressMode {
    pub(super) fn from_flags(args: &BuildArgs) -> Option<Self> {
        if args.quiet { Some(Self::Quiet) } else { args.image.progress.map(Into::into) }
    }

    /// Resolves the progress mode. This comes before other flags, because their errors are printed in this mode.
    pub(crate) fn resolve(args: &BuildArgs, settings: &Settings) -> Self {
        Self::from_flags(args).or(settings.options.progress).unwrap_or(Self::Auto)
    }
}

impl BuildSettings {
    /// Resolves the flags of `larder build`. A context that is the name of an image in `larder.yaml` selects that
    /// image.
    pub(crate) fn resolve(
        args: &BuildArgs,
        settings: &Settings,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        SettingsError::unsupported(args.unsupported.0)?;
        let (file, name) = (&settings.file, &args.context);
        let image = file.image(name);
        let mut layer = SourceLayer::from_flags(args, image.is_some(), environment)?;
        if layer.platforms.is_empty() {
            layer = layer.combine(SourceLayer::from_environment(environment)?);
        }
        let mut options = OptionLayer::from_build_flags(args)?;
        if let Some(image) = image {
            layer = layer.combine(image.source(name, file, args.push, environment)?);
            options = options.combine(OptionLayer::from_environment(environment)?).combine(image.options());
        }
        let options = options.combine(settings.options.clone());
        let mut names = std::mem::take(&mut layer.names);
        if image.is_some() && names.is_empty() && !args.push {
            return Err(file
                .origin(name, &[])
                .error("this cannot be the name of an image: set `names`, or write it in lower case"));
        }
        let source = layer.resolve(args, environment, settings).map_err(|error| match error {
            SettingsError::Context { .. } if image.is_none() && settings.image_names().next().is_some() => {
                file.no_such_image(name)
            }
            error => error,
        })?;
        let mut outputs = output::resolve(&args.output, args.push, args.load)?;
        // `--output …,name=NAME` is equivalent to `--tag NAME`.
        let by_output = outputs.iter_mut().filter_map(|output| output.attributes.remove("name"));
        let by_output: Vec<String> =
            by_output.flat_map(|names| names.split(',').map(str::to_owned).collect::<Vec<_>>()).collect();
        names.extend(Origin::Flag("output").parse(&by_output, parse_image_name)?);
        let tags = without_duplicates(names);
        if outputs.iter().any(|output| output.kind == (OutputKind::Image { push: true })) && tags.is_empty() {
            return Err(SettingsError::flag(
                "push",
                "the image needs a name: add --tag REGISTRY/NAME:TAG, or names in larder.yaml",
            ));
        }
        let mut cache_to = parse_caches("cache-to", &args.cache_to)?;
        // BuildKit's build argument with the same meaning as `--cache-to type=inline`.
        let inline = source.build_args.get("BUILDKIT_INLINE_CACHE");
        if inline.is_some_and(|on| matches!(on.as_str(), "1" | "true"))
            && !cache_to.iter().any(|cache| cache.kind == "inline")
        {
            cache_to.push(CacheEntry { kind: "inline".to_owned(), attributes: BTreeMap::new() });
        }
        let directory = image.map(|_| file.directory());
        let (context, directory) = (&source.context, directory.as_deref());
        let mounts =
            MountSettings::resolve(&options, args.cache_mounts.allow_shrink, context, directory, environment);
        Ok(Self {
            source,
            tags,
            outputs,
            load: args.load,
            push: PushSettings::resolve(&options),
            create_repository: args.create_repository,
            has_default_output: args.output.is_empty() && !args.push && !args.load,
            cache_from: parse_caches("cache-from", &args.cache_from)?,
            cache_to,
            no_cache: args.image.no_cache,
            no_cache_filter: args.no_cache_filter.clone(),
            force_rebuild: args.image.force_rebuild,
            progress: options.progress.unwrap_or(ProgressMode::Auto),
            quiet: args.quiet,
            iid_file: args.iidfile.clone(),
            metadata_file: args.metadata_file.clone(),
            annotations: parse_annotations(&args.annotation)?,
            attestations: parse_attestations(args)?,
            timeout: options.timeout,
            strict: options.strict.unwrap_or_default(),
            tiers: TierSettings::resolve(&options),
            mounts,
        })
    }
}

fn without_duplicates(names: Vec<ImageRef>) -> Vec<ImageRef> {
    let mut distinct = Vec::new();
    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    distinct
}

/// Parses cache entries: `type=…,key=value` or a bare image reference.
fn parse_caches(flag: &'static str, values: &[String]) -> Result<Vec<CacheEntry>, SettingsError> {
    // Pipelines pass an empty value to disable the cache, and docker build accepts it.
    let values = values.iter().filter(|value| !value.trim().is_empty());
    values.map(|value| parse_cache(value).map_err(|reason| SettingsError::flag(flag, reason))).collect()
}

fn parse_cache(value: &str) -> Result<CacheEntry, String> {
    if !value.contains('=') {
        parse_reference(value)?;
        let attributes = [("ref".to_owned(), value.to_owned())].into();
        return Ok(CacheEntry { kind: "registry".to_owned(), attributes });
    }
    let mut attributes = BTreeMap::new();
    for (key, value) in fields::parse(value)? {
        attributes.insert(key.clone(), value.ok_or_else(|| format!("`{key}` has no value"))?);
    }
    let kind = attributes.remove("type").ok_or_else(|| format!("`{value}` has no type"))?;
    if let Some(mode) = attributes.get("mode").filter(|mode| !matches!(mode.as_str(), "min" | "max")) {
        return Err(format!("mode `{mode}` is neither min nor max"));
    }
    if let ("registry", Some(name)) = (kind.as_str(), attributes.get("ref")) {
        parse_reference(name)?;
    }
    match kind.as_str() {
        "registry" if !attributes.contains_key("ref") => Err("type=registry needs ref=REFERENCE".to_owned()),
        "registry" | "inline" | "gha" | "s3" | "azblob" => Ok(CacheEntry { kind, attributes }),
        "local" => {
            let reason = "type=local needs a directory on the engine's host; use a registry or inline cache";
            Err(reason.to_owned())
        }
        other => Err(format!("type `{other}` is not one of registry, inline, gha, s3, azblob")),
    }
}

/// Converts `[TYPE:]NAME=VALUE` to the attribute `annotation[-TYPE].NAME` of BuildKit's image exporters.
fn parse_annotations(flags: &[String]) -> Result<BTreeMap<String, String>, SettingsError> {
    const KINDS: [&str; 4] = ["manifest", "index", "manifest-descriptor", "index-descriptor"];
    let mut annotations = BTreeMap::new();
    for flag in flags {
        let failed = || SettingsError::flag("annotation", format!("`{flag}` is not [TYPE:]NAME=VALUE"));
        let (name, value) = flag.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(failed)?;
        let (kinds, name) = match name.split_once(':') {
            Some((kinds, name)) if kinds.split(',').all(|kind| KINDS.contains(&kind)) => (kinds, name),
            _ => ("", name),
        };
        for kind in kinds.split(',') {
            let prefix = if kind.is_empty() { "annotation".to_owned() } else { format!("annotation-{kind}") };
            annotations.insert(format!("{prefix}.{name}"), value.to_owned());
        }
    }
    Ok(annotations)
}

fn parse_attestations(args: &BuildArgs) -> Result<BTreeMap<String, Option<String>>, SettingsError> {
    let attestations = Origin::Flag("attest").parse(&args.attest, |text| {
        let (kinds, rest): (Vec<_>, Vec<_>) =
            fields::parse(text)?.into_iter().partition(|(key, _)| key == "type");
        let kind = kinds.into_iter().next().and_then(|(_, value)| value);
        let kind = kind.ok_or_else(|| format!("`{text}` has no type"))?;
        if !matches!(kind.as_str(), "sbom" | "provenance") {
            return Err(format!("type `{kind}` is neither sbom nor provenance"));
        }
        let rest = rest
            .into_iter()
            .map(|(key, value)| value.map_or_else(|| key.clone(), |value| format!("{key}={value}")));
        Ok((kind, parse_attestation(&rest.collect::<Vec<_>>().join(","))?))
    })?;
    let mut attestations: BTreeMap<_, _> = attestations.into_iter().collect();
    for (kind, value) in [("provenance", &args.provenance), ("sbom", &args.sbom)] {
        if let Some(value) = value {
            let attributes = parse_attestation(value).map_err(|reason| SettingsError::flag(kind, reason))?;
            attestations.insert(kind.to_owned(), attributes);
        }
    }
    Ok(attestations)
}

/// Returns the attributes of an attestation, or `None` if it is disabled.
fn parse_attestation(text: &str) -> Result<Option<String>, String> {
    match text {
        "false" | "disabled=true" => return Ok(None),
        "" | "true" => return Ok(Some(String::new())),
        _ => {}
    }
    for (key, value) in fields::parse(text)? {
        match (key.as_str(), value.as_deref()) {
            (_, None) => return Err(format!("`{key}` is neither true, false nor ATTRIBUTE=VALUE")),
            ("mode", Some(mode)) if !matches!(mode, "min" | "max") => {
                return Err(format!("mode `{mode}` is neither min nor max"));
            }
            _ => {}
        }
    }
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_a_reference_or_fields_with_a_type() {
        assert_eq!(parse_cache("reg.example/app:cache").unwrap().attributes["ref"], "reg.example/app:cache");
        let typed = parse_cache("type=registry,ref=reg.example/app:cache,mode=max").unwrap();
        assert_eq!((typed.kind.as_str(), typed.attributes["mode"].as_str()), ("registry", "max"));
        for (text, reason) in
            [("type=registry", "needs ref"), ("ref=a", "has no type"), ("type=nfs,ref=a", "is not one of")]
        {
            assert!(parse_cache(text).unwrap_err().contains(reason), "{text}");
        }
    }

    #[test]
    fn annotations_without_a_type_apply_to_the_manifest() {
        let flags = ["a=1".to_owned(), "index,manifest:b=2".to_owned(), "org:c=3".to_owned()];
        let names: Vec<String> = parse_annotations(&flags).unwrap().into_keys().collect();
        assert_eq!(
            names,
            ["annotation-index.b", "annotation-manifest.b", "annotation.a", "annotation.org:c"]
        );
    }
}
