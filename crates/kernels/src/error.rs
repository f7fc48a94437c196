//! Errors of the kernels.

/// A buffer or shape that does not fit the others, or memory that ran out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A slice of the wrong length.
    #[error("{what}: wrong length, expected {expected}, got {got}")]
    Length {
        /// The argument.
        what: &'static str,
        /// Elements needed.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// A matrix of the wrong shape.
    #[error("{what}: wrong shape, expected {expected:?}, got {got:?}")]
    Shape {
        /// The argument.
        what: &'static str,
        /// Rows and columns needed.
        expected: [usize; 2],
        /// Rows and columns given.
        got: [usize; 2],
    },
    /// A matrix that does not fit its slice.
    #[error(
        "matrix: {rows} rows of {columns} columns at stride {stride} do not fit a slice of {length}"
    )]
    Bounds {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        columns: usize,
        /// Elements between the starts of two rows.
        stride: usize,
        /// Elements of the slice.
        length: usize,
    },
    /// A setting outside its range.
    #[error("{what}: expected {expected}, got {got}")]
    Setting {
        /// The setting.
        what: &'static str,
        /// Its range.
        expected: &'static str,
        /// The value given.
        got: usize,
    },
    /// Memory ran out.
    #[error("there is not enough memory for {bytes} bytes")]
    Memory {
        /// Size of the buffer.
        bytes: usize,
    },
}

/// Fails unless `got` elements are `expected`.
pub(crate) fn check_length(what: &'static str, expected: usize, got: usize) -> Result<(), Error> {
    if expected == got { Ok(()) } else { Err(Error::Length { what, expected, got }) }
}

/// Fails unless a matrix has the shape `expected`.
pub(crate) fn check_shape(
    what: &'static str,
    expected: [usize; 2],
    got: [usize; 2],
) -> Result<(), Error> {
    if expected == got { Ok(()) } else { Err(Error::Shape { what, expected, got }) }
}
