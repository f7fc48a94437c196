//! PiSSA initialization (Meng et al. 2024, *PiSSA: Principal Singular Values and
//! Singular Vectors Adaptation of Large Language Models*): adapters start as the
//! principal singular vectors of the weight, which keeps the residual.

use tch::{Device, Kind, TchError, Tensor};

/// Returns `A` `[k, in]` and `B` `[out, k]` with `s · B A` the best approximation of
/// `weight` `[out, in]` of rank k, the smallest of `rank`, `in` and `out`: with `W = U S Vᵀ`, `A = √(S/s) Vᵀ` and `B = U √(S/s)` of the largest
/// singular values. Float32, on the CPU.
pub(crate) fn principal(
    weight: &Tensor,
    rank: i64,
    scale: f64,
) -> Result<(Tensor, Tensor), TchError> {
    let _no_grad = tch::no_grad_guard();
    let weight = weight.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
    let (out, width) = weight.size2()?;
    let k = rank.min(out).min(width);
    let (u, s, v) = weight.f_svd(true, true)?;
    let root = s.f_narrow(0, 0, k)?.f_mul_scalar(scale.recip())?.f_sqrt()?;
    let a = v.f_narrow(1, 0, k)?.f_mul(&root)?.f_tr()?;
    let b = u.f_narrow(1, 0, k)?.f_mul(&root)?;
    Ok((a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_approximation_is_the_best_of_its_rank() {
        tch::manual_seed(5);
        let weight = Tensor::randn([7, 4], (Kind::Float, Device::Cpu));
        let (_, s, _) = weight.svd(true, true);
        for rank in 1..6 {
            let (a, b) = principal(&weight, rank, 0.3).unwrap();
            let k = rank.min(4);
            assert_eq!((a.size(), b.size()), (vec![k, 4], vec![7, k]));
            // The residual has the norm of the remaining singular values
            // (Eckart and Young 1936).
            let rest = (&weight - b.mm(&a) * 0.3).square().sum(Kind::Float).double_value(&[]);
            let expected = s.narrow(0, k, 4 - k).square().sum(Kind::Float).double_value(&[]);
            assert!((rest - expected).abs() < 1e-4, "{rank}: {rest} {expected}");
        }
    }
}
