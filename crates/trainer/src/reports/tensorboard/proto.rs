//! Fields of TensorBoard's messages (`event.proto`, `summary.proto` and `tensor.proto` of
//! TensorFlow) that scalars and texts need. A field of a `oneof` is an optional field on the wire and is declared so.

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

/// Value of a curve, or a text.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Value {
    /// Name of the curve.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// Value.
    #[prost(float, optional, tag = "2")]
    pub simple_value: Option<f32>,
    /// Text.
    #[prost(message, optional, tag = "8")]
    pub tensor: Option<Strings>,
    /// Plugin that shows a text.
    #[prost(message, optional, tag = "9")]
    pub metadata: Option<Metadata>,
}

/// `TensorProto` of strings.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Strings {
    /// `DT_STRING`, 7.
    #[prost(int32, tag = "1")]
    pub dtype: i32,
    /// Shape.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
    /// Values.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub values: Vec<Vec<u8>>,
}

/// `TensorShapeProto`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Shape {
    /// Sizes.
    #[prost(message, repeated, tag = "2")]
    pub sizes: Vec<Size>,
}

/// Size of a dimension.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Size {
    /// Size.
    #[prost(int64, tag = "1")]
    pub size: i64,
}

/// `SummaryMetadata`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Metadata {
    /// Plugin.
    #[prost(message, optional, tag = "1")]
    pub plugin: Option<Plugin>,
}

/// Plugin of TensorBoard.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Plugin {
    /// Name: `text`.
    #[prost(string, tag = "1")]
    pub name: String,
}
