//! Views of row-major matrices.

use std::ops::Range;

use crate::error::Error;

/// A read-only view of a float32 matrix, `[rows, columns]`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// A mutable view of a float32 matrix, `[rows, columns]`.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

/// Returns a row stride for `columns` at which the rows of a tile do not compete for the same
/// cache sets: a cache line more where rows would be a multiple of 2 KiB apart.
pub fn padded_stride(columns: usize) -> usize {
    if columns.is_multiple_of(512) { columns + 16 } else { columns }
}

/// Fails unless rows of `columns` elements, `stride` apart, lie within `length` elements.
fn check_bounds(length: usize, rows: usize, columns: usize, stride: usize) -> Result<(), Error> {
    let end = match rows.checked_sub(1) {
        None => Some(0),
        Some(before) => before.checked_mul(stride).and_then(|start| start.checked_add(columns)),
    };
    let fits = end.is_some_and(|end| end <= length) && (stride >= columns || rows <= 1);
    if fits { Ok(()) } else { Err(Error::Bounds { rows, columns, stride, length }) }
}

/// Fails unless `range` lies within a dimension of `length`.
fn check_range(range: &Range<usize>, length: usize) -> Result<(), Error> {
    if range.start <= range.end && range.end <= length {
        Ok(())
    } else {
        Err(Error::Setting {
            what: "end of a range of rows or columns",
            expected: "a range within the matrix",
            got: range.end,
        })
    }
}

impl<'a> Matrix<'a> {
    /// Views the start of `data` as `rows` rows of `columns` columns without gaps.
    ///
    /// # Errors
    /// [`Error::Bounds`] if `data` is too short.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Result<Self, Error> {
        Self::with_stride(data, rows, columns, columns)
    }

    /// Views `data` as `rows` rows of `columns` columns, whose starts are `stride` elements apart.
    ///
    /// # Errors
    /// [`Error::Bounds`] if `data` is too short or rows overlap.
    pub fn with_stride(
        data: &'a [f32],
        rows: usize,
        columns: usize,
        stride: usize,
    ) -> Result<Self, Error> {
        check_bounds(data.len(), rows, columns, stride)?;
        Ok(Self { data, rows, columns, row_stride: stride, column_stride: 1 })
    }

    /// Returns the transpose, a view of the same elements.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Returns a range of rows.
    ///
    /// # Errors
    /// [`Error::Setting`] if the matrix has fewer rows.
    pub fn rows(self, range: Range<usize>) -> Result<Self, Error> {
        check_range(&range, self.rows)?;
        let start = (range.start * self.row_stride).min(self.data.len());
        Ok(Self { data: &self.data[start..], rows: range.len(), ..self })
    }

    /// Returns a range of columns.
    ///
    /// # Errors
    /// [`Error::Setting`] if the matrix has fewer columns.
    pub fn columns(self, range: Range<usize>) -> Result<Self, Error> {
        Ok(self.transposed().rows(range)?.transposed())
    }

    /// Returns the number of rows and of columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Elements from one row to the next, and from one column to the next. The element at row
    /// `i < rows` and column `j < columns` is within the slice: the constructors check it.
    pub(crate) fn strides(&self) -> [usize; 2] {
        [self.row_stride, self.column_stride]
    }

    pub(crate) fn data(&self) -> &'a [f32] {
        self.data
    }

    pub(crate) fn as_ptr(&self) -> *const f32 {
        self.data.as_ptr()
    }

    /// Elements of a row of a matrix that is not transposed.
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        debug_assert!(row < self.rows && self.is_row_major());
        &self.data[row * self.row_stride..][..self.columns]
    }

    pub(crate) fn at(&self, row: usize, column: usize) -> f32 {
        self.data[row * self.row_stride + column * self.column_stride]
    }

    /// Returns whether rows have no gaps.
    pub(crate) fn is_row_major(&self) -> bool {
        self.column_stride == 1 || self.columns <= 1
    }

    /// Fails for a transposed matrix.
    pub(crate) fn check_row_major(&self, what: &'static str) -> Result<(), Error> {
        if self.is_row_major() {
            Ok(())
        } else {
            let expected = "1, rows without gaps between columns";
            Err(Error::Setting { what, expected, got: self.column_stride })
        }
    }
}

impl<'a> MatrixMut<'a> {
    /// As [`Matrix::new`].
    ///
    /// # Errors
    /// As [`Matrix::new`].
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize) -> Result<Self, Error> {
        Self::with_stride(data, rows, columns, columns)
    }

    /// As [`Matrix::with_stride`].
    ///
    /// # Errors
    /// As [`Matrix::with_stride`].
    pub fn with_stride(
        data: &'a mut [f32],
        rows: usize,
        columns: usize,
        stride: usize,
    ) -> Result<Self, Error> {
        check_bounds(data.len(), rows, columns, stride)?;
        Ok(Self { data, rows, columns, stride })
    }

    /// Returns a range of rows.
    ///
    /// # Errors
    /// As [`Matrix::rows`].
    pub fn rows(&mut self, range: Range<usize>) -> Result<MatrixMut<'_>, Error> {
        check_range(&range, self.rows)?;
        let start = (range.start * self.stride).min(self.data.len());
        let (rows, columns, stride) = (range.len(), self.columns, self.stride);
        Ok(MatrixMut { data: &mut self.data[start..], rows, columns, stride })
    }

    /// Divides the matrix before a row.
    ///
    /// # Errors
    /// [`Error::Setting`] if the matrix has fewer rows.
    pub fn split_at_row(self, row: usize) -> Result<(Self, Self), Error> {
        check_range(&(row..self.rows), self.rows)?;
        let Self { data, rows, columns, stride } = self;
        let (first, rest) = data.split_at_mut((row * stride).min(data.len()));
        let first = Self { data: first, rows: row, columns, stride };
        Ok((first, Self { data: rest, rows: rows - row, columns, stride }))
    }

    /// Returns a range of columns.
    ///
    /// # Errors
    /// As [`Matrix::columns`].
    pub fn columns(&mut self, range: Range<usize>) -> Result<MatrixMut<'_>, Error> {
        check_range(&range, self.columns)?;
        let start = range.start.min(self.data.len());
        let (rows, columns, stride) = (self.rows, range.len(), self.stride);
        Ok(MatrixMut { data: &mut self.data[start..], rows, columns, stride })
    }

    /// Returns a read-only view of the same elements.
    pub fn as_ref(&self) -> Matrix<'_> {
        let Self { rows, columns, stride, .. } = *self;
        Matrix { data: self.data, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// Returns the number of rows and of columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Elements from one row to the next; bounds as in [`Matrix::strides`].
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Elements of a row.
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        debug_assert!(row < self.rows);
        &mut self.data[row * self.stride..][..self.columns]
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.data.as_mut_ptr()
    }
}
