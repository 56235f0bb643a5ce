//! What is known of upstreams, as TOML that is laid under a source's own table.
//!
//! A preset is data: it may say nothing that a user could not say. Whatever an upstream does not document
//! stays overridable by the user's own keys.

use super::fault::{Fault, KeyPath};
use super::file::{Node, Value};
use super::read::nearest;

/// Name and text, in the order of the names.
const PRESETS: [(&str, &str); 10] = [
    ("github", include_str!("presets/github.toml")),
    ("hubspot_v3", include_str!("presets/hubspot_v3.toml")),
    ("leadlex", include_str!("presets/leadlex.toml")),
    ("pipedrive", include_str!("presets/pipedrive.toml")),
    ("repliers", include_str!("presets/repliers.toml")),
    ("shopify", include_str!("presets/shopify.toml")),
    ("slack", include_str!("presets/slack.toml")),
    ("standard_webhooks", include_str!("presets/standard_webhooks.toml")),
    ("stripe", include_str!("presets/stripe.toml")),
    ("svix", include_str!("presets/svix.toml")),
];

/// Names of all presets, in their order.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// Lays the preset of each source under its own table; a preset that does not exist is a fault.
pub(super) fn lay_under(tree: &mut Node) -> Vec<Fault> {
    let mut faults = Vec::new();
    let Value::Table(root) = &mut tree.value else { return faults };
    let Some(Value::Table(sources)) = root.get_mut("sources").map(|entry| &mut entry.node.value) else {
        return faults;
    };
    for (name, entry) in sources {
        let Some(Value::Text(preset)) =
            entry.node.table().and_then(|source| source.get("preset")).map(|preset| &preset.node.value)
        else {
            continue;
        };
        match base(preset) {
            Some(Ok(base)) => entry.node = entry.node.clone().over(base),
            Some(Err(broken)) => faults.extend(broken),
            None => faults.push(unknown(name, preset, &entry.node)),
        }
    }
    faults
}

fn base(name: &str) -> Option<Result<Node, Vec<Fault>>> {
    let (_, text) = PRESETS.iter().find(|(preset, _)| *preset == name)?;
    Some(Node::parse(text, &format!("preset {name}")))
}

fn unknown(source: &str, preset: &str, table: &Node) -> Fault {
    Fault {
        place: table.locate(&KeyPath::of(&["preset"])),
        path: KeyPath::of(&["sources", source, "preset"]).to_string(),
        what: format!("there is no preset {preset:?}"),
        mend: match nearest(preset, names()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("presets are {}", names().collect::<Vec<_>>().join(", ")),
        },
    }
}
