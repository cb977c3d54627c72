//! Chain ids, by which an engine with a graph driver identifies a layer on top of others. Pure.

use crate::digest::Digest;

/// Returns the chain id of each layer (OCI image specification, "Layer `ChainID`"). Ends before the first invalid
/// digest.
pub(crate) fn chain_ids(diff_ids: &[String]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::new();
    for diff_id in diff_ids {
        let Ok(own) = diff_id.parse() else { break };
        chains.push(chains.last().map_or(own, |below| Digest::of(format!("{below} {diff_id}").as_bytes())));
    }
    chains
}
