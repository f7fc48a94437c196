//! Frozen linear layer with low-rank terms: forward pass and gradients.

use std::{borrow::Cow, ops::Range, sync::Arc, time::Instant};

use kernels::{Isa, Matrix, MatrixMut, PackedWeights, Write, add_masked, mask};

use super::{
    buffer::Buffer, distribution::Places, profile::KernelProfile, team::Team, tree::Gradients,
};
use crate::error::Result;

/// Linear layer in a pass: `y = x Wᵀ + b + Σ s (m ⊙ x) Aᵀ Bᵀ` over its terms, with a dropout
/// mask `m`.
#[derive(Debug)]
pub(super) struct LinearPass<'a> {
    pub isa: Isa,
    pub weight: Weight<'a>,
    /// `[out]`
    pub bias: Vec<f32>,
    /// True if an earlier layer is trained, which needs the gradient of the input.
    pub goes_back: bool,
    pub terms: Vec<Term>,
    /// Dropout mask of the input of the terms, `[inputs of the batch, in]`.
    pub mask: Option<Vec<f32>>,
}

/// Frozen weight, `[out, in]`.
#[derive(Debug)]
pub(super) enum Weight<'a> {
    /// float32, packed block by block in each product. A packed copy would be 8 % faster at 60
    /// rows and 3 % at 120, but take as much memory as the weight.
    Float32(Cow<'a, [f32]>),
    /// Packed bfloat16, for the output and for the gradient of the input.
    BFloat16 { forward: Arc<PackedWeights>, backward: Option<Arc<PackedWeights>> },
}

impl Weight<'_> {
    /// Computes `output = input Wᵀ + bias`.
    fn forward(
        &self,
        isa: Isa,
        input: &Matrix<'_>,
        output: &mut MatrixMut<'_>,
        bias: &[f32],
        team: &mut Team,
    ) -> Result<()> {
        let write = Write::Bias(bias);
        match self {
            Self::Float32(values) => {
                let [[_, width], [_, out]] = [input.shape(), output.shape()];
                let right = Matrix::new(values, out, width)?.transposed();
                team.multiply(isa, 1.0, input, &right, output, write)
            }
            Self::BFloat16 { forward, .. } => team.multiply_packed(input, forward, output, write),
        }
    }

    /// Computes `input_gradient = gradient W`.
    fn backward(
        &self,
        isa: Isa,
        gradient: &Matrix<'_>,
        input_gradient: &mut MatrixMut<'_>,
        team: &mut Team,
    ) -> Result<()> {
        let write = Write::Replace;
        match self {
            Self::Float32(values) => {
                let [[_, out], [_, width]] = [gradient.shape(), input_gradient.shape()];
                let right = Matrix::new(values, out, width)?;
                team.multiply(isa, 1.0, gradient, &right, input_gradient, write)
            }
            Self::BFloat16 { backward: Some(backward), .. } => {
                team.multiply_packed(gradient, backward, input_gradient, write)
            }
            Self::BFloat16 { backward: None, .. } => Err(kernels::Error::Setting {
                what: "copies of packed bfloat16 weights",
                expected: "2 where an earlier layer is trained",
                got: 1,
            }
            .into()),
        }
    }
}

/// Low-rank term on a range of outputs.
#[derive(Debug)]
pub(super) struct Term {
    /// `Aᵀ` `[in, rank]`
    pub a: Vec<f32>,
    /// `Bᵀ` `[rank, outputs]`
    pub b: Vec<f32>,
    pub rank: usize,
    /// Outputs of the layer.
    pub outputs: Range<usize>,
    pub scale: f32,
    /// Places in the gradient of all terms: of `Aᵀ` `[in, rank]`, and of `B` `[outputs, rank]`.
    pub gradients: [Range<usize>; 2],
}

impl Term {
    /// `Aᵀ` `[in, rank]`
    fn a(&self) -> Result<Matrix<'_>> {
        Ok(Matrix::new(&self.a, self.a.len() / self.rank, self.rank)?)
    }

    /// `Bᵀ` `[rank, outputs]`
    fn b(&self) -> Result<Matrix<'_>> {
        Ok(Matrix::new(&self.b, self.rank, self.outputs.len())?)
    }
}

/// Input of a layer, with the places of its rows.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    /// `[rows, in]`
    pub values: &'a Buffer,
    pub places: &'a Places,
}

/// Work memory of linear layers.
#[derive(Debug, Default)]
pub(super) struct LinearWork {
    pub team: Team,
    pub profile: KernelProfile,
    /// Masked input, and gradient of it, `[rows, in]`.
    masked: Buffer,
    /// Gradient of the narrow side of a term, `[rows, rank]`.
    narrow: Buffer,
}

impl LinearPass<'_> {
    /// Computes `output` `[rows, out]`. `narrow` keeps `(m ⊙ x) Aᵀ` `[rows, rank]` of each term
    /// for the gradients.
    pub fn forward(
        &self,
        input: Input<'_>,
        narrow: &mut Vec<Buffer>,
        output: &mut MatrixMut<'_>,
        work: &mut LinearWork,
    ) -> Result<()> {
        let (isa, LinearWork { team, masked, profile, .. }) = (self.isa, work);
        let start = Instant::now();
        self.weight.forward(isa, &input.values.view()?, output, &self.bias, team)?;
        let (rows, width) = (input.values.rows(), input.values.columns());
        profile.frozen.add(start, 2 * rows * width * self.bias.len());
        narrow.resize_with(self.terms.len(), Buffer::default);
        if self.terms.is_empty() {
            return Ok(());
        }
        let start = Instant::now();
        let values = self.masked(input, masked)?.view()?;
        let mut operations = 0;
        for (term, narrow) in self.terms.iter().zip(narrow) {
            operations += 2 * rows * term.rank * (width + term.outputs.len());
            narrow.reshape(rows, term.rank)?;
            let to = &mut narrow.view_mut()?;
            team.multiply(isa, 1.0, &values, &term.a()?, to, Write::Replace)?;
            let to = &mut output.columns(term.outputs.clone())?;
            team.multiply(isa, term.scale, &narrow.view()?, &term.b()?, to, Write::Add)?;
        }
        profile.terms.add(start, operations);
        Ok(())
    }

    /// Sets the gradients of the terms in `gradients`, and returns whether it has computed the
    /// gradient of the input, given `gradient` `[rows, out]` of the output.
    pub fn backward(
        &self,
        gradient: &Matrix<'_>,
        input: Input<'_>,
        narrow: &[Buffer],
        gradients: &mut Gradients,
        input_gradient: &mut Buffer,
        work: &mut LinearWork,
    ) -> Result<bool> {
        let LinearWork { team, profile, masked, narrow: narrow_gradient } = work;
        let isa = self.isa;
        let (rows, width) = (input.values.rows(), input.values.columns());
        if self.goes_back {
            let start = Instant::now();
            input_gradient.reshape(rows, width)?;
            self.weight.backward(isa, gradient, &mut input_gradient.view_mut()?, team)?;
            profile.frozen.add(start, 2 * rows * width * self.bias.len());
        }
        let start = Instant::now();
        let mut operations = 0;
        for (term, narrow) in self.terms.iter().zip(narrow) {
            // Gradients of the narrow side, of `B`, of `A`, and of the input.
            let inputs = width * (1 + usize::from(self.goes_back));
            operations += 2 * rows * term.rank * (2 * term.outputs.len() + inputs);
            let gradient = gradient.columns(term.outputs.clone())?;
            let [a, b] = &term.gradients;
            narrow_gradient.reshape(rows, term.rank)?;
            let to = &mut narrow_gradient.view_mut()?;
            let right = term.b()?.transposed();
            team.multiply(isa, term.scale, &gradient, &right, to, Write::Replace)?;

            let leaves = &input.places.leaves;
            gradients.set(b, leaves, |rows, to| {
                let to = &mut MatrixMut::new(to, term.outputs.len(), term.rank)?;
                let (left, right) = (gradient.rows(rows.clone())?, narrow.view()?.rows(rows)?);
                team.multiply(isa, term.scale, &left.transposed(), &right, to, Write::Replace)
            })?;
            let values = self.masked(input, masked)?.view()?;
            gradients.set(a, leaves, |rows, to| {
                let to = &mut MatrixMut::new(to, width, term.rank)?;
                let left = values.rows(rows.clone())?.transposed();
                let right = narrow_gradient.view()?.rows(rows)?;
                team.multiply(isa, 1.0, &left, &right, to, Write::Replace)
            })?;

            if self.goes_back {
                let right = term.a()?.transposed();
                let left = narrow_gradient.view()?;
                let Some(mask) = &self.mask else {
                    let to = &mut input_gradient.view_mut()?;
                    team.multiply(isa, 1.0, &left, &right, to, Write::Add)?;
                    continue;
                };
                let to = &mut masked.view_mut()?;
                team.multiply(isa, 1.0, &left, &right, to, Write::Replace)?;
                for (row, &index) in input.places.indices.iter().enumerate() {
                    let mask = &mask[index * width..][..width];
                    add_masked(masked.row(row), mask, input_gradient.row_mut(row))?;
                }
            }
        }
        profile.terms.add(start, operations);
        Ok(self.goes_back)
    }

    /// Input of the terms: `m ⊙ x` in `room`, or `x` without a mask.
    fn masked<'a>(&self, input: Input<'a>, room: &'a mut Buffer) -> Result<&'a Buffer> {
        let Some(values) = &self.mask else { return Ok(input.values) };
        let [rows, width] = input.values.view()?.shape();
        room.reshape(rows, width)?;
        for (row, &index) in input.places.indices.iter().enumerate() {
            mask(input.values.row(row), &values[index * width..][..width], room.row_mut(row))?;
        }
        Ok(room)
    }
}
