//! What is known of upstreams and vendors, as TOML that is laid under a source's or a target's own table.
//!
//! A preset is data: it may say nothing that a user could not say. Whatever an upstream does not document
//! stays overridable by the user's own keys.

use super::file::{Node, Table, Value};

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

/// As above, of targets. A vendor that tells of deletions and takes them has one in each.
const TARGETS: [(&str, &str); 3] = [
    ("calmyx", include_str!("presets/targets/calmyx.toml")),
    ("leadlex", include_str!("presets/targets/leadlex.toml")),
    ("talkdesk", include_str!("presets/targets/talkdesk.toml")),
];

/// Names of all presets of sources, in their order.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// Names of all presets of targets, in their order.
pub fn target_names() -> impl Iterator<Item = &'static str> {
    TARGETS.iter().map(|(name, _)| *name)
}

/// Lays the preset of each source and target under its own table. A preset that does not exist is the reader's
/// to tell.
pub(super) fn lay_under(tree: &mut Node) {
    let Value::Table(root) = &mut tree.value else { return };
    lay_under_each(root, "sources", &PRESETS);
    lay_under_each(root, "targets", &TARGETS);
}

fn lay_under_each(root: &mut Table, key: &str, presets: &[(&str, &str)]) {
    let Some(Value::Table(tables)) = root.get_mut(key).map(|entry| &mut entry.node.value) else {
        return;
    };
    for entry in tables.values_mut() {
        let Some(Value::Text(preset)) =
            entry.node.table().and_then(|source| source.get("preset")).map(|preset| &preset.node.value)
        else {
            continue;
        };
        if let Some(base) = base(presets, preset) {
            entry.node = entry.node.clone().over(base);
        }
    }
}

fn base(presets: &[(&str, &str)], name: &str) -> Option<Node> {
    let (_, text) = presets.iter().find(|(preset, _)| *preset == name)?;
    Some(Node::parse(text, &format!("preset {name}")).expect("a test reads every preset"))
}
