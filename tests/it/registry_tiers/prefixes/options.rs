//! Options that affect whether prefixes are used and published.
