//! Agreement of the processes of a run before it begins.

use distributed::Group;
use gpt2_model::DeviceChoice;
use tch::Device;

use crate::{
    config::{layers::Layer, settings::Settings},
    error::{Error, Result},
    training::{
        checkpoint::{InputDigests, LOCATIONS},
        observer::Observer,
    },
};

/// Checks that all processes carry out the same run: program, settings, data and base model.
///
/// # Errors
/// [`distributed::Error::Differs`] names what differs and the ranks.
pub(crate) fn check(group: &Group, settings: &Settings, inputs: &InputDigests) -> Result<()> {
    if group.world() == 1 {
        return Ok(());
    }
    group.agree("version of the program", env!("CARGO_PKG_VERSION").as_bytes())?;
    let InputDigests { data, base, tokenizer, adapter } = inputs;
    group.agree("dataset", data.as_bytes())?;
    group.agree("base model", base.as_bytes())?;
    group.agree("tokenizer", tokenizer.as_deref().unwrap_or_default().as_bytes())?;
    group.agree("adapter", adapter.as_deref().unwrap_or_default().as_bytes())?;
    // With the unset ones: every rank compares the same names in the same order.
    let all = serde_json::to_value(settings).and_then(serde_json::from_value::<Layer>);
    let all = all.map_err(|error| Error::serialize("settings", &error))?;
    let mut names: Vec<&str> = all.keys().map(String::as_str).collect();
    names.retain(|name| !LOCATIONS.contains(name));
    // The data of other settings decides it, so it is not the one to name.
    names.sort_by_key(|name| *name == "max-length");
    for name in names {
        let value = match (name, all[name].as_str()) {
            // Each process may have its own GPU.
            ("device", Some(device)) => device.split(':').next().unwrap_or_default().to_owned(),
            _ => all[name].to_string(),
        };
        group.agree(&format!("--{name}"), value.as_bytes())?;
    }
    Ok(())
}

/// Connects the GPUs of the processes, and reports how their gradients travel.
///
/// # Errors
/// [`distributed::Error`] if the GPUs cannot be connected.
pub(crate) fn connect(
    group: &Group,
    device: DeviceChoice,
    observer: &mut dyn Observer,
) -> Result<()> {
    if let (DeviceChoice::Cuda(number), true) = (device, group.world() > 1) {
        let transport = group.transport(Device::Cuda(number))?;
        observer.notice(&format!("gradients travel by {transport}"));
    }
    Ok(())
}
