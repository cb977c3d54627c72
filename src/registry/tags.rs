//! Lists and deletes tags of a repository.

use reqwest::header::LINK;
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::connection::RegistryRequest;
use super::{RegistryError, Repository, StoredManifest};

const PAGE_SIZE: usize = 1000;
const MAX_PAGES: usize = 20;

#[derive(Deserialize)]
struct TagPage {
    tags: Option<Vec<String>>,
}

impl Repository {
    /// Returns the tags of the repository; an empty list if it does not exist.
    pub(crate) async fn tags(&mut self) -> Result<Vec<String>, RegistryError> {
        let mut tags = Vec::new();
        let mut next = Some(format!("tags/list?n={PAGE_SIZE}"));
        for _ in 0..MAX_PAGES {
            let Some(path) = next.take() else { break };
            let call = RegistryRequest::new(Method::GET, path);
            let Some(answer) = self.get_if_exists(&call).await? else { break };
            let page: TagPage = serde_json::from_slice(&answer.body)
                .map_err(|_| self.connection.invalid_response("the list of tags is malformed"))?;
            tags.extend(page.tags.unwrap_or_default());
            next = answer.headers.get(LINK).and_then(|link| next_page(link.to_str().ok()?));
        }
        Ok(tags)
    }

    /// Deletes a tag that refers to `manifest`. Returns `false` if the registry does not allow it.
    ///
    /// Some registries cannot delete a tag alone and delete the manifest with all its tags. `is_alone` must therefore
    /// be `true` only if no other tag is known to refer to the manifest.
    pub(crate) async fn delete_tag(
        &mut self,
        tag: &str,
        manifest: &StoredManifest,
        is_alone: bool,
    ) -> Result<bool, RegistryError> {
        let digest = is_alone.then(|| manifest.digest.to_string());
        for reference in [Some(tag.to_owned()), digest].into_iter().flatten() {
            let call = RegistryRequest::new(Method::DELETE, format!("manifests/{reference}"));
            let answer = self.connection.call(&call).await?;
            match answer.status {
                status if status.is_success() || status == StatusCode::NOT_FOUND => return Ok(true),
                status if status.is_client_error() => {}
                _ => return Err(self.connection.status_error(&answer)),
            }
        }
        Ok(false)
    }
}

/// Returns the address in `<ADDRESS>; rel="next"`.
fn next_page(link: &str) -> Option<String> {
    let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_read_from_a_link() {
        for (link, next) in [
            ("</v2/app/tags/list?last=b&n=2>; rel=\"next\"", Some("/v2/app/tags/list?last=b&n=2")),
            (
                "<https://r.example/v2/app/tags/list?n=1>; rel=next",
                Some("https://r.example/v2/app/tags/list?n=1"),
            ),
            ("</v2/app>; rel=\"prev\"", None),
            ("", None),
        ] {
            assert_eq!(next_page(link).as_deref(), next, "{link}");
        }
    }
}
