//! Initial values of `A` and `B`.

use rand_core::Rng;
use tch::{Device, Kind, TchError, Tensor};

use crate::{config::Init, layer::pissa::principal};

/// Returns new `A` `[rank, in]` and `B` `[out, rank]` for `weight` `[out, in]`, float32
/// on the CPU.
pub(crate) fn new_matrices(
    init: Init,
    weight: &Tensor,
    rank: i64,
    scale: f64,
    rng: &mut dyn Rng,
) -> Result<(Tensor, Tensor), TchError> {
    let (out, width) = weight.size2()?;
    let a = kaiming_uniform(rng, width, rank)?;
    let b = Tensor::f_zeros([rank, out], (Kind::Float, Device::Cpu))?.f_tr()?;
    if init == Init::Pissa {
        // Rows beyond the rank of the weight start as any other.
        let (principal_a, principal_b) = principal(weight, rank, scale)?;
        let k = principal_a.size2()?.0;
        a.f_narrow(0, 0, k)?.f_copy_(&principal_a)?;
        b.f_narrow(1, 0, k)?.f_copy_(&principal_b)?;
    }
    Ok((a, b))
}

/// Returns a new `A` `[rank, width]`: Kaiming uniform with a = √5 (He et al. 2015),
/// drawn as the matrix `[width, rank]` that `x` is multiplied by, so uniform in
/// ±1/√rank. With a generator equal to torch's, the numbers equal torch's.
fn kaiming_uniform(rng: &mut dyn Rng, width: i64, rank: i64) -> Result<Tensor, TchError> {
    let bound = (1.0 / (rank as f64).sqrt()) as f32;
    let values: Vec<f32> = (0..width * rank)
        .map(|_| {
            // 24 random bits, as many as a float32 holds.
            let unit = (rng.next_u32() & 0x00ff_ffff) as f32 / (1u32 << 24) as f32;
            unit.mul_add(bound + bound, -bound)
        })
        .collect();
    Tensor::f_from_slice(&values)?.f_view([width, rank])?.f_tr()
}
