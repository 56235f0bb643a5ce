//! Reads an upstream's deleted feed from a checkpoint to its end, page by page, or fails saying why.
//!
//! The feed is the truth that webhooks only announce, so what is read here must be all of it: a walk ends at
//! an explicit mark, counts what it saw, and begins again when the feed changed under it (I4). It hands each
//! page to a [`Sink`] and waits until that has taken it. It stores nothing, decides nothing about deletions,
//! and only says how far the checkpoint may move.

pub mod client;
mod link;
pub mod page;
pub mod paging;
pub mod walk;
pub mod window;

pub use client::Client;
pub use page::{PageFault, Record};
pub use walk::{ClockSkew, End, Page, Sink, SinkError, Walked, walk};
pub use window::{Start, WindowError};

use client::Trouble;

/// Why a feed was not read to its end. The checkpoint stays where it is.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error("cannot be asked: {0}")]
    Setup(String),
    #[error(transparent)]
    Window(#[from] WindowError),
    #[error("{url} answered {status}: the credential in its headers is wrong, expired or lacks a right")]
    Credential { url: String, status: u16 },
    #[error(
        "{url} answered {status}: it does not take this request, compare the url and parameters in the configuration"
    )]
    Refused { url: String, status: u16 },
    #[error(
        "{url} answered {status}: a redirect to another host, or one too many, is not followed, since the \
         credentials would go along; set the url to where it leads if you trust it"
    )]
    Redirect { url: String, status: u16 },
    #[error("{url} answered more than {limit} bytes: ask for smaller pages or raise page_bytes_max")]
    TooLarge { url: String, limit: usize },
    #[error("{url} failed {attempts} times, at last with: {last}")]
    Exhausted { url: String, attempts: u32, last: Trouble },
    /// Pages are counted from 1, from the start of the walk.
    #[error("page {page} of {url} was refused: {fault}")]
    Page { url: String, page: u64, fault: PageFault },
    #[error(
        "the feed changes faster than it can be read: {walks} walks, and in none did the records add up to the \
         total that it declares"
    )]
    Changing { walks: u32 },
    #[error("a page could not be kept: {0}")]
    Sink(#[source] SinkError),
}

impl FeedError {
    /// Whether the same run may end well later without a person.
    #[must_use]
    pub fn retry_can_help(&self) -> bool {
        match self {
            Self::Setup(_)
            | Self::Window(_)
            | Self::Credential { .. }
            | Self::Refused { .. }
            | Self::Redirect { .. }
            | Self::TooLarge { .. } => false,
            Self::Exhausted { .. } | Self::Page { .. } | Self::Changing { .. } | Self::Sink(_) => true,
        }
    }
}

#[cfg(test)]
pub(super) mod testing;
