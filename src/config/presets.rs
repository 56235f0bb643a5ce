//! What is known of upstreams, as TOML that is laid under a source's own table.
//!
//! A preset is data: it may say nothing that a user could not say. Whatever an upstream does not document
//! stays overridable by the user's own keys.

use super::file::{Node, Value};

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

/// Those of `pull`, which lie under a source's own table of that name.
const PULL_PRESETS: [(&str, &str); 1] = [("hookbridge", include_str!("presets/pull/hookbridge.toml"))];

/// Names of all presets, in their order.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// Names of the presets of `pull`, in their order.
pub fn pull_names() -> impl Iterator<Item = &'static str> {
    PULL_PRESETS.iter().map(|(name, _)| *name)
}

/// Lays the preset of each source under its own table. A preset that does not exist is the reader's to tell.
pub(super) fn lay_under(tree: &mut Node) {
    let Value::Table(root) = &mut tree.value else { return };
    let Some(Value::Table(sources)) = root.get_mut("sources").map(|entry| &mut entry.node.value) else {
        return;
    };
    for source in sources.values_mut() {
        lay(&mut source.node, &PRESETS);
        if let Value::Table(source) = &mut source.node.value
            && let Some(pull) = source.get_mut("pull")
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
