//! Credentials of requests: a fixed header, or a token of OAuth 2.0 client credentials that is renewed before
//! it ends.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Mutex;
use url::form_urlencoded;

use super::http::{Body, Http, Request};
use crate::clock::SharedClock;
use crate::config::Secret;
use crate::config::api::{Auth, Oauth};
use crate::domain::Timestamp;

/// A name and a value, as a request carries them.
type Header = (String, Secret);

pub(super) struct Credential {
    auth: Auth,
    clock: SharedClock,
    http: Arc<Http>,
    token: Mutex<Option<Token>>,
}

struct Token {
    header: Secret,
    ends: Timestamp,
}

impl Credential {
    pub fn new(auth: Auth, clock: SharedClock, http: Arc<Http>) -> Self {
        Self { auth, clock, http, token: Mutex::new(None) }
    }

    /// The header to send, if there is one.
    ///
    /// # Errors
    /// No token was to be had; says why, and holds nothing secret.
    pub async fn header(&self) -> Result<Option<Header>, String> {
        match &self.auth {
            Auth::None => Ok(None),
            Auth::Header { name, value } => Ok(Some((name.clone(), value.clone()))),
            Auth::Oauth(oauth) => {
                let value = self.token(oauth).await?;
                Ok(Some(("authorization".to_owned(), value)))
            }
        }
    }

    /// The vendor does not take the token: `true` if another one can be had.
    pub async fn refused(&self) -> bool {
        *self.token.lock().await = None;
        matches!(self.auth, Auth::Oauth(_))
    }

    /// One asks for a token, the others wait for it.
    async fn token(&self, oauth: &Oauth) -> Result<Secret, String> {
        let mut token = self.token.lock().await;
        let now = self.clock.now();
        if let Some(held) = token.as_ref().filter(|held| held.ends.minus(oauth.renew_before) > now) {
            return Ok(held.header.clone());
        }
        let fresh = self.ask(oauth, now).await?;
        let header = fresh.header.clone();
        *token = Some(fresh);
        Ok(header)
    }

    async fn ask(&self, oauth: &Oauth, now: Timestamp) -> Result<Token, String> {
        let response =
            self.http.send(request(oauth)).await.map_err(|none| format!("no token: {}", none.what))?;
        if response.status != 200 {
            return Err(format!("no token: the identity service answered {}", response.status));
        }
        let answer = response.json();
        let token = answer["access_token"].as_str().filter(|token| !token.is_empty());
        let token = token.ok_or("no token: the identity service's answer has none")?;
        let said = answer["expires_in"].as_u64().map(std::time::Duration::from_secs);
        let ends = now.plus(said.unwrap_or(oauth.lifetime));
        Ok(Token { header: Secret::new(format!("Bearer {token}")), ends })
    }
}

fn request(oauth: &Oauth) -> Request {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if let Some(scope) = &oauth.scope {
        form.append_pair("scope", scope);
    }
    let mut headers = Vec::new();
    let (id, secret) = (oauth.client_id.expose(), oauth.client_secret.expose());
    if oauth.in_body {
        form.append_pair("client_id", &String::from_utf8_lossy(id));
        form.append_pair("client_secret", &String::from_utf8_lossy(secret));
    } else {
        let pair = STANDARD.encode([id, b":", secret].concat());
        headers.push(("authorization".to_owned(), Secret::new(format!("Basic {pair}"))));
    }
    let body = Some(Body::Form(form.finish()));
    Request { method: reqwest::Method::POST, url: oauth.token_url.clone(), headers, body }
}
