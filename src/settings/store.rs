//! Resolves the settings of the store: its remote, lanes, signatures and limits.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::options::OptionLayer;
use super::origin::{FromText, Origin, Written};
use super::{Environment, SettingsError, duration, env_vars};
use crate::error_chain::chain;
use crate::plan::StoreSettings;
use crate::store::backend::remote::{ActionsJob, RemoteSettings, RemoteUrl};
use crate::store::{FreeSpaceLimit, Lane, Lanes, StoreLimits, StoreOptions, Trust};

const DEFAULT_MAX_BYTES: u64 = 100_000_000_000;
const INVALID_KEY: &str = "not a key (32 bytes in base64, such as the output of `openssl rand -base64 32`)";

pub(super) fn resolve(
    options: &OptionLayer,
    lanes: &Lanes,
    environment: &Environment,
) -> Result<StoreSettings, SettingsError> {
    let entries = options.cache_max_entries.filter(|count| *count > 0);
    let limits = StoreLimits {
        max_bytes: options.cache_max_size_gb.map_or(Some(DEFAULT_MAX_BYTES), |size| size.0),
        max_entries: entries.map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
        max_age: options.max_age.map(|age| age.0),
    };
    let remote_limits =
        StoreLimits { max_bytes: options.remote_max_size_gb.and_then(|size| size.0), ..limits };
    let floor = options
        .cache_min_free_gb
        .map_or(FreeSpaceLimit::Share, |size| FreeSpaceLimit::Bytes(size.0.unwrap_or_default()));
    let terms = StoreOptions {
        lanes: lanes.clone(),
        read_only: options.read_only.unwrap_or_default(),
        trust: resolve_trust(options, environment)?,
        max_bytes: limits.max_bytes,
        floor,
    };
    let default = RemoteSettings::default();
    let text = |variable| environment.get(variable).map(str::to_owned);
    let settings = RemoteSettings {
        user: text(env_vars::LARDER_REMOTE_USER),
        password: text(env_vars::LARDER_REMOTE_PASSWORD),
        actions: actions_job(environment),
        deadline: options.remote_timeout.unwrap_or(default.deadline),
        ..default
    };
    let remote = options.remote.clone().map(|url| (url, settings));
    Ok(StoreSettings { remote, terms, limits, remote_limits })
}

fn resolve_trust(options: &OptionLayer, environment: &Environment) -> Result<Trust, SettingsError> {
    let signer = environment.get(env_vars::LARDER_SIGNING_KEY);
    let keys = options.trusted_keys.as_ref().map(|keys| &keys.0[..]).unwrap_or_default();
    let required = options.require_signature.unwrap_or_default();
    if required && signer.is_none() && keys.is_empty() {
        return Err(SettingsError::flag(
            "require-signature",
            "no key is trusted: set --trusted-key or LARDER_SIGNING_KEY",
        ));
    }
    // The trusted keys are valid, so the error concerns the signing key, which must not be printed.
    Trust::new(signer, keys, required)
        .map_err(|_| Origin::Variable(env_vars::LARDER_SIGNING_KEY).error(INVALID_KEY))
}

/// Valid public keys, in base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TrustedKeys(Vec<String>);

impl TrustedKeys {
    fn new(keys: Vec<String>) -> Result<Self, String> {
        let is_malformed = |key: &&String| Trust::new(None, std::slice::from_ref(*key), false).is_err();
        match keys.iter().find(is_malformed) {
            Some(key) => Err(format!("`{key}`: {INVALID_KEY}")),
            None => Ok(Self(keys)),
        }
    }

    pub(super) fn from_flags(keys: &[String]) -> Result<Option<Self>, SettingsError> {
        let keys = (!keys.is_empty()).then(|| Self::new(keys.to_vec()));
        keys.transpose().map_err(|reason| SettingsError::flag("trusted-key", reason))
    }
}

impl FromText for TrustedKeys {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::new(text.split(',').map(|key| key.trim().to_owned()).collect())
    }
}

impl<'de> Deserialize<'de> for TrustedKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys = Vec::<Written<Self>>::deserialize(deserializer)?;
        Ok(Self(keys.into_iter().flat_map(|Written(keys)| keys.0).collect()))
    }
}

/// A maximum age. A number without a unit is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MaxAge(Duration);

impl FromText for MaxAge {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.parse::<u64>() {
            Ok(_) => Err(format!("`{text}` has no unit: write {text}d, {text}h or {text}m")),
            Err(_) => duration::parse(text).map(Self),
        }
    }
}

impl FromText for RemoteUrl {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse::<Self>().map_err(|error| chain(&error))
    }
}

impl FromText for Lane {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::try_from(text.to_owned()).map_err(|error| error.to_string())
    }
}

impl FromText for u64 {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("`{text}` is not a whole number such as 500"))
    }
}

impl FromText for u32 {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("`{text}` is not a whole number such as 5"))
    }
}

impl FromText for String {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
    }
}

fn actions_job(environment: &Environment) -> ActionsJob {
    let text = |variable| environment.get(variable).map(str::to_owned);
    ActionsJob {
        results_url: text(env_vars::ACTIONS_RESULTS_URL),
        runtime_token: text(env_vars::ACTIONS_RUNTIME_TOKEN),
        token: text(env_vars::GITHUB_TOKEN),
        api_url: text(env_vars::GITHUB_API_URL),
        repository: text(env_vars::GITHUB_REPOSITORY),
        reference: text(env_vars::GITHUB_REF),
        base: text(env_vars::GITHUB_BASE_REF),
        event: text(env_vars::GITHUB_EVENT_PATH).map(PathBuf::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::size::Gigabytes;

    fn lanes() -> Lanes {
        Lanes::of_trunk(Lane::try_from("main".to_owned()).unwrap())
    }

    fn resolve(flags: &OptionLayer, variables: &[(&str, &str)]) -> Result<StoreSettings, SettingsError> {
        let environment =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = flags.clone().combine(OptionLayer::from_environment(&environment)?);
        super::resolve(&options, &lanes(), &environment)
    }

    #[test]
    fn flags_override_variables_and_variables_override_defaults() {
        let limits =
            |flags: &OptionLayer, variables: &[(&str, &str)]| resolve(flags, variables).unwrap().limits;
        let none = OptionLayer::default();
        assert_eq!(limits(&none, &[]).max_bytes, Some(100_000_000_000));
        assert_eq!(limits(&none, &[]).max_entries, None);
        assert_eq!(limits(&none, &[("LARDER_MAX_SIZE_GB", "0.5")]).max_bytes, Some(500_000_000));
        let typed = OptionLayer { cache_max_size_gb: Some(Gigabytes(None)), ..OptionLayer::default() };
        assert_eq!(limits(&typed, &[("LARDER_MAX_SIZE_GB", "0.5")]).max_bytes, None);
        assert_eq!(limits(&none, &[("LARDER_MAX_AGE", "7d")]).max_age.unwrap().as_secs(), 604_800);
        assert!(resolve(&none, &[("LARDER_MAX_AGE", "30")]).is_err(), "a number without a unit is an error");
    }

    #[test]
    fn free_space_and_the_size_of_the_shared_store_have_their_own_settings() {
        let settings = |variables: &[(&str, &str)]| resolve(&OptionLayer::default(), variables).unwrap();
        let default = settings(&[]);
        assert_eq!((default.terms.floor, default.remote_limits.max_bytes), (FreeSpaceLimit::Share, None));
        let given = settings(&[
            ("LARDER_MIN_FREE_GB", "0"),
            ("LARDER_MAX_SIZE_GB", "2"),
            ("LARDER_REMOTE_MAX_SIZE_GB", "500"),
        ]);
        assert_eq!(given.terms.floor, FreeSpaceLimit::Bytes(0));
        assert_eq!(given.limits.max_bytes, Some(2_000_000_000));
        assert_eq!(given.remote_limits.max_bytes, Some(500_000_000_000));
    }

    #[test]
    fn a_switch_is_a_boolean_and_a_variable_overrides_the_file() {
        let read_only = |text: &str, file: &OptionLayer| {
            let environment = [("LARDER_READ_ONLY".to_owned(), text.to_owned())].into_iter().collect();
            let options = OptionLayer::from_environment(&environment)?.combine(file.clone());
            let settings = super::resolve(&options, &lanes(), &environment);
            settings.map(|settings| settings.terms.read_only)
        };
        let unset = OptionLayer::default();
        let on = OptionLayer { read_only: Some(true), ..OptionLayer::default() };
        for (text, file, expected) in
            [("1", &unset, true), ("Yes", &unset, true), ("off", &on, false), ("", &on, true)]
        {
            assert_eq!(read_only(text, file).unwrap(), expected, "{text}");
        }
        let error = read_only("maybe", &unset).unwrap_err().to_string();
        assert_eq!(error, "LARDER_READ_ONLY: `maybe` is neither true nor false");
    }

    #[test]
    fn requiring_signatures_without_a_trusted_key_is_an_error() {
        let demanding = OptionLayer { require_signature: Some(true), ..OptionLayer::default() };
        assert!(resolve(&demanding, &[]).is_err());
        let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        assert!(resolve(&demanding, &[("LARDER_SIGNING_KEY", key)]).is_ok());
        let error =
            resolve(&OptionLayer::default(), &[("LARDER_SIGNING_KEY", "hunter2")]).unwrap_err().to_string();
        assert!(error.contains("LARDER_SIGNING_KEY") && !error.contains("hunter2"), "{error}");
    }
}
