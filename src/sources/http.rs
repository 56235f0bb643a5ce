//! The one way to an HTTP client that knows no feed: for test deliveries.

use std::time::Duration;

/// An answer to a delivery takes a commit; more than that is a fault worth telling.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client that follows no redirect and uses no proxy.
///
/// # Errors
/// The platform's trust store cannot be used.
pub fn plain_client() -> Result<reqwest::Client, reqwest::Error> {
    // The client takes the process's cryptography; where somebody has chosen before, that choice stands.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(TIMEOUT).no_proxy().build()
}
