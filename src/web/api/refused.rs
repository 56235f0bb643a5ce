//! What was refused, in the one shape that all refusals have. Holds nothing of what was sent.

use axum::http::{StatusCode, header};
use axum::response::Response;
use serde::Serialize;

use crate::domain::Seq;
use crate::store::StoreError;
use crate::targets::TargetError;
use crate::web::BodyFault;
use crate::web::hooks::json;

/// Seconds after which what was busy is not any more.
const RETRY_SOON: i64 = 1;
/// Seconds after which a target, or our own state, may be back.
const RETRY_LATER: i64 = 5;

/// Why a request was not carried out.
#[derive(Debug)]
pub struct Refused {
    pub status: StatusCode,
    /// Stable and short, for programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// Seconds.
    pub retry_after: Option<i64>,
    /// Ids that were wrong, if that is why.
    pub faults: Vec<Wrong>,
    /// What was recorded before something failed.
    pub receipt: Option<Seq>,
}

/// An id that cannot be one.
#[derive(Debug, Serialize)]
pub struct Wrong {
    /// Its place in the list, from 1.
    pub n: u64,
    pub message: String,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Shape<'a>,
}

#[derive(Serialize)]
struct Shape<'a> {
    code: &'a str,
    message: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: &'a Vec<Wrong>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
}

impl Refused {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None, faults: Vec::new(), receipt: None }
    }

    pub fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub fn path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_path", "there is nothing at this path")
    }

    pub fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path takes another method")
    }

    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).after(RETRY_SOON)
    }

    pub fn under_way() -> Self {
        let message = "a request under this Idempotency-Key is being recorded";
        Self::new(StatusCode::CONFLICT, "request_under_way", message).after(RETRY_SOON)
    }

    pub fn after(self, seconds: i64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    pub fn target(name: &str, error: &TargetError) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        match error {
            TargetError::Unavailable(_) | TargetError::Halted(_) | TargetError::Unknown(_) => {
                Self::new(status, "target_unavailable", format!("target {name} cannot be asked now"))
                    .after(RETRY_LATER)
            }
            TargetError::Refused { .. } | TargetError::Misconfigured(_) => {
                Self::new(status, "target_unfit", format!("target {name}: {error}"))
            }
        }
    }

    pub fn answer(&self, request_id: &str) -> Response {
        let Self { status, code, message, faults, .. } = self;
        let receipt = self.receipt.map(|receipt| receipt.to_string());
        let shape = Shape { code, message, request_id, faults, receipt };
        let text = serde_json::to_string(&Body { error: shape });
        let mut answer = json(*status, text.unwrap_or_default());
        let headers = answer.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.max(1).into());
        }
        if *status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::busy("too many requests wait for the journal"),
            other => {
                tracing::warn!(error = %other, "a request cannot be answered: our own state cannot be used");
                let message = "our own state cannot be used now";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "state_unavailable", message).after(RETRY_LATER)
            }
        }
    }
}

impl From<BodyFault> for Refused {
    fn from(fault: BodyFault) -> Self {
        Self::new(fault.status(), fault.as_str(), fault.to_string())
    }
}
