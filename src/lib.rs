//! Carries deletions from an upstream to every copy of a record, and proves it.
//!
//! ```text
//!  POST /hooks/{source},          deleted feed                        operator
//!  or fetched where it is kept    page by page, from the                 │
//!    size → signature → rate      checkpoint minus the overlap           │
//!    → parse → notices                │                                  │
//!             \                          │                               /
//!              v                         v                              v
//!         intake     append to the journal: sequential, group commit; the answer waits for this alone
//!                                        │  wake (no data in the signal)
//!                                        v
//!         fold       journal → tombstones, tasks, holds, runs, checkpoints: in steps, idempotent, rebuildable
//!                                        │
//!                                        v
//!         brake      is this more than may go without a person?  ── yes ──> hold ── approve / reject
//!                                        │ no
//!                                        v
//!         applier    one loop a target: lease → batch → target.apply → outcomes → journal
//! ```
//!
//! The journal is the truth: everything that was heard, decided and done is an entry of it, under a chain of
//! hashes. Whatever else is stored is folded from it and can be rebuilt. The webhook is the signal, the feed
//! is the truth about the upstream; both write through the same door, and the applier never knows which of
//! them spoke.
//!
//! # Invariants
//!
//! Tests carry the number of the invariant that they hold.
//!
//! - **I1 durable before acknowledged.** A 2xx answer is sent only after the notices are committed with an fsync.
//! - **I2 once.** The same notices any number of times, in any order, with a crash between any two steps, leave
//!   the same rows, tombstones and counts as once.
//! - **I3 the newer record wins.** A row or document whose guard is newer than the tombstone is never deleted;
//!   the check is inside the deleting statement, or under the index's lock. A repeat is recognised by the
//!   upstream's own evidence, not by when it was heard. Equal times delete.
//! - **I4 no gap.** The checkpoint moves only in the transaction that makes the last page durable, never past
//!   what was read to the end, never by a webhook, never by the local clock alone, never past either clock.
//! - **I5 the brake holds.** No more than the allowed number or share of an entity goes in a window without a
//!   person, whatever arrives, by whichever door, across restarts.
//! - **I6 nothing is dropped.** Every notice ends settled, held, rejected by a person, or parked with its reason.
//! - **I7 accepted is not gone.** A task is done when the target confirmed it.
//! - **I8 told truly.** An outcome says what happened to that record; what a crash hid is told as
//!   `already_deleted`, never counted twice as `deleted`.
//! - **I9 the journal proves it.** Every removal has an entry that names the notice behind it, and an entry that was
//!   edited, removed or reordered is found and named.
//! - **I10 no secret and no body in a log.** Raw bodies are kept beside the journal, and purged on time.
//! - **I11 a key is text, byte for byte**, from the signed body to the bound parameter.
//! - **I12 gone is looked at, not assumed.** Absence is selected again in the transaction that deletes.
//!
//! # Floors
//!
//! A module uses only what stands on a floor below it, or before a "then" on its own; a test reads this table and
//! holds it.
//!
//! | floor | modules |
//! |---|---|
//! | 0 | [`domain`], [`backoff`], then [`clock`] |
//! | 1 | [`config`], then [`telemetry`], [`outbound`]: requests to upstreams and vendors |
//! | 2 | [`store`], [`vault`], [`targets`], [`sources`], [`sandbox`]: simulated upstreams, used by `cli` and by tests alone |
//! | 3 | [`intake`], then [`fold`], [`brake`], [`reconcile`], [`collect`], [`overview`], then [`applier`] |
//! | 4 | [`web`], [`schedule`], [`lifecycle`] |
//! | 5 | [`app`], then [`cli`] |

pub mod app;
pub mod applier;
pub mod backoff;
pub mod brake;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod config;
pub mod domain;
pub mod fold;
pub mod intake;
pub mod lifecycle;
pub mod outbound;
pub mod overview;
pub mod reconcile;
pub mod sandbox;
pub mod schedule;
pub mod sources;
pub mod store;
pub mod targets;
pub mod telemetry;
pub mod vault;
pub mod web;
