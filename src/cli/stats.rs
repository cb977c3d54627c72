//! `larder stats`.

use clap::Args;

use super::Format;

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// How many of the last builds to count
    #[arg(long, value_name = "BUILDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) last: u32,
}
