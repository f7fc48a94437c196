//! Product of activations with a frozen weight, where most of the time is spent.

use tch::{Device, Kind, TchError, Tensor};

/// Number of rows below which the convolution is not faster.
const FEW: i64 = 32;

/// `x Wᵀ + b` for `x` `[rows, in]`, `W` `[out, in]`, `b` `[out]`.
///
/// On x86 a float32 product with a frozen weight is computed as a convolution with a
/// 1×1 kernel over an image of one line, `rows` wide, with `in` channels that are
/// contiguous in memory. That is the same sum over the same memory, but oneDNN
/// computes it, with all vector units of the CPU. A matrix product is computed by
/// MKL, which does not use 512-bit units on CPUs not made by Intel:
/// `docs/performance.md` has the numbers.
pub(crate) fn product(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor, TchError> {
    let (rows, width) = input.size2()?;
    let (out, _) = weight.size2()?;
    let as_convolution = cfg!(target_arch = "x86_64")
        && rows >= FEW
        && weight.device() == Device::Cpu
        && [input, weight].iter().all(|tensor| tensor.kind() == Kind::Float)
        && weight.size() == [out, width]
        && weight.is_contiguous()
        && !weight.requires_grad()
        && tch::utils::has_mkldnn();
    if !as_convolution {
        return input.f_linear(weight, bias);
    }
    // [1, in, 1, rows] with the channels last in memory: a view.
    let image = input.f_contiguous()?.f_view([1, 1, rows, width])?.f_permute([0, 3, 1, 2])?;
    let kernel = weight.f_view([out, width, 1, 1])?;
    // Dilation has no effect on a 1×1 kernel, but with it the backward pass uses
    // oneDNN on one thread too.
    let dilation = [2, 1];
    let output = image.f_mkldnn_convolution(&kernel, bias, [0, 0], [1, 1], dilation, 1)?;
    output.f_permute([0, 2, 3, 1])?.f_view([rows, out])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: i64, with_bias: bool) {
        // Without libtorch's generator, from which the masks of other tests are drawn.
        let random = |size: &[i64]| {
            let count = size.iter().product::<i64>();
            let numbers = Tensor::arange(count, (Kind::Double, Device::Cpu));
            (numbers.square() * 0.37).sin().view(size)
        };
        let (x, w) = (random(&[rows, 24]), random(&[40, 24]));
        let b = with_bias.then(|| random(&[40]));
        let single = |tensor: &Tensor| tensor.to_kind(Kind::Float);
        let input = single(&x).set_requires_grad(true);
        let output = product(&input, &single(&w), b.as_ref().map(single).as_ref()).unwrap();
        let exact = x.linear(&w, b.as_ref());
        assert!(single(&exact).allclose(&output, 1e-5, 1e-5, false), "{rows} {with_bias}");
        // The gradient of Σ (x Wᵀ + b)² / 2.
        (output.square() * 0.5).sum(Kind::Float).backward();
        let gradient = single(&exact.matmul(&w));
        assert!(gradient.allclose(&input.grad(), 1e-4, 1e-4, false), "{rows} {with_bias}");
    }

    #[test]
    fn results_and_gradients_equal_a_matrix_product() {
        for rows in [1, FEW - 1, FEW, 100, 1000] {
            check(rows, true);
            check(rows, false);
        }
    }

    #[test]
    fn a_wrong_width_is_refused() {
        let ones = |size: [i64; 2]| Tensor::ones(size, (Kind::Float, Device::Cpu));
        assert!(product(&ones([50, 7]), &ones([4, 8]), None).is_err());
    }
}
