//! Agreement of the processes of a run before it begins.

use distributed::Group;
use serde_json::Value;

use crate::{
    error::Result,
    training::checkpoint::{Identity, InputDigests, decisive},
};

/// Checks that all processes carry out the same run: program, settings, data and base model.
///
/// # Errors
/// [`distributed::Error::Differs`] names what differs and the ranks.
pub(crate) fn check(group: &Group, identity: &Identity) -> Result<()> {
    if group.world() == 1 {
        return Ok(());
    }
    let Identity { settings, inputs } = identity;
    group.agree("version of the program", env!("CARGO_PKG_VERSION").as_bytes())?;
    let InputDigests { data, base, adapter } = inputs;
    group.agree("dataset", data.as_bytes())?;
    group.agree("base model", base.as_bytes())?;
    group.agree("adapter", adapter.as_deref().unwrap_or_default().as_bytes())?;
    let Value::Object(mut decisive) = decisive(settings) else { return Ok(()) };
    for name in ["checkpoint-every", "keep-checkpoints"] {
        decisive.extend(settings.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    // Each process may have its own GPU.
    if let Some(Value::String(device)) = decisive.get_mut("device") {
        *device = device.split(':').next().unwrap_or_default().to_owned();
    }
    let mut names: Vec<&str> = decisive.keys().map(String::as_str).collect();
    // Settings that the data of other settings decides are not the ones to name.
    names.sort_by_key(|name| *name == "max-length");
    group.agree("list of settings", names.join(" ").as_bytes())?;
    for name in names {
        group.agree(&format!("--{name}"), decisive[name].to_string().as_bytes())?;
    }
    Ok(())
}
