//! The one way to an HTTP client that knows no feed: for test deliveries.

use std::time::Duration;

use crate::outbound;

/// An answer to a delivery takes a commit; more than that is a fault worth telling.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client that follows no redirect and uses no proxy.
///
/// # Errors
/// The platform's trust store cannot be used.
pub fn plain_client() -> Result<reqwest::Client, reqwest::Error> {
    outbound::client(TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy().build()
}
