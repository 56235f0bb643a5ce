//! The operator's listener: is it alive, is it ready, what does it count, how does it stand.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;

use super::hooks::json;
use crate::overview::{Overview, Standing, Watched};
use crate::store::{Health, StoreError};
use crate::telemetry::metrics::Metrics;

/// What the operator's routes show.
pub struct Admin {
    pub watched: Watched,
    pub metrics: Arc<Metrics>,
}

impl Admin {
    /// The routes of the operator's listener.
    pub fn router(self) -> axum::Router {
        axum::Router::new()
            .route("/livez", get(async || "alive\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/api/v1/status", get(status))
            .with_state(Arc::new(self))
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        Standing::read(&self.watched).await?.measure(&self.metrics);
        Ok(())
    }
}

/// Ready means: a delivery would be acknowledged.
async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let health = admin.watched.store.health().borrow().clone();
    match health {
        Health::Writable => json(StatusCode::OK, "{\"ready\":true}".into()),
        Health::Unavailable(reason) => {
            let answer = serde_json::json!({ "ready": false, "reason": format!("the journal cannot be written: {reason}") });
            json(StatusCode::SERVICE_UNAVAILABLE, answer.to_string())
        }
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    if let Err(error) = admin.refresh().await {
        tracing::warn!(%error, "gauges are not fresh");
    }
    let mut response = Response::new(Body::from(admin.metrics.render()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(Metrics::CONTENT_TYPE));
    response
}

async fn status(State(admin): State<Arc<Admin>>) -> Response {
    match Overview::read(&admin.watched).await {
        Ok(overview) => json(StatusCode::OK, overview.to_json()),
        Err(error) => {
            tracing::warn!(%error, "status cannot be read");
            json(StatusCode::SERVICE_UNAVAILABLE, "{\"error\":\"state cannot be read\"}".into())
        }
    }
}
