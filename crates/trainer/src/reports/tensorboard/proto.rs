//! Fields of TensorBoard's messages (`event.proto` and `summary.proto` of TensorFlow) that
//! scalars need. A field of a `oneof` is an optional field on the wire and is declared so.

/// One record of an event file.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Record {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Position on the horizontal axis.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// Only in the first record of a file.
    #[prost(string, optional, tag = "3")]
    pub file_version: Option<String>,
    /// In every other record.
    #[prost(message, optional, tag = "5")]
    pub summary: Option<Summary>,
}

/// Values of one step.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Summary {
    /// One value per tag.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

/// Value of a curve.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Value {
    /// Name of the curve.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// Value.
    #[prost(float, optional, tag = "2")]
    pub simple_value: Option<f32>,
}
