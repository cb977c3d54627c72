//! Options of `docker build` and `docker run` that larder rejects, with the reasons.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use Values::{Attached, Optional, Required, Switch};

#[derive(Debug)]
pub(crate) struct UnsupportedOption {
    /// Without dashes; with `=VALUE` if only this value is rejected.
    pub(crate) name: &'static str,
    short: Option<char>,
    values: Values,
    /// Values that request what larder does anyway.
    accepted: &'static [&'static str],
    pub(crate) reason: &'static str,
    pub(crate) alternative: &'static str,
}

#[derive(Debug)]
enum Values {
    Switch,
    Required,
    /// `--name` or `--name=VALUE`; without `=`, the next argument is the context, not a value.
    Attached,
    Optional,
}

const fn option(
    name: &'static str,
    values: Values,
    reason: &'static str,
    alternative: &'static str,
) -> UnsupportedOption {
    UnsupportedOption { name, short: None, values, accepted: &[], reason, alternative }
}

impl UnsupportedOption {
    const fn short(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }

    const fn except(self, accepted: &'static [&'static str]) -> Self {
        Self { accepted, ..self }
    }

    fn id(&self) -> &'static str {
        self.name.split('=').next().unwrap_or_default()
    }

    pub(super) fn arg(&self) -> Arg {
        let arg = Arg::new(self.id()).long(self.id()).hide(true).action(ArgAction::Append);
        let arg = match self.values {
            Switch => arg.action(ArgAction::SetTrue),
            Required => arg.allow_hyphen_values(true),
            Attached => arg.num_args(0..=1).default_missing_value("true").require_equals(true),
            Optional => arg.num_args(0..=1).default_missing_value("true"),
        };
        self.short.into_iter().fold(arg, Arg::short)
    }

    /// Returns `true` if the option was given with a value that is rejected.
    pub(super) fn is_refused(&self, matches: &ArgMatches) -> bool {
        let is_refused = |value: &std::ffi::OsStr| match self.name.split_once('=') {
            Some((_, refused)) => value == refused,
            None => self.accepted.iter().all(|accepted| value != *accepted),
        };
        matches.value_source(self.id()) == Some(ValueSource::CommandLine)
            && matches.get_raw(self.id()).is_some_and(|mut values| values.any(is_refused))
    }
}

const LEAVE_IT_OUT: &str = "leave it out";
const NO_LIMITS: &str = "BuildKit does not limit the resources of steps";
const LIMIT_CGROUP: &str = "limit a cgroup and pass it with --cgroup-parent, or limit the engine";
const ONLY_BUILDS: &str = "larder only runs builds";
const BUILDX: &str = "use docker buildx build";
const NO_TERMINAL: &str = "containers of larder run have no terminal and no input";
const DOCKER_RUN: &str = "name the image with --tag and use docker run -it";
const WINDOWS: &str = "it only applies to Windows containers";

#[rustfmt::skip]
static UNSUPPORTED_BUILD_OPTIONS: &[UnsupportedOption] = &[
    option("rm=false", Attached, "BuildKit creates no intermediate containers", "leave it out; the steps before a failed one stay in the build cache"),
    option("disable-content-trust=false", Attached, "BuildKit does not check Docker Content Trust", "pin base images by digest instead: FROM name:tag@sha256:…"),
    option("squash", Switch, "BuildKit cannot squash layers", "use a multi-stage build: COPY --from copies only the result"),
    option("compress", Switch, "BuildKit requests only changed files, so there is nothing to compress", LEAVE_IT_OUT),
    option("isolation", Required, WINDOWS, LEAVE_IT_OUT).except(&["", "default"]),
    option("security-opt", Required, "BuildKit has no such option for builds", "leave it out; RUN --security=insecure with --allow security.insecure disables the sandbox if the engine allows it"),
    option("memory", Required, NO_LIMITS, LIMIT_CGROUP).short('m'),
    option("memory-swap", Required, NO_LIMITS, LIMIT_CGROUP),
    option("cpu-shares", Required, NO_LIMITS, LIMIT_CGROUP).short('c'),
    option("cpu-period", Required, NO_LIMITS, LIMIT_CGROUP),
    option("cpu-quota", Required, NO_LIMITS, LIMIT_CGROUP),
    option("cpuset-cpus", Required, NO_LIMITS, LIMIT_CGROUP),
    option("cpuset-mems", Required, NO_LIMITS, LIMIT_CGROUP),
    option("builder", Required, "larder does not use buildx builders", "pass the address of the engine or buildkitd with --host"),
    option("check", Switch, ONLY_BUILDS, BUILDX),
    option("call", Required, ONLY_BUILDS, BUILDX).except(&["build"]),
    option("policy", Required, "source policies are not evaluated", BUILDX),
];

#[rustfmt::skip]
pub(crate) static UNSUPPORTED_RUN_OPTIONS: &[UnsupportedOption] = &[
    option("attach", Attached, "standard output and error are always attached", LEAVE_IT_OUT).short('a'),
    option("detach", Attached, "larder run waits for the container and exits with its status", "name the image with --tag and use docker run --detach").short('d'),
    option("interactive", Attached, NO_TERMINAL, DOCKER_RUN).short('i'),
    option("tty", Attached, NO_TERMINAL, DOCKER_RUN),
    option("detach-keys", Optional, NO_TERMINAL, LEAVE_IT_OUT),
    option("sig-proxy", Optional, "an interrupt always stops the container", LEAVE_IT_OUT),
    option("cidfile", Optional, "the container can be named in advance instead", "--name NAME"),
    option("restart", Optional, "the container runs once, and larder run exits with its status", LEAVE_IT_OUT),
    option("quiet", Attached, "there is no pull progress to hide", "--progress quiet hides the build").short('q'),
    option("disable-content-trust", Optional, "images are built or taken from a cache, so Docker Content Trust does not apply", LEAVE_IT_OUT),
    option("kernel-memory", Optional, "kernels and engines no longer support it", "--memory also limits the kernel's memory"),
    option("use-api-socket", Optional, "access to the engine's socket is root access to its host", "--volume /var/run/docker.sock:/var/run/docker.sock"),
    option("isolation", Optional, WINDOWS, LEAVE_IT_OUT),
    option("cpu-count", Optional, WINDOWS, "--cpus"),
    option("cpu-percent", Optional, WINDOWS, "--cpus"),
    option("io-maxbandwidth", Optional, WINDOWS, "--device-read-bps, --device-write-bps"),
    option("io-maxiops", Optional, WINDOWS, "--device-read-iops, --device-write-iops"),
];

/// The first given option of `docker build` that is rejected.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct UnsupportedArgs(pub(crate) Option<&'static UnsupportedOption>);

impl Args for UnsupportedArgs {
    fn augment_args(command: Command) -> Command {
        // Has no effect, because BuildKit always does this.
        let force_rm = Arg::new("force-rm").long("force-rm").hide(true).action(ArgAction::SetTrue);
        let command = command.args(UNSUPPORTED_BUILD_OPTIONS.iter().map(UnsupportedOption::arg));
        // Options after the flattened ones belong to no section.
        command.arg(force_rm).next_help_heading(None::<&'static str>)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for UnsupportedArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(UNSUPPORTED_BUILD_OPTIONS.iter().find(|option| option.is_refused(matches))))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
