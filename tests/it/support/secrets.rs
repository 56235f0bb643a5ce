//! Everything that the tests use and no log may ever hold: secrets, keys, tokens, phone numbers.
//!
//! The one place for them, since the logs of a whole run are searched for what stands here. None of them is a
//! word that a log might say by chance.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

pub const HOOK_SECRET: &str = "repliers-hook-secret-7d1f";
pub const OLD_HOOK_SECRET: &str = "repliers-hook-secret-before-it-90c4";
/// Of the source `board`, and of a vendor beside it.
pub const BOARD_SECRET: &str = "a-secret-of-the-board";
pub const LEADLEX_SECRET: &str = "leadlex-hook-secret-44b2";
/// What Repliers makes up while somebody subscribes.
pub const OFFERED: &str = "secret-that-repliers-makes-up-13e8";
/// What somebody sends who has no secret: it may be a real one, of somebody else.
pub const FORGED: &str = "secret-of-a-stranger-5a5a";
pub const API_KEY: &str = "upstream-api-key-c0de";
/// Of another account.
pub const OTHER_API_KEY: &str = "upstream-api-key-of-somebody-else-d00d";

/// Tokens of the operator's API, as their holders know them.
pub const READER: &str = "expunged_the-token-that-reads";
pub const WRITER: &str = "expunged_the-token-that-deletes";
pub const JUDGE: &str = "expunged_the-token-that-approves";
/// May do everything, twice a minute.
pub const HASTY: &str = "expunged_the-token-that-is-slowed-down";

/// What the program's own sandbox takes, and makes up.
pub const SANDBOX_HOOK_SECRET: &str = "sandbox-hook-secret";
pub const SANDBOX_LEADLEX_SECRET: &str = "sandbox-leadlex-secret";
pub const SANDBOX_HOOKBRIDGE_SECRET: &str = "sandbox-hookbridge-secret";
pub const SANDBOX_API_KEY: &str = "sandbox-api-key";
const SANDBOX_TOKEN: &str = "sandbox-token-";

/// How every phone number of a record begins, behind its plus sign.
pub const PHONE_START: &str = "49301234";
/// In the body of a delivery or a request.
pub const PHONE: &str = "+4915112345678";

/// All of them, each with the name that it has here.
const ALL: [(&str, &str); 22] = [
    ("HOOK_SECRET", HOOK_SECRET),
    ("OLD_HOOK_SECRET", OLD_HOOK_SECRET),
    ("BOARD_SECRET", BOARD_SECRET),
    ("LEADLEX_SECRET", LEADLEX_SECRET),
    ("OFFERED", OFFERED),
    ("FORGED", FORGED),
    ("API_KEY", API_KEY),
    ("OTHER_API_KEY", OTHER_API_KEY),
    ("READER", READER),
    ("WRITER", WRITER),
    ("JUDGE", JUDGE),
    ("HASTY", HASTY),
    ("SANDBOX_HOOK_SECRET", SANDBOX_HOOK_SECRET),
    ("SANDBOX_API_KEY", SANDBOX_API_KEY),
    ("SANDBOX_TOKEN", SANDBOX_TOKEN),
    ("PHONE_START", PHONE_START),
    // Without its plus sign, which may be escaped.
    ("PHONE", "4915112345678"),
    ("SANDBOX_LEADLEX_SECRET", SANDBOX_LEADLEX_SECRET),
    ("SANDBOX_HOOKBRIDGE_SECRET", SANDBOX_HOOKBRIDGE_SECRET),
    ("the demo's secret for Repliers", "demo-hook-secret"),
    ("the demo's secret for LeadLex", "demo-leadlex-secret"),
    ("the demo's API key", "demo-api-key"),
];

/// What `expunged token` makes up: this, and so many random characters of base64url.
const TOKEN_START: &str = "expunged_";
const TOKEN_CHARS: usize = 43;

/// The name of the first secret that stands in a text, as it is or in base64.
pub fn named_in(text: &str) -> Option<&'static str> {
    let holds = |secret: &str| text.contains(secret) || in_base64(secret).iter().any(|it| text.contains(it));
    let known = ALL.iter().find(|(_, secret)| holds(secret)).map(|(name, _)| *name);
    known.or_else(|| holds_a_token(text).then_some("a token of `expunged token`"))
}

/// What a secret looks like within a longer text in base64, as in `Authorization: Basic`: one for each way to
/// stand in it, without the characters that its neighbours share.
fn in_base64(secret: &str) -> [String; 3] {
    [0, 1, 2].map(|before| {
        let encoded = STANDARD_NO_PAD.encode([&b"..."[..before], secret.as_bytes()].concat());
        let whole = (before + secret.len()) / 3 * 4;
        encoded[before.div_ceil(3) * 4..whole].to_owned()
    })
}

fn holds_a_token(text: &str) -> bool {
    text.split(TOKEN_START).skip(1).any(|behind| {
        let end = behind.find(|char: char| !char.is_ascii_alphanumeric() && char != '_' && char != '-');
        let random = &behind[..end.unwrap_or(behind.len())];
        // A metric's name has no capitals.
        random.len() == TOKEN_CHARS && random.contains(|char: char| char.is_ascii_uppercase())
    })
}
