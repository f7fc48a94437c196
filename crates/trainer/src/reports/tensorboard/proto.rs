//! The few fields of TensorBoard's messages (`event.proto` and `summary.proto` of
//! TensorFlow) that scalars need. A field of a `oneof` is an optional one on the
//! wire, and is declared as that.

/// One record of an event file.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Record {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Place on the horizontal axis.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// In the first record of a file alone.
    #[prost(string, optional, tag = "3")]
    pub file_version: Option<String>,
    /// In every other.
    #[prost(message, optional, tag = "5")]
    pub summary: Option<Summary>,
}

/// Values of one step.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Summary {
    /// One a tag.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

/// A value of a curve.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Value {
    /// The curve.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// The value.
    #[prost(float, optional, tag = "2")]
    pub simple_value: Option<f32>,
}
