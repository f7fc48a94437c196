//! Matrices that are allocated once and used by every pass.

use kernels::{Error, Matrix, MatrixMut, padded_stride, resize};

/// Matrix `[rows, columns]` whose memory is kept when its shape changes.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    data: Vec<f32>,
    rows: usize,
    columns: usize,
    stride: usize,
}

impl Buffer {
    /// Sets the shape. The values are arbitrary afterwards.
    ///
    /// # Errors
    /// [`Error::Memory`] if memory runs out.
    pub fn reshape(&mut self, rows: usize, columns: usize) -> Result<(), Error> {
        let stride = padded_stride(columns);
        let length = rows * stride;
        if length > self.data.capacity() {
            // Freed before it is replaced, and with room to grow: memory that is never touched
            // costs nothing, gaps that are too small for the next batch would. Without that much
            // address space, there may be enough for this batch.
            self.data = Vec::new();
            let _ = self.data.try_reserve_exact(2 * length);
        }
        resize(&mut self.data, length, 0.0)?;
        (self.rows, self.columns, self.stride) = (rows, columns, stride);
        Ok(())
    }

    /// Sets the shape, and all values to zero.
    ///
    /// # Errors
    /// As [`Buffer::reshape`].
    pub fn zeros(&mut self, rows: usize, columns: usize) -> Result<(), Error> {
        self.reshape(rows, columns)?;
        self.data.fill(0.0);
        Ok(())
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn view(&self) -> Result<Matrix<'_>, Error> {
        Matrix::with_stride(&self.data, self.rows, self.columns, self.stride)
    }

    pub fn view_mut(&mut self) -> Result<MatrixMut<'_>, Error> {
        MatrixMut::with_stride(&mut self.data, self.rows, self.columns, self.stride)
    }

    /// Rows `first..first + count`, as a matrix.
    pub fn view_rows(&self, first: usize, count: usize) -> Result<Matrix<'_>, Error> {
        self.view()?.rows(first..first + count)
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.stride..][..self.columns]
    }

    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.data[row * self.stride..][..self.columns]
    }

    /// Rows in their order.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let (rows, columns) = (self.rows, self.columns);
        self.data.chunks_mut(self.stride.max(1)).take(rows).map(move |row| &mut row[..columns])
    }

    /// All values, with the gaps between rows, which are finite. Buffers of one shape have
    /// their gaps at the same places.
    pub fn values(&self) -> &[f32] {
        &self.data
    }

    /// As [`Buffer::values`].
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn rows_of_a_wide_matrix_are_padded_and_views_agree() {
        let mut buffer = Buffer::default();
        for (rows, columns) in [(3, 512), (2, 5), (4, 1)] {
            buffer.zeros(rows, columns).unwrap();
            for row in 0..rows {
                buffer.row_mut(row).fill(row as f32 + 1.0);
            }
            assert_eq!(buffer.view().unwrap().shape(), [rows, columns]);
            assert_eq!(buffer.view_rows(1, rows - 1).unwrap().shape(), [rows - 1, columns]);
            let sum: f32 = buffer.values().iter().sum();
            assert_eq!(sum, (columns * rows * (rows + 1) / 2) as f32);
            assert_eq!(buffer.row(rows - 1), vec![rows as f32; columns]);
        }
    }
}
