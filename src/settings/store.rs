//! Resolves the settings of the store: its remote, lanes, signatures and limits.

use std::path::PathBuf;
use std::str::FromStr;

use super::precedence::Fallback;
use super::{Environment, SettingsError, duration, env_vars};
use crate::cli::StoreArgs;
use crate::error_chain::chain;
use crate::plan::StoreSettings;
use crate::settings::config_file::ConfigFile;
use crate::store::backend::remote::{ActionsJob, RemoteSettings, RemoteUrl};
use crate::store::{Floor, Lanes, Limits, Terms, Trust};

const DEFAULT_SIZE_GB: f64 = 100.0;

struct Given<'a> {
    args: &'a StoreArgs,
    fallback: Fallback<'a>,
}

pub(super) fn resolve(
    args: &StoreArgs,
    lanes: &Lanes,
    environment: &Environment,
    file: &ConfigFile,
) -> Result<StoreSettings, SettingsError> {
    let given = Given { args, fallback: Fallback { environment, file } };
    let limits = given.limits()?;
    let remote_limits = Limits { max_bytes: given.remote_size()?, ..limits };
    let read_only = given.fallback.switched_on(args.read_only, env_vars::LARDER_READ_ONLY, file.read_only)?;
    let (lanes, trust, floor) = (lanes.clone(), given.trust()?, given.floor()?);
    let terms = Terms { lanes, read_only, trust, max_bytes: limits.max_bytes, floor };
    Ok(StoreSettings { remote: given.remote()?, terms, limits, remote_limits })
}

impl Given<'_> {
    fn remote(&self) -> Result<Option<(RemoteUrl, RemoteSettings)>, SettingsError> {
        let Self { args, fallback: Fallback { environment, file } } = self;
        let url = self.fallback.first(
            ("remote", args.remote.as_deref()),
            env_vars::LARDER_REMOTE,
            ("remote", file.remote.as_deref()),
            |text| RemoteUrl::from_str(text).map_err(|error| chain(&error)),
        )?;
        let deadline = self.fallback.first(
            ("remote-timeout", args.remote_timeout.as_deref()),
            env_vars::LARDER_REMOTE_TIMEOUT,
            ("remote_timeout", file.remote_timeout.as_deref()),
            duration::parse,
        )?;
        let default = RemoteSettings::default();
        let text = |variable| environment.get(variable).map(str::to_owned);
        let settings = RemoteSettings {
            user: text(env_vars::LARDER_REMOTE_USER),
            password: text(env_vars::LARDER_REMOTE_PASSWORD),
            actions: actions_job(environment),
            deadline: deadline.unwrap_or(default.deadline),
            ..default
        };
        Ok(url.map(|url| (url, settings)))
    }

    fn trust(&self) -> Result<Trust, SettingsError> {
        let Self { args, fallback: Fallback { environment, file } } = self;
        let signer = environment.get(env_vars::LARDER_SIGNING_KEY);
        // Errors may show public keys, but not the signing key.
        let is_malformed = |key: &&String| Trust::new(None, std::slice::from_ref(*key), false).is_err();
        let reason = |keys: &[String]| keys.iter().find(is_malformed).map(|key| format!("`{key}`: {NO_KEY}"));
        let (keys, faulty): (Vec<String>, Option<SettingsError>) = if !args.trusted_keys.is_empty() {
            let fault = reason(&args.trusted_keys).map(|reason| SettingsError::flag("trusted-key", reason));
            (args.trusted_keys.clone(), fault)
        } else if let Some(text) = environment.get(env_vars::LARDER_TRUSTED_KEYS) {
            let variable = env_vars::LARDER_TRUSTED_KEYS;
            let keys: Vec<String> = text.split(',').map(|key| key.trim().to_owned()).collect();
            let fault = reason(&keys).map(|reason| SettingsError::Variable { variable, reason });
            (keys, fault)
        } else {
            let keys = file.trusted_keys.clone();
            let fault = reason(&keys).map(|reason| file.fault("trusted_keys", reason));
            (keys, fault)
        };
        faulty.map_or(Ok(()), Err)?;
        Trust::new(signer, &[], false).map_err(|_| SettingsError::Variable {
            variable: env_vars::LARDER_SIGNING_KEY,
            reason: NO_KEY.to_owned(),
        })?;
        let required = self.fallback.switched_on(
            args.require_signature,
            env_vars::LARDER_REQUIRE_SIGNATURE,
            file.require_signature,
        )?;
        if required && signer.is_none() && keys.is_empty() {
            return Err(SettingsError::flag(
                "require-signature",
                "there is no key whose signature could be trusted: neither --trusted-key nor LARDER_SIGNING_KEY is given",
            ));
        }
        Trust::new(signer, &keys, required).map_err(|_| SettingsError::flag("trusted-key", NO_KEY))
    }

    fn remote_size(&self) -> Result<Option<u64>, SettingsError> {
        let Self { args, fallback: Fallback { file, .. } } = self;
        let size = self.fallback.first(
            ("remote-max-size-gb", args.remote_max_size_gb.as_deref()),
            env_vars::LARDER_REMOTE_MAX_SIZE_GB,
            ("remote_max_size_gb", file.remote_max_size_gb.map(|size| size.to_string()).as_deref()),
            gigabytes,
        )?;
        Ok(size.flatten())
    }

    fn floor(&self) -> Result<Floor, SettingsError> {
        let Self { args, fallback: Fallback { file, .. } } = self;
        let free = self.fallback.first(
            ("cache-min-free-gb", args.cache_min_free_gb.as_deref()),
            env_vars::LARDER_MIN_FREE_GB,
            ("cache_min_free_gb", file.cache_min_free_gb.map(|size| size.to_string()).as_deref()),
            gigabytes,
        )?;
        Ok(free.map_or(Floor::Share, |bytes| Floor::Bytes(bytes.unwrap_or_default())))
    }

    fn limits(&self) -> Result<Limits, SettingsError> {
        let Self { args, fallback: Fallback { file, .. } } = self;
        let size = self.fallback.first(
            ("cache-max-size-gb", args.cache_max_size_gb.as_deref()),
            env_vars::LARDER_MAX_SIZE_GB,
            ("cache_max_size_gb", file.cache_max_size_gb.map(|size| size.to_string()).as_deref()),
            gigabytes,
        )?;
        let entries = self.fallback.first(
            ("cache-max-entries", args.cache_max_entries.as_deref()),
            env_vars::LARDER_MAX_ENTRIES,
            ("cache_max_entries", file.cache_max_entries.map(|count| count.to_string()).as_deref()),
            |text| text.parse::<usize>().map_err(|_| format!("`{text}` is no number of entries such as 500")),
        )?;
        let max_age = self.fallback.first(
            ("max-age", args.max_age.as_deref()),
            env_vars::LARDER_MAX_AGE,
            ("max_age", file.max_age.as_deref()),
            |text| match text.parse::<u64>() {
                Ok(_) => Err(format!("`{text}` has no unit: write {text}d, {text}h or {text}m")),
                Err(_) => duration::parse(text),
            },
        )?;
        let default = gigabytes(&DEFAULT_SIZE_GB.to_string()).ok().flatten();
        Ok(Limits {
            max_bytes: size.unwrap_or(default),
            max_entries: entries.filter(|count| *count > 0),
            max_age,
        })
    }
}

const NO_KEY: &str = "it is no key: the base64 of 32 bytes, as `openssl rand -base64 32` prints them";

/// Returns the variables that GitHub sets for a job.
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

/// Converts gigabytes (10⁹ bytes) to bytes; 0 means no limit.
fn gigabytes(text: &str) -> Result<Option<u64>, String> {
    let failed = || format!("`{text}` is no number of gigabytes such as 20 or 0.5");
    let size: f64 = text.parse().map_err(|_| failed())?;
    if !(0.0..1e9).contains(&size) {
        return Err(failed());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
    let bytes = (size * 1e9) as u64;
    Ok((bytes > 0).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Lane;

    fn lanes() -> Lanes {
        Lanes::of_trunk(Lane::try_from("main".to_owned()).unwrap())
    }

    fn resolve(args: &StoreArgs, variables: &[(&str, &str)]) -> Result<StoreSettings, SettingsError> {
        let environment =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        super::resolve(args, &lanes(), &environment, &ConfigFile::default())
    }

    #[test]
    fn flags_come_before_variables_and_those_before_defaults() {
        let limits = |args: &StoreArgs, variables: &[(&str, &str)]| resolve(args, variables).unwrap().limits;
        assert_eq!(limits(&StoreArgs::default(), &[]).max_bytes, Some(100_000_000_000));
        assert_eq!(limits(&StoreArgs::default(), &[]).max_entries, None);
        assert_eq!(
            limits(&StoreArgs::default(), &[("LARDER_MAX_SIZE_GB", "0.5")]).max_bytes,
            Some(500_000_000)
        );
        let typed = StoreArgs { cache_max_size_gb: Some("0".to_owned()), ..StoreArgs::default() };
        assert_eq!(limits(&typed, &[("LARDER_MAX_SIZE_GB", "0.5")]).max_bytes, None);
        assert_eq!(
            limits(&StoreArgs::default(), &[("LARDER_MAX_AGE", "7d")]).max_age.unwrap().as_secs(),
            604_800
        );
        let bare = StoreArgs { max_age: Some("30".to_owned()), ..StoreArgs::default() };
        assert!(resolve(&bare, &[]).is_err(), "thirty seconds are not meant");
        for wrong in ["-1", "much", "", "1e300"] {
            let typed = StoreArgs { cache_max_size_gb: Some(wrong.to_owned()), ..StoreArgs::default() };
            assert!(resolve(&typed, &[]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn free_space_and_the_size_of_the_shared_store_have_their_own_settings() {
        let settings = |variables: &[(&str, &str)]| resolve(&StoreArgs::default(), variables).unwrap();
        let default = settings(&[]);
        assert_eq!((default.terms.floor, default.remote_limits.max_bytes), (Floor::Share, None));
        let given = settings(&[
            ("LARDER_MIN_FREE_GB", "0"),
            ("LARDER_MAX_SIZE_GB", "2"),
            ("LARDER_REMOTE_MAX_SIZE_GB", "500"),
        ]);
        assert_eq!(given.terms.floor, Floor::Bytes(0));
        assert_eq!(given.limits.max_bytes, Some(2_000_000_000));
        assert_eq!(given.remote_limits.max_bytes, Some(500_000_000_000));
    }

    #[test]
    fn a_switch_is_a_boolean_and_a_variable_overrides_the_file() {
        let read_only = |text: &str, file: &ConfigFile| {
            let environment = [("LARDER_READ_ONLY".to_owned(), text.to_owned())].into_iter().collect();
            let settings = super::resolve(&StoreArgs::default(), &lanes(), &environment, file);
            settings.map(|settings| settings.terms.read_only)
        };
        let (unsaid, mut on) = (ConfigFile::default(), ConfigFile::default());
        on.read_only = Some(true);
        for (text, file, expected) in
            [("1", &unsaid, true), ("Yes", &unsaid, true), ("off", &on, false), ("", &on, true)]
        {
            assert_eq!(read_only(text, file).unwrap(), expected, "{text}");
        }
        let error = read_only("maybe", &unsaid).unwrap_err().to_string();
        assert_eq!(error, "LARDER_READ_ONLY: `maybe` is neither true nor false");
    }

    #[test]
    fn requiring_signatures_without_a_trusted_key_is_an_error() {
        let demanding = StoreArgs { require_signature: true, ..StoreArgs::default() };
        assert!(resolve(&demanding, &[]).is_err());
        let key = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        assert!(resolve(&demanding, &[("LARDER_SIGNING_KEY", key)]).is_ok());
        let error =
            resolve(&StoreArgs::default(), &[("LARDER_SIGNING_KEY", "hunter2")]).unwrap_err().to_string();
        assert!(error.contains("LARDER_SIGNING_KEY") && !error.contains("hunter2"), "{error}");
    }
}
