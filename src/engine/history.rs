//! The sizes of an image's layers, from its history.

use bollard::models::ImageHistoryResponseItem;

use super::{Engine, EngineError};

/// Prefixes of history entries that created a layer, even if the layer is empty.
const LAYER_INSTRUCTIONS: [&str; 4] = ["RUN ", "COPY ", "ADD ", "WORKDIR "];

impl Engine {
    /// Returns the sizes of the layers of the image `id` in bytes, lowest first. If their number differs from the
    /// number of layers, the sizes are not known.
    pub(crate) async fn layer_sizes(&self, id: &str) -> Result<Vec<u64>, EngineError> {
        let history = self.docker.image_history(id).await;
        let history = history.map_err(|error| EngineError::new("read the history of an image", error))?;
        Ok(history.iter().rev().filter_map(layer_size).collect())
    }
}

/// Returns the size of the layer that a history entry created, if it created one.
fn layer_size(entry: &ImageHistoryResponseItem) -> Option<u64> {
    let size = u64::try_from(entry.size).unwrap_or_default();
    let made_by = entry.created_by.trim_start_matches("/bin/sh -c #(nop) ").trim_start();
    let is_layer = size > 0 || LAYER_INSTRUCTIONS.iter().any(|instruction| made_by.starts_with(instruction));
    is_layer.then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_layer_is_distinguished_from_an_entry_without_a_layer() {
        for (made_by, size, expected) in [
            ("RUN /bin/sh -c pip install -r requirements.txt # buildkit", 400, Some(400)),
            ("WORKDIR /app", 0, Some(0)),
            ("COPY empty / # buildkit", 0, Some(0)),
            ("/bin/sh -c #(nop) ADD file:abc in / ", 70, Some(70)),
            ("/bin/sh -c #(nop)  CMD [\"sh\"]", 0, None),
            ("ENV A=1", 0, None),
        ] {
            let entry =
                ImageHistoryResponseItem { created_by: made_by.to_owned(), size, ..Default::default() };
            assert_eq!(layer_size(&entry), expected, "{made_by}");
        }
    }
}
