//! Names of the tensors of an adapter file.

/// `A` of a layer.
pub(crate) fn a_name(layer: &str) -> String {
    format!("{layer}.lora_A.weight")
}

/// `B` of a layer.
pub(crate) fn b_name(layer: &str) -> String {
    format!("{layer}.lora_B.weight")
}

/// DoRA magnitudes of a layer.
pub(crate) fn magnitude_name(layer: &str) -> String {
    format!("{layer}.lora_magnitude_vector")
}
