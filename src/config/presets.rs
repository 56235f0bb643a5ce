//! What is known of upstreams and vendors, as TOML that is laid under a source's or a target's own table.
//!
//! A preset is data: it may say nothing that a user could not say. Whatever an upstream does not document
//! stays overridable by the user's own keys.

use super::file::{Node, Table, Value};

/// Name and text, in the order of the names.
const PRESETS: [(&str, &str); 11] = [
    ("github", include_str!("presets/github.toml")),
    ("hookbridge", include_str!("presets/hookbridge.toml")),
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

/// Those of `pull`, which lie under a source's own table of that name.
const PULL_PRESETS: [(&str, &str); 1] = [("hookbridge", include_str!("presets/pull/hookbridge.toml"))];

/// Names of all presets of sources, in their order.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// Names of all presets of targets, in their order.
pub fn target_names() -> impl Iterator<Item = &'static str> {
    TARGETS.iter().map(|(name, _)| *name)
}

/// Names of the presets of `pull`, in their order.
pub fn pull_names() -> impl Iterator<Item = &'static str> {
    PULL_PRESETS.iter().map(|(name, _)| *name)
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
        lay(&mut entry.node, presets);
        if let Value::Table(table) = &mut entry.node.value
            && let Some(pull) = table.get_mut("pull")
        {
            lay(&mut pull.node, &PULL_PRESETS);
        }
    }
}

/// Lays the preset that a table names under it.
fn lay(node: &mut Node, presets: &[(&str, &str)]) {
    let preset = node.table().and_then(|table| table.get("preset")).map(|preset| &preset.node.value);
    let Some(Value::Text(preset)) = preset else { return };
    if let Some(base) = base(preset, presets) {
        *node = node.clone().over(base);
    }
}

fn base(name: &str, presets: &[(&str, &str)]) -> Option<Node> {
    let (_, text) = presets.iter().find(|(preset, _)| *preset == name)?;
    Some(Node::parse(text, &format!("preset {name}")).expect("a test reads every preset"))
}
