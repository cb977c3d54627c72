//! Parses the address of a remote store.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use reqwest::Url;

/// The address of a remote store.
///
/// | address | options after `?` |
/// |---|---|
/// | `s3://BUCKET/PREFIX` | `endpoint region path_style profile role_arn external_id sse kms_key storage_class anonymous` |
/// | `gs://BUCKET/PREFIX` | `endpoint storage_class anonymous` |
/// | `azblob://CONTAINER/PREFIX` | `account endpoint anonymous` |
/// | `webdav://HOST/PATH`, `webdavs://` for TLS | – |
/// | `ghac://`, `ghac:///PREFIX`: the cache of the repository of this GitHub Actions job | – |
/// | `file:///DIR` | – |
///
/// - `endpoint`: `http://…` or `https://…` of a service other than the provider's own.
/// - `region`: by default that of `AWS_REGION` or `AWS_DEFAULT_REGION`, or `us-east-1` with an `endpoint`.
/// - `path_style`: `false` puts the name of the bucket into the host name.
/// - `profile`: a profile of the AWS configuration files.
/// - `role_arn`, `external_id`: a role to assume.
/// - `sse`, `kms_key`: the server-side encryption, `AES256` or `aws:kms`.
/// - `storage_class`: the storage class of new objects.
/// - `anonymous`: `true` sends requests without credentials.
/// - `account`: the storage account, at Azure's endpoint.
///
/// Reserved characters are written as `%` and two hexadecimal digits. Only WebDAV addresses can contain a user and a
/// password. `Display` omits the password and all options but the endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteUrl {
    pub(super) service: RemoteService,
    /// The bucket, container, or host with port.
    pub(super) name: String,
    /// The prefix of all objects, without slashes at either end; may be empty. For `file`, the path of a directory.
    pub(super) prefix: String,
    pub(super) user: Option<(String, String)>,
    pub(super) options: BTreeMap<&'static str, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RemoteService {
    S3,
    Gcs,
    Azblob,
    Webdav,
    Webdavs,
    Ghac,
    File,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is not the address of a remote store")]
pub struct InvalidRemoteUrl {
    /// The text, without what could be a password.
    pub(crate) url: String,
    #[source]
    pub(crate) reason: RemoteUrlFault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RemoteUrlFault {
    #[error("it does not begin with one of {}", known_schemes())]
    UnknownScheme,
    #[error("it is not a URL: {0}")]
    Syntax(String),
    #[error("the {0} is missing")]
    MissingName(&'static str),
    #[error("{0}:// is followed by a path, not by a host")]
    UnexpectedHost(&'static str),
    #[error("its path contains an empty segment, `.`, `..` or a control character")]
    InvalidPath,
    #[error("it must not contain credentials; set them in the environment")]
    ContainsCredentials,
    #[error("it contains a `#`; write it as `%23`")]
    ContainsFragment,
    #[error("{scheme}:// has no option{}; {}", quoted(option.as_deref()), known_options(scheme))]
    UnknownOption {
        scheme: &'static str,
        /// The option, unless it could be a secret.
        option: Option<String>,
    },
    #[error("the option `{0}` occurs twice")]
    RepeatedOption(&'static str),
    #[error("the option `{option}` must be {expected}")]
    InvalidValue { option: &'static str, expected: &'static str },
}

fn known_schemes() -> String {
    RemoteService::ALL.map(|service| format!("{}://", service.scheme())).join(" ")
}

fn known_options(scheme: &str) -> String {
    match RemoteService::of(scheme).map(RemoteService::options) {
        None | Some("") => "it has no options".to_owned(),
        Some(options) => format!("its options are {options}"),
    }
}

fn quoted(option: Option<&str>) -> String {
    option.map(|option| format!(" `{option}`")).unwrap_or_default()
}

impl RemoteService {
    const ALL: [Self; 7] =
        [Self::S3, Self::Gcs, Self::Azblob, Self::Webdav, Self::Webdavs, Self::Ghac, Self::File];

    fn of(scheme: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.scheme() == scheme)
    }

    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azblob => "azblob",
            Self::Webdav => "webdav",
            Self::Webdavs => "webdavs",
            Self::Ghac => "ghac",
            Self::File => "file",
        }
    }

    /// Returns what the part between the scheme and the path names, or `None` if it must be empty.
    fn name_kind(self) -> Option<&'static str> {
        match self {
            Self::S3 | Self::Gcs => Some("bucket"),
            Self::Azblob => Some("container"),
            Self::Webdav | Self::Webdavs => Some("host"),
            Self::Ghac | Self::File => None,
        }
    }

    /// Returns the names of the options, separated by spaces.
    fn options(self) -> &'static str {
        match self {
            Self::S3 => {
                "endpoint region path_style profile role_arn external_id sse kms_key storage_class anonymous"
            }
            Self::Gcs => "endpoint storage_class anonymous",
            Self::Azblob => "account endpoint anonymous",
            Self::Ghac | Self::Webdav | Self::Webdavs | Self::File => "",
        }
    }
}

impl RemoteUrl {
    #[must_use]
    pub(crate) fn join(&self, component: &str) -> Self {
        let prefix = [self.prefix.as_str(), component].into_iter().filter(|part| !part.is_empty());
        Self { prefix: prefix.collect::<Vec<_>>().join("/"), ..self.clone() }
    }
}

impl FromStr for RemoteUrl {
    type Err = InvalidRemoteUrl;

    fn from_str(text: &str) -> Result<Self, InvalidRemoteUrl> {
        parse(text).map_err(|reason| InvalidRemoteUrl { url: redact(text), reason })
    }
}

fn parse(text: &str) -> Result<RemoteUrl, RemoteUrlFault> {
    let (scheme, _) = text.split_once("://").ok_or(RemoteUrlFault::UnknownScheme)?;
    let service = RemoteService::of(&scheme.to_ascii_lowercase()).ok_or(RemoteUrlFault::UnknownScheme)?;
    let url = Url::parse(text).map_err(|error| RemoteUrlFault::Syntax(error.to_string()))?;
    if url.fragment().is_some() {
        return Err(RemoteUrlFault::ContainsFragment);
    }
    let host = url.host_str().unwrap_or_default();
    let name = match (service.name_kind(), host) {
        (Some(what), "") => return Err(RemoteUrlFault::MissingName(what)),
        (None, "") => String::new(),
        (None, _) => return Err(RemoteUrlFault::UnexpectedHost(service.scheme())),
        (Some(_), host) => url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
    };
    let user = credentials(service, &url)?;
    // The text as written, because the parser resolves `..`.
    let written = text.split_once("://").map_or("", |(_, rest)| rest).split('?').next().unwrap_or_default();
    let path = percent_decode(written.split_once('/').map_or("", |(_, path)| path))?;
    let prefix = path.trim_end_matches('/').to_owned();
    let is_wrong = |segment| matches!(segment, "" | "." | "..");
    if !prefix.is_empty() && (prefix.split('/').any(is_wrong) || prefix.contains(char::is_control)) {
        return Err(RemoteUrlFault::InvalidPath);
    }
    if service == RemoteService::File && prefix.is_empty() {
        return Err(RemoteUrlFault::MissingName("directory"));
    }
    let options = options(service, &url)?;
    Ok(RemoteUrl { service, name, prefix, user, options })
}

fn credentials(service: RemoteService, url: &Url) -> Result<Option<(String, String)>, RemoteUrlFault> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    if !matches!(service, RemoteService::Webdav | RemoteService::Webdavs) {
        return Err(RemoteUrlFault::ContainsCredentials);
    }
    Ok(Some((percent_decode(url.username())?, percent_decode(url.password().unwrap_or_default())?)))
}

fn options(service: RemoteService, url: &Url) -> Result<BTreeMap<&'static str, String>, RemoteUrlFault> {
    let mut options = BTreeMap::new();
    for (name, value) in url.query_pairs() {
        let Some(option) = service.options().split_whitespace().find(|option| *option == name) else {
            // The name of a part of a signed address may itself be the secret.
            let named =
                name.len() <= 24 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '-');
            let option = named.then(|| name.into_owned());
            return Err(RemoteUrlFault::UnknownOption { scheme: service.scheme(), option });
        };
        check_option(option, &value)?;
        if options.insert(option, value.into_owned()).is_some() {
            return Err(RemoteUrlFault::RepeatedOption(option));
        }
    }
    Ok(options)
}

fn check_option(option: &'static str, value: &str) -> Result<(), RemoteUrlFault> {
    let (fits, expected) = match option {
        "path_style" | "anonymous" => (matches!(value, "true" | "false"), "true or false"),
        "sse" => (matches!(value, "AES256" | "aws:kms"), "AES256 or aws:kms"),
        "account" => (
            !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric()),
            "the name of a storage account, of letters and digits",
        ),
        "endpoint" => {
            let url = Url::parse(value).ok();
            let has_user = |url: &Url| !url.username().is_empty() || url.password().is_some();
            if url.as_ref().is_some_and(|url| has_user(url) || url.query().is_some()) {
                return Err(RemoteUrlFault::ContainsCredentials);
            }
            let is_http = |url: Url| matches!(url.scheme(), "http" | "https") && url.fragment().is_none();
            (url.is_some_and(is_http), "an address http://HOST or https://HOST")
        }
        _ => (
            !value.is_empty() && !value.contains(char::is_control),
            "a non-empty text without control characters",
        ),
    };
    if fits { Ok(()) } else { Err(RemoteUrlFault::InvalidValue { option, expected }) }
}

pub(super) fn percent_decode(text: &str) -> Result<String, RemoteUrlFault> {
    let malformed =
        || RemoteUrlFault::Syntax("a `%` is not followed by two hexadecimal digits of UTF-8".to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let value = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
            bytes.push(value.ok_or_else(malformed)?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

/// Returns the part of an invalid address that may be shown: nothing before an `@`, and nothing after a `?` or `#`.
fn redact(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let colon = if scheme.is_empty() { "" } else { "://" };
    let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("…@", rest));
    let shown = rest.split(['?', '#']).next().unwrap_or_default();
    let more = if shown.len() < rest.len() { "…" } else { "" };
    format!("{}{colon}{user}{shown}{more}", scheme.escape_debug())
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.service.scheme(), self.name)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        match self.options.get("endpoint") {
            Some(endpoint) => write!(f, "?endpoint={endpoint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> RemoteUrlFault {
        text.parse::<RemoteUrl>().unwrap_err().reason
    }

    #[test]
    fn addresses_are_parsed_with_their_options() {
        for (text, name, prefix, options) in [
            ("s3://bucket", "bucket", "", ""),
            ("s3://my.bucket/team/larder/", "my.bucket", "team/larder", ""),
            (
                "S3://bucket/A?region=eu-west-1&sse=aws:kms&kms_key=arn:aws:kms:eu-west-1:1:key/2",
                "bucket",
                "A",
                "kms_key=arn:aws:kms:eu-west-1:1:key/2 region=eu-west-1 sse=aws:kms",
            ),
            (
                "s3://b?endpoint=http://127.0.0.1:9000/&path_style=true",
                "b",
                "",
                "endpoint=http://127.0.0.1:9000/ path_style=true",
            ),
            ("gs://bucket/p?storage_class=NEARLINE", "bucket", "p", "storage_class=NEARLINE"),
            ("azblob://box/p?account=store", "box", "p", "account=store"),
            ("webdav://[::1]:8080/dav/x%20y", "[::1]:8080", "dav/x y", ""),
            ("webdavs://dav.example.org", "dav.example.org", "", ""),
            ("ghac://", "", "", ""),
            ("ghac:///team/larder", "", "team/larder", ""),
            ("file:///mnt/share/larder", "", "mnt/share/larder", ""),
        ] {
            let url: RemoteUrl = text.parse().unwrap();
            let given: Vec<_> = url.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(
                (url.name.as_str(), url.prefix.as_str(), given.join(" ").as_str()),
                (name, prefix, options),
                "{text}"
            );
        }
    }

    #[test]
    fn an_invalid_address_is_rejected_with_the_reason() {
        use RemoteUrlFault as Fault;
        for (text, reason) in [
            ("", Fault::UnknownScheme),
            ("/srv/cache", Fault::UnknownScheme),
            ("ftp://host/p", Fault::UnknownScheme),
            ("memory://", Fault::UnknownScheme),
            ("s3:///p", Fault::MissingName("bucket")),
            ("azblob://", Fault::MissingName("container")),
            ("webdav:///p", Fault::MissingName("host")),
            ("file://", Fault::MissingName("directory")),
            ("file://host/p", Fault::UnexpectedHost("file")),
            ("ghac://host/p", Fault::UnexpectedHost("ghac")),
            ("s3://b/a/../../x", Fault::InvalidPath),
            ("s3://b/a//x", Fault::InvalidPath),
            ("s3://b/%2e%2e", Fault::InvalidPath),
            ("s3://b/%00", Fault::InvalidPath),
            ("s3://AKIA:secret@b/p", Fault::ContainsCredentials),
            ("s3://b?endpoint=http://user:secret@host", Fault::ContainsCredentials),
            ("gs://b/p#x", Fault::ContainsFragment),
            ("s3://b?region=a&region=b", Fault::RepeatedOption("region")),
            (
                "s3://b?path_style=yes",
                Fault::InvalidValue { option: "path_style", expected: "true or false" },
            ),
            ("s3://b?sse=rot13", Fault::InvalidValue { option: "sse", expected: "AES256 or aws:kms" }),
            (
                "webdav://h/p?region=x",
                Fault::UnknownOption { scheme: "webdav", option: Some("region".to_owned()) },
            ),
        ] {
            assert_eq!(fault(text), reason, "{text}");
        }
        assert!(matches!(fault("webdav://host:x/p"), Fault::Syntax(_)));
        assert!(matches!(fault("s3://b/%zz"), Fault::Syntax(_)));
        assert_eq!(
            fault("gs://b?regoin=x").to_string(),
            "gs:// has no option `regoin`; its options are endpoint storage_class anonymous"
        );
    }

    #[test]
    fn a_possible_password_is_never_shown() {
        for text in [
            "webdav://user:SECRET@host/p?x=SECRET",
            "webdav://user:SEC/SECRET@host:x/p",
            "s3://AKIA:SECRET@b",
            "s3://b?secret_access_key=SECRET",
            "azblob://c?sv=1&sig=SECRET",
            "azblob://c?SECRET",
            "s3://b?endpoint=https://u:SECRET@h",
            "s3://b#SECRET",
        ] {
            let error = text.parse::<RemoteUrl>().unwrap_err();
            let shown = format!("{error} {error:?} {}", error.reason);
            assert!(!shown.contains("SECRET"), "{shown}");
        }
        let url: RemoteUrl = "webdavs://user:SECRET@host/p".parse().unwrap();
        assert_eq!(format!("{url} {url:?}"), "webdavs://host/p RemoteUrl(webdavs://host/p)");
        let url: RemoteUrl = "s3://b/p?endpoint=http://h&external_id=SECRET".parse().unwrap();
        assert_eq!(url.to_string(), "s3://b/p?endpoint=http://h");
    }
}
